"""`make demo` keeps to its own database, and says when it uses what an earlier run made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

STUB = '#!/bin/sh\necho "$1 in $RECSYS_DATABASE_URL, journal in $RECSYS_JOURNAL_DIR"\n'


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Commands that only say what they would work on."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("recsys-train", "recsys-serve"):
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    (folder / ".ready").touch()
    return folder


def _make_demo(root_dir: Path, tools: Path, run_dir: Path, *variables: str, **shell: str) -> list[str]:
    run_dir.mkdir(exist_ok=True)
    # a make around the tests hands its own flags down
    outside = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    own = [f"BIN={tools}", f"READY={tools / '.ready'}", f"RUN_DIR={run_dir}", *variables]
    done = subprocess.run(
        ["make", "--silent", "demo", *own],
        cwd=root_dir,
        env={**outside, **shell},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_the_demo_never_touches_the_database_of_the_shell(
    root_dir: Path, tools: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    real = {"RECSYS_DATABASE_URL": "postgresql://real/operator", "RECSYS_JOURNAL_DIR": "/srv/journal"}
    own = f"in sqlite:///{run_dir}/operator.db, journal in {run_dir}/journal"

    lines = _make_demo(root_dir, tools, run_dir, **real)
    assert lines == [f"{step} {own}" for step in ("simulate", "fit", "migrate", "load", "run")]

    (run_dir / ".loaded").unlink()
    lines = _make_demo(root_dir, tools, run_dir, "DEMO_DATABASE_URL=postgresql://demo/it", **real)
    assert f"load in postgresql://demo/it, journal in {run_dir}/journal" in lines


def test_a_kept_run_says_that_it_is_one_and_how_to_begin_anew(
    root_dir: Path, tools: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    assert not _make_demo(root_dir, tools, run_dir, "CLIENTS=7")[0].startswith("Using")

    (run_dir / "data").mkdir()
    (run_dir / "bundles").mkdir()
    kept = f"Using the data and models kept in {run_dir}"
    anew = f"To begin anew: rm -r {run_dir}"
    assert _make_demo(root_dir, tools, run_dir)[0] == f"{kept}. {anew}"
    said = _make_demo(root_dir, tools, run_dir, "CLIENTS=7")[0]
    assert said == f"{kept}; CLIENTS=7 counts in a new run only. {anew}"
