"""Copies of an SQLite file: taken beside a running server, and put back where none runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from recsys.errors import ConfigError, ConflictError, StoreUnavailableError
from serving.storage.schema import SCHEMA_REVISION

_BUSY_SECONDS = 10


def sqlite_file(database_url: str) -> Path:
    """The file of a database.

    Raises:
        ConfigError: It is PostgreSQL, which has tools of its own for this.
    """
    url = sa.make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ConfigError(
            "this copies SQLite files; PostgreSQL is copied by `pg_dump --format=custom` and put back by"
            " `pg_restore`, see docs/how-to/database.md"
        )
    return Path(url.database)


def back_up(source: Path, target: Path) -> int:
    """Copy a database into a file as it stands at one moment; whoever writes it goes on meanwhile.

    Returns:
        Bytes written.

    Raises:
        ConfigError: There is no such database, or the target exists or cannot be written.
        StoreUnavailableError: The source cannot be read, or the copy is not sound.
    """
    if not source.is_file():
        raise ConfigError(f"there is no database {source} to back up; RECSYS_DATABASE_URL names it")
    if target.exists():
        raise ConfigError(f"{target} exists already; name a new file, or remove that one")
    with _complete(target) as part, _explained(source):
        with closing(_open(source)) as original, closing(sqlite3.connect(part)) as copy:
            original.backup(copy)  # in one step: of a file that is written all the time, portions never end
        _check(part)
    return target.stat().st_size


def restore(source: Path, target: Path, is_replacing: bool) -> str:
    """Put a copy where the database is to be.

    Args:
        source: What `back_up` wrote.
        target: The database.
        is_replacing: Whether a database that is there already may go.

    Returns:
        The schema of what was put back, which may be older than the program's.

    Raises:
        ConfigError: There is no such copy, it is none, a newer program wrote it, or the target exists.
        ConflictError: A server or another program has the target open.
    """
    if not source.is_file():
        raise ConfigError(f"there is no file {source}")
    revision = _revision(source)
    if revision > SCHEMA_REVISION:
        raise ConfigError(f"{source} was written by a newer program (schema {revision}); install that one")
    if target.exists():
        if not is_replacing:
            raise ConfigError(f"the database {target} exists; --replace puts {source} in its place")
        _close_for_good(target)
    for rest in ("-wal", "-shm"):  # what a killed program left belongs to the database that goes
        target.with_name(f"{target.name}{rest}").unlink(missing_ok=True)
    with _complete(target) as part, _explained(source):
        with closing(_open(source)) as original, closing(sqlite3.connect(part)) as copy:
            original.backup(copy)
        _check(part)
    return revision


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)


@contextmanager
def _complete(target: Path) -> Iterator[Path]:
    """A file beside the target that takes its place when it is whole and on the disk."""
    part = target.with_name(f"{target.name}.part")
    try:
        # It holds what the database holds: for nobody else to read.
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        yield part
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(source: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{source} cannot be copied: {error}") from error


def _check(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        [(found,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise StoreUnavailableError(f"the copy is not sound: {found}")


def _revision(file: Path) -> str:
    try:
        with closing(_open(file)) as connection:
            [(revision,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.Error, ValueError) as error:
        raise ConfigError(f"{file} is no copy of a database of this program: {error}") from error
    return str(revision)


def _close_for_good(target: Path) -> None:
    """Fold the journal of a database into it, which only succeeds while nobody else has it open.

    Raises:
        ConflictError: Somebody has.
    """
    try:
        with closing(sqlite3.connect(target, timeout=0)) as connection:
            [(mode,)] = connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.DatabaseError as error:
        if "locked" not in str(error):
            return  # a broken file is what a restore is there for
        raise ConflictError(f"the database {target} is in use: stop the server, then restore") from error
    if mode != "delete":
        raise ConflictError(f"the database {target} is in use: stop the server, then restore")
