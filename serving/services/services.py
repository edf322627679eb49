"""What the use cases share: the store, the writer, the models and the clock of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from recsys.errors import StoreUnavailableError
from serving.ports import Clock, Store
from serving.services.analysis import Analysis
from serving.services.commit_queue import CommitQueue
from serving.services.drain import Drain
from serving.services.drift import DriftWatch
from serving.services.outcomes import Outcomes
from serving.services.recommendation import Prepared, Query
from serving.services.rounds import Rounds
from serving.services.schema_watch import SchemaWatch
from serving.services.scoring import Scoring
from serving.services.shadow import Shadow
from serving.telemetry.measures import Measures

# A read takes a millisecond; so long does a decision wait for one before it takes what is remembered.
_SECONDS_TO_READ = 1.0
# What else somebody waits for may take longer; where it hangs, he is told so before he gives up.
_SECONDS_TO_WAIT = 2.0
# Threads of their own: others may be busy for longer than that with logins, figures or upkeep.
_N_READERS = 8

Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")


def _new_readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_N_READERS, "reader")


@dataclass(frozen=True, slots=True)
class Services:
    """Passed as the first argument to every use case; the app keeps it as ``app.state.services``.

    Use cases: `serving.services.recommend.recommend`, `serving.services.record_events.record_events`,
    `serving.services.clients` (put_client, put_holdings, get_client, find_clients, list_offers) and
    `serving.services.health.check_readiness`. They speak in domain types, so the API and the portal use
    them alike.

    Attributes:
        store: Reads.
        commits: Writes.
        scoring: Models, catalogue and placements in force.
        clock: The time.
        rounds: Gathers the requests for recommendations that arrive together.
        bundles_dir: Folder of the bundles that an experiment may name; None = none is known.
        analysis: Figures of experiments.
        measures: Where everything is counted that is told to Prometheus.
        drift: Samples decisions, to compare them with the training window.
        outcomes: Counts what followed decisions.
        shadow: Scores a share of the decisions with the models in shadow.
        drain: Whether the server is about to end.
        schema: Whether the database has the known schema.
        readers: Threads for `ask` alone; they begin when they are needed.
    """

    store: Store
    commits: CommitQueue
    scoring: Scoring
    clock: Clock
    rounds: Rounds[Query, Prepared] = field(default_factory=Rounds)
    bundles_dir: Path | None = None
    analysis: Analysis = field(default_factory=Analysis)
    measures: Measures = field(default_factory=Measures)
    drift: DriftWatch = field(default_factory=DriftWatch)
    outcomes: Outcomes = field(default_factory=Outcomes)
    shadow: Shadow = field(default_factory=Shadow)
    drain: Drain = field(default_factory=Drain)
    schema: SchemaWatch = field(default_factory=SchemaWatch)
    readers: ThreadPoolExecutor = field(default_factory=_new_readers)

    async def ask(self, query: Callable[[*Arguments], Value], *arguments: *Arguments) -> Value:
        """Run a read of a few rows, such as a decision waits for, in a bounded time.

        One that fails, or takes too long, begins an outage; while reads are away, nobody is kept waiting.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        if self.commits.are_reads_away:
            raise StoreUnavailableError("the database is away", is_told=True)
        try:
            if self.store.is_embedded:
                return query(*arguments)
            async with asyncio.timeout(_SECONDS_TO_READ):
                return await asyncio.get_running_loop().run_in_executor(self.readers, query, *arguments)
        except StoreUnavailableError as error:
            self.commits.lose(error, are_reads=True)
            raise
        except TimeoutError as error:
            slow = StoreUnavailableError(f"the database took more than {_SECONDS_TO_READ} s for a small read")
            self.commits.lose(slow, are_reads=True)
            raise slow from error

    async def in_thread(self, work: Callable[[*Arguments], Value], *arguments: *Arguments) -> Value:
        """Do in a thread what may take a while in the store, and wait for it a bounded time.

        That it is slow begins no outage: it may be much that was asked for. What hangs goes on by itself.

        Raises:
            StoreUnavailableError: The store did not answer; of a write nobody knows whether it was done.
        """
        if self.commits.are_reads_away:
            raise StoreUnavailableError("the database is away", is_told=True)
        try:
            async with asyncio.timeout(_SECONDS_TO_WAIT):
                return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        except TimeoutError as error:
            raise StoreUnavailableError(f"the database took more than {_SECONDS_TO_WAIT} s") from error

    async def read(self, query: Callable[[*Arguments], Value], *arguments: *Arguments) -> Value:
        """Run a read of many rows: at once when the store is embedded, else as `in_thread` does.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        if self.store.is_embedded and not self.commits.are_reads_away:
            return query(*arguments)
        return await self.in_thread(query, *arguments)
