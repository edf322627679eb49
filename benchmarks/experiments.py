"""How fast experiments are: assignment, analysis, and the off-policy estimate that stands beside them.

The last line is one JSON object: ``assign_batch_per_s`` (units a second on one core), ``assign_single_us``
(one unit), ``analysis_s`` and ``analysis_rss_mb`` (1,000,000 clients, 10 metrics, 2 arms), ``dr_bootstrap_s``
(doubly robust with 200 resamples of clients on 1,000,000 logged slots); each part in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Beside this script lies another that is called as the package is: training.py.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

import numpy as np

from recsys.evaluation.offpolicy import Logged, bootstrap, doubly_robust
from recsys.experiments.analysis import analyse
from recsys.experiments.assignment import Assigner
from recsys.experiments.experiment import Status, read_experiment
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import ArmCounts, MetricValues, Observed
from recsys.experiments.segments import Segment

N_UNITS, N_CLIENTS, N_METRICS = 1_000_000, 1_000_000, 10
N_SLOTS, N_LOGGED_CLIENTS, N_RESAMPLES = 1_000_000, 100_000, 200
START = datetime(2026, 1, 1, tzinfo=UTC)


def a_standing() -> Standing:
    """A running experiment with ten metrics, half of them money."""
    secondary = ", ".join(
        f"{{name: m{number}, measure: {'margin' if number % 2 else 'activations'},"
        f" kind: mean, covariate: {'margin' if number % 2 else 'activations'}"
        f"{', winsorised_at: 0.99' if number % 2 else ''}}}"
        for number in range(1, N_METRICS)
    )
    text = f"""{{experiment_id: bench, title: t, hypothesis: h, owner: o, minimum_effect: 0.05,
      arms: [{{name: control, weight: 0.5}}, {{name: new, weight: 0.5}}],
      primary: {{name: m0, measure: activations}}, secondary: [{secondary}]}}"""
    return Standing(experiment=read_experiment(text, "bench"), status=Status.RUNNING, started_at=START)


def assign() -> dict[str, float]:
    """Units a second of one core in a batch, and its microseconds for one: the best of five."""
    assigner = Assigner(a_standing())
    units = [f"client-{number}" for number in range(N_UNITS)]
    batch, single = [], []
    for _ in range(5):
        started_at = time.process_time()
        assigner.arms_of(units)
        batch.append(time.process_time() - started_at)
        started_at = time.process_time()
        for unit in units[:20_000]:
            assigner.arm_of(unit)
        single.append((time.process_time() - started_at) / 20_000)
    return {
        "assign_batch_per_s": round(N_UNITS / min(batch)),
        "assign_single_us": round(1e6 * min(single), 2),
    }


def analysis() -> dict[str, float]:
    """Seconds of one analysis, segments and course over time included, and the peak of its process."""
    rng = np.random.default_rng(1)
    units = np.sort(rng.integers(0, int(0.9 * N_CLIENTS), N_CLIENTS))
    units = np.unique(units, return_inverse=True)[1]
    arms = rng.integers(2, size=int(units[-1]) + 1)[units]
    taken = (rng.random(N_CLIENTS) < 0.03).astype(np.float64)
    money = taken * rng.lognormal(8, 1.5, N_CLIENTS)
    metrics = {"m0": MetricValues(taken)}
    for number in range(1, N_METRICS):
        values = money if number % 2 else taken
        metrics[f"m{number}"] = MetricValues(values, before=rng.permutation(values))
    n = N_CLIENTS // 2
    counts = ArmCounts(n, n, n, 0, n, n)
    labels = ("micro", "small", "medium", "large")
    observed = Observed(
        now=START + timedelta(days=90),
        unit_ids=tuple(map(str, range(int(units[-1]) + 1))),
        units=units,
        arms=arms,
        days=rng.integers(30, 90, N_CLIENTS),
        metrics=metrics,
        segments={"size": Segment(labels, rng.integers(4, size=N_CLIENTS))},
        strata=rng.integers(8, size=int(units[-1]) + 1)[units],
        overlaps={},
        counts=(counts, counts),
        arrivals=rng.multinomial(n, np.full(60, 1 / 60), size=2).T,
    )
    started_at = time.perf_counter()
    analyse(a_standing(), observed)
    return {
        "analysis_s": round(time.perf_counter() - started_at, 2),
        "analysis_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def off_policy() -> dict[str, float]:
    """Seconds of a doubly robust estimate with its interval."""
    rng = np.random.default_rng(1)
    clients = np.unique(rng.integers(0, N_LOGGED_CLIENTS, N_SLOTS), return_inverse=True)[1]
    rewards = (rng.random(N_SLOTS) < 0.02).astype(np.float64)
    expected = rng.random(N_SLOTS) * 0.04
    logged = Logged(rewards, rng.exponential(1.0, N_SLOTS), expected, expected)
    started_at = time.perf_counter()
    bootstrap({"dr": doubly_robust(logged)}, clients, rng, n_resamples=N_RESAMPLES).interval("dr")
    return {"dr_bootstrap_s": round(time.perf_counter() - started_at, 2)}


def main() -> None:
    """Measure every part in a process of its own."""
    parts = {"assign": assign, "analysis": analysis, "off_policy": off_policy}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=parts, help="only this part, in this process")
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(parts[asked.part]()))
        return
    found: dict[str, float] = {}
    for name in parts:
        child = subprocess.run(
            [sys.executable, __file__, "--part", name],
            check=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found |= json.loads(child.stdout.splitlines()[-1])
        print(name, found, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
