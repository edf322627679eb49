"""Who could have what: rates are of these clients, not of all."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from recsys.domain import Offer
from recsys.models.base import ClientBatch, FloatArray, OfferIndex, TrainingSet

Mask = NDArray[np.bool_]
# so many clients who could have it, and have it as often as any offer, are added to every offer
_PSEUDO_CLIENTS = 0.5


def could_have(training: TrainingSet) -> Mask:
    """Which offers each client has, had, or could connect, clients_by_offers.

    An offer can be connected where its region and legal form are the client's, one offer of each group that
    it requires is held, none that excludes it is, and its exclusive slot is free or holds the edition
    below it. Without a catalogue everything can be.

    A rate among these clients says how much an offer is wanted; a share of all clients says as much about how
    few may have it.
    """
    clients, offers = training.clients, training.offers
    holds = clients.clients_by_offers().toarray() > 0
    found = np.ones(holds.shape, dtype=bool)
    barred = _barred_by(training.catalogue, offers)
    regions, forms = _facts(clients, "region"), _facts(clients, "legal_form")
    for offer in training.catalogue:
        column = offers.columns[offer.offer_id]
        if offer.regions:
            found[:, column] &= np.isin(regions, offer.regions)
        if offer.legal_forms:
            found[:, column] &= np.isin(forms, [form.value for form in offer.legal_forms])
        for group in offer.requires:
            found[:, column] &= holds[:, offers.known_columns(group)].any(axis=1)
        if barred[column]:
            found[:, column] &= ~holds[:, sorted(barred[column])].any(axis=1)
    found |= holds
    found[training.history.rows, training.history.columns] = True
    return found


def rates_among(counts: FloatArray, n_clients: FloatArray) -> FloatArray:
    """``(counts + ½ p) ÷ (n_clients + ½)`` with p the rate of all offers together, shape (n_offers,).

    Args:
        counts: What happened to each offer, shape (n_offers,).
        n_clients: Clients to whom it could happen, shape (n_offers,).

    Example:
        >>> rates_among(np.array([1.0, 0.0]), np.array([3.5, 0.5])).round(3).tolist()
        [0.281, 0.125]
    """
    whole = counts.sum() / max(n_clients.sum(), 1.0)
    rates: FloatArray = (counts + _PSEUDO_CLIENTS * whole) / (n_clients + _PSEUDO_CLIENTS)
    return rates


def _barred_by(catalogue: tuple[Offer, ...], offers: OfferIndex) -> dict[int, set[int]]:
    """The columns that bar each column while they are held."""
    barred: dict[int, set[int]] = defaultdict(set)
    of_slot: dict[str, list[Offer]] = defaultdict(list)
    for offer in catalogue:
        column = offers.columns[offer.offer_id]
        for other in offers.known_columns(offer.excludes):
            barred[column].add(other)
            barred[other].add(column)
        if offer.exclusive_slot is not None:
            of_slot[offer.exclusive_slot].append(offer)
    for together in of_slot.values():
        for offer in together:
            barred[offers.columns[offer.offer_id]] |= {
                offers.columns[other.offer_id]
                for other in together
                if other is not offer and other.upgrades_to != offer.offer_id
            }
    return barred


def _facts(clients: ClientBatch, key: str) -> NDArray[np.str_]:
    """What each client's profile says of a key; "" = nothing."""
    prefix = f"{key}="
    return np.array(
        [
            next((trait.removeprefix(prefix) for trait in traits if trait.startswith(prefix)), "")
            for traits in clients.traits
        ],
        dtype=np.str_,
    )
