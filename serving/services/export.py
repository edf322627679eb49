"""Use case: everything in the store as a dataset folder, so that training goes on from it.

Only the command line imports this module: writing tables needs Polars, a server does not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.write import write_dataset
from recsys.errors import DataError
from recsys.tables import HOLDINGS, TABLES
from serving.ports import Store
from serving.services.frames import frame_of
from serving.services.load import META


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
    frames = {table.name: frame for table in TABLES if len(frame := frame_of(store, table))}
    for name in ("clients", "offers"):
        if name not in frames:
            raise DataError(f"the store holds no {name} yet; load a dataset with `recsys-serve load DIR`")
    frames.setdefault("holdings", pl.DataFrame(schema=schema_of(HOLDINGS)))
    policy = store.policy_in_force(now)
    documents = {**store.documents(), **({} if policy is None else policy.documents)}
    meta = DatasetMeta.parse(tomllib.loads(documents.pop(META, "")), META)
    write_dataset(Dataset(meta, frames, documents), out)
    return {name: len(frame) for name, frame in frames.items()}
