"""How fast is a decision, and how much of that is the decision itself?

A real server on loopback in its own process, one worker, a database on disk; the load comes from this
process. Clients are drawn uniformly, k = 5, reasons on, 16 connections; a fifth of the requests follows an
event (a dismissal, which changes the client's state) of the same client. Three routes take turns in short
slices:

* ``raw``: an async route that returns prebuilt bytes of a decision's size; its events are raw too;
* ``floor``: what every answer needs: the same parsing, key check and state read, and the same durable
  append of a row of the same size through the same commit queue; events as for ``decision``;
* ``decision``: ``POST /v1/recommendations``.

Then an open loop, of the floor and of decisions: requests arrive at a fixed rate, whether or not earlier ones
were answered, and latency counts from the moment a request should have been sent. At last the service as
operators start it, with one worker and with two: how long from start to ready, and the processor time of a
request at one rate. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import compileall
import gc
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from parts.http_load import HOST, PATHS, Closed, Connection, Questions, ask, connect, percentile, run_open
from parts.latency_server import serve
from parts.operators import BIN, ROOT, STORES, Operator, operator

from serving.settings import Settings

N_CONNECTIONS = 16
OPEN_RATE = 300
WORKERS_RATE = 150
ROUTES = ("raw", "floor", "decision")
SECONDS_TO_GIVE_UP = 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


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
    open_seconds = {
        route: await run_open(questions, port, options.open_seconds, OPEN_RATE, route)
        for route in ("floor", "decision")
    }
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
        "open_p50_ms": percentile(open_seconds["decision"], 50),
        "open_p99_ms": percentile(open_seconds["decision"], 99),
        "open_p99_floor_ms": percentile(open_seconds["floor"], 99),
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


# The servers


@contextmanager
def compared(found: Operator, cache_size: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The service with the routes to compare it with; its port and its process."""
    port = free_port()
    arguments = [found.database_url, str(found.bundles), str(port), str(cache_size)]
    with running([sys.executable, __file__, "--serve", *arguments], port, found) as server:
        yield port, server


@contextmanager
def running(command: list[str], port: int, found: Operator) -> Iterator[subprocess.Popen[bytes]]:
    """A server from its start, when it is ready, to its end."""
    environment = {
        **os.environ,
        "RECSYS_DATABASE_URL": found.database_url,
        "RECSYS_JOURNAL_DIR": str(found.bundles.parent / "journal"),
    }
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + SECONDS_TO_GIVE_UP
        while not is_ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server was not ready in {SECONDS_TO_GIVE_UP} s")
            time.sleep(0.02)
        yield server
    finally:
        server.terminate()
        server.wait(SECONDS_TO_GIVE_UP)


def is_ready(port: int) -> bool:
    """Whether the server at this port says that it is."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def measure_workers(
    found: Operator, questions: Questions, n_workers: int, seconds: float
) -> dict[str, float]:
    """The service as operators start it: seconds from start to ready, processor time and memory."""
    port = free_port()
    address = ["--host", HOST, "--port", str(port)]
    command = [str(BIN / "recsys-serve"), "run", "--bundles", str(found.bundles), *address]
    started_at = time.perf_counter()
    with running([*command, "--workers", str(n_workers)], port, found) as server:
        ready_seconds = time.perf_counter() - started_at
        # a worker's first requests compile and fill what later ones find
        uvloop.run(run_open(questions, port, seconds / 2, WORKERS_RATE))
        before = cpu_seconds(server.pid)
        latencies = uvloop.run(run_open(questions, port, seconds, WORKERS_RATE))
        used = cpu_seconds(server.pid) - before
        return {
            "ready_seconds": round(ready_seconds, 2),
            "cpu_ms_per_request": round(used / len(latencies) * 1000, 3),
            "rss_mb": max(resident_mb(pid) for pid in family(server.pid)),
        }


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *[one for child in children for one in family(int(child))]]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and its children have used, user's and system's."""
    ticks = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit("the server is gone")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve, or measure and print one JSON object."""
    options = parse_options()
    if options.serve:
        database, bundles, port, cache_size = options.serve
        serve(
            Settings(
                database_url=database,
                bundles_dir=Path(bundles),
                host=HOST,
                port=int(port),
                score_cache_size=int(cache_size),
            )
        )
        return
    # As an installed package has it: this interpreter may be told to leave no bytecode behind.
    for package in ("recsys", "serving"):
        compileall.compile_dir(ROOT / package, quiet=1)
    with operator(options.cache, options.store, options.clients, options.recipe) as found:
        questions = Questions(found.key, found.client_ids, found.offer_ids)
        result: dict[str, object] = {"recipe": options.recipe, "store": options.store}
        cache_size = 0 if options.is_cold else Settings().score_cache_size
        with compared(found, cache_size) as (port, server):
            result |= {"is_cold": options.is_cold, **uvloop.run(measure(questions, port, options))}
            result["rss_mb"] = resident_mb(server.pid)
        if options.worker_seconds:
            one, two = [measure_workers(found, questions, n, options.worker_seconds) for n in (1, 2)]
            result |= {f"{name}_{label}": of[name] for name in one for label, of in (("1", one), ("2", two))}
            result["workers_ratio"] = round(two["cpu_ms_per_request"] / one["cpu_ms_per_request"], 3)
        result["n_clients"] = len(questions.client_ids)
        print(json.dumps(result))


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, help="keep the simulated operator here for the next run")
    parser.add_argument("--clients", type=int, default=20_000)
    parser.add_argument("--recipe", default="default", help="a shipped recipe: default, ease …")
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--cold", dest="is_cold", action="store_true", help="keep no scores")
    parser.add_argument("--slices", type=int, default=12, help="slices per route, after a warm-up")
    parser.add_argument("--slice-seconds", type=float, default=1.0)
    parser.add_argument("--open-seconds", type=float, default=15.0)
    parser.add_argument("--worker-seconds", type=float, default=10.0, help="0 leaves that part out")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
