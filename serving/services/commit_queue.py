"""Group commit: many requests, one writer, one durable transaction for all that wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from recsys.errors import RecsysError, StoreUnavailableError
from serving.ports import Store, Write, WriteResult
from serving.telemetry import log

_Entry = tuple[Write, "asyncio.Future[WriteResult]"]


class CommitQueue:
    """Hands writes to one writer thread; an answer waits until its write is durable.

    While one transaction runs, the next batch gathers, so the batch grows with the load by itself. The
    queue is bounded: when the store cannot keep up, `submit` refuses at once instead of letting requests
    pile up.

    Args:
        store: Where the writes go.
        max_waiting: Writes that may wait, ≥1.
        max_batch: Writes of one transaction, ≥1.
    """

    def __init__(self, store: Store, max_waiting: int = 2_000, max_batch: int = 256) -> None:
        self._store = store
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._entries: SimpleQueue[_Entry | None] = SimpleQueue()
        self._n_waiting = 0
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the writer; call on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._write_until_closed, name="commit-queue", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then stop; nothing is accepted any more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._entries.put(None)
            await asyncio.to_thread(thread.join)

    async def submit(self, write: Write) -> WriteResult:
        """Do a write; returns its result once it is durable.

        Raises:
            StoreUnavailableError: The queue is full or closed, or the store failed; nothing was stored.
            RecsysError: The store refused this write.
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailableError("the service is shutting down; try again in a moment")
        if self._n_waiting >= self._max_waiting:
            raise StoreUnavailableError(
                f"{self._n_waiting} writes are waiting for the database; try again in a second"
            )
        future: asyncio.Future[WriteResult] = self._loop.create_future()
        self._n_waiting += 1
        self._entries.put((write, future))
        return await future

    def _write_until_closed(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            if batch:
                self._announce(batch, self._commit([write for write, _ in batch]))

    def _next_batch(self) -> tuple[list[_Entry], bool]:
        """Wait for one entry, then take what is there; False when the queue was closed."""
        batch: list[_Entry] = []
        entry = self._entries.get()
        try:
            while entry is not None:
                batch.append(entry)
                if len(batch) == self._max_batch:
                    return batch, True
                entry = self._entries.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _commit(self, writes: Sequence[Write]) -> Sequence[WriteResult | RecsysError]:
        try:
            return self._store.commit(writes)
        except StoreUnavailableError as error:
            return [error] * len(writes)
        except Exception as error:  # noqa: BLE001 -- the writer must outlive any fault of a driver
            log("commit_failed", level=logging.ERROR, error=error, n_writes=len(writes))
            return [StoreUnavailableError("the database refused the transaction; nothing was stored")] * len(
                writes
            )

    def _announce(self, batch: list[_Entry], results: Sequence[WriteResult | RecsysError]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, batch, results)

    def _resolve(self, batch: list[_Entry], results: Sequence[WriteResult | RecsysError]) -> None:
        self._n_waiting -= len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, RecsysError):
                future.set_exception(result)
            else:
                future.set_result(result)
