"""Contact policy: cool-downs, caps and silence, each to the instant at which it ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.data.state import Showing, apply_events
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.contact import Contact, ContactRefusal
from recsys.decision.policy.contact import ContactSpec
from recsys.domain import (
    ClientId,
    ClientState,
    DecisionId,
    Dismissal,
    DismissalReason,
    Event,
    EventId,
    EventType,
    MemberId,
    Offer,
    OfferId,
    OfferKind,
)
from recsys.history import Complaint, History

T0 = datetime(2025, 1, 1, 10, 59, tzinfo=UTC)
TEN = datetime(2025, 1, 1, 10, tzinfo=UTC)
HOUR, DAY, TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
CLIENT = ClientId("c")
CATALOGUE = CompiledCatalogue(
    [
        Offer(OfferId("chat"), category="talk", need_group="chat", supplier_id="us"),
        Offer(OfferId("loan"), OfferKind.PARTNER, category="money", need_group="loan", supplier_id="bank"),
        Offer(OfferId("news"), OfferKind.CONTENT),
        Offer(OfferId("pbx"), category="talk", need_group="pbx", supplier_id="us"),
    ]
)
CHAT, LOAN, NEWS, PBX = range(4)
SHOWINGS = {
    "home-ann": Showing("home", "ann"),
    "home-bob": Showing("home", "bob"),
    "shop-ann": Showing("shop", "ann"),
    "home": Showing("home", None),
    "gone": Showing("gone", "ann"),
}


def contact(*caps: dict[str, Any], **others: Any) -> Contact:
    named = [{"id": f"cap{number}", "within_days": 1, **cap} for number, cap in enumerate(caps, start=1)]
    return Contact(CATALOGUE, ContactSpec.model_validate({"caps": named, **others}), ["home", "shop"])


def happened(*events: tuple[str, str, str, timedelta]) -> ClientState:
    """The state after events, each a type, an offer, a decision and a delay after T0."""
    told = [
        Event(
            EventId(str(number)),
            EventType(event_type),
            CLIENT,
            T0 + delay,
            OfferId(offer_id),
            decision_id=DecisionId(decision_id) if decision_id else None,
        )
        for number, (event_type, offer_id, decision_id, delay) in enumerate(events)
    ]
    return apply_events(ClientState(CLIENT), told, T0, SHOWINGS)


def seen(offer_id: str, decision_id: str = "home-ann", delay: timedelta = 0 * HOUR) -> tuple[Any, ...]:
    return ("impression", offer_id, decision_id, delay)


def listed(refusals: Sequence[ContactRefusal]) -> list[tuple[str, list[int], datetime | None]]:
    return [(each.rule_id, each.positions.tolist(), each.until) for each in refusals]


class TestCoolDowns:
    @pytest.mark.parametrize(
        ("reason", "days"),
        [("not_now", 30), ("irrelevant", 180), ("have_elsewhere", 365), ("too_expensive", 90)],
    )
    def test_an_offer_rests_by_the_reason_of_its_dismissal(self, reason: str, days: int) -> None:
        state = ClientState(CLIENT, dismissals=(Dismissal(OfferId("pbx"), DismissalReason(reason), T0),))
        until = T0 + days * DAY
        assert listed(contact().refusals(state, until - TICK).everywhere) == [
            (f"dismissed_{reason}", [PBX], until)
        ]
        assert contact().refusals(state, until) == ([], {})

    def test_what_the_catalogue_lacks_and_what_need_not_rest(self) -> None:
        reason = DismissalReason.NOT_NOW
        dismissals = (Dismissal(OfferId("gone"), reason, T0), Dismissal(OfferId("pbx"), reason, T0))
        state = ClientState(CLIENT, dismissals=dismissals)
        assert contact(cool_downs={"not_now": 0}).refusals(state, T0) == ([], {})
        assert len(contact().refusals(state, T0).everywhere) == 1


class TestComplaint:
    STATE = ClientState(CLIENT, history=History(complaint=Complaint(T0)))

    def test_silence_ends_after_its_days(self) -> None:
        quiet = contact(complaint={"silence_days": 14})
        assert listed(quiet.refusals(self.STATE, T0 + 14 * DAY - TICK).everywhere) == [
            ("complaint_open", [CHAT, LOAN, NEWS, PBX], T0 + 14 * DAY)
        ]
        assert quiet.refusals(self.STATE, T0 + 14 * DAY) == ([], {})
        assert quiet.refusals(ClientState(CLIENT), T0) == ([], {})

    def test_service_messages_are_exempt(self) -> None:
        quiet = contact(complaint={"except": {"kinds": ["content"]}})
        ((_, positions, _),) = listed(quiet.refusals(self.STATE, T0).everywhere)
        assert positions == [CHAT, LOAN, PBX]

    def test_without_silence_a_complaint_changes_nothing(self) -> None:
        assert contact().refusals(self.STATE, T0) == ([], {})


def test_a_history_that_no_rule_asks_for_stays_unread() -> None:
    state = ClientState(CLIENT, history=History.from_json(b"this is not JSON"))
    assert contact().refusals(state, T0) == ([], {})


class TestCaps:
    def test_the_last_allowed_contact_closes_and_a_full_hour_opens(self) -> None:
        capped = contact({"at_most": 2})
        assert capped.refusals(happened(seen("pbx")), T0) == ([], {})
        # seen at 10:59 and 12:59: contacts are counted by hour, so at 10:00 of the next day one is left
        state = happened(seen("pbx"), seen("pbx", delay=2 * HOUR))
        until = TEN + DAY
        for now in (T0 + 2 * HOUR, until - TICK):
            assert listed(capped.refusals(state, now).everywhere) == [("cap1", [PBX], until)]
        assert capped.refusals(state, until) == ([], {})

    def test_more_contacts_than_allowed_need_more_time(self) -> None:
        state = happened(*[seen("pbx", delay=hour * HOUR) for hour in range(4)])
        ((_, _, until),) = listed(contact({"at_most": 2}).refusals(state, T0 + 4 * HOUR).everywhere)
        assert until == TEN + DAY + 2 * HOUR

    @pytest.mark.parametrize(
        ("cap", "expected"),
        [
            ({"over": "offer"}, []),
            ({"over": "category"}, [[CHAT, PBX]]),
            ({"over": "need_group"}, []),
            ({"over": "supplier"}, [[CHAT, PBX]]),
            ({"over": "all"}, [[CHAT, LOAN, NEWS, PBX]]),
            ({"over": "all", "offers": {"categories": ["talk"]}}, [[CHAT, PBX]]),
            ({"over": "category", "offers": ["pbx", "loan"]}, []),
            ({"over": "all", "offers": {"kinds": ["partner"]}}, []),
            ({"over": "all", "of": "click"}, []),
        ],
    )
    def test_what_shares_a_count(self, cap: dict[str, Any], expected: list[list[int]]) -> None:
        state = happened(seen("chat"), seen("pbx"), ("click", "loan", "home-ann", 0 * HOUR))
        refused = contact({"at_most": 2, **cap}).refusals(state, T0)
        assert [positions for _, positions, _ in listed(refused.everywhere)] == expected
        assert refused.by_placement == {}

    def test_offers_without_a_category_share_no_count(self) -> None:
        state = happened(seen("news"), seen("news"))
        assert contact({"at_most": 1, "over": "category"}).refusals(state, T0) == ([], {})

    def test_offers_that_are_gone_count_among_all(self) -> None:
        state = happened(seen("withdrawn"), seen("pbx"))
        every, some = {"at_most": 2, "over": "all"}, {"at_most": 2, "over": "all", "offers": ["pbx", "chat"]}
        found = contact(every, some, {"at_most": 1, "over": "supplier"}).refusals(state, T0).everywhere
        assert {each.rule_id: len(each.positions) for each in found} == {"cap1": 4, "cap3": 2}

    @pytest.mark.parametrize("counted", ["application", "activation"])
    def test_applications_and_activations_are_counted_too(self, counted: str) -> None:
        capped = contact({"of": counted, "at_most": 1})
        state = happened(
            seen("chat"), ("click", "chat", "home-ann", 0 * HOUR), (counted, "pbx", "", 0 * HOUR)
        )
        assert listed(capped.refusals(state, T0).everywhere) == [("cap1", [PBX], TEN + DAY)]

    def test_an_activation_clears_the_applications(self) -> None:
        capped = contact({"of": "application", "at_most": 1, "reset_on": ["activation"]})
        applied = ("application", "pbx", "home-ann", 0 * HOUR)
        assert capped.refusals(happened(applied), T0).everywhere
        assert capped.refusals(happened(applied, ("activation", "pbx", "", HOUR)), T0) == ([], {})

    def test_a_cap_of_nothing_always_refuses(self) -> None:
        never, never_at_home = (
            {"at_most": 0, "offers": ["pbx", "loan"]},
            {"at_most": 0, "placements": ["home"]},
        )
        found = contact(never, never_at_home).refusals(ClientState(CLIENT), T0)
        assert listed(found.everywhere) == [("cap1", [LOAN, PBX], None)]
        assert {name: listed(each) for name, each in found.by_placement.items()} == {
            "home": [("cap2", [CHAT, LOAN, NEWS, PBX], None)]
        }


class TestPlacements:
    def test_a_cap_of_some_placements_counts_and_refuses_there_only(self) -> None:
        capped = contact({"at_most": 1, "placements": ["home", "side"]})
        assert capped.refusals(happened(seen("pbx", "shop-ann"), seen("loan", "")), T0) == ([], {})
        found = capped.refusals(happened(seen("pbx", "home-ann")), T0)
        assert found.everywhere == []
        expected = [("cap1", [PBX], TEN + DAY)]
        assert {name: listed(each) for name, each in found.by_placement.items()} == {
            "home": expected,
            "side": expected,
        }

    def test_each_placement_has_a_count_of_its_own(self) -> None:
        capped = contact({"at_most": 2, "over": "placement", "offers": {"categories": ["talk"]}})
        state = happened(
            seen("pbx"),
            seen("chat"),
            seen("pbx", "shop-ann"),
            seen("loan", "shop-ann"),
            *[seen("pbx", "")] * 3,
        )
        found = capped.refusals(state, T0)
        assert found.everywhere == []
        assert {name: listed(each) for name, each in found.by_placement.items()} == {
            "home": [("cap1", [CHAT, PBX], TEN + DAY)]
        }

    def test_a_placement_that_is_gone_is_none(self) -> None:
        state = happened(seen("pbx", "gone"), seen("pbx", "gone"))
        assert contact({"at_most": 1, "over": "placement"}).refusals(state, T0) == ([], {})
        assert len(contact({"at_most": 2}).refusals(state, T0).everywhere) == 1


class TestMembers:
    def test_each_member_has_a_count_of_its_own(self) -> None:
        capped = contact({"at_most": 2, "per": "member"})
        state = happened(seen("pbx"), seen("pbx", "shop-ann"), seen("pbx", "home-bob"), seen("pbx", "home"))
        refused = [
            bool(capped.refusals(state, T0, member_id).everywhere) for member_id in ("ann", "bob", None)
        ]
        assert refused == [True, False, False]
        assert len(contact({"at_most": 4}).refusals(state, T0, "bob").everywhere) == 1

    def test_the_member_of_the_event_goes_before_that_of_the_decision(self) -> None:
        event = Event(
            EventId("e"),
            EventType.IMPRESSION,
            CLIENT,
            T0,
            OfferId("pbx"),
            DecisionId("home-ann"),
            MemberId("bob"),
        )
        state = apply_events(ClientState(CLIENT), [event], T0, SHOWINGS)
        capped = contact({"at_most": 1, "per": "member"})
        assert capped.refusals(state, T0, "ann") == ([], {})
        assert len(capped.refusals(state, T0, "bob").everywhere) == 1

    def test_contacts_of_nobody_known_count_for_nobody_known(self) -> None:
        capped = contact({"at_most": 1, "per": "member"})
        state = happened(seen("pbx", "home"))
        assert len(capped.refusals(state, T0).everywhere) == 1
        assert capped.refusals(state, T0, "ann") == ([], {})


class TestResets:
    CAP = {"at_most": 1, "reset_on": ["click", "application"]}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("delay", "is_refused"), [(-HOUR, True), (-59 * timedelta(minutes=1), False), (HOUR, False)]
    )
    def test_a_later_click_clears_the_count_and_so_does_one_of_the_same_hour(
        self, delay: timedelta, is_refused: bool
    ) -> None:
        state = happened(seen("pbx"), ("click", "pbx", "home-ann", delay))
        assert bool(contact(self.CAP).refusals(state, T0 + HOUR).everywhere) is is_refused

    def test_what_is_seen_after_the_click_counts_again(self) -> None:
        state = happened(
            seen("pbx"), ("click", "pbx", "home-ann", 0 * HOUR), seen("pbx", "home-ann", 2 * HOUR)
        )
        ((_, _, until),) = listed(contact(self.CAP).refusals(state, T0 + 2 * HOUR).everywhere)
        assert until == TEN + 2 * HOUR + DAY

    def test_only_the_same_thing_clears(self) -> None:
        state = happened(seen("pbx"), ("click", "chat", "home-ann", HOUR), ("activation", "pbx", "", HOUR))
        assert len(contact(self.CAP).refusals(state, T0 + HOUR).everywhere) == 1
        assert contact({**self.CAP, "over": "supplier"}).refusals(state, T0 + HOUR) == ([], {})

    def test_another_member_does_not_clear_and_nobody_known_does(self) -> None:
        capped = contact({**self.CAP, "per": "member"})
        by_bob = happened(seen("pbx"), ("click", "pbx", "home-bob", HOUR))
        by_nobody = happened(seen("pbx"), ("application", "pbx", "", HOUR))
        assert len(capped.refusals(by_bob, T0 + HOUR, "ann").everywhere) == 1
        assert capped.refusals(by_nobody, T0 + HOUR, "ann") == ([], {})

    def test_in_a_cap_over_placements_only_the_same_placement_clears(self) -> None:
        capped = contact({**self.CAP, "over": "placement"})
        state = happened(seen("pbx"), seen("pbx", "shop-ann"), ("click", "pbx", "shop-ann", HOUR))
        assert list(capped.refusals(state, T0 + HOUR).by_placement) == ["home"]


def test_no_activity_no_refusal() -> None:
    assert contact({"at_most": 1}, {"at_most": 1, "over": "all"}).refusals(ClientState(CLIENT), T0) == (
        [],
        {},
    )
