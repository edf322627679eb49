"""Whether a policy is sound: names that exist, rules that can do something, offers that somebody can get.

Nothing here looks at a client: what is called impossible is so for every client there could be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.engagement import RuleSpec, RuleStage
from recsys.decision.policy.examples import ExamplesFile
from recsys.decision.policy.logic import (
    ANY,
    FALSE,
    TRUE,
    UNKNOWN,
    Budget,
    Demand,
    Truths,
    inline,
    is_possible,
)
from recsys.decision.policy.names import (
    no_such,
    strange_regions,
    unknown_in_examples,
    unknown_pins,
    unknown_placements,
)
from recsys.decision.policy.pins import idle_pins
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.reach import offers_out_of_reach
from recsys.decision.policy.read import PolicyFault, first_faults
from recsys.decision.policy.scope import names_of
from recsys.decision.policy.walk import conditions_in, plain, scopes_in, segments_named
from recsys.domain import Change, Offer

_STAGES = tuple(RuleStage)
_NEW = tuple(Change).index(Change.NEW)
_NOT_CHECKED_FURTHER = (
    "not checked further: the rules are too many, or their conditions too wide, to be compared in full;"
    " what is told is so, but more may be wrong"
)


def check_policy(
    policy: Policy,
    catalogue: CompiledCatalogue,
    examples: ExamplesFile | None = None,
    now: datetime | None = None,
) -> list[PolicyFault]:
    """Everything that is wrong with a policy that could be read.

    Args:
        policy: The policy.
        catalogue: What its names refer to.
        examples: Its examples, whose names are looked at as well.
        now: Pins that are over by then are told of; None = none is.

    Returns:
        Faults and warnings; none = sound.
    """
    rules, budget = _compile(policy, catalogue), Budget()
    faults = [
        *first_faults(_unknown_names(policy, catalogue)),
        *([] if examples is None else unknown_in_examples(policy, examples, catalogue)),
        *_conditions_without_effect(policy, budget),
        *_rules_without_effect(rules, budget),
        *_covered_rules(rules, budget),
    ]
    contradicted = _offers_nobody_gets(policy, catalogue, rules, budget)
    faults += [fault for _, fault in contradicted if fault is not None]
    faults += offers_out_of_reach(policy, catalogue, frozenset(position for position, _ in contradicted))
    if budget.is_overdrawn:
        faults.append(PolicyFault("engagement.yaml", ("rules",), _NOT_CHECKED_FURTHER, is_warning=True))
    faults += idle_pins(policy, catalogue, now)
    return [*faults, *strange_regions(policy, catalogue), *_unused_segments(policy)]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule as it acts.

    Attributes:
        number: Its place in the document.
        spec: What is written.
        refuses: Its condition, with every segment in its place, comes out as the rule refuses.
        passes: It comes out otherwise.
        reach: Whether it is about an offer (by position) as a change (in the order of `Change`).
    """

    number: int
    spec: RuleSpec
    refuses: Demand
    passes: Demand
    reach: NDArray[np.bool_]

    def fault(self, key: str, message: str, *, is_warning: bool = False) -> PolicyFault:
        return PolicyFault("engagement.yaml", ("rules", self.number, key), message, is_warning)


def refusing_truths(rule: RuleSpec) -> Truths:
    """How a rule's condition comes out where the rule refuses."""
    found = TRUE if rule.is_refused_when_true else FALSE
    return found | UNKNOWN if rule.is_refused_when_unknown else found


def _compile(policy: Policy, catalogue: CompiledCatalogue) -> list[_Rule]:
    """The rules in the order in which they are tried."""
    segments = _segments(policy)
    found = []
    for number, spec in enumerate(policy.engagement.rules):
        condition, refusing = inline(plain(spec.condition), segments), refusing_truths(spec)
        changes = [not spec.changes or change in spec.changes for change in Change]
        found.append(
            _Rule(
                number,
                spec,
                Demand(condition, refusing),
                Demand(condition, ANY & ~refusing),
                np.outer(spec.offers.mask(catalogue), changes),
            )
        )
    return sorted(found, key=lambda rule: _STAGES.index(rule.spec.stage))


def _segments(policy: Policy) -> dict[str, dict[str, Any]]:
    return {name: plain(condition) for name, condition in policy.engagement.segments.items()}


def _unknown_names(policy: Policy, catalogue: CompiledCatalogue) -> Iterator[PolicyFault]:
    names = names_of(catalogue.offers)
    for place in scopes_in(policy):
        unknown_names = place.scope.unknown_names(names)
        for unknown in unknown_names:
            path = (*place.path, unknown.key, unknown.at)
            message = no_such(_SINGULAR[unknown.key], unknown.name, names[unknown.key])
            yield PolicyFault(place.document, path, message)
        if not unknown_names and not place.scope.mask(catalogue).any():
            message = "no offer of the catalogue is all of this at once; widen it"
            yield PolicyFault(place.document, place.path, message, is_warning=True)
    levers = policy.arbitration.levers
    for key, known in names.items():
        for name in getattr(levers, key, {}):
            if name not in known:
                message = no_such(_SINGULAR[key], name, known)
                yield PolicyFault("arbitration.yaml", ("levers", key, name), message)
    yield from unknown_placements(policy)
    yield from unknown_pins(policy, catalogue)


