"""Recipes judged by the truth of the very world they learnt from, each life by what it teaches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.domain import Target
from recsys.models.base import FloatArray
from training.pipelines.worlds import verdict
from training.pipelines.worlds.truth import WorldTruth
from training.pipelines.worlds.verdict import Life, Said, judge_world, live

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
SIZE = {"n_clients": 40, "seed": 3}


def write_world(folder: Path, extra: str = "") -> Path:
    folder.mkdir()
    shutil.copy(DEMO / "worlds" / "typical.toml", folder / "typical.toml")
    path = folder / "mine.toml"
    path.write_text(
        f'base = "typical.toml"\nname = "mine"\nn_clients = 150\nn_months = 3\n{extra}', encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("verdict") / "one")


@pytest.fixture(scope="module")
def life(world: Path) -> Life:
    return live(world, DEMO, SIZE, (), world.parent / "run")


def test_data_of_an_edited_world_are_made_anew(world: Path, life: Life) -> None:
    run = world.parent / "run"
    (data,) = run.glob("*/data/holdings.parquet")
    made_at = data.stat().st_mtime_ns
    live(world, DEMO, SIZE, (), run)
    assert data.stat().st_mtime_ns == made_at
    edited = write_world(world.parent / "other", 'title = "Another one"\n')
    live(edited, DEMO, SIZE, (), run)
    assert len(list(run.glob("mine-40-3-*/data"))) == 2


def test_data_of_another_catalogue_are_made_anew(world: Path, life: Life, tmp_path: Path) -> None:
    run = world.parent / "catalogues"
    for name in ("catalogue.yaml", "expert.yaml", "placements.yaml"):
        if (DEMO / name).exists():
            shutil.copy(DEMO / name, tmp_path / name)
    live(world, tmp_path, SIZE, (), run)
    text = (tmp_path / "catalogue.yaml").read_text(encoding="utf-8")
    (tmp_path / "catalogue.yaml").write_text(f"# edited\n{text}", encoding="utf-8")
    live(world, tmp_path, SIZE, (), run)
    assert len(list(run.glob("mine-40-3-*/data"))) == 2


def said_of(truth: WorldTruth, target: Target) -> Said:
    chances: FloatArray = truth.chances(target)
    return Said(target, chances, chances, 0.0)


def test_every_life_is_judged_by_its_own_target(
    world: Path, life: Life, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    targets = [Target.ADOPTION, *[Target.ACCEPTANCE] * 7]
    lives = iter([replace(life, said={"a": said_of(life.truth, target)}) for target in targets])
    monkeypatch.setattr(verdict, "live", lambda *_: next(lives))
    found = judge_world(world, DEMO, ["a"], 40, tmp_path)["a"]
    assert isinstance(found, dict)
    # each estimates its own target exactly, so nothing is off
    assert found["slope"] == pytest.approx(1.0, abs=1e-6)
    assert found["observed_to_expected"] == pytest.approx(1.0)
    assert found["target"] == "acceptance and adoption"


def test_recipes_of_one_file_name_stand_apart(
    world: Path, life: Life, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = ["a/x.toml", "b/x.toml"]
    said = {
        asked[0]: said_of(life.truth, Target.ACCEPTANCE),
        asked[1]: said_of(life.truth, Target.ADOPTION),
    }
    monkeypatch.setattr(verdict, "live", lambda *_: replace(life, said=said))
    found = judge_world(world, DEMO, asked, 40, tmp_path)
    assert set(asked) < set(found)
    assert np.isfinite(found["seconds"])
