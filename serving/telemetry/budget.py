"""So many lines a second and no more: a flood of refused requests must not fill the disk."""

from __future__ import annotations

import logging
import time

_MAX_LINES_PER_SECOND = 10


class LineBudget:
    """Counts lines by the second.

    Args:
        n_per_second: How many may be written in one.
    """

    def __init__(self, n_per_second: int) -> None:
        self._n_per_second = n_per_second
        self._second = 0
        self._n_told = 0
        self._n_untold = 0

    def has_room(self) -> bool:
        """Whether one more may be written now; counts those that may not."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._n_told = second, 0
        self._n_told += 1
        if self._n_told <= self._n_per_second:
            return True
        self._n_untold += 1
        return False

    def untold(self) -> int:
        """How many were left out since this was last asked."""
        n_untold, self._n_untold = self._n_untold, 0
        return n_untold


class FloodGate(logging.Filter):
    """Holds back what strangers can make a server say: traces, and uvicorn's words on what is no HTTP.

    The next line after some that were left out tells in `n_untold` how many these were.
    """

    def __init__(self) -> None:
        super().__init__()
        self._traces = LineBudget(_MAX_LINES_PER_SECOND)
        self._foreign = LineBudget(_MAX_LINES_PER_SECOND)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        is_foreign = record.name.startswith("uvicorn") and record.levelno == logging.WARNING
        if not is_foreign and not record.exc_info:
            return True
        budget = self._foreign if is_foreign else self._traces
        if not budget.has_room():
            return False
        n_untold = budget.untold()
        if n_untold:
            record.fields = {**getattr(record, "fields", {}), "n_untold": n_untold}
        return True
