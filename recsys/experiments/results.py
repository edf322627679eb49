"""What the analysis of an experiment says, as plain data: for a page, a terminal, an alarm, a program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from recsys.evaluation.intervals import Estimate

if TYPE_CHECKING:  # a server that says results in words needs no data frames
    from recsys.experiments.outcomes import ArmCounts
    from recsys.experiments.randomisation import Randomisation
    from recsys.experiments.sample_ratio import SampleRatio


class Says(StrEnum):
    """What is concluded of an arm against the control."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no_difference"
    CANNOT_TELL = "cannot_tell"


class Role(StrEnum):
    """What a metric is there for."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARDRAIL = "guardrail"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in both languages.

    Attributes:
        ru: In Russian.
        en: In English.
    """

    ru: str
    en: str

    def __add__(self, other: Text) -> Text:
        """One sentence after the other."""
        return Text(f"{self.ru} {other.ru}".strip(), f"{self.en} {other.en}".strip())

    def told(self, language: str) -> str:
        """The sentence in one of the languages."""
        return self.ru if language == "ru" else self.en


@dataclass(frozen=True, slots=True)
class Interval:
    """An effect with its interval; without a cause every figure stands.

    Attributes:
        value: The estimate.
        low: Lower end, NaN beside a cause.
        high: Upper end, NaN beside a cause.
        cause: Why there is no interval; None: there is one.
    """

    value: float
    low: float
    high: float
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm and who took part in it.

    Attributes:
        name: Its name.
        weight: Its planned share of units.
        counts: Units and clients.
    """

    name: str
    weight: float
    counts: ArmCounts


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one arm against the control.

    Attributes:
        metric: Name of the metric.
        role: What it is there for.
        arm: Name of the arm.
        n_clients: Clients of the control and of the arm whose value is known.
        n_unknown: Clients left out because their value is not known yet.
        n_units: Units of both.
        control: The control's value, not adjusted.
        treatment: The arm's value, not adjusted.
        absolute: Difference in the metric's unit, adjusted where `is_adjusted`.
        relative: That difference ÷ the control's value.
        p_value: Of no difference, by the experiment's method; NaN: cannot tell.
        adjusted_p_value: After Holm over metrics and arms; the primary one only over arms.
        variance_reduction: Share of the variance that the covariate took away, 0–1; NaN: there is none.
        threshold: Values above it counted as it; NaN: none was cut.
        is_money: Values are minor units.
        higher_is_better: Which way is good.
        needed: Times as many units as now would find the minimum effect in four cases of five; NaN: unknown.
    """

    metric: str
    role: Role
    arm: str
    n_clients: tuple[int, int]
    n_unknown: int
    n_units: int
    control: float
    treatment: float
    absolute: Interval
    relative: Interval
    p_value: float
    adjusted_p_value: float
    variance_reduction: float
    threshold: float
    is_money: bool
    higher_is_better: bool
    needed: float

    @property
    def cause(self) -> str | None:
        """Why nothing can be told of it; None: something can."""
        return self.absolute.cause


@dataclass(frozen=True, slots=True)
class GuardrailResult:
    """Whether an arm stays within the harm that is tolerated.

    Attributes:
        metric: Name of the metric.
        arm: Name of the arm.
        margin: Relative harm that is tolerated.
        relative: Relative effect with an interval that may be looked at daily; it may have a cause where
            the guardrail is judged all the same.
        p_value: Of the null that the harm reaches the margin; small = the arm is shown to be harmless.
        holds: True: the harm is shown to be less than the margin; False: breached, shown to be more; None:
            cannot tell yet.
        stops: Whether a breach stops the experiment.
    """

    metric: str
    arm: str
    margin: float
    relative: Interval
    p_value: float
    holds: bool | None
    stops: bool


@dataclass(frozen=True, slots=True)
class Point:
    """The primary metric's effect as it stood on a day, with an interval that may be looked at daily.

    Attributes:
        day: Days since the start.
        arm: Name of the arm.
        n_clients: Clients of control and arm whose window was over.
        absolute: Difference in the metric's unit.
    """

    day: int
    arm: str
    n_clients: tuple[int, int]
    absolute: Interval


@dataclass(frozen=True, slots=True)
class SegmentEffect:
    """The primary metric's effect in one segment.

    Attributes:
        dimension: What clients are told apart by.
        segment: Which of them.
        arm: Name of the arm.
        n_clients: Clients of the control and of the arm.
        absolute: Difference as measured in the segment alone.
        shrunk: The same drawn towards the common effect, by as much as chance explains; what to believe.
    """

    dimension: str
    segment: str
    arm: str
    n_clients: tuple[int, int]
    absolute: Interval
    shrunk: Interval


