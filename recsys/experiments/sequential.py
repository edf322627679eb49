"""Figures that stay right however often one looks.

`AlwaysValid` is the test of the analysis: an asymptotic confidence sequence for any effect that has a
standard error. It holds in the limit of many units, so `judge` lets it speak only from ten expected events
on. The rest holds for any number of rows, but wants bounded outcomes: `treatment_effect_sequence`,
`bernoulli_interval`, `quantile_p_value`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from recsys.experiments.boundaries import BetaBinomialMixture, GammaExponentialMixture
from recsys.experiments.inference import Effect, Side, check_alpha
from recsys.models.base import FloatArray, IntArray

_P_LEAST, _P_MOST = 1e-5, 0.4999
_TUNED_TO = 5000.0


def mixing_rate(alpha: float, tuned_to: float, side: Side = Side.TWO_SIDED) -> float:
    """The ρ for which the sequence is narrowest at a number of units.

    ``ρ = √((−2 ln a + ln(1 − 2 ln a)) / tuned_to)``, a = alpha, or 2·alpha for one side.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic
        confidence sequences", Annals of Statistics 52 (arXiv 2103.06476), appendix, equation 161 of version
        7.
    """
    level = -2.0 * np.log(alpha if side is Side.TWO_SIDED else 2.0 * alpha)
    return float(np.sqrt((level + np.log(level + 1.0)) / tuned_to))


def half_width(n_units: float, rate: float, alpha: float, side: Side = Side.TWO_SIDED) -> float:
    """Half-width of the confidence sequence in standard errors.

    Two-sided ``√(2(nρ² + 1)/(nρ²) · ln(√(nρ² + 1)/alpha))``; one-sided with ``ln(1 + √(nρ² + 1)/(2 alpha))``.

    Source:
        The same, equations 9 and 134.
    """
    spread = n_units * rate**2
    root = np.sqrt(spread + 1.0)
    level = np.log(root / alpha) if side is Side.TWO_SIDED else np.log1p(root / (2.0 * alpha))
    return float(np.sqrt(2.0 * (spread + 1.0) / spread * level))


@dataclass(frozen=True, slots=True)
class AlwaysValid:
    """A test that may be looked at after every client, and stopped whenever one likes.

    Attributes:
        alpha: Rate of false findings over all looks together; below .5 for one side.
        side: What the test looks for.
        tuned_to: Units of both arms at which the interval is narrowest: what one plans to have. Any other
            number stays valid, it is only wider there.
        mixing: ρ itself, in place of `tuned_to`; None: `mixing_rate`.
    """

    alpha: float = 0.05
    side: Side = Side.TWO_SIDED
    tuned_to: float = _TUNED_TO
    mixing: float | None = None

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.side is not Side.TWO_SIDED and self.alpha >= 0.5:
            raise ValueError(f"alpha is {self.alpha}, must lie below 0.5 for a one-sided test")
        if not self.tuned_to > 0.0:
            raise ValueError(f"tuned_to is {self.tuned_to}, must be above 0")

    @property
    def rate(self) -> float:
        """The mixing rate ρ."""
        return mixing_rate(self.alpha, self.tuned_to, self.side) if self.mixing is None else self.mixing

    def critical(self, effect: Effect) -> float:
        """`half_width` at the units there are."""
        return half_width(effect.n_units, self.rate, self.alpha, self.side)

    def p_value(self, shift: float, standard_error: float, effect: Effect) -> float:
        """The smallest alpha (at this ρ) whose interval leaves the null out.

        Two-sided ``√(nρ² + 1) · exp(−z² nρ² / (2(nρ² + 1)))``, at most 1. One-sided by bisection between 1e-5
        and .4999, as gbstats does, until the end of the interval lies within 1e-6 of the null (never further
        than a thousandth of a standard error).

        Source:
            The same, equation 155.
        """
        spread = effect.n_units * self.rate**2
        if self.side is Side.TWO_SIDED:
            exponent = (shift / standard_error) ** 2 * spread / (2.0 * (spread + 1.0))
            return float(min(1.0, np.exp(0.5 * np.log1p(spread) - exponent)))
        toward = shift if self.side is Side.GREATER else -shift
        return self._bisect(toward, standard_error, effect.n_units)

    def _bisect(self, toward: float, standard_error: float, n_units: int) -> float:
        low, high = _P_LEAST, _P_MOST

        def inner_end(alpha: float) -> float:
            return toward - standard_error * half_width(n_units, self.rate, alpha, self.side)

        if inner_end(low) > 0.0:
            return low
        if inner_end(high) < 0.0:
            return high
        tolerance = min(1e-6, 1e-3 * standard_error)
        p_value = 0.5 * (low + high)
        for _ in range(100):
            end = inner_end(p_value)
            low, high = (p_value, high) if end < 0.0 else (low, p_value)
            p_value = 0.5 * (low + high)
            if abs(end) < tolerance:
                break
        return p_value


@dataclass(frozen=True, slots=True, eq=False)
class EffectSequence:
    """The effect after each row, shape (n_rows,) each.

    Attributes:
        values: Estimated average effect so far.
        lows: Lower ends; all of them hold the truth together with probability 1 − alpha.
        highs: Upper ends.
        p_values: Of "the effect is not above 0", at most 1; not a running minimum.
    """

    values: FloatArray
    lows: FloatArray
    highs: FloatArray
    p_values: FloatArray


def treatment_effect_sequence(  # noqa: PLR0913 – the data and the settings of one method
    outcomes: FloatArray,
    treated: IntArray,
    *,
    share: float,
    support: tuple[float, float],
    outcome_variance: float,
    tuned_to: float,
    alpha: float = 0.05,
    alpha_opt: float = 0.05,
) -> EffectSequence:
    """A confidence sequence for the average effect on the rows so far, without any limit theorem.

    ``X_t = τ̂_t + w_t (y_t − ŷ_t)`` with ``w = (a − share)/(share(1 − share))`` and predictions ŷ, τ̂ = the
    arms' running means before t (the middle of the support at first); ``V_t = Σ (X − τ̂)²``. The interval is
    ``X̄_t ± gamma-exponential bound(V_t, alpha/2) / t`` with scale 2·(width of the support)/min(share, 1 −
    share), cut at ± the width.

    Args:
        outcomes: Inside the support, in order of arrival, shape (n_rows,).
        treated: 1 treated, 0 control, shape (n_rows,).
        share: Probability of treatment, the same for every row, between 0 and 1.
        support: Lowest and highest possible outcome.
        outcome_variance: A guess of an outcome's variance, only for tuning.
        tuned_to: Rows at which the interval shall be narrowest.
        alpha: Chance that the sequence ever misses.
        alpha_opt: The alpha at which it is tuned.

    Returns:
        The sequence.

    Raises:
        ValueError: share is not between 0 and 1, or an outcome lies outside the support.

    Source:
        Howard, Ramdas, McAuliffe & Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence
        sequences", Annals of Statistics 49, section 4.2.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is {share}, must lie between 0 and 1")
    low, high = support
    if len(outcomes) and not (low <= outcomes.min() and outcomes.max() <= high):
        raise ValueError(
            f"outcomes lie between {outcomes.min()} and {outcomes.max()}, the support is {support}"
        )
    middle, width = (low + high) / 2.0, high - low
    of_treated = _running_means(outcomes, treated == 1, middle)
    of_control = _running_means(outcomes, treated == 0, middle)
    guessed = of_treated - of_control
    weights = (treated - share) / (share * (1.0 - share))
    scores = guessed + weights * (outcomes - np.where(treated == 1, of_treated, of_control))
    sums, variances = np.cumsum(scores), np.cumsum((scores - guessed) ** 2)
    tuned_variance = tuned_to * outcome_variance * (1.0 / share + 1.0 / (1.0 - share))
    scale = 2.0 * width / min(share, 1.0 - share)
    mixture = GammaExponentialMixture.tuned(tuned_variance, scale, alpha_opt / 2.0)
    counts = np.arange(1.0, len(outcomes) + 1.0)
    radius = mixture.bounds(variances, alpha / 2.0) / counts
    values = sums / counts
    p_values = np.minimum(1.0, np.exp(-mixture.log_value(sums, variances)))
    return EffectSequence(
        values, np.maximum(-width, values - radius), np.minimum(width, values + radius), p_values
    )


