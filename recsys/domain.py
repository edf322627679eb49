"""The words of the product as types: clients, offers, holdings, decisions, events.

Everything here is immutable and knows nothing of files, databases or the web. Times are aware UTC
(``_at``) or days (``_on``); money is int64 minor units (``_minor``) in the dataset's currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple, NewType

from recsys.history import NO_HISTORY, History

ClientId = NewType("ClientId", str)
MemberId = NewType("MemberId", str)
OfferId = NewType("OfferId", str)
DecisionId = NewType("DecisionId", str)
EventId = NewType("EventId", str)

MAX_ID_LENGTH = 64


class Size(StrEnum):
    """Class of a company by staff and revenue (Russian SME register), the higher of the two."""

    UNKNOWN = "unknown"
    MICRO = "micro"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class LegalForm(StrEnum):
    """Legal form of a client."""

    UNKNOWN = "unknown"
    SOLE_TRADER = "sole_trader"
    LLC = "llc"
    JOINT_STOCK = "joint_stock"
    LAWYER = "lawyer"
    NOTARY = "notary"
    PUBLIC_BODY = "public_body"


class Stage(StrEnum):
    """Lifecycle stage of a client; the first that matches holds (see the glossary)."""

    PROSPECT = "prospect"
    CHURNED = "churned"
    AT_RISK = "at_risk"
    DORMANT = "dormant"
    ONBOARDING = "onboarding"
    REACTIVATED = "reactivated"
    GROWTH = "growth"
    MATURE = "mature"
    STEADY = "steady"


class OfferKind(StrEnum):
    """Whose offer it is."""

    OWN = "own"
    PARTNER = "partner"
    CONTENT = "content"


class Change(StrEnum):
    """What taking an offer would change for the client."""

    NEW = "new"
    UPGRADE = "upgrade"
    EXPAND = "expand"
    RENEW = "renew"
    RETAIN = "retain"


class PricePeriod(StrEnum):
    """What a price is for."""

    ONCE = "once"
    MONTH = "month"
    USAGE = "usage"


class EventType(StrEnum):
    """What happened to an offer, or to a client."""

    IMPRESSION = "impression"
    CLICK = "click"
    APPLICATION = "application"
    ACTIVATION = "activation"
    DISMISSAL = "dismissal"
    DISCONNECTION = "disconnection"
    COMPLAINT = "complaint"


class MemberRole(StrEnum):
    """What a member is in its company."""

    ADMINISTRATOR = "administrator"
    FINANCE = "finance"
    EMPLOYEE = "employee"


class DismissalReason(StrEnum):
    """Why a member put an offer aside; each reason has a cool-down of its own."""

    NOT_NOW = "not_now"
    IRRELEVANT = "irrelevant"
    HAVE_ELSEWHERE = "have_elsewhere"
    TOO_EXPENSIVE = "too_expensive"


class Language(StrEnum):
    """Languages in which titles and reasons exist."""

    RU = "ru"
    EN = "en"


class Target(StrEnum):
    """What a probability is a probability of; the two are never confused.

    ``acceptance``: activation within the window after the first impression, learnt from exposures.
    ``adoption``: first holding within the horizon, learnt from holdings.
    """

    ACCEPTANCE = "acceptance"
    ADOPTION = "adoption"


class Basis(StrEnum):
    """On what a client's scores rest."""

    HOLDINGS = "holdings"
    PROFILE = "profile"
    POPULATION = "population"


