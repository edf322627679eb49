"""Limits: how often, how long, how slowly; and the headers of every answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from recsys.errors import RateLimitedError
from serving.accounts import Role
from serving.app import create_app
from serving.security import passwords
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.telemetry.names import REQUEST_SECONDS
from serving.web.connections import HEAD_SECONDS, PatientProtocol
from serving.web.headers import SECURITY_HEADERS
from serving.web.rate_limits import RateLimit
from serving.web.time_limits import TimeLimit

from .conftest import OWN, Service

SECONDS_TO_GIVE_UP = 30.0
NAMES = [name.decode() for name, _ in SECURITY_HEADERS]


class Seconds:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def passes(limit: RateLimit, name: str, n: int) -> int:
    n_passed = 0
    for _ in range(n):
        try:
            limit.check(name)
        except RateLimitedError:
            continue
        n_passed += 1
    return n_passed


def test_a_name_may_burst_and_then_go_on_at_its_rate() -> None:
    clock = Seconds()
    limit = RateLimit(20.0, clock)
    assert passes(limit, "a", 100) == 40
    assert passes(limit, "b", 1) == 1
    clock.now += 0.5
    assert passes(limit, "a", 100) == 10
    clock.now += 3_600
    assert passes(limit, "a", 100) == 40


@pytest.mark.parametrize("per_second", [0.1, 1.0, 3.0, 7.0, 1_000.0])
def test_over_a_long_time_no_more_pass_than_the_rate_allows(per_second: float) -> None:
    clock = Seconds()
    limit = RateLimit(per_second, clock)
    burst = max(2 * per_second, 10)
    assert passes(limit, "a", 5_000) == int(burst)
    n_passed = 0
    for _ in range(200):
        clock.now += 0.05
        n_passed += passes(limit, "a", 200)
    assert abs(n_passed - 10 * per_second) <= 1


def test_whoever_comes_again_when_told_is_let_in() -> None:
    clock = Seconds()
    limit = RateLimit(0.25, clock)
    passes(limit, "a", 100)
    with pytest.raises(RateLimitedError) as caught:
        limit.check("a")
    clock.now += caught.value.retry_after_seconds
    limit.check("a")


def test_names_without_end_take_no_memory_without_end() -> None:
    clock = Seconds()
    limit = RateLimit(1.0, clock)
    for number in range(25_000):
        limit.check(f"name-{number}")
    assert len(limit._full_at) <= 10_000
    assert passes(limit, "name-24999", 100) == 9  # the busiest are remembered


@pytest.mark.usefixtures("standing_time")
def test_a_key_that_asks_too_often_gets_429_and_others_do_not(start: Callable[..., Service]) -> None:
    service = start(rate_limit_per_second=1)
    portal, admin = service.keys[Role.PORTAL], service.keys[Role.ADMIN]
    answers = [service.ask("GET", "/v1/offers", portal) for _ in range(12)]
    # Routes that look at the key before and after the body count a request once.
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert service.recommend(portal).status_code == 429
    assert service.ask("GET", "/v1/offers", admin).status_code == 200


@pytest.mark.usefixtures("standing_time")
def test_members_of_a_client_share_a_limit(start: Callable[..., Service]) -> None:
    service = start(member_token_requests_per_second=1)
    signer = service.signer
    statuses = [service.recommend(signer.token(sub=f"m-{n}")).status_code for n in range(11)]
    assert statuses == [200] * 10 + [429]
    assert service.recommend(signer.token(client_id="c-foreign"), "c-foreign").status_code == 200
    # The portal's own key is not slowed down by what browsers do.
    assert service.recommend(service.keys[Role.PORTAL]).status_code == 200


@pytest.mark.usefixtures("standing_time")
def test_one_address_may_not_try_passwords_without_end(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    monkeypatch.setattr(passwords, "is_right", lambda *_: False)
    statuses = [service.log_in(f"name-{number}", "x").status_code for number in range(11)]
    assert statuses == [401] * 10 + [429]


@pytest.mark.parametrize(
    "path", ["/health", "/v1/offers", "/v1/nothing", "/console/login", "/openapi.json", "/"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_has_the_headers(service: Service, method: str, path: str) -> None:
    answer = service.ask(method, path, json={} if method == "POST" else None)
    assert [name for name in NAMES if answer.headers.get_list(name) == []] == []
    assert [name for name in NAMES if len(answer.headers.get_list(name)) > 1] == []
    assert "strict-transport-security" not in answer.headers


def test_the_busiest_routes_and_faults_have_the_headers_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = service.keys[Role.PORTAL]
    refused = service.ask("POST", "/v1/recommendations", key, content=b"{")
    chunked = service.ask("POST", "/v1/recommendations", key, content=iter_bytes([b"{}"]))

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.store, "policies", fail)
    failed = service.ask("GET", "/v1/policies", service.keys[Role.ADMIN])
    assert [answer.status_code for answer in (refused, chunked, failed)] == [400, 422, 500]
    for answer in (service.recommend(key), refused, chunked, failed):
        assert [name for name in NAMES if len(answer.headers.get_list(name)) != 1] == []


async def iter_bytes(parts: list[bytes]) -> Any:
    for part in parts:
        yield part


def test_browsers_are_held_to_https_where_the_server_is_reached_so(start: Callable[..., Service]) -> None:
    service = start(public_url="https://recsys.test")
    for answer in (service.ask("GET", "/health"), service.recommend(service.keys[Role.PORTAL])):
        assert answer.headers["strict-transport-security"].startswith("max-age=")


# What follows speaks to a real server over a socket: it is about how slowly bytes may come.


@contextmanager
def serving(app: Any) -> Iterator[int]:
    async def live(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        scope["state"][HEAD_SECONDS] = 0.3
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    config = uvicorn.Config(live, port=0, http=PatientProtocol, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + SECONDS_TO_GIVE_UP
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SECONDS_TO_GIVE_UP)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, then waits as long as the path says."""
    body, has_more = b"", True
    if scope["path"] == "/at-once":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body, has_more = body + message["body"], message.get("more_body", False)
    await asyncio.sleep(float(scope["path"][1:]))
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(TimeLimit(echo, body_seconds=0.5, request_seconds=1.5)) as port:
        yield port


