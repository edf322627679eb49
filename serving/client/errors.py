"""What may go wrong with a call.

* ServiceError
  + NoAnswerError             nothing came back that the service could have said
  + RefusedError              the service answered with a failure: code, message, details, status
    - UnauthenticatedError    401: no key, or an unknown, expired or revoked one
    - ForbiddenError          403: the key's role may not do this
    - NotFoundError           404: there is no such client, offer or placement
    - ConflictError           409: the same id was used before with another content
    - InvalidError            400, 413, 422: the question is wrong; asking again does not help
    - RateLimitedError        429: this key asks too often
    - UnavailableError        408, 5xx: the service cannot answer now
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ServiceError(Exception):
    """Base of everything that a call raises apart from a wrong argument."""


class NoAnswerError(ServiceError):
    """The connection failed, no answer came in time, or what came is none of the service's.

    Whether the service did what it was asked is not known; the client has asked again as often as its
    patience allows, and asking once more is safe.
    """


class RefusedError(ServiceError):
    """The service answered with a failure.

    Attributes:
        status: HTTP status.
        code: Stable name, for programs.
        message: One sentence, for people.
        details: Facts by code, for example ``fields`` or ``faults``.
        retry_after: Seconds that the service asks to wait; None = it says nothing.
    """

    def __init__(self, status: int, error: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.code = str(error.get("code", "unknown"))
        self.message = str(error.get("message", "the service says no more"))
        self.details: Mapping[str, Any] = error.get("details") or {}
        self.retry_after = retry_after
        super().__init__(f"{self.message} ({status} {self.code})")


class UnauthenticatedError(RefusedError):
    """No key, or an unknown, expired or revoked one."""


class ForbiddenError(RefusedError):
    """The key's role may not do this."""


class NotFoundError(RefusedError):
    """There is no such client, offer or placement; the message names those that exist, or the nearest."""


class ConflictError(RefusedError):
    """The same id was used before with another content."""


class InvalidError(RefusedError):
    """The question is wrong; ``details`` names the fields, or the events, and why."""


class RateLimitedError(RefusedError):
    """This key asks too often."""


class UnavailableError(RefusedError):
    """The service cannot answer now; asking again later is safe."""


_BY_STATUS: Mapping[int, type[RefusedError]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidError,
    422: InvalidError,
    408: UnavailableError,
    429: RateLimitedError,
}


def refusal(status: int, error: Mapping[str, Any], retry_after: float | None = None) -> RefusedError:
    """The exception for a failure.

    Example:
        >>> refusal(409, {"code": "conflict", "message": "used before"})
        ConflictError('used before (409 conflict)')
    """
    kind = UnavailableError if status >= 500 else _BY_STATUS.get(status, RefusedError)
    return kind(status, error, retry_after)
