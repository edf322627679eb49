"""The workers of a server: one that has nothing to answer from yet leaves callers to those that have."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_NAME: Final = "answering.lock"


class Crew:
    """Tells a worker whether another one of its server can answer.

    Each that can shares a lock, which the system takes back from whoever dies, however it dies.

    Args:
        folder: Shared by the workers of one server; None = this worker is the only one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _NAME
        self._place: int | None = None

    def join(self) -> None:
        """Say that this worker can answer; where the folder is gone or full, nobody learns of it."""
        if self._path is not None and self._place is None:
            with suppress(OSError):
                self._place = _lock(self._path, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Say that it no longer can."""
        place, self._place = self._place, None
        if place is not None:
            os.close(place)

    def has_others(self) -> bool:
        """Whether another worker can answer; False where nobody can tell. Ask before `join`."""
        if self._path is None:
            return False
        try:
            os.close(_lock(self._path, fcntl.LOCK_EX))
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False


def _lock(path: Path, kind: int) -> int:
    """The file, open and locked; OSError where that cannot be had at once."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
