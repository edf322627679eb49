"""Fixtures and selection rules for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path(os.environ.get("RECSYS_REFERENCE", ROOT.parent / "shared"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, with a count, what needs data that is not on this machine, and the long runs."""
    if not (REFERENCE / "data").is_dir():
        _deselect(config, items, "reference", f"no public data at {REFERENCE} (RECSYS_REFERENCE)")
    if "soak" not in (config.getoption("-m") or ""):
        _deselect(config, items, "soak", "long runs: make soak")


def _deselect(config: pytest.Config, items: list[pytest.Item], mark: str, why: str) -> None:
    marked = [item for item in items if item.get_closest_marker(mark)]
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in set(marked)]
        config.get_terminal_writer().line(f"{len(marked)} tests left out: {why}", yellow=True)


@pytest.fixture(scope="session")
def root_dir() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of the public data and the published vectors."""
    return REFERENCE
