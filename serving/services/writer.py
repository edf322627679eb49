"""The one thread that writes to the store: what waits together is one durable transaction."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from recsys.errors import RecsysError, StoreUnavailableError
from serving.ports import LogDecisions, Store, Write, WriteResult
from serving.services.batches import next_batch
from serving.telemetry import log

Job = Callable[[], int | None]
"""What is done between two transactions."""

Entry = tuple[Write | Job, "asyncio.Future[Any]"]
Announce = Callable[[Sequence[Entry], Sequence[Any]], None]


class InDoubtError(StoreUnavailableError):
    """The store was asked and did not say whether it took the write."""


class NotStoredError(StoreUnavailableError):
    """The store certainly has nothing of the write."""


class Writer:
    """Does writes and jobs in the order in which they come, in a thread of its own.

    Args:
        store: Where the writes go.
        max_batch: Writes of one transaction, ≥1.
        announce: Is told, in this thread, the results of entries in their order; an error is a result.

    Attributes:
        asked: The writes of the transaction that runs.
    """

    def __init__(self, store: Store, max_batch: int, announce: Announce) -> None:
        self.asked: Sequence[Entry] = ()
        self._store = store
        self._max_batch = max_batch
        self._announce = announce
        self._entries: SimpleQueue[Entry | None] = SimpleQueue()
        self._asked_at: float | None = None

    def start(self) -> Thread:
        """Start writing; returns the thread, which ends after `end`."""
        thread = Thread(target=self._write_until_closed, name="commit-queue", daemon=True)
        thread.start()
        return thread

    def put(self, entry: Entry) -> None:
        """Let something be done."""
        self._entries.put(entry)

    def end(self) -> None:
        """Do what waits, and nothing after that."""
        self._entries.put(None)

    def withdraw(self) -> list[Entry]:
        """Take back the writes that wait for their turn; jobs wait on."""
        writes, others = [], []
        with contextlib.suppress(Empty):
            while True:
                entry = self._entries.get_nowait()
                if entry is None or callable(entry[0]):
                    others.append(entry)
                else:
                    writes.append(entry)
        for other in others:
            self._entries.put(other)
        return writes

    @property
    def seconds_asked(self) -> float:
        """How long the store has not answered by now; 0 = it is not asked."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    @contextlib.contextmanager
    def asking(self) -> Iterator[Store]:
        """The store, for a job; it is seen how long it takes."""
        self._asked_at = time.monotonic()
        try:
            yield self._store
        finally:
            self._asked_at = None

    def commit(self, writes: Sequence[Write]) -> Sequence[WriteResult | RecsysError]:
        """Do writes in one durable transaction, for a job; raises whatever the store raises."""
        with self.asking() as store:
            return store.commit(writes)

    def _write_until_closed(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = next_batch(self._entries, self._max_batch)
            writes: list[Entry] = []
            for entry in batch:
                if callable(entry[0]):
                    self._write(writes)
                    writes = []
                    self._announce([entry], [_do(entry[0])])
                else:
                    writes.append(entry)
            self._write(writes)

    def _write(self, batch: list[Entry]) -> None:
        if batch:
            self.asked = batch
            self._announce(batch, self._attempt([write for write, _ in batch]))  # type: ignore[misc]
            self.asked = ()

    def _attempt(self, writes: Sequence[Write]) -> Sequence[WriteResult | RecsysError]:
        try:
            return self.commit(writes)
        except StoreUnavailableError as error:
            return [InDoubtError(str(error), is_told=True)] * len(writes)
        except Exception as error:  # noqa: BLE001 -- the writer must outlive any fault of a driver
            if len(writes) > 1:  # one of them is at fault, and harms no other
                return [result for write in writes for result in self._attempt([write])]
            log("commit_failed", level=logging.ERROR, error=error)
            kind = NotStoredError if isinstance(writes[0], LogDecisions) else StoreUnavailableError
            return [kind("the database refused the write; nothing was stored", is_told=True)]


def _do(job: Job) -> int | RecsysError | None:
    try:
        return job()
    except StoreUnavailableError as error:
        return StoreUnavailableError(str(error), is_told=True)
    except Exception as error:  # noqa: BLE001 -- what could not be done is tried again
        log("replay_failed", level=logging.ERROR, error=error)
        return StoreUnavailableError(f"decisions could not be replayed: {error!r}", is_told=True)
