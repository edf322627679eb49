"""Effects of segments pulled towards each other, and the posterior of one effect under a prior.

Of many segments the one that looks best mostly had luck. How much to believe a segment is learnt from how
much the segments differ beyond their errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from recsys.experiments.inference import check_alpha
from recsys.models.base import FloatArray

_FEWEST_SEGMENTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Shrunk:
    """Segment effects after shrinkage.

    Attributes:
        values: Shrunk effects, shape (n_segments,); NaN where the segment's was.
        lows: Lower ends.
        highs: Upper ends.
        mean: The mean they were pulled to.
        between_variance: Variance of true effects between segments, ≥0.
        weights: Part of each segment's own estimate that was believed, 0–1.
    """

    values: FloatArray
    lows: FloatArray
    highs: FloatArray
    mean: float
    between_variance: float
    weights: FloatArray


def shrink(effects: FloatArray, standard_errors: FloatArray, alpha: float = 0.05) -> Shrunk:
    """Empirical-Bayes estimates of segment effects with Morris's intervals.

    ``value_s = μ + w_s (e_s − μ)``, ``w_s = τ²/(τ² + SE_s²)``, μ the precision-weighted mean, τ² by Paule and
    Mandel: ``Σ (e_s − μ)²/(τ² + SE_s²) = k − 1``. With k segments and B = (k − 3)/(k − 1) · (1 − w) the
    variance is ``SE²(1 − (k − 1)/k · B) + 2/(k − 3) · B²(e − μ)²``. Below four segments τ² cannot be known:
    effects are left as they are. Intervals cover on average over segments, not each segment by itself.

    Args:
        effects: Estimated effect of each segment; NaN: cannot tell; shape (n_segments,).
        standard_errors: Their standard errors, >0 where the effect is known.
        alpha: Share of segments that the intervals may miss.

    Returns:
        The shrunk effects.

    Raises:
        ValueError: Shapes differ, or a standard error is not above 0.

    Source:
        Morris 1983, "Parametric empirical Bayes inference: theory and applications", JASA 78; Paule & Mandel
        1982, "Consensus values and weighting factors".

    Example:
        Four segments that differ less than their errors explain: all the same.

        >>> shrink(np.array([0.1, 0.2, 0.3, 0.4]), np.ones(4)).values.tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    check_alpha(alpha)
    if effects.shape != standard_errors.shape:
        raise ValueError(f"{effects.shape} effects and {standard_errors.shape} errors, must be as many")
    known = ~np.isnan(effects)
    own, squared = effects[known], standard_errors[known] ** 2
    if not (squared > 0.0).all():
        raise ValueError("a standard error is not above 0; leave out segments without one (NaN effect)")
    n = len(own)
    z = float(ndtri(1.0 - alpha / 2.0))
    between, mean = float("nan"), float(np.average(own, weights=1.0 / squared)) if n else float("nan")
    weights, values, variances = np.ones(n), own, squared
    if n >= _FEWEST_SEGMENTS:
        between = _between_variance(own, squared)
        mean = float(np.average(own, weights=1.0 / (between + squared)))
        pulled = (n - 3) / (n - 1) * squared / (between + squared)
        weights = between / (between + squared)
        values = mean + weights * (own - mean)
        variances = squared * (1.0 - (n - 1) / n * pulled) + 2.0 / (n - 3) * pulled**2 * (own - mean) ** 2
    half = z * np.sqrt(variances)
    full = [np.full(len(effects), np.nan) for _ in range(4)]
    for target, part in zip(full, (values, values - half, values + half, weights), strict=True):
        target[known] = part
    return Shrunk(full[0], full[1], full[2], mean, between, full[3])


def _between_variance(effects: FloatArray, squared: FloatArray) -> float:
    def excess(between: float) -> float:
        weights = 1.0 / (between + squared)
        mean = np.average(effects, weights=weights)
        return float((weights * (effects - mean) ** 2).sum() - (len(effects) - 1))

    if excess(0.0) <= 0.0:
        return 0.0
    high = float(((effects - effects.mean()) ** 2).sum()) + 1e-300
    return float(brentq(excess, 0.0, high, xtol=1e-15 * high, rtol=1e-12))


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is believed of an effect.

    Attributes:
        value: Posterior mean.
        low: Lower end of the credible interval.
        high: Upper end.
        standard_error: Posterior standard deviation.
        chance_to_win: Chance that the treatment is better.
        risk_of_control: What is lost on average by staying with the control, ≥0.
        risk_of_treatment: What is lost on average by taking the treatment, ≥0.
    """

    value: float
    low: float
    high: float
    standard_error: float
    chance_to_win: float
    risk_of_control: float
    risk_of_treatment: float


def posterior_of(
    effect: float,
    standard_error: float,
    *,
    prior: tuple[float, float] | None = None,
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> Posterior:
    """A normal likelihood under a normal prior, or under a flat one.

    Precisions add; ``risk = E[max(0, ±effect)]``, e.g. ``μΦ(μ/σ) + σφ(μ/σ)`` for staying with the control.

    Args:
        effect: Estimated effect.
        standard_error: Its standard error, >0.
        prior: (mean, variance) on the effect's own scale; a relative prior on an absolute effect is
            multiplied by the baseline and its square; None: flat.
        alpha: 1 − mass of the interval.
        higher_is_better: Whether more of the metric is better.

    Returns:
        The posterior.

    Raises:
        ValueError: standard_error is not above 0.

    Source:
        gbstats (GrowthBook), whose published figures are repeated.

    Example:
        >>> round(posterior_of(0.05, 0.05).chance_to_win, 4)
        0.8413
    """
    check_alpha(alpha)
    if not standard_error > 0.0:
        raise ValueError(f"standard_error is {standard_error}, must be above 0")
    precision, weighted = standard_error**-2.0, effect * standard_error**-2.0
    if prior is not None:
        precision += 1.0 / prior[1]
        weighted += prior[0] / prior[1]
    mean, sigma = weighted / precision if prior is not None else effect, precision**-0.5
    z = float(ndtri(1.0 - alpha / 2.0))
    density = sigma * float(np.exp(-0.5 * (mean / sigma) ** 2) / np.sqrt(2.0 * np.pi))
    above, below = float(ndtr(mean / sigma)), float(ndtr(-mean / sigma))
    gain, loss = mean * above + density, max(0.0, density - mean * below)
    if not higher_is_better:
        above, gain, loss = below, loss, gain
    return Posterior(mean, mean - z * sigma, mean + z * sigma, sigma, above, gain, loss)
