"""Calibration: scores become probabilities that hold on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from recsys.models.base import Arrays, FloatArray, FrozenArrays, IntArray, take_array

# keeps the order of scores inside a step of the map; a thousandth is far below the error of any rate
_TILT = 1e-3
_MAX_STEPS = 50
_SMALL_STEP = 1e-8
_LEAST_SLOPE = 0.05
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


def fit_group_calibration(
    raw: FloatArray, shifts: FloatArray, outcomes: FloatArray, groups_of_pairs: IntArray, groups: IntArray
) -> GroupCalibration:
    """Platt scaling for every need group, shrunk toward the whole.

    First one line ``a + s z`` is fitted to all pairs, with a prior of a = 0 ± 2 and s = 1 ± 0.5; then one to
    each group's pairs, with a prior of the whole's a ± 0.3 and s ± 0.15. A group without pairs has the line
    of the whole. Every fit is the most probable line (Newton's method), with slopes kept above 0.05.

    Args:
        raw: Log-odds before calibration, shape (n_pairs,).
        shifts: What sampling added to the log-odds; 0 = nothing was sampled; shape (n_pairs,).
        outcomes: 1 where it came true, else 0, shape (n_pairs,).
        groups_of_pairs: Group of each pair's offer, shape (n_pairs,).
        groups: Group of each offer, 0-based, −1 = none, shape (n_offers,).

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines"; the shrinkage is a normal prior on
        what a group adds, as in a hierarchical logistic regression (Gelman & Hill 2007, chapter 14).
    """
    whole = _line(raw, shifts, outcomes, (np.array([0.0, 1.0]), np.array([2.0, 0.5])))
    lines = np.tile(whole, (len(groups), 1))
    for group in np.unique(groups_of_pairs[groups_of_pairs >= 0]).tolist():
        is_in = groups_of_pairs == group
        lines[groups == group] = _line(
            raw[is_in], shifts[is_in], outcomes[is_in], (whole, np.array([0.3, 0.15]))
        )
    return GroupCalibration(lines[:, 0].copy(), lines[:, 1].copy())


def _line(
    raw: FloatArray, shifts: FloatArray, outcomes: FloatArray, prior: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """The most probable (intercept, slope) under a normal prior, given as means and spreads."""
    mean, spread = prior
    # centred, so that intercept and slope hardly depend on each other
    centre = float(raw.mean()) if len(raw) else 0.0
    design = np.stack([np.ones_like(raw), raw - centre], axis=1)
    precision = spread**-2.0
    start = np.array([mean[0] + mean[1] * centre, mean[1]])
    line = start.copy()
    for _ in range(_MAX_STEPS):
        chance = expit(design @ line + shifts)
        uphill = design.T @ (outcomes - chance) - precision * (line - start)
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
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
    chances: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -_MOST, _MOST)))
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
    return Calibration(calibration.scores, _scale_odds(calibration.probabilities, level))


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
