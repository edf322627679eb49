"""``recsys-serve token-keys``: the public keys with which a portal's member tokens are checked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.domain import MAX_ID_LENGTH
from recsys.errors import ConfigError
from serving.commands.terminal import JsonOption, minute, note, open_store, print_table, say
from serving.security.tokens import token_key_of

app = typer.Typer(help="Public keys of member tokens: add, list, revoke.", no_args_is_help=True)


@app.command("add")
def add_token_key(
    key_id: Annotated[str, typer.Argument(help="What tokens will name as `kid`; never used before.")],
    file: Annotated[Path, typer.Argument(help="PEM file of an Ed25519 or P-256 public key.", metavar="FILE")],
) -> None:
    """Register a public key; running servers accept tokens under it within a second."""
    if not 0 < len(key_id) <= MAX_ID_LENGTH or not key_id.isprintable():
        raise ConfigError(f"a key id has 1 to {MAX_ID_LENGTH} printable characters")
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{file}: cannot be read as a PEM file") from error
    key = token_key_of(key_id, text, datetime.now(UTC))
    with open_store() as store:
        store.add_token_key(key)
    note(f"key {key_id} ({key.algorithm}) is registered")


@app.command("list")
def list_token_keys(as_json: JsonOption = False) -> None:
    """List the keys, revoked ones too."""
    with open_store() as store:
        keys = store.token_keys()
    entries = [
        {
            "key_id": key.key_id,
            "algorithm": key.algorithm,
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
        }
        for key in keys
    ]
    if as_json:
        say({"token_keys": entries})
        return
    print_table(
        ("key_id", "algorithm", "created", "revoked"),
        [
            (
                key.key_id,
                key.algorithm,
                minute(key.created_at),
                "" if key.revoked_at is None else minute(key.revoked_at),
            )
            for key in keys
        ],
    )


@app.command("revoke")
def revoke_token_key(
    key_id: Annotated[str, typer.Argument(help="The key_id that `token-keys list` shows.")],
) -> None:
    """Revoke a key; running servers refuse every token under it within a second."""
    with open_store() as store:
        store.revoke_token_key(key_id, datetime.now(UTC))
    note(f"key {key_id} is revoked, and with it every token that it signed")
