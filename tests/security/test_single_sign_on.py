"""Single sign-on against a real OpenID provider, in a process of its own on this machine."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from recsys.errors import ConfigError, UnauthenticatedError
from serving.accounts import Role
from serving.security.oidc import Provider, SignOn, SingleSignOn, roles_of

from .conftest import NOW, Service

SECONDS_TO_START = 30.0
CALLBACK = "http://recsys.test/console/signed-on"
SESSION = "recsys-session"


class IdentityProvider:
    """`oidc-provider-mock`, as its own command starts it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.issuer = f"http://localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = Path(sys.executable).parent / "oidc-provider-mock"
        clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self._process = subprocess.Popen(
            [str(command), "--port", str(self.port), "--require-nonce", "true"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**clean, "PYTHONWARNINGS": "ignore"},
        )
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            try:
                self.ask("GET", "/jwks")
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the identity provider did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=5) as client:
            return client.request(method, f"{self.issuer}{path}", **what)

    def know(self, name: str, **claims: Any) -> None:
        """Let it know a person."""
        assert self.ask("PUT", f"/users/{name}", json=claims).status_code == 204


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture
def service(start: Callable[..., Service], provider: IdentityProvider) -> Service:
    provider.know("anna@operator.example", email="anna@operator.example", groups=["all", "recsys-duty"])
    provider.know("boris@operator.example", email="boris@operator.example", groups=["all"])
    started = start(
        public_url="http://recsys.test",
        oidc_issuer=provider.issuer,
        oidc_client_id="recsys",
        oidc_client_secret="a secret of the client",
        oidc_roles="recsys-admins=admin,recsys-duty=duty",
    )
    # The provider signs by the machine's clock.
    started.clock.moment = NOW.fromtimestamp(time.time(), NOW.tzinfo)
    return started


def begin(service: Service) -> tuple[str, dict[str, str]]:
    response = service.ask("GET", "/console/sign-on", params={"next": "/console/password"})
    assert response.status_code == 303
    address = response.headers["location"]
    return address, {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def agree(service: Service, name: str = "anna@operator.example") -> str:
    """What the browser does at the provider; where it is sent back to."""
    address, _ = begin(service)
    with httpx.Client(trust_env=False) as browser:
        answered = browser.post(address, data={"sub": name})
    assert answered.status_code in (302, 303), answered.text
    return answered.headers["location"]


def come_back(service: Service, address: str) -> httpx.Response:
    parts = urlsplit(address)
    assert address.startswith(CALLBACK)
    return service.ask("GET", f"{parts.path}?{parts.query}")


def test_a_person_comes_in_with_the_role_of_the_claim(service: Service) -> None:
    response = come_back(service, agree(service))
    assert (response.status_code, response.headers["location"]) == (303, "/console/password")
    (session,) = service.store._sessions.values()
    assert (session.user_name, session.role) == ("anna@operator.example", Role.DUTY)
    assert session.is_single_sign_on
    page = service.ask("GET", "/console/", params={"lang": "en"})
    assert "anna@operator.example · on duty" in page.text
    # Whose password the provider keeps has none to change here.
    assert "/console/password" not in page.text


def test_the_provider_is_asked_as_the_norms_want(service: Service, provider: IdentityProvider) -> None:
    address, asked = begin(service)
    assert address.startswith(f"{provider.issuer}/")
    assert asked["response_type"] == "code"
    assert asked["redirect_uri"] == CALLBACK
    assert asked["code_challenge_method"] == "S256"
    state, nonce, verifier, _ = service.client.cookies["recsys-sign-on"].strip('"').split("~")
    assert (asked["state"], asked["nonce"]) == (state, nonce)
    assert asked["code_challenge"] == SignOn(state, nonce, verifier).challenge
    assert len({state, nonce, verifier}) == 3
    assert verifier not in address
    assert "openid" in asked["scope"]


def test_the_verifier_goes_to_the_provider_with_the_code(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, str]] = []
    fetch = SingleSignOn._fetch

    async def watch(self: SingleSignOn, address: str, form: dict[str, str] | None = None) -> Any:
        sent.append(form or {})
        return await fetch(self, address, form)

    monkeypatch.setattr(SingleSignOn, "_fetch", watch)
    back = agree(service)
    verifier = service.client.cookies["recsys-sign-on"].strip('"').split("~")[2]
    assert come_back(service, back).status_code == 303
    (form,) = [form for form in sent if form]
    assert form["code_verifier"] == verifier
    assert form["redirect_uri"] == CALLBACK


