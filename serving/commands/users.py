"""``recsys-serve users``: the people who may log in to the console."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from recsys.errors import ConfigError, UnknownUserError
from serving.accounts import Role, User
from serving.commands.terminal import JsonOption, minute, note, open_store, print_table, say
from serving.security.lockout import forgive_user
from serving.security.passwords import MIN_LENGTH, hash_password
from serving.storage.accounts import LIST_USERS

app = typer.Typer(help="People of the console: add, list, password, disable, enable.", no_args_is_help=True)
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
NameArgument = Annotated[str, typer.Argument(help="What the person types to log in.")]


@app.command("add")
def add_user(
    name: NameArgument,
    role: Annotated[Role, typer.Option(help="What the person may do; `portal` is for programs.")],
) -> None:
    """Add a person; the password is asked for, or read from the first line of stdin."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name {name!r}: take 1 to 64 of a–z, 0–9 and . _ @ -, a letter or digit first")
    if role is Role.PORTAL:
        raise ConfigError("role 'portal' is for programs: make a key with `recsys-serve keys create`")
    password_hash = hash_password(_password())
    now = datetime.now(UTC)
    with open_store() as store:
        store.add_user(User(name, password_hash, role, False, now, now))
    note(f"{name} may log in with the role {role}")


@app.command("list")
def list_users(as_json: JsonOption = False) -> None:
    """List everybody, disabled ones too."""
    with open_store() as store:
        users = store.users()
    if as_json:
        entries = [
            {
                "name": user.name,
                "role": user.role,
                "is_disabled": user.is_disabled,
                "created_at": user.created_at,
                "changed_at": user.changed_at,
            }
            for user in users
        ]
        say({"users": entries})
        return
    print_table(
        ("name", "role", "state", "created", "changed"),
        [
            (
                user.name,
                user.role,
                "disabled" if user.is_disabled else "",
                minute(user.created_at),
                minute(user.changed_at),
            )
            for user in users
        ],
    )


@app.command("password")
def set_password(name: NameArgument) -> None:
    """Set a new password, end every session of the person, and lift a lock-out."""
    with open_store() as store:
        if store.user(name) is None:  # before anybody is asked to type
            raise UnknownUserError(name, LIST_USERS)
        store.set_password(name, hash_password(_password()), datetime.now(UTC))
        forgive_user(store, name)
    note(f"{name} has a new password, and is logged out everywhere")


@app.command("disable")
def disable_user(name: NameArgument) -> None:
    """Let a person in no more, and end every session at once."""
    with open_store() as store:
        store.set_disabled(name, is_disabled=True, changed_at=datetime.now(UTC))
    note(f"{name} may not log in any more, and is logged out everywhere")


@app.command("enable")
def enable_user(name: NameArgument) -> None:
    """Let a disabled person in again."""
    with open_store() as store:
        store.set_disabled(name, is_disabled=False, changed_at=datetime.now(UTC))
    note(f"{name} may log in again")


def _password() -> str:
    """What is typed twice without being shown, or comes on stdin: never an argument, which others see."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    text: str = typer.prompt(
        f"Password (at least {MIN_LENGTH} characters)", hide_input=True, confirmation_prompt=True
    )
    return text
