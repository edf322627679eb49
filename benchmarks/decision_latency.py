"""How fast is a decision, and how much of that is the decision itself?

A real server on loopback in its own process, one worker, SQLite on disk; the load comes from this process.
Clients are drawn uniformly, k = 5, reasons on, 16 connections; a fifth of the requests follows an event
(a dismissal, which changes the client's state) of the same client. Three routes take turns in short slices:

* ``raw``: an async route that returns prebuilt bytes of a decision's size; its events are raw too;
* ``floor``: what every answer needs: the same parsing, key check and state read, and the same durable
  append of a row of the same size through the same commit queue; events as for ``decision``;
* ``decision``: ``POST /v1/recommendations``.

Then an open loop: requests arrive at a fixed rate, whether or not earlier ones were answered, and latency
counts from the moment a request should have been sent. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from recsys.domain import ClientId
from serving.api.questions import RecommendationsQuestion
from serving.app import create_app, spare_collections
from serving.ports import LogDecisions, LoggedDecision
from serving.services.recommend import new_decision_id, prepare
from serving.services.services import Services
from serving.settings import Settings
from serving.storage.sql import SqlStore
from serving.telemetry import configure_logging
from serving.web.authentication import Right, check_right
from serving.web.direct import DirectRoute

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
AS_OF = "2026-11-01"
HOST = "127.0.0.1"
K = 5
N_CONNECTIONS = 16
N_OPEN_CONNECTIONS = 64
OPEN_RATE = 300
EVENT_SHARE = 0.2
EVENT_LEAD_SECONDS = 0.05
ROUTES = ("raw", "floor", "decision")
PATHS = {"raw": "/bench/raw", "floor": "/bench/floor", "decision": "/v1/recommendations"}
EVENT_PATHS = {"raw": "/bench/raw", "floor": "/v1/events", "decision": "/v1/events"}


# The server


def serve(database: str, bundles: str, port: int) -> None:
    """Run the service with the two routes to compare it with; everything else is as in production."""
    configure_logging()
    app = create_app(Settings(database_url=database, bundles_dir=Path(bundles), host=HOST, port=port))
    add_compared_routes(app)
    spare_collections()
    uvicorn.run(app, host=HOST, port=port, loop="uvloop", http="httptools", access_log=False, log_config=None)


def add_compared_routes(app: FastAPI) -> None:
    """Add ``/bench/raw``, ``/bench/floor``, ``/bench/sizes`` and ``/bench/cache``."""
    services: Services = app.state.services
    body = b"{}"
    template: LoggedDecision | None = None

    async def set_sizes(request: Request) -> Response:
        """Take a typical answer's size, and a typical row of the log."""
        nonlocal body, template
        question = RecommendationsQuestion.model_validate_json(await request.body())
        body = b"x" * int(request.query_params["n_bytes"])
        template = (await prepare(services, question.to_query())).decisions[0]
        return Response(str(len(template.items) + len(template.candidates)))

    async def raw(request: Request) -> Response:  # noqa: ARG001
        return Response(body, media_type="application/json")

    async def floor(request: Request, question: RecommendationsQuestion) -> Response:
        await check_right(request, Right.RECOMMEND)
        query = question.to_query()
        await services.read(services.store.client_state, ClientId(query.client_id))
        now = services.clock.now()
        assert template is not None  # noqa: S101
        row = replace(template, decision_id=new_decision_id(now), client_id=query.client_id, occurred_at=now)
        await services.commits.submit(LogDecisions((row,)))
        return Response(body, media_type="application/json")

    async def show_cache(request: Request) -> Response:  # noqa: ARG001
        cache = services.scoring.world.ranking.cache
        return Response(json.dumps([cache.n_hits, cache.n_misses]))

    app.router.add_api_route("/bench/floor", floor, methods=["POST"], route_class_override=DirectRoute)
    app.router.routes.insert(0, Route("/bench/raw", raw, methods=["POST"]))
    app.router.routes.append(Route("/bench/sizes", set_sizes, methods=["POST"]))
    app.router.routes.append(Route("/bench/cache", show_cache, methods=["GET"]))


# The load


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


async def run_open(questions: Questions, port: int, n_seconds: float) -> list[float]:
    """An open loop of decisions at `OPEN_RATE`; returns the latencies in seconds."""
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

    begins_at = loop.time() + 0.2
    for number in range(int(n_seconds * OPEN_RATE)):
        due_at = begins_at + number / OPEN_RATE
        client_id = questions.client()
        if questions.has_event():
            event = questions.event(EVENT_PATHS["decision"], client_id)
            loop.call_at(due_at - EVENT_LEAD_SECONDS, dispatch, event, None)
            n_left += 1
        loop.call_at(due_at, dispatch, questions.request(PATHS["decision"], client_id), due_at)
        n_left += 1
    await finished.wait()
    return latencies