def test_who_has_no_role_stays_outside(service: Service) -> None:
    assert come_back(service, agree(service, "boris@operator.example")).status_code == 403
    assert not service.store._sessions


def test_a_sign_on_ends_in_the_browser_that_began_it(service: Service) -> None:
    back = agree(service)
    service.client.cookies.clear()
    assert come_back(service, back).status_code == 401
    begin(service)  # an attacker's answer in a victim's browser, which began another sign-on
    assert come_back(service, back).status_code == 401
    assert not service.store._sessions


def test_a_sign_on_ends_once(service: Service) -> None:
    back = agree(service)
    kept = service.client.cookies["recsys-sign-on"]
    assert come_back(service, back).status_code == 303
    service.client.cookies.clear()
    assert come_back(service, back).status_code == 401
    # Nor does the provider give anything for the same code again.
    service.client.cookies.set("recsys-sign-on", kept)
    assert come_back(service, back).status_code == 401


def test_a_session_that_was_there_before_is_replaced(service: Service) -> None:
    back = agree(service)
    service.client.cookies.set(SESSION, "foisted", "recsys.test")
    mine = come_back(service, back).cookies[SESSION]
    assert mine != "foisted"
    service.client.cookies.clear()
    assert service.ask("GET", "/console/", headers={"Cookie": f"{SESSION}=foisted"}).status_code == 303


def test_a_provider_that_changed_its_keys_is_believed(service: Service, provider: IdentityProvider) -> None:
    assert come_back(service, agree(service)).status_code == 303
    before = provider.ask("GET", "/jwks").json()
    provider.stop()
    provider.start()
    assert provider.ask("GET", "/jwks").json() != before
    provider.know("anna@operator.example", email="anna@operator.example", groups=["recsys-admins"])
    service.client.cookies.clear()
    assert come_back(service, agree(service)).status_code == 303
    assert [one.role for one in service.store._sessions.values()] == [Role.DUTY, Role.ADMIN]


def test_a_provider_that_is_away_is_told(service: Service, provider: IdentityProvider) -> None:
    provider.stop()
    try:
        refused = service.ask("GET", "/console/sign-on")
        assert refused.status_code == 401
        assert "Единый вход" in refused.text
    finally:
        provider.start()


@pytest.mark.usefixtures("patient_door")
def test_what_the_browser_brought_is_used_up_however_it_ends(service: Service) -> None:
    endings: list[tuple[Callable[[], str], int]] = [
        (lambda: agree(service), 303),
        (lambda: agree(service, "boris@operator.example"), 403),
        (lambda: f"{CALLBACK}?state=another&code=guessed", 401),
        (lambda: CALLBACK, 401),
    ]
    for address_of, status in endings:
        begin(service)
        address = address_of()
        assert "recsys-sign-on" in service.client.cookies
        assert come_back(service, address).status_code == status
        assert "recsys-sign-on" not in service.client.cookies


@pytest.mark.usefixtures("standing_time")
def test_one_address_may_not_make_the_server_call_the_provider_without_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def refuse(_self: SingleSignOn, address: str, form: Any = None) -> Any:
        sent.append(address)
        raise UnauthenticatedError("the identity provider refused")

    monkeypatch.setattr(SingleSignOn, "_fetch", refuse)
    cookie = {"Cookie": "recsys-sign-on=s~n~v~/console/"}
    statuses = [
        service.ask("GET", f"/console/signed-on?state=s&code={n}", headers=cookie).status_code
        for n in range(30)
    ]
    assert set(statuses) == {401, 429}
    assert statuses.count(401) == 10
    refused = service.ask("GET", "/console/sign-on")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")


