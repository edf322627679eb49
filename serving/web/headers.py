"""What every answer tells a browser not to do."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# An answer of the API is no page: a browser that shows one loads nothing, and shows it in no frame.
SECURITY_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_HTTPS_ONLY: Header = (b"strict-transport-security", b"max-age=31536000")


def security_headers(public_url: str | None) -> tuple[Header, ...]:
    """What the answers of a server carry; where browsers reach it over https, they are to keep to that.

    Args:
        public_url: Address under which browsers reach it; None = nobody said.

    Example:
        >>> len(security_headers("https://recsys.example.org")) - len(security_headers(None))
        1
    """
    is_https = public_url is not None and public_url.startswith("https://")
    return (*SECURITY_HEADERS, _HTTPS_ONLY) if is_https else SECURITY_HEADERS


def completed(headers: Iterable[Header], added: Iterable[Header] = SECURITY_HEADERS) -> list[Header]:
    """The headers of an answer, and those of others that it does not have.

    Example:
        >>> completed([(b"Cache-Control", b"no-cache")], [(b"cache-control", b"no-store"), (b"a", b"b")])
        [(b'Cache-Control', b'no-cache'), (b'a', b'b')]
    """
    own = list(headers)
    names = {name.lower() for name, _ in own}
    own.extend(header for header in added if header[0] not in names)
    return own


class SecurityHeaders:
    """Completes the headers of every answer that passes; outermost of all, so that refusals have them too.

    Args:
        app: What answers.
        headers: See `security_headers`.
    """

    def __init__(self, app: ASGIApp, headers: tuple[Header, ...]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = completed(message.get("headers", ()), self._headers)
            await send(message)

        await self._app(scope, receive, send_completed)
