"""Laws of a client's state: order, repetition and time make no difference between online and offline."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.replay import states_at
from recsys.data.snapshot import take_snapshot
from recsys.data.state import (
    ACTIVITY_HOURS,
    N_ACTIVITY,
    N_CONTACTS,
    N_MONTHS,
    Showing,
    apply_events,
    count_activity,
    count_contacts,
    forget,
    present,
    put_holdings,
    put_months,
    settle,
)
from recsys.data.state_json import state_from_json, state_to_json
from recsys.data.write import conform
from recsys.domain import (
    ClientId,
    ClientState,
    DecisionId,
    DismissalReason,
    Event,
    EventId,
    EventType,
    Holding,
    MemberId,
    Offer,
    OfferId,
    Profile,
    Size,
)
from recsys.features.builder import FeatureBuilder
from recsys.features.population import Population, fit_population
from recsys.history import NO_CONTACTS, Activity, Contacts, MonthFigures, hour_of
from recsys.tables import CLIENT_MONTHS, CLIENTS, DECISIONS, EVENTS, HOLDINGS, OFFERS

START = datetime(2025, 1, 1, tzinfo=UTC)
CLIENT = ClientId("c1")
OFFER_IDS = ("crm", "mail", "pbx")
CATALOGUE = (
    Offer(OfferId("crm"), need_group="crm", requires=((OfferId("pbx"),),)),
    Offer(OfferId("mail"), need_group="mail", excludes=(OfferId("crm"),)),
    Offer(OfferId("pbx"), need_group="pbx", exclusive_slot="pbx", upgrades_to=OfferId("crm")),
)
SHOWINGS = {"d1": Showing("home", "m1"), "d2": Showing("home", "m2"), "d3": Showing("shop", None)}


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


EVENTS_DRAWN = st.lists(
    st.builds(
        Event,
        event_id=st.integers(0, 40).map(lambda number: EventId(f"e{number}")),
        event_type=st.sampled_from(EventType),
        client_id=st.just(CLIENT),
        occurred_at=st.integers(0, 24 * 200).map(at),
        offer_id=st.none() | st.sampled_from(OFFER_IDS).map(OfferId),
        reason=st.none() | st.sampled_from(DismissalReason),
        topic=st.none() | st.sampled_from(["bill", "noise"]),
        decision_id=st.none() | st.sampled_from([*SHOWINGS, "unknown"]).map(DecisionId),
        member_id=st.none() | st.sampled_from(["m1", "m3"]).map(MemberId),
    ),
    max_size=25,
    unique_by=lambda event: event.event_id,
)
LAGS = st.lists(st.integers(0, 24 * 120), min_size=25, max_size=25)
HOLDINGS_DRAWN = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(OFFER_IDS),
        st.integers(0, 24 * 150),
        st.none() | st.integers(0, 24 * 60),
        st.integers(0, 24 * 30),
    ),
    max_size=8,
    unique_by=lambda row: (row[0], row[1], row[2] + row[4]),
)
MONTHS_DRAWN = st.lists(
    st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9), st.integers(0, 24 * 200)),
    max_size=8,
    unique_by=lambda row: (row[0], row[2]),
)
NOWS = st.integers(0, 24 * 330).map(at)


def empty() -> ClientState:
    return ClientState(CLIENT)


@given(EVENTS_DRAWN, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_events_makes_no_difference(events: list[Event], random: object) -> None:
    now = at(24 * 210)
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one_by_one = reduce(lambda state, event: apply_events(state, [event], now, SHOWINGS), shuffled, empty())
    assert one_by_one == apply_events(empty(), events, now, SHOWINGS)


@given(EVENTS_DRAWN, LAGS, NOWS)
@settings(max_examples=50, deadline=None)
def test_late_events_end_in_the_state_of_punctual_ones(
    events: list[Event], lags: list[int], now: datetime
) -> None:
    told = sorted(
        ((event.occurred_at + timedelta(hours=lag), event) for event, lag in zip(events, lags, strict=False)),
        key=lambda pair: pair[0],
    )
    known = [event for recorded_at, event in told if recorded_at <= now]
    state = empty()
    for recorded_at, event in told:
        if recorded_at <= now:
            state = apply_events(state, [event], recorded_at, SHOWINGS)
    assert forget(state, now) == apply_events(empty(), known, now, SHOWINGS)


@given(EVENTS_DRAWN, LAGS, HOLDINGS_DRAWN, MONTHS_DRAWN, NOWS)
@settings(max_examples=60, deadline=None)
def test_what_a_server_was_told_is_what_a_replay_finds(
    events: list[Event],
    lags: list[int],
    holdings: list[tuple[int, str, int, int | None, int]],
    months: list[tuple[int, int | None, int]],
    now: datetime,
) -> None:
    told: list[tuple[datetime, object]] = [
        (event.occurred_at + timedelta(hours=lag), event) for event, lag in zip(events, lags, strict=False)
    ]
    told += [(recorded_at, held) for recorded_at, held in map(holding_of, holdings)]
    told += [(at(known), MonthFigures(date(2025, 1 + n, 1), spend_minor=spend)) for n, spend, known in months]
    told.sort(key=lambda pair: pair[0])
    online = empty()
    for recorded_at, what in told:
        if recorded_at <= now:
            online = tell(online, what, recorded_at)
    (offline,) = states_at(dataset_of(told), [(CLIENT, now)])
    assert forget(present(online, now), now) == replace(offline, profile=None)
    builder = FeatureBuilder(CATALOGUE)
    one, other = builder.rows(online, now), builder.rows(replace(offline, profile=None), now)
    assert np.array_equal(one.client, other.client, equal_nan=True)
    assert np.array_equal(one.pairs, other.pairs, equal_nan=True)


@given(EVENTS_DRAWN, LAGS, HOLDINGS_DRAWN, MONTHS_DRAWN, NOWS)
@settings(max_examples=30, deadline=None)
def test_a_planted_row_changes_nothing_before_it_is_recorded(
    events: list[Event],
    lags: list[int],
    holdings: list[tuple[int, str, int, int | None, int]],
    months: list[tuple[int, int | None, int]],
    now: datetime,
) -> None:
    told: list[tuple[datetime, object]] = [
        (event.occurred_at + timedelta(hours=lag), event) for event, lag in zip(events, lags, strict=False)
    ]
    told += [(recorded_at, held) for recorded_at, held in map(holding_of, holdings)]
    told += [(at(known), MonthFigures(date(2025, 1 + n, 1), spend_minor=spend)) for n, spend, known in months]
    known = [pair for pair in told if pair[0] <= now]
    assert take_snapshot(dataset_of(told), now) == take_snapshot(dataset_of(known), now)
    (replayed,) = states_at(dataset_of(told), [(CLIENT, now)])
    assert take_snapshot(dataset_of(known), now, has_contacts=True).states == (replayed,)


def holding_of(row: tuple[int, str, int, int | None, int]) -> tuple[datetime, Holding]:
    number, offer_id, connected, length, lag = row
    ends_at = None if length is None else at(connected + length)
    held = Holding(f"{offer_id}-{number}", OfferId(offer_id), at(connected), 1 + number, ends_at)
    return at(connected + lag), held


def tell(state: ClientState, what: object, recorded_at: datetime) -> ClientState:
    match what:
        case Event():
            return apply_events(state, [what], recorded_at, SHOWINGS)
        case Holding():
            return put_holdings(state, [what], recorded_at)
        case MonthFigures():
            return put_months(state, [what])
    raise AssertionError(what)


def dataset_of(told: list[tuple[datetime, object]]) -> Dataset:
    rows: dict[str, list[dict[str, object]]] = {"events": [], "holdings": [], "client_months": []}
    for recorded_at, what in told:
        match what:
            case Event():
                rows["events"].append(
                    {
                        "event_id": what.event_id,
                        "event_type": str(what.event_type),
                        "client_id": CLIENT,
                        "occurred_at": what.occurred_at,
                        "recorded_at": recorded_at,
                        "offer_id": what.offer_id,
                        "reason": None if what.reason is None else str(what.reason),
                        "topic": what.topic,
                        "decision_id": what.decision_id,
                        "member_id": what.member_id,
                    }
                )
            case Holding():
                rows["holdings"].append(
                    {
                        "holding_id": what.holding_id,
                        "client_id": CLIENT,
                        "offer_id": what.offer_id,
                        "connected_at": what.connected_at,
                        "disconnected_at": what.ends_at,
                        "recorded_at": recorded_at,
                        "quantity": what.quantity,
                    }
                )
            case MonthFigures():
                rows["client_months"].append({**what._asdict(), "client_id": CLIENT, "known_at": recorded_at})
    contracts = {"events": EVENTS, "holdings": HOLDINGS, "client_months": CLIENT_MONTHS}
    clients = pl.DataFrame({"client_id": [CLIENT], "valid_from": START, "recorded_at": START})
    offers = pl.DataFrame({"offer_id": OFFER_IDS, "kind": "own", "recorded_at": START})
    tables = {
        "clients": conform(clients, CLIENTS),
        "offers": conform(offers, OFFERS),
        "decisions": decisions_at(START),
    }
    for name, found in rows.items():
        if found or name == "holdings":
            table = contracts[name]
            frame = (
                pl.DataFrame(found, infer_schema_length=None)
                if found
                else pl.DataFrame(schema=schema_of(table))
            )
            tables[name] = conform(frame, table)
    return Dataset(DatasetMeta(name="told"), tables)


def decisions_at(recorded_at: datetime) -> pl.DataFrame:
    rows = [
        {"decision_id": decision_id, "client_id": CLIENT, "recorded_at": recorded_at, **showing._asdict()}
        for decision_id, showing in SHOWINGS.items()
    ]
    return conform(pl.DataFrame(rows).with_columns(occurred_at="recorded_at", seed=0), DECISIONS)


def test_contacts_know_placement_and_member_as_far_as_they_are_known() -> None:
    plain = Event(EventId("e1"), EventType.IMPRESSION, CLIENT, at(5), OfferId("pbx"))
    shown = replace(plain, event_id=EventId("e2"), decision_id=DecisionId("d1"))
    named = replace(shown, event_id=EventId("e3"), event_type=EventType.CLICK, member_id=MemberId("m3"))
    put_aside = replace(shown, event_id=EventId("e4"), event_type=EventType.DISMISSAL)
    told = [(at(5), event) for event in (plain, shown, named, put_aside)]
    dataset = dataset_of(told)
    late = replace(dataset, tables={**dataset.tables, "decisions": decisions_at(at(7))})
    contacts = [state.history.contacts for state in states_at(late, [(CLIENT, at(6)), (CLIENT, at(7))])]
    hour = hour_of(at(5))
    assert contacts == [
        Contacts((hour,) * 2, ("pbx",) * 2, ("click", "impression"), ("", ""), ("m3", ""), (1, 2)),
        Contacts(
            (hour,) * 3,
            ("pbx",) * 3,
            ("click", "impression", "impression"),
            ("home", "", "home"),
            ("m3", "", "m1"),
            (1, 1, 1),
        ),
    ]


@given(EVENTS_DRAWN, HOLDINGS_DRAWN, NOWS)
@settings(max_examples=30, deadline=None)
def test_a_state_comes_back_from_json(
    events: list[Event], holdings: list[tuple[int, str, int, int | None, int]], now: datetime
) -> None:
    state = apply_events(empty(), events, START, SHOWINGS)
    state = put_holdings(state, [held for _, held in map(holding_of, holdings)], START)
    state = put_months(state, [MonthFigures(date(2025, 1, 1), 3, overage_share=0.1)])
    state = replace(state, profile=Profile(name='odd","history":{"', size=Size.MICRO))
    body = state_to_json(state)
    for text in (body, body.decode()):
        again = state_from_json(CLIENT, 0, text)
        assert again == state
        assert state_to_json(again) == body
        assert hash(again.history) == hash(state.history)


def test_a_state_of_an_older_form_has_no_history() -> None:
    held = '["h","pbx","2025-01-01T00:00:00+00:00",1]'
    body = f'{{"profile":null,"holdings":[{held}],"past_offer_ids":[],"dismissals":[]}}'
    holding = Holding("h", OfferId("pbx"), START)
    assert state_from_json(CLIENT, 3, body) == ClientState(CLIENT, 3, holdings=(holding,))


def test_a_history_written_before_contacts_were_kept_has_none() -> None:
    click = Event(EventId("e"), EventType.CLICK, CLIENT, START, OfferId("pbx"))
    noise = Event(EventId("n"), EventType.COMPLAINT, CLIENT, START, topic=',"contacts":[')
    state = apply_events(empty(), [click, noise], START)
    body, key, _ = state_to_json(state).rpartition(b',"contacts":')
    assert key
    again = state_from_json(CLIENT, 0, body + b"}}").history
    assert (again.contacts, again.activity, again.complaint) == (
        NO_CONTACTS,
        state.history.activity,
        state.history.complaint,
    )
    assert state.history.contacts.hours == (hour_of(START),)


def test_a_history_that_was_read_is_written_alike() -> None:
    state = apply_events(
        empty(), [Event(EventId("e"), EventType.CLICK, CLIENT, START, OfferId("pbx"))], START
    )
    body = state_to_json(state)
    again = state_from_json(CLIENT, 0, body)
    assert again.history.contacts == state.history.contacts
    assert state_to_json(again) == body


def test_a_busy_client_keeps_the_newest_hours() -> None:
    entries = [(hour, "pbx", "click", 1) for hour in range(N_ACTIVITY + 5)]
    late = count_activity(count_activity(Activity(), entries[3:]), entries[:3])
    assert late == count_activity(Activity(), reversed(entries))
    assert late.hours == tuple(range(5, N_ACTIVITY + 5))


def test_a_busy_client_keeps_the_newest_contacts() -> None:
    entries = [(hour, "pbx", "click", "home", "m1", 1) for hour in range(N_CONTACTS + 5)]
    late = count_contacts(count_contacts(NO_CONTACTS, entries[3:]), entries[:3])
    assert late == count_contacts(NO_CONTACTS, reversed(entries))
    assert late.hours == tuple(range(5, N_CONTACTS + 5))


def test_only_the_latest_months_are_kept() -> None:
    months = [MonthFigures(date(2023 + n // 12, n % 12 + 1, 1), n) for n in range(N_MONTHS + 2)]
    state = reduce(lambda state, month: put_months(state, [month]), reversed(months), empty())
    assert state.history.months == tuple(months[2:])


def test_an_announced_holding_begins_and_ends_by_itself() -> None:
    held = Holding("h", OfferId("pbx"), at(10), ends_at=at(20))
    state = put_holdings(empty(), [held], START)
    assert [present(state, at(hour)).holdings for hour in (9, 10, 19, 20)] == [(), (held,), (held,), ()]
    assert [present(state, at(hour)).past_offer_ids for hour in (9, 19, 20)] == [(), (), ("pbx",)]
    assert settle(state, at(9)) is state


def test_events_are_forgotten_after_90_days() -> None:
    click = Event(EventId("e"), EventType.CLICK, CLIENT, START, OfferId("pbx"))
    state = apply_events(empty(), [click], START)
    assert forget(state, START + timedelta(hours=ACTIVITY_HOURS - 1)) is state
    assert forget(state, START + timedelta(hours=ACTIVITY_HOURS)) == empty()
    assert state.history.activity.hours == state.history.contacts.hours == (hour_of(START),)


def test_a_population_comes_back_from_arrays() -> None:
    state = put_holdings(empty(), [Holding("h", OfferId("pbx"), START)], START)
    population = fit_population([state, empty()], CATALOGUE, at(24 * 40))
    again = Population.restore(OFFER_IDS, population.to_arrays())
    assert again.as_of == population.as_of
    assert again.need_groups == ("crm", "mail", "pbx")
    assert again.segments == ("|",)
    assert again.holder_shares.tolist() == again.segment_shares[0].tolist() == [0, 0, 0.5]
    assert again.recent_shares.tolist() == [[0, 0, 0], [0, 0, 0.5]]
