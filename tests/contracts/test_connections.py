"""Connections: threads give theirs back, who gets none is told so, what takes too long ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from recsys.errors import StoreUnavailableError
from serving.ports import Store
from serving.storage import dialects, sql
from serving.storage.dialects import TransientError
from serving.storage.sql import SqlStore


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


def test_connections_that_died_unused_are_replaced_before_use(
    migrated_database: Callable[[str], str], postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_connections_die() -> None:
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid()",
                [store._database.writer.url.database],
            )

    store = SqlStore(migrated_database("postgresql"))
    store.commit([])
    assert store.policies() == []
    let_connections_die()
    with pytest.raises(StoreUnavailableError):  # it was used just now, and is trusted
        store.policies()
    assert store.policies() == []
    monkeypatch.setattr(dialects, "_SECONDS_TRUSTED", 0.0)
    let_connections_die()
    assert store.policies() == []
    assert store.commit([]) == []
    store.close()


def test_who_was_in_the_way_is_given_time(
    new_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store("sqlite")
    assert isinstance(store, SqlStore)
    pauses: list[float] = []
    monkeypatch.setattr(sql.time, "sleep", pauses.append)
    attempts = iter([True, True, False])

    def work(_cursor: object) -> str:
        if next(attempts):
            raise TransientError("busy")
        return "done"

    assert store._transact(work) == "done"
    assert len(pauses) == 2
    assert all(0 <= pause <= 0.02 for pause in pauses)
    assert pauses[0] != pauses[1]
