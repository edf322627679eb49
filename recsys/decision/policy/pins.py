"""Pins that can never show, or that stand in each other's way, as warnings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.read import PolicyFault
from recsys.placement import Pin, Placement

_SINCE_EVER = datetime.min.replace(tzinfo=UTC)


class _Place(NamedTuple):
    """A pin, where its offer stands in the catalogue, and its number in the document."""

    pin: Pin
    position: int
    number: int


def idle_pins(policy: Policy, catalogue: CompiledCatalogue, now: datetime | None) -> Iterator[PolicyFault]:
    """Pins that have no effect, at most one warning for each.

    Args:
        policy: The policy.
        catalogue: The offers; a pin of an unknown one is told elsewhere.
        now: What is over by then is told as such; None = all dates lie ahead.
    """
    for index, placement in enumerate(policy.placements):
        rules = ListRules(catalogue, placement)
        found = [
            _Place(pin, catalogue.positions[pin.offer_id], number)
            for number, pin in enumerate(placement.pins)
            if pin.offer_id in catalogue.positions
        ]
        earlier: list[_Place] = []
        # in the order in which a list gives the slots to them
        for place in sorted(found, key=lambda each: each.pin.slot):
            fault = _never_shown(place, placement, rules, catalogue, now)
            if fault is None:
                fault = _in_the_way(place, earlier, rules, now or _SINCE_EVER)
                earlier.append(place)
            if fault is not None:
                key, message = fault
                path = ("placements", index, "pins", place.number, key)
                yield PolicyFault("placements.yaml", path, message, is_warning=True)


def _never_shown(
    place: _Place, placement: Placement, rules: ListRules, catalogue: CompiledCatalogue, now: datetime | None
) -> tuple[str, str] | None:
    """What keeps a pin from its slot whatever else is pinned: the key it stands at, and the message."""
    pin, position, _ = place
    kind, name = catalogue.kinds[position], f"the pin of {pin.offer_id!r}"
    if placement.kinds and kind not in placement.kinds:
        return "offer", f"{name} never shows: the offer is {kind}, which kinds leaves out; change one"
    takes = rules.takes.get(pin.slot)
    if takes is not None and not takes[position]:
        slot = f"slot {pin.slot} takes only {placement.slots[pin.slot - 1]} offers"
        return "slot", f"{name} never shows: the offer is {kind}, {slot}; choose another slot"
    if now is not None and pin.until_at is not None and pin.until_at <= now:
        return "until_at", f"{name} is over since {pin.until_at:%Y-%m-%d %H:%M} UTC; remove it"
    return None


def _in_the_way(
    place: _Place, earlier: list[_Place], rules: ListRules, since: datetime
) -> tuple[str, str] | None:
    """What pins of earlier slots take from a pin while both are on: the key it stands at, and the message."""
    pin, name = place.pin, f"the pin of {place.pin.offer_id!r}"
    starts = [max(each.pin.from_at or since, since) for each in (place, *earlier)]
    for moment in filter(pin.is_on, starts):
        rivals = [each for each in earlier if each.pin.is_on(moment)]
        for rival in rivals:
            slot = rival.pin.slot
            if rival.position == place.position:
                return "offer", f"{name} does nothing while slot {slot} has the offer too; remove one"
            if slot == pin.slot:
                first = f"slot {slot} is that of {rival.pin.offer_id!r}, which stands first"
                return "slot", f"{name} gives way while {first}; part their dates or move one"
        for cap in rules.caps:
            sharers = cap.members[place.position]
            beside = [repr(each.pin.offer_id) for each in rivals if each.position in sharers]
            if len(beside) >= cap.at_most:
                limit = f"max_per_{cap.rule_id.removesuffix('_cap')} is {cap.at_most}"
                others = f"{', '.join(beside)} is pinned"
                return "offer", f"{name} gives way while {others}: {limit}; raise it or part their dates"
    return None
