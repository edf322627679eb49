"""What is asked and told. What is not known is left out: None is never sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import uuid4

Language = Literal["ru", "en"]
EventType = Literal[
    "impression", "click", "application", "activation", "dismissal", "disconnection", "complaint"
]
DismissalReason = Literal["not_now", "irrelevant", "have_elsewhere", "too_expensive"]
LegalForm = Literal["unknown", "sole_trader", "llc", "joint_stock", "lawyer", "notary", "public_body"]
Size = Literal["unknown", "micro", "small", "medium", "large"]
Stage = Literal[
    "prospect",
    "churned",
    "at_risk",
    "dormant",
    "onboarding",
    "reactivated",
    "growth",
    "mature",
    "steady",
]


def new_id() -> str:
    """An id that nobody else has.

    Example:
        >>> len(new_id()), new_id() == new_id()
        (32, False)
    """
    return uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list that is asked for.

    Attributes:
        placement_id: The place on the page.
        k: Length wanted, at most the placement's own maximum; None = the placement's length.
    """

    placement_id: str
    k: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a company; the meaning of each field is that of ``PUT /v1/clients/{client_id}``."""

    name: str | None = None
    legal_form: LegalForm = "unknown"
    size: Size | None = None
    industry: str | None = None
    region: str | None = None
    stage: Stage | None = None
    n_employees: int | None = None
    revenue_minor: int | None = None
    client_since_on: date | None = None
    is_vip: bool = False
    vip_reviewed_on: date | None = None
    loyalty_points: int = 0
    account_group_id: str | None = None
    tags: Sequence[str] = ()
    is_profiling_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """Which offers should this client see now?

    Attributes:
        client_id: The company.
        placements: The lists wanted, the most striking place first; an offer is shown in the first that
            takes it.
        member_id: Who looks.
        channel: Where, for example ``web``.
        language: Of titles and reasons.
        exclude: Offers not wanted.
        context: What the page is about: ``role``, ``spending_limit_minor`` and what the rules read.
        profile: Of a prospect of whom none is stored.
        explain: Whether refused offers are listed.
        request_id: The same id with the same question gets the same answer; None = the client makes one
            for each call, and keeps it over the tries of that call.
    """

    client_id: str
    placements: Sequence[Wanted]
    member_id: str | None = None
    channel: str | None = None
    language: Language = "ru"
    exclude: Sequence[str] = ()
    context: Mapping[str, bool | float | str] = field(default_factory=dict)
    profile: Profile | None = None
    explain: bool = False
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class EligibilityQuestion:
    """May this client have these offers?

    Attributes:
        client_id: The company.
        offer_ids: The offers, 1–100.
        member_id: Who asks.
        at: When it is to be connected; None = now.
        language: Of titles and reasons.
        context: As in a `Question`.
    """

    client_id: str
    offer_ids: Sequence[str]
    member_id: str | None = None
    at: datetime | None = None
    language: Language = "ru"
    context: Mapping[str, bool | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an offer, or to a client.

    Its id is made with it: the same object may be sent as often as it takes, and counts once.

    Attributes:
        event_type: What happened.
        client_id: To whom.
        decision_id: The decision that showed the offer; impressions and clicks need it.
        slot: 1-based rank in the list.
        offer_id: The offer; with a decision either this or the slot will do.
        occurred_at: When; now, if left out.
        member_id: Who did it.
        reason: Why, for a dismissal.
        topic: What about, for a complaint.
        event_id: Its id.
    """

    event_type: EventType
    client_id: str
    decision_id: str | None = None
    slot: int | None = None
    offer_id: str | None = None
    occurred_at: datetime = field(default_factory=_now)
    member_id: str | None = None
    reason: DismissalReason | None = None
    topic: str | None = None
    event_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Holding:
    """A connection, a change of its quantity, or its end.

    Attributes:
        client_id: The company.
        holding_id: Stable id of this connection.
        offer_id: What is connected.
        connected_at: Since when; may lie ahead.
        quantity: How many.
        term_ends_on: Last day of the term.
        disconnected_at: Its end; None = it goes on.
    """

    client_id: str
    holding_id: str
    offer_id: str
    connected_at: datetime
    quantity: int = 1
    term_ends_on: date | None = None
    disconnected_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Month:
    """A client's figures of one month; the meaning of each is that of ``POST /v1/client-months``."""

    client_id: str
    month_on: date
    n_sims_employees: int | None = None
    n_sims_field: int | None = None
    n_sims_devices: int | None = None
    spend_minor: int | None = None
    voice_minutes: int | None = None
    data_megabytes: int | None = None
    n_sms: int | None = None
    overage_share: float | None = None
    roaming_share: float | None = None
    m2m_share: float | None = None
    overdue_days: int | None = None


def to_json(value: Any) -> Any:
    """A question as plain values for JSON.

    Raises:
        ValueError: A moment says no zone.

    Example:
        >>> to_json(Wanted("home")), to_json(Wanted("home", 5))
        ({'placement_id': 'home'}, {'placement_id': 'home', 'k': 5})
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} says no zone; write it as datetime.now(UTC) does")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: to_json(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        told = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {name: to_json(each) for name, each in told if each is not None}
    return value
