"""The tables of the database, derived from the contracts in `recsys.tables`.

A contract table keeps its name and columns. Where the contract knows versions of a row, every version is
kept: the primary key is the contract's key and the time the row became known. `decision_items` is no
table of its own: a decision's items stand in ``decisions.items`` as JSON, so that a decision is one row.
JSON columns are text; PostgreSQL reads them as ``candidates::jsonb``.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from recsys.tables import DECISION_ITEMS, TABLES, Column, ColumnType, Table, table_named
from serving.storage.types import Instant, Texts, exact_text, id_text

SCHEMA_REVISION = "0007"
"""The newest migration; `Store.is_ready` compares the database with it."""

_FACTS = ("decisions", "events", "experiments", "assignments", "shadow_decisions")
_BIG = sa.BigInteger


def version_column(table: Table) -> str | None:
    """The column that tells versions of one key apart; None where a row never changes.

    Example:
        >>> version_column(table_named("holdings")), version_column(table_named("client_months"))
        ('recorded_at', 'known_at')
        >>> version_column(table_named("events")) is None
        True
    """
    if table.name in (*_FACTS, DECISION_ITEMS.name):
        return None
    return "recorded_at" if "recorded_at" in table.column_names else "known_at"


def stored_key(table: Table) -> tuple[str, ...]:
    """Columns that identify a stored row."""
    version = version_column(table)
    return table.key if version is None else (*table.key, version)


def conflict_target(table: Table) -> tuple[sa.ColumnElement[object], ...]:
    """What a row's uniqueness rests on; missing values of key columns count as equal."""
    columns = CONTRACT[table.name].c
    return tuple(_comparable(table.column(name), columns[name]) for name in stored_key(table))


def _comparable(column: Column, stored: sa.ColumnElement[object]) -> sa.ColumnElement[object]:
    return sa.func.coalesce(stored, sa.literal_column("''")) if column.is_nullable else stored


def _type_of(column: Column) -> sa.types.TypeEngine[Any]:
    types: dict[ColumnType, sa.types.TypeEngine[Any]] = {
        ColumnType.ID: id_text(),
        ColumnType.TEXT: exact_text(),
        ColumnType.INTEGER: _BIG(),
        ColumnType.NUMBER: sa.Double(),
        ColumnType.MONEY: _BIG(),
        ColumnType.INSTANT: Instant(),
        ColumnType.DAY: sa.Date(),
        ColumnType.FLAG: sa.Boolean(),
        ColumnType.TEXTS: Texts(),
        ColumnType.JSON: sa.Text(),
    }
    return types[column.type]


def _columns_of(table: Table) -> list[sa.Column[object]]:
    key = stored_key(table)
    # A primary key takes no missing values; such a table has a unique index instead.
    is_keyed = not any(table.column(name).is_nullable for name in key)
    return [
        sa.Column(
            column.name,
            _type_of(column),
            primary_key=is_keyed and column.name in key,
            nullable=column.is_nullable,
            autoincrement=False,
        )
        for column in table.columns
    ]


def _own_columns_of(table: Table) -> list[sa.Column[object]]:
    """What the store keeps of a row beside the columns of its contract."""
    own: list[sa.Column[object]] = []
    if table.name == "decisions":
        own.append(sa.Column("items", sa.Text, nullable=False, server_default=sa.text("'[]'")))
    if table.name in ("decisions", "events"):
        # By it PostgreSQL keeps each month in a partition of its own; see `serving.upkeep`.
        own.append(sa.Column("log_month", exact_text(7), primary_key=True, nullable=False))
    return own


METADATA = sa.MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)

CONTRACT: dict[str, sa.Table] = {
    table.name: sa.Table(table.name, METADATA, *_columns_of(table), *_own_columns_of(table))
    for table in TABLES
    if table is not DECISION_ITEMS
}
CLIENTS = CONTRACT["clients"]
OFFERS = CONTRACT["offers"]
HOLDINGS = CONTRACT["holdings"]
MONTHS = CONTRACT["client_months"]
DECISIONS = CONTRACT["decisions"]
EVENTS = CONTRACT["events"]
EXPERIMENTS = CONTRACT["experiments"]
ASSIGNMENTS = CONTRACT["assignments"]
SHADOW_DECISIONS = CONTRACT["shadow_decisions"]

# A key of `events` holds within a month only: this one holds in all of them.
EVENT_IDS = sa.Table(
    "event_ids",
    METADATA,
    sa.Column("event_id", id_text(), primary_key=True),
    sa.Column("log_month", exact_text(7), nullable=False),
)

sa.Index("uq_offer_prices", *conflict_target(table_named("offer_prices")), unique=True)
sa.Index("ix_holdings_client_id", HOLDINGS.c.client_id)
sa.Index("ix_decisions_client_id", DECISIONS.c.client_id, DECISIONS.c.occurred_at)
# A partition is a month already.
sa.Index("ix_decisions_log_month", DECISIONS.c.log_month).ddl_if(dialect="sqlite")

sa.Index("ix_assignments_client_id", ASSIGNMENTS.c.client_id)
sa.Index("ix_assignments_unit_id", ASSIGNMENTS.c.unit_id, ASSIGNMENTS.c.experiment_id)
sa.Index(
    "ix_shadow_decisions_bundle_version", SHADOW_DECISIONS.c.bundle_version, SHADOW_DECISIONS.c.occurred_at
)

