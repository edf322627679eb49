"""What may stop an experiment on any day: a guardrail, and arms that do not have the units they should."""

from __future__ import annotations

import numpy as np

from recsys.experiments.comparing import Measured, daily_test, interval_of, tuned_to
from recsys.experiments.experiment import Experiment, Guardrail, Status
from recsys.experiments.inference import Scale, Side
from recsys.experiments.judgement import judge, judge_margin
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import Observed
from recsys.experiments.results import GuardrailResult
from recsys.experiments.sample_ratio import (
    ASSIGNED,
    TRIGGERED,
    SampleRatio,
    sample_ratio_p_value,
    sequential_sample_ratio_p_values,
)
from recsys.experiments.sequential import AlwaysValid

MISMATCH_ALPHA = 0.01


def guardrail_result(
    experiment: Experiment, guardrail: Guardrail, found: Measured, arm: int
) -> GuardrailResult:
    """Harmless if shown to lose less than the margin; breached if shown to lose more."""
    metric, pair = guardrail.metric, (found.samples[0], found.samples[arm])
    alpha = experiment.alpha / (len(experiment.guardrails) * (len(experiment.arms) - 1))
    safety = judge_margin(
        *pair,
        AlwaysValid(alpha, Side.GREATER, tuned_to(experiment)),
        guardrail.margin,
        higher_is_better=metric.higher_is_better,
    )
    return GuardrailResult(
        metric=metric.name,
        arm=experiment.arms[arm].name,
        margin=guardrail.margin,
        relative=interval_of(judge(*pair, daily_test(experiment, alpha), Scale.RELATIVE)),
        p_value=safety.p_value,
        holds=safety.holds,
        stops=guardrail.stops,
    )


def sample_ratio_of(standing: Standing, observed: Observed) -> SampleRatio:
    """Whether the units assigned, and those triggered, fit the weights of the arms.

    Both are watched daily, each with half of the level: an arm may get its share of clients and lose them
    before anything differs. Once an experiment is stopped both are tested once more as they ended, where a
    mismatch of the last days shows sooner.
    """
    weights = standing.experiment.weights
    counts = np.array([each.n_units for each in observed.counts], dtype=np.int64)
    triggered = np.array([each.n_triggered_units for each in observed.counts], dtype=np.int64)
    by_day = triggered[None, :] if observed.triggered_arrivals is None else observed.triggered_arrivals
    daily, triggered_daily = (
        sequential_sample_ratio_p_values(each.astype(np.float64), weights)
        for each in (observed.arrivals, by_day)
    )
    once, always = {}, {}
    for name, total, path in ((ASSIGNED, counts, daily), (TRIGGERED, triggered, triggered_daily)):
        once[name] = sample_ratio_p_value(total.tolist(), weights) if total.sum() else float("nan")
        always[name] = float(path[-1]) if total.sum() else float("nan")
    is_stopped = standing.status in (Status.STOPPED, Status.DECIDED)
    failed = tuple(
        name
        for name in (ASSIGNED, TRIGGERED)
        if always[name] < MISMATCH_ALPHA / 2 or (is_stopped and once[name] < MISMATCH_ALPHA / 10)
    )
    cumulated = observed.arrivals.cumsum(axis=0)
    return SampleRatio(
        n_units=tuple(counts.tolist()),
        n_expected=tuple(float(weight * counts.sum()) for weight in weights),
        p_value=once[ASSIGNED],
        triggered_p_value=once[TRIGGERED],
        always_valid_p_value=always[ASSIGNED],
        path=tuple(
            (day + 1, tuple(row.tolist()), float(p))
            for day, (row, p) in enumerate(zip(cumulated, daily, strict=True))
        ),
        is_mismatch=bool(failed),
        n_triggered=tuple(triggered.tolist()),
        triggered_always_valid_p_value=always[TRIGGERED],
        failed=failed,
    )
