"""What every command shares: the store, times as they are typed, how things are said."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import orjson
import typer

from recsys.errors import (
    BundleError,
    BundleNotFoundError,
    ConfigError,
    InvalidRequestError,
    StoreUnavailableError,
)
from serving.settings import Settings, read_settings
from serving.storage.sql import SqlStore

AUTHOR = "command line"
"""Who does what a command does."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", help="From when on: an instant with its zone, or a day; left out = now.", metavar="T"
    ),
]
_SECONDS_BETWEEN_LINES = 2.0


class Progress:
    """Says how far long work is: a line that renews itself on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._said_at = time.monotonic()

    def show(self, what: str, n_done: int, n_all: int) -> None:
        """Say that so many are done."""
        is_last = n_done == n_all
        if self._is_terminal:
            sys.stderr.write(f"\r{what}: {n_done}/{n_all}\x1b[K" + ("\n" if is_last else ""))
            sys.stderr.flush()
        elif time.monotonic() - self._said_at > _SECONDS_BETWEEN_LINES:
            self._said_at = time.monotonic()
            note(f"{what}: {n_done}/{n_all}")


@contextmanager
def open_store() -> Iterator[SqlStore]:
    """The store of the settings, ready for use.

    Raises:
        StoreUnavailableError: It does not answer, or somebody has to migrate it.
    """
    settings = read_settings({})
    store = SqlStore(settings.database_url)
    try:
        make_ready(store, settings)
        yield store
    finally:
        store.close()


@contextmanager
def open_existing_store() -> Iterator[SqlStore]:
    """As `open_store`, for work that only makes sense on what was loaded: no SQLite file is made.

    Raises:
        ConfigError: There is no such file.
        StoreUnavailableError: The database does not answer, or somebody has to migrate it.
    """
    store = SqlStore(read_settings({}).database_url)
    file = store.place.partition("///")[2].partition("?")[0]
    is_missing = store.is_embedded and not Path(file).is_file()
    store.close()
    if is_missing:
        raise ConfigError(
            f"there is no file {file}: name another with RECSYS_DATABASE_URL=sqlite:///FILE, or fill this one"
            " with `recsys-serve load DIR`"
        )
    with open_store() as opened:
        yield opened


def make_ready(store: SqlStore, settings: Settings) -> None:
    """Migrate an SQLite file that needs it.

    Raises:
        StoreUnavailableError: The database does not answer, or somebody has to migrate it.
    """
    if store.is_embedded:
        if not store.is_ready():
            from serving.storage.migrate import migrate

            migrate(settings.database_url)
        return
    fault = store.schema_fault()
    if fault is not None:
        raise StoreUnavailableError(fault)


def bundle_hint(folder: Path | None) -> str | None:
    """What to tell of a folder that holds no bundle yet.

    Raises:
        ConfigError: There is no such folder.
    """
    from recsys.bundle import newest_bundle

    if folder is None:
        return None
    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder {folder} to take bundles from: name another with --bundles DIR"
        )
    try:
        newest_bundle(folder)
    except BundleNotFoundError:
        return (
            f"The folder {folder} holds no bundle yet: popularity orders the lists until `recsys-train fit`"
            " writes one into it."
        )
    except BundleError as error:
        return f"No bundle can be used, popularity orders the lists: {error}"
    return None


def instant_of(text: str | None, zone: ZoneInfo) -> datetime | None:
    """What was typed as an instant in UTC: a day is its midnight in a zone.

    Raises:
        ConfigError: It is neither a day nor an instant with its zone.

    Example:
        >>> f"{instant_of('2025-03-01', ZoneInfo('Europe/Moscow')):%d %H:%M}"
        '28 21:00'
    """
    if text is None:
        return None
    try:
        if len(text) == len("2025-03-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), zone).astimezone(UTC)
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = datetime.min  # noqa: DTZ901 -- without a zone it is refused below
    if instant.tzinfo is None:
        raise ConfigError(
            f"--at {text}: is neither a day (2025-03-01) nor an instant with a zone (2025-03-01T09:00+03:00)"
        )
    return instant.astimezone(UTC)


def effective_at_of(text: str | None) -> datetime | None:
    """What ``--at`` says, in the zone of the settings; None = now.

    Raises:
        ConfigError: It is no time, or lies in the past.
    """
    from serving.services.moments import effective_from

    effective_at = instant_of(text, zone_of_settings())
    try:
        effective_from(effective_at, datetime.now(UTC))
    except InvalidRequestError:
        raise ConfigError(f"--at {text}: lies in the past; leave it out for now") from None
    return effective_at


def zone_of_settings() -> ZoneInfo:
    """The zone whose midnights begin days."""
    return ZoneInfo(read_settings({}).time_zone)


def minute(instant: datetime) -> str:
    """An instant for people, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M}"


def local_minute(instant: datetime, zone: ZoneInfo) -> str:
    """An instant for people who typed it in their own zone.

    Example:
        >>> local_minute(datetime(2025, 2, 28, 21, tzinfo=UTC), ZoneInfo("Europe/Moscow"))
        '2025-03-01 00:00 Europe/Moscow'
    """
    return f"{minute(instant.astimezone(zone))} {zone.key}"


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under a header."""
    from rich.console import Console
    from rich.table import Table

    key, *others = header
    table = Table()
    table.add_column(key, no_wrap=True)  # what is copied into the next command stays whole
    for name in others:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def say(what: str | dict[str, object]) -> None:
    """Print a result to stdout: a text as it is, anything else as JSON."""
    print(what if isinstance(what, str) else orjson.dumps(what).decode())  # noqa: T201


def note(what: str) -> None:
    """Print to stderr what is no result."""
    print(what, file=sys.stderr, flush=True)  # noqa: T201


def warn(warnings: Iterable[str]) -> None:
    """Print to stderr what should be looked at, one line each."""
    for warning in warnings:
        note(f"warning: {warning}")
