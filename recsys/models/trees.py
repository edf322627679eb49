"""Boosted trees as tables: the splits that a row lies above say in which leaf of each tree it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import take_array, take_counts
from recsys.models.batch import Arrays, FloatArray, FrozenArrays, IntArray

MOST_LEAVES = 9
"""Of one tree: its splits are bits of one byte, and each of their patterns has a place in a table."""

# Some megabytes at a time, however many rows there are.
_ROWS_AT_ONCE = 2_048


@dataclass(frozen=True)
class Trees:
    """A fitted ensemble: rows of features in, sums of leaves out.

    A tree of few leaves is asked as a whole: all its splits at once, for all rows, instead of a way from its
    root for each row. A tree with fewer splits than others has some that change nothing. What scores clients
    with all their offers are `JoinedTrees`.

    Attributes:
        features: The feature that each split reads, shape (n_trees, n_splits).
        thresholds: A row with a value above goes to the right, shape (n_trees, n_splits).
        is_unknown_right: 1 where a row goes to the right whose value is unknown, shape (n_trees, n_splits).
        leaves: Value of the leaf for each pattern of splits, shape (n_trees, 2 ** n_splits); bit s of the
            pattern = the row goes to the right at split s.

    Example:
        One tree: below or at 1.5 it says −1, above it 2.

        >>> one = np.array([[0]]), np.array([[1.5]]), np.array([[0]], dtype=np.uint8), np.array([[-1.0, 2.0]])
        >>> Trees(*one).predict(np.array([[1.0], [2.0], [np.nan]])).tolist()
        [-1.0, 2.0, -1.0]

    Source:
        Lucchese et al. 2015, "QuickScorer: a fast algorithm to rank documents with additive ensembles of
        regression trees": leaves found by bits of false conditions.
    """

    features: IntArray
    thresholds: FloatArray
    is_unknown_right: NDArray[np.uint8]
    leaves: FloatArray

    def __len__(self) -> int:
        return len(self.leaves)

    def predict(self, rows: NDArray[np.floating]) -> FloatArray:
        """Sums of leaves, on the scale of log-odds.

        Args:
            rows: Shape (n_rows, n_features), best with contiguous columns; finite, or NaN = unknown.

        Returns:
            Shape (n_rows,).
        """
        sums = np.empty(len(rows))
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(first, first + _ROWS_AT_ONCE)
            sums[block] = self._sums(rows[block].T)
        return sums

    def _sums(self, columns: NDArray[np.floating]) -> FloatArray:
        n_trees, n_splits = self.features.shape
        # the first splits of all trees, then the second ones
        asked = self.features.T.reshape(-1)
        is_right = columns.take(asked, axis=0) > self.thresholds.T.reshape(-1, 1)
        unknown_right = np.flatnonzero(self.is_unknown_right.T)
        is_right[unknown_right] |= np.isnan(columns)[asked[unknown_right]]
        bits = is_right.view(np.uint8).reshape(n_splits, n_trees, columns.shape[1])
        places = np.zeros(bits.shape[1:], dtype=np.uint8)
        for of_split in bits[::-1]:
            places += places
            places |= of_split
        starts = np.arange(n_trees)[:, None] * self.leaves.shape[1]
        found: FloatArray = self.leaves.take(starts + places).sum(axis=0)
        return found

    def to_arrays(self) -> Arrays:
        """Each table behind ``trees_``."""
        return {
            "trees_features": self.features,
            "trees_thresholds": self.thresholds,
            "trees_unknown_right": self.is_unknown_right,
            "trees_leaves": self.leaves,
        }

    @classmethod
    def restore(cls, arrays: FrozenArrays, n_features: int) -> Self:
        """The opposite of `to_arrays`.

        Args:
            arrays: Arrays by name.
            n_features: Numbers in a row.

        Raises:
            ValueError: They are no tables of trees that read such rows.
        """
        leaves = take_array(arrays, "trees_leaves", (-1, -1))
        n_splits = leaves.shape[1].bit_length() - 1
        if leaves.shape[1] != 1 << n_splits or n_splits >= MOST_LEAVES:
            raise ValueError(f"array 'trees_leaves' has shape {leaves.shape}, which no trees have")
        shape = len(leaves), n_splits
        features = take_counts(arrays, "trees_features", shape, np.int64)
        if features.max(initial=0) >= n_features:
            raise ValueError(f"the trees read feature {features.max()}, but a row has {n_features}")
        return cls(
            features,
            take_array(arrays, "trees_thresholds", shape),
            take_counts(arrays, "trees_unknown_right", shape, np.uint8),
            leaves,
        )


def trees_of(dumped: Sequence[Mapping[str, Any]]) -> Trees:
    """The tables of trees as LightGBM dumps them.

    Args:
        dumped: ``tree_info`` of ``Booster.dump_model``; numeric splits alone.

    Raises:
        ValueError: A tree has more than `MOST_LEAVES` leaves.
    """
    roots = [tree["tree_structure"] for tree in dumped]
    splits = [_splits_of(root) for root in roots]
    n_splits = max([len(each) for each in splits], default=0)
    if n_splits >= MOST_LEAVES:
        raise ValueError(f"a tree has {n_splits + 1} leaves, must be at most {MOST_LEAVES}")
    shape = len(roots), n_splits
    features, thresholds = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    is_unknown_right = np.zeros(shape, dtype=np.uint8)
    for tree, of_tree in enumerate(splits):
        for place, split in enumerate(of_tree):
            features[tree, place] = split["split_feature"]
            thresholds[tree, place] = split["threshold"]
            is_unknown_right[tree, place] = _is_unknown_right(split)
    leaves = [
        [_leaf_of(root, of_tree, pattern) for pattern in range(1 << n_splits)]
        for root, of_tree in zip(roots, splits, strict=True)
    ]
    return Trees(
        features, thresholds, is_unknown_right, np.array(leaves, dtype=np.float64).reshape(-1, 1 << n_splits)
    )


def _splits_of(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "split_feature" not in node:
        return []
    return [node, *_splits_of(node["left_child"]), *_splits_of(node["right_child"])]


def _is_unknown_right(split: Mapping[str, Any]) -> bool:
    """Where nothing was unknown when a split was made, LightGBM takes what is unknown for zero."""
    if split["missing_type"] == "NaN":
        return not split["default_left"]
    return bool(split["threshold"] < 0.0)


def _leaf_of(root: Mapping[str, Any], splits: Sequence[Mapping[str, Any]], pattern: int) -> float:
    node = root
    while "split_feature" in node:
        place = next(number for number, split in enumerate(splits) if split is node)
        node = node["right_child" if pattern >> place & 1 else "left_child"]
    return float(node["leaf_value"])
