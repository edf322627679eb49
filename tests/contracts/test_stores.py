from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from recsys.data.state import present
from recsys.domain import (
    ClientId,
    ClientState,
    DecisionId,
    Dismissal,
    DismissalReason,
    Event,
    EventId,
    EventType,
    Holding,
    LegalForm,
    MemberId,
    OfferId,
    OfferKind,
    Profile,
    Size,
    Stage,
)
from recsys.errors import (
    ConflictError,
    DataError,
    InvalidEventsError,
    NotFoundError,
    RecsysError,
    UnknownClientError,
    UnknownOfferError,
)
from recsys.history import Complaint, MonthFigures
from recsys.tables import TABLES
from serving.orders import OfferStop, PolicyVersion
from serving.ports import (
    Answer,
    HoldingChange,
    KeyRecord,
    LogDecisions,
    LoggedDecision,
    MonthChange,
    PutClient,
    PutHoldings,
    PutMonths,
    RecordEvents,
    Role,
    SourceAge,
    Store,
)

T0 = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
ACME = ClientId("acme")
BOLT = ClientId("bolt")
PROFILE = Profile(
    name="Ромашка, ООО",
    legal_form=LegalForm.LLC,
    size=Size.MICRO,
    industry="G",
    region="77",
    stage=Stage.MATURE,
    n_employees=7,
    revenue_minor=12_000_000_000,
    client_since_on=date(2020, 2, 29),
    is_vip=True,
    vip_reviewed_on=date(2024, 2, 29),
    loyalty_points=5,
    account_group_id="group",
    tags=("crm=none", "odd;tag=ü"),
    is_profiling_allowed=False,
)


def decision(
    decision_id: str = "d1", offers: Sequence[str] = ("mail", "site"), client_id: str = ACME
) -> LoggedDecision:
    items = ",".join(f'[{slot},"{offer}","new",0.5,["stage"]]' for slot, offer in enumerate(offers, 1))
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
        degraded=None,
        basis="holdings",
        items=f"[{items}]".encode(),
        candidates=b'{"offer_id":["mail","site"],"refused":[]}',
        request=b'{"k":2,"language":"ru","time_zone":"UTC"}',
    )


def event(event_id: str = "e1", event_type: EventType = EventType.APPLICATION, **changes: object) -> Event:
    plain = Event(EventId(event_id), event_type, ACME, T0, OfferId("mail"))
    return replace(plain, **changes)  # type: ignore[arg-type]


def dismissal(event_id: str, occurred_at: datetime, reason: DismissalReason, offer: str = "mail") -> Event:
    return Event(EventId(event_id), EventType.DISMISSAL, ACME, occurred_at, OfferId(offer), reason=reason)


def connection(
    holding_id: str = "h1",
    offer: str = "mail",
    client: ClientId = ACME,
    quantity: int = 1,
    disconnected_at: datetime | None = None,
) -> HoldingChange:
    return HoldingChange(client, Holding(holding_id, OfferId(offer), T0, quantity), disconnected_at)


def offer_rows(*offer_ids: str) -> list[dict[str, object]]:
    return [{"offer_id": each, "kind": "own", "recorded_at": T0} for each in offer_ids]


def one(store: Store, write: object) -> object:
    (result,) = store.commit([write])  # type: ignore[list-item]
    if isinstance(result, RecsysError):
        raise result
    return result


@pytest.fixture
def shop(store: Store) -> Store:
    """A store with three offers and one client."""
    store.upsert_rows("offers", offer_rows("mail", "site", "bank"), T0)
    one(store, PutClient(ACME, PROFILE, T0))
    return store


class TestClients:
    def test_an_unknown_client_has_no_state(self, store: Store) -> None:
        assert store.client_state(ACME) is None
        assert store.is_ready()

    def test_a_profile_comes_back_as_it_was(self, store: Store) -> None:
        result = one(store, PutClient(ACME, PROFILE, T0))
        assert result == ClientState(ACME, version=1, profile=PROFILE)
        assert store.client_state(ACME) == result

    def test_the_same_profile_again_changes_nothing(self, shop: Store) -> None:
        assert one(shop, PutClient(ACME, PROFILE, T0 + DAY)) == shop.client_state(ACME)
        assert len(list(shop.read_rows("clients"))) == 1

    def test_a_new_profile_closes_the_version_before(self, shop: Store) -> None:
        changed = replace(PROFILE, name=None, tags=())
        state = one(shop, PutClient(ACME, changed, T0 + DAY))
        assert state == ClientState(ACME, version=2, profile=changed)
        rows = list(shop.read_rows("clients"))
        assert [(row["valid_from"], row["valid_to"]) for row in rows] == [(T0, T0 + DAY), (T0 + DAY, None)]
        assert [row["recorded_at"] for row in rows] == [T0, T0 + DAY]

    def test_search_by_name_or_id_in_any_case(self, shop: Store) -> None:
        one(shop, PutClient(ClientId("Zeta_1"), Profile(name="ААА"), T0))
        one(shop, PutClient(ClientId("zetaX1"), Profile(), T0))
        assert [state.client_id for state in shop.find_clients("рОмА", 5)] == [ACME]
        assert [state.client_id for state in shop.find_clients("ZETA_", 5)] == ["Zeta_1"]
        # ordered by name; a nameless client stands under its id
        assert [state.client_id for state in shop.find_clients("", 9)] == ["zetaX1", "Zeta_1", ACME]
        assert [state.client_id for state in shop.find_clients("", 1)] == ["zetaX1"]
        assert shop.find_clients("%", 5) == []


