"""All that differs between SQLite and PostgreSQL: how to connect, to insert, to say what went wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa
from sqlalchemy import event, pool
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from recsys.errors import ConfigError, ConflictError, DataError, StoreUnavailableError
from serving.storage.pools import Trust, first_line
from serving.storage.types import Texts

# A write waits for other writers; a read runs on the event loop, where everybody would wait for it.
_BUSY_SECONDS_OF_WRITES = 10
_BUSY_SECONDS_OF_READS = 0.5
# A machine that is gone without a word is noticed after some seconds, and not after the system's hours.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Of each kind, per process: what requests, the writer and the loops use at once; who gets none soon is told.
_POOL: dict[str, Any] = {"pool_size": 5, "max_overflow": 10, "pool_timeout": 5}
# What a request waits for ends before whoever asked gives up; `streaming` has no limit.
_LIMIT_READS = "SET statement_timeout = '30s'"
_LIFT_LIMIT = "SET LOCAL statement_timeout = 0"
# 32 MB hold the states of 20,000 clients; each read costs half as much as with the default. Writers append.
_READERS_CACHE_KILOBYTES = 32_000
_WRITERS_CACHE_KILOBYTES = 8_000
# SQLite moves its write-ahead log into the file within a commit, which takes some 20 ms longer then:
# `Database.checkpoint` moves it before there are so many pages, and begins it anew at so many.
_PAGES_MOVED_IN_A_COMMIT = 20_000
_PAGES_OF_A_LONG_LOG = 4_000
# IMMEDIATE takes the write lock first: a reader that turns writer later could only fail.
_BEGIN = "BEGIN IMMEDIATE"
_MIGRATE = "run `recsys-serve migrate`"
_TRANSIENT_STATES = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock not available

Insert = sqlite.Insert | postgresql.Insert


# What a row can do wrong in the eyes of a driver: a key used twice, a number or text it cannot hold.
REFUSALS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    psycopg.IntegrityError,
    psycopg.DataError,
    OverflowError,
    UnicodeError,
)


class TransientError(Exception):
    """Another writer was in the way: the same transaction may succeed at once."""


class Cursor(Protocol):
    """What both drivers' cursors can do."""

    @property
    def rowcount(self) -> int:
        """Rows the last statement changed."""
        ...

    def execute(self, sql: str, values: Any = ..., /) -> Any:
        """Run a statement."""
        ...

    def executemany(self, sql: str, values: Any, /) -> Any:
        """Run a statement once per row."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> Any:
        """The remaining rows."""
        ...


class Database:
    """An open database: one engine that reads statement by statement, one that writes transactions.

    Attributes:
        is_embedded: True for SQLite.
        place: The address without the password.
        reader: Engine whose statements stand alone.
        writer: Engine whose transactions may write; on SQLite only one at a time.
    """

    def __init__(self, url: sa.URL) -> None:
        self.is_embedded = url.get_backend_name() == "sqlite"
        self.place = url.render_as_string(hide_password=True)
        connect = _connect_sqlite if self.is_embedded else _connect_postgresql
        self.reader, self.writer = connect(url)
        self._is_disposed = False
        self._trust = Trust(self.place)
        for engine in (self.reader, self.writer):
            event.listen(engine, "checkin", self._close_late)
            if not self.is_embedded:
                self._trust.watch(engine)
        self.dialect = self.writer.dialect

    def insert(self, table: sa.Table) -> Insert:
        """An insert that can say what to do on conflict."""
        return sqlite.insert(table) if self.is_embedded else postgresql.insert(table)

    def is_among(self, column: sa.Column[str], name: str) -> sa.ColumnElement[bool]:
        """Whether the column is among a list of texts given as one parameter of that name.

        Unlike ``IN (…)`` this is one text for every length, so it is compiled once.
        """
        texts = sa.bindparam(name, type_=Texts())
        if self.is_embedded:
            return column.in_(sa.select(sa.func.json_each(texts).table_valued("value").c.value))
        return column == sa.any_(texts)

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """A cursor whose statements stand alone.

        Raises:
            LostConnectionError: The connection had died; another one may live.
        """
        own = self.reader.raw_connection()
        try:
            yield own.cursor()
        except psycopg.Error as error:
            self._trust.check(own, error)
            raise
        finally:
            own.close()

    @contextmanager
    def streaming(self) -> Iterator[sa.Connection]:
        """A connection whose long reads see one state of the data and hold up no writer.

        Raises:
            LostConnectionError: The connection had died; another one may live.
        """
        with self.reader.connect() as connection:
            own = connection.connection
            try:
                if not self.is_embedded:
                    # A server-side cursor lives in a transaction only.
                    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                    connection.exec_driver_sql(_LIFT_LIMIT)
                yield connection
            except (psycopg.Error, DBAPIError) as error:
                if not self.is_embedded:
                    self._trust.check(own, error)
                raise

    @contextmanager
    def writing(self) -> Iterator[Cursor]:
        """A cursor in a transaction: durable at the end, undone where anything fails.

        Raises:
            LostConnectionError: The connection had died before the commit; another one may live.
            StoreUnavailableError: The database was closed: what goes on in portions ends with it.
        """
        if self._is_disposed:
            raise StoreUnavailableError(f"the database {self.place} is closed")
        if not self.is_embedded:
            with self.writer.begin() as connection:
                own = connection.connection
                try:
                    yield own.cursor()
                except psycopg.Error as error:
                    self._trust.check(own, error)
                    raise
            return
        # SQLAlchemy's own way of beginning and ending takes longer than writing a decision does.
        own = self.writer.raw_connection()
        try:
            cursor = own.cursor()
            cursor.execute(_BEGIN)
            yield cursor
            cursor.execute("COMMIT")
        finally:
            own.rollback()  # nothing is left to undo where all went well
            own.close()

    def checkpoint(self) -> None:
        """Move what was committed from SQLite's write-ahead log into the file, in nobody's way; blocks."""
        if not self.is_embedded or self._is_disposed:
            return
        own = self.reader.raw_connection()
        try:
            cursor = own.cursor()
            # RESTART waits for nobody: while somebody reads from the log it grows on until the next time.
            cursor.execute("PRAGMA busy_timeout = 0")
            _, n_pages, _ = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if n_pages > _PAGES_OF_A_LONG_LOG:
                cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        finally:
            own.cursor().execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS_OF_READS * 1000)}")
            own.close()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn what a driver raises into what a caller can act on.

        Raises:
            TransientError: Another writer was in the way.
            StoreUnavailableError: There is no connection, or the schema is not the expected one.
        """
        try:
            yield
        except (DBAPIError, sqlite3.Error, psycopg.Error) as error:
            self.explain(error)
            raise
        except PoolTimeoutError as error:
            raise StoreUnavailableError(
                f"the database {self.place} did not answer: all connections are in use"
            ) from error

    @contextmanager
    def answering(self) -> Iterator[None]:
        """As `explaining`, for a read: where somebody is in its way, the database does not answer."""
        try:
            with self.explaining():
                yield
        except TransientError as error:
            raise StoreUnavailableError(f"the database {self.place} is busy: {error}") from error

    def explain(self, error: Exception) -> None:
        """Raise what an error of a driver means to a caller; nothing if it is no matter of theirs."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        if _is_transient(cause):
            raise TransientError(str(cause)) from error
        if _is_foreign_schema(cause):
            raise StoreUnavailableError(
                f"the database {self.place} has not the schema of this program: {_MIGRATE}"
            ) from error
        if _is_no_answer(cause):
            raise StoreUnavailableError(
                f"the database {self.place} did not answer: {first_line(cause)}"
            ) from error

    def dispose(self) -> None:
        """Close the connections that nobody uses, and each other one as soon as it is given back."""
        self._is_disposed = True
        self.reader.dispose()
        self.writer.dispose()

    def _close_late(self, _connection: object, record: pool.ConnectionPoolEntry) -> None:
        """A read that outlived the store would leave its connection in a pool that nobody closes."""
        if self._is_disposed:
            record.invalidate()


def open_database(database_url: str) -> Database:
    """Open a database; nothing is connected yet.

    Args:
        database_url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises:
        ConfigError: The address is of no such form.
    """
    if database_url.partition("?")[0].count("@") > 1:
        # What is taken for the host would be a part of the password, and would be told.
        raise ConfigError(
            "the password in RECSYS_DATABASE_URL holds an @: write %40 for it, or leave the password out and"
            " set PGPASSWORD"
        )
    try:
        url = sa.make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "RECSYS_DATABASE_URL is no address of a database;"
            " write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database not in (None, "", ":memory:"):
        return Database(url)
    if backend in ("postgresql", "postgres"):
        return Database(url.set(drivername="postgresql+psycopg"))
    raise ConfigError(
        f"the database {url.render_as_string(hide_password=True)} is neither a file of SQLite"
        " (sqlite:///FILE) nor PostgreSQL (postgresql://USER:PASSWORD@HOST/NAME)"
    )


def refusal(error: Exception) -> ConflictError | DataError:
    """What to tell whoever wrote a row that the database refused."""
    if isinstance(error, sqlite3.IntegrityError | psycopg.errors.UniqueViolation):
        return ConflictError(f"the id was used before with another content: {first_line(error)}")
    return DataError(f"the database refused the row: {first_line(error)}")


def _connect_sqlite(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    def create(busy_seconds: float, cache_kilobytes: int) -> sa.Engine:
        engine = sa.create_engine(
            url,
            poolclass=pool.QueuePool,
            pool_size=2,
            max_overflow=-1,
            connect_args={
                "isolation_level": None,  # transactions are ours: the driver's own begin too late
                "check_same_thread": False,
                "timeout": busy_seconds,
            },
        )

        @event.listens_for(engine, "connect")
        def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
            _set_pragmas(connection, cache_kilobytes)

        return engine

    reader = create(_BUSY_SECONDS_OF_READS, _READERS_CACHE_KILOBYTES)
    writer = create(_BUSY_SECONDS_OF_WRITES, _WRITERS_CACHE_KILOBYTES)
    event.listen(writer, "begin", lambda connection: connection.exec_driver_sql(_BEGIN))
    return reader, writer


def _set_pragmas(connection: sqlite3.Connection, cache_kilobytes: int) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: a commit survives a power cut, for one fsync per group of writes.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_MOVED_IN_A_COMMIT}")
    connection.execute(f"PRAGMA cache_size = -{cache_kilobytes}")


def _connect_postgresql(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    defaults = {name: value for name, value in _CONNECT.items() if name not in url.query}
    writer = sa.create_engine(url, connect_args=defaults, **_POOL)
    reader = sa.create_engine(url, connect_args=defaults, isolation_level="AUTOCOMMIT", **_POOL)
    event.listen(reader, "connect", _limit_reads)
    return reader, writer


def _limit_reads(connection: psycopg.Connection[Any], _record: object) -> None:
    # No option of the connection, which a pooler between would refuse.
    connection.execute(_LIMIT_READS)
    connection.commit()


def _is_transient(cause: BaseException | None) -> bool:
    if isinstance(cause, psycopg.Error):
        return cause.sqlstate in _TRANSIENT_STATES
    return isinstance(cause, sqlite3.OperationalError) and "locked" in str(cause)


def _is_foreign_schema(cause: BaseException | None) -> bool:
    if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return True
    text = str(cause)
    return isinstance(cause, sqlite3.OperationalError) and (
        "no such table" in text or "no such column" in text or "has no column" in text
    )


def _is_no_answer(cause: BaseException | None) -> bool:
    return isinstance(
        cause,
        sqlite3.OperationalError
        | psycopg.OperationalError
        | psycopg.InterfaceError
        | psycopg.errors.ReadOnlySqlTransaction,
    ) or (type(cause) is sqlite3.DatabaseError)  # "file is not a database", "malformed"
