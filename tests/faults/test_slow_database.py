"""A database that hangs keeps nobody waiting for long, and is not asked by everybody."""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

Compare = Callable[..., None]
NewOperator = Callable[[str], Any]
N_ANSWERS = 40
SECONDS_OF_PATIENCE = 4.0


def n_labelled(load: Any) -> int:
    """Answers that say that the database is away."""
    return int(load.ledger.n_answers("degraded", "store_unavailable"))


def n_unlogged(load: Any) -> int:
    """Answers that are kept nowhere."""
    return int(load.ledger.n_answers("logged", False))


class Relay:
    """Stands between the server and PostgreSQL, and holds every byte back as long as it is told to.

    Args:
        target: Address of PostgreSQL's socket.
    """

    def __init__(self, target: str) -> None:
        self.is_holding = False
        self._target = target
        self._is_over = Flag()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection."""
        self._is_over.set()
        self._thread.join()
        for each in (self._listener, *self._peers):
            each.close()

    def _work(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._is_over.is_set():
                for key, _ in selector.select(0.05):
                    place = key.fileobj
                    if not isinstance(place, socket.socket):
                        continue
                    if place is self._listener:
                        self._connect(selector)
                    elif self.is_holding:
                        self._is_over.wait(0.01)
                    else:
                        self._pass_on(selector, place)

    def _connect(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(self._target)
        self._peers |= {near: far, far: near}
        for each in (near, far):
            selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, place: socket.socket) -> None:
        other = self._peers.get(place)
        if other is None:  # its other side has just ended
            return
        content = b""
        with contextlib.suppress(OSError):
            content = place.recv(65_536)
            other.sendall(content)
        if not content:
            for each in (place, other):
                selector.unregister(each)
                del self._peers[each]
                each.close()


@pytest.fixture
def relay(postgresql: Any) -> Iterator[Relay]:
    """A relay in front of a PostgreSQL."""
    uri = postgresql.get_uri()
    folder = uri.partition("host=")[2].partition("&")[0]
    between = Relay(f"{folder}/.s.PGSQL.5432")
    yield between
    between.close()


@pytest.mark.parametrize("n_rounds", [1, pytest.param(8, marks=pytest.mark.soak)])
def test_a_database_that_hangs_keeps_nobody_waiting(
    postgresql: Any, relay: Relay, new_operator: NewOperator, compare: Compare, n_rounds: int
) -> None:
    operator = new_operator(postgresql.get_uri())
    name = postgresql.get_uri().partition("@/")[2].partition("?")[0]
    server = operator.serve(database_url=f"postgresql://postgres@127.0.0.1:{relay.port}/{name}")
    with operator.load(server) as load:
        for _ in range(n_rounds):
            load.wait_for(N_ANSWERS)
            relay.is_holding = True
            before = n_labelled(load)
            load.wait_until(lambda n=before: n_labelled(load) > n + N_ANSWERS, "answers without it")
            assert server.ready()["database"] == "unavailable"
            relay.is_holding = False
            load.wait_until(lambda: server.ready()["database"] == "ok", "the database")
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)
    assert n_unlogged(load) == 0
    assert load.ledger.n_broken == 0, "somebody was kept waiting until he gave up"


def ask(server: Any, path: str, **headers: str) -> tuple[int, float]:
    """The status, and how many seconds it took."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    began_at = time.monotonic()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.monotonic() - began_at
    finally:
        connection.close()


def test_whoever_asks_a_database_that_hangs_is_soon_told_so(
    postgresql: Any, relay: Relay, new_operator: NewOperator
) -> None:
    operator = new_operator(postgresql.get_uri())
    name = postgresql.get_uri().partition("@/")[2].partition("?")[0]
    operator.settings["RECSYS_IS_CONSOLE_ENABLED"] = "true"
    server = operator.serve(database_url=f"postgresql://postgres@127.0.0.1:{relay.port}/{name}")
    key = {"Authorization": f"Bearer {operator.key}"}
    kinds = {
        "figures": (200, partial(ask, server, "/metrics", **key)),
        "console": (503, partial(ask, server, "/console/", Cookie="__Host-recsys-session=stale")),
        "unknown key": (503, partial(ask, server, "/v1/clients/c001", Authorization="Bearer x.y")),
        "client": (503, partial(ask, server, "/v1/clients/c001", **key)),
    }
    assert kinds["client"][1]()[0] == 200
    relay.is_holding = True
    with ThreadPoolExecutor(80) as callers:
        for kind, (wanted, question) in kinds.items():  # the last ones find out for all others
            found = [caller.result() for caller in [callers.submit(question) for _ in range(14)]]
            assert {status for status, _ in found} <= {wanted, 401}, kind
            assert max(seconds for _, seconds in found) < SECONDS_OF_PATIENCE, kind
        assert server.told("store_away")
        for kind, (wanted, question) in kinds.items():
            assert question()[0] == wanted, kind
            assert question()[1] < 1, kind
    relay.is_holding = False


def test_a_locked_database_keeps_nobody_waiting(
    tmp_path: Path, new_operator: NewOperator, compare: Compare
) -> None:
    path = tmp_path / "store.db"
    operator = new_operator(f"sqlite:///{path}")
    server = operator.serve()
    with operator.load(server) as load:
        load.wait_for(N_ANSWERS)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            before = n_labelled(load)
            load.wait_until(lambda: n_labelled(load) > before + N_ANSWERS, "answers without it")
            assert server.ready()["faults"]
            other.execute("ROLLBACK")
        load.wait_until(lambda: not server.ready()["faults"], "the database")
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)
    assert n_unlogged(load) == 0
    known = [one for one in load.ledger.answers.values() if one["degraded"]]
    assert all(one["client_known"] for one in known), "who only writes slowly can be read"