class TestHoldings:
    def test_connect_change_and_end(self, shop: Store) -> None:
        one(shop, PutHoldings((connection(), connection("h2", "site")), T0))
        state = shop.client_state(ACME)
        assert state is not None
        assert [(held.holding_id, held.quantity) for held in state.holdings] == [("h1", 1), ("h2", 1)]
        assert state.version == 2
        one(shop, PutHoldings((connection(quantity=3),), T0 + DAY))
        result = one(shop, PutHoldings((connection(quantity=3, disconnected_at=T0 + DAY),), T0 + 2 * DAY))
        state = shop.client_state(ACME)
        assert result == {ACME: state}
        assert state is not None
        assert [held.holding_id for held in state.holdings] == ["h2"]
        assert state.past_offer_ids == ("mail",)
        assert state.version == 4
        assert [row["quantity"] for row in shop.read_rows("holdings")] == [1, 3, 3, 1]

    def test_what_is_stored_already_changes_nothing(self, shop: Store) -> None:
        before = one(shop, PutHoldings((connection(),), T0))
        assert one(shop, PutHoldings((connection(),), T0 + DAY)) == before
        assert len(list(shop.read_rows("holdings"))) == 1

    def test_an_end_in_the_future_is_no_end_yet(self, shop: Store) -> None:
        one(shop, PutHoldings((connection(disconnected_at=T0 + 9 * DAY),), T0))
        state = shop.client_state(ACME)
        assert state is not None
        assert len(state.holdings) == 1

    def test_facts_a_change_does_not_speak_of_stay(self, shop: Store) -> None:
        row = {"holding_id": "h1", "client_id": ACME, "offer_id": "mail", "connected_at": T0}
        shop.upsert_rows("holdings", [{**row, "recorded_at": T0, "edition": "pro", "price_minor": 7}], T0)
        one(shop, PutHoldings((connection(quantity=2),), T0 + DAY))
        latest = list(shop.read_rows("holdings"))[-1]
        assert (latest["edition"], latest["price_minor"], latest["quantity"]) == ("pro", 7, 2)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (connection("h2", client=BOLT), UnknownClientError),
            (connection("h2", offer="nothing"), UnknownOfferError),
            (connection("h1", offer="site"), ConflictError),
        ],
    )
    def test_all_or_none(self, shop: Store, change: HoldingChange, error: type[RecsysError]) -> None:
        one(shop, PutHoldings((connection(),), T0))
        before = shop.client_state(ACME), list(shop.read_rows("holdings"))
        (refused,) = shop.commit([PutHoldings((connection("h3", "bank"), change), T0 + DAY)])
        assert type(refused) is error
        assert (shop.client_state(ACME), list(shop.read_rows("holdings"))) == before

    def test_holders_are_counted_once(self, shop: Store) -> None:
        one(shop, PutClient(BOLT, Profile(), T0))
        changes = (connection(), connection("h2"), connection("h3", client=BOLT), connection("h4", "site"))
        one(shop, PutHoldings(changes, T0))
        one(shop, PutHoldings((connection("h4", "site", disconnected_at=T0),), T0 + DAY))
        assert shop.holder_counts() == {"mail": 2}


