"""What clients have, under which terms, and what they were shown, while a world lives."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.clients import BoolArray, FloatArray, IntArray
from recsys.simulation.timeline import MINUTE

NO_TERM = int(np.iinfo(np.int16).min)
_LONG_AGO = np.iinfo(np.int32).min


@dataclass(frozen=True, slots=True)
class Adoptions:
    """Connections, one row each.

    Attributes:
        rows: The client's row.
        offers: The offer's column.
        at: When the service is connected.
        replaced: What ends at the same instant to make room; -1 = nothing.
        visits: The visit that led to it, a row of the month's visits; -1 = none did.
        slots: 0-based slot of that visit's list; -1 = none.
        is_call: Whether a manager's call led to it.
        quantity: Seats.
        term: Month in which the contract's term ends; `NO_TERM` = it has none.
        gains: Margin expected of them, less that of what they replace.
    """

    rows: IntArray
    offers: IntArray
    at: IntArray
    replaced: IntArray
    visits: IntArray
    slots: IntArray
    is_call: BoolArray
    quantity: IntArray
    term: IntArray
    gains: FloatArray


@dataclass(frozen=True, slots=True)
class Endings:
    """Services given up, one row each: the client's row, the offer's column, and when."""

    rows: IntArray
    offers: IntArray
    at: IntArray


@dataclass(frozen=True, slots=True)
class Revisions:
    """Terms renewed or extended and seats added or given back, one row each; see `Adoptions`.

    Attributes:
        rows: The client's row.
        offers: The offer's column.
        at: When.
        quantity: Seats from then on.
        term: Month in which the term ends from then on.
        visits: The visit that led to it; -1 = none did.
        slots: 0-based slot of that visit's list; -1 = none.
        gains: Margin expected of it; see `recsys.simulation.worth.Worth.of_revisions`.
    """

    rows: IntArray
    offers: IntArray
    at: IntArray
    quantity: IntArray
    term: IntArray
    visits: IntArray
    slots: IntArray
    gains: FloatArray

    def take(self, places: IntArray) -> Revisions:
        """Those revisions."""
        return Revisions(*(getattr(self, column.name)[places] for column in fields(self)))


class Book:
    """State of every client and offer, clients_by_offers; instants are kept to the minute.

    Attributes:
        held: What clients have or have on its way.
        had: What they have, or had before.
        quantity: Seats of what is held.
        term: Month in which the term of what is held ends.
        n_seen: Impressions that are not forgotten.
    """

    def __init__(self, n_clients: int, n_offers: int) -> None:
        shape = (n_clients, n_offers)
        self.held: BoolArray = np.zeros(shape, dtype=bool)
        self.had: BoolArray = np.zeros(shape, dtype=bool)
        self.quantity: NDArray[np.int32] = np.zeros(shape, dtype=np.int32)
        self.term: NDArray[np.int16] = np.full(shape, NO_TERM, dtype=np.int16)
        self.n_seen: NDArray[np.float32] = np.zeros(shape, dtype=np.float32)
        self._connected: NDArray[np.int32] = np.zeros(shape, dtype=np.int32)
        self._seen: NDArray[np.int32] = np.full(shape, _LONG_AGO, dtype=np.int32)
        self._silent_until: NDArray[np.int32] = np.full(shape, _LONG_AGO, dtype=np.int32)
        self._complaints: IntArray = np.zeros((3, 0), dtype=np.int64)

    def fork(self) -> Book:
        """A copy that lives on by itself."""
        return copy.deepcopy(self)

    def ready(self, instant: int) -> BoolArray:
        """What was connected before an instant, given in microseconds since 1970."""
        is_ready: BoolArray = self.held & (self._connected < instant // MINUTE)
        return is_ready

    def connect(self, adoptions: Adoptions) -> None:
        """Connect services; what they replace ends."""
        rows, offers, is_replacing = adoptions.rows, adoptions.offers, adoptions.replaced >= 0
        self.held[rows[is_replacing], adoptions.replaced[is_replacing]] = False
        self.held[rows, offers] = self.had[rows, offers] = True
        self._connected[rows, offers] = adoptions.at // MINUTE
        self.quantity[rows, offers] = adoptions.quantity
        self.term[rows, offers] = adoptions.term

    def end(self, endings: Endings) -> None:
        """End services."""
        self.held[endings.rows, endings.offers] = False

    def revise(self, revisions: Revisions) -> None:
        """Renew terms and change seats."""
        self.quantity[revisions.rows, revisions.offers] = revisions.quantity
        self.term[revisions.rows, revisions.offers] = revisions.term

    def is_silenced(self, rows: IntArray, at: IntArray) -> BoolArray:
        """What was put aside and is not shown again yet, rows_by_offers."""
        is_silenced: BoolArray = self._silent_until[rows] > (at // MINUTE)[:, None]
        return is_silenced

    def silence(self, rows: IntArray, offers: IntArray, until: IntArray) -> None:
        """Remember offers put aside."""
        self._silent_until[rows, offers] = until // MINUTE

    def complain(self, rows: IntArray, at: IntArray, settled_at: IntArray) -> None:
        """Remember complaints until they are settled."""
        self._complaints = np.concatenate([self._complaints, [rows, at, settled_at]], axis=1)

    def has_open_complaint(self, rows: IntArray, at: IntArray) -> BoolArray:
        """Whether a complaint of the client is open at an instant; `rows` ascend and none stands twice."""
        whose, since, until = self._complaints
        place = np.minimum(np.searchsorted(rows, whose), max(len(rows) - 1, 0))
        is_open = np.zeros(len(rows), dtype=bool)
        if len(rows):
            is_theirs = (rows[place] == whose) & (since <= at[place]) & (at[place] < until)
            is_open[place[is_theirs]] = True
        return is_open

    def forget(self, part: float) -> None:
        """A month passes: a part of all impressions is forgotten."""
        self.n_seen *= np.float32(1 - part)

    def remember(self, rows: IntArray, offers: IntArray, at: IntArray) -> None:
        """Remember impressions."""
        self._seen[rows, offers] = at // MINUTE
        self.n_seen[rows, offers] += np.float32(1)

    def last_seen_at(self, rows: IntArray, offers: IntArray) -> IntArray:
        """When offers were last seen; centuries ago = never."""
        return self._seen[rows, offers].astype(np.int64) * MINUTE
