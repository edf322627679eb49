"""What is done once more: what met a connection that had died, or another writer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from recsys.errors import StoreUnavailableError
from serving.storage.dialects import TransientError
from serving.storage.pools import LostConnectionError

_SECONDS_OF_RETRIES = 30
_LONGEST_PAUSE_SECONDS = 0.02

Result = TypeVar("Result")


def once_more(work: Callable[[], Result]) -> Result:
    """Do it; once more where the connection had died before anything was changed."""
    try:
        return work()
    except LostConnectionError:
        return work()


def until_free(work: Callable[[], Result], place: str) -> Result:
    """Do it, again and again as long as other writers are in the way.

    Raises:
        StoreUnavailableError: They were for too long.
    """
    give_up_at = time.monotonic() + _SECONDS_OF_RETRIES
    while True:
        try:
            return work()
        except TransientError as error:
            if time.monotonic() > give_up_at:
                raise StoreUnavailableError(
                    f"other writers kept the database {place} busy for {_SECONDS_OF_RETRIES} s;"
                    " try again later"
                ) from error
        # Two who were in each other's way would be so again at once.
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 -- no secret
