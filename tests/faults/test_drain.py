"""Servers that end in order: load balancers are told first, what was begun is answered."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.storage.sql import SqlStore

NewOperator = Callable[[str], Any]
HOST = "127.0.0.1"
N_CALLERS = 4
N_ANSWERS = 60
SECONDS_TO_GIVE_UP = 60.0
one_and_two = pytest.mark.parametrize("n_workers", [1, 2])
two_and_later_one = pytest.mark.parametrize("n_workers", [pytest.param(1, marks=pytest.mark.soak), 2])


class Callers:
    """Ask again and again, each time on a connection of its own, until they turn away."""

    def __init__(self, port: int, key: str) -> None:
        self.turned_away = Flag()
        self.answered: list[str] = []
        self.statuses: list[int] = []
        self.faults: list[BaseException] = []
        self.closing: list[bool] = []
        self._port, self._key = port, key

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [Thread(target=self._call, args=(number,)) for number in range(N_CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.turned_away.set()
            for thread in threads:
                thread.join(SECONDS_TO_GIVE_UP)

    def _call(self, number: int) -> None:
        while not self.turned_away.is_set():
            try:
                self._ask(number)
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(error)
                time.sleep(0.02)

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=20)
        body = json.dumps({"client_id": f"c{number:03d}", "placements": [{"placement_id": "home"}]})
        try:
            connection.request("POST", "/v1/recommendations", body, {"Authorization": f"Bearer {self._key}"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.statuses.append(answer.status)
        self.closing.append(answer.getheader("connection") == "close")
        if answer.status == 200:
            self.answered.append(json.loads(content)["placements"][0]["decision_id"])


def readiness(port: int) -> tuple[int, str] | None:
    """Status and word of `/ready`; None = nobody answers."""
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(HOST, port, timeout=20)
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["status"]
        finally:
            connection.close()
    return None


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_GIVE_UP
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def stored_decisions(database_url: str) -> set[str]:
    store = SqlStore(database_url)
    try:
        return {str(row["decision_id"]) for row in store.read_rows("decisions")}
    finally:
        store.close()


def start(tmp_path: Path, new_operator: NewOperator, seconds: str, n_workers: int) -> tuple[Any, Any]:
    operator = new_operator(f"sqlite:///{tmp_path / 'store.db'}")
    operator.settings["RECSYS_DRAIN_SECONDS"] = seconds
    return operator, operator.serve(n_workers=n_workers)


@one_and_two
def test_whoever_turns_away_in_time_loses_no_request(
    tmp_path: Path, new_operator: NewOperator, n_workers: int
) -> None:
    operator, server = start(tmp_path, new_operator, "2", n_workers)
    callers, seen = Callers(server.port, operator.key), set()
    with callers.at_work():
        wait_until(lambda: len(callers.answered) >= N_ANSWERS, "answers")
        server._process.send_signal(signal.SIGTERM)
        wait_until(lambda: readiness(server.port) == (503, "draining"), "the announcement")
        n_before = len(callers.answered)
        wait_until(lambda: len(callers.answered) >= n_before + N_CALLERS, "answers while it drains")
        seen.add(readiness(server.port))
    assert server._process.wait(SECONDS_TO_GIVE_UP) == 0
    assert callers.faults == []
    assert set(callers.statuses) == {200}
    assert callers.closing[-1]
    assert not callers.closing[0]
    assert stored_decisions(operator.database_url) >= set(callers.answered)
    assert readiness(server.port) is None


@two_and_later_one
def test_under_load_to_the_end_nothing_that_was_answered_is_lost(
    tmp_path: Path, new_operator: NewOperator, n_workers: int
) -> None:
    operator, server = start(tmp_path, new_operator, "0.3", n_workers)
    callers = Callers(server.port, operator.key)
    with callers.at_work():
        wait_until(lambda: len(callers.answered) >= N_ANSWERS, "answers")
        server._process.send_signal(signal.SIGTERM)
        assert server._process.wait(SECONDS_TO_GIVE_UP) == 0
    assert set(callers.statuses) == {200}, "an end in order is no fault of a request"
    assert stored_decisions(operator.database_url) >= set(callers.answered)


@two_and_later_one
def test_a_second_signal_ends_the_wait(tmp_path: Path, new_operator: NewOperator, n_workers: int) -> None:
    _, server = start(tmp_path, new_operator, "3000", n_workers)
    server._process.send_signal(signal.SIGTERM)
    wait_until(lambda: readiness(server.port) == (503, "draining"), "the announcement")
    began = time.monotonic()
    # a signal that comes at once is taken for an echo of the first
    wait_until(lambda: time.monotonic() > began + 2, "a moment")
    assert server._process.poll() is None
    server._process.send_signal(signal.SIGTERM)
    assert server._process.wait(SECONDS_TO_GIVE_UP) == 0


def test_workers_whose_watcher_was_killed_end_in_order(tmp_path: Path, new_operator: NewOperator) -> None:
    operator, server = start(tmp_path, new_operator, "0", 2)
    workers, callers = server.worker_pids(), Callers(server.port, operator.key)
    with callers.at_work():
        wait_until(lambda: len(callers.answered) >= N_ANSWERS, "answers")
        server._process.kill()
        server._process.wait(SECONDS_TO_GIVE_UP)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "their end")
    assert set(callers.statuses) == {200}
    assert stored_decisions(operator.database_url) >= set(callers.answered)
    assert len(server.told("worker_stopped")) == len(workers)
    server.start()


@pytest.mark.soak
def test_ctrl_c_does_not_wait(tmp_path: Path, new_operator: NewOperator) -> None:
    _, server = start(tmp_path, new_operator, "3000", 1)
    server._process.send_signal(signal.SIGINT)
    assert server._process.wait(SECONDS_TO_GIVE_UP) == 0


def figures(port: int, key: str) -> dict[str, float]:
    """The figures without labels, and the number of recommendations asked for."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert answer.status == 200
        text = answer.read().decode()
    finally:
        connection.close()
    return {
        sample.name if not sample.labels else f"{sample.name} {sample.labels.get('route')}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_whichever_worker_is_scraped_tells_of_all(tmp_path: Path, new_operator: NewOperator) -> None:
    operator, server = start(tmp_path, new_operator, "0", 2)
    callers, name = Callers(server.port, operator.key), "recsys_request_seconds_count /v1/recommendations"
    for number in range(N_ANSWERS):
        callers._ask(number % 40)
    seen: list[float] = []

    def is_told() -> bool:
        found = figures(server.port, operator.key)
        seen.append(found.get(name, 0))
        return found["recsys_workers"] == 2 and seen[-5:] == [N_ANSWERS] * 5

    wait_until(is_told, "five scrapes in a row that tell of every request")
    assert max(seen) == N_ANSWERS
    (victim, _) = server.worker_pids()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: readiness(server.port) is not None, "the other worker")
    assert figures(server.port, operator.key)[name] == N_ANSWERS, "counts of a dead worker stay"