IS_IMPRESSION = EVENTS.c.event_type == sa.literal_column("'impression'")
sa.Index(
    "uq_events_impression",
    EVENTS.c.decision_id,
    EVENTS.c.slot,
    EVENTS.c.log_month,
    unique=True,
    sqlite_where=IS_IMPRESSION,
    postgresql_where=IS_IMPRESSION,
)
sa.Index("ix_events_client_id", EVENTS.c.client_id, EVENTS.c.occurred_at)
sa.Index("ix_events_decision_id", EVENTS.c.decision_id)
sa.Index("ix_events_log_month", EVENTS.c.log_month, EVENTS.c.occurred_at)

# What states remember however long ago it was.
IS_REMEMBERED = EVENTS.c.event_type.in_([sa.literal_column("'dismissal'"), sa.literal_column("'complaint'")])
sa.Index(
    "ix_events_remembered",
    EVENTS.c.log_month,
    sqlite_where=IS_REMEMBERED,
    postgresql_where=IS_REMEMBERED,
)

# Volume caps count these two types alone, and every second.
IS_CAPPED = EVENTS.c.event_type.in_([sa.literal_column("'application'"), sa.literal_column("'activation'")])
sa.Index(
    "ix_events_capped",
    EVENTS.c.event_type,
    EVENTS.c.occurred_at,
    EVENTS.c.offer_id,
    sqlite_where=IS_CAPPED,
    postgresql_where=IS_CAPPED,
)

CLIENT_STATE = sa.Table(
    "client_state",
    METADATA,
    sa.Column("client_id", id_text(), primary_key=True),
    sa.Column("version", _BIG, nullable=False),
    # What people search by: the name, or the id of a nameless client, then the id; folded to one case.
    sa.Column("search_text", exact_text(), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Index("ix_client_state_search_text", "search_text"),
)
ANSWERS = sa.Table(
    "answers",
    METADATA,
    sa.Column("request_id", id_text(), primary_key=True),
    sa.Column("request_digest", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("answered_at", Instant, nullable=False),
    sa.Index("ix_answers_answered_at", "answered_at"),
)
# Append-only; `number` is the order in which things were said.
POLICIES = sa.Table(
    "policies",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("version", id_text(), nullable=False),
    sa.Column("documents", sa.Text, nullable=False),
    sa.Column("effective_at", Instant, nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    sa.Column("author", exact_text(), nullable=False),
    sa.Column("note", exact_text(), nullable=False),
    sa.Column("is_withdrawal", sa.Boolean, nullable=False),
    sa.Index("ix_policies_effective_at", "effective_at"),
)
OFFER_STOPS = sa.Table(
    "offer_stops",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("offer_id", id_text(), nullable=False),
    sa.Column("is_stopped", sa.Boolean, nullable=False),
    sa.Column("reason", exact_text(), nullable=False),
    sa.Column("author", exact_text(), nullable=False),
    sa.Column("effective_at", Instant, nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    sa.Index("ix_offer_stops_effective_at", "effective_at"),
)
# Append-only; the number says which order came first, and that nobody else gave one meanwhile.
BUNDLES = sa.Table(
    "bundles",
    METADATA,
    sa.Column("number", _BIG, primary_key=True, autoincrement=False),
    sa.Column("version", id_text(), nullable=False),
    sa.Column("folder", exact_text(), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("author", exact_text(), nullable=False),
    sa.Column("reason", exact_text(), nullable=False),
    sa.Column("judgement", exact_text(), nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
)
# What decisions were made with, for replays; append-only.
CATALOGUES = sa.Table(
    "catalogues",
    METADATA,
    sa.Column("version", id_text(), primary_key=True),
    sa.Column("offers", sa.Text, nullable=False),
    sa.Column("used_at", Instant, nullable=False),
)
LOADS = sa.Table(
    "loads",
    METADATA,
    sa.Column("source", id_text(), primary_key=True),
    sa.Column("newest_recorded_at", Instant, nullable=True),
    sa.Column("loaded_at", Instant, nullable=False),
)
DOCUMENTS = sa.Table(
    "documents",
    METADATA,
    sa.Column("name", id_text(), primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
)
CONTENT_VERSIONS = sa.Table(
    "content_versions",
    METADATA,
    sa.Column("name", id_text(), primary_key=True),
    sa.Column("version", _BIG, nullable=False),
)
# Work that one of all the workers does; `taken_at` is when it was last begun.
TURNS = sa.Table(
    "turns",
    METADATA,
    sa.Column("name", id_text(), primary_key=True),
    sa.Column("taken_at", Instant, nullable=False),
)
API_KEYS = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("key_id", id_text(), primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant, nullable=True),
    sa.Column("expires_at", Instant, nullable=True),
    sa.Column("last_used_on", sa.Date, nullable=True),
)
USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("name", id_text(), primary_key=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("is_disabled", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
)
SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("digest", id_text(), primary_key=True),
    sa.Column("user_name", exact_text(), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("is_single_sign_on", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("seen_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Index("ix_sessions_user_name", "user_name"),
)
# A subject is a digest of a user's name or of an address: who tried stands nowhere.
LOGIN_ATTEMPTS = sa.Table(
    "login_attempts",
    METADATA,
    sa.Column("subject", id_text(), primary_key=True),
    sa.Column("n_attempts", _BIG, nullable=False),
    sa.Column("began_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
)
TOKEN_KEYS = sa.Table(
    "token_keys",
    METADATA,
    sa.Column("key_id", id_text(), primary_key=True),
    sa.Column("algorithm", sa.String(16), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant, nullable=True),
)
