"""How long the default recipe takes to fit on the made-up operator, in how much memory, and how that grows.

The last line is one JSON object: `total_s` and `rss_gb` of the largest fit, `growth` (its seconds divided by
those of the smallest), and the seconds of each stage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "datasets" / "demo"


def measure(n_clients: int, n_months: int, folder: Path) -> dict[str, float]:
    """Simulate a world and fit on it in a process of its own."""
    data = folder / str(n_clients)
    command = [str(Path(sys.executable).parent / "recsys-train"), "simulate", "--catalogue", str(DEMO)]
    command += ["--world", str(DEMO / "worlds" / "typical.toml"), "--out", str(data)]
    command += ["--clients", str(n_clients), "--months", str(n_months)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    years, month = divmod(4 + n_months, 12)
    as_of = f"{2025 + years}-{month + 1:02d}-01"
    child = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "parts" / "fit_stages.py"), str(data), as_of],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every size asked for, the smallest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--months", type=int, default=18)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = sorted(asked.clients)
        found = {str(size): measure(size, asked.months, Path(folder)) for size in sizes}
    first, last = found[str(sizes[0])], found[str(sizes[-1])]
    rounded = {
        size: {name: round(value, 2) for name, value in stages.items()} for size, stages in found.items()
    }
    print(
        json.dumps(
            {
                "total_s": round(last["total_s"], 1),
                "rss_gb": round(last["rss_gb"], 2),
                "growth": round(last["total_s"] / first["total_s"], 1),
                "stages": rounded,
            }
        )
    )


if __name__ == "__main__":
    main()
