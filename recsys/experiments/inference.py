"""From two samples to an effect with an interval, and the rule for when nothing can be told.

Two scales, never mixed: *absolute* (treatment − control, in the metric's unit) and *relative* (that
difference ÷ the control's value). A *test* says how far an estimate may lie from its null: `Fixed` (Welch's
t, looked at once), `AlwaysValid` (at any time) or `Look` (one of a planned number of looks). Intervals hold
what the same test does not reject.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from scipy.special import stdtr, stdtrit

from recsys.experiments.samples import Sample

_SMALLEST_THETA = 1e-8


class Scale(StrEnum):
    """What an effect is measured in."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


class Side(StrEnum):
    """What the test looks for: any difference, treatment above the null, or below it."""

    TWO_SIDED = "two_sided"
    GREATER = "greater"
    LESSER = "lesser"


class Cause(StrEnum):
    """Why nothing can be told."""

    NO_UNITS = "no_units"
    FEW_UNITS = "few_units"
    FEW_EVENTS = "few_events"
    LOPSIDED = "lopsided"
    NO_VARIANCE = "no_variance"
    ZERO_BASELINE = "zero_baseline"
    UNBOUNDED = "unbounded"
    NOT_YET = "not_yet"


class RelativeBy(StrEnum):
    """How a relative interval is found: by Fieller's theorem, or by the delta method."""

    FIELLER = "fieller"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference and the baseline it is relative to, with their joint error.

    Attributes:
        difference: Treatment − control, adjusted where covariates are, in the metric's unit.
        baseline: The control's value, not adjusted.
        treatment: The treatment's value, not adjusted.
        difference_variance: Variance of `difference`.
        baseline_variance: Variance of `baseline`.
        covariance: Covariance of both.
        slope: The relative effect at which the delta method takes its derivative.
        degrees_of_freedom: Welch–Satterthwaite, by units.
        n_units: Units of both arms.
        cause: Why there is no effect to speak of; None: there is one.
    """

    difference: float
    baseline: float
    treatment: float
    difference_variance: float
    baseline_variance: float
    covariance: float
    slope: float
    degrees_of_freedom: float
    n_units: int
    cause: Cause | None = None

    @property
    def relative(self) -> float:
        """``difference ÷ baseline``, NaN where the baseline is 0."""
        return self.difference / self.baseline if self.baseline else float("nan")

    def delta_error(self) -> float:
        """Standard error of `relative` by the delta method; NaN where the baseline is 0."""
        if not self.baseline:
            return float("nan")
        variance = self.contrast_variance(self.slope)
        return float(np.sqrt(max(variance, 0.0)) / abs(self.baseline))

    def contrast_variance(self, relative: float) -> float:
        """Variance of ``difference − relative · baseline``."""
        return (
            self.difference_variance - 2.0 * relative * self.covariance + relative**2 * self.baseline_variance
        )


class Procedure(Protocol):
    """How far an estimate may lie from the null before it is held against it."""

    @property
    def alpha(self) -> float:
        """Rate of false findings that the test allows."""
        ...

    @property
    def side(self) -> Side:
        """What the test looks for."""
        ...

    def critical(self, effect: Effect) -> float:
        """Half-width of the interval in standard errors."""
        ...

    def p_value(self, shift: float, standard_error: float, effect: Effect) -> float:
        """The p of an estimate that lies `shift` above the null."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Welch's t-test: one look, at a size fixed before.

    ``t = shift ÷ SE``, degrees of freedom ``(v_a + v_b)² ÷ (v_a²/(n_a − 1) + v_b²/(n_b − 1))`` with v the
    variance of an arm's mean. Looking daily and stopping at the first p below alpha is not allowed.

    Source:
        Welch 1947, "The generalization of Student's problem when several different population variances are
        involved"; Satterthwaite 1946.
    """

    alpha: float = 0.05
    side: Side = Side.TWO_SIDED

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def critical(self, effect: Effect) -> float:
        """Quantile of Student's t."""
        tail = self.alpha / 2 if self.side is Side.TWO_SIDED else self.alpha
        return float(stdtrit(effect.degrees_of_freedom, 1.0 - tail))

    def p_value(self, shift: float, standard_error: float, effect: Effect) -> float:
        """Tail of Student's t, both tails for a two-sided test."""
        t = shift / standard_error
        if self.side is Side.TWO_SIDED:
            return 2.0 * float(stdtr(effect.degrees_of_freedom, -abs(t)))
        return float(stdtr(effect.degrees_of_freedom, -t if self.side is Side.GREATER else t))


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test says of a metric; without a cause every figure stands.

    Attributes:
        scale: What the effect is measured in.
        value: Estimated effect.
        low: Lower end of the interval, −∞ for a test of LESSER.
        high: Upper end, ∞ for a test of GREATER.
        p_value: Of the null; below alpha exactly where the interval does not hold the null.
        standard_error: Of the value.
        control: The control's value, not adjusted.
        treatment: The treatment's value, not adjusted.
        n_units: Units of both arms.
        cause: Why nothing can be told; value may still be there, interval and p are NaN.
    """

    scale: Scale
    value: float
    low: float
    high: float
    p_value: float
    standard_error: float
    control: float
    treatment: float
    n_units: int
    cause: Cause | None = None


def check_alpha(alpha: float) -> None:
    """Refuse a rate of false findings out of its bounds.

    Raises:
        ValueError: alpha does not lie between 0 and 1.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}, must lie between 0 and 1")


