"""Rows against the table contracts: every broken value is named, none is repaired by guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson
import polars as pl

from recsys.data.columns import Misfit, empty_column, parse_column, printable
from recsys.data.files import FAULT_SCHEMA, RawTable, did_you_mean
from recsys.domain import Size, size_of
from recsys.errors import Fault
from recsys.tables import Table

MAX_FAULTS_SHOWN = 20
_MAX_VALUE_LENGTH = 80


@dataclass(frozen=True, slots=True)
class _Order:
    """Two instants of a row that must not stand the wrong way round."""

    table: str
    earlier: str
    later: str
    may_be_equal: bool


_ORDERS = (
    _Order("clients", "valid_from", "valid_to", may_be_equal=False),
    _Order("offers", "valid_from", "valid_to", may_be_equal=False),
    _Order("holdings", "connected_at", "disconnected_at", may_be_equal=True),
)


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A table after the checks.

    Attributes:
        table: Its contract.
        raw: The rows as found.
        frame: The same rows typed, in the contract's columns; null where a value could not be read.
        header_faults: Columns that are missing or unknown; no row can be left out to cure them.
        row_faults: Faults of rows: `FAULT_SCHEMA` and ``index``, the row in `frame` (null for a row that
            could not be split into fields).
    """

    table: Table
    raw: RawTable
    frame: pl.DataFrame
    header_faults: tuple[Fault, ...]
    row_faults: pl.DataFrame

    @property
    def n_faults(self) -> int:
        """How many faults there are in all."""
        return len(self.header_faults) + len(self.row_faults)

    def shown_faults(self) -> list[Fault]:
        """The first faults, at most 20, by line."""
        shown = self.row_faults.sort("line", maintain_order=True).head(MAX_FAULTS_SHOWN)
        rows = [
            Fault(self.table.name, line, column, value, expected)
            for line, column, value, expected in shown.select(
                "line", "column", "value", "expected"
            ).iter_rows()
        ]
        return [*self.header_faults, *rows][:MAX_FAULTS_SHOWN]

    def skipped_rows(self) -> pl.DataFrame:
        """The faults with the text of their rows, by line."""
        found = self.row_faults.filter(pl.col("index").is_not_null())
        indices = found["index"].unique().sort()
        texts = pl.DataFrame({"index": indices, "text": _row_texts(self.raw, indices)})
        return (
            self.row_faults.join(texts, on="index", how="left", maintain_order="left")
            .with_columns(pl.coalesce("row", "text").alias("row"))
            .select(*FAULT_SCHEMA)
            .sort("line", maintain_order=True)
        )

    def without_bad_rows(self) -> pl.DataFrame:
        """The rows that no fault touches."""
        bad = self.row_faults["index"].drop_nulls().unique()
        return self.frame.filter(~pl.int_range(pl.len(), dtype=pl.Int64).is_in(bad.implode()))


def check_table(raw: RawTable, table: Table, time_zone: str) -> CheckedTable:
    """Check the rows of one table by themselves.

    Args:
        raw: The rows as found.
        table: Their contract.
        time_zone: A day given for an instant is midnight of this zone.
    """
    columns: list[pl.Series] = []
    faults = [raw.broken.with_columns(pl.lit(None, pl.Int64).alias("index"))]
    for column in table.columns:
        if column.name not in raw.frame.columns:
            columns.append(empty_column(column, len(raw.frame)))
            continue
        found = raw.frame[column.name]
        values, misfits = parse_column(found, column, time_zone)
        columns.append(values)
        faults += [_faults(raw, misfit, column.name, found) for misfit in misfits]
    frame = _derive(pl.DataFrame(columns), table)
    faults += _order_faults(raw, frame, table)
    faults += _duplicate_faults(raw, frame, table)
    return CheckedTable(table, raw, frame, _header_faults(raw, table), pl.concat(faults))


def check_references(checked: CheckedTable, known: Mapping[str, pl.DataFrame | None]) -> CheckedTable:
    """The table with faults added for every value that should stand in another table and does not.

    Args:
        checked: The table.
        known: The tables it may refer to; None for one that is there but could not be read, so that
            nothing can be said of values that refer to it.
    """
    faults = [checked.row_faults]
    for column, other, other_column in checked.table.references:
        values = checked.frame[column]
        expected = f"an id that stands in {other}.{other_column}"
        is_dangling = values.is_not_null()
        if other not in known:
            expected += ", a table that is absent"
        elif (frame := known[other]) is not None:
            is_dangling &= ~values.is_in(frame[other_column].unique().implode())
        else:
            continue
        if is_dangling.any():
            faults.append(_faults(checked.raw, Misfit(is_dangling, expected), column, values))
    return replace(checked, row_faults=pl.concat(faults))


