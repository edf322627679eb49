"""The end of threads that may hang."""

from __future__ import annotations

import asyncio
import time
from threading import Thread

_SECONDS_BETWEEN_LOOKS = 0.02


async def has_ended(thread: Thread, seconds: float) -> bool:
    """Wait for the end of a thread, but not longer than so many seconds; returns whether it has ended.

    No other thread is used for it: they may all hang in the same database.
    """
    give_up_at = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < give_up_at:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    return not thread.is_alive()
