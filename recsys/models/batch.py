"""Clients and offers as models read them: plain arrays, and what lies behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import repeat
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.domain import ClientState
from recsys.errors import UnknownOfferError
from recsys.features.builder import FeatureBuilder
from recsys.features.client import N_FIGURES, figures_of, traits_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_DAY = timedelta(days=1)
Arrays = dict[str, NDArray[np.generic]]
FrozenArrays = Mapping[str, NDArray[np.generic]]


class OfferIndex:
    """The offers a model knows, in the order of its columns.

    Attributes:
        offer_ids: The ids, in order.
        columns: The column of each id.
    """

    def __init__(self, offer_ids: Sequence[str]) -> None:
        self.offer_ids = tuple(offer_ids)
        self.columns: Mapping[str, int] = {offer_id: place for place, offer_id in enumerate(self.offer_ids)}
        if len(self.columns) != len(self.offer_ids):
            raise ValueError("offer_ids must be unique")

    def __len__(self) -> int:
        return len(self.offer_ids)

    def __contains__(self, offer_id: object) -> bool:
        return offer_id in self.columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfferIndex) and self.offer_ids == other.offer_ids

    def __hash__(self) -> int:
        return hash(self.offer_ids)

    def column_of(self, offer_id: str) -> int:
        """The column of an offer.

        Raises:
            UnknownOfferError: The model was not trained with this offer.
        """
        try:
            return self.columns[offer_id]
        except KeyError:
            raise UnknownOfferError(offer_id, "the model was trained without it") from None

    def known_columns(self, offer_ids: Sequence[str]) -> list[int]:
        """Columns of those offers that the model knows; the others are passed over."""
        columns = self.columns
        return [columns[offer_id] for offer_id in offer_ids if offer_id in columns]


def _no_ages() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True)
class ClientBatch:
    """Clients as models read them: holdings as a sparse pattern, profiles as traits, and what lies behind.

    Attributes:
        indptr: Start of each client's holdings in `columns`, shape (n_clients + 1,).
        columns: Columns of the offers held, each once per client, ascending, shape (n_holdings,).
        traits: The known facts of each client's profile; see `traits_of`.
        n_offers: Number of offers of the index.
        ages: Days from the start of each holding (of several of one offer, the last; for purchases the last
            purchase) to the client's moment, ≥0, shape (n_holdings,); zeros where no moment is known.
        figures: How large each client is, NaN = unknown, shape (n_clients, 2); see `figures_of`.
        states: The clients' states, empty where only the arrays are known.
        moments: When each client is looked at, aware; empty where nobody said.
        features: Reads states at their moments as numbers; None where there is no catalogue.
    """

    indptr: IntArray
    columns: IntArray
    traits: tuple[tuple[str, ...], ...]
    n_offers: int
    ages: FloatArray = field(default_factory=_no_ages)
    figures: FloatArray = field(default_factory=_no_ages)
    states: tuple[ClientState, ...] = ()
    moments: tuple[datetime, ...] = ()
    features: FeatureBuilder | None = None

    def __post_init__(self) -> None:
        if len(self.ages) != len(self.columns):
            object.__setattr__(self, "ages", np.zeros(len(self.columns)))
        if len(self.figures) != len(self.traits) or self.figures.ndim != 2:
            object.__setattr__(self, "figures", np.full((len(self.traits), N_FIGURES), np.nan))

    @classmethod
    def from_states(
        cls,
        states: Sequence[ClientState],
        offers: OfferIndex,
        moments: datetime | Sequence[datetime] | None = None,
        features: FeatureBuilder | None = None,
    ) -> Self:
        """Read clients' present holdings and profiles; holdings unknown to the index are passed over.

        Args:
            states: The clients.
            offers: The columns.
            moments: When they are looked at, aware: one for all or one for each; None = nobody knows.
            features: Reads their states as numbers, for models that ask for it, and guesses staff where it is
                unknown; without it unknown stays unknown.
        """
        known = offers.columns
        columns: list[int] = []
        ages: list[float] = []
        indptr = [0]
        if moments is None or isinstance(moments, datetime):
            moments = () if moments is None else (moments,) * len(states)
        for state, now in zip(states, moments or repeat(None), strict=False):
            # of several holdings of one offer the last counts: they ascend by their start
            held = {known[one.offer_id]: one for one in state.holdings if one.offer_id in known}
            found = sorted(held)
            columns += found
            if now is not None:
                ages += [max((now - held[column].connected_at) / _DAY, 0.0) for column in found]
            indptr.append(len(columns))
        profiles = [state.profile if features is None else features.profile_of(state) for state in states]
        return cls(
            indptr=np.array(indptr, dtype=np.int64),
            columns=np.array(columns, dtype=np.int64),
            traits=tuple([traits_of(profile) for profile in profiles]),
            n_offers=len(offers),
            ages=np.array(ages, dtype=np.float64),
            figures=np.array([figures_of(profile) for profile in profiles], dtype=np.float64).reshape(
                -1, N_FIGURES
            ),
            states=tuple(states),
            moments=tuple(moments),
            features=features,
        )

    def __len__(self) -> int:
        return len(self.traits)

    @cached_property
    def n_held(self) -> IntArray:
        """Number of holdings of each client, shape (n_clients,)."""
        return self.indptr[1:] - self.indptr[:-1]

    @cached_property
    def rows(self) -> IntArray:
        """Row of the client of each holding, shape (n_holdings,)."""
        return np.arange(len(self)).repeat(self.n_held)

    def columns_of(self, client: int) -> IntArray:
        """Columns of the offers that the client (a row of this batch) holds."""
        return self.columns[self.indptr[client] : self.indptr[client + 1]]

    def clients_by_offers(self) -> sparse.csr_array:
        """The holdings as a binary matrix, shape (n_clients, n_offers)."""
        return sparse.csr_array(
            (np.ones(len(self.columns)), self.columns, self.indptr),
            shape=(len(self), self.n_offers),
        )

    def take(self, clients: Sequence[int] | IntArray) -> ClientBatch:
        """Those clients (rows of this batch) in that order."""
        rows = np.asarray(clients, dtype=np.int64)
        sizes = self.n_held[rows]
        indptr = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(sizes, out=indptr[1:])
        places = np.repeat(self.indptr[rows] - indptr[:-1], sizes) + np.arange(indptr[-1])
        chosen = rows.tolist()
        return ClientBatch(
            indptr=indptr,
            columns=self.columns[places],
            traits=tuple([self.traits[client] for client in chosen]),
            n_offers=self.n_offers,
            ages=self.ages[places],
            figures=self.figures[rows],
            states=tuple([self.states[client] for client in chosen]) if self.states else (),
            moments=tuple([self.moments[client] for client in chosen]) if self.moments else (),
            features=self.features,
        )
