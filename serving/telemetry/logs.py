"""Structured logs: one JSON object per line on stderr."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from types import TracebackType

import orjson

from serving.telemetry.budget import FloodGate
from serving.telemetry.requests import present_request

LOGGER_NAME = "serving"
_FIELDS = "fields"
# What pydantic was given, and the row that PostgreSQL refused.
_QUOTED = re.compile(r"(?<=input_value=).*?(?=, input_type=)|(?<=DETAIL:  )[^\n]*", re.DOTALL)
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object: when, how serious, who, what, the named fields, the error.

    What is said while a request is answered carries its `request_id`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "pid": record.process,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        request = present_request()
        if request is not None:
            line["request_id"] = request.request_id
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 -- the name in `logging`
        """The trace, without the values that validators and drivers quote: they may be a client's."""
        return _QUOTED.sub("…", super().formatException(ei))


def configure_logging(level: int = logging.INFO) -> None:
    """Send everything the process logs to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(FloodGate())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        # of requests we write lines of our own, where one is due
        logging.getLogger(name).propagate = name != "uvicorn.access"


def log(
    event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object
) -> None:
    """Say that something happened.

    Args:
        event: What, in snake_case; searchable.
        level: How serious.
        error: The exception behind it, with its trace.
        **fields: Facts; never a key, a name of a person or a request's body.
    """
    logging.getLogger(LOGGER_NAME).log(level, event, exc_info=error, extra={_FIELDS: fields})
