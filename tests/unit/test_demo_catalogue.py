"""The demo catalogue keeps the rules of the made-up operator, and its reader refuses mistakes clearly."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.data.placements import placements_from_yaml
from recsys.domain import OfferKind
from recsys.errors import ConfigError
from recsys.models.expert import read_weights
from recsys.simulation.catalogue import (
    Catalogue,
    OfferEntry,
    catalogue_from_yaml,
    catalogue_tables,
    read_catalogue,
)

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
ANY_PBX = {"vpbx-start", "vpbx-pro", "vpbx-ent"}
ANY_SIGNATURE = {"kep-emp", "kep-ca"}
BRANDS = (
    "битрикс|bitrix|amo ?crm|яндекс|yandex|мегафон|megafon|мультифон|контур|1с|1c|диадок|diadoc|"
    "эльба|моё дело|мойсклад|restik|presto|avito|авито|айтиком|амулекс|спарк|spark|headhunter|нетмонет"
)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@pytest.fixture(scope="module")
def offers(catalogue: Catalogue) -> dict[str, OfferEntry]:
    return {offer.id: offer for offer in catalogue.offers}


def test_there_are_60_own_and_42_partner_offers(catalogue: Catalogue) -> None:
    kinds = [offer.kind for offer in catalogue.offers]
    assert (kinds.count(OfferKind.OWN), kinds.count(OfferKind.PARTNER), len(kinds)) == (60, 42, 102)


def test_every_title_exists_once_in_both_languages(catalogue: Catalogue) -> None:
    russian = [offer.title.ru for offer in catalogue.offers]
    english = [offer.title.en for offer in catalogue.offers]
    assert len(set(russian)) == len(set(english)) == 102
    assert all(re.search("[а-яё]", title, re.IGNORECASE) for title in russian)
    assert not any(re.search("[а-яё]", title, re.IGNORECASE) for title in english)


def test_no_brand_is_named() -> None:
    text = (DEMO / "catalogue.yaml").read_text(encoding="utf-8")
    assert re.findall(rf"\b({BRANDS})\b", text, re.IGNORECASE) == []


@pytest.mark.parametrize(
    ("offer_id", "groups"),
    [
        ("vpbx-rec", [ANY_PBX]),
        ("vpbx-rec-year", [{"vpbx-rec"}]),
        ("speech-an", [{"vpbx-rec"}]),
        ("vpbx-crm", [ANY_PBX, {"crm-a", "crm-b"}]),
        ("call-track", [ANY_PBX, {"num-city", "num-800"}]),
        ("fmc", [{"vpbx-pro", "vpbx-ent"}]),
        ("m2m-mon", [{"m2m-tariff"}]),
        ("apn", [{"m2m-tariff"}]),
        ("fleet-fuel", [{"fleet"}]),
        ("staff-adv", [{"staff-track"}]),
        ("edo", [ANY_SIGNATURE]),
        ("edo-start", [ANY_SIGNATURE]),
        ("edo-operator", [ANY_SIGNATURE]),
        ("guarantee", [ANY_SIGNATURE]),
        ("sms-sender", [{"sms-inform"}]),
    ],
)
def test_requirements(offers: dict[str, OfferEntry], offer_id: str, groups: list[set[str]]) -> None:
    assert [set(group) for group in offers[offer_id].requires] == groups


@pytest.mark.parametrize(
    "members",
    [
        ANY_PBX,
        {"bank-a-rko", "bank-b-rko", "bank-c-rko", "bank-d-rko"},
        {"acc-online-1", "acc-online-2", "acc-out"},
        {"crm-a", "crm-b"},
        {"edo", "edo-start", "edo-operator"},
        {"site-build", "site-dev"},
    ],
)
def test_exclusive_slots(offers: dict[str, OfferEntry], members: set[str]) -> None:
    slots = {offers[offer_id].exclusive_slot for offer_id in members}
    assert len(slots) == 1
    assert None not in slots
    assert {offer.id for offer in offers.values() if offer.exclusive_slot in slots} == members


def test_upgrades(offers: dict[str, OfferEntry]) -> None:
    assert {offer.id: offer.upgrades_to for offer in offers.values() if offer.upgrades_to} == {
        "vpbx-start": "vpbx-pro",
        "vpbx-pro": "vpbx-ent",
        "acc-online-1": "acc-out",
        "acc-online-2": "acc-out",
    }


def test_banks_are_one_need_with_many_suppliers(offers: dict[str, OfferEntry]) -> None:
    banks = [offer for offer in offers.values() if offer.need_group == "bank_account"]
    assert len({bank.supplier for bank in banks}) == len(banks) == 4


def test_money_is_in_kopecks_in_the_tables(catalogue: Catalogue) -> None:
    tables = catalogue_tables(catalogue, datetime(2025, 5, 1, tzinfo=UTC))
    prices = tables["offer_prices"].filter(pl.col("offer_id") == "num-city")
    assert dict(prices.select("region", "amount_minor").iter_rows()) == {
        None: 25_000,
        "MOW": 40_000,
        "SPE": 30_000,
    }
    assert tables["offers"].filter(offer_id="vpbx-start")["margin_minor"].item() == 60_000
    sip = tables["offer_prices"].filter(pl.col("offer_id") == "sip-line")
    assert sip.select("amount_minor", "period").row(0) == (160, "usage")


def test_exclusions_hold_both_ways(catalogue: Catalogue) -> None:
    relations = catalogue_tables(catalogue, datetime(2025, 5, 1, tzinfo=UTC))["offer_relations"]
    pairs = set(relations.filter(relation="excludes").select("offer_id", "other_offer_id").iter_rows())
    assert ("mail-dom", "office-suite") in pairs
    assert {pair[::-1] for pair in pairs} == pairs


def test_expert_weights_name_what_exists(catalogue: Catalogue) -> None:
    known = {
        "offers": {offer.id: None for offer in catalogue.offers},
        "categories": {offer.category: None for offer in catalogue.offers},
    }
    weights = list(read_weights((DEMO / "expert.yaml").read_text(encoding="utf-8"), known))
    assert {weight.subject for weight in weights if weight.section == "categories"} == set(
        known["categories"]
    )


def test_of_editions_the_home_list_shows_one(offers: dict[str, OfferEntry]) -> None:
    placements = placements_from_yaml((DEMO / "placements.yaml").read_text(encoding="utf-8"), "file")
    assert {one.placement_id: one.max_per_need_group for one in placements}["home"] == 1
    editions = [(offer, offers[offer.upgrades_to]) for offer in offers.values() if offer.upgrades_to]
    assert [offer.id for offer, above in editions if offer.need_group != above.need_group] == []


def test_placements() -> None:
    placements = placements_from_yaml((DEMO / "placements.yaml").read_text(encoding="utf-8"), "file")
    by_id = {placement.placement_id: placement for placement in placements}
    assert (by_id["home"].k, by_id["home"].exploration.share) == (5, 0.1)
    assert (by_id["partners"].k, by_id["partners"].kinds) == (3, (OfferKind.PARTNER,))
    assert by_id["banner"].k == 1


SMALL = """\
regions: {MOW: {ru: Москва, en: Moscow}}
suppliers: {operator: {ru: Оператор, en: The operator}, other: {ru: Другой, en: Another}}
categories: {telephony: {ru: Телефония, en: Telephony}}
need_groups: {pbx: {ru: АТС, en: PBX}}
offers:
  - id: pbx
    kind: own
    supplier: operator
    category: telephony
    need_group: pbx
    title: {ru: АТС, en: PBX}
    margin: 10
    prices: [{amount: 100, period: month}]
  - id: recording
    kind: content
    supplier: other
    category: telephony
    need_group: pbx
    title: {ru: Запись, en: Recording}
    margin: 5.50
    requires: [[pbx]]
