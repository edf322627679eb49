"""Bundles in the memory store: what was said of them, and how those in shadow disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from threading import RLock
from typing import Any

from serving.orders import BundleOrder, ShadowDecision, ShadowFigures
from serving.storage import content


class MemoryBundles:
    """The part of `serving.storage.memory.MemoryStore` that keeps what is said of bundles."""

    _lock: RLock

    def __init__(self) -> None:
        self._bundle_orders: dict[int, BundleOrder] = {}
        self._shadow_decisions: dict[tuple[Any, ...], dict[str, Any]] = {}

    def put_bundle_order(self, order: BundleOrder) -> None:
        """See `serving.orders.BundleStore`."""
        with self._lock:
            if self._bundle_orders.setdefault(order.number, order) is not order:
                raise content.bundles_changed_meanwhile()

    def bundle_orders(self) -> list[BundleOrder]:
        """See `serving.orders.BundleStore`."""
        with self._lock:
            return [self._bundle_orders[number] for number in sorted(self._bundle_orders)]

    def put_shadow_decisions(self, found: Sequence[ShadowDecision]) -> None:
        """See `serving.orders.BundleStore`."""
        with self._lock:
            for each in found:
                self._shadow_decisions.setdefault((each.decision_id, each.bundle_version), asdict(each))

    def shadow_figures(self, version: str) -> list[ShadowFigures]:
        """See `serving.orders.BundleStore`."""
        by_kind: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        with self._lock:
            for row in self._shadow_decisions.values():
                if row["bundle_version"] == version:
                    kind = row["live_version"], row["placement_id"], row["client_size"] or ""
                    by_kind.setdefault(kind, []).append(row)
        return [_figures_of(by_kind[kind]) for kind in sorted(by_kind)]


def _figures_of(rows: Sequence[dict[str, Any]]) -> ShadowFigures:
    correlations = [row["rank_correlation"] for row in rows if row["rank_correlation"] is not None]
    differences = [row["mean_difference"] for row in rows if row["mean_difference"] is not None]
    return ShadowFigures(
        live_version=rows[0]["live_version"],
        placement_id=rows[0]["placement_id"],
        client_size=rows[0]["client_size"],
        n_decisions=len(rows),
        n_shown=sum(row["n_shown"] for row in rows),
        n_differing=sum(row["n_differing"] for row in rows),
        n_correlations=len(correlations),
        sum_of_correlations=sum(correlations),
        n_differences=len(differences),
        sum_of_differences=sum(differences),
    )
