"""One metric, one arm against the control: from rows to an effect with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.experiments.adjustment import effect_by_strata, variance_reduction
from recsys.experiments.experiment import Experiment, Measure, Method, Metric, MetricKind
from recsys.experiments.group_sequential import Look
from recsys.experiments.inference import Finding, Fixed, Procedure, Scale, find
from recsys.experiments.judgement import inadequacy, judge
from recsys.experiments.outcomes import MetricValues
from recsys.experiments.power import Design, factor_needed
from recsys.experiments.results import Comparison, Interval, Role
from recsys.experiments.samples import Sample, samples_by_arm, winsorise
from recsys.experiments.sequential import AlwaysValid

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Pair = tuple[Sample, Sample]

NOT_KNOWN = "not_known"
CUT_AWAY = "cut_away"
TUNED_TO = 5_000.0
_LEAST_UNITS_OF_A_STRATUM = 100


@dataclass(frozen=True, slots=True)
class Rows:
    """Who is compared.

    Attributes:
        units: Code of the unit of each row.
        arms: Place of the arm of each row.
        strata: Stratum of each row's unit; None: effects are not stratified.
        n_arms: Number of arms.
    """

    units: IntArray
    arms: IntArray
    strata: IntArray | None
    n_arms: int

    def chosen(self, kept: BoolArray) -> Rows:
        """Some of the rows."""
        strata = None if self.strata is None else self.strata[kept]
        return Rows(self.units[kept], self.arms[kept], strata, self.n_arms)

    @property
    def clusters(self) -> IntArray | None:
        """Codes of the units where one holds several rows; None: every row is a unit."""
        if not len(self.units):
            return None
        counts = np.bincount(self.units)
        return self.units if counts.max() > 1 else None


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric by arm.

    Attributes:
        samples: One for each arm.
        strata: The samples of each stratum; empty: effects are not stratified.
        n_clients: Rows whose value is known, by arm.
        n_unknown: Rows left out, by arm.
        threshold: Values above it count as it; NaN: none was cut.
    """

    samples: tuple[Sample, ...]
    strata: tuple[tuple[Sample, ...], ...]
    n_clients: IntArray
    n_unknown: IntArray
    threshold: float


def measured(metric: Metric, values: MetricValues, rows: Rows) -> Measured:
    """Sum a metric up by arm; rows whose value is not known yet are left out and counted.

    Raises:
        ValueError: A value is infinite.
    """
    known, kept, threshold = prepared(metric, values, rows)
    counts = [np.bincount(part, minlength=rows.n_arms) for part in (kept.arms, rows.arms)]
    return Measured(
        samples=_samples(metric, known, kept),
        strata=_by_stratum(metric, known, kept),
        n_clients=counts[0],
        n_unknown=counts[1] - counts[0],
        threshold=threshold,
    )


def prepared(metric: Metric, values: MetricValues, rows: Rows) -> tuple[MetricValues, Rows, float]:
    """The rows whose value is known, with the tail cut, and where it was cut (NaN: nowhere)."""
    parts = (values.values, values.denominators, values.before, values.before_denominators)
    is_known = ~np.any([np.isnan(part) for part in parts if part is not None], axis=0)
    if not is_known.all():
        values, rows = values.rows(is_known), rows.chosen(is_known)
    if metric.winsorised_at is None:
        return values, rows, float("nan")
    cut, threshold = winsorise(values.values, metric.winsorised_at)
    before = None if values.before is None else winsorise(values.before, metric.winsorised_at)[0]
    return replace(values, values=cut, before=before), rows, threshold


def _samples(metric: Metric, values: MetricValues, rows: Rows) -> tuple[Sample, ...]:
    return samples_by_arm(
        metric.name,
        values.values,
        rows.arms,
        rows.n_arms,
        units=rows.clusters,
        denominators=values.denominators,
        covariates=values.before,
        covariate_denominators=values.before_denominators,
        is_binary=metric.kind is MetricKind.PROPORTION,
    )


def _by_stratum(metric: Metric, values: MetricValues, rows: Rows) -> tuple[tuple[Sample, ...], ...]:
    """Samples of strata that are large enough in every arm; those that are not are one together."""
    if rows.strata is None or not len(rows.units):
        return ()
    strata = rows.strata
    cells = strata * rows.n_arms + rows.arms
    sizes = np.bincount(cells, minlength=(strata.max() + 1) * rows.n_arms).reshape(-1, rows.n_arms)
    is_large = sizes.min(axis=1) >= _LEAST_UNITS_OF_A_STRATUM
    numbers = np.where(is_large, np.cumsum(is_large) - 1, is_large.sum())
    n_strata = int(numbers.max()) + 1
    if n_strata < 2:
        return ()
    split = Rows(rows.units, numbers[strata] * rows.n_arms + rows.arms, None, n_strata * rows.n_arms)
    found = _samples(metric, values, split)
    cut = [found[at : at + rows.n_arms] for at in range(0, len(found), rows.n_arms)]
    return tuple(cut)


