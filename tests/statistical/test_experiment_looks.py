"""Whoever looks at an experiment often, and stops when she likes what she sees, errs no oftener than told.

Arms are alike; units arrive day by day; the whole analysis is made on each day of looking. An experiment errs
if any of its days says better or worse. Seeds were fixed before the first run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from recsys.experiments import analysis
from recsys.experiments.analysis import analyse
from recsys.experiments.assignment import assignments_of
from recsys.experiments.experiment import Method, Status
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import ArmCounts, MetricValues, Observed
from recsys.experiments.results import Says
from tests.unit.test_experiment_analysis import START, an_experiment

N_DAYS = 40
N_PER_DAY = 50
PLANNED = 1_000
RUNS = [40, pytest.param(4_000, marks=pytest.mark.soak)]
FOUND = (Says.BETTER, Says.WORSE)


@pytest.fixture(autouse=True)
def _only_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The course over time is as much work as everything else and decides nothing."""
    monkeypatch.setattr(analysis, "timeline", lambda *_: ())


def days_seen(arms: np.ndarray, taken: np.ndarray, every: int) -> Iterator[tuple[int, Observed]]:
    """What is known after some days: windows of the first units are over after the thirtieth."""
    days = 30 + np.arange(len(arms)) // N_PER_DAY + 1
    unit_ids = tuple(f"c{number:05}" for number in range(len(arms)))
    for day in range(30 + every, 30 + N_DAYS + 1, every):
        n = int((days <= day).sum())
        counts = np.bincount(arms[:n], minlength=2)
        yield (
            day,
            Observed(
                now=START + timedelta(days=day),
                unit_ids=unit_ids,
                units=np.arange(n),
                arms=arms[:n],
                days=days[:n],
                metrics={"taken": MetricValues(taken[:n])},
                segments={},
                strata=np.zeros(n, dtype=np.int64),
                overlaps={},
                counts=tuple(ArmCounts(k, k, k, 0, k, k) for k in counts.tolist()),
                arrivals=counts[None, :],
            ),
        )


def is_ever_found(standing: Standing, seed: int, arms: np.ndarray | None = None, every: int = 5) -> bool:
    rng = np.random.default_rng(seed)
    n = N_DAYS * N_PER_DAY
    arms = rng.integers(2, size=n) if arms is None else arms
    taken = (rng.random(n) < 0.2).astype(np.float64)
    return any(analyse(standing, seen).verdicts[0].says in FOUND for _, seen in days_seen(arms, taken, every))


def bar(alpha: float, n_runs: int) -> float:
    return alpha + 3 * (alpha * (1 - alpha) / n_runs) ** 0.5


@pytest.mark.parametrize("n_runs", RUNS)
@pytest.mark.parametrize(
    ("plan", "status"),
    [
        pytest.param({"method": Method.FIXED, "planned_units": PLANNED}, Status.RUNNING, id="fixed-units"),
        pytest.param(
            {"method": Method.FIXED, "planned_end_at": START + timedelta(days=50, hours=7)},
            Status.RUNNING,
            id="fixed-end",
        ),
        pytest.param({"method": Method.SEQUENTIAL}, Status.RUNNING, id="sequential"),
        pytest.param(
            {"method": Method.GROUP_SEQUENTIAL, "n_looks": 4, "planned_units": 2 * PLANNED},
            Status.RUNNING,
            id="group-sequential",
        ),
    ],
)
def test_looking_daily_keeps_the_level(plan: dict[str, object], status: Status, n_runs: int) -> None:
    experiment = an_experiment(secondary=(), guardrails=(), **plan)
    standing = Standing(experiment=experiment, status=status, started_at=START)
    every = 10 if standing.experiment.method is Method.GROUP_SEQUENTIAL else 5
    found = np.mean([is_ever_found(standing, 1_000 + seed, every=every) for seed in range(n_runs)])
    assert found <= bar(0.05, n_runs)


@pytest.mark.parametrize("n_runs", RUNS)
def test_stopping_a_fixed_experiment_when_it_looks_good_keeps_the_level(n_runs: int) -> None:
    """Before the plan is fulfilled a stop is judged by the stricter test, lest the end be chosen."""
    experiment = an_experiment(secondary=(), guardrails=(), method=Method.FIXED, planned_units=PLANNED)
    standing = Standing(experiment=experiment, status=Status.STOPPED, started_at=START)
    found = np.mean([is_ever_found(standing, 9_000 + seed) for seed in range(n_runs)])
    assert found <= bar(0.055, n_runs)


@pytest.mark.parametrize("n_runs", RUNS)
def test_randomisation_test_of_a_balanced_draw_keeps_the_level_when_looked_at_daily(n_runs: int) -> None:
    salts = tuple(f"s{number}" for number in range(100))
    experiment = an_experiment(
        secondary=(), guardrails=(), method=Method.FIXED, planned_units=300, is_balanced=True
    )
    standing = Standing(
        experiment=experiment, status=Status.RUNNING, started_at=START, salt="s0", admissible_salts=salts
    )
    units = [f"c{number:05}" for number in range(N_DAYS * N_PER_DAY)]
    draws = assignments_of(standing, salts, units).astype(np.int64)
    found = np.mean([is_ever_found(standing, seed, draws[seed % 100], every=20) for seed in range(n_runs)])
    assert found <= bar(0.05, n_runs)


def test_once_the_plan_is_fulfilled_nothing_that_comes_later_changes_the_figures() -> None:
    for plan in (
        {"planned_units": PLANNED},
        {"planned_end_at": START + timedelta(days=50, hours=7)},
        {"planned_units": 10 * PLANNED, "planned_end_at": START + timedelta(days=50)},
    ):
        experiment = an_experiment(secondary=(), guardrails=(), method=Method.FIXED, **plan)
        standing = Standing(experiment=experiment, status=Status.RUNNING, started_at=START)
        rng = np.random.default_rng(5)
        arms = rng.integers(2, size=N_DAYS * N_PER_DAY)
        taken = (rng.random(len(arms)) < 0.2).astype(np.float64)
        over = [
            results.comparisons
            for _, seen in days_seen(arms, taken, 1)
            if (results := analyse(standing, seen)).is_over
        ]
        assert len(over) >= 20
        assert all(lines[0].absolute == over[0][0].absolute for lines in over)
        assert over[0][0].n_units == PLANNED