class TestLog:
    def test_a_decision_is_logged_in_full(self, shop: Store) -> None:
        logged = decision()
        assert one(shop, LogDecisions((logged,))) is None
        (row,) = shop.read_rows("decisions")
        assert row["seed"] == 2**62
        assert row["occurred_at"] == row["recorded_at"] == T0
        assert (row["bundle_version"], row["is_personalised"]) == (None, True)
        assert row["candidates"].encode() == logged.candidates
        assert list(shop.read_rows("decision_items")) == [
            {
                "decision_id": "d1",
                "slot": slot,
                "offer_id": offer_id,
                "change": "new",
                "logging_probability": 0.5,
                "reasons": ["stage"],
            }
            for slot, offer_id in ((1, "mail"), (2, "site"))
        ]

    def test_a_request_id_gives_its_first_answer(self, shop: Store) -> None:
        first = Answer("r1", b"\x00digest", b"{}", T0)
        assert shop.answer("r1") is None
        assert one(shop, LogDecisions((decision("d1"),), first)) == first
        twin = Answer("r1", b"\x00digest", b"{other}", T0 + DAY)
        assert one(shop, LogDecisions((decision("d2"),), twin)) == first
        assert shop.answer("r1") == first
        assert [row["decision_id"] for row in shop.read_rows("decisions")] == ["d1"]

    def test_twins_in_one_batch(self, shop: Store) -> None:
        answers = [Answer("r1", b"digest", body, T0) for body in (b"1", b"2")]
        results = shop.commit([LogDecisions((decision(f"d{a.body!r}"),), a) for a in answers])
        assert results == [answers[0], answers[0]]
        assert len(list(shop.read_rows("decisions"))) == 1

    def test_a_request_id_with_another_body_is_a_conflict(self, shop: Store) -> None:
        one(shop, LogDecisions((decision("d1"),), Answer("r1", b"digest", b"{}", T0)))
        with pytest.raises(ConflictError, match="r1"):
            one(shop, LogDecisions((decision("d2"),), Answer("r1", b"another", b"{}", T0)))
        assert len(list(shop.read_rows("decisions"))) == 1

    def test_a_refused_write_harms_no_other(self, shop: Store) -> None:
        one(shop, LogDecisions((decision("d1"),)))
        results = shop.commit(
            [
                PutHoldings((connection(),), T0),
                LogDecisions((decision("d2"), decision("d1")), Answer("r1", b"digest", b"{}", T0)),
                RecordEvents((event(decision_id=DecisionId("no")),), T0),
                LogDecisions((decision("d3"),)),
                RecordEvents((event(decision_id=DecisionId("d3"), slot=1),), T0),
            ]
        )
        assert [type(result) for result in results] == [
            dict,
            ConflictError,
            InvalidEventsError,
            type(None),
            list,
        ]
        assert [row["decision_id"] for row in shop.read_rows("decisions")] == ["d1", "d3"]
        assert shop.answer("r1") is None
        assert [row["event_id"] for row in shop.read_rows("events")] == ["e1"]
        state = shop.client_state(ACME)
        assert state is not None
        assert len(state.holdings) == 1


