"""Offers from rows of the catalogue."""

from __future__ import annotations

import pytest

from recsys.data.offers import offers_from_rows
from recsys.domain import LegalForm, Price, PricePeriod, Size
from recsys.errors import DataError

OFFERS = [
    {"offer_id": "recording", "kind": "own", "title_ru": "Запись", "title_en": None, "legal_forms": ["llc"]},
    {"offer_id": "pbx", "kind": "own", "is_stopped": None, "regions": None},
]


def relation(offer_id: str, kind: str, other: str, alternative: int = 0) -> dict[str, object]:
    return {
        "offer_id": offer_id,
        "relation": kind,
        "other_offer_id": other,
        "alternative": alternative,
    }


def test_offers_are_ordered_and_missing_facts_mean_none() -> None:
    pbx, recording = offers_from_rows(OFFERS, [], [])
    assert (pbx.offer_id, pbx.is_stopped, pbx.regions, pbx.prices) == ("pbx", False, (), ())
    assert recording.title == {"ru": "Запись"}
    assert recording.legal_forms == (LegalForm.LLC,)


def test_relations_of_one_number_are_alternatives() -> None:
    relations = [
        relation("recording", "requires", "crm", 2),
        relation("recording", "requires", "pbx_pro", 1),
        relation("recording", "requires", "pbx", 1),
        relation("recording", "excludes", "fax"),
        relation("pbx", "upgrades_to", "pbx_pro"),
        relation("unknown", "excludes", "pbx"),
    ]
    pbx, recording = offers_from_rows(OFFERS, relations, [])
    assert recording.requires == (("pbx", "pbx_pro"), ("crm",))
    assert recording.excludes == ("fax",)
    assert pbx.upgrades_to == "pbx_pro"


def test_prices_are_ordered() -> None:
    prices = [
        {"offer_id": "pbx", "period": "month", "amount_minor": 5, "region": "77", "size": "micro"},
        {"offer_id": "pbx", "period": "month", "amount_minor": 7, "region": None, "size": None},
    ]
    pbx, _ = offers_from_rows(OFFERS, [], prices)
    assert pbx.prices == (Price(7, PricePeriod.MONTH), Price(5, PricePeriod.MONTH, "77", Size.MICRO))


def test_two_next_editions_are_refused() -> None:
    relations = [relation("pbx", "upgrades_to", "a"), relation("pbx", "upgrades_to", "b")]
    with pytest.raises(DataError, match="offer 'pbx' upgrades to a, b; one is allowed"):
        offers_from_rows(OFFERS, relations, [])


def test_an_offer_that_stands_twice_is_refused() -> None:
    with pytest.raises(DataError, match="offer 'pbx' stands twice"):
        offers_from_rows([*OFFERS, OFFERS[1]], [], [])
