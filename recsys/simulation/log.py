"""The decision log of a world: decisions with their draws, and the events that followed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import orjson
import polars as pl

from recsys.data.write import conform
from recsys.domain import EventType
from recsys.simulation.aftersales import CHANGES
from recsys.simulation.clients import NEVER, IntArray
from recsys.simulation.frames import named, numbered, optional
from recsys.simulation.operator import Month, Operator
from recsys.simulation.streams import Purpose
from recsys.simulation.timeline import MINUTE, SECOND
from recsys.simulation.visits import REASONS, TOPICS, Visits, complaint_at, impression_at
from recsys.tables import DECISION_ITEMS, DECISIONS, EVENTS

_TYPES = tuple(EventType)
_LOSSY = (_TYPES.index(EventType.IMPRESSION), _TYPES.index(EventType.CLICK))
_LONGEST_LAG_SECONDS = 30
_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class _Events:
    """Columns of events; -1 = missing."""

    types: IntArray
    rows: IntArray
    at: IntArray
    offers: IntArray
    decisions: IntArray
    members: IntArray
    slots: IntArray
    reasons: IntArray
    topics: IntArray

    def take(self, places: IntArray) -> _Events:
        """Those events."""
        return _Events(*(getattr(self, column.name)[places] for column in fields(self)))


class Log:
    """Decisions and events, month by month."""

    def __init__(self, operator: Operator, catalogue_version: str) -> None:
        self._operator = operator
        self._catalogue_version = catalogue_version
        self._quoted = [orjson.dumps(offer_id).decode() for offer_id in operator.shelf.offer_ids]
        self._n_decisions = 0
        self._decisions: list[pl.DataFrame] = []
        self._items: list[pl.DataFrame] = []
        self._events: list[_Events] = []
        self._recorded_at: list[IntArray] = []
        self._repeated_at: list[IntArray] = []

    def add(self, month: Month) -> None:
        """Write a month down; decisions are numbered in the order in which they were taken."""
        visits = month.visits
        order = np.lexsort((visits.rows, visits.at))
        numbers = np.empty(len(order), dtype=np.int64)
        numbers[order] = self._n_decisions + np.arange(len(order))
        self._n_decisions += len(order)
        self._decisions.append(self._decisions_frame(month, numbers, order))
        self._items.append(self._items_frame(month, numbers, order))
        events = _join(
            [
                self._seen_events(month, numbers),
                self._adoption_events(month, numbers),
                _ending_events(month),
                _complaint_events(month, numbers),
            ]
        )
        self._report(events, month.number)

    def _report(self, events: _Events, month: int) -> None:
        """Let events reach the tables: a few never do, some late, some twice."""
        feed, rng = self._operator.world.feed, self._operator.streams.rng(Purpose.FEED, month)
        n = len(events.at)
        lag = rng.integers(1, _LONGEST_LAG_SECONDS, n) * SECOND
        late = 1 + np.floor(rng.random(n) * feed.late_days * _MINUTES_A_DAY).astype(np.int64)
        lag = np.where(rng.random(n) < feed.late, late * MINUTE, lag)
        again = lag + MINUTE * (1 + np.floor(rng.random(n) * _MINUTES_A_DAY).astype(np.int64))
        is_twice = rng.random(n) < feed.duplicate
        is_lost = np.isin(events.types, _LOSSY) & (rng.random(n) < feed.lost)
        kept = np.flatnonzero(~is_lost)
        self._events.append(events.take(kept))
        self._recorded_at.append((events.at + lag)[kept])
        self._repeated_at.append(np.where(is_twice, events.at + again, NEVER)[kept])

    def decisions_table(self) -> pl.DataFrame:
        """The table ``decisions``."""
        return conform(pl.concat(self._decisions), DECISIONS)

    def items_table(self) -> pl.DataFrame:
        """The table ``decision_items``."""
        return conform(pl.concat(self._items), DECISION_ITEMS)

    def events_table(self) -> pl.DataFrame:
        """The table ``events`` as known when the world ends, numbered in the order of happening."""
        events, ends_at = _join(self._events), self._operator.timeline.ends_at
        recorded_at, repeated_at = np.concatenate(self._recorded_at), np.concatenate(self._repeated_at)
        order = np.lexsort((events.offers, events.rows, events.slots, events.types, events.at))
        order = order[recorded_at[order] < ends_at]
        repeated = np.flatnonzero(repeated_at[order] < ends_at)
        numbers = np.concatenate([np.arange(len(order)), repeated])
        recorded_at = np.concatenate([recorded_at[order], repeated_at[order[repeated]]])
        order = order[numbers]
        frame = pl.DataFrame(
            {
                "event_id": numbered("e", numbers),
                "event_type": named(_TYPES, events.types[order]),
                "client_id": numbered("c", events.rows[order]),
                "occurred_at": events.at[order],
                "recorded_at": recorded_at,
                "offer_id": named(self._operator.shelf.offer_ids, events.offers[order]),
                "decision_id": numbered("d", events.decisions[order]),
                "member_id": numbered("m", events.members[order]),
                "slot": optional(events.slots[order]),
                "reason": named(REASONS, events.reasons[order]),
                "topic": named(TOPICS, events.topics[order]),
            }
        )
        return conform(frame, EVENTS).sort("event_id", "recorded_at")

    def _decisions_frame(self, month: Month, numbers: IntArray, order: IntArray) -> pl.DataFrame:
        visits, n = month.visits, len(numbers)
        return pl.DataFrame(
            {
                "decision_id": numbered("d", numbers[order]),
                "client_id": numbered("c", visits.rows[order]),
                "member_id": numbered("m", visits.members[order]),
                "placement_id": pl.repeat(self._operator.world.portal.placement, n, eager=True),
                "channel": pl.repeat("portal", n, eager=True),
                "occurred_at": visits.at[order],
                "recorded_at": visits.at[order],
                "seed": visits.seeds[order],
                "policy_version": pl.Series(visits.policies, dtype=pl.String).gather(order),
                "catalogue_version": pl.repeat(self._catalogue_version, n, eager=True),
                "is_personalised": visits.is_personalised[order],
                "candidates": pl.Series(self._candidates(month, order), dtype=pl.String),
            }
        )

    def _candidates(self, month: Month, order: IntArray) -> list[str]:
        """The eligible set of every decision, in the order in which places are counted for the draws."""
        visits, quoted = month.visits, self._quoted
        names = [f'"{change}"' for change in CHANGES]
        texts = []
        for visit in order.tolist():
            eligible = np.flatnonzero(visits.eligible[visit])
            columns, n = eligible.tolist(), len(eligible)
            codes = visits.changes[visit, eligible]
            # In most lists everything is new.
            changes = [names[code] for code in codes.tolist()] if codes.any() else [names[0]] * n
            offers = ",".join([quoted[column] for column in columns])
            texts.append(
                f'{{"offer_id":[{offers}],"change":[{",".join(changes)}],'
                f'"priority":{_priority(visits, visit, eligible)},'
                f'"probability":[{",".join(["null"] * n)}],"refused":[]}}'
            )
        return texts

    def _items_frame(self, month: Month, numbers: IntArray, order: IntArray) -> pl.DataFrame:
        visits = month.visits
        place, slot = np.nonzero(visits.offers[order] >= 0)
        visit = order[place]
        offers = visits.offers[visit, slot]
        return pl.DataFrame(
            {
                "decision_id": numbered("d", numbers[visit]),
                "slot": slot + 1,
                "offer_id": named(self._operator.shelf.offer_ids, offers),
                "change": named(CHANGES, visits.changes[visit, offers].astype(np.int64)),
                "logging_probability": visits.logging_probability[visit, slot],
            }
        )

    def _seen_events(self, month: Month, numbers: IntArray) -> _Events:
        """Impressions, and what members did with offers that they did not take."""
        reactions = month.reactions
        parts = []
        for event_type, happened, after in (
            (EventType.IMPRESSION, month.visits.is_seen, 0),
            (EventType.CLICK, reactions.is_clicked | reactions.is_applied, 20 * SECOND),
            (EventType.APPLICATION, reactions.is_applied, 5 * MINUTE),
            (EventType.DISMISSAL, reactions.reasons >= 0, 30 * SECOND),
            (EventType.COMPLAINT, reactions.topics >= 0, 0),
        ):
            visit, slot = np.nonzero(happened)
            events = _shown_events(month, visit, slot, event_type)
            events = replace(events, at=events.at + after, decisions=numbers[visit])
            if event_type is EventType.DISMISSAL:
                events = replace(events, reasons=reactions.reasons[visit, slot])
            if event_type is EventType.COMPLAINT:
                at = complaint_at(month.visits.at[visit], slot)
                events = replace(events, at=at, topics=reactions.topics[visit, slot])
            parts.append(events)
        return _join(parts)

    def _adoption_events(self, month: Month, numbers: IntArray) -> _Events:
        """Click, application and activation of shown offers that were taken."""
        visit, slot = month.taken.visits, month.taken.slots
        seen_at = impression_at(month.visits.at[visit], slot)
        luck = self._operator.streams.uniforms(Purpose.FEED, month.number, -1 - month.visits.rows[visit])
        parts = []
        for event_type, at in (
            (EventType.CLICK, seen_at + 20 * SECOND),
            (EventType.APPLICATION, seen_at + (2 + np.floor(48 * luck).astype(np.int64)) * MINUTE),
            (EventType.ACTIVATION, month.taken.at),
        ):
            events = _shown_events(month, visit, slot, event_type)
            parts.append(replace(events, at=at, decisions=numbers[visit]))
        return _join(parts)


def _shown_events(month: Month, visit: IntArray, slot: IntArray, event_type: EventType) -> _Events:
    """Events at the impressions of those slots."""
    visits = month.visits
    missing = np.full(len(visit), -1)
    return _Events(
        types=np.full(len(visit), _TYPES.index(event_type)),
        rows=visits.rows[visit],
        at=impression_at(visits.at[visit], slot),
        offers=visits.offers[visit, slot],
        decisions=missing,
        members=visits.members[visit],
        slots=slot + 1,
        reasons=missing,
        topics=missing,
    )


def _priority(visits: Visits, visit: int, eligible: IntArray) -> str:
    if visits.priority is None:
        return f"[{','.join(['1'] * len(eligible))}]"
    priority = visits.priority[visit if len(visits.priority) > 1 else 0, eligible]
    return orjson.dumps(priority, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _complaint_events(month: Month, numbers: IntArray) -> _Events:
    """Complaints about services that a partner connected as it should not."""
    complaints = month.complaints
    missing = np.full(len(complaints.rows), -1)
    is_shown = complaints.visits >= 0
    visit = complaints.visits[is_shown]
    decisions, members = missing.copy(), missing.copy()
    decisions[is_shown], members[is_shown] = numbers[visit], month.visits.members[visit]
    return _Events(
        types=np.full(len(missing), _TYPES.index(EventType.COMPLAINT)),
        rows=complaints.rows,
        at=complaints.at,
        offers=complaints.offers,
        decisions=decisions,
        members=members,
        slots=missing,
        reasons=missing,
        topics=np.full(len(missing), len(TOPICS) - 1),
    )


def _ending_events(month: Month) -> _Events:
    missing = np.full(len(month.endings.rows), -1)
    return _Events(
        types=np.full(len(missing), _TYPES.index(EventType.DISCONNECTION)),
        rows=month.endings.rows,
        at=month.endings.at,
        offers=month.endings.offers,
        decisions=missing,
        members=missing,
        slots=missing,
        reasons=missing,
        topics=missing,
    )


def _join(parts: list[_Events]) -> _Events:
    return _Events(
        *(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(_Events))
    )
