"""Facts of clients and of the moment: each is read straight into the bits that its value sets."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import reduce
from itertools import count
from operator import attrgetter, itemgetter, or_
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from recsys.decision.conditions.scales import Bits, NumberBits, Rows, TextBits, rows_of
from recsys.decision.conditions.vocabulary import TAG_PREFIX
from recsys.decision.policy.scope import OfferScope
from recsys.domain import ClientState, Language, Profile
from recsys.features.lifecycle import StageThresholds, n_sims, stage_of
from recsys.history import MonthFigures

Months = Sequence[MonthFigures]

_NOBODY = Profile()
_NO_MONTHS = (MonthFigures(date.min),)
_MOST_MONTHS_OLD = 2
_YEAR_MONTHS = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_HOUR_SECONDS = 3_600
_PLAIN_TEXTS = ("size", "legal_form", "industry", "region")
_PLAIN_NUMBERS = ("n_employees", "revenue_minor", "is_vip", "loyalty_points")


@dataclass(frozen=True, slots=True)
class Moment:
    """The context of one decision.

    Attributes:
        now: When, aware.
        placement: Where the list is shown.
        channel: Through which channel.
        language: In which language.
        role: Role of the member who looks: administrator, finance or employee.
        zone: Whose midnights part the days.
    """

    now: datetime
    placement: str | None = None
    channel: str | None = None
    language: Language | None = None
    role: str | None = None
    zone: tzinfo = UTC


class FactKey(NamedTuple):
    """One fact that is compared.

    Attributes:
        head: The head of the condition: field, context, n_held …
        name: Name of a field or of a context, or type of an event.
        offers: For which offers.
        within_days: How far back.
    """

    head: str
    name: str = ""
    offers: OfferScope = OfferScope()
    within_days: int = 0


class Today(NamedTuple):
    """A second as the facts of clients need it.

    Attributes:
        day: The day in the moment's zone.
        hour: Hours since 1970; see `recsys.history.hour_of`.
        oldest_month_on: The first month whose figures say something of the client as it is.
    """

    day: date
    hour: int
    oldest_month_on: date


def _oldest_month_on(day: date) -> date:
    number = day.year * _YEAR_MONTHS + day.month - 1 - _MOST_MONTHS_OLD
    return date(number // _YEAR_MONTHS, number % _YEAR_MONTHS + 1, 1)


class _Second(NamedTuple):
    """What a second tells.

    Attributes:
        since: When it begins.
        until: When it is over.
        zone: Whose midnights part the days.
        today: What the facts of clients need of it.
        bits: What its numbers tell.
    """

    since: datetime
    until: datetime
    zone: tzinfo
    today: Today
    bits: Bits


class ContextReader:
    """Reads the moment: what it tells holds for every client.

    Args:
        told: The facts with what their values tell.
    """

    def __init__(self, told: Mapping[FactKey, TextBits | NumberBits]) -> None:
        texts = {key.name: bits for key, bits in told.items() if isinstance(bits, TextBits)}
        self._read_texts = _values_of(list(texts))
        self._of = [bits.of for bits in texts.values()]
        self._others = [bits.other for bits in texts.values()]
        self._numbers = [
            (_CONTEXT_NUMBERS[key.name], bits.breaks, bits.of)
            for key, bits in told.items()
            if isinstance(bits, NumberBits)
        ]
        self._latest: _Second | None = None
        self._latest_texts: tuple[tuple[Any, ...], Bits] = ((), 0)

    def read(self, moment: Moment) -> tuple[Today, Bits]:
        """What the facts of clients need of a moment, and what it tells."""
        latest = self._latest
        # decisions come many a second and mostly for few places, and then nothing else changes
        if latest is None or not latest.since <= moment.now < latest.until or latest.zone != moment.zone:
            self._latest = latest = self._read_second(moment)
        texts, told = self._read_texts(moment), self._latest_texts
        if told[0] != texts:
            told = (texts, reduce(or_, map(dict.get, self._of, texts, self._others), 0))
            self._latest_texts = told
        return latest.today, latest.bits | told[1]

    def _read_second(self, moment: Moment) -> _Second:
        n_seconds, local = (moment.now - _EPOCH) // _SECOND, moment.now.astimezone(moment.zone)
        bits = 0
        for number_of, breaks, of in self._numbers:
            bits |= of[bisect_right(breaks, number_of(local))]
        day, since = local.date(), _EPOCH + n_seconds * _SECOND
        today = Today(day, n_seconds // _HOUR_SECONDS, _oldest_month_on(day))
        return _Second(since, since + _SECOND, moment.zone, today, bits)


class TextReader:
    """Reads fields that are texts: of the profile, the stage and tags.

    Args:
        told: The facts with what their values tell.
        thresholds: Where lifecycle stages begin and end.
    """

    def __init__(self, told: Mapping[FactKey, TextBits], n_bits: int, thresholds: StageThresholds) -> None:
        self._n_bits, self._thresholds = n_bits, thresholds
        of = {key.name: bits for key, bits in told.items()}
        plain = [name for name in of if name in _PLAIN_TEXTS]
        tags = [name for name in of if name.startswith(TAG_PREFIX)]
        self._read_plain = _values_of(plain)
        self._of = [of[name].of for name in plain]
        self._others = [of[name].other for name in plain]
        self._stage = of.get("stage")
        self._tags = {name.removeprefix(TAG_PREFIX): (place, of[name]) for place, name in enumerate(tags)}
        self._no_tags = [of[name].told(None) for name in tags]
        self._without_tags = reduce(or_, self._no_tags, 0)

    def read(self, state: ClientState, _now: datetime, today: Today) -> Bits:
        """What a client's texts tell."""
        profile = state.profile or _NOBODY
        # loops in C: each fact has so little to say that the interpreter would be most of it
        bits = reduce(or_, map(dict.get, self._of, self._read_plain(profile), self._others), 0)
        if self._stage is not None:
            bits |= self._stage.told(profile.stage or stage_of(state, today.day, self._thresholds))
        return bits | self._told_tags(profile.tags)

    def read_all(self, states: Sequence[ClientState], _now: datetime, today: Today, found: Rows) -> None:
        """Add the same for many clients to their rows, text by text; equal texts are looked up once."""
        profiles = [state.profile or _NOBODY for state in states]
        columns = zip(*map(self._read_plain, profiles), strict=True)
        for column, of, other in zip(columns, self._of, self._others, strict=True):
            self._add(found, column, TextBits(of, other).told)
        if self._stage is not None:
            stages = [
                profile.stage or stage_of(state, today.day, self._thresholds)
                for state, profile in zip(states, profiles, strict=True)
            ]
            self._add(found, stages, self._stage.told)
        if self._tags:
            self._add(found, [profile.tags for profile in profiles], self._told_tags)

    def _add(self, found: Rows, column: Sequence[Any], told: Callable[[Any], Bits]) -> None:
        """Add what each value of a column tells to the rows."""
        # a new value gets the next place when it is first looked up
        places: defaultdict[Any, int] = defaultdict(count().__next__)
        of_each = list(map(places.__getitem__, column))
        found |= rows_of([told(value) for value in places], self._n_bits).take(of_each, axis=0)

    def _told_tags(self, tags: Sequence[str]) -> Bits:
        if not tags or not self._tags:
            return self._without_tags
        found = self._no_tags.copy()
        for tag in tags:
            key, _, value = tag.partition("=")
            of_tag = self._tags.get(key)
            if of_tag is not None:
                found[of_tag[0]] = of_tag[1].told(value or None)
        return reduce(or_, found)


