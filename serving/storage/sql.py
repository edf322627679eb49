"""The store on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from threading import Lock, local
from typing import Any, TypeVar
from weakref import WeakSet

from recsys.data.state_json import state_from_json
from recsys.domain import ClientId, ClientState, EventType
from recsys.errors import RecsysError, StoreUnavailableError
from recsys.tables import DECISION_ITEMS, table_named
from serving.orders import (
    Assignment,
    ContentVersion,
    ExperimentOrder,
    OfferStop,
    PolicyVersion,
    stops_in_force,
)
from serving.ports import (
    Answer,
    Catalogue,
    Row,
    SourceAge,
    Write,
    WriteResult,
)
from serving.storage import content, loading, rules
from serving.storage.accounts import SqlAccounts
from serving.storage.bundles import SqlBundles
from serving.storage.dialects import (
    REFUSALS,
    Cursor,
    Database,
    TransientError,
    open_database,
    refusal,
)
from serving.storage.lately import Lately
from serving.storage.pools import LostConnectionError
from serving.storage.queries import queries_of
from serving.storage.repeats import once_more, until_free
from serving.storage.schema import CONTRACT, DECISIONS, SCHEMA_REVISION
from serving.storage.statements import Statement
from serving.storage.upkeep import SqlUpkeep
from serving.storage.writes import answer_of, do_all, do_one_by_one

Result = TypeVar("Result")
_ROWS_AT_ONCE = 2_000
_CLIENTS_AT_ONCE = 500
# One statement for many clients saves journeys to a server; SQLite is at hand, and a list has its price.
_FEWEST_TOGETHER = 8


class SqlStore(SqlAccounts, SqlBundles, SqlUpkeep):
    """A `serving.ports.Store` in a database.

    Reads of a client's state and of an answer run on a connection of the calling thread. Any thread may
    write; on SQLite one after the other, and while another process writes, the next one waits.

    Args:
        database_url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``; ConfigError for
            another form. Nothing is connected yet.
    """

    def __init__(self, database_url: str) -> None:
        self._database: Database = open_database(database_url)
        self._queries = queries_of(self._database)
        self._write_gate = Lock() if self._database.is_embedded else nullcontext()
        self._own = local()
        # A thread's connection goes back when the thread ends: its local values hold it alone.
        self._lent: WeakSet[Any] = WeakSet()
        self._lately: Lately[Sequence[Any]] = Lately()
        self._lately_arms: Lately[tuple[Assignment, ...]] = Lately()

    @property
    def is_embedded(self) -> bool:
        """True on SQLite."""
        return self._database.is_embedded

    @property
    def place(self) -> str:
        """The database's address without its password."""
        return self._database.place

    # Clients

    def client_state(self, client_id: ClientId) -> ClientState | None:
        """See `serving.ports.Store`."""
        row = self._row(self._queries.states.state, {"client_id": client_id})
        if row is None or row[0] == 0:
            return None
        self._lately.keep(client_id, row)
        return state_from_json(client_id, row[0], row[1])

    def client_states_of(self, client_ids: Sequence[ClientId]) -> list[ClientState | None]:
        """See `serving.ports.Store`."""
        if len(client_ids) < (_FEWEST_TOGETHER if self.is_embedded else 2):
            return [self.client_state(client_id) for client_id in client_ids]
        rows = self._rows(self._queries.states.listed_states, {"client_ids": list(client_ids)})
        found = {row["client_id"]: (row["version"], row["state"]) for row in rows if row["version"] > 0}
        for client_id, row in found.items():
            self._lately.keep(client_id, row)
        return [state_from_json(each, *found[each]) if each in found else None for each in client_ids]

    def remembered(self, client_id: ClientId) -> tuple[ClientState | None, tuple[Assignment, ...]]:
        """See `serving.ports.Store`."""
        row, arms = self._lately.get(client_id), self._lately_arms.get(client_id)
        state = None if row is None else state_from_json(client_id, row[0], row[1])
        return state, arms or ()

    def find_clients(self, text: str, limit: int) -> list[ClientState]:
        """See `serving.ports.Store`."""
        escaped = text.casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        rows = self._rows(self._queries.states.find, {"pattern": f"%{escaped}%", "n_most": limit})
        return [state_from_json(row["client_id"], row["version"], row["state"]) for row in rows]

    def client_states(self, after: str, limit: int) -> list[ClientState]:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.states.next_states, {"after": after, "n_most": limit})
        return [state_from_json(row["client_id"], row["version"], row["state"]) for row in rows]

    def holder_counts(self) -> dict[str, int]:
        """See `serving.ports.Store`."""
        rows = self._long_rows(self._queries.clients.holder_counts, {"now": datetime.now(UTC)})
        return {row["offer_id"]: row["n_clients"] for row in rows}

    # The log

    def answer(self, request_id: str) -> Answer | None:
        """See `serving.ports.Store`."""
        row = self._row(self._queries.log.answer, {"request_id": request_id})
        return None if row is None else answer_of(request_id, row)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult | RecsysError]:
        """See `serving.ports.Store`."""
        try:
            return self._transact(lambda cursor: do_all(cursor, self._queries, writes))
        except REFUSALS:
            return self._transact(lambda cursor: do_one_by_one(cursor, self._queries, writes))

    def event_counts(self, event_type: EventType, since: datetime) -> dict[str, int]:
        """See `serving.ports.Store`."""
        values = {"event_type": event_type.value, "since": since}
        return {
            row["offer_id"]: row["n_events"] for row in self._rows(self._queries.log.event_counts, values)
        }

    def client_assignments(self, client_id: ClientId) -> tuple[Assignment, ...]:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.experiments.client_assignments, {"client_id": client_id})
        found = tuple(rules.assignment_from_row(row) for row in rows)
        if found:
            self._lately_arms.keep(client_id, found)
        return found

    def unit_assignments(self, unit_id: str) -> tuple[Assignment, ...]:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.experiments.unit_assignments, {"unit_id": unit_id})
        return tuple(rules.assignment_from_row(row) for row in rows)

    # Content

    def catalogue(self, now: datetime) -> Catalogue:
        """See `serving.ports.Store`."""
        offers, relations, prices = (list(self.read_rows(table)) for table in loading.CATALOGUE_TABLES)
        stopped = stops_in_force(self.offer_stops(), now)
        return content.catalogue_of(offers, relations, prices, frozenset(stopped))

    def keep_catalogue(self, catalogue: Catalogue, used_at: datetime) -> None:
        """See `serving.ports.Store`."""
        row = {"version": catalogue.version, "offers": content.offers_to_json(catalogue.offers).decode()}
        keep = self._queries.content.keep_catalogue
        self._transact(lambda cursor: keep.run(cursor, {**row, "used_at": used_at}))

    def kept_catalogue(self, version: str) -> Catalogue | None:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.content.kept_catalogue, {"version": version})
        return Catalogue(version, content.offers_from_json(rows[0]["offers"])) if rows else None

    def content_version(self, now: datetime) -> ContentVersion:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.content.content_versions, {"now": now})
        self._lately.age()
        self._lately_arms.age()
        found = {row["name"]: row["version"] for row in rows}
        n_policies, n_stops = found.pop("policies"), found.pop("offer_stops")
        n_experiments, n_bundles = found.pop("experiments"), found.pop("bundles")
        return ContentVersion(sum(found.values()), n_policies, n_stops, n_experiments, n_bundles)

    def put_policy(self, policy: PolicyVersion) -> None:
        """See `serving.ports.Store`."""
        self._transact(
            lambda cursor: self._queries.content.add_policy.run(cursor, content.policy_row(policy))
        )

    def policies(self) -> list[PolicyVersion]:
        """See `serving.ports.Store`."""
        return [content.policy_from_row(row) for row in self._rows(self._queries.content.policies, {})]

    def policy_in_force(self, now: datetime) -> PolicyVersion | None:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.content.policy_in_force, {"now": now})
        return content.policy_from_row(rows[0]) if rows else None

    def put_offer_stop(self, stop: OfferStop) -> None:
        """See `serving.ports.Store`."""
        self._transact(lambda cursor: self._queries.content.add_stop.run(cursor, asdict(stop)))

    def offer_stops(self) -> list[OfferStop]:
        """See `serving.ports.Store`."""
        return [OfferStop(**row) for row in self._rows(self._queries.content.stops, {})]

    def put_experiment(self, order: ExperimentOrder) -> None:
        """See `serving.ports.Store`."""
        try:
            self._transact(lambda cursor: self._queries.experiments.add.run(cursor, asdict(order)))
        except REFUSALS as error:
            raise content.changed_meanwhile(order) from error

    def experiment_orders(self) -> list[ExperimentOrder]:
        """See `serving.ports.Store`."""
        return [content.order_from_row(row) for row in self._rows(self._queries.experiments.orders, {})]

    def take_turn(self, name: str, now: datetime, every: timedelta) -> bool:
        """See `serving.ports.Store`."""
        values = {"name": name, "taken_at": now, "free_at": now - every, "wrong_from": now + every}
        return self._transact(lambda cursor: self._queries.experiments.take_turn.run(cursor, values)) == 1

    def put_documents(self, documents: Mapping[str, str]) -> None:
        """See `serving.ports.Store`."""
        rows = [{"name": name, "content": content} for name, content in documents.items()]
        self._transact(lambda cursor: loading.put_documents(cursor, self._queries, rows))

    def documents(self) -> dict[str, str]:
        """See `serving.ports.Store`."""
        return {row["name"]: row["content"] for row in self._rows(self._queries.content.documents, {})}

    def decision_origins(self, decision_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.log.origins, {"decision_ids": list(decision_ids)})
        return {row["decision_id"]: (row["placement_id"], row["bundle_version"]) for row in rows}

    def source_ages(self) -> list[SourceAge]:
        """See `serving.ports.Store`."""
        return [SourceAge(**row) for row in self._rows(self._queries.content.loads, {})]

    # Whole tables

    def upsert_rows(self, table: str, rows: Sequence[Row], loaded_at: datetime) -> int:
        """See `serving.ports.Store`; DataError if the database refuses a row."""
        self.make_room(table, rows)
        try:
            return self._transact(
                lambda cursor: loading.upsert_rows(cursor, self._queries, table, rows, loaded_at)
            )
        except REFUSALS as error:
            raise refusal(error) from error

    def delete_rows(self, table: str, rows: Sequence[Row]) -> int:
        """See `serving.ports.Store`."""
        return self._transact(lambda cursor: loading.delete_rows(cursor, self._queries, table, rows))

    def count_keys(self, table: str) -> int:
        """See `serving.ports.Store`."""
        return int(self._long_rows(self._queries.tables.n_keys[table], {})[0]["n"])

    def rebuild_states(self, client_ids: Sequence[str] | None = None, as_of: datetime | None = None) -> int:
        """See `serving.ports.Store`."""
        if client_ids is None:
            client_ids = [row["client_id"] for row in self._long_rows(self._queries.clients.all_ids, {})]
        listed = sorted(set(client_ids))
        instant = as_of or datetime.now(UTC)
        chunks = [
            listed[start : start + _CLIENTS_AT_ONCE] for start in range(0, len(listed), _CLIENTS_AT_ONCE)
        ]
        return sum(self._rebuild(chunk, instant) for chunk in chunks)

    def _rebuild(self, client_ids: Sequence[str], as_of: datetime) -> int:
        return self._transact(lambda cursor: loading.rebuild_states(cursor, self._queries, client_ids, as_of))

    def read_rows(
        self, table: str, columns: Sequence[str] | None = None, since: datetime | None = None
    ) -> Iterator[Row]:
        """See `serving.ports.Store`."""
        rows, options = self._queries.tables.rows[table], {"yield_per": _ROWS_AT_ONCE}
        is_list = table == DECISION_ITEMS.name
        stored = DECISIONS if is_list else CONTRACT[table]
        wanted = columns or table_named(table).column_names
        if columns is not None and not is_list:
            rows = rows.with_only_columns(*(stored.c[name] for name in columns))
        if since is not None:
            rows = rows.where(stored.c.recorded_at >= since)
        with (
            self._database.explaining(),
            self._database.streaming() as connection,
            connection.execute(rows, execution_options=options) as found,
        ):
            for row in found:
                if is_list:
                    for item in rules.items_of(*row):
                        yield {name: item[name] for name in wanted}
                else:
                    yield dict(zip(wanted, row, strict=True))

    # The connection

    def is_ready(self) -> bool:
        """See `serving.ports.Store`."""
        try:
            return self.schema_fault() is None
        except (StoreUnavailableError, TransientError):
            return False

    def schema_fault(self) -> str | None:
        """See `serving.ports.Store`."""
        rows = self._rows(self._queries.content.schema_revision, {})
        found = rows[0]["version_num"] if rows else "none"
        if found == SCHEMA_REVISION:
            return None
        # Revisions are numbered, so that a newer one is a larger text.
        is_newer = bool(rows) and found > SCHEMA_REVISION
        cure = (
            "run the release that it belongs to"
            if is_newer
            else "stop the servers, run `recsys-serve migrate`"
        )
        return f"the database has another schema: {found}, this program needs {SCHEMA_REVISION}: {cure}"

    def close(self) -> None:
        """See `serving.ports.Store`."""
        for connection in list(self._lent):
            connection.close()
        self._own = local()
        self._database.dispose()

    def _row(self, statement: Statement, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """The first row, its values not converted; the short way for what every request reads."""
        if not self.is_embedded:
            return self._found(statement.row, values)
        try:
            return statement.row(self._own_cursor(), values)
        except sqlite3.Error:
            with self._database.answering():
                raise

    def _rows(self, statement: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._found(statement.rows, values)

    def _long_rows(self, statement: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """As `_rows`, for what looks through whole tables."""

        def read() -> list[dict[str, Any]]:
            with self._database.streaming() as connection:
                return statement.rows(connection.connection.cursor(), values)

        with self._database.answering():
            return once_more(read)

    def _found(self, run: Callable[[Cursor, Mapping[str, Any]], Result], values: Mapping[str, Any]) -> Result:
        """What a statement finds that stands alone; asked once more where the connection had died."""
        database = self._database
        with database.answering():
            if database.is_embedded:
                return run(self._own_cursor(), values)
            try:
                with database.reading() as cursor:
                    return run(cursor, values)
            except LostConnectionError:
                with database.reading() as cursor:
                    return run(cursor, values)

    def _own_cursor(self) -> Cursor:
        """The calling thread's cursor: opening a file for each read would cost more than the read."""
        cursor: Cursor | None = getattr(self._own, "cursor", None)
        if cursor is None:
            connection = self._database.reader.raw_connection()
            self._lent.add(connection)
            self._own.connection, self._own.cursor = connection, (cursor := connection.cursor())
        return cursor

    def _transact(self, work: Callable[[Cursor], Result]) -> Result:
        """Run work in one durable transaction, again if another writer was in the way.

        Once more too where the connection had died before the commit. Where it dies in the commit nobody
        knows what was stored: that is for the caller to settle.
        """

        def attempt() -> Result:
            with self._write_gate, self._database.explaining(), self._database.writing() as cursor:
                return work(cursor)

        return once_more(lambda: until_free(attempt, self.place))
