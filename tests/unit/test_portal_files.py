"""The page's files: its texts are complete in both languages, and nothing in it can run a stranger's code."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from recsys.decision.refusals import RefusalStage
from recsys.domain import (
    Basis,
    Change,
    DismissalReason,
    LegalForm,
    OfferKind,
    PricePeriod,
    Size,
    Stage,
    Target,
)
from serving.portal.files import SECURITY_HEADERS, read_page_files
from serving.services import bundle_source

ROOT = Path(__file__).parents[2]
FILES = read_page_files()
PLURALS = {"ru": {"one", "few", "many", "other"}, "en": {"one", "other"}}
COUNTED = ("people", "months", "years", "points", "services", "pieces", "offers", "announce.offers")
FAMILIES: dict[str, type[StrEnum]] = {
    "size": Size,
    "stage": Stage,
    "legal_form": LegalForm,
    "change": Change,
    "period": PricePeriod,
    "charged": PricePeriod,
    "dismiss": DismissalReason,
    "basis": Basis,
    "kind": OfferKind,
    "take": Change,
    "toast": Change,
    "confirm.title": Change,
    "left": RefusalStage,
    "refused": RefusalStage,
}


def texts(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(FILES[f"{language}.json"].content)
    return found


def scripts() -> dict[str, str]:
    return {name: file.content.decode() for name, file in FILES.items() if name.endswith(".js")}


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_code_has_a_text(language: str) -> None:
    wanted = {f"{family}.{code}" for family, codes in FAMILIES.items() for code in codes}
    wanted |= {f"why.{target}_probability" for target in Target}
    grounds = (*Basis, "general", "degraded")
    wanted |= {f"ground.{ground}.{part}" for ground in grounds for part in ("lead", "why")}
    wanted |= {f"industry.{letter}" for letter in "ABCDEFGHIJKLMNOPQRS"}
    wanted |= {f"{key}.{form}" for key in COUNTED for form in PLURALS[language]}
    wanted |= {
        f"client.{standing}{part}" for standing in ("unknown", "former") for part in ("_hint", "_note")
    }
    wanted.add("charged.never")
    wanted |= {f"{family}.request" for family in ("take", "toast", "confirm.title")}
    wanted |= {
        f"degraded.{cause}"
        for cause in (
            bundle_source.NO_BUNDLE,
            bundle_source.BUNDLE_CORRUPT,
            bundle_source.BUNDLE_INCOMPATIBLE,
            bundle_source.SCORING_FAILED,
        )
    }

    assert wanted - set(texts(language)) == set()


@pytest.mark.parametrize("language", ["ru", "en"])
def test_names_are_those_of_the_demo_catalogue(language: str) -> None:
    catalogue = YAML(typ="safe").load((ROOT / "datasets/demo/catalogue.yaml").read_text(encoding="utf-8"))
    wanted = {
        f"{family}.{code}": names[language]
        for family, section in (("region", "regions"), ("supplier", "suppliers"), ("category", "categories"))
        for code, names in catalogue[section].items()
    }
    shown = {
        key: text
        for key, text in texts(language).items()
        if key.startswith(("region.", "supplier.", "category."))
    }

    assert shown == wanted


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_text_asked_for_exists(language: str) -> None:
    page = FILES["index.html"].content.decode()
    wanted = set(re.findall(r'data-(?:text|label|placeholder)="([^"]+)"', page))
    for script in scripts().values():
        wanted |= set(re.findall(r'say\("([^"]+)"', script))
        wanted |= {
            key for key in re.findall(r'"([a-z_]+\.[a-z_.]+)"', script) if not key.endswith((".js", ".json"))
        }

    assert wanted - set(texts(language)) - set(COUNTED) == set()


def test_both_languages_have_the_same_texts_and_places() -> None:
    def without_plurals(language: str) -> dict[str, set[str]]:
        plurals = {f"{key}.{form}" for key in COUNTED for form in PLURALS["ru"]}
        return {
            key: set(re.findall(r"\{(\w+)\}", text))
            for key, text in texts(language).items()
            if key not in plurals
        }

    assert without_plurals("ru") == without_plurals("en")


def test_scripts_never_turn_text_into_markup_or_code() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.cssText"
    )

    assert [name for name, script in scripts().items() if forbidden.search(script)] == []


def test_the_page_holds_no_inline_code_and_no_foreign_address() -> None:
    page = FILES["index.html"].content.decode()

    assert re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", page) is None
    for name, file in FILES.items():
        foreign = set(re.findall(rb"https?://[^\s\"')]+", file.content)) - {b"http://www.w3.org/2000/svg"}
        assert not foreign, name


def test_the_policy_allows_only_the_portals_own_files() -> None:
    policy = SECURITY_HEADERS["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "*" not in policy


def test_scripts_and_sheets_stay_small() -> None:
    n_lines = {
        name: file.content.count(b"\n") for name, file in FILES.items() if name.endswith((".js", ".css"))
    }

    assert {name: n for name, n in n_lines.items() if n > 400} == {}
