"""A portal's backend for the example page: one company is logged in, and its questions get the portal's key.

To try the page out on this machine: a real backend knows from its session who is logged in.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
PATHS = ("/v1/recommendations", "/v1/events")
LONGEST_BODY = 1_048_576
SECONDS = 10.0


class Portal(BaseHTTPRequestHandler):
    """Gives the page and its script, and forwards questions about the company that is logged in."""

    def __init__(self, service: str, key: str, client_id: str, *parts: Any) -> None:
        self._service, self._key, self._client_id = service.rstrip("/"), key, client_id
        super().__init__(*parts)

    def do_GET(self) -> None:
        """The page or its script."""
        path = self.path.partition("?")[0]
        if path == "/portal.js":
            self._answer(200, (HERE / "portal.js").read_bytes(), "text/javascript; charset=utf-8")
        elif path == "/":
            page = (HERE / "index.html").read_text(encoding="utf-8")
            page = page.replace('data-service=""', 'data-service="/recsys"')
            page = page.replace('data-token-url="/member-token"', 'data-token-url=""')
            page = page.replace('data-client=""', f'data-client="{escape(self._client_id)}"')
            self._answer(200, page.encode(), "text/html; charset=utf-8")
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        """Forward a question or a report, if it is about the company that is logged in."""
        path, n_bytes = self.path.removeprefix("/recsys"), int(self.headers.get("Content-Length", 0))
        if path not in PATHS or n_bytes > LONGEST_BODY:
            self._answer(404, b"{}")
            return
        body = self.rfile.read(n_bytes)
        self._answer(*(self._forward(path, body) if self._is_own(body) else (403, b"{}")))

    def _is_own(self, body: bytes) -> bool:
        try:
            said = json.loads(body)
            return all(each["client_id"] == self._client_id for each in said.get("events", [said]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return False

    def _forward(self, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            question = Request(self._service + path, body, headers)  # noqa: S310 -- who starts it names it
            with urlopen(question, timeout=SECONDS) as answer:  # noqa: S310
                return answer.status, answer.read()
        except HTTPError as refusal:
            return refusal.code, refusal.read()
        except (URLError, TimeoutError):
            return 502, b"{}"

    def _answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def portal_at(port: int, service: str, key: str, client_id: str) -> ThreadingHTTPServer:
    """A portal on the loopback address, not yet answering."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Portal, service, key, client_id))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--service", default="http://127.0.0.1:8080", help="address of the service")
    options.add_argument("--client", default="c0000001", help="the company that is logged in")
    options.add_argument("--port", type=int, default=8090)
    given = options.parse_args()
    if "RECSYS_PORTAL_KEY" not in os.environ:
        options.error("set RECSYS_PORTAL_KEY to a key of `recsys-serve keys create --role portal`")
    with portal_at(given.port, given.service, os.environ["RECSYS_PORTAL_KEY"], given.client) as portal:
        print(f"http://127.0.0.1:{given.port}/  (Ctrl+C stops)")  # noqa: T201
        portal.serve_forever()
