"""Simulating refuses what it cannot use, and leaves nothing half-done."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from recsys.errors import ConfigError, DataError
from recsys.simulation.catalogue import Catalogue, catalogue_from_yaml, read_catalogue
from recsys.simulation.rules import Shelf, allowed_offers, make_shelf, needed_offers, replaced_offers
from recsys.simulation.world import World, check_world
from training.pipelines.worlds.simulate import simulate

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "datasets" / "demo"
WORLD = DEMO / "worlds" / "typical.toml"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


def _world_file(folder: Path, old: str, new: str) -> Path:
    text = WORLD.read_text(encoding="utf-8")
    assert old in text
    path = folder / "world.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[demand]\n", "[demand]\npbz = { pull = 1, staff = [1, 2] }\n", "not in the catalogue.*pbz"),
        ("loyalty = {", "# loyalty = {", "lacks offers of the catalogue.*loyalty"),
        ('moment = "start"', 'moment = "birth"', "not under moments.*birth"),
        ("MOW = 20", "XXX = 20", "regions are not in the catalogue.*XXX"),
        ("staff = [1, 7]", "staff = [7, 1]", "least, most.*vpbx-start"),
        ("seen = [0.95, 0.8,", "seen = [0.95,", "5 slots"),
        ("response_limit = 0.12", "response_limit = 0.2", "at most 1"),
        ("starts_on = 2025-05-01", "starts_on = 2025-05-02", "first day of a month"),
        ("visit = 0.37", "visit = 1.37", "portal.visit must be at most 1"),
        ("visit = 0.37", "visits = 0.37", "portal.visits is no known name"),
    ],
)
def test_a_mistake_in_the_world_is_named(
    tmp_path: Path, catalogue: Catalogue, old: str, new: str, message: str
) -> None:
    path = _world_file(tmp_path, old, new)
    with pytest.raises(ConfigError, match=message) as caught:
        check_world(World.load(path), catalogue, str(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"Europe/Moscow"', '"Europe/Moskva"', "no such time zone"),
        ("loyalty = {", "# loyalty = {", "lacks offers of the catalogue.*loyalty"),
    ],
)
def test_a_mistake_leaves_nothing_behind(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(DEMO, _world_file(tmp_path, old, new), tmp_path / "out", n_clients=5, n_months=1)
    assert [path.name for path in tmp_path.iterdir()] == ["world.toml"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work", encoding="utf-8")
    with pytest.raises(DataError, match="give a new or empty folder"):
        simulate(DEMO, WORLD, tmp_path, n_clients=5, n_months=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_another_dataset_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('name = "sales"\n', encoding="utf-8")
    (tmp_path / "clients.csv").write_text("client_id\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no simulation of 'demo'"):
        simulate(DEMO, WORLD, tmp_path, n_clients=5, n_months=1)
    assert (tmp_path / "clients.csv").read_text(encoding="utf-8") == "client_id\n"


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="is a file"):
        simulate(DEMO, WORLD, out, n_clients=5, n_months=1)


@pytest.mark.parametrize("n_clients", [1, 30])
def test_an_earlier_simulation_is_replaced(tmp_path: Path, n_clients: int) -> None:
    out = tmp_path / "deep" / "demo"
    assert simulate(DEMO, WORLD, out, n_clients=20, n_months=1).n_clients == 20
    assert simulate(DEMO, WORLD, out, n_clients=n_clients, n_months=2).n_clients == n_clients
    assert [path.name for path in out.parent.iterdir()] == ["demo"]
    assert (out / "expert.yaml").read_bytes() == (DEMO / "expert.yaml").read_bytes()


@pytest.mark.parametrize("changes", [{"n_clients": 0}, {"n_months": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        simulate(DEMO, WORLD, tmp_path / "out", **changes)


def test_the_shipped_world_fits_the_shipped_catalogue(catalogue: Catalogue) -> None:
    check_world(World.load(WORLD), catalogue, str(WORLD))


LADDER = """\
regions: {MOW: {ru: М, en: M}}
suppliers: {s: {ru: С, en: S}}
categories: {c: {ru: К, en: C}}
need_groups: {n: {ru: Н, en: N}}
offers:
  - {id: small, kind: own, supplier: s, category: c, need_group: n, title: {ru: М, en: S}, margin: 1,
     exclusive_slot: pbx, upgrades_to: big}
  - {id: big, kind: own, supplier: s, category: c, need_group: n, title: {ru: Б, en: B}, margin: 1,
     exclusive_slot: pbx}
  - {id: recording, kind: own, supplier: s, category: c, need_group: n, title: {ru: З, en: R}, margin: 1,
     requires: [[small, big]], excludes: [archive]}
  - {id: archive, kind: own, supplier: s, category: c, need_group: n, title: {ru: А, en: A}, margin: 1}
"""


@pytest.fixture(scope="module")
def ladder() -> Shelf:
    world = World.load(WORLD).model_copy(update={"regions": {"MOW": 1.0}})
    return make_shelf(catalogue_from_yaml(LADDER, "ladder.yaml"), world)


@pytest.mark.parametrize(
    ("held", "new", "upgrade"),
    [
        ([0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]),
        ([1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]),
        ([0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]),
        ([1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]),
        ([1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]),
    ],
)
def test_what_may_be_connected(ladder: Shelf, held: list[int], new: list[int], upgrade: list[int]) -> None:
    now = np.array([held], dtype=bool)
    allowed = allowed_offers(ladder, now, now, np.ones_like(now))
    assert allowed.new.astype(int).tolist() == [new]
    assert allowed.upgrade.astype(int).tolist() == [upgrade]


def test_what_is_on_its_way_blocks_but_meets_nothing(ladder: Shelf) -> None:
    held, ready = np.array([[True, False, False, False]]), np.zeros((1, 4), dtype=bool)
    allowed = allowed_offers(ladder, held, ready, np.ones_like(held))
    assert allowed.any.astype(int).tolist() == [[0, 0, 0, 1]]


def test_what_another_holding_rests_on_is_needed(ladder: Shelf) -> None:
    held = np.array([[1, 0, 1, 0], [1, 0, 0, 1]], dtype=bool)
    assert needed_offers(ladder, held).astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


def test_an_upgrade_replaces_the_edition_that_is_held(ladder: Shelf) -> None:
    held = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    replaced = replaced_offers(ladder, held, np.array([0, 1, 0]), np.array([1, 1, 3]))
    assert replaced.tolist() == [0, -1, -1]


def test_the_truth_shares_no_code_with_features_and_models() -> None:
    for path in (ROOT / "recsys" / "simulation").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {
            name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
        }
        shared = {
            name
            for name in imported
            if name.startswith(("recsys.features", "recsys.models", "recsys.decision"))
        }
        assert shared == set(), path.name
