"""What was read lately, for the time when the database is away."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Lately(Generic[Value]):
    """The latest values by key, of the last hour or two; keeping one costs next to nothing.

    There are two generations: the young one becomes the old one when it is full or an hour old, and what was
    the old one is forgotten. Time passes only by `age`, which is called while the database answers: what is
    known when it goes away stays known until it is back.

    Args:
        max_keys: Keys of one generation, ≥1.
        max_seconds: How old a generation may be.

    Example:
        >>> lately: Lately[int] = Lately(max_keys=2)
        >>> for key in "abc":
        ...     lately.keep(key, ord(key))
        >>> lately.get("a"), lately.get("c"), lately.get("z")
        (97, 99, None)
        >>> for key in "de":
        ...     lately.keep(key, ord(key))
        >>> lately.get("a"), lately.get("c")
        (None, 99)
        >>> passing: Lately[int] = Lately(max_seconds=0)
        >>> passing.keep("a", 1)
        >>> passing.age(), passing.get("a"), passing.age(), passing.get("a")
        (None, 1, None, None)
    """

    def __init__(self, max_keys: int = 10_000, max_seconds: float = 3600.0) -> None:
        self._max_keys = max_keys
        self._max_seconds = max_seconds
        self._young: dict[str, Value] = {}
        self._old: dict[str, Value] = {}
        self._ends_at = time.monotonic() + max_seconds

    def keep(self, key: str, value: Value) -> None:
        """Remember a value."""
        if len(self._young) >= self._max_keys:
            self._turn()
        self._young[key] = value

    def age(self) -> None:
        """Forget what is too old."""
        if time.monotonic() >= self._ends_at:
            self._turn()

    def _turn(self) -> None:
        self._old, self._young = self._young, {}
        self._ends_at = time.monotonic() + self._max_seconds

    def get(self, key: str) -> Value | None:
        """The value kept last; None = none, or not lately."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found
