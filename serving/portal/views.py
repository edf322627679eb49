"""What the page is told: one answer holds everything that it shows of a company."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime

from pydantic import BaseModel

from recsys.decision.catalogue import CompiledCatalogue
from recsys.domain import Change, ClientState, Holding, Language, Profile
from serving.portal.accounts import Silence
from serving.portal.holdings import full_months, holding_to_change, renewed_until
from serving.services.recommendation import Item, Recommendation, RecommendedList
from serving.services.world import World

_A_HANDFUL = 5
_UNKNOWN = Profile()


class ClientCard(BaseModel):
    """A company, as the page shows it."""

    client_id: str
    is_known: bool
    is_former: bool
    n_holdings: int
    name: str | None
    legal_form: str | None
    size: str | None
    industry: str | None
    region: str | None
    stage: str | None
    n_employees: int | None
    client_since_on: date | None
    n_tenure_months: int | None
    is_vip: bool
    loyalty_points: int
    is_profiling_allowed: bool


class ClientCards(BaseModel):
    """Several companies."""

    clients: list[ClientCard]


class MonthCard(BaseModel):
    """The company's figures of one month; null = unknown."""

    month_on: date
    n_sims_employees: int | None
    n_sims_field: int | None
    n_sims_devices: int | None
    spend_minor: int | None
    data_megabytes: int | None


class EventsAnswer(BaseModel):
    """How many of the reported events were not stored before."""

    n_new: int


class ServiceRow(BaseModel):
    """A connected service."""

    offer_id: str
    title: str
    kind: str
    supplier: str | None
    connected_at: datetime
    quantity: int
    term_ends_on: date | None


def client_card(client_id: str, state: ClientState | None, today: date) -> ClientCard:
    """A company's card; of an unknown one only the id is known."""
    profile = (state.profile if state else None) or _UNKNOWN
    since = profile.client_since_on
    return ClientCard(
        client_id=client_id,
        is_known=state is not None and _says_something(state),
        is_former=state is not None and _is_former(state),
        n_holdings=len(state.holdings) if state else 0,
        name=profile.name,
        legal_form=profile.legal_form.value if state else None,
        size=profile.size.value if state else None,
        industry=profile.industry,
        region=profile.region,
        stage=profile.stage.value if profile.stage else None,
        n_employees=profile.n_employees,
        client_since_on=since,
        n_tenure_months=None if since is None else full_months(since, today),
        is_vip=profile.is_vip,
        loyalty_points=profile.loyalty_points,
        is_profiling_allowed=profile.is_profiling_allowed,
    )


def month_card(state: ClientState | None) -> MonthCard | None:
    """The figures of the latest month known."""
    if state is None or not state.history.months:
        return None
    return MonthCard.model_validate(state.history.months[-1]._asdict(), extra="ignore")


def service_rows(
    holdings: Iterable[Holding], catalogue: CompiledCatalogue, language: Language
) -> list[ServiceRow]:
    """The connected services, newest first; one that left the catalogue is called by its id."""
    newest_first = sorted(
        holdings, key=lambda holding: (holding.connected_at, holding.holding_id), reverse=True
    )
    return [_service_row(holding, catalogue, language) for holding in newest_first]


def _service_row(holding: Holding, catalogue: CompiledCatalogue, language: Language) -> ServiceRow:
    position = catalogue.positions.get(holding.offer_id)
    text = None if position is None else catalogue.texts[language][position]
    return ServiceRow(
        offer_id=holding.offer_id,
        title=text.title if text else holding.offer_id,
        kind=text.kind if text else "own",
        supplier=text.supplier_id if text else None,
        connected_at=holding.connected_at,
        quantity=holding.quantity,
        term_ends_on=holding.term_ends_on,
    )


def telling_examples(states: Iterable[ClientState], n_wanted: int) -> list[ClientState]:
    """A few companies that differ in what matters to a list: stage, size, legal form, VIP, services.

    Args:
        states: Companies to choose from, in an order that does not change; a former client, of whom only
            the past is known, is left out.
        n_wanted: How many at most.

    Returns:
        Together they show as many differences as they can; those with a handful of services come first,
        for their lists tell most.
    """
    left = {state.client_id: state for state in states if _says_something(state)}
    chosen: list[ClientState] = []
    shown: set[tuple[str, object]] = set()
    while left and len(chosen) < n_wanted:
        best = max(left.values(), key=lambda state: (len(_traits(state) - shown), -_distance(state)))
        shown |= _traits(best)
        chosen.append(left.pop(best.client_id))
    return sorted(chosen, key=_distance)


