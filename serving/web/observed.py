"""What every request leaves behind: its id, its place in the figures, and a log line where one is due."""

from __future__ import annotations

import itertools
import logging
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextvars import Token
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.telemetry import log
from serving.telemetry.budget import LineBudget
from serving.telemetry.measures import Measures
from serving.telemetry.names import REQUEST_SECONDS
from serving.telemetry.requests import RequestNotes, begin_request, end_request

_ID_HEADER: Final = b"x-request-id"
_SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
# So often that a line for each would cost more than the answer, and tell less than the figures.
_BUSY: Final = frozenset({"/v1/recommendations", "/v1/events"})
_QUIET: Final = frozenset({"/health", "/ready", "/metrics"})
_MAX_LINES_PER_SECOND: Final = 200
_QUIET_STATUSES: Final = frozenset({200, 503})
_UNMATCHED: Final = "unmatched"
_OTHER: Final = "OTHER"
_CLOSE: Final = ((b"connection", b"close"),)


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Which requests get a log line: those that failed or were slow, and a share of the rest.

    Attributes:
        share: Share of the sound requests of the busiest paths that are logged, 0–1; of every other path
            all are, but for health, readiness and figures.
        slow_seconds: From here on a request is slow.
    """

    share: float = 0.0
    slow_seconds: float = 1.0


@dataclass(slots=True)
class Observation:
    """A request that is being answered.

    Attributes:
        notes: What is known of it.
        headers: To be added to its answer.
        started: When it came, on the clock of `time.perf_counter`.
        token: Undoes `begin_request`.
    """

    notes: RequestNotes
    headers: tuple[tuple[bytes, bytes], ...]
    started: float
    token: Token[RequestNotes | None]


class Observer:
    """Times every request, counts it by route and status, and gives it an id.

    `X-Request-ID` of the caller is kept where it is harmless, else one is made; the answer and every log
    line carry it.

    Args:
        measures: Where requests are counted.
        rules: Which of them are logged.
        is_closing: Whether answers are to end their connections, so that callers come to another server or
            worker next time.

    Attributes:
        n_in_flight: Requests that are being answered.
    """

    def __init__(self, measures: Measures, rules: RequestLog, is_closing: Callable[[], bool]) -> None:
        self.n_in_flight = 0
        self._measures = measures
        self._rules = rules
        self._is_closing = is_closing
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._budget = LineBudget(_MAX_LINES_PER_SECOND)

    def begin(self, scope: Scope) -> Observation:
        """Take a request in; give what this returns to `end`, whatever happens."""
        notes = RequestNotes(_given_id(scope) or f"{self._prefix}-{next(self._numbers):x}")
        headers = ((_ID_HEADER, notes.request_id.encode()), *(_CLOSE if self._is_closing() else ()))
        self.n_in_flight += 1
        return Observation(notes, headers, time.perf_counter(), begin_request(notes))

    def end(self, seen: Observation, method: str, route: str, status: int) -> None:
        """Count a request, and log it where that is due.

        Args:
            seen: What `begin` returned.
            method: HTTP method.
            route: Template of the path, never the path itself: what strangers type must not become labels.
            status: HTTP status.
        """
        seconds = time.perf_counter() - seen.started
        self.n_in_flight -= 1
        self._measures.time(REQUEST_SECONDS, method, route, str(status), seconds=seconds)
        if self._is_told(route, status, seconds) and self._budget.has_room():
            log(
                "request",
                level=logging.WARNING if status >= 500 else logging.INFO,
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 2),
                key_id=seen.notes.key_id,
                decision_ids=[each.decision_id for each in seen.notes.decisions],
                n_untold=self._budget.untold(),
            )
        end_request(seen.token)

    def _is_told(self, route: str, status: int, seconds: float) -> bool:
        if route in _QUIET and status in _QUIET_STATUSES:
            return False
        if status >= 400 or seconds >= self._rules.slow_seconds or route not in _BUSY:
            return True
        return self._rules.share > 0 and random.random() < self._rules.share  # noqa: S311


class Observed:
    """Lets an `Observer` see every request that passes here.

    Args:
        app: What answers.
        observer: Who sees.
    """

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and keep what is to be known of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = self._observer.begin(scope)
        answer = SentAnswer(send, seen.headers)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            self._observer.end(seen, method, _route_of(scope), answer.status)


class SentAnswer:
    """What is really sent, with more in its head.

    Args:
        send: Takes the answer.
        headers: To be added to its head.
        status: What is counted where no answer begins.

    Attributes:
        status: Of the answer.
    """

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, send: Send, headers: tuple[tuple[bytes, bytes], ...], status: int = 500) -> None:
        self._send = send
        self._headers = headers
        self.status = status

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a part on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        return self._send(message)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _ID_HEADER:
            return value.decode() if _SAFE_ID.fullmatch(value) else None
    return None


def _route_of(scope: Scope) -> str:
    """The template of the route that answered."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    # the direct routes leave no mark of themselves; their paths are their templates
    return scope["path"] if scope["path"] in _BUSY and "endpoint" in scope else _UNMATCHED
