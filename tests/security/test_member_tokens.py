"""Member tokens: every way to forge, stretch or misuse one is refused."""

from __future__ import annotations

import base64
import hmac
import json
import warnings
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from recsys.errors import ConfigError
from serving.security.tokens import (
    CLOCK_SKEW_SECONDS,
    MAX_LIFETIME_SECONDS,
    TokenRing,
    token_key_of,
)

from .conftest import NOW, Service, Signer


def part(content: object) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def signed_with_public_key(signer: Signer, algorithm: str = "HS256") -> str:
    """What an attacker makes who knows the public key: its text as the secret of a symmetric algorithm."""
    text = f"{part({'alg': algorithm, 'kid': signer.key_id})}.{part(signer.claims())}"
    mac = hmac.new(signer.public_pem.encode(), text.encode(), sha256).digest()
    return f"{text}.{part(mac)}"


def unsigned(signer: Signer, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'kid': signer.key_id})}.{part(signer.claims())}."


def with_other_claims(signer: Signer) -> str:
    head, _, signature = signer.token().split(".")
    return f"{head}.{part(signer.claims(client_id='c-foreign'))}.{signature}"


def by_a_stranger(signer: Signer) -> str:
    return Signer(signer.clock, signer.key_id).token()


def with_its_own_key(signer: Signer) -> str:
    stranger = Signer(signer.clock, signer.key_id)
    return stranger.token({"jwk": stranger.private.as_dict(private=False)})


