"""The funnel on cases followed by hand: weights, profiling switched off, pins of several lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from recsys.decision.arbitration import Estimate, rank
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Decision, decide, list_refusals
from recsys.decision.engine import Engine
from recsys.decision.policy.read import policy_from_documents
from recsys.decision.situation import Ask, Situation
from recsys.domain import (
    Basis,
    ClientId,
    ClientState,
    Holding,
    LegalForm,
    Offer,
    OfferId,
    Profile,
    Stage,
    Target,
)
from recsys.history import History, MonthFigures

NOW = datetime(2024, 10, 1, 12, tzinfo=UTC)
HOME = "placements: [{id: home, k: 3}]"
OFFERS = tuple(
    Offer(OfferId(name), margin_minor=margin) for name, margin in (("a", 100), ("b", 100), ("c", 100))
)
RICH = History(months=(MonthFigures(date(2024, 9, 1), spend_minor=9_000_000),))


def engine_of(documents: Mapping[str, str], offers: tuple[Offer, ...] = OFFERS) -> Engine:
    return Engine(CompiledCatalogue(offers), policy_from_documents({"placements.yaml": HOME, **documents}))


def estimate_of(engine: Engine, values: Mapping[str, float]) -> Estimate:
    found = np.array([values.get(offer_id, 0.1) for offer_id in engine.catalogue.offer_ids])
    return Estimate(found, rank(found, found), Basis.POPULATION, Target.ADOPTION, is_personalised=False)


def shown(engine: Engine, state: ClientState, values: Mapping[str, float], *asks: Ask) -> list[list[str]]:
    decision = decided(engine, state, values, *asks)
    return [[engine.catalogue.offer_ids[slot.position] for slot in slate.slots] for slate in decision.slates]


def decided(engine: Engine, state: ClientState, values: Mapping[str, float], *asks: Ask) -> Decision:
    situation = Situation(state, NOW, asks or (Ask("home", 3),))
    return decide(situation, estimate_of(engine, values), engine)


def client(*, is_profiling_allowed: bool = True, **profile: object) -> ClientState:
    told = Profile(is_profiling_allowed=is_profiling_allowed, **profile)  # type: ignore[arg-type]
    return ClientState(ClientId("c-1"), 1, told)


WEIGHTS = {
    "arbitration.yaml": """
context_weights:
  - {id: at-risk, when: {field: stage, is: at_risk}, offers: [b], weight: 200}
  - {id: big-spender, when: {field: spend_minor, more_than: 100000}, offers: [c], weight: 300}
  - {id: autumn, when: {context: month, in: [9, 10, 11]}, offers: [b], weight: 50}
"""
}


def test_priority_is_the_product_of_the_factors() -> None:
    engine = engine_of(WEIGHTS)
    values = {"a": 0.2, "b": 0.1, "c": 0.15}
    (slate,) = decided(engine, client(stage=Stage.AT_RISK), values).slates
    # b: 0.1 × (1 + 2 + 0.5) = 0.35; a: 0.2; c: 0.15; every margin is the median
    assert slate.factors.priority.tolist() == pytest.approx([0.2, 0.35, 0.15])
    assert shown(engine, client(stage=Stage.AT_RISK), values) == [["b", "a", "c"]]


def test_with_profiling_off_the_clients_data_order_nothing() -> None:
    engine = engine_of(WEIGHTS)
    values = {"a": 0.2, "b": 0.19, "c": 0.15}
    poor = client(is_profiling_allowed=False, stage=Stage.AT_RISK)
    rich = ClientState(ClientId("c-2"), 1, Profile(is_profiling_allowed=False), history=RICH)
    # autumn is no data of the client: b 0.19 × 1.5 = 0.285
    assert shown(engine, poor, values) == shown(engine, rich, values) == [["b", "a", "c"]]
    for state in (poor, rich):
        assert not decided(engine, state, values).slates[0].is_weighed_personally
    assert decided(engine, client(stage=Stage.AT_RISK), values).slates[0].is_weighed_personally
    assert not decided(engine, client(stage=Stage.GROWTH), values).slates[0].is_weighed_personally


def test_with_profiling_off_no_weight_counts_that_reads_what_the_client_holds() -> None:
    weights = "context_weights: [{id: added, when: {holds: {offers: [a]}}, offers: [c], weight: 300}]"
    engine = engine_of({"arbitration.yaml": weights})
    holding = (Holding("h", OfferId("a"), NOW),)
    for is_allowed, order in ((True, ["c", "b"]), (False, ["b", "c"])):
        state = replace(client(is_profiling_allowed=is_allowed), holdings=holding)
        assert shown(engine, state, {"b": 0.2, "c": 0.1}) == [order]
        assert decided(engine, state, {}).slates[0].is_weighed_personally == is_allowed


def test_with_profiling_off_what_cannot_be_had_stays_refused_and_softer_rules_read_nothing() -> None:
    rules = """
