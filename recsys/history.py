"""What a client's past leaves in its state: monthly figures, counts of events, the latest complaint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Self

import orjson

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


class MonthFigures(NamedTuple):
    """A client's figures of one month, as the table ``client_months`` has them; None = unknown.

    Attributes:
        month_on: First day of the month.
        n_sims_employees: SIMs of office staff.
        n_sims_field: SIMs of field staff.
        n_sims_devices: SIMs in devices.
        spend_minor: Billed for the month, VAT included.
        voice_minutes: Minutes called.
        data_megabytes: Megabytes used.
        n_sms: Messages sent.
        overage_share: Share of spend beyond the tariff, 0–1.
        roaming_share: Share of spend while roaming, 0–1.
        m2m_share: Share of SIMs in devices, 0–1.
        overdue_days: Days the oldest unpaid bill is overdue.
    """

    month_on: date
    n_sims_employees: int | None = None
    n_sims_field: int | None = None
    n_sims_devices: int | None = None
    spend_minor: int | None = None
    voice_minutes: int | None = None
    data_megabytes: int | None = None
    n_sms: int | None = None
    overage_share: float | None = None
    roaming_share: float | None = None
    m2m_share: float | None = None
    overdue_days: int | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """How often what happened when: parallel tuples, one entry per hour, offer and type of event.

    Entries ascend by hour, offer and type, each combination once.

    Attributes:
        hours: Hours since 1970 in UTC; see `hour_of`.
        offer_ids: The offer; empty where an event named none.
        event_types: Values of `recsys.domain.EventType`.
        counts: Number of events, ≥1.
    """

    hours: tuple[int, ...] = ()
    offer_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


NO_ACTIVITY = Activity()


@dataclass(frozen=True, slots=True)
class Complaint:
    """The latest complaint of a client.

    Attributes:
        complained_at: When.
        topic: What about, where known.
        offer_id: About which offer, where known.
    """

    complained_at: datetime
    topic: str | None = None
    offer_id: str | None = None


_Parts = tuple[tuple[MonthFigures, ...], Activity, Complaint | None]


class History:
    """Months, activity and the latest complaint; read from JSON only when something of it is asked for.

    Every decision reads a state and few read its history, so what a store hands out stays text until then.
    Two histories of the same content are equal, read or not.

    Args:
        months: Figures of the latest months known, oldest first.
        activity: Counts of events.
        complaint: The latest one.
        unread: All of that as `to_json` wrote it, instead.

    Example:
        >>> stored = History(months=(MonthFigures(date(2025, 1, 1), spend_minor=500),))
        >>> read = History.from_json(stored.to_json())
        >>> read == stored, read.months[0].spend_minor
        (True, 500)
    """

    __slots__ = ("_json", "_parts")

    def __init__(
        self,
        months: tuple[MonthFigures, ...] = (),
        activity: Activity = NO_ACTIVITY,
        complaint: Complaint | None = None,
        unread: bytes | str = b"",
    ) -> None:
        self._parts: _Parts | None = None if unread else (months, activity, complaint)
        self._json = unread

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """The history that `to_json` wrote."""
        return cls(unread=text)

    def to_json(self) -> bytes:
        """One JSON object: months as lists in the order of `MonthFigures`, activity as its four lists."""
        if self._json:
            return self._json.encode() if isinstance(self._json, str) else self._json
        months, activity, complaint = self._read()
        return orjson.dumps(
            {
                "months": [list(month) for month in months],
                "activity": [activity.hours, activity.offer_ids, activity.event_types, activity.counts],
                "complaint": complaint,
            }
        )

    @property
    def months(self) -> tuple[MonthFigures, ...]:
        """Figures of the latest months known, oldest first."""
        return self._read()[0]

    @property
    def activity(self) -> Activity:
        """Counts of events."""
        return self._read()[1]

    @property
    def complaint(self) -> Complaint | None:
        """The latest complaint."""
        return self._read()[2]

    def _read(self) -> _Parts:
        if self._parts is None:
            self._parts = _parts_of(self._json)
        return self._parts

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self is other or self._read() == other._read()

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        months, activity, complaint = self._read()
        return f"History(months={months!r}, activity={activity!r}, complaint={complaint!r})"


NO_HISTORY = History()


def _parts_of(text: bytes | str) -> _Parts:
    values = orjson.loads(text)
    activity, complaint = values["activity"], values["complaint"]
    return (
        tuple([MonthFigures(date.fromisoformat(day), *figures) for day, *figures in values["months"]]),
        Activity(*map(tuple, activity)) if activity[0] else NO_ACTIVITY,
        None
        if complaint is None
        else Complaint(
            datetime.fromisoformat(complaint["complained_at"]), complaint["topic"], complaint["offer_id"]
        ),
    )


def hour_of(instant: datetime) -> int:
    """The hour since 1970 in UTC that an aware instant lies in.

    Example:
        >>> hour_of(datetime(1970, 1, 2, 1, 59, 59, tzinfo=UTC))
        25
    """
    return (instant - _EPOCH) // _HOUR
