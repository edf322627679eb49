"""Trees as tables say what LightGBM says, and are refused where they are none."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.models.joined_trees import JoinedTrees, Parts
from recsys.models.trees import MOST_LEAVES, Trees, trees_of

N, N_FEATURES = 3_000, 5


def rows_with(share_unknown: float, rng: np.random.Generator) -> NDArray[np.float64]:
    rows = rng.normal(size=(N, N_FEATURES))
    rows[:, 1] = rows[:, 1].round()
    rows[:, 2] = np.abs(rows[:, 2])
    rows[rng.random(rows.shape) < share_unknown] = np.nan
    return rows


def grown(rows: NDArray[np.float64], n_leaves: int, n_trees: int = 30) -> lightgbm.Booster:
    target = np.nan_to_num(rows[:, 0]) + np.isnan(rows[:, 1]) + np.sin(3 * np.nan_to_num(rows[:, 2]))
    params: dict[str, Any] = {
        "num_leaves": n_leaves,
        "verbosity": -1,
        "num_threads": 1,
        "min_data_in_leaf": 5,
    }
    return lightgbm.train(params, lightgbm.Dataset(rows, target), n_trees)


def tables(booster: lightgbm.Booster) -> Trees:
    return trees_of(booster.dump_model()["tree_info"])


@pytest.mark.parametrize("n_leaves", [2, 4, MOST_LEAVES])
@pytest.mark.parametrize("share_unknown", [0.0, 0.3])
def test_tables_say_what_the_library_says(n_leaves: int, share_unknown: float) -> None:
    rng = np.random.default_rng(n_leaves)
    booster = grown(rows_with(share_unknown, rng), n_leaves)
    asked = rows_with(0.3, rng)
    asked[0], asked[1], asked[2] = 1e30, -1e30, 0.0
    oracle = booster.predict(asked, num_threads=1)
    np.testing.assert_allclose(tables(booster).predict(asked), oracle, rtol=0, atol=1e-12)
    single = asked.astype(np.float32)
    oracle = booster.predict(single, num_threads=1)
    np.testing.assert_allclose(tables(booster).predict(single), oracle, rtol=0, atol=1e-12)


def test_a_value_on_the_threshold_goes_to_the_left() -> None:
    booster = grown(rows_with(0.0, np.random.default_rng(1)), 4)
    trees = tables(booster)
    asked = np.zeros((trees.thresholds.size, N_FEATURES))
    asked[np.arange(len(asked)), trees.features.ravel()] = trees.thresholds.ravel()
    np.testing.assert_allclose(trees.predict(asked), booster.predict(asked), rtol=0, atol=1e-12)


def test_a_tree_that_is_one_leaf_is_a_constant() -> None:
    rows = np.zeros((N, N_FEATURES))
    trees = trees_of(
        lightgbm.train({"verbosity": -1}, lightgbm.Dataset(rows, np.ones(N)), 2).dump_model()["tree_info"]
    )
    assert np.ptp(trees.predict(rows_with(0.3, np.random.default_rng(2)))) == 0


def test_tables_come_back_from_arrays() -> None:
    rows = rows_with(0.3, np.random.default_rng(3))
    trees = tables(grown(rows, 4))
    back = Trees.restore(trees.to_arrays(), N_FEATURES)
    assert np.array_equal(back.predict(rows), trees.predict(rows))
    assert len(back) == len(trees) == 30


def test_trees_of_many_leaves_are_refused() -> None:
    booster = grown(rows_with(0.0, np.random.default_rng(4)), MOST_LEAVES + 1)
    with pytest.raises(ValueError, match="10 leaves, must be at most 9"):
        tables(booster)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("trees_leaves", np.zeros((30, 6)), "shape"),
        ("trees_leaves", np.zeros((30, 512)), "shape"),
        ("trees_leaves", np.full((30, 8), np.nan), "finite"),
        ("trees_features", np.full((30, 3), N_FEATURES), "read feature 5, but a row has 5"),
        ("trees_features", np.full((30, 3), -1), "below 0"),
        ("trees_features", np.zeros((29, 3), dtype=np.int64), "shape"),
        ("trees_thresholds", np.zeros((30, 2)), "shape"),
        ("trees_unknown_right", np.zeros((30, 3)), "uint8"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(name: str, wrong: NDArray[Any], said: str) -> None:
    trees = tables(grown(rows_with(0.0, np.random.default_rng(5)), 4))
    with pytest.raises(ValueError, match=said):
        Trees.restore({**trees.to_arrays(), name: wrong}, N_FEATURES)


@pytest.mark.parametrize("n_leaves", [2, 4, MOST_LEAVES])
def test_joined_trees_say_what_the_trees_say_wherever_a_feature_differs(n_leaves: int) -> None:
    rng = np.random.default_rng(6)
    trees = tables(grown(rows_with(0.3, rng), n_leaves, n_trees=30))
    kinds = rng.integers(0, len(Parts._fields), N_FEATURES)
    joined, n_clients, n_offers = JoinedTrees(trees, kinds), 7, 11
    assert sorted(np.concatenate(joined.features).tolist()) == np.unique(trees.features).tolist()
    for _ in range(2):
        cells = rows_with(0.3, rng)[: n_clients * n_offers].reshape(n_clients, n_offers, N_FEATURES)
        cells[:, :, kinds == 0] = cells[:1, :, kinds == 0]
        cells[:, :, kinds == 1] = cells[:, :1, kinds == 1]
        of_offers, of_clients, of_pairs = (cells[:, :, places] for places in joined.features)
        found = joined.sums(Parts(of_offers[0].T, of_clients[:, 0].T, of_pairs.swapaxes(1, 2)))
        expected = trees.predict(cells.reshape(-1, N_FEATURES)).reshape(n_clients, n_offers)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_joined_trees_share_tables_and_are_the_same_each_time() -> None:
    trees = tables(grown(rows_with(0.3, np.random.default_rng(7)), 4, n_trees=30))
    first, second = (JoinedTrees(trees, np.full(N_FEATURES, 2)) for _ in range(2))
    values = np.random.default_rng(8).normal(size=(2, len(first.features.pairs), 3))
    nothing = Parts(np.zeros((0, 3)), np.zeros((0, 2)), values)
    assert first.n_tables < len(trees)
    assert first.sums(nothing).tobytes() == second.sums(nothing).tobytes()
