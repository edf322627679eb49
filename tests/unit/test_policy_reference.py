"""The page on the policy's documents names every key, and its examples are a sound policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from recsys.data.documents import POLICY_DOCUMENTS
from recsys.data.placements import PlacementsFile
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.arbitration import ArbitrationSpec
from recsys.decision.policy.check import check_policy
from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.policy.examples import ExamplesFile
from recsys.decision.policy.read import read_policy
from recsys.decision.policy.scope import OfferScope
from recsys.decision.policy.vip import VipSpec
from recsys.decision.policy.wording import Wording
from training.pipelines.policies.sources import catalogue_beside

SHAPES: dict[str, type[BaseModel]] = {
    "engagement.yaml": EngagementSpec,
    "contact.yaml": ContactSpec,
    "arbitration.yaml": ArbitrationSpec,
    "placements.yaml": PlacementsFile,
    "vip.yaml": VipSpec,
    "examples.yaml": ExamplesFile,
}
TOLD_ONCE = (Condition, OfferScope, Wording)


@pytest.fixture(scope="module")
def page(root_dir: Path) -> str:
    return (root_dir / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")


def shapes_in(kind: Any) -> Iterator[type[BaseModel]]:
    """A shape and all that stand inside of it, without those that the page tells once for all."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in TOLD_ONCE:
            yield kind
            for field in kind.model_fields.values():
                yield from shapes_in(field.annotation)
    else:
        for part in get_args(kind):
            yield from shapes_in(part)


@pytest.mark.parametrize("document", POLICY_DOCUMENTS)
def test_the_page_names_every_key(page: str, document: str) -> None:
    section = page.split(f"\n## {document}\n")[1].split("\n## ", maxsplit=1)[0]
    told = section.split("```yaml")[0]
    shapes = set(shapes_in(SHAPES[document]))
    assert shapes
    keys = {field.alias or name for shape in shapes for name, field in shape.model_fields.items()}
    assert sorted(key for key in keys if f"`{key}`" not in told) == []


def test_the_page_tells_the_keys_of_offers(page: str) -> None:
    intro = page.split("\n## ", maxsplit=1)[0]
    assert [key for key in OfferScope.model_fields if f"`{key}`" not in intro] == []


def test_the_examples_of_the_page_are_a_sound_policy(page: str, root_dir: Path) -> None:
    blocks = [block.split("```")[0] for block in page.split("```yaml\n# ")[1:]]
    documents = {block.splitlines()[0]: block.split("\n", 1)[1] for block in blocks}
    assert tuple(documents) == POLICY_DOCUMENTS
    files, catalogue = read_policy(documents), catalogue_beside(root_dir / "datasets" / "demo")
    assert catalogue is not None
    assert [files.line(fault) for fault in check_policy(files.policy, catalogue, files.examples)] == []
