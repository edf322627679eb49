"""The months of the log as PostgreSQL's partitions.

Every lock that others would wait behind is asked for with a short limit: who cannot have it gives up and
comes again, for nothing depends on the moment. Rows without a partition of their month lie in the default
one, and are found there like all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from serving.storage.dialects import Cursor
from serving.storage.queries import Queries
from serving.upkeep import begin_of, month_of

PARTITIONED = ("decisions", "events")
N_MONTHS_AHEAD = 3
"""Months after the present one that partitions are made for."""

_OLDEST_MONTHS = 240
"""Months before the present one for which a partition is worth while; older ones share the default one."""

_LATEST_MONTHS = 12
_LOCK_MILLISECONDS = 200
_MONTH = re.compile(r"\d{4}-\d{2}")


def months_ahead(now: datetime) -> list[str]:
    """The months around an instant that there should be partitions for."""
    return [month_of(begin_of(now, number)) for number in range(-1, N_MONTHS_AHEAD + 1)]


def worth_while(months: Iterable[str], now: datetime) -> list[str]:
    """Those of some months that get a partition of their own, ascending; a wrong year makes none."""
    first, last = month_of(begin_of(now, -_OLDEST_MONTHS)), month_of(begin_of(now, _LATEST_MONTHS))
    return sorted({month for month in months if _MONTH.fullmatch(month) and first <= month <= last})


def partition_of(table: str, month: str) -> str:
    """The name of a month's partition.

    Example:
        >>> partition_of("events", "2025-03")
        'events_2025_03'
    """
    return f"{table}_{month.replace('-', '_')}"


def stored_months(cursor: Cursor, table: str) -> set[str]:
    """The months that a table has partitions for."""
    cursor.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = to_regclass(%(parent)s)",
        {"parent": table},
    )
    named = [str(name).removeprefix(f"{table}_").replace("_", "-") for (name,) in cursor.fetchall()]
    return {month for month in named if _MONTH.fullmatch(month)}


def months_without_partition(cursor: Cursor) -> set[str]:
    """The months of what lies in the default partitions."""
    found: set[str] = set()
    for table in PARTITIONED:
        cursor.execute(f"SELECT DISTINCT log_month FROM {table}_default")
        found.update(month for (month,) in cursor.fetchall())
    return found


def make_partition(cursor: Cursor, queries: Queries, table: str, month: str) -> bool:
    """Make a month's partition, and put into it what lies in the default one; False if there is one.

    The table stays readable and writable. The default partition is locked while its rows of the month are
    moved, which those who look through all months wait for.
    """
    _limit_waiting(cursor)
    queries.locks.make_months.rows(cursor, {})
    if month in stored_months(cursor, table):
        return False
    name = partition_of(table, month)
    cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    cursor.execute(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
    cursor.execute(
        f"WITH moved AS (DELETE FROM {table}_default WHERE log_month = %(month)s RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        {"month": month},
    )
    cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES IN ('{month}')")
    return True


def lock_month(cursor: Cursor, queries: Queries) -> None:
    """Keep everybody from decisions and events until this transaction ends, which has to be soon."""
    _limit_waiting(cursor)
    queries.locks.make_months.rows(cursor, {})
    queries.locks.move_events.rows(cursor, {})
    # Both at once: whoever holds one of them may want the other.
    cursor.execute(f"LOCK TABLE {', '.join(PARTITIONED)} IN ACCESS EXCLUSIVE MODE")


def drop_month(cursor: Cursor, month: str) -> None:
    """Drop a month's partitions, and with them all their rows."""
    for table in PARTITIONED:
        cursor.execute(f"DROP TABLE IF EXISTS {partition_of(table, month)}")


def _limit_waiting(cursor: Cursor) -> None:
    cursor.execute(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}")
