"""Policies, stops and counts: what takes effect when, on every store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recsys.domain import ClientId, Event, EventId, EventType, OfferId, Profile
from recsys.errors import ConflictError
from serving.orders import OfferStop, PolicyVersion
from serving.ports import PutClient, RecordEvents, Store
from serving.services.policies import Publication, publish_policy, withdraw_policy
from serving.services.stops import StopOrder, order_stop, present_stops

T0 = datetime(2025, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def policy(version: str, effective_at: datetime = T0, recorded_at: datetime = T0) -> PolicyVersion:
    documents = {"vip.yaml": f"# {version} – ВИП\n", "contact.yaml": "{}\n"}
    return PolicyVersion(version, documents, effective_at, recorded_at, "key-1", f"why {version}")


def stop(
    offer_id: str = "crm", *, is_stopped: bool = True, effective_at: datetime = T0, recorded_at: datetime = T0
) -> OfferStop:
    return OfferStop(offer_id, is_stopped, "цены неверны", "key-1", effective_at, recorded_at)


def resumption(effective_at: datetime, recorded_at: datetime) -> OfferStop:
    return stop(is_stopped=False, effective_at=effective_at, recorded_at=recorded_at)


@pytest.fixture
def shop(store: Store) -> Store:
    rows = [{"offer_id": each, "kind": "own", "recorded_at": T0} for each in ("crm", "mail", "site")]
    store.upsert_rows("offers", [*rows[:2], {**rows[2], "is_stopped": True}], T0)
    store.commit([PutClient(ClientId(each), Profile(), T0) for each in ("b", "a", "c")])
    return store


def stopped(store: Store, now: datetime) -> list[str]:
    return [offer.offer_id for offer in store.catalogue(now).offers if offer.is_stopped]


class TestPolicies:
    def test_nothing_is_in_force_before_the_first(self, store: Store) -> None:
        assert store.policy_in_force(T0) is None
        assert store.policies() == []

    def test_a_version_comes_back_as_it_was(self, store: Store) -> None:
        store.put_policy(policy("v1"))
        assert store.policies() == [policy("v1")]
        assert store.policy_in_force(T0) == policy("v1")
        assert store.policy_in_force(T0 - HOUR) is None

    def test_an_announced_version_takes_effect_at_its_moment(self, store: Store) -> None:
        store.put_policy(policy("later", T0 + DAY))
        store.put_policy(policy("now", T0 + HOUR, T0 + HOUR))
        moments = [T0 + HOUR, T0 + DAY - timedelta(microseconds=1), T0 + DAY]
        in_force = [store.policy_in_force(moment) for moment in moments]
        assert [each.version for each in in_force if each] == ["now", "now", "later"]
        assert [each.version for each in store.policies()] == ["now", "later"]

    def test_of_one_moment_the_last_published_holds(self, store: Store) -> None:
        for version in ("v1", "v2", "v1"):
            store.put_policy(policy(version))
        in_force = store.policy_in_force(T0)
        assert in_force is not None
        assert in_force.version == "v1"
        assert len(store.policies()) == 3

    def test_an_announced_version_is_withdrawn(self, shop: Store) -> None:
        documents = [{"vip.yaml": f"min_mean_spend_minor: {n}\n"} for n in range(3)]
        first = publish_policy(shop, documents[0], Publication("key-1"), T0).version
        others = [
            publish_policy(shop, each, Publication("key-1", effective_at=T0 + DAY), T0).version
            for each in documents[1:]
        ]
        before = shop.content_version(T0 + DAY)
        (withdrawal,) = withdraw_policy(shop, others[1].version[:8], "key-2", T0 + HOUR)
        assert (withdrawal.is_withdrawal, withdrawal.author) == (True, "key-2")
        assert shop.policy_in_force(T0 + DAY) == others[0]
        assert shop.content_version(T0 + DAY) != before
        withdraw_policy(shop, others[0].version, "key-2", T0 + HOUR)
        assert shop.policy_in_force(T0 + DAY) == first
        assert [each.is_withdrawal for each in shop.policies()] == [False, False, False, True, True]
        with pytest.raises(ConflictError, match="not announced for later"):
            withdraw_policy(shop, first.version, "key-2", T0 + HOUR)
        again = publish_policy(shop, documents[1], Publication("key-1", effective_at=T0 + DAY), T0 + HOUR)
        assert shop.policy_in_force(T0 + DAY) == again.version


class TestCatalogues:
    def test_the_offers_of_a_version_are_kept_as_they_were(self, shop: Store) -> None:
        price = {"offer_id": "crm", "period": "month", "amount_minor": 100, "recorded_at": T0}
        shop.upsert_rows("offer_prices", [price], T0)
        live = {"offer_id": "crm", "kind": "partner", "recorded_at": T0 + HOUR, "valid_from": T0}
        shop.upsert_rows("offers", [{**live, "regions": ["77"], "title_ru": "Учёт"}], T0)
        used = shop.catalogue(T0)
        shop.keep_catalogue(used, T0)
        shop.put_offer_stop(stop())
        shop.keep_catalogue(used, T0 + HOUR)
        assert shop.kept_catalogue(used.version) == used
        assert shop.kept_catalogue(shop.catalogue(T0).version) is None


class TestStops:
    def test_a_stop_is_merged_into_the_catalogue(self, shop: Store) -> None:
        before = shop.catalogue(T0)
        shop.put_offer_stop(stop(effective_at=T0 + HOUR))
        assert stopped(shop, T0) == ["site"]
        assert shop.catalogue(T0) == before
        assert stopped(shop, T0 + HOUR) == ["crm", "site"]
        assert shop.catalogue(T0 + HOUR).version != before.version

    def test_a_resumption_lifts_it(self, shop: Store) -> None:
        said = [stop(), resumption(T0 + HOUR, T0)]
        for each in said:
            shop.put_offer_stop(each)
        assert stopped(shop, T0) == ["crm", "site"]
        assert stopped(shop, T0 + HOUR) == ["site"]
        assert shop.offer_stops() == said

    def test_a_resumption_announced_before_a_stop_does_not_undo_it(self, shop: Store) -> None:
        for each in (stop(), resumption(T0 + DAY, T0), stop(effective_at=T0 + HOUR, recorded_at=T0 + HOUR)):
            shop.put_offer_stop(each)
        assert stopped(shop, T0 + 2 * DAY) == ["crm", "site"]

    def test_a_resumption_calls_off_a_stop_that_is_still_to_come(self, shop: Store) -> None:
        for each in (stop(effective_at=T0 + DAY), stop(), resumption(T0 + HOUR, T0 + HOUR)):
            shop.put_offer_stop(each)
        assert [stopped(shop, moment) for moment in (T0, T0 + HOUR, T0 + DAY)] == [
            ["crm", "site"],
            ["site"],
            ["site"],
        ]

    def test_a_stop_that_is_only_announced_can_be_called_off(self, shop: Store) -> None:
        order_stop(shop, StopOrder("crm", True, "audit", "duty", T0 + DAY), T0)
        assert present_stops(shop, T0)["crm"].effective_at == T0 + DAY
        order_stop(shop, StopOrder("crm", False, "no audit", "duty"), T0 + HOUR)
        assert stopped(shop, T0 + DAY) == ["site"]
        assert present_stops(shop, T0 + DAY) == {}

    def test_what_was_resumed_cannot_be_resumed_again(self, shop: Store) -> None:
        order_stop(shop, StopOrder("crm", True, "prices", "duty"), T0)
        order_stop(shop, StopOrder("crm", False, "corrected", "duty", T0 + DAY), T0)
        with pytest.raises(ConflictError, match="resumed by then already"):
            order_stop(shop, StopOrder("crm", False, "corrected", "duty", T0 + 2 * DAY), T0)
        order_stop(shop, StopOrder("crm", False, "earlier than thought", "duty"), T0 + HOUR)
        assert stopped(shop, T0 + HOUR) == ["site"]
        with pytest.raises(ConflictError, match="not stopped, nor is a stop of it announced"):
            order_stop(shop, StopOrder("crm", False, "again", "duty"), T0 + 2 * HOUR)

    def test_a_resumption_says_that_the_data_stop_the_offer_too(self, shop: Store) -> None:
        with pytest.raises(ConflictError, match="own data"):
            order_stop(shop, StopOrder("site", False, "why not", "duty"), T0)
        order_stop(shop, StopOrder("site", True, "prices", "duty"), T0)
        (warning,) = order_stop(shop, StopOrder("site", False, "corrected", "duty"), T0).warnings
        assert warning.startswith("offer 'site' stays off")
        assert stopped(shop, T0) == ["site"]

    def test_what_the_data_say_stays(self, shop: Store) -> None:
        shop.put_offer_stop(replace(resumption(T0, T0), offer_id="site"))
        assert stopped(shop, T0) == ["site"]


class TestContentVersion:
    def test_it_changes_when_something_takes_effect(self, shop: Store) -> None:
        changes: list[Callable[[], object]] = [
            lambda: shop.put_policy(policy("v1", T0 + 1 * HOUR)),
            lambda: shop.put_offer_stop(stop(effective_at=T0 + 2 * HOUR)),
            lambda: shop.put_offer_stop(resumption(T0 + 3 * HOUR, T0)),
        ]
        before = shop.content_version(T0)
        for change in changes:
            change()
        assert shop.content_version(T0) == before
        seen = [shop.content_version(T0 + n * HOUR) for n in range(5)]
        assert len(set(seen)) == 4
        assert seen[3] == seen[4]


class TestCounts:
    def test_events_of_a_type_from_a_moment_on(self, shop: Store) -> None:
        told = [
            (EventType.APPLICATION, "crm", "a", -1),
            (EventType.APPLICATION, "crm", "a", 0),
            (EventType.APPLICATION, "crm", "b", 5),
            (EventType.APPLICATION, "mail", "b", 6),
            (EventType.ACTIVATION, "crm", "b", 7),
            (EventType.DISMISSAL, "crm", "c", 8),
        ]
        events = tuple(
            Event(EventId(f"e{n}"), kind, ClientId(client), T0 + n * HOUR, OfferId(offer))
            for kind, offer, client, n in told
        )
        shop.commit([RecordEvents(events, T0 + DAY)])
        assert shop.event_counts(EventType.APPLICATION, T0) == {"crm": 2, "mail": 1}
        assert shop.event_counts(EventType.ACTIVATION, T0) == {"crm": 1}
        assert shop.event_counts(EventType.APPLICATION, T0 + DAY) == {}


class TestAllClients:
    def test_states_come_in_order_and_in_parts(self, shop: Store) -> None:
        first = shop.client_states("", 2)
        rest = shop.client_states(first[-1].client_id, 2)
        assert [state.client_id for state in (*first, *rest)] == ["a", "b", "c"]
        assert first[0] == shop.client_state(ClientId("a"))
        assert shop.client_states("c", 2) == []

    def test_a_writer_who_saw_another_profile_is_refused(self, shop: Store) -> None:
        seen, now = Profile(), Profile(name="Новая")
        shop.commit([PutClient(ClientId("a"), now, T0 + HOUR)])
        vip = PutClient(ClientId("a"), replace(seen, is_vip=True), T0 + DAY, "vip_granted", replaces=seen)
        refused, accepted = shop.commit([vip, replace(vip, client_id=ClientId("b"))])
        assert isinstance(refused, ConflictError)
        assert accepted == shop.client_state(ClientId("b"))
        rows = [row for row in shop.read_rows("clients") if row["client_id"] != "c"]
        assert [(row["client_id"], row["name"], row["change_reason"]) for row in rows] == [
            ("a", None, None),
            ("a", "Новая", None),
            ("b", None, None),
            ("b", None, "vip_granted"),
        ]
