"""Experiments in the memory store: what was ordered of them, and the arms of clients."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from recsys.domain import ClientId
from serving.orders import Assignment, ExperimentOrder
from serving.storage import content, rules


class MemoryExperiments:
    """The part of `serving.storage.memory.MemoryStore` that keeps two tables by their keys."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._orders: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._turns: dict[str, datetime] = {}
        self._assignments: dict[tuple[Any, ...], dict[str, Any]] = {}

    def put_experiment(self, order: ExperimentOrder) -> None:
        """See `serving.ports.Store`."""
        with self._lock:
            if (order.experiment_id, order.number) in self._orders:
                raise content.changed_meanwhile(order)
            self._orders[order.experiment_id, order.number] = asdict(order)

    def experiment_orders(self) -> list[ExperimentOrder]:
        """See `serving.ports.Store`."""
        with self._lock:
            orders = [content.order_from_row(row) for row in self._orders.values()]
        return sorted(orders, key=lambda order: (order.experiment_id, order.number))

    def take_turn(self, name: str, now: datetime, every: timedelta) -> bool:
        """See `serving.ports.Store`."""
        with self._lock:
            taken_at = self._turns.get(name)
            is_free = taken_at is None or not now - every < taken_at <= now + every
            if is_free:
                self._turns[name] = now
        return is_free

    def client_assignments(self, client_id: ClientId) -> tuple[Assignment, ...]:
        """See `serving.ports.Store`."""
        with self._lock:
            rows = [row for row in self._assignments.values() if row["client_id"] == client_id]
        return tuple(
            rules.assignment_from_row(row) for row in sorted(rows, key=lambda row: str(row["experiment_id"]))
        )

    def unit_assignments(self, unit_id: str) -> tuple[Assignment, ...]:
        """See `serving.ports.Store`."""
        with self._lock:
            rows = [row for row in self._assignments.values() if row["unit_id"] == unit_id]
        found = [rules.assignment_from_row(row) for row in rows]
        return tuple(sorted(found, key=lambda one: (one.experiment_id, one.assigned_at, one.client_id)))

    def keep_assignment(self, row: dict[str, Any]) -> None:
        """Keep a row of ``assignments``; of one that is stored only its first trigger is added."""
        stored = self._assignments.setdefault((row["experiment_id"], row["client_id"]), row)
        if stored["triggered_at"] is None and row["triggered_at"] is not None:
            for name in ("triggered_at", "trigger_decision_id", "recorded_at"):
                stored[name] = row[name]
