"""The console's pages: log in, look, log out."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl, quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from recsys.errors import (
    ForbiddenError,
    InvalidRequestError,
    RateLimitedError,
    RecsysError,
    StoreUnavailableError,
    UnauthenticatedError,
)
from serving.console.cookies import Cookies
from serving.console.desk import SIGNED_ON_PATH, Desk, Visitor
from serving.console.overview import build_overview
from serving.console.pages import Pages
from serving.security.oidc import SignOn
from serving.security.sessions import HOME, form_token, is_form_token, new_secret, own_path
from serving.services.services import Services
from serving.settings import Settings
from serving.web.failures import failure_of

_LOGIN = "/console/login"
_OWN_REQUESTS = frozenset({"same-origin", "none"})
_MAX_FIELDS = 10
_MAX_FORM_BYTES = 10_000


def console_router(services: Services, settings: Settings) -> APIRouter:
    """The console, ready to be included into the app at the root.

    Raises:
        ConfigError: Its settings do not go together.
    """
    pages = Pages(ZoneInfo(settings.time_zone))
    console = _Console(
        services,
        Desk(services, settings),
        pages,
        Cookies(settings.is_console_cookie_secure),
    )
    router = APIRouter(include_in_schema=False, route_class=_page_route(pages))
    for path, endpoint, method in (
        ("/console", console.lead_home, "GET"),
        ("/console/", console.show_overview, "GET"),
        (_LOGIN, console.show_login, "GET"),
        (_LOGIN, console.log_in, "POST"),
        ("/console/sign-on", console.begin_sign_on, "GET"),
        (SIGNED_ON_PATH, console.finish_sign_on, "GET"),
        ("/console/logout", console.log_out, "POST"),
        ("/console/logout-everywhere", console.log_out_everywhere, "POST"),
        ("/console/password", console.show_password, "GET"),
        ("/console/password", console.change_password, "POST"),
        ("/console/static/{name}", console.show_file, "GET"),
    ):
        router.add_api_route(path, endpoint, methods=[method])
    return router


def _page_route(pages: Pages) -> type[APIRoute]:
    """Routes whose failures are pages too."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_told(request: Request) -> Response:
                try:
                    return await handle(request)
                except RecsysError as error:
                    return _failure_page(pages, request, error)

            return handle_told

    return PageRoute


def _failure_page(pages: Pages, request: Request, error: RecsysError) -> Response:
    told, headers = _told(error)
    response = pages.page(
        "failure.html", request, failure_of(error).status, told=told, minutes=_minutes(error)
    )
    response.headers.update(headers)
    return response


