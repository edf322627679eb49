"""Member tokens: what a portal signs so that a member's browser may ask for its own company.

A token is a JWT of at most ten minutes, signed with a private key that only the portal has; its public half
is registered under a key id. Header: ``alg`` (``EdDSA`` or ``ES256``), ``kid``. Claims: ``aud``, ``sub`` (the
member), ``client_id``, ``iat``, ``exp``; ``role`` (the member's part in the company),
``spending_limit_minor`` (the most that the member may spend) and ``nbf`` may be left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from recsys.domain import MAX_ID_LENGTH, MemberRole
from recsys.errors import ConfigError, UnauthenticatedError
from serving.accounts import TokenKey

MAX_LIFETIME_SECONDS = 600
CLOCK_SKEW_SECONDS = 30
MAX_TOKEN_LENGTH = 4096
# "EdDSA" is the older name of what RFC 9864 calls "Ed25519".
ALGORITHMS: Mapping[str, tuple[str, ...]] = {"EdDSA": ("EdDSA", "Ed25519"), "ES256": ("ES256",)}
_MAX_REMEMBERED = 10_000
_MAX_MONEY = 2**53 - 1
_START = "eyJ"
_REFUSED = "the member token is not valid"


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of a client, as a portal's token says.

    Attributes:
        client_id: The company.
        member_id: The person there.
        role: The person's part in the company; None = the portal did not say.
        spending_limit_minor: The most that the person may spend, ≥0; None = no limit.
        key_id: The key that signed.
        ends_at: Seconds since 1970 from which on the token counts no more.
    """

    client_id: str
    member_id: str
    role: MemberRole | None
    spending_limit_minor: int | None
    key_id: str
    ends_at: float


@dataclass(slots=True)
class _Known:
    """Keys, and tokens found valid under them: replaced together, so that no token outlives its key."""

    keys: Mapping[str, TokenKey] = field(default_factory=dict)
    public_keys: Mapping[str, Any] = field(default_factory=dict)
    valid: dict[str, Member] = field(default_factory=dict)


def is_token(credential: str) -> bool:
    """Whether this is meant as a member token: its header is a JSON object in base64."""
    return credential.startswith(_START)


def token_key_of(key_id: str, public_key: str, created_at: Any) -> TokenKey:
    """The record of a public key.

    Args:
        key_id: What tokens will name as ``kid``.
        public_key: PEM of an Ed25519 or P-256 key.
        created_at: The present.

    Raises:
        ConfigError: It is no such key, or a private one.
    """
    from joserfc.errors import JoseError  # noqa: PLC0415 -- loaded where tokens are used
    from joserfc.jwk import ECKey, OKPKey  # noqa: PLC0415

    if "PRIVATE" in public_key:
        raise ConfigError("this is a private key: it stays with the portal; give the public one here")
    for algorithm, kind, curve in (("EdDSA", OKPKey, "Ed25519"), ("ES256", ECKey, "P-256")):
        try:
            if kind.import_key(public_key).curve_name == curve:
                return TokenKey(key_id, algorithm, public_key, created_at)
        except (JoseError, ValueError, TypeError):
            continue
    raise ConfigError(
        "this is no public key of the kind Ed25519 or P-256 in PEM (-----BEGIN PUBLIC KEY-----)"
    )


class TokenRing:
    """Checks member tokens; one that was found valid is not checked again.

    Args:
        audience: What tokens must be meant for.
    """

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._known = _Known()

    def replace(self, keys: Sequence[TokenKey]) -> None:
        """Take these keys; where anything changed, every token is checked anew."""
        standing = {key.key_id: key for key in keys if key.revoked_at is None}
        if standing != self._known.keys:
            self._known = _Known(standing, {name: _imported(key) for name, key in standing.items()})

    def authenticate(self, token: str, now: float) -> Member:
        """The member of a token.

        Args:
            token: A compact JWT.
            now: Seconds since 1970.

        Raises:
            UnauthenticatedError: It is malformed, of an unknown key or another algorithm, wrongly signed,
                over, too long-lived or meant for others.
        """
        known = self._known
        member = known.valid.get(token)
        if member is None or now >= member.ends_at:
            known.valid.pop(token, None)
            member = self._checked(known, token, now)
            if len(known.valid) >= _MAX_REMEMBERED:
                known.valid.clear()
            known.valid[token] = member
        return member

    def _checked(self, known: _Known, token: str, now: float) -> Member:
        header = _header_of(token)
        key_id = header.get("kid")
        key = known.keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise UnauthenticatedError(f"{_REFUSED}: its key id is unknown or revoked")
        if header.get("alg") not in ALGORITHMS[key.algorithm]:
            raise UnauthenticatedError(f"{_REFUSED}: its algorithm is not that of its key")
        claims = _signed_claims(token, known.public_keys[key.key_id], header["alg"])
        if claims.get("aud") != self._audience:
            raise UnauthenticatedError(f"{_REFUSED}: it is meant for another audience")
        return _member_of(claims, key.key_id, _end_of(claims, now))


