"""Calibration: scores become probabilities that hold on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from recsys.models.base import Arrays, FloatArray, FrozenArrays, IntArray, take_array

# keeps the order of scores inside a step of the map; a thousandth is far below the error of any rate
_TILT = 1e-3


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
