"""Names of a policy that refer to nothing: placements, pins, regions, and whatever the examples name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from recsys.config import nearest_name
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.examples import ClientExample, ExamplesFile, ExampleSpec
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.read import PolicyFault
from recsys.decision.policy.walk import Path, conditions_in
from recsys.decision.refusals import BUILT_IN_RULES

_ONLY_PLACEMENT = "home"
"""What a policy without placements has."""
_EXAMPLES = "examples.yaml"
_EQUALITIES = {"is_": "is", "is_not": "is_not", "in_": "in", "not_in": "not_in"}


def unknown_placements(policy: Policy) -> Iterator[PolicyFault]:
    """Placements that conditions and caps name and ``placements.yaml`` does not have."""
    known = placements_of(policy)
    for place in conditions_in(policy):
        for path, name in _values_of(place.condition, place.path, "context", "placement"):
            if name not in known:
                yield PolicyFault(place.document, path, no_such("placement", name, known))
    for index, cap in enumerate(policy.contact.caps):
        for at, name in enumerate(cap.placements):
            if name not in known:
                path = ("caps", index, "placements", at)
                yield PolicyFault("contact.yaml", path, no_such("placement", name, known))


def unknown_pins(policy: Policy, catalogue: CompiledCatalogue) -> Iterator[PolicyFault]:
    """Pinned offers that the catalogue does not have."""
    for index, placement in enumerate(policy.placements):
        for at, pin in enumerate(placement.pins):
            if pin.offer_id not in catalogue.positions:
                path = ("placements", index, "pins", at, "offer")
                message = no_such("offer", pin.offer_id, catalogue.offer_ids)
                yield PolicyFault("placements.yaml", path, message)


def strange_regions(policy: Policy, catalogue: CompiledCatalogue) -> Iterator[PolicyFault]:
    """Regions that conditions name and no offer of the catalogue does, as warnings.

    Clients may well live where nothing is tied to the region; a catalogue that ties nothing to a region
    accuses nobody.
    """
    known = {region for offer in catalogue.offers for region in offer.regions or ()}
    known |= {price.region for offer in catalogue.offers for price in offer.prices if price.region}
    if not known:
        return
    for place in conditions_in(policy):
        for path, name in _values_of(place.condition, place.path, "field", "region"):
            if name not in known:
                nearest = nearest_name(name, known)
                cure = f"did you mean {nearest!r}?" if nearest else "see whether it is meant"
                message = f"no offer of the catalogue names region {name!r}; {cure}"
                yield PolicyFault(place.document, path, message, is_warning=True)


def unknown_in_examples(
    policy: Policy, examples: ExamplesFile, catalogue: CompiledCatalogue
) -> Iterator[PolicyFault]:
    """Offers, placements, rules and caps that the examples name and nobody declares."""
    yield from _placements_in_examples(policy, examples)
    for name, client in examples.clients.items():
        yield from _offers_of_client(client, ("clients", name), catalogue)
    rules, caps = rule_ids_of(policy), [cap.id for cap in policy.engagement.volume_caps]
    for index, example in enumerate(examples.examples):
        path: Path = ("examples", index)
        if example.but is not None:
            yield from _offers_of_client(example.but, (*path, "but"), catalogue)
        for place, offer_id in _offers_of_example(example):
            if offer_id not in catalogue.positions:
                message = no_such("offer", offer_id, catalogue.offer_ids)
                yield PolicyFault(_EXAMPLES, (*path, *place), message)
        for at, expected in enumerate(example.expect):
            if expected.by is not None and expected.by not in rules:
                message = no_such("rule or cap", expected.by, rules)
                yield PolicyFault(_EXAMPLES, (*path, "expect", at, "by"), message)
        for at, cap in enumerate(example.moment.used_up_caps):
            if cap not in caps:
                place = (*path, "moment", "used_up_caps", at)
                yield PolicyFault(_EXAMPLES, place, no_such("volume cap", cap, caps))


def placements_of(policy: Policy) -> list[str]:
    """Ids of the placements that a policy has."""
    return [placement.placement_id for placement in policy.placements] or [_ONLY_PLACEMENT]


def rule_ids_of(policy: Policy) -> list[str]:
    """Ids by which an offer can be refused: rules and caps of the policy, and the built-in rules."""
    engagement = policy.engagement
    return [
        *(rule.id for rule in engagement.rules),
        *(cap.id for cap in engagement.volume_caps),
        *(cap.id for cap in policy.contact.caps),
        *(rule_id for rule_ids in BUILT_IN_RULES.values() for rule_id in rule_ids),
    ]


def no_such(thing: str, name: str, known: Collection[str]) -> str:
    """That nothing is called so, and the nearest name.

    Example:
        >>> no_such("placement", "hmoe", ["home", "banner"])
        "there is no placement 'hmoe'; did you mean 'home'?"
    """
    nearest = nearest_name(name, known)
    cure = f"did you mean {nearest!r}?" if nearest else "correct it or remove it"
    return f"there is no {thing} {name!r}; {cure}"


def _placements_in_examples(policy: Policy, examples: ExamplesFile) -> Iterator[PolicyFault]:
    known = placements_of(policy)
    named: list[tuple[Path, str | None]] = [
        (("examples", index, "moment", "placement"), example.moment.placement)
        for index, example in enumerate(examples.examples)
    ]
    if any(place is None for _, place in named):
        named.insert(0, (("placement",), examples.placement))
    named += [
        (("clients", name, "seen", at, "placement"), seen.placement)
        for name, client in examples.clients.items()
        for at, seen in enumerate(client.seen)
    ]
    for path, place in named:
        if place is not None and place not in known:
            yield PolicyFault(_EXAMPLES, path, no_such("placement", place, known))


def _offers_of_client(
    client: ClientExample, path: Path, catalogue: CompiledCatalogue
) -> Iterator[PolicyFault]:
    for key in ("holds", "left", "dismissed", "seen"):
        for at, entry in enumerate(getattr(client, key)):
            if entry.offer not in catalogue.positions:
                message = no_such("offer", entry.offer, catalogue.offer_ids)
                yield PolicyFault(_EXAMPLES, (*path, key, at), message)


def _offers_of_example(example: ExampleSpec) -> Iterator[tuple[Path, str]]:
    for offer_id in example.probabilities:
        yield ("probabilities", offer_id), offer_id
    for at, expected in enumerate(example.expect):
        for offer_id in expected.offer_ids:
            yield ("expect", at), offer_id


def _values_of(condition: Condition, path: Path, head: str, name: str) -> Iterator[tuple[Path, str]]:
    """What a fact is compared with for equality, and where."""
    for key, parts in (("all", condition.all_of), ("any", condition.any_of)):
        for at, part in enumerate(parts or ()):
            yield from _values_of(part, (*path, key, at), head, name)
    if condition.negated is not None:
        yield from _values_of(condition.negated, (*path, "not"), head, name)
    if getattr(condition, head) != name:
        return
    comparison, operand = condition.comparison
    if comparison in _EQUALITIES:
        values: tuple[Any, ...] = operand if isinstance(operand, tuple) else (operand,)
        yield from (((*path, _EQUALITIES[comparison]), str(value)) for value in values)
