"""How often somebody may ask: token buckets in the memory of each worker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from recsys.errors import RateLimitedError

_MAX_REMEMBERED = 10_000


class RateLimit:
    """Lets each name pass so many times a second, and a burst of two seconds' worth (10 at least) at once.

    Of each name only the moment is kept at which its bucket will be full again (the generic cell rate
    algorithm), so that nothing has to be refilled.

    Args:
        per_second: Requests a second, >0.
        time_of: A clock that only goes forward, in seconds.

    Example:
        >>> limit = RateLimit(1.0, lambda: 0.0)
        >>> for _ in range(10):
        ...     limit.check("key")
        >>> limit.check("key")
        Traceback (most recent call last):
        ...
        recsys.errors.RateLimitedError: more than 1 requests a second; come again in 1 s
    """

    def __init__(self, per_second: float, time_of: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._time_of = time_of
        self._seconds_each = 1.0 / per_second
        self._slack = (max(2.0 * per_second, 10.0) - 1.0) * self._seconds_each
        self._full_at: dict[str, float] = {}

    def check(self, name: str) -> None:
        """Count a request.

        Raises:
            RateLimitedError: It is one too many; it was not counted.
        """
        now = self._time_of()
        full_at = max(self._full_at.get(name, now), now)
        wait = full_at - now - self._slack
        # A burst must not lose its last request to the rounding of sums.
        if wait > 1e-9:
            seconds = math.ceil(wait)
            raise RateLimitedError(
                f"more than {self._per_second:g} requests a second; come again in {seconds} s", seconds
            )
        if len(self._full_at) >= _MAX_REMEMBERED and name not in self._full_at:
            self._forget(now)
        self._full_at[name] = full_at + self._seconds_each

    def _forget(self, now: float) -> None:
        """Forget the names whose bucket is full; where all are busy, those that will be full first."""
        busy = sorted((moment, name) for name, moment in self._full_at.items() if moment > now)
        self._full_at = {name: moment for moment, name in busy[-(_MAX_REMEMBERED // 2) :]}


def rate_limit(per_second: float) -> RateLimit | None:
    """The limit of a setting; None where there is none."""
    return RateLimit(per_second) if per_second > 0 else None
