"""Statements that are compiled once and run on the driver's own cursor.

SQLAlchemy writes the SQL and converts the values; going through its `Connection` for each execution would
cost several times the execution itself, which counts where a decision reads a state and appends to the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from serving.storage.dialects import Cursor, Database

# PostgreSQL's code of `double precision`: numbers alone ask for a code, and ours are all of that type.
_DOUBLE = 701

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]


class Statement:
    """One statement for one database.

    Args:
        clause: What to run; every value is a named parameter.
        database: Where.
    """

    def __init__(self, clause: sa.SelectBase | sa.UpdateBase, database: Database) -> None:
        dialect = database.dialect
        compiled = clause.compile(dialect=dialect)
        self._sql = str(compiled)
        self._is_positional = compiled.positional
        self.names: tuple[str, ...] = tuple(
            compiled.positiontup or () if self._is_positional else compiled.binds
        )
        self._binds = [
            compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self.names
        ]
        columns = clause.selected_columns if isinstance(clause, sa.SelectBase) else ()
        self._column_names = [str(column.key) for column in columns]
        self._results = [
            column.type.dialect_impl(dialect).result_processor(dialect, _DOUBLE) for column in columns
        ]

    def run(self, cursor: Cursor, values: Values) -> int:
        """Run once; the number of rows changed."""
        cursor.execute(self._sql, self._parameters(values))
        return cursor.rowcount

    def run_many(self, cursor: Cursor, rows: Sequence[Values]) -> None:
        """Run once per row; a value a row does not have is missing."""
        if rows:
            cursor.executemany(self._sql, self._parameters_of(rows))

    def row(self, cursor: Cursor, values: Values) -> Sequence[Any] | None:
        """The first row as the driver gives it, its values not converted."""
        cursor.execute(self._sql, self._parameters(values))
        row: Sequence[Any] | None = cursor.fetchone()
        return row

    def rows(self, cursor: Cursor, values: Values) -> list[dict[str, Any]]:
        """Every row by column name, its values converted."""
        cursor.execute(self._sql, self._parameters(values))
        found = cursor.fetchall()
        if not found:
            return []
        columns = [
            values if convert is None else tuple(map(convert, values))
            for convert, values in zip(self._results, zip(*found, strict=True), strict=True)
        ]
        names = self._column_names
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _parameters(self, values: Values) -> Any:
        converted = [
            values[name] if convert is None else convert(values[name])
            for name, convert in zip(self.names, self._binds, strict=True)
        ]
        return converted if self._is_positional else dict(zip(self.names, converted, strict=True))

    def _parameters_of(self, rows: Sequence[Values]) -> Iterable[Any]:
        columns = [
            _column(rows, name, convert) for name, convert in zip(self.names, self._binds, strict=True)
        ]
        parameters = zip(*columns, strict=True)
        if self._is_positional:
            return parameters
        return [dict(zip(self.names, row, strict=True)) for row in parameters]


def _column(rows: Sequence[Values], name: str, convert: Convert | None) -> list[Any]:
    values = [row.get(name) for row in rows]
    return values if convert is None else [convert(value) for value in values]
