"""Lists as policies draw them: slot by slot, each draw with its probability, repeatable from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.simulation.clients import BoolArray, FloatArray, IntArray
from recsys.simulation.streams import uniform_of


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of offers, lists_by_slots.

    Attributes:
        offers: Column of the offer of each slot; -1 = nothing was left.
        probabilities: P(that offer at that slot | slots above); 0 where nothing was left.
    """

    offers: IntArray
    probabilities: FloatArray


def draw_weighted(weights: FloatArray, seeds: IntArray, k: int) -> Lists:
    """Draws without replacement, in proportion to weights.

    Slot j shows an offer with its weight over the sum of the weights that are left: the first offer, in the
    catalogue's order, at which the running sum exceeds u times the whole, with u = `uniform_of` (seed, slot).
    So a list can be drawn again from its logged seed and priorities.

    Args:
        weights: Weight of every offer, ≥0; 0 = not eligible, lists_by_offers.
        seeds: One seed for each list, ≥0.
        k: Number of slots.

    Example:
        >>> lists = draw_weighted(np.array([[1.0, 0.0, 3.0]]), np.array([0]), 3)
        >>> lists.offers.tolist(), lists.probabilities.tolist()
        ([[2, 0, -1]], [[0.75, 1.0, 0.0]])
    """
    remaining = weights.astype(np.float64, copy=True)
    offers, probabilities = np.full((len(seeds), k), -1, dtype=np.int64), np.zeros((len(seeds), k))
    for slot in range(k):
        running = np.cumsum(remaining, axis=1)
        total = running[:, -1]
        aim = np.minimum(uniform_of(seeds, slot + 1) * total, np.nextafter(total, 0))
        chosen = (running > aim[:, None]).argmax(axis=1)
        lists = np.flatnonzero(total > 0)
        offers[lists, slot] = chosen[lists]
        probabilities[lists, slot] = remaining[lists, chosen[lists]] / total[lists]
        remaining[lists, chosen[lists]] = 0.0
    return Lists(offers, probabilities)


def draw_greedy(
    scores: FloatArray, eligible: BoolArray, seeds: IntArray, k: int, exploration: float = 0.0
) -> Lists:
    """The best score left, or with probability ε a uniform draw from what is left.

    With u = `uniform_of` (seed, slot): if u < ε the offer at place ``floor(u n / ε)`` of the n left, in the
    catalogue's order; else the highest score, the first of equals.

    Args:
        scores: Scores of every offer, finite, lists_by_offers or of one row for all.
        eligible: Offers that may be shown, lists_by_offers.
        seeds: One seed for each list, ≥0.
        k: Number of slots.
        exploration: ε, 0–1; 0 = deterministic.

    Example:
        >>> lists = draw_greedy(np.array([[1.0, 2.0, 2.0]]), np.array([[True, True, True]]), np.array([0]), 2)
        >>> lists.offers.tolist(), lists.probabilities.tolist()
        ([[1, 2]], [[1.0, 1.0]])
    """
    remaining = eligible.copy()
    offers, probabilities = np.full((len(seeds), k), -1, dtype=np.int64), np.zeros((len(seeds), k))
    for slot in range(k):
        n_left = remaining.sum(axis=1)
        best = np.where(remaining, scores, -np.inf).argmax(axis=1)
        luck = uniform_of(seeds, slot + 1)
        place = np.floor(luck * n_left / exploration).astype(np.int64) if exploration > 0 else n_left
        any_left = (np.cumsum(remaining, axis=1) > place[:, None]).argmax(axis=1)
        chosen = np.where(luck < exploration, any_left, best)
        lists = np.flatnonzero(n_left > 0)
        offers[lists, slot] = chosen[lists]
        is_best = (chosen == best)[lists]
        probabilities[lists, slot] = exploration / n_left[lists] + (1 - exploration) * is_best
        remaining[lists, chosen[lists]] = False
    return Lists(offers, probabilities)


def slot_probabilities(weights: FloatArray, k: int) -> FloatArray:
    """P(an offer stands at each slot) under `draw_weighted`, slots_by_lists_by_offers.

    With d the chance to stand above slot j, an offer not drawn yet competes with what the others are then
    expected to have left: ``p = (1 - d) w / (W - c Σ_others w d)``, ``c = (j - 1) / (j - 1 - d)``, because
    the slots above went to others. Exact for the first slot and for equal weights; otherwise the
    expectation of what is left stands for what is left, which errs by a few per cent where one weight
    dominates.
    """
    weights = weights.astype(np.float64)
    total = weights.sum(axis=1, keepdims=True)
    above = np.zeros_like(weights)
    slots = np.empty((k, *weights.shape))
    for slot in range(k):
        elsewhere = (weights * above).sum(axis=1, keepdims=True) - weights * above
        factor = slot / np.maximum(slot - above, 1e-9) if slot else 1.0
        left = np.maximum(total - factor * elsewhere, weights)
        drawn = (1 - above) * np.divide(weights, left, out=np.zeros_like(weights), where=left > 0)
        whole = drawn.sum(axis=1, keepdims=True)
        slots[slot] = np.divide(drawn, whole, out=np.zeros_like(drawn), where=whole > 1e-9)
        above = np.minimum(above + slots[slot], 1.0)
    return slots