class TestEvents:
    @pytest.fixture
    def log(self, shop: Store) -> Store:
        one(shop, LogDecisions((decision("d1"),)))
        return shop

    def test_the_same_event_is_stored_once(self, log: Store) -> None:
        events = (event("e1"), event("e2"), event("e1"))
        assert one(log, RecordEvents(events, T0)) == [True, True, False]
        assert one(log, RecordEvents((event("e2"), event("e3")), T0)) == [False, True]
        assert len(list(log.read_rows("events"))) == 3

    @pytest.mark.parametrize(
        "other",
        [
            event("e1", EventType.CLICK, decision_id=DecisionId("d1"), slot=1),
            event("e1", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=2, offer_id=None),
            event("e1", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1, occurred_at=T0 + MINUTE),
            event("e1", EventType.COMPLAINT, topic="price"),
        ],
    )
    def test_the_same_id_with_another_content_is_a_conflict(self, log: Store, other: Event) -> None:
        seen = event("e1", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1)
        assert one(log, RecordEvents((seen,), T0)) == [True]
        # said with the slot or the offer alone, it is still the same
        assert one(log, RecordEvents((replace(seen, offer_id=None),), T0 + DAY)) == [False]
        before = log.client_state(ACME)
        with pytest.raises(ConflictError, match="e1"):
            one(log, RecordEvents((event("e0"), other, event("e2")), T0))
        assert [row["event_id"] for row in log.read_rows("events")] == ["e1"]
        assert log.client_state(ACME) == before

    def test_one_batch_gives_an_id_one_content(self, log: Store) -> None:
        with pytest.raises(ConflictError, match="e1"):
            one(log, RecordEvents((event("e1"), event("e1", EventType.ACTIVATION)), T0))
        assert list(log.read_rows("events")) == []

    def test_a_clock_that_is_a_little_slow_is_forgiven(self, log: Store) -> None:
        slow = event("e1", decision_id=DecisionId("d1"), occurred_at=T0 - 5 * MINUTE)
        assert one(log, RecordEvents((slow,), T0)) == [True]

    def test_an_impression_counts_once_per_decision_and_slot(self, log: Store) -> None:
        def seen(event_id: str, slot: int | None, offer: str | None) -> Event:
            return event(
                event_id, EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=slot, offer_id=offer
            )

        events = (seen("e1", 1, "mail"), seen("e2", 1, None), seen("e3", None, "mail"), seen("e4", 2, None))
        assert one(log, RecordEvents(events, T0)) == [True, False, False, True]
        assert [(row["slot"], row["offer_id"]) for row in log.read_rows("events")] == [
            (1, "mail"),
            (2, "site"),
        ]

    def test_every_column_is_kept(self, log: Store) -> None:
        sent = event(
            event_type=EventType.COMPLAINT,
            decision_id=DecisionId("d1"),
            slot=1,
            member_id=MemberId("m"),
            topic="price",
        )
        one(log, RecordEvents((sent,), T0 + DAY))
        assert list(log.read_rows("events")) == [
            {
                "event_id": "e1",
                "event_type": "complaint",
                "client_id": ACME,
                "occurred_at": T0,
                "recorded_at": T0 + DAY,
                "offer_id": "mail",
                "decision_id": "d1",
                "member_id": "m",
                "slot": 1,
                "reason": None,
                "topic": "price",
            }
        ]

    @pytest.mark.parametrize(
        ("bad", "code"),
        [
            (event("bad", decision_id=DecisionId("d9")), "unknown_decision"),
            (event("bad", decision_id=DecisionId("d1"), client_id=BOLT), "wrong_client"),
            (event("bad", decision_id=DecisionId("d1"), slot=2), "wrong_slot"),
            (event("bad", decision_id=DecisionId("d1"), slot=3, offer_id=None), "wrong_slot"),
            (event("bad", decision_id=DecisionId("d1"), offer_id=OfferId("bank")), "wrong_slot"),
            (event("bad", offer_id=OfferId("nothing")), "unknown_offer"),
            (event("bad", decision_id=DecisionId("d1"), occurred_at=T0 - 6 * MINUTE), "before_decision"),
            (event("bad", EventType.IMPRESSION, slot=1), "needs_decision"),
            (event("bad", EventType.CLICK), "needs_decision"),
            (event("bad", EventType.IMPRESSION, decision_id=DecisionId("d1"), offer_id=None), "needs_slot"),
            (event("bad", EventType.CLICK, decision_id=DecisionId("d1"), offer_id=None), "needs_slot"),
            (event("bad", EventType.COMPLAINT, client_id=BOLT, offer_id=None), "unknown_client"),
            (event("bad", EventType.DISMISSAL, client_id=BOLT), "unknown_client"),
            (event("bad", EventType.ACTIVATION, client_id=BOLT), "unknown_client"),
        ],
    )
    def test_all_or_none(self, log: Store, bad: Event, code: str) -> None:
        with pytest.raises(InvalidEventsError) as caught:
            one(log, RecordEvents((dismissal("good", T0, DismissalReason.NOT_NOW), bad), T0))
        assert [(fault.index, fault.event_id, fault.code) for fault in caught.value.faults] == [
            (1, "bad", code)
        ]
        message = caught.value.faults[0].message
        assert any(cure in message for cure in ("; send", "; create", "needs the")), message
        assert "None" not in message
        assert list(log.read_rows("events")) == []
        state = log.client_state(ACME)
        assert state is not None
        assert state.dismissals == ()

    def test_a_dismissal_is_in_the_state_with_its_event(self, log: Store) -> None:
        one(log, RecordEvents((dismissal("e1", T0, DismissalReason.TOO_EXPENSIVE),), T0))
        state = log.client_state(ACME)
        assert state is not None
        assert state.dismissals == (Dismissal(OfferId("mail"), DismissalReason.TOO_EXPENSIVE, T0),)
        assert state.version == 2
        again = one(log, RecordEvents((dismissal("e1", T0, DismissalReason.TOO_EXPENSIVE),), T0 + DAY))
        assert again == [False]
        assert log.client_state(ACME) == state

    def test_a_late_dismissal_does_not_replace_a_newer_one(self, log: Store) -> None:
        one(log, RecordEvents((dismissal("e1", T0 + DAY, DismissalReason.IRRELEVANT),), T0 + DAY))
        newer = log.client_state(ACME)
        assert one(log, RecordEvents((dismissal("e2", T0, DismissalReason.NOT_NOW),), T0 + 2 * DAY)) == [True]
        later = log.client_state(ACME)
        assert newer is not None
        assert later is not None
        assert later.dismissals == newer.dismissals
        assert later.history.activity.counts == (1, 1)

    def test_an_unknown_client_may_dismiss_what_it_was_shown(self, log: Store) -> None:
        nobody = ClientId("nobody")
        one(log, LogDecisions((decision("d2", client_id=BOLT), decision("d3", client_id=nobody))))
        stranger = replace(dismissal("e1", T0, DismissalReason.NOT_NOW), client_id=BOLT)
        click = event("e2", EventType.CLICK, client_id=nobody, decision_id=DecisionId("d3"))
        one(log, RecordEvents((replace(stranger, decision_id=DecisionId("d2")), click), T0))
        state = log.client_state(BOLT)
        assert state is not None
        assert (state.profile, state.version, len(state.dismissals)) == (None, 1, 1)
        clicker = log.client_state(nobody)
        assert clicker is not None
        assert clicker.history.activity.event_types == ("click",)
        with pytest.raises(UnknownClientError):
            one(log, PutHoldings((connection(client=BOLT),), T0))
        with pytest.raises(InvalidEventsError, match="bolt"):
            one(log, RecordEvents((replace(stranger, event_id=EventId("e3")),), T0))