class _Console:
    """The pages' endpoints."""

    def __init__(self, services: Services, desk: Desk, pages: Pages, cookies: Cookies) -> None:
        self._services, self._desk, self._pages, self._cookies = services, desk, pages, cookies

    async def lead_home(self) -> Response:
        return _go(HOME)

    async def show_file(self, name: str, request: Request) -> Response:
        return self._pages.file(name, request)

    # In and out

    async def show_login(self, request: Request) -> Response:
        if await self._visitor(request) is not None:
            return _go(own_path(request.query_params.get("next", "")))
        return self._login_page(request)

    def _login_page(self, request: Request, failed: RecsysError | None = None) -> Response:
        secret = self._cookies.visit(request) or new_secret()
        told, headers = ("", {}) if failed is None else _told(failed, "failed.login")
        response = self._pages.page(
            "login.html",
            request,
            200 if failed is None else failure_of(failed).status,
            token=form_token(secret),
            next=own_path(request.query_params.get("next", "")),
            has_sign_on=self._desk.single_sign_on is not None,
            told=told,
            minutes=_minutes(failed),
            done=_done(request),
        )
        response.headers.update(headers)
        self._cookies.set_visit(response, secret)
        return response

    async def log_in(self, request: Request) -> Response:
        form = await _form(request, self._cookies.visit(request))
        try:
            secret = await self._desk.log_in(
                form.get("name", ""), form.get("password", ""), _address(request)
            )
        except (UnauthenticatedError, RateLimitedError) as error:
            return self._login_page(request, error)
        return await self._welcome(request, secret, own_path(form.get("next", "")))

    async def _welcome(self, request: Request, secret: str, path: str) -> Response:
        """A new session under a new id, whatever the browser brought: none can be foisted on anybody."""
        await self._desk.log_out(self._cookies.session(request))
        response = _go(path)
        self._cookies.forget_visit(response)
        self._cookies.set_session(response, secret)
        return response

    async def begin_sign_on(self, request: Request) -> Response:
        if self._desk.single_sign_on is None:
            return _go(_LOGIN)
        self._desk.count_sign_on_step(_address(request))
        sign_on = SignOn.new()
        response = _go(await self._desk.single_sign_on.begin(sign_on))
        self._cookies.set_sign_on(response, sign_on, own_path(request.query_params.get("next", "")))
        return response

    async def finish_sign_on(self, request: Request) -> Response:
        try:
            response = await self._signed_on(request)
        except RecsysError as error:
            response = _failure_page(self._pages, request, error)
        # However it ended: what the browser brought is used up.
        self._cookies.forget_sign_on(response)
        return response

    async def _signed_on(self, request: Request) -> Response:
        self._desk.count_sign_on_step(_address(request))
        begun = self._cookies.sign_on(request)
        state, code = request.query_params.get("state"), request.query_params.get("code")
        if self._desk.single_sign_on is None or begun is None or not state or not code:
            raise UnauthenticatedError("this sign-on was not begun in this browser")
        sign_on, path = begun
        try:
            person = await self._desk.single_sign_on.finish(sign_on, state, code, self._desk.now())
        except ForbiddenError:
            return self._pages.page("failure.html", request, 403, told="failed.role", minutes=0)
        return await self._welcome(request, await self._desk.sign_on(person), path)

    async def log_out(self, request: Request) -> Response:
        secret = self._cookies.session(request)
        await _form(request, secret)
        await self._desk.log_out(secret)
        return self._farewell("left")

    async def log_out_everywhere(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        await _form(request, self._cookies.session(request))
        if visitor is not None:
            await self._desk.log_out_everywhere(visitor)
        return self._farewell("left")

    def _farewell(self, done: str) -> Response:
        response = _go(f"{_LOGIN}?done={done}")
        self._cookies.forget_session(response)
        return response

    # Pages of those who are in

    async def show_overview(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        if visitor is None:
            return _to_login(request)
        overview = await self._services.in_thread(build_overview, self._services, visitor.rights)
        return self._pages.page("overview.html", request, overview=overview, **_mine(visitor))

    async def show_password(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        if visitor is None:
            return _to_login(request)
        return self._pages.page("password.html", request, told="", minutes=0, **_mine(visitor))

    async def change_password(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        form = await _form(request, self._cookies.session(request))
        if visitor is None:
            return _to_login(request)
        old, new = form.get("old", ""), form.get("new", "")
        try:
            await self._desk.change_password(visitor, old, new, _address(request))
        except (UnauthenticatedError, RateLimitedError, InvalidRequestError) as error:
            told, headers = _told(error, "failed.old")
            status, minutes = failure_of(error).status, _minutes(error)
            response = self._pages.page(
                "password.html", request, status, told=told, minutes=minutes, **_mine(visitor)
            )
            response.headers.update(headers)
            return response
        return self._farewell("changed")

    async def _visitor(self, request: Request) -> Visitor | None:
        return await self._desk.visitor(self._cookies.session(request))


def _mine(visitor: Visitor) -> dict[str, Any]:
    """What every page of somebody who is in shows."""
    return {
        "user_name": visitor.session.user_name,
        "role": visitor.role,
        "has_password": not visitor.session.is_single_sign_on,
        "token": form_token(visitor.secret),
    }


async def _form(request: Request, secret: str | None) -> dict[str, str]:
    """A form's fields.

    Raises:
        ForbiddenError: Another site sent it, or it is not of this browser's page.
        InvalidRequestError: It is no form of ours.
    """
    if request.headers.get("sec-fetch-site", "none") not in _OWN_REQUESTS:
        raise ForbiddenError("the form of another site")
    body = await request.body()
    try:
        # No form of ours is longer; the rest of one is not looked at.
        text = body[:_MAX_FORM_BYTES].decode()
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise InvalidRequestError("body", "this is no form of this page") from error
    if secret is None or not is_form_token(fields.get("token", ""), secret):
        raise ForbiddenError("the form has not this browser's token; open the page anew")
    return fields


def _told(error: RecsysError, unauthenticated: str = "failed.sign-on") -> tuple[str, dict[str, str]]:
    """Key of the sentence for a failure, and the headers that go with it."""
    match error:
        case RateLimitedError():
            return "failed.locked", {"Retry-After": str(error.retry_after_seconds)}
        case ForbiddenError():
            return "failed.form", {}
        case UnauthenticatedError():
            return unauthenticated, {}
        case StoreUnavailableError():
            return "failed.store", {"Retry-After": "1"}
        case InvalidRequestError(field="password"):
            return "failed.length", {}
        case _:
            return "failed.other", {}


def _minutes(error: RecsysError | None) -> int:
    return math.ceil(error.retry_after_seconds / 60) if isinstance(error, RateLimitedError) else 0


def _done(request: Request) -> str:
    done = request.query_params.get("done")
    return f"login.{done}" if done in ("left", "changed") else ""


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


def _to_login(request: Request) -> Response:
    return _go(f"{_LOGIN}?next={quote(request.url.path)}")


def _go(path: str) -> Response:
    return RedirectResponse(path, status_code=303)
