"""What models read of a client: traits of its profile, and a row of numbers out of its state."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence, Set
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys.data.state import ACTIVITY_HOURS
from recsys.domain import ClientState, EventType, LegalForm, Offer, Profile, Size, Stage
from recsys.features.lifecycle import (
    StageThresholds,
    months_compared,
    n_sims,
    relative_change,
    spend_minor,
    stage_of,
    traffic,
)
from recsys.features.spec import Feature, counts, flags
from recsys.history import Activity, hour_of

FloatArray = NDArray[np.float64]

WINDOWS_DAYS = (7, 30, 90)
COMPLAINT_OPEN_DAYS = 30
"""Nobody reports that a complaint was settled, so it counts as open for so long."""

_COUNTED = (
    EventType.IMPRESSION,
    EventType.CLICK,
    EventType.DISMISSAL,
    EventType.APPLICATION,
    EventType.ACTIVATION,
    EventType.COMPLAINT,
)
_WEEK_HOURS, _MONTH_HOURS, _ = (24 * days for days in WINDOWS_DAYS)
_FIRST_WINDOWS = {each.value: place * len(WINDOWS_DAYS) for place, each in enumerate(_COUNTED)}
_N_WINDOW_COUNTS = len(_COUNTED) * len(WINDOWS_DAYS)
_Values = Sequence[float | None]
_Read = Callable[[ClientState, Activity, datetime], _Values]
_INDUSTRIES = "ABCDEFGHIJKLMNOPQRS"
_SIZE_RANKS = {Size.MICRO: 1.0, Size.SMALL: 2.0, Size.MEDIUM: 3.0, Size.LARGE: 4.0}
_FORM_CODES = {
    form: math.nan if form is LegalForm.UNKNOWN else float(code) for code, form in enumerate(LegalForm)
}
_STAGE_FLAGS = {stage: [float(stage is each) for each in Stage] for stage in Stage}
_NOBODY = Profile()
N_FIGURES = 2
"""Length of what `figures_of` returns."""

_PROFILE = (
    Feature("size_rank", "code", 1.0, 4.0),
    Feature("legal_form", "code", 1.0, 6.0),
    Feature("industry", "code", 0.0, 18.0),
    *counts(["n_employees"]),
    Feature("revenue_minor", "minor"),
    Feature("tenure_days", "days", -math.inf),
    *counts(["loyalty_points"]),
    *flags(["is_vip", "is_in_account_group"]),
)
_STAGES = flags([f"stage_{stage}" for stage in Stage])
_MONTHS = (
    *counts(["n_months_known"]),
    Feature("days_since_month", "days", -math.inf),
    *counts(["n_sims", "n_sims_employees", "n_sims_field", "n_sims_devices"]),
    Feature("spend_minor", "minor"),
    Feature("mean_spend_minor_3m", "minor"),
    Feature("voice_minutes_per_sim", "ratio"),
    Feature("data_megabytes_per_sim", "ratio"),
    Feature("n_sms_per_sim", "ratio"),
    Feature("overage_share", "share", 0.0, 1.0),
    Feature("roaming_share", "share", 0.0, 1.0),
    Feature("m2m_share", "share", 0.0, 1.0),
    Feature("overdue_days", "days"),
    Feature("sims_change", "ratio", -1.0),
    Feature("spend_change", "ratio", -1.0),
    Feature("traffic_change", "ratio", -1.0),
)
_HELD = (*counts(["n_holdings", "n_past_offers"]), Feature("days_since_connection", "days"))
_ACTIVITY = (
    *counts([f"n_{each}s_{days}d" for each in _COUNTED for days in WINDOWS_DAYS]),
    Feature("days_since_activity", "days"),
)
_COMPLAINTS = (Feature("days_since_complaint", "days"), *flags(["has_open_complaint"]))


def traits_of(profile: Profile | None) -> tuple[str, ...]:
    """The known facts of a profile as ``key=value`` strings, in a fixed order.

    Args:
        profile: The profile, or None when nothing is known.

    Returns:
        One string per known fact; unknown facts are left out, so that "unknown" is nobody's segment.

    Example:
        >>> traits_of(Profile(size=Size.MICRO, industry="G", tags=("crm=none",)))
        ('size=micro', 'industry=G', 'crm=none')
    """
    if profile is None:
        return ()
    facts = (
        ("size", None if profile.size is Size.UNKNOWN else profile.size.value),
        ("industry", profile.industry),
        ("stage", None if profile.stage is None else profile.stage.value),
        ("region", profile.region),
        (
            "legal_form",
            None if profile.legal_form is LegalForm.UNKNOWN else profile.legal_form.value,
        ),
        ("employees", None if not profile.n_employees else _staff_class(profile.n_employees)),
    )
    return tuple(f"{key}={value}" for key, value in facts if value is not None) + profile.tags


def figures_of(profile: Profile | None) -> tuple[float, ...]:
    """How large a client is, as logarithms of 1 + x: what it wants often follows its size smoothly.

    Only what services do not move: who holds a costly one spends more, who holds one for devices has their
    SIMs, and who is a client for long holds more. Read from holders, such figures say who holds an offer and
    not who wants it.

    Args:
        profile: The profile, or None when nothing is known.

    Returns:
        Employees and revenue; NaN = unknown.

    Example:
        >>> figures_of(Profile(n_employees=7))
        (2.0794415416798357, nan)
    """
    known = profile or _NOBODY
    values = (known.n_employees, known.revenue_minor)
    return tuple([math.nan if value is None else math.log1p(max(value, 0)) for value in values])


def _staff_class(n_employees: int) -> str:
    """A number of employees to the next lower power of two, as people write it."""
    low = 1 << (n_employees.bit_length() - 1)
    return f"{low}-{2 * low - 1}" if low > 1 else "1"


def client_features(need_groups: Sequence[str]) -> tuple[Feature, ...]:
    """The features of a client's row.

    Args:
        need_groups: Groups whose holdings are counted, one feature each.
    """
    groups = _of_groups(need_groups)
    return (*_PROFILE, *_STAGES, *_MONTHS, *_HELD, *_ACTIVITY, *_COMPLAINTS, *groups)


def _of_groups(need_groups: Sequence[str]) -> tuple[Feature, ...]:
    return counts([*(f"n_holdings_in_{group}" for group in need_groups), "n_holdings_in_other"])


class ClientFamily:
    """Builds the row of a client.

    Args:
        offers: The catalogue; tells the need group of a holding.
        need_groups: Groups whose holdings are counted, one feature each; a holding of another group, or
            of an offer that the catalogue does not have, is counted under ``other``.
        thresholds: Where lifecycle stages begin and end.
        asked: Names of the features that are wanted; None = all.

    Attributes:
        features: Of the row. What is read together comes together: at least what is asked for.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        need_groups: Sequence[str],
        thresholds: StageThresholds,
        asked: Set[str] | None = None,
    ) -> None:
        places = {group: place for place, group in enumerate(need_groups)}
        self._n_groups = len(need_groups)
        self._group_of = {
            offer.offer_id: places[offer.need_group] for offer in offers if offer.need_group in places
        }
        self._thresholds = thresholds
        parts: tuple[tuple[tuple[Feature, ...], _Read], ...] = (
            (_PROFILE, _profile_values),
            (_STAGES, self._stage_values),
            (_MONTHS, self._month_values),
            (_HELD, _held_values),
            (_ACTIVITY, _activity_values),
            (_COMPLAINTS, _complaint_values),
            (_of_groups(need_groups), self._group_counts),
        )
        kept = [part for part in parts if asked is None or any(each.name in asked for each in part[0])]
        self.features = tuple([each for features, _ in kept for each in features])
        self._reads = tuple([read for _, read in kept])

    def rows(
        self, states: Sequence[ClientState], activities: Sequence[Activity], moments: Sequence[datetime]
    ) -> FloatArray:
        """The clients' numbers.

        Args:
            states: The states as decisions read them.
            activities: Their activity within the last 90 days.
            moments: The moment of each, aware.

        Returns:
            Shape (n_clients, n_features), in the order of `features`; NaN = unknown.
        """
        values: list[float | None] = []
        for state, activity, now in zip(states, activities, moments, strict=True):
            for read in self._reads:
                values += read(state, activity, now)
        # NumPy makes None NaN
        return np.fromiter(values, np.float64, len(values)).reshape(len(states), len(self.features))

    def _stage_values(self, state: ClientState, _: Activity, now: datetime) -> _Values:
        return _STAGE_FLAGS[stage_of(state, now.date(), self._thresholds)]

    def _group_counts(self, state: ClientState, _: Activity, __: datetime) -> _Values:
        groups = [0] * (self._n_groups + 1)
        for held in state.holdings:
            groups[self._group_of.get(held.offer_id, self._n_groups)] += 1
        return groups

    def _month_values(self, state: ClientState, _: Activity, now: datetime) -> _Values:
        months = state.history.months
        if not months:
            return _NO_MONTHS
        last = months[-1]
        sims, weight = n_sims(last), self._thresholds.megabytes_per_minute
        spends = [month.spend_minor for month in months[-3:] if month.spend_minor is not None]
        bases = months_compared(months, len(months) - 1)
        return [
            len(months),
            (now.date() - last.month_on).days,
            sims,
            last.n_sims_employees,
            last.n_sims_field,
            last.n_sims_devices,
            last.spend_minor,
            sum(spends) / len(spends) if spends else None,
            _per(last.voice_minutes, sims),
            _per(last.data_megabytes, sims),
            _per(last.n_sms, sims),
            last.overage_share,
            last.roaming_share,
            last.m2m_share,
            last.overdue_days,
            _change(sims, map(n_sims, bases)),
            _change(last.spend_minor, map(spend_minor, bases)),
            _change(traffic(last, weight), (traffic(month, weight) for month in bases)),
        ]


