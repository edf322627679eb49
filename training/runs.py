"""What every long run shares: progress that a person can follow, and a folder that says what was done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recsys.errors import DataError

Advance = Callable[[int], None]
_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show how far a piece of work is: a bar on a terminal, plain lines elsewhere, both on stderr.

    Args:
        title: What is being done.
        total: Number of units of work.

    Yields:
        A function to call with the number of units just done.
    """
    if sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task(title, total=total)
            yield lambda n: bar.advance(task, n)
        return
    lines = _PlainLines(title, total)
    yield lines.advance
    lines.finish()


def check_folder(folder: Path) -> None:
    """Refuse a place for results that cannot be written into, before the work is done rather than after it.

    A folder is made where the results or their first missing folder will stand, and taken away again.

    Raises:
        DataError: The place, or one above it, is a file, or nothing can be written there.
    """
    try:
        for place in (folder, *folder.parents):
            if place.exists():
                if not place.is_dir():
                    raise DataError(f"{place}: is a file; give a folder to write into")
                with TemporaryDirectory(dir=place):
                    return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{folder}: cannot be written ({reason}); give another folder") from error


class _PlainLines:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._done = 0
        self._started_at = self._said_at = time.monotonic()

    def advance(self, n: int) -> None:
        self._done += n
        if time.monotonic() - self._said_at > _SECONDS_BETWEEN_LINES:
            self._said_at = time.monotonic()
            self._say(f"{self._done}/{self._total}")

    def finish(self) -> None:
        self._say(f"done in {time.monotonic() - self._started_at:.1f} s")

    def _say(self, what: str) -> None:
        print(f"{self._title}: {what}", file=sys.stderr, flush=True)  # noqa: T201


@dataclass(frozen=True, slots=True)
class Run:
    """What a run was: enough to do it again.

    Attributes:
        command: The command, as typed.
        seed: Root seed of every random draw.
        config_digest: Digest of the configuration.
        data_digest: Digest of the data read.
        started_at: When it began.
        code_version: Version of the distribution.
    """

    command: str
    seed: int
    config_digest: str
    data_digest: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    code_version: str = field(default_factory=lambda: version("offer-recsys"))

    def write(self, folder: Path) -> None:
        """Write ``run.json`` into the run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
