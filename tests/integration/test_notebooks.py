"""The notebooks run on a small made-up operator, keep no output, and define nothing that others need."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from recsys.data.read import read_dataset
from recsys.data.snapshot import take_snapshot
from training.pipelines.fit import fit
from training.pipelines.worlds.simulate import simulate

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MOST_CELLS = 12


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, root_dir: Path) -> Path:
    folder, demo = tmp_path_factory.mktemp("run"), root_dir / "datasets" / "demo"
    simulate(demo, demo / "worlds" / "small.toml", folder / "data", n_clients=200, seed=5)
    fit(str(folder / "data"), "ease", "2026-11-01", folder / "bundles", seed=1)
    return folder


@pytest.fixture
def environment(run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTEBOOK_RUN", str(run_folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("environment")
def test_a_notebook_runs_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)


@pytest.mark.usefixtures("environment")
def test_the_first_notebook_counts_what_a_company_has_now_and_once(run_folder: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    n_before = next(number for number, cell in enumerate(notebook.cells) if "held =" in cell.source)
    told = nbformat.v4.new_code_cell("print(len(held))")
    notebook.cells = [*notebook.cells[: n_before + 1], told]
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS[0].parent)}}
    ).execute()
    dataset = read_dataset(run_folder / "data")
    rows = dataset.table("holdings")
    assert rows["holding_id"].n_unique() < len(rows)
    last = rows["recorded_at"].max()
    assert isinstance(last, datetime)
    states = take_snapshot(dataset, last + timedelta(days=1)).states
    assert int(told.outputs[0].text) == sum(len(state.holdings) for state in states)


def test_there_are_the_notebooks_that_the_documentation_names(root_dir: Path) -> None:
    page = (root_dir / "docs" / "how-to" / "notebooks.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 4
    assert [path.name for path in NOTEBOOKS if path.name not in page] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_what_a_run_leaves(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert [cell.execution_count for cell in code] == [None] * len(code)
    assert [cell.metadata for cell in notebook.cells] == [{}] * len(notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert len(notebook.cells) <= MOST_CELLS
    assert not any(line.startswith(("def ", "class ")) for cell in code for line in cell.source.splitlines())