_NO_MONTHS: _Values = [0, *([None] * (len(_MONTHS) - 1))]
_NO_ACTIVITY: _Values = [*([0] * _N_WINDOW_COUNTS), None]


def _profile_values(state: ClientState, _: Activity, now: datetime) -> _Values:
    profile = state.profile or _NOBODY
    since = profile.client_since_on
    return [
        _SIZE_RANKS.get(profile.size, math.nan),
        _FORM_CODES[profile.legal_form],
        None if profile.industry is None else _INDUSTRIES.find(profile.industry),
        profile.n_employees,
        profile.revenue_minor,
        None if since is None else (now.date() - since).days,
        profile.loyalty_points,
        profile.is_vip,
        profile.account_group_id is not None,
    ]


def _held_values(state: ClientState, _: Activity, now: datetime) -> _Values:
    newest = state.holdings[-1].connected_at if state.holdings else None
    return [
        len(state.holdings),
        len(state.past_offer_ids),
        None if newest is None else days_between(newest, now),
    ]


def _activity_values(_: ClientState, activity: Activity, now: datetime) -> _Values:
    if not activity.hours:
        return _NO_ACTIVITY
    hour = hour_of(now)
    return [*_window_counts(activity, hour), (hour - activity.hours[-1]) / 24]


def _complaint_values(state: ClientState, _: Activity, now: datetime) -> _Values:
    complaint = state.history.complaint
    days = None if complaint is None else days_between(complaint.complained_at, now)
    return [days, days is not None and days < COMPLAINT_OPEN_DAYS]


