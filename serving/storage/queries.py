"""Every statement the store runs, built from the schema for one database and compiled once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from recsys.tables import ASSIGNMENTS as ASSIGNMENTS_TABLE
from recsys.tables import DECISION_ITEMS, TABLES, Table
from serving.storage import schema
from serving.storage.account_queries import AccountQueries
from serving.storage.bundle_queries import BundleQueries
from serving.storage.dialects import Database, Insert
from serving.storage.log_queries import EventQueries, LockQueries, LogQueries, OrphanQueries
from serving.storage.schema import (
    ASSIGNMENTS,
    BUNDLES,
    CATALOGUES,
    CLIENT_STATE,
    CLIENTS,
    CONTENT_VERSIONS,
    CONTRACT,
    DECISIONS,
    DOCUMENTS,
    EVENTS,
    EXPERIMENTS,
    HOLDINGS,
    IS_REMEMBERED,
    LOADS,
    MONTHS,
    OFFER_STOPS,
    POLICIES,
    TURNS,
)
from serving.storage.statements import Statement
from serving.storage.upkeep_queries import AgeQueries, UpkeepQueries

_ALEMBIC_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))


def is_latest(holdings: sa.Table) -> sa.ColumnElement[bool]:
    """Whether no later row of the same holding is stored."""
    newer = holdings.alias("newer")
    return ~sa.exists().where(
        newer.c.holding_id == holdings.c.holding_id, newer.c.recorded_at > holdings.c.recorded_at
    )


class Queries:
    """The statements of one database."""

    def __init__(self, database: Database) -> None:
        self.states = StateQueries(database)
        self.clients = ClientQueries(database)
        self.log = LogQueries(database)
        self.events = EventQueries(database)
        self.orphans = OrphanQueries(database)
        self.locks = LockQueries(database)
        self.upkeep = UpkeepQueries(database)
        self.ages = AgeQueries(database)
        self.content = ContentQueries(database)
        self.experiments = ExperimentQueries(database)
        self.tables = TableQueries(database)
        self.bundles = BundleQueries(database)
        self.accounts = AccountQueries(database)
        # SQLite has one writer at a time, which needs no row locks.
        self.has_row_locks = not database.is_embedded


# Statements depend on the kind of database alone: who opens one again need not compile them again.
_BUILT: dict[str, Queries] = {}


def queries_of(database: Database) -> Queries:
    """The statements of a kind of database, which all stores of this process share."""
    kind = database.dialect.name
    if kind not in _BUILT:
        _BUILT[kind] = Queries(database)
    return _BUILT[kind]


class StateQueries:
    """Clients' states."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        state = CLIENT_STATE.c
        is_listed = database.is_among(state.client_id, "client_ids")
        columns = select(state.client_id, state.version, state.state)
        self.state = built(
            select(state.version, state.state).where(state.client_id == bindparam("client_id"))
        )
        self.listed_states = built(columns.where(is_listed))
        self.locked_states = built(columns.where(is_listed).order_by(state.client_id).with_for_update())
        self.put_state = built(_replacing(database, CLIENT_STATE))
        self.create_state = built(_insert(database, CLIENT_STATE).on_conflict_do_nothing())
        self.forget_uncreated = built(
            sa.delete(CLIENT_STATE).where(state.version == sa.literal_column("0"), is_listed)
        )
        self.find = built(
            columns.where(state.search_text.like(bindparam("pattern"), escape="\\"))
            .order_by(state.search_text)
            .limit(bindparam("n_most", type_=sa.Integer))
            .offset(sa.literal_column("0"))  # SQLite would make a parameter of it
        )
        self.next_states = built(
            columns.where(state.client_id > bindparam("after"), state.version > sa.literal_column("0"))
            .order_by(state.client_id)
            .limit(bindparam("n_most", type_=sa.Integer))
            .offset(sa.literal_column("0"))
        )


