"""Laws of an experiment's life, whatever is asked of it in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConflictError, InvalidRequestError
from recsys.experiments.assignment import assign_all
from recsys.experiments.experiment import Experiment, Status
from recsys.experiments.life import Standing, decide, draft, edit, ramp, start, stop

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNITS = [f"c{number}" for number in range(300)]
ORDER = list(Status)


def experiment(experiment_id: str = "short-list", **keys: object) -> Experiment:
    document: dict[str, object] = {
        "experiment_id": experiment_id,
        "title": "A shorter list",
        "hypothesis": "Three offers are read, ten are not",
        "owner": "anna",
        "arms": [{"name": "control", "weight": 0.5}, {"name": "short", "weight": 0.5}],
        "primary": {"name": "taken", "measure": "activations"},
        "minimum_effect": 0.1,
    }
    return Experiment.model_validate({**document, **keys})


Deed = Callable[[Standing, datetime], Standing]
DEEDS = st.one_of(
    st.floats(0.01, 1.0).map(lambda share: lambda standing, _: edit(standing, experiment(coverage=share))),
    st.just(start),
    st.floats(-0.5, 1.5).map(lambda share: lambda standing, _: ramp(standing, share)),
    st.just(lambda standing, now: stop(standing, now, "why")),
    st.sampled_from(("short", "long", None)).map(
        lambda winner: lambda standing, now: decide(standing, now, winner, "why")
    ),
)


@given(st.lists(DEEDS, max_size=12))
@settings(max_examples=150, deadline=None)
def test_nothing_leads_back_and_what_runs_stays_what_it_was(deeds: list[Deed]) -> None:
    standing = draft(experiment(coverage=0.3))
    for number, deed in enumerate(deeds):
        before = standing
        with suppress(ConflictError, InvalidRequestError):
            standing = deed(before, NOW + timedelta(days=number))
        assert ORDER.index(standing.status) - ORDER.index(before.status) in (0, 1)
        if before.status is not Status.DRAFT:
            assert standing.experiment == before.experiment
            assert standing.seed == before.seed
            assert standing.coverage >= before.coverage
            was_in = assign_all(before, UNITS) >= 0
            assert np.array_equal(assign_all(before, UNITS)[was_in], assign_all(standing, UNITS)[was_in])
        if ORDER.index(before.status) > ORDER.index(Status.RUNNING):
            assert standing.coverage == before.coverage


PARTS = st.tuples(st.integers(0, 9), st.integers(1, 10)).map(sorted).filter(lambda ends: ends[0] < ends[1])


@given(st.lists(PARTS, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_whatever_may_start_in_a_layer_has_nobody_in_common(parts: list[list[int]]) -> None:
    running: list[Standing] = []
    for number, (low, high) in enumerate(parts):
        document = experiment(f"e{number}", layer="lists", layer_range=(low / 10, high / 10))
        with suppress(ConflictError):
            running.append(start(draft(document), NOW, running=running))
    n_entered = sum((assign_all(standing, UNITS) >= 0).astype(int) for standing in running)
    assert np.max(n_entered) <= 1
