"""What the page's buttons do: report, take an offer, switch profiling.

Taking an offer leaves an event and, save for an application, a changed holding. Each is made only once,
however often the page asks: the event's id and the new holding's id come from what was shown to whom, and
a renewal or an expansion says what there will be afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from recsys.data.state import present
from recsys.domain import (
    ClientId,
    ClientState,
    DecisionId,
    Event,
    EventId,
    EventType,
    Holding,
    OfferId,
    Profile,
    Stage,
)
from recsys.errors import ConflictError
from serving.portal.holdings import renewed_until
from serving.portal.questions import EventsQuestion, ExpansionQuestion, RenewalQuestion, ShownOffer
from serving.ports import HoldingChange
from serving.services.clients import get_client, put_client, put_holdings
from serving.services.record_events import record_events
from serving.services.services import Services

_DIGITS = 32


async def report_events(services: Services, question: EventsQuestion) -> int:
    """Store what the page saw; returns how many of the events are new.

    The server's clock dates them, for a browser's may be wrong.

    Raises:
        InvalidEventsError: An event cannot be true; none was stored.
    """
    now = services.clock.now()
    events = tuple(
        Event(
            event_id=EventId(event.event_id),
            event_type=event.event_type,
            client_id=ClientId(question.client_id),
            occurred_at=now,
            offer_id=OfferId(event.offer_id),
            decision_id=DecisionId(event.decision_id),
            slot=event.slot,
            reason=event.reason,
        )
        for event in question.events
    )
    return (await record_events(services, events)).n_accepted


async def connect_offer(services: Services, question: ShownOffer) -> None:
    """Activate an offer that a decision showed, and add the service; an upgrade ends the edition below.

    A company unknown so far becomes a client with its first service.

    Raises:
        InvalidEventsError: The decision did not show this offer there to this company.
        ConflictError: The company has the service already, from another connection; or no price is known
            for it, and nobody connects a service without one.
    """
    now = services.clock.now()
    client_id, offer_id = ClientId(question.client_id), OfferId(question.offer_id)
    holding_id = f"connection-{_digest(question)}"
    state = await _state(services, client_id)
    held_ids = {held.holding_id for held in state.holdings if held.offer_id == offer_id}
    if holding_id in held_ids:
        return
    if held_ids:
        raise ConflictError(f"{offer_id!r} is connected already; reload the page")
    if not _has_price(services, state, offer_id):
        raise ConflictError(f"{offer_id!r} has no price for this company: it is requested, not connected")
    await _record(services, question, EventType.ACTIVATION)
    if state.profile is None:
        newcomer = Profile(stage=Stage.ONBOARDING, client_since_on=now.date())
        await put_client(services, client_id, newcomer)
    connected = HoldingChange(client_id, Holding(holding_id, offer_id, now))
    replaced = [
        HoldingChange(client_id, holding, disconnected_at=now)
        for holding in _editions_below(services, state, offer_id)
    ]
    await put_holdings(services, (connected, *replaced))


async def renew_offer(services: Services, question: RenewalQuestion) -> None:
    """Activate an offer that a decision showed, and give the service a new term.

    Raises:
        InvalidEventsError: The decision did not show this offer there to this company.
        ConflictError: The service is not held any more, or its term is another one than the page showed.
    """
    holding = await _held(services, question)
    if holding.term_ends_on == question.term_ends_on:
        return
    if question.term_ends_on != renewed_until(holding, services.clock.now().date()):
        raise ConflictError("the term has changed meanwhile; reload the page")
    await _record(services, question, EventType.ACTIVATION)
    await _put(services, question, holding._replace(term_ends_on=question.term_ends_on))


async def expand_offer(services: Services, question: ExpansionQuestion) -> None:
    """Activate an offer that a decision showed, and raise the service's quantity.

    Raises:
        InvalidEventsError: The decision did not show this offer there to this company.
        ConflictError: The service is not held any more, or there is more of it already.
    """
    holding = await _held(services, question)
    if holding.quantity == question.quantity:
        return
    if holding.quantity > question.quantity:
        raise ConflictError(f"there are {holding.quantity} already; reload the page")
    await _record(services, question, EventType.ACTIVATION)
    await _put(services, question, holding._replace(quantity=question.quantity))


async def apply_for_offer(services: Services, question: ShownOffer) -> None:
    """Take the company's wish to be called about an offer that a decision showed.

    Raises:
        InvalidEventsError: The decision did not show this offer there to this company.
    """
    await _record(services, question, EventType.APPLICATION)


async def switch_profiling(services: Services, client_id: str, *, is_allowed: bool) -> None:
    """Turn the company's profiling switch; the next list obeys it.

    Raises:
        UnknownClientError: The company is not stored.
    """
    state = await get_client(services, ClientId(client_id))
    profile = replace(state.profile or Profile(), is_profiling_allowed=is_allowed)
    await put_client(services, state.client_id, profile)


async def _record(services: Services, question: ShownOffer, event_type: EventType) -> None:
    event = Event(
        event_id=EventId(f"{event_type.value}-{_digest(question)}"),
        event_type=event_type,
        client_id=ClientId(question.client_id),
        occurred_at=services.clock.now(),
        offer_id=OfferId(question.offer_id),
        decision_id=DecisionId(question.decision_id),
        slot=question.slot,
    )
    try:
        await record_events(services, (event,))
    except ConflictError:
        # the id says all but the moment, so this is a retry, which comes at another one
        return


def _digest(question: ShownOffer) -> str:
    """What was shown to whom, as a short text."""
    shown = (question.client_id, question.decision_id, str(question.slot), question.offer_id)
    return sha256("\n".join(shown).encode()).hexdigest()[:_DIGITS]


async def _state(services: Services, client_id: ClientId) -> ClientState:
    """What the company has now; of an unknown one nothing."""
    state = await services.ask(services.store.client_state, client_id)
    return ClientState(client_id) if state is None else present(state, services.clock.now())


async def _held(services: Services, question: RenewalQuestion | ExpansionQuestion) -> Holding:
    state = await _state(services, ClientId(question.client_id))
    for holding in state.holdings:
        if (holding.holding_id, holding.offer_id) == (question.holding_id, question.offer_id):
            return holding
    raise ConflictError(f"{question.offer_id!r} is not connected any more; reload the page")


async def _put(services: Services, question: ShownOffer, holding: Holding) -> None:
    change = HoldingChange(ClientId(question.client_id), holding, disconnected_at=holding.ends_at)
    await put_holdings(services, (change,))


def _has_price(services: Services, state: ClientState, offer_id: OfferId) -> bool:
    """Whether it is known what an offer of the catalogue costs this company."""
    catalogue, profile = services.scoring.world.catalogue, state.profile or Profile()
    position = catalogue.positions.get(offer_id)
    return position is None or catalogue.prices(profile.region, profile.size)[position] is not None


def _editions_below(services: Services, state: ClientState, offer_id: OfferId) -> list[Holding]:
    """What the company holds now that this offer is the next edition of."""
    offers = services.scoring.world.catalogue.offers
    below = {offer.offer_id for offer in offers if offer.upgrades_to == offer_id}
    return [holding for holding in state.holdings if holding.offer_id in below]
