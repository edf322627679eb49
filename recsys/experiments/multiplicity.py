"""Many metrics, many arms: p values and levels adjusted for how many were looked at."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from recsys.experiments.inference import check_alpha
from recsys.models.base import FloatArray


class Correction(StrEnum):
    """How p values are adjusted.

    Any false finding at all stays improbable (family-wise): BONFERRONI, HOLM under any dependence; SIDAK,
    HOLM_SIDAK, HOCHBERG, HOCHBERG_SIDAK where p values are independent or rise together. The share of false
    findings stays small: BENJAMINI_HOCHBERG likewise, BENJAMINI_YEKUTIELI under any dependence.
    """

    BONFERRONI = "bonferroni"
    SIDAK = "sidak"
    HOLM = "holm"
    HOLM_SIDAK = "holm_sidak"
    HOCHBERG = "hochberg"
    HOCHBERG_SIDAK = "hochberg_sidak"
    BENJAMINI_HOCHBERG = "benjamini_hochberg"
    BENJAMINI_YEKUTIELI = "benjamini_yekutieli"


_STEP_DOWN = (Correction.HOLM, Correction.HOLM_SIDAK)
_AT_ONCE = (Correction.BONFERRONI, Correction.SIDAK)
_BY_PRODUCT = (Correction.SIDAK, Correction.HOLM_SIDAK, Correction.HOCHBERG_SIDAK)


def _factors(n: int, correction: Correction) -> FloatArray:
    """How many tests the p of each rank counts for, shape (n,)."""
    ranks = np.arange(1.0, n + 1.0)
    if correction in _AT_ONCE:
        return np.full(n, float(n))
    if correction is Correction.BENJAMINI_HOCHBERG:
        return n / ranks
    if correction is Correction.BENJAMINI_YEKUTIELI:
        factors: FloatArray = n / ranks * (1.0 / ranks).sum()
        return factors
    return n + 1.0 - ranks


def adjust(p_values: FloatArray, correction: Correction) -> FloatArray:
    """Adjust p values so that each can be held against alpha itself.

    With f the factor of a rank (HOLM, HOCHBERG ``m − j + 1``; BENJAMINI_HOCHBERG ``m/j``;
    BENJAMINI_YEKUTIELI ``m/j · Σ_i 1/i``; one step ``m``) p becomes ``f·p``, or ``1 − (1 − p)^f`` for
    Šidák's; then the running maximum from the smallest (step-down) or the running minimum from the largest
    (step-up).

    Args:
        p_values: Each 0–1, or NaN: cannot tell; shape (m,). NaN stays and is nobody's family.
        correction: How.

    Returns:
        Adjusted values in the order given, at most 1, never smaller than before.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure"; Hochberg 1988; Šidák 1967;
        Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001.

    Example:
        3 · .01, 2 · .02, and the last not below the one before it.

        >>> adjust(np.array([0.02, 0.01, 0.03]), Correction.HOLM)
        array([0.04, 0.03, 0.04])
    """
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    ordered, factors = p_values[order], _factors(len(order), correction)
    if correction in _BY_PRODUCT:
        raised = -np.expm1(factors * np.log1p(-np.minimum(ordered, 1.0 - 1e-16)))
    else:
        raised = factors * ordered
    if correction in _STEP_DOWN:
        raised = np.maximum.accumulate(raised)
    elif correction not in _AT_ONCE:
        raised = np.minimum.accumulate(raised[::-1])[::-1]
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def adjusted_alphas(p_values: FloatArray, correction: Correction, alpha: float = 0.05) -> FloatArray:
    """The level against which each p itself was held, for intervals that agree with the decisions.

    ``alpha / f`` (Šidák ``1 − (1 − alpha)^(1/f)``) of the p's rank; step-up: of the largest rejected rank for
    every rejected one; step-down: of the first rank not rejected for every one after it.

    Args:
        p_values: As for `adjust`.
        correction: How.
        alpha: The level of the whole family.

    Returns:
        Levels in the order given; NaN beside NaN.
    """
    check_alpha(alpha)
    adjusted = adjust(p_values, correction)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = _factors(len(order), correction)
    levels = -np.expm1(np.log1p(-alpha) / factors) if correction in _BY_PRODUCT else alpha / factors
    ranks = np.arange(len(order))
    n_rejected = int(np.count_nonzero(adjusted[order] <= alpha))
    if correction in _STEP_DOWN:
        ranks = np.minimum(ranks, n_rejected)
    elif correction not in _AT_ONCE:
        ranks = np.maximum(ranks, n_rejected - 1)
    found = np.full(len(p_values), np.nan)
    found[order] = levels[ranks] if len(order) else levels
    return found
