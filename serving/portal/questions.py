"""What the page asks."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.domain import MAX_ID_LENGTH, DismissalReason, EventType, Language

_MOST_PIECES = 100_000
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ViewQuestion(_Question):
    """Which company, in which language."""

    client_id: Id
    language: Language


class ExplanationQuestion(ViewQuestion):
    """Why one of the company's lists is what it is."""

    placement_id: Id


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


class ShownOffer(_Question):
    """An offer of a list, which the company takes; the same one is taken once."""

    client_id: Id
    decision_id: Id
    slot: int = Field(ge=1)
    offer_id: Id


class RenewalQuestion(ShownOffer):
    """A confirmed renewal, with the last day of the new term as it was shown."""

    holding_id: Id
    term_ends_on: date


class ExpansionQuestion(ShownOffer):
    """A confirmed expansion, with what there will be in all."""

    holding_id: Id
    quantity: int = Field(ge=2, le=_MOST_PIECES)


class ProfilingQuestion(_Question):
    """The new position of the profiling switch."""

    is_allowed: bool
