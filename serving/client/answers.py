"""What the service answers, as frozen dataclasses.

Every name is the one of the HTTP API. Choices (``change``, ``kind``, ``basis`` …) are texts: a newer service
may know more of them. Fields that this client does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Price:
    """A price, VAT included, in minor units."""

    amount_minor: int
    currency: str | None
    period: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer is shown."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One offer of a list.

    Attributes:
        offer_id: The offer.
        change: ``new``, ``upgrade``, ``expand``, ``renew`` or ``retain``.
        rank: 1-based; the slot of its events.
        kind: ``own``, ``partner`` or ``content``.
        supplier_id: The partner.
        title: In the language asked for.
        category: Of the catalogue.
        price: For this client; None where none is known.
        reasons: Why it is shown, the best first.
        logging_probability: P(this offer at this rank | the ranks above), 0–1.
        adoption_probability: P(first holding within the horizon), 0–1, where the models estimate that.
        acceptance_probability: P(activation within the window after the first impression), 0–1, likewise.
    """

    offer_id: str
    change: str
    rank: int
    kind: str
    supplier_id: str | None
    title: str
    category: str | None
    price: Price | None
    reasons: tuple[Reason, ...]
    logging_probability: float
    adoption_probability: float | None = None
    acceptance_probability: float | None = None


@dataclass(frozen=True, slots=True)
class RefusedOffer:
    """An offer that may not be shown, and the first rule that says so."""

    offer_id: str
    stage: str
    rule: str


@dataclass(frozen=True, slots=True)
class Placement:
    """The list of one place; shorter than asked for where nothing else may be shown.

    Attributes:
        placement_id: The place.
        decision_id: What events about this list refer to.
        valid_until: Until then the same question gets the same draws.
        items: The offers in order.
        refused: Those that may not be shown; None unless asked for.
    """

    placement_id: str
    decision_id: str
    valid_until: datetime
    items: tuple[Item, ...]
    refused: tuple[RefusedOffer, ...] | None = None


@dataclass(frozen=True, slots=True)
class Versions:
    """What an answer was made with."""

    policy: str
    catalogue: str
    bundle: str | None
    state: int


@dataclass(frozen=True, slots=True)
class Recommendations:
    """The lists for one client.

    Attributes:
        client_id: The company.
        client_known: Whether a profile of it is stored.
        basis: ``holdings``, ``profile`` or ``population``.
        personalised: Whether the lists rest on the client's own data.
        held_out: Whether it sees business as usual, to measure.
        degraded: Why a fallback was used; None = none was.
        versions: What the answer was made with.
        placements: The lists, in the order asked for.
        request_id: The question's.
        logged: Whether the decision is kept; events about one that is not are refused.
    """

    client_id: str
    client_known: bool
    basis: str
    personalised: bool
    held_out: bool
    degraded: str | None
    versions: Versions
    placements: tuple[Placement, ...]
    request_id: str | None = None
    logged: bool = True

    def placement(self, placement_id: str) -> Placement:
        """The list of a place.

        Raises:
            KeyError: It was not asked for.
        """
        for each in self.placements:
            if each.placement_id == placement_id:
                return each
        raise KeyError(placement_id)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch of events: each is new, or was known already."""

    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Cure:
    """The one step that would help."""

    code: str
    text: str
    offer_ids: tuple[str, ...]
    from_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an offer may not be had, in words for the client."""

    offer_id: str
    title: str
    change: str
    stage: str
    rule: str
    code: str
    text: str
    cure: Cure | None


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether the client may have the offer.

    Attributes:
        offer_id: The offer.
        title: In the language asked for.
        is_eligible: Whether it may be connected.
        change: What it would be.
        price: For this client; None where none is known.
        refused_by: Why not, and what would help; None where it may.
        is_proposed: Whether the policy would propose it by itself.
    """

    offer_id: str
    title: str
    is_eligible: bool
    change: str
    price: Price | None
    refused_by: Refusal | None
    is_proposed: bool


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """What is known of a company."""

    name: str | None
    legal_form: str
    size: str
    industry: str | None
    region: str | None
    stage: str | None
    n_employees: int | None
    revenue_minor: int | None
    client_since_on: date | None
    is_vip: bool
    vip_reviewed_on: date | None
    loyalty_points: int
    account_group_id: str | None
    tags: tuple[str, ...]
    is_profiling_allowed: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A connected service."""

    holding_id: str
    offer_id: str
    connected_at: datetime
    quantity: int
    ends_at: datetime | None
    term_ends_on: date | None


@dataclass(frozen=True, slots=True)
class KnownMonth:
    """A client's figures of one month; None = unknown."""

    month_on: date
    n_sims_employees: int | None
    n_sims_field: int | None
    n_sims_devices: int | None
    spend_minor: int | None
    voice_minutes: int | None
    data_megabytes: int | None
    n_sms: int | None
    overage_share: float | None
    roaming_share: float | None
    m2m_share: float | None
    overdue_days: int | None


@dataclass(frozen=True, slots=True)
class Activity:
    """Events of one type about one offer within an hour."""

    hour_at: datetime
    offer_id: str | None
    event_type: str
    n_events: int


@dataclass(frozen=True, slots=True)
class Complaint:
    """The latest complaint."""

    complained_at: datetime
    topic: str | None
    offer_id: str | None


@dataclass(frozen=True, slots=True)
class Dismissal:
    """An offer that was put aside."""

    offer_id: str
    reason: str
    dismissed_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """All that decisions read of a client."""

    client_id: str
    state_version: int
    profile: KnownProfile | None
    holdings: tuple[Held, ...]
    past_offer_ids: tuple[str, ...]
    dismissals: tuple[Dismissal, ...]
    months: tuple[KnownMonth, ...]
    activity: tuple[Activity, ...]
    complaint: Complaint | None


@dataclass(frozen=True, slots=True)
class OfferPrice:
    """One price of an offer; the most specific one applies."""

    amount_minor: int
    period: str
    region: str | None
    size: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer with its rules.

    Attributes:
        requires: Of every group any one must be held.

    The others are those of the table ``offers``.
    """

    offer_id: str
    kind: str
    title: Mapping[str, str]
    supplier_id: str | None
    category: str | None
    need_group: str | None
    prices: tuple[OfferPrice, ...]
    regions: tuple[str, ...]
    legal_forms: tuple[str, ...]
    requires: tuple[tuple[str, ...], ...]
    excludes: tuple[str, ...]
    exclusive_slot: str | None
    upgrades_to: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    is_stopped: bool


@dataclass(frozen=True, slots=True)
class Offers:
    """The catalogue in force."""

    version: str
    currency: str | None
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """How old a loaded table is."""

    source: str
    newest_recorded_at: datetime | None
    loaded_at: datetime
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be answered: ``ready``, ``degraded`` or ``unready``."""

    status: str
    faults: tuple[str, ...]
    looked_seconds_ago: float | None
    database: str
    bundle: str | None
    bundle_by: str
    shadow: str | None
    policy: str | None
    degraded: str | None
    catalogue: str | None
    n_offers: int
    sources: tuple[Source, ...]