async def measure(questions: Questions, port: int, options: argparse.Namespace) -> dict[str, float]:
    """The closed loops in turns, then the open one; the keys of the result."""
    connections = await connect(port, N_CONNECTIONS)
    await prepare_sizes(connections[0], questions)
    before = await cache_counts(connections[0])
    loops = {route: Closed(questions, route, []) for route in ROUTES}
    elapsed = dict.fromkeys(ROUTES, 0.0)
    for number in range(options.slices + 1):
        for route in ROUTES:
            taken = await loops[route].run(connections, options.slice_seconds)
            elapsed[route] += taken
        if number == 0:
            for route in ROUTES:
                loops[route].seconds.clear()
                elapsed[route] = 0.0
        gc.collect()
    n_hits, n_misses = (
        after - earlier for after, earlier in zip(await cache_counts(connections[0]), before, strict=True)
    )
    open_seconds = await run_open(questions, port, options.open_seconds)
    rates = {route: len(loops[route].seconds) / elapsed[route] for route in ROUTES}
    return {
        **{f"rps_{route}": round(rate, 1) for route, rate in rates.items()},
        "ratio_floor": round(rates["decision"] / rates["floor"], 3),
        "ratio_raw": round(rates["decision"] / rates["raw"], 3),
        "p50_ms": percentile(loops["decision"].seconds, 50),
        "p99_ms": percentile(loops["decision"].seconds, 99),
        "p50_floor_ms": percentile(loops["floor"].seconds, 50),
        "p99_floor_ms": percentile(loops["floor"].seconds, 99),
        "cache_hit_rate": round(n_hits / max(n_hits + n_misses, 1), 3),
        "open_p50_ms": percentile(open_seconds, 50),
        "open_p99_ms": percentile(open_seconds, 99),
        "n_decisions": len(loops["decision"].seconds),
    }


async def prepare_sizes(connection: Connection, questions: Questions) -> None:
    """Tell the server how long a typical answer is."""
    sizes = [
        len(await ask(connection, questions.request(PATHS["decision"], questions.client())))
        for _ in range(50)
    ]
    request = questions.request(f"/bench/sizes?n_bytes={int(statistics.mean(sizes))}", questions.client())
    await ask(connection, request)


async def cache_counts(connection: Connection) -> list[int]:
    """Hits and misses of the score cache so far."""
    counts: list[int] = json.loads(
        await ask(connection, f"GET /bench/cache HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    )
    return counts


def percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds, by the nearest rank."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000, 2)


# What is served


def build_operator(folder: Path, n_clients: int, recipe: str, environment: dict[str, str]) -> None:
    """Simulate, load and fit, each unless the folder holds the result of an earlier run."""
    demo = ROOT / "datasets" / "demo"
    train, serving = str(BIN / "recsys-train"), str(BIN / "recsys-serve")
    simulated = ["--catalogue", demo, "--world", demo / "worlds" / "typical.toml", "--out", folder / "data"]
    fitted = ["--data", folder / "data", "--config", recipe, "--as-of", AS_OF, "--out", folder / recipe]
    steps = {
        "loaded": (
            [train, "simulate", *simulated, "--clients", n_clients],
            [serving, "migrate"],
            [serving, "load", folder / "data", "--no-log"],
        ),
        f"{recipe}.fitted": ([train, "fit", *fitted],),
    }
    for done, commands in steps.items():
        if not (folder / done).exists():
            for command in commands:
                words = [str(part) for part in command]
                subprocess.run(words, check=True, env=environment, stdout=sys.stderr)
            (folder / done).touch()


def read_ids(database: str) -> tuple[list[str], list[str]]:
    """Ids of all clients and offers of the served database."""
    store = SqlStore(database)
    try:
        clients = sorted({str(row["client_id"]) for row in store.read_rows("clients")})
        return clients, [offer.offer_id for offer in store.catalogue(datetime.now(UTC)).offers]
    finally:
        store.close()


def start_server(database: str, bundles: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the server's process and wait until it listens."""
    command = [sys.executable, __file__, "--serve", database, str(bundles), str(port)]
    server = subprocess.Popen(command)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return server
        if server.poll() is not None:
            raise SystemExit("the server stopped")
        time.sleep(0.1)
    server.kill()
    raise SystemExit("the server did not start in 30 s")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit("the server is gone")


def folders(cache: Path | None) -> Iterator[Path]:
    """The folder given, or one that is gone afterwards."""
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="decision-latency-") as folder:
        yield Path(folder)


def main() -> None:
    """Serve, or measure and print one JSON object."""
    options = parse_options()
    if options.serve:
        database, bundles, port = options.serve
        serve(database, bundles, int(port))
        return
    for folder in folders(options.cache):
        database = f"sqlite:///{folder / 'operator.db'}"
        environment = {**os.environ, "RECSYS_DATABASE_URL": database}
        build_operator(folder, options.clients, options.recipe, environment)
        created = subprocess.run(
            [str(BIN / "recsys-serve"), "keys", "create", "--role", "portal"],
            check=True,
            env=environment,
            capture_output=True,
            text=True,
        )
        questions = Questions(created.stdout.strip(), *read_ids(database))
        port = free_port()
        server = start_server(database, folder / options.recipe, port)
        try:
            result = uvloop.run(measure(questions, port, options))
            result["rss_mb"] = resident_mb(server.pid)
        finally:
            server.terminate()
            server.wait(10)
        result["n_clients"] = len(questions.client_ids)
        print(json.dumps({"recipe": options.recipe, **result}))


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, help="keep the simulated operator here for the next run")
    parser.add_argument("--clients", type=int, default=20_000)
    parser.add_argument("--recipe", default="default", help="a shipped recipe: default, ease …")
    parser.add_argument("--slices", type=int, default=12, help="slices per route, after a warm-up")
    parser.add_argument("--slice-seconds", type=float, default=1.0)
    parser.add_argument("--open-seconds", type=float, default=15.0)
    parser.add_argument("--serve", nargs=3, metavar=("DATABASE", "BUNDLES", "PORT"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