def effect_of(control: Sample, treatment: Sample) -> Effect:
    """The effect of two samples, adjusted by what was measured before (CUPED) where both carry it.

    ``difference = (y_b − θ x_b) − (y_a − θ x_a)`` with y the metric during and x before the experiment
    (means, or ratios), and θ = Cov(y, x) ÷ Var(x) over both arms. Ratios by the delta method.

    Args:
        control: Sample a.
        treatment: Sample b, of the same metric.

    Returns:
        The effect; its cause says if there is none: an arm without units or without variance.

    Source:
        Deng, Xu, Kohavi & Walker 2013, "Improving the sensitivity of online controlled experiments by
        utilizing pre-experiment data"; Deng, Knoblich & Lu 2018 for ratios.

    Example:
        1 of 4 against 3 of 4: p(1 − p)/n in either arm.

        >>> from recsys.experiments.samples import sample_from_sums
        >>> a, b = (sample_from_sums(4, [k], [[k]], is_binary=[True]) for k in (1.0, 3.0))
        >>> effect = effect_of(a, b)
        >>> effect.difference, effect.difference_variance, effect.relative
        (0.5, 0.09375, 2.0)
    """
    if not control.n_units or not treatment.n_units:
        return _no_effect(control, treatment, Cause.NO_UNITS)
    theta = best_theta(control, treatment)
    if control.is_adjusted and theta == 0.0:
        control, treatment = control.without_covariates(), treatment.without_covariates()
    variances = np.array([control.variance(theta), treatment.variance(theta)])
    sizes = np.array([control.n_units, treatment.n_units])
    if (variances <= 0.0).any():
        return _no_effect(control, treatment, Cause.NO_VARIANCE)
    errors = variances / sizes
    before = theta * (treatment.value_before - control.value_before)
    difference = treatment.value - control.value - before
    along = control.gradient(theta) @ control.covariance @ control.gradient(0.0) / control.n_units
    effect = Effect(
        difference=difference,
        baseline=control.value,
        treatment=treatment.value,
        difference_variance=float(errors.sum()),
        baseline_variance=control.variance() / control.n_units,
        covariance=-float(along),
        slope=float("nan"),
        degrees_of_freedom=float(errors.sum() ** 2 / (errors**2 / (sizes - 1)).sum()),
        n_units=int(sizes.sum()),
    )
    return replace(effect, slope=_slope(effect, control))


def _slope(effect: Effect, control: Sample) -> float:
    if not effect.baseline:
        return float("nan")
    if control.is_adjusted and control.is_ratio:
        return effect.difference / abs(effect.baseline)
    return effect.treatment / effect.baseline - 1.0


def _no_effect(control: Sample, treatment: Sample, cause: Cause) -> Effect:
    nan = float("nan")
    values = [sample.value if sample.n_units else nan for sample in (control, treatment)]
    n_units = control.n_units + treatment.n_units
    return Effect(values[1] - values[0], values[0], values[1], nan, nan, nan, nan, nan, n_units, cause)


