"""Bodies of answers, as they are documented."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from recsys.decision.refusals import RefusalStage
from recsys.domain import (
    Basis,
    Change,
    ClientState,
    DismissalReason,
    EventType,
    LegalForm,
    Offer,
    OfferKind,
    PricePeriod,
    Size,
    Stage,
)
from serving.services.clients import ClientFeatures, OffersInForce


class PriceAnswer(BaseModel):
    """A price, VAT included."""

    amount_minor: int
    currency: str | None
    period: PricePeriod


class ReasonAnswer(BaseModel):
    """Why an offer is shown."""

    code: str
    text: str


class ItemAnswer(BaseModel):
    """One offer of a list. Of the two probabilities the one that the models estimate is there."""

    offer_id: str
    change: Change
    rank: int
    adoption_probability: float | None = Field(
        None, description="P(first holding within the horizon), 0–1; null without models"
    )
    acceptance_probability: float | None = Field(
        None, description="P(activation within the window after the first impression), 0–1"
    )
    kind: OfferKind
    supplier_id: str | None
    title: str
    category: str | None
    price: PriceAnswer | None = Field(description="for this client; null where no price is known")
    reasons: list[ReasonAnswer]
    logging_probability: float = Field(description="P(this offer at this rank | the ranks above), 0–1")


class RefusalAnswer(BaseModel):
    """An offer that may not be shown, and the first rule that says so."""

    offer_id: str
    stage: RefusalStage
    rule: str = Field(description="id of the rule: the policy's, or a built-in one")


class PlacementAnswer(BaseModel):
    """The list for one placement; shorter than asked for where nothing else may be shown."""

    placement_id: str
    decision_id: str = Field(description="events about this list refer to it")
    valid_until: datetime = Field(description="until then the same question gets the same draws")
    items: list[ItemAnswer]
    refused: list[RefusalAnswer] | None = Field(None, description="only with explain")


class VersionsAnswer(BaseModel):
    """What the answer was made with."""

    policy: str
    catalogue: str
    bundle: str | None
    state: int


class RecommendationsAnswer(BaseModel):
    """The lists for one client."""

    request_id: str | None
    client_id: str
    client_known: bool
    basis: Basis
    personalised: bool
    held_out: bool = Field(
        description="the client is held out, to measure: it sees business as usual; for logs, not for people"
    )
    degraded: str | None = Field(
        description="why a fallback was used: no_bundle, bundle_corrupt, bundle_incompatible, scoring_failed,"
        " arm_unavailable (what an experiment's arm asks for cannot be had; what is in force decided),"
        " store_unavailable (the database is away: the client as this worker last knew it)"
    )
    logged: bool = Field(
        description="whether the decisions are kept, to be audited and learnt from; false only where neither"
        " the database nor the journal could be written: events about them will be refused"
    )
    versions: VersionsAnswer
    placements: list[PlacementAnswer]


class EventsAnswer(BaseModel):
    """What became of a batch of events."""

    accepted: int
    duplicates: int


class ProfileAnswer(BaseModel):
    """What is known of a company."""

    name: str | None
    legal_form: LegalForm
    size: Size
    industry: str | None
    region: str | None
    stage: Stage | None
    n_employees: int | None
    revenue_minor: int | None
    client_since_on: date | None
    is_vip: bool
    vip_reviewed_on: date | None
    loyalty_points: int
    account_group_id: str | None
    tags: list[str]
    is_profiling_allowed: bool


class HoldingAnswer(BaseModel):
    """A connected service."""

    holding_id: str
    offer_id: str
    connected_at: datetime
    quantity: int
    ends_at: datetime | None = Field(description="an end that is known already")
    term_ends_on: date | None = Field(description="last day of the term, where there is one")


class MonthAnswer(BaseModel):
    """A client's figures of one month; null = unknown."""

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


class ActivityAnswer(BaseModel):
    """Events of one type about one offer within an hour."""

    hour_at: datetime = Field(description="begin of the hour")
    offer_id: str | None
    event_type: EventType
    n_events: int


class ComplaintAnswer(BaseModel):
    """The latest complaint."""

    complained_at: datetime
    topic: str | None
    offer_id: str | None


class DismissalAnswer(BaseModel):
    """An offer that was put aside."""

    offer_id: str
    reason: DismissalReason
    dismissed_at: datetime


class ClientAnswer(BaseModel):
    """A client's state, as decisions read it."""

    client_id: str
    state_version: int
    profile: ProfileAnswer | None
    holdings: list[HoldingAnswer]
    past_offer_ids: list[str]
    dismissals: list[DismissalAnswer]
    months: list[MonthAnswer] = Field(description="the latest 16 known, oldest first")
    activity: list[ActivityAnswer] = Field(description="of the last 90 days, oldest first")
    complaint: ComplaintAnswer | None


