"""What preparing a public data set made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.columns import DTYPES
from recsys.data.dataset import DatasetMeta
from recsys.data.files import from_frame
from recsys.data.read import Source, make_dataset
from recsys.data.write import conform, write_dataset
from recsys.errors import DataError
from recsys.tables import ColumnType, table_named

INSTANT = DTYPES[ColumnType.INSTANT]


@dataclass(frozen=True, slots=True)
class PreparedSummary:
    """What was written.

    Attributes:
        folder: Where the tables stand.
        n_rows: Rows by table.
        digest: SHA-256 over the content.
    """

    folder: Path
    n_rows: Mapping[str, int]
    digest: str

    def __str__(self) -> str:
        counts = ", ".join(f"{n_rows} {table}" for table, n_rows in self.n_rows.items())
        return f"{self.folder}: {counts}; digest {self.digest[:12]}"


def write_prepared(meta: DatasetMeta, tables: Mapping[str, pl.DataFrame], out: Path) -> PreparedSummary:
    """Validate tables and write them.

    Raises:
        SchemaError: The raw data hold something that breaks a contract; nothing is written.
        DataError: The folder cannot be written.
    """
    raw = {name: from_frame(name, conform(frame, table_named(name))) for name, frame in tables.items()}
    dataset = make_dataset(Source(str(out), meta, raw))
    write_dataset(dataset, out)
    n_rows = {name: len(frame) for name, frame in dataset.tables.items()}
    return PreparedSummary(out, n_rows, dataset.digest)


def find_raw(source: Path, folder: str, name: str) -> Path:
    """A raw file: given itself, by its folder, or by the folder above.

    Raises:
        DataError: It is in none of these places.
    """
    for path in (source, source / name, source / folder / name, source.parent / name):
        if path.name == name and path.is_file():
            return path
    raise DataError(f"{source}: there is no {name}; give its folder with --from")


def read_raw_parquet(path: Path, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Those columns of a raw file, in those types.

    Raises:
        DataError: The file is broken, or is another file than expected.
    """
    try:
        return pl.read_parquet(path, columns=list(columns)).cast(dict(columns))  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not the expected Parquet file ({reason})") from error
