"""What the SQL store does to keep house; see `serving.upkeep`."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg

from recsys.errors import StoreUnavailableError
from serving.ports import Row
from serving.storage import partitions, retention
from serving.storage.dialects import Cursor, Database, TransientError
from serving.storage.queries import Queries
from serving.storage.statements import Statement
from serving.telemetry import log
from serving.upkeep import LogMonth, month_of

Result = TypeVar("Result")
_N_ATTEMPTS = 5
_SECONDS_BETWEEN_ATTEMPTS = 1.0


class SqlUpkeep(ABC):
    """The part of `serving.storage.sql.SqlStore` that keeps house."""

    _queries: Queries
    _database: Database
    # Months that this process has made or seen partitions of; one that was dropped since does no harm.
    _made: frozenset[str] = frozenset()

    @abstractmethod
    def _long_rows(self, statement: Statement, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every row of a read that may take minutes."""

    @abstractmethod
    def _transact(self, work: Callable[[Cursor], Result]) -> Result:
        """Run work in one durable transaction."""

    def checkpoint(self) -> None:
        """See `serving.upkeep.UpkeepStore`."""
        with self._database.answering():
            self._database.checkpoint()

    def make_months(self, now: datetime) -> list[str]:
        """See `serving.upkeep.UpkeepStore`."""
        if self._database.is_embedded:
            return []
        waiting = self._once(partitions.months_without_partition)
        return self._make({*partitions.months_ahead(now), *waiting}, now)

    def _make(self, months: Iterable[str], now: datetime) -> list[str]:
        """Make the partitions of some months that are worth one; those that others keep busy are left out."""
        made: list[str] = []
        for month in partitions.worth_while(months, now):
            try:
                is_new = [self._make_partition(table, month) for table in partitions.PARTITIONED]
            except TransientError:
                continue
            except psycopg.errors.InsufficientPrivilege as error:
                log(
                    "months_not_made", level=logging.WARNING, cause=f"{error}: the server must own the tables"
                )
                return made
            self._made |= {month}
            if any(is_new):
                made.append(month)
        return made

    def _make_partition(self, table: str, month: str) -> bool:
        queries = self._queries
        return self._once(lambda cursor: partitions.make_partition(cursor, queries, table, month))

    def make_room(self, table: str, rows: Sequence[Row]) -> None:
        """Make partitions for rows that are about to be loaded."""
        if not self._database.is_embedded and table in partitions.PARTITIONED:
            self._make({month_of(row["occurred_at"]) for row in rows} - self._made, datetime.now(UTC))

    def month_sizes(self, before: datetime) -> list[LogMonth]:
        """See `serving.upkeep.UpkeepStore`."""
        values = {"before": month_of(before)}
        n_decisions = {
            row["log_month"]: row["n"] for row in self._long_rows(self._queries.ages.n_decisions, values)
        }
        n_events = {
            row["log_month"]: row["n"] for row in self._long_rows(self._queries.ages.n_events, values)
        }
        return [
            LogMonth(month, n_decisions.get(month, 0), n_events.get(month, 0))
            for month in sorted(n_decisions.keys() | n_events.keys())
        ]

    def retire_month(self, month: str, kept_from: datetime) -> LogMonth:
        """See `serving.upkeep.UpkeepStore`."""
        if month >= month_of(kept_from):
            raise ValueError(f"month {month} is not before {month_of(kept_from)}, which is kept")
        queries = self._queries
        self._carry_on(month, kept_from)
        gone = self._size(month)
        if not self._drop(month, kept_from):
            while self._transact(lambda cursor: retention.forget_some(cursor, queries, month, kept_from)):
                pass
        return gone

    def _carry_on(self, month: str, kept_from: datetime) -> None:
        queries = self._queries
        while self._transact(lambda cursor: retention.carry_on(cursor, queries, month, kept_from)):
            pass

    def _size(self, month: str) -> LogMonth:
        ages = self._queries.ages
        counted = [self._long_rows(each, {"of_month": month}) for each in (ages.decisions_in, ages.events_in)]
        n_decisions, n_events = (int(rows[0]["n"]) for rows in counted)
        return LogMonth(month, n_decisions, n_events)

    def _drop(self, month: str, kept_from: datetime) -> bool:
        """Drop a month's partitions; False where it has none.

        Raises:
            StoreUnavailableError: Others kept the tables busy.
        """
        queries = self._queries
        if self._database.is_embedded or not self._has_partition(month):
            return False
        after: str | None = ""
        while after is not None:
            after = self._transact(partial(retention.forget_ids, queries=queries, month=month, after=after))
        for attempt in range(_N_ATTEMPTS):
            if attempt:
                time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
                self._carry_on(month, kept_from)
            try:
                self._once(lambda cursor: retention.drop(cursor, queries, month, kept_from))
            except TransientError:
                continue
            self._made -= {month}
            while self._transact(lambda cursor: retention.forget_orphans(cursor, queries, month)):
                pass
            return True
        raise StoreUnavailableError(
            f"month {month} of the log could not be dropped, since others read or write it all the time (an"
            " export, a backup); try again later"
        )

    def _has_partition(self, month: str) -> bool:
        return self._once(
            lambda cursor: any(
                month in partitions.stored_months(cursor, table) for table in partitions.PARTITIONED
            )
        )

    def forget_shadows(self, before: datetime) -> int:
        """See `serving.upkeep.UpkeepStore`."""
        ages = self._queries.ages
        return self._forget(ages.old_shadows, ages.forget_shadows, "decision_id", before)

    def forget_answers(self, before: datetime) -> int:
        """See `serving.upkeep.UpkeepStore`."""
        ages = self._queries.ages
        return self._forget(ages.old_answers, ages.forget_answers, "request_id", before)

    def _forget(self, old: Statement, forget: Statement, key: str, before: datetime) -> int:
        """Forget what is old, in portions of a transaction each."""

        def portion(cursor: Cursor) -> tuple[int, int]:
            rows = old.rows(cursor, {"before": before, "n_most": retention.PORTION})
            ids = [row[key] for row in rows]
            return len(ids), forget.run(cursor, {f"{key}s": ids, "before": before})

        n_gone, is_done = 0, False
        while not is_done:
            n_found, n_forgotten = self._transact(portion)
            n_gone, is_done = n_gone + n_forgotten, n_found < retention.PORTION
        return n_gone

    def _once(self, work: Callable[[Cursor], Result]) -> Result:
        """Run work in one transaction of PostgreSQL, and give up where others are in the way.

        Raises:
            TransientError: They are.
        """
        with self._database.explaining(), self._database.writing() as cursor:
            return work(cursor)
