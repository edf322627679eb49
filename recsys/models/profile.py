"""Profile: which offers companies of such a profile connect, all facts of it weighed together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.features.client import N_FIGURES
from recsys.models.at_risk import Mask, could_have, rates_among
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
from recsys.models.chance import is_clearly_above
from recsys.models.grounds import Grounds

_LEAST_RATE = 1e-6
# a young client holds little and a dormant one what it wanted once: a stage says who holds, not who wants
_UNREAD = "stage="
# a figure so many spreads from the mean tells nothing more
_FARTHEST = 4.0
# of a rate's logarithm: nobody connects an offer more than some seven times
_MOST = 2.0


class ProfileParams(RunConfig):
    """Parameters of `Profile`.

    Attributes:
        half_life_days: A first connection so long ago counts half as much as one today, >0.
        l2: Ridge penalty of the weights.
        min_clients: Facts of fewer clients are not weighed.
        max_clients: Clients learnt from at most; of more, evenly spread ones are.
        max_iterations: Steps of the optimisation at most; stopping early is part of the shrinking.
    """

    half_life_days: float = Field(default=3650.0, gt=0)
    l2: float = Field(default=3.0, gt=0)
    min_clients: int = Field(default=20, ge=1)
    max_clients: int = Field(default=8_000, ge=1)
    max_iterations: int = Field(default=20, ge=1)


class Profile(FittedOffers):
    """A Poisson regression of what was connected on the facts and figures of a profile.

    ``rate_j(profile) = exp(base_j + Σ_facts w(fact, j) + Σ_figures f_j(z))``,
    ``f_j(z) = u_j z + v_j z² + n_j [z is unknown]``

    with z a figure (`recsys.features.client.figures_of`) minus its mean over its spread, 0 where unknown.
    What holdings bring about is not read: the stage, spend, SIMs, tenure.

    The bases are the logarithms of the offers' connections per client who could have them, each connection
    counting the less the older it is; the weights minimise the Poisson loss of these clients plus
    ``l2/2 ‖w‖²``. Unlike a product of lifts it does not count twice what two facts say together (legal form
    and size).

    Source:
        Nelder & Wedderburn 1972, "Generalized linear models", with a Gaussian prior of the weights.
    """

    name: ClassVar[str] = "profile"
    reads_holdings: ClassVar[bool] = False
    reads_profiles: ClassVar[bool] = True

    def __init__(self, params: ProfileParams | None = None) -> None:
        self.params = params or ProfileParams()
        self._scale, self._slopes = np.zeros((2, N_FIGURES)), np.zeros((3 * N_FIGURES, 0))
        self._keep((), np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64))

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:  # noqa: ARG002 (nothing is drawn)
        """Weigh the facts; returns self."""
        clients = training.clients
        n_with = Counter(trait for traits in clients.traits for trait in traits)
        facts = tuple(
            sorted(
                fact
                for fact, n in n_with.items()
                if n >= self.params.min_clients and not fact.startswith(_UNREAD)
            )
        )
        clients_by_facts = _pattern(clients, {fact: row for row, fact in enumerate(facts)})
        connected = self._connected(training)
        is_possible = could_have(training)
        totals = np.asarray(connected.sum(axis=0)).ravel()
        bases = np.log(np.maximum(rates_among(totals, is_possible.sum(axis=0)), _LEAST_RATE))
        step = max(1, -(-len(clients) // self.params.max_clients))
        self._scale = _scale_of(clients.figures)
        terms = [_terms(figures, self._scale.T.tolist()) for figures in clients.figures.tolist()]
        figures = sparse.csr_array(np.array(terms).reshape(-1, 3 * N_FIGURES))
        design = sparse.csr_array(sparse.hstack([clients_by_facts, figures]))
        weights = self._weigh(design[::step], connected[::step], bases, is_possible[::step])
        weights, self._slopes = weights[: len(facts)].copy(), weights[len(facts) :].copy()
        self._keep(facts, bases, weights, _clear_counts(clients_by_facts, clients.clients_by_offers()))
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Rates, >0, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        scores = np.empty((len(clients), len(self._bases)))
        rows: list[int] = []
        values: list[float] = []
        bounds = [0]
        for traits, figures in zip(clients.traits, clients.figures.tolist(), strict=True):
            rows += [self._rows[trait] for trait in traits if trait in self._rows]
            rows += self._common_lines
            values += [1.0] * (len(rows) - len(values) - 3 * N_FIGURES)
            values += _terms(figures, self._scales)
            bounds.append(len(rows))
        lines, factors = np.array(rows, dtype=np.int64), np.array(values)
        for of_client, (first, last) in zip(scores, pairwise(bounds), strict=True):
            np.matmul(factors[first:last], self._lines.take(lines[first:last], axis=0), out=of_client)
        np.exp(np.minimum(scores, _MOST, out=scores), out=scores)
        return scores

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The heaviest fact, above 0, among whose clients the offer is clearly common."""
        self.check_fitted()
        rows = [self._rows[trait] for trait in facts.traits if trait in self._rows]
        return self._grounds.strongest(rows, column, 1)

    def to_arrays(self) -> Arrays:
        """``facts``, ``bases``, ``weights``, ``n_with_fact`` (0 = silent); ``scale``, ``slopes``."""
        self.check_fitted()
        return {
            "facts": np.array(self._facts, dtype=np.str_) if self._facts else np.zeros(0, dtype="<U1"),
            "bases": self._bases,
            "weights": self._weights,
            "scale": self._scale,
            "slopes": self._slopes,
            "n_with_fact": self._n_with_fact,
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        facts = tuple(str(fact) for fact in arrays["facts"])
        shape = (len(facts), len(offers))
        self._scale = take_array(arrays, "scale", (2, N_FIGURES))
        self._slopes = take_array(arrays, "slopes", (3 * N_FIGURES, len(offers)))
        self._keep(
            facts,
            take_array(arrays, "bases", (len(offers),)),
            take_array(arrays, "weights", shape),
            take_counts(arrays, "n_with_fact", shape, np.int64),
        )
        self._offers = offers
        return self

    def _connected(self, training: TrainingSet) -> sparse.csr_array:
        """First connections, each with its weight, clients_by_offers; what is held where none is known."""
        history = training.history
        if not len(history.rows):
            return training.clients.clients_by_offers()
        weights = 0.5 ** (history.ages / self.params.half_life_days)
        shape = (len(training.clients), len(training.offers))
        return sparse.csr_array((weights, (history.rows, history.columns)), shape=shape)

    def _weigh(
        self,
        clients_by_facts: sparse.csr_array,
        connected: sparse.csr_array,
        bases: FloatArray,
        is_possible: Mask,
    ) -> FloatArray:
        # a server only scores, and scipy.optimize would cost it 28 MB and most of its start
        from scipy.optimize import minimize  # noqa: PLC0415

        counts, shape = connected.tocoo(), (clients_by_facts.shape[1], len(bases))
        if 0 in {*shape, clients_by_facts.shape[0]}:
            return np.zeros(shape)
        facts_by_clients, l2 = clients_by_facts.T.tocsr(), self.params.l2
        # weights are searched in the scale of what is known of each at the start, else rare facts hardly move
        expected = np.exp(bases) * is_possible
        scale = 1.0 / np.sqrt(l2 + facts_by_clients.power(2) @ expected)

        def loss(flat: FloatArray) -> tuple[float, FloatArray]:
            weights = flat.reshape(shape) * scale
            logs = clients_by_facts @ weights
            logs += bases
            np.minimum(logs, _MOST, out=logs)
            gained = float(counts.data @ logs[counts.row, counts.col])
            rates = np.exp(logs, out=logs)
            rates *= is_possible
            value = 0.5 * l2 * float((weights * weights).sum()) + rates.sum() - gained
            rates[counts.row, counts.col] -= counts.data
            gradient = (facts_by_clients @ rates + l2 * weights) * scale
            return float(value), gradient.ravel()

        found = minimize(
            loss,
            np.zeros(shape[0] * shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.params.max_iterations, "ftol": 1e-7},
        )
        weights: FloatArray = found.x.reshape(shape) * scale
        return weights

    def _keep(
        self, facts: tuple[str, ...], bases: FloatArray, weights: FloatArray, n_with_fact: IntArray
    ) -> None:
        # one array, from which scoring takes the lines of a client's facts and those that count for everybody
        self._lines = np.concatenate([weights, bases[None], self._slopes])
        self._common_lines = list(range(len(facts), len(self._lines)))
        self._scales = self._scale.T.tolist()
        weights = self._lines[: len(facts)]
        self._facts, self._bases, self._weights, self._n_with_fact = facts, bases, weights, n_with_fact
        self._rows = {fact: row for row, fact in enumerate(facts)}
        self._grounds = Grounds(EvidenceKind.TRAIT, facts, weights, n_with_fact)


def _terms(figures: Sequence[float], scales: Sequence[Sequence[float]]) -> list[float]:
    """Every figure as z, then z² − 1 of each, then whether each is unknown.

    Args:
        figures: A client's.
        scales: Mean and spread of each figure.

    Example:
        >>> _terms([3.0, math.nan], [[1.0, 4.0], [0.0, 1.0]])
        [0.5, 0.0, -0.75, -1.0, 0.0, 1.0]
    """
    is_unknown = [math.isnan(figure) for figure in figures]
    z = [
        0.0 if unknown else min(max((figure - mean) / (spread if spread > 0 else 1.0), -_FARTHEST), _FARTHEST)
        for figure, unknown, (mean, spread) in zip(figures, is_unknown, scales, strict=True)
    ]
    return [*z, *[each * each - 1.0 for each in z], *map(float, is_unknown)]


def _scale_of(figures: FloatArray) -> FloatArray:
    """Mean and spread of every known figure, shape (2, n_figures); zeros where none is known."""
    known = [figures[~np.isnan(figures[:, each]), each] for each in range(figures.shape[1])]
    return np.array(
        [[each.mean() if len(each) else 0.0, each.std() if len(each) else 0.0] for each in known]
    ).T


def _pattern(clients: ClientBatch, rows: dict[str, int]) -> sparse.csr_array:
    """Which of the facts are true of whom, clients_by_facts."""
    found = [[rows[trait] for trait in traits if trait in rows] for traits in clients.traits]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in found], dtype=np.int64)])
    indices = np.array([row for one in found for row in one], dtype=np.int64)
    return sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(len(found), len(rows)))


def _clear_counts(clients_by_facts: sparse.csr_array, holdings: sparse.csr_array) -> IntArray:
    """Clients of each fact with each offer where that is clearly no chance, else 0."""
    both = (clients_by_facts.T @ holdings).toarray()
    n_with_fact = np.asarray(clients_by_facts.sum(axis=0), dtype=np.int64)
    n_holders = np.asarray(holdings.sum(axis=0), dtype=np.int64)
    is_said = is_clearly_above(both, n_with_fact[:, None], n_holders, holdings.shape[0])
    return np.where(is_said, both, 0).astype(np.int64)
