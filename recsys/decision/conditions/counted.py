"""What happened to clients, counted by scope: connections and events, and days since the latest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from recsys.decision.conditions.facts import FactKey, Today
from recsys.decision.conditions.scales import Row
from recsys.decision.conditions.vocabulary import MAX_EVENT_DAYS
from recsys.decision.policy.scope import OfferScope
from recsys.domain import ClientState

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue

_HOURS_A_DAY = 24
_NONE_CELL = 1


class _Counts:
    """The rows of counts and times, where most of them are those of nothing.

    Args:
        told: Counts and times, with what is told of each of their cells.
        counts: Head of the counts.
    """

    def __init__(self, told: Mapping[FactKey, Sequence[Row]], counts: str) -> None:
        self.counts = [key for key in told if key.head == counts]
        self.times = [key for key in told if key.head != counts]
        self.keys = [*self.counts, *self.times]
        self._told = [told[key] for key in self.keys]
        none = [_NONE_CELL] * len(self.counts) + [0] * len(self.times)
        self._none = [rows[cell] for rows, cell in zip(self._told, none, strict=True)]
        self._nothing = [b"".join(self._none)]

    def rows(self, found: Mapping[int, int]) -> list[Row]:
        """What is told of all `keys`; `found` = how many, or how many days ago, by number of the fact."""
        if not found:
            return self._nothing
        rows = self._none.copy()
        for fact, n in found.items():
            of = self._told[fact]
            rows[fact] = of[min(n + _NONE_CELL, len(of) - 1)]
        return rows


class HeldReader:
    """Reads counts of connections, and days since the latest.

    Args:
        told: The facts with what is told of each of their cells.
        catalogue: What scopes mean.
    """

    def __init__(self, told: Mapping[FactKey, Sequence[Row]], catalogue: CompiledCatalogue) -> None:
        self._counts = _Counts(told, "n_held")
        self.keys = self._counts.keys
        n_counts = len(self._counts.counts)
        self._facts_of: dict[str, tuple[list[int], list[int]]] = {}
        self._others: tuple[list[int], list[int]] = ([], [])
        for fact, key in enumerate(self.keys):
            for offer_id in _members(key.offers, catalogue):
                self._facts_of.setdefault(offer_id, ([], []))[fact >= n_counts].append(fact)
            if key.offers.is_everything:
                self._others[fact >= n_counts].append(fact)

    def rows(self, state: ClientState, today: Today) -> list[Row]:
        """What is told of each of `keys`."""
        found: dict[int, int] = {}
        for held in state.holdings:
            counted, timed = self._facts_of.get(held.offer_id, self._others)
            for fact in counted:
                found[fact] = found.get(fact, 0) + 1
            if timed:
                days = max((today.now - held.connected_at).days, 0)
                for fact in timed:
                    found[fact] = min(found.get(fact, days), days)
        return self._counts.rows(found)


class EventReader:
    """Reads counts of events, and days since the latest.

    Args:
        told: The facts with what is told of each of their cells.
        catalogue: What scopes mean.
    """

    def __init__(self, told: Mapping[FactKey, Sequence[Row]], catalogue: CompiledCatalogue) -> None:
        self._counts = _Counts(told, "n_events")
        self.keys = self._counts.keys
        self._n_counts = len(self._counts.counts)
        # Facts, each with how many hours back it looks, by type of event and offer.
        self._facts_of: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._others: dict[str, list[tuple[int, int]]] = {}
        for fact, key in enumerate(self.keys):
            window = (fact, _HOURS_A_DAY * (key.within_days or MAX_EVENT_DAYS))
            for offer_id in _members(key.offers, catalogue):
                self._facts_of.setdefault((key.name, offer_id), []).append(window)
            if key.offers.is_everything:
                self._others.setdefault(key.name, []).append(window)

    def rows(self, state: ClientState, today: Today) -> list[Row]:
        """What is told of each of `keys`."""
        activity = state.history.activity
        types = activity.event_types
        facts_of = list(map(self._facts_of.get, zip(types, activity.offer_ids, strict=True)))
        if self._others:
            # what is asked of every offer is among the facts of each that the catalogue has
            facts_of = [facts or self._others.get(name) for facts, name in zip(facts_of, types, strict=True)]
        found: dict[int, int] = {}
        for place in compress(range(len(facts_of)), facts_of):
            facts = facts_of[place] or ()
            self._count(found, facts, today.hour - activity.hours[place], activity.counts[place])
        return self._counts.rows(found)

    def _count(self, found: dict[int, int], facts: Sequence[tuple[int, int]], age: int, n: int) -> None:
        """Note that something happened so many times and hours ago."""
        for fact, n_hours in facts:
            if age < n_hours:
                if fact < self._n_counts:
                    found[fact] = found.get(fact, 0) + n
                else:
                    days = max(age // _HOURS_A_DAY, 0)
                    found[fact] = min(found.get(fact, days), days)


def _members(scope: OfferScope, catalogue: CompiledCatalogue) -> list[str]:
    return [catalogue.offer_ids[position] for position in np.flatnonzero(scope.mask(catalogue)).tolist()]
