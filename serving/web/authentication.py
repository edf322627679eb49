"""Who asks: API keys and member tokens as ``Authorization: Bearer …``, and what each may do."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from fastapi import Request

from recsys.errors import ForbiddenError, StoreUnavailableError, UnauthenticatedError
from serving.accounts import KeyRecord, Role
from serving.security.keys import KeyRing, is_ended
from serving.security.tokens import Member, TokenRing, is_token
from serving.services.services import Services
from serving.telemetry.requests import note_key
from serving.web.rate_limits import RateLimit

_SCHEME = "bearer "
_CALLER = "recsys.caller"
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
    READ_BUNDLES = "read_bundles"
    PUBLISH_BUNDLES = "publish_bundles"
    PROMOTE_BUNDLES = "promote_bundles"
    READ_METRICS = "read_metrics"


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
                Right.READ_BUNDLES,
            }
        ),
        Role.ANALYST: frozenset(
            {
                Right.READ,
                Right.READ_POLICIES,
                Right.READ_EXPERIMENTS,
                Right.READ_BUNDLES,
                Right.PUBLISH_BUNDLES,
            }
        ),
        Role.DUTY: frozenset(
            {
                Right.READ,
                Right.READ_POLICIES,
                Right.STOP_OFFERS,
                Right.READ_EXPERIMENTS,
                Right.STOP_EXPERIMENTS,
                Right.READ_BUNDLES,
                Right.PUBLISH_BUNDLES,
                Right.PROMOTE_BUNDLES,
                Right.READ_METRICS,
            }
        ),
        Role.ADMIN: frozenset(Right),
    }
)


MEMBER_RIGHTS = frozenset({Right.RECOMMEND, Right.WRITE_EVENTS})
"""What the browser of a member may do, for its own client alone; see `serving.api.members`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How often each caller may ask; None = as often as it likes.

    Attributes:
        of_key: By key_id.
        of_member: By client_id.
    """

    of_key: RateLimit | None = None
    of_member: RateLimit | None = None


class Doorkeeper:
    """Knows the valid keys, so that a check costs no read.

    A key made or revoked elsewhere counts from the next `refresh` on; an unknown one asks for one, a few
    times a second at most.

    Args:
        services: The store where the keys live, and the time, for what ends.
        audience: What member tokens must be meant for.
        limits: How often callers may ask.

    Attributes:
        has_read: Whether the keys were ever read.
    """

    def __init__(self, services: Services, audience: str, limits: Limits) -> None:
        self.has_read = False
        self._services = services
        self._store = services.store
        self._clock = services.clock
        self._keys = KeyRing()
        self._tokens = TokenRing(audience)
        self._limits = limits
        self._read_at = -math.inf
        self._is_stale = True

    def drop_ended(self) -> None:
        """Forget the keys whose time is over: what ends, ends although the store does not answer."""
        self._keys.drop_ended(self._clock.now())

    def refresh(self) -> None:
        """Read the keys anew; blocks."""
        self._read_at = time.monotonic()
        self.drop_ended()
        try:
            stored, token_keys = self._store.keys(), self._store.token_keys()
        except Exception:
            self._is_stale = True
            raise
        now = self._clock.now()
        self._keys.replace([key for key in stored if not is_ended(key, now)])
        self._tokens.replace(token_keys)
        self._is_stale = False
        self.has_read = True

    def write_down_use(self) -> None:
        """Write down which keys were used today, once a day for each key; blocks."""
        today = self._clock.now().date()
        used = self._keys.take_newly_used(today)
        if used:
            self._store.mark_keys_used(used, today)

    async def admit(self, credential: str) -> KeyRecord | Member:
        """Who a key or a member token belongs to.

        Raises:
            UnauthenticatedError: It is unknown, revoked or ended.
            StoreUnavailableError: It is unknown here, and the store that may know it does not answer.
            RateLimitedError: Its owner asks too often.
        """
        try:
            return self._admit(credential)
        except UnauthenticatedError as error:
            if time.monotonic() - self._read_at < _SECONDS_BETWEEN_READS:
                if self._is_stale or self._services.commits.are_reads_away:
                    raise StoreUnavailableError("the keys could not be read", is_told=True) from error
                raise
        await self._services.ask(self.refresh)
        return self._admit(credential)

    def _admit(self, credential: str) -> KeyRecord | Member:
        if is_token(credential):
            member = self._tokens.authenticate(credential, self._clock.now().timestamp())
            if self._limits.of_member is not None:
                self._limits.of_member.check(member.client_id)
            return member
        key = self._keys.authenticate(credential)
        if self._limits.of_key is not None:
            self._limits.of_key.check(key.key_id)
        return key


async def check_right(request: Request, right: Right) -> None:
    """Refuse a request whose key or token is missing, unknown or not allowed to do this.

    Raises:
        UnauthenticatedError: Nothing was sent, or something unknown, revoked or ended.
        ForbiddenError: The key's role does not have the right, nor does a member.
        RateLimitedError: The caller asks too often.
    """
    caller = await _caller_of(request)
    if isinstance(caller, Member):
        if right not in MEMBER_RIGHTS:
            raise ForbiddenError(f"a member token may not {right.value.replace('_', ' ')}")
    elif right not in RIGHTS[caller.role]:
        able = ", ".join(role.value for role in RIGHTS if right in RIGHTS[role])
        raise ForbiddenError(
            f"a key of role {caller.role.value!r} may not {right.value.replace('_', ' ')};"
            f" roles that may: {able}"
        )


async def key_id_of(request: Request) -> str:
    """The key_id of a request's key, a dependency for what is written with its author.

    Raises:
        UnauthenticatedError: No key, or an unknown, revoked or ended one.
    """
    return (await _caller_of(request)).key_id


def member_of(request: Request) -> Member | None:
    """The member whose browser asks; None = a key asks. Known once a right was checked."""
    caller = request.scope.get(_CALLER)
    return caller if isinstance(caller, Member) else None


async def _caller_of(request: Request) -> KeyRecord | Member:
    caller: KeyRecord | Member | None = request.scope.get(_CALLER)
    # Guarded routes check twice; a request is counted once.
    if caller is None:
        header = request.headers.get("authorization", "")
        if header[: len(_SCHEME)].lower() != _SCHEME:
            raise UnauthenticatedError("send an API key: Authorization: Bearer KEY")
        doorkeeper: Doorkeeper = request.app.state.doorkeeper
        caller = request.scope[_CALLER] = await doorkeeper.admit(header[len(_SCHEME) :].strip())
        note_key(caller.key_id)
    return caller


def needs(right: Right) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets only callers with this right pass."""

    async def check(request: Request) -> None:
        await check_right(request, right)

    return check
