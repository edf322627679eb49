"""The tree is the architecture: these tests keep it so."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

PACKAGES = ("recsys", "training", "serving")
TOP_LEVEL = {
    *PACKAGES,
    "datasets",
    "notebooks",
    "tests",
    "benchmarks",
    "deploy",
    "docs",
    "pyproject.toml",
    "constraints.txt",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
}
ADDRESS = re.compile(r"[a-z]+://(?!127\.0\.0\.1|localhost|\[::1\])[\w.-]+\.[a-z]{2,}")


@pytest.fixture(scope="module")
def tracked(root_dir: Path) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root_dir,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in listing.stdout.splitlines() if (root_dir / line).exists()]


def sources(root_dir: Path) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((root_dir / package).rglob("*.py"))]


def test_the_top_level_holds_the_declared_rooms_only(tracked: list[Path]) -> None:
    assert {path.parts[0] for path in tracked} <= TOP_LEVEL


def test_the_distribution_holds_exactly_three_packages(root_dir: Path) -> None:
    project = tomllib.loads((root_dir / "pyproject.toml").read_text())
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert include == [f"{package}*" for package in PACKAGES]
    assert project["tool"]["importlinter"]["root_packages"] == list(PACKAGES)


def test_datasets_hold_no_python(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.parts[0] == "datasets" and path.suffix == ".py"] == []


def test_no_large_or_binary_file_is_tracked(root_dir: Path, tracked: list[Path]) -> None:
    too_large = [path for path in tracked if (root_dir / path).stat().st_size > 200_000]
    assert too_large == []
    binary = [path for path in tracked if b"\0" in (root_dir / path).read_bytes()]
    assert all(path.parent == Path("docs/images") for path in binary)


def test_set_up_files_name_no_address(root_dir: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run", ".pre-commit-config.yaml"):
        assert ADDRESS.findall((root_dir / name).read_text()) == [], name


def test_every_module_says_what_it_is(root_dir: Path) -> None:
    silent = [path for path in sources(root_dir) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_files_stay_short(root_dir: Path) -> None:
    long = [path for path in sources(root_dir) if path.read_text().count("\n") > 400]
    assert long == []


def test_functions_stay_short(root_dir: Path) -> None:
    def n_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        body = node.body[1:] if ast.get_docstring(node) else node.body
        return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0

    sizes = {
        f"{path.relative_to(root_dir)}:{node.lineno} {node.name}": n_lines(node)
        for path in sources(root_dir)
        if "migrations" not in path.parts  # a migration lists columns, frozen as they were
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: size for name, size in sizes.items() if size > 50} == {}


def test_public_names_exist(root_dir: Path) -> None:
    """Where a module declares ``__all__``, every name in it is defined there or imported."""
    for path in sources(root_dir):
        tree = ast.parse(path.read_text())
        declared = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        ]
        names = {
            name.asname or name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        } | {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        for public in declared:
            assert set(public) <= names, path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_room_is_called_utils(root_dir: Path, package: str) -> None:
    banned = {"utils", "helpers", "common", "misc", "manager"}
    assert [path for path in (root_dir / package).rglob("*") if path.stem in banned] == []
