"""Leaning: what companies alike have, and which kinds of offers this one has more of than they."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field

from recsys.config import RunConfig
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
from recsys.models.chance import CountArray, held_together
from recsys.models.grounds import Grounds
from recsys.models.item_to_item import MOST_HOLDINGS
from recsys.models.popularity import Popularity, PopularityParams

# one holding, as likely of any category as among companies alike, is added to what a client holds
_PSEUDO_HOLDINGS = 1.0
# of 3,000 offers 12 MB
_MOST_SEGMENTS = 512


class LeaningParams(RunConfig):
    """Parameters of `Leaning`.

    Attributes:
        segment_by: Keys of the traits by which companies are alike; see `PopularityParams`.
        pseudo_clients: How many clients that behave like the whole are added to every segment, ≥0.
        pseudo_held: κ of `Leaning`: holdings that are added to what a client holds of a category and to what
            is expected of it, >0. The more, the less a client is taken to differ from companies alike.
    """

    segment_by: tuple[str, ...] = ("employees", "industry")
    pseudo_clients: float = Field(default=20.0, ge=0)
    pseudo_held: float = Field(default=1.0, gt=0)


class _Rates(NamedTuple):
    """What is expected of the companies of a segment.

    Attributes:
        rates: p of each offer, shape (n_offers,).
        per_held: E ÷ (Σ E + 1) of each category, of none first (0), shape (1 + n_categories,).
    """

    rates: FloatArray
    per_held: FloatArray


class Leaning(FittedOffers):
    """Popularity among companies alike, times how much more of an offer's category a client holds than they.

    ``score(client, j) = p_j · (n_c + κ) ÷ (e_c + κ)``

    with p the rate of `Popularity` among those who could have the offer, c the offer's category, n_c what the
    client holds of it and e_c what is expected of a company alike that holds as much in all:
    ``e_c = E_c (Σ n + 1) ÷ (Σ E + 1)``, ``E_c = Σ_{i in c} p_i s_i``, with s what turns rates among those who
    could into shares of all.

    Offers without a category have their popularity.

    Source:
        Posterior mean of a Gamma–Poisson rate with mean 1 and strength κ; Clayton & Kaldor 1987, "Empirical
        Bayes estimates of age-standardized relative risks".
    """

    name: ClassVar[str] = "leaning"
    reads_holdings: ClassVar[bool] = True
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: LeaningParams | None = None) -> None:
        self.params = params or LeaningParams()
        self._popularity = Popularity(
            PopularityParams(
                segment_by=self.params.segment_by,
                among_possible=True,
                pseudo_clients=self.params.pseudo_clients,
            )
        )
        self._keep(np.zeros(0, dtype=np.int64), np.zeros(0))
        self._count(OfferIndex(()), np.zeros((0, 0), dtype=np.uint8))

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Count the demand of each segment, and what is held of each offer; returns self."""
        self._popularity.fit(training, rng)
        rates = self._popularity.score(training.clients)
        n_holders = np.asarray(training.clients.clients_by_offers().sum(axis=0), dtype=np.float64).ravel()
        totals = rates.sum(axis=0)
        shares = np.divide(n_holders, totals, out=np.zeros_like(totals), where=totals > 0)
        self._keep(_numbered(training), shares)
        self._count(training.offers, held_together(training.clients.clients_by_offers()))
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Rates times leanings, ≥0, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        found = [self._rates_in(self._popularity.segment_of(traits)) for traits in clients.traits]
        if not found:
            return np.zeros((0, len(self.offers)))
        rates = np.array([each.rates for each in found])
        rates *= self._leanings(clients, np.array([each.per_held for each in found]))
        return rates

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """Holdings of a category that the client leans to, often held together; then what popularity says."""
        self.check_fitted()
        categories = self._categories
        category = categories[column]
        alike = [held for held in facts.held if categories[held] == category] if category else []
        if alike and self._leans_to(facts, category, len(alike)):
            yield from self._grounds.strongest(alike, column, MOST_HOLDINGS)
        yield from self._popularity.explain(facts, column)

    def to_arrays(self) -> Arrays:
        """Those of `Popularity`; ``category_of`` (0 = none), ``expected_shares`` and ``together``."""
        self.check_fitted()
        return {
            **self._popularity.to_arrays(),
            "category_of": self._category_of,
            "expected_shares": self._shares,
            "together": self._together,
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        self._popularity.restore(offers, arrays)
        self._count(offers, take_counts(arrays, "together", (len(offers), len(offers)), np.uint8))
        numbers = take_counts(arrays, "category_of", (len(offers),), np.int64)
        if numbers.max(initial=0) > len(offers):
            raise ValueError("array 'category_of' names more categories than there are offers")
        self._keep(numbers, take_array(arrays, "expected_shares", (len(offers),)))
        self._offers = offers
        return self

    def _count(self, offers: OfferIndex, together: CountArray) -> None:
        self._together = together
        self._grounds = Grounds(EvidenceKind.HOLDING, offers.offer_ids, together, together)

    def _rates_in(self, segment: tuple[int, ...]) -> _Rates:
        """Those of a segment; they are kept, for segments are few."""
        kept = self._kept_rates.get(segment)
        if kept is None:
            rates = self._popularity.rates_in(segment)
            expected = rates @ self._shares_by_category
            kept = _Rates(rates, expected / (expected.sum() + _PSEUDO_HOLDINGS))
            if len(self._kept_rates) < _MOST_SEGMENTS:
                self._kept_rates[segment] = kept
        return kept

    def _leanings(self, clients: ClientBatch, per_held: FloatArray) -> FloatArray:
        """The factor of every rate, shape (n_clients, n_offers).

        Args:
            clients: The clients.
            per_held: See `_Rates`, clients_by_categories.
        """
        places = clients.rows * per_held.shape[1] + self._category_of[clients.columns]
        held = np.bincount(places, minlength=per_held.size).reshape(per_held.shape)
        # where there is no category nothing is held nor expected, which makes a factor of 1
        held[:, 0] = 0
        n_held = held.sum(axis=1, keepdims=True) + _PSEUDO_HOLDINGS
        pseudo = self.params.pseudo_held
        factors: FloatArray = (held + pseudo) / (per_held * n_held + pseudo)
        return factors.take(self._category_of, axis=1)

    def _leans_to(self, facts: ClientFacts, category: int, n_held: int) -> bool:
        """Whether a client holds more of a category than is expected of it."""
        of_alike = self._rates_in(self._popularity.segment_of(facts.traits))
        n_in_all = sum([self._categories[held] > 0 for held in facts.held]) + _PSEUDO_HOLDINGS
        return n_held > of_alike.per_held.item(category) * n_in_all

    def _keep(self, category_of: IntArray, shares: FloatArray) -> None:
        """Keep the number of each offer's category, 0 = none, and what its rates are multiplied by."""
        self._category_of, self._shares = category_of, shares
        self._categories: list[int] = category_of.tolist()
        self._shares_by_category = np.zeros((len(shares), int(category_of.max(initial=0)) + 1))
        is_known = category_of > 0
        self._shares_by_category[is_known, category_of[is_known]] = shares[is_known]
        self._kept_rates: dict[tuple[int, ...], _Rates] = {}


def _numbered(training: TrainingSet) -> IntArray:
    """Number of each offer's category, from 1; 0 = none."""
    if not training.categories:
        return np.zeros(len(training.offers), dtype=np.int64)
    names = sorted({name for name in training.categories if name is not None})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    return np.array([0 if name is None else numbers[name] for name in training.categories], dtype=np.int64)