class TestTables:
    def test_a_row_of_the_same_version_is_replaced_and_others_stay(self, store: Store) -> None:
        row = {"holding_id": "h", "client_id": ACME, "offer_id": "mail", "connected_at": T0}
        versions = [
            {**row, "recorded_at": T0},
            {**row, "recorded_at": T0 + DAY, "disconnected_at": T0 + DAY},
        ]
        assert store.upsert_rows("holdings", versions, T0) == 2
        store.upsert_rows("holdings", [{**row, "recorded_at": T0, "quantity": 4}], T0)
        rows = list(store.read_rows("holdings"))
        assert [(each["quantity"], each["disconnected_at"]) for each in rows] == [(4, None), (None, T0 + DAY)]
        assert store.count_keys("holdings") == 1

    def test_missing_key_parts_are_equal(self, store: Store) -> None:
        price = {"offer_id": "mail", "period": "month", "recorded_at": T0}
        regional = {**price, "region": "77", "amount_minor": 3}
        store.upsert_rows("offer_prices", [{**price, "amount_minor": 1}, regional], T0)
        store.upsert_rows("offer_prices", [{**price, "amount_minor": 2}], T0)
        amounts = [(row["region"], row["amount_minor"]) for row in store.read_rows("offer_prices")]
        assert amounts == [(None, 2), ("77", 3)]
        assert store.delete_rows("offer_prices", [price]) == 1
        assert [row["region"] for row in store.read_rows("offer_prices")] == ["77"]

    def test_logged_facts_stay_as_they_were_first(self, shop: Store) -> None:
        one(shop, LogDecisions((decision("d1"),)))
        row = next(iter(shop.read_rows("decisions")))
        shop.upsert_rows("decisions", [{**row, "channel": "changed"}, {**row, "decision_id": "d2"}], T0)
        item = {"slot": 1, "offer_id": "bank", "change": "new", "logging_probability": 1.0, "reasons": None}
        items = [{**item, "decision_id": "d1"}, {**item, "decision_id": "d2"}]
        shop.upsert_rows("decision_items", items, T0)
        assert [row["channel"] for row in shop.read_rows("decisions")] == ["web", "web"]
        shown = [(row["decision_id"], row["offer_id"]) for row in shop.read_rows("decision_items")]
        assert shown == [("d1", "mail"), ("d1", "site"), ("d2", "bank")]
        events = [{"event_id": each, "event_type": "impression", "client_id": ACME} for each in ("e1", "e2")]
        stamps = {"occurred_at": T0, "recorded_at": T0, "decision_id": "d1", "slot": 1}
        shop.upsert_rows("events", [{**each, **stamps} for each in events], T0)
        assert [row["event_id"] for row in shop.read_rows("events")] == ["e1"]

    def test_items_need_their_decision(self, store: Store) -> None:
        item = {"decision_id": "d", "slot": 1, "offer_id": "a", "change": "new", "logging_probability": 1.0}
        with pytest.raises(DataError, match="decisions first"):
            store.upsert_rows("decision_items", [{**item, "reasons": None}], T0)

    @pytest.mark.parametrize("table", [table.name for table in TABLES])
    def test_an_empty_table_is_read_and_written(self, store: Store, table: str) -> None:
        assert store.upsert_rows(table, [], T0) == 0
        assert list(store.read_rows(table)) == []

    def test_rows_come_in_key_order(self, store: Store) -> None:
        store.upsert_rows("offers", offer_rows("b", "a", "C", "ё", "e"), T0)
        assert [row["offer_id"] for row in store.read_rows("offers")] == ["C", "a", "b", "e", "ё"]

    def test_freshness_of_each_table(self, store: Store) -> None:
        assert store.source_ages() == []
        store.upsert_rows("offers", offer_rows("a"), T0 + DAY)
        month = {"client_id": ACME, "month_on": date(2025, 1, 1), "known_at": T0 + 3 * DAY}
        store.upsert_rows("client_months", [month], T0 + 4 * DAY)
        store.upsert_rows("client_months", [{**month, "known_at": T0}], T0 + 5 * DAY)
        assert store.source_ages() == [
            SourceAge("client_months", T0 + 3 * DAY, T0 + 5 * DAY),
            SourceAge("offers", T0, T0 + DAY),
        ]


JANUARY = MonthFigures(date(2025, 1, 1), n_sims_employees=3, spend_minor=500, overage_share=0.1)


