"""When two arms may be judged by normal theory at all, and what is then said.

Normal theory lies where few clients carry a metric. The rule is asked before any interval is made, and looks
only at how much data both arms hold together, never at which arm is ahead. Its thresholds were set by
simulation; ``docs/reference/statistics.md`` has the table, ``tests/statistical`` repeats it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from recsys.experiments.inference import (
    Cause,
    Effect,
    Finding,
    Procedure,
    Scale,
    Side,
    cannot_tell,
    effect_of,
    find,
)
from recsys.experiments.samples import Sample, sample_from_sums

MINIMUM_UNITS = 20
MINIMUM_EVENTS = 10.0
MAXIMUM_SKEW = 0.15
MAXIMUM_TAIL = 0.25


def inadequacy(control: Sample, treatment: Sample) -> Cause | None:
    """Why these samples are not enough for normal theory; None: they are.

    With N both arms together and n the smaller arm:

    * NO_UNITS, FEW_UNITS: n < 20 units;
    * FEW_EVENTS: ``n · (units of N with an outcome other than 0) / N < 10``, the events one expects in the
      smaller arm if the arms are alike; for a proportion the same with outcomes other than 1, also where
      clients are summed by unit;
    * LOPSIDED: with ``tail = |Σ (x − x̄)³| / (Σ (x − x̄)²)^1.5`` over both arms,
      ``|n_b − n_a| / √(n_a n_b) · tail > 0.15``: arms of unequal size do not cancel the skewness of a heavy
      tail; or ``tail > 0.25`` whatever their sizes: a few units carry the metric, the next one may carry as
      much again, and no interval knows of it. The cure is winsorising.

    Args:
        control: Sample of one arm.
        treatment: Sample of the other.

    Returns:
        The first cause that holds; what a sample does not know (NaN) is not held against it.

    Example:
        150 clients per arm of whom 1 in 200 buys: less than one sale expected in an arm.

        >>> few = sample_from_sums(150, [1.0], [[1.0]], is_binary=[True])
        >>> inadequacy(few, few)
        <Cause.FEW_EVENTS: 'few_events'>
    """
    sizes = (control.n_units, treatment.n_units)
    smaller = min(sizes)
    if smaller < MINIMUM_UNITS:
        return Cause.FEW_UNITS if smaller else Cause.NO_UNITS
    both = control + treatment
    expected = smaller * both.n_events / both.n_units
    if both.is_proportion and both.n_non_events == both.n_non_events:
        expected = min(expected, smaller * both.n_non_events / both.n_units)
    if expected < MINIMUM_EVENTS:
        return Cause.FEW_EVENTS
    if both.scatter[0, 0] <= 0.0:
        return None
    skew = abs(both.third) / both.scatter[0, 0] ** 1.5
    unequal = abs(sizes[1] - sizes[0]) / np.sqrt(float(sizes[0]) * sizes[1])
    return Cause.LOPSIDED if unequal * skew > MAXIMUM_SKEW or skew > MAXIMUM_TAIL else None


def judge(control: Sample, treatment: Sample, test: Procedure, scale: Scale, *, null: float = 0.0) -> Finding:
    """Say what a test finds between two arms, or that nothing can be told and why.

    `inadequacy` first, then `effect_of` and `find` with Fieller's relative interval. Where one arm of a
    proportion has no event at all (or nothing but events), the arms are told apart all the same: one success
    and one failure are added to each (Agresti & Caffo 2000), so that the error is not 0.

    Args:
        control: Sample of the control.
        treatment: Sample of the treatment.
        test: `Fixed`, `AlwaysValid` or `Look`.
        scale: What to speak of.
        null: The effect to reject, on this scale.

    Returns:
        The finding, or a finding with a cause.
    """
    effect = effect_of(control, treatment)
    cause = inadequacy(control, treatment)
    if cause is None and effect.cause is Cause.NO_VARIANCE and control.is_binary[0]:
        effect = effect_of(_padded(control), _padded(treatment))
    if cause is not None:
        value = effect.difference if scale is Scale.ABSOLUTE else effect.relative
        return cannot_tell(effect, scale, value, cause)
    return find(effect, test, scale, null=null)


class Safety(NamedTuple):
    """What is shown of a harm that is tolerated up to a margin.

    Attributes:
        holds: True: shown to be less than the margin; False: shown to be more; None: neither.
        p_value: Of the null that the harm reaches the margin; NaN beside a cause.
        cause: Why nothing can be told; None: something can.
    """

    holds: bool | None
    p_value: float
    cause: Cause | None = None


def judge_margin(
    control: Sample, treatment: Sample, test: Procedure, margin: float, *, higher_is_better: bool = True
) -> Safety:
    """Is the harm shown to stay below a margin, or shown to be beyond it?

    Tested is the contrast ``± difference + margin · baseline`` (+ where more is better), whose sign says on
    which side of the margin the truth lies. Nothing is divided by the control's value, so a control near 0
    hides no harm; where one arm has no variance, it is given that of both arms together.

    Args:
        control: Sample of the control.
        treatment: Sample of the treatment.
        test: One-sided, of GREATER; it is asked in both directions.
        margin: Relative harm that is tolerated, >0.
        higher_is_better: Whether more of the metric is better.

    Returns:
        What is shown; either direction errs with the test's alpha at most.

    Raises:
        ValueError: The margin is not above 0, or the test is not one of GREATER.

    Example:
        5 complaints of 2,000 against 100 of 2,000: twenty times as many, where a fifth more is tolerated.

        >>> from recsys.experiments.inference import Fixed
        >>> few, many = (sample_from_sums(2_000, [n], [[n]], is_binary=[True]) for n in (5.0, 100.0))
        >>> judge_margin(few, many, Fixed(side=Side.GREATER), 0.2, higher_is_better=False).holds
        False
    """
    if not margin > 0.0 or test.side is not Side.GREATER:
        raise ValueError(f"margin is {margin} and the test is {test.side}, must be above 0 and greater")
    cause = inadequacy(control, treatment)
    effect = effect_of(control, treatment)
    if cause is None and effect.cause is Cause.NO_VARIANCE:
        effect = _effect_with_pooled_errors(control, treatment)
    if cause is None and effect.baseline < 0.0:
        cause = Cause.ZERO_BASELINE
    if (cause := cause or effect.cause) is not None:
        return Safety(None, float("nan"), cause)
    sign = 1.0 if higher_is_better else -1.0
    shift = sign * effect.difference + margin * effect.baseline
    error = float(np.sqrt(effect.contrast_variance(-sign * margin)))
    p_value, least = test.p_value(shift, error, effect), test.critical(effect) * error
    return Safety(True if shift > least else False if -shift > least else None, p_value)


def _effect_with_pooled_errors(control: Sample, treatment: Sample) -> Effect:
    """As if an arm without variance had that of both arms together."""
    if control.is_binary[0]:
        return effect_of(_padded(control), _padded(treatment))
    arms = [sample.without_covariates() for sample in (control, treatment)]
    both = arms[0] + arms[1]
    shared = both.scatter / both.n_units
    arms = [arm if arm.variance() > 0 else replace(arm, scatter=shared * arm.n_units) for arm in arms]
    return effect_of(*arms)


def _padded(sample: Sample) -> Sample:
    successes = float(sample.means[0] * sample.n_units) + 1.0
    return sample_from_sums(sample.n_units + 2, [successes], [[successes]], is_binary=[True])


def judge_non_inferiority(
    control: Sample, treatment: Sample, test: Procedure, margin: float, *, higher_is_better: bool = True
) -> Finding:
    """Is the treatment worse by less than a margin that one may lose?

    One-sided, on the relative scale: the null is −margin where more is better, +margin where less is; no
    division is made (``difference + margin · baseline`` is tested). p < alpha says "not worse by the margin";
    harm beyond it is a test of the other side with the same null.

    Args:
        control: Sample of the control.
        treatment: Sample of the treatment.
        test: One-sided; its side is GREATER where more is better, else LESSER.
        margin: Relative harm one may lose, >0, .05 is five per cent of the control's value.
        higher_is_better: Whether more of the metric is better.

    Returns:
        The finding on the relative scale.

    Raises:
        ValueError: The margin is not above 0, or the test looks to the wrong side.

    Source:
        Schuirmann 1987 (one of the two one-sided tests); Hauschke et al. 1999 for a relative margin.
    """
    side = Side.GREATER if higher_is_better else Side.LESSER
    if not margin > 0.0 or test.side is not side:
        raise ValueError(f"margin is {margin} and the test is {test.side}, must be above 0 and {side}")
    return judge(control, treatment, test, Scale.RELATIVE, null=-margin if higher_is_better else margin)