def best_theta(control: Sample, treatment: Sample) -> float:
    """The weight of what was before that leaves the least variance; 0: no adjustment.

    Over all units of both arms for a mean; for ratios ``Σ_arms Cov(R, R_before) ÷ Σ_arms Var(R_before)``.
    """
    if not (control.is_adjusted and treatment.is_adjusted):
        return 0.0
    if control.is_ratio:
        shared = own = 0.0
        for sample in (control, treatment):
            gradient, covariance = sample.gradient(1.0), sample.covariance
            shared -= float(gradient[2:] @ covariance[2:, :2] @ gradient[:2])
            own += float(gradient[2:] @ covariance[2:, 2:] @ gradient[2:])
        theta = shared / own if own else 0.0
        return theta if abs(theta) >= _SMALLEST_THETA else 0.0
    scatter = (control + treatment).scatter
    return float(scatter[0, 1] / scatter[1, 1]) if scatter[0, 0] and scatter[1, 1] else 0.0


def find(
    effect: Effect, test: Procedure, scale: Scale, *, null: float = 0.0, by: RelativeBy = RelativeBy.FIELLER
) -> Finding:
    """Procedure an effect against a null and give the interval of what is not rejected.

    Absolute: ``difference ± c·SE``. Relative by Fieller: every r with
    ``|difference − r·baseline| ≤ c·√Var(difference − r·baseline)``, which no division by a noisy baseline
    spoils and whose test of 0 is that of the difference. By the delta method: ``relative ± c·SE_delta``.

    Args:
        effect: From `effect_of` or `effect_by_strata`.
        test: `Fixed`, `AlwaysValid` or `Look`.
        scale: What to speak of.
        null: The effect that the test tries to reject, on this scale.
        by: How a relative interval is found.

    Returns:
        The finding; NaN interval and p beside a cause: that of the effect, ZERO_BASELINE (relative to a
        baseline of 0, by Fieller also below 0), UNBOUNDED (the baseline itself may be 0) or NOT_YET (a
        planned look by which hardly any of alpha is spent: nothing is far enough to be found).

    Source:
        Fieller 1954, "Some problems in interval estimation"; Deng et al. 2018 for the delta method.
    """
    value = effect.difference if scale is Scale.ABSOLUTE else effect.relative
    fieller = scale is Scale.RELATIVE and by is RelativeBy.FIELLER
    cause = effect.cause
    if (
        cause is None
        and scale is Scale.RELATIVE
        and (not effect.baseline or (fieller and effect.baseline < 0))
    ):
        cause = Cause.ZERO_BASELINE
    if cause is not None:
        return cannot_tell(effect, scale, value, cause)
    error = float(np.sqrt(effect.difference_variance)) if scale is Scale.ABSOLUTE else effect.delta_error()
    if not error > 0.0:
        return cannot_tell(effect, scale, value, Cause.NO_VARIANCE)
    critical = test.critical(effect)
    if not np.isfinite(critical):
        return cannot_tell(effect, scale, value, Cause.NOT_YET)
    if fieller:
        ends = _fieller(effect, critical)
        if ends is None:
            return cannot_tell(effect, scale, value, Cause.UNBOUNDED)
        shift = effect.difference - null * effect.baseline
        p_value = test.p_value(shift, float(np.sqrt(effect.contrast_variance(null))), effect)
    else:
        ends = (value - critical * error, value + critical * error)
        p_value = test.p_value(value - null, error, effect)
    low = -np.inf if test.side is Side.LESSER else ends[0]
    high = np.inf if test.side is Side.GREATER else ends[1]
    return Finding(scale, value, low, high, p_value, error, effect.baseline, effect.treatment, effect.n_units)


def _fieller(effect: Effect, critical: float) -> tuple[float, float] | None:
    squared = critical**2
    lead = effect.baseline**2 - squared * effect.baseline_variance
    if lead <= 0.0:
        return None
    middle = effect.difference * effect.baseline - squared * effect.covariance
    last = effect.difference**2 - squared * effect.difference_variance
    root = float(np.sqrt(max(middle**2 - lead * last, 0.0)))
    return (middle - root) / lead, (middle + root) / lead


def cannot_tell(effect: Effect, scale: Scale, value: float, cause: Cause) -> Finding:
    """A finding without interval and p, for the cause given."""
    nan = float("nan")
    return Finding(scale, value, nan, nan, nan, nan, effect.baseline, effect.treatment, effect.n_units, cause)
