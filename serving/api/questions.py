"""Bodies of requests."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from recsys.domain import (
    MAX_ID_LENGTH,
    ClientId,
    DecisionId,
    DismissalReason,
    Event,
    EventId,
    EventType,
    Holding,
    Language,
    LegalForm,
    MemberId,
    MemberRole,
    OfferId,
    Profile,
    Size,
    Stage,
    size_of,
)
from recsys.history import MonthFigures
from serving.ports import HoldingChange, MonthChange
from serving.services.recommendation import ListWanted, Query

MAX_EVENTS = 1000
MAX_HOLDINGS = 1000
MAX_MONTHS = 1000
MAX_PLACEMENTS = 20
MAX_EXCLUDED = 1000
MAX_CONTEXT = 32
_MAX_COUNT = 2**31 - 1
# Beyond this JavaScript, and many a reader of JSON, no longer tells one whole number from the next.
_MAX_MONEY = 2**53 - 1
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)

_PLAIN = r"^[^\x00-\x1f\x7f]*$"


def _number(value: object) -> object:
    """Refuse what pydantic would take for a number, and the documented schema does not."""
    if isinstance(value, str | bool):
        raise ValueError("must be a number, not a text or a yes or no")  # noqa: TRY004 -- a wrong value
    return value


def _text(value: object) -> object:
    """Refuse a number where a day or a moment is written as text: it would be read as seconds since 1970."""
    if value is not None and not isinstance(value, str | date):
        raise ValueError("must be a text as 2024-10-01, a moment as 2024-10-01T09:00:00Z")
    return value


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=_PLAIN)]
Text = Annotated[str, Field(max_length=200, pattern=_PLAIN)]
Day = Annotated[date, Field(ge=_EARLIEST.date(), le=_LATEST.date()), BeforeValidator(_text)]
Instant = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST), BeforeValidator(_text)]
# The bounds come first: behind the check they would be missing from the document.
Count = Annotated[int, Field(ge=0, le=_MAX_COUNT), BeforeValidator(_number)]
Rank = Annotated[int, Field(ge=1, le=_MAX_COUNT), BeforeValidator(_number)]
# One that is too short is told as one that is too long is, by the placement's own bounds.
Length = Annotated[
    int, Field(ge=-_MAX_COUNT, le=_MAX_COUNT, json_schema_extra={"minimum": 1}), BeforeValidator(_number)
]
Total = Annotated[int, Field(ge=0, le=_MAX_MONEY), BeforeValidator(_number)]
Balance = Annotated[int, Field(ge=-_MAX_MONEY, le=_MAX_MONEY), BeforeValidator(_number)]
Share = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-_MAX_MONEY, le=_MAX_MONEY, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]


class Question(BaseModel):
    """Base of every request's body: a mistyped name is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProfileQuestion(Question):
    """What is known of a company; leave out what is not known."""

    name: Text | None = Field(None, description="company name, for people; no model reads it")
    legal_form: LegalForm = LegalForm.UNKNOWN
    size: Size | None = Field(None, description="left out = derived from staff and revenue")
    industry: Annotated[str, Field(pattern="^[A-S]$")] | None = Field(None, description="OKVED section A–S")
    region: Id | None = None
    stage: Stage | None = None
    n_employees: Count | None = None
    revenue_minor: Total | None = Field(None, description="revenue of the last full year, in minor units")
    client_since_on: Day | None = None
    is_vip: Flag = False
    vip_reviewed_on: Day | None = Field(
        None, description="day on which the VIP status was last granted or reviewed"
    )
    loyalty_points: Count = 0
    account_group_id: Id | None = None
    tags: tuple[Text, ...] = Field((), max_length=50, description="further facts as key=value")
    is_profiling_allowed: Flag = Field(
        True, description="off = a list that does not rest on the client's data"
    )

    def to_profile(self) -> Profile:
        """The domain's profile."""
        size = self.size or size_of(self.n_employees, self.revenue_minor)
        return Profile(**{**dict(self), "size": size})


