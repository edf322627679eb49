"""Before the start: what would this experiment find, how long would it take, and is it worth starting?

Everything is relative: an effect of .05 is five per cent of the control's value. Sizes are *units* of all
arms together; each arm gets the same share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from recsys.experiments.inference import Side, check_alpha
from recsys.experiments.judgement import MINIMUM_EVENTS
from recsys.experiments.samples import Sample
from recsys.experiments.sequential import half_width, mixing_rate

_MOST_UNITS = 1e12


@dataclass(frozen=True, slots=True)
class Design:
    """How the experiment will be judged.

    Attributes:
        n_arms: Arms that share the units equally, ≥2.
        alpha: Rate of false findings.
        power: Chance of a finding that one wants if the effect is there.
        side: Both sides, or one (only for a fixed design).
        tuned_to: Units at which an always-valid interval is tuned; None: looked at once.
    """

    n_arms: int = 2
    alpha: float = 0.05
    power: float = 0.8
    side: Side = Side.TWO_SIDED
    tuned_to: float | None = None

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.n_arms < 2 or not self.alpha < self.power < 1.0:
            raise ValueError(
                f"n_arms is {self.n_arms}, power {self.power}: must be at least 2, and between alpha and 1"
            )
        if self.tuned_to is not None and self.side is not Side.TWO_SIDED:
            raise ValueError(f"side is {self.side}, must be {Side.TWO_SIDED} for an always-valid design")

    @property
    def quantile(self) -> float:
        """How many standard errors a finding needs when looked at once."""
        return float(ndtri(1.0 - (self.alpha / 2.0 if self.side is Side.TWO_SIDED else self.alpha)))

    def widening(self, n_pair: float) -> float:
        """How much wider than at one look the interval of two arms is; 1 for a fixed design."""
        if self.tuned_to is None:
            return 1.0
        return half_width(n_pair, mixing_rate(self.alpha, self.tuned_to), self.alpha) / self.quantile


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a metric from before, by unit.

    Attributes:
        mean: The metric's value.
        variance: Variance of one unit's part of it.
        event_rate: Share of units with an outcome other than 0; NaN where not known.
    """

    mean: float
    variance: float
    event_rate: float = float("nan")


def history_of(sample: Sample, theta: float = 0.0) -> History:
    """A metric's history from a sample of the months before, clustered and adjusted as the sample is.

    Args:
        sample: One sample of all units, over a window as long as the experiment's.
        theta: Weight of the covariate that the analysis will use; 0: none.

    Returns:
        The history.
    """
    rate = sample.n_events / sample.n_units if sample.n_units else float("nan")
    return History(sample.value, sample.variance(theta), rate)


def effect_variance(
    control: tuple[float, float, float], treatment: tuple[float, float, float]
) -> tuple[float, float]:
    """Variance of the absolute and of the relative effect, by the delta method.

    ``v_b/n_b + v_a/n_a`` and ``v_b/(m_a² n_b) + v_a m_b²/(m_a⁴ n_a)``.

    Args:
        control: (variance of a unit, mean, units) of arm a.
        treatment: The same of arm b.

    Returns:
        (absolute, relative).

    Example:
        >>> absolute, relative = effect_variance((2, 7, 4), (0.5, 5, 15))
        >>> round(absolute, 5), round(relative, 5)
        (0.53333, 0.00589)
    """
    (variance_a, mean_a, n_a), (variance_b, mean_b, n_b) = control, treatment
    absolute = variance_b / n_b + variance_a / n_a
    return absolute, variance_b / (mean_a**2 * n_b) + variance_a * mean_b**2 / (mean_a**4 * n_a)


