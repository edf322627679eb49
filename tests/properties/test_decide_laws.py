"""Laws that every decision keeps, whatever the catalogue, the client and the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.decision.arbitration import Alignment, Estimate, fallback_estimate, rank
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.contact import CoolDowns, let_rest
from recsys.decision.decide import Ask, Decision, Policy, Situation, decide, list_refusals
from recsys.decision.engagement import engage
from recsys.decision.exploration import draw_probability
from recsys.decision.refusals import Rule
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
    Placement,
    Profile,
    Target,
)
from recsys.models.base import OfferIndex

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
    kinds = st.lists(st.sampled_from(OfferKind), max_size=2, unique=True).map(tuple)
    asks = tuple(
        Ask(
            Placement(
                f"p-{number}",
                kinds=draw(kinds),
                exploration_share=draw(st.sampled_from([0.0, 0.2, 1.0])),
            ),
            k=draw(st.integers(1, 5)),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    return Situation(state, NOW, asks, frozenset(draw(some_names)))


days = st.integers(0, 400)


def estimate_for(catalogue: CompiledCatalogue) -> Estimate:
    """Every offer's probability follows from its id alone; two of them tie."""
    values = np.array([{"a": 0.5, "b": 0.5}.get(name, ord(name) % 7 / 10) for name in catalogue.offer_ids])
    return Estimate(values, rank(values, values), Basis.HOLDINGS, Target.ADOPTION, is_personalised=True)


def decided(found: Sequence[Offer], situation: Situation) -> tuple[CompiledCatalogue, Decision]:
    catalogue = CompiledCatalogue(found)
    return catalogue, decide(situation, estimate_for(catalogue), catalogue, Policy())


def shown_ids(catalogue: CompiledCatalogue, decision: Decision) -> list[list[str]]:
    return [[catalogue.offer_ids[slot.position] for slot in slate.slots] for slate in decision.slates]


@QUICK
@given(offers(), situations())
def test_no_later_step_reinstates_what_an_earlier_one_refused(
    found: tuple[Offer, ...], situation: Situation
) -> None:
    catalogue, decision = decided(found, situation)
    profile = situation.state.profile or Profile()
    alone = catalogue.rules_without_holdings(profile.region, profile.legal_form, NOW)
    standing = [rule if rule is not Rule.REQUIRES else None for rule in alone]
    engaged = engage(catalogue, situation.state, NOW)
    rested = engage(catalogue, situation.state, NOW)
    let_rest(rested, catalogue, situation.state, NOW, CoolDowns())
    for earlier, later in (
        (standing, engaged.rules),
        (engaged.rules, rested.rules),
        (rested.rules, decision.verdicts.rules),
    ):
        assert all(new is old for old, new in zip(earlier, later, strict=True) if old is not None)
    shown = {slot.position for slate in decision.slates for slot in slate.slots}
    assert all(decision.verdicts.rules[position] is None for position in shown)


@QUICK
@given(offers(), situations())
def test_no_offer_is_shown_twice_in_one_answer(found: tuple[Offer, ...], situation: Situation) -> None:
    catalogue, decision = decided(found, situation)
    shown = [offer_id for slate in shown_ids(catalogue, decision) for offer_id in slate]
    assert len(shown) == len(set(shown))


@QUICK
@given(offers(), situations())
def test_what_the_request_excludes_is_never_shown(found: tuple[Offer, ...], situation: Situation) -> None:
    catalogue, decision = decided(found, situation)
    shown = {offer_id for slate in shown_ids(catalogue, decision) for offer_id in slate}
    assert not shown & situation.excluded
    held = {holding.offer_id for holding in situation.state.holdings}
    assert not shown & held


@QUICK
@given(offers(), situations())
def test_a_slate_is_as_long_as_asked_for_or_as_its_candidates(
    found: tuple[Offer, ...], situation: Situation
) -> None:
    catalogue, decision = decided(found, situation)
    for ask, slate in zip(situation.asks, decision.slates, strict=True):
        assert len(slate.slots) == min(ask.k, len(slate.candidates))
        kinds = {catalogue.kinds[slot.position] for slot in slate.slots}
        assert not ask.placement.kinds or kinds <= set(ask.placement.kinds)
        assert [slot.rank for slot in slate.slots] == list(range(1, len(slate.slots) + 1))


