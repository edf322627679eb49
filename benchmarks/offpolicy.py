"""Off-policy evaluation: how fast, and in a made-up world how near the truth and the long run.

The last line is one JSON object: ``dr_bootstrap_s`` and ``dr_bootstrap_rss_mb`` (doubly robust with 200
resamples of clients on 1,000,000 logged slots); with ``--world`` also, by policy, the estimate, its truth
over the logged contexts, and what the policy brings per decision when it is lived under.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

# Beside this script lies another that is called as the package is: training.py.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.evaluation.offpolicy import Logged, bootstrap, cross_fitted, doubly_robust, folds_of
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.world import World
from training.pipelines.worlds.offpolicy import compare

DEMO = Path(__file__).resolve().parent.parent / "datasets" / "demo"
N_SLOTS, N_CLIENTS, N_OFFERS, N_RESAMPLES = 1_000_000, 100_000, 100, 200
N_LIVED = 6


def bootstrap_seconds() -> dict[str, float]:
    """Cross-fit a model of rewards and resample a doubly robust estimate."""
    rng = np.random.default_rng(1)
    clients = np.unique(rng.integers(0, N_CLIENTS, N_SLOTS), return_inverse=True)[1]
    offers, slots = rng.integers(0, N_OFFERS, N_SLOTS), rng.integers(0, 5, N_SLOTS)
    rewards = (rng.random(N_SLOTS) < 0.02).astype(np.float64)
    weights = rng.exponential(1.0, N_SLOTS)
    started_at = time.perf_counter()
    folds = folds_of(clients, 5, rng)
    means = cross_fitted(offers, slots, rewards, folds, (N_OFFERS, 5))
    log = Logged(rewards, weights, means[folds, offers, slots], means.mean(axis=1)[folds, slots])
    bootstrap({"dr": doubly_robust(log)}, clients, rng, n_resamples=N_RESAMPLES).interval("dr")
    return {
        "dr_bootstrap_s": round(time.perf_counter() - started_at, 2),
        "dr_bootstrap_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="", help="name of a world of datasets/demo/worlds")
    parser.add_argument("--clients", type=int, default=5000)
    asked = parser.parse_args()
    found: dict[str, object] = dict(bootstrap_seconds())
    if asked.world:
        world = World.load(DEMO / "worlds" / f"{asked.world}.toml")
        # The truth of lists that propose connections and upgrades only is exact.
        changed = {
            "n_clients": asked.clients,
            "aftersales": world.aftersales.model_copy(update={"share": 0.0}),
        }
        with tempfile.TemporaryDirectory() as folder:
            found["policies"] = compare(
                world.model_copy(update=changed), read_catalogue(DEMO), DEMO, Path(folder), N_LIVED
            )
    print(json.dumps(found))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
