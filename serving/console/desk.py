"""Who is at a browser, and who may come in: by password or by single sign-on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys.errors import ConfigError, UnauthenticatedError
from serving.accounts import Role, Session, User
from serving.security import lockout, passwords, sessions
from serving.security.oidc import Person, Provider, SingleSignOn, roles_of
from serving.services.services import Services
from serving.settings import Settings
from serving.web.authentication import RIGHTS, Right
from serving.web.rate_limits import RateLimit

_TRIES_PER_SECOND = 1.0
# A sign-on is two requests, and the second costs one to the provider; an office may share an address.
_SIGN_ON_STEPS_PER_SECOND = 2.0
# Each takes a tenth of a second of a core and 64 MiB.
_PASSWORDS_AT_ONCE = 2
_SEEN_EVERY = timedelta(minutes=1)
SIGNED_ON_PATH = "/console/signed-on"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in.

    Attributes:
        secret: The session's id in the browser.
        session: What is stored of it.
        role: What the person may do now.
    """

    secret: str
    session: Session
    role: Role

    @property
    def rights(self) -> frozenset[Right]:
        """What the role allows."""
        return RIGHTS[self.role]


class Desk:
    """Lets people in and out.

    Args:
        services: The store where users and sessions live, and the time.
        settings: How long sessions last, and who signs on.

    Raises:
        ConfigError: The settings of single sign-on do not go together.
    """

    def __init__(self, services: Services, settings: Settings) -> None:
        self._store, self._clock, self._in_thread = services.store, services.clock, services.in_thread
        self._lasts = timedelta(hours=settings.session_hours)
        self._idle = timedelta(minutes=settings.session_idle_minutes)
        self._tries = RateLimit(_TRIES_PER_SECOND)
        self._sign_on_steps = RateLimit(_SIGN_ON_STEPS_PER_SECOND)
        self._hashing = asyncio.Semaphore(_PASSWORDS_AT_ONCE)
        self.single_sign_on = single_sign_on_of(settings)

    async def visitor(self, secret: str | None) -> Visitor | None:
        """Whose session a cookie is; None = nobody's, or one that is over."""
        return None if not secret else await self._in_thread(self._look_up, secret)

    def _look_up(self, secret: str) -> Visitor | None:
        session = self._store.session(sessions.digest_of(secret))
        now = self._clock.now()
        if session is None or sessions.is_over(session, now, self._idle):
            return None
        role = session.role
        if not session.is_single_sign_on:
            user = self._store.user(session.user_name)
            # A session that was being begun while the password changed is no session.
            if user is None or user.is_disabled or session.created_at < user.changed_at:
                return None
            role = user.role
        if now - session.seen_at >= _SEEN_EVERY:
            self._store.see_session(session.digest, now)
        return Visitor(secret, session, role)

    async def log_in(self, user_name: str, password: str, address: str) -> str:
        """The id of a new session.

        Raises:
            UnauthenticatedError: Name or password is wrong, or the person was disabled; it says not which.
            RateLimitedError: Too many attempts by this name or from this address.
        """
        self._tries.check(address)
        trier = lockout.Trier(user_name.strip().lower(), address)
        begun_at = self._clock.now()
        user = await self._check(trier, password)
        # Another machine's clock may be ahead of this one: what changed there is no later than the check.
        secret, session = sessions.new_session(
            user.name, user.role, max(begun_at, user.changed_at), self._lasts
        )
        await self._in_thread(self._store.add_session, session)
        return secret

    async def _check(self, trier: lockout.Trier, password: str) -> User:
        """The user whose password this is, as it was when the check began; a success wipes the slate."""
        await self._in_thread(lockout.count_attempt, self._store, trier, self._clock.now())
        user = await self._in_thread(self._store.user, trier.user_name)
        password_hash = None if user is None else user.password_hash
        async with self._hashing:
            is_right = await asyncio.to_thread(passwords.is_right, password, password_hash)
        # Hashing takes its time, and more while others wait: meanwhile the password may have been replaced.
        present = await self._in_thread(self._store.user, trier.user_name)
        if user is None or user != present or user.is_disabled or not is_right:
            raise UnauthenticatedError("name or password is wrong")
        await self._in_thread(lockout.forgive, self._store, trier)
        return user

    async def sign_on(self, person: Person) -> str:
        """The id of a new session of somebody whom the provider vouches for."""
        secret, session = sessions.new_session(
            person.name, person.role, self._clock.now(), self._lasts, is_single_sign_on=True
        )
        await self._in_thread(self._store.add_session, session)
        return secret

    def count_sign_on_step(self, address: str) -> None:
        """Count the begin or the end of a sign-on, before anything is done about it.

        Raises:
            RateLimitedError: There were too many from this address.
        """
        self._sign_on_steps.check(address)

    async def change_password(self, visitor: Visitor, old: str, new: str, address: str) -> None:
        """Replace the password; every session of the person ends, this one too.

        Raises:
            InvalidRequestError: The new one is too short or too long.
            UnauthenticatedError: The present one is wrong, or the person has none here, or was disabled or
                given another password meanwhile.
            RateLimitedError: Too many attempts.
        """
        if visitor.session.is_single_sign_on:
            raise UnauthenticatedError("the identity provider keeps the password")
        passwords.check_password(new)
        self._tries.check(address)
        user = await self._check(lockout.Trier(visitor.session.user_name, address), old)
        async with self._hashing:
            password_hash = await asyncio.to_thread(passwords.hash_password, new)
        now = self._clock.now()
        if not await self._in_thread(self._store.change_password, user, password_hash, now):
            raise UnauthenticatedError("name or password is wrong")

    async def log_out(self, secret: str | None) -> None:
        """End the session of a cookie, if there is one."""
        if secret:
            await self._in_thread(self._store.end_session, sessions.digest_of(secret))

    async def log_out_everywhere(self, visitor: Visitor) -> None:
        """End every session of the person."""
        session = visitor.session
        await self._in_thread(self._store.end_sessions_of, session.user_name, session.is_single_sign_on)

    def now(self) -> datetime:
        """The present."""
        return self._clock.now()


def single_sign_on_of(settings: Settings) -> SingleSignOn | None:
    """Single sign-on as it is set; None = it is not.

    Raises:
        ConfigError: Its settings do not go together.
    """
    provider = _provider_of(settings)
    return None if provider is None else SingleSignOn(provider)


def _provider_of(settings: Settings) -> Provider | None:
    if settings.oidc_issuer is None:
        return None
    if settings.public_url is None:
        raise ConfigError(
            "RECSYS_OIDC_ISSUER needs RECSYS_PUBLIC_URL: where the provider sends browsers back"
        )
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        redirect_uri=f"{settings.public_url.rstrip('/')}{SIGNED_ON_PATH}",
        role_claim=settings.oidc_role_claim,
        roles=roles_of(settings.oidc_roles),
    )
