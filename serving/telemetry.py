"""Structured logs: one JSON object per line on stderr."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

LOGGER_NAME = "serving"
_FIELDS = "fields"


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object: at, level, event, the named fields, and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logging(level: int = logging.INFO) -> None:
    """Send everything the process logs to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


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
