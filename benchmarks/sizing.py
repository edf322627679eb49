"""How large a machine does a server need? A row for each store, number of clients and number of workers.

Each row is a server as operators start it, asked over loopback by sixteen connections as fast as it answers
(a fifth of the requests follows an event). Rate and latency are the callers', memory and processor time the
server's own figures (``GET /metrics``), disk what the database has grown by. The load runs on the same
machine: a rate is what is left of it. The rows are those of docs/how-to/operate.md; the last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import uvloop
from parts.http_load import HOST, Closed, Questions, connect, percentile
from parts.operators import BIN, STORES, Operator, operator
from prometheus_client.parser import text_string_to_metric_families

N_CONNECTIONS = 16
SECONDS_TO_GIVE_UP = 60
SECONDS_TO_TELL = 2.5  # until every worker has left its figures
COLUMNS = ("store", "n_clients", "workers", "rps", "p99_ms", "rss_mb", "cpu_ms_per_request", "gb_per_million")


def main() -> None:
    """Measure every row, and print them."""
    options = parse_options()
    rows = []
    for store in options.store:
        for n_clients in options.clients:
            cache = None if options.cache is None else options.cache / str(n_clients)
            with operator(cache, store, n_clients, options.recipe) as found:
                for n_workers in options.workers:
                    row = {"store": store, "n_clients": n_clients, "workers": n_workers}
                    rows.append({**row, **measure(found, n_workers, options.seconds)})
                    print("|", " | ".join(str(rows[-1][name]) for name in COLUMNS), "|", flush=True)
    print(json.dumps({"recipe": options.recipe, "rows": rows}))


def measure(found: Operator, n_workers: int, seconds: float) -> dict[str, float]:
    """One row's figures."""
    duty_key = create_key(found, "duty")
    with serving(found, n_workers) as (port, ready_seconds):
        # ids of events go on from the row before
        questions = Questions(found.key, found.client_ids, found.offer_ids, n_events=time.time_ns())
        uvloop.run(load(questions, port, seconds / 4))
        bytes_before, before = stored_bytes(found.database_url), figures(port, duty_key)
        began = time.perf_counter()
        latencies = uvloop.run(load(questions, port, seconds))
        elapsed = time.perf_counter() - began
        after = figures(port, duty_key)
        grown = stored_bytes(found.database_url) - bytes_before
    used = after["cpu"] - before["cpu"]
    n_asked = after["n_requests"] - before["n_requests"]
    return {
        "rps": round(len(latencies) / elapsed, 1),
        "p99_ms": percentile(latencies, 99),
        "rss_mb": round(after["rss"] / 1024**2),
        "cpu_ms_per_request": round(used / n_asked * 1000, 2),
        "gb_per_million": round(grown / n_asked * 1e6 / 1024**3, 2),
        "ready_seconds": round(ready_seconds, 2),
    }


async def load(questions: Questions, port: int, seconds: float) -> list[float]:
    """Ask as fast as it answers; the latencies in seconds."""
    loop = Closed(questions, "decision", [])
    await loop.run(await connect(port, N_CONNECTIONS), seconds)
    return loop.seconds


@contextmanager
def serving(found: Operator, n_workers: int) -> Iterator[tuple[int, float]]:
    """A server; its port, and how long it took to be ready, in seconds."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    command = [BIN / "recsys-serve", "run", "--bundles", found.bundles, "--host", HOST]
    command += ["--port", str(port), "--workers", str(n_workers)]
    began = time.perf_counter()
    server = subprocess.Popen(command, env=environment(found), stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port):
            if server.poll() is not None or time.perf_counter() - began > SECONDS_TO_GIVE_UP:
                raise SystemExit(f"the server was not ready in {SECONDS_TO_GIVE_UP} s")
            time.sleep(0.02)
        yield port, time.perf_counter() - began
    finally:
        server.terminate()
        server.wait(SECONDS_TO_GIVE_UP)


def environment(found: Operator) -> dict[str, str]:
    """The variables of a server."""
    journal = str(found.bundles.parent / "journal")
    return {**os.environ, "RECSYS_DATABASE_URL": found.database_url, "RECSYS_JOURNAL_DIR": journal}


def is_ready(port: int) -> bool:
    """Whether the server at this port says that it is."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def create_key(found: Operator, role: str) -> str:
    """A new key."""
    command = [BIN / "recsys-serve", "keys", "create", "--role", role]
    done = subprocess.run(command, check=True, env=environment(found), stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def figures(port: int, key: str) -> dict[str, float]:
    """What the server says of all its workers: processor time, memory, recommendations answered."""
    time.sleep(SECONDS_TO_TELL)
    request = urllib.request.Request(
        f"http://{HOST}:{port}/metrics", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        text = answer.read().decode()
    found = {"cpu": 0.0, "rss": 0.0, "n_requests": 0.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "recsys_cpu_seconds_total":
                found["cpu"] = sample.value
            elif sample.name == "recsys_worker_resident_bytes":
                found["rss"] = sample.value
            elif sample.name == "recsys_request_seconds_count" and sample.labels["status"] == "200":
                found["n_requests"] += sample.value if sample.labels["route"] == "/v1/recommendations" else 0
    return found


def stored_bytes(database_url: str) -> int:
    """How large the database is."""
    asked = "SELECT pg_database_size(current_database())"
    if database_url.startswith("sqlite:"):
        # the pages, not the files: the write-ahead log beside it is as large as it ever was
        asked = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with engine.connect() as connection:
            return int(connection.execute(sa.text(asked)).scalar_one())
    finally:
        engine.dispose()


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", type=Path, help="keep the simulated operators here for the next run")
    parser.add_argument("--clients", type=int, nargs="+", default=[5_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--store", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--recipe", default="default", help="a shipped recipe: default, ease …")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of each row, after a quarter of it to warm up"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