class PlacementQuestion(Question):
    """A list that is asked for."""

    placement_id: Id = Field(examples=["home"])
    k: Length | None = Field(
        None, description="length wanted, at most the placement's max_k; left out = the placement's own"
    )


class ContextQuestion(BaseModel):
    """What the page is about. Rules read the fields named here; others may be sent and change nothing."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={"propertyNames": {"minLength": 1, "maxLength": MAX_ID_LENGTH, "pattern": _PLAIN}},
    )
    __pydantic_extra__: dict[Id, bool | Balance | Finite | Text]

    role: MemberRole | None = Field(None, description="role of the member who looks")
    spending_limit_minor: Total | None = Field(
        None, description="the most that member may spend, in minor units; what costs more is refused"
    )

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        if len(self.__pydantic_extra__) > MAX_CONTEXT:
            raise ValueError(f"has more than {MAX_CONTEXT} fields")
        return self


class RecommendationsQuestion(Question):
    """Which offers should this client see now?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "client_id": "c-000123",
                    "member_id": "m-1",
                    "channel": "web",
                    "placements": [{"placement_id": "home", "k": 5}, {"placement_id": "partners"}],
                    "language": "ru",
                    "request_id": "2024-10-01-000001",
                }
            ]
        }
    )

    client_id: Id
    member_id: Id | None = None
    channel: Id | None = None
    placements: tuple[PlacementQuestion, ...] = Field(
        min_length=1,
        max_length=MAX_PLACEMENTS,
        description="the lists wanted; an offer is shown in the first one that takes it",
    )
    language: Language = Language.RU
    exclude: tuple[Id, ...] = Field(
        (),
        max_length=MAX_EXCLUDED,
        description="offer ids not wanted; one that the catalogue does not know changes nothing",
    )
    context: ContextQuestion = ContextQuestion()
    profile: ProfileQuestion | None = Field(
        None, description="what is known of a prospect of whom no profile is stored; a stored one goes first"
    )
    request_id: Id | None = Field(
        None, description="the same id with the same content gets the same answer; another content is 409"
    )
    explain: Flag = Field(False, description="whether refused offers are listed, each with stage and rule")

    def to_query(self) -> Query:
        """The use case's query."""
        return Query(
            client_id=ClientId(self.client_id),
            lists=tuple([ListWanted(one.placement_id, one.k) for one in self.placements]),
            member_id=self.member_id,
            role=self.context.role,
            spending_limit_minor=self.context.spending_limit_minor,
            channel=self.channel,
            language=self.language,
            excluded=frozenset(self.exclude),
            profile=None if self.profile is None else self.profile.to_profile(),
            is_explained=self.explain,
        )


class EventQuestion(Question):
    """Something that happened to an offer, or to a client."""

    event_id: Id = Field(
        description="chosen by the sender; the same event is stored once, another under the same id is 409"
    )
    event_type: EventType
    client_id: Id
    occurred_at: Instant = Field(
        description="with a zone; at most five minutes ahead of the service's clock or before the decision"
    )
    offer_id: Id | None = None
    decision_id: Id | None = Field(
        None,
        description="the decision that showed the offer; impressions and clicks need it, with slot or offer",
    )
    member_id: Id | None = None
    slot: Rank | None = Field(None, description="1-based rank in the list")
    reason: DismissalReason | None = Field(None, description="why, for a dismissal")
    topic: Text | None = Field(None, description="what about, for a complaint")

    def to_event(self) -> Event:
        """The domain's event, in UTC."""
        return Event(
            event_id=EventId(self.event_id),
            event_type=self.event_type,
            client_id=ClientId(self.client_id),
            occurred_at=self.occurred_at.astimezone(UTC),
            offer_id=None if self.offer_id is None else OfferId(self.offer_id),
            decision_id=None if self.decision_id is None else DecisionId(self.decision_id),
            member_id=None if self.member_id is None else MemberId(self.member_id),
            slot=self.slot,
            reason=self.reason,
            topic=self.topic,
        )


