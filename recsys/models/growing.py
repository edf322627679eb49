"""Growing trees with LightGBM, which training alone needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lightgbm
import numpy as np
from numpy.typing import NDArray

from recsys.models.batch import FloatArray
from recsys.models.features_read import FeatureReader
from recsys.models.trees import Trees, trees_of

if TYPE_CHECKING:
    from recsys.models.boosted import BoostedParams

Rows = tuple[NDArray[np.floating], FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True, slots=True)
class Grown:
    """Trees.

    Attributes:
        trees: The trees.
        later: What they add to the log-odds of the later window, shape (n_later,); empty without one.
        importance: Share of each feature in the gain, the largest first.
    """

    trees: Trees
    later: FloatArray
    importance: tuple[tuple[str, float], ...]


def grow_trees(
    learnt: Rows,
    later: Rows | None,
    params: BoostedParams,
    reader: FeatureReader,
    seed: int,
    n_trees: int | None = None,
) -> Grown:
    """Grow trees from a start.

    Args:
        learnt: Rows, outcomes, the start's log-odds and the counts of what is learnt from.
        later: The same of a later window on which growing stops; None = grow `n_trees`.
        params: How to grow.
        reader: Names and directions of the columns.
        seed: Of every draw.
        n_trees: How many, without a later window.
    """
    names = list(reader.names)
    asked = {
        "max_bin": params.n_bins,
        "min_data_in_leaf": params.min_in_leaf,
        "verbosity": -1,
        "feature_pre_filter": False,
    }
    rows, outcomes, start, counts = learnt
    data = lightgbm.Dataset(rows, outcomes, weight=counts, init_score=start, feature_name=names, params=asked)
    booster_params = {
        **asked,
        "objective": "binary",
        "boost_from_average": False,
        "learning_rate": params.learning_rate,
        "num_leaves": params.n_leaves,
        "lambda_l2": params.l2,
        "feature_fraction": params.feature_share,
        "monotone_constraints": reader.directions,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        # the order in which threads add up would change the trees from machine to machine
        "num_threads": 1,
    }
    valid: list[lightgbm.Dataset] = []
    stops: list[Callable[..., object]] = []
    if later is not None:
        rows, outcomes, start, counts = later
        valid = [
            lightgbm.Dataset(rows, outcomes, weight=counts, init_score=start, reference=data, params=asked)
        ]
        stops = [lightgbm.early_stopping(params.patience, verbose=False)]
    booster = lightgbm.train(
        booster_params, data, params.max_trees if later else n_trees or 0, valid_sets=valid, callbacks=stops
    )
    n_best = (
        booster.best_iteration if later is not None and booster.best_iteration > 0 else booster.num_trees()
    )
    gains = np.asarray(booster.feature_importance("gain", iteration=n_best), dtype=np.float64)
    shares = gains / max(float(gains.sum()), 1e-12)
    order = np.argsort(-shares, kind="stable")
    return Grown(
        trees=trees_of(booster.dump_model(num_iteration=n_best)["tree_info"]),
        later=np.zeros(0)
        if later is None
        else np.asarray(booster.predict(later[0], raw_score=True, num_iteration=n_best)),
        importance=tuple([(names[place], float(shares[place])) for place in order if shares[place] > 0]),
    )
