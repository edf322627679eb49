"""The peers' runner: what fails costs itself only."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import polars as pl
import pytest


@pytest.fixture(scope="module")
def runner(root_dir: Path) -> Iterator[ModuleType]:
    """Loaded beside a stand-in for the peers, whose libraries are not in this environment."""
    folder = root_dir / "benchmarks" / "peers"
    stand_in = ModuleType("models")
    vars(stand_in).update(PEERS={}, Params=dict, Peer=SimpleNamespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "models", stand_in)
        for name in ("splits", "run"):
            spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
        yield module


def write_split(folder: Path, *, tells_truth: bool) -> None:
    """Two clients, three offers, lists of two; the second client has two of the offers."""
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"n_clients": 2, "n_offers": 3, "k": 2}))
    pl.DataFrame(schema={"client": pl.Int64, "offer": pl.Int64}).write_parquet(folder / "train.parquet")
    pl.DataFrame(schema={"client": pl.Int64, "trait": pl.String}).write_parquet(folder / "traits.parquet")
    pl.DataFrame({"client": [0, 1]}).write_parquet(folder / "judged.parquet")
    pl.DataFrame({"client": [1, 1], "offer": [0, 1]}).write_parquet(folder / "seen.parquet")
    if tells_truth:
        pl.DataFrame({"client": [0, 1], "offer": [0, 2]}).write_parquet(folder / "relevant.parquet")


def peer(fails_at: tuple[int, ...]) -> SimpleNamespace:
    def score(split: object, params: dict[str, int]) -> np.ndarray:
        if params["size"] in fails_at:
            raise ValueError("singular")
        return np.array([[3.0, 2.0, 1.0]] * 2)

    return SimpleNamespace(library="lib", score=score, space={"size": (1, 2)})


def run_cut(
    runner: ModuleType, folder: Path, peers: dict[str, SimpleNamespace]
) -> dict[str, dict[str, object]]:
    write_split(folder, tells_truth=False)
    write_split(folder / "tune-1", tells_truth=True)
    runner.PEERS = peers
    runner.run_cut(folder, list(peers), 5.0, 1)
    found: dict[str, dict[str, object]] = json.loads((folder / "chosen.json").read_text())
    return found


def test_a_trial_that_fails_is_named_and_costs_itself_only(
    runner: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = run_cut(runner, tmp_path / "cut", {"half": peer((1,))})
    assert chosen["half"]["params"] == {"size": 2}
    assert chosen["half"]["tuning_ndcg"] == 1.0
    assert chosen["half"]["n_trials"] == 2
    assert "lib failed with {\"size\": 1}: ValueError('singular')" in capsys.readouterr().err


def test_a_peer_that_always_fails_leaves_the_others(runner: ModuleType, tmp_path: Path) -> None:
    chosen = run_cut(runner, tmp_path / "cut", {"never": peer((1, 2)), "ever": peer(())})
    assert chosen["never"]["tuning_ndcg"] == -1.0
    assert "singular" in str(chosen["never"]["failed"])
    lists = pl.read_parquet(tmp_path / "cut" / "lists.parquet")
    assert set(lists["peer"]) == {"ever"}


def test_slots_that_nothing_may_fill_are_empty(runner: ModuleType, tmp_path: Path) -> None:
    run_cut(runner, tmp_path / "cut", {"ever": peer(())})
    lists = pl.read_parquet(tmp_path / "cut" / "lists.parquet").sort("client", "rank")
    assert lists["offer"].to_list() == [0, 1, 2, -1]
