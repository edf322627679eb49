"""Keys, people, sessions and attempts: the same on every store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from recsys.errors import ConflictError, NotFoundError
from serving.accounts import Role, Session, TokenKey, User
from serving.ports import Store
from serving.security.keys import new_key
from serving.storage.dialects import open_database
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore

T0 = datetime(2025, 3, 1, 12, tzinfo=UTC)
ANNA = User("anna", "$argon2id$…", Role.DUTY, False, T0, T0)
SESSION = Session("a" * 64, "anna", Role.DUTY, False, T0, T0, T0 + timedelta(hours=8))
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
HOSTILE = "'; DROP TABLE users; -- %s ? :name"


def test_a_key_ends_is_used_and_is_revoked(store: Store) -> None:
    _, plain = new_key(Role.PORTAL, T0)
    _, ending = new_key(Role.DUTY, T0 + timedelta(seconds=1), T0 + timedelta(days=1))
    for key in (plain, ending):
        store.add_key(key)
    assert store.keys() == [plain, ending]
    store.end_key(plain.key_id, T0 + timedelta(hours=1))
    store.mark_keys_used([plain.key_id, "nobody"], date(2025, 3, 2))
    store.mark_keys_used([plain.key_id], date(2025, 3, 1))  # an earlier day, from a slow worker
    store.revoke_key(ending.key_id, T0)
    used = replace(plain, expires_at=T0 + timedelta(hours=1), last_used_on=date(2025, 3, 2))
    assert store.keys() == [used, replace(ending, revoked_at=T0)]
    with pytest.raises(NotFoundError, match="keys list"):
        store.end_key("nobody", T0)


def test_a_public_key_is_registered_once_and_revoked(store: Store) -> None:
    key = TokenKey("portal-1", "EdDSA", PEM, T0)
    store.add_token_key(key)
    with pytest.raises(ConflictError):
        store.add_token_key(replace(key, algorithm="ES256"))
    store.revoke_token_key("portal-1", T0)
    assert store.token_keys() == [replace(key, revoked_at=T0)]
    with pytest.raises(ConflictError):  # its tokens may still be about
        store.add_token_key(key)
    with pytest.raises(NotFoundError, match="token-keys list"):
        store.revoke_token_key("portal-9", T0)


def test_people_are_added_once_and_changed(store: Store) -> None:
    boris = replace(ANNA, name="boris", role=Role.ADMIN)
    for user in (boris, ANNA):
        store.add_user(user)
    assert store.users() == [ANNA, boris]
    assert (store.user("anna"), store.user("nobody")) == (ANNA, None)
    with pytest.raises(ConflictError):
        store.add_user(replace(ANNA, role=Role.ADMIN))
    store.set_password("anna", "$argon2id$new", T0 + timedelta(1))
    changed = replace(ANNA, password_hash="$argon2id$new", changed_at=T0 + timedelta(1))
    assert store.users() == [changed, boris]
    store.set_disabled("anna", is_disabled=True, changed_at=T0 + timedelta(2))
    assert store.users() == [replace(changed, is_disabled=True, changed_at=T0 + timedelta(2)), boris]
    with pytest.raises(NotFoundError, match="users list"):
        store.set_password("nobody", "$argon2id$new", T0)
    with pytest.raises(NotFoundError, match="users list"):
        store.set_disabled("nobody", is_disabled=True, changed_at=T0)


def test_a_password_is_changed_only_of_whom_was_seen(store: Store) -> None:
    day = timedelta(1)
    store.add_user(ANNA)
    assert not store.change_password(replace(ANNA, changed_at=T0 - day), "stale", T0 + day)
    assert not store.change_password(replace(ANNA, name="nobody"), "strange", T0 + day)
    assert store.user("anna") == ANNA
    assert store.change_password(ANNA, "new", T0 + day)
    changed = replace(ANNA, password_hash="new", changed_at=T0 + day)
    assert store.user("anna") == changed
    store.set_disabled("anna", is_disabled=True, changed_at=changed.changed_at)
    store.add_session(SESSION)
    assert not store.change_password(changed, "newer", T0 + 2 * day)
    assert store.user("anna") == replace(changed, is_disabled=True)
    assert store.session(SESSION.digest) == SESSION


CHANGES: dict[str, Callable[[Store], object]] = {
    "password": lambda store: store.set_password("anna", "new", T0),
    "disabled": lambda store: store.set_disabled("anna", is_disabled=True, changed_at=T0),
    "own change": lambda store: store.change_password(ANNA, "new", T0),
    "everywhere": lambda store: store.end_sessions_of("anna", is_single_sign_on=False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_person_ends_all_sessions_of_that_person_and_no_other(store: Store, name: str) -> None:
    store.add_user(ANNA)
    others = replace(SESSION, digest="c" * 64, user_name="boris")
    namesake = replace(SESSION, digest="d" * 64, is_single_sign_on=True)
    for session in (SESSION, replace(SESSION, digest="b" * 64), others, namesake):
        store.add_session(session)
    CHANGES[name](store)
    assert [store.session(letter * 64) for letter in "abcd"] == [None, None, others, namesake]
    store.end_sessions_of("anna", is_single_sign_on=True)
    assert [store.session(letter * 64) for letter in "cd"] == [others, None]


def test_sessions_are_seen_ended_and_forgotten(store: Store) -> None:
    second, third = (replace(SESSION, digest=letter * 64, user_name=letter) for letter in "bc")
    for session in (SESSION, second, third):
        store.add_session(session)
    with pytest.raises(ConflictError):
        store.add_session(SESSION)
    later = T0 + timedelta(minutes=5)
    store.see_session(SESSION.digest, later)
    assert store.session(SESSION.digest) == replace(SESSION, seen_at=later)
    store.end_session(second.digest)
    store.end_session(second.digest)
    store.end_sessions_of("c", is_single_sign_on=False)
    assert (store.session(second.digest), store.session(third.digest)) == (None, None)
    assert store.forget_sessions(SESSION.expires_at) == 0
    assert store.forget_sessions(SESSION.expires_at + timedelta(seconds=1)) == 1
    assert store.session(SESSION.digest) is None


def test_attempts_are_counted_forgiven_and_begin_anew(store: Store) -> None:
    minute = timedelta(minutes=1)
    counted = [store.count_attempt("a", T0 + n * minute, T0 - 15 * minute) for n in range(3)]
    assert [one.n_attempts for one in counted] == [1, 2, 3]
    assert (counted[2].began_at, counted[2].last_at) == (T0, T0 + 2 * minute)
    assert store.attempts(["a", "b"]) == {"a": counted[2]}
    store.forgive_attempts("a", 1)
    assert store.attempts(["a"])["a"].n_attempts == 2
    store.forgive_attempts("a", 10)
    store.forgive_attempts("b", 10)
    assert store.attempts(["a"])["a"].n_attempts == 0
    anew = store.count_attempt("a", T0 + 20 * minute, T0 + 2 * minute)
    assert (anew.n_attempts, anew.began_at) == (1, T0 + 20 * minute)
    store.forget_sessions(T0 + 21 * minute)
    assert store.attempts(["a"]) == {}


def test_attempts_at_the_same_moment_are_all_counted(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        counted = pool.map(lambda _: store.count_attempt("a", T0, T0 - timedelta(hours=1)), range(16))
    assert sorted(one.n_attempts for one in counted) == list(range(1, 17))


def test_names_are_values_and_never_statements(store: Store) -> None:
    store.add_user(ANNA)
    store.add_session(SESSION)
    assert store.user(HOSTILE) is None
    assert store.session(HOSTILE) is None
    assert store.find_clients(HOSTILE, 5) == []
    store.end_sessions_of(HOSTILE, is_single_sign_on=False)
    store.count_attempt(HOSTILE[:64], T0, T0)
    assert store.attempts([HOSTILE[:64]])[HOSTILE[:64]].n_attempts == 1
    assert store.user("anna") == ANNA
    assert store.session(SESSION.digest) == SESSION


def test_keys_outlive_the_migration_and_its_way_back(empty_database: str) -> None:
    migrate(empty_database, "0006")
    database = open_database(empty_database)
    with database.writer.begin() as connection:
        for key_id in ("plain", "ending"):
            connection.execute(
                sa.text(
                    "INSERT INTO api_keys (key_id, digest, role, created_at)"
                    " VALUES (:key_id, :digest, 'duty', '2025-03-01 12:00:00.000000+00:00')"
                ),
                {"key_id": key_id, "digest": key_id.encode()},
            )
    migrate(empty_database)
    store = SqlStore(empty_database)
    stored = store.keys()
    assert [(key.key_id, key.expires_at, key.last_used_on) for key in stored] == [
        ("ending", None, None),
        ("plain", None, None),
    ]
    store.end_key("ending", T0 + timedelta(days=1))
    store.add_user(ANNA)
    store.add_session(SESSION)
    store.close()
    migrate(empty_database, "0006")
    with database.reader.connect() as connection:
        rows = connection.execute(sa.text("SELECT key_id, revoked_at FROM api_keys ORDER BY key_id")).all()
    # What is older knows no ends: a key that has one is revoked rather than let in for ever.
    assert [(key_id, revoked_at is None) for key_id, revoked_at in rows] == [
        ("ending", False),
        ("plain", True),
    ]
    database.dispose()
    migrate(empty_database)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_second_worker_sees_it_all(migrated_database: Callable[[str], str], backend: str) -> None:
    url = migrated_database(backend)
    first, second = SqlStore(url), SqlStore(url)
    first.add_user(ANNA)
    first.add_session(SESSION)
    assert (second.user("anna"), second.session(SESSION.digest)) == (ANNA, SESSION)
    second.end_session(SESSION.digest)
    assert first.session(SESSION.digest) is None
    first.close()
    second.close()
