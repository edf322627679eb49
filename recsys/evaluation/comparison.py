"""Is one model better than another: paired differences, their tests, and what "no difference" is worth.

Two models are judged on the same rows, so a difference is a sum of differences by row. What may be called
independent is the *unit* (a client, or its account group), so differences are summed by unit first. The test
flips the signs of these sums; the interval holds every difference that the same test would not reject, so
the two never disagree. Where no difference is found, `Comparison.detectable` says how large a one could have
hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from recsys.evaluation.intervals import Estimate, bootstrap_ratios, check_confidence, sums_by_unit
from recsys.models.base import FloatArray, IntArray

_CELLS_PER_CHUNK = 4_000_000
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against a baseline on the same rows.

    Attributes:
        candidate: The candidate's figure.
        baseline: The baseline's figure.
        difference: Candidate − baseline, with the interval of the sign-flip test; its ends are infinite
            where so few units cannot bound it (fewer than 6 at 95 %).
        bootstrap: The same difference with the interval of the paired bootstrap, as a second opinion.
        p_value: Of the two-sided sign-flip test that the difference is 0.
        detectable: The smallest true difference, in either direction, that such a comparison finds four
            times out of five; in the unit of the difference, NaN with a single unit.
        n_units: Number of independent units.
    """

    candidate: float
    baseline: float
    difference: Estimate
    bootstrap: Estimate
    p_value: float
    detectable: float
    n_units: int


