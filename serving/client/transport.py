"""One connection pool, and the patience to ask again."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from serving.client.errors import NoAnswerError, RefusedError, refusal

# What a service behind a proxy says while it starts, stops or is busy, or a question comes too slowly.
_PASSING = frozenset({408, 429, 502, 503, 504})
_PART_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, and how often asked.

    A call takes at most ``n_tries · timeout_seconds`` and the waits between the tries. Not bounded by that
    are the look-up of the host's name, and the head of an answer that comes byte by byte; a body that does
    so, and after which the service ends the connection, may take one ``timeout_seconds`` more. The wait
    before try n + 1 is drawn evenly from 0 to ``first_wait_seconds · 2ⁿ⁻¹``, so that many callers do not come
    back at one moment; a ``Retry-After`` of the service is added to it. One longer than
    ``longest_wait_seconds`` is not waited for.

    Attributes:
        timeout_seconds: For each try, from the connection to the last byte of the answer.
        n_tries: 1 = never ask again.
        first_wait_seconds: Bound of the first wait.
        longest_wait_seconds: Bound of every wait.
    """

    timeout_seconds: float = 2.0
    n_tries: int = 4
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.n_tries < 1:
            raise ValueError(f"n_tries is {self.n_tries}; at least 1")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {self.timeout_seconds}; more than 0")

    def wait_before_next(self, n_done: int, retry_after: float | None, draw: float) -> float | None:
        """Seconds before the next try; None = no more of them.

        Args:
            n_done: Tries so far.
            retry_after: What the service asks to wait.
            draw: Evenly from 0–1.

        Example:
            >>> Patience().wait_before_next(2, None, 0.5), Patience().wait_before_next(1, 1.0, 0.0)
            (0.1, 1.0)
            >>> Patience().wait_before_next(4, None, 0.5) is Patience().wait_before_next(1, 60.0, 0.5) is None
            True
        """
        asked = retry_after or 0.0
        if n_done >= self.n_tries or asked > self.longest_wait_seconds:
            return None
        jitter: float = draw * self.first_wait_seconds * 2 ** (n_done - 1)
        return min(asked + jitter, self.longest_wait_seconds)


class Transport:
    """Sends requests that may be sent again: each of them does once what it does twice.

    Args:
        url: Root of the service.
        key: API key or member token; a function is asked before every try, for tokens that expire.
        patience: How long is waited, and how often asked.
        ca_file: Certificates to trust besides the machine's own; None = the machine's.
        wait: Sleeps for some seconds.
    """

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        patience: Patience,
        ca_file: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a service; write it as https://recsys.example")
        self.url = url.rstrip("/")
        self._key = key
        self._patience = patience
        self._wait = wait
        self._random = random.Random()  # noqa: S311 -- spreads callers over time, keeps no secret
        self._pool = urllib3.PoolManager(
            maxsize=32,
            timeout=urllib3.Timeout(total=patience.timeout_seconds),
            retries=False,
            ca_certs=None if ca_file is None else str(ca_file),
        )

    def ask(self, method: str, path: str, body: object = None, also: frozenset[int] = frozenset()) -> Any:
        """The answer's JSON.

        Args:
            method: HTTP method.
            path: Below the root.
            body: Plain values, sent as JSON; None sends none.
            also: Statuses besides 200 whose body is an answer too.

        Raises:
            RefusedError: The service answered with a failure.
            NoAnswerError: No answer came.
        """
        content = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        n_done = 0
        while True:
            n_done += 1
            fault: RefusedError | NoAnswerError
            try:
                return self._try(method, path, content, also)
            except RefusedError as error:
                if error.status not in _PASSING:
                    raise
                fault = error
            except NoAnswerError as error:
                fault = error
            retry_after = fault.retry_after if isinstance(fault, RefusedError) else None
            seconds = self._patience.wait_before_next(n_done, retry_after, self._random.random())
            if seconds is None:
                raise fault
            self._wait(seconds)

    def close(self) -> None:
        """Give back the connections."""
        self._pool.clear()

    def _try(self, method: str, path: str, content: bytes | None, also: frozenset[int]) -> Any:
        key = self._key if isinstance(self._key, str) else self._key()
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        over_at = time.monotonic() + self._patience.timeout_seconds
        try:
            # Never follow a redirect: the key would go along.
            response = self._pool.request(
                method, self.url + path, body=content, headers=headers, redirect=False, preload_content=False
            )
            told = _json(_read_until(response, over_at))
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswerError(f"{method} {self.url}{path}: {error}") from error
        if response.status == 200 or response.status in also:
            if told is None:
                raise NoAnswerError(f"{method} {self.url}{path}: the answer is no JSON; who answers there?")
            return told
        failure = told.get("error") if isinstance(told, Mapping) else None
        raise refusal(
            response.status,
            failure if isinstance(failure, Mapping) else {},
            _seconds(response.headers.get("Retry-After")),
        )


def _read_until(response: urllib3.BaseHTTPResponse, over_at: float) -> bytes:
    """The body; urllib3's own time limit begins anew with every part of it."""
    parts: list[bytes] = []
    while True:
        left = over_at - time.monotonic()
        if left <= 0:
            response.close()
            raise urllib3.exceptions.TimeoutError("half of an answer came in time")
        line = getattr(response.connection, "sock", None)
        if line is not None:
            line.settimeout(left)
        part = response.read1(_PART_BYTES)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; a date is taken for none, as the service never sends one."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
