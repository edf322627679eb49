"""What every model is: the `Scorer` protocol and the plain arrays it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from sys import intern
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.config import RunConfig
from recsys.domain import Offer, Target
from recsys.errors import NotFittedError
from recsys.features.builder import FeatureBuilder
from recsys.features.population import Population, fit_population
from recsys.models.batch import Arrays, ClientBatch, FloatArray, FrozenArrays, IntArray, OfferIndex

if TYPE_CHECKING:
    # at run time the reader of snapshots needs Polars, which serving does without
    from recsys.data.snapshot import Snapshot

__all__ = [
    "Arrays",
    "ClientBatch",
    "ClientFacts",
    "Evidence",
    "EvidenceKind",
    "FirstConnections",
    "FittedOffers",
    "FloatArray",
    "FrozenArrays",
    "IntArray",
    "OfferIndex",
    "PastWindow",
    "Scorer",
    "TrainingSet",
    "mean_holders",
    "take_array",
    "take_counts",
]
_Integer = TypeVar("_Integer", bound=np.integer)


class FirstConnections(NamedTuple):
    """Every first connection of a client with an offer, ended ones included.

    Attributes:
        rows: The client's row, shape (n_connections,).
        columns: The offer's column, shape (n_connections,).
        ages: Days from the connection to as_of, ≥0, shape (n_connections,).
    """

    rows: IntArray
    columns: IntArray
    ages: FloatArray

    @classmethod
    def from_triples(cls, triples: Sequence[tuple[int, int, float]] = ()) -> Self:
        """Read (row, column, age) triples."""
        found = np.array(triples, dtype=np.float64).reshape(-1, 3)
        return cls(found[:, 0].astype(np.int64), found[:, 1].astype(np.int64), found[:, 2].copy())


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
        history: Every first connection known at as_of.
        catalogue: The offers as they were known, in the order of the columns; empty = nobody knows.
        population: Frozen figures of all clients; None = nobody counted them.
        past: What was seen to happen before as_of, in the order of time; empty unless a model asks for it
            (`Scorer.reads_past`).
    """

    as_of: datetime
    offers: OfferIndex
    clients: ClientBatch
    demand: sparse.csr_array
    categories: tuple[str | None, ...] = ()
    expert_yaml: str | None = None
    later_offers: frozenset[str] = frozenset()
    history: FirstConnections = field(default_factory=FirstConnections.from_triples)
    catalogue: tuple[Offer, ...] = ()
    population: Population | None = None
    past: tuple[PastWindow, ...] = ()

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
        population = fit_population(snapshot.states, snapshot.offers, snapshot.as_of)
        features = FeatureBuilder(snapshot.offers, population)
        return cls(
            as_of=snapshot.as_of,
            offers=offers,
            clients=ClientBatch.from_states(snapshot.states, offers, snapshot.as_of, features),
            demand=sparse.csr_array(
                (np.ones(len(rows)), (rows, columns)), shape=(len(snapshot.states), len(offers))
            ),
            categories=tuple(offer.category for offer in snapshot.offers),
            expert_yaml=expert_yaml,
            later_offers=frozenset(every_offer).difference(offers.offer_ids),
            history=FirstConnections.from_triples(snapshot.first_connections),
            catalogue=snapshot.offers,
            population=population,
        )