def _says_something(state: ClientState) -> bool:
    """Whether anything is known of a company as it is now."""
    return state.profile is not None or bool(state.holdings)


def _is_former(state: ClientState) -> bool:
    """Whether a company was a client once; a guest that was only shown something was none."""
    return not _says_something(state) and bool(state.past_offer_ids or state.history.months)


def _distance(state: ClientState) -> int:
    """How far a company is from having a handful of services."""
    return abs(len(state.holdings) - _A_HANDFUL)


def _traits(state: ClientState) -> set[tuple[str, object]]:
    profile = state.profile or _UNKNOWN
    traits: set[tuple[str, object]] = {
        ("stage", profile.stage),
        ("size", profile.size),
        ("legal_form", profile.legal_form),
        ("has_holdings", bool(state.holdings)),
    }
    if profile.is_vip:
        traits.add(("is_vip", True))
    return traits


class PriceTag(BaseModel):
    """A price for this company."""

    amount_minor: int
    period: str


class HeldService(BaseModel):
    """What the company has of an offer that would change it."""

    holding_id: str
    quantity: int
    term_ends_on: date | None
    renewed_until: date


class OfferCard(BaseModel):
    """One offer of a list."""

    decision_id: str
    slot: int
    offer_id: str
    title: str
    kind: str
    supplier: str | None
    category: str | None
    change: Change
    held: HeldService | None
    replaces: str | None
    price: PriceTag | None
    reasons: list[str]
    probability: float | None
    logging_probability: float


class VersionsUsed(BaseModel):
    """What a list was made with."""

    policy: str
    catalogue: str
    bundle: str | None
    state: int


class PlacementList(BaseModel):
    """The list of one placement, with what explains it."""

    placement_id: str
    decision_id: str
    valid_until: datetime
    is_personalised: bool
    degraded: str | None
    basis: str
    target: str | None
    versions: VersionsUsed
    items: list[OfferCard]
    silences: list[Silence]


class View(BaseModel):
    """Everything that the page shows of one company."""

    client: ClientCard
    month: MonthCard | None
    complaint_until: datetime | None
    currency: str | None
    holdings: list[ServiceRow]
    placements: list[PlacementList]


class CardWriter:
    """Writes the cards of one company.

    Args:
        world: Its catalogue knows which edition follows which.
        state: What the company has now.
        language: Language of the titles.
        today: From which a term that is past is renewed.
    """

    def __init__(self, world: World, state: ClientState, language: Language, today: date) -> None:
        self._catalogue = world.catalogue
        self._holdings = state.holdings
        self._language = language
        self._today = today

    def write(self, decision_id: str, item: Item) -> OfferCard:
        """The card of one offer."""
        price, offer = item.price, item.offer
        return OfferCard(
            decision_id=decision_id,
            slot=item.rank,
            offer_id=offer.offer_id,
            title=offer.title,
            kind=offer.kind,
            supplier=offer.supplier_id,
            category=offer.category,
            change=item.change,
            held=self._held(offer.offer_id, item.change),
            replaces=self._replaced(offer.offer_id) if item.change is Change.UPGRADE else None,
            price=PriceTag(amount_minor=price.amount_minor, period=price.period.value) if price else None,
            reasons=[reason.text for reason in item.reasons],
            probability=item.probability,
            logging_probability=item.logging_probability,
        )

    def _held(self, offer_id: str, change: Change) -> HeldService | None:
        holding = holding_to_change(self._holdings, offer_id, change)
        if holding is None:
            return None
        return HeldService(
            holding_id=holding.holding_id,
            quantity=holding.quantity,
            term_ends_on=holding.term_ends_on,
            renewed_until=renewed_until(holding, self._today),
        )

    def _replaced(self, offer_id: str) -> str | None:
        """The edition that the company has now."""
        position = self._catalogue.positions[offer_id]
        for holding in self._holdings:
            if self._catalogue.upgrades.get(holding.offer_id) == position:
                return self._catalogue.title(holding.offer_id, self._language)
        return None


def placement_list(
    recommendation: Recommendation, shown: RecommendedList, cards: CardWriter, silences: list[Silence]
) -> PlacementList:
    """One list of an answer, as the page shows it."""
    return PlacementList(
        placement_id=shown.placement_id,
        decision_id=shown.decision_id,
        valid_until=recommendation.valid_until,
        is_personalised=recommendation.is_personalised,
        degraded=recommendation.degraded,
        basis=recommendation.basis.value,
        target=recommendation.target.value if recommendation.target else None,
        versions=VersionsUsed(**asdict(recommendation.versions)),
        items=[cards.write(shown.decision_id, item) for item in shown.items],
        silences=silences,
    )
