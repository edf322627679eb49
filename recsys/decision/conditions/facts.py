"""Facts of clients and of the moment: each is read straight into the truths of all comparisons with it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from operator import attrgetter, getitem
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from recsys.decision.conditions.scales import NumberRows, Row, TextRows, TruthArray
from recsys.decision.conditions.vocabulary import TAG_PREFIX
from recsys.decision.policy.scope import OfferScope
from recsys.domain import ClientState, Language, Profile
from recsys.features.lifecycle import StageThresholds, n_sims, stage_of
from recsys.history import MonthFigures

_NOBODY = Profile()
# Figures of a month that began earlier say nothing of the client as it is.
_MOST_MONTHS_OLD = 2
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
    """The moment as the facts of clients need it.

    Attributes:
        now: When, aware.
        day: The day in the moment's zone.
        hour: Hours since 1970; see `hour_of`.
    """

    now: datetime
    day: date
    hour: int


class ContextReader:
    """Reads the moment: what is told of it holds for every client.

    Args:
        told: The facts with what is told of their values.
    """

    def __init__(self, told: Mapping[FactKey, TextRows | NumberRows]) -> None:
        self.keys = list(told)
        self._told = [(_CONTEXT_VALUES[key.name], rows) for key, rows in told.items()]

    def row(self, moment: Moment, local: datetime) -> Row:
        """What is told of all `keys` together; `local` is the moment in its zone."""
        return b"".join([rows.of(value_of(moment, local)) for value_of, rows in self._told])


class TextReader:
    """Reads fields that are texts: of the profile, the stage and tags.

    Args:
        told: The facts with what is told of their values.
        thresholds: Where lifecycle stages begin and end.
    """

    def __init__(self, told: Mapping[FactKey, TextRows], thresholds: StageThresholds) -> None:
        self._thresholds = thresholds
        of = {key.name: rows for key, rows in told.items()}
        plain = [name for name in of if name in _PLAIN_TEXTS]
        tags = [name for name in of if name.startswith(TAG_PREFIX)]
        self._stage = of.get("stage")
        stage = ["stage"] if self._stage is not None else []
        self.keys = [FactKey("field", name) for name in (*plain, *stage, *tags)]
        self._read_plain = _values_of(plain)
        self._plain = [of[name] for name in plain]
        self._tags = {name.removeprefix(TAG_PREFIX): (place, of[name]) for place, name in enumerate(tags)}
        self._no_tags = [of[name][None] for name in tags]

    def rows(self, state: ClientState, today: Today) -> list[Row]:
        """What is told of each of `keys`."""
        profile = state.profile or _NOBODY
        rows = list(map(getitem, self._plain, self._read_plain(profile)))
        if self._stage is not None:
            rows.append(self._stage[profile.stage or stage_of(state, today.day, self._thresholds)])
        if self._tags:
            rows += self._tag_rows(profile.tags)
        return rows

    def _tag_rows(self, tags: Sequence[str]) -> list[Row]:
        if not tags:
            return self._no_tags
        rows = self._no_tags.copy()
        for tag in tags:
            key, _, value = tag.partition("=")
            if key in self._tags:
                place, of = self._tags[key]
                rows[place] = of[value or None]
        return rows


class NumberReader:
    """Reads fields that are numbers: of the profile and of months.

    Args:
        told: The facts with what is told of their values.
    """

    def __init__(self, told: Mapping[FactKey, NumberRows]) -> None:
        of = {key.name: rows for key, rows in told.items()}
        plain = [name for name in of if name in _PLAIN_NUMBERS]
        derived = [name for name in of if name in _DERIVED]
        latest = [name for name in of if name in MonthFigures._fields]
        months = [name for name in of if name in _OF_MONTHS]
        names = [*plain, *derived, *latest, *months]
        self.keys = [FactKey("field", name) for name in names]
        self._told = [of[name] for name in names]
        self._read_plain = _values_of(plain)
        self._derived = [_DERIVED[name] for name in derived]
        self._read_latest = _values_of(latest)
        self._of_months = [_OF_MONTHS[name] for name in months]
        self._no_months = [None] * (len(latest) + len(months))
        self._tables = [rows.table() for rows in self._told]

    def values(self, state: ClientState, today: Today) -> list[float | None]:
        """The value of each of `keys`."""
        profile = state.profile or _NOBODY
        values = [*self._read_plain(profile), *[derive(profile, today.day) for derive in self._derived]]
        if self._no_months:
            months = state.history.months
            if months and _age_in_months(months[-1], today.day) <= _MOST_MONTHS_OLD:
                values += self._read_latest(months[-1])
                values += [figure(months) for figure in self._of_months]
            else:
                values += self._no_months
        return values

    def rows(self, values: Sequence[float | None]) -> list[Row]:
        """What is told of the values of one client."""
        return [
            of[0] if value is None else of[bisect_right(breaks, float(value))]
            for value, (breaks, of) in zip(values, self._told, strict=True)
        ]

    def columns(self, values: Sequence[float | None], n_clients: int) -> list[TruthArray]:
        """The same for many clients, whose values follow each other: truths_by_clients for each of `keys`."""
        by_fact = np.ascontiguousarray(np.array(values, dtype=np.float64).reshape(n_clients, -1).T)
        return [
            table.take(breaks.searchsorted(numbers, side="right"), axis=1)
            for numbers, (breaks, table) in zip(by_fact, self._tables, strict=True)
        ]


def _values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads attributes; always a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda thing: tuple([getattr(thing, name) for name in names])


def _tenure_days(profile: Profile, today: date) -> int | None:
    since = profile.client_since_on
    return None if since is None else (today - since).days


def _is_in_account_group(profile: Profile, _today: date) -> bool:
    return profile.account_group_id is not None


_DERIVED: Mapping[str, Callable[[Profile, date], int | None]] = MappingProxyType(
    {"tenure_days": _tenure_days, "is_in_account_group": _is_in_account_group}
)
Months = Sequence[MonthFigures]


_spend_minor = attrgetter("spend_minor")


def _age_in_months(month: MonthFigures, today: date) -> int:
    """How many months before the present one it began."""
    return (today.year - month.month_on.year) * 12 + today.month - month.month_on.month


def _mean_spend(months: Months) -> float | None:
    spends = [spend for spend in map(_spend_minor, months[-3:]) if spend is not None]
    return sum(spends) / len(spends) if spends else None


_OF_MONTHS: Mapping[str, Callable[[Months], float | None]] = MappingProxyType(
    {"n_sims": lambda months: n_sims(months[-1]), "mean_spend_minor_3m": _mean_spend}
)
_CONTEXT_VALUES: Mapping[str, Callable[[Moment, datetime], Any]] = MappingProxyType(
    {
        "placement": lambda moment, _: moment.placement,
        "channel": lambda moment, _: moment.channel,
        "language": lambda moment, _: moment.language,
        "role": lambda moment, _: moment.role,
        "date": lambda _, local: local.toordinal(),
        "month": lambda _, local: local.month,
        "weekday": lambda _, local: local.isoweekday(),
        "hour": lambda _, local: local.hour,
    }
)