"""


def test_a_sound_catalogue_is_read() -> None:
    catalogue = catalogue_from_yaml(SMALL, "small.yaml")
    assert [offer.id for offer in catalogue.offers] == ["pbx", "recording"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        pytest.param(
            "    margin: 10\n", "    margn: 10\n    margin: 10\n", 12, "unknown field 'margn'", id="field"
        ),
        pytest.param("    margin: 10\n", "", 6, "field 'margin' is missing; add it", id="missing"),
        pytest.param("margin: 10\n", "margin: much\n", 12, "correct the value", id="type"),
        pytest.param("kind: content", "kind: ours", 15, "own, partner, content can stand here", id="kind"),
        pytest.param("[[pbx]]", "[[pbz]]", 21, "refers to 'pbz'", id="offer"),
        pytest.param("[[pbx]]", "[[pbx]]\n    excludes: [pbz]", 22, "refers to 'pbz'", id="excluded offer"),
        pytest.param("[[pbx]]", "[[pbx]]\n    upgrades_to: pbz", 22, "refers to 'pbz'", id="upgrade"),
        pytest.param("supplier: other\n", "supplier: nobody\n", 16, "under suppliers", id="supplier"),
        pytest.param("period: month}", "period: month, region: SPE}", 13, "under regions", id="region"),
        pytest.param("id: recording", "id: pbx", 14, "stands at small.yaml:6 already", id="duplicate id"),
        pytest.param(
            "period: month}]", "period: month}, {amount: 2, period: month}]", 13, "two prices", id="prices"
        ),
        pytest.param("amount: 100", "amount: -100", 13, "at least 0 is needed", id="negative price"),
        pytest.param(
            "    margin: 10\n",
            "    margin: 10\n    requires: [[recording]]\n",
            13,
            "runs in a circle",
            id="cycle",
        ),
        pytest.param("[[pbx]]", "[[]]", 21, "can never be met", id="empty group"),
        pytest.param("en: Recording}", "en: ' '}", 19, "title.en: people read this, and it is", id="blank"),
        pytest.param("en: Recording}", 'en: "R\\e[31m"}', 19, "is a control character", id="control"),
        pytest.param(
            "[[pbx]]", "[[pbx]]\n    excludes: [pbx]", 22, "which it is or requires", id="contradiction"
        ),
        pytest.param("[[pbx]]", "[[pbx]]\n    exclusive_slot: pxb", 22, "single offer", id="lonely slot"),
        pytest.param(
            "    margin: 10\n",
            "    margin: 10\n    upgrades_to: recording\n",
            22,
            "add 'recording' to the group",
            id="lost by upgrade",
        ),
        pytest.param(
            "id: recording", "id: recording\n    id: again", 15, "key 'id' stands twice", id="twice a key"
        ),
        pytest.param("offers:\n", "offers: [\n", None, "a bracket above is not closed", id="no YAML"),
    ],
)
def test_a_mistake_is_one_error_with_line_and_cure(
    old: str, new: str, line: int | None, message: str
) -> None:
    assert old in SMALL
    with pytest.raises(ConfigError) as caught:
        catalogue_from_yaml(SMALL.replace(old, new, 1), "small.yaml")
    text = str(caught.value)
    assert message in text
    assert text.startswith("small.yaml:" if line is None else f"small.yaml:{line}:")
    assert len(text.splitlines()) == 1


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("placements: [{id: home}, {id: home}]", "stands twice"),
        ("placements: [{id: home, k: 9, max_k: 3}]", "above max_k"),
        ("placements: [{id: home, size: 3}]", "unknown field 'size'"),
        ("placements: [{id: home, k: 0}]", "at least 1 is needed"),
        ("placements: [{id: home, kinds: [ours]}]", "own, partner, content can stand here"),
        ("placements: []", "at least 1"),
        ("- home", "a group of keys (placements) is needed"),
    ],
)
def test_a_mistake_in_placements_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        placements_from_yaml(text, "placements.yaml")
    assert str(caught.value).startswith("placements.yaml:1:")
