"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from recsys.domain import MAX_ID_LENGTH


def exact_text(length: int | None = None) -> sa.String:
    """Text ordered by code point, so that both databases and Python sort alike."""
    plain = sa.Text() if length is None else sa.String(length)
    exact = sa.Text(collation="C") if length is None else sa.String(length, collation="C")
    return plain.with_variant(exact, "postgresql")


def id_text() -> sa.String:
    """An opaque id."""
    return exact_text(MAX_ID_LENGTH)


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware instant: ``timestamptz`` on PostgreSQL, on SQLite ISO text in UTC, which sorts by time."""

    impl = sa.String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The type the database has for it."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.String(32))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> object:
        """To the database."""
        if value is None:
            return None
        instant = value.astimezone(UTC)
        return instant if dialect.name == "postgresql" else instant.isoformat(timespec="microseconds")

    def process_result_value(self, value: object, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """From the database, in UTC."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value.astimezone(UTC) if isinstance(value, datetime) else None


class Texts(sa.types.TypeDecorator[Sequence[str]]):
    """A list of strings: an array on PostgreSQL, on SQLite the text of a JSON array."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The type the database has for it."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.ARRAY(sa.Text))
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: sa.Dialect) -> object:
        """To the database."""
        if value is None:
            return None
        return list(value) if dialect.name == "postgresql" else orjson.dumps(list(value)).decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> list[str] | None:  # noqa: ARG002
        """From the database."""
        listed: list[str] | None = orjson.loads(value) if isinstance(value, str) else value
        return listed
