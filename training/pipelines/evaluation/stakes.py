"""What there is to win at a cut, and what probabilities given there turned out to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recsys.data.dataset import Dataset
from recsys.data.replay import collector_paused, replay
from recsys.data.splits import first_adoptions
from recsys.models.base import ClientBatch, FloatArray, IntArray
from training.pipelines.evaluation.cuts import CutTruth, end_of_data, known_at, of_clients
from training.pipelines.past import decided_at, exposures

TOP_SLOTS = 3
ACCEPTANCE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Exposed:
    """Offers that clients were shown after a cut, and what came of each.

    Attributes:
        clients: One row for each (client, moment): as it was when the list was decided.
        client_ids: The client of each row.
        rows: Row in `clients`, ascending, shape (n_exposures,).
        columns: Column of the offer, shape (n_exposures,).
        slots: 1-based slot of the list, shape (n_exposures,).
        outcomes: 1 where it was activated within the horizon of the first impression, shape (n_exposures,).
    """

    clients: ClientBatch
    client_ids: tuple[str, ...]
    rows: IntArray
    columns: IntArray
    slots: IntArray
    outcomes: FloatArray


class Adopted(NamedTuple):
    """What the clients of a cut first connected within some days.

    Attributes:
        pattern: Clients_by_offers.
        is_observed: Whether each client was observed to the end of those days, shape (n_clients,).
    """

    pattern: sparse.csr_array
    is_observed: NDArray[np.bool_]


class Stakes:
    """What there is to win at a cut, counted once for all contestants.

    Args:
        dataset: The whole data.
        truth: The cut.
        horizon_days: Days after the cut in which exposures are looked for.
    """

    def __init__(self, dataset: Dataset, truth: CutTruth, horizon_days: int) -> None:
        self.truth = truth
        self._dataset = dataset
        self._horizon_days = horizon_days
        everybody = np.ones(len(truth.client_ids), dtype=bool)
        self._adoptions: dict[int, Adopted | None] = {horizon_days: Adopted(truth.relevant, everybody)}
        self._exposed: dict[int, Exposed | None] = {}
        known = [offer.margin_minor for offer in truth.known.training.catalogue]
        has_margins = any(margin is not None for margin in known)
        self.margins: FloatArray | None = np.array([margin or 0 for margin in known], dtype=np.float64)
        if not has_margins:
            self.margins = None

    @property
    def margin_gained(self) -> sparse.csr_array | None:
        """Margin of what each client connected, minor units a month; None without margins."""
        if self.margins is None:
            return None
        gained = self.truth.relevant.copy()
        gained.data = self.margins[gained.indices]
        return gained

    def adopted_within(self, days: int) -> Adopted | None:
        """What each client of the cut first connected within so many days; None where the data end before."""
        if days not in self._adoptions:
            self._adoptions[days] = self._adopted_within(days)
        return self._adoptions[days]

    def exposed(self, days: int) -> Exposed | None:
        """First impressions in lists after the cut, with outcomes within so many days.

        An exposure whose days are not over when the data end is left out; None where none is left.
        """
        if days not in self._exposed:
            self._exposed[days] = self._exposed_with(days)
        return self._exposed[days]

    def _adopted_within(self, days: int) -> Adopted | None:
        truth = self.truth
        if truth.as_of + timedelta(days=days) > end_of_data(self._dataset):
            return None
        adoptions = first_adoptions(self._dataset, truth.as_of, days)
        return Adopted(
            of_clients(truth.client_ids, adoptions, truth.offers),
            np.array([client_id in adoptions for client_id in truth.client_ids], dtype=bool),
        )

    def _exposed_with(self, days: int) -> Exposed | None:
        cut, offers = self.truth.as_of, self.truth.offers
        end = end_of_data(self._dataset).astimezone(UTC)
        seen = exposures(known_at(self._dataset, end), end, days).filter(
            pl.col("at") > cut,
            pl.col("at") <= cut + timedelta(days=self._horizon_days),
            pl.col("slot") >= 1,
            pl.col("decision_id").is_not_null(),
            pl.col("offer_id").is_in(offers.offer_ids),
            pl.col("client_id").is_in(self.truth.client_ids),
        )
        if seen.is_empty():
            return None
        seen = seen.with_columns(decided_at().alias("at"))
        moments = seen.select("client_id", "at").unique().sort("at", "client_id")
        rows = seen.join(moments.with_row_index("row"), on=["client_id", "at"])
        rows = rows.sort("row", "slot", "offer_id")
        with collector_paused():
            states = list(replay(self._dataset, moments, has_contacts=False))
        features = self.truth.clients.features
        return Exposed(
            clients=ClientBatch.from_states(states, offers, moments["at"].to_list(), features),
            client_ids=tuple(moments["client_id"].to_list()),
            rows=rows["row"].cast(pl.Int64).to_numpy(),
            columns=np.array(offers.known_columns(rows["offer_id"].to_list()), dtype=np.int64),
            slots=rows["slot"].to_numpy(),
            outcomes=rows["outcome"].to_numpy(),
        )
