"""What a decision of each arm was worth, beside what the log had promised of the same policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys.evaluation.intervals import Estimate
from recsys.experiments.experiment import Arm, Expected, Experiment
from recsys.experiments.judgement import inadequacy
from recsys.experiments.measures import HORIZON_MONTHS
from recsys.experiments.results import DecisionValue, Interval
from recsys.experiments.samples import Sample, samples_by_arm

if TYPE_CHECKING:
    from recsys.experiments.outcomes import DecisionValues

_Z_95 = 1.959963984540054


def decision_worth(experiment: Experiment, values: DecisionValues | None) -> tuple[DecisionValue, ...]:
    """Margin per decision of each arm, with an interval by unit, beside the off-policy estimate.

    They are said to agree or not only where they are of the same: as many days and months, lists that are
    neither empty nor fallbacks. An arm whose data are not enough for an interval has none, and its cause.

    Args:
        experiment: The experiment.
        values: What decisions of its units were worth; None = no decision is known.

    Returns:
        One value for each arm; empty where no decision is known.
    """
    if values is None:
        return ()
    n_arms = len(experiment.arms)
    samples = samples_by_arm(
        "margin per decision", values.margins, values.arms, n_arms, denominators=values.n_decisions
    )
    n_decisions = np.bincount(values.arms, weights=values.n_decisions, minlength=n_arms)
    return tuple(
        _beside_the_promise(
            arm, _measured(sample), int(n), experiment.window_days, is_comparable=values.is_comparable
        )
        for arm, sample, n in zip(experiment.arms, samples, n_decisions, strict=True)
    )


def _measured(sample: Sample) -> Interval:
    """A value with its interval, if a second arm of the same units could be compared with it."""
    if cause := inadequacy(sample, sample):
        return Interval(sample.value, np.nan, np.nan, cause.value)
    error = float(np.sqrt(sample.variance() / sample.n_units))
    if not error > 0:
        return Interval(sample.value, np.nan, np.nan, "no_variance")
    return Interval(sample.value, sample.value - _Z_95 * error, sample.value + _Z_95 * error)


def _beside_the_promise(
    arm: Arm, measured: Interval, n_decisions: int, window_days: int, *, is_comparable: bool
) -> DecisionValue:
    promised = arm.expected
    if promised is None:
        return DecisionValue(arm.name, n_decisions, measured, None, "", None)
    days, months = promised.days or window_days, promised.months or HORIZON_MONTHS
    is_same = is_comparable and (days, months) == (window_days, HORIZON_MONTHS)
    return DecisionValue(
        arm=arm.name,
        n_decisions=n_decisions,
        measured=measured,
        expected=Estimate(promised.value, promised.low, promised.high),
        source=promised.source,
        agrees=_overlap(measured, promised) if is_same and measured.cause is None else None,
        expected_days=days,
        expected_months=months,
    )


def _overlap(measured: Interval, promised: Expected) -> bool:
    return measured.low <= promised.high and promised.low <= measured.high
