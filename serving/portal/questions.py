"""What the page asks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.domain import MAX_ID_LENGTH, DismissalReason, EventType, Language

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ViewQuestion(_Question):
    """Which company, in which language."""

    client_id: Id
    language: Language


class ReportedEvent(_Question):
    """Something the page saw: an impression, a click or a dismissal."""

    event_id: Id
    event_type: Literal[EventType.IMPRESSION, EventType.CLICK, EventType.DISMISSAL]
    decision_id: Id
    slot: int = Field(ge=1)
    offer_id: Id
    reason: DismissalReason | None = None


class EventsQuestion(_Question):
    """What the page saw of one company's lists."""

    client_id: Id
    events: tuple[ReportedEvent, ...] = Field(min_length=1, max_length=100)


class ConnectionQuestion(_Question):
    """A confirmed connection; the same `connection_id` connects once."""

    client_id: Id
    connection_id: Annotated[str, Field(min_length=1, max_length=48)]
    decision_id: Id
    slot: int = Field(ge=1)
    offer_id: Id


class ProfilingQuestion(_Question):
    """The new position of the profiling switch."""

    is_allowed: bool
