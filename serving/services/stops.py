"""Use cases: take an offer off in every worker at once, and put it back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from recsys.config import nearest_name
from recsys.domain import Offer
from recsys.errors import ConflictError, UnknownOfferError
from serving.orders import OfferStop, standing_stops, stops_in_force
from serving.ports import Store
from serving.services.moments import effective_from


@dataclass(frozen=True, slots=True)
class StopOrder:
    """What is to be done with an offer.

    Attributes:
        offer_id: The offer.
        is_stopped: True = take it off, False = put it back.
        reason: Why, for people.
        author: Who says so.
        effective_at: From when on; None = at once.
    """

    offer_id: str
    is_stopped: bool
    reason: str
    author: str
    effective_at: datetime | None = None


class Said(NamedTuple):
    """What came of an order.

    Attributes:
        stop: As it is stored.
        warnings: What the order does not bring about, one sentence for each.
    """

    stop: OfferStop
    warnings: tuple[str, ...]


def order_stop(store: Store, order: StopOrder, now: datetime) -> Said:
    """Stop or resume an offer; what was said before stays readable.

    A resumption lifts what is in force at its moment, and calls off what is announced for later.

    Raises:
        UnknownOfferError: The catalogue has no such offer; the text names the one most like it.
        ConflictError: No stop of the offer stands, so it cannot be resumed here.
        InvalidRequestError: It is to take effect in the past.
    """
    offers: dict[str, Offer] = {offer.offer_id: offer for offer in store.catalogue(now).offers}
    if order.offer_id not in offers:
        nearest = nearest_name(order.offer_id, offers)
        raise UnknownOfferError(order.offer_id, f"did you mean {nearest!r}?" if nearest else "")
    effective_at = effective_from(order.effective_at, now)
    if not order.is_stopped:
        _check_stands(store, offers[order.offer_id], effective_at, now)
    stop = OfferStop(
        offer_id=order.offer_id,
        is_stopped=order.is_stopped,
        reason=order.reason,
        author=order.author,
        effective_at=effective_at,
        recorded_at=now,
    )
    store.put_offer_stop(stop)
    return Said(stop, () if order.is_stopped else _what_else_stops(store, stop))


def present_stops(store: Store, now: datetime) -> dict[str, OfferStop]:
    """Of each offer the latest stop in force, else the next one announced, by offer_id."""
    stops = store.offer_stops()
    announced = {
        offer_id: min(standing, key=lambda stop: stop.effective_at)
        for offer_id, standing in standing_stops(stops, now).items()
    }
    return announced | stops_in_force(stops, now)


def _check_stands(store: Store, offer: Offer, at: datetime, now: datetime) -> None:
    stops = store.offer_stops()
    if offer.offer_id in standing_stops(stops, at):
        return
    if offer.offer_id in stops_in_force(stops, now):
        raise ConflictError(f"offer {offer.offer_id!r} is resumed by then already")
    if offer.is_stopped:
        raise ConflictError(
            f"offer {offer.offer_id!r} is stopped by the catalogue's own data (is_stopped);"
            " correct them and load them again"
        )
    raise ConflictError(f"offer {offer.offer_id!r} is not stopped, nor is a stop of it announced")


def _what_else_stops(store: Store, resumption: OfferStop) -> tuple[str, ...]:
    """Why the offer does not come back with a resumption."""
    offers = store.catalogue(resumption.effective_at).offers
    if not any(offer.offer_id == resumption.offer_id and offer.is_stopped for offer in offers):
        return ()
    warning = (
        f"offer {resumption.offer_id!r} stays off: the catalogue's own data stop it too (is_stopped);"
        " correct them and load them again"
    )
    return (warning,)
