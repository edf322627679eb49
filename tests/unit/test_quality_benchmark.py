"""What the quality benchmark prints: ours against the best of each kind, pooled and cut by cut."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

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
