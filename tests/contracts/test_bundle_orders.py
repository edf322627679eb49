"""Orders of bundles and decisions in shadow, on every store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from recsys.errors import ConflictError
from serving.orders import BundleAction, BundleOrder, ShadowDecision, ShadowFigures
from serving.ports import Store
from serving.storage.dialects import open_database
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore

T0 = datetime(2025, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
PUBLISHED = BundleOrder(1, "a-1", "a-1", "f" * 64, BundleAction.PUBLISH, "key-1", "первый", "", T0)
PROMOTED = replace(PUBLISHED, number=2, action=BundleAction.PROMOTE, judgement="better", recorded_at=T0 - DAY)
SHADOWED = ShadowDecision("d1", "b-1", "a-1", "home", "micro", T0, T0, 5, 2, 9, 0.5, -0.01)


class TestOrders:
    def test_they_come_back_by_number_whatever_clocks_say(self, store: Store) -> None:
        assert store.bundle_orders() == []
        store.put_bundle_order(PUBLISHED)
        store.put_bundle_order(PROMOTED)
        assert store.bundle_orders() == [PUBLISHED, PROMOTED]

    def test_of_two_that_answer_the_same_order_one_stands(self, store: Store) -> None:
        store.put_bundle_order(PUBLISHED)
        with pytest.raises(ConflictError, match="meanwhile"):
            store.put_bundle_order(replace(PUBLISHED, version="b-1", author="key-2"))
        assert store.bundle_orders() == [PUBLISHED]

    def test_of_many_at_once_exactly_one_stands(self, store: Store) -> None:
        def give(number: int) -> bool:
            try:
                store.put_bundle_order(replace(PUBLISHED, author=f"key-{number}"))
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            stood = list(pool.map(give, range(8)))
        assert sum(stood) == 1
        (order,) = store.bundle_orders()
        assert order.author == f"key-{stood.index(True)}"

    def test_each_changes_the_mark_that_servers_poll(self, store: Store) -> None:
        before = store.content_version(T0)
        store.put_bundle_order(PUBLISHED)
        assert store.content_version(T0) == before._replace(bundles=1)
        store.put_shadow_decisions([SHADOWED])
        assert store.content_version(T0) == before._replace(bundles=1)


class TestShadow:
    def test_disagreement_is_summed_by_live_version_placement_and_size(self, store: Store) -> None:
        silent = replace(
            SHADOWED, decision_id="d3", client_size=None, rank_correlation=None, mean_difference=None
        )
        store.put_shadow_decisions([SHADOWED, replace(SHADOWED, decision_id="d2", rank_correlation=0.25)])
        store.put_shadow_decisions([silent, replace(SHADOWED, bundle_version="other")])
        assert store.shadow_figures("b-1") == [
            ShadowFigures("a-1", "home", None, 1, 5, 2, 0, 0.0, 0, 0.0),
            ShadowFigures("a-1", "home", "micro", 2, 10, 4, 2, 0.75, 2, -0.02),
        ]
        assert store.shadow_figures("nobody") == []

    def test_what_is_kept_stays_and_is_exported(self, store: Store) -> None:
        store.put_shadow_decisions([SHADOWED])
        store.put_shadow_decisions([replace(SHADOWED, n_differing=0)])
        (row,) = store.read_rows("shadow_decisions")
        assert row["n_differing"] == 2
        assert row["occurred_at"] == T0

    def test_an_exported_one_is_loaded_once(self, store: Store) -> None:
        store.put_shadow_decisions([SHADOWED])
        (row,) = store.read_rows("shadow_decisions")
        store.upsert_rows("shadow_decisions", [{**row, "n_differing": 1}], T0)
        store.upsert_rows("shadow_decisions", [{**row, "bundle_version": "c-1"}], T0)
        assert [each["n_differing"] for each in store.read_rows("shadow_decisions")] == [2, 2]


def test_a_step_back_forgets_bundles_and_nothing_else(migrated_database: Callable[[str], str]) -> None:
    for backend in ("sqlite", "postgresql"):
        url = migrated_database(backend)
        store = SqlStore(url)
        store.upsert_rows("offers", [{"offer_id": "crm", "kind": "own", "recorded_at": T0}], T0)
        store.put_bundle_order(PUBLISHED)
        store.put_shadow_decisions([SHADOWED])
        store.close()
        migrate(url, "0004")
        database = open_database(url)
        assert {"bundles", "shadow_decisions"}.isdisjoint(sa.inspect(database.reader).get_table_names())
        database.dispose()
        migrate(url)
        store = SqlStore(url)
        assert store.bundle_orders() == []
        assert list(store.read_rows("shadow_decisions")) == []
        assert store.count_keys("offers") == 1
        store.close()
