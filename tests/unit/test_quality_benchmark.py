"""What the quality benchmark prints: ours against the best of each kind, pooled and cut by cut."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.evaluation.intervals import Estimate
from training.pipelines.selection.contest import Scored

KINDS = {"ours": ["default"], "parts": ["blend"], "single": ["ease", "als"], "peer": ["peer:ease"]}


@pytest.fixture(scope="module")
def quality(root_dir: Path) -> ModuleType:
    path = root_dir / "benchmarks" / "quality.py"
    spec = importlib.util.spec_from_file_location("quality_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scored() -> Scored:
    rng = np.random.default_rng(4)
    base = rng.uniform(0.1, 0.3, 200)
    lead = {"default": 0.05, "blend": 0.09, "ease": 0.02, "als": 0.0, "peer:ease": 0.03}
    values = {name: base + by + rng.normal(0, 0.01, 200) for name, by in lead.items()}
    values["als"][:100] += 0.1
    return Scored(("a",) * 100 + ("b",) * 100, tuple(str(row % 150) for row in range(200)), values)


def test_ours_is_held_against_the_best_of_each_kind(quality: ModuleType, scored: Scored) -> None:
    found = quality.compare(scored, KINDS)
    assert found["n_clients"] == 200
    assert found["best_peer"]["against"] == "peer:ease"
    assert found["best_peer"]["low"] > 0
    assert found["best_simple"]["against"] == "ease"
    assert found["best_single"]["against"] == "als"
    expected = scored.mean("default") / scored.mean("peer:ease")
    assert found["best_peer"]["ratio"] == pytest.approx(expected)


def test_each_cut_has_its_own_best(quality: ModuleType, scored: Scored) -> None:
    cuts = quality.compare(scored, KINDS)["cuts"]
    assert [cuts[cut]["best_single"]["against"] for cut in "ab"] == ["als", "ease"]
    assert cuts["a"]["n_clients"] == 100


def test_without_peers_there_is_no_best_peer(quality: ModuleType, scored: Scored) -> None:
    assert "best_peer" not in quality.compare(scored, {**KINDS, "peer": []})


def test_what_is_printed_is_json(quality: ModuleType) -> None:
    told = quality.plain({"a": Estimate(1 / 3, float("-inf"), 1.0), "b": {"c": float("nan"), "d": [1]}})
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "a": {"value": 0.3333, "low": None, "high": 1.0},
        "b": {"c": None, "d": [1]},
    }


def test_data_are_made_anew_and_last_as_long_as_the_truth(
    quality: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier run prepared, maybe from other raw data, is not what this one judges."""
    made: list[Path] = []

    def prepare(raw: Path, out: Path) -> None:
        made.append(raw)
        out.mkdir(parents=True, exist_ok=True)
        known = {"recorded_at": datetime(2026, 3, len(made), 12, tzinfo=UTC)}
        client = {"client_id": "c", "valid_from": known["recorded_at"], "name": "C", **known}
        offer = {"offer_id": "o", "kind": "own", "title_ru": "О", "title_en": "O", **known}
        held = {"holding_id": "h", "client_id": "c", "offer_id": "o", **known}
        held["connected_at"] = known["recorded_at"]
        for name, row in {"clients": client, "offers": offer, "holdings": held}.items():
            pl.DataFrame([row]).write_parquet(out / f"{name}.parquet")

    monkeypatch.setitem(quality.PROTOCOLS, "shop", quality.Protocol(prepare, "shop", (), 30))
    asked = quality.Asked(tmp_path / "raw", tmp_path, ("default",), ("2026-02-20",), 0.0, tmp_path, 1)
    for last_day in (1, 2):
        with pytest.raises(DataError, match=rf"reach beyond the data, whose last day is 2026-03-0{last_day}"):
            quality.judge_public("shop", asked)
    assert made == [tmp_path / "raw" / "data" / "shop"] * 2


def test_what_is_wrong_is_one_line(
    quality: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "quality.py",
        "--dataset",
        "online-retail",
        "--from",
        str(tmp_path),
        "--run",
        str(tmp_path / "run"),
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=r"there is no online_retail\.parquet; give its folder with --from"):
        quality.main()
