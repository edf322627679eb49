"""What every model is: the `Scorer` protocol and the plain arrays it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.domain import ClientState
from recsys.errors import UnknownOfferError
from recsys.features.client import traits_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Arrays = dict[str, NDArray[np.generic]]
FrozenArrays = Mapping[str, NDArray[np.generic]]


class OfferIndex:
    """The offers a model knows, in the order of its columns."""

    def __init__(self, offer_ids: Sequence[str]) -> None:
        self.offer_ids = tuple(offer_ids)
        self._columns = {offer_id: column for column, offer_id in enumerate(self.offer_ids)}
        if len(self._columns) != len(self.offer_ids):
            raise ValueError("offer_ids must be unique")

    def __len__(self) -> int:
        return len(self.offer_ids)

    def __contains__(self, offer_id: object) -> bool:
        return offer_id in self._columns

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
            return self._columns[offer_id]
        except KeyError:
            raise UnknownOfferError(offer_id, "the model was trained without it") from None

    def known_columns(self, offer_ids: Sequence[str]) -> list[int]:
        """Columns of those offers that the model knows; the others are passed over."""
        columns = self._columns
        return [columns[offer_id] for offer_id in offer_ids if offer_id in columns]


@dataclass(frozen=True, slots=True)
class ClientBatch:
    """Clients as models read them: holdings as a sparse pattern, profiles as traits.

    Attributes:
        indptr: Start of each client's holdings in `columns`, shape (n_clients + 1,).
        columns: Columns of the offers held, each once per client, ascending, shape (n_holdings,).
        traits: The known facts of each client's profile; see `traits_of`.
        n_offers: Number of offers of the index.
    """

    indptr: IntArray
    columns: IntArray
    traits: tuple[tuple[str, ...], ...]
    n_offers: int

    @classmethod
    def from_states(cls, states: Sequence[ClientState], offers: OfferIndex) -> Self:
        """Read clients' present holdings and profiles; holdings unknown to the index are passed over."""
        held = [
            sorted(set(offers.known_columns([holding.offer_id for holding in state.holdings])))
            for state in states
        ]
        indptr = np.zeros(len(held) + 1, dtype=np.int64)
        np.cumsum([len(columns) for columns in held], out=indptr[1:])
        return cls(
            indptr=indptr,
            columns=np.array([column for columns in held for column in columns], dtype=np.int64),
            traits=tuple(traits_of(state.profile) for state in states),
            n_offers=len(offers),
        )

    def __len__(self) -> int:
        return len(self.traits)

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
        held = [self.columns_of(client) for client in clients]
        indptr = np.zeros(len(held) + 1, dtype=np.int64)
        np.cumsum([len(columns) for columns in held], out=indptr[1:])
        return ClientBatch(
            indptr=indptr,
            columns=np.concatenate(held) if held else np.zeros(0, dtype=np.int64),
            traits=tuple(self.traits[client] for client in clients),
            n_offers=self.n_offers,
        )


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a model is fitted on: the world as it was known at one instant.

    Attributes:
        as_of: The information cut-off.
        offers: The columns.
        clients: The clients.
        demand: Present demand, clients_by_offers, binary: for subscriptions what is held now, for
            purchases what was bought in the last 30 days.
    """

    as_of: datetime
    offers: OfferIndex
    clients: ClientBatch
    demand: sparse.csr_array


class EvidenceKind(StrEnum):
    """What moved a score."""

    HOLDING = "holding"  # subject: an offer id the client holds
    TRAIT = "trait"  # subject: a trait such as "industry=G"
    POPULAR = "popular"  # subject: empty


@dataclass(frozen=True, slots=True)
class Evidence:
    """The strongest part of one offer's score for one client.

    Attributes:
        kind: What moved the score.
        subject: Offer id or trait; empty for plain popularity.
        n_clients: Size of the cohort behind the statement; None where there is no cohort.
    """

    kind: EvidenceKind
    subject: str = ""
    n_clients: int | None = None


POPULAR = Evidence(EvidenceKind.POPULAR)


@runtime_checkable
class Scorer(Protocol):
    """A model that gives every client a score for every offer; only the order of scores means something.

    ``fit`` returns self and changes neither its input nor anything shared. The same seed gives the same
    scores; fitting again equals fitting afresh. Clients are scored from what they hold now, so one that
    connected something a minute ago needs no retraining.
    """

    name: ClassVar[str]

    @property
    def offers(self) -> OfferIndex:
        """The columns; NotFittedError before fit."""
        ...

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Learn from a training set; returns self."""
        ...

    def score(self, clients: ClientBatch) -> FloatArray:
        """Scores, shape (n_clients, n_offers), finite; higher is better."""
        ...

    def explain(self, clients: ClientBatch, client: int, columns: IntArray) -> list[Evidence]:
        """What moved the scores of these columns for one client (a row of the batch)."""
        ...

    def to_arrays(self) -> Arrays:
        """Everything that scoring needs, as plain arrays (numbers and fixed-width strings)."""
        ...

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        ...