class ClientQueries:
    """The rows that states are derived from."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        def rows_of(table: sa.Table) -> sa.Select[Any]:
            return select(table).where(database.is_among(table.c.client_id, "client_ids"))

        self.stored_ids = built(
            select(CLIENTS.c.client_id).where(database.is_among(CLIENTS.c.client_id, "client_ids")).distinct()
        )
        self.all_ids = built(
            sa.union(
                select(CLIENTS.c.client_id),
                select(CLIENT_STATE.c.client_id),
                select(EVENTS.c.client_id),
            )
        )
        self.close_versions = built(
            sa.update(CLIENTS)
            .where(
                CLIENTS.c.client_id == bindparam("of_client"),
                CLIENTS.c.valid_to.is_(None),
                CLIENTS.c.valid_from < bindparam("until"),
            )
            .values(valid_to=bindparam("until"))
        )
        self.profiles = built(
            rows_of(CLIENTS).order_by(CLIENTS.c.client_id, CLIENTS.c.valid_from, CLIENTS.c.recorded_at)
        )
        self.holdings = built(rows_of(HOLDINGS).where(is_latest(HOLDINGS)))
        self.months = built(
            rows_of(MONTHS).order_by(MONTHS.c.client_id, MONTHS.c.month_on, MONTHS.c.known_at)
        )
        is_recent = EVENTS.c.occurred_at >= bindparam("since")
        self.events = built(_with_showing(rows_of(EVENTS)).where(is_recent | IS_REMEMBERED))
        self.latest_holdings = built(
            select(HOLDINGS).where(
                database.is_among(HOLDINGS.c.holding_id, "holding_ids"), is_latest(HOLDINGS)
            )
        )
        self.holder_counts = built(
            select(HOLDINGS.c.offer_id, sa.func.count(HOLDINGS.c.client_id.distinct()).label("n_clients"))
            .where(
                is_latest(HOLDINGS),
                HOLDINGS.c.connected_at <= bindparam("now"),
                HOLDINGS.c.disconnected_at.is_(None) | (HOLDINGS.c.disconnected_at > bindparam("now")),
            )
            .group_by(HOLDINGS.c.offer_id)
        )


class ContentQueries:
    """Catalogue, policies, stops, documents, keys, and how fresh all that is."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        content = CONTENT_VERSIONS
        policies = POLICIES.c
        policy = select(*(column for column in policies if column is not policies.number))
        self.add_policy = built(_insert(database, POLICIES))
        self.policies = built(policy.order_by(policies.effective_at, policies.number))
        self.policy_in_force = built(
            policy.where(policies.effective_at <= bindparam("now"), _is_standing(POLICIES))
            .order_by(policies.effective_at.desc(), policies.number.desc())
            .limit(sa.literal_column("1"))
            .offset(sa.literal_column("0"))
        )
        stop = OFFER_STOPS.c
        self.add_stop = built(_insert(database, OFFER_STOPS))
        self.stops = built(
            select(*(column for column in stop if column is not stop.number)).order_by(stop.number)
        )
        self.keep_catalogue = built(_insert(database, CATALOGUES).on_conflict_do_nothing())
        self.kept_catalogue = built(
            select(CATALOGUES.c.offers).where(CATALOGUES.c.version == bindparam("version"))
        )
        self.content_versions = built(_content_versions())
        change = _insert(database, content)
        self.count_change = built(
            change.on_conflict_do_update(
                index_elements=[content.c.name],
                set_={"version": content.c.version + change.excluded.version},
            )
        )
        self.loads = built(select(LOADS).order_by(LOADS.c.source))
        self.load_of = built(select(LOADS).where(LOADS.c.source == bindparam("source")))
        self.put_load = built(_replacing(database, LOADS))
        self.documents = built(select(DOCUMENTS).order_by(DOCUMENTS.c.name))
        self.put_document = built(_replacing(database, DOCUMENTS))
        self.schema_revision = built(select(_ALEMBIC_VERSION.c.version_num))


