"""Decisions and events out of files: the row stored first stays, whatever month the others lie in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from recsys.domain import EventType
from recsys.errors import DataError
from serving.ports import Row
from serving.storage import rules
from serving.storage.dialects import Cursor
from serving.storage.queries import Queries
from serving.storage.recall import know_events, read_decisions
from serving.upkeep import month_of


def load_decisions(cursor: Cursor, queries: Queries, rows: Sequence[Row]) -> None:
    """Store the decisions that are not stored yet; events that waited for them move to their months."""
    _hold_others_off(cursor, queries)
    decision_ids = [row["decision_id"] for row in rows]
    found = queries.log.stored_ids.rows(cursor, {"decision_ids": decision_ids})
    stored = {row["decision_id"] for row in found}
    fresh = {row["decision_id"]: row for row in reversed(rows) if row["decision_id"] not in stored}
    months = {decision_id: month_of(row["occurred_at"]) for decision_id, row in fresh.items()}
    queries.events.load_decision.run_many(
        cursor, [{**row, "log_month": months[decision_id]} for decision_id, row in fresh.items()]
    )
    strays = queries.events.strays.rows(cursor, {"decision_ids": sorted(fresh)}) if fresh else []
    moves = [
        {
            "of_event": row["event_id"],
            "of_month": row["log_month"],
            "to_month": months[row["decision_id"]],
        }
        for row in strays
        if row["log_month"] != months[row["decision_id"]]
    ]
    queries.events.move.run_many(cursor, moves)
    queries.events.move_id.run_many(cursor, moves)


def load_items(cursor: Cursor, queries: Queries, rows: Sequence[Row]) -> None:
    """Add items to stored decisions.

    Raises:
        DataError: A decision is not stored.
    """
    by_decision: dict[str, list[Row]] = {}
    for row in rows:
        by_decision.setdefault(row["decision_id"], []).append(row)
    stored = queries.log.shown.rows(cursor, {"decision_ids": list(by_decision)})
    unknown = by_decision.keys() - {row["decision_id"] for row in stored}
    if unknown:
        raise DataError(f"items of unknown decisions, such as {min(unknown)!r}; load the decisions first")
    queries.log.put_items.run_many(
        cursor,
        [
            {
                "of_decision": row["decision_id"],
                "of_month": row["log_month"],
                "merged": rules.merge_items(row["items"], by_decision[row["decision_id"]]),
            }
            for row in stored
        ],
    )


def load_events(cursor: Cursor, queries: Queries, rows: Sequence[Row]) -> None:
    """Store the events that are not stored yet, of impressions of one slot the first."""
    _hold_others_off(cursor, queries)
    decisions = read_decisions(cursor, queries, list(_told(rows)))
    fresh = [
        {**row, "log_month": _month(row, decisions)} for row in _not_stored(cursor, queries, rows, decisions)
    ]
    queries.events.add.run_many(cursor, fresh)
    # A second impression of a slot was refused by its month, and is none of those that are stored now.
    told = {
        "event_ids": [row["event_id"] for row in fresh],
        "months": sorted({row["log_month"] for row in fresh}),
    }
    added = {row["event_id"] for row in queries.events.stored_ids.rows(cursor, told)}
    know_events(cursor, queries, [row for row in fresh if row["event_id"] in added])


def _hold_others_off(cursor: Cursor, queries: Queries) -> None:
    if queries.has_row_locks:
        queries.locks.load_log.rows(cursor, {})
        queries.locks.record_events.rows(cursor, {})


def _told(rows: Iterable[Row]) -> Iterable[tuple[str, datetime]]:
    return ((row["decision_id"], row["occurred_at"]) for row in rows if row.get("decision_id") is not None)


def _month(row: Row, decisions: Mapping[str, Mapping[str, Any]]) -> str:
    decision = decisions.get(row.get("decision_id") or "")
    return month_of(row["occurred_at"]) if decision is None else str(decision["log_month"])


def _not_stored(
    cursor: Cursor, queries: Queries, rows: Sequence[Row], decisions: Mapping[str, Any]
) -> list[Row]:
    """Rows whose id is not stored, each id once; of impressions without a stored decision each slot once.

    Where the decision is stored, its month holds all impressions of it, and refuses a second one itself.
    """
    event_ids = [row["event_id"] for row in rows]
    seen = {row["event_id"] for row in queries.events.known.rows(cursor, {"event_ids": event_ids})}
    orphans = sorted({slot[0] for row in rows if (slot := _orphan_slot(row, decisions)) is not None})
    stored = queries.events.impressions.rows(cursor, {"decision_ids": orphans}) if orphans else []
    seen_slots = {(row["decision_id"], row["slot"]) for row in stored}
    fresh: list[Row] = []
    for row in rows:
        slot = _orphan_slot(row, decisions)
        if row["event_id"] not in seen and slot not in seen_slots:
            fresh.append(row)
            seen.add(row["event_id"])
            if slot is not None:
                seen_slots.add(slot)
    return fresh


def _orphan_slot(row: Row, decisions: Mapping[str, Any]) -> tuple[str, int] | None:
    """Decision and slot of an impression whose decision is not stored."""
    decision_id, slot = row.get("decision_id"), row.get("slot")
    if row["event_type"] != EventType.IMPRESSION or decision_id is None or slot is None:
        return None
    return None if decision_id in decisions else (decision_id, slot)
