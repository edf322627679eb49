"""What the SQL store keeps of those who may come in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, TypeVar

from recsys.errors import UnknownKeyError, UnknownUserError
from serving.accounts import Attempts, KeyRecord, Role, Session, TokenKey, User
from serving.storage.dialects import REFUSALS, Cursor, refusal
from serving.storage.queries import Queries
from serving.storage.statements import Statement

Result = TypeVar("Result")
LIST_KEYS = "list the keys with `recsys-serve keys list`"
LIST_TOKEN_KEYS = "list them with `recsys-serve token-keys list`"  # noqa: S105 -- a sentence
LIST_USERS = "list everybody with `recsys-serve users list`"


class SqlAccounts(ABC):
    """The part of `serving.storage.sql.SqlStore` that no client's state depends on, about who comes in."""

    _queries: Queries

    @abstractmethod
    def _rows(self, statement: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every row of a read."""

    @abstractmethod
    def _transact(self, work: Callable[[Cursor], Result]) -> Result:
        """Run work in one durable transaction."""

    # Keys

    def add_key(self, key: KeyRecord) -> None:
        """See `serving.accounts.AccountStore`."""
        self._add(self._queries.accounts.add_key, asdict(key))

    def keys(self) -> list[KeyRecord]:
        """See `serving.accounts.AccountStore`."""
        rows = self._rows(self._queries.accounts.keys, {})
        return [
            KeyRecord(**{**row, "digest": bytes(row["digest"]), "role": Role(row["role"])}) for row in rows
        ]

    def revoke_key(self, key_id: str, revoked_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"of_key": key_id, "since": revoked_at}
        if self._run(self._queries.accounts.revoke_key, values) == 0:
            raise UnknownKeyError(key_id, LIST_KEYS)

    def end_key(self, key_id: str, expires_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"of_key": key_id, "since": expires_at}
        if self._run(self._queries.accounts.end_key, values) == 0:
            raise UnknownKeyError(key_id, LIST_KEYS)

    def mark_keys_used(self, key_ids: Sequence[str], on: date) -> None:
        """See `serving.accounts.AccountStore`."""
        rows = [{"of_key": key_id, "used_on": on} for key_id in key_ids]
        self._transact(lambda cursor: self._queries.accounts.mark_key.run_many(cursor, rows))

    def add_token_key(self, key: TokenKey) -> None:
        """See `serving.accounts.AccountStore`."""
        self._add(self._queries.accounts.add_token_key, asdict(key))

    def token_keys(self) -> list[TokenKey]:
        """See `serving.accounts.AccountStore`."""
        return [TokenKey(**row) for row in self._rows(self._queries.accounts.token_keys, {})]

    def revoke_token_key(self, key_id: str, revoked_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"of_key": key_id, "since": revoked_at}
        if self._run(self._queries.accounts.revoke_token_key, values) == 0:
            raise UnknownKeyError(key_id, LIST_TOKEN_KEYS)

    # People

    def add_user(self, user: User) -> None:
        """See `serving.accounts.AccountStore`."""
        self._add(self._queries.accounts.add_user, asdict(user))

    def user(self, name: str) -> User | None:
        """See `serving.accounts.AccountStore`."""
        rows = self._rows(self._queries.accounts.user, {"of_name": name})
        return _user_of(rows[0]) if rows else None

    def users(self) -> list[User]:
        """See `serving.accounts.AccountStore`."""
        return [_user_of(row) for row in self._rows(self._queries.accounts.users, {})]

    def set_password(self, name: str, password_hash: str, changed_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"password_hash": password_hash, "changed_at": changed_at}
        if not self._change_user(self._queries.accounts.set_password, name, values):
            raise UnknownUserError(name, LIST_USERS)

    def set_disabled(self, name: str, is_disabled: bool, changed_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"is_disabled": is_disabled, "changed_at": changed_at}
        if not self._change_user(self._queries.accounts.set_disabled, name, values):
            raise UnknownUserError(name, LIST_USERS)

    def change_password(self, seen: User, password_hash: str, changed_at: datetime) -> bool:
        """See `serving.accounts.AccountStore`."""
        values = {"password_hash": password_hash, "changed_at": changed_at, "seen_at": seen.changed_at}
        return self._change_user(self._queries.accounts.change_password, seen.name, values)

    def _change_user(self, statement: Statement, name: str, values: Mapping[str, Any]) -> bool:
        """Change a person and end the sessions; whether there was anybody to change."""
        end_sessions = self._queries.accounts.end_sessions_of

        def change(cursor: Cursor) -> bool:
            is_changed = statement.run(cursor, {**values, "of_name": name}) > 0
            if is_changed:
                end_sessions.run(cursor, {"of_name": name, "of_provider": False})
            return is_changed

        return self._transact(change)

    # Sessions

    def add_session(self, session: Session) -> None:
        """See `serving.accounts.AccountStore`."""
        self._add(self._queries.accounts.add_session, asdict(session))

    def session(self, digest: str) -> Session | None:
        """See `serving.accounts.AccountStore`."""
        rows = self._rows(self._queries.accounts.session, {"of_digest": digest})
        return Session(**{**rows[0], "role": Role(rows[0]["role"])}) if rows else None

    def see_session(self, digest: str, seen_at: datetime) -> None:
        """See `serving.accounts.AccountStore`."""
        self._run(self._queries.accounts.see_session, {"of_digest": digest, "at": seen_at})

    def end_session(self, digest: str) -> None:
        """See `serving.accounts.AccountStore`."""
        self._run(self._queries.accounts.end_session, {"of_digest": digest})

    def end_sessions_of(self, user_name: str, is_single_sign_on: bool) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"of_name": user_name, "of_provider": is_single_sign_on}
        self._run(self._queries.accounts.end_sessions_of, values)

    def forget_sessions(self, before: datetime) -> int:
        """See `serving.accounts.AccountStore`."""
        self._run(self._queries.accounts.forget_attempts, {"before": before})
        return self._run(self._queries.accounts.forget_sessions, {"before": before})

    # Attempts

    def count_attempt(self, subject: str, at: datetime, window_from: datetime) -> Attempts:
        """See `serving.accounts.AccountStore`."""
        queries = self._queries.accounts
        row = {"subject": subject, "n_attempts": 1, "began_at": at, "last_at": at, "window_from": window_from}

        def count(cursor: Cursor) -> dict[str, Any]:
            queries.count_attempt.run(cursor, row)
            # The row is this transaction's until it ends: nobody counts in between.
            return queries.attempts.rows(cursor, {"of_subject": subject})[0]

        return _attempts_of(self._transact(count))

    def attempts(self, subjects: Sequence[str]) -> Mapping[str, Attempts]:
        """See `serving.accounts.AccountStore`."""
        found = [
            row
            for subject in subjects
            for row in self._rows(self._queries.accounts.attempts, {"of_subject": subject})
        ]
        return {row["subject"]: _attempts_of(row) for row in found}

    def forgive_attempts(self, subject: str, n_attempts: int) -> None:
        """See `serving.accounts.AccountStore`."""
        values = {"of_subject": subject, "n_forgiven": n_attempts}
        self._run(self._queries.accounts.forgive_attempts, values)

    def _run(self, statement: Statement, values: Mapping[str, Any]) -> int:
        return self._transact(lambda cursor: statement.run(cursor, values))

    def _add(self, statement: Statement, row: Mapping[str, Any]) -> None:
        try:
            self._run(statement, row)
        except REFUSALS as error:
            raise refusal(error) from error


def _user_of(row: Mapping[str, Any]) -> User:
    return User(**{**row, "role": Role(row["role"])})


def _attempts_of(row: Mapping[str, Any]) -> Attempts:
    return Attempts(row["n_attempts"], row["began_at"], row["last_at"])