class ExperimentQueries:
    """What was ordered of experiments, the arms of clients, and whose turn it is to judge them."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        self.add = built(_insert(database, EXPERIMENTS))
        self.orders = built(select(EXPERIMENTS).order_by(EXPERIMENTS.c.experiment_id, EXPERIMENTS.c.number))
        turn = _insert(database, TURNS)
        self.take_turn = built(
            turn.on_conflict_do_update(
                index_elements=[TURNS.c.name],
                set_={"taken_at": turn.excluded.taken_at},
                where=sa.or_(
                    TURNS.c.taken_at <= bindparam("free_at", type_=TURNS.c.taken_at.type),
                    # by a clock that was wrong: it would keep everybody waiting until then
                    TURNS.c.taken_at > bindparam("wrong_from", type_=TURNS.c.taken_at.type),
                ),
            )
        )
        self.put_assignment = built(_upsert(database, ASSIGNMENTS_TABLE))
        self.client_assignments = built(
            select(ASSIGNMENTS)
            .where(ASSIGNMENTS.c.client_id == bindparam("client_id"))
            .order_by(ASSIGNMENTS.c.experiment_id)
        )
        self.unit_assignments = built(
            select(ASSIGNMENTS)
            .where(ASSIGNMENTS.c.unit_id == bindparam("unit_id"))
            .order_by(ASSIGNMENTS.c.experiment_id, ASSIGNMENTS.c.assigned_at, ASSIGNMENTS.c.client_id)
        )


class TableQueries:
    """Upserts, deletes and reads of whole contract tables, by table name."""

    def __init__(self, database: Database) -> None:
        stored = [table for table in TABLES if table is not DECISION_ITEMS]
        self.upsert = {
            table.name: Statement(_upsert(database, table), database)
            for table in stored
            if "log_month" not in CONTRACT[table.name].c  # see `log_loading`
        }
        self.rows = {
            table.name: select(*(CONTRACT[table.name].c[name] for name in table.column_names)).order_by(
                *schema.conflict_target(table)
            )
            for table in stored
        }
        self.rows[DECISION_ITEMS.name] = select(DECISIONS.c.decision_id, DECISIONS.c["items"]).order_by(
            DECISIONS.c.decision_id
        )
        self.n_keys = {
            table.name: Statement(
                select(sa.func.count(CONTRACT[table.name].c[table.key[0]].distinct()).label("n")), database
            )
            for table in stored
        }
        self.delete = {
            table.name: Statement(_delete(table), database)
            for table in stored
            if schema.version_column(table) is not None
        }


def _with_showing(events: sa.Select[Any]) -> sa.Select[Any]:
    """Events with placement and member of their decisions."""
    decision = DECISIONS.c
    return events.add_columns(decision.placement_id, decision.member_id.label("shown_to")).outerjoin(
        # An event lies in its decision's month: of all partitions only that one is looked into.
        DECISIONS,
        (decision.decision_id == EVENTS.c.decision_id) & (decision.log_month == EVENTS.c.log_month),
    )


def _is_standing(policies: sa.Table) -> sa.ColumnElement[bool]:
    """Whether a policy was published and not withdrawn since."""
    later = policies.alias("later")
    is_withdrawn = sa.exists().where(
        later.c.version == policies.c.version,
        later.c.effective_at == policies.c.effective_at,
        later.c.number > policies.c.number,
        later.c.is_withdrawal,
    )
    return ~policies.c.is_withdrawal & ~is_withdrawn


def _content_versions() -> sa.SelectBase:
    """How often each content was changed, and how many orders there are, or have taken effect."""
    in_effect: list[Any] = [
        select(sa.literal_column(f"'{table.name}'").label("name"), sa.func.count().label("version")).where(
            table.c.effective_at <= bindparam("now")
        )
        for table in (POLICIES, OFFER_STOPS)
    ]
    numbered: list[Any] = [
        select(
            sa.literal_column(f"'{table.name}'").label("name"), sa.func.count().label("version")
        ).select_from(table)
        for table in (EXPERIMENTS, BUNDLES)
    ]
    changes = select(CONTENT_VERSIONS.c.name, CONTENT_VERSIONS.c.version)
    return sa.union_all(changes, *in_effect, *numbered).order_by("name")


def _insert(database: Database, table: sa.Table) -> Insert:
    return database.insert(table).values(
        {
            column.name: bindparam(column.name)
            for column in table.columns
            if column is not table.autoincrement_column
        }
    )


def _replacing(database: Database, table: sa.Table) -> Insert:
    """An upsert by primary key."""
    statement = _insert(database, table)
    key = [column.name for column in table.primary_key]
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={name: statement.excluded[name] for name in table.columns.keys() if name not in key},  # noqa: SIM118
    )


def _upsert(database: Database, table: Table) -> Insert:
    stored = CONTRACT[table.name]
    statement = database.insert(stored).values({name: bindparam(name) for name in table.column_names})
    if table is ASSIGNMENTS_TABLE:
        return _adding_trigger(statement)
    replaced = {
        name: statement.excluded[name] for name in table.column_names if name not in schema.stored_key(table)
    }
    if schema.version_column(table) is None or not replaced:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=schema.conflict_target(table), set_=replaced)


def _adding_trigger(statement: Insert) -> Insert:
    """An assignment that is stored stays as it is; only its first trigger is added."""
    told = statement.excluded
    added = ("triggered_at", "trigger_decision_id", "recorded_at")
    return statement.on_conflict_do_update(
        index_elements=[ASSIGNMENTS.c.experiment_id, ASSIGNMENTS.c.client_id],
        set_={name: told[name] for name in added},
        where=ASSIGNMENTS.c.triggered_at.is_(None) & told.triggered_at.is_not(None),
    )


def _delete(table: Table) -> sa.Delete:
    columns = CONTRACT[table.name].c
    conditions = [
        sa.func.coalesce(columns[name], sa.literal_column("''"))
        == sa.func.coalesce(bindparam(f"of_{name}", type_=columns[name].type), sa.literal_column("''"))
        if table.column(name).is_nullable
        else columns[name] == bindparam(f"of_{name}")
        for name in table.key
    ]
    return sa.delete(CONTRACT[table.name]).where(*conditions)