rules:
  - {id: only-growing, stage: applicability, offers: [a], only_if: {field: stage, is: growth}}
  - {id: no-risk, stage: suitability, offers: [b], never_if: {field: stage, is: at_risk}}
  - {id: lawyers-not, stage: eligibility, offers: [c], never_if: {field: legal_form, is: lawyer}}
  - {id: debtors-not, stage: eligibility, offers: [d], never_if: {field: tag.debt, is: "yes"}}
"""
    offers = (*OFFERS, Offer(OfferId("d")), Offer(OfferId("e")))
    engine = engine_of({"engagement.yaml": rules}, offers)
    held = (Holding("h", OfferId("e"), NOW),)

    def refused(stage: Stage, tags: tuple[str, ...] = ()) -> dict[str, str]:
        profile = Profile(legal_form=LegalForm.LAWYER, stage=stage, tags=tags, is_profiling_allowed=False)
        state = ClientState(ClientId("c-1"), 1, profile, held)
        (slate,) = decided(engine, state, {}).slates
        return {one.offer_id: one.rule.rule_id for one in list_refusals(slate, engine)}

    expected = {"a": "only-growing", "c": "lawyers-not", "e": "already_connected"}
    assert refused(Stage.GROWTH) == refused(Stage.AT_RISK) == expected
    assert refused(Stage.GROWTH, ("debt=yes",)) == {**expected, "d": "debtors-not"}


def test_an_estimate_that_is_no_number_brings_nothing_refused_into_a_list() -> None:
    rule = "rules: [{id: no-risk, stage: eligibility, offers: [b], never_if: {field: stage, is: at_risk}}]"
    engine = engine_of({"engagement.yaml": rule})
    broken = np.full(len(OFFERS), np.nan)
    estimate = Estimate(
        broken, rank(broken, broken), Basis.POPULATION, Target.ADOPTION, is_personalised=False
    )
    situation = Situation(client(stage=Stage.AT_RISK), NOW, (Ask("home", 3),))
    (slate,) = decide(situation, estimate, engine).slates
    assert sorted(engine.catalogue.offer_ids[slot.position] for slot in slate.slots) == ["a", "c"]
    assert 1 not in slate.candidates


def test_a_weight_of_minus_a_hundred_says_never_even_to_chance() -> None:
    documents = {
        "arbitration.yaml": """
context_weights: [{id: never, when: {field: stage, is: at_risk}, offers: [b], weight: -100}]
""",
        "placements.yaml": "placements: [{id: home, k: 3, exploration: {kind: epsilon, share: 1.0}}]",
    }
    engine = engine_of(documents)
    (slate,) = decided(engine, client(stage=Stage.AT_RISK), {"b": 0.9}).slates
    assert {engine.catalogue.offer_ids[slot.position] for slot in slate.slots} == {"a", "c"}
    assert [one.rule.rule_id for one in list_refusals(slate, engine)] == ["below_least_priority"]


def test_a_pinned_offer_waits_for_its_own_list() -> None:
    placements = "placements: [{id: home, k: 2}, {id: banner, k: 1, pins: [{offer: a, slot: 1}]}]"
    engine = engine_of({"placements.yaml": placements})
    values = {"a": 0.9, "b": 0.5, "c": 0.4}
    asks = (Ask("home", 2), Ask("banner", 1))
    assert shown(engine, client(), values, *asks) == [["b", "c"], ["a"]]
    assert shown(engine, client(), values, Ask("home", 2)) == [["a", "b"]]
    decision = decided(engine, client(), values, *asks)
    (refusal,) = list_refusals(decision.slates[0], engine)[:1]
    assert (refusal.offer_id, refusal.rule.rule_id) == ("a", "shown_above")


def test_a_pin_of_a_client_that_may_not_have_the_offer_falls_to_the_next() -> None:
    placements = "placements: [{id: home, k: 2, pins: [{offer: a, slot: 1}]}]"
    engine = engine_of({"placements.yaml": placements})
    state = ClientState(ClientId("c-1"), 1, Profile(), (Holding("h", OfferId("a"), NOW),))
    assert shown(engine, state, {"b": 0.5}) == [["b", "c"]]
