"""Retires a month of the log, in portions short enough to run beside a serving server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from serving.storage import partitions
from serving.storage.dialects import Cursor, TransientError
from serving.storage.queries import Queries
from serving.upkeep import KEPT, month_of

PORTION = 2_000
"""Rows of one transaction."""


def carry_on(cursor: Cursor, queries: Queries, month: str, kept_from: datetime) -> int:
    """Move a portion of what stays out of a month; how many decisions and events were found to stay."""
    if queries.has_row_locks:
        queries.locks.move_events.rows(cursor, {})
    asked = {"of_month": month, "n_most": PORTION}
    going_on = queries.upkeep.still_going.rows(cursor, {**asked, "kept_from": kept_from})
    to_month = {row["decision_id"]: month_of(row["happened_at"]) for row in going_on}
    if to_month:
        listed = {"decision_ids": sorted(to_month), "of_month": month}
        rows = queries.upkeep.events_of.rows(cursor, listed)
        moves = [{"of_decision": each, "of_month": month, "to_month": to_month[each]} for each in to_month]
        queries.upkeep.move_decision.run_many(cursor, moves)
        _move(cursor, queries, month, [(row["event_id"], to_month[row["decision_id"]]) for row in rows])
    remembered = queries.upkeep.remembered.rows(cursor, asked)
    _move(cursor, queries, month, [(row["event_id"], KEPT) for row in remembered])
    return len(going_on) + len(remembered)


def forget_ids(cursor: Cursor, queries: Queries, month: str, after: str) -> str | None:
    """Forget the ids of a portion of a month's events; the last of them, None when there are no more."""
    asked = {"of_month": month, "after": after, "n_most": PORTION}
    event_ids = [row["event_id"] for row in queries.upkeep.some_events.rows(cursor, asked)]
    queries.upkeep.forget_ids.run(cursor, {"event_ids": event_ids, "of_month": month})
    return event_ids[-1] if event_ids else None


def drop(cursor: Cursor, queries: Queries, month: str, kept_from: datetime) -> None:
    """Drop a month's partitions; what came to stay meanwhile stays.

    Raises:
        TransientError: More came than can be moved while everybody waits.
    """
    partitions.lock_month(cursor, queries)
    if carry_on(cursor, queries, month, kept_from) >= PORTION:
        raise TransientError(f"much of month {month} came to stay meanwhile")
    partitions.drop_month(cursor, month)


def forget_orphans(cursor: Cursor, queries: Queries, month: str) -> int:
    """Forget a portion of the ids whose events were dropped with their month; how many were found."""
    found = queries.orphans.some.rows(cursor, {"of_month": month, "n_most": PORTION})
    # They are looked for before recorders are held off, for that takes a while; then looked at once more.
    queries.locks.move_events.rows(cursor, {})
    told = {"event_ids": [row["event_id"] for row in found], "of_month": month}
    queries.orphans.forget.run(cursor, told)
    return len(found)


def forget_some(cursor: Cursor, queries: Queries, month: str, kept_from: datetime) -> int:
    """Forget a portion of a month that has no partition, events first; how many rows went."""
    if carry_on(cursor, queries, month, kept_from):
        return 1
    asked = {"of_month": month, "n_most": PORTION}
    event_ids = [row["event_id"] for row in queries.upkeep.some_events.rows(cursor, {**asked, "after": ""})]
    if event_ids:
        told: dict[str, Any] = {"event_ids": event_ids, "of_month": month}
        queries.upkeep.forget_ids.run(cursor, told)
        return queries.upkeep.forget_events.run(cursor, told)
    decision_ids = [row["decision_id"] for row in queries.upkeep.some_decisions.rows(cursor, asked)]
    return queries.upkeep.forget_decisions.run(cursor, {"decision_ids": decision_ids, "of_month": month})


def _move(cursor: Cursor, queries: Queries, month: str, moves: Sequence[tuple[str, str]]) -> None:
    rows = [{"of_event": each, "of_month": month, "to_month": to_month} for each, to_month in moves]
    queries.events.move.run_many(cursor, rows)
    queries.events.move_id.run_many(cursor, rows)
    # An id that was forgotten with its month is known again.
    for to_month in sorted({to_month for _, to_month in moves}):
        event_ids = [each for each, other in moves if other == to_month]
        queries.events.know.run(cursor, {"event_ids": event_ids, "months": [to_month]})
