"""Laws of the contact policy: it agrees with a count over raw events, and time lifts what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.state import Showing, apply_events
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.contact import Contact
from recsys.decision.policy.contact import ContactCap, ContactSpec
from recsys.domain import (
    ClientId,
    ClientState,
    DecisionId,
    Event,
    EventId,
    EventType,
    MemberId,
    Offer,
    OfferId,
)
from recsys.history import hour_of

START = datetime(2025, 1, 1, tzinfo=UTC)
CLIENT = ClientId("c")
OFFERS = {
    offer.offer_id: offer
    for offer in (
        Offer(OfferId("chat"), category="talk", need_group="chat", supplier_id="us"),
        Offer(OfferId("loan"), category="money", need_group="loan", supplier_id="bank"),
        Offer(OfferId("news")),
        Offer(OfferId("pbx"), category="talk", need_group="pbx", supplier_id="us"),
    )
}
CATALOGUE = CompiledCatalogue(OFFERS.values())
PLACEMENTS = ("home", "shop")
SHOWINGS = {
    "d1": Showing("home", "ann"),
    "d2": Showing("shop", "ann"),
    "d3": Showing("home", None),
    "d4": Showing("gone", "bob"),
}
COLUMNS = {"offer": "offer_id", "category": "category", "need_group": "need_group", "supplier": "supplier_id"}
# a dismissal makes an offer rest by itself, whatever the caps
EVENT_TYPES = [event_type for event_type in EventType if event_type is not EventType.DISMISSAL]
EVENTS_DRAWN = st.lists(
    st.builds(
        Event,
        event_id=st.integers(0, 99).map(lambda number: EventId(f"e{number}")),
        event_type=st.sampled_from([EventType.IMPRESSION] * 3 + EVENT_TYPES),
        client_id=st.just(CLIENT),
        # days of few hours each, so that counts come together
        occurred_at=st.tuples(st.sampled_from([0, 1, 2, 6, 7, 8, 60]), st.integers(0, 299)).map(
            lambda drawn: START + timedelta(days=drawn[0], minutes=drawn[1])
        ),
        offer_id=st.sampled_from([*OFFERS, "withdrawn"]).map(OfferId),
        decision_id=st.none() | st.sampled_from([*SHOWINGS, "unknown"]).map(DecisionId),
        member_id=st.none() | st.sampled_from(["ann", "bob"]).map(MemberId),
    ),
    max_size=20,
    unique_by=lambda event: event.event_id,
)
# A cap whose own events clear it counts nothing and is refused.
CAPS = st.fixed_dictionaries(
    {
        "of": st.sampled_from(["impression", "impression", "click"]),
        "per": st.sampled_from(["client", "member"]),
        "over": st.sampled_from([*COLUMNS, "placement", "all"]),
        "within_days": st.sampled_from([1, 2, 7, 90]),
        "at_most": st.integers(0, 4),
        "offers": st.sampled_from([{}, {"suppliers": ["us"]}, ["pbx", "news"]]),
        "placements": st.sampled_from([(), (), ("home",), ("home", "shop")]),
        "reset_on": st.lists(
            st.sampled_from(["click", "application", "activation"]), unique=True, max_size=2
        ),
    }
).filter(lambda cap: cap["of"] not in cap["reset_on"])
CAPS_DRAWN = st.lists(CAPS, min_size=1, max_size=4)
NOWS = st.tuples(st.integers(0, 70), st.integers(0, 400)).map(
    lambda drawn: START + timedelta(days=drawn[0], minutes=drawn[1])
)
MEMBERS = st.sampled_from([None, "ann", "bob"])
Refused = dict[tuple[str, str, str], datetime | None]


def compiled(drawn: Sequence[dict[str, Any]]) -> tuple[list[ContactCap], Contact]:
    named = [{"id": f"cap{number}", **cap} for number, cap in enumerate(drawn)]
    spec = ContactSpec.model_validate({"caps": named})
    return list(spec.caps), Contact(CATALOGUE, spec, PLACEMENTS)


def state_of(events: Sequence[Event], now: datetime) -> ClientState:
    return apply_events(ClientState(CLIENT), events, now, SHOWINGS)


def refused(contact: Contact, state: ClientState, now: datetime, member_id: str | None) -> Refused:
    """Rule, placement and offer of every refusal → until when."""
    found = contact.refusals(state, now, member_id)
    return {
        (refusal.rule_id, placement_id, CATALOGUE.offer_ids[position]): refusal.until
        for placement_id in PLACEMENTS
        for refusal in (*found.everywhere, *found.by_placement.get(placement_id, ()))
        for position in refusal.positions
    }


def showing_of(event: Event) -> tuple[str, str]:
    showing = SHOWINGS.get(event.decision_id or "", Showing("", None))
    return showing.placement_id, event.member_id or showing.member_id or ""


def is_same_thing(cap: ContactCap, event: Event, offer: Offer, placement_id: str) -> bool:
    other = OFFERS.get(event.offer_id or "")
    if not (cap.offers.is_everything if other is None else cap.offers.has(other)):
        return False
    if cap.over == "placement":
        return showing_of(event)[0] == placement_id
    if cap.over == "all":
        return True
    return other is not None and getattr(other, COLUMNS[cap.over]) == getattr(offer, COLUMNS[cap.over])


def is_capped(
    cap: ContactCap, events: Sequence[Event], now: datetime, member_id: str, offer: Offer, placement_id: str
) -> bool:
    """Whether a cap refuses an offer in a placement, by counting the raw events one by one."""
    is_about = cap.offers.has(offer) and (
        cap.over not in COLUMNS or getattr(offer, COLUMNS[cap.over]) is not None
    )
    if not is_about or (cap.placements and placement_id not in cap.placements):
        return False
    same = [event for event in events if is_same_thing(cap, event, offer, placement_id)]
    cleared = [
        hour_of(event.occurred_at)
        for event in same
        if event.event_type in cap.reset_on
        and (cap.per == "client" or showing_of(event)[1] in ("", member_id))
    ]
    counted = [
        event
        for event in same
        if event.event_type == cap.of
        and (not cap.placements or showing_of(event)[0] in cap.placements)
        and (cap.per == "client" or showing_of(event)[1] == member_id)
        and hour_of(now) - 24 * cap.within_days < hour_of(event.occurred_at)
        and not any(hour >= hour_of(event.occurred_at) for hour in cleared)
    ]
    return len(counted) >= cap.at_most


@given(EVENTS_DRAWN, CAPS_DRAWN, NOWS, MEMBERS)
@settings(max_examples=150, deadline=None)
def test_caps_agree_with_a_count_over_the_raw_events(
    events: list[Event], drawn: list[dict[str, Any]], now: datetime, member_id: str | None
) -> None:
    caps, contact = compiled(drawn)
    expected = {
        (cap.id, placement_id, offer.offer_id)
        for cap in caps
        for placement_id in PLACEMENTS
        for offer in OFFERS.values()
        if is_capped(cap, events, now, member_id or "", offer, placement_id)
    }
    assert set(refused(contact, state_of(events, now), now, member_id)) == expected


@given(EVENTS_DRAWN, CAPS_DRAWN, NOWS, MEMBERS)
@settings(max_examples=60, deadline=None)
def test_a_refusal_holds_until_the_instant_it_names(
    events: list[Event], drawn: list[dict[str, Any]], now: datetime, member_id: str | None
) -> None:
    _, contact = compiled(drawn)
    state = state_of(events, now)
    for key, until in refused(contact, state, now, member_id).items():
        if until is None:
            continue
        assert until > now
        assert key in refused(contact, state, until - timedelta(microseconds=1), member_id)
        assert key not in refused(contact, state, until, member_id)


@given(EVENTS_DRAWN, EVENTS_DRAWN, CAPS_DRAWN, NOWS, MEMBERS)
@settings(max_examples=60, deadline=None)
def test_more_contacts_never_lift_a_refusal(
    events: list[Event],
    more: list[Event],
    drawn: list[dict[str, Any]],
    now: datetime,
    member_id: str | None,
) -> None:
    caps, contact = compiled(drawn)
    lifting = {event_type for cap in caps for event_type in cap.reset_on}
    added = [event for event in more if event.event_type not in lifting]
    before = refused(contact, state_of(events, now), now, member_id)
    after = refused(contact, state_of([*events, *added], now), now, member_id)
    assert before.keys() <= after.keys()


@given(EVENTS_DRAWN, CAPS_DRAWN, MEMBERS)
@settings(max_examples=30, deadline=None)
def test_after_the_period_everything_is_free_again(
    events: list[Event], drawn: list[dict[str, Any]], member_id: str | None
) -> None:
    caps, contact = compiled([{**cap, "at_most": max(1, cap["at_most"])} for cap in drawn])
    latest = max((event.occurred_at for event in events), default=START)
    later = latest + timedelta(days=max(cap.within_days for cap in caps))
    assert refused(contact, state_of(events, latest), later, member_id) == {}


@given(EVENTS_DRAWN, CAPS_DRAWN, NOWS, MEMBERS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_events_makes_no_difference(
    events: list[Event],
    drawn: list[dict[str, Any]],
    now: datetime,
    member_id: str | None,
    random: Any,
) -> None:
    _, contact = compiled(drawn)
    shuffled = random.sample(events, len(events))
    one, other = (refused(contact, state_of(told, now), now, member_id) for told in (events, shuffled))
    assert one == other
