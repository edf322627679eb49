"""How far to trust an average: intervals over clients.

What is resampled is the *unit*: a client, or a whole account group where companies belong to one, because
companies under one roof decide alike. All rows of a unit, of whatever cut, move together. Every quantity
given in one call is measured on the same resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import sparse

from recsys.evaluation.beyond_accuracy import catalogue_coverage
from recsys.models.base import FloatArray, IntArray

_CELLS_PER_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def resampled_weights(n_units: int, n_resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each unit is drawn when as many as there are get drawn with replacement, in chunks.

    Args:
        n_units: Number of units, ≥1.
        n_resamples: Number of resamples, ≥1.
        rng: Source of the draws; the draws do not depend on the size of the chunks.

    Yields:
        Weights, shape (at most n_resamples, n_units); each row sums to n_units. Together n_resamples rows.

    Raises:
        ValueError: n_units or n_resamples is below 1.

    Example:
        >>> [weights] = resampled_weights(3, 2, np.random.default_rng(0))
        >>> weights.sum(axis=1)
        array([3., 3.])
    """
    if n_units < 1 or n_resamples < 1:
        raise ValueError(f"n_units is {n_units} and n_resamples is {n_resamples}, both must be at least 1")
    chunk = max(1, _CELLS_PER_CHUNK // n_units)
    for start in range(0, n_resamples, chunk):
        n_rows = min(chunk, n_resamples - start)
        drawn = rng.integers(n_units, size=(n_rows, n_units))
        drawn += np.arange(n_rows)[:, None] * n_units
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_units)
        yield counts.reshape(n_rows, n_units).astype(np.float64)


def bootstrap_means(
    values: FloatArray,
    units: IntArray,
    rng: np.random.Generator,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> list[Estimate]:
    """Means over rows with percentile bootstrap intervals over units.

    ``mean* = Σ_u w_u · Σ_{rows of u} value  ÷  Σ_u w_u · n_rows(u)``, where ``w_u`` says how often unit *u*
    was drawn; the interval runs between the (1 − confidence)/2 and (1 + confidence)/2 quantiles of mean*.

    Args:
        values: Finite, shape (n_rows, n_quantities); a row is one client at one cut.
        units: Unit of each row, 0 … n_units − 1, every number used, shape (n_rows,).
        rng: Source of the draws.
        n_resamples: Number of resamples, ≥1.
        confidence: Nominal coverage, between 0 and 1.

    Returns:
        One estimate per column of `values`.

    Raises:
        ValueError: There are no rows, a value is not finite, or an argument is out of its bounds.

    Source:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3; resampling whole
        clusters: Davison & Hinkley 1997, section 3.8.

    Example:
        Two clients, so a resample's mean is 0, 1/2 or 1 (with probabilities 1/4, 1/2, 1/4).

        >>> bootstrap_means(np.array([[0.0], [1.0]]), np.array([0, 1]), np.random.default_rng(0))
        [Estimate(value=0.5, low=0.0, high=1.0)]
    """
    _check_confidence(confidence)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite; leave out clients for whom a metric is not defined")
    n_rows = np.bincount(units).astype(np.float64)
    sums = np.column_stack([np.bincount(units, weights=column) for column in values.T])
    means = np.concatenate(
        [
            (weights @ sums) / (weights @ n_rows)[:, None]
            for weights in resampled_weights(len(n_rows), n_resamples, rng)
        ]
    )
    low, high = _quantiles(means, confidence)
    value = sums.sum(axis=0) / n_rows.sum()
    return [Estimate(*map(float, ends)) for ends in zip(value, low, high, strict=True)]


def jackknife_coverage(
    recommended: sparse.csr_array, units: IntArray, *, confidence: float = 0.95
) -> Estimate:
    """Catalogue coverage with a jackknife interval over units.

    ``coverage ± z · SE``, ``SE² = (n − 1)/n · Σ_u (c_u − mean c)²``, where ``c_u`` is the share of offers
    that only unit *u* is recommended, that is, by how much coverage falls without it. Kept within 0–1.
    The interval errs on the safe side: the squared SE is on average never too small. The percentile
    bootstrap would be wrong here: a resample holds only about 63 % of the clients, so it covers less than
    the value it should surround.

    Args:
        recommended: Rows by offers, ones where an offer is in the row's list.
        units: Unit of each row, 0 … n_units − 1, every number used, shape (n_rows,).
        confidence: Nominal coverage of the interval, between 0 and 1.

    Returns:
        The share of offers recommended at least once, and its interval.

    Raises:
        ValueError: There are no rows, or confidence is out of its bounds.

    Source:
        Efron & Stein 1981, "The jackknife estimate of variance", Annals of Statistics 9, 586–596.

    Example:
        Both clients see offer 0 of two: coverage hangs on neither of them.

        >>> recommended = sparse.csr_array(np.array([[1.0, 0.0], [1.0, 0.0]]))
        >>> jackknife_coverage(recommended, np.array([0, 1]))
        Estimate(value=0.5, low=0.5, high=0.5)
    """
    _check_confidence(confidence)
    n_rows, n_offers = recommended.shape
    if n_rows == 0:
        raise ValueError("there are no rows to measure coverage on")
    membership = sparse.csr_array((np.ones(n_rows), (units, np.arange(n_rows))))
    by_unit = (membership @ recommended) > 0
    n_units = by_unit.shape[0]
    is_hanging_on_one = by_unit.sum(axis=0) == 1
    losses = (by_unit @ is_hanging_on_one.astype(np.float64)) / max(n_offers, 1)
    standard_error = np.sqrt((n_units - 1) / n_units * ((losses - losses.mean()) ** 2).sum())
    margin = NormalDist().inv_cdf((1.0 + confidence) / 2.0) * float(standard_error)
    value = catalogue_coverage(recommended)
    return Estimate(value, max(0.0, value - margin), min(1.0, value + margin))


def _quantiles(samples: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    low, high = np.quantile(samples, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return low, high


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, must lie between 0 and 1")
