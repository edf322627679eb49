"""What a table contract consists of: columns, their types, keys, references."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    """What a column holds."""

    ID = "id"  # opaque string, 1–64 characters
    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    MONEY = "money"  # int64 minor units
    INSTANT = "instant"  # aware UTC
    DAY = "day"
    FLAG = "flag"
    TEXTS = "texts"  # list of strings; in CSV joined by ";"
    JSON = "json"  # one JSON value, as text


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        type: What it holds.
        about: Meaning and unit, for the reference.
        is_nullable: Whether a value may be missing; a nullable column may be missing as a whole.
        choices: The allowed values; empty means any.
        minimum: The smallest allowed value of a number; None means any.
        is_shown: Whether people read it; then it is not blank and has no control characters.
    """

    name: str
    type: ColumnType
    about: str
    is_nullable: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    is_shown: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: Its name, and its file's stem.
        about: What one row is.
        key: Columns that identify a row's subject; a later ``recorded_at`` replaces the row.
        columns: The columns in order.
        references: Columns whose values must stand in another table: column → (table, column).
    """

    name: str
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    references: tuple[tuple[str, str, str], ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        return self._by_name()[name]

    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def id_column(name: str, about: str, *, is_nullable: bool = False) -> Column:
    """An opaque id."""
    return Column(name, ColumnType.ID, about, is_nullable)


def text_column(name: str, about: str, choices: tuple[str, ...] = (), *, is_shown: bool = False) -> Column:
    """Text, one of some choices or any."""
    return Column(name, ColumnType.TEXT, about, is_nullable=True, choices=choices, is_shown=is_shown)


def integer_column(name: str, about: str, *, minimum: int | None = 0) -> Column:
    """A whole number, which may be missing."""
    return Column(name, ColumnType.INTEGER, about, is_nullable=True, minimum=minimum)


def share_column(name: str, about: str) -> Column:
    """A number ≥0, which may be missing."""
    return Column(name, ColumnType.NUMBER, about, is_nullable=True, minimum=0)


def money_column(name: str, about: str, *, is_nullable: bool = True) -> Column:
    """An amount in minor units."""
    return Column(name, ColumnType.MONEY, about, is_nullable)


def instant_column(name: str, about: str, *, is_nullable: bool = False) -> Column:
    """An aware instant."""
    return Column(name, ColumnType.INSTANT, about, is_nullable)


def flag_column(name: str, about: str) -> Column:
    """True or false, which may be missing."""
    return Column(name, ColumnType.FLAG, about, is_nullable=True)


RECORDED_AT = instant_column("recorded_at", "when this row became known")
