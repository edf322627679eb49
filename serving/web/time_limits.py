"""Time limits of requests: for a body that trickles in, and for an answer that does not come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.telemetry import log
from serving.web.failures import failure_response

_SECONDS_BETWEEN_LOOKS = 0.25


class TimeLimit:
    """Answers 408 where a body does not arrive in time, and 503 where the answer does not.

    Nothing is cancelled: other requests may wait for the same work. A late answer is dropped. One timer looks
    at all open requests, so that a request costs no timer of its own.

    Args:
        app: What answers.
        body_seconds: Time for the body, from the begin of the request.
        request_seconds: Time for the whole request.
    """

    def __init__(self, app: ASGIApp, body_seconds: float, request_seconds: float) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._request_seconds = request_seconds
        self._open: set[_Request] = set()
        self._is_looking = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and watch it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        request = _Request(scope, receive, send, loop.time())
        self._open.add(request)
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look, loop)
        try:
            await self._app(scope, request.receive, request.send)
        except Exception as error:
            if request.refusal is None:
                raise
            # The answer has been given; what became of the request still matters to whoever reads the log.
            log("late_failure", level=logging.WARNING, cause=type(error).__name__)
        finally:
            self._open.discard(request)
        if request.refusal is not None:
            await request.refusal

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for request in self._open:
            seconds = now - request.begun_at
            if request.is_answering or seconds < min(self._body_seconds, self._request_seconds):
                continue
            if not request.is_body_whole and seconds >= self._body_seconds:
                text = f"the body did not arrive within {self._body_seconds:g} s; send it again"
                request.refuse(408, "body_timeout", text)
            elif seconds >= self._request_seconds:
                text = f"no answer within {self._request_seconds:g} s; try again in a moment"
                request.refuse(503, "request_timeout", text)
        self._is_looking = bool(self._open)
        if self._open:
            loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look, loop)


class _Request:
    """A request that is not answered yet.

    Attributes:
        begun_at: When it came, by the loop's clock.
        is_body_whole: Whether its body was read to the end, or nobody asked for one yet.
        is_answering: Whether the answer has begun.
        refusal: Sends the refusal instead of the answer.
    """

    __slots__ = ("_receive", "_scope", "_send", "begun_at", "is_answering", "is_body_whole", "refusal")

    def __init__(self, scope: Scope, receive: Receive, send: Send, begun_at: float) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.begun_at = begun_at
        self.is_body_whole = True
        self.is_answering = False
        self.refusal: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The next part of the body."""
        self.is_body_whole = False
        message = await self._receive()
        self.is_body_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer, unless it comes too late."""
        if self.refusal is None:
            self.is_answering = True
            await self._send(message)

    def refuse(self, status: int, code: str, text: str) -> None:
        """Give this answer now."""
        headers = {"Connection": "close"} if status == 408 else {"Retry-After": "1"}
        response = failure_response(status, code, text, headers=headers)
        self.is_answering = True
        self.refusal = asyncio.create_task(self._give(response(self._scope, self._receive, self._send)))

    @staticmethod
    async def _give(answer: Awaitable[None]) -> None:
        with contextlib.suppress(OSError):
            await answer
