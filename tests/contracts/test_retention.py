"""Retiring beside a server that works: what comes between, what fails in the middle, what is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from recsys.domain import ClientId, Event, EventId, EventType, OfferId, Profile
from recsys.errors import StoreUnavailableError
from serving.orders import ShadowDecision
from serving.ports import PutClient, RecordEvents, Store
from serving.services.upkeep import Upkeep, retire
from serving.storage import retention
from serving.storage.dialects import TransientError, open_database
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEPT_FROM = datetime(2025, 11, 1, tzinfo=UTC)
OLD = datetime(2025, 6, 15, tzinfo=UTC)
MONTH = "2025-06"
ACME = ClientId("acme")


def event(event_id: str, occurred_at: datetime = OLD) -> Event:
    return Event(EventId(event_id), EventType.APPLICATION, ACME, occurred_at, OfferId("mail"))


def record(store: Store, *events: Event) -> Any:
    return store.commit([RecordEvents((each,), NOW) for each in events])


def event_ids(store: Store) -> set[str]:
    return {row["event_id"] for row in store.read_rows("events")}


def load_events(store: Store, *ids: str, at: datetime = OLD, **columns: Any) -> None:
    base = {"client_id": "acme", "offer_id": "mail", "occurred_at": at, "recorded_at": at}
    rows = [{**base, "event_type": "application", "event_id": each, **columns} for each in ids]
    store.upsert_rows("events", rows, NOW)


@pytest.fixture
def told(store: Store) -> Store:
    store.upsert_rows("offers", [{"offer_id": "mail", "kind": "own", "recorded_at": OLD}], OLD)
    store.commit([PutClient(ACME, Profile(), OLD)])
    return store


@pytest.fixture
def postgresql(new_store: Callable[[str], Store]) -> SqlStore:
    """With a partition for the month that goes."""
    store = new_store("postgresql")
    assert isinstance(store, SqlStore)
    store.upsert_rows("offers", [{"offer_id": "mail", "kind": "own", "recorded_at": OLD}], OLD)
    store.commit([PutClient(ACME, Profile(), OLD)])
    load_events(store, "e0")
    return store


def test_an_event_that_comes_while_its_month_goes_harms_nobody(
    postgresql: SqlStore, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop, came = retention.drop, []

    def drop_late(*arguments: Any) -> None:
        if not came:
            came.extend(record(postgresql, event("late"), event("later")))
        drop(*arguments)

    monkeypatch.setattr(retention, "drop", drop_late)
    monkeypatch.setattr(retention, "PORTION", 1)
    postgresql.retire_month(MONTH, KEPT_FROM)
    assert came == [[True], [True]]
    assert event_ids(postgresql) == set()
    with psycopg.connect(postgresql_url) as connection:
        assert connection.execute("SELECT event_id FROM event_ids").fetchall() == []
    assert record(postgresql, event("fine", NOW), event("late"), event("late")) == [[True], [True], [False]]


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)  # memory keeps no ids
@pytest.mark.parametrize("month", [MONTH, "2025-08"])
def test_an_id_that_outlived_its_event_is_theirs_who_send_it_again(told: Store, month: str) -> None:
    assert isinstance(told, SqlStore)
    with told._database.writing() as cursor:
        cursor.execute(f"INSERT INTO event_ids (event_id, log_month) VALUES ('late', '{month}')")
    assert record(told, event("fine", NOW), event("late"), event("late")) == [[True], [True], [False]]
    [found] = record(told, event("late", NOW))
    assert "used before" in str(found)
    load_events(told, "late", at=NOW)
    assert event_ids(told) == {"fine", "late"}


def test_a_drop_that_would_move_much_while_all_wait_is_undone_and_tried_again(
    postgresql: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.storage.upkeep._SECONDS_BETWEEN_ATTEMPTS", 0.0)
    monkeypatch.setattr(retention, "PORTION", 2)
    drop, faults = retention.drop, []

    def drop_late(*arguments: Any) -> None:
        if not faults:
            load_events(postgresql, "c1", "c2", event_type="complaint")
        try:
            drop(*arguments)
        except TransientError as error:
            faults.append(str(error))
            raise

    monkeypatch.setattr(retention, "drop", drop_late)
    postgresql.retire_month(MONTH, KEPT_FROM)
    assert faults == [f"much of month {MONTH} came to stay meanwhile"]
    assert event_ids(postgresql) == {"c1", "c2"}


def test_what_models_in_shadow_said_goes_with_the_log(store: Store) -> None:
    seen = ShadowDecision("d1", "b-1", "a-1", "home", "micro", OLD, OLD, 5, 2, 9, 0.5, -0.01)
    store.put_shadow_decisions(
        [seen, replace(seen, bundle_version="c-1"), replace(seen, decision_id="d2", occurred_at=KEPT_FROM)]
    )
    retire(store, 4, NOW)
    assert [row["decision_id"] for row in store.read_rows("shadow_decisions")] == ["d2"]
    assert sum(each.n_decisions for each in store.shadow_figures("b-1")) == 1
    assert store.forget_shadows(NOW) == 1


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize("work", ["make_months", "forget_answers", "retire_month"])
def test_what_failed_is_tried_again_after_minutes_and_what_was_done_after_its_time(
    told: Store, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(told, event("e"))
    clock, calls = Hands(), []
    is_away, real = [True], getattr(told, work)

    def watched(*arguments: Any) -> Any:
        calls.append(clock.at)
        if is_away[0]:
            raise StoreUnavailableError("away")
        return real(*arguments)

    monkeypatch.setattr(told, work, watched)
    for is_away[0], minutes in ((True, 0), (True, 1), (False, 11), (False, 22), (False, 59)):
        clock.at = NOW + timedelta(minutes=minutes)
        Upkeep(told, clock, 4, 7).look()
        if minutes == 0 and work != "retire_month":
            assert event_ids(told) == set(), "one fault kept the rest from being done"
    assert calls == [NOW, NOW + timedelta(minutes=11)]


def test_what_goes_on_in_portions_ends_when_the_store_is_closed(
    new_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store("sqlite")
    load_events(store, "a", "b", "c")
    monkeypatch.setattr(retention, "PORTION", 1)
    forget_some, n_portions = retention.forget_some, []

    def closing(*arguments: Any) -> int:
        n_portions.append(forget_some(*arguments))
        closer = threading.Thread(target=store.close)
        closer.start()
        closer.join()
        return n_portions[-1]

    monkeypatch.setattr(retention, "forget_some", closing)
    with pytest.raises(StoreUnavailableError, match="is closed"):
        store.retire_month(MONTH, KEPT_FROM)
    assert n_portions == [1]


def test_of_what_stands_in_two_months_a_downgrade_keeps_the_first(empty_database: str) -> None:
    migrate(empty_database)
    database = open_database(empty_database)
    months = (("2025-07", "later"), (MONTH, "first"), ("2025-08", "last"))
    with database.writer.begin() as connection:
        for month, client_id in months:
            told = {"of": client_id, "month": month, "at": "2025-06-15T00:00:00+00:00"}
            connection.execute(
                sa.text(
                    "INSERT INTO decisions (decision_id, client_id, placement_id, occurred_at, recorded_at,"
                    " seed, log_month) VALUES ('same', :of, 'home', :at, :at, 1, :month)"
                ),
                told,
            )
            for event_id in ("e", f"i-{client_id}"):
                connection.execute(
                    sa.text(
                        "INSERT INTO events (event_id, event_type, client_id, decision_id, slot, occurred_at,"
                        f" recorded_at, log_month) VALUES ('{event_id}', 'impression', :of, 'same',"
                        f" {1 if event_id == 'e' else 2}, :at, :at, :month)"
                    ),
                    told,
                )
    database.dispose()
    migrate(empty_database, "0005")
    database = open_database(empty_database)
    with database.reader.connect() as connection:
        decisions = connection.execute(sa.text("SELECT client_id FROM decisions")).all()
        events = connection.execute(sa.text("SELECT event_id, client_id FROM events ORDER BY event_id")).all()
    database.dispose()
    assert [tuple(row) for row in decisions] == [("first",)]
    assert [tuple(row) for row in events] == [("e", "first"), ("i-first", "first")]
