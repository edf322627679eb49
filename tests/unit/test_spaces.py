"""Every recipe that a search may draw is one, and reads back from its file as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.evaluation.report import SIMPLE_MODELS
from recsys.models.popularity import PopularityParams
from training.pipelines.recipe import Recipe, load_recipe
from training.pipelines.selection.spaces import SPACES, recipe_of, to_toml


@pytest.mark.parametrize("name", SPACES)
def test_every_choice_is_allowed(name: str) -> None:
    first = {key: choices[0] for key, choices in SPACES[name].items()}
    for key, choices in SPACES[name].items():
        for choice in choices:
            recipe_of(name, {**first, key: choice}, 30).make_main()


@pytest.mark.parametrize("name", SIMPLE_MODELS)
def test_every_simple_recipe_is_allowed(name: str) -> None:
    Recipe(model=name).make_main()


def test_a_part_without_weight_is_left_out() -> None:
    chosen = {key: choices[0] for key, choices in SPACES["blend"].items()}
    parts = [part["name"] for part in recipe_of("blend", chosen, 30).params["components"]]
    assert parts == ["ease", "trend"]


@pytest.mark.parametrize(
    "recipe",
    [
        load_recipe("default"),
        Recipe(
            model="blend",
            params={
                "components": [
                    {"name": "ease", "params": {"l2": 500.0}, "weight": 0.5},
                    {"name": "popularity", "params": {"segment_by": ["size"]}},
                ]
            },
        ),
        Recipe(model="neighbours", params={"similarity": "bm25", "n_neighbours": 40}, horizon_days=92),
        Recipe(
            model="popularity",
            params={"segment_by": ["size", "region"], "pseudo_clients": 5.0},
            fallback=PopularityParams(segment_by=(), pseudo_clients=1.0),
        ),
    ],
)
def test_a_written_recipe_reads_back_as_it_was(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "found.toml"
    path.write_text(to_toml(recipe, ["said above", 'with "quotes"']), encoding="utf-8")
    assert load_recipe(str(path)) == recipe
    assert path.read_text(encoding="utf-8").startswith('# said above\n# with "quotes"\n')
