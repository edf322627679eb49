"""Who asks: API keys as ``Authorization: Bearer KEY``, and what each role may do."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from types import MappingProxyType

from fastapi import Request

from recsys.errors import ForbiddenError, UnauthenticatedError
from serving.ports import KeyRecord, Role, Store
from serving.security.keys import KeyRing

_SCHEME = "bearer "
_SECONDS_BETWEEN_READS = 0.2


class Right(StrEnum):
    """Something a key may allow."""

    RECOMMEND = "recommend"
    WRITE_EVENTS = "write_events"
    WRITE_CLIENTS = "write_clients"
    READ = "read"
    READ_POLICIES = "read_policies"
    PUBLISH_POLICIES = "publish_policies"
    STOP_OFFERS = "stop_offers"
    READ_EXPERIMENTS = "read_experiments"
    STOP_EXPERIMENTS = "stop_experiments"
    RUN_EXPERIMENTS = "run_experiments"


RIGHTS = MappingProxyType(
    {
        Role.PORTAL: frozenset({Right.RECOMMEND, Right.WRITE_EVENTS, Right.WRITE_CLIENTS, Right.READ}),
        Role.MARKETER: frozenset(
            {
                Right.READ,
                Right.READ_POLICIES,
                Right.PUBLISH_POLICIES,
                Right.STOP_OFFERS,
                Right.READ_EXPERIMENTS,
                Right.STOP_EXPERIMENTS,
                Right.RUN_EXPERIMENTS,
            }
        ),
        Role.ANALYST: frozenset({Right.READ, Right.READ_POLICIES, Right.READ_EXPERIMENTS}),
        Role.DUTY: frozenset(
            {
                Right.READ,
                Right.READ_POLICIES,
                Right.STOP_OFFERS,
                Right.READ_EXPERIMENTS,
                Right.STOP_EXPERIMENTS,
            }
        ),
        Role.ADMIN: frozenset(Right),
    }
)


class Doorkeeper:
    """Knows the valid keys, so that a check costs no read.

    A key made or revoked elsewhere counts from the next `refresh` on; an unknown key asks for one, a few
    times a second at most.

    Args:
        store: Where the keys live.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = KeyRing()
        self._read_at = -math.inf

    def refresh(self) -> None:
        """Read the keys anew; blocks."""
        self._read_at = time.monotonic()
        self._keys.replace(self._store.keys())

    async def authenticate(self, key: str) -> KeyRecord:
        """The record of a key.

        Raises:
            UnauthenticatedError: The key is unknown or revoked.
        """
        try:
            return self._keys.authenticate(key)
        except UnauthenticatedError:
            if time.monotonic() - self._read_at < _SECONDS_BETWEEN_READS:
                raise
        await asyncio.to_thread(self.refresh)
        return self._keys.authenticate(key)


async def check_right(request: Request, right: Right) -> None:
    """Refuse a request whose key is missing, unknown or not allowed to do this.

    Raises:
        UnauthenticatedError: No key, or an unknown or revoked one.
        ForbiddenError: The key's role does not have the right.
    """
    record = await _record_of(request)
    if right not in RIGHTS[record.role]:
        able = ", ".join(role.value for role in RIGHTS if right in RIGHTS[role])
        raise ForbiddenError(
            f"a key of role {record.role.value!r} may not {right.value.replace('_', ' ')};"
            f" roles that may: {able}"
        )


async def key_id_of(request: Request) -> str:
    """The key_id of a request's key, a dependency for what is written with its author.

    Raises:
        UnauthenticatedError: No key, or an unknown or revoked one.
    """
    return (await _record_of(request)).key_id


async def _record_of(request: Request) -> KeyRecord:
    header = request.headers.get("authorization", "")
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise UnauthenticatedError("send an API key: Authorization: Bearer KEY")
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    return await doorkeeper.authenticate(header[len(_SCHEME) :].strip())


def needs(right: Right) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets only keys with this right pass."""

    async def check(request: Request) -> None:
        await check_right(request, right)

    return check
