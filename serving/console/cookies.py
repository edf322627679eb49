"""The console's cookies: no script reads them, no other site sends them, plain http carries none."""

from __future__ import annotations

from fastapi import Request, Response

from serving.security.oidc import SignOn
from serving.security.sessions import own_path

_SIGN_ON_SECONDS = 600
_N_PARTS = 4


class Cookies:
    """Reads and writes them.

    Args:
        is_secure: Whether browsers send them over https only; then their names say so too (``__Host-``), and
            no other host of the domain can set one.
    """

    def __init__(self, is_secure: bool) -> None:
        self._is_secure = is_secure
        prefix = "__Host-recsys" if is_secure else "recsys"
        self._session, self._visit, self._sign_on = (
            f"{prefix}-{name}" for name in ("session", "visit", "sign-on")
        )

    def session(self, request: Request) -> str | None:
        """The id of a session."""
        return request.cookies.get(self._session)

    def set_session(self, response: Response, secret: str) -> None:
        """Give a session's id; it goes with the browser, and the store knows when it ends."""
        self._set(response, self._session, secret)

    def forget_session(self, response: Response) -> None:
        """Take it back."""
        self._forget(response, self._session)

    def visit(self, request: Request) -> str | None:
        """The secret of a browser that is not logged in, for its log-in form."""
        return request.cookies.get(self._visit)

    def set_visit(self, response: Response, secret: str) -> None:
        """Give one."""
        self._set(response, self._visit, secret)

    def forget_visit(self, response: Response) -> None:
        """Take it back."""
        self._forget(response, self._visit)

    def sign_on(self, request: Request) -> tuple[SignOn, str] | None:
        """The sign-on that this browser began, and where it wanted to go."""
        parts = request.cookies.get(self._sign_on, "").split("~")
        if len(parts) != _N_PARTS or not all(parts):
            return None
        return SignOn(*parts[:3]), own_path(parts[3])

    def set_sign_on(self, response: Response, sign_on: SignOn, path: str) -> None:
        """Let the browser remember a sign-on for ten minutes."""
        value = "~".join((sign_on.state, sign_on.nonce, sign_on.verifier, path.partition("?")[0]))
        self._set(response, self._sign_on, value, _SIGN_ON_SECONDS)

    def forget_sign_on(self, response: Response) -> None:
        """A sign-on ends once."""
        self._forget(response, self._sign_on)

    def _set(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        response.set_cookie(
            name, value, max_age, path="/", secure=self._is_secure, httponly=True, samesite="lax"
        )

    def _forget(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self._is_secure, httponly=True, samesite="lax")
