"""Connections: threads give theirs back, who gets none is told so, what takes too long ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from recsys.domain import ClientId, Profile
from recsys.errors import StoreUnavailableError
from serving.ports import PutClient, Store
from serving.storage import dialects, pools, repeats, sql
from serving.storage.dialects import Cursor, TransientError
from serving.storage.pools import LostConnectionError
from serving.storage.sql import SqlStore

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def n_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_threads_that_ended_keep_no_file_open(new_store: Callable[[str], Store]) -> None:
    store = new_store("sqlite")

    def read_in_a_thread() -> None:
        thread = Thread(target=store.policies)
        thread.start()
        thread.join()

    store.policies()
    for _ in range(5):
        read_in_a_thread()
    n_open = n_open_files()
    for _ in range(30):
        read_in_a_thread()
    assert n_open_files() < n_open + 10
    assert store.policies() == []


def test_closing_takes_the_connections_of_threads_that_go_on(new_store: Callable[[str], Store]) -> None:
    store = new_store("sqlite")
    assert isinstance(store, SqlStore)
    has_read, may_end = Event(), Event()

    def read() -> None:
        store.policies()
        has_read.set()
        may_end.wait(30)

    thread = Thread(target=read)
    thread.start()
    assert has_read.wait(30)
    assert store._database.reader.pool.checkedout() == 1  # type: ignore[attr-defined]
    store.close()
    assert store._database.reader.pool.checkedout() == 0  # type: ignore[attr-defined]
    may_end.set()
    thread.join()


def test_who_gets_no_connection_is_told(
    migrated_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce = {**dialects._POOL, "pool_size": 1, "max_overflow": 0, "pool_timeout": 0.01}
    monkeypatch.setattr(dialects, "_POOL", scarce)
    store = SqlStore(migrated_database("postgresql"))
    with (
        store._database.reader.connect(),
        store._database.writer.connect(),
    ):
        with pytest.raises(StoreUnavailableError, match="all connections are in use"):
            store.policies()
        with pytest.raises(StoreUnavailableError, match="all connections are in use"):
            store.commit([])
        with pytest.raises(StoreUnavailableError, match="all connections are in use"):
            list(store.read_rows("offers"))
    assert store.policies() == []
    store.close()


def test_a_read_that_hangs_ends_and_a_long_one_does_not(
    migrated_database: Callable[[str], str], postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "_LIMIT_READS", "SET statement_timeout = '50ms'")
    store = SqlStore(migrated_database("postgresql"))
    with psycopg.connect(postgresql_url) as other:
        other.execute("LOCK TABLE policies IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailableError, match="statement timeout"):
            store.policies()
    assert store.policies() == []
    database = store._database
    with database.streaming() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"
        connection.exec_driver_sql("SELECT pg_sleep(0.1)")
    for _ in range(2):  # the same connection again
        with database.reader.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "50ms"
    with database.writer.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"
    store.close()


class Killer:
    """Ends connections of a store from the database's side, as a restart or a failover does."""

    def __init__(self, store: SqlStore, url: str) -> None:
        self._name, self._url = store._database.writer.url.database, url

    def kill(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid()",
                [self._name],
            )


@pytest.fixture
def mortal(migrated_database: Callable[[str], str], postgresql_url: str) -> Iterator[tuple[SqlStore, Killer]]:
    """A store on PostgreSQL, and who ends its connections."""
    store = SqlStore(migrated_database("postgresql"))
    yield store, Killer(store, postgresql_url)
    store.close()


def test_connections_that_died_unused_are_replaced_before_use(
    mortal: tuple[SqlStore, Killer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, killer = mortal
    store.commit([])
    assert store.policies() == []
    monkeypatch.setattr(pools, "_SECONDS_TRUSTED", 0.0)
    monkeypatch.setattr(sql, "LostConnectionError", NeverRaisedError)
    monkeypatch.setattr(repeats, "LostConnectionError", NeverRaisedError)
    killer.kill()
    assert store.policies() == []
    assert store.commit([]) == []


class NeverRaisedError(Exception):
    """Nobody raises it."""


def test_a_restart_is_noticed_at_once_and_by_nobody_else(
    mortal: tuple[SqlStore, Killer], caplog: pytest.LogCaptureFixture
) -> None:
    store, killer = mortal
    reads: list[Callable[[], object]] = [
        store.policies,
        store.holder_counts,
        lambda: store.client_state(ClientId("c-1")),
        lambda: store.commit([PutClient(ClientId("c-1"), Profile(), NOW)]),
        lambda: store.take_turn("x", NOW, timedelta(0)),
    ]
    for read in reads:
        # of either kind several that were used just now
        with store._database.reading() as one, store._database.reading() as two:
            one.execute("SELECT 1")
            two.execute("SELECT 1")
        with store._database.writing() as one, store._database.writing() as two:
            one.execute("SELECT 1")
            two.execute("SELECT 1")
        killer.kill()
        read()
        for other in reads:
            other()
    assert [each for each in caplog.records if each.levelname == "ERROR" or each.exc_info] == []


def test_a_transaction_is_done_again_unless_it_may_have_been_stored(mortal: tuple[SqlStore, Killer]) -> None:
    store, killer = mortal
    n_begun = 0

    def work(cursor: Cursor, *, is_lost_in_commit: bool) -> None:
        nonlocal n_begun
        n_begun += 1
        cursor.execute("INSERT INTO turns (name, taken_at) VALUES (%s, now())", [f"t-{n_begun}"])
        if n_begun == 1:
            killer.kill()
            if not is_lost_in_commit:
                cursor.execute("SELECT 1")

    store._transact(partial(work, is_lost_in_commit=False))
    assert n_begun == 2
    n_begun = 0
    with pytest.raises(StoreUnavailableError) as caught:
        store._transact(partial(work, is_lost_in_commit=True))
    assert not isinstance(caught.value, LostConnectionError)
    assert n_begun == 1, "nobody knows what the commit did"


def test_who_finds_no_living_connection_is_told(
    mortal: tuple[SqlStore, Killer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, killer = mortal
    assert store.policies() == []
    killer.kill()
    monkeypatch.setattr(store._database.reader.pool, "_creator", refuse)
    with pytest.raises(StoreUnavailableError, match="did not answer"):
        store.policies()
    monkeypatch.undo()
    assert store.policies() == []


def refuse(_record: object) -> None:
    raise psycopg.OperationalError("connection refused")


def test_who_was_in_the_way_is_given_time(
    new_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store("sqlite")
    assert isinstance(store, SqlStore)
    pauses: list[float] = []
    monkeypatch.setattr("serving.storage.repeats.time.sleep", pauses.append)
    attempts = iter([True, True, False])

    def work(_cursor: object) -> str:
        if next(attempts):
            raise TransientError("busy")
        return "done"

    assert store._transact(work) == "done"
    assert len(pauses) == 2
    assert all(0 <= pause <= 0.02 for pause in pauses)
    assert pauses[0] != pauses[1]
