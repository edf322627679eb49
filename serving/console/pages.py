"""Pages as bytes: templates, texts, the headers that a page needs, and the files beside it."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from recsys.domain import Language
from serving.console.overview import Order
from serving.console.texts import TEXTS

LANGUAGE_COOKIE = "recsys-language"
_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # A form is told from a foreign one by this too.
    "Referrer-Policy": "same-origin",
}
_MINUTE = 60.0


class Pages:
    """Writes the pages.

    Args:
        zone: Whose times they show.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._templates = Environment(
            loader=PackageLoader("serving.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        folder = files("serving.console").joinpath("static")
        self._files = {entry.name: entry.read_bytes() for entry in folder.iterdir()}

    def page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        """A page of a template.

        Args:
            name: The template.
            request: Says the language.
            status: Of the answer.
            **values: What the template shows.
        """
        language = language_of(request)
        texts = TEXTS[language]
        other = Language.EN if language is Language.RU else Language.RU
        shown = self._templates.get_template(name).render(
            t=texts,
            language=language,
            other=other,
            path=request.url.path,
            at=self._ru if language is Language.RU else self._en,
            age=_ages(texts),
            why=_reasons(texts),
            zone=self._zone.key,
            **values,
        )
        response = Response(shown, status, PAGE_HEADERS, media_type="text/html; charset=utf-8")
        if request.query_params.get("lang") == language:
            response.set_cookie(LANGUAGE_COOKIE, language, 31_536_000, path="/console/", samesite="lax")
        return response

    def file(self, name: str, request: Request) -> Response:
        """A file beside the pages; 404 where there is none."""
        content = self._files.get(name)
        if content is None:
            return Response(status_code=404)
        etag = f'"{sha256(content).hexdigest()[:32]}"'
        headers = {"Cache-Control": "no-cache", "ETag": etag}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_TYPES[f".{name.rpartition('.')[2]}"], headers=headers)

    def _ru(self, instant: datetime | None) -> str:
        return "–" if instant is None else f"{instant.astimezone(self._zone):%d.%m.%Y %H:%M}"

    def _en(self, instant: datetime | None) -> str:
        return "–" if instant is None else f"{instant.astimezone(self._zone):%Y-%m-%d %H:%M}"


def language_of(request: Request) -> Language:
    """What the address says, else the cookie, else the browser; Russian where none of them does."""
    header = request.headers.get("accept-language", "")[:2].lower()
    for wanted in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE), header):
        if wanted in list(Language):
            return Language(wanted)
    return Language.RU


def _ages(texts: Any) -> Any:
    def age(seconds: float) -> str:
        minutes = seconds / _MINUTE
        if minutes < 100:
            return str(texts["age.minutes"].format(n=round(minutes)))
        if minutes < 60 * 48:
            return str(texts["age.hours"].format(n=round(minutes / 60)))
        return str(texts["age.days"].format(n=round(minutes / (60 * 24))))

    return age


def _reasons(texts: Any) -> Any:
    def why(order: Order) -> str:
        told = (
            order.reason,
            texts["why.overridden"].format(why=order.override) if order.override else "",
            texts["why.loaded"].format(folder=order.source) if order.source else "",
        )
        return " · ".join(text for text in told if text)

    return why
