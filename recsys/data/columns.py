"""From what stands in a file to typed columns; every value that cannot be read is pointed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

import polars as pl

from recsys.config import CONTROL_CHARACTER
from recsys.domain import MAX_ID_LENGTH
from recsys.tables import Column, ColumnType, Table

DTYPES: dict[ColumnType, pl.DataType] = {
    ColumnType.ID: pl.String(),
    ColumnType.TEXT: pl.String(),
    ColumnType.INTEGER: pl.Int64(),
    ColumnType.NUMBER: pl.Float64(),
    ColumnType.MONEY: pl.Int64(),
    ColumnType.INSTANT: pl.Datetime("us", "UTC"),
    ColumnType.DAY: pl.Date(),
    ColumnType.FLAG: pl.Boolean(),
    ColumnType.TEXTS: pl.List(pl.String()),
    ColumnType.JSON: pl.String(),
}

_EXPECTED = {
    ColumnType.ID: f"an id of 1–{MAX_ID_LENGTH} characters",
    ColumnType.TEXT: "text",
    ColumnType.INTEGER: "a whole number",
    ColumnType.NUMBER: "a finite number, with a decimal point",
    ColumnType.MONEY: "a whole number of minor units",
    ColumnType.INSTANT: "an instant with its offset, like 2024-01-31T09:30:00Z, or a day, like 2024-01-31",
    ColumnType.DAY: "a day, like 2024-01-31",
    ColumnType.FLAG: "true or false",
    ColumnType.TEXTS: "texts (in CSV joined by ;)",
    ColumnType.JSON: "one JSON value",
}

_DAY_PATTERN = r"^\d{4}-\d{2}-\d{2}$"
_INSTANT_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?[+-]\d{2}:\d{2}$"
# Python holds no other years than these, 1–9999; days are counted from 1970.
_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_PER_DAY = MappingProxyType({"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9})
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Misfit:
    """Rows of one column that break one rule.

    Attributes:
        is_bad: For each row whether it breaks the rule.
        expected: What should stand there.
    """

    is_bad: pl.Series
    expected: str


def schema_of(table: Table) -> dict[str, pl.DataType]:
    """The dtype of every column of a table, in the contract's order."""
    return {column.name: DTYPES[column.type] for column in table.columns}


def empty_column(column: Column, n_rows: int) -> pl.Series:
    """A column of nulls."""
    return pl.Series(column.name, [None], dtype=DTYPES[column.type]).new_from_index(0, n_rows)


def parse_column(found: pl.Series, column: Column, time_zone: str) -> tuple[pl.Series, list[Misfit]]:
    """Read a column and check each of its values.

    Args:
        found: The column as it stands in the source: texts, or values of a fitting type.
        column: Its contract.
        time_zone: A day given for an instant is midnight of this zone.

    Returns:
        The typed values, null where unreadable; and the rules that some rows break. An empty text is a
        missing value, as CSV knows no difference.

    Example:
        >>> from recsys.tables import HOLDINGS
        >>> found = pl.Series("quantity", ["2", "many", "0", None])
        >>> values, misfits = parse_column(found, HOLDINGS.column("quantity"), "UTC")
        >>> values.to_list()
        [2, None, 0, None]
        >>> [(misfit.expected, misfit.is_bad.arg_true().to_list()) for misfit in misfits]
        [('a whole number', [1]), ('at least 1', [2])]
    """
    if isinstance(found.dtype, (pl.String, pl.Categorical, pl.Enum)):
        found = _empty_to_null(found.cast(pl.String))
        values = _PARSERS[column.type](found, time_zone)
    else:
        values = _convert(_only_within_years(found), column.type, time_zone)
    # Once more: midnight of a zone may lie in the year before.
    values = _only_within_years(values).alias(column.name)
    is_list = found.dtype in (pl.String, pl.List(pl.String)) and column.type is ColumnType.TEXTS
    rules = [
        Misfit(found.is_not_null() & values.is_null() & (not is_list), _EXPECTED[column.type]),
        *_value_rules(values, column),
    ]
    if not column.is_nullable:
        rules.append(Misfit(found.is_null(), f"a value: {_EXPECTED[column.type]}"))
    return values, [rule for rule in rules if rule.is_bad.any()]


