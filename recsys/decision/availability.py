"""What stands whatever a client holds: stops, dates, regions, suppliers, volume caps, legal form, price."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.engagement import VolumeCap
from recsys.decision.rulebook import NO_RULE, RuleBook
from recsys.domain import ClientState, LegalForm, Offer, Profile

NumberArray = NDArray[np.int16]
IntArray = NDArray[np.intp]

_NOBODY = Profile()


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What restricts offers at the moment and is written in no document.

    Attributes:
        suspended_suppliers: Suppliers whose offers nobody gets.
        used_up_caps: Ids of the volume caps that are used up.
        spending_limit_minor: The most that the member who asks may spend, ≥0; None = no limit.
        lifted_rules: Ids of rules of the policy that are left out, to see what else refuses.
    """

    suspended_suppliers: frozenset[str] = frozenset()
    used_up_caps: frozenset[str] = frozenset()
    spending_limit_minor: int | None = None
    lifted_rules: frozenset[str] = frozenset()


NO_RESTRICTIONS = Restrictions()


class Standing(NamedTuple):
    """The first rule, by number, that refuses each offer; by position, or a row each; not to be written to.

    Attributes:
        otherwise: To a client whose holdings refuse nothing.
        alone: To a client that holds nothing.
    """

    otherwise: NumberArray
    alone: NumberArray


class Availability:
    """What stands whatever a client holds.

    An unknown region or legal form fails an offer that is restricted by it; an offer without a price for
    the client passes every spending limit.

    Args:
        catalogue: The compiled catalogue.
        volume_caps: The caps of the policy.
        book: The numbers.
        alone: The rule that refuses each offer to a client because it holds nothing, by position.
    """

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        volume_caps: Sequence[VolumeCap],
        book: RuleBook,
        alone: NumberArray,
    ) -> None:
        self._catalogue = catalogue
        self._book = book
        self._alone = alone
        self._suppliers = np.array([offer.supplier_id or "" for offer in catalogue.offers], dtype=str)
        self._caps = {cap.id: cap.offers.mask(catalogue) for cap in volume_caps}
        self._regions = frozenset(region for offer in catalogue.offers for region in offer.regions)
        bounds = {bound for offer in catalogue.offers for bound in (offer.valid_from, offer.valid_to)}
        self._bounds = sorted(bound for bound in bounds if bound is not None)
        self._known: dict[tuple[str | None, LegalForm, int], Standing] = {}

    def standing(self, state: ClientState, now: datetime) -> Standing:
        """What stops, dates, region and legal form refuse a client at a moment."""
        profile = state.profile or _NOBODY
        # Any text may come as a region: only those the catalogue names may become keys of the cache.
        region = profile.region if profile.region in self._regions else None
        key = (region, profile.legal_form, bisect_right(self._bounds, now))
        found = self._known.get(key)
        if found is None:
            rules = [_rule_of(offer, region, profile.legal_form, now) for offer in self._catalogue.offers]
            number_of = self._book.number_of
            numbers = np.array([NO_RULE if rule is None else number_of(rule) for rule in rules], np.int16)
            found = self._known[key] = Standing(numbers, np.minimum(numbers, self._alone))
        return found

    def standing_of_all(self, states: Sequence[ClientState], now: datetime) -> tuple[Standing, IntArray]:
        """The same for many clients.

        Returns:
            What is told apart, one row each, and the row of each client.
        """
        profiles, known = [state.profile or _NOBODY for state in states], self._regions
        kinds = [
            (profile.region if profile.region in known else None, profile.legal_form) for profile in profiles
        ]
        one_of = dict(zip(kinds, states, strict=True))
        row_of = {kind: row for row, kind in enumerate(one_of)}
        rows = np.array([row_of[kind] for kind in kinds], dtype=np.intp)
        each = [self.standing(state, now) for state in one_of.values()]
        otherwise, alone = zip(*each, strict=True)
        return Standing(np.array(otherwise), np.array(alone)), rows

    def restrict(
        self, numbers: NumberArray, states: Sequence[ClientState], restrictions: Restrictions
    ) -> None:
        """Add what restrictions refuse, whatever taking an offer would change.

        Args:
            numbers: The first rule that refuses each offer, clients_by_offers; changed.
            states: The clients.
            restrictions: What holds at that moment.
        """
        if restrictions.suspended_suppliers or restrictions.used_up_caps:
            np.minimum(numbers, self._closed(restrictions), out=numbers)
        if restrictions.spending_limit_minor is not None:
            prices = np.array([self._amounts(state.profile or _NOBODY) for state in states], dtype=np.int64)
            over = np.int16(self._book.number_of("budget_limit"))
            is_over = prices > restrictions.spending_limit_minor
            np.minimum(numbers, over, out=numbers, where=is_over)

    def _closed(self, restrictions: Restrictions) -> NumberArray:
        numbers = np.full(len(self._catalogue), NO_RULE, dtype=np.int16)
        for cap_id in restrictions.used_up_caps:
            if cap_id in self._caps:
                number = self._book.number_of(cap_id)
                numbers[self._caps[cap_id]] = np.minimum(numbers[self._caps[cap_id]], number)
        is_suspended = np.isin(self._suppliers, sorted(restrictions.suspended_suppliers - {""}))
        numbers[is_suspended] = self._book.number_of("supplier_suspended")
        return numbers

    def _amounts(self, profile: Profile) -> list[int]:
        prices = self._catalogue.prices(profile.region, profile.size)
        return [-1 if price is None else price.amount_minor for price in prices]


def _rule_of(offer: Offer, region: str | None, legal_form: LegalForm, now: datetime) -> str | None:
    """The first built-in rule of availability, or the legal form, that refuses an offer."""
    if offer.is_stopped:
        return "stopped"
    if offer.valid_from is not None and now < offer.valid_from:
        return "not_yet_live"
    if offer.valid_to is not None and now >= offer.valid_to:
        return "no_longer_live"
    if offer.regions and region not in offer.regions:
        return "region"
    if offer.legal_forms and legal_form not in offer.legal_forms:
        return "legal_form"
    return None
