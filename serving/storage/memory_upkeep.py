"""What the memory store does to keep house; see `serving.upkeep`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from threading import RLock
from typing import Any

from recsys.domain import ClientState, EventType
from serving.ports import Answer
from serving.upkeep import KEPT, LogMonth, month_of

_REMEMBERED = (EventType.DISMISSAL, EventType.COMPLAINT)


class MemoryUpkeep:
    """The part of `serving.storage.memory.MemoryStore` that keeps house."""

    _lock: RLock
    _states: dict[str, ClientState]
    _answers: dict[str, Answer]
    _tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]]
    _impressions: set[tuple[str, int]]

    def __init__(self) -> None:
        # Months of decisions and events that lie in another one than that of their occurred_at.
        self._moved_decisions: dict[str, str] = {}
        self._kept_events: set[str] = set()

    def checkpoint(self) -> None:
        """Nothing to move."""

    def make_months(self, now: datetime) -> list[str]:  # noqa: ARG002
        """Nothing to make."""
        return []

    def month_sizes(self, before: datetime) -> list[LogMonth]:
        """See `serving.upkeep.UpkeepStore`."""
        with self._lock:
            n_decisions = Counter(map(self._month_of_decision, self._tables["decisions"].values()))
            n_events = Counter(map(self._month_of_event, self._tables["events"].values()))
        return [
            LogMonth(month, n_decisions[month], n_events[month])
            for month in sorted(n_decisions.keys() | n_events.keys())
            if month < month_of(before)
        ]

    def retire_month(self, month: str, kept_from: datetime) -> LogMonth:
        """See `serving.upkeep.UpkeepStore`."""
        if month >= month_of(kept_from):
            raise ValueError(f"month {month} is not before {month_of(kept_from)}, which is kept")
        with self._lock:
            decisions, events = self._tables["decisions"], self._tables["events"]
            of_month = [row for row in events.values() if self._month_of_event(row) == month]
            for row in sorted(of_month, key=lambda row: row["occurred_at"]):
                if row["occurred_at"] >= kept_from:
                    self._moved_decisions[row["decision_id"]] = month_of(row["occurred_at"])
            self._kept_events |= {
                row["event_id"]
                for row in of_month
                if row["event_type"] in _REMEMBERED and self._month_of_event(row) == month
            }
            gone = [row for row in of_month if self._month_of_event(row) == month]
            for row in gone:
                del events[row["event_id"],]
                self._impressions.discard((row["decision_id"], row["slot"]))
            doomed = [place for place, row in decisions.items() if self._month_of_decision(row) == month]
            for place in doomed:
                del decisions[place]
        return LogMonth(month, len(doomed), len(gone))

    def forget_shadows(self, before: datetime) -> int:
        """See `serving.upkeep.UpkeepStore`."""
        with self._lock:
            shadows = self._tables["shadow_decisions"]
            doomed = [place for place, row in shadows.items() if row["occurred_at"] < before]
            for place in doomed:
                del shadows[place]
        return len(doomed)

    def forget_answers(self, before: datetime) -> int:
        """See `serving.upkeep.UpkeepStore`."""
        with self._lock:
            doomed = [each for each, answer in self._answers.items() if answer.answered_at < before]
            for request_id in doomed:
                del self._answers[request_id]
        return len(doomed)

    def _month_of_decision(self, row: dict[str, Any]) -> str:
        return self._moved_decisions.get(row["decision_id"]) or month_of(row["occurred_at"])

    def _month_of_event(self, row: dict[str, Any]) -> str:
        if row["event_id"] in self._kept_events:
            return KEPT
        decision = self._tables["decisions"].get((row["decision_id"],))
        return month_of(row["occurred_at"]) if decision is None else self._month_of_decision(decision)
