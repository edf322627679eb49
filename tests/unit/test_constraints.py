"""What a list must keep to, and which rule kept a candidate out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import KeptOut, ListRules
from recsys.decision.exploration import Roll, draw_list
from recsys.domain import Offer, OfferId, OfferKind
from recsys.placement import Pin, Placement, SlotKind

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OWN, PARTNER, ANY = SlotKind.OWN, SlotKind.PARTNER, SlotKind.ANY


def offer(name: str, kind: OfferKind, supplier: str, need: str, category: str) -> Offer:
    return Offer(OfferId(name), kind=kind, supplier_id=supplier, need_group=need, category=category)


# Best first: a, b, c, d, e, f.
OFFERS = (
    offer("a", OfferKind.OWN, "operator", "pbx", "telephony"),
    offer("b", OfferKind.OWN, "operator", "pbx", "telephony"),
    offer("c", OfferKind.PARTNER, "bank-a", "account", "finance"),
    offer("d", OfferKind.PARTNER, "bank-b", "account", "finance"),
    offer("e", OfferKind.CONTENT, "studio", "site", "web"),
    offer("f", OfferKind.OWN, "operator", "internet", "telephony"),
)
PRIORITIES = np.array([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def shown(k: int, *, now: datetime = NOW, without: str = "", **options: Any) -> tuple[str, dict[str, str]]:
    """The list, and each candidate kept out with its rule."""
    catalogue = CompiledCatalogue(OFFERS)
    rules = ListRules(catalogue, Placement("home", **options))
    candidates = np.array([place for place, name in enumerate("abcdef") if name not in without])
    candidates, narrowed = rules.narrow(candidates, None)
    found = draw_list(candidates, PRIORITIES, rules, Roll(k, 1, now))
    assert all(draw.logging_probability == 1.0 for draw in found.draws)
    return "".join(catalogue.offer_ids[draw.position] for draw in found.draws), by_offer(
        catalogue, [*narrowed, *found.kept_out]
    )


def by_offer(catalogue: CompiledCatalogue, kept_out: list[KeptOut]) -> dict[str, str]:
    named = [
        (catalogue.offer_ids[position], group.rule_id) for group in kept_out for position in group.positions
    ]
    assert len({name for name, _ in named}) == len(named)
    return dict(named)


def test_a_candidate_that_is_merely_beaten_is_not_kept_out() -> None:
    assert shown(3) == ("abc", {})
    assert shown(2, max_per_supplier=2) == ("ab", {})


@pytest.mark.parametrize(
    ("option", "expected", "kept_out"),
    [
        ("max_per_supplier", "acd", {"b": "supplier_cap"}),
        ("max_per_need_group", "ace", {"b": "need_group_cap", "d": "need_group_cap"}),
        ("max_per_category", "ace", {"b": "category_cap", "d": "category_cap"}),
    ],
)
def test_a_cap_lets_so_many_through(option: str, expected: str, kept_out: dict[str, str]) -> None:
    assert shown(3, **{option: 1}) == (expected, kept_out)
    assert shown(3, **{option: 2}) == ("abc", {})


def test_the_first_cap_that_closes_an_offer_is_named() -> None:
    listed, kept_out = shown(6, max_per_supplier=1, max_per_need_group=1)
    assert listed == "ace"
    assert kept_out == {"b": "supplier_cap", "f": "supplier_cap", "d": "need_group_cap"}


def test_an_offer_without_supplier_is_not_capped() -> None:
    catalogue = CompiledCatalogue([Offer(OfferId("x")), Offer(OfferId("y"))])
    rules = ListRules(catalogue, Placement("home", max_per_supplier=1, max_per_need_group=1))
    assert len(draw_list(np.array([0, 1]), np.ones(2), rules, Roll(2, 1, NOW)).draws) == 2


def test_slots_take_whose_offers_they_name() -> None:
    assert shown(3, slots=(PARTNER, OWN)) == ("cab", {})
    assert shown(4, slots=(OWN, PARTNER, PARTNER, OWN)) == ("acdb", {})


def test_who_would_have_had_a_slot_for_others_is_kept_out_by_its_kind() -> None:
    assert shown(2, slots=(OWN, PARTNER)) == ("ac", {"b": "slot_kind"})
    assert shown(2, slots=(OWN, OWN)) == ("ab", dict.fromkeys("cde", "no_slot"))


def test_an_offer_for_which_the_list_has_no_slot_is_told_apart_from_one_whose_slots_are_taken() -> None:
    assert shown(1, slots=(PARTNER,)) == ("c", dict.fromkeys("abf", "no_slot"))
    # the slot of a pin is a slot for such offers too
    assert shown(2, slots=(PARTNER, OWN), pins=(pin("e", 1),)) == ("ea", dict.fromkeys("cd", "slot_kind"))


def test_content_counts_as_a_partners() -> None:
    assert shown(1, slots=(PARTNER,), without="cd")[0] == "e"


def test_a_slot_that_nothing_may_take_is_left_out_and_the_next_moves_up() -> None:
    assert shown(3, slots=(PARTNER, OWN, OWN), without="cde") == ("ab", {"f": "slot_kind"})


def test_fewer_rather_than_padding() -> None:
    assert shown(6, least_priority=0.4) == ("abc", dict.fromkeys("def", "below_least_priority"))
    assert shown(2, least_priority=9.0) == ("", dict.fromkeys("abcdef", "below_least_priority"))


def test_kinds_of_the_placement_and_lists_above() -> None:
    listed, kept_out = shown(6, kinds=(OfferKind.PARTNER,))
    assert listed == "cd"
    assert kept_out == dict.fromkeys("abef", "placement_kind")
    rules = ListRules(CompiledCatalogue(OFFERS), Placement("home"))
    is_shown = np.array([True, False, False, True, False, False])
    left, refused = rules.narrow(np.arange(6), is_shown)
    assert left.tolist() == [1, 2, 4, 5]
    assert [(one.positions.tolist(), one.rule_id) for one in refused] == [([0, 3], "shown_above")]


def pin(name: str, slot: int, **dates: datetime) -> Pin:
    return Pin(OfferId(name), slot, **dates)


def test_a_pinned_offer_waits_for_its_slot() -> None:
    assert shown(3, pins=(pin("a", 3),)) == ("bca", {})
    assert shown(3, pins=(pin("f", 1),)) == ("fab", {})


def test_a_pin_needs_its_offer_among_the_candidates() -> None:
    assert shown(3, pins=(pin("f", 1),), without="f") == ("abc", {})
    assert shown(3, pins=(pin("gone", 1),)) == ("abc", {})
    assert shown(2, pins=(pin("f", 1),), kinds=(OfferKind.PARTNER,))[0] == "cd"


def test_a_pin_holds_between_its_dates() -> None:
    day = timedelta(days=1)
    pins = (pin("f", 1, from_at=NOW, until_at=NOW + day),)
    assert shown(1, pins=pins)[0] == "f"
    assert shown(1, pins=pins, now=NOW + day - timedelta(seconds=1))[0] == "f"
    assert shown(1, pins=pins, now=NOW + day)[0] == "a"
    assert shown(1, pins=pins, now=NOW - timedelta(seconds=1))[0] == "a"


def test_of_two_pins_of_one_slot_the_first_that_can_hold_does() -> None:
    pins = (pin("e", 1), pin("f", 1))
    assert shown(1, pins=pins)[0] == "e"
    assert shown(1, pins=pins, without="e")[0] == "f"


def test_a_pin_beyond_the_list_leaves_its_offer_free() -> None:
    assert shown(2, pins=(pin("a", 3),))[0] == "ab"


def test_a_pin_counts_towards_the_caps_from_the_first_slot_on() -> None:
    assert shown(3, pins=(pin("f", 3),), max_per_supplier=1) == (
        "cdf",
        {"a": "supplier_cap", "b": "supplier_cap"},
    )
    assert shown(3, pins=(pin("a", 1), pin("f", 2)), max_per_supplier=1)[0] == "acd"


def test_a_pin_gives_way_to_the_kind_of_its_slot_but_not_to_the_least_priority() -> None:
    assert shown(1, pins=(pin("f", 1),), slots=(PARTNER,))[0] == "c"
    listed, kept_out = shown(2, pins=(pin("f", 2),), least_priority=0.55)
    assert listed == "af"
    assert kept_out == dict.fromkeys("bcde", "below_least_priority")
