"""Did the arms get the share of clients that was planned? If not, no figure of the experiment stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, gammaln

from recsys.models.base import FloatArray

_CONCENTRATION = 100.0

ASSIGNED, TRIGGERED = "assigned", "triggered"


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether the arms have the units that their weights promise.

    Attributes:
        n_units: Units assigned, by arm.
        n_expected: What the weights promise.
        p_value: χ² test of the units assigned, as if looked at once; NaN without units.
        triggered_p_value: The same of the units triggered.
        always_valid_p_value: Of the units assigned; may be looked at daily.
        path: Days since the start, units of each arm by then, and the always-valid p.
        is_mismatch: Nothing of this experiment can be trusted.
        n_triggered: Units triggered, by arm.
        triggered_always_valid_p_value: Of the units triggered; may be looked at daily.
        failed: Which counts do not fit, of `assigned` and `triggered`.
    """

    n_units: tuple[int, ...]
    n_expected: tuple[float, ...]
    p_value: float
    triggered_p_value: float
    always_valid_p_value: float
    path: tuple[tuple[int, tuple[int, ...], float], ...]
    is_mismatch: bool
    n_triggered: tuple[int, ...] = ()
    triggered_always_valid_p_value: float = float("nan")
    failed: tuple[str, ...] = ()


def sample_ratio_p_value(counts: Sequence[int], weights: Sequence[float]) -> float:
    """The p of "clients came as planned", looked at once.

    ``χ² = Σ (n_i − e_i)² / e_i`` with arms − 1 degrees of freedom. Arms of weight 0 are left out with their
    counts. (gbstats' Python keeps them in the counts and the degrees of freedom instead, so that a client in
    an arm that nobody should get weighs heavily; here such a client is a fault for the assignment to refuse.)

    Args:
        counts: Units of each arm, ≥0.
        weights: Planned weights, ≥0, of any sum.

    Returns:
        0–1; 1 where there is nothing to test: fewer than two arms with a weight, or no units.

    Raises:
        ValueError: Lengths differ, or a number is negative.

    Source:
        Fabijan et al. 2019, "Diagnosing sample ratio mismatch in online controlled experiments".

    Example:
        >>> round(sample_ratio_p_value([135, 115], [0.5, 0.5]), 9)
        0.205903211
    """
    if len(counts) < 2:
        return 1.0
    observed, expected = _expected(counts, weights)
    if len(observed) < 2 or not observed.sum():
        return 1.0
    expected = expected * observed.sum()
    return float(chdtrc(len(observed) - 1, ((observed - expected) ** 2 / expected).sum()))


def _expected(
    counts: Sequence[float] | FloatArray, weights: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Counts and shares of the arms with a weight."""
    observed, planned = np.asarray(counts, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if observed.shape[-1:] != planned.shape:
        raise ValueError(f"{observed.shape[-1]} counts and {planned.shape[0]} weights, must be as many")
    if (observed < 0).any() or (planned < 0).any():
        raise ValueError(f"counts {list(counts)} and weights {list(weights)} must not be negative")
    kept = planned > 0
    return observed[..., kept], planned[kept] / max(float(planned.sum()), 1e-300)


def sequential_sample_ratio_p_values(
    counts_by_day: Sequence[Sequence[int]] | FloatArray,
    weights: Sequence[float],
    *,
    concentration: float = _CONCENTRATION,
) -> FloatArray:
    """The same question, asked every day: p is valid at all days together.

    The evidence is the Bayes factor of a Dirichlet prior around the plan against the plan itself,
    ``[B(α + X_t) / B(α)] / Π p_i^{X_ti}`` with α = concentration · p and X_t the counts up to day t; p is the
    least ``1 / evidence`` so far, at most 1. It does not matter how clients are cut into days.

    Args:
        counts_by_day: New units of each day in each arm, shape (n_days, n_arms).
        weights: Planned weights, ≥0; arms of weight 0 are left out.
        concentration: How near the plan the alternative lies: 100 sees a mismatch in some hundred units and
            loses little with a million; 10,000 (gbstats) is made for millions and blind below thousands.

    Returns:
        p after each day, never rising, shape (n_days,); 1 where there is nothing to test.

    Raises:
        ValueError: Lengths differ, or a number is negative.

    Source:
        Lindon & Malek 2022, "Anytime-valid inference for multinomial count data", NeurIPS 35.
    """
    days = np.asarray(counts_by_day, dtype=np.float64).reshape(-1, len(weights))
    daily, shares = _expected(days, weights)
    if len(shares) < 2:
        return np.ones(len(daily))
    totals, prior = np.cumsum(daily, axis=0), concentration * shares
    evidence = (gammaln(prior + totals) - gammaln(prior)).sum(axis=1) - totals @ np.log(shares)
    evidence += gammaln(concentration) - gammaln(concentration + totals.sum(axis=1))
    return np.minimum(1.0, np.exp(-np.maximum.accumulate(evidence)))
