"""What a worker does beside requests: see what changed outside, count, judge experiments, keep house."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from recsys.errors import RecsysError, StoreUnavailableError
from serving.services.crew import Crew
from serving.services.experiment_guard import Guard
from serving.services.figures import Figures
from serving.services.services import Services
from serving.services.upkeep import Upkeep
from serving.telemetry import log
from serving.web.authentication import Doorkeeper

# What takes effect is to be in force within a second, and looking and compiling take time too.
SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_TURNS = 0.1
_SECONDS_BETWEEN_COUNTS = 1.0
_SECONDS_BETWEEN_SCHEMAS = 1.0
_SECONDS_BETWEEN_FIGURES = 1.0
_SECONDS_FOR_LAST_OUTCOMES = 2.0
_SECONDS_BETWEEN_CHECKPOINTS = 0.25
# How often it is asked whether it is time to judge the experiments; see `Guard`.
_SECONDS_BETWEEN_GUARDS = 30.0
_SECONDS_BETWEEN_BOOKS = 60.0
_SECONDS_BETWEEN_CARES = 60.0
_KEPT_AFTER_ITS_END = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Background:
    """The loops of one worker; what fails in one is logged, tried again later, and keeps no other from it.

    Attributes:
        services: What is looked after.
        doorkeeper: Knows the keys.
        figures: What is measured.
        guard: Judges experiments.
        upkeep: Makes room in the log, and retires what is too old.
        crew: The other workers of this server.
    """

    services: Services
    doorkeeper: Doorkeeper
    figures: Figures
    guard: Guard
    upkeep: Upkeep
    crew: Crew

    @property
    def can_answer(self) -> bool:
        """Whether catalogue, policy and keys were ever read."""
        return self.services.scoring.looked_at is not None and self.doorkeeper.has_read

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look once, then go on beside the requests until the end; see `_stand_by`."""
        await self._look()
        await self._look_at_keys()
        await _attempt(self.figures.forget_the_past)
        loops = [
            asyncio.create_task(_repeat(work, seconds))
            for work, seconds in (
                (self._look, SECONDS_BETWEEN_LOOKS),
                # By itself: loading a bundle may take long, and a revoked key is refused within a second.
                (self._look_at_keys, SECONDS_BETWEEN_LOOKS),
                (self._count, _SECONDS_BETWEEN_COUNTS),
                (self._look_at_schema, _SECONDS_BETWEEN_SCHEMAS),
                (partial(_attempt, self.figures.gather), _SECONDS_BETWEEN_FIGURES),
                # By itself: where the database hangs, the others' figures go on.
                (partial(_attempt, self.figures.count_outcomes), _SECONDS_BETWEEN_FIGURES),
                (self._checkpoint, _SECONDS_BETWEEN_CHECKPOINTS),
                (partial(_attempt, self.guard.look), _SECONDS_BETWEEN_GUARDS),
                (self._keep_books, _SECONDS_BETWEEN_BOOKS),
                (partial(_attempt, self.upkeep.look), _SECONDS_BETWEEN_CARES),
            )
        ]
        try:
            await self._stand_by()
            yield
        finally:
            self.crew.leave()
            for loop in loops:
                loop.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loop

    async def _stand_by(self) -> None:
        """Let no caller in while there is nothing to answer from, as long as another worker can answer.

        Where none can, callers are let in and told so: they are not to wait for nobody.
        """
        is_told = False
        while not self.can_answer and not self.services.drain.is_over and self.crew.has_others():
            if not is_told:
                is_told = True
                cause = "nothing could be read yet: callers are left to the other workers"
                log("worker_waits", level=logging.WARNING, cause=cause)
            await asyncio.sleep(_SECONDS_BETWEEN_TURNS)

    async def _look(self) -> None:
        """See what changed outside."""
        await self._read(partial(self.services.scoring.refresh, self.services.clock.now()))

    async def _look_at_keys(self) -> None:
        """See which keys were made and revoked, and which ended."""
        self.doorkeeper.drop_ended()
        await self._read(self.doorkeeper.refresh)

    async def _read(self, look: Callable[[], object]) -> None:
        services = self.services
        if services.commits.are_reads_away:  # it is tried elsewhere whether the database is back
            return
        fault = await _attempt(look)
        if self.can_answer:
            self.crew.join()
        if isinstance(fault, StoreUnavailableError) and services.scoring.policy_fault is None:
            services.commits.lose(fault, are_reads=True)

    async def _count(self) -> None:
        """Count the holders; decisions can do without, so that it fails says nothing of the database."""
        if self.services.commits.outage is None:
            await _attempt(self.services.scoring.count_holders)

    async def _look_at_schema(self) -> None:
        """See whether somebody migrated the database; that it does not answer is found out by others."""
        services = self.services
        if services.commits.outage is None:
            await _attempt(partial(services.schema.look, services.store))

    async def _checkpoint(self) -> None:
        """Keep the writer from doing it."""
        if self.services.commits.outage is None:
            await _attempt(self.services.store.checkpoint)

    async def _keep_books(self) -> None:
        """Write down which keys are in use, and forget what ended."""
        await _attempt(self.doorkeeper.write_down_use)
        ended_at = self.services.clock.now() - _KEPT_AFTER_ITS_END
        await _attempt(partial(self.services.store.forget_sessions, ended_at))

    async def finish(self) -> None:
        """Count what the last requests left; what only a database that hangs knows is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_FOR_LAST_OUTCOMES):
                await _attempt(self.figures.count_outcomes)
        await _attempt(self.figures.gather)


async def _repeat(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    while True:
        await work()
        await asyncio.sleep(seconds)


async def _attempt(work: Callable[[], object]) -> Exception | None:
    """Do it in a thread; what went wrong is logged and returned."""
    try:
        await asyncio.to_thread(work)
    except RecsysError as error:
        log("refresh_failed", level=logging.WARNING, cause=str(error))
        return error
    except Exception as error:  # noqa: BLE001 -- a loop that dies would leave this worker behind for good
        log("refresh_failed", level=logging.ERROR, error=error, cause=repr(error))
        return error
    return None
