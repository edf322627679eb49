"""Whatever can be set or called is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.app import create_app
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from training.pipelines.evaluation.words import EVERYBODY_WORDS, LIST_WORDS, RANKING_WORDS, calibration_words


@pytest.fixture(scope="module")
def reference(root_dir: Path) -> str:
    return (root_dir / "docs" / "reference" / "serving.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(reference: str, name: str) -> None:
    assert f"`RECSYS_{name.upper()}`" in reference


def test_every_endpoint_is_documented(reference: str) -> None:
    paths = create_app(Settings(), store=MemoryStore()).openapi()["paths"]
    missing = [
        f"{verb.upper()} {path}"
        for path, verbs in paths.items()
        for verb in verbs
        if f"`{verb.upper()} {path}`" not in reference
    ]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        *RANKING_WORDS,
        *EVERYBODY_WORDS,
        *LIST_WORDS,
        *(name.removeprefix("adoption_") for name in calibration_words("adoption")),
    ],
)
def test_every_figure_of_an_evaluation_is_documented(root_dir: Path, name: str) -> None:
    assert f"`{name}`" in (root_dir / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
