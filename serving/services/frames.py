"""Tables of the store as frames; whoever imports this module loads Polars, so a server does so late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

import polars as pl

from recsys.data.columns import schema_of
from recsys.tables import Table
from serving.ports import Row, Store

_ROWS_AT_ONCE = 20_000


def frame_of(
    store: Store, table: Table, columns: Sequence[str] | None = None, since: datetime | None = None
) -> pl.DataFrame:
    """A table of the store with the types of its contract.

    Args:
        store: What to read.
        table: The table's contract.
        columns: Only these; None = all.
        since: Only rows recorded from then on; None = all.
    """
    whole = schema_of(table)
    schema = {name: whole[name] for name in (columns or table.column_names)}
    rows = store.read_rows(table.name, columns, since)
    chunks = [pl.DataFrame(chunk, schema=schema) for chunk in _chunks(rows)]
    return pl.concat(chunks) if chunks else pl.DataFrame(schema=schema)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        yield chunk
