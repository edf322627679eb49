"""The database is pulled away under load: recommendations go on, and nothing that was promised is lost."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Compare = Callable[..., None]
NewOperator = Callable[[str], Any]
N_ANSWERS = 40
SECONDS_TO_GIVE_UP = 60.0


def n_labelled(load: Any) -> int:
    """Answers that say that the database is away."""
    return int(load.ledger.n_answers("degraded", "store_unavailable"))


def stop(postgresql: Any) -> None:
    """Stop the database as a careless person would."""
    pid = postgresql.get_pid()
    os.kill(pid, signal.SIGINT)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("n_workers", "n_rounds"), [(1, 1), pytest.param(1, 8, marks=pytest.mark.soak)], ids=["once", "often"]
)
def test_recommendations_go_on_without_the_database(
    postgresql: Any, new_operator: NewOperator, compare: Compare, n_workers: int, n_rounds: int
) -> None:
    operator = new_operator(postgresql.get_uri())
    server = operator.serve(n_workers)
    with operator.load(server) as load:
        for _ in range(n_rounds):
            load.wait_for(N_ANSWERS)
            stop(postgresql)
            before = n_labelled(load)
            load.wait_until(lambda n=before: n_labelled(load) > n + N_ANSWERS, "answers without it")
            ready = server.ready()
            assert (ready["status"], ready["database"]) == ("degraded", "unavailable")
            assert "wait in the journal" in " ".join(ready["faults"])
            name, answer = next(
                (name, one) for name, one in list(load.ledger.answers.items())[::-1] if one["degraded"]
            )
            assert load.ask(name, answer["client_id"]) == answer, "a retry got another answer"
            postgresql.start()
            load.wait_until(lambda: server.ready()["database"] == "ok", "the database")

            # Once more, and this time the server dies with decisions in its journal.
            stop(postgresql)
            before = n_labelled(load)
            load.wait_until(lambda n=before: n_labelled(load) > n + N_ANSWERS, "answers without it")
            server.kill()
            assert list(operator.journal.glob("*.journal"))
            postgresql.start()
            server.start()
            load.wait_for(N_ANSWERS)
        ledger = load.ledger
    compare(operator, ledger)
    assert ledger.n_answers("logged", False) == 0
    assert ledger.statuses[503] > 0, "no event was refused"
    known = [one for one in ledger.answers.values() if one["degraded"] and one["client_known"]]
    assert known, "no client was remembered"
    assert len(server.told("store_away")) <= 8 * n_rounds, "it is told once, not for each request"
    assert not server.told("decision_refused")
    for name, answer in list(ledger.answers.items())[-5:]:
        assert load.ask(name, answer["client_id"]) == answer, "a retry got another answer"


@pytest.mark.soak
def test_two_workers_lose_nothing_without_the_database(postgresql: Any, new_operator: NewOperator) -> None:
    operator = new_operator(postgresql.get_uri())
    server = operator.serve(n_workers=2)
    with operator.load(server) as load:
        for number in range(4):
            n_started = 2 + number  # one that starts without the database has nothing to answer from
            load.wait_until(lambda n=n_started: len(server.told("worker_started")) >= n, "both workers")
            load.wait_for(N_ANSWERS)
            stop(postgresql)
            before = n_labelled(load)
            load.wait_until(lambda n=before: n_labelled(load) > n + N_ANSWERS, "answers without it")
            os.kill(server.worker_pids()[0], signal.SIGKILL)
            load.wait_for(N_ANSWERS)
            postgresql.start()
            load.wait_until(lambda: server.ready()["database"] == "ok", "the database")
        load.wait_for(N_ANSWERS)
        load.wait_until(lambda: not list(operator.journal.glob("*.journal")), "the replay")
    ledger = load.ledger
    assert ledger.undocumented == []
    stored = stored_decisions(operator)
    promised = ledger.items(is_logged=True)
    assert promised.items() <= stored.items()
    # A retry that comes to another worker than the one that was killed is decided anew.
    assert len(stored) - len(promised) <= ledger.n_broken


def ask_on(connection: http.client.HTTPConnection, operator: Any) -> tuple[int, str | None, str | None]:
    """Status, cause of degradation, and the header that says what becomes of the connection."""
    body = json.dumps({"client_id": "c001", "placements": [{"placement_id": "home"}]})
    connection.request("POST", "/v1/recommendations", body, {"Authorization": f"Bearer {operator.key}"})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    return answer.status, told.get("degraded"), answer.getheader("connection")


def test_a_worker_that_dies_without_the_database_is_replaced_when_it_is_back(
    postgresql: Any, new_operator: NewOperator
) -> None:
    operator = new_operator(postgresql.get_uri())
    server = operator.serve(n_workers=2)

    def told(event: str, n: int) -> None:
        deadline = time.monotonic() + SECONDS_TO_GIVE_UP
        while len(server.told(event)) < n:
            assert time.monotonic() < deadline, f"waited in vain for {event}"
            time.sleep(0.05)

    def ask() -> tuple[int, str | None, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        try:
            return ask_on(connection, operator)
        finally:
            connection.close()

    told("worker_started", 2)
    stop(postgresql)
    told("store_away", 2)
    victim, other = server.worker_pids()
    os.kill(victim, signal.SIGKILL)
    told("worker_waits", 1)
    assert {ask() for _ in range(N_ANSWERS)} == {(200, "store_unavailable", None)}
    assert server.ready()["status"] == "degraded"
    (waiting,) = {*server.worker_pids()} - {other}
    os.kill(waiting, signal.SIGTERM)  # one that waits has nothing to finish
    told("worker_waits", 2)

    os.kill(other, signal.SIGKILL)  # now nobody has anything to answer from: this is told, and nobody waits
    told("worker_started", 5)
    assert {ask() for _ in range(N_ANSWERS)} == {(503, None, "close")}
    assert server.ready()["status"] == "unready"

    postgresql.start()
    deadline = time.monotonic() + SECONDS_TO_GIVE_UP
    while {ask() for _ in range(N_ANSWERS)} != {(200, "no_bundle", None)}:
        assert time.monotonic() < deadline, "waited in vain for both workers"


def stored_decisions(operator: Any) -> dict[str, list[str]]:
    from serving.storage.sql import SqlStore  # noqa: PLC0415

    store = SqlStore(operator.database_url)
    try:
        stored: dict[str, list[str]] = {str(row["decision_id"]): [] for row in store.read_rows("decisions")}
        for item in store.read_rows("decision_items"):
            stored[str(item["decision_id"])].append(str(item["offer_id"]))
        return stored
    finally:
        store.close()
