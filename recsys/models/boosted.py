"""The stack: components, a log-linear start that joins them, and boosted trees that correct it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.config import RunConfig
from recsys.features.population import need_groups_of
from recsys.models.at_risk import could_have, rates_among
from recsys.models.base import (
    Arrays,
    ClientBatch,
    ClientFacts,
    Evidence,
    FittedOffers,
    FloatArray,
    FrozenArrays,
    IntArray,
    OfferIndex,
    PastWindow,
    TrainingSet,
    take_array,
)
from recsys.models.blend import Component, Components, MakeScorer
from recsys.models.calibration import GroupCalibration, Pairs, expit, fit_group_calibration, move_levels
from recsys.models.features_read import FeatureReader
from recsys.models.joined_trees import JoinedTrees
from recsys.models.log_linear import Candidates, LogLinear, fit_log_linear
from recsys.models.trees import MOST_LEAVES, Trees

_CLIENTS_AT_ONCE = 500
_N_FOLDS = 3
# an offer that was nearly never shown counts for six, and not for a hundred
_LEAST_LOGGED = 0.03
_LEAST_RATE = 1e-6
# fits that miss a third of the windows say less than the one that is kept: decision 27
_FULLER = 1.04


class BoostedParams(RunConfig):
    """Parameters of `Boosted`.

    Attributes:
        components: What the start joins.
        n_calibration_windows: The last windows, whose level the probabilities have, ≥1.
        max_trees: Trees at most; 0 = the log-linear start alone.
        patience: Trees without a gain on the later window after which no more are grown.
        learning_rate: Share of each tree's correction that counts, in (0, 1].
        n_leaves: Leaves of a tree, 2–9.
        min_in_leaf: Candidates in a leaf at least.
        l2: Ridge penalty of a leaf's value.
        feature_share: Share of the features that a tree may read, in (0, 1].
        n_bins: Values told apart of each feature.
    """

    components: tuple[Component, ...] = Field(
        default=(
            Component(name="ease", weight=0.1),
            Component(name="leaning", weight=0.5, floor=0.001),
            Component(name="profile", weight=0.3, floor=0.0001),
        ),
        min_length=1,
    )
    n_calibration_windows: int = Field(default=2, ge=1)
    max_trees: int = Field(default=80, ge=0)
    patience: int = Field(default=25, ge=1)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    n_leaves: int = Field(default=4, ge=2, le=MOST_LEAVES)
    min_in_leaf: int = Field(default=100, ge=1)
    l2: float = Field(default=10.0, ge=0)
    feature_share: float = Field(default=0.5, gt=0, le=1)
    n_bins: int = Field(default=63, ge=2, le=255)


@dataclass(frozen=True, slots=True)
class _Part:
    """Candidates of one window or of several, with everything that trees may read of them."""

    candidates: Candidates
    rows: NDArray[np.float32]
    moments: IntArray

    @classmethod
    def join(cls, parts: Sequence[_Part]) -> _Part:
        starts = np.cumsum([0, *(int(part.moments.max(initial=-1)) + 1 for part in parts[:-1])])
        joined = Candidates(
            *(np.concatenate(each) for each in zip(*(part.candidates for part in parts), strict=True))
        )
        # counts that add up to the number of outcomes which would tell as much
        counts = joined.counts * (joined.counts.sum() / (joined.counts @ joined.counts))
        return cls(
            joined._replace(counts=counts),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.moments + start for part, start in zip(parts, starts, strict=True)]),
        )

    def rows_after(self, start: LogLinear) -> tuple[NDArray[np.float32], FloatArray, FloatArray, FloatArray]:
        """What trees grow on: rows, outcomes, the log-odds where they begin, counts."""
        found = self.candidates
        return self.rows, found.outcomes, start.log_odds(found) + found.shifts, found.counts


class _Stack(NamedTuple):
    """A start and the trees that correct it."""

    start: LogLinear
    trees: Trees | None
    importance: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class _Learnt:
    """What fit leaves for scoring; the trees are joined when they are first asked."""

    start: LogLinear
    calibration: GroupCalibration
    trees: Trees | None = None
    joined: JoinedTrees | None = None
    importance: tuple[tuple[str, float], ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


class Boosted(FittedOffers):
    """Probability that a client accepts an offer, in log-odds.

    ``z(client, j) = term_j + Σ_c w_c log(s_c + ε_c) + h [j is held] + trees(features)``

    ``score = a_g + b_g z``

    The start (terms and weights) is a logistic regression on past windows, shrunk; the trees begin at it, are
    grown until a later window gains no more, and are left out where they do not gain more than the standard
    error of the gain; both are then fitted to all windows. A candidate counts for ``q^-½``, q being the
    probability with which it was logged: what policies of the past showed to all must not decide alone what
    is true of the rest. The slope b of each need group comes from windows that start and trees did not see,
    and is then made 1.04 times as steep; the level a comes from the last windows. The slot in which an offer
    was seen is part of the start and is fixed at the first slot when scoring.

    Without past windows in which anything came true it is a `Blend` of the components with the weights of its
    configuration, and its scores are no log-odds.

    Attributes:
        figures: How the fit went: candidates, what came true, trees, log-loss on the last quarter of the
            windows with and without trees.
        importance: Share of each feature in the gain of the trees, the largest first; empty after `restore`.

    Source:
        Friedman 2001, "Greedy function approximation: a gradient boosting machine"; Ke et al. 2017,
        "LightGBM". Sampled negatives: King & Zeng 2001, "Logistic regression in rare events data", 4.1.
        Counts by the logged probability, tempered: Horvitz & Thompson 1952, "A generalization of sampling
        without replacement".
    """

    name: ClassVar[str] = "boosted"
    reads_holdings: ClassVar[bool] = True
    reads_profiles: ClassVar[bool] = True
    reads_past: ClassVar[bool] = True
    gives_log_odds: ClassVar[bool] = True

    def __init__(self, params: BoostedParams, make: MakeScorer) -> None:
        self.params = params
        self._make = make
        self._components = Components(params.components, make)
        self._reader = FeatureReader(len(params.components))
        self._prior = np.array([component.weight for component in params.components])
        self._learnt = self._unlearnt(0)

    @property
    def figures(self) -> dict[str, float]:
        """How the fit went."""
        return dict(self._learnt.figures)

    @property
    def importance(self) -> tuple[tuple[str, float], ...]:
        """Share of each feature in the gain of the trees."""
        return self._learnt.importance

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Fit components, start, trees and calibration; returns self."""
        self._components.fit(training, rng)
        self._offers = training.offers
        self._learnt = self._unlearnt(len(training.offers))
        windows = [window for window in training.past if len(window)]
        if any(window.outcomes.any() for window in windows):
            parts = [self._part_of(window, training.offers, rng) for window in windows]
            self._learn(parts, _groups_of(training), int(rng.integers(2**31)))
            start = self._learnt.start
            terms = start.terms + start.level_weight * _levels_of(training)
            self._learnt.start = start._replace(terms=terms, level_weight=0.0)
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Calibrated log-odds at the first slot, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        if len(clients) <= _CLIENTS_AT_ONCE:
            return self._score_block(clients)
        scores = np.empty((len(clients), len(self.offers)))
        for first in range(0, len(clients), _CLIENTS_AT_ONCE):
            block = np.arange(first, min(first + _CLIENTS_AT_ONCE, len(clients)))
            scores[block] = self._score_block(clients.take(block))
        return scores

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """What the components say, in their order; what trees add is said of nothing."""
        self.check_fitted()
        return self._components.explain(facts, column)

    def to_arrays(self) -> Arrays:
        """Components behind their numbers, the start, the calibration, and the trees where there are any."""
        self.check_fitted()
        learnt = self._learnt
        return {
            **self._components.to_arrays(),
            "terms": learnt.start.terms,
            "weights": learnt.start.weights,
            "held_weight": np.array([learnt.start.held_weight]),
            "intercepts": learnt.calibration.intercepts,
            "slopes": learnt.calibration.slopes,
            **({} if learnt.trees is None else learnt.trees.to_arrays()),
        }

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        self._components.restore(offers, arrays)
        slopes = take_array(arrays, "slopes", (len(offers),))
        if not (slopes > 0).all():
            raise ValueError("array 'slopes' holds values that are not above 0")
        start = LogLinear(
            take_array(arrays, "terms", (len(offers),)),
            take_array(arrays, "weights", (len(self.params.components),)),
            float(take_array(arrays, "held_weight", (1,))[0]),
            0.0,
            0.0,
        )
        self._learnt = _Learnt(
            start,
            GroupCalibration(take_array(arrays, "intercepts", (len(offers),)), slopes),
            Trees.restore(arrays, len(self._reader.names)) if "trees_leaves" in arrays else None,
        )
        self._offers = offers
        return self

    def _score_block(self, clients: ClientBatch) -> FloatArray:
        learnt = self._learnt
        logs = self._components.logs(clients)
        raw = learnt.start.terms + (learnt.start.weights @ logs.reshape(len(logs), -1)).reshape(logs[0].shape)
        raw[clients.rows, clients.columns] += learnt.start.held_weight
        if learnt.trees is not None and len(clients):
            if learnt.joined is None:
                learnt.joined = JoinedTrees(learnt.trees, self._reader.kinds)
            trees = learnt.joined
            raw += trees.sums(self._reader.parts(clients, self.offers, logs, trees.features))
        return learnt.calibration.log_odds(raw)

    def _part_of(self, window: PastWindow, offers: OfferIndex, rng: np.random.Generator) -> _Part:
        """A window's candidates in the columns of `offers`; an offer that is no longer known is left out."""
        there = window.training.offers
        places = np.array([offers.columns.get(offer_id, -1) for offer_id in there.offer_ids], dtype=np.int64)
        components = Components(self.params.components, self._make).fit(window.training, rng)
        is_known = places[window.columns] >= 0
        moments, columns = window.rows[is_known], window.columns[is_known]
        logs = np.empty((len(moments), len(self.params.components)))
        for first in range(0, len(window.clients), _CLIENTS_AT_ONCE):
            last = min(first + _CLIENTS_AT_ONCE, len(window.clients))
            block = components.logs(window.clients.take(np.arange(first, last)))
            is_in = (moments >= first) & (moments < last)
            logs[is_in] = block[:, moments[is_in] - first, columns[is_in]].T
        rows = self._reader.rows_of(window.clients, there, logs, moments, columns)
        candidates = Candidates(
            logs,
            places[columns],
            window.slots[is_known],
            window.outcomes[is_known],
            -np.log(window.keep_rates[is_known]),
            (rows[:, self._reader.names.index("is_held")] == 1).astype(np.float64),
            _levels_of(window.training)[columns],
            _counts_of(window.logging_probabilities[is_known]),
        )
        return _Part(candidates, rows, moments)

    def _learn(self, parts: Sequence[_Part], groups: IntArray, seed: int) -> None:
        whole = _Part.join(parts)
        learnt, n_trees = self._learnt, 0
        learnt.figures = {
            "n_candidates": float(len(whole.moments)),
            "n_came_true": float(whole.candidates.outcomes.sum()),
        }
        if len(parts) > 1 and self.params.max_trees:
            n_trees = self._judge_trees(parts, groups, seed)
        learnt.figures["n_trees"] = float(n_trees)
        lines = fit_group_calibration(self._unseen(parts, groups, seed, n_trees), groups)
        # of one window alone there is no other fit: it is judged on what it saw
        fuller = _FULLER if len(parts) > 1 else 1.0
        steeper = GroupCalibration(lines.intercepts, fuller * lines.slopes)
        learnt.start, learnt.trees, learnt.importance = self._fit_parts(whole, groups, seed, n_trees)
        later = _Part.join(parts[-self.params.n_calibration_windows :])
        learnt.calibration = move_levels(steeper, self._pairs_of(later, groups, learnt), groups)

    def _fit_parts(self, part: _Part, groups: IntArray, seed: int, n_trees: int) -> _Stack:
        """Start and trees of some windows."""
        start = fit_log_linear(part.candidates, groups, self._prior)
        if not n_trees:
            return _Stack(start, None, ())
        from recsys.models.growing import grow_trees  # noqa: PLC0415 -- only training needs the library

        grown = grow_trees(part.rows_after(start), None, self.params, self._reader, seed, n_trees)
        return _Stack(start, grown.trees, grown.importance)

    def _unseen(self, parts: Sequence[_Part], groups: IntArray, seed: int, n_trees: int) -> Pairs:
        """All candidates, each with the log-odds of a stack that was fitted without its window."""
        n_folds = min(_N_FOLDS, len(parts))
        found = []
        for fold in range(n_folds):
            others = [part for place, part in enumerate(parts) if place % n_folds != fold] or parts
            stack = self._fit_parts(_Part.join(others), groups, seed, n_trees)
            found.append(self._pairs_of(_Part.join(parts[fold::n_folds]), groups, stack))
        return Pairs(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def _pairs_of(self, part: _Part, groups: IntArray, stack: _Stack | _Learnt) -> Pairs:
        """What a calibration reads: offers that are not held, with what their slots explain added."""
        candidates = part.candidates
        raw = stack.start.log_odds(candidates)
        if stack.trees is not None:
            raw += stack.trees.predict(part.rows)
        of_pairs = groups[candidates.columns]
        pairs = Pairs(raw, candidates.shifts, candidates.outcomes, of_pairs, candidates.counts)
        return pairs.take(candidates.is_held == 0)

    def _judge_trees(self, parts: Sequence[_Part], groups: IntArray, seed: int) -> int:
        """How many trees, grown on earlier windows, help on the last quarter; 0 where none does."""
        from recsys.models.growing import grow_trees  # noqa: PLC0415 -- as above

        n_judging = max(1, len(parts) // 4)
        first, last = _Part.join(parts[:-n_judging]), _Part.join(parts[-n_judging:])
        start = fit_log_linear(first.candidates, groups, self._prior)
        learnt, later = first.rows_after(start), last.rows_after(start)
        grown = grow_trees(learnt, later, self.params, self._reader, seed)
        _, outcomes, offset, counts = later
        losses = [counts * _losses(offset, outcomes), counts * _losses(offset + grown.later, outcomes)]
        gain, error = _mean_gain(losses[0] - losses[1], last.moments)
        self._learnt.figures |= {
            "log_loss_start": float(losses[0].sum() / counts.sum()),
            "log_loss_trees": float(losses[1].sum() / counts.sum()),
        }
        return len(grown.trees) if gain > error else 0

    def _unlearnt(self, n_offers: int) -> _Learnt:
        return _Learnt(
            LogLinear(np.zeros(n_offers), self._prior, 0.0, 0.0, 0.0),
            GroupCalibration(np.zeros(n_offers), np.ones(n_offers)),
        )


def _groups_of(training: TrainingSet) -> IntArray:
    """Number of each offer's need group; −1 = none."""
    if not training.catalogue:
        return np.full(len(training.offers), -1, dtype=np.int64)
    numbers = {group: number for number, group in enumerate(need_groups_of(training.catalogue))}
    return np.array([numbers.get(offer.need_group or "", -1) for offer in training.catalogue], dtype=np.int64)


def _levels_of(training: TrainingSet) -> FloatArray:
    """Logarithm of the share of those who could have each offer that hold it, shape (n_offers,)."""
    n_holders = np.asarray(training.demand.sum(axis=0), dtype=np.float64).ravel()
    rates = rates_among(n_holders, could_have(training).sum(axis=0))
    levels: FloatArray = np.log(np.maximum(rates, _LEAST_RATE))
    return levels


def _counts_of(logging_probabilities: FloatArray) -> FloatArray:
    """Half-way (in logarithms) between what was shown and what could have been; 1 = nothing was logged."""
    known = np.where(np.isnan(logging_probabilities), 1.0, logging_probabilities)
    counts: FloatArray = np.clip(known, _LEAST_LOGGED, 1.0) ** -0.5
    return counts


def _losses(log_odds: FloatArray, outcomes: FloatArray) -> FloatArray:
    chances = np.clip(expit(log_odds), 1e-12, 1 - 1e-12)
    losses: FloatArray = -np.where(outcomes > 0, np.log(chances), np.log1p(-chances))
    return losses


def _mean_gain(gains: FloatArray, moments: IntArray) -> tuple[float, float]:
    """Sum of gains by moment: its mean and the standard error of that mean."""
    sums = np.bincount(moments, gains)
    sums = sums[np.bincount(moments) > 0]
    return float(sums.mean()), float(sums.std() / max(len(sums), 1) ** 0.5)