def _conditions_without_effect(policy: Policy, budget: Budget) -> Iterator[PolicyFault]:
    """Conditions outside of rules that no client can meet."""
    segments = _segments(policy)
    for place in conditions_in(policy):
        if place.path[0] == "rules":
            continue
        condition = inline(plain(place.condition), segments)
        if not is_possible([Demand(condition, TRUE)], budget):
            message = "this can never be true; correct the condition or remove it"
            yield PolicyFault(place.document, place.path, message)


def _rules_without_effect(rules: Sequence[_Rule], budget: Budget) -> Iterator[PolicyFault]:
    for rule in rules:
        key = "never_if" if rule.spec.is_refused_when_true else "only_if"
        if not is_possible([rule.refuses], budget):
            how = "can never be true" if rule.spec.is_refused_when_true else "is always true"
            message = f"rule {rule.spec.id!r} refuses nobody: its condition {how}; correct or remove it"
            yield rule.fault(key, message)
        elif not is_possible([rule.passes], budget):
            how = "is always true" if rule.spec.is_refused_when_true else "can never be true"
            message = f"rule {rule.spec.id!r} refuses everybody: its condition {how}; correct or remove it"
            yield rule.fault(key, message)


def _covered_rules(rules: Sequence[_Rule], budget: Budget) -> Iterator[PolicyFault]:
    """Rules that refuse nothing which an earlier rule has not refused already."""
    if not rules:
        return
    # bits, so that a rule is held against all earlier ones at once: thousands of rules make millions of pairs
    reaches = np.packbits([rule.reach.ravel() for rule in rules], axis=1)
    known = sorted(frozenset[str]().union(*[rule.refuses.subjects for rule in rules]))
    looks = np.packbits([[subject in rule.refuses.subjects for subject in known] for rule in rules], axis=1)
    for place, rule in enumerate(rules):
        is_wider = ~(reaches[place] & ~reaches[:place]).any(axis=1)
        is_alike = (looks[place] & looks[:place]).any(axis=1)
        for number in np.flatnonzero(is_wider & is_alike).tolist():
            if budget.is_used_up():
                return
            earlier = rules[number]
            if _covers(earlier, rule, budget):
                message = (
                    f"rule {rule.spec.id!r} is never reached: whatever it refuses, rule"
                    f" {earlier.spec.id!r} has refused already; remove it or put it first"
                )
                yield rule.fault("id", message)
                break


def _covers(earlier: _Rule, rule: _Rule, budget: Budget) -> bool:
    # a rule that refuses nobody is told of elsewhere
    both = [rule.refuses, earlier.passes]
    return not is_possible(both, budget) and is_possible([rule.refuses], budget)


def _offers_nobody_gets(
    policy: Policy, catalogue: CompiledCatalogue, rules: Sequence[_Rule], budget: Budget
) -> list[tuple[int, PolicyFault | None]]:
    """Positions of the offers that rules keep from everybody; a fault once for the same rules."""
    told: set[tuple[int, ...]] = set()
    found: list[tuple[int, PolicyFault | None]] = []
    for position, offer in enumerate(catalogue.offers):
        own = [rule for rule in rules if rule.reach[position, _NEW]]
        fixed = _from_catalogue(offer)
        demands = {rule.number: rule.passes for rule in own}
        if is_possible([*fixed, *demands.values()], budget):
            continue
        if any(not is_possible([rule.passes], budget) for rule in own):
            found.append((position, None))  # told of the rule itself
            continue
        needed = _conflict(fixed, demands, budget)
        if needed in told:
            found.append((position, None))
            continue
        told.add(needed)
        names = ", ".join(repr(policy.engagement.rules[number].id) for number in needed)
        why = f"{names} contradict each other" if len(needed) > 1 else f"{names} contradicts the catalogue"
        message = f"nobody can get {offer.offer_id!r}: {why}; relax one of them"
        found.append((position, PolicyFault("engagement.yaml", ("rules", needed[-1], "id"), message)))
    return found


def _conflict(fixed: Sequence[Demand], demands: dict[int, Demand], budget: Budget) -> tuple[int, ...]:
    """The fewest rules, one taken out after the other, that still leave nobody."""
    needed = dict(demands)
    for number in demands:
        others = [demand for other, demand in needed.items() if other != number]
        if not is_possible([*fixed, *others], budget):
            del needed[number]
    return tuple(sorted(needed))


def _from_catalogue(offer: Offer) -> list[Demand]:
    """What the catalogue itself asks of a client that is to get an offer."""
    asked: list[dict[str, Any]] = [{"not": {"holds": {"offers": (offer.offer_id,)}}}]
    if offer.regions:
        asked.append({"field": "region", "in": offer.regions})
    if offer.legal_forms:
        asked.append({"field": "legal_form", "in": tuple(offer.legal_forms)})
    return [Demand(condition, TRUE) for condition in asked]


def _unused_segments(policy: Policy) -> Iterator[PolicyFault]:
    used = {name for place in conditions_in(policy) for _, name in segments_named(place.condition)}
    for name in policy.engagement.segments:
        if name not in used:
            message = f"segment {name!r} is used nowhere; use it or remove it"
            yield PolicyFault("engagement.yaml", ("segments", name), message, is_warning=True)


_SINGULAR = {
    "offers": "offer",
    "categories": "category",
    "need_groups": "need group",
    "suppliers": "supplier",
}