def exchange(port: int, *parts: bytes) -> bytes:
    """Send and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), SECONDS_TO_GIVE_UP) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while part := connection.recv(65_536):
            received += part
    return received


def head(path: str, length: int, *, is_kept: bool = False) -> bytes:
    kept = "" if is_kept else "Connection: close\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{kept}\r\n".encode()


def test_a_request_in_time_is_answered(port: int) -> None:
    answer = exchange(port, head("/0", 5), b"hello")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hello")


def test_a_body_that_does_not_come_is_given_up(port: int) -> None:
    answer = exchange(port, head("/0", 5, is_kept=True), b"he")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"body_timeout"' in answer
    assert b"connection: close" in answer.lower()


def test_an_answer_that_does_not_come_is_503_and_a_late_one_is_dropped(port: int) -> None:
    answer = exchange(port, head("/2.2", 5), b"hello")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"request_timeout"' in answer
    assert b"retry-after" in answer.lower()
    assert b"hello" not in answer


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST /0 HTTP/1.1\r\nHost: a\r\nX-A: b"])
def test_a_head_that_does_not_come_ends_the_connection(port: int, sent: bytes) -> None:
    assert exchange(port, sent) == b""


def test_a_second_head_may_not_trickle_in_either(port: int) -> None:
    answer = exchange(port, head("/0", 2, is_kept=True), b"hi", b"POST /0 HTTP/1.1\r\nHost")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("rest", [b"{", b"\r\n"])
def test_what_still_comes_after_an_answer_does_not_hold_the_connection(port: int, rest: bytes) -> None:
    """As after a refusal that does not wait for the body, or between two requests."""
    n_announced = 2 if rest == b"\r\n" else 1_000_000
    path = "/0" if rest == b"\r\n" else "/at-once"
    body = b"hi" if rest == b"\r\n" else b""
    with socket.create_connection(("127.0.0.1", port), SECONDS_TO_GIVE_UP) as connection:
        connection.sendall(head(path, n_announced, is_kept=True) + body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(rest)  # the server's own timer between two requests is over now
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert b"HTTP/1.1" not in received


def test_a_head_without_end_is_not_taken_in(port: int) -> None:
    n_sent = 0
    with socket.create_connection(("127.0.0.1", port), SECONDS_TO_GIVE_UP) as connection:
        connection.sendall(b"POST /0 HTTP/1.1\r\nHost: a\r\n")
        with contextlib.suppress(OSError):
            for number in range(1_000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 100_000))
                n_sent += 100_000
    assert n_sent < 50_000_000  # what the system itself keeps for a connection is sent, too


def test_a_long_head_that_is_no_longer_than_that_is_taken(port: int) -> None:
    long = b"X-A: " + b"a" * 50_000 + b"\r\n\r\n"
    first = head("/0", 2)[:-2]
    assert exchange(port, first, long, b"hi").endswith(b"hi")


def test_a_head_has_the_time_that_is_set(tmp_path: Path) -> None:
    app = create_app(Settings(body_seconds=3.5, journal_dir=tmp_path), MemoryStore())

    async def told() -> Any:
        async with app.router.lifespan_context(app) as state:
            return state

    assert asyncio.run(told()) == {HEAD_SECONDS: 3.5}


def test_the_app_has_these_limits(start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    service = start(request_seconds=0.3, body_seconds=0.3)
    release = threading.Event()

    def wait(*_: Any) -> list[Any]:
        release.wait(SECONDS_TO_GIVE_UP)
        return []

    monkeypatch.setattr(service.store, "policies", wait)
    threading.Timer(1.0, release.set).start()
    late = service.ask("GET", "/v1/policies", service.keys[Role.ADMIN])
    assert (late.status_code, late.json()["error"]["code"]) == (503, "request_timeout")

    async def slow_body() -> Any:
        yield b'{"client_id": "'
        await asyncio.sleep(1.0)
        yield OWN.encode()

    slow = service.ask("POST", "/v1/holdings", service.keys[Role.ADMIN], content=slow_body())
    assert (slow.status_code, slow.json()["error"]["code"]) == (408, "body_timeout")


def test_the_busiest_route_has_these_limits_and_its_refusals_are_seen_as_such(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(request_seconds=0.3, body_seconds=0.3, public_url="https://recsys.test")
    key, release = service.keys[Role.PORTAL], threading.Event()
    service.app.state.services.drain.is_draining = True
    commit = service.store.commit

    def wait(*what: Any) -> Any:
        release.wait(SECONDS_TO_GIVE_UP)
        return commit(*what)

    monkeypatch.setattr(service.store, "commit", wait)
    threading.Timer(1.0, release.set).start()
    body = {"client_id": OWN, "placements": [{"placement_id": "home"}]}
    own_id = {"X-Request-ID": "mine-1"}
    late = service.ask("POST", "/v1/recommendations", key, json=body, headers=own_id)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "request_timeout")

    async def slow_body() -> Any:
        yield b'{"client_id": "'
        await asyncio.sleep(1.0)
        yield OWN.encode()

    known_length = {"Content-Length": str(15 + len(OWN)), **own_id}
    slow = service.ask("POST", "/v1/recommendations", key, content=slow_body(), headers=known_length)
    assert (slow.status_code, slow.json()["error"]["code"]) == (408, "body_timeout")
    for refused in (late, slow):
        assert refused.headers["x-request-id"] == "mine-1"
        assert refused.headers["strict-transport-security"]
        assert "close" in refused.headers["connection"]
        assert [name for name in NAMES if len(refused.headers.get_list(name)) != 1] == []
    counted = service.app.state.services.measures.snapshot().times
    statuses = {key[3]: sum(timing.counts) for key, timing in counted.items() if key[0] == REQUEST_SECONDS}
    assert statuses == {"503": 1, "408": 1}