class EventsQuestion(Question):
    """A batch of events; all are stored or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event_id": "e-1",
                            "event_type": "impression",
                            "client_id": "c-000123",
                            "occurred_at": "2024-10-01T09:00:00Z",
                            "decision_id": "0192f0c4a1b2c3d4e5f60718293a4b5c",
                            "offer_id": "vpbx-start",
                            "slot": 1,
                        }
                    ]
                }
            ]
        }
    )

    events: tuple[EventQuestion, ...] = Field(min_length=1, max_length=MAX_EVENTS)


class HoldingQuestion(Question):
    """A connection, a change of its quantity, or its end."""

    client_id: Id
    holding_id: Id = Field(description="stable id of this connection")
    offer_id: Id
    connected_at: Instant
    quantity: Rank = 1
    term_ends_on: Day | None = Field(None, description="last day of the term; left out = the term has no end")
    disconnected_at: Instant | None = Field(None, description="its end; left out = it goes on")

    def to_change(self) -> HoldingChange:
        """The store's change, in UTC."""
        ended_at = None if self.disconnected_at is None else self.disconnected_at.astimezone(UTC)
        holding = Holding(
            self.holding_id,
            OfferId(self.offer_id),
            self.connected_at.astimezone(UTC),
            self.quantity,
            term_ends_on=self.term_ends_on,
        )
        return HoldingChange(ClientId(self.client_id), holding, ended_at)


class HoldingsQuestion(Question):
    """Holdings to upsert; all or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "holdings": [
                        {
                            "client_id": "c-000123",
                            "holding_id": "h-1",
                            "offer_id": "vpbx-start",
                            "connected_at": "2024-10-01T09:00:00Z",
                            "quantity": 5,
                        }
                    ]
                }
            ]
        }
    )

    holdings: tuple[HoldingQuestion, ...] = Field(min_length=1, max_length=MAX_HOLDINGS)


class MonthQuestion(Question):
    """A client's figures of one month; leave out what is not known."""

    client_id: Id
    month_on: Day = Field(description="first day of the month")
    n_sims_employees: Count | None = Field(None, description="SIMs of office staff")
    n_sims_field: Count | None = Field(None, description="SIMs of field staff")
    n_sims_devices: Count | None = Field(None, description="SIMs in devices")
    spend_minor: Balance | None = Field(
        None, description="billed for the month, VAT included; negative after a refund"
    )
    voice_minutes: Total | None = None
    data_megabytes: Total | None = None
    n_sms: Total | None = None
    overage_share: Share | None = Field(None, description="share of spend beyond the tariff, 0–1")
    roaming_share: Share | None = Field(None, description="share of spend while roaming, 0–1")
    m2m_share: Share | None = Field(None, description="share of SIMs in devices, 0–1")
    overdue_days: Count | None = Field(None, description="days the oldest unpaid bill is overdue")

    @field_validator("month_on")
    @classmethod
    def _is_first_day(cls, value: date) -> date:
        if value.day != 1:
            raise ValueError("must be the first day of a month")
        return value

    def to_change(self) -> MonthChange:
        """The store's change."""
        figures = MonthFigures(*[getattr(self, name) for name in MonthFigures._fields])
        return MonthChange(ClientId(self.client_id), figures)


class MonthsQuestion(Question):
    """Monthly figures to upsert; all or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "months": [
                        {
                            "client_id": "c-000123",
                            "month_on": "2024-09-01",
                            "n_sims_employees": 12,
                            "spend_minor": 845000,
                            "data_megabytes": 61000,
                        }
                    ]
                }
            ]
        }
    )

    months: tuple[MonthQuestion, ...] = Field(min_length=1, max_length=MAX_MONTHS)
