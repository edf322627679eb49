"""Trend: how fast each offer is being adopted now, by segment within segment, shrunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.models.base import (
    Arrays,
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FirstConnections,
    FittedOffers,
    FloatArray,
    FrozenArrays,
    IntArray,
    OfferIndex,
    TrainingSet,
    take_array,
    take_counts,
)
from recsys.models.chance import is_clearly_above

_PRIOR_ADOPTIONS = 0.5


class TrendParams(RunConfig):
    """Parameters of `Trend`.

    Attributes:
        days: A first connection of the last so many days is an adoption, >0.
        segment_by: Keys of traits from the widest segment to the narrowest; each lies within the one before.
            Keys that a client lacks are passed over. Empty means the whole only.
        pseudo_clients: How many clients that adopt like the segment around it are added to every segment, ≥0.
        is_relative: Divide by the share of clients that ever had the offer: what counts is then growth, for
            use beside a model that knows how much an offer is held.
    """

    days: float = Field(default=90.0, gt=0)
    segment_by: tuple[str, ...] = ("size", "industry")
    pseudo_clients: float = Field(default=10.0, ge=0)
    is_relative: bool = False


class Trend(FittedOffers):
    """Adoption rates by segment within segment.

    Of a segment s inside a wider one, with ``n(s, j)`` its clients who had never had offer j before the last
    `days` and ``a(s, j)`` those of them who connected it since,

    ``rate(s, j) = (a(s, j) + m rate(wider, j)) / (n(s, j) + m)``,

    and the rate of the whole starts from half an adoption of an average offer. The score is the rate of the
    narrowest segment that a client belongs to. An offer seen only briefly counts: what one company tries, its
    neighbours may try next. What the oldest record shows was there before anybody looked, and is no adoption.

    Source:
        Posterior mean of a beta-binomial rate at every level; Gelman & Hill 2007, "Data analysis using
        regression and multilevel models", chapter 12.
    """

    name: ClassVar[str] = "trend"
    reads_holdings: ClassVar[bool] = False
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: TrendParams | None = None) -> None:
        self.params = params or TrendParams()
        self._keep((), np.zeros((0, 0)), (), np.zeros((0, 0), dtype=np.int64))

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:  # noqa: ARG002 (nothing is drawn)
        """Count adoptions by segment; returns self."""
        shape = (len(training.clients), len(training.offers))
        adopted, had = _adoptions(training.history, self.params.days, shape)
        chains = [self._chain(traits) for traits in training.clients.traits]
        segments, rates = _shrunk_rates(chains, adopted, had, self.params.pseudo_clients)
        if self.params.is_relative:
            ever = np.bincount(training.history.columns, minlength=shape[1])
            rates = rates / ((ever + _PRIOR_ADOPTIONS) / max(shape[0], 1))
        traits, n_with_trait = _clear_counts(chains, training.clients.clients_by_offers())
        self._keep(segments, rates, traits, n_with_trait)
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Rates of each client's narrowest segment, >0, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        rows = [self._segment_of(traits) for traits in clients.traits]
        scores: FloatArray = self._rates[np.array(rows, dtype=np.int64)]
        return scores

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The narrowest trait among whose clients the offer is held clearly more often than by chance.

        Nothing is said where the client's segment does not adopt it faster than the whole does.
        """
        self.check_fitted()
        if self._rates.item(self._segment_of(facts.traits), column) < self._rates.item(0, column):
            return
        for trait in reversed(self._chain(facts.traits)):
            row = self._trait_rows.get(trait)
            if row is not None and (n_clients := self._n_with_trait.item(row, column)):
                yield Evidence(EvidenceKind.TRAIT, trait, n_clients)
                return

    def to_arrays(self) -> Arrays:
        """``segments`` (the whole first) and ``rates``; ``traits`` and ``n_with_trait``, 0 = says nothing."""
        self.check_fitted()
        return {
            "segments": np.array(self._segments, dtype=np.str_),
            "rates": self._rates,
            "traits": np.array(self._traits, dtype=np.str_),
            "n_with_trait": self._n_with_trait,
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        segments, traits = (tuple(str(name) for name in arrays[key]) for key in ("segments", "traits"))
        if segments[:1] != ("",):
            raise ValueError("array 'segments' must begin with the whole, whose name is empty")
        self._keep(
            segments,
            take_array(arrays, "rates", (len(segments), len(offers))),
            traits,
            take_counts(arrays, "n_with_trait", (len(traits), len(offers)), np.int64),
        )
        self._offers = offers
        return self

    def _keep(
        self, segments: tuple[str, ...], rates: FloatArray, traits: tuple[str, ...], n_with_trait: IntArray
    ) -> None:
        self._segments, self._rates = segments, rates
        self._traits, self._n_with_trait = traits, n_with_trait
        self._rows = {name: row for row, name in enumerate(segments)}
        self._trait_rows = {trait: row for row, trait in enumerate(traits)}

    def _chain(self, traits: Iterable[str]) -> tuple[str, ...]:
        """A client's traits that make segments, the widest first, one for each key."""
        by_key = {trait.partition("=")[0]: trait for trait in traits}
        return tuple([by_key[key] for key in self.params.segment_by if key in by_key])

    def _segment_of(self, traits: Iterable[str]) -> int:
        chain = self._chain(traits)
        for length in range(len(chain), 0, -1):
            row = self._rows.get(_segment_name(chain[:length]))
            if row is not None:
                return row
        return 0


def _segment_name(chain: tuple[str, ...]) -> str:
    return "|".join(chain)


def _adoptions(
    history: FirstConnections, days: float, shape: tuple[int, int]
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Who adopted what in the last days, and who had what before, both clients_by_offers and binary."""
    is_recent = history.ages < min(days, float(history.ages.max(initial=0.0)))
    adopted, had = (
        sparse.csr_array((np.ones(int(kept.sum())), (history.rows[kept], history.columns[kept])), shape=shape)
        for kept in (is_recent, ~is_recent)
    )
    return adopted, had


def _shrunk_rates(
    chains: list[tuple[str, ...]], adopted: sparse.csr_array, had: sparse.csr_array, pseudo_clients: float
) -> tuple[tuple[str, ...], FloatArray]:
    """Segments, the whole first and every one after that around it, and their rates."""
    paths = sorted({chain[:length] for chain in chains for length in range(1, len(chain) + 1)}, key=len)
    rows = {path: row for row, path in enumerate([(), *paths])}
    members = [
        (rows[chain[:length]], client)
        for client, chain in enumerate(chains)
        for length in range(len(chain) + 1)
    ]
    segments_by_clients = _pattern(members, (len(rows), len(chains)))
    n_adopted = (segments_by_clients @ adopted).toarray()
    n_free = np.asarray(segments_by_clients.sum(axis=1))[:, None] - (segments_by_clients @ had).toarray()
    rates = np.empty_like(n_adopted)
    average = max(float(n_adopted[0].sum()), _PRIOR_ADOPTIONS) / max(float(n_free[0].sum()), 1.0)
    rates[0] = (n_adopted[0] + _PRIOR_ADOPTIONS) / (n_free[0] + _PRIOR_ADOPTIONS / average)
    for path, row in rows.items():
        if path:
            wider = rates[rows[path[:-1]]]
            rates[row] = (n_adopted[row] + pseudo_clients * wider) / np.maximum(
                n_free[row] + pseudo_clients, _PRIOR_ADOPTIONS
            )
    return tuple(_segment_name(path) for path in rows), rates


def _clear_counts(
    chains: list[tuple[str, ...]], holdings: sparse.csr_array
) -> tuple[tuple[str, ...], IntArray]:
    """Clients with each trait that hold each offer, 0 where that is not clearly above chance."""
    names = tuple(sorted({trait for chain in chains for trait in chain}))
    rows = {name: row for row, name in enumerate(names)}
    pairs = [(rows[trait], client) for client, chain in enumerate(chains) for trait in chain]
    traits_by_clients = _pattern(pairs, (len(names), len(chains)))
    n_both = (traits_by_clients @ holdings).toarray()
    n_with_trait = np.asarray(traits_by_clients.sum(axis=1))[:, None]
    n_holders = np.asarray(holdings.sum(axis=0))
    is_said = is_clearly_above(n_both, n_with_trait, n_holders, len(chains))
    return names, np.where(is_said, n_both, 0).astype(np.int64)


def _pattern(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> sparse.csr_array:
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return sparse.csr_array((np.ones(len(pairs)), (rows, columns)), shape=shape)
