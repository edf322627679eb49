"""What it costs to simulate the made-up operator: `recsys-train simulate`, each run a process of its own.

The last line is one JSON object: seconds and peak memory (GB) of a run, and by which factor the seconds grow
with ten times as many clients; the larger run's figures stand beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "datasets" / "demo"
COMMAND = Path(sys.executable).parent / "recsys-train"
TIMES = 10


def measure(n_clients: int, world: Path) -> tuple[float, float]:
    """Seconds and peak memory in GB of one run."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            "--catalogue",
            DEMO,
            "--world",
            world,
            "--out",
            f"{folder}/data",
            "--clients",
            str(n_clients),
        ]
        started = time.monotonic()
        process = subprocess.Popen([COMMAND, "simulate", *arguments], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the simulation of {n_clients:,} clients ended with exit code {process.returncode}")
    return seconds, usage.ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def main() -> None:
    """Measure a run, and one with ten times as many clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20_000)
    parser.add_argument("--world", type=Path, default=DEMO / "worlds" / "typical.toml")
    parser.add_argument("--once", action="store_true", help="leave the larger run out; growth is null")
    asked = parser.parse_args()
    seconds, rss_gb = measure(asked.clients, asked.world)
    print(f"{asked.clients:,} clients: {seconds:.1f} s, {rss_gb:.2f} GB", flush=True)
    result: dict[str, float | None] = {
        "clients": asked.clients,
        "seconds": round(seconds, 1),
        "rss_gb": round(rss_gb, 2),
        "growth": None,
    }
    if not asked.once:
        large_seconds, large_rss_gb = measure(TIMES * asked.clients, asked.world)
        print(f"{TIMES * asked.clients:,} clients: {large_seconds:.1f} s, {large_rss_gb:.2f} GB", flush=True)
        result["growth"] = round(large_seconds / seconds, 2)
        result["large_seconds"] = round(large_seconds, 1)
        result["large_rss_gb"] = round(large_rss_gb, 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
