"""Where data come from: a folder of files, or a database."""

from __future__ import annotations

from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.read import Source, make_dataset, open_folder
from training.prepare.database import open_database


def open_source(data: str) -> Source:
    """Read a folder or a database without judging its rows.

    Args:
        data: A folder, or a database URL such as ``sqlite:///shop.db`` or ``postgresql://…``.

    Raises:
        DataError: There is no such place, or it cannot be read.
        StoreUnavailableError: The database does not answer.
    """
    if "://" in data:
        return open_database(data)
    return open_folder(Path(data))


def open_dataset(data: str, *, skip_bad_rows: bool = False) -> Dataset:
    """Read and validate a dataset.

    Args:
        data: A folder or a database URL.
        skip_bad_rows: Leave rows with faults out and write them to ``skipped/<table>.csv`` in the folder
            (of a database: in the current folder), instead of refusing the dataset.

    Raises:
        SchemaError: Rows break a table's contract.
        DataError: Something cannot be read, or a required table is missing or empty.
        StoreUnavailableError: The database does not answer.
    """
    beside = Path() if "://" in data else Path(data)
    return make_dataset(open_source(data), skipped_to=beside / "skipped" if skip_bad_rows else None)
