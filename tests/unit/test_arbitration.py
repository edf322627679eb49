"""Priority = P × C × V × L, factor by factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys.decision.arbitration import Arbitration, Factors
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.arbitration import ArbitrationSpec
from recsys.domain import Change, Offer, OfferId

CODES = {change: code for code, change in enumerate(Change)}


def offer(name: str, margin: int | None, need: str | None = None, **more: Any) -> Offer:
    return Offer(OfferId(name), margin_minor=margin, need_group=need, **more)


# Median margin 200.
OFFERS = (
    offer("bank-a", 100, "account", category="finance"),
    offer("bank-b", 300, "account", category="finance"),
    offer("big", 9_000),
    offer("free", 0),
    offer("pbx", 200, "pbx", upgrades_to=OfferId("pbx-pro")),
    offer("pbx-pro", 500, "pbx-pro"),
    offer("unknown", None),
    offer("usual", 200),
)
CATALOGUE = CompiledCatalogue(OFFERS)
AT = CATALOGUE.positions
P = np.linspace(0.1, 0.8, len(OFFERS))
SITUATION = {"field": "stage", "is": "at_risk"}


def arbitration(**spec: Any) -> Arbitration:
    return Arbitration(CATALOGUE, ArbitrationSpec.model_validate(spec))


def of_one(of: Arbitration, estimated: Any, changes: Any, quantities: Any, truth: Any = None) -> Factors:
    """The factors of one client."""
    told = np.zeros(len(of.conditions), dtype=bool) if truth is None else np.array(truth)
    return of.factors(np.asarray(estimated), changes, of.context(told.tobytes()), quantities)


def factors(
    of: Arbitration,
    changes: dict[str, Change] | None = None,
    quantities: dict[str, int] | None = None,
    truth: Any = None,
) -> Factors:
    codes, numbers = np.zeros(len(OFFERS), dtype=np.int8), np.zeros(len(OFFERS), dtype=np.int64)
    for name, change in (changes or {}).items():
        codes[AT[name]] = CODES[change]
    for name, quantity in (quantities or {}).items():
        numbers[AT[name]] = quantity
    return of_one(of, P, codes, numbers, truth)


def test_value_is_the_margin_over_the_median_capped_and_shared_by_a_need_group() -> None:
    value = factors(arbitration()).value
    assert value[AT["usual"]] == 1.0
    assert value[AT["big"]] == 5.0
    assert value[AT["free"]] == 0.0
    assert value[AT["unknown"]] == 1.0
    assert value[AT["bank-a"]] == value[AT["bank-b"]] == 1.0
    assert factors(arbitration(value={"cap": 20})).value[AT["big"]] == 20.0


def test_commission_orders_competitors_only_when_the_policy_says_so() -> None:
    openly = factors(arbitration(value={"share_in_need_groups": False})).value
    assert (openly[AT["bank-a"]], openly[AT["bank-b"]]) == (0.5, 1.5)


def test_a_margin_nobody_knows_has_the_mean_of_those_known_in_its_group() -> None:
    catalogue = CompiledCatalogue(
        [offer("a", 100, "g"), offer("b", None, "g"), offer("c", 300), offer("d", None, "h")]
    )
    of = Arbitration(catalogue, ArbitrationSpec())
    found = of_one(of, np.ones(4), np.zeros(4, dtype=np.int8), np.zeros(4, dtype=np.int64)).value
    assert found.tolist() == [0.5, 0.5, 1.5, 1.0]


def test_without_margins_the_value_is_one() -> None:
    catalogue = CompiledCatalogue([offer("a", None), offer("b", None)])
    of = Arbitration(catalogue, ArbitrationSpec())
    found = of_one(of, np.ones(2), np.zeros(2, dtype=np.int8), np.zeros(2, dtype=np.int64))
    assert found.value.tolist() == [1.0, 1.0]


def test_an_upgrade_is_worth_what_it_adds() -> None:
    found = factors(arbitration(), {"pbx-pro": Change.UPGRADE}, {"pbx": 1})
    assert found.value[AT["pbx-pro"]] == pytest.approx(1.5)
    assert found.probability[AT["pbx-pro"]] == P[AT["pbx-pro"]]


def test_renewing_and_retaining_is_worth_what_is_at_stake_and_expanding_one_more_unit() -> None:
    changes = {"pbx": Change.RENEW, "usual": Change.RETAIN, "pbx-pro": Change.EXPAND}
    found = factors(arbitration(), changes, {"pbx": 3, "usual": 2, "pbx-pro": 7})
    assert [found.value[AT[name]] for name in ("pbx", "usual", "pbx-pro")] == [3.0, 2.0, 2.5]
    assert [found.probability[AT[name]] for name in ("pbx", "usual", "pbx-pro")] == [0.3, 0.1, 0.05]
    assert found.probability[AT["big"]] == P[AT["big"]]


def test_the_stake_of_one_client_never_moves_a_competitor() -> None:
    """Mean margin of the group 200, median 200: V is 1 where it is new, × the seats where it is renewed."""
    held = factors(arbitration(value={"cap": 100}), {"bank-a": Change.RENEW}, {"bank-a": 50})
    assert (held.value[AT["bank-a"]], held.value[AT["bank-b"]]) == (50.0, 1.0)
    capped = factors(arbitration(), {"bank-a": Change.RETAIN}, {"bank-a": 50})
    assert (capped.value[AT["bank-a"]], capped.value[AT["bank-b"]]) == (5.0, 1.0)


def test_an_upgrade_counts_the_seats_of_the_edition_that_it_replaces() -> None:
    of = arbitration(value={"cap": 100})
    found = factors(of, {"pbx-pro": Change.UPGRADE}, {"pbx": 50})
    assert found.value[AT["pbx-pro"]] == 50 * (500 - 200) / 200


def test_editions_of_one_group_share_what_a_step_up_adds() -> None:
    """Steps of 100 and 300 in the group: a mean of 200, which is the median margin too."""
    catalogue = CompiledCatalogue(
        [
            offer("a-1", 100, "mail", upgrades_to=OfferId("a-2")),
            offer("a-2", 200, "mail"),
            offer("b-1", 200, "mail", upgrades_to=OfferId("b-2")),
            offer("b-2", 500, "mail"),
        ]
    )
    changes = np.array([0, CODES[Change.UPGRADE], 0, CODES[Change.UPGRADE]], dtype=np.int8)
    quantities = np.array([1, 0, 3, 0])
    for is_shared, values in ((True, [1.0, 3.0]), (False, [0.5, 4.5])):
        spec = ArbitrationSpec.model_validate({"value": {"share_in_need_groups": is_shared}})
        of = Arbitration(catalogue, spec)
        assert of_one(of, np.ones(4), changes, quantities).value[[1, 3]].tolist() == values


def test_margins_in_money_are_the_offers_own() -> None:
    changes = np.zeros(len(OFFERS), dtype=np.int8)
    quantities = np.zeros(len(OFFERS), dtype=np.int64)
    for name, change in (("pbx-pro", Change.UPGRADE), ("bank-a", Change.RENEW), ("usual", Change.EXPAND)):
        changes[AT[name]] = CODES[change]
    quantities[[AT["pbx"], AT["bank-a"], AT["usual"]]] = 4, 50, 7
    margins = arbitration().margins_minor(changes, quantities)
    names = ("pbx-pro", "bank-a", "usual", "bank-b")
    assert [margins[AT[name]] for name in names] == [4 * 300, 50 * 100, 200, 300]
    assert np.isnan(margins[AT["unknown"]])


def test_an_upgrade_from_what_nobody_knows_the_margin_of_is_worth_one() -> None:
    catalogue = CompiledCatalogue(
        [offer("old", None, upgrades_to=OfferId("next")), offer("next", 900), offer("usual", 300)]
    )
    changes = np.array([CODES[Change.UPGRADE], 0, 0], dtype=np.int8)
    quantities = np.array([0, 1, 0])
    of = Arbitration(catalogue, ArbitrationSpec())
    assert of_one(of, np.ones(3), changes, quantities).value.tolist() == [1.0, 1.0, 0.5]


def test_a_horizon_is_refused_with_its_cure() -> None:
    with pytest.raises(ValueError, match="remove horizon_months"):
        arbitration(value={"horizon_months": 24})


def test_context_adds_its_weights_and_never_turns_negative() -> None:
    weights = [
        {"id": "bank", "when": SITUATION, "offers": {"need_groups": ["account"]}, "weight": -70},
        {"id": "finance", "when": SITUATION, "offers": {"categories": ["finance"]}, "weight": -60},
        {"id": "big", "when": SITUATION, "offers": ["big"], "weight": 150},
    ]
    of = arbitration(context_weights=weights)
    assert len(of.conditions) == 3
    assert factors(of).context.tolist() == [1.0] * len(OFFERS)
    found = factors(of, truth=[True, False, True]).context
    assert (found[AT["bank-a"]], found[AT["big"]], found[AT["usual"]]) == pytest.approx((0.3, 2.5, 1.0))
    assert factors(of, truth=[True, True, False]).context[AT["bank-b"]] == 0.0


def test_levers_add_up_within_their_bounds() -> None:
    of = arbitration(
        levers={
            "categories": {"finance": 20},
            "need_groups": {"account": 30, "pbx": -100},
            "offers": {"bank-b": 70, "big": -40},
        }
    )
    found = factors(of).levers
    names = ("bank-a", "bank-b", "pbx", "big", "usual")
    assert [found[AT[name]] for name in names] == pytest.approx([1.5, 2.0, 0.5, 0.6, 1.0])


@pytest.mark.parametrize("name", ["probability", "context", "value", "levers"])
def test_each_factor_can_be_switched_off(name: str) -> None:
    spec: dict[str, Any] = {
        "context_weights": [{"id": "all", "when": SITUATION, "weight": 50}],
        "levers": {"offers": {"usual": 50, "big": -10}},
    }
    changes = {"pbx": Change.RENEW}
    whole = factors(arbitration(**spec), changes, {"pbx": 2}, truth=[True])
    without = factors(arbitration(**spec, factors={name: False}), changes, {"pbx": 2}, truth=[True])
    for field in ("probability", "context", "value", "levers"):
        same = np.ones(len(OFFERS)) if field == name else getattr(whole, field)
        assert np.array_equal(getattr(without, field), same)
    product = without.probability * without.context * without.value * without.levers
    assert without.priority == pytest.approx(product, rel=1e-15)


def test_equal_priorities_stand_in_the_order_of_the_estimate() -> None:
    tie_break = np.array([3, 1, 0, 2], dtype=np.int32)
    assert Arbitration.order(np.array([0.5, 0.5, 0.9, 0.5]), tie_break).tolist() == [2, 3, 1, 0]
