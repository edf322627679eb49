"""How a client's state changes; nothing else changes one, online or offline.

A state is the fold of what was recorded. Neither the order in which events arrive nor their repetition
(a store keeps each once) makes a difference. Time itself does by `settle` and `forget` only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from recsys.domain import ClientState, Dismissal, DismissalReason, Event, EventType, Holding
from recsys.history import (
    NO_ACTIVITY,
    NO_CONTACTS,
    Activity,
    Complaint,
    Contacts,
    History,
    MonthFigures,
    hour_of,
)

N_MONTHS = 16
"""Months kept: a year, and what a stage compares it with."""

ACTIVITY_HOURS = 90 * 24
"""Hours for which events are counted."""

N_ACTIVITY = 1_000
"""Entries of `Activity` kept; of a busier client the newest."""

N_CONTACTS = 1_000
"""Entries of `Contacts` kept; of a busier client the newest."""

CONTACT_TYPES = (EventType.IMPRESSION, EventType.CLICK, EventType.APPLICATION, EventType.ACTIVATION)
"""What `Contacts` counts: what a contact policy limits, and what may lift its limits."""

Entry = tuple[int, str, str, int]
"""Hour, offer, type of event, number of events."""

ContactEntry = tuple[int, str, str, str, str, int]
"""Hour, offer, type of event, placement, member, number of events."""


class Showing(NamedTuple):
    """Where and to whom the list of a decision was shown.

    Attributes:
        placement_id: Where.
        member_id: To whom, where known.
    """

    placement_id: str
    member_id: str | None


NO_SHOWINGS: Mapping[str, Showing] = MappingProxyType({})


def apply_events(
    state: ClientState,
    events: Sequence[Event],
    known_at: datetime,
    showings: Mapping[str, Showing] = NO_SHOWINGS,
) -> ClientState:
    """The state after events became known, whatever their order; each event must be new.

    Every event of the last 90 days is counted. Of dismissals of one offer the latest holds, and of
    complaints the latest. Holdings change by holdings, never by events: an activation that the operator's
    systems did not confirm connects nothing.

    Args:
        state: The state before.
        events: What became known.
        known_at: When.
        showings: By decision_id, for the decisions that the events name, as far as they are known.
    """
    known = state.history
    history = History(
        known.months,
        count_activity(known.activity, map(_entry, events)),
        _latest_complaint(known.complaint, events),
        count_contacts(known.contacts, _contact_entries(events, showings)),
    )
    changed = replace(state, dismissals=_with_dismissals(state.dismissals, events), history=history)
    return forget(changed, known_at)


def count_activity(activity: Activity, entries: Iterable[Entry]) -> Activity:
    """Activity with further counts; of more than `N_ACTIVITY` entries the last.

    Example:
        >>> activity = count_activity(Activity(), [(7, "pbx", "click", 1), (5, "pbx", "impression", 2)])
        >>> count_activity(activity, [(7, "pbx", "click", 1)])
        Activity(hours=(5, 7), offer_ids=('pbx', 'pbx'), event_types=('impression', 'click'), counts=(2, 2))
    """
    columns = (activity.hours, activity.offer_ids, activity.event_types)
    added = _added(columns, activity.counts, entries, N_ACTIVITY)
    return Activity(*added) if added else NO_ACTIVITY


def count_contacts(contacts: Contacts, entries: Iterable[ContactEntry]) -> Contacts:
    """Contacts with further counts; of more than `N_CONTACTS` entries the last.

    Example:
        >>> count_contacts(Contacts(), [(7, "pbx", "click", "home", "m1", 1)])  # doctest: +ELLIPSIS
        Contacts(hours=(7,), offer_ids=('pbx',), event_types=('click',), placement_ids=('home',), ...)
    """
    columns = (
        contacts.hours,
        contacts.offer_ids,
        contacts.event_types,
        contacts.placement_ids,
        contacts.member_ids,
    )
    added = _added(columns, contacts.counts, entries, N_CONTACTS)
    return Contacts(*added) if added else NO_CONTACTS


def _added(
    columns: tuple[tuple[Any, ...], ...],
    counts: tuple[int, ...],
    entries: Iterable[tuple[Any, ...]],
    n_most: int,
) -> tuple[tuple[Any, ...], ...]:
    """The columns of a key and its counts after adding entries, each a key and a number; none if empty."""
    n_by_key = dict(zip(zip(*columns, strict=True), counts, strict=True))
    for *values, n in entries:
        key = tuple(values)
        n_by_key[key] = n_by_key.get(key, 0) + n
    if not n_by_key:
        return ()
    # Dropping the first entries commutes with adding: what is among the last at the end always was.
    latest = sorted(n_by_key)[-n_most:]
    return (*zip(*latest, strict=True), tuple([n_by_key[key] for key in latest]))


def put_holdings(state: ClientState, holdings: Iterable[Holding], known_at: datetime) -> ClientState:
    """The state after holdings were connected, changed or ended, as it stands when that became known."""
    known = {held.holding_id: held for held in state.holdings}
    known.update((held.holding_id, held) for held in holdings)
    in_order = sorted(known.values(), key=lambda held: (held.connected_at, held.holding_id))
    return settle(replace(state, holdings=tuple(in_order)), known_at)


def put_months(state: ClientState, months: Iterable[MonthFigures]) -> ClientState:
    """The state after figures of months became known; they replace earlier figures of their months."""
    history = state.history
    known = {month.month_on: month for month in history.months}
    known.update((month.month_on, month) for month in months)
    latest = tuple([known[month_on] for month_on in sorted(known)[-N_MONTHS:]])
    return replace(state, history=History(latest, history.activity, history.complaint, history.contacts))


def settle(state: ClientState, now: datetime) -> ClientState:
    """The state with holdings as they stand at an instant not before the last change.

    What ended by then is past. A holding that is announced and has not begun stays; `present` leaves it
    out.

    Returns:
        The same object when time changed nothing.
    """
    ended_ids = [held.offer_id for held in state.holdings if held.ends_at is not None and held.ends_at <= now]
    if not ended_ids and not state.past_offer_ids:
        return state
    held_ids = {
        held.offer_id
        for held in state.holdings
        if held.connected_at <= now and (held.ends_at is None or held.ends_at > now)
    }
    if not ended_ids and held_ids.isdisjoint(state.past_offer_ids):
        return state
    return replace(
        state,
        holdings=tuple([held for held in state.holdings if held.ends_at is None or held.ends_at > now]),
        past_offer_ids=tuple(sorted({*state.past_offer_ids, *ended_ids} - held_ids)),
    )


def present(state: ClientState, now: datetime) -> ClientState:
    """The state that decisions read at an instant: settled, and without what is only announced."""
    state = settle(state, now)
    # the oldest stands first
    if not state.holdings or state.holdings[-1].connected_at <= now:
        return state
    return replace(state, holdings=tuple([held for held in state.holdings if held.connected_at <= now]))


def forget(state: ClientState, now: datetime) -> ClientState:
    """The state without counts of events older than 90 days; the same object when there are none."""
    history, oldest = state.history, hour_of(now) - ACTIVITY_HOURS
    activity, contacts = history.activity, history.contacts
    if not any(hours and hours[0] <= oldest for hours in (activity.hours, contacts.hours)):
        return state
    recent = History(
        history.months,
        Activity(*_since(activity, bisect_right(activity.hours, oldest))),
        history.complaint,
        Contacts(*_since(contacts, bisect_right(contacts.hours, oldest))),
    )
    return replace(state, history=recent)


def _since(counted: Activity | Contacts, first: int) -> Iterable[tuple[Any, ...]]:
    return [getattr(counted, column)[first:] for column in counted.__slots__]


def _entry(event: Event) -> Entry:
    return (hour_of(event.occurred_at), event.offer_id or "", event.event_type.value, 1)


def _contact_entries(events: Sequence[Event], showings: Mapping[str, Showing]) -> Iterable[ContactEntry]:
    for event in events:
        if event.event_type not in CONTACT_TYPES:
            continue
        showing = None if event.decision_id is None else showings.get(event.decision_id)
        placement_id, shown_to = ("", None) if showing is None else showing
        yield (
            hour_of(event.occurred_at),
            event.offer_id or "",
            event.event_type.value,
            placement_id,
            event.member_id or shown_to or "",
            1,
        )


def _with_dismissals(stored: tuple[Dismissal, ...], events: Sequence[Event]) -> tuple[Dismissal, ...]:
    latest = {item.offer_id: item for item in stored}
    for event in events:
        if event.event_type is not EventType.DISMISSAL or event.offer_id is None:
            continue
        item = Dismissal(event.offer_id, event.reason or DismissalReason.NOT_NOW, event.occurred_at)
        before = latest.get(event.offer_id)
        # at one instant the reason decides, so that the order of arrival does not
        if before is None or (item.dismissed_at, item.reason) > (before.dismissed_at, before.reason):
            latest[event.offer_id] = item
    return tuple(sorted(latest.values(), key=lambda item: (item.dismissed_at, item.offer_id)))


def _latest_complaint(stored: Complaint | None, events: Sequence[Event]) -> Complaint | None:
    complaints = [
        Complaint(event.occurred_at, event.topic, event.offer_id)
        for event in events
        if event.event_type is EventType.COMPLAINT
    ]
    if stored is not None:
        complaints.append(stored)
    return max(
        complaints, key=lambda each: (each.complained_at, each.topic or "", each.offer_id or ""), default=None
    )
