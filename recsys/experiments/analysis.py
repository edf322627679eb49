"""From what clients did to what is said: effects, guardrails, sample ratio, segments, verdicts.

Every interval is by the experiment's own method and of the clients its plan is about, with two exceptions
that are of everybody and may be looked at daily whatever the method is: guardrails, because they stop an
experiment, and the course over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys.experiments.assignment import assignments_of
from recsys.experiments.comparing import (
    BoolArray,
    IntArray,
    Measured,
    Rows,
    comparison,
    measured,
    prepared,
    test_of,
)
from recsys.experiments.experiment import Experiment
from recsys.experiments.inference import Procedure
from recsys.experiments.life import Standing
from recsys.experiments.looks import reached
from recsys.experiments.multiplicity import Correction, adjust
from recsys.experiments.outcomes import Observed
from recsys.experiments.parts import overlaps, segment_effects, timeline
from recsys.experiments.randomisation import Randomisation, randomisation_test
from recsys.experiments.results import (
    ArmResult,
    Comparison,
    GuardrailResult,
    Results,
    Role,
)
from recsys.experiments.safety import guardrail_result, sample_ratio_of
from recsys.experiments.verdicts import alarms_of, verdict_of
from recsys.experiments.worth import decision_worth

Z_95 = 1.959963984540054


def analyse(standing: Standing, observed: Observed) -> Results:
    """Say what an experiment shows, as known when it was observed.

    Args:
        standing: The experiment.
        observed: What its clients did; see `outcomes.observe`.

    Returns:
        The results; what cannot be told is a value in them, with its cause.

    Raises:
        ValueError: A metric has an infinite value.
    """
    experiment = standing.experiment
    look, is_over, kept = reached(standing, observed)
    rows = _rows(observed, kept)
    found = {
        metric.name: measured(metric, observed.metrics[metric.name].rows(kept), rows)
        for metric in experiment.metrics
    }
    n_units = int(np.count_nonzero(np.bincount(rows.units, minlength=1)))
    test = test_of(experiment, look, is_over=is_over)
    results = replace(
        _outset(standing, observed),
        n_units=n_units,
        look=look,
        is_over=is_over,
        comparisons=_comparisons(experiment, found, test),
        guardrails=_guardrails(experiment, observed),
        timeline=timeline(experiment, observed),
        segments=segment_effects(experiment, observed, kept, test),
        overlaps=overlaps(experiment, observed, kept, test),
        decisions=decision_worth(experiment, observed.decisions),
        randomisation=_randomisation(standing, observed, kept, is_over=is_over),
    )
    verdicts = tuple(verdict_of(results, arm.name) for arm in experiment.arms[1:])
    return replace(results, verdicts=verdicts, alarms=alarms_of(results))


def _outset(standing: Standing, observed: Observed) -> Results:
    """What is known before anything is compared."""
    experiment = standing.experiment
    return Results(
        experiment_id=experiment.experiment_id,
        title=experiment.title,
        hypothesis=experiment.hypothesis,
        status=standing.status.value,
        started_at=standing.started_at or observed.now,
        now=observed.now,
        method=experiment.method.value,
        window_days=experiment.window_days,
        alpha=experiment.alpha,
        minimum_effect=experiment.minimum_effect,
        planned_units=experiment.planned_units,
        n_units=0,
        look=0,
        is_over=False,
        primary=experiment.primary.name,
        arms=tuple(
            ArmResult(arm.name, arm.weight, counts)
            for arm, counts in zip(experiment.arms, observed.counts, strict=True)
        ),
        verdicts=(),
        comparisons=(),
        guardrails=(),
        sample_ratio=sample_ratio_of(standing, observed),
        n_forced=observed.n_forced,
        n_held_out=observed.n_held_out,
        n_earlier=observed.n_earlier,
    )


def _rows(observed: Observed, kept: BoolArray) -> Rows:
    units = observed.units[kept]
    strata = _strata_of_units(units, observed.strata[kept]) if observed.strata.any() else None
    return Rows(units, observed.arms[kept], strata, len(observed.counts))


def _strata_of_units(units: IntArray, strata: IntArray) -> IntArray:
    """The stratum of each row's unit: that of the unit's first row, for a unit is drawn as a whole."""
    of_unit = np.zeros(int(units.max(initial=-1)) + 1, dtype=np.int64)
    of_unit[units[::-1]] = strata[::-1]
    of_rows: IntArray = of_unit[units]
    return of_rows


def _comparisons(
    experiment: Experiment, found: dict[str, Measured], test: Procedure
) -> tuple[Comparison, ...]:
    roles = [(experiment.primary, Role.PRIMARY)]
    roles += [(metric, Role.SECONDARY) for metric in experiment.secondary]
    roles += [(each.metric, Role.GUARDRAIL) for each in experiment.guardrails]
    lines = [
        comparison(metric, role, found[metric.name], experiment, arm, test)
        for metric, role in roles
        for arm in range(1, len(experiment.arms))
    ]
    return _adjusted(lines)


def _adjusted(lines: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Holm over the arms for the primary metric, over metrics and arms for the others."""
    adjusted = np.array([line.p_value for line in lines])
    is_primary = np.array([line.role is Role.PRIMARY for line in lines])
    for family in (is_primary, ~is_primary):
        adjusted[family] = adjust(adjusted[family], Correction.HOLM)
    return tuple(replace(line, adjusted_p_value=float(p)) for line, p in zip(lines, adjusted, strict=True))


