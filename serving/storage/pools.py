"""Connections to PostgreSQL that die in a pool: one that did casts doubt on all that lie unused beside it."""

from __future__ import annotations

import math
import time
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event, pool
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from recsys.errors import StoreUnavailableError

# A connection that lay unused is tried before it is used: asking each time takes as long as a small read.
_SECONDS_TRUSTED = 1.0
# What a server says before it closes a connection; the driver may have read no further yet.
_LAST_WORDS = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown)


class LostConnectionError(StoreUnavailableError):
    """The connection had died, perhaps with a server that is back already; nothing was changed."""


class Trust:
    """Which connections are used without being tried: those used within a second, and since one was lost.

    Args:
        place: The database's address without the password.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._lost_at = -math.inf

    def watch(self, engine: sa.Engine) -> None:
        """Replace connections that died in the pool, for example with the server that was started anew."""

        @event.listens_for(engine, "checkin")
        def note_time(_connection: object, record: pool.ConnectionPoolEntry) -> None:
            record.info["used_at"] = time.monotonic()

        @event.listens_for(engine, "checkout")
        def try_connection(connection: Any, record: pool.ConnectionPoolEntry, _proxy: object) -> None:
            trusted_from = max(time.monotonic() - _SECONDS_TRUSTED, self._lost_at)
            if record.info.get("used_at", math.inf) > trusted_from:
                return
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise InvalidatePoolError from error  # those that lie beside it died with it

    def check(self, own: pool.PoolProxiedConnection, error: Exception) -> None:
        """After an error: where the connection died, let go of it, and trust none that lies unused.

        Raises:
            LostConnectionError: It died.
        """
        connection: Any = own.dbapi_connection
        cause = error.orig if isinstance(error, DBAPIError) else error
        if connection is not None and not connection.closed and not isinstance(cause, _LAST_WORDS):
            return
        self._lost_at = time.monotonic()
        if connection is not None:
            own.invalidate()
        raise LostConnectionError(
            f"the database {self._place} did not answer: {first_line(cause)}"
        ) from error


def first_line(cause: BaseException | None) -> str:
    """What an error says, without what else the driver knows of it."""
    return str(cause).strip().split("\n", maxsplit=1)[0]
