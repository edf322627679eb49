"""``recsys-serve keys``: the API keys of programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from recsys.errors import ConflictError, UnknownKeyError
from serving.accounts import KeyRecord, Role
from serving.commands.terminal import JsonOption, minute, note, open_store, print_table, say
from serving.security.keys import is_ended, new_key
from serving.storage.accounts import LIST_KEYS

app = typer.Typer(help="API keys: create, list, rotate, revoke.", no_args_is_help=True)
_MAX_HOURS = 24 * 366
DaysOption = Annotated[
    float | None,
    typer.Option(
        "--expires-days", min=0.001, max=3_660, help="When it ends by itself; left out = it does not."
    ),
]


@app.command("create")
def create_key(
    role: Annotated[Role, typer.Option(help="What the key may do.")],
    expires_days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key; it is shown once, on stdout, and stored as a digest only."""
    now = datetime.now(UTC)
    with open_store() as store:
        key, record = new_key(role, now, _end(now, expires_days))
        store.add_key(record)
    _show(key, record, as_json=as_json)


@app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List the keys, revoked and ended ones too; never the keys themselves."""
    with open_store() as store:
        records = store.keys()
    if as_json:
        say({"keys": [_entry(record) for record in records]})
        return
    print_table(
        ("key_id", "role", "created", "last used", "ends", "revoked"),
        [
            (
                record.key_id,
                record.role,
                minute(record.created_at),
                "" if record.last_used_on is None else record.last_used_on.isoformat(),
                *(
                    "" if moment is None else minute(moment)
                    for moment in (record.expires_at, record.revoked_at)
                ),
            )
            for record in records
        ],
    )


@app.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="The key_id that `keys list` shows.")],
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=_MAX_HOURS, help="How long the old key goes on beside the new one.")
    ] = 24.0,
    expires_days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new key with the role of an old one, which ends after the overlap; never later than it would."""
    now = datetime.now(UTC)
    with open_store() as store:
        stored = store.keys()
        old = next((record for record in stored if record.key_id == key_id), None)
        if old is None:
            raise UnknownKeyError(key_id, LIST_KEYS)
        if is_ended(old, now):
            raise ConflictError(
                f"key {key_id} is revoked or has ended: make one with `recsys-serve keys create`"
            )
        key, record = new_key(old.role, now, _end(now, expires_days))
        store.add_key(record)
        ends_at = now + timedelta(hours=overlap_hours)
        ends_at = ends_at if old.expires_at is None else min(ends_at, old.expires_at)
        store.end_key(key_id, ends_at)
    _show(key, record, as_json=as_json)
    note(f"key {key_id} ends at {minute(ends_at)} UTC: give the new one to whoever uses it before")


@app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The key_id that `keys list` shows.")]) -> None:
    """Revoke a key; running servers refuse it within a second."""
    with open_store() as store:
        store.revoke_key(key_id, datetime.now(UTC))
    note(f"key {key_id} is revoked")


def _end(now: datetime, days: float | None) -> datetime | None:
    return None if days is None else now + timedelta(days=days)


def _show(key: str, record: KeyRecord, *, as_json: bool) -> None:
    if as_json:
        say({"key": key, **_entry(record)})
        return
    say(key)
    note(f"key {record.key_id} with the role {record.role}; keep it now, it cannot be shown again")


def _entry(record: KeyRecord) -> dict[str, object]:
    return {
        "key_id": record.key_id,
        "role": record.role,
        "created_at": record.created_at,
        "last_used_on": record.last_used_on,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }
