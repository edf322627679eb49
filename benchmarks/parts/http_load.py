"""Asks a server for decisions, as fast as it answers or at a fixed rate, from one event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

HOST = "127.0.0.1"
K = 5
N_OPEN_CONNECTIONS = 64
EVENT_SHARE = 0.2
EVENT_LEAD_SECONDS = 0.05
PATHS = {"raw": "/bench/raw", "floor": "/bench/floor", "decision": "/v1/recommendations"}
EVENT_PATHS = {"raw": "/bench/raw", "floor": "/v1/events", "decision": "/v1/events"}


@dataclass
class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time, as HTTP/1.1 bytes."""

    buffer: bytes = b""
    n_wanted: int = -1
    done: Callable[[bytes], None] | None = None
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, done: Callable[[bytes], None]) -> None:
        """Send a request; `done` gets the body of the answer, which must be a 200."""
        assert self.transport is not None  # noqa: S101
        self.done = done
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Gather an answer: its head says how long it is."""
        self.buffer = data if not self.buffer else self.buffer + data
        if self.n_wanted < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            if not head.startswith(b"http/1.1 200"):
                raise SystemExit(f"the server answered {self.buffer[:600]!r}")
            at = head.index(b"content-length:") + 15
            length = head[at:].split(b"\r\n", 1)[0]
            self.n_wanted = end + 4 + int(length)
        if len(self.buffer) < self.n_wanted:
            return
        body, self.buffer, self.n_wanted = self.buffer, b"", -1
        done, self.done = self.done, None
        if done is not None:
            done(body[body.index(b"\r\n\r\n") + 4 :])

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is still awaited will never come."""
        if self.done is not None:
            raise SystemExit(f"the server closed a connection: {exc}")


@dataclass
class Questions:
    """Draws clients uniformly and writes their requests."""

    key: str
    client_ids: list[str]
    offer_ids: list[str]
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    n_events: int = 0

    def client(self) -> str:
        """A client, each as likely as any other."""
        return self.rng.choice(self.client_ids)

    def has_event(self) -> bool:
        """Whether the next request follows an event."""
        return self.rng.random() < EVENT_SHARE

    def request(self, path: str, client_id: str) -> bytes:
        """A request for recommendations."""
        body = (
            f'{{"client_id":"{client_id}","placements":[{{"placement_id":"home","k":{K}}}],'
            f'"language":"ru","channel":"web"}}'
        )
        return self.post(path, body)

    def event(self, path: str, client_id: str) -> bytes:
        """A dismissal, which changes the client's state."""
        self.n_events += 1
        offer_id = self.rng.choice(self.offer_ids)
        now = datetime.now(UTC).isoformat()
        body = (
            f'{{"events":[{{"event_id":"bench-{os.getpid()}-{self.n_events}","event_type":"dismissal",'
            f'"client_id":"{client_id}","offer_id":"{offer_id}","reason":"not_now","occurred_at":"{now}"}}]}}'
        )
        return self.post(path, body)

    def post(self, path: str, body: str) -> bytes:
        """A request as HTTP/1.1 bytes."""
        return (
            f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def connect(port: int, n: int) -> list[Connection]:
    """Open connections to the server."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, HOST, port))[1] for _ in range(n)]


async def ask(connection: Connection, request: bytes) -> bytes:
    """One request; the body of its answer."""
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    connection.send(request, future.set_result)
    return await future


@dataclass
class Closed:
    """A closed loop: each connection asks again as soon as it was answered."""

    questions: Questions
    route: str
    seconds: list[float]
    stops_at: float = 0.0
    n_open: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, connections: list[Connection], slice_seconds: float) -> float:
        """Run one slice; returns how long it took."""
        started_at = time.perf_counter()
        self.stops_at = started_at + slice_seconds
        self.n_open = len(connections)
        self.finished.clear()
        for connection in connections:
            self._next(connection)
        await self.finished.wait()
        return time.perf_counter() - started_at

    def _next(self, connection: Connection) -> None:
        if time.perf_counter() >= self.stops_at:
            self.n_open -= 1
            if self.n_open == 0:
                self.finished.set()
            return
        client_id = self.questions.client()
        if self.questions.has_event():
            event = self.questions.event(EVENT_PATHS[self.route], client_id)
            connection.send(event, lambda _: self._request(connection, client_id))
        else:
            self._request(connection, client_id)

    def _request(self, connection: Connection, client_id: str) -> None:
        sent_at = time.perf_counter()

        def done(_: bytes) -> None:
            self.seconds.append(time.perf_counter() - sent_at)
            self._next(connection)

        connection.send(self.questions.request(PATHS[self.route], client_id), done)


async def run_open(
    questions: Questions, port: int, n_seconds: float, rate: int, route: str = "decision"
) -> list[float]:
    """An open loop of requests of a route, so many a second; returns the latencies in seconds."""
    loop = asyncio.get_running_loop()
    idle = deque(await connect(port, N_OPEN_CONNECTIONS))
    waiting: deque[tuple[bytes, float | None]] = deque()
    latencies: list[float] = []
    n_left = 0
    finished = asyncio.Event()

    def dispatch(request: bytes, due_at: float | None) -> None:
        if not idle:
            waiting.append((request, due_at))
            return
        connection = idle.popleft()

        def done(_: bytes) -> None:
            nonlocal n_left
            if due_at is not None:
                latencies.append(loop.time() - due_at)
            idle.append(connection)
            n_left -= 1
            if waiting:
                dispatch(*waiting.popleft())
            elif n_left == 0:
                finished.set()

        connection.send(request, done)

    # all is written before the first is due: writing takes longer than some of them may
    planned = [_planned(questions, route) for _ in range(int(n_seconds * rate))]
    with no_collections():
        begins_at = loop.time() + 0.2
        for number, (event, request) in enumerate(planned):
            due_at = begins_at + number / rate
            if event is not None:
                loop.call_at(due_at - EVENT_LEAD_SECONDS, dispatch, event, None)
                n_left += 1
            loop.call_at(due_at, dispatch, request, due_at)
            n_left += 1
        await finished.wait()
    return latencies


def _planned(questions: Questions, route: str) -> tuple[bytes | None, bytes]:
    """A request, behind an event of the same client where one is due."""
    client_id = questions.client()
    event = questions.event(EVENT_PATHS[route], client_id) if questions.has_event() else None
    return event, questions.request(PATHS[route], client_id)


@contextmanager
def no_collections() -> Iterator[None]:
    """Keep this process from stopping to look for garbage, which would count as the server's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds, by the nearest rank."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000, 2)
