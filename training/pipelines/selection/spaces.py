"""What a search may choose from, and recipes as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import JsonValue

from training.pipelines.recipe import Recipe

Space = Mapping[str, Sequence[JsonValue]]

_SEGMENTS: Sequence[JsonValue] = (
    ["industry", "region"],
    [],
    ["size", "industry"],
    ["agency", "bureau"],
)
SPACES: Mapping[str, Space] = MappingProxyType(
    {
        "blend": {
            "ease_weight": (0.3, 0.5, 1.0),
            "l2_per_holder": (5.0, 2.0, 10.0, 20.0),
            "half_life_days": (None, 60.0, 120.0),
            "trend_weight": (0.4, 0.7, 1.0),
            "days": (90.0, 30.0, 60.0),
            "segment_by": _SEGMENTS,
            "is_relative": (True, False),
            "similar_weight": (0.0, 0.2, 0.4),
        },
        "ease": {
            "l2_per_holder": (5.0, 1.0, 2.0, 10.0, 20.0, 40.0),
            "half_life_days": (None, 30.0, 60.0, 120.0),
        },
        "trend": {
            "days": (90.0, 30.0, 60.0),
            "segment_by": _SEGMENTS,
            "pseudo_clients": (10.0, 3.0, 30.0, 100.0),
        },
        "neighbours": {"similarity": ("tfidf", "cosine", "bm25"), "n_neighbours": (20, 10, 40, 80, 160)},
        "hybrid_mf": {
            "n_factors": (32, 8, 16, 64),
            "n_epochs": (20, 10, 40),
            "learning_rate": (0.05, 0.02, 0.1),
            "l2": (1e-5, 1e-6, 1e-4, 1e-3),
        },
        "als": {
            "n_factors": (64, 8, 16, 32, 128),
            "alpha": (2.0, 1.0, 5.0, 10.0, 20.0),
            "n_iterations": (15, 10, 25),
            "l2": (None, 0.1, 1.0, 10.0, 50.0),
        },
    }
)
"""By model, the choices of each parameter; None leaves it to the model. Those of a blend are of its parts."""


def recipe_of(model: str, chosen: Mapping[str, JsonValue], horizon_days: int) -> Recipe:
    """The recipe that a draw from a model's space stands for.

    Args:
        model: A key of `SPACES`.
        chosen: One choice of each parameter.
        horizon_days: The recipe's horizon, ≥1.

    Example:
        >>> recipe_of("ease", {"l2_per_holder": 5.0, "half_life_days": None}, 92).params
        {'l2_per_holder': 5.0}
    """
    params = {key: value for key, value in chosen.items() if value is not None}
    if model == "blend":
        params = {"components": _components(params)}
    return Recipe(model=model, params=params, horizon_days=horizon_days)


def _components(chosen: Mapping[str, JsonValue]) -> list[JsonValue]:
    def part(name: str, keys: Sequence[str]) -> dict[str, JsonValue]:
        params = {key: chosen[key] for key in keys if key in chosen}
        return {"name": name, "params": params, "weight": chosen[f"{name}_weight"]}

    parts = (
        part("ease", ("l2_per_holder", "half_life_days")),
        part("trend", ("days", "segment_by", "is_relative")),
        part("similar", ()),
    )
    return [one for one in parts if one["weight"]]


def to_toml(recipe: Recipe, comments: Sequence[str] = ()) -> str:
    """A recipe as the text of a file that ``fit --config`` takes.

    Args:
        recipe: The recipe.
        comments: Lines to put above it.

    Example:
        >>> print(to_toml(Recipe(model="ease", params={"l2": 500.0}), ["found"]))
        # found
        model = "ease"
        horizon_days = 30
        <BLANKLINE>
        [params]
        l2 = 500.0
        <BLANKLINE>
    """
    told = recipe.model_dump(mode="json", exclude_defaults=True)
    told.setdefault("horizon_days", recipe.horizon_days)
    lines = [*(f"# {line}" for line in comments), *_table((), told)]
    return "\n".join(lines) + "\n"


def _table(path: tuple[str, ...], values: Mapping[str, JsonValue]) -> list[str]:
    """Lines of a TOML table: its own values first, then the tables in it."""
    own = [
        f"{key} = {_value(value)}"
        for key, value in values.items()
        if value is not None and not isinstance(value, dict)
    ]
    inner = [
        line
        for key, value in values.items()
        if isinstance(value, dict) and value
        for line in _table((*path, key), value)
    ]
    heading = ["", f"[{'.'.join(path)}]"] if path and own else []
    return [*heading, *own, *inner]


def _value(value: JsonValue) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_value(one)}" for key, one in value.items() if one is not None)
        return f"{{{inner}}}"
    # strings, numbers and booleans read alike in JSON and TOML
    return json.dumps(value, ensure_ascii=False)
