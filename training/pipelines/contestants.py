"""What competes in an evaluation: a model by its name with default parameters, or a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from recsys.models.base import ClientBatch, FloatArray, Scorer, TrainingSet
from recsys.models.popularity import Popularity
from recsys.models.recommender import score_clients
from recsys.models.registry import MODELS, make_scorer
from training.pipelines.fit import Recipe, load_recipe

Score = Callable[[ClientBatch], FloatArray]
Fit = Callable[[TrainingSet, np.random.Generator], Score]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that learns from a training set and then scores clients.

    Attributes:
        name: Its name in the results, as it was asked for.
        digest: Digest of its parameters.
        fit: Learns, and returns the function that scores.
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
    if name in MODELS:
        scorer = make_scorer(name)
        return Contestant(name, scorer.params.digest(), partial(_fit_model, scorer))
    recipe = load_recipe(name)
    return Contestant(name, recipe.digest(), partial(_fit_recipe, recipe))


def _fit_model(scorer: Scorer, training: TrainingSet, rng: np.random.Generator) -> Score:
    return scorer.fit(training, rng).score


def _fit_recipe(recipe: Recipe, training: TrainingSet, rng: np.random.Generator) -> Score:
    """The recipe without its calibrations, which never change the order of a client's list."""
    main = recipe.make_main().fit(training, rng)
    fallback = Popularity(recipe.fallback).fit(training, rng)
    return partial(score_clients, main, fallback)
