"""A folder of CSV or Parquet files as a validated dataset."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.dataset import Dataset, DatasetMeta, read_meta
from recsys.data.documents import POLICY_DOCUMENTS
from recsys.data.files import RawTable, find_tables, read_raw
from recsys.data.validation import CheckedTable, check_references, check_table, recorded_column
from recsys.errors import DataError, SchemaError
from recsys.tables import REQUIRED_TABLES, TABLES, Table

DOCUMENTS = ("expert.yaml", *POLICY_DOCUMENTS)
_NEVER_EMPTY = ("clients", "offers")
_ROWS_PER_DIGEST_CHUNK = 200_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """What a source holds, before any judgement.

    Attributes:
        place: The folder or the database, for texts.
        meta: What the dataset says of itself.
        tables: The tables that could be read, by name.
        problems: What could not be read at all, one sentence each.
        unreadable: The tables meant by them.
        documents: Further files by name, as text.
    """

    place: str
    meta: DatasetMeta
    tables: Mapping[str, RawTable]
    problems: tuple[str, ...] = ()
    unreadable: frozenset[str] = frozenset()
    documents: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that is wrong with a dataset.

    Attributes:
        tables: The tables, checked, in the order of the contracts.
        problems: What makes the whole unusable: a file that cannot be read, a table that is missing.
    """

    tables: tuple[CheckedTable, ...]
    problems: tuple[str, ...]

    @property
    def n_faults(self) -> int:
        """Faults of all tables together."""
        return sum(checked.n_faults for checked in self.tables)

    def raise_problems(self) -> None:
        """Raise DataError if something makes the whole unusable."""
        if self.problems:
            raise DataError("\n".join(self.problems))

    def raise_faults(self) -> None:
        """Raise SchemaError if any value breaks its contract."""
        if self.n_faults:
            shown = [fault for checked in self.tables for fault in checked.shown_faults()]
            raise SchemaError(shown, self.n_faults)

    def raise_header_faults(self) -> None:
        """Raise SchemaError for missing and unknown columns only."""
        faults = [fault for checked in self.tables for fault in checked.header_faults]
        if faults:
            raise SchemaError(faults, len(faults))


def read_dataset(folder: Path, *, skip_bad_rows: bool = False) -> Dataset:
    """Read and validate a folder of ``<table>.csv`` or ``<table>.parquet`` files.

    Args:
        folder: The folder; ``dataset.toml``, ``expert.yaml`` and ``placements.yaml`` in it are optional.
        skip_bad_rows: Leave rows with faults out and write them to ``skipped/<table>.csv`` in the folder,
            instead of refusing the dataset.

    Raises:
        SchemaError: Rows break a table's contract, and may not be skipped or cannot be.
        DataError: A file cannot be read, a required table is missing or empty.
        ConfigError: ``dataset.toml`` is wrong.
    """
    return make_dataset(open_folder(folder), skipped_to=folder / "skipped" if skip_bad_rows else None)


def open_folder(folder: Path) -> Source:
    """Read a folder without judging its rows.

    Raises:
        DataError: There is no such folder, or it is not clear which file holds which table.
    """
    paths = find_tables(folder)
    meta = read_meta(folder)
    tables: dict[str, RawTable] = {}
    problems: list[str] = []
    for name, path in paths.items():
        try:
            tables[name] = read_raw(name, path)
        except DataError as error:
            problems.append(str(error))
    absent = [table.name for table in REQUIRED_TABLES if table.name not in paths]
    problems += [f"{folder}: there is neither {name}.parquet nor {name}.csv" for name in absent]
    unreadable = frozenset(paths).difference(tables).union(absent)
    return Source(str(folder), meta, tables, tuple(problems), unreadable, _read_documents(folder))


def examine(source: Source) -> Examination:
    """Find everything that is wrong with a source."""
    return _examine(source, only_kept=False)


def make_dataset(source: Source, *, skipped_to: Path | None = None) -> Dataset:
    """Validate a source.

    Args:
        source: The rows as found.
        skipped_to: Folder to write rows with faults to, one CSV file per table; None = refuse them.

    Raises:
        SchemaError: Rows break a table's contract, and may not be skipped or cannot be.
        DataError: Something could not be read, or a required table is missing or empty.
    """
    examination = _examine(source, only_kept=skipped_to is not None)
    examination.raise_problems()
    if skipped_to is None:
        examination.raise_faults()
    else:
        examination.raise_header_faults()
        _write_skipped(examination, skipped_to)
    tables = {}
    for checked in examination.tables:
        frame = checked.without_bad_rows()
        if frame.is_empty() and checked.table.name in _NEVER_EMPTY:
            raise DataError(f"{source.place}: every row of table {checked.table.name} has faults")
        tables[checked.table.name] = _sorted(frame, checked.table)
    return Dataset(source.meta, tables, dict(source.documents or {}), digest_of(tables))


def digest_of(tables: Mapping[str, pl.DataFrame]) -> str:
    """SHA-256 over the content of tables sorted by their keys; empty tables count as absent ones.

    The content is hashed as text, so that it does not depend on the file format or on a library's version.
    """
    digest = hashlib.sha256()
    for table in TABLES:
        frame = tables.get(table.name)
        if frame is None or frame.is_empty():
            continue
        digest.update(f"{table.name}\n{','.join(frame.columns)}\n".encode())
        plain = frame.with_columns(
            pl.col(pl.Datetime("us", "UTC")).dt.timestamp("us"),
            pl.col(pl.List(pl.String)).list.join(";"),
        )
        for chunk in plain.iter_slices(_ROWS_PER_DIGEST_CHUNK):
            digest.update(chunk.write_csv(include_header=False, quote_style="non_numeric").encode())
    return digest.hexdigest()


def _examine(source: Source, *, only_kept: bool) -> Examination:
    known: dict[str, pl.DataFrame | None] = dict.fromkeys(source.unreadable)
    tables: list[CheckedTable] = []
    problems = list(source.problems)
    for table in TABLES:
        raw = source.tables.get(table.name)
        if raw is None:
            continue
        has_no_rows = table.name in _NEVER_EMPTY and not len(raw.frame) + len(raw.broken)
        if has_no_rows:
            problems.append(f"{source.place}: table {table.name} has no rows")
        checked = check_references(check_table(raw, table, source.meta.time_zone), known)
        tables.append(checked)
        # Every reference to such a table would be a fault, and only one of them has to be cured.
        if checked.header_faults or has_no_rows:
            known[table.name] = None
        else:
            known[table.name] = checked.without_bad_rows() if only_kept else checked.frame
    return Examination(tuple(tables), tuple(problems))


def _sorted(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    recorded = recorded_column(table)
    return frame.sort(*table.key, *([recorded] if recorded else []), maintain_order=True)


def _read_documents(folder: Path) -> dict[str, str]:
    documents = {}
    for name in DOCUMENTS:
        path = folder / name
        if path.exists():
            try:
                documents[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{path}: cannot be read: {error}") from error
    return documents


def _write_skipped(examination: Examination, folder: Path) -> None:
    for checked in examination.tables:
        path = folder / f"{checked.table.name}.csv"
        rows = checked.skipped_rows()
        try:
            if rows.is_empty():
                path.unlink(missing_ok=True)  # of an earlier reading; it would accuse sound rows
                continue
            folder.mkdir(parents=True, exist_ok=True)
            rows.write_csv(path)
        except OSError as error:
            raise DataError(f"{path}: the skipped rows cannot be written: {error.strerror}") from error
        n_rows = rows["line"].n_unique()
        _log.warning(
            "%s: %d rows with faults are left out; they stand in %s", checked.table.name, n_rows, path
        )
