"""What a company has of an offer, and what renewing it would make of the term."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import MAXYEAR, date, timedelta

from recsys.domain import Change, Holding

_YEAR = 12
_NO_END = date.max


def holding_to_change(holdings: Iterable[Holding], offer_id: str, change: Change) -> Holding | None:
    """The holding that a renewal, an expansion or a talk is about; None where nothing of the offer is held.

    Args:
        holdings: What the company has now.
        offer_id: The offer.
        change: A renewal is about the term that ends first, everything else about the oldest connection.
    """
    found = [holding for holding in holdings if holding.offer_id == offer_id]
    if change is Change.RENEW:
        found.sort(key=lambda holding: (holding.term_ends_on or _NO_END, holding.holding_id))
    else:
        found.sort(key=lambda holding: (holding.connected_at, holding.holding_id))
    return found[0] if found else None


def renewed_until(holding: Holding, today: date) -> date:
    """The last day of a renewed term: as long as the old one, from its end or, if that is past, from today.

    How long the old one was can be told where it began with the connection and was shorter than a year;
    a longer time may have been several terms, so a year is taken.

    Example:
        >>> from datetime import UTC, datetime
        >>> from recsys.domain import OfferId
        >>> connected_at = datetime(2025, 3, 1, tzinfo=UTC)
        >>> def until(term_ends_on):
        ...     return renewed_until(
        ...         Holding("h", OfferId("pbx"), connected_at, term_ends_on=term_ends_on), date(2025, 8, 20)
        ...     ).isoformat()
        >>> until(date(2025, 8, 31)), until(date(2026, 2, 28)), until(date(2025, 6, 30))
        ('2026-02-28', '2027-02-28', '2025-12-20')
        >>> until(date(9999, 12, 31))  # as many systems write that there is no end
        '9999-12-31'
    """
    ends_on = holding.term_ends_on or today
    if ends_on.year == MAXYEAR:
        return ends_on
    n_months = full_months(holding.connected_at.date(), ends_on + timedelta(days=1))
    return _months_later(max(ends_on, today), n_months if 0 < n_months < _YEAR else _YEAR)


def full_months(since: date, until: date) -> int:
    """Full months from one day to another, at least 0.

    Example:
        >>> full_months(date(2025, 1, 31), date(2026, 3, 30))
        13
        >>> full_months(date(2025, 1, 15), date(2025, 2, 15))
        1
    """
    months = (until.year - since.year) * _YEAR + until.month - since.month
    return max(0, months - (until.day < since.day))


def _months_later(day: date, n_months: int) -> date:
    """The same day of a later month; of a month's last day, or one that the month lacks, its last day."""
    year, month = divmod(day.year * _YEAR + day.month - 1 + n_months, _YEAR)
    is_last = day.day == monthrange(day.year, day.month)[1]
    n_days = monthrange(year, month + 1)[1]
    return date(year, month + 1, n_days if is_last else min(day.day, n_days))
