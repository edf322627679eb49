"""List constraints: what a list must keep to while its slots are drawn, and what that kept out of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.hashing import hash_of
from recsys.domain import OfferKind
from recsys.models.base import FloatArray, IntArray
from recsys.placement import Placement, SlotKind

BoolArray = NDArray[np.bool_]

PLACEMENT_KIND = "placement_kind"
SHOWN_ABOVE = "shown_above"
BELOW_LEAST_PRIORITY = "below_least_priority"
SLOT_KIND = "slot_kind"
NO_SLOT = "no_slot"
SUPPLIER_CAP = "supplier_cap"
NEED_GROUP_CAP = "need_group_cap"
CATEGORY_CAP = "category_cap"

_DAY_SECONDS = 86_400


class KeptOut(NamedTuple):
    """Candidates that one rule kept out of a list.

    Attributes:
        positions: Their positions in the catalogue.
        rule_id: The rule.
    """

    positions: IntArray
    rule_id: str


class _Cap(NamedTuple):
    """At most so many offers of one thing.

    Attributes:
        rule_id: The rule.
        at_most: ≥1.
        members: By position, the offers of the same thing, itself included; empty where it has none.
    """

    rule_id: str
    at_most: int
    members: tuple[tuple[int, ...], ...]


class ListRules:
    """A placement's constraints, compiled for one catalogue.

    A slot for `partner` takes everything that is not the operator's own.

    Args:
        catalogue: The compiled catalogue.
        placement: The placement.
    """

    def __init__(self, catalogue: CompiledCatalogue, placement: Placement) -> None:
        self.placement = placement
        offers = catalogue.offers
        need_groups = [offer.need_group for offer in offers]
        self.rivals = tuple([sharers if len(sharers) > 1 else () for sharers in _sharers(need_groups)])
        """By position the offers of the same need group, itself included; empty where it has no other one."""
        self.caps = tuple(
            _Cap(rule_id, at_most, _sharers(names))
            for rule_id, at_most, names in (
                (SUPPLIER_CAP, placement.max_per_supplier, [offer.supplier_id for offer in offers]),
                (NEED_GROUP_CAP, placement.max_per_need_group, need_groups),
                (CATEGORY_CAP, placement.max_per_category, [offer.category for offer in offers]),
            )
            if at_most is not None
        )
        self.pins = tuple(
            (pin, catalogue.positions[pin.offer_id])
            for pin in sorted(placement.pins, key=lambda pin: pin.slot)
            if pin.offer_id in catalogue.positions
        )
        self.offer_keys = np.array([hash_of(offer_id) for offer_id in catalogue.offer_ids], dtype=np.uint64)
        is_own = np.array([offer.kind is OfferKind.OWN for offer in offers], dtype=bool)
        takes = {SlotKind.OWN: is_own, SlotKind.PARTNER: ~is_own}
        self.takes: dict[int, BoolArray] = {
            slot: takes[kind] for slot, kind in enumerate(placement.slots, start=1) if kind in takes
        }
        """By slot (1-based) whether it takes the offer, by position; any other slot takes every one."""
        self._is_refused_kind = np.array(
            [bool(placement.kinds) and offer.kind not in placement.kinds for offer in offers], dtype=bool
        )
        self._live_since = np.array(
            [-np.inf if offer.valid_from is None else offer.valid_from.timestamp() for offer in offers]
        )
        self._newest = self._live_since.max(initial=-np.inf)

    def is_young(self, now: datetime) -> BoolArray | None:
        """By position, whether an offer has been live for less than `new_offer_days`; None = none has."""
        since = now.timestamp() - self.placement.exploration.new_offer_days * _DAY_SECONDS
        if self._newest <= since:
            return None
        is_young: BoolArray = self._live_since > since
        return is_young

    def narrow(self, candidates: IntArray, is_shown: BoolArray | None) -> tuple[IntArray, list[KeptOut]]:
        """Leave out what this placement never shows and what a list above shows already.

        Args:
            candidates: Positions, best first.
            is_shown: By position, whether an earlier list of the answer shows the offer; None = no list.

        Returns:
            The candidates left, in their order, and the others with the rule.
        """
        kept_out: list[KeptOut] = []
        if is_shown is not None:
            candidates = _part(candidates, is_shown[candidates], SHOWN_ABOVE, kept_out)
        if self.placement.kinds:
            candidates = _part(candidates, self._is_refused_kind[candidates], PLACEMENT_KIND, kept_out)
        return candidates, kept_out


def _part(candidates: IntArray, is_out: BoolArray, rule_id: str, kept_out: list[KeptOut]) -> IntArray:
    if not np.count_nonzero(is_out):
        return candidates
    kept_out.append(KeptOut(candidates[is_out], rule_id))
    return candidates[~is_out]


def _sharers(names: Sequence[str | None]) -> tuple[tuple[int, ...], ...]:
    """For each place the places with the same name; empty where there is no name.

    Example:
        >>> _sharers(["a", None, "b", "a"])
        ((0, 3), (), (2,), (0, 3))
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name is not None:
            places.setdefault(name, []).append(place)
    sharers = {name: tuple(found) for name, found in places.items()}
    return tuple(() if name is None else sharers[name] for name in names)


