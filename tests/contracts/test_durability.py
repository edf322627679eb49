from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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
