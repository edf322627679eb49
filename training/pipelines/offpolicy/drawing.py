"""How a policy draws a list that another one showed: exact chances slot by slot, and over its own lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.constraints import ListRules, OpenList
from recsys.decision.exploration import Lottery, Roll
from recsys.models.base import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


class Drawing(NamedTuple):
    """What one list is drawn from.

    Attributes:
        rules: The placement's rules.
        candidates: Positions in the catalogue, best first.
        priorities: By position.
        roll: Length, moment, and whether there is chance at all.
    """

    rules: ListRules
    candidates: IntArray
    priorities: FloatArray
    roll: Roll


@dataclass(frozen=True, slots=True)
class Chances:
    """A policy's chances in the slots of one logged list.

    Attributes:
        given: P(the logged offer at this slot | the logged slots above), shape (k,); 0 below a slot that the
            policy could not have filled so.
        overall: P(the logged offer at this slot), whatever stands above, same shape.
        expected_given: Expected reward of each slot given the logged slots above, k_by_measures.
        expected: Expected reward of each slot over the policy's own lists, same shape.
        filled_given: P(the slot is filled | the logged slots above), shape (k,).
        lost_given: P(the slot goes to what the log could not show | the logged slots above), same shape.
        lost: The same over the policy's own lists.
        filled: P(the slot is filled) over the policy's own lists, same shape.
    """

    given: FloatArray
    overall: FloatArray
    expected_given: FloatArray
    expected: FloatArray
    filled_given: FloatArray
    lost_given: FloatArray
    lost: FloatArray
    filled: FloatArray


class _Next(NamedTuple):
    """The slot below some slots.

    Attributes:
        chances: By position P(offer at the slot | the slots above); all 0 where nothing is left.
        running: Their running sum.
        filled: Their sum.
        expected: Expected reward by measure.
        lost: P(the slot goes to what the log could not show | the slots above).
    """

    chances: FloatArray
    running: FloatArray
    filled: float
    expected: FloatArray
    lost: float


class _Lists:
    """What a policy does after any slots above; what was asked once is kept, for lists begin alike."""

    def __init__(self, drawing: Drawing, means: FloatArray, is_possible: BoolArray) -> None:
        self._drawing, self._means = drawing, means
        self._impossible = (~is_possible).astype(np.float64)
        # Chances want no coins, which take long to make.
        self._roll = drawing.roll._replace(k=0)
        self._known: dict[tuple[int, ...], _Next] = {}

    def after(self, above: tuple[int, ...]) -> _Next:
        """The next slot.

        Args:
            above: Position in each slot above, first slot first; −1 = it stays empty.
        """
        found = self._known.get(above)
        if found is None:
            slot, chances = len(above), self._chances(above)
            found = self._known[above] = _Next(
                chances=chances,
                running=chances.cumsum(),
                filled=float(chances.sum()),
                expected=chances @ self._means[slot],
                lost=float(chances @ self._impossible[slot]),
            )
        return found

    def _chances(self, above: tuple[int, ...]) -> FloatArray:
        rules, candidates, priorities, roll = self._drawing
        slots = OpenList(rules, candidates, priorities, roll.k, roll.now)
        for slot, position in enumerate(above, start=1):
            slots.take(slot, None if position < 0 else position)
        pinned = slots.pinned.get(len(above) + 1)
        if pinned is None:
            return Lottery(rules, slots, priorities, self._roll).chances(len(above) + 1)
        chances = np.zeros(len(priorities))
        chances[pinned] = 1.0
        return chances


def chances_of(
    drawing: Drawing,
    shown: Sequence[int],
    means: FloatArray,
    is_possible: BoolArray,
    luck: FloatArray,
) -> Chances:
    """A policy's chances to draw a logged list.

    Those over its own lists are means of exact chances over lists that it draws: whatever their number, they
    are right in expectation, and so is whatever is linear in them, as weights and expected rewards are.

    Args:
        drawing: What the policy draws from.
        shown: Position of the offer logged at each slot; −1 = the policy cannot show it.
        means: Expected reward by slot, position and measure, k_by_positions_by_measures.
        is_possible: By slot and position, whether the log could have shown the offer there.
        luck: Uniform draws for the policy's own lists, lists_by_k; one is enough without chance.
    """
    k = len(shown)
    given, filled_given, lost_given = np.zeros(k), np.zeros(k), np.zeros(k)
    expected_given = np.zeros((k, means.shape[2]))
    lists, above = _Lists(drawing, means, is_possible), tuple(shown)
    for slot, position in enumerate(shown):
        found = lists.after(above[:slot])
        expected_given[slot], filled_given[slot], lost_given[slot] = found.expected, found.filled, found.lost
        given[slot] = found.chances[position] if position >= 0 else 0.0
        if given[slot] == 0:
            break
    own = luck if drawing.roll.is_random else luck[:1]
    overall, lost, filled = np.zeros(k), np.zeros(k), np.zeros(k)
    expected = np.zeros(expected_given.shape)
    for draws in own:
        drawn: tuple[int, ...] = ()
        for slot in range(k):
            found = lists.after(drawn)
            overall[slot] += found.chances[shown[slot]] if shown[slot] >= 0 else 0.0
            expected[slot] += found.expected
            filled[slot] += found.filled
            lost[slot] += found.lost
            total = found.running[-1]
            position = int(found.running.searchsorted(draws[slot] * total, side="right"))
            drawn = (*drawn, position if total > 0 else -1)
    return Chances(
        given=given,
        overall=overall / len(own),
        expected_given=expected_given,
        expected=expected / len(own),
        filled_given=filled_given,
        lost_given=lost_given,
        lost=lost / len(own),
        filled=filled / len(own),
    )