def test_a_provider_that_did_not_answer_is_left_alone_for_a_while(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [5_000.0], []

    async def fail(_self: SingleSignOn, address: str, form: Any = None) -> Any:
        asked.append(address)
        raise UnauthenticatedError("the identity provider did not answer")

    monkeypatch.setattr(SingleSignOn, "_fetch", fail)
    monkeypatch.setattr("serving.security.oidc.time", SimpleNamespace(monotonic=lambda: now[0]))
    sign_on = single_sign_on()

    async def begin_at_once() -> list[Any]:
        begun = (sign_on.begin(SignOn.new()) for _ in range(20))
        return await asyncio.gather(*begun, return_exceptions=True)

    told = service.run(begin_at_once())
    assert {type(one) for one in told} == {UnauthenticatedError}
    now[0] += 9.9
    with pytest.raises(UnauthenticatedError):
        service.run(sign_on.begin(SignOn.new()))
    assert len(asked) == 1
    now[0] += 0.1
    answering(monkeypatch, {METADATA: HONEST})
    assert service.run(sign_on.begin(SignOn.new())).startswith(HONEST["authorization_endpoint"])


def single_sign_on(issuer: str = "https://id.operator.example") -> SingleSignOn:
    return SingleSignOn(Provider(issuer, "recsys", "", CALLBACK, "groups", {"a": Role.ADMIN}))


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    async def fetch(_self: SingleSignOn, address: str, form: Any = None) -> Any:
        return answers[urlsplit(address).path]

    monkeypatch.setattr(SingleSignOn, "_fetch", fetch)


METADATA = "/.well-known/openid-configuration"
HONEST = {
    "issuer": "https://id.operator.example",
    "authorization_endpoint": "https://id.operator.example/authorize",
    "token_endpoint": "https://id.operator.example/token",
    "jwks_uri": "https://id.operator.example/jwks",
}


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "https://169.254.169.254/token"},
        {"jwks_uri": "https://id.operator.example.evil.example/jwks"},
        {"jwks_uri": "http://id.operator.example/jwks"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"jwks_uri": "https://id.operator.example:444/jwks"},
    ],
)
def test_only_the_issuer_is_called(
    service: Service, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    answering(monkeypatch, {METADATA: {**HONEST, **changed}})
    with pytest.raises(UnauthenticatedError, match="identity provider"):
        service.run(single_sign_on().begin(SignOn.new()))


CLAIMS: dict[str, dict[str, Any]] = {
    "right": {},
    "issuer": {"iss": "https://other.example"},
    "audience": {"aud": "others"},
    "several without party": {"aud": ["recsys", "others"]},
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "over": {"exp": int(NOW.timestamp()) - 61},
    "no end": {"exp": None},
    "not begun": {"iat": int(NOW.timestamp()) + 61},
}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("algorithm", ["RS256", "HS256", "none", "stranger"])
def test_a_token_that_is_not_for_us_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str, algorithm: str
) -> None:
    key, stranger = RSAKey.generate_key(2048, {"kid": "k"}), RSAKey.generate_key(2048, {"kid": "k"})
    now, sign_on = int(NOW.timestamp()), SignOn.new()
    right = {"iss": HONEST["issuer"], "aud": "recsys", "sub": "anna", "groups": ["a"], "nonce": sign_on.nonce}
    claims = {**right, "iat": now, "exp": now + 60, **CLAIMS[name]}
    claims = {claim: value for claim, value in claims.items() if value is not None}
    token = signed(claims, key, stranger, algorithm)
    answering(
        monkeypatch,
        {
            METADATA: HONEST,
            "/token": {"id_token": token},
            "/jwks": {"keys": [key.as_dict(private=False)]},
        },
    )
    finishing = single_sign_on().finish(sign_on, sign_on.state, "code", NOW)
    if (name, algorithm) == ("right", "RS256"):
        assert service.run(finishing).role is Role.ADMIN
    else:
        with pytest.raises(UnauthenticatedError):
            service.run(finishing)


def signed(claims: dict[str, Any], key: RSAKey, stranger: RSAKey, algorithm: str) -> str:
    from .test_member_tokens import part  # noqa: PLC0415

    if algorithm in ("none", "HS256"):
        return (
            f"{part({'alg': algorithm, 'kid': 'k'})}.{part(claims)}.{'' if algorithm == 'none' else 'AAAA'}"
        )
    signer = key if algorithm == "RS256" else stranger
    return str(jwt.encode({"alg": "RS256", "kid": "k"}, claims, signer))


@pytest.mark.parametrize("issuer", ["http://id.operator.example", "ftp://id.operator.example", "id"])
def test_a_provider_is_reached_over_https_only(issuer: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        single_sign_on(issuer)


@pytest.mark.parametrize("text", ["a", "a=portal", "a=boss", "=admin", "a=admin,b"])
def test_roles_that_are_no_roles_are_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match="RECSYS_OIDC_ROLES"):
        roles_of(text)
