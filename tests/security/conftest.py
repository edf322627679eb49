"""A service in this process: a key of each role, a portal that signs tokens, a person in the console."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from recsys.domain import ClientId, Profile
from serving.accounts import Role, User
from serving.app import create_app
from serving.ports import PutClient
from serving.security.keys import new_key
from serving.security.tokens import token_key_of
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.web.rate_limits import RateLimit

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PASSWORD = "correct horse battery staple"
OWN, FOREIGN, MEMBER = "c-own", "c-foreign", "m-anna"


class MovingClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def move(self, **by: float) -> None:
        self.moment += timedelta(**by)


@dataclass
class Signer:
    """A portal that signs member tokens with one private key."""

    clock: MovingClock
    key_id: str
    private: Any = field(default_factory=lambda: OKPKey.generate_key("Ed25519"))
    algorithm: str = "Ed25519"

    @property
    def public_pem(self) -> str:
        return str(self.private.as_pem(private=False).decode())

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(self.clock.now().timestamp())
        claims = {"aud": "recsys", "sub": MEMBER, "client_id": OWN, "iat": now, "exp": now + 300, **changed}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        head = {"alg": self.algorithm, "kid": self.key_id, **(header or {})}
        return str(jwt.encode(head, self.claims(**changed), self.private, algorithms=[head["alg"]]))


@dataclass
class Service:
    """A running service and who may ask it."""

    app: FastAPI
    store: MemoryStore
    clock: MovingClock
    runner: asyncio.Runner
    client: httpx.AsyncClient
    signer: Signer
    keys: dict[Role, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, credential: str | None = None, **what: Any) -> httpx.Response:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}".encode()}
        headers |= what.pop("headers", {})
        return self.runner.run(self.client.request(method, path, headers=headers, **what))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def refresh(self) -> None:
        """What every worker does twice a second."""
        self.app.state.doorkeeper.refresh()

    def recommend(self, credential: str, client_id: str = OWN, **more: Any) -> httpx.Response:
        body = {"client_id": client_id, "placements": [{"placement_id": "home"}], **more}
        return self.ask("POST", "/v1/recommendations", credential, json=body)

    def reset(self, password_hash: str) -> None:
        """As it was at the begin, for the next test."""
        store = self.store
        self.clock.moment = NOW
        self.client.cookies.clear()
        for kept in (store._users, store._sessions, store._attempts, store._token_keys):
            kept.clear()
        store.add_user(User("anna", password_hash, Role.ADMIN, False, NOW, NOW))
        store.add_token_key(token_key_of(self.signer.key_id, self.signer.public_pem, NOW))
        self.refresh()

    def form_token(self, page: httpx.Response) -> str:
        return page.text.split('name="token" value="')[1].split('"')[0]

    def log_in(self, name: str = "anna", password: str = PASSWORD, **more: str) -> httpx.Response:
        page = self.ask("GET", "/console/login")
        form = {"token": self.form_token(page), "name": name, "password": password, **more}
        return self.ask("POST", "/console/login", data=form)


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Of little work, so that logging in takes little; what people get is tested by itself."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def filled_store(password_hash: str) -> MemoryStore:
    store = MemoryStore()
    titles = {"title_ru": "Услуга", "title_en": "Service"}
    store.upsert_rows("offers", [{"offer_id": "crm", "kind": "own", "recorded_at": NOW, **titles}], NOW)
    store.commit([PutClient(ClientId(client_id), Profile(), NOW) for client_id in (OWN, FOREIGN)])
    store.add_user(User("anna", password_hash, Role.ADMIN, False, NOW, NOW))
    return store


def console_settings(folder: Path, **changed: Any) -> Settings:
    settings = {"is_console_enabled": True, "is_console_cookie_secure": False, "journal_dir": folder}
    return Settings(**{**settings, **changed})


@contextmanager
def running(settings: Settings, store: MemoryStore, peer: str = "192.0.2.7") -> Iterator[Service]:
    """A service with its lifespan, asked from an address."""
    clock = MovingClock()
    app = create_app(settings, store, clock)
    signer = Signer(clock, "portal-1")
    store.add_token_key(token_key_of("portal-1", signer.public_pem, NOW))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(peer, 4711))
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(transport=transport, base_url="http://recsys.test")
        service = Service(app, store, clock, runner, client, signer)
        for role in Role:
            service.keys[role], record = new_key(role, NOW)
            store.add_key(record)
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield service
        finally:
            runner.run(client.aclose())
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def standing_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no time passes for the limits."""
    monkeypatch.setattr(RateLimit.__init__, "__defaults__", (lambda: 0.0,))


@pytest.fixture
def start(tmp_path: Path, password_hash: str) -> Iterator[Callable[..., Service]]:
    """Starts services with these settings; the console is there, over plain http."""
    contexts = []

    def begin(**changed: Any) -> Service:
        settings = console_settings(tmp_path / "journal", **changed)
        context = running(settings, filled_store(password_hash))
        contexts.append(context)
        return context.__enter__()

    yield begin
    for context in reversed(contexts):
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, password_hash: str) -> Iterator[Service]:
    """One for the tests of a module; `service` resets it."""
    settings = console_settings(
        tmp_path_factory.mktemp("journal"), member_token_requests_per_second=0, session_hours=8
    )
    with running(settings, filled_store(password_hash)) as service:
        yield service


@pytest.fixture
def service(shared: Service, password_hash: str) -> Service:
    shared.reset(password_hash)
    return shared


@pytest.fixture
def patient_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that would have to wait for the limit of tries a second, which has a test of its own."""
    monkeypatch.setattr(RateLimit, "check", lambda *_: None)


@pytest.fixture
def es256(service: Service) -> Signer:
    """Another portal, with a P-256 key."""
    signer = Signer(service.clock, "portal-2", ECKey.generate_key("P-256"), "ES256")
    service.store.add_token_key(token_key_of("portal-2", signer.public_pem, NOW))
    service.refresh()
    return signer
