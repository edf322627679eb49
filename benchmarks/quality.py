"""Ours against every single model and every open peer, or against the truth of the made-up operator.

The last line is one JSON object; docs/how-to/quality.md says how to make everything it needs and how to read
it. Public data are given as ``--from``; the peers run in an environment of their own (``--peers-python``) and
are left out, with a word, where it is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Beside this script lies another that is called as the package is: training.py.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

from threadpoolctl import threadpool_limits

from recsys.data.read import read_dataset
from recsys.errors import RecsysError
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import SIMPLE_MODELS
from recsys.models.base import IntArray
from recsys.models.registry import MODELS
from training.pipelines.evaluation.contestants import Contestant, contestant
from training.pipelines.evaluation.cuts import CutTruth, check_adopters, check_horizon, parse_cut, take_cut
from training.pipelines.selection.contest import Scored, name_of, rank_adopters, score_lists
from training.pipelines.selection.peer_files import read_lists, write_split
from training.pipelines.selection.windows import take_windows
from training.pipelines.worlds.verdict import judge_world
from training.prepare import gov_site_services, online_retail

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "datasets" / "demo"
WORLDS = ("typical", "small", "sparse", "drifting", "adversarial")
REFERENCE = Path(os.environ.get("RECSYS_REFERENCE", ROOT.parent / "shared"))
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
OURS = "default"
PARTS = ("blend",)
AIDED = "_decayed"  # a peer that is given weights which its library does not make
STACK = "boosted"  # nothing by itself: a recipe says what it is made of
K = 10
SEED = 1


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a public data set is judged.

    Attributes:
        prepare: Makes the tables.
        folder: Folder of the raw data.
        cuts: Where the truth begins.
        horizon_days: How long it goes on.
    """

    prepare: Callable[[Path, Path], object]
    folder: str
    cuts: tuple[str, ...]
    horizon_days: int = 92


