"""What taking an offer would change: new, or what becomes of something that the client has."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.engagement import ChangesSpec
from recsys.decision.policy.scope import OfferScope
from recsys.domain import Change, ClientState

BoolArray = NDArray[np.bool_]

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
    """

    def __init__(self, catalogue: CompiledCatalogue, spec: ChangesSpec) -> None:
        self._catalogue = catalogue
        self._following = {
            name: (position, catalogue.offer_ids[position]) for name, position in catalogue.upgrades.items()
        }
        self._positions = dict(catalogue.positions)
        self._within = None if spec.renew is None else timedelta(days=spec.renew.within_days)
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
        states: Sequence[ClientState],
        held: Sequence[AbstractSet[str]],
        is_true: BoolArray,
        moments: Sequence[Moment],
    ) -> list[tuple[int, int, int]]:
        """All candidates that would not be new, each once.

        Args:
            states: The clients.
            held: Ids of what each of them holds.
            is_true: Whether each of `conditions` is true, conditions_by_clients.
            moments: The moment of each decision; the end of a term is compared with its local day, and how
                long ago something was connected with its instant.

        Returns:
            Places of client, offer and change.
        """
        is_wanted = is_true.T.tolist()
        found: list[tuple[int, int, int]] = []
        lapsed_on, due_on, moment_before = date.min, date.min, None
        for client, (state, names, moment) in enumerate(zip(states, held, moments, strict=True)):
            if not names:
                continue
            if moment is not moment_before and self._within is not None:
                today = moment.now.astimezone(moment.zone).date()
                lapsed_on, due_on, moment_before = today - self._lapsed, today + self._within, moment
            changes = self._changes(state, names, is_wanted[client], moment)
            if self._within is not None:
                for holding in state.holdings:
                    ends_on, name = holding.term_ends_on, holding.offer_id
                    is_due = ends_on is not None and lapsed_on <= ends_on <= due_on
                    if is_due and name in self._renewable:
                        changes[self._positions[name]] = RENEW
            found += [(client, position, change) for position, change in changes.items()]
        return found

    def _changes(
        self, state: ClientState, names: AbstractSet[str], is_wanted: Sequence[bool], moment: Moment
    ) -> dict[int, int]:
        """Position → change, but for renewals."""
        changes: dict[int, int] = {}
        if not self._following.keys().isdisjoint(names):
            following = [self._following[name] for name in names if name in self._following]
            changes = {position: UPGRADE for position, name in following if name not in names}
        for (change, wanted_ids, rest), is_true in zip(self._wanted, is_wanted, strict=True):
            if is_true and not wanted_ids.isdisjoint(names):
                since = moment.now - rest
                young = {holding.offer_id for holding in state.holdings if holding.connected_at > since}
                changes.update({self._positions[name]: change for name in (names & wanted_ids) - young})
        return changes
