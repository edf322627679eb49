from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys.domain import ClientId, Profile
from serving.ports import PutClient, Store
from serving.storage import dialects
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore

WRITER = """
import sys
from datetime import UTC, datetime
from recsys.domain import ClientId, Profile
from serving.ports import PutClient
from serving.storage.sql import SqlStore

store = SqlStore(sys.argv[1])
n = 0
while True:
    name = ClientId(f"client-{n}")
    store.commit([PutClient(name, Profile(name=name), datetime(2025, 1, 1, tzinfo=UTC))])
    print(n, flush=True)
    n += 1
"""


def test_what_commit_returned_for_survives_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
    last = int(said[-1])
    assert last >= 19
    store = SqlStore(url)
    found = {state.client_id for state in store.find_clients("client", last + 10)}
    assert {f"client-{n}" for n in range(last + 1)} <= found
    assert store.rebuild_states() == 0
    store.close()


def test_a_second_process_may_write_at_the_same_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    store = SqlStore(url)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        for n in range(30):
            store.put_documents({"note": str(n)})
        process.kill()
        said += process.stdout.readlines()
    last = int(said[-1])
    assert store.documents() == {"note": "29"}
    assert len(store.find_clients("client", 10_000)) >= last + 1
    store.close()


def put(store: Store, n_clients: int, kind: str = "client") -> None:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    names = [ClientId(f"{kind}-{n}") for n in range(n_clients)]
    store.commit([PutClient(name, Profile(name=name * 50), at) for name in names])


def names_in_file(path: Path, copy: Path) -> int:
    """How many clients the file holds without its write-ahead log."""
    shutil.copyfile(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        found: int = connection.execute("SELECT count(*) FROM clients").fetchone()[0]
    return found


def test_a_checkpoint_moves_into_the_file_what_was_committed(
    new_store: Callable[[str], Store], tmp_path: Path
) -> None:
    store = new_store("sqlite")
    [path] = tmp_path.glob("*.db")
    put(store, 10)
    assert names_in_file(path, tmp_path / "before") == 0
    store.checkpoint()
    assert names_in_file(path, tmp_path / "after") == 10


def test_a_checkpoint_begins_a_long_log_anew_and_waits_for_no_reader(
    new_store: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "_PAGES_OF_A_LONG_LOG", 1)
    store = new_store("sqlite")
    [path] = tmp_path.glob("*.db")
    log = path.with_name(f"{path.name}-wal")
    put(store, 100, "early")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM clients").fetchone()
        store.checkpoint()
        n_bytes = log.stat().st_size
        put(store, 100, "late")
        assert log.stat().st_size > n_bytes
    store.checkpoint()
    n_bytes = log.stat().st_size
    put(store, 100, "last")
    assert log.stat().st_size == n_bytes


def test_every_store_takes_a_checkpoint(store: Store) -> None:
    put(store, 1)
    store.checkpoint()
    assert store.client_state(ClientId("client-0")) is not None
