"""Under which terms services are connected: how many seats, and for how long."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from recsys.simulation.book import NO_TERM
from recsys.simulation.clients import Clients, FloatArray, IntArray
from recsys.simulation.rules import Shelf
from recsys.simulation.streams import Purpose, Streams
from recsys.simulation.world import World

_SEATS_SPREAD = 0.3
_MOST_SEATS = 1_000_000


class Terms:
    """Seats and lengths of contracts.

    Attributes:
        seats: Seats for one person employed, shape (n_offers,); 0 = always one.
        months: Length of the contract's term, same shape; 0 = none.
    """

    def __init__(self, world: World, shelf: Shelf, clients: Clients, streams: Streams) -> None:
        demands = [world.demand[offer_id] for offer_id in shelf.offer_ids]
        self.seats = np.array([demand.seats for demand in demands])
        self.months = np.array([demand.term_months for demand in demands])
        self._clients = clients
        self._streams = streams

    def quantity(self, rows: IntArray, offers: IntArray, scale: FloatArray) -> IntArray:
        """Seats that clients of that scale need; every client has its own measure for every offer."""
        luck = self._streams.uniforms(Purpose.SEATS, -1, self.keys(rows, offers))
        measure = np.exp(_SEATS_SPREAD * ndtri(np.clip(luck, 1e-12, 1 - 1e-12)))
        needed = self.seats[offers] * self._clients.staff[rows] * scale * measure
        seats: IntArray = np.clip(np.round(needed), 1, _MOST_SEATS).astype(np.int64)
        return seats

    def term(self, offers: IntArray, month: IntArray) -> IntArray:
        """The month in which a term that begins in a month ends; `NO_TERM` without a term."""
        return np.where(self.months[offers] > 0, month + self.months[offers], NO_TERM)

    def keys(self, rows: IntArray, offers: IntArray) -> IntArray:
        """One number for every pair of a client and an offer, ≥1."""
        keys: IntArray = rows * len(self.seats) + offers + 1
        return keys