class HoldingsKind(StrEnum):
    """What a row of ``holdings`` means in a dataset.

    ``subscriptions``: the client has the service from connected_at until disconnected_at.
    ``purchases``: the client bought the product at connected_at; nothing goes on afterwards.
    """

    SUBSCRIPTIONS = "subscriptions"
    PURCHASES = "purchases"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a company apart from its holdings and history.

    Attributes:
        name: Company name, for people; no model reads it.
        legal_form: Legal form.
        size: Size class; see `size_of`.
        industry: OKVED section, one letter A–S, or None when unknown.
        region: Region code of the operator, or None.
        stage: Lifecycle stage, or None when unknown.
        n_employees: People employed.
        revenue_minor: Revenue of the last full year.
        client_since_on: First day of the contract.
        is_vip: VIP status.
        vip_reviewed_on: Day on which the VIP status was last granted or reviewed, or None.
        loyalty_points: Points on the client's account.
        account_group_id: The group whose accountant or owner serves several companies, or None.
        tags: Further facts as ``key=value``, for example ``agency=NASA``.
        is_profiling_allowed: The client's profiling switch; off means a non-personalised list.
    """

    name: str | None = None
    legal_form: LegalForm = LegalForm.UNKNOWN
    size: Size = Size.UNKNOWN
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
    tags: tuple[str, ...] = ()
    is_profiling_allowed: bool = True


class Holding(NamedTuple):
    """A service a client has now, or a product it bought.

    Attributes:
        holding_id: Stable id of this connection.
        offer_id: The offer connected.
        connected_at: When it was connected or bought.
        quantity: Seats, SIMs, pieces.
        ends_at: An end that is known already; None = goes on.
        term_ends_on: Last day of the term, where there is one.
    """

    holding_id: str
    offer_id: OfferId
    connected_at: datetime
    quantity: int = 1
    ends_at: datetime | None = None
    term_ends_on: date | None = None


@dataclass(frozen=True, slots=True)
class Dismissal:
    """A member put an offer aside.

    Attributes:
        offer_id: The offer.
        reason: Why.
        dismissed_at: When.
    """

    offer_id: OfferId
    reason: DismissalReason
    dismissed_at: datetime


@dataclass(frozen=True, slots=True)
class ClientState:
    """All that a decision reads of one client, in one piece.

    Attributes:
        client_id: The client.
        version: Grows by one with every change; 0 means that nothing was ever stored.
        profile: The company's profile, or None when only its holdings are known.
        holdings: What the client has now, oldest first.
        past_offer_ids: Offers the client had, or was seen with, before, and does not have now.
        dismissals: The latest dismissal of each offer.
        history: Figures of the latest 16 months known, events and contacts of the last 90 days counted by
            hour, and the latest complaint.
    """

    client_id: ClientId
    version: int = 0
    profile: Profile | None = None
    holdings: tuple[Holding, ...] = ()
    past_offer_ids: tuple[OfferId, ...] = ()
    dismissals: tuple[Dismissal, ...] = ()
    history: History = NO_HISTORY


@dataclass(frozen=True, slots=True)
class Price:
    """One price of an offer.

    Attributes:
        amount_minor: Amount, VAT included.
        period: What the amount is for.
        region: Only in this region; None means everywhere else.
        size: Only for this size class; None means every other.
    """

    amount_minor: int
    period: PricePeriod
    region: str | None = None
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """Something the operator may propose.

    Attributes:
        offer_id: Stable id.
        kind: Own, partner or content.
        title: Title by language.
        supplier_id: Who provides it.
        category: Shelf of the catalogue.
        need_group: Offers of one group meet the same need.
        margin_minor: Expected margin a month.
        prices: Every price; the most specific one applies.
        regions: Where it can be had; empty means everywhere.
        legal_forms: Who may have it; empty means every form.
        requires: All of these groups must be met; a group is met by holding any one of its offers.
        excludes: Offers that cannot stand beside it.
        exclusive_slot: At most one offer of a slot can be held.
        upgrades_to: The next edition.
        valid_from: Live from here on; None means since ever.
        valid_to: Live until here, this moment excluded; None means without end.
        is_stopped: Taken off by hand.
    """

    offer_id: OfferId
    kind: OfferKind = OfferKind.OWN
    title: Mapping[str, str] = field(default_factory=dict)
    supplier_id: str | None = None
    category: str | None = None
    need_group: str | None = None
    margin_minor: int | None = None
    prices: tuple[Price, ...] = ()
    regions: tuple[str, ...] = ()
    legal_forms: tuple[LegalForm, ...] = ()
    requires: tuple[tuple[OfferId, ...], ...] = ()
    excludes: tuple[OfferId, ...] = ()
    exclusive_slot: str | None = None
    upgrades_to: OfferId | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, reported by the portal or another channel.

    Attributes:
        event_id: Stable id; the same id is stored once.
        event_type: What happened.
        client_id: To whom.
        occurred_at: When it happened.
        offer_id: With which offer; None for a complaint about nothing in particular.
        decision_id: The decision that showed the offer, where one did.
        member_id: The member who acted, where known.
        slot: 1-based slot of the decision's list, for impressions and clicks.
        reason: Why, for a dismissal.
        topic: What about, for a complaint.
    """

    event_id: EventId
    event_type: EventType
    client_id: ClientId
    occurred_at: datetime
    offer_id: OfferId | None = None
    decision_id: DecisionId | None = None
    member_id: MemberId | None = None
    slot: int | None = None
    reason: DismissalReason | None = None
    topic: str | None = None


_EMPLOYEE_BOUNDS = ((Size.MICRO, 15), (Size.SMALL, 100), (Size.MEDIUM, 250))
_REVENUE_BOUNDS_MINOR = (
    (Size.MICRO, 12_000_000_000),
    (Size.SMALL, 80_000_000_000),
    (Size.MEDIUM, 200_000_000_000),
)
_SIZE_ORDER = tuple(Size)


def size_of(n_employees: int | None, revenue_minor: int | None) -> Size:
    """Size class of a company: the higher of the classes by staff and by revenue.

    Args:
        n_employees: People employed, ≥0; None when unknown.
        revenue_minor: Yearly revenue in kopecks, ≥0; None when unknown.

    Returns:
        The class; `Size.UNKNOWN` when neither figure is known.

    Source:
        Federal law 209-FZ, article 4 (limits on staff and revenue).

    Example:
        >>> size_of(10, 12_100_000_000)
        <Size.SMALL: 'small'>
    """
    classes = [
        next((size for size, bound in bounds if value <= bound), Size.LARGE)
        for value, bounds in (
            (n_employees, _EMPLOYEE_BOUNDS),
            (revenue_minor, _REVENUE_BOUNDS_MINOR),
        )
        if value is not None
    ]
    return max(classes, key=_SIZE_ORDER.index, default=Size.UNKNOWN)