class NumberReader:
    """Reads fields that are numbers: of the profile and of months.

    Args:
        told: The facts with what their values tell.
    """

    def __init__(self, told: Mapping[FactKey, NumberBits], n_bits: int) -> None:
        of = {key.name: bits for key, bits in told.items()}
        plain = [name for name in of if name in _PLAIN_NUMBERS]
        derived = [name for name in of if name in _DERIVED]
        latest = [name for name in MonthFigures._fields if name in of]
        months = [name for name in of if name in _OF_MONTHS]
        self._read_plain = _values_of(plain)
        self._derived = [_DERIVED[name] for name in derived]
        places = [MonthFigures._fields.index(name) for name in latest]
        self._read_latest = itemgetter(*places) if len(places) > 1 else _values_of(latest)
        self._of_months = [_OF_MONTHS[name] for name in months]
        self._no_months = (None,) * (len(latest) + len(months))
        told_in_order = [of[name] for name in (*plain, *derived, *latest, *months)]
        self._told = [(bits.breaks, bits.of) for bits in told_in_order]
        self._rows = [(np.array(bits.breaks), rows_of(bits.of, n_bits)) for bits in told_in_order]

    def read(self, state: ClientState, _now: datetime, today: Today) -> Bits:
        """What a client's numbers tell."""
        profile = state.profile or _NOBODY
        values: list[Any] = [
            *self._read_plain(profile),
            *[derive(profile, today.day) for derive in self._derived],
        ]
        if self._no_months:
            months = state.history.months
            if months and months[-1].month_on >= today.oldest_month_on:
                values += self._read_latest(months[-1])
                values += [figure(months) for figure in self._of_months]
            else:
                values += self._no_months
        bits = 0
        for (breaks, of), value in zip(self._told, values, strict=True):
            # compared as what the breaks are: an int takes the interpreter twice as long
            bits |= of[-1] if value is None else of[bisect_right(breaks, float(value))]
        return bits

    def read_all(self, states: Sequence[ClientState], _now: datetime, today: Today, found: Rows) -> None:
        """Add the same for many clients to their rows, number by number."""
        profiles = [state.profile or _NOBODY for state in states]
        columns: list[Sequence[Any]] = [*zip(*map(self._read_plain, profiles), strict=True)]
        columns += [[derive(profile, today.day) for profile in profiles] for derive in self._derived]
        if self._no_months:
            columns += self._month_columns([state.history.months for state in states], today)
        for column, (breaks, rows) in zip(columns, self._rows, strict=True):
            numbers = np.array(column, dtype=np.float64)  # None becomes NaN, which sorts behind infinity
            found |= rows.take(breaks.searchsorted(numbers, side="right"), axis=0)

    def _month_columns(self, histories: Sequence[Months], today: Today) -> list[Sequence[Any]]:
        since = today.oldest_month_on
        known = [months if months and months[-1].month_on >= since else _NO_MONTHS for months in histories]
        latest = [months[-1] for months in known]
        columns: list[Sequence[Any]] = [*zip(*map(self._read_latest, latest), strict=True)]
        return columns + [[*map(figure, known)] for figure in self._of_months]


