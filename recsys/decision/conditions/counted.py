"""What happened to clients, counted by scope: connections and events, and days since the latest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from itertools import chain, compress, count
from operator import or_
from typing import TYPE_CHECKING

import numpy as np

from recsys.decision.conditions.facts import FactKey, Today
from recsys.decision.conditions.scales import Bits, Rows, rows_of
from recsys.decision.conditions.vocabulary import MAX_EVENT_DAYS
from recsys.decision.flat import IntArray, Lists
from recsys.decision.policy.scope import OfferScope
from recsys.domain import ClientState

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue

_HOURS_A_DAY = 24
_NONE_CELL = 1
_NEVER = np.iinfo(np.intp).max // 2


class _Counts:
    """What counts and times tell, most of which are those of nothing.

    Args:
        told: Counts and times, with what is told by each of their cells.
        counts: Head of the counts.
    """

    def __init__(self, told: Mapping[FactKey, Sequence[Bits]], counts: str, n_bits: int) -> None:
        of_counts = [key for key in told if key.head == counts]
        times = [key for key in told if key.head != counts]
        self.n = len(of_counts)
        self.keys = [*of_counts, *times]
        self._told = [told[key] for key in self.keys]
        none = [told[key][_NONE_CELL] for key in of_counts] + [told[key][0] for key in times]
        self._none = {fact: bits for fact, bits in enumerate(none) if bits}
        self._nothing = reduce(or_, none, 0)
        self._rows = [rows_of(bits, n_bits) for bits in self._told]

    def read(self, found: Mapping[int, int]) -> Bits:
        """What all `keys` tell; `found` = how many, or how many days ago, by number of the fact."""
        if not found:
            return self._nothing
        told = self._none.copy()
        for fact, n in found.items():
            of = self._told[fact]
            told[fact] = of[n + _NONE_CELL] if n + _NONE_CELL < len(of) else of[-1]
        return reduce(or_, told.values())

    def add_all(self, found: Rows, clients: IntArray, facts: IntArray, values: IntArray) -> None:
        """Add what all `keys` tell of many clients to their rows.

        Args:
            found: The rows.
            clients: The client of each thing that happened.
            facts: The fact of each.
            values: How often it happened, or how many days ago.
        """
        n_clients, n_facts = len(found), len(self.keys)
        places, is_count = facts * n_clients + clients, facts < self.n
        cells = np.full(n_facts * n_clients, _NEVER)
        cells[: self.n * n_clients] = 0
        np.add.at(cells, places[is_count], values[is_count])
        np.minimum.at(cells, places[~is_count], values[~is_count])
        for fact, (rows, column) in enumerate(zip(self._rows, cells.reshape(n_facts, -1), strict=True)):
            known = np.minimum(column + _NONE_CELL, len(rows) - 1)
            found |= rows.take(known if fact < self.n else np.where(column == _NEVER, 0, known), axis=0)


class HeldReader:
    """Reads counts of connections, and days since the latest.

    Args:
        told: The facts with what is told by each of their cells.
        catalogue: What scopes mean.
    """

    def __init__(
        self, told: Mapping[FactKey, Sequence[Bits]], n_bits: int, catalogue: CompiledCatalogue
    ) -> None:
        self._counts = _Counts(told, "n_held", n_bits)
        n_counts = self._counts.n
        self._facts_of: dict[str, tuple[list[int], list[int]]] = {}
        self._others: tuple[list[int], list[int]] = ([], [])
        for fact, key in enumerate(self._counts.keys):
            for offer_id in _members(key.offers, catalogue):
                self._facts_of.setdefault(offer_id, ([], []))[fact >= n_counts].append(fact)
            if key.offers.is_everything:
                self._others[fact >= n_counts].append(fact)
        # code 0 is that of every offer that nothing but a count of all is asked of
        self._codes = {offer_id: code for code, offer_id in enumerate(self._facts_of, 1)}
        lists = [[(fact,) for part in parts for fact in part] for parts in self._facts_of.values()]
        self._lists = Lists([[(fact,) for part in self._others for fact in part], *lists], 1)

    def read(self, state: ClientState, now: datetime, _today: Today) -> Bits:
        """What a client's connections tell."""
        found: dict[int, int] = {}
        for held in state.holdings:
            counted, timed = self._facts_of.get(held.offer_id, self._others)
            for fact in counted:
                found[fact] = found.get(fact, 0) + 1
            if timed:
                days = max((now - held.connected_at).days, 0)
                for fact in timed:
                    found[fact] = min(found.get(fact, days), days)
        return self._counts.read(found)

    def read_all(self, states: Sequence[ClientState], now: datetime, _today: Today, found: Rows) -> None:
        """Add the same for many clients to their rows."""
        held = [holding for state in states for holding in state.holdings]
        owners = np.arange(len(states)).repeat([len(state.holdings) for state in states])
        codes = np.array([self._codes.get(holding.offer_id, 0) for holding in held], dtype=np.intp)
        of, facts = self._lists.join(codes)
        values = np.ones(len(of), dtype=np.intp)
        timed = (facts >= self._counts.n).nonzero()[0]
        ages = [(now - held[place].connected_at).days for place in of[timed].tolist()]
        values[timed] = np.maximum(np.array(ages, dtype=np.intp), 0)
        self._counts.add_all(found, owners[of], facts, values)