def _imported(key: TokenKey) -> Any:
    from joserfc.jwk import ECKey, OKPKey  # noqa: PLC0415

    return (OKPKey if key.algorithm == "EdDSA" else ECKey).import_key(key.public_key)


def _header_of(token: str) -> dict[str, Any]:
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jws import extract_compact  # noqa: PLC0415

    if len(token) > MAX_TOKEN_LENGTH:
        raise UnauthenticatedError(f"{_REFUSED}: it is longer than {MAX_TOKEN_LENGTH} characters")
    try:
        header = extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        raise UnauthenticatedError(f"{_REFUSED}: it is malformed") from error
    return dict(header)


def _signed_claims(token: str, public_key: Any, algorithm: str) -> dict[str, Any]:
    from joserfc.errors import JoseError, SecurityWarning  # noqa: PLC0415
    from joserfc.jws import deserialize_compact  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of the older name of Ed25519
            signed = deserialize_compact(token, public_key, algorithms=[algorithm])
        claims = orjson.loads(signed.payload)
    except (JoseError, ValueError, TypeError) as error:
        raise UnauthenticatedError(f"{_REFUSED}: its signature is wrong") from error
    return claims if isinstance(claims, dict) else {}


def _end_of(claims: Mapping[str, Any], now: float) -> float:
    """When a token ends, with the skew that is allowed."""
    moments = [claims.get("iat"), claims.get("exp"), claims.get("nbf", claims.get("iat"))]
    begun_at, ends_at, not_before = (each if type(each) in (int, float) else None for each in moments)
    if begun_at is None or ends_at is None or not_before is None:
        raise UnauthenticatedError(f"{_REFUSED}: iat and exp must be numbers of seconds")
    if max(begun_at, not_before) > now + CLOCK_SKEW_SECONDS:
        raise UnauthenticatedError(f"{_REFUSED}: it begins in the future; compare the clocks")
    if not begun_at < ends_at <= begun_at + MAX_LIFETIME_SECONDS:
        raise UnauthenticatedError(f"{_REFUSED}: it must last at most {MAX_LIFETIME_SECONDS} seconds")
    if now >= ends_at + CLOCK_SKEW_SECONDS:
        raise UnauthenticatedError(f"{_REFUSED}: it has ended; ask the portal for a new one")
    return float(ends_at) + CLOCK_SKEW_SECONDS


def _member_of(claims: Mapping[str, Any], key_id: str, ends_at: float) -> Member:
    names = [claims.get("client_id"), claims.get("sub")]
    client_id, member_id = (
        name if isinstance(name, str) and 0 < len(name) <= MAX_ID_LENGTH else None for name in names
    )
    if client_id is None or member_id is None:
        raise UnauthenticatedError(f"{_REFUSED}: it needs client_id and sub")
    try:
        role = None if claims.get("role") is None else MemberRole(claims["role"])
    except ValueError as error:
        raise UnauthenticatedError(f"{_REFUSED}: role must be one of {', '.join(MemberRole)}") from error
    limit = claims.get("spending_limit_minor")
    if limit is not None and not (type(limit) is int and 0 <= limit <= _MAX_MONEY):
        raise UnauthenticatedError(f"{_REFUSED}: spending_limit_minor must be a whole number from 0 up")
    return Member(client_id, member_id, role, limit, key_id, ends_at)
