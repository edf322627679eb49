"""Rows for training: of clients at past moments, with a population as old as the one a server reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.replay import replay
from recsys.data.snapshot import offers_at, take_snapshot, valid_clients
from recsys.errors import LeakageError
from recsys.features.builder import FeatureBuilder
from recsys.features.population import Population, fit_population
from recsys.features.spec import FeatureSpec

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PastCut:
    """A past moment and whose rows are wanted.

    Attributes:
        at: The moment, aware.
        population_age_days: How old the population is at the moment, ≥0. A server that gets a bundle each
            week reads one of 0 to 7 days, so cuts should have ages of that range.
        client_ids: The clients; None = everybody with a valid profile at the moment.
    """

    at: datetime
    population_age_days: int
    client_ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class CutRows:
    """Rows of one cut.

    Attributes:
        at: The moment of every row, in UTC.
        population_as_of: When the population's figures were true.
        client_ids: One for each row.
        offer_ids: The offers known at the moment, ascending.
        spec: Names, units and ranges of the columns.
        client: Shape (n_clients, n_client_features).
        pairs: Shape (n_clients, n_offers, n_pair_features).
    """

    at: datetime
    population_as_of: datetime
    client_ids: tuple[str, ...]
    offer_ids: tuple[str, ...]
    spec: FeatureSpec
    client: FloatArray
    pairs: FloatArray


def training_rows(dataset: Dataset, cuts: Sequence[PastCut], need_groups: Sequence[str]) -> Iterator[CutRows]:
    """The rows that a server would have built at past moments, cut by cut.

    States and offers are those recorded by the moment; the population is that of
    moment − population_age_days, out of what was recorded by then. One cut is in memory at a time: 1,000
    clients and 100 offers take some 30 MB. Cuts with one population count it once.

    Args:
        dataset: Validated tables.
        cuts: The moments.
        need_groups: Those of the bundle that is being fitted. They are columns of every row, so they are
            the same for all cuts; holdings in a group that is not among them count under ``other``.

    Raises:
        LeakageError: A population would be younger than the moment.
        ValueError: A moment is naive.
    """
    for cut in cuts:
        if cut.population_age_days < 0:
            raise LeakageError(
                f"the cut {cut.at.isoformat()} asks for a population of {-cut.population_age_days} days after"
                " it: population_age_days must be 0 or more"
            )
        if cut.at.tzinfo is None:
            raise ValueError(f"the cut {cut.at.isoformat()} has no time zone")
    return _rows_of_cuts(dataset, cuts, tuple(need_groups))


def _rows_of_cuts(
    dataset: Dataset, cuts: Sequence[PastCut], need_groups: tuple[str, ...]
) -> Iterator[CutRows]:
    populations: dict[datetime, Population] = {}
    for cut in cuts:
        at = cut.at.astimezone(UTC)
        as_of = at - timedelta(days=cut.population_age_days)
        if as_of not in populations:
            snapshot = take_snapshot(dataset, as_of)
            population = fit_population(snapshot.states, snapshot.offers, as_of)
            populations[as_of] = replace(population, need_groups=need_groups)
        builder = FeatureBuilder(offers_at(dataset, at), populations[as_of])
        client_ids = cut.client_ids
        if client_ids is None:
            client_ids = valid_clients(dataset, at)["client_id"].to_list()
        yield _rows_of_cut(dataset, builder, at, client_ids, as_of)


def _rows_of_cut(
    dataset: Dataset, builder: FeatureBuilder, at: datetime, client_ids: Sequence[str], as_of: datetime
) -> CutRows:
    n_clients, spec = len(client_ids), builder.spec
    client = np.empty((n_clients, len(spec.client)))
    pairs = np.empty((n_clients, len(builder.offer_ids), len(spec.pair)))
    moments = (
        pl.Series("client_id", client_ids, dtype=pl.String).to_frame().with_columns(pl.lit(at).alias("at"))
    )
    # states come one after another and go: only their numbers stay
    for number, state in enumerate(replay(dataset, moments, has_contacts=False)):
        rows = builder.rows(state, at)
        client[number], pairs[number] = rows.client, rows.pairs
    return CutRows(at, as_of, tuple(client_ids), builder.offer_ids, spec, client, pairs)