@QUICK
@given(offers(), situations())
def test_every_offer_is_a_candidate_or_refused_never_both(
    found: tuple[Offer, ...], situation: Situation
) -> None:
    catalogue, decision = decided(found, situation)
    for slate in decision.slates:
        refused = [refusal.offer_id for refusal in list_refusals(decision, slate, catalogue)]
        candidates = [catalogue.offer_ids[position] for position in slate.candidates]
        assert sorted(refused + candidates) == sorted(catalogue.offer_ids)


@QUICK
@given(offers(), situations())
def test_the_probabilities_of_each_draw_sum_to_one_and_the_logged_one_is_among_them(
    found: tuple[Offer, ...], situation: Situation
) -> None:
    _, decision = decided(found, situation)
    for ask, slate in zip(situation.asks, decision.slates, strict=True):
        share = ask.placement.exploration_share if situation.is_profiling_allowed else 0.0
        allowed = list(slate.candidates)
        for slot in slate.slots:
            of = {
                position: draw_probability(place == 0, len(allowed), share)
                for place, position in enumerate(allowed)
            }
            assert abs(sum(Fraction(p) for p in of.values()) - 1) < Fraction(1, 10**12)
            assert slot.logging_probability == of[slot.position]
            assert slot.logging_probability > 0
            allowed.remove(slot.position)


@QUICK
@given(offers(), situations(), st.randoms(use_true_random=False))
def test_the_order_in_which_offers_come_changes_nothing(
    found: tuple[Offer, ...], situation: Situation, rng: object
) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert shown_ids(*decided(found, situation)) == shown_ids(*decided(shuffled, situation))
    assert decided(found, situation)[1] == decided(shuffled, situation)[1]


@QUICK
@given(offers(), situations())
def test_switching_profiling_off_leaves_nothing_to_chance(
    found: tuple[Offer, ...], situation: Situation
) -> None:
    off = replace(situation.state.profile or Profile(), is_profiling_allowed=False)
    quiet = replace(situation, state=replace(situation.state, profile=off))
    _, decision = decided(found, quiet)
    assert all(slot.logging_probability == 1.0 for slate in decision.slates for slot in slate.slots)
    for ask, slate in zip(situation.asks, decision.slates, strict=True):
        assert [slot.position for slot in slate.slots] == list(slate.candidates[: ask.k])


@QUICK
@given(offers(), situations(), names)
def test_one_more_exclusion_only_takes_away(
    found: tuple[Offer, ...], situation: Situation, name: OfferId
) -> None:
    _, before = decided(found, situation)
    _, after = decided(found, replace(situation, excluded=situation.excluded | {name}))
    assert set(after.slates[0].candidates) <= set(before.slates[0].candidates)


@QUICK
@given(offers(), situations())
def test_candidates_stand_by_descending_priority_then_id(
    found: tuple[Offer, ...], situation: Situation
) -> None:
    catalogue, decision = decided(found, situation)
    values = estimate_for(catalogue).probabilities
    for slate in decision.slates:
        keys = [(-values[position], catalogue.offer_ids[position]) for position in slate.candidates]
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
    ask = Ask(Placement("home", exploration_share=1.0), 3)
    situation = Situation(ClientState(ClientId("c-1")), NOW, (ask,))
    lists = [
        shown_ids(*decided(found, replace(situation, now=NOW + timedelta(hours=hours))))
        for hours in (0, 5, 11, *range(12, 24 * 10, 24))
    ]
    assert lists[0] == lists[1] == lists[2]
    assert len({tuple(one[0]) for one in lists}) > 1


def test_an_offer_goes_to_the_first_list_that_takes_it() -> None:
    found = (Offer(OfferId("a"), kind=OfferKind.PARTNER), Offer(OfferId("b")), Offer(OfferId("c")))
    asks = (Ask(Placement("banner"), 1), Ask(Placement("partners", kinds=(OfferKind.PARTNER,)), 2))
    catalogue, decision = decided(found, Situation(ClientState(ClientId("c-1")), NOW, asks))
    first = shown_ids(catalogue, decision)
    assert first == [["a"], []]
    refused = {one.offer_id: one.rule for one in list_refusals(decision, decision.slates[1], catalogue)}
    assert refused == {"a": Rule.SHOWN_ABOVE, "b": Rule.PLACEMENT_KIND, "c": Rule.PLACEMENT_KIND}
