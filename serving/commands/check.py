"""``recsys-serve check``: would a server with these settings run?"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import ConfigError
from serving.commands.terminal import JsonOption, say
from serving.settings import Settings, read_settings
from serving.storage.sql import SqlStore


def console_fault(settings: Settings) -> str:
    """Why the console cannot be served as it is set; "" = it can."""
    if not settings.is_console_enabled or settings.oidc_issuer is None:
        return ""
    from serving.console.desk import single_sign_on_of

    try:
        single_sign_on_of(settings)
    except ConfigError as error:
        return str(error)
    return ""


def check(
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of bundles; goes before RECSYS_BUNDLES_DIR.", metavar="DIR")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at settings, database, models, policy, folders, disk, clock and keys; exit 1 where one fails."""
    from serving.services.soundness import Outcome, check_all

    settings = read_settings({} if bundles is None else {"bundles_dir": bundles})
    store = SqlStore(settings.database_url)
    file = Path(store.place.partition("///")[2].partition("?")[0]) if store.is_embedded else None
    try:
        found = check_all(settings, os.environ, store, file, datetime.now(UTC), console_fault(settings))
    finally:
        store.close()
    is_sound = all(each.outcome is not Outcome.FAIL for each in found)
    if as_json:
        say({"is_sound": is_sound, "checks": [each._asdict() for each in found]})
    else:
        for each in found:
            cure = f" → {each.cure}" if each.cure else ""
            say(f"{each.outcome.value:<5}{each.name:<15}{each.text}{cure}")
    if not is_sound:
        raise typer.Exit(1)
