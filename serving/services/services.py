"""What the use cases share: the store, the writer, the models and the clock of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from serving.ports import Clock, Store
from serving.services.analysis import Analysis
from serving.services.commit_queue import CommitQueue
from serving.services.recommendation import Prepared, Query
from serving.services.rounds import Rounds
from serving.services.scoring import Scoring

Value = TypeVar("Value")
Argument = TypeVar("Argument")


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
    """

    store: Store
    commits: CommitQueue
    scoring: Scoring
    clock: Clock
    rounds: Rounds[Query, Prepared] = field(default_factory=Rounds)
    bundles_dir: Path | None = None
    analysis: Analysis = field(default_factory=Analysis)

    async def read(self, query: Callable[[Argument], Value], argument: Argument) -> Value:
        """Run a read of the store: at once when it is embedded, else in a thread."""
        if self.store.is_embedded:
            return query(argument)
        return await asyncio.to_thread(query, argument)
