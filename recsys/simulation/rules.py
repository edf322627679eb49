"""What can be connected beside what, for many clients at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.domain import PricePeriod
from recsys.simulation.catalogue import Catalogue, OfferEntry
from recsys.simulation.clients import FORMS, SIZES, BoolArray, Clients, FloatArray, IntArray
from recsys.simulation.world import World

_MONTHS_OF_A_ONE_OFF = 12


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices as arrays of shape (n_offers, n_regions, n_sizes).

    Attributes:
        month: Price of a month, a one-off spread over a year, whole units of the currency.
        recurring_minor: What is billed every month, minor units.
    """

    month: FloatArray
    recurring_minor: IntArray


@dataclass(frozen=True, slots=True)
class Shelf:
    """A catalogue as arrays; offers are columns in the order of the catalogue's file.

    Attributes:
        offer_ids: The offers.
        needs: Number of each offer's need group, shape (n_offers,).
        themes: Number of each offer's category, shape (n_offers,).
        requirements: Pairs of an offer and the offers of which one must be held.
        conflicts: Whether two offers cannot be held together, shape (n_offers, n_offers).
        rivals: Whether they share an exclusive slot, same shape.
        upgrades: Pairs of an edition and the next one.
        prices: Prices in force.
        margins: Margin of a month, whole units of the currency, shape (n_offers,).
        is_for_form: Whether an offer is for a legal form, shape (n_forms, n_offers).
        is_in_region: Whether it is to be had in a region, shape (n_regions, n_offers).
    """

    offer_ids: tuple[str, ...]
    needs: IntArray
    themes: IntArray
    requirements: tuple[tuple[int, IntArray], ...]
    conflicts: BoolArray
    rivals: BoolArray
    upgrades: tuple[tuple[int, int], ...]
    prices: Prices
    margins: FloatArray
    is_for_form: BoolArray
    is_in_region: BoolArray


def make_shelf(catalogue: Catalogue, world: World) -> Shelf:
    """Arrays of a catalogue for a world's regions."""
    offers, regions = catalogue.offers, tuple(world.regions)
    column = {offer.id: number for number, offer in enumerate(offers)}
    needs = sorted({offer.need_group for offer in offers})
    themes = sorted({offer.category for offer in offers})
    return Shelf(
        offer_ids=tuple(column),
        needs=np.array([needs.index(offer.need_group) for offer in offers]),
        themes=np.array([themes.index(offer.category) for offer in offers]),
        requirements=tuple(
            (column[offer.id], np.array([column[other] for other in group]))
            for offer in offers
            for group in offer.requires
        ),
        conflicts=_conflicts(offers, column),
        rivals=_rivals(offers),
        upgrades=tuple((column[o.id], column[o.upgrades_to]) for o in offers if o.upgrades_to is not None),
        prices=make_prices(offers, regions),
        margins=np.array([float(offer.margin) for offer in offers]),
        is_for_form=np.array(
            [[not o.legal_forms or form in o.legal_forms for o in offers] for form in FORMS]
        ),
        is_in_region=np.array([[not o.regions or code in o.regions for o in offers] for code in regions]),
    )


def editions_of(shelf: Shelf) -> IntArray:
    """Place of each offer in its chain of editions, the lowest is 1; -1 = it has no editions; by offer.

    Where chains meet, the longest one below counts.
    """
    editions = np.full(len(shelf.offer_ids), -1)
    editions[[offer for pair in shelf.upgrades for offer in pair]] = 1
    for _ in shelf.upgrades:
        for lower, higher in shelf.upgrades:
            editions[higher] = max(editions[higher], editions[lower] + 1)
    return editions


def make_prices(offers: tuple[OfferEntry, ...], regions: tuple[str, ...]) -> Prices:
    """The prices of offers as arrays; the most specific one applies."""
    month = _price_cube(offers, regions, PricePeriod.MONTH)
    once = _price_cube(offers, regions, PricePeriod.ONCE)
    return Prices(
        month=month + once / _MONTHS_OF_A_ONE_OFF, recurring_minor=np.round(100 * month).astype(np.int64)
    )


def _conflicts(offers: tuple[OfferEntry, ...], column: dict[str, int]) -> BoolArray:
    conflicts = _rivals(offers)
    for offer in offers:
        for other in offer.excludes:
            conflicts[column[offer.id], column[other]] = conflicts[column[other], column[offer.id]] = True
    return conflicts


