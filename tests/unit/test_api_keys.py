from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from recsys.errors import UnauthenticatedError
from serving.ports import Role
from serving.security import keys
from serving.security.keys import KeyRing, new_key

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def test_a_key_is_random_and_stored_as_a_digest_only() -> None:
    made = [new_key(Role.PORTAL, NOW) for _ in range(100)]
    assert len({key for key, _ in made}) == len({record.key_id for _, record in made}) == 100
    for key, record in made:
        assert key.startswith(f"rk_{record.key_id}_")
        assert len(key.split("_", 2)[2]) >= 43  # 32 bytes in base64
        assert record.digest == sha256(key.encode()).digest()
        assert record.revoked_at is None
        assert key.split("_", 2)[2] not in repr(record)


def test_each_key_is_known_with_its_role() -> None:
    made = [new_key(role, NOW) for role in Role]
    ring = KeyRing([record for _, record in made])
    assert [ring.authenticate(key).role for key, _ in made] == list(Role)


def test_a_revoked_key_is_refused_after_the_replacement() -> None:
    key, record = new_key(Role.PORTAL, NOW)
    ring = KeyRing([record])
    assert ring.authenticate(key) == record
    ring.replace([replace(record, revoked_at=NOW)])
    with pytest.raises(UnauthenticatedError):
        ring.authenticate(key)


@pytest.mark.parametrize("change", [lambda key: key[:-1], lambda key: key + "A", lambda key: key.swapcase()])
def test_an_altered_key_is_refused(change: object) -> None:
    key, record = new_key(Role.PORTAL, NOW)
    with pytest.raises(UnauthenticatedError):
        KeyRing([record]).authenticate(change(key))  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["", "rk", "rk_", "rk__", "Bearer x", "ключ", "\ud800", "rk_" + "0" * 12 + "_x"]
)
def test_whatever_is_no_key_is_refused(text: str) -> None:
    _, record = new_key(Role.PORTAL, NOW)
    with pytest.raises(UnauthenticatedError):
        KeyRing([record]).authenticate(text)


def test_every_answer_costs_one_comparison_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    compare_digest = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare_digest(left, right)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    key, record = new_key(Role.PORTAL, NOW)
    ring = KeyRing([record])
    ring.authenticate(key)
    for wrong in (key[:-1], "rk_unknown_secret", "no key"):
        with pytest.raises(UnauthenticatedError):
            ring.authenticate(wrong)
    assert compared == [(32, 32)] * 4
