"""How often somebody may try to log in: by name and by address, counted in the store for every worker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from recsys.errors import RateLimitedError
from serving.accounts import AccountStore, Attempts

WINDOW = timedelta(minutes=15)
"""How long after the last failure it may be tried again, and failures are remembered."""

MAX_OF_USER = 5
MAX_OF_ADDRESS = 20


@dataclass(frozen=True, slots=True)
class Trier:
    """Who tries.

    Attributes:
        user_name: As it was typed, known or not.
        address: Of the browser.
    """

    user_name: str
    address: str

    @property
    def limits(self) -> dict[str, int]:
        """Failures allowed to each of the two, by what they are counted under."""
        return {
            _subject("user", self.user_name): MAX_OF_USER,
            _subject("address", self.address): MAX_OF_ADDRESS,
        }


def count_attempt(store: AccountStore, trier: Trier, now: datetime) -> None:
    """Count a log-in before it is tried, so that many at once are no way around.

    While somebody is locked out nothing is counted: the lock ends, however often they come.

    Raises:
        RateLimitedError: There were too many failures.
    """
    limits = trier.limits
    stored = store.attempts(list(limits))
    for subject, attempts in stored.items():
        if attempts.n_attempts >= limits[subject] and now < attempts.last_at + WINDOW:
            raise _locked(attempts, now)
    for subject, n_most in limits.items():
        attempts = store.count_attempt(subject, now, now - WINDOW)
        if attempts.n_attempts > n_most:
            raise _locked(attempts, now)


def forgive(store: AccountStore, trier: Trier) -> None:
    """A log-in succeeded: the user's failures are forgotten, the address gets this one attempt back."""
    of_user, of_address = trier.limits
    store.forgive_attempts(of_user, MAX_OF_USER)
    store.forgive_attempts(of_address, 1)


def forgive_user(store: AccountStore, user_name: str) -> None:
    """Let somebody try again at once."""
    store.forgive_attempts(_subject("user", user_name), MAX_OF_USER)


def _locked(attempts: Attempts, now: datetime) -> RateLimitedError:
    seconds = max(1, math.ceil((attempts.last_at + WINDOW - now).total_seconds()))
    told = f"too many attempts to log in; try again in {math.ceil(seconds / 60)} min"
    return RateLimitedError(told, seconds)


def _subject(kind: str, text: str) -> str:
    return sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
