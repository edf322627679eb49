"""Whole tables in, and the states that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from recsys.domain import ClientId, ClientState
from recsys.tables import DECISION_ITEMS, DECISIONS, EVENTS, table_named
from serving.ports import Row
from serving.storage import folding, log_loading, schema
from serving.storage.dialects import Cursor
from serving.storage.queries import Queries
from serving.storage.writes import locked_states, put_states, read_states

CATALOGUE_TABLES = ("offers", "offer_relations", "offer_prices")
_OF_LOG = MappingProxyType(
    {
        DECISIONS.name: log_loading.load_decisions,
        DECISION_ITEMS.name: log_loading.load_items,
        EVENTS.name: log_loading.load_events,
    }
)


def upsert_rows(
    cursor: Cursor, queries: Queries, table: str, rows: Sequence[Row], loaded_at: datetime
) -> int:
    """Write rows of a contract table and remember how fresh it is."""
    load_log = _OF_LOG.get(table)
    if load_log is not None:
        load_log(cursor, queries, rows)
    else:
        queries.tables.upsert[table].run_many(cursor, rows)
    if table in CATALOGUE_TABLES:
        mark_changed(cursor, queries, "catalogue")
    _note_load(cursor, queries, table, rows, loaded_at)
    return len(rows)


def delete_rows(cursor: Cursor, queries: Queries, table: str, rows: Sequence[Row]) -> int:
    """Forget every version of the rows with these keys."""
    key = table_named(table).key
    delete = queries.tables.delete[table]
    n_deleted = sum(delete.run(cursor, {f"of_{name}": row.get(name) for name in key}) for row in rows)
    if table in CATALOGUE_TABLES:
        mark_changed(cursor, queries, "catalogue")
    return n_deleted


def put_documents(cursor: Cursor, queries: Queries, rows: Sequence[Row]) -> None:
    """Store texts by file name."""
    queries.content.put_document.run_many(cursor, rows)
    mark_changed(cursor, queries, "documents")


def mark_changed(cursor: Cursor, queries: Queries, name: str) -> None:
    """Count one more change of some content."""
    queries.content.count_change.run(cursor, {"name": name, "version": 1})


def rebuild_states(cursor: Cursor, queries: Queries, client_ids: Sequence[str], as_of: datetime) -> int:
    """Derive these clients' states anew; the number of states that changed."""
    with locked_states(cursor, queries, client_ids):
        stored = read_states(cursor, queries, client_ids)
        listed = {"client_ids": list(client_ids)}
        profiles = _by_client(queries.clients.profiles.rows(cursor, listed))
        holdings = _by_client(queries.clients.holdings.rows(cursor, listed))
        months = _by_client(queries.clients.months.rows(cursor, listed))
        since = folding.events_since(as_of)
        events = _by_client(queries.clients.events.rows(cursor, {**listed, "since": since}))
        changed: list[ClientState] = []
        for client_id in client_ids:
            before = stored.get(client_id) or ClientState(ClientId(client_id))
            rows = folding.ClientRows(
                *[table.get(client_id, ()) for table in (profiles, holdings, months, events)]
            )
            state = folding.rebuild_state(before, rows, as_of)
            if state is not before:
                changed.append(state)
        put_states(cursor, queries, changed)
    return len(changed)


def _by_client(rows: Iterable[dict[str, Any]]) -> Mapping[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["client_id"], []).append(row)
    return found


def _note_load(
    cursor: Cursor, queries: Queries, table: str, rows: Sequence[Row], loaded_at: datetime
) -> None:
    contract = table_named(table)
    column = schema.version_column(contract) or "recorded_at"
    found = [row[column] for row in rows] if column in contract.column_names else []
    stored = queries.content.load_of.rows(cursor, {"source": table})
    known = [*found, *(row["newest_recorded_at"] for row in stored if row["newest_recorded_at"])]
    queries.content.put_load.run(
        cursor,
        {"source": table, "newest_recorded_at": max(known, default=None), "loaded_at": loaded_at},
    )
