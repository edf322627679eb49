"""What taking an offer would change: new, or what becomes of something that the client has."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.syntax import Condition
from recsys.decision.flat import FlatHoldings, IntArray, is_among
from recsys.decision.policy.engagement import ChangesSpec
from recsys.decision.policy.scope import OfferScope
from recsys.domain import Change, Holding

BoolArray = NDArray[np.bool_]
ChangeArray = NDArray[np.int8]

CHANGES = tuple(Change)
NEW, UPGRADE, EXPAND, RENEW, RETAIN = range(len(CHANGES))
"""The numbers under which arrays hold changes: their places in `Change`."""


class Proposals:
    """Finds what a client's holdings make possible.

    The next edition of something held is an upgrade, unless it is held too. What is held is proposed for
    renewal, else for retention, else for expansion, where the policy says so; the latter two not before it
    has been held for some days.

    Args:
        catalogue: The compiled catalogue.
        spec: What is proposed when.
        n_codes: How many codes held offers have.
    """

    def __init__(self, catalogue: CompiledCatalogue, spec: ChangesSpec, n_codes: int) -> None:
        self._catalogue = catalogue
        self._following = {
            name: (position, catalogue.offer_ids[position]) for name, position in catalogue.upgrades.items()
        }
        self._positions = dict(catalogue.positions)
        # By code of what is held the position of its next edition, −1 where there is none.
        self._next = np.full(n_codes, -1, dtype=np.intp)
        for name, position in catalogue.upgrades.items():
            self._next[catalogue.positions[name]] = position
        self._within = timedelta(days=0 if spec.renew is None else spec.renew.within_days)
        self._lapsed = timedelta(days=0 if spec.renew is None else spec.renew.lapsed_days)
        self._renewable = self._ids(None if spec.renew is None else spec.renew.offers)
        # What comes first of renewal, retention and expansion is written last.
        proposals = ((EXPAND, spec.expand), (RETAIN, spec.retain))
        wanted = [(change, proposal) for change, proposal in proposals if proposal is not None]
        self.conditions: tuple[Condition, ...] = tuple([proposal.when for _, proposal in wanted])
        """The conditions whose truth `find` needs, in order."""
        self._wanted = [
            (change, self._ids(proposal.offers), timedelta(days=proposal.after_days))
            for change, proposal in wanted
        ]

    def _ids(self, scope: OfferScope | None) -> frozenset[str]:
        if scope is None:
            return frozenset()
        return frozenset(offer.offer_id for offer in self._catalogue.offers if scope.has(offer))

    def find(
        self,
        holdings: Sequence[Holding],
        names: AbstractSet[str],
        is_true: Sequence[int],
        now: datetime,
        today: date,
    ) -> dict[int, int]:
        """All that would not be new to a client.

        Args:
            holdings: What it has.
            names: Ids of that.
            is_true: Whether each of `conditions` is true of it: 1 or 0.
            now: The moment of the decision; how long ago something was connected is compared with it.
            today: Its local day; the end of a term is compared with it.

        Returns:
            Place of the change by position of the offer.
        """
        changes: dict[int, int] = {}
        earliest, latest = -self._lapsed, self._within
        for place, (change, ids, rest) in enumerate(self._wanted):
            if is_true[place] and (wanted := names & ids):
                since = now - rest
                young = {holding.offer_id for holding in holdings if holding.connected_at > since}
                for name in wanted - young:
                    changes[self._positions[name]] = change
        for holding in holdings:
            name, ends_on = holding.offer_id, holding.term_ends_on
            if name in self._following and self._following[name][1] not in names:
                changes[self._following[name][0]] = UPGRADE
            if ends_on is not None and name in self._renewable and earliest <= ends_on - today <= latest:
                changes[self._positions[name]] = RENEW
        return changes

    def _has(self, ids: AbstractSet[str]) -> BoolArray:
        found = np.zeros(len(self._next), dtype=bool)
        found[[self._positions[name] for name in ids]] = True
        return found

    def find_all(
        self, held: FlatHoldings, is_true: BoolArray, now: datetime, today: date
    ) -> tuple[IntArray, ChangeArray]:
        """Do for many clients what `find` does for one.

        Args:
            held: What they have; codes of offers of the catalogue are their positions.
            is_true: Whether each of `conditions` is true, clients_by_conditions.
            now: The moment of the decisions.
            today: Its local day.

        Returns:
            Places in the row of all clients' offers, ascending, and the place of the change for each.
        """
        n_offers = len(self._catalogue)
        places = held.owners * n_offers + held.codes
        found: list[IntArray] = []
        for is_wanted, (_, ids, rest) in zip(is_true.T, self._wanted, strict=True):
            wanted = (is_wanted[held.owners] & self._has(ids)[held.codes]).nonzero()[0]
            since = now - rest
            is_young = [held.holdings[place].connected_at > since for place in wanted.tolist()]
            mine = places[wanted]
            found.append(mine[~is_among(mine, mine[np.array(is_young, dtype=bool)])])
        upgraded = held.owners * n_offers + self._next[held.codes]
        upgraded = upgraded[self._next[held.codes] >= 0]
        found.append(upgraded[~is_among(upgraded, places[held.codes < n_offers])])
        lapsed_on, due_on = today - self._lapsed, today + self._within
        due = [
            place
            for place, holding in enumerate(held.holdings)
            if (ends_on := holding.term_ends_on) is not None and lapsed_on <= ends_on <= due_on
        ]
        is_renewable = self._has(self._renewable)[held.codes[due]]
        found.append(places[due][is_renewable])
        changes = np.array([*[change for change, _, _ in self._wanted], UPGRADE, RENEW], dtype=np.int8)
        # what is written last comes first
        latest_first = np.concatenate(found[::-1])
        unique, first = np.unique(latest_first, return_index=True)
        return unique, changes[::-1].repeat([len(some) for some in found[::-1]])[first]
