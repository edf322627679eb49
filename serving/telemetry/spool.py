"""The figures of several workers as one: each leaves its own in a folder, whoever is asked adds them up."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import orjson

from serving.telemetry.measures import Snapshot

_PAST: Final = "past.figures"
_SUFFIX: Final = ".figures"
# A worker leaves its figures once a second; one that has not for so long is gone, or hangs.
_ALIVE_SECONDS: Final = 10.0
# Far longer than any worker could hang and live: what is folded must not be written again.
_FOLD_SECONDS: Final = 3600.0


class Spool:
    """One worker's place in the folder.

    A file is written beside its place and renamed, so a reader sees all of it or the one before.

    Args:
        folder: The folder, which exists; None = this worker is the only one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"

    def write(self, figures: Snapshot) -> None:
        """Leave this worker's figures for the others; without a folder nothing happens.

        Raises:
            OSError: The folder is gone or full.
        """
        if self._folder is not None:
            _write(self._folder / self._name, figures)

    def merged(self, own: Snapshot) -> Snapshot:
        """This worker's figures and those that the others left.

        Raises:
            OSError: The folder is gone.
        """
        found = Snapshot()
        found.add(own)
        if self._folder is None:
            return found
        with _locked(self._folder, fcntl.LOCK_SH):
            for path in self._folder.glob(f"*{_SUFFIX}"):
                other = None if path.name == self._name else _read(path)
                if other is not None:
                    figures, age = other
                    found.add(figures, is_alive=path.name != _PAST and age < _ALIVE_SECONDS)
        return found

    def fold(self) -> None:
        """Put the figures of workers that ended long ago into one file, so that a folder does not fill up.

        Raises:
            OSError: The folder is gone or full.
        """
        if self._folder is None:
            return
        with _locked(self._folder, fcntl.LOCK_EX):
            past, folded = Snapshot(), []
            for path in self._folder.glob(f"*{_SUFFIX}"):
                other = _read(path)
                if other is not None and (path.name == _PAST or other[1] > _FOLD_SECONDS):
                    past.add(other[0], is_alive=False)
                    folded.append(path)
            if any(path.name != _PAST for path in folded):
                _write(self._folder / _PAST, past)
                for path in folded:
                    if path.name != _PAST:
                        path.unlink()


def clear(folder: Path) -> None:
    """Make the folder, and forget what a server before this one left in it.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"*{_SUFFIX}"):
        path.unlink()


def _write(path: Path, figures: Snapshot) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(orjson.dumps(figures.to_json()))
    unfinished.rename(path)


def _read(path: Path) -> tuple[Snapshot, float] | None:
    """The figures and how many seconds ago they were left; None where nobody can read them."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        age = time.time() - path.stat().st_mtime
        return Snapshot.from_json(orjson.loads(path.read_bytes())), age
    return None


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
