"""Whatever can be set or called is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.app import create_app
from serving.settings import Settings
from serving.storage.memory import MemoryStore


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