def printable(found: pl.Series) -> pl.Series:
    """A column whose values Python can hold: moments beyond its years as the numbers that they are stored as.

    The library gives up on such a moment by a panic.
    """
    if isinstance(found.dtype, pl.Datetime) and found.dtype.time_zone is not None:
        found = found.dt.convert_time_zone("UTC")
    kept = _only_within_years(found)
    if kept.null_count() == found.null_count():
        return found
    return kept.cast(pl.String).zip_with(kept.is_not_null(), found.to_physical().cast(pl.String))


def _only_within_years(found: pl.Series) -> pl.Series:
    """The values without moments and lengths of time that Python cannot hold."""
    if not found.dtype.is_temporal() or found.dtype == pl.Time:
        return found
    per_day = _PER_DAY.get(str(getattr(found.dtype, "time_unit", "day")), 1)
    first = max(_FIRST_DAY * per_day, -(2**63))
    last = min((_LAST_DAY + 1) * per_day - 1, 2**63 - 1)
    nothing = pl.Series([None], dtype=found.dtype).new_from_index(0, len(found))
    return found.zip_with(_or_false(found.to_physical().is_between(first, last)), nothing)


def _value_rules(values: pl.Series, column: Column) -> list[Misfit]:
    """Rules about values that could be read."""
    rules: list[Misfit] = []
    if column.type is ColumnType.ID:
        rules.append(Misfit(_or_false(values.str.len_chars() > MAX_ID_LENGTH), _EXPECTED[ColumnType.ID]))
    if column.choices:
        rules.append(Misfit(_is_outside(values, column.choices), f"one of {', '.join(column.choices)}"))
    if column.minimum is not None:
        rules.append(Misfit(_or_false(values < column.minimum), f"at least {column.minimum:g}"))
    if column.is_shown:
        is_bad = (values.str.strip_chars() == "") | values.str.contains(CONTROL_CHARACTER.pattern)
        rules.append(Misfit(_or_false(is_bad), "a text to read: not blank, without control characters"))
    return rules


def _is_outside(values: pl.Series, choices: tuple[str, ...]) -> pl.Series:
    allowed = [str(choice) for choice in choices]
    if values.dtype == pl.String:
        return _or_false(~values.is_in(allowed))
    return _or_false(values.list.set_difference(pl.Series([allowed])).list.len() > 0)


def _or_false(mask: pl.Series) -> pl.Series:
    return mask.fill_null(value=False)


def _empty_to_null(texts: pl.Series) -> pl.Series:
    return texts.set(_or_false(texts == ""), None)