def compare_paired(  # noqa: PLR0913 – two samples, their units and three settings of the method
    candidate: FloatArray,
    baseline: FloatArray,
    units: IntArray,
    rng: np.random.Generator,
    *,
    denominators: FloatArray | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two models on the same rows.

    ``difference = Σ_rows (candidate − baseline) ÷ Σ_rows denominator = Σ_u D_u ÷ Σ_u n_u``

    The test: if the models are alike, D_u is as likely to be negative as positive, so |Σ D_u| is compared
    with |Σ ±D_u| over random signs, or over all 2^n_units of them where half of these (a pattern and its
    opposite say the same) are not more than the draws asked for: ``p = share of sign patterns with
    |Σ ±D_u| ≥ |Σ D_u|``, the observed pattern among them. The interval holds every δ for which the test on
    D_u − δ·n_u gives p > 1 − confidence. In closed form: a sign pattern splits the units in two halves, and
    δ is not yet rejected by this pattern while it lies between the halves' own differences.

    Exact for any number of units where the D_u are independent and symmetric about the difference;
    otherwise right in the limit, and near enough from some 40 units on
    (``tests/statistical/test_evaluation_laws.py``).

    Args:
        candidate: Value by row, finite, shape (n_rows,).
        baseline: Value by row, finite, of the same rows, shape (n_rows,).
        units: Unit of each row, 0 … n_units − 1, every number used, shape (n_rows,).
        rng: Source of the signs and the resamples.
        denominators: What each row adds to the denominator of *both* figures, ≥0, with a sum above 0, shape
            (n_rows,); None: 1, so that figures are means over rows.
        n_resamples: Number of sign patterns, and of bootstrap resamples, ≥1; no p lies below 1 ÷ (1 + it).
        confidence: Nominal coverage of the intervals, between 0 and 1.

    Returns:
        The comparison.

    Raises:
        ValueError: Shapes differ, a value is not finite, or an argument is out of its bounds.

    Source:
        Hartigan 1969, "Using subsample values as typical values", JASA 64; Good 2005, "Permutation,
        parametric and bootstrap tests of hypotheses", section 3.2.

    Example:
        Ten clients, one of them worse: of the 2^10 sign patterns 1 + 10 sum to at least 8, as many to at
        most −8.

        >>> better = np.array([1.0] * 9 + [-1.0])
        >>> found = compare_paired(better, np.zeros(10), np.arange(10), np.random.default_rng(0))
        >>> found.difference.value, found.p_value  # 22 / 1024
        (0.8, 0.021484375)
    """
    check_confidence(confidence)
    if denominators is None:
        denominators = np.ones(len(candidate))
    if not len(candidate) == len(baseline) == len(units) == len(denominators):
        raise ValueError(
            f"candidate, baseline, units and denominators have {len(candidate)}, {len(baseline)},"
            f" {len(units)} and {len(denominators)} rows, must be the same rows"
        )
    if len(denominators) and not denominators.sum() > 0:
        raise ValueError(f"denominators sum to {denominators.sum()}, must sum to more than 0")
    differences = candidate - baseline
    [bootstrap] = bootstrap_ratios(
        differences[:, None],
        denominators[:, None],
        units,
        rng,
        n_resamples=n_resamples,
        confidence=confidence,
    )
    sums, sizes = sums_by_unit(differences, units), sums_by_unit(denominators, units)
    low, high, p_value = _flip_signs(sums, sizes, rng, n_resamples, 1.0 - confidence)
    total = float(sizes.sum())
    return Comparison(
        candidate=float(candidate.sum()) / total,
        baseline=float(baseline.sum()) / total,
        difference=Estimate(bootstrap.value, low, high),
        bootstrap=bootstrap,
        p_value=p_value,
        detectable=_detectable(sums, sizes, confidence),
        n_units=len(sums),
    )


def _flip_signs(
    sums: FloatArray, sizes: FloatArray, rng: np.random.Generator, n_patterns: int, level: float
) -> tuple[float, float, float]:
    """The interval of the sign-flip test and its p; see `compare_paired`."""
    total, size = sums.sum(), sizes.sum()
    lows, highs = [np.array([-np.inf])], [np.array([np.inf])]  # the observed pattern: one half is empty
    for half in _halves(len(sums), n_patterns, rng):
        half_sums, half_sizes = half @ sums, half @ sizes
        with np.errstate(divide="ignore", invalid="ignore"):
            first = half_sums / half_sizes
            second = (total - half_sums) / (size - half_sizes)
        # not `> 0` and `< size`: a sum of fractions may miss either by its last digit
        is_split = np.abs(half_sizes / size - 0.5) < 0.5 - 1e-12
        lows.append(np.where(is_split, np.minimum(first, second), -np.inf))
        highs.append(np.where(is_split, np.maximum(first, second), np.inf))
    low, high = np.sort(np.concatenate(lows)), -np.sort(-np.concatenate(highs))
    # sums of the same numbers in another order differ in their last digits
    tolerance = 1e-12 * np.abs(sums).sum() / size
    n_as_far = np.count_nonzero(high >= -tolerance) if total < 0 else np.count_nonzero(low <= tolerance)
    n_rejected = int(np.floor(level * len(low) + 1e-9))
    return float(low[n_rejected]), float(high[n_rejected]), float(n_as_far / len(low))


def _halves(n_units: int, n_patterns: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Which units each sign pattern flips, in chunks of shape (at most n_patterns, n_units).

    A pattern and its opposite split the units alike. So of all patterns one unit's sign stays, and the one
    that flips nothing is left to the caller.
    """
    if n_units <= 1:
        return
    if 2 ** (n_units - 1) <= n_patterns + 1:
        patterns = np.arange(1, 2 ** (n_units - 1))[:, None] >> np.arange(n_units)
        yield (patterns & 1).astype(np.float64)
        return
    chunk = max(1, _CELLS_PER_CHUNK // n_units)
    for start in range(0, n_patterns, chunk):
        shape = (min(chunk, n_patterns - start), n_units)
        yield rng.integers(2, size=shape, dtype=np.int8).astype(np.float64)


def _detectable(sums: FloatArray, sizes: FloatArray, confidence: float) -> float:
    """``(t_{(1 + confidence)/2} + t_{.8}) · SE`` with n_units − 1 degrees of freedom."""
    n_units = len(sums)
    if n_units < 2:
        return float("nan")
    residuals = sums - sizes * (sums.sum() / sizes.sum())
    standard_error = np.sqrt(n_units / (n_units - 1) * (residuals**2).sum()) / sizes.sum()
    quantiles = stdtrit(n_units - 1, [(1.0 + confidence) / 2.0, _POWER])
    return float(quantiles.sum() * standard_error)
