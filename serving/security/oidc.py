"""Single sign-on by OpenID Connect: authorization code with PKCE, against one provider.

The server calls the configured issuer alone: an endpoint elsewhere, whoever names it, is refused, and no
redirection is followed. Nothing is kept here between the begin and the end of a sign-on: the browser brings
back in a cookie of its own what it was given.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

from recsys.errors import ConfigError, ForbiddenError, UnauthenticatedError
from serving.accounts import Role

_ALGORITHMS = ["RS256", "PS256", "ES256"]
_SCOPES = "openid profile email"
_TIMEOUT_SECONDS = 5.0
_METADATA_SECONDS = 3600.0
_SECONDS_AFTER_FAILURE = 10.0
_CLOCK_SKEW_SECONDS = 60
_MAX_NAME_LENGTH = 200
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers for people, and what is asked of them.

    Attributes:
        issuer: Address of the provider.
        client_id: What it calls this server.
        client_secret: The secret given with it; empty = none.
        redirect_uri: Where it sends the browser back to.
        role_claim: Claim that decides what a person may do.
        roles: Its values and what they allow; the first value that a person has counts.
    """

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    role_claim: str
    roles: Mapping[str, Role]


@dataclass(frozen=True, slots=True)
class SignOn:
    """A sign-on that has begun; only the browser that began it can end it.

    Attributes:
        state: Comes back with the answer.
        nonce: Comes back inside the signed token.
        verifier: Shows the provider that whoever fetches the token began the sign-on (PKCE).
    """

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> SignOn:
        """Three independent secrets."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier (RFC 7636, S256).

        Example:
            >>> SignOn("", "", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").challenge
            'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
        """
        return urlsafe_b64encode(sha256(self.verifier.encode()).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for.

    Attributes:
        name: For people to read.
        role: By the provider's claim.
    """

    name: str
    role: Role


def roles_of(text: str) -> dict[str, Role]:
    """What the setting says: ``value=role,value=role``.

    Raises:
        ConfigError: It says something else; a program's role is for keys only.

    Example:
        >>> roles_of("recsys-admins=admin, recsys-duty=duty")["recsys-duty"]
        <Role.DUTY: 'duty'>
    """
    people = [role for role in Role if role is not Role.PORTAL]
    found: dict[str, Role] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        value, _, role = part.rpartition("=")
        if not value or role not in people:
            raise ConfigError(
                f"RECSYS_OIDC_ROLES: {part!r} is not value=role with a role of {', '.join(people)}"
            )
        found.setdefault(value.strip(), Role(role))
    return found


class SingleSignOn:
    """Signs people on at one provider.

    Args:
        provider: Which.

    Raises:
        ConfigError: Its address is not https (http is for this machine alone), or nobody could come in.
    """

    def __init__(self, provider: Provider) -> None:
        place = urlsplit(provider.issuer)
        if place.scheme != "https" and not (place.scheme == "http" and place.hostname in _LOOPBACK_NAMES):
            raise ConfigError("RECSYS_OIDC_ISSUER: an https address is needed")
        if not provider.client_id or not provider.roles:
            raise ConfigError("RECSYS_OIDC_ISSUER needs RECSYS_OIDC_CLIENT_ID and RECSYS_OIDC_ROLES")
        self._provider = provider
        self._origin = place[:2]
        self._metadata: Mapping[str, str] = {}
        self._read_at = -_METADATA_SECONDS
        self._failed_at = -_SECONDS_AFTER_FAILURE
        self._discovering = asyncio.Lock()
        self._keys: Any = None

    async def begin(self, sign_on: SignOn) -> str:
        """Where to send the browser.

        Raises:
            UnauthenticatedError: The provider does not answer, or answers nonsense.
        """
        metadata = await self._discovered()
        query = {
            "response_type": "code",
            "client_id": self._provider.client_id,
            "redirect_uri": self._provider.redirect_uri,
            "scope": _SCOPES,
            "state": sign_on.state,
            "nonce": sign_on.nonce,
            "code_challenge": sign_on.challenge,
            "code_challenge_method": "S256",
        }
        address = metadata["authorization_endpoint"]
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    async def finish(self, sign_on: SignOn, state: str, code: str, now: datetime) -> Person:
        """Whom the provider vouches for.

        Args:
            sign_on: What this browser began.
            state: What came back.
            code: What came back to be exchanged for a token.
            now: The present.

        Raises:
            UnauthenticatedError: It is another sign-on, or the provider's token is not valid.
            ForbiddenError: The person is known and has no role here.
        """
        if not hmac.compare_digest(state.encode(), sign_on.state.encode()):
            raise UnauthenticatedError("this sign-on was not begun in this browser; begin anew")
        metadata = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._provider.redirect_uri,
            "client_id": self._provider.client_id,
            "code_verifier": sign_on.verifier,
        }
        answer = await self._fetch(metadata["token_endpoint"], form)
        claims = await self._claims_of(answer.get("id_token"))
        self._check(claims, sign_on.nonce, now.timestamp())
        return self._person_of(claims)

    async def _discovered(self) -> Mapping[str, str]:
        """The provider's endpoints; whoever comes soon after a failure is told so without asking again."""
        if time.monotonic() - self._read_at < _METADATA_SECONDS:
            return self._metadata
        async with self._discovering:
            if time.monotonic() - self._failed_at < _SECONDS_AFTER_FAILURE:
                raise UnauthenticatedError("the identity provider did not answer; try again later")
            if time.monotonic() - self._read_at >= _METADATA_SECONDS:
                try:
                    await self._discover()
                except UnauthenticatedError:
                    self._failed_at = time.monotonic()
                    raise
            return self._metadata

    async def _discover(self) -> None:
        issuer = self._provider.issuer
        found = await self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise UnauthenticatedError("the identity provider calls itself otherwise than RECSYS_OIDC_ISSUER")
        self._metadata = {name: self._own(found.get(name)) for name in _ENDPOINTS}
        self._keys, self._read_at = None, time.monotonic()

    def _own(self, address: object) -> str:
        if not isinstance(address, str) or urlsplit(address)[:2] != self._origin:
            raise UnauthenticatedError("the identity provider names an address that is not its own")
        return address

    async def _fetch(self, address: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at an address of the issuer."""
        import httpx  # noqa: PLC0415 -- only where single sign-on is used

        provider = self._provider
        has_secret = bool(provider.client_secret)
        auth = httpx.BasicAuth(provider.client_id, provider.client_secret) if has_secret else None
        try:
            async with httpx.AsyncClient(
                timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
            ) as client:
                if form is None:
                    response = await client.get(address)
                else:
                    response = await client.post(
                        address, data=dict(form), auth=auth or httpx.USE_CLIENT_DEFAULT
                    )
            found = response.json() if response.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError) as error:
            raise UnauthenticatedError("the identity provider did not answer; try again later") from error
        if not isinstance(found, dict):
            raise UnauthenticatedError("the identity provider refused; begin the sign-on anew")
        return found

    async def _claims_of(self, token: object) -> dict[str, Any]:
        """What a signed token says; the provider's keys are read anew once where its key is unknown."""
        from joserfc import jwt  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import KeySet  # noqa: PLC0415

        is_fresh = False
        while isinstance(token, str):
            try:
                if self._keys is None:
                    is_fresh = True
                    self._keys = KeySet.import_key_set(await self._fetch(self._metadata["jwks_uri"]))  # type: ignore[arg-type]
                return dict(jwt.decode(token, self._keys, algorithms=_ALGORITHMS).claims)
            except (JoseError, ValueError, TypeError, KeyError) as error:
                self._keys = None
                if is_fresh:
                    raise UnauthenticatedError("the identity provider's token is not valid") from error
        raise UnauthenticatedError("the identity provider sent no token")

    def _check(self, claims: Mapping[str, Any], nonce: str, now: float) -> None:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        ends_at, begun_at = claims.get("exp"), claims.get("iat")
        faults = {
            "issuer": claims.get("iss") != self._provider.issuer,
            "audience": self._provider.client_id not in audiences,
            "party": len(audiences) > 1 and claims.get("azp") != self._provider.client_id,
            "nonce": not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()),
            "end": not isinstance(ends_at, int | float) or now >= ends_at + _CLOCK_SKEW_SECONDS,
            "begin": not isinstance(begun_at, int | float) or begun_at > now + _CLOCK_SKEW_SECONDS,
        }
        wrong = [name for name, is_wrong in faults.items() if is_wrong]
        if wrong:
            raise UnauthenticatedError(f"the identity provider's token has a wrong {wrong[0]}")

    def _person_of(self, claims: Mapping[str, Any]) -> Person:
        named = (claims.get(claim) for claim in ("preferred_username", "email", "sub"))
        name = next((name for name in named if isinstance(name, str) and name), None)
        values = claims.get(self._provider.role_claim)
        had = values if isinstance(values, list) else [values]
        role = next((role for value, role in self._provider.roles.items() if value in had), None)
        if name is None or role is None:
            raise ForbiddenError("the identity provider gives you no role here; ask whoever grants it")
        return Person(name[:_MAX_NAME_LENGTH], role)