@dataclass(frozen=True, slots=True)
class PastWindow:
    """What was seen to happen in a past stretch of time: candidates at past moments, and their outcomes.

    Attributes:
        training: The world as it was known when the window's population was frozen, before the first moment.
            Its offers are the columns of this window.
        clients: One row for each (client, moment), with its features as a server would have built them.
        rows: Row in `clients` of each candidate, ascending, shape (n_candidates,).
        columns: Column in `training.offers` of each candidate, shape (n_candidates,).
        outcomes: 1 where the candidate came true within the horizon, else 0, shape (n_candidates,).
        keep_rates: Probability with which the candidate would have been kept had it not come true, in (0, 1];
            what came true was kept always (or, at rate 1, as often), shape (n_candidates,).
        slots: 1-based slot in which it was seen, 0 = not from a list, shape (n_candidates,).
        logging_probabilities: Probability with which it was drawn into its slot given the slots above, in
            (0, 1], NaN = none, shape (n_candidates,).
        target: What the outcomes are.
    """

    training: TrainingSet
    clients: ClientBatch
    rows: IntArray
    columns: IntArray
    outcomes: FloatArray
    keep_rates: FloatArray
    slots: IntArray
    logging_probabilities: FloatArray
    target: Target

    def __len__(self) -> int:
        return len(self.rows)


class EvidenceKind(StrEnum):
    """What moved a score."""

    HOLDING = "holding"  # subject: an offer id the client holds
    TRAIT = "trait"  # subject: a trait such as "industry=G"
    POPULAR = "popular"  # subject: empty
    CHOSEN = "chosen"  # subject: empty; not popular, but enough clients have it to say so


class Evidence(NamedTuple):
    """A true statement about one offer for one client, which helped its score.

    Attributes:
        kind: What helped.
        subject: Offer id or trait; empty for how common the offer is.
        n_clients: Training clients on whom the statement rests: those with the offer who also hold the
            subject, have the trait, or all of them. None where nobody was counted.
    """

    kind: EvidenceKind
    subject: str = ""
    n_clients: int | None = None


class ClientFacts(NamedTuple):
    """What can be said of a client: little enough to be kept as long as its scores are.

    Attributes:
        held: Columns of the offers held, ascending.
        traits: The known facts of its profile; see `traits_of`.
    """

    held: tuple[int, ...] = ()
    traits: tuple[str, ...] = ()

    @classmethod
    def of_all(cls, clients: ClientBatch) -> list[Self]:
        """Those of each client of a batch."""
        columns, indptr = clients.columns.tolist(), clients.indptr.tolist()
        # many clients share few traits: one string for each of them is kept
        return [
            cls(tuple(columns[start:end]), tuple(map(intern, traits)))
            for start, end, traits in zip(indptr, indptr[1:], clients.traits, strict=False)
        ]


@runtime_checkable
class Scorer(Protocol):
    """A model that gives every client a score for every offer; only the order of scores means something.

    ``fit`` returns self and changes neither its input nor anything shared. The same seed gives the same
    scores; fitting again equals fitting afresh. Clients are scored from what they hold now, so one that
    connected something a minute ago needs no retraining.

    Attributes:
        name: The model's name, which is its file's name.
        reads_holdings: Whether scores rest on holdings.
        reads_profiles: Whether scores rest on profiles. A model that reads holdings alone gives a client
            without any zeros, which order nothing; `recsys.models.recommender` puts popularity in their
            place.
        reads_past: Whether fit wants `TrainingSet.past`.
        gives_log_odds: Whether scores are calibrated log-odds of the target.
    """

    name: ClassVar[str]
    reads_holdings: ClassVar[bool]
    reads_profiles: ClassVar[bool]
    reads_past: ClassVar[bool]
    gives_log_odds: ClassVar[bool]

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

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """What helped the score of an offer (a column) for a client.

        Yields:
            What is true and clearly no chance, the strongest first. It is found out only when asked for:
            mostly the first has words.
        """
        ...

    def to_arrays(self) -> Arrays:
        """Everything that scoring needs, as plain arrays (numbers and fixed-width strings)."""
        ...

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        ...


class FittedOffers:
    """The part of a scorer that knows its offers once it was fitted, and says so before.

    What most scorers are is said here once: they read no profiles and no past, and give mere scores.
    """

    name: ClassVar[str]
    reads_profiles: ClassVar[bool] = False
    reads_past: ClassVar[bool] = False
    gives_log_odds: ClassVar[bool] = False
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

    def check_fitted(self) -> None:
        """NotFittedError before fit."""
        _ = self.offers

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
