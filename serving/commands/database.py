"""``recsys-serve database``: how large the log is, what of it goes, copies of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import ConfigError
from serving.commands.terminal import JsonOption, Progress, note, open_existing_store, print_table, say
from serving.settings import read_settings

app = typer.Typer(help="The log's months, what of it goes; copies of an SQLite file.", no_args_is_help=True)


@app.command()
def months(as_json: JsonOption = False) -> None:
    """Show how many decisions and events each month of the log holds."""
    with open_existing_store() as store:
        sizes = store.month_sizes(datetime.max.replace(tzinfo=UTC))
    if as_json:
        say({"months": [_entry(each.month, each.n_decisions, each.n_events) for each in sizes]})
        return
    rows = [(each.month, str(each.n_decisions), str(each.n_events)) for each in sizes]
    print_table(("month", "decisions", "events"), rows)


@app.command()
def retain(
    n_months: Annotated[
        int | None,
        typer.Option("--months", help="Whole months to keep; left out = RECSYS_LOG_MONTHS.", metavar="N"),
    ] = None,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget old months of decisions and events, and old answers; beside a running server."""
    from serving.services.upkeep import forget_answers, plan_retirement, retire

    settings = read_settings({})
    kept = settings.log_months if n_months is None else n_months
    if kept is None:
        raise ConfigError("everything is kept: say how many months with --months N, or set RECSYS_LOG_MONTHS")
    now = datetime.now(UTC)
    with open_existing_store() as store:
        if is_dry_run:
            done, n_answers = plan_retirement(store, kept, now), None
        else:
            done = retire(store, kept, now, Progress().show)
            n_answers = forget_answers(store, settings.answer_days, now)
    for reader in done.readers:
        note(f"{reader}: months from {done.kept_from:%Y-%m} on stay")
    if as_json:
        listed = [_entry(each.month, each.n_decisions, each.n_events) for each in done.months]
        say(
            {
                "is_dry_run": is_dry_run,
                "kept_from": done.kept_from,
                "readers": done.readers,
                "months": listed,
                "n_answers": n_answers,
            }
        )
        return
    for each in done.months:
        rows = f"{each.n_decisions} decisions and {each.n_events} events"
        say(f"{each.month}: holds {rows}" if is_dry_run else f"{each.month}: {rows} went")
    verb = "would go, but for what is still needed" if is_dry_run else "went"
    say(f"months before {done.kept_from:%Y-%m}: {len(done.months)} {verb}")
    if n_answers is not None:
        say(f"answers older than {settings.answer_days} days: {n_answers} went")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The copy to write; it must not exist.", metavar="FILE")],
    as_json: JsonOption = False,
) -> None:
    """Copy an SQLite database as it stands at one moment, beside a running server."""
    from serving.storage.copies import back_up, sqlite_file

    n_bytes = back_up(sqlite_file(read_settings({}).database_url), file)
    say({"file": str(file), "n_bytes": n_bytes} if as_json else f"{file}: {n_bytes} bytes")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `database backup` wrote.", metavar="FILE")],
    is_replacing: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the database that is there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a copy of an SQLite database back; no server may run on it."""
    from serving.storage.copies import restore as put_back
    from serving.storage.copies import sqlite_file
    from serving.storage.migrate import migrate

    url = read_settings({}).database_url
    put_back(file, sqlite_file(url), is_replacing)
    revision = migrate(url)
    say({"revision": revision} if as_json else f"restored; the database has schema {revision}")


def _entry(month: str, n_decisions: int, n_events: int) -> dict[str, object]:
    return {"month": month, "n_decisions": n_decisions, "n_events": n_events}
