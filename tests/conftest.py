"""Fixtures and selection rules for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path(os.environ.get("RECSYS_REFERENCE", ROOT.parent / "shared"))


LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs data that is not on this machine, and the long runs."""
    if not (REFERENCE / "data").is_dir():
        _deselect(config, items, "reference", f"no public data at {REFERENCE} (RECSYS_REFERENCE)")
    if "soak" not in (config.getoption("-m") or ""):
        _deselect(config, items, "soak", "long runs: make soak")


def _deselect(config: pytest.Config, items: list[pytest.Item], mark: str, why: str) -> None:
    marked = [item for item in items if item.get_closest_marker(mark)]
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in set(marked)]
        config.stash.setdefault(LEFT_OUT, {})[why] = len(marked)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker process hands its count to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's count; every worker collects the same tests."""
    node.config.stash.setdefault(LEFT_OUT, {}).update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out, and why."""
    for why, n_tests in terminalreporter.config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{n_tests} tests left out: {why}", yellow=True)


@pytest.fixture(scope="session")
def root_dir() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of the public data and the published vectors."""
    return REFERENCE
