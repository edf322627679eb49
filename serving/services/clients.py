"""Clients, their holdings, and the offers in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from recsys.data.state import forget, present
from recsys.domain import ClientId, ClientState, Offer, Profile
from recsys.errors import InvalidRequestError, UnknownClientError
from recsys.features.spec import Feature
from serving.ports import MAX_CLOCK_SKEW, HoldingChange, MonthChange, PutClient, PutHoldings, PutMonths
from serving.services.services import Services


@dataclass(frozen=True, slots=True)
class OffersInForce:
    """The catalogue as requests use it now.

    Attributes:
        version: Digest of the offers.
        currency: ISO code of every price; None when the data names none.
        offers: Ordered by offer_id; stopped and outdated ones too.
    """

    version: str
    currency: str | None
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class ClientFeatures:
    """What a model sees of a client at a moment.

    Attributes:
        state_version: Version of the state behind it.
        read_at: The moment.
        spec_digest: Digest of all features' names, units and ranges.
        features: Names, units and ranges.
        values: One for each feature; NaN = unknown.
    """

    state_version: int
    read_at: datetime
    spec_digest: str
    features: tuple[Feature, ...]
    values: tuple[float, ...]


async def get_client(services: Services, client_id: ClientId) -> ClientState:
    """A client's state.

    Raises:
        UnknownClientError: There is no such client.
    """
    state = await services.ask(services.store.client_state, client_id)
    if state is None:
        raise UnknownClientError(client_id, f"create it with PUT /v1/clients/{client_id}")
    now = services.clock.now()
    return forget(present(state, now), now)


async def get_features(services: Services, client_id: ClientId) -> ClientFeatures:
    """The numbers that models read of a client now.

    Raises:
        UnknownClientError: There is no such client.
    """
    state = await get_client(services, client_id)
    now = services.clock.now()
    features = services.scoring.world.ranking.features
    return ClientFeatures(
        state_version=state.version,
        read_at=now,
        spec_digest=features.spec.digest,
        features=features.spec.client,
        values=tuple(features.client_row(state, now).tolist()),
    )


async def put_client(services: Services, client_id: ClientId, profile: Profile) -> ClientState:
    """Create a client, or replace its profile from now on; returns the new state."""
    state = await services.commits.submit(PutClient(client_id, profile, services.clock.now()))
    if not isinstance(state, ClientState):
        raise TypeError(f"the store answered PutClient with {type(state).__name__}")
    return state


async def put_holdings(services: Services, changes: Sequence[HoldingChange]) -> dict[str, ClientState]:
    """Connect, change or end holdings, all or none; returns the new states by client.

    A connection in the future is announced: decisions know it from its moment on.

    Raises:
        InvalidRequestError: An end lies before its connection.
        UnknownClientError: A client is not stored.
        UnknownOfferError: An offer is not stored.
        ConflictError: A holding_id belongs to another client or offer.
    """
    now = services.clock.now()
    for index, change in enumerate(changes):
        connected_at, ended_at = change.holding.connected_at, change.disconnected_at
        if ended_at is not None and ended_at < connected_at:
            raise InvalidRequestError(f"holdings.{index}.disconnected_at", "it lies before connected_at")
    # a portal's clock may run ahead; what it connected is held from now on, not in a minute
    begun = [
        replace(change, holding=change.holding._replace(connected_at=now))
        if now < change.holding.connected_at <= now + MAX_CLOCK_SKEW
        else change
        for change in changes
    ]
    states = await services.commits.submit(PutHoldings(tuple(begun), now))
    if not isinstance(states, dict):
        raise TypeError(f"the store answered PutHoldings with {type(states).__name__}")
    return states


async def put_months(services: Services, changes: Sequence[MonthChange]) -> dict[str, ClientState]:
    """Store monthly figures, all or none; returns the new states by client.

    Raises:
        InvalidRequestError: A month has not begun yet.
        UnknownClientError: A client is not stored.
    """
    now = services.clock.now()
    for index, change in enumerate(changes):
        if change.figures.month_on > (now + MAX_CLOCK_SKEW).date():
            raise InvalidRequestError(f"months.{index}.month_on", "it lies in the future")
    states = await services.commits.submit(PutMonths(tuple(changes), now))
    if not isinstance(states, dict):
        raise TypeError(f"the store answered PutMonths with {type(states).__name__}")
    return states


async def find_clients(services: Services, text: str, limit: int) -> list[ClientState]:
    """Clients whose id or name contains the text, ordered by name, then id."""
    return await services.read(services.store.find_clients, text, limit)


def list_offers(services: Services) -> OffersInForce:
    """The offers in force."""
    world = services.scoring.world
    return OffersInForce(world.catalogue.version, world.currency, world.catalogue.offers)