def compare(pair: Pair, strata: Sequence[Pair], test: Procedure) -> tuple[Finding, Finding]:
    """The absolute and the relative effect of a treatment.

    Post-stratified where there are strata; whether anything can be told is asked of all units together.
    """
    control, treatment = pair
    if not strata or inadequacy(control, treatment) is not None:
        absolute, relative = (judge(control, treatment, test, scale) for scale in Scale)
        return absolute, relative
    effect = effect_by_strata(strata)
    if effect.cause is not None:
        return compare(pair, (), test)
    absolute, relative = (find(effect, test, scale) for scale in Scale)
    return absolute, relative


def test_of(experiment: Experiment, look: int, *, is_over: bool) -> Procedure:
    """The test by which the experiment may be judged now.

    Args:
        experiment: The document.
        look: Number of the last planned look that was reached; 0 = none.
        is_over: Whether the plan of a fixed experiment is fulfilled; that it was stopped is not enough.

    Returns:
        Its own test, for the rows that `looks.reached` keeps; before the plan is fulfilled, or the first
        planned look reached, one that may be looked at daily.
    """
    if experiment.method is Method.FIXED and is_over:
        return Fixed(experiment.alpha)
    if experiment.method is Method.GROUP_SEQUENTIAL and look:
        shares = tuple((number + 1) / experiment.n_looks for number in range(look))
        return Look(shares, experiment.alpha, spending=experiment.spending)
    return daily_test(experiment)


def daily_test(experiment: Experiment, alpha: float | None = None) -> AlwaysValid:
    """A test that may be looked at daily, sharpest at the planned number of units."""
    return AlwaysValid(experiment.alpha if alpha is None else alpha, tuned_to=tuned_to(experiment))


def tuned_to(experiment: Experiment) -> float:
    """Units at which the intervals are to be narrowest."""
    planned = experiment.planned_units
    return TUNED_TO if planned is None else float(planned) * 2 / len(experiment.arms)


def interval_of(finding: Finding) -> Interval:
    """A finding's effect and interval."""
    return Interval(finding.value, finding.low, finding.high, finding.cause and finding.cause.value)


def comparison(
    metric: Metric, role: Role, found: Measured, experiment: Experiment, arm: int, test: Procedure
) -> Comparison:
    """One line of the results; its adjusted p is still the p itself."""
    pair = found.samples[0], found.samples[arm]
    strata = [(cells[0], cells[arm]) for cells in found.strata]
    absolute, relative = compare(pair, strata, test)
    n_unknown = int(found.n_unknown[[0, arm]].sum())
    n_clients = int(found.n_clients[0]), int(found.n_clients[arm])
    ends = interval_of(absolute), interval_of(relative)
    if cause := _own_cause(metric, found, n_unknown=n_unknown, is_told=absolute.cause is None):
        ends = replace(ends[0], cause=cause), replace(ends[1], cause=cause)
    return Comparison(
        metric=metric.name,
        role=role,
        arm=experiment.arms[arm].name,
        n_clients=n_clients,
        n_unknown=n_unknown,
        n_units=absolute.n_units,
        control=absolute.control,
        treatment=absolute.treatment,
        absolute=ends[0],
        relative=ends[1],
        p_value=absolute.p_value,
        adjusted_p_value=absolute.p_value,
        variance_reduction=variance_reduction(*pair) if pair[0].is_adjusted else float("nan"),
        threshold=found.threshold,
        is_money=metric.measure in (Measure.MARGIN, Measure.SPEND),
        higher_is_better=metric.higher_is_better,
        needed=_needed(experiment, absolute, test),
    )


def _own_cause(metric: Metric, found: Measured, *, n_unknown: int, is_told: bool) -> str | None:
    """A cause that the samples cannot know: nothing is known yet, or the cut left nothing."""
    if is_told:
        return None
    if n_unknown and not found.n_clients.sum():
        return NOT_KNOWN
    is_cut_away = metric.winsorised_at is not None and found.threshold <= 0 and bool(found.n_clients.sum())
    return CUT_AWAY if is_cut_away else None


def _needed(experiment: Experiment, absolute: Finding, test: Procedure) -> float:
    """Times as many units as now that would find the minimum effect with a power of .8; NaN: unknown."""
    effect = experiment.minimum_effect * abs(absolute.control)
    if absolute.cause is not None or not effect > 0:
        return float("nan")
    tuned = test.tuned_to if isinstance(test, AlwaysValid) else None
    design = Design(n_arms=len(experiment.arms), alpha=experiment.alpha, tuned_to=tuned)
    further = factor_needed(absolute.standard_error, absolute.n_units, effect, design)
    return float("nan") if further is None else 1 + further
