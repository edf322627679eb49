"""When something takes effect that somebody announces."""

from __future__ import annotations

from datetime import datetime

from recsys.errors import InvalidRequestError
from serving.ports import MAX_CLOCK_SKEW


def effective_from(wanted: datetime | None, now: datetime) -> datetime:
    """The moment from which something announced holds: the one wanted, or now.

    A moment that lies a little back is the caller's slow clock and means now.

    Raises:
        InvalidRequestError: It lies in the past: what was decided then is not undone.

    Example:
        >>> from datetime import UTC, timedelta
        >>> now = datetime(2025, 3, 1, tzinfo=UTC)
        >>> effective_from(now - timedelta(minutes=1), now) == effective_from(None, now) == now
        True
    """
    if wanted is None:
        return now
    if wanted < now - MAX_CLOCK_SKEW:
        raise InvalidRequestError(
            "effective_at", f"{wanted.isoformat()} lies in the past; leave it out for now"
        )
    return max(wanted, now)
