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
    "scipy.special",
    "rich",
    "training",
)


def test_a_server_loads_nothing_that_only_training_needs() -> None:
    code = f"import sys, serving.app; print([name for name in {TRAINING_ONLY!r} if name in sys.modules])"
    assert _printed(code) == "[]"


def test_a_command_loads_neither_what_only_answers_nor_what_only_migrates_need() -> None:
    names = ("numpy", "fastapi", "uvicorn", "alembic", "rich")
    code = f"import sys, serving.cli; print([name for name in {names!r} if name in sys.modules])"
    assert _printed(code) == "[]"


def _printed(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return run.stdout.strip()
