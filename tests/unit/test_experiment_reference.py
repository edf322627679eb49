"""The page on experiments names every key, and its example is a sound document."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import RunConfig
from recsys.experiments.experiment import (
    Arm,
    Expected,
    Experiment,
    Guardrail,
    Holdout,
    Metric,
    Status,
    read_experiment,
)


@pytest.fixture(scope="module")
def page(root_dir: Path) -> str:
    return (root_dir / "docs" / "reference" / "experiments.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", [Experiment, Arm, Expected, Metric, Guardrail])
def test_the_page_names_every_key(page: str, shape: type[RunConfig]) -> None:
    told = page.split("\n## The document\n")[1].split("```yaml", maxsplit=1)[0]
    assert [key for key in shape.model_fields if f"`{key}`" not in told] == []


def test_the_page_names_the_keys_of_the_hold_out(page: str) -> None:
    told = page.split("\n## The hold-out\n")[1].split("\n## ", maxsplit=1)[0]
    assert [key for key in Holdout.model_fields if f"`{key}`" not in told] == []


def test_the_page_names_every_status(page: str) -> None:
    told = page.split("\n## Its life\n")[1].split("\n## ", maxsplit=1)[0]
    assert [status for status in Status if status.value not in told] == []


def test_the_example_of_the_page_is_a_sound_document(page: str) -> None:
    text = page.split("```yaml\n")[1].split("```", maxsplit=1)[0]
    assert read_experiment(text, "experiment.yaml").seed == "fewer-offers"
