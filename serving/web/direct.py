"""Routes that look at the key before they look at the body.

FastAPI reads and parses a body first and runs a route's dependencies second, so that it would tell a stranger
what is wrong with a body, and take in megabytes of one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi import FastAPI, Request, Response, params
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from recsys.errors import RecsysError
from serving.telemetry import log
from serving.web.failures import respond_to
from serving.web.headers import Header
from serving.web.limits import announced_bytes
from serving.web.observed import Observer, SentAnswer
from serving.web.time_limits import TimeLimit

# The status of a request whose caller went away before it was answered.
_GONE = 499


class GuardedRoute(APIRoute):
    """Runs its dependencies before the body is read; each takes the request alone, and returns nothing.

    FastAPI runs them once more afterwards: they must be cheap and change nothing.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind its dependencies."""
        handle = super().get_route_handler()

        async def handle_guarded(request: Request) -> Response:
            await _run(self.dependencies, request)
            return await handle(request)

        return handle_guarded


class DirectRoute(APIRoute):
    """A route for the busiest paths: the body goes from bytes into its model, and nothing else happens.

    It runs its dependencies, which take the request alone and return nothing, and calls its endpoint as
    ``endpoint(request, body)``; the endpoint returns a finished response. FastAPI documents the route from
    the endpoint's signature as usual, but its dependency machinery is left out, which costs more than a
    whole decision.
    """

    @cached_property
    def _body_type(self) -> TypeAdapter[Any]:
        body = None if self.body_field is None else self.body_field.field_info.annotation
        if body is None:
            raise TypeError(f"{self.path}: a direct route needs a body in its endpoint's signature")
        return TypeAdapter(body)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as a plain route does."""
        return Route.matches(self, scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer behind the middleware: a method that is not the route's, or a body of unknown length."""
        if self.methods is None or scope["method"] not in self.methods:
            await Route.handle(self, scope, receive, send)
            return
        response = await self.respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Check, parse, call."""
        await _run(self.dependencies, request)
        response: Response = await self.endpoint(request, self._body_type.validate_json(await request.body()))
        return response


@dataclass(frozen=True, slots=True)
class Lane:
    """What middleware does for other routes, for the direct ones.

    Attributes:
        observer: Sees every request.
        headers: Of every answer.
        max_body_bytes: A longer body, or one of a length that was not announced, takes the way of all others.
        body_seconds: Time for the body.
        request_seconds: Time for the whole request.
    """

    observer: Observer
    headers: tuple[Header, ...]
    max_body_bytes: int
    body_seconds: float
    request_seconds: float


class DirectApp(FastAPI):
    """An app whose direct routes are answered before any middleware, which costs them a fifteenth.

    Args:
        lane: What middleware would do for them.
        **settings: Of FastAPI.
    """

    def __init__(self, *, lane: Lane, **settings: Any) -> None:
        # Another address is another address: a redirection would name the host that a stranger wrote.
        super().__init__(redirect_slashes=False, **settings)
        self._lane = lane
        self._answer_in_time = TimeLimit(self._answer, lane.body_seconds, lane.request_seconds)

    @cached_property
    def _direct(self) -> dict[tuple[str, str], DirectRoute]:
        return {
            (method, route.path): route
            for route in self.routes
            if isinstance(route, DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        is_direct = (
            scope["type"] == "http"
            and (scope["method"], scope["path"]) in self._direct
            and 0 <= announced_bytes(scope) <= self._lane.max_body_bytes
        )
        await (self._observe if is_direct else super().__call__)(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        lane = self._lane
        seen = lane.observer.begin(scope)
        answer = SentAnswer(send, (*lane.headers, *seen.headers), _GONE)
        try:
            await self._answer_in_time(scope, receive, answer.send)
        finally:
            lane.observer.end(seen, scope["method"], scope["path"], answer.status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        with contextlib.suppress(ClientDisconnect):
            route = self._direct[scope["method"], scope["path"]]
            response = await _respond(route, Request(scope, receive, send))
            await response(scope, receive, send)


async def _respond(route: DirectRoute, request: Request) -> Response:
    try:
        return await route.respond(request)
    except ClientDisconnect:
        raise
    except Exception as error:  # noqa: BLE001 -- the last one who can answer
        response = respond_to(error)
        if response.status_code == 500 and not isinstance(error, RecsysError):
            log("request_failed", level=logging.ERROR, error=error, path=route.path)
        return response


async def _run(dependencies: Sequence[params.Depends], request: Request) -> None:
    for one in dependencies:
        if one.dependency is not None:
            await one.dependency(request)
