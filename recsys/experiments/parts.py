"""The primary metric looked at in parts: over time, by segment, and beside other experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from recsys.experiments.comparing import (
    BoolArray,
    Rows,
    daily_test,
    interval_of,
    measured,
)
from recsys.experiments.experiment import Experiment
from recsys.experiments.inference import Procedure, Scale, find
from recsys.experiments.interaction import interaction_effect
from recsys.experiments.judgement import judge
from recsys.experiments.multiplicity import Correction, adjust
from recsys.experiments.outcomes import Observed
from recsys.experiments.results import Interval, Overlap, Point, SegmentEffect
from recsys.experiments.segments import Segment
from recsys.experiments.shrinkage import shrink

N_LOOKS_SHOWN = 40


def timeline(experiment: Experiment, observed: Observed) -> tuple[Point, ...]:
    """The effect as it stood on up to forty days, with intervals that may be looked at daily."""
    days = np.unique(observed.days)
    if len(days) > N_LOOKS_SHOWN:
        days = days[np.unique(np.linspace(0, len(days) - 1, N_LOOKS_SHOWN).round().astype(np.int64))]
    values = observed.metrics[experiment.primary.name]
    test = daily_test(experiment)
    order = np.argsort(observed.days, kind="stable")
    ends = np.searchsorted(observed.days[order], days, side="right")
    points = []
    for day, end in zip(days.tolist(), ends.tolist(), strict=True):
        so_far = np.sort(order[:end])
        rows = Rows(observed.units[so_far], observed.arms[so_far], None, len(experiment.arms))
        found = measured(experiment.primary, values.rows(so_far), rows)
        for number, arm in enumerate(experiment.arms[1:], start=1):
            finding = judge(found.samples[0], found.samples[number], test, Scale.ABSOLUTE)
            sizes = int(found.n_clients[0]), int(found.n_clients[number])
            points.append(Point(int(day), arm.name, sizes, interval_of(finding)))
    return tuple(points)


def segment_effects(
    experiment: Experiment, observed: Observed, kept: BoolArray, test: Procedure
) -> tuple[SegmentEffect, ...]:
    """The effect in every segment, as measured there and drawn towards the common one."""
    found: list[SegmentEffect] = []
    for number in range(1, len(experiment.arms)):
        for dimension, segment in observed.segments.items():
            found += _of_dimension(experiment, observed, kept, test, (number, dimension, segment))
    return tuple(found)


def _of_dimension(
    experiment: Experiment, observed: Observed, kept: BoolArray, test: Procedure, of: tuple[int, str, Segment]
) -> Iterator[SegmentEffect]:
    number, dimension, segment = of
    values = observed.metrics[experiment.primary.name]
    measures = []
    for code, label in enumerate(segment.labels):
        is_in = kept & (segment.codes == code)
        rows = Rows(observed.units[is_in], observed.arms[is_in], None, len(experiment.arms))
        part = measured(experiment.primary, values.rows(is_in), rows)
        finding = judge(part.samples[0], part.samples[number], test, Scale.ABSOLUTE)
        measures.append((label, (int(part.n_clients[0]), int(part.n_clients[number])), finding))
    told = [finding for *_, finding in measures if finding.cause is None and finding.high > finding.low]
    # errors as wide as the test makes the intervals, or looking daily would be free in segments
    normal = -2 * float(ndtri(experiment.alpha / 2))
    drawn = shrink(
        np.array([finding.value for finding in told]),
        np.array([(finding.high - finding.low) / normal for finding in told]),
        experiment.alpha,
    )
    shrunk = iter(zip(drawn.values.tolist(), drawn.lows.tolist(), drawn.highs.tolist(), strict=True))
    for label, n_clients, finding in measures:
        own = interval_of(finding)
        believed = Interval(*next(shrunk)) if finding in told else own
        yield SegmentEffect(dimension, label, experiment.arms[number].name, n_clients, own, believed)


def overlaps(
    experiment: Experiment, observed: Observed, kept: BoolArray, test: Procedure
) -> tuple[Overlap, ...]:
    """Whether the effect depends on the arms of experiments that ran at the same time."""
    found = [
        _overlap(experiment, observed, kept, test, (experiment_id, other, number, codes))
        for experiment_id, other in observed.overlaps.items()
        for number in range(1, len(experiment.arms))
        for codes in pairwise(range(len(other.labels)))
    ]
    adjusted = adjust(np.array([one.p_value for one in found]), Correction.HOLM)
    return tuple(
        replace(one, is_found=bool(p < experiment.alpha)) for one, p in zip(found, adjusted, strict=True)
    )


def _overlap(
    experiment: Experiment,
    observed: Observed,
    kept: BoolArray,
    test: Procedure,
    of: tuple[str, Segment, int, tuple[int, int]],
) -> Overlap:
    """One arm here and two arms there: is the effect here the same in both?"""
    experiment_id, other, number, (first, second) = of
    values = observed.metrics[experiment.primary.name].values
    is_in = kept & np.isin(observed.arms, (0, number)) & np.isin(other.codes, (first, second))
    is_in &= np.isfinite(values)
    effect = interaction_effect(
        experiment.primary.name,
        values[is_in],
        (observed.arms[is_in] == number).astype(np.int64),
        (other.codes[is_in] == second).astype(np.int64),
        observed.units[is_in],
    )
    finding = find(effect, test, Scale.ABSOLUTE)
    return Overlap(
        experiment_id=experiment_id,
        arms=(other.labels[first], other.labels[second]),
        arm=experiment.arms[number].name,
        n_clients=int(is_in.sum()),
        absolute=interval_of(finding),
        p_value=finding.p_value,
        is_found=False,
    )
