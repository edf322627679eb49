"""``recsys-serve``: the database, data in, the server, keys, offers, policies, tables out.

Exit codes: 0 done, 1 the data or the request is bad (one line per fault on stderr), 2 usage. The database
is the one of ``RECSYS_DATABASE_URL``. An SQLite file is made and migrated where it is needed; PostgreSQL is
migrated by ``recsys-serve migrate`` only, since several servers may share it.
"""

from __future__ import annotations

import errno
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import ConfigError, RecsysError
from serving.commands import bundles, database, experiments, keys, offers, policies, token_keys, users, vip
from serving.commands.check import check, console_fault
from serving.commands.explain import explain
from serving.commands.plain import PlainGroup
from serving.commands.terminal import (
    JsonOption,
    Progress,
    bundle_hint,
    make_ready,
    note,
    open_store,
    say,
    warn,
    zone_of_settings,
)
from serving.settings import Settings, read_settings
from serving.storage.sql import SqlStore

app = typer.Typer(
    name="recsys-serve",
    cls=PlainGroup,
    help="Serve recommendations: the database, data in, the server, who may come in, rules, results out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _commands in (
    ("keys", keys.app),
    ("token-keys", token_keys.app),
    ("users", users.app),
    ("offer", offers.app),
    ("policy", policies.app),
    ("bundle", bundles.app),
    ("database", database.app),
    ("vip", vip.app),
    ("experiment", experiments.app),
):
    app.add_typer(_commands, name=_name)
app.command()(explain)
app.command()(check)


@app.command()
def migrate(as_json: JsonOption = False) -> None:
    """Bring the database to the schema this program knows."""
    from serving.storage.migrate import migrate as move

    settings = read_settings({})
    revision = move(settings.database_url)
    say({"revision": revision} if as_json else f"the database has schema {revision}")


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
    with open_store() as store:
        summary = run(store, folder, datetime.now(UTC), options, Progress().show)
    warnings = (*summary.warnings, *_other_midnights(summary.time_zone))
    warn(warnings)
    if as_json:
        say(
            {
                "n_rows": dict(summary.n_rows),
                "n_changed_states": summary.n_changed_states,
                "policy_version": summary.policy_version,
                "is_new_policy": summary.is_new_policy,
                "warnings": warnings,
            }
        )
        return
    for name, n_rows in summary.n_rows.items():
        say(f"{name}: {n_rows} rows")
    say(f"client states: {summary.n_changed_states} changed")
    if summary.policy_version is not None:
        is_new = "published" if summary.is_new_policy else "published before; what is in force stays"
        say(f"policy {summary.policy_version}: {is_new}")


def _other_midnights(data_zone: str) -> tuple[str, ...]:
    """What to say when the server's days are not those of the data."""
    own_zone = zone_of_settings().key
    if data_zone == own_zone:
        return ()
    cure = f"start it with RECSYS_TIME_ZONE={data_zone}, so that caps and rules begin their days alike"
    return (f"the data's days are those of {data_zone}, the server's those of {own_zone}: {cure}",)


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
    fault = console_fault(settings)
    if fault:
        raise ConfigError(fault)
    from serving.services.bundle_registry import read_registry

    hint = bundle_hint(settings.bundles_dir)
    store = SqlStore(settings.database_url)
    try:
        make_ready(store, settings)
        is_ordered = read_registry(store).live is not None
    finally:
        store.close()
    from serving.services.journal import make_folder
    from serving.supervisor import run as serve

    make_folder(settings.journal_dir)

    address = f"http://{settings.host}:{settings.port}"
    note(f"API: {address}/v1  (described in {address}/openapi.json)")
    if settings.is_portal_enabled:
        note(f"Demo portal: {address}/portal/  (Ctrl+C stops)")
    if hint and not is_ordered:
        note(hint)
    serve(settings)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to write into.", metavar="DIR")],
    as_json: JsonOption = False,
) -> None:
    """Write every table as Parquet, such as recsys-train reads."""
    from serving.services.export import export as run

    with open_store() as store:
        n_rows = run(store, out, datetime.now(UTC))
    if as_json:
        say({"n_rows": dict(n_rows)})
        return
    for name, n in n_rows.items():
        say(f"{name}: {n} rows")


def main() -> None:
    """Run the command line; a known error is one clear message, never a stack trace."""
    try:
        app()
    except RecsysError as error:
        note(str(error))
        sys.exit(1)


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