class TestMonths:
    def test_figures_become_known(self, shop: Store) -> None:
        later = JANUARY._replace(month_on=date(2025, 2, 1))
        result = one(shop, PutMonths((MonthChange(ACME, later), MonthChange(ACME, JANUARY)), T0 + DAY))
        state = shop.client_state(ACME)
        assert state is not None
        assert result == {ACME: state}
        assert state.version == 2
        assert state.history.months == (JANUARY, later)
        assert shop.rebuild_states(as_of=T0 + DAY) == 0

    def test_known_figures_change_nothing(self, shop: Store) -> None:
        one(shop, PutMonths((MonthChange(ACME, JANUARY),), T0))
        before = shop.client_state(ACME)
        assert one(shop, PutMonths((MonthChange(ACME, JANUARY),), T0 + DAY)) == {ACME: before}
        assert len(list(shop.read_rows("client_months"))) == 1

    def test_a_correction_replaces_and_leaves_a_trace(self, shop: Store) -> None:
        one(shop, PutMonths((MonthChange(ACME, JANUARY),), T0))
        right = JANUARY._replace(spend_minor=700)
        one(shop, PutMonths((MonthChange(ACME, right),), T0 + DAY))
        state = shop.client_state(ACME)
        assert state is not None
        assert state.history.months == (right,)
        rows = list(shop.read_rows("client_months"))
        assert [(row["known_at"], row["spend_minor"]) for row in rows] == [(T0, 500), (T0 + DAY, 700)]
        assert shop.rebuild_states(as_of=T0 + DAY) == 0

    def test_an_unknown_client_refuses_all(self, shop: Store) -> None:
        with pytest.raises(UnknownClientError):
            one(shop, PutMonths((MonthChange(ACME, JANUARY), MonthChange(BOLT, JANUARY)), T0))
        assert list(shop.read_rows("client_months")) == []


class TestHistory:
    @pytest.fixture
    def log(self, shop: Store) -> Store:
        """A shop with a decision for its client."""
        one(shop, LogDecisions((decision(),)))
        return shop

    def test_events_are_counted_with_the_state(self, log: Store) -> None:
        seen = event("e1", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1)
        again = event("e2", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1)
        noise = event("e3", EventType.COMPLAINT, topic="noise", occurred_at=T0 + DAY)
        assert one(log, RecordEvents((seen, again, noise), T0 + DAY)) == [True, False, True]
        state = log.client_state(ACME)
        assert state is not None
        activity = state.history.activity
        assert (activity.event_types, activity.counts) == (("impression", "complaint"), (1, 1))
        assert state.history.complaint == Complaint(T0 + DAY, "noise", "mail")
        assert log.rebuild_states(as_of=T0 + DAY) == 0
        assert log.client_state(ACME) == state

    def test_contacts_are_kept_with_placement_and_member(self, log: Store) -> None:
        shown = event("e1", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1)
        again = event("e2", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1)
        clicked = event("e3", EventType.CLICK, decision_id=DecisionId("d1"), member_id=MemberId("m2"))
        applied = event("e4", EventType.APPLICATION)
        assert one(log, RecordEvents((shown, again, clicked), T0)) == [True, False, True]
        one(log, RecordEvents((applied,), T0))
        state = log.client_state(ACME)
        assert state is not None
        contacts = state.history.contacts
        columns = (contacts.event_types, contacts.placement_ids, contacts.member_ids, contacts.counts)
        assert list(zip(*columns, strict=True)) == [
            ("application", "", "", 1),
            ("click", "home", "m2", 1),
            ("impression", "home", "m1", 1),
        ]
        assert log.rebuild_states(as_of=T0) == 0
        assert log.client_state(ACME) == state

    def test_loaded_contacts_are_derived_alike(self, log: Store) -> None:
        shown = event("e1", EventType.IMPRESSION, decision_id=DecisionId("d1"), slot=1)
        row = {
            "event_id": "e1",
            "event_type": "impression",
            "client_id": ACME,
            "occurred_at": T0,
            "recorded_at": T0,
            "offer_id": "mail",
            "decision_id": "d1",
            "slot": 1,
        }
        unknown = {**row, "event_id": "e2", "decision_id": "elsewhere"}
        log.upsert_rows("events", [row, unknown], T0)
        assert log.rebuild_states(as_of=T0) == 1
        state = log.client_state(ACME)
        assert state is not None
        assert (state.history.contacts.placement_ids, state.history.contacts.member_ids) == (
            ("", "home"),
            ("", "m1"),
        )
        assert one(log, RecordEvents((shown,), T0)) == [False]
        assert log.client_state(ACME) == state

    def test_time_alone_is_no_change(self, log: Store) -> None:
        one(log, RecordEvents((event("e1"),), T0))
        before = log.client_state(ACME)
        assert log.rebuild_states(as_of=T0 + 100 * DAY) == 0
        assert log.client_state(ACME) == before

    def test_an_announced_end_takes_effect_by_itself(self, shop: Store) -> None:
        one(shop, PutHoldings((connection(disconnected_at=T0 + 3 * DAY),), T0))
        state = shop.client_state(ACME)
        assert state is not None
        assert [held.ends_at for held in state.holdings] == [T0 + 3 * DAY]
        assert present(state, T0 + 3 * DAY).past_offer_ids == ("mail",)
        assert shop.rebuild_states(as_of=T0 + 4 * DAY) == 0


