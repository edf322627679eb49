"""The tables from a database URL, held against the same contracts as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from sqlalchemy import URL, Connection, MetaData, create_engine, inspect, make_url, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from recsys.data.dataset import DatasetMeta
from recsys.data.files import RawTable, from_frame
from recsys.data.read import Source
from recsys.errors import DataError, StoreUnavailableError
from recsys.tables import REQUIRED_TABLES, TABLES

META_TABLE = "dataset"
_SERVER_TABLE = "client_state"
_ROWS_PER_CHUNK = 50_000
_TO_TEXT: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "true" if value else "false",
    datetime: datetime.isoformat,
    date: date.isoformat,
    list: ";".join,
    dict: lambda value: orjson.dumps(value).decode(),
}


def open_database(url: str) -> Source:
    """Read a database without judging its rows.

    Tables have the names and columns of `recsys.tables`; an optional table ``dataset`` with the text
    columns ``key`` and ``value`` says what ``dataset.toml`` says for files. In faults, line = row + 1.

    Args:
        url: ``sqlite:///file.db`` or ``postgresql://user:password@host/database``.

    Raises:
        DataError: The URL is wrong, or a table cannot be read.
        StoreUnavailableError: The database does not answer.
    """
    parsed = _parse_url(url)
    place = parsed.render_as_string(hide_password=True)
    with _connection(parsed) as connection:
        inspector = inspect(connection)
        names = {*inspector.get_table_names(), *inspector.get_view_names()}
        if _SERVER_TABLE in names:
            raise DataError(
                f"{place}: this is the server's own database, whose tables have another form;"
                " write its tables with `recsys-serve export --out DIR` and give that folder"
            )
        meta = _read_meta(connection, place, parsed) if META_TABLE in names else _default_meta(parsed)
        tables = {table.name: _read_table(connection, table.name) for table in TABLES if table.name in names}
    absent = [table.name for table in REQUIRED_TABLES if table.name not in names]
    problems = tuple(f"{place}: there is no table {name}" for name in absent)
    return Source(place, meta, tables, problems, frozenset(absent))


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        scheme = url.partition("://")[0]
        raise DataError(
            f"the database URL that begins with {scheme}:// cannot be read; write it like"
            " sqlite:///file.db or postgresql://user:password@host:5432/name"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file():
        raise DataError(f"{parsed.render_as_string()}: there is no such file")
    return parsed


@contextmanager
def _connection(url: URL) -> Iterator[Connection]:
    """A connection that only reads; every error of the driver becomes one sentence without the password."""
    place = url.render_as_string(hide_password=True)
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            yield connection
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DataError(f"{place}: no driver for this database; use sqlite:// or postgresql://") from error
    except OperationalError as error:
        raise StoreUnavailableError(f"{place}: the database does not answer: {_why(error, url)}") from None
    except SQLAlchemyError as error:
        raise DataError(f"{place}: cannot be read: {_why(error, url)}") from None


def _why(error: SQLAlchemyError, url: URL) -> str:
    original = getattr(error, "orig", None) or error
    line = (str(original).strip().splitlines() or [type(original).__name__])[0]
    return line.replace(url.password, "***") if url.password else line


def _default_meta(url: URL) -> DatasetMeta:
    return DatasetMeta(name=Path(url.database or "database").stem)


def _read_meta(connection: Connection, place: str, url: URL) -> DatasetMeta:
    table = SqlTable(META_TABLE, MetaData(), autoload_with=connection)
    if not {"key", "value"} <= set(table.columns.keys()):
        raise DataError(f"{place}: table {META_TABLE} needs the columns key and value")
    rows = connection.execute(select(table.c.key, table.c.value))
    values: Mapping[str, str] = {row.key: row.value for row in rows}
    return DatasetMeta.parse({"name": _default_meta(url).name, **values}, f"{place}, table {META_TABLE}")


def _read_table(connection: Connection, name: str) -> RawTable:
    """All rows as texts: databases differ in types, the checks then do not."""
    table = SqlTable(name, MetaData(), autoload_with=connection)
    schema = dict.fromkeys(table.columns.keys(), pl.String())
    result = connection.execution_options(yield_per=_ROWS_PER_CHUNK).execute(select(table))
    chunks = [pl.DataFrame(schema=schema)]
    for rows in result.partitions():
        columns = zip(*rows, strict=True)
        chunks.append(
            pl.DataFrame(
                {
                    column: pl.Series([_to_text(value) for value in values], dtype=pl.String)
                    for column, values in zip(schema, columns, strict=True)
                }
            )
        )
    return from_frame(name, pl.concat(chunks, rechunk=True))


def _to_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return _TO_TEXT.get(type(value), str)(value)
