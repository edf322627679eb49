"""One example of each status that is a failure."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any


def _failure(code: str, message: str, **details: object) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": details}}


FAILURES = MappingProxyType(
    {
        400: _failure("malformed_json", "the body is no valid JSON: expected `,` or `}` at line 1 column 24"),
        401: _failure("unauthenticated", "send an API key: Authorization: Bearer KEY"),
        403: _failure(
            "forbidden", "a key of role 'analyst' may not stop offers; roles that may: marketer, duty, admin"
        ),
        404: _failure("unknown_client", "unknown client 'c-000999'", id="c-000999"),
        408: _failure("body_timeout", "the body did not arrive within 10 s; send it again"),
        409: _failure("conflict", "request_id '2026-03-02-000001' was used before with another content"),
        413: _failure(
            "body_too_large", "the body is longer than 1048576 bytes; send it in parts", max_bytes=1_048_576
        ),
        422: _failure(
            "invalid_request",
            "events.0.slot: Input should be greater than or equal to 1",
            fields=[{"field": "events.0.slot", "message": "Input should be greater than or equal to 1"}],
            n_fields=1,
        ),
        429: _failure("rate_limited", "this key asks too often; try again in a moment"),
        503: _failure(
            "store_unavailable", "the database does not answer, or is too busy; try again in a moment"
        ),
    }
)
