"""A world's file is read strictly: a mistake is named with its file and key, and a base is one step only."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.face import Face
from recsys.simulation.world import World, check_world

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
WORLDS = DEMO / "worlds"
TYPICAL = WORLDS / "typical.toml"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


def _write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _derived(folder: Path, text: str) -> Path:
    return _write(folder, f'base = "{TYPICAL}"\n{text}')


@pytest.mark.parametrize("path", sorted(WORLDS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_world_fits_the_shipped_catalogue(path: Path, catalogue: Catalogue) -> None:
    check_world(World.load(path), catalogue, str(path))


def test_five_worlds_are_shipped_under_names_of_their_own() -> None:
    paths = sorted(WORLDS.glob("*.toml"))
    assert [path.stem for path in paths] == ["adversarial", "drifting", "small", "sparse", "typical"]
    assert len({(World.load(path).name, World.load(path).seed) for path in paths}) == 5


def test_a_world_says_only_what_is_different(tmp_path: Path) -> None:
    base = World.load(TYPICAL)
    world = World.load(_derived(tmp_path, "n_clients = 7\n[portal]\nvisit = 0.2\n"))
    assert (world.n_clients, world.portal.visit) == (7, 0.2)
    portal = base.portal.model_copy(update={"visit": 0.2})
    assert world == base.model_copy(update={"n_clients": 7, "portal": portal})


def test_an_entry_of_a_section_is_replaced_whole(tmp_path: Path) -> None:
    world = World.load(_derived(tmp_path, "[demand]\nfmc = { pull = 1.0, staff = [1, 2] }\n"))
    assert world.demand["fmc"].moment == "any"
    assert world.demand["fleet"] == World.load(TYPICAL).demand["fleet"]


def test_a_base_is_found_from_the_folder_of_its_file(tmp_path: Path) -> None:
    _write(tmp_path, TYPICAL.read_text(encoding="utf-8"), "whole.toml")
    assert World.load(_write(tmp_path, 'base = "whole.toml"\nseed = 9\n')).seed == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_client = 7\n", "n_client is no known name"),
        ("[portal]\nvisits = 0.2\n", "portal.visits is no known name"),
        ("[portal]\nvisit = 1.2\n", "portal.visit must be at most 1"),
        ("portal = 3\n", "portal: .*"),
        ("[life]\nexpand = nan\n", "life.expand must be a finite number"),
        ("[appetite]\norganic = inf\n", "appetite.organic must be a finite number"),
        ("[forms]\npartnership = { share = 1, staff = 2, spread = 1 }\n", "forms.partnership"),
        ("[appetite]\ncalendar = [1, 1]\n", "appetite.calendar must have 12 or more values"),
        (
            '[[logging]]\npolicy = "p"\nkind = "epsilon"\n',
            "logging.0.kind must be 'uniform', 'softmax' or 'greedy'",
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = _derived(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        World.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[regions]\n" + "\n".join(f"{name} = 0" for name in World.load(TYPICAL).regions),
            "above 0.* regions",
        ),
        ('[forms]\nllc = { share = 1, staff = 9, spread = 1, industries = "T" }', "forms.llc.industries"),
        ("[industries]\nM = { share = 0, revenue = 1 }", "forms.industries.*lawyer, notary"),
        ("[population]\nnew = 0.6\nprospects = 0.6", "at most 1.*1.2"),
        ('device_category = "garden"', "device_category.*garden"),
        ('[[logging]]\npolicy = "a"\n[[logging]]\npolicy = "a"\nfrom_month = 2', "name of its own.*a"),
        ('[[misconduct]]\nsupplier = "x"\nfrom_month = 1\ncomplaint = 0.1', "misconduct.*x"),
        ('[[prices]]\nmonth = 1\noffer = "x"\nfactor = 2', "prices.*x"),
        ('[facts]\nf = { share = 1, known = 1, offers = ["x"], factor = 1 }', "facts.*x"),
    ],
)
def test_what_cannot_be_lived_is_refused(
    tmp_path: Path, catalogue: Catalogue, text: str, message: str
) -> None:
    path = _derived(tmp_path, f"{text}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        check_world(World.load(path), catalogue, str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_base_that_is_missing_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, 'base = "no.toml"\n')
    with pytest.raises(ConfigError, match=r"no\.toml: there is no such file"):
        World.load(path)


def test_a_base_must_be_a_name(tmp_path: Path) -> None:
    path = _write(tmp_path, "base = 3\n")
    with pytest.raises(ConfigError, match="base: must be the name of a world's file"):
        World.load(path)


def test_a_base_has_no_base(tmp_path: Path) -> None:
    path = _write(tmp_path, f'base = "{WORLDS / "small.toml"}"\n')
    with pytest.raises(ConfigError, match="has a base itself"):
        World.load(path)


def test_a_world_is_not_its_own_base(tmp_path: Path) -> None:
    path = _write(tmp_path, 'base = "mine.toml"\n')
    with pytest.raises(ConfigError, match="has a base itself"):
        World.load(path)


def test_a_broken_base_is_told_from_a_broken_world(tmp_path: Path) -> None:
    _write(tmp_path, 'name = "half"\n', "half.toml")
    path = _write(tmp_path, 'base = "half.toml"\n')
    with pytest.raises(ConfigError, match=r"half\.toml, the base of .*mine\.toml: .*title is missing"):
        World.load(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adding": (0.01, 0.02)}, "adding: not the usual band; say why in reason"),
        ({"adding": (0.03, 0.02), "reason": "odd"}, r"\[least, most\]"),
        ({"popularity": (0.5, 1.5), "reason": "odd"}, "popularity.1 must be at most 1"),
    ],
)
def test_an_unusual_face_is_ordered_and_reasoned(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Face.parse(values, "here")


def test_a_usual_face_needs_no_reason() -> None:
    assert Face.parse({"acceptance": [0.01, 0.04]}, "here") == Face()