def _rivals(offers: tuple[OfferEntry, ...]) -> BoolArray:
    slots = [offer.exclusive_slot for offer in offers]
    rivals = np.array([[one is not None and one == other for other in slots] for one in slots])
    np.fill_diagonal(rivals, val=False)
    return rivals


def _price_cube(
    offers: tuple[OfferEntry, ...], regions: tuple[str, ...], period: PricePeriod
) -> NDArray[np.float64]:
    cube = np.zeros((len(offers), len(regions), len(SIZES)))
    for number, offer in enumerate(offers):
        # From the general price to the special one, so that the special one stays.
        for price in sorted(
            offer.prices, key=lambda price: (price.region is not None, price.size is not None)
        ):
            if price.period is period:
                at_region = slice(None) if price.region is None else _position(price.region, regions)
                at_size = slice(None) if price.size is None else _position(price.size, SIZES)
                cube[number, at_region, at_size] = float(price.amount)
    return cube


def _position(value: str, values: tuple[str, ...]) -> slice:
    if value not in values:
        return slice(0, 0)
    return slice(values.index(value), values.index(value) + 1)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What clients may connect, clients_by_offers.

    Attributes:
        new: Without giving anything up.
        upgrade: In place of the lower edition that is held.
        switch: In place of another offer of the same exclusive slot; only by own wish, never in a list.
    """

    new: BoolArray
    upgrade: BoolArray
    switch: BoolArray

    @property
    def any(self) -> BoolArray:
        """What may be connected from a list."""
        return self.new | self.upgrade


def permitted_offers(shelf: Shelf, clients: Clients) -> BoolArray:
    """Offers that are for the client's legal form and to be had in its region, clients_by_offers."""
    permitted: BoolArray = shelf.is_for_form[clients.forms] & shelf.is_in_region[clients.regions]
    return permitted


def allowed_offers(
    shelf: Shelf, held: BoolArray, ready: BoolArray, permitted: BoolArray, *, may_switch: bool = True
) -> Allowed:
    """What clients may connect now.

    Args:
        shelf: The catalogue.
        held: What they have, or have on its way; nothing that conflicts with it may be connected.
        ready: What they have already; only this meets requirements and can be upgraded.
        permitted: See `permitted_offers`.
        may_switch: Whether clients give up one offer of a slot for another.
    """
    open_offers = permitted & ~held
    for offer, alternatives in shelf.requirements:
        open_offers[:, offer] &= ready[:, alternatives].any(axis=1)
    n_conflicts = held.astype(np.float32) @ shelf.conflicts.astype(np.float32)
    upgrade = np.zeros_like(open_offers)
    for lower, higher in shelf.upgrades:
        # The lower edition itself stands in the way once, and makes room.
        own_conflict = 1.0 if shelf.conflicts[lower, higher] else 0.0
        has_room = n_conflicts[:, higher] == own_conflict
        upgrade[:, higher] |= open_offers[:, higher] & ready[:, lower] & has_room
    return Allowed(
        new=open_offers & (n_conflicts == 0) & ~upgrade,
        upgrade=upgrade,
        switch=open_offers & (n_conflicts == 1) & ~upgrade & _can_switch(shelf, held, ready)
        if may_switch
        else np.zeros_like(open_offers),
    )


def _can_switch(shelf: Shelf, held: BoolArray, ready: BoolArray) -> BoolArray:
    """Whether something held shares the offer's slot and may be given up, clients_by_offers."""
    can_go = ready & ~needed_offers(shelf, held)
    has_rival: BoolArray = can_go.astype(np.float32) @ shelf.rivals.astype(np.float32) > 0
    return has_rival


def needed_offers(shelf: Shelf, held: BoolArray) -> BoolArray:
    """Holdings on which another holding rests, clients_by_offers."""
    needed = np.zeros_like(held)
    for offer, alternatives in shelf.requirements:
        rests_on_one = held[:, offer] & (held[:, alternatives].sum(axis=1) == 1)
        needed[:, alternatives] |= rests_on_one[:, None] & held[:, alternatives]
    return needed


def replaced_offers(shelf: Shelf, held: BoolArray, rows: IntArray, offers: IntArray) -> IntArray:
    """What each connection replaces, as a column: the lower edition, or the rival in its slot; else -1."""
    rivals = held[rows] & shelf.rivals[offers]
    replaced = np.where(rivals.any(axis=1), rivals.argmax(axis=1), -1)
    for lower, higher in shelf.upgrades:
        replaced[(offers == higher) & held[rows, lower]] = lower
    return replaced
