"""``recsys-serve``: the database, data in, the server, keys, tables out.

Exit codes: 0 done, 1 the data or the request is bad (one line per fault on stderr), 2 usage. The database
is the one of ``RECSYS_DATABASE_URL``. An SQLite file is made and migrated where it is needed; PostgreSQL is
migrated by ``recsys-serve migrate`` only, since several servers may share it.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from recsys.errors import BundleError, BundleNotFoundError, ConfigError, RecsysError, StoreUnavailableError
from serving.ports import KeyRecord, Role
from serving.security.keys import new_key
from serving.settings import Settings, read_settings
from serving.storage.sql import SqlStore

app = typer.Typer(
    name="recsys-serve",
    help="Serve recommendations: migrate, load, run, keys, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
_SECONDS_BETWEEN_LINES = 2.0


@app.command()
def migrate(as_json: JsonOption = False) -> None:
    """Bring the database to the schema this program knows."""
    from serving.storage.migrate import migrate as move

    settings = read_settings({})
    revision = move(settings.database_url)
    _print({"revision": revision} if as_json else f"the database has schema {revision}")


@app.command()
def load(
    folder: Annotated[Path, typer.Argument(help="Folder of Parquet or CSV tables.", metavar="DIR")],
    has_log: Annotated[bool, typer.Option("--log/--no-log", help="Load decisions and events too.")] = True,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Accept a feed that lost more than a fifth.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Upsert a dataset while the server answers; nothing is loaded from a table with faults."""
    from serving.services.load import LoadOptions
    from serving.services.load import load as run

    options = LoadOptions(is_log_loaded=has_log, is_shrinking_allowed=allow_shrink)
    with _store() as store:
        summary = run(store, folder, datetime.now(UTC), options, _Progress().show)
    if as_json:
        _print(
            {
                "n_rows": dict(summary.n_rows),
                "n_changed_states": summary.n_changed_states,
                "n_placements": summary.n_placements,
            }
        )
        return
    for name, n_rows in summary.n_rows.items():
        _print(f"{name}: {n_rows} rows")
    _print(f"client states: {summary.n_changed_states} changed; placements: {summary.n_placements} loaded")


@app.command()
def run(
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of bundles; the newest is served.", metavar="DIR")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.")] = None,
    has_portal: Annotated[
        bool | None, typer.Option("--portal/--no-portal", help="Serve the demo portal.", show_default=False)
    ] = None,
) -> None:
    """Serve until interrupted; options go before RECSYS_* variables."""
    given = {
        "bundles_dir": bundles,
        "host": host,
        "port": port,
        "workers": workers,
        "is_portal_enabled": has_portal,
    }
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    _check_address(settings)
    hint = _bundle_hint(settings.bundles_dir)
    store = SqlStore(settings.database_url)
    try:
        _make_ready(store, settings)
    finally:
        store.close()
    from serving.app import run as serve

    address = f"http://{settings.host}:{settings.port}"
    _note(f"API: {address}/v1  (described in {address}/openapi.json)")
    if settings.is_portal_enabled:
        _note(f"Demo portal: {address}/portal/  (Ctrl+C stops)")
    if hint:
        _note(hint)
    serve(settings)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to write into.", metavar="DIR")],
    as_json: JsonOption = False,
) -> None:
    """Write every table as Parquet, such as recsys-train reads."""
    from serving.services.export import export as run

    with _store() as store:
        n_rows = run(store, out)
    if as_json:
        _print({"n_rows": dict(n_rows)})
        return
    for name, n in n_rows.items():
        _print(f"{name}: {n} rows")


@keys_app.command("create")
def create_key(
    role: Annotated[Role, typer.Option(help="What the key may do.")],
    as_json: JsonOption = False,
) -> None:
    """Make a key; it is shown once, on stdout, and stored as a digest only."""
    with _store() as store:
        key, record = new_key(role, datetime.now(UTC))
        store.add_key(record)
    if as_json:
        _print({"key": key, **_key_entry(record)})
        return
    _print(key)
    _note(f"key {record.key_id} with the role {role}; keep it now, it cannot be shown again")


@keys_app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List the keys, revoked ones too; never the keys themselves."""
    with _store() as store:
        records = store.keys()
    if as_json:
        _print({"keys": [_key_entry(record) for record in records]})
        return
    table = Table("key_id", "role", "created", "revoked")
    for record in records:
        revoked_at = "" if record.revoked_at is None else f"{record.revoked_at:%Y-%m-%d %H:%M}"
        table.add_row(record.key_id, record.role, f"{record.created_at:%Y-%m-%d %H:%M}", revoked_at)
    Console().print(table)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The key_id that `keys list` shows.")]) -> None:
    """Revoke a key; running servers refuse it within a second."""
    with _store() as store:
        store.revoke_key(key_id, datetime.now(UTC))
    _note(f"key {key_id} is revoked")


def main() -> None:
    """Run the command line; a known error is one clear message, never a stack trace."""
    try:
        app()
    except RecsysError as error:
        _note(str(error))
        sys.exit(1)


class _Progress:
    """Says how far a load is: a line that renews itself on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._said_at = time.monotonic()

    def show(self, table: str, n_done: int, n_rows: int) -> None:
        is_last = n_done == n_rows
        if self._is_terminal:
            sys.stderr.write(f"\r{table}: {n_done}/{n_rows}\x1b[K" + ("\n" if is_last else ""))
            sys.stderr.flush()
        elif time.monotonic() - self._said_at > _SECONDS_BETWEEN_LINES:
            self._said_at = time.monotonic()
            _note(f"{table}: {n_done}/{n_rows}")


@contextmanager
def _store() -> Iterator[SqlStore]:
    settings = read_settings({})
    store = SqlStore(settings.database_url)
    try:
        _make_ready(store, settings)
        yield store
    finally:
        store.close()


def _make_ready(store: SqlStore, settings: Settings) -> None:
    """Migrate an SQLite file that needs it.

    Raises:
        StoreUnavailableError: The database does not answer, or somebody has to migrate it.
    """
    if store.is_ready():
        return
    if store.is_embedded:
        from serving.storage.migrate import migrate as move

        move(settings.database_url)
        return
    store.keys()  # says which of the two it is
    raise StoreUnavailableError(
        f"the database {store.place} has not the schema of this program: run `recsys-serve migrate`"
    )


def _check_address(settings: Settings) -> None:
    """Try whether the server could listen, so that nothing is announced that nobody will answer at.

    Raises:
        ConfigError: It could not.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is in use by another program: stop that one, or choose a free port"
                " with --port N"
            ) from error
        raise ConfigError(
            f"the server cannot listen at {host}, port {port}: {error.strerror}; choose another place with"
            " --host and --port"
        ) from error


def _bundle_hint(folder: Path | None) -> str | None:
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


def _key_entry(record: KeyRecord) -> dict[str, object]:
    return {
        "key_id": record.key_id,
        "role": record.role,
        "created_at": record.created_at,
        "revoked_at": record.revoked_at,
    }


def _print(what: str | dict[str, object]) -> None:
    print(what if isinstance(what, str) else orjson.dumps(what).decode())  # noqa: T201


def _note(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201
