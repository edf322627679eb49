"""Group commit: many requests, one writer, one durable transaction for all that wait.

While the store is away, decisions go into a journal on this machine and everything else is refused at once.
Once a second it is tried whether the store takes writes again; then the journal is replayed first, so that an
event never comes before the decision that it refers to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, NamedTuple

from recsys.errors import RecsysError, StoreUnavailableError
from serving.ports import Answer, LogDecisions, Store, Write, WriteResult
from serving.services.journal import Journal, JournalError, same_request
from serving.services.replay import replay
from serving.services.threads import has_ended
from serving.services.writer import Entry, InDoubtError, Job, NotStoredError, Writer
from serving.telemetry import log

# A group commit takes milliseconds; the longest that is normal is to wait for a bulk load's transaction. Most
# portals give up after some seconds: who waits for a decision is to have it before that.
_SECONDS_TO_COMMIT = 2.0
_SECONDS_TO_KEEP = 2.0
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_BETWEEN_PROBES = 1.0
_SECONDS_BETWEEN_ADOPTIONS = 5.0
_SECONDS_TO_CLOSE = 10.0
# So few decisions are replayed before anybody notices that writes wait for them.
_FEW = 256

# Retries come within seconds; an answer takes some kilobytes.
_MAX_ANSWERS = 4_000

_PROBE = "journal probe"


class Logged(NamedTuple):
    """What became of decisions.

    Attributes:
        answer: What is stored under their request_id, an earlier answer perhaps; None without a request_id.
        is_logged: Whether they are stored, or wait in the journal; False = they are kept nowhere.
    """

    answer: Answer | None
    is_logged: bool


@dataclass(frozen=True, slots=True)
class Outage:
    """The store does not take writes.

    Attributes:
        cause: The first thing that went wrong.
        began_at: When, by the monotonic clock.
    """

    cause: str
    began_at: float


class CommitQueue:
    """Hands writes to one writer thread; an answer waits until its write is durable.

    While one transaction runs, the next batch gathers, so the batch grows with the load by itself. The
    queue is bounded: when the store cannot keep up, requests do not pile up.

    Args:
        store: Where the writes go.
        max_waiting: Writes that may wait, ≥1.
        max_batch: Writes of one transaction, ≥1.
        journal: Where decisions wait while the store is away; None keeps them nowhere.

    Attributes:
        journal: The same.
        outage: Why decisions go into the journal and other writes are refused; None = all is well.
        are_reads_away: Whether reads of the store failed in this outage.
        n_waiting: Writes that wait for the store.
    """

    def __init__(
        self, store: Store, max_waiting: int = 2_000, max_batch: int = 256, journal: Journal | None = None
    ) -> None:
        self.journal = journal
        self.outage: Outage | None = None
        self.are_reads_away = False
        self.n_waiting = 0
        self._max_waiting = max_waiting
        self._writer = Writer(store, max_batch, self._announce)
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_recovering = False
        self._is_journaling = False
        self._n_replayed = 0
        self._answers: dict[str, Answer] = {}

    def start(self) -> None:
        """Start the writer; call on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = self._writer.start()
        if self.journal is not None:
            self.journal.start()
            if self.journal.claim():
                self.lose(StoreUnavailableError("decisions of an earlier run wait in the journal"))
        self._spawn(self._watch())

    async def close(self) -> None:
        """Write what waits, then stop, in bounded time; nothing is accepted any more."""
        thread, self._thread = self._thread, None
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if thread is not None:
            self._writer.end()
            # One that hangs in the database is left behind: what it was to write is in the journal.
            await has_ended(thread, _SECONDS_TO_CLOSE)
        if self.journal is not None:
            await self.journal.close()

    async def submit(self, write: Write) -> WriteResult:
        """Do a write; returns its result once it is durable.

        Raises:
            StoreUnavailableError: The queue is full or closed, or the store failed. Doing it again is safe.
            RecsysError: The store refused this write.
        """
        if self.outage is not None and self._thread is not None:
            raise StoreUnavailableError(f"the database is away: {self.outage.cause}", is_told=True)
        return await self._commit(write)

    async def log(self, write: LogDecisions) -> Logged:
        """Store decisions; while the store is away, keep them in the journal until it is back.

        Raises:
            ConflictError: The request_id was used with another body.
            StoreUnavailableError: It is not known whether the store took them, and they could not be kept
                elsewhere, or the service is shutting down. Asking again is safe.
        """
        if not self._is_journaling:
            try:
                stored = await self._commit(write)
            except NotStoredError as error:
                self.lose(error)  # what is kept is to be replayed
                return await self._keep(write)
            except InDoubtError as doubt:
                kept = await self._keep(write)
                if not kept.is_logged:
                    raise doubt from None
                return kept
            answer = stored if isinstance(stored, Answer) else None
            if answer is not None:
                self.remember(answer)
            return Logged(answer, is_logged=True)
        return await self._keep(write)

    def remember(self, answer: Answer) -> None:
        """Keep in memory what the store has under a request_id, for retries that come while it is away."""
        self._answers[answer.request_id] = answer
        if len(self._answers) > _MAX_ANSWERS:
            del self._answers[next(iter(self._answers))]

    def lose(self, cause: Exception, *, are_reads: bool = False) -> None:
        """Begin to do without the store, until it takes writes again; call on the event loop.

        Args:
            cause: What went wrong.
            are_reads: Whether it was a read: then nobody reads meanwhile.
        """
        if self.outage is None:
            self.outage = Outage(str(cause), time.monotonic())
            self._n_replayed = 0
            log("store_away", level=logging.WARNING, cause=str(cause))
        self._is_journaling = True
        self.are_reads_away = self.are_reads_away or are_reads
        if not self._is_recovering and self._thread is not None:
            self._is_recovering = True
            self._spawn(self._recover())

    def check_order(self) -> None:
        """Refuse what refers to an unknown decision as long as decisions wait in any process's journal.

        Raises:
            StoreUnavailableError: Some do: it may be one of them.
        """
        if self.journal is not None and self.journal.has_pending():
            raise StoreUnavailableError("decisions wait in the journal of a worker; try again in a second")

    # On the event loop

    async def _commit(self, write: Write) -> WriteResult:
        if self._thread is None or self._loop is None:
            raise StoreUnavailableError("the service is shutting down; try again in a moment")
        if self.n_waiting >= self._max_waiting:
            raise NotStoredError(
                f"{self.n_waiting} writes are waiting for the database; try again in a second"
            )
        future: asyncio.Future[WriteResult] = self._loop.create_future()
        self.n_waiting += 1
        self._writer.put((write, future))
        return await future

    async def _keep(self, write: LogDecisions) -> Logged:
        if self._thread is None:
            raise StoreUnavailableError("the service is shutting down; try again in a moment")
        earlier = None if write.answer is None else self._answers.get(write.answer.request_id)
        if write.answer is not None and earlier is not None:
            return Logged(same_request(earlier, write.answer.request_digest), is_logged=True)
        if self.journal is None:
            return Logged(write.answer, is_logged=False)
        try:
            async with asyncio.timeout(_SECONDS_TO_KEEP):
                return Logged(await self.journal.keep(write), is_logged=True)
        except JournalError:
            return Logged(write.answer, is_logged=False)
        except TimeoutError:
            raise StoreUnavailableError("neither database nor journal answers") from None

    async def _in_writer(self, job: Job) -> int | None:
        """Run a job between two transactions; StoreUnavailableError where it failed."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.n_waiting += 1
        self._writer.put((job, future))
        return await future

    async def _recover(self) -> None:
        """Try whether the store is back; then store what waits, and go on as before."""
        try:
            if self.journal is not None:
                await self.journal.adopted()
            while not await self._has_returned():
                await asyncio.sleep(_SECONDS_BETWEEN_PROBES)
        finally:
            self._is_recovering = False
        self._tell_return()

    async def _has_returned(self) -> bool:
        """Whether the store takes writes again, and has everything that waited."""
        try:
            await self._in_writer(self._probe)
            while self._n_kept() > _FEW:
                await self._bring()
            # Decisions go to the store again; what is being kept just now is stored before any event.
            self._is_journaling = False
            if self.journal is not None:
                await self.journal.settle()
            while await self._bring():
                pass
        except StoreUnavailableError:
            self._is_journaling = True
        return not self._is_journaling

    async def _bring(self) -> bool:
        """Store the next decisions that wait; False where none do."""
        n_replayed = await self._in_writer(self._replay)
        self._n_replayed += n_replayed or 0
        return n_replayed is not None

    async def _adopt(self) -> None:
        """Store what dead processes left; what is asked meanwhile comes between."""
        if self.journal is None or not self.journal.claim():
            return
        try:
            await self.journal.adopted()
            while await self._bring():
                pass
        except StoreUnavailableError as error:
            self.lose(error)

    def _n_kept(self) -> int:
        return 0 if self.journal is None else self.journal.n_waiting

    def _tell_return(self) -> None:
        outage, self.outage, self.are_reads_away = self.outage, None, False
        if outage is not None:
            seconds = round(time.monotonic() - outage.began_at, 3)
            log("store_back", seconds=seconds, n_replayed=self._n_replayed)

    async def _watch(self) -> None:
        """Look after the writer, which may hang, and after journals of dead processes; wait for neither."""
        adopt_at, adoption = 0.0, None
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if self._writer.seconds_asked > _SECONDS_TO_COMMIT:
                self._give_up(self._writer.seconds_asked)
            is_free = self.outage is None and (adoption is None or adoption.done())
            if is_free and time.monotonic() > adopt_at:
                adopt_at = time.monotonic() + _SECONDS_BETWEEN_ADOPTIONS
                adoption = self._spawn(self._adopt())

    def _give_up(self, seconds: float) -> None:
        """Let nobody wait any longer for a transaction that hangs, or for its turn after it."""
        cause = f"the database has not answered for {seconds:.1f} s"
        self.lose(StoreUnavailableError(cause))
        for _, future in self._writer.asked:
            if not future.done():
                future.set_exception(InDoubtError(cause, is_told=True))
        for entry in self._writer.withdraw():
            self._resolve([entry], [NotStoredError(cause, is_told=True)])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _resolve(self, batch: Sequence[Entry], results: Sequence[Any]) -> None:
        self.n_waiting -= len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, InDoubtError):
                self.lose(result)
            if future.done():
                continue
            if isinstance(result, RecsysError):
                future.set_exception(result)
            else:
                future.set_result(result)

    # In the writer thread

    def _probe(self) -> None:
        """Ask for a write: a full disk shows in nothing else."""
        with self._writer.asking() as store:
            store.take_turn(_PROBE, datetime.now(UTC), timedelta(0))

    def _replay(self) -> int | None:
        return None if self.journal is None else replay(self.journal, self._writer.commit)

    def _announce(self, batch: Sequence[Entry], results: Sequence[Any]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, batch, results)