def recorded_column(table: Table) -> str | None:
    """The column that says when a row became known; None if a table has none."""
    return next((name for name in ("recorded_at", "known_at") if name in table.column_names), None)


def _header_faults(raw: RawTable, table: Table) -> tuple[Fault, ...]:
    names = list(table.column_names)
    unknown = [
        Fault(table.name, 1, name, name, f"a column of the table{did_you_mean(name, names)}")
        for name in raw.frame.columns
        if name not in names
    ]
    missing = [
        Fault(table.name, 1, column.name, "", f"this column: {column.about}")
        for column in table.columns
        if not column.is_nullable and column.name not in raw.frame.columns
    ]
    return (*unknown, *missing)


def _faults(raw: RawTable, misfit: Misfit, column: str, values: pl.Series) -> pl.DataFrame:
    return _fault_rows(raw, misfit.is_bad, column, values, pl.Series([misfit.expected]))


def _fault_rows(
    raw: RawTable, is_bad: pl.Series, column: str, values: pl.Series, expected: pl.Series
) -> pl.DataFrame:
    """One fault for each bad row; `expected` has one text for all, or one for each bad row."""
    index = is_bad.arg_true().cast(pl.Int64)
    texts = [_shorten(value) for value in printable(values.gather(index))]
    return pl.DataFrame(
        {
            "line": raw.lines.gather(index),
            "column": pl.Series([column]).new_from_index(0, len(index)),
            "value": pl.Series(texts, dtype=pl.String),
            "expected": expected if len(expected) == len(index) else expected.new_from_index(0, len(index)),
            "row": pl.Series([None], dtype=pl.String).new_from_index(0, len(index)),
            "index": index,
        }
    )


def _shorten(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, pl.Series):
        value = ";".join(str(item) for item in value)
    return str(value)[:_MAX_VALUE_LENGTH]


def _derive(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Fill the size class of clients where only staff or revenue are given."""
    if table.name != "clients":
        return frame
    figures = frame.select("n_employees", "revenue_minor").unique()
    sizes = [size_of(staff, revenue) for staff, revenue in figures.iter_rows()]
    derived = figures.with_columns(pl.Series("derived", [str(size) for size in sizes], dtype=pl.String))
    known = derived.filter(pl.col("derived") != str(Size.UNKNOWN))
    joined = frame.join(
        known, on=["n_employees", "revenue_minor"], how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.with_columns(pl.coalesce("size", "derived").alias("size")).drop("derived")


def _order_faults(raw: RawTable, frame: pl.DataFrame, table: Table) -> list[pl.DataFrame]:
    faults = []
    for order in _ORDERS:
        if order.table != table.name:
            continue
        earlier, later = frame[order.earlier], frame[order.later]
        is_bad = (later < earlier) if order.may_be_equal else (later <= earlier)
        if is_bad.fill_null(value=False).any():
            expected = f"{'not earlier' if order.may_be_equal else 'later'} than {order.earlier}"
            faults.append(_faults(raw, Misfit(is_bad.fill_null(value=False), expected), order.later, later))
    return faults


def _duplicate_faults(raw: RawTable, frame: pl.DataFrame, table: Table) -> list[pl.DataFrame]:
    recorded = recorded_column(table)
    key = [*table.key, *([recorded] if recorded and recorded not in table.key else [])]
    required = [name for name in key if not table.column(name).is_nullable]
    is_bad = frame.select(
        ~pl.struct(key).is_first_distinct() & pl.all_horizontal(pl.col(required).is_not_null())
    ).to_series()
    if not is_bad.any():
        return []
    lines = frame.with_columns(raw.lines.alias("line")).select(pl.col("line").first().over(key)).to_series()
    keys = frame.select(pl.concat_str(pl.col(key).cast(pl.String), separator=", ", ignore_nulls=True))
    # In one piece: `format` gives up by a panic where the first of several pieces is empty.
    firsts = lines.filter(is_bad).rechunk()
    expected = pl.select(pl.format("a new key; it stands in line {} already", firsts)).to_series()
    return [_fault_rows(raw, is_bad, ", ".join(key), keys.to_series(), expected)]


def _row_texts(raw: RawTable, indices: pl.Series) -> pl.Series:
    """Rows as text: of a CSV file as they stand there, of other sources as JSON."""
    if raw.texts is not None:
        return raw.texts.gather(indices)
    rows = pl.DataFrame([printable(column.gather(indices)) for column in raw.frame]).iter_rows(named=True)
    return pl.Series([orjson.dumps(row, default=str).decode() for row in rows], dtype=pl.String)