class EventReader:
    """Reads counts of events, and days since the latest.

    Args:
        told: The facts with what is told by each of their cells.
        catalogue: What scopes mean.
    """

    def __init__(
        self, told: Mapping[FactKey, Sequence[Bits]], n_bits: int, catalogue: CompiledCatalogue
    ) -> None:
        self._counts = _Counts(told, "n_events", n_bits)
        # Facts, each with how many hours back it looks, by offer and type of event.
        self._facts_of: dict[str, dict[str, list[tuple[int, int]]]] = {}
        self._others: dict[str, list[tuple[int, int]]] = {}
        for fact, key in enumerate(self._counts.keys):
            window = (fact, _HOURS_A_DAY * (key.within_days or MAX_EVENT_DAYS))
            for offer_id in _members(key.offers, catalogue):
                self._facts_of.setdefault(offer_id, {}).setdefault(key.name, []).append(window)
            if key.offers.is_everything:
                self._others.setdefault(key.name, []).append(window)
        # code 0 is that of events that nothing is asked of
        offers = {"": self._others, **self._facts_of}
        of_types = [(offer_id, type_) for offer_id, types in offers.items() for type_ in types]
        self._codes: dict[str, dict[str, int]] = {offer_id: {} for offer_id in offers}
        for code, (offer_id, type_) in enumerate(of_types, 1):
            self._codes[offer_id][type_] = code
        self._lists = Lists([[], *[offers[offer_id][type_] for offer_id, type_ in of_types]], 2)

    def read(self, state: ClientState, _now: datetime, today: Today) -> Bits:
        """What a client's events tell."""
        activity, hour = state.history.activity, today.hour
        offer_ids, types = activity.offer_ids, activity.event_types
        facts_of, others, n_counts = self._facts_of, self._others, self._counts.n
        places: Iterable[int] = range(len(offer_ids))
        if not others:
            places = compress(count(), map(facts_of.__contains__, offer_ids))
        found: dict[int, int] = {}
        for place in places:
            # what is asked of every offer is among the facts of each that the catalogue has
            facts = facts_of.get(offer_ids[place], others).get(types[place])
            if facts is None:
                continue
            age = hour - activity.hours[place]
            for fact, n_hours in facts:
                if age >= n_hours:
                    continue
                if fact < n_counts:
                    found[fact] = found.get(fact, 0) + activity.counts[place]
                else:
                    days = max(age // _HOURS_A_DAY, 0)
                    found[fact] = min(found.get(fact, days), days)
        return self._counts.read(found)

    def read_all(self, states: Sequence[ClientState], _now: datetime, today: Today, found: Rows) -> None:
        """Add the same for many clients to their rows."""
        activities = [state.history.activity for state in states]
        offer_ids = list(chain.from_iterable([activity.offer_ids for activity in activities]))
        types = list(chain.from_iterable([activity.event_types for activity in activities]))
        if self._others:
            hits: Sequence[int] = range(len(offer_ids))
        else:
            is_asked = bytes(map(self._codes.__contains__, offer_ids))
            hits = np.frombuffer(is_asked, dtype=bool).nonzero()[0].tolist()
        others = self._codes[""]
        codes = [self._codes.get(offer_ids[place], others).get(types[place], 0) for place in hits]
        # few are left, and only of those are hours and counts fetched
        places = np.array(list(compress(hits, codes)), dtype=np.intp)
        lengths = np.array([len(activity.offer_ids) for activity in activities])
        ends = lengths.cumsum()
        owners = np.searchsorted(ends, places, side="right")
        starts = (ends - lengths)[owners]
        entries = list(zip(owners.tolist(), (places - starts).tolist(), strict=True))
        hours = np.array([activities[owner].hours[entry] for owner, entry in entries], dtype=np.intp)
        counts = np.array([activities[owner].counts[entry] for owner, entry in entries], dtype=np.intp)
        of, facts, n_hours = self._lists.join(np.array(list(filter(None, codes)), dtype=np.intp))
        ages = today.hour - hours[of]
        values = np.where(facts < self._counts.n, counts[of], np.maximum(ages // _HOURS_A_DAY, 0))
        is_within = ages < n_hours
        self._counts.add_all(found, owners[of[is_within]], facts[is_within], values[is_within])


def _members(scope: OfferScope, catalogue: CompiledCatalogue) -> list[str]:
    return [catalogue.offer_ids[position] for position in np.flatnonzero(scope.mask(catalogue)).tolist()]