class TestRebuild:
    def load(self, store: Store) -> None:
        store.upsert_rows("offers", offer_rows("mail", "site"), T0)
        client = {"client_id": ACME, "valid_from": T0, "valid_to": T0 + DAY, "recorded_at": T0, "name": "old"}
        valid = {**client, "valid_from": T0 + DAY, "valid_to": None, "name": "new", "n_employees": 30}
        store.upsert_rows("clients", [client, valid], T0)
        held = {"client_id": ACME, "connected_at": T0, "recorded_at": T0}
        rows = [
            {**held, "holding_id": "kept", "offer_id": "mail", "quantity": 2},
            {**held, "holding_id": "ended", "offer_id": "site"},
            {**held, "holding_id": "ended", "offer_id": "site", "recorded_at": T0 + DAY},
            {**held, "holding_id": "flicker", "offer_id": "site", "disconnected_at": T0},
        ]
        rows[2]["disconnected_at"] = T0 + DAY
        store.upsert_rows("holdings", rows, T0)
        put_aside = {"event_type": "dismissal", "client_id": ACME, "offer_id": "mail", "recorded_at": T0}
        events = [
            {**put_aside, "event_id": "e1", "occurred_at": T0 + DAY, "reason": "irrelevant"},
            {**put_aside, "event_id": "e2", "occurred_at": T0, "reason": None},
        ]
        store.upsert_rows("events", events, T0)

    def test_states_follow_from_rows(self, store: Store) -> None:
        self.load(store)
        assert store.client_state(ACME) is None
        assert store.rebuild_states() == 1
        expected = ClientState(
            ACME,
            version=1,
            profile=Profile(name="new", n_employees=30, size=Size.SMALL),
            holdings=(Holding("kept", OfferId("mail"), T0, 2),),
            past_offer_ids=(OfferId("site"),),
            dismissals=(Dismissal(OfferId("mail"), DismissalReason.IRRELEVANT, T0 + DAY),),
        )
        assert store.client_state(ACME) == expected
        assert store.rebuild_states() == 0
        assert store.client_state(ACME) == expected
        assert [state.client_id for state in store.find_clients("NEW", 5)] == [ACME]

    def test_only_the_clients_asked_for(self, store: Store) -> None:
        self.load(store)
        assert store.rebuild_states([BOLT]) == 0
        assert store.client_state(BOLT) is None
        assert store.rebuild_states([ACME]) == 1

    def test_as_of_an_earlier_day(self, store: Store) -> None:
        self.load(store)
        store.rebuild_states(as_of=T0 + DAY / 2)
        state = store.client_state(ACME)
        assert state is not None
        assert state.profile is not None
        assert state.profile.name == "old"
        assert {held.holding_id for held in state.holdings} == {"kept", "ended"}

    def test_what_was_written_online_is_derived_alike(self, shop: Store) -> None:
        one(shop, PutHoldings((connection(), connection("h2", "site"), connection("h0", "bank")), T0))
        one(shop, PutHoldings((connection("h2", "site", disconnected_at=T0),), T0 + DAY))
        one(shop, PutClient(ACME, replace(PROFILE, name="Other"), T0 + DAY))
        one(shop, RecordEvents((dismissal("e1", T0 + DAY, DismissalReason.NOT_NOW, "site"),), T0))
        one(shop, RecordEvents((dismissal("e2", T0, DismissalReason.NOT_NOW, "bank"),), T0))
        online = shop.client_state(ACME)
        assert shop.rebuild_states(as_of=T0 + DAY) == 0
        assert shop.client_state(ACME) == online

    def test_a_moved_holding_leaves_its_former_client(self, shop: Store) -> None:
        one(shop, PutClient(BOLT, Profile(), T0))
        one(shop, PutHoldings((connection(),), T0))
        row = next(iter(shop.read_rows("holdings")))
        shop.upsert_rows("holdings", [{**row, "client_id": BOLT, "recorded_at": T0 + DAY}], T0)
        assert shop.rebuild_states() == 2
        acme, bolt = shop.client_state(ACME), shop.client_state(BOLT)
        assert acme is not None
        assert bolt is not None
        assert (acme.holdings, [held.holding_id for held in bolt.holdings]) == ((), ["h1"])
        assert shop.holder_counts() == {"mail": 1}