def _values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads attributes; always a tuple."""
    if not names:
        return lambda _: ()
    read = attrgetter(*names)
    return read if len(names) > 1 else lambda thing: (read(thing),)


def _tenure_days(profile: Profile, today: date) -> int | None:
    since = profile.client_since_on
    return None if since is None else (today - since).days


def _is_in_account_group(profile: Profile, _today: date) -> bool:
    return profile.account_group_id is not None


_DERIVED: Mapping[str, Callable[[Profile, date], int | None]] = MappingProxyType(
    {"tenure_days": _tenure_days, "is_in_account_group": _is_in_account_group}
)


def _mean_spend(months: Months) -> float | None:
    if len(months) > 2:  # nearly always, and all three are known: then this is half the time
        first, second, third = months[-3].spend_minor, months[-2].spend_minor, months[-1].spend_minor
        if first is not None and second is not None and third is not None:
            return (first + second + third) / 3
    known = [month.spend_minor for month in months[-3:] if month.spend_minor is not None]
    return sum(known) / len(known) if known else None


def _n_sims(months: Months) -> int | None:
    month = months[-1]
    try:  # as above
        return month.n_sims_employees + month.n_sims_field + month.n_sims_devices  # type: ignore[operator]
    except TypeError:
        return n_sims(month)


_OF_MONTHS: Mapping[str, Callable[[Months], float | None]] = MappingProxyType(
    {"n_sims": _n_sims, "mean_spend_minor_3m": _mean_spend}
)
_CONTEXT_NUMBERS: Mapping[str, Callable[[datetime], float]] = MappingProxyType(
    {
        "date": datetime.toordinal,
        "month": attrgetter("month"),
        "weekday": datetime.isoweekday,
        "hour": attrgetter("hour"),
    }
)
