"""Nothing secret and nobody's name stands in a log or in the body of a failure."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from pydantic import BaseModel, ValidationError

from recsys.domain import ClientId, Profile
from serving.accounts import Role
from serving.app import create_app
from serving.ports import PutClient
from serving.security.keys import new_key
from serving.security.tokens import token_key_of
from serving.telemetry.logs import JsonFormatter
from serving.web.connections import PatientProtocol

from .conftest import NOW, PASSWORD, MovingClock, Signer, console_settings, filled_store

MARK = "zebra7391"
NAME, MEMBER, NEEDLE = f"ООО {MARK} Рога", f"m-{MARK}", f"needle-{MARK}"
SECONDS_TO_GIVE_UP = 30.0


class Server:
    """A real server, its log as it would be written, and everything it answered to a fault."""

    def __init__(self, folder: Path, password_hash: str) -> None:
        self.store = filled_store(password_hash)
        self.store.commit([PutClient(ClientId("c-own"), Profile(name=NAME), NOW)])
        self.clock = MovingClock()
        self.key, self.admin = (self._new_key(role) for role in (Role.PORTAL, Role.ADMIN))
        signer = Signer(self.clock, "portal-1")
        self.store.add_token_key(token_key_of("portal-1", signer.public_pem, NOW))
        self.token = signer.token(sub=MEMBER)
        settings = console_settings(folder, request_log_share=1.0)
        app = create_app(settings, self.store, self.clock)
        config = uvicorn.Config(
            app, port=0, http=PatientProtocol, log_config=None, access_log=False, log_level="debug"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def _new_key(self, role: Role) -> str:
        key, record = new_key(role, NOW)
        self.store.add_key(record)
        return key

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + SECONDS_TO_GIVE_UP
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)
        # After a fault of the program the server closes the connection.
        self.client.headers["Connection"] = "close"

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(SECONDS_TO_GIVE_UP)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Every line that is logged, from the most talkative level on."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    # The test's own client writes its headers down.
    handler.addFilter(lambda record: not record.name.startswith("http"))
    root = logging.getLogger()
    level, loggers = root.level, [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "serving")]
    levels = [logger.level for logger in loggers]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)
    for logger, before in zip(loggers, levels, strict=True):
        logger.setLevel(before)


def ask_everything(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response]:
    """Requests that succeed, that are refused, and that meet a fault of the program."""
    client = server.client
    portal, admin = ({"Authorization": f"Bearer {key}"} for key in (server.key, server.admin))
    member = {"Authorization": f"Bearer {server.token}"}
    wanted = {"client_id": "c-own", "member_id": MEMBER, "placements": [{"placement_id": "home"}]}
    answers = [
        client.post("/v1/recommendations", json=wanted, headers=portal),
        client.post("/v1/recommendations", json=wanted, headers=member),
        client.post("/v1/recommendations", json={**wanted, "client_id": "c-foreign"}, headers=member),
        client.post("/v1/recommendations", json=wanted, headers={"Authorization": f"Bearer {server.key}x"}),
        client.post("/v1/recommendations", json=wanted, headers={"Authorization": f"Bearer {server.token}x"}),
        client.post("/v1/recommendations", content=f'{{"client_id": "{NAME}'.encode(), headers=portal),
        client.post("/v1/recommendations", json={**wanted, "k": NAME, "member_id": 7}, headers=portal),
        client.post("/v1/recommendations", json={**wanted, "placements": []}, headers=portal),
        client.put("/v1/clients/c-own", json={"name": NAME, "n_employees": -5}, headers=portal),
        client.put("/v1/clients/c-own", json={"name": NAME}, headers=portal),
        client.get("/v1/offers", headers={"X-API-Key": server.key}, params={"key": server.key}),
        client.get(f"/v1/nothing/{NEEDLE}", headers=admin),
        client.post("/v1/policies", json={"documents": {"vip.yaml": "a: ["}}, headers=admin),
    ]
    page = client.get("/console/login")
    token = page.text.split('name="token" value="')[1].split('"')[0]
    for password in (f"wrong {NEEDLE}", PASSWORD):
        form = {"token": token, "name": "anna", "password": password}
        answers.append(client.post("/console/login", data=form))
    answers.append(client.post("/console/logout", data={"token": f"wrong-{NEEDLE}"}))

    def fail(*_: Any) -> None:
        raise RuntimeError("the fault of a test")

    monkeypatch.setattr(server.store, "client_state", fail)
    monkeypatch.setattr(server.store, "policies", fail)
    answers.append(client.get("/v1/clients/c-own", headers=admin))
    answers.append(client.get("/v1/policies", headers=admin))
    answers.append(client.post("/v1/recommendations", json=wanted, headers=portal))
    return answers


def test_logs_and_failures_hold_no_secret_and_no_name(
    tmp_path: Path, password_hash: str, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path, password_hash)
    server.start()
    try:
        answers = ask_everything(server, monkeypatch)
        sessions = list(server.client.cookies.jar)
    finally:
        server.stop()
    told = [answer.text for answer in answers if answer.status_code >= 400]
    assert {200, 303, 400, 401, 403, 404, 422, 500} <= {answer.status_code for answer in answers}
    assert len(told) >= 10
    log = written.getvalue()
    assert "request_failed" in log or "the fault of a test" in log
    secrets = [
        server.key.split("_", 2)[2],
        server.admin.split("_", 2)[2],
        server.token.split(".")[2],
        server.token.split(".")[1],
        PASSWORD,
        NAME,
        MARK,
        MEMBER,
        *(str(cookie.value) for cookie in sessions),
    ]
    for secret in secrets:
        assert secret not in log
        escaped = secret.encode("unicode_escape").decode()
        assert escaped not in log
    for secret in (*secrets[:5], NAME):
        assert [text for text in told if secret in text] == []


def test_a_settings_line_shows_no_password(tmp_path: Path) -> None:
    settings = console_settings(
        tmp_path, database_url=f"postgresql://user:{MARK}@host/name", oidc_client_secret=f"{MARK}-too"
    )
    assert MARK not in repr(settings)
    assert MARK not in str(settings)


def test_a_trace_quotes_no_value_that_came_from_outside() -> None:
    class Client(BaseModel):
        n_employees: int

    lines: list[str] = []
    for fail in (
        lambda: Client.model_validate({"n_employees": NAME}),
        lambda: Client.model_validate_json(f'{{"n_employees": "{MARK}, input_type="}}'),
        lambda: refuse(f"null value\nDETAIL:  Failing row contains ({NAME}, 7)."),
    ):
        try:
            fail()
        except (ValidationError, psycopg.IntegrityError):
            record = logging.LogRecord("a", logging.ERROR, "", 0, "failed", (), sys.exc_info())
            lines.append(JsonFormatter().format(record))
    assert len(lines) == 3
    assert all(("Traceback" in line and "n_employees" in line) or "DETAIL" in line for line in lines)
    assert [line for line in lines if MARK in line.split("Error", 1)[1]] == []


def refuse(text: str) -> None:
    raise psycopg.IntegrityError(text)
