"""Bring a database to the schema this program knows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from recsys.errors import StoreUnavailableError
from serving.storage.dialects import open_database
from serving.storage.schema import SCHEMA_REVISION
from serving.storage.sql import SqlStore

NEWEST = "head"
NOTHING = "base"
# PostgreSQL's advisory lock of whoever migrates, the same in every release; others are in `log_queries`.
_LOCK = 7_153


def migrate(database_url: str, revision: str = NEWEST) -> str | None:
    """Run the migrations up or down to a revision; nothing is done where it holds already.

    Of two at the same time the second one waits for the first. At the newest schema the log gets room for
    the months ahead.

    Args:
        database_url: The database.
        revision: ``head``, ``base`` or the id of a migration.

    Returns:
        The revision the database has now; None when it has no tables.

    Raises:
        StoreUnavailableError: The database does not answer, or a newer program wrote it.
    """
    database = open_database(database_url)
    try:
        with database.explaining(), database.writer.begin() as connection:
            present = _move(connection, revision)
    except CommandError as error:
        raise StoreUnavailableError(
            f"the database {database.place} was written by a newer program: {error}; install that one"
        ) from error
    finally:
        database.dispose()
    if present == SCHEMA_REVISION:
        _make_months(database_url)
    return present


def _make_months(database_url: str) -> None:
    store = SqlStore(database_url)
    try:
        store.make_months(datetime.now(UTC))
    finally:
        store.close()


def _move(connection: sa.Connection, revision: str) -> str | None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":  # on SQLite one writer waits for the other anyway
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    present = MigrationContext.configure(connection).get_current_revision()
    # Revisions are numbered, so that an older one is a smaller text.
    if revision == NOTHING or (revision != NEWEST and present is not None and revision < present):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
    return MigrationContext.configure(connection).get_current_revision()
