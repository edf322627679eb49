"""Connections that say nothing, or say it slowly, are closed.

The server's own protocol waits for ever for the rest of a request's head, and takes any amount of it: a
thousand half-sent ones would hold a thousand connections. `serving.web.time_limits` begins where the head has
ended.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

# In the state of the app's lifespan: how long a head may take, in seconds.
HEAD_SECONDS = "head_seconds"
_USUAL_SECONDS = 10.0
_MAX_HEAD_BYTES = 64 * 1024


class PatientProtocol(HttpToolsProtocol):
    """HTTP over httptools; a head that is not whole in time, or is too long, ends its connection.

    One timer for a connection, none for a request: at each look a connection must have done something else
    than waiting for the same head, so that a head has once to twice the seconds that the app's lifespan tells
    as `HEAD_SECONDS`. Bytes are counted from the second piece of a head on: what comes in one piece is no
    longer than the buffer that the system is read into.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_seconds = float(app_state.get(HEAD_SECONDS, _USUAL_SECONDS))
        self._seen: object = None
        self._head: object = None
        self._n_head_bytes = 0
        self._next_look: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look."""
        super().connection_made(transport)
        self._next_look = self.loop.call_later(self._head_seconds, self._look)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request, unless its head has become too long."""
        super().data_received(data)
        scope = self.scope
        if scope is not None and "path" in scope:
            return
        if scope is not self._head:
            self._head, self._n_head_bytes = scope, 0
            return
        self._n_head_bytes += len(data)
        if self._n_head_bytes > _MAX_HEAD_BYTES:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        # A scope is made when a head begins, and has its path when it has ended. After an answer the next
        # head is waited for, whatever else of the answered request still comes.
        is_waiting = self.scope is None or "path" not in self.scope or self.cycle.response_complete
        if is_waiting and self._seen is self.scope:
            self.transport.close()
            return
        self._seen = self.scope if is_waiting else self
        self._next_look = self.loop.call_later(self._head_seconds, self._look)
