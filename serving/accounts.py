"""Who may come in: API keys, people of the console and their sessions, the keys that sign member tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What a key or a person may do."""

    PORTAL = "portal"
    MARKETER = "marketer"
    ANALYST = "analyst"
    DUTY = "duty"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A stored API key: never the key itself, only its SHA-256.

    Attributes:
        expires_at: From here on it is no key any more; None = it does not end by itself.
        last_used_on: The last day (UTC) on which it let somebody in; None = never.
    """

    key_id: str
    digest: bytes
    role: Role
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_on: date | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A person who may log in to the console.

    Attributes:
        name: What is typed to log in; lower case.
        password_hash: Argon2id with its parameters and salt; never the password.
        role: What the person may do.
        is_disabled: May not log in, and sessions that are open count no more.
        created_at: When the person was added.
        changed_at: When password, role or state last changed; sessions begun before count no more.
    """

    name: str
    password_hash: str
    role: Role
    is_disabled: bool
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is logged in.

    Attributes:
        digest: SHA-256 of the random id in the browser's cookie, 64 hexadecimal digits.
        user_name: Who logged in: a `User`, or the name that the identity provider gave.
        role: What it may do; of a `User` what the user's role was at log-in, the present one counts.
        is_single_sign_on: True = an identity provider answers for the person, and no `User` stands behind it.
        created_at: When the person began to log in.
        seen_at: When a page was last asked for, within a minute.
        expires_at: When it ends whatever happens.
    """

    digest: str
    user_name: str
    role: Role
    is_single_sign_on: bool
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Attempts:
    """Log-ins that were tried and did not succeed.

    Attributes:
        n_attempts: How many since `began_at`.
        began_at: The first of them.
        last_at: The last of them.
    """

    n_attempts: int
    began_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key with which a portal's member tokens are checked; the portal keeps the private one.

    Attributes:
        key_id: Named by the ``kid`` of a token.
        algorithm: The only algorithm that tokens under this key may use: ``EdDSA`` or ``ES256``.
        public_key: PEM.
        created_at: When it was registered.
        revoked_at: When it was revoked; None = it holds.
    """

    key_id: str
    algorithm: str
    public_key: str
    created_at: datetime
    revoked_at: datetime | None = None


class AccountStore(Protocol):
    """The part of `serving.ports.Store` that knows who may come in."""

    def add_key(self, key: KeyRecord) -> None:
        """Store a key."""
        ...

    def keys(self) -> list[KeyRecord]:
        """Every key, revoked and ended ones too."""
        ...

    def revoke_key(self, key_id: str, revoked_at: datetime) -> None:
        """Revoke a key; NotFoundError if there is none of that id."""
        ...

    def end_key(self, key_id: str, expires_at: datetime) -> None:
        """Let a key end at a moment; NotFoundError if there is none of that id."""
        ...

    def mark_keys_used(self, key_ids: Sequence[str], on: date) -> None:
        """Write down that these keys let somebody in on a day; an earlier day changes nothing."""
        ...

    def add_user(self, user: User) -> None:
        """Store a person; ConflictError if the name is taken."""
        ...

    def user(self, name: str) -> User | None:
        """The person of a name."""
        ...

    def users(self) -> list[User]:
        """Everybody, ordered by name."""
        ...

    def set_password(self, name: str, password_hash: str, changed_at: datetime) -> None:
        """Write that alone, and end the person's sessions; NotFoundError if nobody has the name."""
        ...

    def set_disabled(self, name: str, is_disabled: bool, changed_at: datetime) -> None:
        """Write that alone, and end the person's sessions; NotFoundError if nobody has the name."""
        ...

    def change_password(self, seen: User, password_hash: str, changed_at: datetime) -> bool:
        """As `set_password`, but only of somebody who is not disabled and did not change since `seen`.

        Returns:
            Whether it was written; where not, no session ended either.
        """
        ...

    def add_session(self, session: Session) -> None:
        """Store a session."""
        ...

    def session(self, digest: str) -> Session | None:
        """The session of a cookie's digest, ended by time or not."""
        ...

    def see_session(self, digest: str, seen_at: datetime) -> None:
        """Write down that a session is in use."""
        ...

    def end_session(self, digest: str) -> None:
        """Forget a session; nothing is done where there is none."""
        ...

    def end_sessions_of(self, user_name: str, is_single_sign_on: bool) -> None:
        """Forget every session of a `User`, or of somebody of the same name at the identity provider."""
        ...

    def forget_sessions(self, before: datetime) -> int:
        """Forget sessions and attempts that ended before an instant; returns how many sessions."""
        ...

    def count_attempt(self, subject: str, at: datetime, window_from: datetime) -> Attempts:
        """Count one more, in one step; anew where the last one is not after `window_from`."""
        ...

    def attempts(self, subjects: Sequence[str]) -> Mapping[str, Attempts]:
        """The attempts of each subject that has any."""
        ...

    def forgive_attempts(self, subject: str, n_attempts: int) -> None:
        """Take so many attempts back."""
        ...

    def add_token_key(self, key: TokenKey) -> None:
        """Store a public key; ConflictError if the id is taken, by a revoked one too."""
        ...

    def token_keys(self) -> list[TokenKey]:
        """Every public key, revoked ones too."""
        ...

    def revoke_token_key(self, key_id: str, revoked_at: datetime) -> None:
        """Revoke a public key; NotFoundError if there is none of that id."""
        ...
