"""Routes that look at the key before they look at the body.

FastAPI reads and parses a body first and runs a route's dependencies second, so that it would tell a stranger
what is wrong with a body, and take in megabytes of one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import Any

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send


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
        """Check, parse, call, send."""
        if self.methods is None or scope["method"] not in self.methods:
            await Route.handle(self, scope, receive, send)
            return
        request = Request(scope, receive, send)
        await _run(self.dependencies, request)
        body = self._body_type.validate_json(await request.body())
        response = await self.endpoint(request, body)
        await response(scope, receive, send)


async def _run(dependencies: Sequence[params.Depends], request: Request) -> None:
    for one in dependencies:
        if one.dependency is not None:
            await one.dependency(request)
