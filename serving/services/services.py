"""What the use cases share: the store, the writer, the models and the clock of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from recsys.errors import StoreUnavailableError
from serving.ports import Clock, Store
from serving.services.analysis import Analysis
from serving.services.commit_queue import CommitQueue
from serving.services.drain import Drain
from serving.services.drift import DriftWatch
from serving.services.outcomes import Outcomes
from serving.services.recommendation import Prepared, Query
from serving.services.rounds import Rounds
from serving.services.scoring import Scoring
from serving.services.shadow import Shadow
from serving.telemetry.measures import Measures

# A read takes a millisecond; so long does a decision wait for one before it takes what is remembered.
_SECONDS_TO_READ = 1.0
# Threads of their own: others may be busy for longer than that with logins, figures or upkeep.
_N_READERS = 8

Value = TypeVar("Value")
Argument = TypeVar("Argument")


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
    readers: ThreadPoolExecutor = field(default_factory=_new_readers)

    async def ask(self, query: Callable[[Argument], Value], argument: Argument) -> Value:
        """Run a read that a decision waits for, in a bounded time.

        One that fails, or takes too long, begins an outage; while reads are away, nobody is kept waiting.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        if self.commits.are_reads_away:
            raise StoreUnavailableError("the database is away", is_told=True)
        try:
            if self.store.is_embedded:
                return query(argument)
            async with asyncio.timeout(_SECONDS_TO_READ):
                return await asyncio.get_running_loop().run_in_executor(self.readers, query, argument)
        except StoreUnavailableError as error:
            self.commits.lose(error, are_reads=True)
            raise
        except TimeoutError as error:
            slow = StoreUnavailableError(f"the database took more than {_SECONDS_TO_READ} s to read a client")
            self.commits.lose(slow, are_reads=True)
            raise slow from error

    async def read(self, query: Callable[[Argument], Value], argument: Argument) -> Value:
        """Run a read of the store: at once when it is embedded, else in a thread."""
        if self.store.is_embedded:
            return query(argument)
        return await asyncio.to_thread(query, argument)