def power_of(effect: float, history: History, n_units: float, design: Design) -> float:
    """Chance that a relative effect is found with n_units.

    ``1 − Φ(z − e/SE) + Φ(−z − e/SE)`` with SE that of the relative effect; an always-valid design widens SE
    to that of its interval at the end.

    Args:
        effect: Relative effect.
        history: Of the metric; its mean must not be 0.
        n_units: Units of all arms, >0.
        design: How it will be judged.

    Returns:
        0–1.

    Source:
        GrowthBook's power calculator, whose published figures are repeated; the sequential one counts only
        the last look and so says a little too little.
    """
    n_arm = n_units / design.n_arms
    arm = (history.variance, history.mean, n_arm)
    _, variance = effect_variance(arm, (history.variance, history.mean * (1.0 + effect), n_arm))
    error = np.sqrt(variance) * design.widening(2.0 * n_arm)
    if not error > 0.0:
        return float("nan")
    return _power(effect / error, design)


def _power(standardised: float, design: Design) -> float:
    if design.side is Side.LESSER:
        standardised = -standardised
    above = float(ndtr(standardised - design.quantile))
    return above + float(ndtr(-design.quantile - standardised)) if design.side is Side.TWO_SIDED else above


def smallest_effect(history: History, n_units: float, design: Design) -> float | None:
    """The smallest relative increase found with the design's power; None: no increase however large.

    The larger root of ``(m_b − m_a)² = z²(v/n)(1 + m_b²/m_a²)`` with z = z_alpha + z_power.

    Args:
        history: Of the metric; its mean must not be 0.
        n_units: Units of all arms, >0.
        design: How it will be judged; only two-sided or GREATER.

    Returns:
        Relative effect, or None.
    """
    n_arm = n_units / design.n_arms
    needed = design.quantile + float(ndtri(design.power))
    variance = history.variance * design.widening(2.0 * n_arm) ** 2 / n_arm
    unit = needed**2 * variance / history.mean**2
    if unit >= 1.0:
        return None
    # in units of the control's mean: (1 − u) x² − 2x + (1 − u) = 0
    return float((1.0 + np.sqrt(1.0 - (1.0 - unit) ** 2)) / (1.0 - unit) - 1.0)


@dataclass(frozen=True, slots=True)
class Week:
    """What is reached after so many weeks.

    Attributes:
        n_units: Units of all arms.
        power: Chance that the effect is found.
        smallest_effect: Smallest effect found with the design's power; None: none.
    """

    n_units: float
    power: float
    smallest_effect: float | None


def weekly(
    effect: float, history: History, units_per_week: float, n_weeks: int, design: Design
) -> list[Week]:
    """Power and smallest effect after 1 … n_weeks."""
    sizes = [units_per_week * week for week in range(1, n_weeks + 1)]
    return [
        Week(size, power_of(effect, history, size, design), smallest_effect(history, size, design))
        for size in sizes
    ]


