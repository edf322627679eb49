"""One table from exceptions to statuses, one JSON body for every failure.

The body is ``{"error": {"code": …, "message": …, "details": {…}}}``; the code is stable, the message is a
sentence for a person, the details are for a program.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from recsys import errors
from serving.telemetry import log
from serving.web.headers import completed

_COME_BACK = {"Retry-After": "1"}
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: _COME_BACK}
_NO_STORE = "the database does not answer, or is too busy; try again in a moment"
_N_SHOWN = 20
_N_TOLD = 3
Details = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """How an exception is told over HTTP.

    Attributes:
        status: HTTP status.
        code: Stable name.
    """

    status: int
    code: str


FAILURES: Mapping[type[Exception], Failure] = MappingProxyType(
    {
        errors.RecsysError: Failure(500, "internal"),
        errors.ConfigError: Failure(500, "wrong_configuration"),
        errors.InvalidPolicyError: Failure(422, "invalid_policy"),
        errors.DataError: Failure(422, "wrong_data"),
        errors.SchemaError: Failure(422, "wrong_data"),
        errors.LeakageError: Failure(422, "leakage"),
        errors.NotFittedError: Failure(503, "not_fitted"),
        errors.BundleError: Failure(503, "bundle_unusable"),
        errors.BundleNotFoundError: Failure(503, "no_bundle"),
        errors.IncompatibleBundleError: Failure(503, "bundle_incompatible"),
        errors.CorruptBundleError: Failure(503, "bundle_corrupt"),
        errors.NotFoundError: Failure(404, "not_found"),
        errors.UnknownClientError: Failure(404, "unknown_client"),
        errors.UnknownOfferError: Failure(404, "unknown_offer"),
        errors.UnknownPlacementError: Failure(404, "unknown_placement"),
        errors.UnknownKeyError: Failure(404, "unknown_key"),
        errors.UnknownPolicyError: Failure(404, "unknown_policy"),
        errors.UnknownExperimentError: Failure(404, "unknown_experiment"),
        errors.UnknownBundleError: Failure(404, "unknown_bundle"),
        errors.UnknownUserError: Failure(404, "unknown_user"),
        errors.InvalidRequestError: Failure(422, "invalid_request"),
        errors.InvalidEventsError: Failure(422, "invalid_events"),
        errors.ConflictError: Failure(409, "conflict"),
        errors.UnauthenticatedError: Failure(401, "unauthenticated"),
        errors.ForbiddenError: Failure(403, "forbidden"),
        errors.RateLimitedError: Failure(429, "rate_limited"),
        errors.StoreUnavailableError: Failure(503, "store_unavailable"),
    }
)
_STATUS_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_DESCRIBED = "the API is described under /openapi.json"
_MAX_PATH_LENGTH = 200
# What a text must be, by its pattern: few who send it read patterns.
_PATTERNS = {
    "^[A-S]$": "one capital letter A–S",
    r"^[^\x00-\x1f\x7f]*$": "without line breaks and other control characters",
    r"^[^\x00]*$": "without zero characters",
}


def failure_of(error: Exception) -> Failure:
    """The entry of the nearest class of the table; a plain 500 outside the tree."""
    return next((FAILURES[cls] for cls in type(error).__mro__ if cls in FAILURES), Failure(500, "internal"))


def failure_body(code: str, message: str, details: Details | None = None) -> bytes:
    """The JSON body of a failure."""
    return orjson.dumps({"error": {"code": code, "message": message, "details": details or {}}}, default=str)


def failure_response(
    status: int,
    code: str,
    message: str,
    details: Details | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A failure as a response."""
    return Response(
        failure_body(code, message, details), status, dict(headers or {}), media_type="application/json"
    )


