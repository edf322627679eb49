"""The statements about those who may come in."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from serving.storage.dialects import Database, Insert
from serving.storage.schema import API_KEYS, LOGIN_ATTEMPTS, SESSIONS, TOKEN_KEYS, USERS
from serving.storage.statements import Statement


class AccountQueries:
    """API keys, users, sessions, attempts to log in, keys of member tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._build_keys()
        self._build_people()
        self._build_attempts()

    def _built(self, clause: sa.SelectBase | sa.UpdateBase) -> Statement:
        return Statement(clause, self._database)

    def _adding(self, table: sa.Table) -> Insert:
        named: dict[str, object] = {column.name: bindparam(column.name) for column in table.columns}
        return self._database.insert(table).values(named)

    def _build_keys(self) -> None:
        keys, tokens = API_KEYS.c, TOKEN_KEYS.c
        self.keys = self._built(select(API_KEYS).order_by(keys.created_at, keys.key_id))
        self.add_key = self._built(self._adding(API_KEYS))
        of_key = sa.update(API_KEYS).where(keys.key_id == bindparam("of_key"))
        self.revoke_key = self._built(of_key.values(revoked_at=bindparam("since")))
        self.end_key = self._built(of_key.values(expires_at=bindparam("since")))
        used_on = bindparam("used_on", type_=keys.last_used_on.type)
        self.mark_key = self._built(
            of_key.where(keys.last_used_on.is_(None) | (keys.last_used_on < used_on)).values(
                last_used_on=used_on
            )
        )
        self.token_keys = self._built(select(TOKEN_KEYS).order_by(tokens.created_at, tokens.key_id))
        self.add_token_key = self._built(self._adding(TOKEN_KEYS))
        of_token_key = sa.update(TOKEN_KEYS).where(tokens.key_id == bindparam("of_key"))
        self.revoke_token_key = self._built(of_token_key.values(revoked_at=bindparam("since")))

    def _build_people(self) -> None:
        users, sessions = USERS.c, SESSIONS.c
        self.add_user = self._built(self._adding(USERS))
        self.users = self._built(select(USERS).order_by(users.name))
        self.user = self._built(select(USERS).where(users.name == bindparam("of_name")))
        of_name = sa.update(USERS).where(users.name == bindparam("of_name"))
        changed_at = bindparam("changed_at", type_=users.changed_at.type)
        seen_at = bindparam("seen_at", type_=users.changed_at.type)
        new_password = {"password_hash": bindparam("password_hash"), "changed_at": changed_at}
        self.set_password = self._built(of_name.values(new_password))
        self.change_password = self._built(
            of_name.where(users.changed_at == seen_at, users.is_disabled.is_(False)).values(new_password)
        )
        self.set_disabled = self._built(
            of_name.values({"is_disabled": bindparam("is_disabled"), "changed_at": changed_at})
        )
        self.add_session = self._built(self._adding(SESSIONS))
        self.session = self._built(select(SESSIONS).where(sessions.digest == bindparam("of_digest")))
        of_digest = sessions.digest == bindparam("of_digest")
        self.see_session = self._built(sa.update(SESSIONS).where(of_digest).values(seen_at=bindparam("at")))
        self.end_session = self._built(sa.delete(SESSIONS).where(of_digest))
        self.end_sessions_of = self._built(
            sa.delete(SESSIONS).where(
                sessions.user_name == bindparam("of_name"),
                sessions.is_single_sign_on == bindparam("of_provider", type_=sessions.is_single_sign_on.type),
            )
        )
        before = bindparam("before", type_=sessions.expires_at.type)
        self.forget_sessions = self._built(sa.delete(SESSIONS).where(sessions.expires_at < before))

    def _build_attempts(self) -> None:
        attempts = LOGIN_ATTEMPTS.c
        before = bindparam("before", type_=attempts.last_at.type)
        self.forget_attempts = self._built(sa.delete(LOGIN_ATTEMPTS).where(attempts.last_at < before))
        self.count_attempt = self._built(_counting(self._adding(LOGIN_ATTEMPTS)))
        of_subject = attempts.subject == bindparam("of_subject")
        self.attempts = self._built(select(LOGIN_ATTEMPTS).where(of_subject))
        n_forgiven = bindparam("n_forgiven", type_=attempts.n_attempts.type)
        self.forgive_attempts = self._built(
            sa.update(LOGIN_ATTEMPTS)
            .where(of_subject)
            .values(
                n_attempts=sa.case(
                    (attempts.n_attempts > n_forgiven, attempts.n_attempts - n_forgiven),
                    else_=sa.literal_column("0"),
                )
            )
        )


def _counting(insert: Insert) -> Insert:
    """One attempt more; where the last one is old, the first one again."""
    stored, told = LOGIN_ATTEMPTS.c, insert.excluded
    is_old = stored.last_at <= bindparam("window_from", type_=stored.last_at.type)
    return insert.on_conflict_do_update(
        index_elements=[stored.subject],
        set_={
            "n_attempts": sa.case((is_old, told.n_attempts), else_=stored.n_attempts + told.n_attempts),
            "began_at": sa.case((is_old, told.began_at), else_=stored.began_at),
            "last_at": told.last_at,
        },
    )
