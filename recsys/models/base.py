"""What every model is: the `Scorer` protocol and the plain arrays it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.config import RunConfig
from recsys.domain import ClientState
from recsys.errors import NotFittedError, UnknownOfferError
from recsys.features.client import traits_of

if TYPE_CHECKING:
    # at run time the reader of snapshots needs Polars, which serving does without
    from recsys.data.snapshot import Snapshot

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Arrays = dict[str, NDArray[np.generic]]
FrozenArrays = Mapping[str, NDArray[np.generic]]
_Integer = TypeVar("_Integer", bound=np.integer)


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
        columns: list[int] = []
        indptr = [0]
        for state in states:
            columns += sorted(set(offers.known_columns([holding.offer_id for holding in state.holdings])))
            indptr.append(len(columns))
        return cls(
            indptr=np.array(indptr, dtype=np.int64),
            columns=np.array(columns, dtype=np.int64),
            traits=tuple([traits_of(state.profile) for state in states]),
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
        categories: Category of each offer, None where it has none; empty means that nobody knows.
        expert_yaml: The expert's weights as text (``expert.yaml`` of a dataset), or None.
        later_offers: Offers that came after as_of: weights may name them, nothing else is read of them.
    """

    as_of: datetime
    offers: OfferIndex
    clients: ClientBatch
    demand: sparse.csr_array
    categories: tuple[str | None, ...] = ()
    expert_yaml: str | None = None
    later_offers: frozenset[str] = frozenset()

    @classmethod
    def from_snapshot(
        cls, snapshot: Snapshot, expert_yaml: str | None = None, every_offer: Iterable[str] = ()
    ) -> Self:
        """Read a snapshot: every offer known becomes a column, every client a row.

        Args:
            snapshot: The world at an instant.
            expert_yaml: Text of the dataset's ``expert.yaml``, for the model ``expert``.
            every_offer: Offer ids of the whole dataset, those that came later included.
        """
        offers = OfferIndex([offer.offer_id for offer in snapshot.offers])
        rows, columns = np.array(snapshot.demand, dtype=np.int64).reshape(-1, 2).T
        return cls(
            as_of=snapshot.as_of,
            offers=offers,
            clients=ClientBatch.from_states(snapshot.states, offers),
            demand=sparse.csr_array(
                (np.ones(len(rows)), (rows, columns)), shape=(len(snapshot.states), len(offers))
            ),
            categories=tuple(offer.category for offer in snapshot.offers),
            expert_yaml=expert_yaml,
            later_offers=frozenset(every_offer).difference(offers.offer_ids),
        )


class EvidenceKind(StrEnum):
    """What moved a score."""

    HOLDING = "holding"  # subject: an offer id the client holds
    TRAIT = "trait"  # subject: a trait such as "industry=G"
    POPULAR = "popular"  # subject: empty


class Evidence(NamedTuple):
    """A true statement about one offer for one client, which helped its score.

    Attributes:
        kind: What helped.
        subject: Offer id or trait; empty for plain popularity.
        n_clients: Training clients on whom the statement rests: those with the offer who also hold the
            subject, have the trait, or all of them. None where nobody was counted.
    """

    kind: EvidenceKind
    subject: str = ""
    n_clients: int | None = None


@runtime_checkable
class Scorer(Protocol):
    """A model that gives every client a score for every offer; only the order of scores means something.

    ``fit`` returns self and changes neither its input nor anything shared. The same seed gives the same
    scores; fitting again equals fitting afresh. Clients are scored from what they hold now, so one that
    connected something a minute ago needs no retraining.

    Attributes:
        name: The model's name, which is its file's name.
        reads_holdings: Whether scores rest on holdings; then a client without any gets zeros, which
            order nothing (`recsys.models.recommender` puts popularity in their place).
    """

    name: ClassVar[str]
    reads_holdings: ClassVar[bool]

    @property
    def params(self) -> RunConfig:
        """The configuration it was made with."""
        ...

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

    def explain(self, clients: ClientBatch, client: int, columns: IntArray) -> list[tuple[Evidence, ...]]:
        """What helped the scores of these columns for one client (a row of the batch).

        Returns:
            For each column what is true and clearly no chance, the strongest first; empty where there
            is nothing such.
        """
        ...

    def to_arrays(self) -> Arrays:
        """Everything that scoring needs, as plain arrays (numbers and fixed-width strings)."""
        ...

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        ...


class FittedOffers:
    """The part of a scorer that knows its offers once it was fitted, and says so before."""

    name: ClassVar[str]
    _offers: OfferIndex | None = None

    @property
    def offers(self) -> OfferIndex:
        """The columns.

        Raises:
            NotFittedError: Neither `fit` nor `restore` was called.
        """
        if self._offers is None:
            raise NotFittedError(
                f"model {self.name!r} was asked before it was fitted: call fit or load a bundle"
            )
        return self._offers

    def check_batch(self, clients: ClientBatch) -> None:
        """Refuse clients whose columns are not this model's.

        Raises:
            NotFittedError: The model has no columns yet.
            ValueError: The batch was made with another offer index.
        """
        if clients.n_offers != len(self.offers):
            raise ValueError(f"the clients have {clients.n_offers} offers, the model {len(self.offers)}")


def mean_holders(clients_by_offers: sparse.csr_array) -> float:
    """Mean number of holders of the offers that anybody holds; 1 where nobody holds anything.

    Example:
        >>> mean_holders(sparse.csr_array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
        1.5
    """
    n_holders = np.bincount(clients_by_offers.indices)
    held = n_holders[n_holders > 0]
    return float(held.mean()) if len(held) else 1.0


def take_counts(
    arrays: FrozenArrays, name: str, shape: tuple[int, ...], dtype: type[_Integer]
) -> NDArray[_Integer]:
    """The array of counts of that name, type and shape.

    Raises:
        ValueError: It is missing, of another type or of another shape, or holds a count below 0.
    """
    array = arrays.get(name)
    if array is None or array.dtype != dtype:
        raise ValueError(f"array {name!r} of {dtype.__name__} is missing")
    if array.shape != shape:
        raise ValueError(f"array {name!r} has shape {array.shape}, must be {shape}")
    counts = array.astype(dtype, copy=False)
    if counts.min(initial=0) < 0:
        raise ValueError(f"array {name!r} holds counts below 0")
    return counts


def take_array(arrays: FrozenArrays, name: str, shape: tuple[int, ...]) -> FloatArray:
    """The float array of that name.

    Args:
        arrays: Arrays by name.
        name: Which one.
        shape: What its shape must be; −1 stands for any length.

    Raises:
        ValueError: It is missing, of another type or of another shape.
    """
    array = arrays.get(name)
    if array is None or array.dtype != np.float64 or array.ndim != len(shape):
        raise ValueError(f"array {name!r} of float64 with {len(shape)} dimensions is missing")
    if any(wanted not in {-1, got} for wanted, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"array {name!r} has shape {array.shape}, must be {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"array {name!r} holds values that are not finite")
    return array.astype(np.float64, copy=False)
