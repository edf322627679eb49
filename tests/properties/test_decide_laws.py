"""Laws that every decision keeps, whatever the catalogue, the client and the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.decision.arbitration import Alignment, Estimate, fallback_estimate, rank
from recsys.decision.availability import Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.decide import Decision, decide, decide_all, judge, list_refusals
from recsys.decision.engine import Engine
from recsys.decision.policy.policy import Policy
from recsys.decision.refusals import RefusalStage
from recsys.decision.rulebook import NO_RULE
from recsys.decision.situation import Ask, Situation
from recsys.domain import (
    Basis,
    ClientId,
    ClientState,
    Dismissal,
    DismissalReason,
    Holding,
    LegalForm,
    Offer,
    OfferId,
    OfferKind,
    Profile,
    Target,
)
from recsys.models.base import OfferIndex
from recsys.placement import Exploration, ExplorationKind, Placement

NOW = datetime(2024, 10, 1, 12, tzinfo=UTC)
NAMES = [OfferId(name) for name in "abcdefgh"]
QUICK = settings(max_examples=40, deadline=None)
names = st.sampled_from(NAMES)
some_names = st.lists(names, max_size=3, unique=True).map(tuple)


@st.composite
def offers(draw: st.DrawFn) -> tuple[Offer, ...]:
    chosen = draw(st.lists(names, min_size=1, unique=True))
    return tuple(
        Offer(
            name,
            kind=draw(st.sampled_from(OfferKind)),
            need_group=draw(st.sampled_from([None, "x", "y"])),
            regions=draw(st.sampled_from([(), ("77",), ("16", "77")])),
            legal_forms=draw(st.sampled_from([(), (LegalForm.LLC,)])),
            requires=draw(st.lists(some_names.filter(bool), max_size=2).map(tuple)),
            excludes=tuple(other for other in draw(some_names) if other != name),
            exclusive_slot=draw(st.sampled_from([None, None, "pbx"])),
            upgrades_to=draw(st.none() | names),
            valid_to=draw(st.sampled_from([None, NOW, NOW + timedelta(days=1)])),
            is_stopped=draw(st.booleans()) and draw(st.booleans()),
        )
        for name in chosen
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    profile = Profile(
        region=draw(st.sampled_from([None, "77", "16"])),
        legal_form=draw(st.sampled_from([LegalForm.LLC, LegalForm.NOTARY])),
        is_profiling_allowed=draw(st.sampled_from([True, True, False])),
    )
    state = ClientState(
        ClientId(draw(st.sampled_from(["c-1", "c-2"]))),
        version=1,
        profile=draw(st.sampled_from([None, profile])),
        holdings=tuple(Holding(f"h-{name}", name, NOW) for name in draw(some_names)),
        dismissals=tuple(
            Dismissal(name, draw(st.sampled_from(DismissalReason)), NOW - timedelta(days=draw(days)))
            for name in draw(some_names)
        ),
    )
    asks = tuple(Ask(f"p-{number}", k=draw(st.integers(1, 5))) for number in range(draw(st.integers(1, 3))))
    return Situation(state, NOW, asks, frozenset(draw(some_names)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    kinds = st.lists(st.sampled_from(OfferKind), max_size=2, unique=True).map(tuple)
    return Policy(
        placements=tuple(
            Placement(
                f"p-{number}",
                kinds=draw(kinds),
                exploration=Exploration(
                    draw(st.sampled_from(ExplorationKind)), draw(st.sampled_from([0.0, 0.2, 1.0]))
                ),
                max_per_need_group=draw(st.sampled_from([None, None, 1])),
                rotation=draw(st.sampled_from([0.0, 0.2])),
            )
            for number in range(3)
        )
    )


days = st.integers(0, 400)


def estimate_for(catalogue: CompiledCatalogue) -> Estimate:
    """Every offer's probability follows from its id alone; two of them tie."""
    values = np.array([{"a": 0.5, "b": 0.5}.get(name, ord(name) % 7 / 10) for name in catalogue.offer_ids])
    return Estimate(values, rank(values, values), Basis.HOLDINGS, Target.ADOPTION, is_personalised=True)


def decided(found: Sequence[Offer], situation: Situation, policy: Policy) -> tuple[Engine, Decision]:
    engine = Engine(CompiledCatalogue(found), policy)
    return engine, decide(situation, estimate_for(engine.catalogue), engine)


def shown_ids(engine: Engine, decision: Decision) -> list[list[str]]:
    return [[engine.catalogue.offer_ids[slot.position] for slot in slate.slots] for slate in decision.slates]


