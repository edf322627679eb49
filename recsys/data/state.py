"""How a client's state changes; nothing else changes one, online or offline.

A state is the fold of what was recorded. Neither the order in which events arrive nor their repetition
(a store keeps each once) makes a difference. Time itself does by `settle` and `forget` only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from recsys.domain import ClientState, Dismissal, DismissalReason, Event, EventType, Holding
from recsys.history import NO_ACTIVITY, Activity, Complaint, History, MonthFigures, hour_of

N_MONTHS = 16
"""Months kept: a year, and what a stage compares it with."""

ACTIVITY_HOURS = 90 * 24
"""Hours for which events are counted."""

N_ACTIVITY = 1_000
"""Entries of `Activity` kept; of a busier client the newest."""

Entry = tuple[int, str, str, int]
"""Hour, offer, type of event, number of events."""


def apply_events(state: ClientState, events: Sequence[Event], known_at: datetime) -> ClientState:
    """The state after events became known, whatever their order; each event must be new.

    Every event of the last 90 days is counted. Of dismissals of one offer the latest holds, and of
    complaints the latest. Holdings change by holdings, never by events: an activation that the operator's
    systems did not confirm connects nothing.
    """
    known = state.history
    history = History(
        known.months,
        count_activity(known.activity, map(_entry, events)),
        _latest_complaint(known.complaint, events),
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
    counts = {
        (hour, offer_id, event_type): n
        for hour, offer_id, event_type, n in zip(
            activity.hours, activity.offer_ids, activity.event_types, activity.counts, strict=True
        )
    }
    for hour, offer_id, event_type, n in entries:
        key = (hour, offer_id, event_type)
        counts[key] = counts.get(key, 0) + n
    if not counts:
        return NO_ACTIVITY
    # Dropping the first entries commutes with adding: what is among the last at the end always was.
    entries = sorted((*key, n) for key, n in counts.items())[-N_ACTIVITY:]
    return Activity(*zip(*entries, strict=True))


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
    return replace(state, history=History(latest, history.activity, history.complaint))


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
    if all(held.connected_at <= now for held in state.holdings):
        return state
    return replace(state, holdings=tuple([held for held in state.holdings if held.connected_at <= now]))


def forget(state: ClientState, now: datetime) -> ClientState:
    """The state without counts of events older than 90 days; the same object when there are none."""
    history = state.history
    activity, oldest = history.activity, hour_of(now) - ACTIVITY_HOURS
    if not activity.hours or activity.hours[0] > oldest:
        return state
    first = bisect_right(activity.hours, oldest)
    recent = Activity(
        activity.hours[first:],
        activity.offer_ids[first:],
        activity.event_types[first:],
        activity.counts[first:],
    )
    return replace(state, history=History(history.months, recent, history.complaint))


def _entry(event: Event) -> Entry:
    return (hour_of(event.occurred_at), event.offer_id or "", event.event_type.value, 1)


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
