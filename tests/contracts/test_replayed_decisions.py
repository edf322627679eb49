"""What was answered while a store was away is stored once; and what a store remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from recsys.domain import ClientId, DecisionId, Event, EventId, EventType, Profile
from serving.orders import Assignment
from serving.ports import Answer, LogDecisions, LoggedDecision, PutClient, RecordEvents, Store

T0 = datetime(2025, 1, 31, 23, 59, 59, tzinfo=UTC)
ACME = ClientId("acme")


def decision(decision_id: str, client_id: str = ACME) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id=client_id,
        member_id="m1",
        placement_id="home",
        channel="web",
        occurred_at=T0,
        seed=2**62,
        policy_version="p",
        catalogue_version="c",
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded="store_unavailable",
        basis="holdings",
        items=b'[[1,"mail","new",0.5,["stage"]]]',
        candidates=b'{"offer_id":["mail"],"refused":[]}',
        request=b'{"k":1,"language":"ru","time_zone":"UTC"}',
    )


def written(*names: str, **more: Any) -> LogDecisions:
    return LogDecisions(tuple(decision(name) for name in names), **more)


def stored(store: Store) -> list[str]:
    return sorted(str(row["decision_id"]) for row in store.read_rows("decisions"))


def test_a_replayed_decision_is_stored_once(store: Store) -> None:
    store.commit([written("d1", "d2")])
    before = list(store.read_rows("decisions"))
    assert store.commit([written("d1", "d2", "d3", is_replayed=True)]) == [None]
    store.commit([written("d3", is_replayed=True), written("d4"), written("d3", "d4", is_replayed=True)])
    assert stored(store) == ["d1", "d2", "d3", "d4"]
    assert [row for row in store.read_rows("decisions") if row["decision_id"] in ("d1", "d2")] == before


def test_an_answer_that_is_stored_stays_and_the_decision_is_stored_all_the_same(store: Store) -> None:
    first = Answer("r1", b"one", b'{"first":1}', T0)
    other = Answer("r1", b"other", b'{"other":1}', T0)
    store.commit([written("d1", answer=first)])
    store.commit([written("d2", answer=other, is_replayed=True)])
    assert stored(store) == ["d1", "d2"]
    assert store.answer("r1") == first
    store.commit([written("d3", answer=Answer("r2", b"x", b"{}", T0), is_replayed=True)])
    assert store.answer("r2") == Answer("r2", b"x", b"{}", T0)


def test_an_arm_that_is_stored_stays(store: Store) -> None:
    arm = Assignment("e", ACME, "client:acme", "a", T0)
    store.commit([written("d1", assignments=(arm,))])
    store.commit([written("d2", assignments=(arm._replace(arm="b") if hasattr(arm, "_replace") else arm,))])
    store.commit([written("d2", assignments=(arm,), is_replayed=True)])
    assert [one.arm for one in store.client_assignments(ACME)] == ["a"]


def test_an_event_may_refer_to_a_decision_replayed_in_the_same_transaction(store: Store) -> None:
    seen = Event(
        EventId("e1"),
        EventType.IMPRESSION,
        ACME,
        T0 + timedelta(seconds=2),  # in the month after its decision's
        decision_id=DecisionId("d1"),
        slot=1,
    )
    told = store.commit([written("d1", is_replayed=True), RecordEvents((seen,), T0)])
    assert told == [None, [True]]
    store.commit([written("d1", is_replayed=True)])
    assert store.commit([RecordEvents((seen,), T0)]) == [[False]]


def test_a_client_is_remembered_as_it_was_read_last(store: Store) -> None:
    store.commit([PutClient(ACME, Profile(name="Acme"), T0)])
    arm = Assignment("e", ACME, "client:acme", "a", T0)
    store.commit([written("d1", assignments=(arm,))])
    state = store.client_state(ACME)
    store.client_assignments(ACME)
    assert store.remembered(ACME) == (state, (arm,))
    assert store.remembered(ClientId("nobody")) == (None, ())
