"""Tune every peer on earlier windows, then rank for the cuts that are reported on; files in, files out.

Run by `benchmarks/quality.py` with the peers' own Python. The folder holds one folder for each cut, a split
(see `splits.py`) with earlier windows in ``tune-1``, ``tune-2`` … Written into each: ``lists.parquet``
(peer, client, rank, offer) and ``chosen.json`` (by peer: parameters, NDCG on the windows, trials, seconds).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from models import PEERS, Params, Peer
from splits import Split
from threadpoolctl import threadpool_limits

FAILED = -1.0
LISTS = {"peer": pl.String, "client": pl.Int64, "rank": pl.Int64, "offer": pl.Int64}


def tune(peer: Peer, windows: list[Split], seconds: float, seed: int) -> dict[str, object]:
    """Random search for so many seconds; the library's own parameters are tried first.

    Without a window nothing can be chosen, and the library's own stay.
    """
    rng = np.random.default_rng(seed)
    params = {name: choices[0] for name, choices in peer.space.items()}
    best, best_score, n_trials, began = params, FAILED, 0, time.monotonic()
    n_points = int(np.prod([len(choices) for choices in peer.space.values()]))
    tried: set[str] = set()
    while windows and len(tried) < n_points:
        key = json.dumps(params, sort_keys=True)
        if key not in tried:
            tried.add(key)
            n_trials += 1
            score = try_params(peer, windows, params)
            if np.isfinite(score) and score > best_score:
                best, best_score = params, score
        if time.monotonic() - began > seconds:
            break
        params = {name: choices[rng.integers(len(choices))] for name, choices in peer.space.items()}
    spent = time.monotonic() - began
    return {"params": best, "tuning_ndcg": best_score, "n_trials": n_trials, "seconds": round(spent, 1)}


def try_params(peer: Peer, windows: list[Split], params: Params) -> float:
    """Mean NDCG on the windows; −1 where the library fails with these parameters."""
    try:
        return float(np.mean([w.ndcg(w.rank(peer.score(w, params))) for w in windows]))
    except Exception as error:  # noqa: BLE001 – libraries fail in ways of their own; one trial is lost
        print(f"{peer.library} failed with {json.dumps(params)}: {error!r}", file=sys.stderr, flush=True)
        return FAILED


def rank(name: str, peer: Peer, split: Split, params: Params) -> pl.DataFrame:
    """The lists of one peer: peer, client, rank (1-based), offer."""
    ranked = split.rank(peer.score(split, params))
    n, k = ranked.shape
    return pl.DataFrame(
        {
            "peer": [name] * (n * k),
            "client": np.repeat(split.judged, k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "offer": ranked.ravel(),
        },
        schema=LISTS,
    )


def run_cut(folder: Path, names: list[str], seconds: float, seed: int) -> None:
    """Tune and rank for one cut."""
    split = Split.read(folder)
    windows = [Split.read(window) for window in sorted(folder.glob("tune-*"))]
    chosen, lists = {}, [pl.DataFrame(schema=LISTS)]
    for name in names:
        peer = PEERS[name]
        found = tune(peer, windows, seconds, seed)
        chosen[name] = {"library": peer.library, **found}
        try:
            lists.append(rank(name, peer, split, found["params"]))
        except Exception as error:  # noqa: BLE001 – the other peers still take part
            chosen[name]["failed"] = repr(error)
        print(f"{folder.name} {name}: {json.dumps(chosen[name])}", file=sys.stderr, flush=True)
    pl.concat(lists).write_parquet(folder / "lists.parquet")
    (folder / "chosen.json").write_text(json.dumps(chosen, indent=2) + "\n")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of cuts")
    parser.add_argument("--seconds", type=float, required=True, help="search budget of each peer and cut")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    with threadpool_limits(asked.threads):
        for meta in sorted(asked.folder.glob("*/meta.json")):
            run_cut(meta.parent, asked.peers, asked.seconds, asked.seed)


if __name__ == "__main__":
    main()
