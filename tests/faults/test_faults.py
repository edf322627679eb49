"""Processes killed, databases pulled away, bundles broken: what was answered or acknowledged stays."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Compare = Callable[..., None]
NewOperator = Callable[[str], Any]
N_ANSWERS = 40
often = pytest.mark.parametrize("n_faults", [1, pytest.param(25, marks=pytest.mark.soak)])


@often
def test_nothing_is_lost_when_the_server_is_killed(operator: Any, compare: Compare, n_faults: int) -> None:
    server = operator.serve()
    with operator.load(server) as load:
        for _ in range(n_faults):
            load.wait_for(N_ANSWERS)
            server.kill()
            server.start()
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)
    assert load.ledger.n_broken > 0, "the server was killed between two questions: the test saw no fault"
    for name, answer in list(load.ledger.answers.items())[:5]:
        assert load.ask(name, answer["client_id"]) == answer, "a retry got another answer"


@often
def test_nothing_is_lost_when_one_of_two_workers_is_killed(
    tmp_path: Path, new_operator: NewOperator, compare: Compare, n_faults: int
) -> None:
    operator = new_operator(f"sqlite:///{tmp_path / 'store.db'}")
    server = operator.serve(n_workers=2)
    with operator.load(server) as load:
        for _ in range(n_faults):
            load.wait_for(N_ANSWERS)
            os.kill(server.worker_pids()[0], signal.SIGKILL)
            load.wait_for(N_ANSWERS)
        server.stop()
        server.start()
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)


@often
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["in_order", "as_in_a_crash"])
def test_nothing_is_lost_when_the_database_restarts(
    postgresql: Any, new_operator: NewOperator, compare: Compare, how: signal.Signals, n_faults: int
) -> None:
    operator = new_operator(postgresql.get_uri())
    server = operator.serve()
    with operator.load(server) as load:
        for _ in range(n_faults):
            load.wait_for(N_ANSWERS)
            pid = postgresql.get_pid()
            os.kill(pid, how)
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.02)
            postgresql.start()
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)
    assert load.ledger.statuses[503] > 0, "nobody noticed the restart"


def test_bundles_that_are_broken_or_half_written_change_nothing(
    tmp_path: Path, new_operator: NewOperator, compare: Compare
) -> None:
    operator = new_operator(f"sqlite:///{tmp_path / 'store.db'}")
    server = operator.serve()
    with operator.load(server) as load:
        for number, manifest in enumerate(("{}", '{"format": 1, ', "\x00")):
            broken = operator.bundles / f"2025-01-0{number + 1}"
            broken.mkdir()
            (broken / "manifest.json").write_text(manifest)
            load.wait_for(N_ANSWERS)
        load.wait_until(lambda: len(causes_in(load.ledger)) > 1, "a look at a broken bundle")
        shutil.rmtree(operator.bundles)
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)
    assert causes_in(load.ledger) <= {"no_bundle", "bundle_corrupt", "bundle_incompatible"}


def causes_in(ledger: Any) -> set[str | None]:
    return {answer["degraded"] for answer in list(ledger.answers.values())}
