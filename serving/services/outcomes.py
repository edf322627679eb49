"""What followed decisions, by the models that took them: counted beside the requests, never in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Final

from recsys.domain import Event
from recsys.errors import StoreUnavailableError
from serving.ports import Store
from serving.telemetry.measures import Measures
from serving.telemetry.names import OUTCOMES, OUTCOMES_LOST

_N_KEPT: Final = 20_000
_N_PER_READ: Final = 500
_NO_BUNDLE: Final = "none"


class Outcomes:
    """Waits for new events, and looks up a little later which models and which place led to each.

    A count may be lost (too many wait, the worker is killed); an event never is.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._counting = Lock()
        self._n_lost = 0

    def take(self, events: Sequence[Event], is_new: Iterable[bool]) -> None:
        """Keep the new ones of stored events that refer to a decision."""
        for event, is_first in zip(events, is_new, strict=True):
            if not is_first or event.decision_id is None:
                continue
            if len(self._waiting) < _N_KEPT:
                self._waiting.append((event.decision_id, event.event_type.value))
            else:
                self._n_lost += 1

    def count(self, store: Store, measures: Measures) -> None:
        """Count those that wait; blocks while the store is read, which may fail: then they wait on.

        Args:
            store: Where decisions are.
            measures: Where outcomes are counted.
        """
        with self._counting:
            self._count(store, measures)

    def _count(self, store: Store, measures: Measures) -> None:
        n_lost, self._n_lost = self._n_lost, 0
        measures.count(OUTCOMES_LOST, n=n_lost)
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _N_PER_READ))]
            try:
                origins = store.decision_origins(sorted({decision_id for decision_id, _ in batch}))
            except StoreUnavailableError:
                self._waiting.extendleft(reversed(batch))
                return
            for decision_id, event_type in batch:
                origin = origins.get(decision_id)
                if origin is not None:
                    placement, bundle = origin
                    measures.count(OUTCOMES, event_type, bundle or _NO_BUNDLE, placement)
