"""Scales: the few cells into which the values of a fact fall, as far as any comparison can tell them apart.

Cell 0 is the unknown value. A comparison is then a column of truths by cell, whatever it compares.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.conditions.vocabulary import UNKNOWN

Interval = tuple[float, float]
Bits = int
"""What a value tells of all questions at once, a bit each."""

_OTHER_CELL = 1


class TextBits(NamedTuple):
    """What every text tells.

    Attributes:
        of: By text, for those that are asked for; None is the unknown one.
        other: What every other text tells.
    """

    of: dict[Any, Bits]
    other: Bits

    def told(self, value: Any) -> Bits:
        """What a text tells."""
        return self.of.get(value, self.other)


class NumberBits(NamedTuple):
    """What every number tells: what stands at the place of its cell, `bisect_right(breaks, number)`.

    Attributes:
        breaks: The least number of each cell but the first, ascending; the last is ∞, which no number is.
        of: By cell; the last is for NaN, which stands for the unknown number.
    """

    breaks: list[float]
    of: list[Bits]


Rows = NDArray[np.uint64]
"""Bits of many clients or cells, a row each: the bytes of a row are the number's, the highest first."""

_WORD_BITS = 64


def n_words(n_bits: int) -> int:
    """How many words a row of so many bits has."""
    return -(-n_bits // _WORD_BITS)


def rows_of(found: Sequence[Bits], n_bits: int) -> Rows:
    """The rows of some bits.

    Example:
        >>> rows_of([1, 256], 9).view(np.uint8)[:, -2:].tolist()
        [[0, 1], [1, 0]]
    """
    n_bytes = n_words(n_bits) * _WORD_BITS // 8
    packed = b"".join([bits.to_bytes(n_bytes, "big") for bits in found])
    return np.frombuffer(packed, dtype=np.uint64).reshape(len(found), -1)


class TextScale(dict[Any, int]):
    """A cell for every text that is asked for, and one for all others.

    A text's number is its place in the order in which texts are first asked for.

    Example:
        >>> scale = TextScale()
        >>> scale.number_of("MOW"), scale.number_of("SPE")
        (0, 1)
        >>> [scale[text] for text in ("MOW", "SPE", "NVS", None)]
        [2, 3, 1, 0]
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        super().__init__({None: 0, UNKNOWN: 0})
        self._n = 0
        for value in values:
            self.number_of(value)

    def __missing__(self, value: object) -> int:
        return _OTHER_CELL

    def number_of(self, value: str) -> int:
        """The number of a text, a new one where it has none."""
        if value not in self:
            self._n += 1
            self[value] = _OTHER_CELL + self._n
        return self[value] - _OTHER_CELL - 1

    @property
    def values_of_cells(self) -> list[float]:
        """A number that stands for each cell but the first; −1 for texts that nobody asked for."""
        return [float(number) for number in range(-1, self._n)]

    def told(self, bits: Sequence[Bits]) -> TextBits:
        """What a text tells, where `bits` says it of each cell."""
        return TextBits({value: bits[cell] for value, cell in self.items()}, bits[_OTHER_CELL])


class NumberScale:
    """Cells between the numbers at which some comparison changes.

    Args:
        intervals: The closed intervals that are asked for.

    Example:
        >>> NumberScale([(5, 9)]).values_of_cells
        [-inf, 5, 9.000000000000002]
    """

    def __init__(self, intervals: Iterable[Interval]) -> None:
        breaks = {-math.inf}
        for low, high in intervals:
            breaks |= {low, math.nextafter(high, math.inf)}
        self.values_of_cells = sorted(breaks)

    def told(self, bits: Sequence[Bits]) -> NumberBits:
        """What a number tells, where `bits` says it of each cell; neighbours that tell the same are one."""
        unknown, first, *others = bits
        breaks, of = [], [first]
        for least, told in zip(self.values_of_cells[1:], others, strict=True):
            if told != of[-1] and least < math.inf:
                breaks.append(least)
                of.append(told)
        return NumberBits([*breaks, math.inf], [*of, unknown])


class CountScale:
    """A cell for every whole number from 0 up to where all comparisons are past.

    Attributes:
        n_cells: Number of cells, the unknown one included.

    Args:
        intervals: The closed intervals that are asked for.

    Example:
        >>> CountScale([(2, math.inf)]).values_of_cells
        [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, intervals: Iterable[Interval]) -> None:
        ends = [end for interval in intervals for end in interval if math.isfinite(end)]
        self.n_cells = int(max(ends, default=0)) + 3

    @property
    def values_of_cells(self) -> list[float]:
        """The number that each cell but the first stands for; the last also for all beyond."""
        return [float(number) for number in range(self.n_cells - 1)]


Scale = TextScale | NumberScale | CountScale


def truths_by_cell(known: Sequence[float], intervals: Sequence[Interval]) -> Iterator[tuple[range, int]]:
    """The truth of a comparison in runs of cells: 1 true, 0 unknown, −1 false.

    Args:
        known: The number that stands for each cell but the first, ascending.
        intervals: Where it is true, ascending and apart; none = it is true of the unknown value and false of
            any other.

    Example:
        >>> list(truths_by_cell(NumberScale([(5, 10)]).values_of_cells, [(5, 10)]))
        [(range(0, 1), 0), (range(1, 2), -1), (range(2, 3), 1), (range(3, 4), -1)]
    """
    until = 1
    yield range(until), 0 if intervals else 1
    for low, high in intervals:
        first = 1 + bisect_left(known, low)
        yield range(until, first), -1
        until = 1 + bisect_right(known, high)
        yield range(first, until), 1
    yield range(until, 1 + len(known)), -1


class Use(NamedTuple):
    """A bit that a comparison sets.

    Attributes:
        bit: The bit, as a number with nothing else set.
        truths: The truths of the comparison for which it is set.
    """

    bit: Bits
    truths: frozenset[int]


def bits_by_cell(scale: Scale, comparisons: Iterable[tuple[Sequence[Interval], Sequence[Use]]]) -> list[Bits]:
    """The bits that some comparisons with one fact set in every cell.

    Args:
        scale: The scale of the fact.
        comparisons: Where each is true (see `truths_by_cell`), and what follows from it.

    Example:
        >>> is_true, is_not_false = Use(1, frozenset([1])), Use(2, frozenset([0, 1]))
        >>> bits_by_cell(NumberScale([(5, 9)]), [([(5, 9)], [is_true, is_not_false])])
        [2, 0, 3, 0]
    """
    known = scale.values_of_cells
    n_cells = 1 + len(known)
    # Thousands of comparisons make thousands of cells, so runs of cells are not gone through: `bits` is a
    # tree whose leaves, from n_cells on, are the cells, and a run is set in the few nodes that make it up.
    bits = [0] * (2 * n_cells)
    for intervals, uses in comparisons:
        told = {
            truth: reduce(or_, [use.bit for use in uses if truth in use.truths], 0) for truth in (-1, 0, 1)
        }
        for cells, truth in truths_by_cell(known, intervals):
            first, end = cells.start + n_cells, cells.stop + n_cells
            while first < end:
                if first % 2:
                    bits[first] |= told[truth]
                if end % 2:
                    bits[end - 1] |= told[truth]
                first, end = (first + 1) // 2, end // 2
    for node in range(2, 2 * n_cells):
        bits[node] |= bits[node // 2]
    return bits[n_cells:]
