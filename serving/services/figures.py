"""The figures of the service: gathered in each worker, told together by the one that is asked."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Final

from recsys.errors import StoreUnavailableError
from serving.services.drift import drift_figures
from serving.services.health import is_database_ready
from serving.services.services import Services
from serving.services.world import ScoreCache, World
from serving.telemetry import log
from serving.telemetry.exposition import exposition
from serving.telemetry.measures import Key, Snapshot
from serving.telemetry.names import (
    BUNDLE_AGE,
    BUNDLE_DATA_AGE,
    CACHE_HITS,
    CACHE_MISSES,
    COMMIT_QUEUE,
    CPU_SECONDS,
    IN_FORCE,
    IS_DATABASE_UP,
    IS_DRAINING,
    IS_READY,
    JOURNAL_BYTES,
    JOURNAL_ENTRIES,
    LOOK_AGE,
    SOURCE_AGE,
    STARTED_AT,
    WORKER_MEMORY,
    WORKERS,
    WORKERS_WANTED,
)
from serving.telemetry.spool import Spool

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Figures:
    """Gathers what requests left behind, and what is true of this worker now.

    Args:
        services: What is told of.
        spool: Where workers leave their figures for each other.
        n_workers: How many there should be.
    """

    def __init__(self, services: Services, spool: Spool, n_workers: int) -> None:
        self._services = services
        self._spool = spool
        self._n_workers = n_workers
        self._lock = Lock()
        self._cache: ScoreCache | None = None
        self._cache_seen = (0, 0)
        self._cpu_seen = 0.0
        self._started_at = time.time()
        self._fault = ""
        services.measures.watch_all(self._gauges)

    def gather(self) -> Snapshot:
        """Put together what was counted, and leave it for the other workers; blocks for no database."""
        services, measures = self._services, self._services.measures
        with self._lock:
            services.drift.count(services.clock.now())
            self._count_cache()
            cpu = _cpu_seconds()
            measures.count(CPU_SECONDS, n=cpu - self._cpu_seen)
            self._cpu_seen = cpu
            own = measures.snapshot()
            own.bins.update(services.drift.bins())
            try:
                self._spool.write(own)
                self._fault = ""
            except OSError as error:
                self._tell(f"figures cannot be left for the other workers: {error}")
        return own

    def count_outcomes(self) -> None:
        """Count what followed decisions, unless reads are known to be away; blocks meanwhile."""
        services = self._services
        if not services.commits.are_reads_away:
            services.outcomes.count(services.store, services.measures)

    async def ask_database(self) -> dict[Key, float]:
        """Count the latest outcomes, and see how the database that all share stands, in a bounded time."""
        try:
            return await self._services.in_thread(self._look_at_database)
        except StoreUnavailableError:
            return {(IS_DATABASE_UP,): 0}

    def text(self, of_database: Mapping[Key, float]) -> bytes:
        """What Prometheus reads, of all workers together.

        Args:
            of_database: What `ask_database` found.
        """
        own = self.gather()
        try:
            figures = self._spool.merged(own)
        except OSError as error:
            self._tell(f"the figures of the other workers cannot be read: {error}")
            figures = own
        figures.gauges.update({(WORKERS_WANTED,): self._n_workers, **of_database})
        world = self._world()
        scorer = None if world is None else world.ranking.scorer
        if scorer is not None and scorer.reference is not None:
            figures.gauges.update(drift_figures(figures.bins, scorer.version, scorer.reference))
        return exposition(figures)

    def forget_the_past(self) -> None:
        """Fold what long ended workers left; call at the start of a worker."""
        try:
            self._spool.fold()
        except OSError as error:
            self._tell(f"figures of ended workers cannot be put together: {error}")

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log("figures_incomplete", level=logging.WARNING, cause=fault)

    def _world(self) -> World | None:
        try:
            return self._services.scoring.world
        except StoreUnavailableError:
            return None

    def _count_cache(self) -> None:
        world = self._world()
        cache = None if world is None else world.ranking.cache
        if cache is None:
            return
        if cache is not self._cache:
            self._cache, self._cache_seen = cache, (0, 0)
        seen = (cache.n_hits, cache.n_misses)
        for name, before, now in zip((CACHE_HITS, CACHE_MISSES), self._cache_seen, seen, strict=True):
            self._services.measures.count(name, n=now - before)
        self._cache_seen = seen

    def _gauges(self) -> Iterator[tuple[Key, float]]:
        """What is true of this worker alone."""
        services, now = self._services, self._services.clock.now()
        world, looked_at = self._world(), services.scoring.looked_at
        yield (WORKERS,), 1
        yield (STARTED_AT,), self._started_at
        yield (WORKER_MEMORY,), _resident_bytes()
        yield (IS_DRAINING,), services.drain.is_draining
        yield (IS_READY,), world is not None and not services.drain.is_draining
        yield (COMMIT_QUEUE,), services.commits.n_waiting
        journal = services.commits.journal
        if journal is not None:
            yield (JOURNAL_ENTRIES,), journal.n_waiting
            yield (JOURNAL_BYTES,), journal.n_bytes
        if looked_at is not None:
            yield (LOOK_AGE,), _seconds(looked_at, now)
        if world is not None:
            yield (IN_FORCE, world.policy_version, world.bundle_version or "none"), 1
            bundle = world.ranking.bundle
            if world.bundle_version is not None and bundle is not None:
                yield (BUNDLE_AGE,), _seconds(bundle.manifest.created_at, now)
                yield (BUNDLE_DATA_AGE,), _seconds(bundle.manifest.as_of, now)

    def _look_at_database(self) -> dict[Key, float]:
        services = self._services
        self.count_outcomes()
        if not is_database_ready(services):
            return {(IS_DATABASE_UP,): 0}
        now, ages = services.clock.now(), services.store.source_ages()
        of_sources: dict[Key, float] = {
            (SOURCE_AGE, age.source): _seconds(age.loaded_at, now) for age in ages
        }
        return {(IS_DATABASE_UP,): 1, **of_sources}


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident_bytes() -> float:
    """Resident memory; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
