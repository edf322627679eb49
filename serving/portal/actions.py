"""What the page's buttons do: report, connect, switch profiling."""

from __future__ import annotations

from dataclasses import replace

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
from serving.portal.questions import ConnectionQuestion, EventsQuestion
from serving.ports import HoldingChange
from serving.services.clients import get_client, put_client, put_holdings
from serving.services.record_events import record_events
from serving.services.services import Services


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


async def connect_offer(services: Services, question: ConnectionQuestion) -> None:
    """Activate an offer that a decision showed, and add the service; an upgrade ends the edition below.

    A company unknown so far becomes a client with its first service.

    Raises:
        InvalidEventsError: The decision did not show this offer there to this company.
    """
    now = services.clock.now()
    client_id, offer_id = ClientId(question.client_id), OfferId(question.offer_id)
    activation = Event(
        event_id=EventId(f"activation-{question.connection_id}"),
        event_type=EventType.ACTIVATION,
        client_id=client_id,
        occurred_at=now,
        offer_id=offer_id,
        decision_id=DecisionId(question.decision_id),
        slot=question.slot,
    )
    state = await services.read(services.store.client_state, client_id)
    # A retry comes at another moment, so its activation would contradict the one that is stored.
    if state is not None and _is_connected(state, question.connection_id, offer_id):
        return
    await record_events(services, (activation,))
    if state is None or state.profile is None:
        newcomer = Profile(stage=Stage.ONBOARDING, client_since_on=now.date())
        await put_client(services, client_id, newcomer)
    connected = HoldingChange(client_id, Holding(question.connection_id, offer_id, now))
    replaced = [
        HoldingChange(client_id, holding, disconnected_at=now)
        for holding in _editions_below(services, state, offer_id)
    ]
    await put_holdings(services, (connected, *replaced))


def _is_connected(state: ClientState, connection_id: str, offer_id: OfferId) -> bool:
    return any((held.holding_id, held.offer_id) == (connection_id, offer_id) for held in state.holdings)


def _editions_below(services: Services, state: ClientState | None, offer_id: OfferId) -> list[Holding]:
    """What the company holds now that this offer is the next edition of."""
    offers = services.scoring.world.catalogue.offers
    below = {offer.offer_id for offer in offers if offer.upgrades_to == offer_id}
    return [holding for holding in (state.holdings if state else ()) if holding.offer_id in below]


async def switch_profiling(services: Services, client_id: str, *, is_allowed: bool) -> None:
    """Turn the company's profiling switch; the next list obeys it.

    Raises:
        UnknownClientError: The company is not stored.
    """
    state = await get_client(services, ClientId(client_id))
    profile = replace(state.profile or Profile(), is_profiling_allowed=is_allowed)
    await put_client(services, state.client_id, profile)
