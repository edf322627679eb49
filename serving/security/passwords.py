"""Passwords of people: Argon2id, and as much work for a name that nobody has."""

from __future__ import annotations

from functools import cache

from recsys.errors import InvalidRequestError

MIN_LENGTH = 12
MAX_LENGTH = 200


def check_password(password: str) -> None:
    """Refuse a password that is too short, or so long that it is no password.

    Raises:
        InvalidRequestError: It is.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidRequestError(
            "password", f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters; take a few words"
        )


def hash_password(password: str) -> str:
    """Argon2id with a salt of its own, by the parameters of RFC 9106 for little memory; takes about 0.1 s.

    Raises:
        InvalidRequestError: The password is too short or too long.
    """
    from argon2 import PasswordHasher  # noqa: PLC0415 -- only the console needs it

    check_password(password)
    return PasswordHasher().hash(password)


def is_right(password: str, password_hash: str | None) -> bool:
    """Whether a password is the one of a hash; about 0.1 s, which belongs into a thread.

    Args:
        password: What was typed.
        password_hash: What `hash_password` gave; None = nobody has the name, which takes as long.
    """
    from argon2 import PasswordHasher  # noqa: PLC0415
    from argon2.exceptions import Argon2Error, InvalidHashError  # noqa: PLC0415

    try:
        is_match = PasswordHasher().verify(password_hash or _nobodys_hash(), password[: MAX_LENGTH + 1])
    except (Argon2Error, InvalidHashError):
        return False
    return is_match and password_hash is not None


@cache
def _nobodys_hash() -> str:
    return hash_password("the password of nobody")
