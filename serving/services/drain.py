"""The end of a server: turned away from first, then finished, then closed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from serving.telemetry import log

# A terminal sends a signal to every process at once, and the first process passes its own on.
_ECHO_SECONDS: Final = 1.5
# What is left to do when all is answered and stored takes milliseconds.
_SECONDS_TO_END: Final = 3.0

Handler = Callable[[int, FrameType | None], object]


class Drain:
    """Hears that the server shall end, and lets it answer for a while yet.

    At SIGTERM readiness says "draining" at once, so that load balancers turn away; after `seconds` the
    server takes nothing new, answers what it has begun, and ends. SIGINT, and a second SIGTERM, do not wait.

    Args:
        seconds: How long it still answers, ≥0.

    Attributes:
        hears_signals: Whether signals are its business: those of a process that is a server and nothing else.
        is_draining: Whether it was heard.
        is_over: Whether the wait is over as well.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.hears_signals = False
        self.is_draining = False
        self.is_over = False
        self._seconds = seconds
        self._heard_at = 0.0
        self._before: dict[int, Handler] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """Hear the signals before what ends the server, if it shall; call on the loop, in the main thread."""
        if not self.hears_signals:
            return
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                self._before[number] = before
                signal.signal(number, self._hear)

    def insist(self) -> None:
        """Let a process that hears signals end soon in any case; call when nothing is left to do.

        The interpreter waits for its threads, and those that hang in a database may never end.
        """
        if self.hears_signals:
            timer = threading.Timer(_SECONDS_TO_END, _end_at_once)
            timer.daemon = True
            timer.start()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._loop is not None:
            # between any two steps of the program: nothing but this may be done here
            self._loop.call_soon_threadsafe(self.begin, number)

    def begin(self, number: int) -> None:
        """Do what a signal asks for."""
        now = time.monotonic()
        if self.is_draining and now - self._heard_at < _ECHO_SECONDS:
            return
        waits = self._seconds if number == signal.SIGTERM and not self.is_draining else 0.0
        log("draining", signal=signal.Signals(number).name, seconds=waits, is_repeated=self.is_draining)
        self.is_draining, self._heard_at = True, now
        if self._loop is not None:
            self._loop.call_later(waits, self._end, number)

    def _end(self, number: int) -> None:
        self.is_over = True
        before = self._before.get(number)
        if before is not None:
            before(number, None)


def _end_at_once() -> None:
    names = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
    log("ended_with_threads", level=logging.WARNING, threads=names)
    os._exit(0)
