"""What a client's past leaves in its state: monthly figures, counts of events and contacts, a complaint."""

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
class Contacts:
    """How often what was shown, clicked, applied for or activated, when, where and with whom.

    Parallel tuples, one entry per combination of the first five, ascending, each once. An hour is the
    finest time that is kept.

    Attributes:
        hours: Hours since 1970 in UTC; see `hour_of`.
        offer_ids: The offer; empty where an event named none.
        event_types: Values of `recsys.domain.EventType`: impression, click, application or activation.
        placement_ids: Where the decision that the event names was shown; empty where it names none.
        member_ids: Whom the event names, else whom its decision was made for; empty where neither is known.
        counts: Number of events, ≥1.
    """

    hours: tuple[int, ...] = ()
    offer_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    placement_ids: tuple[str, ...] = ()
    member_ids: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


NO_CONTACTS = Contacts()


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


_Figures = tuple[tuple[MonthFigures, ...], Activity]
_COMPLAINT_KEY = ',"complaint":'
_CONTACTS_KEY = ',"contacts":'


class History:
    """Months, activity, the latest complaint and contacts; each read from JSON when it is asked for.

    Every decision reads a state and few read all of its history, so what a store hands out stays text
    until then. Two histories of the same content are equal, read or not.

    Args:
        months: Figures of the latest months known, oldest first.
        activity: Counts of events.
        complaint: The latest one.
        contacts: What was shown and what came of it, by placement and member.
        unread: All of that as `to_json` wrote it, instead.

    Example:
        >>> stored = History(months=(MonthFigures(date(2025, 1, 1), spend_minor=500),))
        >>> read = History.from_json(stored.to_json())
        >>> read == stored, read.months[0].spend_minor
        (True, 500)
    """

    __slots__ = ("_complaint", "_contacts", "_figures", "_unread")

    def __init__(
        self,
        months: tuple[MonthFigures, ...] = (),
        activity: Activity = NO_ACTIVITY,
        complaint: Complaint | None = None,
        contacts: Contacts = NO_CONTACTS,
        unread: bytes | str = b"",
    ) -> None:
        self._unread = unread
        # each part is its value or, as long as nobody asked for it, its text
        self._figures: _Figures | str = "" if unread else (months, activity)
        self._complaint: Complaint | str | None = complaint
        self._contacts: Contacts | str = contacts

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """The history that `to_json` wrote; one written before contacts were kept has none."""
        return cls(unread=text)

    def to_json(self) -> bytes:
        """One JSON object: months as lists in the order of `MonthFigures`, counts as lists of columns."""
        unread = self._unread
        if unread:
            return unread.encode() if isinstance(unread, str) else unread
        activity, contacts = self.activity, self.contacts
        return orjson.dumps(
            {
                "months": [list(month) for month in self.months],
                "activity": [activity.hours, activity.offer_ids, activity.event_types, activity.counts],
                "complaint": self.complaint,
                "contacts": [getattr(contacts, name) for name in Contacts.__slots__],
            }
        )

    @property
    def months(self) -> tuple[MonthFigures, ...]:
        """Figures of the latest months known, oldest first."""
        found = self._figures
        return (self._read_figures() if isinstance(found, str) else found)[0]

    @property
    def activity(self) -> Activity:
        """Counts of events."""
        found = self._figures
        return (self._read_figures() if isinstance(found, str) else found)[1]

    @property
    def complaint(self) -> Complaint | None:
        """The latest complaint."""
        self._split()
        found = self._complaint
        if isinstance(found, str):
            self._complaint = found = _complaint_of(found)
        return found

    @property
    def contacts(self) -> Contacts:
        """What was shown and what came of it, by placement and member."""
        self._split()
        found = self._contacts
        if isinstance(found, str):
            self._contacts = found = _contacts_of(found)
        return found

    def _read_figures(self) -> _Figures:
        self._split()
        found = self._figures
        if isinstance(found, str):
            self._figures = found = _figures_of(found)
        return found

    def _split(self) -> None:
        """Cut an unread text into its parts, each a JSON text of its own.

        Two threads may both do it: each leaves the parts complete before it gives the text up.
        """
        unread = self._unread
        if not unread:
            return
        text = unread if isinstance(unread, str) else unread.decode()
        # inside a text of JSON a quote is escaped, so a key can only be the key
        figures, _, rest = text[:-1].partition(_COMPLAINT_KEY)
        complaint, key, contacts = rest.partition(_CONTACTS_KEY)
        self._complaint = complaint
        self._contacts = contacts if key else NO_CONTACTS
        self._figures = figures + "}"
        self._unread = b""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self is other or self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[_Figures, Complaint | None, Contacts]:
        return (self._read_figures(), self.complaint, self.contacts)

    def __repr__(self) -> str:
        (months, activity), complaint, contacts = self._values()
        return f"History({months=!r}, {activity=!r}, {complaint=!r}, {contacts=!r})"


NO_HISTORY = History()


def _figures_of(text: str) -> _Figures:
    values = orjson.loads(text)
    months, activity = values["months"], values["activity"]
    for month in months:
        month[0] = date.fromisoformat(month[0])
    return (
        tuple(map(MonthFigures._make, months)),
        Activity(*map(tuple, activity)) if activity[0] else NO_ACTIVITY,
    )


def _complaint_of(text: str) -> Complaint | None:
    values = orjson.loads(text)
    if values is None:
        return None
    return Complaint(datetime.fromisoformat(values["complained_at"]), values["topic"], values["offer_id"])


def _contacts_of(text: str) -> Contacts:
    columns = orjson.loads(text)
    return Contacts(*map(tuple, columns)) if columns[0] else NO_CONTACTS


def hour_of(instant: datetime) -> int:
    """The hour since 1970 in UTC that an aware instant lies in.

    Example:
        >>> hour_of(datetime(1970, 1, 2, 1, 59, 59, tzinfo=UTC))
        25
    """
    return (instant - _EPOCH) // _HOUR


def start_of(hour: int) -> datetime:
    """The instant at which an hour since 1970 in UTC begins.

    Example:
        >>> start_of(25).isoformat()
        '1970-01-02T01:00:00+00:00'
    """
    return _EPOCH + hour * _HOUR