FORGED: dict[str, Callable[[Signer], str]] = {
    "alg none": lambda signer: unsigned(signer, "none"),
    "alg None": lambda signer: unsigned(signer, "None"),
    "no signature": lambda signer: unsigned(signer, "Ed25519"),
    "HS256 with the public key": signed_with_public_key,
    "HS512 with the public key": lambda signer: signed_with_public_key(signer, "HS512"),
    "other claims": with_other_claims,
    "a stranger's key": by_a_stranger,
    "a key in the header": with_its_own_key,
    "unknown kid": lambda signer: signer.token({"kid": "portal-9"}),
    "no kid": lambda signer: f"{part({'alg': 'Ed25519'})}.{part(signer.claims())}.AAAA",
    "kid no text": lambda signer: (
        f"{part({'alg': 'Ed25519', 'kid': ['portal-1']})}.{part(signer.claims())}.AA"
    ),
    "alg no text": lambda signer: f"{part({'alg': {}, 'kid': 'portal-1'})}.{part(signer.claims())}.AA",
    "two parts": lambda signer: ".".join(signer.token().split(".")[:2]),
    "four parts": lambda signer: signer.token() + ".AAAA",
    "no JSON": lambda signer: f"eyJ{part(b'x')}.{part(b'y')}.AA",
    "a list": lambda signer: f"{part(['eyJ'])}.{part([])}.AA",
    "too long": lambda signer: signer.token(note="x" * 5_000),
    "not ASCII": lambda signer: signer.token() + "ы",
}
CLAIMS: dict[str, dict[str, Any]] = {
    "wrong audience": {"aud": "others"},
    "several audiences": {"aud": ["recsys", "others"]},
    "no audience": {"aud": None},
    "no end": {"exp": None},
    "end no number": {"exp": "9999999999"},
    "end true": {"exp": True},
    "no begin": {"iat": None},
    "no client": {"client_id": None},
    "empty client": {"client_id": ""},
    "client no text": {"client_id": 7},
    "long client": {"client_id": "c" * 65},
    "no member": {"sub": None},
    "unknown role": {"role": "admin"},
    "role no text": {"role": ["employee"]},
    "limit below zero": {"spending_limit_minor": -1},
    "limit no number": {"spending_limit_minor": "100"},
    "limit true": {"spending_limit_minor": True},
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(service: Service, name: str) -> None:
    response = service.recommend(FORGED[name](service.signer))
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_token_with_wrong_claims_is_refused(service: Service, name: str) -> None:
    assert service.recommend(service.signer.token(**CLAIMS[name])).status_code == 401


@pytest.mark.parametrize(
    ("begin", "end", "status"),
    [
        (0, MAX_LIFETIME_SECONDS, 200),
        (0, MAX_LIFETIME_SECONDS + 1, 401),  # too long a life
        (0, 0, 401),
        (0, -1, 401),
        (-MAX_LIFETIME_SECONDS, 0, 200),  # over, but a clock may be wrong by so much
        (-300, 1 - CLOCK_SKEW_SECONDS, 200),
        (-300, -CLOCK_SKEW_SECONDS, 401),  # over
        (CLOCK_SKEW_SECONDS, 300, 200),
        (CLOCK_SKEW_SECONDS + 1, 300, 401),  # not yet
    ],
)
def test_a_token_counts_in_its_time_only(service: Service, begin: int, end: int, status: int) -> None:
    now = int(NOW.timestamp())
    token = service.signer.token(iat=now + begin, exp=now + end)
    assert service.recommend(token).status_code == status


def test_a_token_that_is_not_valid_yet_is_refused(service: Service) -> None:
    token = service.signer.token(nbf=int(NOW.timestamp()) + CLOCK_SKEW_SECONDS + 1)
    assert service.recommend(token).status_code == 401


def test_a_token_that_was_accepted_ends_too(service: Service) -> None:
    token = service.signer.token()
    assert service.recommend(token).status_code == 200
    service.clock.move(seconds=300 + CLOCK_SKEW_SECONDS)
    assert service.recommend(token).status_code == 401


@pytest.mark.parametrize("role", [None, "employee", "finance", "administrator"])
def test_a_portal_may_say_the_role_of_a_member(service: Service, role: str | None) -> None:
    assert service.recommend(service.signer.token(role=role)).status_code == 200


def test_both_names_of_ed25519_and_p256_are_accepted(service: Service, es256: Signer) -> None:
    assert service.recommend(es256.token()).status_code == 200
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old_name = service.signer.token({"alg": "EdDSA"})
    assert service.recommend(old_name).status_code == 200


def test_a_key_signs_by_its_own_algorithm_only(service: Service, es256: Signer) -> None:
    crossed = Signer(service.clock, service.signer.key_id, es256.private, "ES256")
    assert service.recommend(crossed.token()).status_code == 401


def test_a_revoked_key_ends_its_tokens_with_the_next_look(service: Service, es256: Signer) -> None:
    token, other = service.signer.token(), es256.token()
    assert service.recommend(token).status_code == service.recommend(other).status_code == 200
    service.store.revoke_token_key("portal-1", NOW)
    service.refresh()
    assert service.recommend(token).status_code == 401
    assert service.recommend(other).status_code == 200


def test_a_key_that_was_registered_now_is_known_at_the_first_token(service: Service) -> None:
    late = Signer(service.clock, "portal-3")
    service.store.add_token_key(token_key_of("portal-3", late.public_pem, NOW))
    service.app.state.doorkeeper._read_at = float("-inf")
    assert service.recommend(late.token()).status_code == 200


def test_a_token_is_verified_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = TokenRing._checked

    def count(self: TokenRing, known: Any, token: str, now: float) -> Any:
        checked.append(token)
        return check(self, known, token, now)

    monkeypatch.setattr(TokenRing, "_checked", count)
    token = service.signer.token()
    assert [service.recommend(token).status_code for _ in range(3)] == [200] * 3
    assert checked == [token]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no key",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        RSAKey.generate_key(2048).as_pem(private=False).decode(),
        ECKey.generate_key("P-384").as_pem(private=False).decode(),
        OKPKey.generate_key("X25519").as_pem(private=False).decode(),
        OKPKey.generate_key("Ed25519").as_pem(private=True).decode(),
    ],
)
def test_only_public_keys_of_the_two_kinds_are_registered(text: str) -> None:
    with pytest.raises(ConfigError, match="public"):
        token_key_of("portal", text, NOW)
