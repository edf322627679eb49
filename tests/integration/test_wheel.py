"""The distribution works when it is installed, not only from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def installed(root_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, root_dir], check=True, timeout=300)
    (wheel,) = folder.glob("offer_recsys-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_three_packages_and_no_data(installed: Path) -> None:
    packages = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert packages == {"recsys", "training", "serving"}


def test_the_wheel_simulates_and_fits(installed: Path, root_dir: Path, tmp_path: Path) -> None:
    catalogue = root_dir / "datasets" / "demo"
    world = catalogue / "worlds" / "typical.toml"
    run(
        installed,
        tmp_path,
        "simulate",
        "--catalogue",
        catalogue,
        "--world",
        world,
        "--out",
        "data",
        "--clients",
        120,
    )
    run(installed, tmp_path, "fit", "--data", "data", "--as-of", "2026-10-01", "--out", "bundles")
    assert len(list((tmp_path / "bundles").glob("*/manifest.json"))) == 1


def run(installed: Path, folder: Path, *arguments: object) -> None:
    program = (
        f"import sys; sys.path[:] = [{str(installed)!r}] + [p for p in sys.path if 'editable' not in p];"
        "import training.cli as cli;"
        f"assert cli.__file__.startswith({str(installed)!r}), cli.__file__; cli.main()"
    )
    command = [sys.executable, "-I", "-c", program, *map(str, arguments)]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
