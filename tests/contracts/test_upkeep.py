"""The log by months: nothing is refused for lack of room, what goes changes no state, ids stay unique."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest

from recsys.domain import (
    ClientId,
    DecisionId,
    DismissalReason,
    Event,
    EventId,
    EventType,
    Holding,
    OfferId,
    Profile,
)
from recsys.errors import ConfigError, ConflictError, InvalidEventsError
from recsys.history import Complaint
from serving.ports import (
    Answer,
    HoldingChange,
    LogDecisions,
    LoggedDecision,
    PutClient,
    PutHoldings,
    RecordEvents,
    Store,
)
from serving.services.upkeep import Upkeep, plan_retirement, retire
from serving.storage.sql import SqlStore
from serving.upkeep import LogMonth, begin_of

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEPT_FROM = datetime(2025, 11, 1, tzinfo=UTC)
OLD = datetime(2025, 6, 15, tzinfo=UTC)
DAY = timedelta(days=1)
ACME, BOLT = ClientId("acme"), ClientId("bolt")


def decision(decision_id: str, occurred_at: datetime, client_id: str = ACME) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id=client_id,
        member_id="m1",
        placement_id="home",
        channel=None,
        occurred_at=occurred_at,
        seed=1,
        policy_version=None,
        catalogue_version=None,
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded=None,
        basis="holdings",
        items=b'[[1,"mail","new",0.5,[]],[2,"site","new",0.5,[]]]',
        candidates=b"{}",
        request=b"{}",
    )


def event(event_id: str, event_type: EventType, occurred_at: datetime, **changes: Any) -> Event:
    return replace(Event(EventId(event_id), event_type, ACME, occurred_at, OfferId("mail")), **changes)


def of(decision_id: str, event_id: str, event_type: EventType, at: datetime, slot: int = 1) -> Event:
    return event(event_id, event_type, at, decision_id=DecisionId(decision_id), slot=slot, offer_id=None)


def record(store: Store, *events: Event) -> list[bool]:
    [found] = store.commit([RecordEvents(events, max(each.occurred_at for each in events))])
    if isinstance(found, Exception):
        raise found
    assert isinstance(found, list)
    return found


def log_of(store: Store) -> tuple[set[str], set[str]]:
    decisions = {row["decision_id"] for row in store.read_rows("decisions")}
    return decisions, {row["event_id"] for row in store.read_rows("events")}


@pytest.fixture
def told(store: Store) -> Store:
    """A store whose log reaches back nine months."""
    store.upsert_rows(
        "offers", [{"offer_id": each, "kind": "own", "recorded_at": OLD} for each in ("mail", "site")], OLD
    )
    store.commit([PutClient(ACME, Profile(), OLD)])
    store.commit([LogDecisions((decision("old", OLD), decision("alive", OLD), decision("new", NOW - DAY)))])
    record(store, of("old", "e1", EventType.IMPRESSION, OLD), of("old", "e2", EventType.CLICK, OLD + DAY))
    dismissed = of("old", "e3", EventType.DISMISSAL, OLD + DAY, slot=2)
    record(store, replace(dismissed, reason=DismissalReason.TOO_EXPENSIVE))
    record(store, event("e4", EventType.COMPLAINT, OLD + 2 * DAY, topic="bill"))
    record(store, event("e5", EventType.APPLICATION, OLD + 3 * DAY))
    record(store, of("alive", "e6", EventType.IMPRESSION, OLD))
    record(store, of("alive", "e7", EventType.CLICK, NOW - 3 * DAY))
    record(store, of("new", "e8", EventType.IMPRESSION, NOW - DAY))
    return store


def test_what_is_retired_changes_no_state(told: Store) -> None:
    before = told.client_state(ACME)
    assert told.rebuild_states(as_of=NOW) == 0
    done = retire(told, 4, NOW)
    assert done.kept_from == KEPT_FROM
    assert done.months == (LogMonth("2025-06", 1, 3),)
    assert log_of(told) == ({"alive", "new"}, {"e3", "e4", "e6", "e7", "e8"})
    assert told.rebuild_states(as_of=NOW) == 0
    after = told.client_state(ACME)
    assert after == before
    assert after is not None
    assert after.history.complaint == Complaint(OLD + 2 * DAY, "bill", OfferId("mail"))
    # the click of an old list still knows where it was shown
    assert after.history.contacts.placement_ids[:1] == ("home",)
    assert [item.offer_id for item in after.dismissals] == ["site"]
    assert retire(told, 4, NOW).months == ()


def test_what_goes_on_goes_with_its_last_event(told: Store) -> None:
    retire(told, 4, NOW)
    assert told.month_sizes(begin_of(NOW, 1)) == [LogMonth("2026-03", 2, 3)]
    later = NOW + 200 * DAY
    assert retire(told, 4, later).months == (LogMonth("2026-03", 2, 3),)
    assert log_of(told) == (set(), {"e3", "e4"})
    assert told.rebuild_states(as_of=later) == 0


def test_an_event_of_a_retired_decision_is_refused_and_one_that_is_kept_is_a_repeat(told: Store) -> None:
    retire(told, 4, NOW)
    with pytest.raises(InvalidEventsError, match="no decision 'old'"):
        record(told, of("old", "e2", EventType.CLICK, OLD + DAY))
    assert record(told, of("alive", "e6", EventType.IMPRESSION, OLD)) == [False]
    assert record(told, of("alive", "e9", EventType.IMPRESSION, NOW)) == [False]
    assert record(told, event("e4", EventType.COMPLAINT, OLD + 2 * DAY, topic="bill")) == [False]
    with pytest.raises(ConflictError, match="e3"):
        record(told, event("e3", EventType.CLICK, NOW, decision_id=DecisionId("new"), offer_id=None, slot=1))


@pytest.mark.parametrize("n_days", [0, 40, 400])
def test_an_event_id_stands_for_one_event_in_all_months(told: Store, n_days: int) -> None:
    first = event("x", EventType.APPLICATION, NOW - n_days * DAY)
    assert record(told, first) == [True]
    assert record(told, first) == [False]
    for other in (
        replace(first, occurred_at=NOW - 65 * DAY),
        replace(first, event_type=EventType.ACTIVATION),
        of("new", "x", EventType.CLICK, NOW),
        of("alive", "x", EventType.CLICK, NOW),
    ):
        with pytest.raises(ConflictError, match="'x' was used before"):
            record(told, other)
    assert record(told, first) == [False]


def test_an_impression_counts_once_in_whatever_month_it_happens(told: Store) -> None:
    assert record(told, of("old", "i1", EventType.IMPRESSION, NOW)) == [False]
    assert record(told, of("old", "i2", EventType.IMPRESSION, NOW, slot=2)) == [True]
    assert record(told, of("old", "i3", EventType.IMPRESSION, OLD + DAY, slot=2)) == [False]
    # what was a repeat is not stored, so its id is free
    assert record(told, event("i3", EventType.APPLICATION, NOW)) == [True]
    assert told.rebuild_states(as_of=NOW) == 0


def test_one_commit_may_decide_and_record(told: Store) -> None:
    fresh = decision("fresh", NOW)
    results = told.commit(
        [
            LogDecisions((fresh,)),
            RecordEvents((of("fresh", "f1", EventType.IMPRESSION, NOW),), NOW),
            RecordEvents((of("fresh", "f1", EventType.IMPRESSION, NOW),), NOW),
            RecordEvents((of("fresh", "f1", EventType.CLICK, NOW),), NOW),
            RecordEvents((of("alive", "f2", EventType.IMPRESSION, NOW),), NOW),
        ]
    )
    assert results[1:3] == [[True], [False]]
    assert isinstance(results[3], ConflictError)
    assert results[4] == [False]


def rows(table: str, *keys: str, **columns: Any) -> list[dict[str, Any]]:
    base = {
        "decisions": {"client_id": "acme", "placement_id": "home", "seed": 1},
        "events": {"client_id": "acme", "event_type": "impression", "offer_id": "mail", "slot": 1},
    }[table]
    at = columns.pop("at")
    key = {"decisions": "decision_id", "events": "event_id"}[table]
    return [{**base, key: each, "occurred_at": at, "recorded_at": at, **columns} for each in keys]


def test_of_what_is_loaded_the_first_stays_in_whatever_month_the_others_lie(store: Store) -> None:
    later = OLD + 70 * DAY
    store.upsert_rows("decisions", rows("decisions", "a", "a", at=OLD), NOW)
    store.upsert_rows("decisions", rows("decisions", "a", at=later), NOW)
    [found] = store.read_rows("decisions")
    assert found["occurred_at"] == OLD
    first = rows("events", "e", at=OLD, decision_id="a")
    store.upsert_rows("events", [*first, *rows("events", "e", at=later)], NOW)
    store.upsert_rows("events", rows("events", "e", at=later, event_type="click"), NOW)
    store.upsert_rows("events", rows("events", "other", at=later, decision_id="a"), NOW)
    assert [(row["event_id"], row["occurred_at"]) for row in store.read_rows("events")] == [("e", OLD)]


def test_events_that_come_before_their_decision_find_to_it(store: Store) -> None:
    later = OLD + 70 * DAY
    store.upsert_rows("events", rows("events", "e", at=later, decision_id="a"), NOW)
    store.upsert_rows("events", rows("events", "second", at=OLD, decision_id="a"), NOW)
    store.upsert_rows("decisions", rows("decisions", "a", at=OLD), NOW)
    items = {"decision_id": "a", "slot": 1, "offer_id": "mail", "change": "new", "logging_probability": 1.0}
    store.upsert_rows("decision_items", [{**items, "reasons": None}], NOW)
    assert record(store, of("a", "third", EventType.IMPRESSION, later)) == [False]
    assert log_of(store) == ({"a"}, {"e"})
    assert store.month_sizes(NOW) == [LogMonth("2025-06", 1, 1)]
    with pytest.raises(ConflictError):
        record(store, of("a", "e", EventType.CLICK, later))
    store.rebuild_states(as_of=later)
    state = store.client_state(ACME)
    assert state is not None
    assert state.history.contacts.placement_ids == ("home",)


def test_months_that_experiments_read_stay(told: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = (datetime(2025, 6, 20, tzinfo=UTC), "experiment 'x' (running, not decided)")
    monkeypatch.setattr("serving.services.upkeep._readers", lambda _store: [reader])
    plan = plan_retirement(told, 4, NOW)
    assert plan.kept_from == datetime(2025, 6, 1, tzinfo=UTC)
    assert plan.months == ()
    assert plan.readers == ("experiment 'x' (running, not decided) reads the log from 2025-06-20 on",)
    with pytest.raises(ConfigError, match="at least 4"):
        plan_retirement(told, 3, NOW)
    with pytest.raises(ValueError, match="is kept"):
        told.retire_month("2025-11", KEPT_FROM)


class FixedClock:
    def now(self) -> datetime:
        return NOW


def test_the_server_keeps_house_once_a_day(told: Store) -> None:
    for n_days in (1, 6, 8, 300):
        answer = Answer(f"r{n_days}", b"d", b"{}", NOW - n_days * DAY)
        told.commit([LogDecisions((decision(f"d{n_days}", NOW - DAY),), answer)])
    Upkeep(told, FixedClock(), None, 7).look()
    assert [told.answer(f"r{n_days}") is not None for n_days in (1, 6, 8, 300)] == [True, True, False, False]
    assert "old" in log_of(told)[0]
    Upkeep(told, FixedClock(), 4, 7).look()
    assert "old" not in log_of(told)[0]
    told.commit([LogDecisions((decision("older", OLD),))])
    Upkeep(told, FixedClock(), 4, 7).look()
    assert "older" in log_of(told)[0], "retired twice a day"


@pytest.mark.parametrize("n_times", [1, 4])
def test_states_of_few_and_of_many_clients(told: Store, n_times: int) -> None:
    asked, found = [BOLT, ACME, ACME], [None, *[told.client_state(ACME)] * 2]
    assert told.client_states_of(asked * n_times) == found * n_times
    assert told.client_states_of([]) == []


# PostgreSQL alone


@pytest.fixture
def postgresql(new_store: Callable[[str], Store]) -> SqlStore:
    store = new_store("postgresql")
    assert isinstance(store, SqlStore)
    return store


def partitions(url: str, table: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table]
        )
        return {name for (name,) in found}


def n_in(url: str, tables: Iterable[str]) -> list[int]:
    with psycopg.connect(url) as connection:
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # type: ignore[index, arg-type]


def test_months_ahead_have_partitions_and_others_are_emptied_into_theirs(
    postgresql: SqlStore, postgresql_url: str
) -> None:
    future = datetime(2031, 5, 20, tzinfo=UTC)
    early = datetime(1995, 5, 20, tzinfo=UTC)
    postgresql.commit([LogDecisions((decision("early", early), decision("future", future)))])
    assert n_in(postgresql_url, ["decisions_default"]) == [2]
    made = postgresql.make_months(future)
    assert {"2031-04", "2031-05", "2031-06", "2031-07", "2031-08"} == set(made)
    assert n_in(postgresql_url, ["decisions_default", "decisions_2031_05"]) == [1, 1]
    assert postgresql.make_months(future) == []
    assert log_of(postgresql)[0] == {"early", "future"}
    assert postgresql.retire_month("1995-05", KEPT_FROM) == LogMonth("1995-05", 1, 0)
    assert log_of(postgresql)[0] == {"future"}


def test_a_retired_month_is_dropped_as_a_whole(postgresql: SqlStore, postgresql_url: str) -> None:
    at = datetime(2024, 2, 3, tzinfo=UTC)
    postgresql.upsert_rows("decisions", rows("decisions", "a", "b", at=at), at)
    postgresql.upsert_rows("events", rows("events", "e", at=at, decision_id="a"), at)
    assert "decisions_2024_02" in partitions(postgresql_url, "decisions")
    assert n_in(postgresql_url, ["decisions_2024_02", "events_2024_02"]) == [2, 1]
    postgresql.retire_month("2024-02", KEPT_FROM)
    assert "decisions_2024_02" not in partitions(postgresql_url, "decisions")
    assert "events_2024_02" not in partitions(postgresql_url, "events")
    assert n_in(postgresql_url, ["event_ids"]) == [0]


def test_a_month_that_others_read_is_left_for_later(
    postgresql: SqlStore, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.storage.upkeep._SECONDS_BETWEEN_ATTEMPTS", 0.0)
    at = datetime(2024, 2, 3, tzinfo=UTC)
    postgresql.upsert_rows("decisions", rows("decisions", "a", at=at), at)
    with psycopg.connect(postgresql_url) as reader:
        reader.execute("SELECT count(*) FROM decisions")
        with pytest.raises(Exception, match="others read or write"):
            postgresql.retire_month("2024-02", KEPT_FROM)
        # whoever decides meanwhile is not held up
        postgresql.commit([LogDecisions((decision("now", NOW),))])
        assert postgresql.make_months(datetime(2032, 1, 1, tzinfo=UTC)) == []
    assert postgresql.retire_month("2024-02", KEPT_FROM) == LogMonth("2024-02", 1, 0)
    assert log_of(postgresql)[0] == {"now"}


def test_a_lookup_by_month_reads_that_month_alone(postgresql: SqlStore, postgresql_url: str) -> None:
    postgresql.make_months(NOW)
    with psycopg.connect(postgresql_url) as connection:
        query = "EXPLAIN SELECT items FROM decisions WHERE log_month = ANY('{2026-03}')"
        plan = "\n".join(line for (line,) in connection.execute(query))
    assert "decisions_2026_03" in plan
    assert "decisions_2026_02" not in plan
    assert "decisions_default" not in plan


def test_two_who_send_one_new_holding_at_once_are_not_both_believed(
    postgresql: SqlStore, migrated_database: Callable[[str], str], postgresql_url: str
) -> None:
    postgresql.upsert_rows("offers", [{"offer_id": "mail", "kind": "own", "recorded_at": OLD}], OLD)
    for name in (ACME, BOLT):
        postgresql.commit([PutClient(name, Profile(), OLD)])
    holding = Holding("h", OfferId("mail"), OLD, 1, None, None)
    writes = [PutHoldings((HoldingChange(name, holding),), NOW) for name in (ACME, BOLT)]
    for number in range(10):
        together = Barrier(2)
        named = [
            replace(
                write,
                changes=tuple(
                    replace(each, holding=holding._replace(holding_id=f"h{number}")) for each in write.changes
                ),
            )
            for write in writes
        ]

        def put(write: PutHoldings, together: Barrier = together) -> Any:
            together.wait()
            return postgresql.commit([write])[0]

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(put, named))
        assert sum(isinstance(each, ConflictError) for each in found) == 1
