"""Use case: everything in the store as a dataset folder, so that training goes on from it.

Only the command line imports this module: writing tables needs Polars, a server does not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path

import polars as pl

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.write import write_dataset
from recsys.errors import DataError
from recsys.tables import TABLES, Table
from serving.ports import Row, Store
from serving.services.load import META

_ROWS_AT_ONCE = 20_000


def export(store: Store, out: Path, now: datetime) -> Mapping[str, int]:
    """Write every table of the contracts that has rows as Parquet, the documents and the policy in force.

    Args:
        store: What to write out.
        out: The folder; an earlier export is replaced, a folder that holds anything else is refused.
        now: The present instant.

    Returns:
        Rows written, by table.

    Raises:
        DataError: The store holds no clients or offers yet, or the folder cannot be written.
    """
    frames = {table.name: frame for table in TABLES if len(frame := _frame(store, table))}
    for name in ("clients", "offers"):
        if name not in frames:
            raise DataError(f"the store holds no {name} yet; load a dataset with `recsys-serve load DIR`")
    frames.setdefault("holdings", pl.DataFrame(schema=_schema("holdings")))
    policy = store.policy_in_force(now)
    documents = {**store.documents(), **({} if policy is None else policy.documents)}
    meta = DatasetMeta.parse(tomllib.loads(documents.pop(META, "")), META)
    write_dataset(Dataset(meta, frames, documents), out)
    return {name: len(frame) for name, frame in frames.items()}


def _schema(name: str) -> dict[str, pl.DataType]:
    return next(schema_of(table) for table in TABLES if table.name == name)


def _frame(store: Store, table: Table) -> pl.DataFrame:
    schema = schema_of(table)
    chunks = [pl.DataFrame(chunk, schema=schema) for chunk in _chunks(store.read_rows(table.name))]
    return pl.concat(chunks) if chunks else pl.DataFrame(schema=schema)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        yield chunk