@dataclass(frozen=True, slots=True)
class Overlap:
    """Whether the effect depends on the arm of another experiment that ran at the same time.

    Attributes:
        experiment_id: The other experiment.
        arms: Two of its arms.
        arm: The arm of this experiment.
        n_clients: Clients in both experiments.
        absolute: Effect in the second of the other arms minus that in the first.
        p_value: Of no difference; NaN: cannot tell.
        is_found: After Holm over all pairs.
    """

    experiment_id: str
    arms: tuple[str, str]
    arm: str
    n_clients: int
    absolute: Interval
    p_value: float
    is_found: bool


@dataclass(frozen=True, slots=True)
class DecisionValue:
    """What a decision of an arm was worth, beside what the log had promised.

    Attributes:
        arm: Name of the arm.
        n_decisions: Decisions whose window is over.
        measured: Margin over the horizon per decision, by decision_id, minor units.
        expected: The off-policy estimate of the same; None: there is none.
        source: Digest of the run that made the estimate.
        agrees: Whether the intervals overlap; None: one of them is missing, or they are not of the same.
        expected_days: Days in which an activation counted for the estimate; None: there is none.
        expected_months: Months of margin that it counted for.
    """

    arm: str
    n_decisions: int
    measured: Interval
    expected: Estimate | None
    source: str
    agrees: bool | None
    expected_days: int | None = None
    expected_months: int | None = None


@dataclass(frozen=True, slots=True)
class ArmVerdict:
    """What is concluded of an arm.

    Attributes:
        arm: Name of the arm.
        says: The conclusion.
        why: It in words, with its figures.
        needed: What would be needed to tell; empty where nothing is.
        decided_by: Whose p decides: fixed, always_valid, group_sequential or randomisation; empty: none yet.
    """

    arm: str
    says: Says
    why: Text
    needed: Text
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A reason to stop the experiment now.

    Attributes:
        kind: `sample_ratio` or `guardrail`.
        arm: Name of the arm; empty: all of them.
        metric: Name of the guardrail's metric; empty for the sample ratio.
        why: The reason in words.
    """

    kind: str
    arm: str
    metric: str
    why: Text


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that is said of an experiment.

    Attributes:
        experiment_id: Its id.
        title: Its name.
        hypothesis: What was believed.
        status: Where it stands.
        started_at: When it was started.
        now: When it was analysed.
        method: When it may be judged: fixed, sequential or group_sequential.
        window_days: Days after the trigger that count.
        alpha: Two-sided level.
        minimum_effect: Least relative effect worth finding.
        planned_units: Units with a closed window at the planned end; None: none was planned.
        n_units: Units analysed.
        look: Number of the planned look that the figures are of; 0: there are no planned looks.
        is_over: Whether the plan of a fixed experiment is fulfilled: the figures are of the units planned,
            and do not change any more.
        primary: Name of the primary metric.
        arms: The arms, the control first.
        verdicts: One for each arm but the control.
        comparisons: Every metric of every arm.
        guardrails: What must not get worse.
        sample_ratio: Whether the arms have the units they should.
        alarms: Reasons to stop now.
        timeline: The primary metric over time.
        segments: The primary metric by segment.
        overlaps: Interactions with other experiments.
        decisions: What decisions were worth, beside the off-policy estimates.
        randomisation: Where the salt was chosen by balance.
        n_forced: Clients put into an arm by hand; not analysed.
        n_held_out: Clients that the hold-out keeps out; not analysed.
        n_earlier: Of the hold-out: clients drawn before its present share stood; not analysed.
    """

    experiment_id: str
    title: str
    hypothesis: str
    status: str
    started_at: datetime
    now: datetime
    method: str
    window_days: int
    alpha: float
    minimum_effect: float
    planned_units: int | None
    n_units: int
    look: int
    is_over: bool
    primary: str
    arms: tuple[ArmResult, ...]
    verdicts: tuple[ArmVerdict, ...]
    comparisons: tuple[Comparison, ...]
    guardrails: tuple[GuardrailResult, ...]
    sample_ratio: SampleRatio
    alarms: tuple[Alarm, ...] = ()
    timeline: tuple[Point, ...] = ()
    segments: tuple[SegmentEffect, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    decisions: tuple[DecisionValue, ...] = ()
    randomisation: tuple[Randomisation, ...] = ()
    n_forced: int = 0
    n_held_out: int = 0
    n_earlier: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON: no NaN and no infinity, null instead, with the cause beside it."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value.value if isinstance(value, StrEnum) else value
