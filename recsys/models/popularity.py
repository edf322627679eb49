"""Popularity: the share of clients with each offer, by segment, shrunk toward the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.models.at_risk import could_have, rates_among
from recsys.models.base import (
    Arrays,
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FittedOffers,
    FloatArray,
    FrozenArrays,
    IntArray,
    OfferIndex,
    TrainingSet,
    take_array,
    take_counts,
)
from recsys.models.chance import MIN_COHORT, is_clearly_above
from recsys.models.grounds import Grounds


class PopularityParams(RunConfig):
    """Parameters of `Popularity`.

    Attributes:
        segment_by: Keys of the traits that make segments; empty means the whole population only.
            Clients without any of these traits get the whole.
        among_possible: Whether shares are of the clients who could have the offer (`at_risk.could_have`)
            instead of all. What is rare because few may have it is then not taken for unwanted.
        pseudo_clients: How many clients that behave like the whole are added to every segment, ≥0: a
            segment of this size stands half-way between its own share and the whole's.
    """

    segment_by: tuple[str, ...] = ("size", "industry")
    among_possible: bool = False
    pseudo_clients: float = Field(default=50.0, ge=0)


class Popularity(FittedOffers):
    """Present demand by segment.

    With ``p(j)`` the share of all clients that demand offer j, ``n(t)`` the clients with trait t and
    ``a(t, j)`` those of them that demand j, the shrunk share of a segment and its lift are

    ``p(t, j) = (a(t, j) + m p(j)) / (n(t) + m)``,  ``lift(t, j) = p(t, j) / p(j)``,

    and ``score(client, j) = p(j) · Π_t lift(t, j)`` over the client's traits. A lift is 1 where p(j) is 0.
    The product treats the traits as independent; shrinking keeps small segments from shouting.

    Source:
        Posterior mean of a Gamma–Poisson rate with prior mean p(j) and prior strength m; Efron & Morris
        1975, "Data analysis using Stein's estimator and its generalizations".

    Attributes:
        common: How common offers are, by column; see `common_evidence`.
    """

    name: ClassVar[str] = "popularity"
    reads_holdings: ClassVar[bool] = False
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: PopularityParams | None = None) -> None:
        self.params = params or PopularityParams()
        no_counts = np.zeros(0, dtype=np.int64)
        self._keep(no_counts, np.zeros(0), (), np.zeros((0, 0)), no_counts[:, None])

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:  # noqa: ARG002 (nothing is drawn)
        """Count the demand of each segment; returns self."""
        n_clients = len(training.clients)
        n_holders = np.asarray(training.demand.sum(axis=0), dtype=np.int64)
        shares = n_holders / max(n_clients, 1)
        names, clients_by_traits = self._segments(training.clients)
        n_by_trait = np.asarray(clients_by_traits.sum(axis=0), dtype=np.int64)
        demand = (clients_by_traits.T @ training.demand).toarray()
        sizes = n_by_trait[:, None].astype(np.float64)
        if self.params.among_possible:
            is_possible = could_have(training)
            shares = rates_among(n_holders.astype(np.float64), is_possible.sum(axis=0))
            sizes = clients_by_traits.T @ is_possible.astype(np.float64)
        is_said = is_clearly_above(demand, n_by_trait[:, None], n_holders, n_clients)
        n_with_trait = np.where(is_said, demand, 0).astype(np.int64)
        self._keep(n_holders, shares, names, self._lifts_of(shares, sizes, demand), n_with_trait)
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Shares times lifts, ≥0, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        scores = np.empty((len(clients), len(self._shares)))
        for client, traits in enumerate(clients.traits):
            scores[client] = self.rates_in(self.segment_of(traits))
        return scores

    def segment_of(self, traits: Sequence[str]) -> tuple[int, ...]:
        """Numbers of those of a client's traits that make its segment; empty = the whole."""
        rows = self._rows
        return tuple([rows[trait] for trait in traits if trait in rows])

    def rates_in(self, segment: tuple[int, ...]) -> FloatArray:
        """The scores of a segment's clients, shape (n_offers,); not to be changed."""
        return self._shares * self._lifts[list(segment)].prod(axis=0) if segment else self._shares

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The trait with the largest lift of those clearly above chance, then how common it is."""
        self.check_fitted()
        yield from self._grounds.strongest(self.segment_of(facts.traits), column, 1)
        if column in self.common:
            yield self.common[column]

    def has_segment(self, traits: Sequence[str]) -> bool:
        """Whether any trait of a client belongs to a segment seen in training."""
        return any(trait in self._rows for trait in traits)

    def to_arrays(self) -> Arrays:
        """``n_holders``, ``shares``, ``lifts``, ``traits`` and ``n_with_trait``, 0 where it says nothing."""
        self.check_fitted()
        return {
            "n_holders": self._n_holders,
            "shares": self._shares,
            "lifts": self._lifts,
            "traits": np.array(self._names, dtype=np.str_),
            "n_with_trait": self._n_with_trait,
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        names = tuple(str(name) for name in arrays["traits"])
        self._keep(
            take_counts(arrays, "n_holders", (len(offers),), np.int64),
            take_array(arrays, "shares", (len(offers),)),
            names,
            take_array(arrays, "lifts", (len(names), len(offers))),
            take_counts(arrays, "n_with_trait", (len(names), len(offers)), np.int64),
        )
        self._offers = offers
        return self

    def _keep(
        self,
        n_holders: IntArray,
        shares: FloatArray,
        names: tuple[str, ...],
        lifts: FloatArray,
        n_with_trait: IntArray,
    ) -> None:
        self._n_holders, self._shares = n_holders, shares
        self._names, self._lifts, self._n_with_trait = names, lifts, n_with_trait
        self._rows = {name: row for row, name in enumerate(names)}
        self._grounds = Grounds(EvidenceKind.TRAIT, names, lifts, n_with_trait)
        self.common = common_evidence(n_holders)

    def _segments(self, clients: ClientBatch) -> tuple[tuple[str, ...], sparse.csr_array]:
        keys = set(self.params.segment_by)
        pairs = [
            (client, trait)
            for client, traits in enumerate(clients.traits)
            for trait in traits
            if trait.partition("=")[0] in keys
        ]
        names = tuple(sorted({trait for _, trait in pairs}))
        rows = {name: row for row, name in enumerate(names)}
        clients_by_traits = sparse.csr_array(
            (
                np.ones(len(pairs)),
                ([client for client, _ in pairs], [rows[trait] for _, trait in pairs]),
            ),
            shape=(len(clients), len(names)),
        )
        return names, clients_by_traits

    def _lifts_of(self, shares: FloatArray, sizes: FloatArray, demand: FloatArray) -> FloatArray:
        strength = self.params.pseudo_clients
        ratios = np.divide(demand, shares, out=np.ones_like(demand), where=shares > 0)
        lifts = (ratios + strength) / (sizes + strength)
        return np.where(shares > 0, lifts, 1.0)


def common_evidence(n_holders: IntArray) -> dict[int, Evidence]:
    """How common offers are, which may be said to anybody.

    An offer that at least `MIN_COHORT` clients hold is popular when fewer than a quarter of the offers have
    more holders, else merely chosen.

    Args:
        n_holders: Clients with each offer, shape (n_offers,).

    Returns:
        By column, of these offers only.

    Example:
        >>> found = common_evidence(np.array([50, 40, 30, 20, 10, 9, 0, 0]))
        >>> [found[column].kind.value for column in sorted(found)]
        ['popular', 'popular', 'chosen', 'chosen', 'chosen']
    """
    n_above = len(n_holders) - np.searchsorted(np.sort(n_holders), n_holders, side="right")
    is_popular = 4 * n_above < len(n_holders)
    return {
        column: Evidence(
            EvidenceKind.POPULAR if is_popular[column] else EvidenceKind.CHOSEN,
            n_clients=int(n_holders[column]),
        )
        for column in np.flatnonzero(n_holders >= MIN_COHORT).tolist()
    }
