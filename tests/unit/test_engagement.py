"""What may be proposed at all, and which rule refuses the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.data.offers import price_for
from recsys.decision.availability import NO_RESTRICTIONS, Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.contact import Contact
from recsys.decision.engagement import Engagement, Verdicts
from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.refusals import RefusalStage
from recsys.decision.rulebook import NO_RULE, RuleBook
from recsys.domain import (
    Change,
    ClientId,
    ClientState,
    Dismissal,
    DismissalReason,
    Holding,
    LegalForm,
    Offer,
    OfferId,
    Price,
    PricePeriod,
    Profile,
    Size,
    Stage,
)

NOW = datetime(2024, 10, 1, 12, tzinfo=UTC)
MONTH = PricePeriod.MONTH

START = Offer(OfferId("pbx-start"), exclusive_slot="pbx", upgrades_to=OfferId("pbx-pro"))
PRO = Offer(
    OfferId("pbx-pro"),
    exclusive_slot="pbx",
    upgrades_to=OfferId("pbx-max"),
    excludes=(OfferId("pbx-start"),),
)
MAX = Offer(OfferId("pbx-max"), exclusive_slot="pbx")
RECORDING = Offer(OfferId("recording"), requires=((START.offer_id, PRO.offer_id, MAX.offer_id),))
CONNECTOR = Offer(OfferId("connector"), requires=((START.offer_id, PRO.offer_id), (OfferId("crm"),)))
CRM = Offer(OfferId("crm"))
NO_CRM = Offer(OfferId("no-crm"), excludes=(CRM.offer_id,))
OFFERS = (START, PRO, MAX, RECORDING, CONNECTOR, CRM, NO_CRM)


def state_with(*offer_ids: str, profile: Profile | None = None) -> ClientState:
    return ClientState(
        ClientId("c-1"),
        version=1,
        profile=profile,
        holdings=tuple(
            Holding(f"h-{offer_id}", OfferId(offer_id), NOW - timedelta(days=30)) for offer_id in offer_ids
        ),
    )


class Judged:
    """The verdicts of a policy on one client, with the rules by their ids."""

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        state: ClientState,
        now: datetime = NOW,
        spec: EngagementSpec | None = None,
        restrictions: Restrictions = NO_RESTRICTIONS,
    ) -> None:
        self.catalogue = catalogue
        spec = spec or EngagementSpec()
        self.book = RuleBook(spec, ContactSpec())
        engagement = Engagement(catalogue, spec, self.book)
        self.verdicts: Verdicts = engagement.engage([state], Moment(now), restrictions)[0]

    def __getitem__(self, offer_id: str) -> str | None:
        number = int(self.verdicts.numbers[self.catalogue.positions[offer_id]])
        return None if number == NO_RULE else self.book[number].rule_id

    def change_of(self, offer_id: str) -> Change:
        return self.verdicts.change_of(self.catalogue.positions[offer_id])


def rule_of(offer: Offer, state: ClientState, *others: Offer, now: datetime = NOW) -> str | None:
    return Judged(CompiledCatalogue((offer, *others)), state, now)[offer.offer_id]


def policy(**written: Any) -> EngagementSpec:
    return EngagementSpec.model_validate(written)


def test_an_offer_without_conditions_is_a_candidate_for_anybody() -> None:
    assert rule_of(Offer(OfferId("plain")), state_with()) is None


@pytest.mark.parametrize(
    ("offer", "rule"),
    [
        pytest.param(Offer(OfferId("a"), is_stopped=True), "stopped", id="stopped by hand"),
        pytest.param(Offer(OfferId("a"), valid_from=NOW + timedelta(1)), "not_yet_live", id="tomorrow"),
        pytest.param(Offer(OfferId("a"), valid_from=NOW), None, id="live from this moment"),
        pytest.param(Offer(OfferId("a"), valid_to=NOW), "no_longer_live", id="the end is excluded"),
        pytest.param(Offer(OfferId("a"), valid_to=NOW + timedelta(1)), None, id="ends tomorrow"),
        pytest.param(Offer(OfferId("a"), regions=("16",)), "region", id="another region"),
        pytest.param(Offer(OfferId("a"), regions=("16", "77")), None, id="one of the regions"),
        pytest.param(Offer(OfferId("a"), legal_forms=(LegalForm.NOTARY,)), "legal_form", id="another form"),
        pytest.param(Offer(OfferId("a"), legal_forms=(LegalForm.LLC,)), None, id="this legal form"),
    ],
)
def test_availability_and_legal_form(offer: Offer, rule: str | None) -> None:
    state = state_with(profile=Profile(region="77", legal_form=LegalForm.LLC))
    assert rule_of(offer, state) == rule


def test_what_is_unknown_fails_a_restriction() -> None:
    assert rule_of(Offer(OfferId("a"), regions=("77",)), state_with()) == "region"
    assert rule_of(Offer(OfferId("a"), legal_forms=(LegalForm.LLC,)), state_with()) == "legal_form"


def test_the_verdict_follows_the_dates_of_one_compiled_catalogue() -> None:
    catalogue = CompiledCatalogue([Offer(OfferId("a"), valid_from=NOW, valid_to=NOW + timedelta(days=1))])
    book = RuleBook(EngagementSpec(), ContactSpec())
    engagement = Engagement(catalogue, EngagementSpec(), book)
    moments = [NOW - timedelta(seconds=1), NOW, NOW + timedelta(hours=23), NOW + timedelta(days=1), NOW]
    numbers = [int(engagement.engage([state_with()], Moment(at)).numbers[0, 0]) for at in moments]
    rules = [None if number == NO_RULE else book[number].rule_id for number in numbers]
    assert rules == ["not_yet_live", None, None, "no_longer_live", None]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ((), {"recording": "requires", "connector": "requires"}),
        (("pbx-start",), {"recording": None, "connector": "requires"}),
        (("crm",), {"recording": "requires", "connector": "requires"}),
        (("pbx-pro", "crm"), {"recording": None, "connector": None}),
        (("pbx-max", "crm"), {"recording": None, "connector": "requires"}),
    ],
)
def test_all_groups_must_be_met_each_by_any_one_of_its_offers(
    held: tuple[str, ...], expected: dict[str, str | None]
) -> None:
    judged = Judged(CompiledCatalogue(OFFERS), state_with(*held))
    assert {name: judged[name] for name in expected} == expected


def test_the_next_edition_is_an_upgrade_and_the_others_of_the_slot_are_refused() -> None:
    judged = Judged(CompiledCatalogue(OFFERS), state_with("pbx-start"))
    assert judged["pbx-start"] == "already_connected"
    assert judged["pbx-pro"] is None, "neither the slot nor the exclusion of the old edition"
    assert judged.change_of("pbx-pro") is Change.UPGRADE
    assert judged["pbx-max"] == "exclusive_slot"
    assert judged.change_of("crm") is Change.NEW


def test_an_edition_that_is_held_already_is_no_upgrade() -> None:
    judged = Judged(CompiledCatalogue(OFFERS), state_with("pbx-start", "pbx-pro"))
    assert judged["pbx-pro"] == "already_connected"
    changes = {offer.offer_id: judged.change_of(offer.offer_id) for offer in OFFERS}
    assert {name for name, change in changes.items() if change is Change.UPGRADE} == {"pbx-max"}


def test_an_exclusion_holds_in_both_directions() -> None:
    assert rule_of(NO_CRM, state_with("crm"), CRM) == "excludes"
    assert rule_of(CRM, state_with("no-crm"), NO_CRM) == "excludes"


def test_an_exclusion_of_a_withdrawn_offer_still_refuses() -> None:
    assert rule_of(NO_CRM, state_with("crm")) == "excludes"


@pytest.mark.parametrize(
    ("reason", "days"),
    [
        (DismissalReason.NOT_NOW, 30),
        (DismissalReason.IRRELEVANT, 180),
        (DismissalReason.HAVE_ELSEWHERE, 365),
        (DismissalReason.TOO_EXPENSIVE, 90),
    ],
)
def test_a_dismissed_offer_rests_for_the_days_of_its_reason(reason: DismissalReason, days: int) -> None:
    catalogue = CompiledCatalogue([CRM])
    contact = Contact(catalogue, ContactSpec(), [])
    state = ClientState(ClientId("c-1"), 1, dismissals=(Dismissal(CRM.offer_id, reason, NOW),))

    def rule_after(delay: timedelta) -> str | None:
        judged = Judged(catalogue, state, NOW + delay)
        for refusal in contact.refusals(state, NOW + delay).everywhere:
            judged.verdicts.refuse(refusal.positions, judged.book.number_of(refusal.rule_id))
        return judged[CRM.offer_id]

    almost = rule_after(timedelta(days=days) - timedelta(seconds=1))
    assert almost == f"dismissed_{reason.value}"
    book = RuleBook(EngagementSpec(), ContactSpec())
    assert book[book.number_of(almost)].stage is RefusalStage.CONTACT_POLICY
    assert rule_after(timedelta(days=days)) is None


def test_a_dismissal_of_an_offer_that_left_the_catalogue_does_no_harm() -> None:
    gone = Dismissal(OfferId("gone"), DismissalReason.NOT_NOW, NOW)
    state = ClientState(ClientId("c-1"), 1, dismissals=(gone,))
    assert not Contact(CompiledCatalogue([CRM]), ContactSpec(), []).refusals(state, NOW).everywhere


def test_a_later_refusal_gives_way_to_an_earlier_one_and_never_clears_it() -> None:
    judged = Judged(
        CompiledCatalogue([Offer(OfferId("a"), is_stopped=True), Offer(OfferId("b"))]), state_with()
    )
    judged.verdicts.refuse([0, 1], judged.book.number_of("complaint_open"))
    assert (judged["a"], judged["b"]) == ("stopped", "complaint_open")
    assert not judged.verdicts.is_candidate.any()


@pytest.mark.parametrize(
    ("restrictions", "rule"),
    [
        (NO_RESTRICTIONS, None),
        (Restrictions(suspended_suppliers=frozenset({"bank-a"})), "supplier_suspended"),
        (Restrictions(suspended_suppliers=frozenset({"bank-b"})), None),
        (Restrictions(used_up_caps=frozenset({"leads"})), "leads"),
        (Restrictions(used_up_caps=frozenset({"of-another-policy"})), None),
        (Restrictions(frozenset({"bank-a"}), frozenset({"leads"})), "supplier_suspended"),
        (Restrictions(spending_limit_minor=99), "budget_limit"),
        (Restrictions(spending_limit_minor=100), None),
    ],
)
def test_what_restricts_offers_at_the_moment(restrictions: Restrictions, rule: str | None) -> None:
    account = Offer(OfferId("account"), supplier_id="bank-a", prices=(Price(100, MONTH),))
    other = Offer(OfferId("other"), supplier_id="shop")
    caps = [{"id": "leads", "offers": {"suppliers": ["bank-a"]}, "at_most": 50, "per": "day"}]
    spec = policy(volume_caps=caps)
    judged = Judged(CompiledCatalogue([account, other]), state_with(), spec=spec, restrictions=restrictions)
    assert judged["account"] == rule
    assert judged["other"] is None, "another supplier, out of the cap, and without a price"


@pytest.mark.parametrize(
    ("written", "n_employees", "is_refused"),
    [
        ({"only_if": {"field": "n_employees", "at_least": 10}}, 10, False),
        ({"only_if": {"field": "n_employees", "at_least": 10}}, 9, True),
        ({"only_if": {"field": "n_employees", "at_least": 10}}, None, True),
        ({"only_if": {"field": "n_employees", "at_least": 10}, "unknown": "allow"}, None, False),
        ({"only_if": {"field": "n_employees", "at_least": 10}, "unknown": "allow"}, 9, True),
        ({"never_if": {"field": "n_employees", "at_least": 10}}, 10, True),
        ({"never_if": {"field": "n_employees", "at_least": 10}}, 9, False),
        ({"never_if": {"field": "n_employees", "at_least": 10}}, None, False),
        ({"never_if": {"field": "n_employees", "at_least": 10}, "unknown": "refuse"}, None, True),
        ({"never_if": {"field": "n_employees", "at_least": 10}, "unknown": "refuse"}, 9, False),
    ],
)
def test_a_rule_says_what_the_unknown_does(
    written: dict[str, Any], n_employees: int | None, is_refused: bool
) -> None:
    spec = policy(rules=[{"id": "staff", "stage": "applicability", "offers": ["crm"], **written}])
    state = state_with(profile=Profile(n_employees=n_employees))
    judged = Judged(CompiledCatalogue([CRM, START]), state, spec=spec)
    assert judged["crm"] == ("staff" if is_refused else None)
    assert judged["pbx-start"] is None, "the rule is not about it"


def test_the_first_rule_in_the_order_of_the_funnel_refuses() -> None:
    never = {"context": "channel", "is_missing": True}
    rules = [
        {"id": stage, "stage": stage, "never_if": never}
        for stage in ("suitability", "applicability", "eligibility", "availability")
    ]
    for left in (rules, rules[:3], rules[:2], rules[:1]):
        judged = Judged(CompiledCatalogue(OFFERS), state_with("crm"), spec=policy(rules=left))
        assert judged["pbx-start"] == left[-1]["id"]
        before_relations = left[-1]["id"] == "availability"
        assert judged["crm"] == ("availability" if before_relations else "already_connected")


def test_a_rule_may_be_about_some_changes_only() -> None:
    never = {"context": "channel", "is_missing": True}
    rules = [{"id": "no-upgrades", "stage": "suitability", "changes": ["upgrade"], "never_if": never}]
    catalogue = CompiledCatalogue(OFFERS)
    assert Judged(catalogue, state_with("pbx-start"), spec=policy(rules=rules))["pbx-pro"] == "no-upgrades"
    assert Judged(catalogue, state_with(), spec=policy(rules=rules))["pbx-pro"] is None


@pytest.mark.parametrize(
    ("days_left", "stage", "change"),
    [
        (45, Stage.GROWTH, Change.RENEW),
        (45, Stage.AT_RISK, Change.RENEW),
        (-30, Stage.STEADY, Change.RENEW),
        (-31, Stage.STEADY, None),
        (-400, Stage.GROWTH, Change.EXPAND),
        (46, Stage.AT_RISK, Change.RETAIN),
        (46, Stage.GROWTH, Change.EXPAND),
        (None, Stage.GROWTH, Change.EXPAND),
        (None, Stage.STEADY, None),
    ],
)
def test_what_is_held_is_renewed_or_retained_or_expanded(
    days_left: int | None, stage: Stage, change: Change | None
) -> None:
    changes = {
        "renew": {"within_days": 45},
        "retain": {"when": {"field": "stage", "is": "at_risk"}},
        "expand": {"when": {"field": "stage", "in": ["growth", "at_risk"]}},
    }
    ends_on = None if days_left is None else NOW.date() + timedelta(days=days_left)
    holding = Holding("h", START.offer_id, NOW - timedelta(days=300), term_ends_on=ends_on)
    state = ClientState(ClientId("c-1"), 1, profile=Profile(stage=stage), holdings=(holding,))
    judged = Judged(CompiledCatalogue(OFFERS), state, spec=policy(changes=changes))
    if change is None:
        assert judged["pbx-start"] == "already_connected"
    else:
        assert judged["pbx-start"] is None, "neither its own slot nor that it is connected refuses it"
        assert judged.change_of("pbx-start") is change
    assert judged["pbx-max"] == "exclusive_slot"


@pytest.mark.parametrize(
    ("change", "after_days", "days_held", "is_proposed"),
    [
        (Change.EXPAND, {}, 30, True),
        (Change.EXPAND, {}, 29, False),
        (Change.RETAIN, {}, 29, False),
        (Change.RETAIN, {"after_days": 0}, 0, True),
        (Change.EXPAND, {"after_days": 90}, 89, False),
        (Change.EXPAND, {"after_days": 90}, 90, True),
    ],
)
def test_what_was_connected_a_moment_ago_is_not_proposed_again(
    change: Change, after_days: dict[str, int], days_held: int, is_proposed: bool
) -> None:
    changes = {change.value: {"when": {"field": "stage", "is": "growth"}, **after_days}}
    days_by_id = {"old": 300, "new": days_held}
    state = ClientState(
        ClientId("c-1"),
        1,
        profile=Profile(stage=Stage.GROWTH),
        holdings=(
            *[Holding(name, CRM.offer_id, NOW - timedelta(days)) for name, days in days_by_id.items()],
            Holding("other", NO_CRM.offer_id, NOW),
        ),
    )
    judged = Judged(CompiledCatalogue([CRM]), state, spec=policy(changes=changes))
    assert (judged["crm"] is None) is is_proposed
    assert (judged.change_of("crm") is change) is is_proposed


@pytest.mark.parametrize(
    ("region", "size", "amount"),
    [
        ("77", Size.MICRO, 1),
        ("77", Size.LARGE, 2),
        ("16", Size.MICRO, 3),
        ("16", Size.LARGE, 4),
        (None, Size.UNKNOWN, 4),
    ],
)
def test_the_most_specific_price_applies(region: str | None, size: Size, amount: int) -> None:
    prices = (
        Price(4, MONTH),
        Price(3, MONTH, size=Size.MICRO),
        Price(2, MONTH, region="77"),
        Price(1, MONTH, region="77", size=Size.MICRO),
        Price(0, PricePeriod.ONCE, region="77", size=Size.MICRO),
    )
    price = price_for(prices, region, size)
    assert price is not None
    assert price.amount_minor == amount
    catalogue = CompiledCatalogue([Offer(OfferId("a"), prices=prices), Offer(OfferId("b"))])
    assert catalogue.prices(region, size) == (price, None)


def test_two_offers_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        CompiledCatalogue([CRM, CRM])