class TestContent:
    def test_the_latest_version_of_each_offer(self, store: Store) -> None:
        store.upsert_rows("offers", [{**row, "title_en": "old"} for row in offer_rows("b", "a")], T0)
        first = store.catalogue(T0)
        assert [offer.offer_id for offer in first.offers] == ["a", "b"]
        newer = {"offer_id": "a", "kind": "partner", "recorded_at": T0 + DAY, "regions": ["77"]}
        store.upsert_rows("offers", [newer], T0)
        price = {"offer_id": "a", "period": "month", "amount_minor": 100, "recorded_at": T0}
        store.upsert_rows("offer_prices", [price, {**price, "amount_minor": 90, "recorded_at": T0 + DAY}], T0)
        needs = {"offer_id": "a", "relation": "requires", "other_offer_id": "b", "alternative": 0}
        store.upsert_rows("offer_relations", [{**needs, "recorded_at": T0}], T0)
        changed = store.catalogue(T0)
        assert changed.version != first.version
        assert changed.offers[0].kind is OfferKind.PARTNER
        assert changed.offers[0].regions == ("77",)
        assert [price.amount_minor for price in changed.offers[0].prices] == [90]
        assert changed.offers[0].requires == (("b",),)
        store.delete_rows("offer_relations", [needs])
        assert store.catalogue(T0).offers[0].requires == ()

    def test_the_content_version_tells_every_change(self, store: Store) -> None:
        seen = [store.content_version(T0)]
        changes: list[Callable[[], object]] = [
            lambda: store.upsert_rows("offers", offer_rows("a"), T0),
            lambda: store.put_policy(PolicyVersion("v1", {}, T0, T0, "command line")),
            lambda: store.put_offer_stop(OfferStop("a", True, "wrong price", "command line", T0, T0)),
            lambda: store.delete_rows("offer_prices", []),
        ]
        for change in changes:
            change()
            seen.append(store.content_version(T0))
        one(store, PutClient(ACME, PROFILE, T0))
        assert len(set(seen)) == 5
        assert store.content_version(T0) == seen[-1]

    def test_documents(self, store: Store) -> None:
        store.put_documents({"dataset.toml": 'currency = "RUB"', "expert.yaml": "a"})
        store.put_documents({"expert.yaml": "б"})
        assert store.documents() == {"dataset.toml": 'currency = "RUB"', "expert.yaml": "б"}


class TestKeys:
    def test_keys_are_kept_and_revoked(self, store: Store) -> None:
        keys = [
            KeyRecord(f"k{n}", bytes([0, n]) * 16, role, T0 + n * DAY)
            for n, role in enumerate((Role.PORTAL, Role.ADMIN))
        ]
        for key in keys:
            store.add_key(key)
        assert store.keys() == keys
        store.revoke_key("k0", T0 + DAY)
        assert store.keys() == [replace(keys[0], revoked_at=T0 + DAY), keys[1]]
        with pytest.raises(NotFoundError):
            store.revoke_key("k9", T0)
        with pytest.raises(ConflictError):
            store.add_key(keys[0])


class TestConcurrency:
    def test_changes_of_one_state_are_all_kept(self, shop: Store) -> None:
        n_threads, n_changes = 4, 10

        def connect_some(thread: int) -> list[int]:
            versions = []
            for number in range(n_changes):
                result = one(shop, PutHoldings((connection(f"{thread}-{number}"),), T0))
                assert isinstance(result, dict)
                versions.append(result[ACME].version)
            return versions

        with ThreadPoolExecutor(n_threads) as pool:
            versions = [v for found in pool.map(connect_some, range(n_threads)) for v in found]
        state = shop.client_state(ACME)
        assert state is not None
        assert len(state.holdings) == n_threads * n_changes
        assert sorted(versions) == list(range(2, 2 + n_threads * n_changes))

    def test_new_clients_and_twin_events_from_several_threads(self, shop: Store) -> None:
        one(shop, LogDecisions((decision("d1", client_id=BOLT),)))
        shown = replace(dismissal("same", T0, DismissalReason.NOT_NOW), decision_id=DecisionId("d1"))

        def put_aside(thread: int) -> list[bool]:
            stranger = replace(shown, client_id=BOLT)
            own = replace(stranger, event_id=EventId(f"own-{thread}"), offer_id=OfferId("site"))
            result = one(shop, RecordEvents((stranger, own), T0))
            assert isinstance(result, list)
            return result

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(put_aside, range(4)))
        assert sorted(is_new for is_new, _ in results) == [False, False, False, True]
        assert all(is_new for _, is_new in results)
        state = shop.client_state(BOLT)
        assert state is not None
        assert {item.offer_id for item in state.dismissals} == {"mail", "site"}

    def test_of_two_contents_under_one_id_one_is_stored(self, shop: Store) -> None:
        one(shop, PutClient(BOLT, Profile(), T0))

        def apply(number: int) -> RecordEvents:
            # different clients, so that no lock of a state puts them in a row
            client_id = (ACME, BOLT)[number % 2]
            return RecordEvents((event(f"e{number // 2}", client_id=client_id),), T0)

        n_ids = 20
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda number: shop.commit([apply(number)])[0], range(2 * n_ids)))
        assert sum(result == [True] for result in results) == n_ids
        assert sum(isinstance(result, ConflictError) for result in results) == n_ids
        assert len(list(shop.read_rows("events"))) == n_ids

    def test_reads_go_on_while_tables_are_loaded(self, shop: Store) -> None:
        before = shop.client_state(ACME)
        rows = [
            {"client_id": f"c{n}", "valid_from": T0, "recorded_at": T0, "name": f"n{n}"} for n in range(400)
        ]

        def load() -> int:
            for start in range(0, len(rows), 50):
                shop.upsert_rows("clients", rows[start : start + 50], T0)
            return shop.rebuild_states()

        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load)
            n_reads = 0
            while not loading.done() or n_reads == 0:
                assert shop.client_state(ACME) == before
                assert one(shop, LogDecisions((decision(f"d{n_reads}"),))) is None
                n_reads += 1
        assert loading.result() == 400