class FeatureAnswer(BaseModel):
    """One number that models read."""

    name: str
    unit: str
    value: float | None = Field(description="null = unknown")


class FeaturesAnswer(BaseModel):
    """What a model sees of a client now."""

    client_id: str
    state_version: int
    read_at: datetime
    spec: str = Field(description="digest of all features' names, units and ranges")
    features: list[FeatureAnswer]


class ClientVersion(BaseModel):
    """A client whose state was written."""

    client_id: str
    state_version: int


class ClientVersionsAnswer(BaseModel):
    """The clients concerned, with the new versions of their states."""

    clients: list[ClientVersion]


class OfferPriceAnswer(BaseModel):
    """One price of an offer; the most specific one applies."""

    amount_minor: int
    period: PricePeriod
    region: str | None
    size: Size | None


class OfferAnswer(BaseModel):
    """An offer with its rules."""

    offer_id: str
    kind: OfferKind
    title: dict[str, str]
    supplier_id: str | None
    category: str | None
    need_group: str | None
    prices: list[OfferPriceAnswer]
    regions: list[str]
    legal_forms: list[LegalForm]
    requires: list[list[str]] = Field(description="of every group any one must be held")
    excludes: list[str]
    exclusive_slot: str | None
    upgrades_to: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    is_stopped: bool


class OffersAnswer(BaseModel):
    """The catalogue in force."""

    version: str
    currency: str | None
    offers: list[OfferAnswer]


class HealthAnswer(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class SourceAnswer(BaseModel):
    """How old a loaded table is."""

    source: str
    newest_recorded_at: datetime | None
    loaded_at: datetime
    age_seconds: float


class ReadyAnswer(BaseModel):
    """The parts that an answer needs."""

    status: Literal["ready", "degraded", "unready", "draining"] = Field(
        description="degraded = requests are answered, by a labelled fallback, or see `faults`; draining ="
        " the server is about to end: answers still, but send nothing new"
    )
    faults: list[str] = Field(description="what is wrong apart from models, one sentence each")
    looked_seconds_ago: float | None = Field(
        description="since this worker last saw catalogue, policy and stops; null = never"
    )
    database: Literal["ok", "unavailable"]
    bundle: str | None
    bundle_by: str = Field(description="by whose word these models are in use: an order, or their date alone")
    shadow: str | None = Field(description="models that are tried beside them and shown to nobody")
    policy: str | None
    degraded: str | None
    catalogue: str | None
    n_offers: int
    sources: list[SourceAnswer]


def client_answer(state: ClientState) -> ClientAnswer:
    """A state as an answer."""
    activity = state.history.activity
    return ClientAnswer.model_validate(
        {
            "client_id": state.client_id,
            "state_version": state.version,
            "profile": state.profile,
            "holdings": state.holdings,
            "past_offer_ids": state.past_offer_ids,
            "dismissals": state.dismissals,
            "months": state.history.months,
            "activity": [
                {
                    "hour_at": datetime.fromtimestamp(hour * 3600, UTC),
                    "offer_id": offer_id or None,
                    "event_type": event_type,
                    "n_events": n,
                }
                for hour, offer_id, event_type, n in zip(
                    activity.hours, activity.offer_ids, activity.event_types, activity.counts, strict=True
                )
            ],
            "complaint": state.history.complaint,
        },
        from_attributes=True,
    )


def versions_answer(states: Mapping[str, ClientState]) -> ClientVersionsAnswer:
    """Versions of states as an answer, by client."""
    return ClientVersionsAnswer(
        clients=[
            ClientVersion(client_id=client_id, state_version=state.version)
            for client_id, state in sorted(states.items())
        ]
    )


def features_answer(client_id: str, found: ClientFeatures) -> FeaturesAnswer:
    """Features as an answer."""
    return FeaturesAnswer(
        client_id=client_id,
        state_version=found.state_version,
        read_at=found.read_at,
        spec=found.spec_digest,
        features=[
            FeatureAnswer(name=each.name, unit=each.unit, value=value if math.isfinite(value) else None)
            for each, value in zip(found.features, found.values, strict=True)
        ],
    )


def offers_answer(offers: OffersInForce) -> OffersAnswer:
    """The catalogue as an answer; margins stay inside."""
    return OffersAnswer(
        version=offers.version, currency=offers.currency, offers=[_offer_answer(one) for one in offers.offers]
    )


def _offer_answer(offer: Offer) -> OfferAnswer:
    return OfferAnswer.model_validate(offer, from_attributes=True)
