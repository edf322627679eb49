"""The language of conditions: what it refuses, what it means, what it says and what it reads."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from recsys.config import RunConfig
from recsys.data.documents import YamlDocument
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions import Condition, ConditionSet, Moment, clause, sentence
from recsys.decision.conditions.scales import CountScale, NumberScale, Use, bits_by_cell
from recsys.decision.conditions.syntax import BRANCHES, COMPARISONS, FACTS
from recsys.decision.conditions.vocabulary import CONTEXT, EVENTS, FIELDS
from recsys.domain import ClientId, ClientState, EventType, Holding, Language, Offer, OfferId, Profile, Size
from recsys.errors import ConfigError
from recsys.history import Activity, History, MonthFigures, hour_of
from recsys.simulation.catalogue import read_catalogue

NOW = datetime(2025, 3, 31, 22, 30, tzinfo=UTC)
MOMENT = Moment(NOW)
CATALOGUE = CompiledCatalogue(
    [
        Offer(OfferId("pbx"), title={"ru": "АТС «Старт»", "en": "PBX “Start”"}, category="telephony"),
        Offer(OfferId("crm"), category="sales"),
    ]
)


class Rules(RunConfig):
    rules: tuple[Condition, ...]


def parsed(written: dict[str, Any]) -> Condition:
    return Condition.model_validate(written)


def state_with(profile: Profile | None = None, **parts: Any) -> ClientState:
    return ClientState(ClientId("c"), 1, profile, **parts)


def truth_of(written: dict[str, Any], state: ClientState, moment: Moment = MOMENT) -> bool | None:
    truth = ConditionSet([parsed(written)], {}, CATALOGUE).evaluate([state], moment)
    return True if truth.is_true[0, 0] else False if truth.is_false[0, 0] else None


def fault_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        YamlDocument(f"rules:\n  - {text}\n", "rules.yaml").read(Rules)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{field: n_employes, at_least: 5}", "there is no field 'n_employes'; did you mean 'n_employees'?"),
        ("{context: placemant, is: home}", "there is no context 'placemant'; did you mean 'placement'?"),
        ("{feild: size, is: micro}", "unknown field 'feild'; did you mean 'field'?"),
        ("{field: size, is_nt: micro}", "unknown field 'is_nt'; did you mean 'is_not'?"),
        ("{field: size, is: smal}", "micro, small, medium or large, not 'smal'; did you mean 'small'?"),
        ("{field: size, in: [micro, big]}", "not 'big'; write one of them"),
        ("{field: size, is: unknown}", "an unknown size is no value; write is_missing: true"),
        ("{field: size, at_least: micro}", "size has no order"),
        ("{field: region, between: [a, b]}", "region has no order"),
        ("{field: n_employees, in: [a]}", "n_employees is a whole number from 0, not 'a'"),
        ("{field: n_employees, at_least: 1.5}", "n_employees is a whole number from 0, not 1.5"),
        ("{field: n_employees, is: true}", "n_employees is a whole number from 0, not True"),
        ("{field: n_employees, in: 5}", "n_employees is compared with a list"),
        ("{field: n_employees, in: []}", "n_employees is compared with a list"),
        ("{field: n_employees, between: [9, 5]}", "the lesser one first"),
        ("{field: overage_share, more_than: 30}", "overage_share is a number from 0 to 1, not 30"),
        ("{field: region, is: 77}", "region is a text, not 77; write it in quotes"),
        ("{field: is_vip, is: yes}", "is_vip is true or false, not 'yes'"),
        ("{context: date, at_least: soon}", "date is a day, not 'soon'; write it like 2025-12-31"),
        ("{context: month, is: 13}", "month is a whole number from 1 to 12, not 13"),
        ("{n_held: {}, at_least: -1}", "n_held is a whole number from 0 to 10,000, not -1"),
        (
            f"{{field: n_employees, at_least: {10**23 - 1}}}",
            f"n_employees is a whole number from 0 to 9,007,199,254,740,992, not {10**23 - 1}; correct",
        ),
        (f"{{field: spend_minor, at_most: {10**400}}}", "to 9,007,199,254,740,992, not 1" + 79 * "0" + ";"),
        ("{days_since_event: {type: click}, at_least: 91}", "a whole number from 0 to 90, not 91"),
        ("{field: size}", "field is compared by exactly one of is, is_not"),
        ("{field: size, is: micro, is_not: small}", "here are is and is_not"),
        ("{holds: [pbx], is: 5}", "holds is a condition by itself; remove is"),
        ("{is: 5}", "a condition has exactly one of all, any, not"),
        ("{segment: a, field: size, is: micro}", "here are segment and field"),
        ("{all: []}", "the list is empty"),
        ("{not: {not: {field: siz, is: micro}}}", "there is no field 'siz'; did you mean 'size'?"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_cure(text: str, said: str) -> None:
    fault = fault_of(text)
    assert fault.startswith("rules.yaml:2: ")
    assert said in fault
    assert "\n" not in fault


def test_a_mistake_deep_inside_is_found_at_its_line() -> None:
    text = "all:\n      - {field: is_vip, is: true}\n      - any:\n        - {field: stage, is: grwth}"
    assert fault_of(text).startswith("rules.yaml:5: ")


def test_segments_without_end_or_declaration_are_refused() -> None:
    segments = {"a": parsed({"all": [{"segment": "b"}]}), "b": parsed({"not": {"segment": "a"}})}
    with pytest.raises(ConfigError, match="refers to itself"):
        ConditionSet([segments["a"]], segments, CATALOGUE)
    with pytest.raises(ConfigError, match="there is no segment 'c'"):
        ConditionSet([parsed({"segment": "c"})], segments, CATALOGUE)


def test_equal_conditions_are_compiled_once() -> None:
    few = {"field": "n_employees", "less_than": 5}
    near = {"field": "region", "in": ["MOW", "SPE"]}
    written = [
        {"all": [few, near]},
        {"all": [near, {"all": [few, near]}]},
        {"not": {"any": [{"not": near}, {"not": few}]}},
        {"segment": "few_and_near"},
        {"all": [{"field": "region", "in": ["SPE", "MOW"]}, few]},
    ]
    segments = {"few_and_near": parsed(written[0])}
    compiled = ConditionSet([parsed(each) for each in written], segments, CATALOGUE)
    assert compiled.n_tests == 2
    same_scope = [{"holds": ["pbx"]}, {"n_held": {"categories": ["telephony"]}, "at_least": 1}]
    assert ConditionSet([parsed(each) for each in same_scope], {}, CATALOGUE).n_tests == 1


def test_nothing_to_ask_and_nobody_to_ask_about() -> None:
    few = parsed({"field": "n_employees", "less_than": 5})
    assert ConditionSet([], {}, CATALOGUE).evaluate([state_with()], MOMENT).is_true.shape == (0, 1)
    assert ConditionSet([few], {}, CATALOGUE).evaluate([], MOMENT).is_false.shape == (1, 0)


class NotToBeRead(History):
    """A history that nobody may open."""

    @property
    def months(self) -> Any:
        raise AssertionError

    @property
    def activity(self) -> Any:
        raise AssertionError


def test_history_is_read_only_where_a_condition_needs_it() -> None:
    sealed = replace(state_with(Profile(n_employees=3)), history=NotToBeRead())
    stage_named = replace(sealed, profile=Profile(stage=None))
    assert truth_of({"field": "n_employees", "at_least": 3}, sealed) is True
    assert truth_of({"n_held": {}, "is": 0}, sealed) is True
    for written, state in [
        ({"field": "n_sims", "at_least": 1}, sealed),
        ({"n_events": {"type": "click", "within_days": 7}, "is": 0}, sealed),
        ({"field": "stage", "is": "growth"}, stage_named),
    ]:
        with pytest.raises(AssertionError):
            truth_of(written, state)


def test_a_held_offer_that_the_catalogue_lost_counts_only_where_every_offer_does() -> None:
    held = Holding("h", OfferId("gone"), NOW - timedelta(days=9, hours=23))
    state = state_with(holdings=(held,))
    assert truth_of({"holds": {}}, state) is True
    assert truth_of({"days_since_connected": {}, "is": 9}, state) is True
    assert truth_of({"holds": {"categories": ["telephony"]}}, state) is False
    assert truth_of({"days_since_connected": ["pbx"], "is_missing": True}, state) is True


def test_events_count_to_the_hour_and_name_an_offer_or_none() -> None:
    hours = (hour_of(NOW) - 7 * 24, hour_of(NOW) - 7 * 24 + 1)
    history = History(activity=Activity(hours, ("pbx", ""), ("complaint", "complaint"), (5, 2)))
    state = state_with(history=history)
    recent = {"type": "complaint", "within_days": 7}
    assert truth_of({"n_events": recent, "is": 2}, state) is True
    assert truth_of({"n_events": {**recent, "within_days": 8}, "is": 7}, state) is True
    assert truth_of({"n_events": {**recent, "within_days": 8, "offers": ["pbx"]}, "is": 5}, state) is True
    assert truth_of({"days_since_event": {"type": "complaint"}, "is": 6}, state) is True
    assert truth_of({"days_since_event": {"type": "click"}, "at_least": 0}, state) is None


def test_days_and_hours_are_those_of_the_zone() -> None:
    moscow = Moment(NOW, zone=ZoneInfo("Europe/Moscow"))
    state = state_with(Profile(client_since_on=date(2025, 3, 31)))
    for written in (
        {"context": "date", "is": "2025-04-01"},
        {"context": "month", "is": 4},
        {"context": "weekday", "is": 2},
        {"context": "hour", "is": 1},
        {"field": "tenure_days", "is": 1},
    ):
        assert truth_of(written, state, moscow) is True
        assert truth_of(written, state) is False


def test_an_unknown_fact_is_neither_true_nor_false() -> None:
    state = state_with(Profile(size=Size.UNKNOWN, tags=("bank=unknown",)))
    for name, value in [("size", "micro"), ("tag.bank", "yes"), ("tag.site", "yes"), ("region", "MOW")]:
        assert truth_of({"field": name, "is_not": value}, state) is None
        assert truth_of({"field": name, "is_missing": True}, state) is True
    assert truth_of({"field": "is_vip", "is": False}, state_with()) is True


def test_numbers_are_compared_exactly() -> None:
    state = state_with(
        Profile(revenue_minor=10**15 + 1), history=History((MonthFigures(date(2025, 1, 1), spend_minor=5),))
    )
    assert truth_of({"field": "revenue_minor", "more_than": 10**15}, state) is True
    assert truth_of({"field": "mean_spend_minor_3m", "in": [4, 6]}, state) is False


@pytest.mark.parametrize(
    ("month_on", "is_known"),
    [
        (date(2025, 4, 1), True),
        (date(2025, 2, 1), True),
        (date(2025, 1, 1), False),
        (date(2022, 4, 1), False),
    ],
)
def test_figures_of_a_month_long_gone_are_unknown(month_on: date, is_known: bool) -> None:
    """It is the first of April 2025 where the client is."""
    month = MonthFigures(month_on, spend_minor=5, n_sims_employees=2, n_sims_field=0, n_sims_devices=0)
    state = state_with(history=History((month,)))
    moment = Moment(NOW, zone=ZoneInfo("Europe/Moscow"))
    for name in ("spend_minor", "mean_spend_minor_3m", "n_sims"):
        assert truth_of({"field": name, "at_least": 1}, state, moment) is (True if is_known else None)


SENTENCES = [
    (
        {"all": [{"field": "n_employees", "between": [5, 20]}, {"field": "size", "in": ["micro", "small"]}]},
        "Число сотрудников от 5 до 20 и (размер компании — микро или малая)",
        "The number of employees is between 5 and 20 and (the company size is micro or small)",
    ),
    (
        {"not": {"any": [{"field": "is_vip", "is": True}, {"field": "region", "is": "MOW"}]}},
        "У компании нет статуса VIP и регион — не «MOW»",
        "The company is not VIP and the region is not “MOW”",
    ),
    (
        {"not": {"holds": ["pbx"]}},
        "Не подключена услуга «АТС „Старт“»",
        "The service “PBX ‘Start’” is not connected",
    ),
    (
        {"holds": {"categories": ["telephony"], "kinds": ["partner"]}},
        "Подключена услуга от партнёров из категории «telephony»",
        "A service of partners in the category “telephony” is connected",
    ),
    (
        {
            "any": [
                {"field": "spend_minor", "at_least": 150_000_00},
                {"all": [{"field": "roaming_share", "more_than": 0.25}, {"context": "month", "in": [12, 1]}]},
            ]
        },
        (
            "Расходы за последний месяц не меньше 150\u00a0000 или "
            "(доля расходов в роуминге больше 25 % и (месяц — декабрь или январь))"
        ),
        (
            "Last month's spend is at least 150,000 or "
            "(the share of spend while roaming is more than 25% and (the month is December or January))"
        ),
    ),
    (
        {"n_events": {"type": "click", "offers": ["crm"], "within_days": 21}, "at_most": 3},
        "Число переходов по предложению «crm» за последние 21 день не больше 3",
        "The number of clicks of an offer “crm” in the last 21 days is at most 3",
    ),
    (
        {"days_since_event": {"type": "complaint"}, "is_missing": True},
        "Показатель «число дней с последней жалобы» неизвестен",
        "The number of days since the last complaint is unknown",
    ),
    (
        {
            "all": [
                {"field": "region", "is_missing": False},
                {"context": "role", "is_missing": True},
                {"field": "tag.site", "is_missing": True},
            ]
        },
        "Показатель «регион» известен и показатель «роль сотрудника» неизвестен и признак «site» неизвестен",
        "The region is known and the role of the member is unknown and the tag “site” is unknown",
    ),
    (
        {
            "all": [
                {"field": "legal_form", "not_in": ["lawyer", "notary"]},
                {"field": "industry", "not_in": ["G"]},
                {"not": {"field": "n_employees", "between": [5, 20]}},
                {"holds": ["pbx", "crm"]},
            ]
        },
        (
            "(Правовая форма — не адвокат и не нотариус) и отрасль — не торговля и "
            "(неверно, что число сотрудников от 5 до 20) и (подключена услуга «АТС „Старт“» или «crm»)"
        ),
        (
            "(The legal form is not lawyer or notary) and the industry is not trade and "
            "(it is not so that the number of employees is between 5 and 20) and "
            "(a service “PBX ‘Start’” or “crm” is connected)"
        ),
    ),
    (
        {"n_events": {"type": "impression", "within_days": 1}, "at_least": 2},
        "Число показов за последний день не меньше 2",
        "The number of impressions in the last day is at least 2",
    ),
    (
        {"all": [{"context": "date", "at_least": "2025-12-01"}, {"segment": "young"}]},
        (
            "Дата не раньше 01.12.2025 и компания входит в сегмент «young» "
            "(число дней с начала договора меньше 90)"
        ),
        (
            "The date is 2025-12-01 or later and the company is in the segment “young” "
            "(the number of days under contract is less than 90)"
        ),
    ),
]


@pytest.mark.parametrize(("written", "ru", "en"), SENTENCES)
def test_a_condition_says_itself(written: dict[str, Any], ru: str, en: str) -> None:
    segments = {"young": parsed({"field": "tenure_days", "less_than": 90})}
    assert sentence(parsed(written), segments, Language.RU, CATALOGUE) == ru
    assert sentence(parsed(written), segments, Language.EN, CATALOGUE) == en


def test_a_condition_stands_in_the_middle_of_a_sentence_with_the_currency_of_its_amounts() -> None:
    segments = {"costly": parsed({"field": "mean_spend_minor_3m", "more_than": 1_500_00})}
    condition = parsed({"all": [{"segment": "costly"}, {"field": "n_employees", "at_least": 10}]})
    ru = clause(condition, segments, Language.RU, currency="₽")
    assert ru == (
        "компания входит в сегмент «costly» (средние расходы за три месяца больше 1\u00a0500\u00a0₽)"
        " и число сотрудников не меньше 10"
    )
    en = clause(condition, segments, Language.EN)
    assert en.startswith(
        "the company is in the segment “costly” (the mean spend of three months is more than 1,500)"
    )


def test_segments_inside_of_segments_do_not_blow_a_sentence_up() -> None:
    segments = {"s0": parsed({"field": "is_vip", "is": True})}
    for number in range(1, 60):
        inner = {"segment": f"s{number - 1}"}
        segments[f"s{number}"] = parsed({"any": [inner, {"not": {"all": [inner, {"holds": ["pbx"]}]}}]})
    assert len(sentence(parsed({"segment": "s59"}), segments, Language.EN)) < 200
    ConditionSet([parsed({"segment": "s59"})], segments, CATALOGUE)


def test_thousands_of_comparisons_of_one_fact_are_compiled_run_by_run() -> None:
    """Were every comparison held against every cell, this would take minutes."""
    numbers = [(float(number), float(number)) for number in range(0, 20_000, 2)]
    scale = NumberScale(numbers)
    assert len(scale.values_of_cells) == 20_001
    is_true, is_false = Use(1, frozenset([1])), Use(2, frozenset([-1]))
    bits = bits_by_cell(scale, [([interval], [is_true, is_false]) for interval in numbers])
    assert Counter(bits) == {0: 1, 2: 10_001, 3: 10_000}


def test_bits_are_those_of_every_comparison_with_every_cell() -> None:
    rng = Random(5)  # noqa: S311 -- nothing secret
    for _ in range(50):
        asked = []
        for number in range(rng.randint(1, 12)):
            ends = sorted(rng.sample(range(12), 2 * rng.randint(0, 3)))
            intervals = [(float(low), float(high)) for low, high in zip(ends[::2], ends[1::2], strict=True)]
            truths = frozenset(rng.sample([-1, 0, 1], rng.randint(0, 3)))
            asked.append((intervals, [Use(1 << number, truths)]))
        for scale_of in (NumberScale, CountScale):
            scale = scale_of([interval for intervals, _ in asked for interval in intervals])
            expected = [0] * (1 + len(scale.values_of_cells))
            for intervals, (use,) in asked:
                for cell, value in enumerate([None, *scale.values_of_cells]):
                    if value is None:
                        truth = 0 if intervals else 1
                    else:
                        truth = 1 if any(low <= value <= high for low, high in intervals) else -1
                    expected[cell] |= use.bit if truth in use.truths else 0
            assert bits_by_cell(scale, asked) == expected


def test_the_reference_names_every_word_of_the_language(root_dir: Path) -> None:
    page = (root_dir / "docs" / "reference" / "conditions.md").read_text(encoding="utf-8")
    words = [*FIELDS, *CONTEXT, *BRANCHES.values(), *FACTS, *COMPARISONS.values(), *EVENTS, "tag.KEY"]
    assert [word for word in words if f"`{word}`" not in page] == []
    choices = [
        label
        for fact in (*FIELDS.values(), *CONTEXT.values())
        if fact.kind == "one of a list"
        for label in fact.labels
    ]
    assert [choice for choice in choices if f"`{choice}`" not in page] == []
    assert set(EVENTS) == set(EventType)


def test_the_examples_of_the_reference_are_conditions(root_dir: Path) -> None:
    page = (root_dir / "docs" / "reference" / "conditions.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    assert len(blocks) >= 3
    known = {offer.need_group for offer in read_catalogue(root_dir / "datasets" / "demo").offers}
    for block in blocks:
        indented = "".join(f"    {line}\n" for line in block.splitlines())
        YamlDocument(f"rules:\n  -\n{indented}", "conditions.md").read(Rules)
        named = re.findall(r"need_groups: \[(\w[\w-]*)\]", block)
        assert set(named) <= known
