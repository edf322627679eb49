"""What is known of the request that is being answered, for its log line."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Protocol


class Identified(Protocol):
    """Something that was decided."""

    @property
    def decision_id(self) -> str:
        """Under which it is logged."""


@dataclass(slots=True)
class RequestNotes:
    """Gathered while a request is answered.

    Attributes:
        request_id: The caller's `X-Request-ID`, or one that was made here.
        key_id: Whose key it was; None = no valid one came.
        decisions: What was decided.
    """

    request_id: str
    key_id: str | None = None
    decisions: Sequence[Identified] = ()


_PRESENT: ContextVar[RequestNotes | None] = ContextVar("present_request", default=None)


def begin_request(notes: RequestNotes) -> Token[RequestNotes | None]:
    """Make these the notes of everything that runs for this request; give the token to `end_request`."""
    return _PRESENT.set(notes)


def end_request(token: Token[RequestNotes | None]) -> None:
    """Take the notes away again."""
    _PRESENT.reset(token)


def present_request() -> RequestNotes | None:
    """The notes of the present request; None outside of one."""
    return _PRESENT.get()


def note_key(key_id: str) -> None:
    """Keep whose key the present request came with; outside of a request nothing happens."""
    notes = _PRESENT.get()
    if notes is not None:
        notes.key_id = key_id


def note_decisions(decisions: Sequence[Identified]) -> None:
    """Keep what was decided for the present request; outside of a request nothing happens."""
    notes = _PRESENT.get()
    if notes is not None:
        notes.decisions = decisions
