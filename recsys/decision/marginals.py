"""How likely each offer is to stand in each slot, whatever stands above: for reports, not for requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.decision.constraints import ListRules, OpenList
from recsys.decision.exploration import Lottery, Roll, draw_list
from recsys.decision.hashing import hash_of
from recsys.models.base import FloatArray, IntArray

MAX_ENUMERATED_SLOTS = 3


@dataclass(frozen=True, slots=True)
class Marginals:
    """P(offer at slot), over all the lists that may be drawn.

    Attributes:
        probabilities: slots_by_candidates; a row sums to less than 1 where the slot may stay empty.
        standard_errors: Of the probabilities, same shape; 0 where they are exact.
    """

    probabilities: FloatArray
    standard_errors: FloatArray


def slot_marginals(
    candidates: IntArray, priorities: FloatArray, rules: ListRules, roll: Roll, n_lists: int = 10_000
) -> Marginals:
    """Marginal probabilities of each slot: by enumeration up to 3 slots, else from lists of many seeds.

    Args:
        candidates: Positions, best first; the columns of the result.
        priorities: By position.
        rules: The placement's rules.
        roll: Length and moment; the seeds are made from its seed.
        n_lists: How many lists to draw where there are more slots, ≥1.
    """
    if roll.k <= MAX_ENUMERATED_SLOTS:
        exact = np.zeros((roll.k, len(priorities)))
        _add_lists(exact, (candidates, priorities, rules, roll), (), 1.0)
        return Marginals(exact[:, candidates], np.zeros((roll.k, len(candidates))))
    counts = np.zeros((roll.k, len(priorities)))
    for number in range(n_lists):
        drawn = draw_list(
            candidates, priorities, rules, roll._replace(seed=hash_of(f"{roll.seed}:{number}") >> 1)
        )
        for draw in drawn.draws:
            counts[draw.slot - 1, draw.position] += 1
    shares = counts[:, candidates] / n_lists
    return Marginals(shares, np.sqrt(shares * (1 - shares) / n_lists))


def _add_lists(
    found: FloatArray,
    drawing: tuple[IntArray, FloatArray, ListRules, Roll],
    above: tuple[int | None, ...],
    weight: float,
) -> None:
    """Add the probabilities of every way to fill the slots below those given."""
    candidates, priorities, rules, roll = drawing
    slot = len(above) + 1
    if slot > roll.k:
        return
    slots = OpenList(rules, candidates, priorities, roll.k, roll.now)
    for number, position in enumerate(above, start=1):
        slots.take(number, position)
    chances = np.zeros(len(priorities))
    if slot in slots.pinned:
        chances[slots.pinned[slot]] = 1.0
    else:
        chances = Lottery(rules, slots, priorities, roll).chances(slot)
    found[slot - 1] += weight * chances
    if slot == roll.k:
        return
    choices: list[int | None] = [*np.flatnonzero(chances).tolist()] or [None]
    for choice in choices:
        below = weight if choice is None else weight * float(chances[choice])
        _add_lists(found, drawing, (*above, choice), below)