PROTOCOLS: Mapping[str, Protocol] = {
    "online-retail": Protocol(online_retail.prepare, "online_retail", ("2011-06-10",)),
    "gov-site-services": Protocol(
        gov_site_services.prepare,
        "gov_site_services",
        ("2024-04-01", "2024-05-06", "2024-06-03", "2024-07-01"),
    ),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run on public data was asked for.

    Attributes:
        raw: Folder of the raw data.
        run: Folder for what is made.
        ours: Recipes that are called ours; the first one is compared.
        cuts: Cuts instead of the protocol's.
        seconds: Search budget of each peer at each cut; 0 = no peers.
        peers_python: The peers' own Python.
        threads: Threads for all.
    """

    raw: Path
    run: Path
    ours: tuple[str, ...]
    cuts: tuple[str, ...]
    seconds: float
    peers_python: Path
    threads: int


def judge_public(name: str, asked: Asked) -> dict[str, object]:
    """Ours, every single model and every peer on one public data set."""
    protocol, folder = PROTOCOLS[name], asked.run / name
    data = folder / "data"
    protocol.prepare(asked.raw / "data" / protocol.folder, data)  # seconds, and never those of another --from
    dataset = read_dataset(data)
    days = asked.cuts or protocol.cuts
    cuts = [parse_cut(day, dataset.meta.time_zone) for day in days]
    check_horizon(dataset, cuts, protocol.horizon_days)
    truths = [take_cut(dataset, cut, protocol.horizon_days) for cut in cuts]
    for truth in truths:
        check_adopters(truth, protocol.horizon_days)
    lists, left_out = rank_ours(asked.ours, truths)
    kinds: dict[str, list[str]] = {
        "ours": list(asked.ours),
        "parts": [one for one in lists if one in PARTS],
        "single": [one for one in lists if one not in (*asked.ours, *PARTS)],
        "peer": [],
        "aided": [],
    }
    if asked.seconds > 0 and asked.peers_python.exists():
        splits = folder / "splits"
        shutil.rmtree(splits, ignore_errors=True)
        for truth in truths:
            write_split(truth, K, splits / name_of(truth), tells_truth=False)
            windows = take_windows(dataset, truth.as_of, protocol.horizon_days)
            for number, window in enumerate(windows, start=1):
                write_split(window, K, splits / name_of(truth) / f"tune-{number}", tells_truth=True)
        run_peers(splits, asked)
        returned = [read_lists(truth, K, splits / name_of(truth)) for truth in truths]
        for peer in dict.fromkeys(peer for of_cut in returned for peer in of_cut):
            if not all(peer in of_cut for of_cut in returned):
                left_out[f"peer:{peer}"] = "it failed at some cut; see chosen.json there"
                continue
            kinds["aided" if peer.endswith(AIDED) else "peer"].append(f"peer:{peer}")
            lists[f"peer:{peer}"] = [of_cut[peer] for of_cut in returned]
    elif asked.seconds > 0:
        left_out["peers"] = f"{asked.peers_python} is missing: make bench-quality creates it"
    return {"kinds": kinds, "left_out": left_out, **compare(score_lists(truths, lists), kinds)}


def rank_ours(
    recipes: Sequence[str], truths: Sequence[CutTruth]
) -> tuple[dict[str, list[IntArray]], dict[str, str]]:
    """Lists of our recipes and of every single model, and who cannot take part and why."""
    lists: dict[str, list[IntArray]] = {}
    left_out: dict[str, str] = {}
    for name in (*recipes, *(one for one in MODELS if one != STACK)):
        began = time.monotonic()
        try:
            item: Contestant = contestant(name)
            lists[name] = [rank_adopters(item, truth, K, SEED) for truth in truths]
        except RecsysError as error:
            if name in recipes:
                raise
            left_out[name] = str(error)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    return lists, left_out


def run_peers(splits: Path, asked: Asked) -> None:
    """Let the peers tune and rank in their own environment; only files cross the border."""
    threads = {name: str(asked.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    script = ROOT / "benchmarks" / "peers" / "run.py"
    options = ["--folder", splits, "--seconds", str(asked.seconds), "--threads", str(asked.threads)]
    command = [asked.peers_python.absolute(), script, *options]
    subprocess.run(command, check=True, env={**os.environ, **threads})


def compare(scored: Scored, kinds: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """NDCG of all, and ours against the best of each kind: pooled over the cuts, and cut by cut."""
    ours = kinds["ours"][0]
    rivals = {
        "best_peer": list(kinds["peer"]),
        "best_single": list(kinds["single"]),
        "best_simple": [name for name in SIMPLE_MODELS if name in kinds["single"]],
        "best_of_all": [*kinds["single"], *kinds["peer"]],
    }

    def verdict(cut: str | None) -> dict[str, object]:
        rows = [place for place, name in enumerate(scored.cuts) if cut is None or name == cut]
        against = {
            kind: scored.difference(ours, scored.best(names, cut), cut)
            for kind, names in rivals.items()
            if names
        }
        ndcg = {name: scored.mean(name, cut) for name in scored.values}
        return {"n_clients": len(rows), "ndcg": ndcg, **against}

    cuts = {cut: verdict(cut) for cut in dict.fromkeys(scored.cuts)}
    return {**verdict(None), "cuts": cuts}


def plain(value: object) -> object:
    """Nested results as JSON takes them, with four digits; what is not finite is null."""
    if isinstance(value, Estimate):
        return plain({"value": value.value, "low": value.low, "high": value.high})
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def parse_arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=(*PROTOCOLS, "demo"), default="demo")
    parser.add_argument("--models", nargs="+", default=[OURS], help="recipes or recipe files called ours")
    parser.add_argument("--run", type=Path, default=Path("quality-run"), help="folder for what is made")
    parser.add_argument("--threads", type=int, default=2)
    public = parser.add_argument_group("public data")
    public.add_argument("--from", dest="raw", type=Path, default=REFERENCE, help="folder with data/<name>")
    public.add_argument("--cuts", nargs="+", default=[], help="days instead of the protocol's")
    public.add_argument(
        "--seconds", type=float, default=40.0, help="search budget of a peer at a cut; 0: none"
    )
    public.add_argument("--peers-python", type=Path, default=PEERS_PYTHON)
    demo = parser.add_argument_group("demo")
    demo.add_argument("--clients", type=int, default=20_000)
    demo.add_argument("--worlds", nargs="+", default=WORLDS, help="names, or TOML files")
    return parser.parse_args()


def main() -> None:
    """Judge what is asked for."""
    asked = parse_arguments()
    try:
        found = judge(asked)
    except RecsysError as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(plain({"dataset": asked.dataset, **found})))


def judge(asked: argparse.Namespace) -> dict[str, object]:
    """What the data set that is asked for says."""
    with threadpool_limits(asked.threads):
        if asked.dataset == "demo":
            return {"clients": asked.clients, "worlds": judge_demo(asked)}
        return judge_public(
            asked.dataset,
            Asked(
                raw=asked.raw,
                run=asked.run,
                ours=tuple(asked.models),
                cuts=tuple(asked.cuts),
                seconds=asked.seconds,
                peers_python=asked.peers_python,
                threads=asked.threads,
            ),
        )


def judge_demo(asked: argparse.Namespace) -> dict[str, object]:
    """Every world asked for."""
    worlds: dict[str, object] = {}
    for name in asked.worlds:
        path = DEMO / "worlds" / f"{name}.toml" if name in WORLDS else Path(name)
        run = asked.run / "demo"
        worlds[name] = judge_world(path, DEMO, asked.models, asked.clients, run)
        print(f"{name}\n{json.dumps(plain(worlds[name]), indent=1)}", flush=True)
    return worlds


if __name__ == "__main__":
    main()
