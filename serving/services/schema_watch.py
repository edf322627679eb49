"""Does the database still have the schema that this program was written for?"""

from __future__ import annotations

import logging
from threading import Lock

from recsys.errors import StoreUnavailableError
from serving.ports import Store
from serving.telemetry import log


class SchemaWatch:
    """Looks at the schema again and again, and logs once when it becomes another one, and when it fits again.

    Somebody may migrate the database, or restore one, under a running server: requests go on as far as the
    tables still fit.

    Attributes:
        fault: One sentence on the schema that was found, with its cure; None = the known one.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self._lock = Lock()

    def look(self, store: Store) -> bool:
        """Ask the store; blocks, and returns whether it answers."""
        try:
            fault = store.schema_fault()
        except StoreUnavailableError:
            return False
        with self._lock:
            before, self.fault = self.fault, fault
        if fault is not None and fault != before:
            log("schema_foreign", level=logging.WARNING, cause=fault)
        elif fault is None and before is not None:
            log("schema_known")
        return True
