"""The months of a world as instants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Months as microseconds since 1970, UTC.

    Attributes:
        bounds: Midnight of the first day of every month in the world's time zone, and of the month after
            the last one, shape (n_months + 1,).
        first_days: The same days as days since 1970, shape (n_months + 1,).
    """

    bounds: IntArray
    first_days: IntArray

    @property
    def n_months(self) -> int:
        """Number of months."""
        return len(self.bounds) - 1

    @property
    def starts_at(self) -> int:
        """The first instant."""
        return int(self.bounds[0])

    @property
    def ends_at(self) -> int:
        """The first instant after the world."""
        return int(self.bounds[-1])


def make_timeline(starts_on: date, n_months: int, time_zone: str) -> Timeline:
    """The months from `starts_on` on.

    Example:
        >>> months = make_timeline(date(2025, 5, 1), 2, "Europe/Moscow")
        >>> (months.bounds[1] - months.bounds[0]) // DAY
        np.int64(31)
    """
    zone = ZoneInfo(time_zone)
    numbers = [starts_on.month - 1 + month for month in range(n_months + 1)]
    days = [date(starts_on.year + number // 12, number % 12 + 1, 1) for number in numbers]
    return Timeline(
        bounds=np.array([_midnight(day, zone) for day in days], dtype=np.int64),
        first_days=np.array([(day - _EPOCH).days for day in days], dtype=np.int64),
    )


def to_datetime(instant: int) -> datetime:
    """An instant as aware UTC."""
    return datetime.fromtimestamp(instant // SECOND, tz=UTC)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, time(), zone).timestamp()) * SECOND
