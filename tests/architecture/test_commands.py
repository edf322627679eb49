"""What the README and the how-tos tell people to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import serving.cli
import training.cli

BLOCK = re.compile(r"```(?:sh|console)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"\b(recsys-train|recsys-serve)((?: [a-z][a-z-]*)+)")
TARGET = re.compile(r"\bmake ([a-z-]+)")


def pages(root_dir: Path) -> list[Path]:
    return [root_dir / "README.md", root_dir / "CONTRIBUTING.md", *(root_dir / "docs").rglob("*.md")]


def typed(root_dir: Path) -> str:
    return "\n".join(block for page in pages(root_dir) for block in BLOCK.findall(page.read_text()))


def test_every_make_target_named_exists(root_dir: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root_dir / "Makefile").read_text(), re.MULTILINE))
    named = set(TARGET.findall(typed(root_dir)))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_command_named_answers_help(root_dir: Path) -> None:
    named = sorted({(program, tuple(words.split())) for program, words in COMMAND.findall(typed(root_dir))})
    assert named
    for program, words in named:
        # a word after the command may be its argument (a dataset's name), so the longest prefix counts
        answered = [n for n in (len(words), 1) if answers_help(program, words[:n])]
        assert answered, f"{program} {' '.join(words)}"


def answers_help(program: str, words: tuple[str, ...]) -> bool:
    app = {"recsys-train": training.cli.app, "recsys-serve": serving.cli.app}[program]
    return CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench", "bench-quality", "soak", "docs"])
def test_the_promised_targets_exist(root_dir: Path, target: str) -> None:
    assert re.search(rf"^{target}:", (root_dir / "Makefile").read_text(), re.MULTILINE)
