"""Lifecycle stages as a pure function of what is known of a client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from recsys.domain import ClientState, Stage
from recsys.history import MonthFigures

_N_MONTHS_TO_ENTER = 2
_YEAR = 12
_QUARTER = 3

Figure = Callable[[MonthFigures], int | None]


@dataclass(frozen=True, slots=True)
class Contract:
    """The client's contract.

    Attributes:
        started_on: First day; None = there never was one.
        ended_on: Day on which it ended; that day counts as after it.
        resumed_on: Day the client came back after an end or a silence.
        has_port_out_request: Whether the client asked to take its numbers elsewhere.
    """

    started_on: date | None
    ended_on: date | None = None
    resumed_on: date | None = None
    has_port_out_request: bool = False


@dataclass(frozen=True, slots=True)
class StageThresholds:
    """Where one stage ends and the next begins.

    Attributes:
        at_risk_percent: Loss of SIMs or traffic, in percent, from which on a client is at risk.
        overdue_days: A bill overdue for more days than this is a risk.
        onboarding_days: Length of the first stage, the last day included.
        reactivated_days: Length of the stage after a return, the last day included.
        growth_percent: Gain of SIMs or spend, in percent, from which on a client grows; a change of no
            more in either direction is stable.
        mature_days: Tenure beyond which a stable client is mature.
        megabytes_per_minute: Traffic counts minutes and messages, and so many megabytes as one of them.
    """

    at_risk_percent: int = 30
    overdue_days: int = 30
    onboarding_days: int = 90
    reactivated_days: int = 90
    growth_percent: int = 15
    mature_days: int = 365
    megabytes_per_minute: int = 25


def lifecycle_stage(  # noqa: PLR0911 -- one return for each stage
    months: Sequence[MonthFigures], contract: Contract, as_of_on: date, thresholds: StageThresholds
) -> Stage:
    """The first stage that matches, in the order of `Stage`.

    A condition on monthly figures must hold in the two latest known months, which follow each other. A
    month's change is taken against the same month a year before where that is known, for January is
    always low, else against the third month before; unknown figures fulfil no condition. A bill that is
    overdue for more than 30 days has lasted a month by itself: the latest known month tells.

    Args:
        months: Known figures, oldest first, each month once.
        contract: The contract as known.
        as_of_on: The day for which the stage is asked.
        thresholds: Where one stage ends and the next begins.

    Example:
        >>> joined = Contract(started_on=date(2025, 1, 10))
        >>> lifecycle_stage((), joined, date(2025, 4, 10), StageThresholds()).value
        'onboarding'
        >>> lifecycle_stage((), joined, date(2025, 4, 11), StageThresholds()).value
        'steady'
    """
    if contract.started_on is None or contract.started_on > as_of_on:
        return Stage.PROSPECT
    if _is_over(contract, as_of_on):
        return Stage.CHURNED
    figures = _Figures(months, thresholds)
    if contract.has_port_out_request or figures.is_at_risk():
        return Stage.AT_RISK
    if figures.is_dormant():
        return Stage.DORMANT
    if (as_of_on - contract.started_on).days <= thresholds.onboarding_days:
        return Stage.ONBOARDING
    if _is_back(contract, as_of_on, thresholds):
        return Stage.REACTIVATED
    if figures.is_growing():
        return Stage.GROWTH
    if (as_of_on - contract.started_on).days > thresholds.mature_days and figures.is_stable():
        return Stage.MATURE
    return Stage.STEADY


def contract_of(state: ClientState) -> Contract:
    """The contract as a client's state tells it.

    Its end, a return and a request to port out are facts of the profile's tags: ``contract_ended_on=DAY``,
    ``contract_resumed_on=DAY`` and ``port_out=yes``; a day that cannot be read counts as unknown. Where
    the profile does not say since when the company is a client, its oldest holding or month tells.
    """
    profile = state.profile
    tags = dict(tag.split("=", 1) for tag in profile.tags if "=" in tag) if profile is not None else {}
    started_on = None if profile is None else profile.client_since_on
    if started_on is None:
        seen = [month.month_on for month in state.history.months[:1]]
        seen += [held.connected_at.date() for held in state.holdings[:1]]
        started_on = min(seen, default=None)
    return Contract(
        started_on,
        _day(tags.get("contract_ended_on")),
        _day(tags.get("contract_resumed_on")),
        tags.get("port_out") == "yes",
    )


def stage_of(state: ClientState, as_of_on: date, thresholds: StageThresholds) -> Stage:
    """A client's stage: the one its profile names, else the one that follows from what is known.

    The operator's own system may know more than the tables tell, so its word goes first.
    """
    profile = state.profile
    if profile is not None and profile.stage is not None:
        return profile.stage
    return lifecycle_stage(state.history.months, contract_of(state), as_of_on, thresholds)


def n_sims(month: MonthFigures) -> int | None:
    """SIMs of every kind; None when no kind is known."""
    employees, field, devices = month.n_sims_employees, month.n_sims_field, month.n_sims_devices
    if employees is None and field is None and devices is None:
        return None
    return (employees or 0) + (field or 0) + (devices or 0)


def traffic(month: MonthFigures, megabytes_per_minute: int) -> int | None:
    """Paid traffic of a month, so that one megabyte is 1: minutes, messages and data together.

    Example:
        >>> traffic(MonthFigures(date(2025, 1, 1), voice_minutes=10, data_megabytes=50), 25)
        300
    """
    voice, sms, data = month.voice_minutes, month.n_sms, month.data_megabytes
    if voice is None and sms is None:
        return data
    return ((voice or 0) + (sms or 0)) * megabytes_per_minute + (data or 0)


def relative_change(value: int | None, base: int | None) -> float | None:
    """Relative change of a figure; None when it, or what it is compared with, is unknown.

    From zero to zero is no change; from zero to anything else is none that could be known.

    Example:
        >>> relative_change(5, 4), relative_change(0, 0), relative_change(1, 0)
        (0.25, 0.0, None)
    """
    if value is None or base is None:
        return None
    if base == 0:
        return 0.0 if value == 0 else None
    return value / base - 1


def months_compared(months: Sequence[MonthFigures], position: int) -> list[MonthFigures]:
    """What a month is compared with, as far as it is known: the same month a year before, the third before.

    A figure is compared with the first of them that knows it.

    Args:
        months: Known figures, oldest first, each month once.
        position: Which of them.

    Example:
        >>> january, march, april = (MonthFigures(date(2025, month, 1)) for month in (1, 3, 4))
        >>> [month.month_on.month for month in months_compared((january, march, april), 2)]
        [1]
    """
    number = _number(months[position])
    found = []
    for n_back in (_YEAR, _QUARTER):
        # each month stands once, so that month lies at most n_back places before
        for month in months[max(position - n_back, 0) : position]:
            before = _number(month)
            if before >= number - n_back:
                if before == number - n_back:
                    found.append(month)
                break
    return found


class _Figures:
    """Conditions on monthly figures."""

    def __init__(self, months: Sequence[MonthFigures], thresholds: StageThresholds) -> None:
        self._months = months
        self._limits = thresholds
        self._latest = range(len(months) - 1, max(len(months) - 1 - _N_MONTHS_TO_ENTER, -1), -1)
        self._has_two = (
            len(self._latest) == _N_MONTHS_TO_ENTER and _number(months[-1]) - _number(months[-2]) == 1
        )

    def is_at_risk(self) -> bool:
        """Far fewer SIMs, far less traffic, or a bill overdue for long."""
        overdue = self._months[-1].overdue_days if self._months else None
        if overdue is not None and overdue > self._limits.overdue_days:
            return True
        percent = self._limits.at_risk_percent

        def is_lost(value: int, base: int) -> bool:
            return base > 0 and 100 * (value - base) <= -percent * base

        return self._always(n_sims, is_lost) or self._always(self._traffic, is_lost)

    def is_dormant(self) -> bool:
        """No paid traffic."""
        return self._has_two and all(self._traffic(self._months[at]) == 0 for at in self._latest)

    def is_growing(self) -> bool:
        """More SIMs or more spend."""
        percent = self._limits.growth_percent

        def is_gained(value: int, base: int) -> bool:
            return value > base and 100 * (value - base) >= percent * base

        return self._always(n_sims, is_gained) or self._always(spend_minor, is_gained)

    def is_stable(self) -> bool:
        """Neither SIMs nor spend leave the band; at least one of them is known."""
        percent = self._limits.growth_percent

        def is_known(value: int, base: int) -> bool:  # noqa: ARG001
            return True

        def is_within(value: int, base: int) -> bool:
            return 100 * abs(value - base) <= percent * base

        known = [figure for figure in (n_sims, spend_minor) if self._always(figure, is_known)]
        return bool(known) and all(self._always(figure, is_within) for figure in known)

    def _always(self, figure: Figure, holds: Callable[[int, int], bool]) -> bool:
        """Whether a figure and what it is compared with stand so in the two latest months."""
        if not self._has_two:
            return False
        for at in self._latest:
            # whole numbers, because a border must not depend on rounding
            value = figure(self._months[at])
            known = [figure(month) for month in months_compared(self._months, at)]
            base = next((each for each in known if each is not None), None)
            if value is None or base is None or not holds(value, base):
                return False
        return True

    def _traffic(self, month: MonthFigures) -> int | None:
        return traffic(month, self._limits.megabytes_per_minute)


def spend_minor(month: MonthFigures) -> int | None:
    """Billed for the month."""
    return month.spend_minor


def _is_over(contract: Contract, as_of_on: date) -> bool:
    if contract.ended_on is None or contract.ended_on > as_of_on:
        return False
    return contract.resumed_on is None or not contract.ended_on <= contract.resumed_on <= as_of_on


def _is_back(contract: Contract, as_of_on: date, thresholds: StageThresholds) -> bool:
    if contract.resumed_on is None:
        return False
    return 0 <= (as_of_on - contract.resumed_on).days <= thresholds.reactivated_days


def _number(month: MonthFigures) -> int:
    return month.month_on.year * 12 + month.month_on.month


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return None