class OpenList:
    """One list while its slots are drawn: what each slot may still take.

    A pin in force whose offer is a candidate has its slot for sure: the offer is kept for it and counts
    towards the caps from the first slot on. A pin gives way to the slot's kind and to caps that the pins of
    earlier slots fill.

    Args:
        rules: The placement's rules.
        candidates: Positions, best first.
        priorities: By position; along the candidates they do not rise.
        k: Number of slots, ≥0.
        now: The moment of the decision, aware.
    """

    def __init__(
        self, rules: ListRules, candidates: IntArray, priorities: FloatArray, k: int, now: datetime
    ) -> None:
        self.k = k
        self.pinned: dict[int, int] = {}
        self._rules = rules
        self._takes = rules.takes
        self._candidates = candidates
        self._priorities = priorities
        least = rules.placement.least_priority
        listed = candidates[priorities[candidates] >= least] if least > 0 else candidates
        self.order: list[int] = listed.tolist()
        self._left = self.order.copy()
        # One memory, read offer by offer as bytes and all at once as an array.
        self._flags = bytearray(len(priorities))
        self.is_open: BoolArray = np.frombuffer(self._flags, dtype=bool)
        self.is_open[listed] = True
        self._counts: list[tuple[_Cap, dict[int, int]]] = [(cap, {}) for cap in rules.caps]
        # What happened, in order: a slot (1-based) and who took it, or a rule and whom it closed.
        self._takings: list[tuple[int, int | None]] = []
        self._closings: list[tuple[int, int, str]] = []
        if rules.pins:
            self._place_pins(now)

    def _place_pins(self, now: datetime) -> None:
        present = set(self._candidates.tolist())
        for pin, position in self._rules.pins:
            if pin.slot > self.k or pin.slot in self.pinned or not pin.is_on(now):
                continue
            takes = self._takes.get(pin.slot)
            if position in present and not self._is_capped(position) and (takes is None or takes[position]):
                self.pinned[pin.slot] = position
                present.remove(position)
                self._count(position)

    def _is_capped(self, position: int) -> bool:
        return any(
            counts.get(cap.members[position][0], 0) >= cap.at_most
            for cap, counts in self._counts
            if cap.members[position]
        )

    def allowed(self, slot: int) -> BoolArray:
        """By position, whether a slot may take the offer, given what was taken so far; not to be changed."""
        takes = self._takes.get(slot)
        return self.is_open if takes is None else self.is_open & takes

    def n_allowed(self, slot: int) -> int:
        """How many offers a slot may take."""
        return int(np.count_nonzero(self.allowed(slot))) if slot in self._takes else len(self._left)

    def best(self, slot: int) -> int | None:
        """The first candidate that a slot may take; None where it may take none."""
        takes = self._takes.get(slot)
        if takes is None:
            return self._left[0] if self._left else None
        return next((position for position in self._left if takes[position]), None)

    def is_allowed(self, slot: int, position: int) -> bool:
        """Whether a slot may take an offer."""
        takes = self._takes.get(slot)
        return bool(self._flags[position]) and (takes is None or bool(takes[position]))

    def take(self, slot: int, position: int | None) -> None:
        """Give a slot to an offer, or leave it empty."""
        if slot in self.pinned:
            return
        self._takings.append((slot, position))
        if position is not None:
            self._count(position)

    def _count(self, position: int) -> None:
        """Take an offer out, and close what its caps now keep out."""
        flags, left = self._flags, self._left
        if flags[position]:
            flags[position] = False
            left.remove(position)
        for cap, counts in self._counts:
            members = cap.members[position]
            if not members:
                continue
            first = members[0]
            counts[first] = count = counts.get(first, 0) + 1
            if count == cap.at_most:
                for other in members:
                    if flags[other]:
                        flags[other] = False
                        left.remove(other)
                        self._closings.append((len(self._takings), other, cap.rule_id))

    def is_exhausted(self, slot: int) -> bool:
        """Whether neither this slot nor those below it can be given to anything."""
        return slot >= max(self.pinned, default=0) and not self._left

    def kept_out(self) -> list[KeptOut]:
        """The candidates that a rule kept out of the list, as far as it was drawn.

        They are those below the least priority, those that no slot takes, and those not shown that a rule
        kept from a slot which went to a lower priority or stayed empty. A candidate that was merely beaten
        is not among them.
        """
        found: dict[int, str] = {}
        if len(self.order) < len(self._candidates):
            found = dict.fromkeys(self._candidates[len(self.order) :].tolist(), BELOW_LEAST_PRIORITY)
        if self._closings:
            found |= self._capped()
        if self._rules.placement.slots and self._takings:
            wrong = self._is_of_wrong_kind().nonzero()[0].tolist()
            found = {position: self._slot_rule(position) for position in wrong} | found
        if not found:
            return []
        for position in self.pinned.values():
            found.pop(position, None)
        rules: dict[str, list[int]] = {}
        for position, rule_id in found.items():
            rules.setdefault(rule_id, []).append(position)
        return [KeptOut(np.array(positions), rule_id) for rule_id, positions in rules.items()]

    def _slot_rule(self, position: int) -> str:
        """Whether the slots for such an offer went to others, or the list has none."""
        takes = (self._takes.get(slot) for slot in range(1, self.k + 1))
        return SLOT_KIND if any(each is None or each[position] for each in takes) else NO_SLOT

    def _value_of(self, position: int | None) -> float:
        return -1.0 if position is None else self._priorities.item(position)

    def _capped(self) -> dict[int, str]:
        """Closed by a cap before a slot that went to a lower priority or stayed empty."""
        lowest_after = [np.inf]
        for _, position in reversed(self._takings):
            lowest_after.append(min(lowest_after[-1], self._value_of(position)))
        lowest_after.reverse()
        return {
            position: rule_id
            for n_takings, position, rule_id in self._closings
            if self._priorities.item(position) > lowest_after[n_takings]
        }

    def _is_of_wrong_kind(self) -> BoolArray:
        """By position: taken by no slot, or open when a slot for others went lower or stayed empty."""
        is_passed = np.zeros(len(self.is_open), dtype=bool)
        is_taken = np.zeros(len(self.is_open), dtype=bool)
        for slot, position in self._takings:
            takes = self._takes.get(slot)
            if takes is not None:
                is_passed |= ~takes & (self._priorities > self._value_of(position))
            is_taken |= True if takes is None else takes
        is_listed = np.zeros(len(self.is_open), dtype=bool)
        is_listed[self.order] = True
        is_listed[[position for _, position in self._takings if position is not None]] = False
        found: BoolArray = is_listed & (is_passed | ~is_taken)
        return found
