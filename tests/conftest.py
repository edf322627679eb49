"""Fixtures and selection rules for the whole suite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from scipy import sparse

from recsys.data import documents

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path(os.environ.get("RECSYS_REFERENCE", ROOT.parent / "shared"))


LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Try the same generated cases every time; only the long runs look for new ones."""
    is_soak = (config.getoption("-m") or "").strip() == "soak"
    settings.register_profile("suite", derandomize=not is_soak)
    settings.load_profile("suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs data or programs that are not on this machine, and the long runs."""
    if not (REFERENCE / "data").is_dir():
        _deselect(config, items, "reference", f"no public data at {REFERENCE} (RECSYS_REFERENCE)")
    if shutil.which("systemd-analyze") is None:
        _deselect(config, items, "systemd", "no systemd-analyze here; on Debian it comes with systemd")
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


@pytest.fixture(scope="session", autouse=True)
def _each_text_is_parsed_once() -> Iterator[None]:
    """Reading the demo's documents takes seconds, and hundreds of tests do; a parsed one is only read."""

    @lru_cache(maxsize=64)
    def parse(text: str) -> Any:
        return build().load(text)

    class Parser:
        load = staticmethod(parse)

    build = documents._parser
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_parser", Parser)
        yield


@pytest.fixture(scope="session")
def root_dir() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of the public data and the published vectors."""
    return REFERENCE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: migrating takes ten times as long."""
    from serving.storage.migrate import migrate  # noqa: PLC0415 -- most tests need no database

    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def new_sqlite(sqlite_template: Path) -> Callable[[Path], str]:
    """Puts a migrated database without rows at a path, and gives its address."""

    def create(path: Path) -> str:
        shutil.copyfile(sqlite_template, path)
        return f"sqlite:///{path}"

    return create


@pytest.fixture(scope="session")
def new_bundle() -> Callable[..., str]:
    """Saves small models of forty clients who all hold a favourite, and gives their version."""

    def save(
        folder: Path,
        offer_ids: tuple[str, ...],
        favourite: str,
        name: str = "small",
        metrics: dict[str, float] | None = None,
        target: str = "adoption",
    ) -> str:
        from recsys.bundle import Provenance, save_bundle  # noqa: PLC0415 -- most tests need no models
        from recsys.domain import Target  # noqa: PLC0415
        from recsys.models.base import ClientBatch, OfferIndex, TrainingSet  # noqa: PLC0415
        from recsys.models.calibration import Calibration  # noqa: PLC0415
        from recsys.models.ease import Ease  # noqa: PLC0415
        from recsys.models.popularity import Popularity  # noqa: PLC0415
        from recsys.models.recommender import Recommender  # noqa: PLC0415

        then = datetime(2025, 1, 1, tzinfo=UTC)
        index = OfferIndex(offer_ids)
        demand = np.zeros((40, len(index)))
        for row in range(40):
            demand[row, index.known_columns((favourite, offer_ids[row % len(offer_ids)]))] = 1
        held = sparse.csr_array(demand)
        clients = ClientBatch(
            held.indptr.astype(np.int64),
            held.indices.astype(np.int64),
            tuple(() for _ in range(40)),
            len(index),
        )
        training = TrainingSet(as_of=then, offers=index, clients=clients, demand=held)
        rng = np.random.default_rng(1)
        line = Calibration(np.array([-10.0, 10.0]), np.array([0.01, 0.9]))
        recommender = Recommender(
            Ease().fit(training, rng), Popularity().fit(training, rng), line, line, Target(target)
        )
        provenance = Provenance(
            name=name,
            created_at=then,
            as_of=then,
            horizon_days=92,
            seed=1,
            config_digest="0" * 64,
            data_digest="0" * 64,
            code_digest="0" * 64,
            metrics=metrics or {},
        )
        return save_bundle(recommender, provenance, folder).name

    return save
