"""What a policy would have earned per list, from lists that others drew.

A list is drawn slot by slot, and each slot has its own reward. Which weight a slot's reward gets says what is
believed of those who look at lists:

=============================  ==============================================================
standard (SIPS)                of the whole list: a reward may depend on every slot
cascade (RIPS, Cascade-DR)     of the slots down to it: … on what stands above it, and on itself
independent (IIPS)             of the slot alone: … on its own offer and place
=============================  ==============================================================

The less is believed, the wider the spread of the weights. Rows are slots, those of a list side by side and
from the top down. The numbers are those of obp 0.5.5.

Source:
    McInerney et al. 2020 (RIPS); Li et al. 2018 (IIPS); Kiyohara et al. 2022 (Cascade-DR).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.offpolicy.estimators import usual_hit
from recsys.evaluation.offpolicy.parts import Parts, plain
from recsys.models.base import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Slates:
    """Which row is which slot of which list.

    Attributes:
        lists: List of each row, 0 … n_lists − 1, ascending, shape (n_rows,).
        slots: 0-based slot of each row, ascending within a list, shape (n_rows,).
        n_lists: Number of lists, empty ones included.
    """

    lists: IntArray
    slots: IntArray
    n_lists: int

    def __post_init__(self) -> None:
        """Refuse rows out of their order."""
        if len(self.lists) == 0:
            raise ValueError("the lists have no slots; nothing can be estimated")
        step, fall = np.diff(self.lists), np.diff(self.slots)
        if self.lists[-1] >= self.n_lists or (step < 0).any() or ((step == 0) & (fall <= 0)).any():
            raise ValueError("rows must be sorted by list and slot, lists numbered below n_lists")

    @cached_property
    def is_first(self) -> BoolArray:
        """Whether a row is the first of its list."""
        return np.concatenate([np.array([True]), np.diff(self.lists) > 0])

    def down_to(self, ratios: FloatArray) -> FloatArray:
        """Products over the slots of a list down to each row: weights of the cascade.

        Args:
            ratios: Of each row given the slots above it, ≥0.

        Example:
            >>> lists = Slates(np.array([0, 0, 1]), np.array([0, 1, 0]), 2)
            >>> lists.down_to(np.array([2.0, 3.0, 5.0])).tolist()
            [2.0, 6.0, 5.0]
        """
        found, products = ratios.astype(np.float64), np.empty(len(ratios))
        place = np.arange(len(ratios)) - np.flatnonzero(self.is_first)[self._number_of_list]
        for depth in range(int(place.max()) + 1):
            rows = np.flatnonzero(place == depth)
            products[rows] = found[rows] if depth == 0 else products[rows - 1] * found[rows]
        return products

    def whole(self, ratios: FloatArray) -> FloatArray:
        """The product over all slots of a list, at each of its rows."""
        products = self.down_to(ratios)
        last = np.concatenate([self.is_first[1:], np.array([True])])
        whole: FloatArray = products[last][self._number_of_list]
        return whole

    def above(self, weights: FloatArray) -> FloatArray:
        """The weight of the row above in the same list; 1 at the top."""
        return np.where(self.is_first, 1.0, np.roll(weights, 1))

    @cached_property
    def _number_of_list(self) -> IntArray:
        return np.cumsum(self.is_first) - 1


def slate_ips(slates: Slates, rewards: FloatArray, weights: FloatArray) -> Parts:
    """Σ w r per list: SIPS, IIPS or RIPS, as the weights are.

    Args:
        slates: The lists.
        rewards: Of each slot, shape (n_rows,).
        weights: Of each slot, ≥0, same shape.

    Example:
        >>> lists = Slates(np.array([0, 0, 1]), np.array([0, 1, 0]), 2)
        >>> slate_ips(lists, np.array([1.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0])).value
        2.0
    """
    _check(slates, rewards, weights)
    rows = plain(weights * rewards, usual_hit(rewards, weights))
    return rows.by_decision(slates.lists, slates.n_lists)


def slate_snips(
    slates: Slates, rewards: FloatArray, weights: FloatArray, *, is_by_slot: bool = True
) -> Parts:
    """The same with weights divided by their mean: of each slot (IIPS, RIPS), or of all rows (SIPS).

    ``Σ_slots (rows of the slot ÷ lists) · Σ w r / Σ w``
    """
    _check(slates, rewards, weights)
    columns = slates.slots if is_by_slot else np.zeros(len(rewards), dtype=np.int64)
    at = columns[:, None] == np.unique(columns)
    sizes = np.where(at, (weights * rewards)[:, None], 0.0)
    below = np.where(at, weights[:, None], 0.0)
    rows = Parts(
        np.zeros(len(rewards)),
        sizes,
        np.ones(len(rewards)),
        below,
        at.sum(axis=0) / len(rewards),
        hit=usual_hit(rewards, weights),
    )
    return rows.by_decision(slates.lists, slates.n_lists)


def cascade_dr(
    slates: Slates, rewards: FloatArray, weights: FloatArray, model: tuple[FloatArray, FloatArray]
) -> Parts:
    """Cascade-DR: ``Σ_slots w (r − Q̂(a)) + w_above · Σ_a π(a | slots above) Q̂(a)``.

    Unbiased whatever Q̂ says, where the cascade holds; of least variance where Q̂ is the reward of the slot
    and of all below it.

    Args:
        slates: The lists.
        rewards: Of each slot, shape (n_rows,).
        weights: Of the cascade, see `Slates.down_to`, same shape.
        model: Q̂ of what was shown, and its expectation under the policy given the slots above; shapes
            (n_rows,).
    """
    _check(slates, rewards, weights, *model)
    shown, expected = model
    corrected = weights * (rewards - shown) + slates.above(weights) * expected
    rows = plain(corrected, usual_hit(rewards, weights))
    return rows.by_decision(slates.lists, slates.n_lists)


def _check(slates: Slates, *columns: FloatArray) -> None:
    for column in columns:
        if column.shape != slates.lists.shape:
            raise ValueError(f"there are {len(slates.lists)} slots and {column.shape} values, must be alike")
        if not np.isfinite(column).all():
            raise ValueError(f"{column[~np.isfinite(column)][0]} in a slot, must be finite")
