"""Calibration: scores become probabilities that hold on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import Arrays, FloatArray, FrozenArrays, IntArray, take_array

# keeps the order of scores inside a step of the map; a thousandth is far below the error of any rate
_TILT = 1e-3
_MAX_STEPS = 50
_SMALL_STEP = 1e-8
_LEAST_SLOPE = 0.05
# spreads of intercept and slope; no slope moves by a millionth
_WHOLE_LINE, _GROUP_LINE = np.array([2.0, 0.03]), np.array([0.03, 0.1])
_WHOLE_LEVEL, _GROUP_LEVEL = np.array([2.0, 1e-6]), np.array([0.03, 1e-6])
_MOST = 30.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A strictly rising map from score to probability, linear between its knots, flat outside.

    Attributes:
        scores: Scores of the knots, rising, shape (n_knots,).
        probabilities: Their probabilities, rising, each in (0, 1), shape (n_knots,).
    """

    scores: FloatArray
    probabilities: FloatArray

    def predict(self, scores: FloatArray) -> FloatArray:
        """Probabilities in (0, 1), of the shape of the scores.

        Example:
            >>> Calibration(np.array([0.0, 1.0]), np.array([0.1, 0.3])).predict(np.array([-1.0, 0.5]))
            array([0.1, 0.2])
        """
        return np.interp(scores, self.scores, self.probabilities)

    def at_level(self, factor: float) -> Calibration:
        """The same map with all odds multiplied by a factor above 0.

        Example:
            >>> Calibration(np.array([0.0]), np.array([0.5])).at_level(0.25).probabilities
            array([0.2])
        """
        return Calibration(self.scores, _scale_odds(self.probabilities, factor))

    def to_arrays(self) -> Arrays:
        """``scores`` and ``probabilities``."""
        return {"scores": self.scores, "probabilities": self.probabilities}

    @classmethod
    def restore(cls, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`.

        Raises:
            ValueError: The arrays are no rising map into (0, 1).
        """
        scores = take_array(arrays, "scores", (-1,))
        probabilities = take_array(arrays, "probabilities", (len(scores),))
        is_map = len(scores) > 0 and (np.diff(scores) > 0).all() and (np.diff(probabilities) >= 0).all()
        if not is_map or probabilities[0] <= 0 or probabilities[-1] >= 1:
            raise ValueError("the knots of a calibration must rise, with probabilities inside (0, 1)")
        return cls(scores, probabilities)


@dataclass(frozen=True, slots=True)
class GroupCalibration:
    """A line in log-odds for each offer: ``calibrated = intercept + slope · raw``.

    Offers of one need group share their line.

    Attributes:
        intercepts: Shape (n_offers,).
        slopes: Shape (n_offers,), above 0.
    """

    intercepts: FloatArray
    slopes: FloatArray

    def log_odds(self, raw: FloatArray) -> FloatArray:
        """Calibrated log-odds, shape (…, n_offers) like `raw`.

        Example:
            >>> calibration = GroupCalibration(np.array([1.0, 0.0]), np.array([0.5, 1.0]))
            >>> calibration.log_odds(np.array([[-2.0, -3.0]]))
            array([[ 0., -3.]])
        """
        calibrated: FloatArray = self.intercepts + self.slopes * raw
        return calibrated


class Pairs(NamedTuple):
    """Pairs of a client and an offer, and what became of them; arrays of shape (n_pairs,).

    Attributes:
        raw: Log-odds before calibration.
        shifts: What sampling added to the log-odds; 0 = nothing was sampled.
        outcomes: 1 where it came true, else 0.
        groups: Group of the offer, −1 = none.
        counts: For how many each pair counts, ≥0.
    """

    raw: FloatArray
    shifts: FloatArray
    outcomes: FloatArray
    groups: IntArray
    counts: FloatArray

    def take(self, rows: NDArray[np.bool_]) -> Pairs:
        """Those pairs."""
        return Pairs(
            self.raw[rows], self.shifts[rows], self.outcomes[rows], self.groups[rows], self.counts[rows]
        )


def fit_group_calibration(pairs: Pairs, groups: IntArray) -> GroupCalibration:
    """Platt scaling for every need group, shrunk toward the whole.

    First one line ``a + s z`` is fitted to all pairs, with a prior of a = 0 ± 2 and s = 1 ± 0.03: a model
    that was shrunk is hardly too extreme, and one that saw fewer windows more so than the one that is kept.
    Then one line is fitted to each group's pairs. Its level, where most is expected, has a prior of the
    whole's ± 0.03, for the levels of offers rest on more than a calibration sees; its slope has one of the
    whole's ± 0.1. A group without pairs has the line of the whole. Every fit is the most probable line
    (Newton's method), with slopes kept above 0.05.

    Args:
        pairs: What it learns from; their log-odds must come from models that did not see them.
        groups: Group of each offer, 0-based, −1 = none, shape (n_offers,).

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines"; the shrinkage is a normal prior on
        what a group adds, as in a hierarchical logistic regression (Gelman & Hill 2007, chapter 14).
    """
    lines = np.tile([0.0, 1.0], (len(groups), 1))
    return GroupCalibration(*_fit_lines(pairs, groups, lines, (_WHOLE_LINE, _GROUP_LINE)))


def move_levels(calibration: GroupCalibration, pairs: Pairs, groups: IntArray) -> GroupCalibration:
    """The same slopes, with the intercepts that hold for other pairs.

    All intercepts move together by 0 ± 2, then those of each group by another 0 ± 0.03.

    Args:
        calibration: Lines of groups.
        pairs: Later pairs; a level has one number to learn, so their models may have seen them.
        groups: As in `fit_group_calibration`.
    """
    lines = np.column_stack([calibration.intercepts, calibration.slopes])
    return GroupCalibration(*_fit_lines(pairs, groups, lines, (_WHOLE_LEVEL, _GROUP_LEVEL)))


def _fit_lines(
    pairs: Pairs, groups: IntArray, lines: FloatArray, spreads: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """What lines become when the whole moves as far as its spreads let it, and then each group.

    Args:
        pairs: What moves them.
        groups: Group of each offer.
        lines: Intercept and slope of each offer, those of a group alike, shape (n_offers, 2).
        spreads: Of intercept and slope: of the whole, and of a group around it.
    """
    of_group = np.tile([0.0, 1.0], (int(groups.max(initial=-1)) + 2, 1))
    of_group[groups] = lines  # the last row is that of offers without a group
    own = of_group[pairs.groups]
    moved = pairs._replace(raw=own[:, 0] + own[:, 1] * pairs.raw)
    whole = _line(moved, np.array([0.0, 1.0]), spreads[0])
    intercepts = np.full(len(groups), whole[0])
    slopes = np.full(len(groups), whole[1])
    for group in np.unique(pairs.groups[pairs.groups >= 0]).tolist():
        line = _line(moved.take(pairs.groups == group), whole, spreads[1])
        intercepts[groups == group], slopes[groups == group] = line
    return intercepts + slopes * lines[:, 0], slopes * lines[:, 1]


def _line(pairs: Pairs, mean: FloatArray, spread: FloatArray) -> FloatArray:
    """The most probable (intercept, slope) under a normal prior, given as means and spreads."""
    # centred where most comes true, so that intercept and slope hardly depend on each other
    weights = pairs.counts * expit(mean[0] + mean[1] * pairs.raw)
    centre = float(np.average(pairs.raw, weights=weights)) if weights.sum() > 0 else 0.0
    design = np.stack([np.ones_like(pairs.raw), pairs.raw - centre], axis=1)
    precision = spread**-2.0
    start = np.array([mean[0] + mean[1] * centre, mean[1]])
    line = start.copy()
    for _ in range(_MAX_STEPS):
        chance = expit(design @ line + pairs.shifts)
        uphill = design.T @ (pairs.counts * (pairs.outcomes - chance)) - precision * (line - start)
        bend = (design * (pairs.counts * chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
        step = np.linalg.solve(bend, uphill)
        line += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < _SMALL_STEP:
            break
    slope = max(float(line[1]), _LEAST_SLOPE)
    return np.array([float(line[0]) - slope * centre, slope])


def expit(log_odds: FloatArray) -> FloatArray:
    """Probabilities of log-odds.

    Example:
        >>> expit(np.array([0.0, np.log(3.0)])).tolist()
        [0.5, 0.75]
    """
    # scipy.special would cost a server 5 MB
    kept = np.minimum(np.maximum(log_odds, -_MOST), _MOST)
    chances: FloatArray = 1.0 / (1.0 + np.exp(-kept))
    return chances


def fit_calibration(scores: FloatArray, outcomes: FloatArray, adoptions_per_bin: int = 50) -> Calibration:
    """Isotonic regression on bins that hold equally many adoptions.

    The bins are cut at quantiles of the adopters' scores, not of all scores: adoptions are rare and sit
    at the top, where lists are made, and a rate from n adoptions has the relative error 1/√n whatever
    the number of pairs. The fitted rates become knots at the bins' mean scores. Lists are made inside the
    topmost step: from its mean to the highest score the map rises as the least-squares line through that
    step's outcomes does, if it rises. A tilt of a thousandth keeps the order of scores inside a step and
    up to twice the range seen. The odds of all knots are then scaled by one factor, so that expected
    adoptions are those observed.

    Args:
        scores: Scores of (client, offer) pairs, finite, shape (n_pairs,).
        outcomes: 1 where the client adopted the offer, else 0, shape (n_pairs,).
        adoptions_per_bin: Adoptions in one bin, ≥1; ties put more into one.

    Returns:
        The map. Without any adoption its level is half an adoption among all pairs.

    Raises:
        ValueError: There are no pairs, the shapes differ, or adoptions_per_bin < 1.

    Source:
        Zadrozny & Elkan 2002, "Transforming classifier scores into accurate multiclass probability
        estimates", KDD '02.

    Example:
        One adopter among three pairs of score 0, one among one pair of score 1.

        >>> scores, outcomes = np.array([0.0, 0, 0, 1]), np.array([1.0, 0, 0, 1])
        >>> fit_calibration(scores, outcomes, adoptions_per_bin=1).predict(np.array([0.0, 1.0])).round(2)
        array([0.33, 0.9 ])
    """
    if len(scores) == 0 or scores.shape != outcomes.shape:
        raise ValueError(f"{scores.shape} scores and {outcomes.shape} outcomes, must be equal and not empty")
    if adoptions_per_bin < 1:
        raise ValueError(f"adoptions_per_bin is {adoptions_per_bin}, must be at least 1")
    # a server only predicts, and scipy.optimize would cost it 28 MB and most of its start
    from scipy.optimize import isotonic_regression  # noqa: PLC0415

    bins = _bins_of(scores, outcomes, adoptions_per_bin)
    n_pairs = np.bincount(bins).astype(np.float64)
    rates = isotonic_regression(np.bincount(bins, outcomes) / n_pairs, weights=n_pairs).x
    # the bins of the topmost step are one
    bins = np.minimum(bins, np.searchsorted(rates, rates[-1]))
    margin = 0.5 / (len(scores) + 1)
    steps = np.clip(rates[: bins.max() + 1], margin, 1 - margin)
    centres = np.bincount(bins, scores) / np.bincount(bins)
    is_top = bins == bins.max()
    highest = steps[-1] + _rise(scores[is_top], outcomes[is_top])
    calibration = _tilted(
        np.append(centres, scores.max()),
        np.append(steps, min(highest, 1 - margin)),
        float(scores.min()),
    )
    # the line between knots does not sum to what the steps sum to, most of all in the wide lowest bin
    level = float(steps[bins].sum() / calibration.predict(scores).sum())
    return calibration.at_level(level)


def _bins_of(scores: FloatArray, outcomes: FloatArray, adoptions_per_bin: int) -> IntArray:
    """The bin of each score, 0-based and without gaps."""
    adopted = scores[outcomes > 0]
    # edges are scores that exist and bins hold their lower edge, so that ties always share a bin
    last = len(adopted) - adoptions_per_bin + 1
    edges = np.unique(np.sort(adopted)[adoptions_per_bin : max(last, 0) : adoptions_per_bin])
    _, bins = np.unique(np.searchsorted(edges, scores, side="right"), return_inverse=True)
    return bins.astype(np.int64)


def _rise(scores: FloatArray, outcomes: FloatArray) -> float:
    """How much the least-squares line rises from the mean score to the highest; 0 where it falls."""
    centred = scores - scores.mean()
    spread = float(centred @ centred)
    slope = float(centred @ outcomes) / spread if spread > 0 else 0.0
    return max(slope * float(centred.max()), 0.0)


def _tilted(centres: FloatArray, rates: FloatArray, low: float) -> Calibration:
    """The steps as knots, with one more knot below and above, and tilted in log-odds."""
    is_rising = np.concatenate([[True], np.diff(centres) > 0])
    centres, rates = centres[is_rising], rates[is_rising]
    reach = max(float(centres[-1]) - low, 1.0)
    knots = np.concatenate([[low - reach], centres, [centres[-1] + reach]])
    steps = np.concatenate([rates[:1], rates, rates[-1:]])
    return Calibration(knots, _scale_odds(steps, np.exp(_TILT * np.linspace(-0.5, 0.5, len(knots)))))


def _scale_odds(probabilities: FloatArray, factors: FloatArray | float) -> FloatArray:
    odds = probabilities / (1 - probabilities) * factors
    scaled: FloatArray = odds / (1 + odds)
    return scaled
