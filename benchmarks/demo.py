"""How long a newcomer waits for the first answered recommendation after `make demo`, once installed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
LIMIT_S = 300.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, body: object = None, key: str = "") -> object:
    """One request to the server; the answer's JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.load(answer)


def wait_until_ready(port: int, server: subprocess.Popen[bytes], started: float) -> None:
    """Poll the readiness of the server; gives up after `LIMIT_S` or when the command ends."""
    while time.monotonic() - started < LIMIT_S:
        if server.poll() is not None:
            raise SystemExit(f"make demo ended with exit code {server.returncode}")
        try:
            ask(port, "/ready")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"no answer within {LIMIT_S:.0f} s")


def main() -> None:
    """Run the demo in a fresh folder and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5000)
    clients = parser.parse_args().clients
    subprocess.run(["make", ".venv/.ready"], cwd=ROOT, check=True, stdout=sys.stderr)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/operator.db"
        started = time.monotonic()
        server = subprocess.Popen(
            ["make", "demo", f"RUN_DIR={folder}", f"CLIENTS={clients}", f"PORT={port}"],
            cwd=ROOT,
            env={**os.environ, "RECSYS_DATABASE_URL": database},
            stdout=sys.stderr,
            start_new_session=True,
        )
        try:
            wait_until_ready(port, server, started)
            created = subprocess.run(
                [BIN / "recsys-serve", "keys", "create", "--role", "portal", "--json"],
                env={**os.environ, "RECSYS_DATABASE_URL": database},
                check=True,
                capture_output=True,
            )
            key = json.loads(created.stdout)["key"]
            body = {"client_id": "c0000001", "placements": [{"placement_id": "home"}]}
            answer = ask(port, "/v1/recommendations", body, key)
            seconds = time.monotonic() - started
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
    n_items = len(answer["placements"][0]["items"])  # type: ignore[index,call-overload]
    print(json.dumps({"clients": clients, "total_s": round(seconds, 1), "n_items": n_items}))


if __name__ == "__main__":
    main()
