"""What competes in an evaluation: a model by its name with default parameters, or a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from recsys.domain import Target
from recsys.errors import DataError
from recsys.models.base import ClientBatch, FloatArray, Scorer
from recsys.models.recommender import Recommender
from recsys.models.registry import MODELS, make_scorer
from training.pipelines.evaluation.cuts import KnownWorld, told
from training.pipelines.fit import fit_recommender
from training.pipelines.recipe import Recipe, load_recipe

Scores = tuple[FloatArray, FloatArray | None]
Predict = Callable[[ClientBatch], Scores]
Importance = tuple[tuple[str, float], ...]


@runtime_checkable
class HasImportance(Protocol):
    """A model that says what it looks at."""

    @property
    def importance(self) -> Importance:
        """Share of each feature in what the model gained, the largest first."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """A contestant after it learnt.

    Attributes:
        predict: Scores, and calibrated probabilities where it gives them, each (n_clients, n_offers).
        target: What the probabilities are probabilities of; None without any.
        horizon_days: Days within which that must happen; 0 without any.
        importance: Share of each feature in what the model gained, the largest first; empty where the
            model has no such thing.
    """

    predict: Predict
    target: Target | None = None
    horizon_days: int = 0
    importance: Importance = ()


Fit = Callable[[KnownWorld, int], Fitted]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that learns what was known at an instant and then scores clients.

    Attributes:
        name: Its name in the results, as it was asked for.
        digest: Digest of its parameters.
        fit: Learns from a world and a seed.
    """

    name: str
    digest: str
    fit: Fit


def contestant(name: str) -> Contestant:
    """The contestant of that name.

    Args:
        name: A model's name, the name of a shipped recipe, or a recipe file.

    Raises:
        ConfigError: There is no such model or recipe, or it is wrong.
    """
    if name not in MODELS:
        return recipe_contestant(name, load_recipe(name, MODELS))
    scorer = make_scorer(name)
    if scorer.reads_past:
        recipe = Recipe(model=name)  # only a recipe says which past
        return Contestant(name, recipe.digest(), partial(_fit_on_exposures, recipe))
    return Contestant(name, scorer.params.digest(), partial(_fit_model, name))


def recipe_contestant(name: str, recipe: Recipe) -> Contestant:
    """A recipe as a contestant, under that name."""
    return Contestant(name, recipe.digest(), partial(_fit_recipe, recipe))


def _fit_model(name: str, world: KnownWorld, seed: int) -> Fitted:
    scorer = make_scorer(name).fit(world.training, np.random.default_rng(seed))
    return Fitted(partial(_score, scorer), importance=_importance(scorer))


def _score(scorer: Scorer, clients: ClientBatch) -> Scores:
    return scorer.score(clients), None


def _fit_recipe(recipe: Recipe, world: KnownWorld, seed: int) -> Fitted:
    """The recipe as ``fit`` makes it, calibrations included."""
    fitted = fit_recommender(recipe, world.dataset, world.snapshot.as_of, seed)
    recommender = fitted.recommender
    return Fitted(
        predict=partial(_predict, recommender),
        target=recommender.target,
        horizon_days=recipe.horizon_days,
        importance=_importance(recommender.main),
    )


def _fit_on_exposures(recipe: Recipe, world: KnownWorld, seed: int) -> Fitted:
    """The model itself; whoever asked for it by its name wants no other one in its place.

    Raises:
        DataError: There are too few exposures, so the recipe fitted something else.
    """
    fitted = _fit_recipe(recipe, world, seed)
    if fitted.target is not Target.ACCEPTANCE:
        raise DataError(
            f"model {recipe.model!r} learns from what clients were shown, and too little of that is known at"
            f" {told(world.snapshot.as_of, world.dataset.meta.time_zone)}: leave it out, or name a recipe"
            " like 'default', which says what takes its place"
        )
    return fitted


def _predict(recommender: Recommender, clients: ClientBatch) -> Scores:
    prediction = recommender.predict(clients)
    return prediction.scores, prediction.probabilities


def _importance(scorer: Scorer) -> Importance:
    return scorer.importance if isinstance(scorer, HasImportance) else ()
