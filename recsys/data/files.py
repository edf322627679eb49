"""Files as they are: which file holds which table, and its rows with their line numbers."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.errors import DataError
from recsys.tables import TABLES

WHOLE_ROW = "(row)"
FAULT_SCHEMA: dict[str, pl.DataType] = {
    "line": pl.Int64(),
    "column": pl.String(),
    "value": pl.String(),
    "expected": pl.String(),
    "row": pl.String(),
}
_SUFFIXES = (".parquet", ".csv")
# The library gives up on some broken files by a panic, which is no Exception.
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@dataclass(frozen=True, slots=True)
class RawTable:
    """The rows of a source before any judgement.

    Attributes:
        name: Name of the table.
        frame: The columns as found: texts, or values of the source's own types.
        lines: Line of each row; the header is line 1.
        texts: Each row as it stands in the source; None when the source is not a text.
        broken: Rows that could not be split into fields, as faults; see `FAULT_SCHEMA`.
    """

    name: str
    frame: pl.DataFrame
    lines: pl.Series
    texts: pl.Series | None
    broken: pl.DataFrame


def find_tables(folder: Path) -> dict[str, Path]:
    """The file of each table in a folder.

    Raises:
        DataError: There is no such folder, a table has two files, or a file has the name of no table.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such folder; give a folder with <table>.parquet or .csv files"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    known = [table.name for table in TABLES]
    found: dict[str, Path] = {}
    problems = []
    for path in files:
        if path.stem not in known:
            problems.append(f"{path}: no table is called {path.stem!r}{did_you_mean(path.stem, known)}")
        elif path.stem in found:
            problems.append(f"{path.stem}: two files, {found[path.stem].name} and {path.name}; keep one")
        else:
            found[path.stem] = path
    if problems:
        raise DataError("\n".join(problems))
    return found


def did_you_mean(word: str, known: list[str]) -> str:
    """The nearest known word as the end of a sentence, or all of them.

    Example:
        >>> did_you_mean("ofers", ["clients", "offers"])
        '; did you mean offers?'
    """
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"


def read_raw(name: str, path: Path) -> RawTable:
    """The rows of one file.

    Raises:
        DataError: The file cannot be read at all; the text says where it is broken.
    """
    try:
        return _read_csv(name, path) if path.suffix == ".csv" else _read_parquet(name, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def from_frame(name: str, frame: pl.DataFrame) -> RawTable:
    """The rows of a source without lines of its own: line = row number + 1."""
    lines = pl.Series("line", range(2, len(frame) + 2), dtype=pl.Int64)
    return RawTable(name, frame, lines, None, pl.DataFrame(schema=FAULT_SCHEMA))


def _read_parquet(name: str, path: Path) -> RawTable:
    try:
        frame = pl.read_parquet(path, glob=False)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a whole Parquet file ({reason}); write or copy it again") from error
    return from_frame(name, frame)


def _read_csv(name: str, path: Path) -> RawTable:
    records = _split_records(_decode(path))
    if records.is_empty():
        raise DataError(f"{path}: the file is empty; its first line must name the columns")
    header_text: str = records["text"][0]
    try:
        header = next(csv.reader(io.StringIO(header_text)))
    except csv.Error as error:
        raise DataError(f"{path}, line 1: no names of columns ({error}); end lines by line feeds") from error
    if len(header) == 1 and header[0].count(";") + header[0].count("\t") > 0:
        raise DataError(f"{path}, line 1: one column only; separate fields by commas")
    if len(set(header)) < len(header):
        twice = sorted({column for column in header if header.count(column) > 1})
        raise DataError(f"{path}, line 1: column {twice[0]!r} stands twice")
    records = records.slice(1)
    is_whole = (records["n_fields"] == len(header)) & ~records["is_open"]
    good = records.filter(is_whole)
    return RawTable(
        name=name,
        frame=_parse_records(good["text"], header, path),
        lines=good["line"],
        texts=good["text"],
        broken=_broken_rows(records.filter(~is_whole), len(header)),
    )


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {error.start + 1} of the file (0x{data[error.start]:02x})"
            " is not UTF-8; save the file as UTF-8"
        ) from error


def _split_records(text: str) -> pl.DataFrame:
    """Records (a record with quoted line breaks spans several lines), blank ones left out.

    Returns:
        Columns line (of its beginning), text, n_fields, and is_open: a quote is never closed.
    """
    lines = pl.DataFrame({"text": pl.Series([text]).str.split("\n").explode()}).select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("line"),
        pl.col("text").str.strip_suffix("\r"),
        pl.col("text").str.count_matches('"', literal=True).cast(pl.Int64).alias("n_quotes"),
    )
    if lines["n_quotes"].sum():
        is_inside = (pl.col("n_quotes").cum_sum() - pl.col("n_quotes")) % 2 == 1
        lines = (
            lines.group_by((~is_inside).cum_sum().alias("record"), maintain_order=True)
            .agg(pl.col("line").first(), pl.col("text").str.join("\n"), pl.col("n_quotes").sum())
            .drop("record")
        )
    unquoted = (
        pl.when(pl.col("n_quotes") > 0)
        .then(pl.col("text").str.replace_all(r'"[^"]*"', ""))
        .otherwise(pl.col("text"))
    )
    return lines.filter(pl.col("text").str.strip_chars() != "").select(
        "line",
        "text",
        (unquoted.str.count_matches(",", literal=True).cast(pl.Int64) + 1).alias("n_fields"),
        (pl.col("n_quotes") % 2 == 1).alias("is_open"),
    )


def _parse_records(texts: pl.Series, header: list[str], path: Path) -> pl.DataFrame:
    if texts.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(header, pl.String))
    body = texts.str.join("\n").item().encode()
    try:
        frame = pl.read_csv(body, has_header=False, new_columns=header, infer_schema=False)
    except _UNREADABLE as error:
        raise DataError(f"{path}: not a CSV file: {str(error).splitlines()[0]}") from error
    if frame.shape != (len(texts), len(header)):
        raise DataError(f"{path}: quotes inside fields are not doubled; write the file with a CSV library")
    return frame


def _broken_rows(records: pl.DataFrame, n_fields: int) -> pl.DataFrame:
    faults = [
        (
            line,
            WHOLE_ROW,
            text[:80],
            "a closing quote" if is_open else f"{n_fields} fields, found {found}",
            text,
        )
        for line, text, found, is_open in _rows(records)
    ]
    return pl.DataFrame(faults, schema=FAULT_SCHEMA, orient="row")


def _rows(records: pl.DataFrame) -> Iterator[tuple[int, str, int, bool]]:
    yield from records.select("line", "text", "n_fields", "is_open").iter_rows()
