"""How features and scores were distributed when a bundle was fitted: a server can tell what changed since."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from recsys.data.dataset import Dataset
from recsys.features.builder import FeatureBuilder
from recsys.features.drift import SCORE_NAMES, FloatArray, compared, fit_reference
from recsys.features.population import Population
from recsys.models.base import ClientBatch, IntArray, TrainingSet
from recsys.models.recommender import Recommender

_N_SAMPLED: Final = 5_000
_N_ENOUGH: Final = 1_000
_N_TOGETHER: Final = 250
_WINDOW: Final = timedelta(days=30)
# Far from every stream that a fit draws from, so that the models stay what they are.
_STREAM: Final = 0x_D21F7


def with_reference(
    recommender: Recommender, training: TrainingSet, dataset: Dataset, seed: int
) -> Population | None:
    """The population of a training set with the distributions of its features and scores.

    They are those of the clients that were decided for in the thirty days before as_of, each as often as it
    came, since a server will see such; where there were fewer than a thousand decisions, of all clients.

    Args:
        recommender: The fitted models.
        training: What they were fitted on.
        dataset: Where decisions are, if there are any.
        seed: Root seed of the fit.

    Returns:
        None where the training set has no population, or nobody.
    """
    population, batch = training.population, training.clients
    if population is None or batch.features is None or not batch.states:
        return population
    rng = np.random.default_rng([seed, _STREAM])
    asked = _asked_clients(training, dataset)
    everybody = np.arange(len(batch.states))
    rows = rng.choice(asked if len(asked) >= _N_ENOUGH else everybody, _N_SAMPLED)
    # in parts: a model of trees lays out a row for every client and offer
    parts = [
        _compared(recommender, batch.take(rows[start : start + _N_TOGETHER]), batch.features)
        for start in range(0, len(rows), _N_TOGETHER)
    ]
    names = [feature.name for feature in batch.features.spec.client]
    reference = fit_reference((*names, *SCORE_NAMES), np.concatenate(parts))
    return replace(population, reference=reference)


def _compared(recommender: Recommender, sample: ClientBatch, features: FeatureBuilder) -> FloatArray:
    rows = [
        features.client_row(state, moment)
        for state, moment in zip(sample.states, sample.moments, strict=True)
    ]
    return compared(np.array(rows), recommender.predict(sample).probabilities)


def _asked_clients(training: TrainingSet, dataset: Dataset) -> IntArray:
    """Row of the client of every decision of the window."""
    decisions = dataset.tables.get("decisions")
    if decisions is None:
        return np.zeros(0, dtype=np.int64)
    is_recent = (pl.col("recorded_at") > training.as_of - _WINDOW) & (pl.col("recorded_at") <= training.as_of)
    rows = {state.client_id: row for row, state in enumerate(training.clients.states)}
    found = [rows.get(client_id, -1) for client_id in decisions.filter(is_recent)["client_id"]]
    return np.array([row for row in found if row >= 0], dtype=np.int64)
