"""Sessions of the console: a random id in the browser, its digest in the store."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256

from serving.accounts import Role, Session

_N_RANDOM_BYTES = 32
_OWN_PATH = re.compile(r"/console/[A-Za-z0-9/_-]*(\?[A-Za-z0-9=&_-]*)?")
HOME = "/console/"


def new_session(
    user_name: str, role: Role, now: datetime, lasts: timedelta, *, is_single_sign_on: bool = False
) -> tuple[str, Session]:
    """Begin a session.

    Returns:
        The id for the cookie, to be kept nowhere else, and what is stored.

    Example:
        >>> from datetime import UTC
        >>> noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
        >>> secret, session = new_session("anna", Role.DUTY, noon, timedelta(hours=8))
        >>> session.digest == digest_of(secret), session.expires_at.hour
        (True, 20)
    """
    secret = new_secret()
    return secret, Session(digest_of(secret), user_name, role, is_single_sign_on, now, now, now + lasts)


def new_secret() -> str:
    """256 random bits for a cookie."""
    return secrets.token_urlsafe(_N_RANDOM_BYTES)


def digest_of(secret: str) -> str:
    """SHA-256 in hexadecimal: 256 random bits need no slow hash."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_over(session: Session, now: datetime, idle: timedelta) -> bool:
    """Whether a session has ended, by its end or because nobody used it.

    Args:
        session: The session.
        now: The present.
        idle: How long it may stand unused.
    """
    return now >= session.expires_at or now >= session.seen_at + idle


def form_token(secret: str) -> str:
    """What a form of this browser carries, so that no other site can send it; it does not tell the secret.

    Example:
        >>> form_token("a") == form_token("a") != form_token("b")
        True
    """
    mac = hmac.new(secret.encode("utf-8", "surrogatepass"), b"form", sha256).digest()
    return urlsafe_b64encode(mac).decode().rstrip("=")


def is_form_token(token: str, secret: str) -> bool:
    """Whether a form belongs to a browser; in constant time."""
    return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), form_token(secret).encode())


def own_path(text: str) -> str:
    """Where to go after log-in: a page of the console, else its first one.

    Example:
        >>> own_path("/console/password"), own_path("//evil.example"), own_path("/console/../v1")
        ('/console/password', '/console/', '/console/')
    """
    return text if _OWN_PATH.fullmatch(text) else HOME