def _running_means(outcomes: FloatArray, chosen: IntArray, first: float) -> FloatArray:
    """Mean of the chosen rows before each row; 0 while none was chosen, `first` for the first row."""
    if not len(outcomes):
        return outcomes
    means = np.cumsum(outcomes * chosen) / np.maximum(1, np.cumsum(chosen))
    return np.concatenate([[first], means[:-1]])


def bernoulli_interval(
    n_successes: float, n_trials: int, *, alpha: float = 0.05, tuned_to: float, alpha_opt: float = 0.05
) -> tuple[float, float]:
    """The confidence sequence of a success rate after n_trials, for any number of looks and trials.

    All p for which the two-sided beta-binomial mixture with (g, h) = (p, 1 − p) lies below 1/alpha.

    Args:
        n_successes: Successes so far.
        n_trials: Trials so far, ≥1.
        alpha: Chance that the sequence ever misses.
        tuned_to: Trials at which it shall be narrowest.
        alpha_opt: The alpha at which it is tuned.

    Returns:
        Lower and upper end, 0–1.

    Source:
        Howard et al. 2021, proposition 7.
    """
    if n_trials < 1 or not 0 <= n_successes <= n_trials:
        raise ValueError(f"{n_successes} successes of {n_trials} trials, must be 0 … n of at least 1")
    rate = n_successes / n_trials

    def excess(p: float) -> float:
        if p <= 0.0 or p >= 1.0:
            return -1.0 if p == rate else 1.0
        spread = p * (1.0 - p)
        mixture = BetaBinomialMixture.tuned(spread * tuned_to, p, 1.0 - p, alpha_opt, is_one_sided=False)
        return float(mixture.log_value((rate - p) * n_trials, spread * n_trials) + np.log(alpha))

    low = brentq(excess, 0.0, rate, xtol=1e-14) if rate > 0.0 else 0.0
    high = brentq(excess, rate, 1.0, xtol=1e-14) if rate < 1.0 else 1.0
    return float(low), float(high)


