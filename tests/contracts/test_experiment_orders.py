"""Orders of experiments and the arms of clients, on every store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from recsys.domain import ClientId
from recsys.errors import ConflictError
from recsys.experiments.experiment import HOLDOUT_ID
from serving.orders import Assignment, ExperimentOrder, standing_orders
from serving.ports import Answer, LogDecisions, LoggedDecision, Store
from serving.storage.dialects import open_database
from serving.storage.migrate import migrate
from serving.storage.schema import SCHEMA_REVISION
from serving.storage.sql import SqlStore

T0 = datetime(2025, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
ACME = ClientId("acme")
DRAFT = ExperimentOrder("hints", 1, "draft", '{"название":"Подсказки"}', "key-1", "", T0)
RUNNING = replace(DRAFT, number=2, status="running", reason="по плану", recorded_at=T0 + DAY)
FIRST = Assignment("hints", ACME, "group-1", "new", T0)
TRIGGERED = replace(FIRST, triggered_at=T0 + DAY, trigger_decision_id="d2")


def decision(decision_id: str, assignments: bytes = b"") -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id=ACME,
        member_id=None,
        placement_id="home",
        channel=None,
        occurred_at=T0,
        seed=1,
        policy_version="p",
        catalogue_version="c",
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded=None,
        basis="holdings",
        items=b"[]",
        candidates=b"{}",
        request=b"{}",
        assignments=assignments,
    )


def keep(store: Store, *assignments: Assignment, decision_id: str = "d1") -> None:
    assert store.commit([LogDecisions((decision(decision_id),), assignments=assignments)]) == [None]


class TestOrders:
    def test_they_come_back_in_the_order_in_which_they_were_said(self, store: Store) -> None:
        holdout = ExperimentOrder(HOLDOUT_ID, 1, "running", "{}", "command line", "", T0 + DAY / 2)
        for order in (DRAFT, holdout, RUNNING):
            store.put_experiment(order)
        assert store.experiment_orders() == [DRAFT, RUNNING, holdout]
        assert standing_orders(store.experiment_orders()) == {"hints": RUNNING, HOLDOUT_ID: holdout}

    def test_numbers_count_and_clocks_do_not(self, store: Store) -> None:
        """A machine whose clock is slow stops what one whose clock is fast has started."""
        stopped = replace(RUNNING, number=3, status="stopped", recorded_at=T0 - DAY)
        for order in (DRAFT, RUNNING, stopped):
            store.put_experiment(order)
        assert store.experiment_orders() == [DRAFT, RUNNING, stopped]
        assert standing_orders(reversed(store.experiment_orders())) == {"hints": stopped}

    def test_of_two_that_answer_the_same_order_one_stands(self, store: Store) -> None:
        store.put_experiment(DRAFT)
        store.put_experiment(RUNNING)
        with pytest.raises(ConflictError, match="meanwhile"):
            store.put_experiment(replace(RUNNING, status="stopped", author="guardrail"))
        assert store.experiment_orders() == [DRAFT, RUNNING]

    def test_of_many_at_once_one_stands(self, store: Store) -> None:
        def put(author: str) -> bool:
            try:
                store.put_experiment(replace(DRAFT, author=author))
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(put, "abcdefgh")) == 1
        assert len(store.experiment_orders()) == 1

    def test_every_order_changes_the_content_version(self, store: Store) -> None:
        before = store.content_version(T0)
        store.put_experiment(DRAFT)
        middle = store.content_version(T0)
        store.put_experiment(RUNNING)
        after = store.content_version(T0)
        numbers = [version.experiments for version in (before, middle, after)]
        assert numbers == [0, 1, 2]
        assert before._replace(experiments=2) == after

    def test_loaded_orders_stay_as_they_were_first(self, store: Store) -> None:
        store.put_experiment(DRAFT)
        (row,) = store.read_rows("experiments")
        assert row["reason"] == ""
        second = {**row, "number": 2, "status": "running", "reason": None}
        store.upsert_rows("experiments", [{**row, "status": "decided"}, second], T0)
        assert [order.status for order in store.experiment_orders()] == ["draft", "running"]
        assert store.experiment_orders()[1].reason == ""
        assert store.content_version(T0).experiments == 2


class TestAssignments:
    def test_nobody_is_assigned_at_first(self, store: Store) -> None:
        assert store.client_assignments(ACME) == ()

    def test_they_are_stored_with_the_decision(self, store: Store) -> None:
        other = Assignment(HOLDOUT_ID, ACME, ACME, "treated", T0)
        forced = Assignment("colours", ACME, ACME, "red", T0, T0, "d1", is_forced=True)
        elsewhere = replace(FIRST, client_id="bolt")
        keep(store, FIRST, other, forced, elsewhere)
        assert store.client_assignments(ACME) == (forced, FIRST, other)
        assert store.client_assignments(ClientId("bolt")) == (elsewhere,)

    def test_those_of_a_unit_come_in_one_read(self, store: Store) -> None:
        earlier = replace(FIRST, client_id="bolt", assigned_at=T0 - DAY)
        other = replace(FIRST, experiment_id="colours", arm="red")
        alone = replace(FIRST, client_id="cone", unit_id="cone")
        keep(store, FIRST, earlier, other, alone)
        assert store.unit_assignments("group-1") == (other, earlier, FIRST)
        assert store.unit_assignments("group-2") == ()

    def test_the_arm_stays_and_the_first_trigger_is_added_once(self, store: Store) -> None:
        keep(store, FIRST)
        keep(store, replace(FIRST, arm="old", unit_id=ACME, assigned_at=T0 + DAY), decision_id="d2")
        assert store.client_assignments(ACME) == (FIRST,)
        keep(store, TRIGGERED, decision_id="d3")
        assert store.client_assignments(ACME) == (TRIGGERED,)
        later = replace(FIRST, triggered_at=T0 + 2 * DAY, trigger_decision_id="d4")
        keep(store, later, decision_id="d4")
        keep(store, FIRST, decision_id="d5")
        assert store.client_assignments(ACME) == (TRIGGERED,)
        (row,) = store.read_rows("assignments")
        assert row["recorded_at"] == T0 + DAY

    def test_twice_in_one_commit(self, store: Store) -> None:
        writes = [
            LogDecisions((decision(f"d{n}"),), assignments=(each,))
            for n, each in enumerate((FIRST, TRIGGERED, FIRST))
        ]
        assert store.commit(writes) == [None] * 3
        assert store.client_assignments(ACME) == (TRIGGERED,)

    def test_an_answer_given_before_assigns_nobody(self, store: Store) -> None:
        answer = Answer("r1", b"digest", b"{}", T0)
        store.commit([LogDecisions((decision("d1"),), answer)])
        store.commit([LogDecisions((decision("d2"),), answer, (FIRST,))])
        (refused,) = store.commit([LogDecisions((decision("d1"),), None, (FIRST,))])
        assert isinstance(refused, ConflictError)
        assert store.client_assignments(ACME) == ()

    def test_a_decision_says_its_arms(self, store: Store) -> None:
        logged = [
            decision("d1", b'[["hints","new",true]]'),
            decision("d2", b"[]"),
            decision("d3"),
        ]
        store.commit([LogDecisions(tuple(logged))])
        rows = {row["decision_id"]: row["assignments"] for row in store.read_rows("decisions")}
        assert rows == {"d1": '[["hints","new",true]]', "d2": None, "d3": None}

    def test_loaded_ones_are_kept_alike(self, store: Store) -> None:
        keep(store, FIRST)
        (row,) = store.read_rows("assignments")
        told = {**row, "arm": "old", "triggered_at": T0 + DAY, "trigger_decision_id": "d2"}
        store.upsert_rows("assignments", [told, {**row, "client_id": "bolt", "is_forced": None}], T0)
        assert store.client_assignments(ACME) == (TRIGGERED,)
        assert store.client_assignments(ClientId("bolt")) == (replace(FIRST, client_id="bolt"),)

    def test_many_writers_leave_one_row_of_each_client(self, store: Store) -> None:
        clients = [f"c{n}" for n in range(20)]

        def write(writer: int) -> None:
            told = [
                replace(FIRST, client_id=each, triggered_at=T0 + writer * DAY if writer else None)
                for each in (clients if writer % 2 else reversed(clients))
            ]
            keep(store, *told, decision_id=f"d{writer}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(8)))
        rows = list(store.read_rows("assignments"))
        assert sorted(row["client_id"] for row in rows) == sorted(clients)
        assert all(row["triggered_at"] is not None for row in rows)


class TestTurns:
    def test_one_in_each_period(self, store: Store) -> None:
        assert store.take_turn("guard", T0, DAY)
        assert not store.take_turn("guard", T0, DAY)
        assert not store.take_turn("guard", T0 + 0.99 * DAY, DAY)
        assert store.take_turn("another", T0, DAY)
        assert store.take_turn("guard", T0 + DAY, DAY)
        assert not store.take_turn("guard", T0 + DAY, DAY)

    def test_of_many_at_once_one_takes_it(self, store: Store) -> None:
        with ThreadPoolExecutor(4) as pool:
            for moment in (T0, T0 + DAY):
                taken = pool.map(lambda _: store.take_turn("guard", moment, DAY), range(8))  # noqa: B023
                assert sum(taken) == 1


class TestColumns:
    def test_only_those_asked_for_are_read(self, store: Store) -> None:
        logged = decision("d1")._replace(items=b'[[1,"mail","new",0.5,["stage"]]]')
        store.commit([LogDecisions((logged,))])
        wanted = ("occurred_at", "decision_id")
        assert list(store.read_rows("decisions", wanted)) == [{"occurred_at": T0, "decision_id": "d1"}]
        assert list(store.read_rows("decision_items", ("offer_id",))) == [{"offer_id": "mail"}]

    def test_only_what_was_recorded_since(self, store: Store) -> None:
        logged = [decision(f"d{n}")._replace(occurred_at=T0 + n * DAY) for n in range(3)]
        store.commit([LogDecisions(tuple(logged))])
        rows = store.read_rows("decisions", ("decision_id",), T0 + DAY)
        assert [row["decision_id"] for row in rows] == ["d1", "d2"]


def test_the_migration_goes_down_and_up_with_data_in_it(empty_database: str) -> None:
    migrate(empty_database)
    store = SqlStore(empty_database)
    store.put_experiment(DRAFT)
    logged = decision("d1", b'[["hints","new",true]]')
    store.commit([LogDecisions((logged,), assignments=(FIRST,))])
    store.close()
    assert migrate(empty_database, "0003") == "0003"
    database = open_database(empty_database)
    with database.reader.connect() as connection:
        assert connection.execute(sa.text("SELECT decision_id FROM decisions")).scalars().all() == ["d1"]
        names = sa.inspect(connection).get_table_names()
        assert not {"experiments", "assignments", "turns"} & set(names)
    database.dispose()
    assert migrate(empty_database) == SCHEMA_REVISION
    store = SqlStore(empty_database)
    (row,) = store.read_rows("decisions")
    assert row["assignments"] is None
    assert store.experiment_orders() == []
    keep(store, FIRST, decision_id="d2")
    assert store.client_assignments(ACME) == (FIRST,)
    store.close()


def test_what_was_decided_before_the_migration_was_in_no_experiment(empty_database: str) -> None:
    migrate(empty_database, "0003")
    database = open_database(empty_database)
    with database.writer.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO decisions (decision_id, client_id, placement_id, occurred_at, recorded_at, seed,"
                " items) VALUES ('d1', 'acme', 'home', '2025-03-01T09:00:00.000000+00:00',"
                " '2025-03-01T09:00:00.000000+00:00', 1, '[]')"
            )
        )
    database.dispose()
    migrate(empty_database)
    store = SqlStore(empty_database)
    (row,) = store.read_rows("decisions")
    assert (row["decision_id"], row["assignments"]) == ("d1", None)
    store.close()


def test_a_copied_store_holds_the_same(new_store: Callable[[str], Store]) -> None:
    source, copy = new_store("memory"), new_store("sqlite")
    source.put_experiment(DRAFT)
    keep(source, TRIGGERED)
    for table in ("experiments", "assignments"):
        copy.upsert_rows(table, list(source.read_rows(table)), T0)
    assert copy.experiment_orders() == [DRAFT]
    assert copy.client_assignments(ACME) == (TRIGGERED,)
