"""Keys, people and public keys of portals, as they are managed in the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from joserfc.jwk import OKPKey
from typer.testing import CliRunner

from recsys.errors import RecsysError
from serving.accounts import KeyRecord, Role
from serving.cli import app
from serving.security.keys import KeyRing, is_ended
from serving.security.passwords import is_right
from serving.security.sessions import new_session
from serving.storage.sql import SqlStore

PASSWORD = "correct horse battery staple"


@pytest.fixture
def store(
    tmp_path: Path, new_sqlite: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlStore]:
    url = new_sqlite(tmp_path / "recsys.db")
    monkeypatch.setenv("RECSYS_DATABASE_URL", url)
    store = SqlStore(url)
    yield store
    store.close()


def run(*words: str, typed: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(words), input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def stored_key(store: SqlStore, key_id: str) -> KeyRecord:
    keys = store.keys()
    return next(key for key in keys if key.key_id == key_id)


def test_a_rotated_key_goes_on_for_a_while_beside_the_new_one(store: SqlStore) -> None:
    old = json.loads(run("keys", "create", "--role", "portal", "--json").stdout)
    new = json.loads(run("keys", "rotate", old["key_id"], "--overlap-hours", "2", "--json").stdout)
    keys, now = store.keys(), datetime.now(UTC)
    ring = KeyRing(keys)
    assert ring.authenticate(old["key"]).role is ring.authenticate(new["key"]).role is Role.PORTAL
    ended = stored_key(store, old["key_id"])
    assert ended.expires_at is not None
    assert abs(ended.expires_at - now - timedelta(hours=2)) < timedelta(minutes=1)
    ring.drop_ended(ended.expires_at)
    assert ring.authenticate(new["key"]).key_id == new["key_id"]
    with pytest.raises(RecsysError, match="ended"):
        ring.authenticate(old["key"])


def test_an_overlap_does_not_prolong_a_key(store: SqlStore) -> None:
    old = json.loads(run("keys", "create", "--role", "duty", "--expires-days", "0.01", "--json").stdout)
    run("keys", "rotate", old["key_id"], "--overlap-hours", "48")
    ended = stored_key(store, old["key_id"])
    assert ended.expires_at is not None
    assert ended.expires_at < datetime.now(UTC) + timedelta(hours=1)


def test_without_overlap_the_old_key_ends_at_once(store: SqlStore) -> None:
    old = json.loads(run("keys", "create", "--role", "duty", "--json").stdout)
    run("keys", "rotate", old["key_id"], "--overlap-hours", "0")
    ended = stored_key(store, old["key_id"])
    assert is_ended(ended, datetime.now(UTC))
    with pytest.raises(RecsysError, match="revoked or has ended"):
        run("keys", "rotate", old["key_id"])
    with pytest.raises(RecsysError, match="unknown key"):
        run("keys", "rotate", "nobody")


def test_a_list_of_keys_says_when_they_end_and_were_used(store: SqlStore) -> None:
    key = json.loads(run("keys", "create", "--role", "duty", "--expires-days", "30", "--json").stdout)
    store.mark_keys_used([key["key_id"]], datetime(2025, 3, 4, tzinfo=UTC).date())
    (listed,) = json.loads(run("keys", "list", "--json").stdout)["keys"]
    assert listed["last_used_on"] == "2025-03-04"
    assert listed["expires_at"] is not None
    assert "2025-03-04" in run("keys", "list").stdout


def test_people_are_added_with_a_password_from_stdin(store: SqlStore) -> None:
    run("users", "add", "anna", "--role", "duty", typed=f"{PASSWORD}\n")
    user = store.user("anna")
    assert user is not None
    assert (user.role, user.is_disabled) == (Role.DUTY, False)
    assert is_right(PASSWORD, user.password_hash)
    assert PASSWORD not in run("users", "list", "--json").stdout
    assert "argon2" not in run("users", "list", "--json").stdout
    assert "anna" in run("users", "list").stdout


@pytest.mark.parametrize(
    ("words", "typed", "told"),
    [
        (("users", "add", "anna", "--role", "portal"), PASSWORD, "for programs"),
        (("users", "add", "Anna B", "--role", "duty"), PASSWORD, "a–z"),
        (("users", "add", "anna", "--role", "duty"), "short", "12 to 200"),
        (("users", "password", "nobody"), PASSWORD, "unknown user"),
        (("users", "disable", "nobody"), None, "unknown user"),
    ],
)
def test_what_cannot_be_is_one_clear_sentence(
    store: SqlStore, words: tuple[str, ...], typed: str | None, told: str
) -> None:
    with pytest.raises(RecsysError, match=told) as caught:
        run(*words, typed=typed)
    assert "\n" not in str(caught.value)
    assert store.users() == []


def test_a_new_password_and_a_disabled_person_end_every_session(store: SqlStore) -> None:
    run("users", "add", "anna", "--role", "duty", typed=f"{PASSWORD}\n")
    now = datetime.now(UTC)
    for words, typed in (
        (("users", "password", "anna"), "another password altogether\n"),
        (("users", "disable", "anna"), None),
    ):
        _, session = new_session("anna", Role.DUTY, now, timedelta(hours=1))
        store.add_session(session)
        run(*words, typed=typed)
        assert store.session(session.digest) is None
    user = store.user("anna")
    assert user is not None
    assert user.is_disabled
    assert is_right("another password altogether", user.password_hash)
    run("users", "enable", "anna")
    assert [user.is_disabled for user in store.users()] == [False]


def test_public_keys_are_added_listed_and_revoked(store: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "portal.pem"
    file.write_bytes(OKPKey.generate_key("Ed25519").as_pem(private=False))
    run("token-keys", "add", "portal-1", str(file))
    (listed,) = json.loads(run("token-keys", "list", "--json").stdout)["token_keys"]
    assert (listed["key_id"], listed["algorithm"], listed["revoked_at"]) == ("portal-1", "EdDSA", None)
    run("token-keys", "revoke", "portal-1")
    assert store.token_keys()[0].revoked_at is not None
    assert "portal-1" in run("token-keys", "list").stdout
    file.write_bytes(OKPKey.generate_key("Ed25519").as_pem(private=True))
    for path in (file, tmp_path / "nothing.pem"):
        with pytest.raises(RecsysError):
            run("token-keys", "add", "portal-2", str(path))
