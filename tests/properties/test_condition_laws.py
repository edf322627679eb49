"""Laws of conditions: Kleene's logic, one client as many, and an interpreter that shares no code."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions import Condition, ConditionSet, Moment, sentence
from recsys.domain import (
    ClientId,
    ClientState,
    EventType,
    Holding,
    Language,
    LegalForm,
    Offer,
    OfferId,
    OfferKind,
    Profile,
    Size,
    Stage,
)
from recsys.features.lifecycle import StageThresholds, stage_of
from recsys.history import Activity, History, MonthFigures, hour_of

Written = Mapping[str, Any]

NOW = datetime(2025, 3, 31, 22, 30, tzinfo=UTC)
MOSCOW = ZoneInfo("Europe/Moscow")
QUICK = settings(max_examples=40, deadline=None)
OFFERS = (
    Offer(
        OfferId("pbx"),
        OfferKind.OWN,
        {"ru": "АТС «Старт»", "en": "PBX"},
        "operator",
        "telephony",
        "calls",
    ),
    Offer(OfferId("record"), OfferKind.OWN, {}, "operator", "telephony", "records"),
    Offer(
        OfferId("bank"), OfferKind.PARTNER, {"ru": "Счёт", "en": "Account"}, "bank-a", "banking", "account"
    ),
    Offer(OfferId("loan"), OfferKind.PARTNER, {}, "bank-b", "banking", "money"),
)
CATALOGUE = CompiledCatalogue(OFFERS)
OFFER_IDS = [*(offer.offer_id for offer in OFFERS), OfferId("gone")]


def some(values: Sequence[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3)


scopes: st.SearchStrategy[Written] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"offers": some(["pbx", "bank", "loan"])}),
    st.fixed_dictionaries({"categories": some(["telephony", "banking"])}),
    st.fixed_dictionaries({"need_groups": some(["calls", "account"])}),
    st.fixed_dictionaries({"kinds": st.just(["partner"]), "suppliers": some(["operator", "bank-a"])}),
)
NUMBERS = {
    "n_employees": [0, 5, 10, 250],
    "revenue_minor": [0, 10**9, 10**15 + 1],
    "tenure_days": [0, 89, 90, 400],
    "loyalty_points": [0, 1, 100],
    "spend_minor": [0, 500, 1000],
    "mean_spend_minor_3m": [500, 750.5, 1000],
    "n_sims": [0, 3, 6],
    "overage_share": [0, 0.1, 1],
    "overdue_days": [0, 30],
}
TEXTS = {
    "size": ["micro", "small", "medium", "large"],
    "legal_form": ["llc", "notary"],
    "industry": ["A", "G"],
    "region": ["MOW", "SPE", "KDA"],
    "stage": ["prospect", "growth", "steady", "at_risk"],
    "tag.bank": ["yes", "no"],
}
CONTEXT_TEXTS = {
    "placement": ["home", "cart"],
    "channel": ["portal"],
    "language": ["ru", "en"],
    "role": ["finance"],
}
CONTEXT_NUMBERS = {
    "month": [3, 4, 12],
    "weekday": [1, 2],
    "hour": [1, 22],
    "date": ["2025-03-31", "2025-04-01"],
}


def ordered(head: Written, values: Sequence[Any]) -> st.SearchStrategy[Written]:
    one = st.sampled_from(values)
    compared = st.one_of(
        st.tuples(st.sampled_from(["is", "is_not", "at_least", "at_most", "more_than", "less_than"]), one),
        st.tuples(st.sampled_from(["in", "not_in"]), some(values)),
        st.tuples(st.just("between"), st.lists(one, min_size=2, max_size=2).map(sorted)),
        st.tuples(st.just("is_missing"), st.booleans()),
    )
    return compared.map(lambda pair: {**head, pair[0]: pair[1]})


def named(head: Written, values: Sequence[str]) -> st.SearchStrategy[Written]:
    compared = st.one_of(
        st.tuples(st.sampled_from(["is", "is_not"]), st.sampled_from(values)),
        st.tuples(st.sampled_from(["in", "not_in"]), some(values)),
        st.tuples(st.just("is_missing"), st.booleans()),
    )
    return compared.map(lambda pair: {**head, pair[0]: pair[1]})


def scoped(head: str) -> st.SearchStrategy[Written]:
    return scopes.flatmap(lambda scope: ordered({head: scope}, [0, 1, 2, 30]))


types = st.sampled_from([each.value for each in EventType])
atoms: st.SearchStrategy[Written] = st.one_of(
    *(ordered({"field": name}, values) for name, values in NUMBERS.items()),
    *(named({"field": name}, values) for name, values in TEXTS.items()),
    *(named({"context": name}, values) for name, values in CONTEXT_TEXTS.items()),
    *(ordered({"context": name}, values) for name, values in CONTEXT_NUMBERS.items()),
    st.builds(
        lambda name, value: {"field": name, "is": value},
        st.sampled_from(["is_vip", "is_in_account_group"]),
        st.booleans(),
    ),
    scopes.map(lambda scope: {"holds": scope}),
    scoped("n_held"),
    scoped("days_since_connected"),
    st.builds(
        lambda name, scope, days: {"n_events": {"type": name, "offers": scope, "within_days": days}},
        types,
        scopes,
        st.sampled_from([1, 7, 90]),
    ).flatmap(lambda head: ordered(head, [0, 1, 3])),
    st.builds(
        lambda name, scope: {"days_since_event": {"type": name, "offers": scope}}, types, scopes
    ).flatmap(lambda head: ordered(head, [0, 1, 8])),
)
conditions: st.SearchStrategy[Written] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=6).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=6).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=12,
)
maybe_number = st.none() | st.sampled_from([0, 1, 3, 5, 9, 10, 500, 1000, 10**9, 10**15 + 1])
profiles = st.builds(
    Profile,
    size=st.sampled_from(Size),
    legal_form=st.sampled_from(LegalForm),
    industry=st.sampled_from([None, "A", "B", "G"]),
    region=st.sampled_from([None, "MOW", "SPE", "XXX"]),
    stage=st.none() | st.sampled_from(Stage),
    n_employees=maybe_number,
    revenue_minor=maybe_number,
    client_since_on=st.none() | st.sampled_from([date(2025, 1, 1), date(2025, 1, 2), date(2024, 1, 1)]),
    is_vip=st.booleans(),
    loyalty_points=st.sampled_from([0, 1, 100]),
    account_group_id=st.sampled_from([None, "g"]),
    tags=st.sampled_from([(), ("bank=yes",), ("bank=no", "other"), ("bank=unknown",), ("bank=maybe",)]),
)


@st.composite
def states(draw: st.DrawFn) -> ClientState:
    ages = sorted(draw(st.lists(st.integers(0, 60), max_size=4)), reverse=True)
    hour = hour_of(NOW)
    entry = st.tuples(
        st.sampled_from([0, 23, 24, 25, 24 * 7, 24 * 8, 24 * 89, 24 * 90]),
        st.sampled_from([*OFFER_IDS, ""]),
        types,
    )
    entries = sorted((hour - age, *rest) for age, *rest in draw(st.lists(entry, max_size=6, unique=True)))
    activity = Activity(*zip(*entries, strict=True), (2,) * len(entries)) if entries else Activity()
    months = tuple(
        MonthFigures(
            date(2025, month, 1),
            n_sims_employees=draw(maybe_number),
            spend_minor=draw(maybe_number),
            overage_share=draw(st.sampled_from([None, 0.0, 0.1, 0.5])),
            overdue_days=draw(maybe_number),
        )
        for month in range(1, draw(st.integers(1, 4)))
    )
    return ClientState(
        ClientId("c"),
        1,
        draw(st.none() | profiles),
        tuple(
            Holding(f"h{number}", draw(st.sampled_from(OFFER_IDS)), NOW - timedelta(days=age, hours=5))
            for number, age in enumerate(ages)
        ),
        history=History.from_json(History(months, activity).to_json()),
    )


moments = st.builds(
    Moment,
    now=st.just(NOW),
    placement=st.sampled_from([None, "home", "cart", "other"]),
    channel=st.sampled_from([None, "portal", "e-mail"]),
    language=st.none() | st.sampled_from(Language),
    role=st.sampled_from([None, "finance", "employee"]),
    zone=st.sampled_from([UTC, MOSCOW]),
)


def truths_of(
    written: Sequence[Written], clients: Sequence[ClientState], moment: Moment
) -> list[list[bool | None]]:
    """True, False or None = unknown, by condition and client."""
    parsed = [Condition.model_validate(each) for each in written]
    truth = ConditionSet(parsed, {}, CATALOGUE).evaluate(clients, moment)
    assert truth.is_true.shape == truth.is_false.shape == (len(written), len(clients))
    assert truth.is_true.dtype == truth.is_false.dtype == np.bool_
    assert not (truth.is_true & truth.is_false).any()
    return [
        [True if yes else False if no else None for yes, no in zip(trues, falses, strict=True)]
        for trues, falses in zip(truth.is_true.tolist(), truth.is_false.tolist(), strict=True)
    ]


def interpret(  # noqa: PLR0911 -- one return for each head
    written: Written, state: ClientState, moment: Moment
) -> bool | None:
    """The meaning of a condition, read off its definition."""
    if "all" in written:
        found = [interpret(part, state, moment) for part in written["all"]]
        return False if False in found else None if None in found else True
    if "any" in written:
        found = [interpret(part, state, moment) for part in written["any"]]
        return True if True in found else None if None in found else False
    if "not" in written:
        inner = interpret(written["not"], state, moment)
        return None if inner is None else not inner
    if "holds" in written:
        return any(is_inside(held.offer_id, written["holds"]) for held in state.holdings)
    (_, head), (comparison, operand) = written.items()
    value = value_of(next(iter(written)), head, state, moment)
    if comparison == "is_missing":
        return (value is None) == operand
    if value is None:
        return None
    return compare(comparison, value, operand)


def compare(comparison: str, value: Any, operand: Any) -> bool:
    return bool(
        {
            "is": operator.eq,
            "is_not": operator.ne,
            "in": lambda one, several: one in several,
            "not_in": lambda one, several: one not in several,
            "at_least": operator.ge,
            "at_most": operator.le,
            "more_than": operator.gt,
            "less_than": operator.lt,
            "between": lambda one, ends: ends[0] <= one <= ends[1],
        }[comparison](value, operand)
    )


def is_inside(offer_id: str, scope: Written) -> bool:
    if not scope:
        return True
    offer = next((each for each in OFFERS if each.offer_id == offer_id), None)
    if offer is None:
        return False
    names = {
        "offers": offer.offer_id,
        "categories": offer.category,
        "need_groups": offer.need_group,
        "suppliers": offer.supplier_id,
        "kinds": offer.kind.value,
    }
    return all(names[key] in wanted for key, wanted in scope.items())


def value_of(head: str, operand: Any, state: ClientState, moment: Moment) -> Any:
    activity = state.history.activity
    events = list(zip(activity.hours, activity.offer_ids, activity.event_types, activity.counts, strict=True))
    match head:
        case "field":
            return field_of(operand, state, moment)
        case "context":
            local = moment.now.astimezone(moment.zone)
            read = {
                "date": local.date().isoformat(),
                "month": local.month,
                "weekday": local.weekday() + 1,
                "hour": local.hour,
            }
            return read[operand] if operand in read else getattr(moment, operand)
        case "n_held":
            return sum(is_inside(held.offer_id, operand) for held in state.holdings)
        case "days_since_connected":
            days = [
                (NOW - held.connected_at).days for held in state.holdings if is_inside(held.offer_id, operand)
            ]
            return min(days, default=None)
    found = [
        (hour_of(NOW) - hour, n)
        for hour, offer_id, event_type, n in events
        if event_type == operand["type"]
        and is_inside(offer_id, operand["offers"])
        and hour_of(NOW) - hour < 24 * operand.get("within_days", 90)
    ]
    if head == "n_events":
        return sum(n for _, n in found)
    return min((age // 24 for age, _ in found), default=None)


def field_of(  # noqa: PLR0911 -- one return for each kind of field
    name: str, state: ClientState, moment: Moment
) -> Any:
    profile, months = state.profile or Profile(), state.history.months
    today = moment.now.astimezone(moment.zone).date()
    if (
        months
        and 12 * today.year + today.month - 12 * months[-1].month_on.year - months[-1].month_on.month > 2
    ):
        months = ()  # figures of long ago say nothing
    if name.startswith("tag."):
        facts = dict(tag.split("=") for tag in profile.tags if "=" in tag)
        value = facts.get(name.removeprefix("tag."))
        return None if value == "unknown" else value
    if name == "stage":
        return stage_named(state, moment)
    if name == "tenure_days":
        since = profile.client_since_on
        return since and (moment.now.astimezone(moment.zone).date() - since).days
    if name == "is_in_account_group":
        return profile.account_group_id is not None
    if name == "mean_spend_minor_3m":
        spends = [month.spend_minor for month in months[-3:] if month.spend_minor is not None]
        return sum(spends) / len(spends) if spends else None
    if name == "n_sims":
        return months[-1].n_sims_employees if months else None
    if name in MonthFigures._fields:
        return getattr(months[-1], name) if months else None
    value = getattr(profile, name)
    return None if value == "unknown" else value


def stage_named(state: ClientState, moment: Moment) -> str:
    return stage_of(state, moment.now.astimezone(moment.zone).date(), StageThresholds())


some_conditions = st.lists(conditions, min_size=1, max_size=4)
some_states = st.lists(states(), min_size=1, max_size=3)


@QUICK
@given(some_conditions, some_states, moments)
def test_an_interpreter_that_shares_no_code_agrees(
    written: list[Written], clients: list[ClientState], moment: Moment
) -> None:
    expected = [[interpret(each, state, moment) for state in clients] for each in written]
    assert truths_of(written, clients, moment) == expected


@QUICK
@given(some_conditions, some_states, moments)
def test_one_client_is_a_column_of_many(
    written: list[Written], clients: list[ClientState], moment: Moment
) -> None:
    alone = [truths_of(written, [state], moment) for state in clients]
    many = truths_of(written, clients * 20, moment)
    assert many == [[truth for found in alone for truth in found[at]] * 20 for at in range(len(written))]


@QUICK
@given(some_conditions, some_states, st.lists(moments, min_size=1, max_size=3), st.integers(0, 40))
def test_every_client_may_have_moments_of_its_own(
    written: list[Written], clients: list[ClientState], several: list[Moment], n_days: int
) -> None:
    several.append(replace(several[0], now=NOW + timedelta(days=n_days)))
    parsed = [Condition.model_validate(each) for each in written]
    compiled = ConditionSet(parsed, {}, CATALOGUE)
    pairs = [(state, moment) for state in clients for moment in several]
    together = compiled.evaluate([state for state, _ in pairs], [moment for _, moment in pairs])
    apart = [compiled.evaluate([state], moment) for state, moment in pairs]
    assert np.array_equal(together.is_true, np.concatenate([each.is_true for each in apart], axis=1))
    assert np.array_equal(together.is_false, np.concatenate([each.is_false for each in apart], axis=1))


@QUICK
@given(conditions, some_states, moments)
def test_not_not_is_identity(written: Written, clients: list[ClientState], moment: Moment) -> None:
    plain, denied, twice = truths_of([written, {"not": written}, {"not": {"not": written}}], clients, moment)
    assert plain == twice
    assert denied == [None if truth is None else not truth for truth in plain]


@QUICK
@given(st.lists(conditions, min_size=1, max_size=5), some_states, moments)
def test_de_morgan(parts: list[Written], clients: list[ClientState], moment: Moment) -> None:
    denied = [{"not": part} for part in parts]
    pairs = [{"not": {"all": parts}}, {"any": denied}, {"not": {"any": parts}}, {"all": denied}]
    not_all, any_not, not_any, all_not = truths_of(pairs, clients, moment)
    assert not_all == any_not
    assert not_any == all_not


def has_missing(written: Any) -> bool:
    if isinstance(written, Mapping):
        return "is_missing" in written or any(map(has_missing, written.values()))
    return isinstance(written, list) and any(map(has_missing, written))


@QUICK
@given(some_conditions, states(), profiles, moments)
def test_learning_a_fact_never_changes_a_verdict(
    written: list[Written], state: ClientState, more: Profile, moment: Moment
) -> None:
    """Only what asks whether a fact is missing may change when the fact becomes known."""
    before = replace(state.profile or Profile(), stage=Stage.GROWTH, tags=())
    learnt = replace(
        before,
        size=more.size if before.size is Size.UNKNOWN else before.size,
        region=before.region or more.region,
        industry=before.industry or more.industry,
        n_employees=more.n_employees if before.n_employees is None else before.n_employees,
        client_since_on=before.client_since_on or more.client_since_on,
        tags=more.tags,
    )
    clients = [replace(state, profile=profile) for profile in (before, learnt)]
    kept = [each for each in written if not has_missing(each)]
    for earlier, later in truths_of(kept, clients, moment):
        assert earlier is None or earlier is later


@QUICK
@given(some_conditions, st.lists(states(), min_size=1, max_size=5), moments, st.randoms())
def test_one_client_is_a_column_of_many_in_any_order(
    written: list[Written], clients: list[ClientState], moment: Moment, rng: Any
) -> None:
    together = truths_of(written, clients, moment)
    alone = [truths_of(written, [state], moment) for state in clients]
    assert together == [[column[row][0] for column in alone] for row in range(len(written))]
    order = list(range(len(clients)))
    rng.shuffle(order)
    shuffled = truths_of(written, [clients[place] for place in order], moment)
    assert shuffled == [[row[place] for place in order] for row in together]


@QUICK
@given(conditions, st.sampled_from(Language), st.sampled_from([None, CATALOGUE]))
def test_every_condition_says_itself(
    written: Written, language: Language, catalogue: CompiledCatalogue | None
) -> None:
    condition = Condition.model_validate(written)
    segments = {"few": condition}
    for each in (condition, Condition.model_validate({"not": {"segment": "few"}})):
        text = sentence(each, segments, language, catalogue)
        assert text == text.strip()
        assert text[0] == text[0].upper()
        assert not re.search(r"[{}\[\]_=]|  |None|True|False|Condition|Scope|unknown_", text), text
        is_russian = bool(re.search("[а-яё]", text))
        assert is_russian == (language is Language.RU)


@QUICK
@given(conditions)
def test_a_condition_survives_being_written(written: Written) -> None:
    condition = Condition.model_validate(written)
    assert Condition.model_validate_json(condition.model_dump_json(exclude_unset=True)) == condition
