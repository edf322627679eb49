"""Decisions and events by month: partitions on PostgreSQL, a column on both databases."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from serving.storage.types import Instant, exact_text, id_text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("decisions", "events")
_COLUMNS = {
    "decisions": (
        "decision_id, client_id, member_id, placement_id, channel, occurred_at, recorded_at, seed,"
        " policy_version, catalogue_version, bundle_version, state_version, is_personalised, degraded, basis,"
        " candidates, request, assignments, items"
    ),
    "events": (
        "event_id, event_type, client_id, occurred_at, recorded_at, offer_id, decision_id, member_id, slot,"
        " reason, topic"
    ),
}
_IS_IMPRESSION = sa.text("event_type = 'impression'")
_IS_CAPPED = sa.text("event_type IN ('application', 'activation')")
_IS_REMEMBERED = sa.text("event_type IN ('dismissal', 'complaint')")
_EARLIER_IMPRESSION = (
    "SELECT 1 FROM events_old AS other WHERE other.event_type = 'impression'"
    " AND other.decision_id = told.decision_id AND other.slot = told.slot"
    " AND (other.log_month, other.event_id) < (told.log_month, told.event_id)"
)


def upgrade() -> None:
    """Copy both tables, statement by statement inside the database; nobody else writes meanwhile."""
    _set_aside()
    _create(has_months=True)
    _copy_decisions()
    _copy_events()
    _drop_old()
    _index(has_months=True)
    op.create_index("ix_answers_answered_at", "answers", ["answered_at"])


def downgrade() -> None:
    """One table each again; events that were kept for states alone stay.

    Of an id, or an impression, that stands in two months the first stays: one table holds it once.
    """
    op.drop_index("ix_answers_answered_at", "answers")
    _set_aside()
    _create(has_months=False)
    _copy_first("decisions", "decision_id", "1 = 1")
    _copy_first("events", "event_id", f"NOT (event_type = 'impression' AND EXISTS ({_EARLIER_IMPRESSION}))")
    _drop_old()
    op.drop_table("event_ids")
    _index(has_months=False)


def _copy_first(table: str, key: str, which: str) -> None:
    columns = _COLUMNS[table]
    op.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_old AS told WHERE {which}"
        f" ORDER BY log_month ON CONFLICT ({key}) DO NOTHING"
    )


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _set_aside() -> None:
    if _is_postgresql():
        # In one go: a server that still runs waits, and no two of its locks wait for ours.
        op.execute("LOCK TABLE decisions, events IN ACCESS EXCLUSIVE MODE")
    for table in _TABLES:
        op.rename_table(table, f"{table}_old")
        if _is_postgresql():
            # Of a partitioned table the key's name stays with the table that is set aside.
            op.execute(f"ALTER TABLE {table}_old RENAME CONSTRAINT pk_{table} TO pk_{table}_old")


def _create(has_months: bool) -> None:
    key = ["log_month"] if has_months else []
    by_month = "LIST (log_month)" if has_months else None
    for table, told in (("decisions", _decision_columns()), ("events", _event_columns())):
        columns = [*told, *_month_column(has_months)]
        primary_key = sa.PrimaryKeyConstraint(told[0].name, *key, name=f"pk_{table}")
        op.create_table(table, *columns, primary_key, postgresql_partition_by=by_month)
    if not has_months:
        return
    op.create_table(
        "event_ids",
        sa.Column("event_id", id_text(), nullable=False),
        sa.Column("log_month", exact_text(7), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_event_ids"),
    )
    if _is_postgresql():
        op.execute("CREATE TABLE decisions_default PARTITION OF decisions DEFAULT")
        op.execute("CREATE TABLE events_default PARTITION OF events DEFAULT")
        op.execute("CREATE TABLE events_kept PARTITION OF events FOR VALUES IN ('kept')")


def _month_column(has_months: bool) -> list[sa.Column[object]]:
    return [sa.Column("log_month", exact_text(7), nullable=False)] if has_months else []


def _copy_decisions() -> None:
    columns, month = _COLUMNS["decisions"], _month_of("occurred_at")
    _make_partitions(f"SELECT DISTINCT {month} FROM decisions_old")
    op.execute(f"INSERT INTO decisions ({columns}, log_month) SELECT {columns}, {month} FROM decisions_old")


def _copy_events() -> None:
    columns = _COLUMNS["events"]
    month = f"coalesce(decisions.log_month, {_month_of('told.occurred_at')})"
    told = ", ".join(f"told.{name.strip()}" for name in columns.split(","))
    source = "FROM events_old AS told LEFT JOIN decisions ON decisions.decision_id = told.decision_id"
    _make_partitions(f"SELECT DISTINCT {month} {source}")
    op.execute(f"INSERT INTO events ({columns}, log_month) SELECT {told}, {month} {source}")
    op.execute("INSERT INTO event_ids (event_id, log_month) SELECT event_id, log_month FROM events")


def _month_of(instant: str) -> str:
    """The month of an instant in UTC, as both databases write it."""
    if _is_postgresql():
        return f"to_char({instant} AT TIME ZONE 'UTC', 'YYYY-MM')"
    return f"substr({instant}, 1, 7)"


def _make_partitions(months: str) -> None:
    """Partitions of both tables for what is stored; those for times to come are made by `migrate`."""
    if not _is_postgresql():
        return
    for month in sorted(op.get_bind().execute(sa.text(months)).scalars()):
        for table in _TABLES:
            name = f"{table}_{month.replace('-', '_')}"
            op.execute(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES IN ('{month}')")


def _drop_old() -> None:
    for table in _TABLES:
        op.drop_table(f"{table}_old")


def _index(has_months: bool) -> None:
    month = ["log_month"] if has_months else []
    op.create_index("ix_decisions_client_id", "decisions", ["client_id", "occurred_at"])
    op.create_index("ix_events_client_id", "events", ["client_id", "occurred_at"])
    _index_some("uq_events_impression", ["decision_id", "slot", *month], _IS_IMPRESSION, is_unique=True)
    _index_some("ix_events_capped", ["event_type", "occurred_at", "offer_id"], _IS_CAPPED)
    if has_months:
        if not _is_postgresql():  # there a partition is a month already
            op.create_index("ix_decisions_log_month", "decisions", ["log_month"])
        op.create_index("ix_events_decision_id", "events", ["decision_id"])
        op.create_index("ix_events_log_month", "events", ["log_month", "occurred_at"])
        _index_some("ix_events_remembered", ["log_month"], _IS_REMEMBERED)


def _index_some(name: str, columns: Sequence[str], which: sa.TextClause, *, is_unique: bool = False) -> None:
    op.create_index(name, "events", columns, unique=is_unique, sqlite_where=which, postgresql_where=which)


def _decision_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("decision_id", id_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("member_id", id_text()),
        sa.Column("placement_id", id_text(), nullable=False),
        sa.Column("channel", exact_text()),
        sa.Column("occurred_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("policy_version", id_text()),
        sa.Column("catalogue_version", id_text()),
        sa.Column("bundle_version", id_text()),
        sa.Column("state_version", sa.BigInteger),
        sa.Column("is_personalised", sa.Boolean),
        sa.Column("degraded", exact_text()),
        sa.Column("basis", exact_text()),
        sa.Column("candidates", sa.Text),
        sa.Column("request", sa.Text),
        sa.Column("assignments", sa.Text),
        sa.Column("items", sa.Text, nullable=False, server_default=sa.text("'[]'")),
    ]


def _event_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("event_id", id_text(), nullable=False),
        sa.Column("event_type", exact_text(), nullable=False),
        sa.Column("client_id", id_text(), nullable=False),
        sa.Column("occurred_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("offer_id", id_text()),
        sa.Column("decision_id", id_text()),
        sa.Column("member_id", id_text()),
        sa.Column("slot", sa.BigInteger),
        sa.Column("reason", exact_text()),
        sa.Column("topic", exact_text()),
    ]
