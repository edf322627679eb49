"""What a server loads: each library that only training needs would cost it memory and a slower start."""

from __future__ import annotations

import subprocess
import sys

TRAINING_ONLY = (
    "polars",
    "pyarrow",
    "altair",
    "implicit",
    "lightfm",
    "sklearn",
    "scipy.optimize",
    "rich",
    "training",
)


def test_a_server_loads_nothing_that_only_training_needs() -> None:
    code = f"import sys, serving.app; print([name for name in {TRAINING_ONLY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"
