"""Boosted trees for clients with all their offers: each condition is asked once, where it can differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.models.batch import FloatArray, IntArray
from recsys.models.trees import Trees

_T = TypeVar("_T")

# A table of 2^10 leaves takes 8 kB: more conditions make fewer tables, which then leave the fastest memory.
_MOST_CONDITIONS = 10
# Whole numbers are exact in float32 up to here.
_MOST_PLACES = 1 << 24


class Parts(NamedTuple, Generic[_T]):
    """Something of the features that only offers differ in, of those that only clients do, of the others."""

    offers: _T
    clients: _T
    pairs: _T


class _Condition(NamedTuple):
    """A split, whichever trees have it.

    Attributes:
        feature: The feature that it reads.
        threshold: A value above goes to the right.
        is_unknown_right: 1 where what is unknown goes to the right.
    """

    feature: int
    threshold: float
    is_unknown_right: int


_Table = tuple[_Condition, ...]
"""Conditions, each a bit of the place in the table, the lowest first."""


class _Asked(NamedTuple):
    """The conditions on the features of one part, all asked by one comparison.

    A comparison with what is unknown is false. So where what is unknown goes to the right it is asked whether
    a value is not above the threshold: ``-x ≥ -t``. Elsewhere ``x > t`` is ``x ≥`` the next number above t.

    Attributes:
        rows: Row of each condition's feature among those of the part, shape (n_conditions,).
        signs: What values are multiplied by, 1 or −1, shape (n_conditions, 1).
        thresholds: They are then compared with, shape (n_conditions, 1).
        bits: What a condition that holds adds to the place in each table, shape (n_tables, n_conditions).
    """

    rows: IntArray
    signs: FloatArray
    thresholds: FloatArray
    bits: NDArray[np.float32]

    def places(self, values: FloatArray) -> NDArray[np.float32]:
        """Places in the tables as far as this part decides them, shape (…, n_tables, n_columns).

        Args:
            values: Of the part's features, shape (…, n_features, n_columns); NaN = unknown.
        """
        asked = values.take(self.rows, axis=-2)
        asked *= self.signs
        holds = asked >= self.thresholds
        # whole numbers this small are exact in any order
        found: NDArray[np.float32] = self.bits @ holds.astype(np.float32)
        return found


class JoinedTrees:
    """The sums of `Trees`, from tables that several trees share.

    Trees ask the same conditions again and again. Those with many in common become one table, of the sums of
    their leaves for each pattern of the conditions that any of them asks. What only offers or only clients
    differ in is asked once for each of them, and not for every pair.

    Args:
        trees: The trees.
        kinds: 0, 1 or 2 for each feature: its place in `Parts`.

    Attributes:
        features: The features that are read, ascending.
        n_tables: How many tables are left of the trees.

    Example:
        One tree of the only feature, in which pairs differ: below or at 1.5 it says −1, above it 2.

        >>> one = np.array([[0]]), np.array([[1.5]]), np.array([[0]], dtype=np.uint8), np.array([[-1.0, 2.0]])
        >>> of_pairs = np.array([[[1.0, 2.0, np.nan]]])
        >>> values = Parts(offers=np.zeros((0, 3)), clients=np.zeros((0, 1)), pairs=of_pairs)
        >>> JoinedTrees(Trees(*one), kinds=np.array([2])).sums(values).tolist()
        [[-1.0, 2.0, -1.0]]
    """

    def __init__(self, trees: Trees, kinds: IntArray) -> None:
        of_trees = [_conditions_of(trees, tree) for tree in range(len(trees))]
        tables = _together([frozenset(conditions) for conditions in of_trees])
        self.n_tables = len(tables)
        self._size = 1 << max(map(len, tables), default=0)
        self._leaves = np.zeros((len(tables), self._size))
        for tree, conditions in enumerate(of_trees):
            table = next(number for number, each in enumerate(tables) if set(conditions).issubset(each))
            self._leaves[table] += _spread(trees.leaves[tree], conditions, tables[table], self._size)
        read = np.unique(trees.features)
        self.features = Parts(*(read[kinds[read] == kind] for kind in range(len(Parts._fields))))
        self._asked = Parts(*(_asked_of(features.tolist(), tables) for features in self.features))
        if len(tables) * self._size > _MOST_PLACES:
            raise ValueError(f"{len(trees)} trees ask too much: fit fewer or smaller ones")
        self._starts = np.arange(len(tables), dtype=np.float32)[:, None] * self._size
        self._of_offers: tuple[FloatArray | None, NDArray[np.float32]] = None, self._starts

    def sums(self, values: Parts[FloatArray]) -> FloatArray:
        """Sums of leaves, on the scale of log-odds, shape (n_clients, n_offers).

        Args:
            values: Of `features`, NaN = unknown: of shape (n_features, n_offers), (n_features, n_clients) and
                (n_clients, n_features, n_offers). The offers' are not looked at anew as long as they are the
                same array.
        """
        kept, of_offers = self._of_offers
        if kept is not values.offers:
            of_offers = self._starts + self._asked.offers.places(values.offers)
            # one assignment, so that threads never see half of it
            self._of_offers = values.offers, of_offers
        places = self._asked.pairs.places(values.pairs)
        places += of_offers
        places += self._asked.clients.places(values.clients).T[:, :, None]
        found: FloatArray = self._leaves.take(places.astype(np.intp)).sum(axis=1)
        return found


def _conditions_of(trees: Trees, tree: int) -> list[_Condition]:
    """What a tree asks, one for each of its splits."""
    columns = (trees.features[tree], trees.thresholds[tree], trees.is_unknown_right[tree])
    return [_Condition(*each) for each in zip(*(column.tolist() for column in columns), strict=True)]


def _together(of_trees: Sequence[frozenset[_Condition]]) -> list[_Table]:
    """Tables such that all conditions of each tree are in one of them."""
    tables: list[set[_Condition]] = []
    # the same order in every process
    for conditions in sorted(set(of_trees), key=lambda each: (-len(each), sorted(each))):
        fitting = [table for table in tables if len(table | conditions) <= _MOST_CONDITIONS]
        if fitting:
            max(fitting, key=lambda table: len(table & conditions)).update(conditions)
        else:
            tables.append(set(conditions))
    return [tuple(sorted(table)) for table in tables]


def _spread(leaves: FloatArray, conditions: Sequence[_Condition], table: _Table, size: int) -> FloatArray:
    """The leaf of a tree for each pattern of a table's conditions as `_Asked` asks them, shape (size,)."""
    patterns, of_tree = np.arange(size), np.zeros(size, dtype=np.int64)
    for split, condition in enumerate(conditions):
        holds = patterns >> table.index(condition) & 1
        of_tree |= (holds ^ condition.is_unknown_right) << split
    return leaves[of_tree]


def _asked_of(features: Sequence[int], tables: Sequence[_Table]) -> _Asked:
    """The conditions of tables on features of one part."""
    rows = {feature: row for row, feature in enumerate(features)}
    asked = sorted(
        {each for table in tables for each in table if each.feature in rows},
    )
    is_turned = np.array([each.is_unknown_right for each in asked], dtype=np.bool_).reshape(-1, 1)
    thresholds = np.array([each.threshold for each in asked]).reshape(-1, 1)
    return _Asked(
        rows=np.array([rows[each.feature] for each in asked], dtype=np.int64),
        signs=np.where(is_turned, -1.0, 1.0),
        thresholds=np.where(is_turned, -thresholds, np.nextafter(thresholds, np.inf)),
        bits=np.array(
            [[1 << table.index(each) if each in table else 0 for each in asked] for table in tables],
            dtype=np.float32,
        ).reshape(len(tables), len(asked)),
    )