@QUICK
@given(offers(), situations(), policies())
def test_no_later_step_reinstates_what_an_earlier_one_refused(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    engine, decision = decided(found, situation, policy)
    engaged = engine.engagement.engage((situation.state,), Moment(NOW))[0]
    for slate in decision.slates:
        judged = judge(situation, engine, slate.placement_id)
        for earlier, later in ((engaged, judged), (judged, slate.verdicts)):
            is_refused = earlier.numbers != NO_RULE
            assert (later.numbers[is_refused] <= earlier.numbers[is_refused]).all()
        assert all(judged.numbers[slot.position] == NO_RULE for slot in slate.slots)
        assert all(slate.verdicts.numbers[slot.position] == NO_RULE for slot in slate.slots)


@QUICK
@given(offers(), situations(), policies())
def test_no_offer_is_shown_twice_in_one_answer(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    engine, decision = decided(found, situation, policy)
    shown = [offer_id for slate in shown_ids(engine, decision) for offer_id in slate]
    assert len(shown) == len(set(shown))


@QUICK
@given(offers(), situations(), policies())
def test_what_the_request_excludes_is_never_shown(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    engine, decision = decided(found, situation, policy)
    shown = {offer_id for slate in shown_ids(engine, decision) for offer_id in slate}
    assert not shown & situation.excluded
    held = {holding.offer_id for holding in situation.state.holdings}
    assert not shown & held


@QUICK
@given(offers(), situations(), policies())
def test_a_slate_keeps_to_what_was_asked_for(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    engine, decision = decided(found, situation, policy)
    for ask, slate in zip(situation.asks, decision.slates, strict=True):
        placement = engine.placements[ask.placement_id]
        assert len(slate.slots) <= min(ask.k, len(slate.candidates))
        if placement.max_per_need_group is None:
            assert len(slate.slots) == min(ask.k, len(slate.candidates))
        kinds = {engine.catalogue.kinds[slot.position] for slot in slate.slots}
        assert not placement.kinds or kinds <= set(placement.kinds)
        assert [slot.rank for slot in slate.slots] == list(range(1, len(slate.slots) + 1))


@QUICK
@given(offers(), situations(), policies())
def test_every_offer_is_a_candidate_or_refused(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    engine, decision = decided(found, situation, policy)
    for slate in decision.slates:
        refusals = list_refusals(slate, engine)
        # what only a constraint of the list kept out is a candidate too: it could have been drawn
        refused = {one.offer_id for one in refusals if one.rule.rule_id != "need_group_cap"}
        kept_out = {one.offer_id for one in refusals} - refused
        candidates = {engine.catalogue.offer_ids[position] for position in slate.candidates}
        assert not refused & candidates
        assert kept_out <= candidates
        assert refused | candidates == set(engine.catalogue.offer_ids)


@QUICK
@given(offers(), situations(), policies())
def test_what_was_drawn_could_be_drawn(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    _, decision = decided(found, situation, policy)
    for slate in decision.slates:
        drawn = [slot.position for slot in slate.slots]
        assert all(0 < slot.logging_probability <= 1 for slot in slate.slots)
        assert set(drawn) <= set(slate.candidates.tolist())


@QUICK
@given(offers(), situations(), policies(), st.randoms(use_true_random=False))
def test_the_order_in_which_offers_come_changes_nothing(
    found: tuple[Offer, ...], situation: Situation, policy: Policy, rng: object
) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = decided(found, situation, policy), decided(shuffled, situation, policy)
    assert shown_ids(*one) == shown_ids(*other)
    assert [slate.slots for slate in one[1].slates] == [slate.slots for slate in other[1].slates]


@QUICK
@given(offers(), situations(), policies())
def test_switching_profiling_off_leaves_nothing_to_chance(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    off = replace(situation.state.profile or Profile(), is_profiling_allowed=False)
    quiet = replace(situation, state=replace(situation.state, profile=off))
    _, decision = decided(found, quiet, policy)
    assert all(slot.logging_probability == 1.0 for slate in decision.slates for slot in slate.slots)


@QUICK
@given(offers(), situations(), policies(), names)
def test_one_more_exclusion_only_takes_away(
    found: tuple[Offer, ...], situation: Situation, policy: Policy, name: OfferId
) -> None:
    _, before = decided(found, situation, policy)
    _, after = decided(found, replace(situation, excluded=situation.excluded | {name}), policy)
    assert set(after.slates[0].candidates.tolist()) <= set(before.slates[0].candidates.tolist())


@QUICK
@given(offers(), situations(), policies())
def test_candidates_stand_by_descending_priority_then_id(
    found: tuple[Offer, ...], situation: Situation, policy: Policy
) -> None:
    engine, decision = decided(found, situation, policy)
    values = estimate_for(engine.catalogue).probabilities
    for slate in decision.slates:
        keys = [(-values[position], engine.catalogue.offer_ids[position]) for position in slate.candidates]
        assert keys == sorted(keys)


@QUICK
@given(offers(), st.lists(names, unique=True))
def test_an_offer_the_model_never_saw_gets_its_groups_mean_shrunk_to_the_whole(
    found: tuple[Offer, ...], known: list[OfferId]
) -> None:
    catalogue = CompiledCatalogue(found)
    columns = np.linspace(0.1, 0.9, len(known))
    aligned = Alignment(catalogue, OfferIndex(known)).align(columns)
    value_of = dict(zip(known, columns.tolist(), strict=True))
    seen = [offer for offer in catalogue.offers if offer.offer_id in value_of]
    mean = sum(value_of[offer.offer_id] for offer in seen) / len(seen) if seen else 0.0
    for offer, value in zip(catalogue.offers, aligned, strict=True):
        if offer.offer_id in value_of:
            expected = value_of[offer.offer_id]
        else:
            group = [
                value_of[one.offer_id]
                for one in seen
                if offer.need_group is not None and one.need_group == offer.need_group
            ]
            expected = (sum(group) + 3 * mean) / (len(group) + 3)
        assert abs(value - expected) < 1e-12


@QUICK
@given(offers(), st.dictionaries(names, st.integers(0, 9)))
def test_without_a_model_the_most_held_come_first_and_without_holdings_the_catalogue_order(
    found: tuple[Offer, ...], counts: dict[OfferId, int]
) -> None:
    catalogue = CompiledCatalogue(found)
    estimate = fallback_estimate(catalogue, counts)
    ordered = [catalogue.offer_ids[position] for position in estimate.order]
    assert ordered == sorted(catalogue.offer_ids, key=lambda name: (-counts.get(OfferId(name), 0), name))
    assert estimate.target is None
    assert not estimate.is_personalised


def test_a_refresh_in_the_same_window_shows_the_same_list_and_the_next_window_need_not() -> None:
    found = tuple(Offer(name) for name in NAMES)
    all_by_chance = Policy(
        placements=(Placement("home", exploration=Exploration(ExplorationKind.EPSILON, 1.0)),)
    )
    situation = Situation(ClientState(ClientId("c-1")), NOW, (Ask("home", 3),))
    lists = [
        shown_ids(*decided(found, replace(situation, now=NOW + timedelta(hours=hours)), all_by_chance))
        for hours in (0, 5, 11, *range(12, 24 * 10, 24))
    ]
    assert lists[0] == lists[1] == lists[2]
    assert len({tuple(one[0]) for one in lists}) > 1


def test_an_offer_goes_to_the_first_list_that_takes_it() -> None:
    found = (Offer(OfferId("a"), kind=OfferKind.PARTNER), Offer(OfferId("b")), Offer(OfferId("c")))
    policy = Policy(placements=(Placement("banner"), Placement("partners", kinds=(OfferKind.PARTNER,))))
    asks = (Ask("banner", 1), Ask("partners", 2))
    engine, decision = decided(found, Situation(ClientState(ClientId("c-1")), NOW, asks), policy)
    assert shown_ids(engine, decision) == [["a"], []]
    refused = {one.offer_id: one.rule.rule_id for one in list_refusals(decision.slates[1], engine)}
    assert refused == {"a": "shown_above", "b": "placement_kind", "c": "placement_kind"}
    assert {one.stage for one in list_refusals(decision.slates[1], engine)} == {RefusalStage.PLACEMENT}


restrictions = st.builds(
    Restrictions,
    suspended_suppliers=st.sampled_from([frozenset(), frozenset({"s-1"})]),
    spending_limit_minor=st.sampled_from([None, 0, 500]),
)


@QUICK
@given(offers(), st.lists(st.tuples(situations(), restrictions), min_size=1, max_size=5), policies())
def test_requests_decided_together_are_decided_as_if_each_were_alone(
    found: tuple[Offer, ...], asked: list[tuple[Situation, Restrictions]], policy: Policy
) -> None:
    engine = Engine(CompiledCatalogue(found), policy)
    together = [replace(situation, restrictions=limits) for situation, limits in asked]
    estimate = estimate_for(engine.catalogue)
    for situation, decision in zip(
        together, decide_all(together, [estimate] * len(together), engine), strict=True
    ):
        alone = decide(situation, estimate, engine)
        assert (decision.decided_at, decision.valid_until) == (alone.decided_at, alone.valid_until)
        for slate, other in zip(decision.slates, alone.slates, strict=True):
            assert (slate.placement_id, slate.seed, slate.slots) == (
                other.placement_id,
                other.seed,
                other.slots,
            )
            assert slate.candidates.tolist() == other.candidates.tolist()
            assert slate.verdicts.numbers.tolist() == other.verdicts.numbers.tolist()
            assert slate.is_weighed_personally == other.is_weighed_personally
            assert np.array_equal(np.array(slate.factors), np.array(other.factors))