def recent_activity(state: ClientState, now: datetime) -> Activity:
    """A client's activity without what is older than 90 days; what a stored state may still hold."""
    activity, oldest = state.history.activity, hour_of(now) - ACTIVITY_HOURS
    if not activity.hours or activity.hours[0] > oldest:
        return activity
    first = bisect_right(activity.hours, oldest)
    return Activity(
        activity.hours[first:],
        activity.offer_ids[first:],
        activity.event_types[first:],
        activity.counts[first:],
    )


def _window_counts(activity: Activity, hour: int) -> list[int]:
    """Events of each counted type in each window, the windows of a type side by side."""
    found = [0] * _N_WINDOW_COUNTS
    for at, event_type, n in zip(activity.hours, activity.event_types, activity.counts, strict=True):
        first = _FIRST_WINDOWS.get(event_type)
        if first is not None:
            age = hour - at
            found[first + (age >= _WEEK_HOURS) + (age >= _MONTH_HOURS)] += n
    # what happened within a week happened within a month and a quarter as well
    for first in range(0, _N_WINDOW_COUNTS, len(WINDOWS_DAYS)):
        found[first + 1] += found[first]
        found[first + 2] += found[first + 1]
    return found


def days_between(earlier: datetime, later: datetime) -> float:
    """Days from one instant to another, with their fraction.

    Example:
        >>> days_between(datetime(2025, 1, 1), datetime(2025, 1, 2, 12))
        1.5
    """
    return (later - earlier).total_seconds() / 86_400


def _change(value: int | None, bases: Iterable[int | None]) -> float | None:
    for base in bases:
        if base is not None:
            return relative_change(value, base)
    return None


def _per(value: int | None, n: int | None) -> float | None:
    return None if value is None or not n else value / n
