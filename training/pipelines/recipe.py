"""Recipes: what to fit, as TOML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, JsonValue

from recsys.bundle import RECIPE_NAME
from recsys.config import RunConfig, nearest_name
from recsys.errors import ConfigError
from recsys.models.base import Scorer
from recsys.models.popularity import PopularityParams
from recsys.models.registry import make_scorer
from training.pipelines.past import PastPlan

CONFIGS = Path(__file__).parent.parent / "configs"


class WithoutExposures(RunConfig):
    """What takes the place of a model that learns from exposures, where the data have too few.

    Attributes:
        model: Its name.
        params: Its parameters; what is left out takes the model's default.
    """

    model: str = "blend"
    params: dict[str, JsonValue] = Field(default_factory=dict)


class Recipe(RunConfig):
    """What to fit.

    Attributes:
        model: Name of the main model.
        params: Its parameters; what is left out takes the model's default.
        past: Which past is read by a model that learns from exposures.
        without_exposures: The main model where the data have too few exposures for `model`, which learns from
            them; then the target is adoption.
        fallback: Popularity for clients without holdings.
        horizon_days: Days within which an adoption must happen, ≥1 and at most ten years.
        calibration_windows: How many horizons before as_of the calibration learns from, ≥1; fewer where
            the data do not reach a horizon further back.
        adoptions_per_bin: Adoptions behind each step of a calibration, ≥1.
    """

    model: str
    params: dict[str, JsonValue] = Field(default_factory=dict)
    past: PastPlan = Field(default_factory=PastPlan)
    without_exposures: WithoutExposures = Field(default_factory=WithoutExposures)
    fallback: PopularityParams = Field(default_factory=PopularityParams)
    horizon_days: int = Field(default=30, ge=1, le=3660)
    calibration_windows: int = Field(default=3, ge=1)
    adoptions_per_bin: int = Field(default=25, ge=1)

    def make_main(self) -> Scorer:
        """The unfitted main model; ConfigError if its name or a parameter is wrong."""
        return make_scorer(self.model, self.params)

    def for_adoption(self) -> Recipe:
        """The recipe for data without exposures; ConfigError if that model learns from them too."""
        other = self.without_exposures
        if make_scorer(other.model, other.params).reads_past:
            raise ConfigError(f"without_exposures names {other.model!r}, which learns from exposures")
        return self.model_copy(update={"model": other.model, "params": other.params})


def recipe_path(name_or_file: str, models: Iterable[str] = ()) -> Path:
    """The file of a recipe.

    Args:
        name_or_file: What was asked for.
        models: Names of models that would do as well here, for the text of an error.

    Raises:
        ConfigError: No shipped recipe and no file is called so, or its name cannot name a bundle.
    """
    shipped = CONFIGS / f"{name_or_file}.toml"
    is_shipped = re.fullmatch(RECIPE_NAME, name_or_file) is not None and shipped.is_file()
    path = shipped if is_shipped else Path(name_or_file)
    if not path.is_file():
        raise ConfigError(_no_such(name_or_file, models))
    if re.fullmatch(RECIPE_NAME, path.stem) is None:
        raise ConfigError(
            f"{path}: a recipe's name may hold lower-case letters, digits, - and _ only; rename it"
        )
    return path


def _no_such(name: str, models: Iterable[str]) -> str:
    known = sorted({*models, *(file.stem for file in CONFIGS.glob("*.toml"))})
    nearest = nearest_name(name, known)
    hint = "" if nearest is None else f" (did you mean {nearest}?)"
    what = "model or recipe" if models else "recipe"
    return f"there is no {what} {name!r}{hint}: name a TOML file or one of {', '.join(known)}"


def load_recipe(name_or_file: str, models: Iterable[str] = ()) -> Recipe:
    """A shipped recipe by name, or one of your own by file.

    Args:
        name_or_file: What was asked for.
        models: Names of models that would do as well here, for the text of an error.

    Raises:
        ConfigError: It does not exist, or something in it is wrong.
    """
    path = recipe_path(name_or_file, models)
    recipe = Recipe.load(path)
    try:
        if recipe.make_main().reads_past:
            recipe.for_adoption()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe
