"""A dataset as a folder that `recsys.data.read.read_dataset` reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import orjson
import polars as pl

from recsys.data.columns import empty_column, schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.read import DOCUMENTS
from recsys.errors import DataError
from recsys.tables import TABLES, Table

_OURS = frozenset(
    {
        "dataset.toml",
        "skipped",
        *DOCUMENTS,
        *(f"{table.name}{suffix}" for table in TABLES for suffix in (".parquet", ".csv")),
    }
)


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write Parquet files, ``dataset.toml`` and the documents; all of them or nothing.

    The same dataset gives the same bytes. A dataset that is there already is replaced; a folder that
    holds anything else is left alone.

    Raises:
        DataError: The place is a file, the folder holds other files or cannot be written, or a table
            lacks a required column.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; give a new or empty folder")
    foreign = sorted({path.name for path in folder.iterdir()} - _OURS) if folder.is_dir() else []
    if foreign:
        raise DataError(f"{folder}: holds other files ({foreign[0]} …); give a new or empty folder")
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
            fresh = Path(work) / "fresh"
            fresh.mkdir()
            _write_files(dataset, fresh)
            _replace(folder, fresh, Path(work) / "replaced")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error


def to_toml(meta: DatasetMeta) -> str:
    r"""What a dataset says of itself, as ``dataset.toml``.

    Example:
        >>> print(to_toml(DatasetMeta(name="shop", currency="GBP")))
        name = "shop"
        title = ""
        currency = "GBP"
        time_zone = "UTC"
        holdings = "subscriptions"
        <BLANKLINE>
    """
    values = meta.model_dump(mode="json")
    return "".join(f"{name} = {orjson.dumps(value).decode()}\n" for name, value in values.items())


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The frame in a contract's columns and types; missing nullable columns become nulls.

    Raises:
        DataError: A required column is missing, a column is unknown, or a value does not fit its type.
    """
    unknown = set(frame.columns) - set(table.column_names)
    if unknown:
        raise DataError(f"table {table.name} has no column {min(unknown)!r}")
    for column in table.columns:
        if column.name not in frame.columns:
            if not column.is_nullable:
                raise DataError(f"table {table.name} needs the column {column.name}: {column.about}")
            frame = frame.with_columns(empty_column(column, len(frame)))
    try:
        return frame.select(table.column_names).cast(schema_of(table))  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as error:
        raise DataError(f"table {table.name}: {str(error).splitlines()[0]}") from error


def _replace(folder: Path, fresh: Path, aside: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        aside.rename(folder)
        raise


def _write_files(dataset: Dataset, folder: Path) -> None:
    for table in TABLES:
        if table.name in dataset.tables:
            frame = conform(dataset.tables[table.name], table)
            frame.write_parquet(folder / f"{table.name}.parquet", compression="zstd")
    (folder / "dataset.toml").write_text(to_toml(dataset.meta), encoding="utf-8")
    for name, text in dataset.documents.items():
        (folder / name).write_text(text, encoding="utf-8")
