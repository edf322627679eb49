"""What keeps the log of decisions and events from growing for ever: its months, and how they go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

KEPT = "kept"
"""The month of retired events on which states still rest: dismissals and complaints; it never goes."""

LEAST_LOG_MONTHS = 4
"""Whole months before the present one that a log cannot do without: states count events for 90 days."""


@dataclass(frozen=True, slots=True)
class LogMonth:
    """A month of the log.

    Attributes:
        month: ``YYYY-MM``, in UTC.
        n_decisions: Decisions, ≥0.
        n_events: Events, ≥0.
    """

    month: str
    n_decisions: int
    n_events: int


class UpkeepStore(Protocol):
    """The part of `serving.ports.Store` that keeps house.

    A decision lies in the month of its occurred_at, an event in that of its decision, or of its own
    occurred_at where it has none that is stored. Months are those of UTC.
    """

    def checkpoint(self) -> None:
        """Move what was committed to its lasting place, where the database would do that within a commit.

        Raises:
            StoreUnavailableError: The database did not answer; nothing is lost by it.
        """
        ...

    def make_months(self, now: datetime) -> list[str]:
        """Make room for the months around the present where the database wants that; returns what was made.

        Nothing is refused in a month without room of its own. Work in short transactions; a month whose
        making would keep others waiting is left to the next call.
        """
        ...

    def month_sizes(self, before: datetime) -> list[LogMonth]:
        """The months before that of an instant which hold anything, ascending."""
        ...

    def retire_month(self, month: str, kept_from: datetime) -> LogMonth:
        """Forget a month's decisions and events; returns how many went. States do not change by it.

        What stays: a decision of which something happened at `kept_from` or later, with all its events, as
        a part of the month of the last of them; dismissals and complaints, on which states rest.

        Args:
            month: A month before that of `kept_from`.
            kept_from: Begin of the first month that is kept whole.

        Raises:
            StoreUnavailableError: Others kept the month busy; what was done is done, and no harm.
        """
        ...

    def forget_shadows(self, before: datetime) -> int:
        """Forget what models in shadow would have shown before an instant; returns how many rows went."""
        ...

    def forget_answers(self, before: datetime) -> int:
        """Forget answers given before an instant; a retry after that is a new request. Returns how many."""
        ...


def month_of(instant: datetime) -> str:
    """The month of an instant, in UTC.

    Example:
        >>> month_of(datetime(2025, 3, 1, tzinfo=UTC))
        '2025-03'
    """
    utc = instant.astimezone(UTC)
    return f"{utc.year:04d}-{utc.month:02d}"


def begin_of(instant: datetime, n_months: int) -> datetime:
    """The begin of the month that lies so many months after that of an instant, in UTC; years 1–9999.

    Example:
        >>> begin_of(datetime(2025, 3, 31, 12, tzinfo=UTC), -4).isoformat()
        '2024-11-01T00:00:00+00:00'
    """
    utc = instant.astimezone(UTC)
    year, month = divmod(utc.year * 12 + utc.month - 1 + n_months, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
