"""The disk is full, of the database and then of the journal too: what is promised is kept, and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Compare = Callable[..., None]
NewOperator = Callable[[str], Any]
N_ANSWERS = 40


def n_labelled(load: Any) -> int:
    """Answers that say that the database is away."""
    return int(load.ledger.n_answers("degraded", "store_unavailable"))


def n_unlogged(load: Any) -> int:
    """Answers that are kept nowhere."""
    return int(load.ledger.n_answers("logged", False))


@pytest.mark.parametrize("n_rounds", [1, pytest.param(6, marks=pytest.mark.soak)])
def test_a_full_disk_loses_nothing_that_was_promised(
    tmp_path: Path, new_operator: NewOperator, compare: Compare, n_rounds: int
) -> None:
    operator = new_operator(f"sqlite:///{tmp_path / 'store.db'}")
    server = operator.serve()
    with operator.load(server) as load:
        for _ in range(n_rounds):
            load.wait_for(N_ANSWERS)
            # Room for a journal, and for no page more of the database.
            server.limit_files(150_000)
            before = n_labelled(load)
            load.wait_until(lambda n=before: n_labelled(load) > n + 5, "answers without the database")
            # No room for anything.
            server.limit_files(0)
            before = n_unlogged(load)
            load.wait_until(lambda n=before: n_unlogged(load) > n + 5, "answers that are kept nowhere")
            faults = " ".join(server.ready()["faults"])
            assert "the journal cannot be written" in faults
            server.limit_files(-1)
            load.wait_until(lambda: not server.ready()["faults"], "room on the disk")
        load.wait_for(N_ANSWERS)
    compare(operator, load.ledger)
    assert all(answer["degraded"] for answer in load.ledger.answers.values() if not answer["logged"])
