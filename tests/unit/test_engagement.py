"""What may be proposed at all, and which rule refuses the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from recsys.data.offers import price_for
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.contact import CoolDowns, let_rest
from recsys.decision.engagement import engage
from recsys.decision.refusals import RefusalStage, Rule
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


def rule_of(offer: Offer, state: ClientState, *others: Offer, now: datetime = NOW) -> Rule | None:
    catalogue = CompiledCatalogue((offer, *others))
    return engage(catalogue, state, now).rules[catalogue.positions[offer.offer_id]]


def test_an_offer_without_conditions_is_a_candidate_for_anybody() -> None:
    assert rule_of(Offer(OfferId("plain")), state_with()) is None


@pytest.mark.parametrize(
    ("offer", "rule"),
    [
        pytest.param(Offer(OfferId("a"), is_stopped=True), Rule.STOPPED, id="stopped by hand"),
        pytest.param(Offer(OfferId("a"), valid_from=NOW + timedelta(1)), Rule.NOT_YET_LIVE, id="tomorrow"),
        pytest.param(Offer(OfferId("a"), valid_from=NOW), None, id="live from this moment"),
        pytest.param(Offer(OfferId("a"), valid_to=NOW), Rule.NO_LONGER_LIVE, id="the end is excluded"),
        pytest.param(Offer(OfferId("a"), valid_to=NOW + timedelta(1)), None, id="ends tomorrow"),
        pytest.param(Offer(OfferId("a"), regions=("16",)), Rule.REGION, id="another region"),
        pytest.param(Offer(OfferId("a"), regions=("16", "77")), None, id="one of the regions"),
        pytest.param(
            Offer(OfferId("a"), legal_forms=(LegalForm.NOTARY,)), Rule.LEGAL_FORM, id="another form"
        ),
        pytest.param(Offer(OfferId("a"), legal_forms=(LegalForm.LLC,)), None, id="this legal form"),
    ],
)
def test_availability_and_legal_form(offer: Offer, rule: Rule | None) -> None:
    state = state_with(profile=Profile(region="77", legal_form=LegalForm.LLC))
    assert rule_of(offer, state) is rule


def test_what_is_unknown_fails_a_restriction() -> None:
    assert rule_of(Offer(OfferId("a"), regions=("77",)), state_with()) is Rule.REGION
    assert rule_of(Offer(OfferId("a"), legal_forms=(LegalForm.LLC,)), state_with()) is Rule.LEGAL_FORM


def test_the_verdict_follows_the_dates_of_one_compiled_catalogue() -> None:
    catalogue = CompiledCatalogue([Offer(OfferId("a"), valid_from=NOW, valid_to=NOW + timedelta(days=1))])
    moments = [NOW - timedelta(seconds=1), NOW, NOW + timedelta(hours=23), NOW + timedelta(days=1), NOW]
    rules = [engage(catalogue, state_with(), moment).rules[0] for moment in moments]
    assert rules == [Rule.NOT_YET_LIVE, None, None, Rule.NO_LONGER_LIVE, None]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ((), {"recording": Rule.REQUIRES, "connector": Rule.REQUIRES}),
        (("pbx-start",), {"recording": None, "connector": Rule.REQUIRES}),
        (("crm",), {"recording": Rule.REQUIRES, "connector": Rule.REQUIRES}),
        (("pbx-pro", "crm"), {"recording": None, "connector": None}),
        (("pbx-max", "crm"), {"recording": None, "connector": Rule.REQUIRES}),
    ],
)
def test_all_groups_must_be_met_each_by_any_one_of_its_offers(
    held: tuple[str, ...], expected: dict[str, Rule | None]
) -> None:
    catalogue = CompiledCatalogue(OFFERS)
    rules = engage(catalogue, state_with(*held), NOW).rules
    assert {name: rules[catalogue.positions[name]] for name in expected} == expected


def test_the_next_edition_is_an_upgrade_and_the_others_of_the_slot_are_refused() -> None:
    catalogue = CompiledCatalogue(OFFERS)
    verdicts = engage(catalogue, state_with("pbx-start"), NOW)
    at = catalogue.positions
    assert verdicts.rules[at["pbx-start"]] is Rule.ALREADY_CONNECTED
    assert verdicts.rules[at["pbx-pro"]] is None, "neither the slot nor the exclusion of the old edition"
    assert verdicts.change_of(at["pbx-pro"]) is Change.UPGRADE
    assert verdicts.rules[at["pbx-max"]] is Rule.EXCLUSIVE_SLOT
    assert verdicts.change_of(at["crm"]) is Change.NEW


def test_an_edition_that_is_held_already_is_no_upgrade() -> None:
    catalogue = CompiledCatalogue(OFFERS)
    verdicts = engage(catalogue, state_with("pbx-start", "pbx-pro"), NOW)
    assert verdicts.rules[catalogue.positions["pbx-pro"]] is Rule.ALREADY_CONNECTED
    assert verdicts.upgrades == {catalogue.positions["pbx-max"]}


def test_an_exclusion_holds_in_both_directions() -> None:
    assert rule_of(NO_CRM, state_with("crm"), CRM) is Rule.EXCLUDES
    assert rule_of(CRM, state_with("no-crm"), NO_CRM) is Rule.EXCLUDES


def test_an_exclusion_of_a_withdrawn_offer_still_refuses() -> None:
    assert rule_of(NO_CRM, state_with("crm")) is Rule.EXCLUDES


def test_every_rule_belongs_to_a_stage() -> None:
    assert {rule.stage for rule in Rule} == set(RefusalStage)
    assert Rule("requires") is Rule.REQUIRES


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
    state = ClientState(ClientId("c-1"), 1, dismissals=(Dismissal(CRM.offer_id, reason, NOW),))

    def rule_after(delay: timedelta) -> Rule | None:
        verdicts = engage(catalogue, state, NOW + delay)
        let_rest(verdicts, catalogue, state, NOW + delay, CoolDowns())
        return verdicts.rules[0]

    almost = rule_after(timedelta(days=days) - timedelta(seconds=1))
    assert almost is not None
    assert almost.stage is RefusalStage.CONTACT_POLICY
    assert almost.value == f"dismissed_{reason.value}"
    assert rule_after(timedelta(days=days)) is None


def test_a_dismissal_of_an_offer_that_left_the_catalogue_does_no_harm() -> None:
    catalogue = CompiledCatalogue([CRM])
    gone = Dismissal(OfferId("gone"), DismissalReason.NOT_NOW, NOW)
    state = ClientState(ClientId("c-1"), 1, dismissals=(gone,))
    verdicts = engage(catalogue, state, NOW)
    let_rest(verdicts, catalogue, state, NOW, CoolDowns())
    assert verdicts.rules == [None]


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
