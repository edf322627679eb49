"""What the SQL store keeps of bundles: what was said of them, and how those in shadow disagree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from serving.orders import BundleAction, BundleOrder, ShadowDecision, ShadowFigures
from serving.storage import content
from serving.storage.dialects import REFUSALS, Cursor
from serving.storage.queries import Queries
from serving.storage.statements import Statement

Result = TypeVar("Result")


class SqlBundles(ABC):
    """The part of `serving.storage.sql.SqlStore` that no client's state depends on, about bundles."""

    _queries: Queries

    @abstractmethod
    def _rows(self, statement: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every row of a read."""

    @abstractmethod
    def _transact(self, work: Callable[[Cursor], Result]) -> Result:
        """Run work in one durable transaction."""

    def put_bundle_order(self, order: BundleOrder) -> None:
        """See `serving.orders.BundleStore`."""
        try:
            self._transact(lambda cursor: self._queries.bundles.add.run(cursor, asdict(order)))
        except REFUSALS as error:
            raise content.bundles_changed_meanwhile() from error

    def bundle_orders(self) -> list[BundleOrder]:
        """See `serving.orders.BundleStore`."""
        rows = self._rows(self._queries.bundles.orders, {})
        return [BundleOrder(**{**row, "action": BundleAction(row["action"])}) for row in rows]

    def put_shadow_decisions(self, found: Sequence[ShadowDecision]) -> None:
        """See `serving.orders.BundleStore`."""
        rows = [asdict(each) for each in found]
        self._transact(lambda cursor: self._queries.bundles.add_shadow.run_many(cursor, rows))

    def shadow_figures(self, version: str) -> list[ShadowFigures]:
        """See `serving.orders.BundleStore`."""
        rows = self._rows(self._queries.bundles.shadow_figures, {"version": version})
        return [ShadowFigures(**row) for row in rows]
