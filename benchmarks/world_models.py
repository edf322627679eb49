"""Are models ranked alike by offline NDCG@10 and by what their lists bring, in worlds whose truth is known?

The last line is one JSON object: by world, each model's NDCG and what its lists bring, how alike the two
rankings are (Kendall, Spearman), and the pairs of models that they contradict each other about.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

# Beside this script lies another that is called as the package is: training.py.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

from threadpoolctl import threadpool_limits

from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.world import World
from training.pipelines.worlds.models import (
    OnlineValues,
    PairedValues,
    agreement,
    live,
    pool,
    score_offline,
    score_online,
)

DEMO = Path(__file__).resolve().parent.parent / "datasets" / "demo"
WORLDS = ("typical", "small", "sparse", "drifting", "adversarial")
MODELS = ("popularity", "expert", "neighbours", "ease", "als")
MOST_LIVES = 8
SAME_WAY = 0.6


def measure(world: World, n_clients: int) -> tuple[PairedValues, OnlineValues]:
    """Both figures; a world smaller than asked for is lived several times."""
    catalogue = read_catalogue(DEMO)
    expert = (DEMO / "expert.yaml").read_text(encoding="utf-8")
    offline, online = [], []
    for number in range(min(MOST_LIVES, max(1, n_clients // world.n_clients))):
        asked = {"n_clients": min(n_clients, world.n_clients), "seed": world.seed + number}
        life = world.model_copy(update=asked)
        dataset = live(life, catalogue, expert)
        offline.append(score_offline(life, catalogue, dataset, MODELS))
        online.append(score_online(life, catalogue, dataset, MODELS))
    accepted, margin = pool([part.accepted for part in online]), pool([part.margin for part in online])
    return pool(offline), OnlineValues(accepted, margin)


def report(name: str, n_clients: int) -> dict[str, object]:
    """Measure one world and print its table."""
    started = time.monotonic()
    offline, online = measure(World.load(DEMO / "worlds" / f"{name}.toml"), n_clients)
    alike = agreement(offline, online.accepted)
    seconds = time.monotonic() - started
    print(f"{name}: {seconds:.0f} s, Kendall {alike.kendall:.2f}, Spearman {alike.spearman:.2f}", flush=True)
    print(f"  {'':<12}{'NDCG@10':>9}{'of oracle':>16}{'accepted':>10}{'of oracle':>16}{'margin':>9}")
    models = {}
    for model in (*MODELS, "oracle"):
        shares = [figure.share(model) for figure in (offline, online.accepted)]
        parts = [f"{share:.1%} ± {error:.1%}" for share, error in shares]
        means = offline.mean(model), online.accepted.mean(model), online.margin.mean(model)
        print(f"  {model:<12}{means[0]:>9.3f}{parts[0]:>16}{means[1]:>10.3f}{parts[1]:>16}{means[2]:>9,.0f}")
        models[model] = {
            "ndcg": round(means[0], 4),
            "accepted": round(means[1], 4),
            "margin": round(means[2]),
        }
    for one, other in alike.contradictions:
        print(f"  offline {one} is better than {other}, online {other} is better than {one}")
    rounded = {"kendall": round(alike.kendall, 2), "spearman": round(alike.spearman, 2)}
    return {"models": models, **asdict(alike), **rounded}


def main() -> None:
    """Measure the worlds asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--worlds", nargs="+", default=WORLDS, choices=WORLDS)
    asked = parser.parse_args()
    with threadpool_limits(1):
        worlds = {name: report(name, asked.clients) for name in asked.worlds}
    n_alike = sum(
        not world["contradictions"] and float(str(world["kendall"])) >= SAME_WAY for world in worlds.values()
    )
    print(json.dumps({"clients": asked.clients, "worlds": worlds, "n_ranked_alike": n_alike}))


if __name__ == "__main__":
    main()
