"""What a transaction's events refer to and what they repeat, asked once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from recsys.domain import Event
from serving.storage.dialects import Cursor, TransientError
from serving.storage.queries import Queries
from serving.storage.rules import Shown
from serving.upkeep import begin_of, month_of

Row = Mapping[str, Any]


class Recall:
    """The log as one transaction sees it.

    Args:
        cursor: Of the transaction.
        queries: The statements.
        events: All events that the transaction may store; what they refer to is read with the first of them.
    """

    def __init__(self, cursor: Cursor, queries: Queries, events: Sequence[Event]) -> None:
        self._cursor = cursor
        self._queries = queries
        self._events = events
        self._is_read = False
        self._decisions: dict[str, Row] = {}
        self._stored: dict[str, Row] = {}

    def add_decisions(self, rows: Iterable[Row]) -> None:
        """Take note of decisions that this transaction has stored."""
        self._decisions.update((row["decision_id"], row) for row in rows)

    def add_events(self, rows: Iterable[Row]) -> None:
        """Take note of events that this transaction has stored."""
        self._stored.update((row["event_id"], row) for row in rows)

    def shown(self, events: Iterable[Event]) -> dict[str, Shown]:
        """What the decisions of some of the events showed, as far as those are stored."""
        self._read()
        asked = {event.decision_id for event in events if event.decision_id in self._decisions}
        return {str(asked_id): Shown.from_row(self._decisions[str(asked_id)]) for asked_id in asked}

    def stored(self, rows: Iterable[Row]) -> list[Row]:
        """The stored rows of some of the event_ids."""
        self._read()
        return [self._stored[row["event_id"]] for row in rows if row["event_id"] in self._stored]

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        events = self._events
        told = [(event.decision_id, event.occurred_at) for event in events if event.decision_id is not None]
        fresh = self._decisions
        self._decisions = {**read_decisions(self._cursor, self._queries, told), **fresh}
        event_ids = sorted({event.event_id for event in events})
        self.add_events(read_events(self._cursor, self._queries, event_ids))


def read_decisions(
    cursor: Cursor, queries: Queries, told: Sequence[tuple[str, datetime]]
) -> dict[str, dict[str, Any]]:
    """The stored decisions among those that something at an instant refers to, by id.

    Most of what happens does so in the month of the decision or in the next one, so these are looked into
    first; the other months only for what is not found there.
    """
    if not told:
        return {}
    asked = sorted({decision_id for decision_id, _ in told})
    months = {month_of(happened_at) for _, happened_at in told}
    months |= {month_of(begin_of(happened_at, -1)) for _, happened_at in told if happened_at.year > 1}
    rows = queries.log.shown_in_months.rows(cursor, {"decision_ids": asked, "months": sorted(months)})
    found = {row["decision_id"]: row for row in rows}
    missing = [decision_id for decision_id in asked if decision_id not in found]
    if missing:
        rows = queries.log.shown.rows(cursor, {"decision_ids": missing})
        found |= {row["decision_id"]: row for row in rows}
    return found


def read_events(cursor: Cursor, queries: Queries, event_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The stored events among these; a new event costs a look into one table."""
    known = queries.events.known.rows(cursor, {"event_ids": event_ids})
    if not known:
        return []
    return queries.events.stored.rows(
        cursor,
        {
            "event_ids": [row["event_id"] for row in known],
            "months": sorted({row["log_month"] for row in known}),
        },
    )


def know_events(cursor: Cursor, queries: Queries, rows: Sequence[Row]) -> None:
    """Make the ids of stored events theirs in every month.

    Args:
        cursor: Of the transaction.
        queries: The statements.
        rows: Of ``events``, just stored by this transaction.

    Raises:
        TransientError: Another writer took an id meanwhile, in another month.
    """
    if not rows:
        return
    values = {
        "event_ids": [row["event_id"] for row in rows],
        "months": sorted({row["log_month"] for row in rows}),
    }
    if queries.events.know.run(cursor, values) == len(rows):
        return
    # An id may have outlived its event, that went with its month: it is theirs who stored it again.
    months = {row["event_id"]: row["log_month"] for row in rows}
    taken = [
        {"of_event": each, "of_month": month, "to_month": months[each]}
        for each, month in _known_months(cursor, queries, values["event_ids"]).items()
    ]
    queries.orphans.take.run_many(cursor, taken)
    if _known_months(cursor, queries, values["event_ids"]) != months:
        raise TransientError("an event_id was used by another writer meanwhile")


def _known_months(cursor: Cursor, queries: Queries, event_ids: Sequence[str]) -> dict[str, str]:
    rows = queries.events.known.rows(cursor, {"event_ids": event_ids})
    return {row["event_id"]: row["log_month"] for row in rows}
