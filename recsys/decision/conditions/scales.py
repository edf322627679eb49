"""Scales: the few cells into which the values of a fact fall, as far as any comparison can tell them apart.

Cell 0 is the unknown value. A comparison is then a column of truths by cell, whatever it compares.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.conditions.vocabulary import UNKNOWN

TruthArray = NDArray[np.int8]
Interval = tuple[float, float]
Row = bytes
"""The truths of some comparisons, an int8 each."""

_OTHER_CELL = 1


class TextRows(dict[Any, Row]):
    """What is told of every text: a row for those that are asked for, and one for all others.

    Args:
        rows: By text.
        other: For every other text.
    """

    def __init__(self, rows: Mapping[Any, Row], other: Row) -> None:
        super().__init__(rows)
        self._other = other

    def __missing__(self, value: object) -> Row:
        return self._other

    @property
    def of(self) -> Callable[[Any], Row]:
        """What is told of a text."""
        return self.__getitem__


class NumberRows(NamedTuple):
    """What is told of every number.

    Attributes:
        breaks: The least number of each cell but the first, ascending.
        rows: By cell.
    """

    breaks: Sequence[float]
    rows: Sequence[Row]

    def of(self, value: float | None) -> Row:
        """What is told of a number."""
        return self.rows[0] if value is None else self.rows[bisect_right(self.breaks, value)]

    def table(self) -> tuple[NDArray[np.float64], TruthArray]:
        """The same for arrays in which NaN is unknown: breaks to search, truths_by_place."""
        # NaN is searched for as if it were more than every number
        rows = [*self.rows, self.rows[0]]
        truths = np.array([np.frombuffer(row, dtype=np.int8) for row in rows], dtype=np.int8)
        return np.array([*self.breaks, math.nan]), np.ascontiguousarray(truths.T)


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

    def told(self, rows: Sequence[Row]) -> TextRows:
        """What is told of a value, where `rows` tells it of each cell."""
        return TextRows({value: rows[cell] for value, cell in self.items()}, rows[_OTHER_CELL])


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

    def told(self, rows: Sequence[Row]) -> NumberRows:
        """What is told of a number, where `rows` tells it of each cell."""
        return NumberRows(self.values_of_cells, rows)


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


def truths_by_cell(scale: Scale, intervals: Sequence[Interval]) -> list[int]:
    """The truth of a comparison in every cell: 1 true, 0 unknown, −1 false.

    Args:
        scale: The scale of the compared fact.
        intervals: Where it is true; none = it is true of the unknown value and false of any other.

    Example:
        >>> truths_by_cell(NumberScale([(5, 10)]), [(5, 10)])
        [0, -1, 1, -1]
    """
    known = scale.values_of_cells
    if not intervals:
        return [1, *[-1] * len(known)]
    return [0, *(1 if any(low <= value <= high for low, high in intervals) else -1 for value in known)]


def rows_by_cell(scale: Scale, comparisons: Sequence[Sequence[Interval]]) -> list[Row]:
    """The truths of some comparisons in every cell, and after them the truths of their negations.

    Example:
        >>> list(rows_by_cell(NumberScale([(5, 9)]), [[(5, 9)], []])[2])
        [1, 255, 255, 1]
    """
    by_cell = zip(*[truths_by_cell(scale, intervals) for intervals in comparisons], strict=True)
    found: dict[Row, Row] = {}
    rows = [bytes([truth % 256 for truth in (*cell, *[-truth for truth in cell])]) for cell in by_cell]
    return [found.setdefault(row, row) for row in rows]
