"""Those who may come in, in the memory store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from threading import Lock

from recsys.errors import ConflictError, UnknownKeyError, UnknownUserError
from serving.accounts import Attempts, KeyRecord, Session, TokenKey, User
from serving.storage.accounts import LIST_KEYS, LIST_TOKEN_KEYS, LIST_USERS


class MemoryAccounts:
    """The part of `serving.storage.memory.MemoryStore` that knows keys, people and sessions."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyRecord] = {}
        self._token_keys: dict[str, TokenKey] = {}
        self._users: dict[str, User] = {}
        self._sessions: dict[str, Session] = {}
        self._attempts: dict[str, Attempts] = {}
        self._counting, self._changing = Lock(), Lock()

    # Keys

    def add_key(self, key: KeyRecord) -> None:
        """See `serving.accounts.AccountStore`."""
        _refuse_taken(key.key_id, self._keys)
        self._keys[key.key_id] = key

    def keys(self) -> list[KeyRecord]:
        """See `serving.accounts.AccountStore`."""
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.key_id))

    def revoke_key(self, key_id: str, revoked_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        self._keys[key_id] = replace(self._key(key_id), revoked_at=revoked_at)

    def end_key(self, key_id: str, expires_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        self._keys[key_id] = replace(self._key(key_id), expires_at=expires_at)

    def mark_keys_used(self, key_ids: Sequence[str], on: date) -> None:
        """See `serving.accounts.AccountStore`."""
        for key in [self._keys[key_id] for key_id in key_ids if key_id in self._keys]:
            if key.last_used_on is None or key.last_used_on < on:
                self._keys[key.key_id] = replace(key, last_used_on=on)

    def _key(self, key_id: str) -> KeyRecord:
        if key_id not in self._keys:
            raise UnknownKeyError(key_id, LIST_KEYS)
        return self._keys[key_id]

    def add_token_key(self, key: TokenKey) -> None:
        """See `serving.accounts.AccountStore`."""
        _refuse_taken(key.key_id, self._token_keys)
        self._token_keys[key.key_id] = key

    def token_keys(self) -> list[TokenKey]:
        """See `serving.accounts.AccountStore`."""
        return sorted(self._token_keys.values(), key=lambda key: (key.created_at, key.key_id))

    def revoke_token_key(self, key_id: str, revoked_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        if key_id not in self._token_keys:
            raise UnknownKeyError(key_id, LIST_TOKEN_KEYS)
        self._token_keys[key_id] = replace(self._token_keys[key_id], revoked_at=revoked_at)

    # People

    def add_user(self, user: User) -> None:
        """See `serving.accounts.AccountStore`."""
        _refuse_taken(user.name, self._users)
        self._users[user.name] = user

    def user(self, name: str) -> User | None:
        """See `serving.accounts.AccountStore`."""
        return self._users.get(name)

    def users(self) -> list[User]:
        """See `serving.accounts.AccountStore`."""
        return sorted(self._users.values(), key=lambda user: user.name)

    def set_password(self, name: str, password_hash: str, changed_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        with self._changing:
            self._change_user(replace(self._user(name), password_hash=password_hash, changed_at=changed_at))

    def set_disabled(self, name: str, is_disabled: bool, changed_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        with self._changing:
            self._change_user(replace(self._user(name), is_disabled=is_disabled, changed_at=changed_at))

    def change_password(self, seen: User, password_hash: str, changed_at: datetime) -> bool:
        """See `serving.accounts.AccountStore`."""
        with self._changing:
            stored = self._users.get(seen.name)
            if stored is None or stored.is_disabled or stored.changed_at != seen.changed_at:
                return False
            self._change_user(replace(stored, password_hash=password_hash, changed_at=changed_at))
        return True

    def _user(self, name: str) -> User:
        if name not in self._users:
            raise UnknownUserError(name, LIST_USERS)
        return self._users[name]

    def _change_user(self, user: User) -> None:
        self._users[user.name] = user
        self.end_sessions_of(user.name, is_single_sign_on=False)

    # Sessions

    def add_session(self, session: Session) -> None:
        """See `serving.accounts.AccountStore`."""
        _refuse_taken(session.digest, self._sessions)
        self._sessions[session.digest] = session

    def session(self, digest: str) -> Session | None:
        """See `serving.accounts.AccountStore`."""
        return self._sessions.get(digest)

    def see_session(self, digest: str, seen_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        if digest in self._sessions:
            self._sessions[digest] = replace(self._sessions[digest], seen_at=seen_at)

    def end_session(self, digest: str) -> None:
        """See `serving.accounts.AccountStore`."""
        self._sessions.pop(digest, None)

    def end_sessions_of(self, user_name: str, is_single_sign_on: bool) -> None:
        """See `serving.accounts.AccountStore`."""
        ended = (user_name, is_single_sign_on)
        self._sessions = {
            digest: one
            for digest, one in self._sessions.items()
            if (one.user_name, one.is_single_sign_on) != ended
        }

    def forget_sessions(self, before: datetime) -> int:
        """See `serving.accounts.AccountStore`."""
        self._attempts = {name: one for name, one in self._attempts.items() if one.last_at >= before}
        n_before = len(self._sessions)
        self._sessions = {digest: one for digest, one in self._sessions.items() if one.expires_at >= before}
        return n_before - len(self._sessions)

    # Attempts

    def count_attempt(self, subject: str, at: datetime, window_from: datetime) -> Attempts:
        """See `serving.accounts.AccountStore`."""
        with self._counting:
            stored = self._attempts.get(subject)
            is_first = stored is None or stored.last_at <= window_from
            counted = Attempts(1, at, at)
            if stored is not None and not is_first:
                counted = Attempts(stored.n_attempts + 1, stored.began_at, at)
            self._attempts[subject] = counted
        return counted

    def attempts(self, subjects: Sequence[str]) -> Mapping[str, Attempts]:
        """See `serving.accounts.AccountStore`."""
        return {subject: self._attempts[subject] for subject in subjects if subject in self._attempts}

    def forgive_attempts(self, subject: str, n_attempts: int) -> None:
        """See `serving.accounts.AccountStore`."""
        with self._counting:
            stored = self._attempts.get(subject)
            if stored is not None:
                self._attempts[subject] = replace(stored, n_attempts=max(0, stored.n_attempts - n_attempts))


def _refuse_taken(name: str, stored: Mapping[str, object]) -> None:
    if name in stored:
        raise ConflictError(f"the id was used before with another content: {name}")
