"""Why not, in words, and the one step that would help."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from recsys.decision.availability import Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.contact import Contact
from recsys.decision.cures import Case, Cure, Cures
from recsys.decision.engagement import Engagement, Verdicts
from recsys.decision.policy.contact import ContactCap, ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.refusals import RefusalStage, Rule
from recsys.decision.rulebook import NO_RULE, RuleBook
from recsys.decision.whynot import WhyNot
from recsys.domain import (
    ClientId,
    ClientState,
    Dismissal,
    DismissalReason,
    Holding,
    Language,
    LegalForm,
    Offer,
    OfferId,
    Price,
    PricePeriod,
    Profile,
)

NOW = datetime(2026, 1, 29, 15, tzinfo=UTC)
PBX = {"ru": "Виртуальная АТС", "en": "Virtual PBX"}


def offer(offer_id: str, amount: int | None = None, **fields: Any) -> Offer:
    prices = () if amount is None else (Price(amount, PricePeriod.MONTH),)
    fields.setdefault("title", {"ru": f"Услуга {offer_id}", "en": offer_id.title()})
    return Offer(OfferId(offer_id), prices=prices, **fields)


RECORDING = offer("recording", requires=(("pbx", "pbx-max", "pbx-old"),))
OFFERS = (
    offer("pbx", 900, title=PBX, exclusive_slot="pbx"),
    offer("pbx-max", 2_000, exclusive_slot="pbx"),
    offer("pbx-old", 100, is_stopped=True),
    RECORDING,
    offer("analytics", requires=(("recording",), ("crm",))),
    offer("storage", requires=(("recording",),)),
    offer("crm", 5_000, excludes=("no-crm",)),
    offer("no-crm"),
    offer("soon", valid_from=NOW + timedelta(days=3)),
    offer("north", regions=("51",)),
    offer("notaries", legal_forms=(LegalForm.NOTARY,)),
    offer("account", supplier_id="bank-a"),
)


class Desk:
    """Answers for one policy and client, contact policy included."""

    def __init__(self, *held: str, spec: dict[str, Any] | None = None, **fields: Any) -> None:
        self.catalogue = CompiledCatalogue(OFFERS)
        self.spec = EngagementSpec.model_validate(spec or {})
        self.book = RuleBook(self.spec, ContactSpec())
        self.engagement = Engagement(self.catalogue, self.spec, self.book)
        self.contact = Contact(self.catalogue, ContactSpec(), [])
        holdings = tuple(Holding(f"h-{name}", OfferId(name), NOW) for name in held)
        self.case = Case(ClientState(ClientId("c"), 1, holdings=holdings, **fields), Moment(NOW))

    def judge(self, case: Case) -> Verdicts:
        verdicts = self.engagement.engage([case.state], case.moment, case.restrictions)[0]
        for refusal in self.contact.refusals(case.state, case.moment.now).everywhere:
            verdicts.refuse(refusal.positions, self.book.number_of(refusal.rule_id))
        return verdicts

    def rule_of(self, offer_id: str) -> Rule:
        number = int(self.judge(self.case).numbers[self.catalogue.positions[offer_id]])
        assert number != NO_RULE
        return self.book[number]

    def text(self, offer_id: str, language: Language = Language.RU) -> str:
        why_not = WhyNot(self.catalogue, self.spec.segments, language)
        position = self.catalogue.positions[offer_id]
        return why_not.text(self.rule_of(offer_id), position, self.case.state, self.case.moment)

    def cure(
        self, offer_id: str, language: Language = Language.EN, until: datetime | None = None
    ) -> Cure | None:
        cures = Cures(self.catalogue, self.spec.segments, self.judge, language)
        return cures.find(self.case, self.catalogue.positions[offer_id], self.rule_of(offer_id), until)


def test_a_missing_prerequisite_is_cured_by_the_cheapest_that_can_be_had() -> None:
    desk = Desk()
    assert (
        desk.text("recording")
        == "Сначала нужна услуга «Виртуальная АТС», «Услуга pbx-max» или «Услуга pbx-old»"
    )
    cure = desk.cure("recording", Language.RU)
    assert cure == Cure("connect_first", "Сначала подключите «Виртуальная АТС»", ("pbx",))


def test_two_missing_prerequisites_are_not_one_step() -> None:
    assert Desk().cure("analytics") is None
    with_recording = Desk("pbx", "recording")
    assert with_recording.cure("analytics") == Cure("connect_first", "Connect “Crm” first", ("crm",))


def test_a_prerequisite_that_cannot_be_had_itself_is_no_cure() -> None:
    assert Desk().cure("storage") is None, "recording needs a PBX first"
    assert Desk("pbx").cure("storage") == Cure("connect_first", "Connect “Recording” first", ("recording",))


def test_what_else_refuses_is_not_cured_by_a_prerequisite() -> None:
    rules = [
        {
            "id": "vip",
            "stage": "suitability",
            "offers": ["recording"],
            "only_if": {"field": "is_vip", "is": True},
        }
    ]
    assert Desk(spec={"rules": rules}).cure("recording") is None
    vip = Desk(spec={"rules": rules}, profile=Profile(is_vip=True))
    assert vip.cure("recording") is not None
    dismissed = (Dismissal(RECORDING.offer_id, DismissalReason.NOT_NOW, NOW),)
    assert Desk(dismissals=dismissed).cure("recording") is None, "the contact policy refuses it besides"


def test_regions_and_what_is_held_have_no_cure() -> None:
    desk = Desk("pbx", "no-crm", profile=Profile(region="77", legal_form=LegalForm.LLC))
    assert desk.text("notaries") == "Не для вашей организационно-правовой формы"
    assert desk.text("north") == "Нет в вашем регионе"
    assert desk.text("pbx") == "Уже подключено"
    assert (
        desk.text("pbx-max", Language.EN) == "Cannot be combined with “Virtual PBX”, which you already have"
    )
    assert desk.text("crm", Language.EN) == "Cannot be combined with “No-Crm”, which you already have"
    for offer_id in ("north", "notaries", "pbx", "pbx-max", "crm"):
        assert desk.cure(offer_id) is None


def test_a_region_or_legal_form_that_nobody_knows_can_be_told() -> None:
    desk = Desk()
    assert desk.text("north", Language.EN) == "We do not know your region"
    assert desk.cure("north") == Cure("tell_fact", "Tell us your region")
    assert desk.text("notaries") == "Мы не знаем вашу правовую форму"
    assert desk.cure("notaries", Language.RU) == Cure("tell_fact", "Сообщите нам вашу правовую форму")


def test_no_answer_is_asked_for_that_would_not_help() -> None:
    rule = {"id": "vip", "stage": "suitability", "only_if": {"field": "is_vip", "is": True}}
    desk = Desk(spec={"rules": [rule]})
    assert desk.text("north", Language.EN) == "We do not know your region"
    assert desk.cure("north") is None


def rule_of(**fields: Any) -> dict[str, Any]:
    title = {"ru": "В регионе нет отделения", "en": "No branch in the region"}
    return {"id": "branch", "stage": "eligibility", "offers": ["account"], "title": title, **fields}


@pytest.mark.parametrize(
    ("condition", "profile", "text", "cure"),
    [
        ({"field": "region", "is": "77"}, Profile(), "We do not know your region", "Tell us your region"),
        ({"field": "region", "is": "77"}, Profile(region="51"), "No branch in the region", None),
        (
            {"all": [{"field": "region", "is": "77"}, {"segment": "staffed"}]},
            Profile(),
            "We do not know your region and your number of employees",
            "Tell us your region and your number of employees",
        ),
        (
            {"any": [{"not": {"field": "region", "is": "77"}}, {"segment": "staffed"}]},
            Profile(n_employees=3),
            "We do not know your region",
            "Tell us your region",
        ),
        (
            {"field": "overage_share", "less_than": 0.5},
            Profile(),
            "We do not know the share of spend beyond the tariff",
            None,
        ),
        (
            {"days_since_event": {"type": "complaint"}, "at_least": 9},
            Profile(),
            "Only if the number of days since the last complaint is at least 9",
            None,
        ),
    ],
)
def test_a_rule_that_refuses_for_want_of_a_fact_names_the_fact(
    condition: dict[str, Any], profile: Profile, text: str, cure: str | None
) -> None:
    segments = {"staffed": {"field": "n_employees", "at_least": 10}}
    spec = {"segments": segments, "rules": [rule_of(only_if=condition)]}
    desk = Desk(spec=spec, profile=profile)
    assert desk.text("account", Language.EN) == text
    found = desk.cure("account")
    assert (found and found.text) == cure


def test_an_offer_is_not_in_the_way_of_its_own_next_edition() -> None:
    """Both editions of the old box exclude the new one: only the other box stands in its way."""
    offers = [
        offer("box", upgrades_to=OfferId("box-2"), excludes=("box-2",)),
        offer("box-2"),
        offer("rival", excludes=("box-2",)),
    ]
    desk = Desk("box", "rival")
    desk.catalogue = CompiledCatalogue(offers)
    desk.engagement = Engagement(desk.catalogue, desk.spec, desk.book)
    assert desk.text("box-2", Language.EN) == "Cannot be combined with “Rival”, which you already have"


def test_an_offer_that_is_not_live_yet_can_be_waited_for() -> None:
    desk = Desk()
    desk.case = replace(desk.case, moment=Moment(NOW, zone=ZoneInfo("Europe/Moscow")))
    cure = desk.cure("soon")
    starts_at = NOW + timedelta(days=3)
    assert cure == Cure("wait_until", "Available from 2 February 2026", from_at=starts_at), (
        "the first full day"
    )


def test_a_dismissed_offer_can_be_waited_for() -> None:
    dismissed_at = datetime(2026, 1, 20, tzinfo=UTC)
    desk = Desk(dismissals=(Dismissal(OfferId("crm"), DismissalReason.NOT_NOW, dismissed_at),))
    (refusal,) = desk.contact.refusals(desk.case.state, NOW).everywhere
    assert desk.text("crm") == "Вы попросили предложить позже"
    cure = desk.cure("crm", Language.RU, refusal.until)
    assert cure == Cure("offered_again", "Снова предложим с 19 февраля 2026", from_at=refusal.until)
    assert desk.cure("crm") is None, "nobody knows until when"


@pytest.mark.parametrize(
    ("counted", "text"),
    [
        ("impression", "Shown often enough lately"),
        ("click", "Opened already lately"),
        ("application", "Applied for already lately"),
        ("activation", "Taken already lately"),
    ],
)
def test_a_cap_without_a_title_says_what_it_counted(counted: str, text: str) -> None:
    cap = ContactCap.model_validate({"id": "cap", "of": counted, "within_days": 7, "at_most": 1})
    rule = Rule("cap", RefusalStage.CONTACT_POLICY, "contact_cap", cap)
    desk = Desk()
    why_not = WhyNot(desk.catalogue, {}, Language.EN)
    assert why_not.text(rule, 0, desk.case.state, desk.case.moment) == text


def test_a_used_up_cap_ends_with_its_period() -> None:
    caps = [{"id": "leads", "offers": {"suppliers": ["bank-a"]}, "at_most": 50, "per": "week"}]
    desk = Desk(spec={"volume_caps": caps})
    desk.case = replace(desk.case, restrictions=Restrictions(used_up_caps=frozenset({"leads"})))
    assert desk.text("account", Language.EN) == "All places for this period are taken"
    monday = datetime(2026, 2, 2, tzinfo=UTC)
    assert desk.cure("account") == Cure("wait_until", "Available from 2 February 2026", from_at=monday)


def test_a_spending_limit_can_be_raised() -> None:
    desk = Desk()
    desk.case = replace(desk.case, restrictions=Restrictions(spending_limit_minor=1_000))
    assert desk.text("crm") == "Дороже вашего лимита расходов"
    cure = desk.cure("crm")
    assert cure is not None
    assert cure.code == "raise_limit"


def test_a_rule_speaks_for_itself_unless_it_has_a_title() -> None:
    only_vip = {"field": "is_vip", "is": True}
    rules = [
        {"id": "a", "stage": "eligibility", "offers": ["crm"], "only_if": only_vip},
        {
            "id": "b",
            "stage": "eligibility",
            "offers": ["no-crm"],
            "never_if": {"not": only_vip},
            "unknown": "refuse",
        },
        {
            "id": "c",
            "stage": "eligibility",
            "offers": ["account"],
            "only_if": only_vip,
            "title": {"ru": "Только для VIP", "en": "VIPs only"},
            "cure": {"ru": "Узнайте, как стать VIP", "en": "Ask how to become a VIP"},
        },
    ]
    desk = Desk(spec={"rules": rules}, profile=Profile())
    assert desk.text("crm", Language.EN).startswith("Only if ")
    assert desk.text("no-crm").startswith("Не предлагается, если ")
    assert desk.text("account", Language.EN) == "VIPs only"
    assert desk.cure("crm") is None
    assert desk.cure("account") == Cure("rule", "Ask how to become a VIP")


def test_a_rule_is_no_cure_where_another_refuses_too() -> None:
    vip = {"field": "is_vip", "is": True}
    cure = {"ru": "Узнайте, как стать VIP", "en": "Ask how to become a VIP"}
    rules = [
        {"id": "a", "stage": "eligibility", "offers": ["crm"], "only_if": vip, "cure": cure},
        {
            "id": "b",
            "stage": "suitability",
            "offers": ["crm"],
            "only_if": {"field": "n_employees", "at_least": 9},
        },
    ]
    assert Desk(spec={"rules": rules}, profile=Profile(n_employees=9)).cure("crm") is not None
    assert Desk(spec={"rules": rules}, profile=Profile(n_employees=8)).cure("crm") is None