def _guardrails(experiment: Experiment, observed: Observed) -> tuple[GuardrailResult, ...]:
    """Of everybody there is, whatever was planned: harm is watched for as long as the experiment runs."""
    rows = _rows(observed, np.ones(len(observed.units), dtype=bool))
    return tuple(
        guardrail_result(experiment, each, found, arm)
        for each in experiment.guardrails
        for found in [measured(each.metric, observed.metrics[each.metric.name], rows)]
        for arm in range(1, len(experiment.arms))
    )


def _randomisation(
    standing: Standing, observed: Observed, kept: BoolArray, *, is_over: bool
) -> tuple[Randomisation, ...]:
    """Every arm against the control under all admissible salts; empty where none were chosen.

    It decides a fixed experiment at its plan, for then it is looked at once, and where everybody could enter
    from the start, for while a part could enter the salt said also when a unit came in.
    """
    if not standing.admissible_salts or not kept.any():
        return ()
    experiment = standing.experiment
    metric = experiment.primary
    values, rows, _ = prepared(metric, observed.metrics[metric.name].rows(kept), _rows(observed, kept))
    if not len(rows.units):
        return ()
    units, first, inverse = np.unique(rows.units, return_index=True, return_inverse=True)
    weights = np.ones(len(values.values)) if values.denominators is None else values.denominators
    sums, sizes = (
        np.bincount(inverse.reshape(-1), weights=part).astype(np.float64) for part in (values.values, weights)
    )
    permitted = assignments_of(standing, standing.admissible_salts, [observed.unit_ids[u] for u in units])
    tests = [
        randomisation_test(
            sums, rows.arms[first], permitted, treatment=number, denominators=sizes, alpha=experiment.alpha
        )
        for number in range(1, len(experiment.arms))
    ]
    adjusted = adjust(np.array([test.p_value for test in tests]), Correction.HOLM)
    is_exact = is_over and experiment.coverage >= 1.0 and bool(np.ptp(values.values) > 0)
    return tuple(
        Randomisation(
            arm.name,
            test.difference,
            test.low,
            test.high,
            test.p_value,
            len(standing.admissible_salts),
            float(p_value),
            is_exact,
        )
        for arm, test, p_value in zip(experiment.arms[1:], tests, adjusted, strict=True)
    )