def respond_to(error: Exception) -> Response:
    """The response for an exception; nothing about the inside of the program gets out."""
    if isinstance(error, RequestValidationError | ValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        code = _STATUS_CODES.get(error.status_code, "http_error")
        return failure_response(error.status_code, code, str(error.detail), headers=error.headers)
    failure = failure_of(error)
    if isinstance(error, errors.StoreUnavailableError):
        # Where the database lives is the operator's matter, and no caller's.
        if not error.is_told:
            log("store_unavailable", level=logging.WARNING, cause=str(error))
        return failure_response(failure.status, failure.code, _NO_STORE, headers=_COME_BACK)
    if failure.status == 500:
        # The server logs what is outside the tree: Starlette raises it again after this answer.
        if isinstance(error, errors.RecsysError):
            log("request_failed", level=logging.ERROR, error=error)
        return failure_response(500, failure.code, "something went wrong here; the fault was logged")
    headers = _HEADERS.get(failure.status)
    if isinstance(error, errors.RateLimitedError):
        headers = {"Retry-After": str(error.retry_after_seconds)}
    return failure_response(failure.status, failure.code, str(error), _details(error), headers)


def install_failures(app: FastAPI) -> None:
    """Make the app tell every exception by the table."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code in (404, 405):
            return _nowhere(request, error.status_code, _methods_at(app, request.scope))
        return respond_to(error)

    async def handle_unforeseen(_request: Request, error: Exception) -> Response:
        # Answered outside of every middleware, so nobody else adds the headers.
        response = respond_to(error)
        response.raw_headers = completed(response.raw_headers)
        return response

    for kind in (errors.RecsysError, RequestValidationError, ValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(Exception, handle_unforeseen)


def _nowhere(request: Request, status: int, methods: list[str]) -> Response:
    """The answer where nothing lies under an address, or nothing that is asked in this way."""
    code, path = _STATUS_CODES[status], request.scope["path"][:_MAX_PATH_LENGTH]
    if status == 404:
        return failure_response(404, code, f"there is nothing under {path}; {_DESCRIBED}")
    allowed = ", ".join(methods)
    message = f"{path} takes {allowed}, not {request.method}; {_DESCRIBED}"
    return failure_response(405, code, message, headers={"Allow": allowed})


def _methods_at(app: FastAPI, scope: Scope) -> list[str]:
    """What an address may be asked; each of its routes knows only its own method."""
    found: set[str] = set()
    for route in app.routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


def _details(error: Exception) -> Details:
    match error:
        case errors.InvalidEventsError():
            return {"faults": [asdict(fault) for fault in error.faults]}
        case errors.InvalidPolicyError():
            return {"faults": list(error.faults)}
        case errors.InvalidRequestError():
            return {
                "fields": [{"field": error.field, "message": str(error).removeprefix(f"{error.field}: ")}]
            }
        case errors.NotFoundError():
            return {"id": error.key}
        case errors.SchemaError():
            return {"faults": [asdict(fault) for fault in error.faults], "n_faults": error.n_faults}
        case _:
            return {}


def _invalid(error: RequestValidationError | ValidationError) -> Response:
    """Malformed JSON is 400; a field of a wrong type or value is 422 and named by its path."""
    faults = list(error.errors())
    for fault in faults:
        if fault["type"] == "json_invalid":
            reason = fault.get("ctx", {}).get("error", "it is no JSON")
            return failure_response(400, "malformed_json", f"the body is no valid JSON: {reason}")
    # A list counts only its valid entries, so one wrong entry would also be told as a list too short.
    inner = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
    faults = [fault for fault in faults if fault["loc"] not in inner]
    fields = [{"field": _path(fault["loc"]), "message": _plain(fault)} for fault in faults[:_N_SHOWN]]
    # A misspelt field is told as one that is missing and one that is too many: both belong together.
    told = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:_N_TOLD])
    more = f" (and {len(faults) - _N_TOLD} more)" if len(faults) > _N_TOLD else ""
    message = f"{told}{more}"
    return failure_response(422, "invalid_request", message, {"fields": fields, "n_fields": len(faults)})


def _plain(fault: Mapping[str, Any]) -> str:
    """A sentence without Python's words."""
    if fault["type"] == "string_pattern_mismatch" and fault["ctx"]["pattern"] in _PATTERNS:
        return f"String should be {_PATTERNS[fault['ctx']['pattern']]}"
    told = str(fault["msg"]).removeprefix("Value error, ")
    return told.replace("Tuple should", "List should").replace("valid tuple", "valid list")


def _path(place: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in place if part not in ("body", "query", "path")]
    return ".".join(parts) or "body"
