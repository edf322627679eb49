"""API keys: made once, stored as a digest, compared in constant time."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256

from recsys.errors import UnauthenticatedError
from serving.accounts import KeyRecord, Role

_PREFIX = "rk"
_N_RANDOM_BYTES = 32
_REFUSAL = "the API key is unknown, revoked or ended; send a valid one as `Authorization: Bearer KEY`"


def new_key(role: Role, created_at: datetime, expires_at: datetime | None = None) -> tuple[str, KeyRecord]:
    """Make a key.

    Args:
        role: What the key may do.
        created_at: When it is made.
        expires_at: When it ends by itself; None = it does not.

    Returns:
        The key, to be shown once and kept nowhere, and the record to store. A key is
        ``rk_<key_id>_<256 random bits>``; the key_id is no secret and names the key in lists.

    Example:
        >>> from datetime import UTC
        >>> key, record = new_key(Role.PORTAL, datetime(2025, 1, 1, tzinfo=UTC))
        >>> key.startswith(f"rk_{record.key_id}_"), len(record.digest)
        (True, 32)
    """
    key_id = secrets.token_hex(6)
    key = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_N_RANDOM_BYTES)}"
    return key, KeyRecord(key_id, digest_of(key), role, created_at, expires_at=expires_at)


def digest_of(key: str) -> bytes:
    """SHA-256 of a key: 256 random bits need no slow hash."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def is_ended(key: KeyRecord, now: datetime) -> bool:
    """Whether a key is revoked, or its time is over."""
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


class KeyRing:
    """The keys as they were at the last `replace`; asking it reads no database and no clock.

    Whoever serves requests replaces the keys at least once a second, so that a revoked one is refused
    within that time.

    Attributes:
        used_ids: Keys that let somebody in since this was emptied.

    Example:
        >>> from datetime import UTC
        >>> key, record = new_key(Role.PORTAL, datetime(2025, 1, 1, tzinfo=UTC))
        >>> KeyRing([record]).authenticate(key).role
        <Role.PORTAL: 'portal'>
    """

    def __init__(self, keys: Sequence[KeyRecord] = ()) -> None:
        self.used_ids: set[str] = set()
        self.replace(keys)

    def replace(self, keys: Sequence[KeyRecord]) -> None:
        """Take these keys instead of the present ones; revoked ones are no keys any more."""
        self._valid = {key.key_id: key for key in keys if key.revoked_at is None}

    def drop_ended(self, now: datetime) -> None:
        """Forget the keys whose time is over."""
        valid = self._valid
        for key in list(valid.values()):
            if is_ended(key, now):
                # Out of these keys, not instead of them: another thread may be replacing them.
                valid.pop(key.key_id, None)

    def authenticate(self, key: str) -> KeyRecord:
        """The record of a key.

        Raises:
            UnauthenticatedError: The key is unknown, revoked, ended or malformed; it does not say which.
        """
        digest = digest_of(key)
        parts = key.split("_", 2)
        record = self._valid.get(parts[1]) if len(parts) == 3 and parts[0] == _PREFIX else None
        # An unknown id costs a comparison too, so that time does not tell which ids exist.
        expected = digest_of(_PREFIX) if record is None else record.digest
        if not hmac.compare_digest(digest, expected) or record is None:
            raise UnauthenticatedError(_REFUSAL)
        self.used_ids.add(record.key_id)
        return record

    def take_newly_used(self, on: date) -> list[str]:
        """The keys used since the last call of which it is not written down that they were used that day."""
        used, self.used_ids = self.used_ids, set()
        records = [self._valid[key_id] for key_id in sorted(used) if key_id in self._valid]
        return [key.key_id for key in records if key.last_used_on is None or key.last_used_on < on]