def quantile_p_value(
    control: FloatArray, treatment: FloatArray, level: float, *, tuned_to: float, alpha_opt: float = 0.05
) -> float:
    """The always-valid p of "a quantile is the same in both arms", for any distribution.

    ``1 ÷ min_x M_a(F_a(x)) M_b(F_b(x))`` with M the two-sided beta-binomial mixture of an arm's share of
    values below x against the level.

    Args:
        control: Values of one arm so far, ≥1.
        treatment: Values of the other, ≥1.
        level: Level of the quantile, between 0 and 1.
        tuned_to: Rows of an arm at which the test shall be strongest.
        alpha_opt: The alpha at which it is tuned.

    Returns:
        At most 1.

    Source:
        Howard & Ramdas 2022, "Sequential estimation of quantiles with applications to A/B testing and
        best-arm identification", Bernoulli 28, theorem 5.
    """
    spread = level * (1.0 - level)
    mixture = BetaBinomialMixture.tuned(spread * tuned_to, level, 1.0 - level, alpha_opt, is_one_sided=False)
    arms = [_QuantileArm.of(np.sort(values), level, mixture) for values in (control, treatment)]
    first, second = sorted(arms, key=lambda arm: arm.flat_to)
    inside = second.ordered[(second.ordered > first.flat_to) & (second.ordered <= second.flat_from)]
    points = np.concatenate([[first.flat_to, second.flat_from], inside])
    return float(min(1.0, np.exp(-(first.log_values(points) + second.log_values(points)).min())))


@dataclass(frozen=True, slots=True, eq=False)
class _QuantileArm:
    """An arm's evidence against each candidate of the quantile; least between flat_from and flat_to."""

    ordered: FloatArray
    level: float
    mixture: BetaBinomialMixture
    least_share: float
    flat_from: float
    flat_to: float

    @classmethod
    def of(cls, ordered: FloatArray, level: float, mixture: BetaBinomialMixture) -> _QuantileArm:
        count = len(ordered)
        if not count or not 0.0 < level < 1.0:
            raise ValueError(f"{count} values and level {level}, must be at least one and between 0 and 1")

        def evidence(share: float) -> float:
            return float(mixture.log_value((share - level) * count, level * (1.0 - level) * count))

        least = minimize_scalar(evidence, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-9}).x
        start = int(np.clip(np.ceil(least * count), 1, count))
        stop = int(np.clip(np.floor(least * count) + 1, 1, count))
        return cls(ordered, level, mixture, float(least), float(ordered[start - 1]), float(ordered[stop - 1]))

    def log_values(self, points: FloatArray) -> FloatArray:
        count = len(self.ordered)
        below = np.searchsorted(self.ordered, points, side="right") / count
        strictly = np.searchsorted(self.ordered, points, side="left") / count
        share = np.where(
            points < self.flat_from, below, np.where(points > self.flat_to, strictly, self.least_share)
        )
        return self.mixture.log_value((share - self.level) * count, self.level * (1.0 - self.level) * count)