def _parse_integer(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    return texts.cast(pl.Int64, strict=False)


def _parse_number(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    return _only_finite(texts.cast(pl.Float64, strict=False))


def _only_finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(_or_false(~numbers.is_finite()), None)


def _parse_day(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    days = texts.str.to_date("%Y-%m-%d", strict=False)
    return days.set(_or_false(~texts.str.contains(_DAY_PATTERN)), None)


def _parse_instant(texts: pl.Series, time_zone: str) -> pl.Series:
    full = (
        texts.str.replace(r"^(\d{4}-\d{2}-\d{2})[ t]", "${1}T")
        .str.replace(r"[Zz]$", "+00:00")
        .str.replace(r"([+-]\d{2})$", "${1}:00")
        .str.replace(r"([+-]\d{2})(\d{2})$", "${1}:${2}")
        .str.replace(r"(T\d{2}:\d{2})([+-])", "${1}:00${2}")
    )
    fits = _or_false(full.str.contains(_INSTANT_PATTERN))
    instants = full.set(~fits, None).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
    midnights = _to_midnights(_parse_day(texts, time_zone), time_zone)
    return instants.dt.convert_time_zone("UTC").zip_with(fits, midnights)


def _to_midnights(days: pl.Series, time_zone: str) -> pl.Series:
    midnights = days.cast(pl.Datetime("us")).dt.replace_time_zone(
        time_zone, ambiguous="earliest", non_existent="null"
    )
    return midnights.dt.convert_time_zone("UTC")


def _parse_flag(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    return texts.str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)


def _parse_texts(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    return _clean_lists(texts.str.split(";"))


def _clean_lists(lists: pl.Series) -> pl.Series:
    """Without blanks around texts and without empty texts; an empty list is a missing value."""
    stripped = pl.element().str.strip_chars()
    cleaned = lists.list.eval(stripped.filter(stripped != ""))
    return cleaned.set(_or_false(cleaned.list.len() == 0), None)


def _parse_json(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    return texts.set(texts.str.json_path_match("$").is_null(), None)


def _keep(texts: pl.Series, time_zone: str) -> pl.Series:  # noqa: ARG001
    return texts


_PARSERS: dict[ColumnType, Callable[[pl.Series, str], pl.Series]] = {
    ColumnType.ID: _keep,
    ColumnType.TEXT: _keep,
    ColumnType.INTEGER: _parse_integer,
    ColumnType.NUMBER: _parse_number,
    ColumnType.MONEY: _parse_integer,
    ColumnType.INSTANT: _parse_instant,
    ColumnType.DAY: _parse_day,
    ColumnType.FLAG: _parse_flag,
    ColumnType.TEXTS: _parse_texts,
    ColumnType.JSON: _parse_json,
}


def _convert(found: pl.Series, to: ColumnType, time_zone: str) -> pl.Series:
    """Values of a source that has types of its own; null where the type does not fit."""
    converted = _CONVERTERS[to](found, time_zone)
    if converted is None:
        return pl.Series(found.name, [None], dtype=DTYPES[to]).new_from_index(0, len(found))
    return converted


def _convert_text(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    return found.cast(pl.String) if found.dtype.is_integer() else None


def _convert_integer(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    if not found.dtype.is_numeric():
        return None
    whole = found.cast(pl.Int64, strict=False)
    return whole.set(_or_false(whole.cast(pl.Float64) != found.cast(pl.Float64)), None)


def _convert_number(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    return _only_finite(found.cast(pl.Float64, strict=False)) if found.dtype.is_numeric() else None


def _convert_instant(found: pl.Series, time_zone: str) -> pl.Series | None:
    if found.dtype == pl.Date:
        return _to_midnights(found, time_zone)
    if isinstance(found.dtype, pl.Datetime) and found.dtype.time_zone is not None:
        return found.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    return None


def _convert_day(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    return found if found.dtype == pl.Date else None


def _convert_flag(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    if found.dtype.is_integer():
        return found.replace_strict({0: False, 1: True}, default=None, return_dtype=pl.Boolean)
    return found if found.dtype == pl.Boolean else None


def _convert_texts(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    return _clean_lists(found) if found.dtype == pl.List(pl.String) else None


def _convert_nothing(found: pl.Series, time_zone: str) -> pl.Series | None:  # noqa: ARG001
    return None


_CONVERTERS: dict[ColumnType, Callable[[pl.Series, str], pl.Series | None]] = {
    ColumnType.ID: _convert_text,
    ColumnType.TEXT: _convert_text,
    ColumnType.INTEGER: _convert_integer,
    ColumnType.NUMBER: _convert_number,
    ColumnType.MONEY: _convert_integer,
    ColumnType.INSTANT: _convert_instant,
    ColumnType.DAY: _convert_day,
    ColumnType.FLAG: _convert_flag,
    ColumnType.TEXTS: _convert_texts,
    ColumnType.JSON: _convert_nothing,
}
