"""Reasons are true, plain, at most three, and never about a person or another company."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Slot
from recsys.decision.explain import Explainer, Reason
from recsys.decision.policy.policy import Policy
from recsys.domain import (
    Change,
    ClientId,
    ClientState,
    Holding,
    HoldingsKind,
    Language,
    Offer,
    OfferId,
    Price,
    PricePeriod,
    Size,
)
from recsys.models.base import Evidence, EvidenceKind
from recsys.texts import REASONS, cohort_phrase, reason_text

NOW = datetime(2024, 10, 1, tzinfo=UTC)
TITLES = {"ru": "Виртуальная АТС «Старт»", "en": "Virtual PBX “Start”"}
START = Offer(OfferId("start"), title=TITLES, need_group="pbx", upgrades_to=OfferId("pro"))
PRO = Offer(OfferId("pro"), title={"ru": "АТС Про", "en": "PBX Pro"}, need_group="pbx")
RECORDING = Offer(
    OfferId("recording"), need_group="recording", requires=((OfferId("start"), OfferId("pro")),)
)
DISK = Offer(OfferId("disk"), title={"ru": "Диск"}, need_group="cloud")
CATALOGUE = CompiledCatalogue([START, PRO, RECORDING, DISK])
FREE = Price(0, PricePeriod.MONTH)
POPULAR = Evidence(EvidenceKind.POPULAR, n_clients=500)
CHOSEN = Evidence(EvidenceKind.CHOSEN, n_clients=10)


def together(subject: str, n_clients: int | None = 500) -> Evidence:
    return Evidence(EvidenceKind.HOLDING, subject, n_clients)


def explained(
    offer_id: str,
    *evidence: Evidence,
    price: Price | None = None,
    held: tuple[str, ...] = ("start",),
    change: Change = Change.NEW,
    language: Language = Language.EN,
    is_personalised: bool = True,
    holdings: HoldingsKind = HoldingsKind.SUBSCRIPTIONS,
) -> tuple[Reason, ...]:
    state = ClientState(
        ClientId("c-1"), 1, holdings=tuple(Holding(f"h-{one}", OfferId(one), NOW) for one in held)
    )
    explainer = Explainer(
        CATALOGUE, state, language, Policy(), is_personalised=is_personalised, holdings=holdings
    )
    return explainer.reasons(Slot(1, CATALOGUE.positions[offer_id], change, 1.0), evidence, price)


def explained_list(
    offers: Sequence[Offer],
    evidence: Sequence[Sequence[Evidence]],
    held: tuple[str, ...],
    price: Price | None = None,
) -> list[tuple[Reason, ...]]:
    """The reasons of one answer that shows all these offers."""
    catalogue = CompiledCatalogue([*offers, *(Offer(OfferId(one), title={"en": one}) for one in held)])
    state = ClientState(
        ClientId("c-1"), 1, holdings=tuple(Holding(f"h-{one}", OfferId(one), NOW) for one in held)
    )
    explainer = Explainer(catalogue, state, Language.EN, Policy(), is_personalised=True)
    return [
        explainer.reasons(Slot(rank, catalogue.positions[offer.offer_id], Change.NEW, 1.0), said, price)
        for rank, (offer, said) in enumerate(zip(offers, evidence, strict=True), start=1)
    ]


def codes(reasons: tuple[Reason, ...]) -> list[str]:
    return [reason.code for reason in reasons]


def test_what_an_offer_needs_and_the_client_has_comes_first() -> None:
    reasons = explained("recording", POPULAR, price=FREE)
    assert codes(reasons) == ["works_with", "popular", "price_free"]
    assert reasons[0].text == "Works together with “Virtual PBX ‘Start’”, which you already have"


def test_russian_quotes_inside_quotes_change() -> None:
    reasons = explained("recording", language=Language.RU)
    assert reasons[0].text == (
        "Работает вместе с услугой «Виртуальная АТС „Старт“», которая у вас уже подключена"
    )


def test_an_upgrade_names_the_edition_that_is_held() -> None:
    reasons = explained("pro", together("start"), change=Change.UPGRADE, language=Language.RU)
    assert codes(reasons) == ["upgrade"], "said once, and the need is met already"
    assert reasons[0].text.startswith("Следующая версия услуги «Виртуальная АТС „Старт“»")


@pytest.mark.parametrize(
    ("change", "language", "reason"),
    [
        (Change.RENEW, Language.RU, Reason("renew", "Срок услуги — до 12 декабря")),
        (Change.RENEW, Language.EN, Reason("renew", "The term of the service is until 12 December")),
        (Change.EXPAND, Language.EN, Reason("expand", "Fits your growing company")),
        (Change.RETAIN, Language.RU, Reason("retain", "Условия, чтобы остаться с нами")),
    ],
)
@pytest.mark.parametrize("is_personalised", [True, False])
def test_what_is_held_is_not_sold_anew(
    change: Change, language: Language, reason: Reason, is_personalised: bool
) -> None:
    terms = (date(2025, 12, 12), date(2024, 12, 12), None)
    holdings = tuple(
        Holding(f"h-{number}", OfferId("start"), NOW, term_ends_on=day) for number, day in enumerate(terms)
    )
    explainer = Explainer(
        CATALOGUE,
        ClientState(ClientId("c-1"), 1, holdings=holdings),
        language,
        Policy(),
        is_personalised=is_personalised,
    )
    slot = Slot(1, CATALOGUE.positions["start"], change, 1.0)
    assert explainer.reasons(slot, [POPULAR, together("pro")], None) == (reason,)


def test_a_holding_as_evidence_is_named() -> None:
    reasons = explained("disk", together("start"))
    assert codes(reasons) == ["taken_with", "need_open"]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (Language.RU, "Часто покупают вместе с товаром «Виртуальная АТС „Старт“», который вы уже покупали"),
        (Language.EN, "Often bought together with “Virtual PBX ‘Start’”, which you have bought before"),
    ],
)
def test_products_are_bought_not_connected(language: Language, text: str) -> None:
    reasons = explained("disk", together("start"), language=language, holdings=HoldingsKind.PURCHASES)
    assert reasons[0] == Reason("bought_with", text)


@pytest.mark.parametrize(
    ("n_clients", "expected"),
    [(5, ["need_open"]), (9, ["need_open"]), (None, ["need_open"]), (10, ["taken_with", "need_open"])],
)
def test_a_holding_is_named_from_ten_clients_on(n_clients: int | None, expected: list[str]) -> None:
    assert codes(explained("disk", together("start", n_clients))) == expected


def test_popular_is_said_from_ten_clients_on() -> None:
    assert codes(explained("disk", Evidence(EvidenceKind.POPULAR, n_clients=9), held=())) == []
    assert codes(explained("disk", Evidence(EvidenceKind.POPULAR, n_clients=10), held=())) == ["popular"]


@pytest.mark.parametrize("is_personalised", [True, False])
def test_that_others_chose_it_is_said_where_nothing_but_the_price_could_be(is_personalised: bool) -> None:
    price = Price(100, PricePeriod.MONTH)
    found = explained("disk", CHOSEN, held=(), price=price, is_personalised=is_personalised)
    assert codes(found) == ["chosen", "price_month"]
    assert found[0].text == "Other business clients have chosen it"
    (alone,) = explained("disk", CHOSEN, held=(), is_personalised=is_personalised, language=Language.RU)
    assert alone.text == "Это уже выбрали другие бизнес-клиенты"


def test_that_others_chose_it_is_said_from_ten_clients_on() -> None:
    assert codes(explained("disk", CHOSEN._replace(n_clients=9), held=(), price=FREE)) == ["price_free"]
    policy = Policy(min_cohort=11)
    explainer = Explainer(CATALOGUE, ClientState(ClientId("c-1")), Language.EN, policy, is_personalised=True)
    slot = Slot(1, CATALOGUE.positions["disk"], Change.NEW, 1.0)
    assert explainer.reasons(slot, [CHOSEN], None) == ()


def test_that_others_chose_it_changes_nothing_where_more_can_be_said() -> None:
    for offer_id, change, *said in (
        ("disk", Change.NEW, together("start")),
        ("disk", Change.NEW, Evidence(EvidenceKind.TRAIT, "industry=G", 500)),
        ("disk", Change.NEW),  # its need is open
        ("recording", Change.NEW),  # works with what is held
        ("pro", Change.UPGRADE),
        ("start", Change.RENEW),
    ):
        without = explained(offer_id, *said, price=FREE, change=change)
        assert explained(offer_id, *said, CHOSEN, price=FREE, change=change) == without
        assert codes(without) != ["price_free"]


def test_that_others_chose_it_stands_in_for_a_need_said_often_enough() -> None:
    offers = [Offer(OfferId(f"o-{number}"), need_group=f"g-{number}") for number in range(4)]
    found = explained_list(offers, [(CHOSEN,)] * 4, ("crm",), FREE)
    assert [codes(reasons)[0] for reasons in found] == ["need_open"] * 2 + ["chosen"] * 2


def test_the_next_true_thing_stands_in_for_one_without_words() -> None:
    said = (
        Evidence(EvidenceKind.TRAIT, "agency=NASA", 500),
        Evidence(EvidenceKind.TRAIT, "size=small", 9),
        POPULAR,
    )
    assert codes(explained("disk", *said, held=())) == ["popular"]


def test_no_service_is_named_more_than_twice_in_one_answer() -> None:
    offers = [Offer(OfferId(f"o-{number}")) for number in range(6)]
    both = (together("pbx"), together("crm"), POPULAR)
    found = explained_list(offers, [both] * 6, ("crm", "pbx"))
    named = [reasons[0].text.split("“")[-1].split("”")[0] for reasons in found[:4]]
    assert named == ["pbx", "pbx", "crm", "crm"]
    assert [codes(reasons) for reasons in found[4:]] == [["popular"], ["popular"]]


def test_what_an_offer_requires_counts_as_named_too() -> None:
    offers = [
        Offer(OfferId(f"o-{number}"), requires=((OfferId("crm"), OfferId("pbx")),)) for number in range(5)
    ]
    found = explained_list(offers, [()] * 5, ("crm", "pbx"))
    assert [codes(reasons) for reasons in found] == [["works_with"]] * 4 + [[]]
    assert [" “crm”" in reasons[0].text for reasons in found[:4]] == [True, True, False, False]


def test_a_next_edition_always_names_the_present_one() -> None:
    state = ClientState(ClientId("c-1"), 1, holdings=(Holding("h", OfferId("start"), NOW),))
    explainer = Explainer(CATALOGUE, state, Language.EN, Policy(), is_personalised=True)
    disk = Slot(1, CATALOGUE.positions["disk"], Change.NEW, 1.0)
    for _ in range(2):
        assert "taken_with" in codes(explainer.reasons(disk, [together("start")], None))
    assert "taken_with" not in codes(explainer.reasons(disk, [together("start")], None))
    upgrade = Slot(4, CATALOGUE.positions["pro"], Change.UPGRADE, 1.0)
    assert codes(explainer.reasons(upgrade, [], None)) == ["upgrade"]


def test_an_open_need_is_said_of_two_offers_and_only_where_little_else_is() -> None:
    offers = [Offer(OfferId(f"o-{number}"), need_group=f"g-{number}") for number in range(4)]
    found = explained_list(offers, [()] * 4, ("crm",), FREE)
    assert [codes(reasons) for reasons in found] == [["need_open", "price_free"]] * 2 + [["price_free"]] * 2


def test_the_same_answer_has_the_same_reasons() -> None:
    offers = [Offer(OfferId(f"o-{number}"), need_group="g") for number in range(5)]
    evidence = [(together("pbx"), together("crm"), POPULAR)] * 5
    first, again = (explained_list(offers, evidence, ("crm", "pbx"), FREE) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("subject", ["pro", "gone", "disk"])
def test_a_holding_that_the_client_does_not_have_is_never_named(subject: str) -> None:
    assert codes(explained("disk", together(subject))) == ["need_open"]


@pytest.mark.parametrize(
    ("n_clients", "expected"), [(9, []), (10, ["cohort"]), (None, [])], ids=["nine", "ten", "unknown"]
)
def test_a_kind_of_company_is_named_from_ten_clients_on(n_clients: int | None, expected: list[str]) -> None:
    evidence = Evidence(EvidenceKind.TRAIT, "industry=G", n_clients)
    assert codes(explained("disk", evidence, held=())) == expected


def test_a_cohort_speaks_correct_russian_and_english() -> None:
    evidence = Evidence(EvidenceKind.TRAIT, "industry=G", 500)
    assert explained("disk", evidence, held=(), language=Language.RU) == (
        Reason("cohort", "Чаще, чем в среднем, это выбирают торговые компании"),
    )
    assert explained("disk", evidence, held=()) == (
        Reason("cohort", "Chosen more often than average by trading companies"),
    )


def test_a_region_is_named_without_its_code() -> None:
    evidence = Evidence(EvidenceKind.TRAIT, "region=77", 500)
    assert explained("disk", evidence, held=()) == (
        Reason("region", "Chosen more often than average in your region"),
    )


@pytest.mark.parametrize(
    "trait", ["agency=NASA", "stage=at_risk", "stage=churned", "stage=dormant", "crm=none"]
)
def test_other_traits_are_no_reason(trait: str) -> None:
    assert explained("disk", Evidence(EvidenceKind.TRAIT, trait, 5000), held=()) == ()
    assert cohort_phrase(trait, "ru") is None


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (FREE, ["price_free"]),
        (Price(100, PricePeriod.MONTH), ["price_month"]),
        (Price(100, PricePeriod.ONCE), ["price_once"]),
        (Price(100, PricePeriod.USAGE), ["price_usage"]),
        (Price(100, PricePeriod.MONTH, region="77"), ["price_region", "price_month"]),
        (Price(100, PricePeriod.MONTH, size=Size.MICRO), ["price_size", "price_month"]),
        (None, []),
    ],
)
def test_price_facts(price: Price | None, expected: list[str]) -> None:
    assert codes(explained("disk", price=price, held=())) == expected


def test_at_most_three_reasons() -> None:
    price = Price(100, PricePeriod.MONTH, region="77", size=Size.MICRO)
    assert len(explained("recording", POPULAR, price=price)) == 3


def test_a_list_that_is_not_personalised_says_only_what_holds_for_everybody() -> None:
    price = Price(100, PricePeriod.MONTH, region="77")
    assert codes(explained("recording", POPULAR, price=price, is_personalised=False)) == [
        "popular",
        "price_month",
    ]
    for evidence in (
        together("start"),
        Evidence(EvidenceKind.TRAIT, "industry=G", 500),
    ):
        assert explained("disk", evidence, is_personalised=False) == ()


def test_every_reason_exists_in_both_languages() -> None:
    for code, texts in REASONS.items():
        assert set(texts) == {language.value for language in Language}, code
        for language in Language:
            assert "{" not in reason_text(code, language, "X")


def test_every_industry_has_a_phrase() -> None:
    for section in "ABCDEFGHIJKLMNOPQRS":
        assert cohort_phrase(f"industry={section}", "ru")
        assert cohort_phrase(f"industry={section}", "en")


def test_a_title_missing_in_one_language_falls_back() -> None:
    assert CATALOGUE.title("disk", Language.EN) == "Диск"
    assert CATALOGUE.title("recording", Language.EN) == "recording"