def weeks_needed(weeks: list[Week], power: float = 0.8) -> int | None:
    """The first week whose power, rounded to a per cent, reaches the one wanted; None: not one of these.

    Rounded, because a plan that asks for a week more at 79.6 % is false precision; GrowthBook does the same.
    """
    for number, week in enumerate(weeks, start=1):
        if np.floor(week.power * 100.0 + 0.5) / 100.0 >= power:
            return number
    return None


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Is the population large enough? The ingredients of an honest sentence.

    Attributes:
        is_enough: The wished effect is found with the wished power, and events are enough to speak at all.
        n_units: Units there are.
        power: Chance that the wished effect is found with them.
        smallest_effect: What they can find; None: nothing.
        units_needed: Units that the wished effect needs; None: more than 10^12, or the mean is 0.
        weeks_needed: Weeks until they came; None where units_needed is None or nobody comes.
        expected_events: Expected units with an outcome in an arm; NaN where not known.
        minimum_events: Events below which the analysis will say "cannot tell".
    """

    is_enough: bool
    n_units: float
    power: float
    smallest_effect: float | None
    units_needed: int | None
    weeks_needed: float | None
    expected_events: float
    minimum_events: float


def feasibility(
    effect: float, history: History, n_units: float, design: Design, *, units_per_week: float = 0.0
) -> Feasibility:
    """Hold a plan against the population.

    Args:
        effect: The smallest relative effect that matters.
        history: Of the primary metric.
        n_units: Units that can take part until the planned end.
        design: How it will be judged.
        units_per_week: How many come each week; 0: they are all there, or nobody knows.

    Returns:
        The ingredients; without a mean or variance nothing is enough and power is NaN.
    """
    events = history.event_rate * n_units / design.n_arms
    if not history.mean or not history.variance > 0.0 or not n_units > 0:
        return Feasibility(False, n_units, float("nan"), None, None, None, events, MINIMUM_EVENTS)
    power = power_of(effect, history, n_units, design)
    needed = units_needed(effect, history, design)
    weeks = needed / units_per_week if needed is not None and units_per_week > 0.0 else None
    is_enough = power >= design.power and not events < MINIMUM_EVENTS
    found = smallest_effect(history, n_units, design)
    return Feasibility(is_enough, n_units, power, found, needed, weeks, events, MINIMUM_EVENTS)


def units_needed(effect: float, history: History, design: Design) -> int | None:
    """The fewest units of all arms whose power reaches the design's; None above 10^12.

    Args:
        effect: Relative effect, not 0.
        history: Of the metric.
        design: How it will be judged.

    Returns:
        Units, a multiple of the number of arms; at least so many that the analysis will speak.
    """
    low, high = float(design.n_arms), 2.0 * design.n_arms
    while not power_of(effect, history, high, design) >= design.power:
        low, high = high, 2.0 * high
        if high > _MOST_UNITS:
            return None
    while high - low > 0.5 * design.n_arms:
        middle = 0.5 * (low + high)
        is_enough = power_of(effect, history, middle, design) >= design.power
        low, high = (low, middle) if is_enough else (middle, high)
    per_arm = high / design.n_arms
    if history.event_rate > 0.0:
        per_arm = max(per_arm, MINIMUM_EVENTS / history.event_rate)
    return int(np.ceil(per_arm)) * design.n_arms


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal prior on an effect, on the effect's own scale."""

    mean: float
    variance: float


def factor_needed(
    standard_error: float, n_units: int, effect: float, design: Design, *, prior: Prior | None = None
) -> float | None:
    """How many times as many *further* units a running experiment needs until the effect is found.

    With f the factor, the error's variance falls to ``SE² / (1 + f)``; power as in `power_of`, with the
    sequential half-width at ``n(1 + f)`` units, or, with a prior, that the posterior interval leaves 0 out.

    Args:
        standard_error: Of the effect now.
        n_units: Units of both arms now.
        effect: The effect one wants to find, on the scale of the error; its sign does not matter.
        design: How it is judged; for several metrics and arms with an adjusted alpha and power.
        prior: Judge by the posterior under this prior; None: by the interval.

    Returns:
        0 where there is enough already; None above 2^27. Found by bisection until power is met within 1e-5.

    Source:
        gbstats (GrowthBook), mid-experiment power, whose published figures are repeated.
    """

    def power(factor: float) -> float:
        variance = standard_error**2 / (1.0 + factor)
        return _power_now(variance, n_units * (1.0 + factor), abs(effect), design, prior)

    if power(0.0) > design.power:
        return 0.0
    factor = 1.0
    while power(factor) < design.power:
        factor *= 2.0
        if factor > 2.0**27:
            return None
    low, high = 0.0, factor
    for _ in range(100):
        excess = power(factor) - design.power
        if abs(excess) < 1e-5 and factor < high:
            break
        low, high = (low, factor) if excess > 0.0 else (factor, high)
        factor = 0.5 * (low + high)
    return factor


def _power_now(variance: float, n_units: float, effect: float, design: Design, prior: Prior | None) -> float:
    root = np.sqrt(variance)
    if prior is not None:
        half = design.quantile * variance * np.sqrt(1.0 / prior.variance + 1.0 / variance)
        pull = variance * prior.mean / prior.variance
        return float(ndtr((effect + pull - half) / root) + ndtr(-(half + pull + effect) / root))
    half = design.quantile * root * design.widening(n_units)
    return float(ndtr((effect - half) / root) + ndtr(-(half + effect) / root))
