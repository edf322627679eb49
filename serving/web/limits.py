"""Limits on what a request may bring."""

from __future__ import annotations

import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.web.failures import failure_response

_MAX_DISCARDED_BYTES = 64 * 1024 * 1024


class _BodyTooLargeError(Exception):
    """More bytes came than are allowed."""


class BodyLimit:
    """Refuses a body longer than `max_bytes` with status 413, whether or not its length was announced.

    Nothing is refused before the app asks for the body, so that a stranger hears of the missing key first.
    The rest of a refused body is read and thrown away (up to 64 MiB), for a client that is still sending
    would not read the answer.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = announced_bytes(scope)
        if 0 <= announced <= self._max_bytes:
            # The server reads no more than was announced: nothing to count.
            await self._app(scope, receive, send)
        else:
            await self._count(scope, _CountedBody(receive, self._max_bytes, max(announced, 0)), send)

    async def _count(self, scope: Scope, body: _CountedBody, send: Send) -> None:
        async def send_unless_refused(message: Message) -> None:
            # What the app makes of half a body is not the answer.
            if not body.is_refused:
                await send(message)

        with contextlib.suppress(_BodyTooLargeError):
            await self._app(scope, body.receive, send_unless_refused)
        if body.is_refused:
            await self._refuse(scope, body, send)

    async def _refuse(self, scope: Scope, body: _CountedBody, send: Send) -> None:
        await body.discard()
        response = failure_response(
            413,
            "body_too_large",
            f"the body is longer than {self._max_bytes} bytes; send it in parts",
            {"max_bytes": self._max_bytes},
            {"Connection": "close"},
        )
        await response(scope, body.receive, send)


class _CountedBody:
    """A body that ends with an error where it becomes too long.

    Args:
        receive: Gives its parts.
        max_bytes: Longest body.
        n_announced: Its length as far as it is known, in bytes; one that is too long is not read at all.

    Attributes:
        is_refused: Whether it was asked for, and is too long.
    """

    def __init__(self, receive: Receive, max_bytes: int, n_announced: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._n_bytes = n_announced
        self._has_more = True
        self.is_refused = False

    async def receive(self) -> Message:
        """The next part."""
        if self._n_bytes <= self._max_bytes:
            message = await self._next()
            if self._n_bytes <= self._max_bytes:
                return message
        self.is_refused = True
        raise _BodyTooLargeError

    async def discard(self) -> None:
        """Read the rest, within bounds."""
        n_left = 0 if self._n_bytes > _MAX_DISCARDED_BYTES else _MAX_DISCARDED_BYTES
        while self._has_more and n_left > 0:
            n_left -= len((await self._next()).get("body", b""))

    async def _next(self) -> Message:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        self._has_more = message["type"] == "http.request" and message.get("more_body", False)
        return message


def announced_bytes(scope: Scope) -> int:
    """Length of a request's body as its headers tell it; -1 = they do not."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else -1
    return -1
