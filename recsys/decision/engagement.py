"""Availability and eligibility: what may be proposed at all, and which rule refuses the rest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.refusals import Rule
from recsys.domain import Change, ClientState, LegalForm


@dataclass(frozen=True, slots=True)
class Verdicts:
    """For each position of the catalogue the first rule that refuses the offer.

    Attributes:
        rules: One rule per position; None where the offer is a candidate. Later stages may fill a None,
            never clear a rule.
        upgrades: Positions whose change is an upgrade of an edition that the client holds.
    """

    rules: list[Rule | None]
    upgrades: frozenset[int]

    def refuse(self, position: int, rule: Rule) -> None:
        """Refuse an offer, unless an earlier rule did."""
        if self.rules[position] is None:
            self.rules[position] = rule

    def change_of(self, position: int) -> Change:
        """What taking the offer would change."""
        return Change.UPGRADE if position in self.upgrades else Change.NEW


def engage(catalogue: CompiledCatalogue, state: ClientState, now: datetime) -> Verdicts:
    """Apply availability (stopped, dates, region), then eligibility.

    Eligibility is, in this order: legal form, already connected, exclusive slot, exclusions,
    prerequisites. An offer that is the next edition of something held is a candidate as `upgrade`
    instead of `new`; then neither the slot that the old edition fills nor an exclusion of the old
    edition refuses it.

    Args:
        catalogue: The compiled catalogue.
        state: What is known of the client; its holdings are what it has now.
        now: The moment of the decision, aware.

    Returns:
        The verdict on every offer.
    """
    profile = state.profile
    region, form = (None, LegalForm.UNKNOWN) if profile is None else (profile.region, profile.legal_form)
    held: set[str] = {holding.offer_id for holding in state.holdings}
    rules = list(catalogue.rules_without_holdings(region, form, now))
    if not held:
        return Verdicts(rules, frozenset())
    upgrades = frozenset(
        [
            catalogue.upgrades[offer_id]
            for offer_id in held
            if offer_id in catalogue.upgrades
            and catalogue.offer_ids[catalogue.upgrades[offer_id]] not in held
        ]
    )
    # The order of the rules makes the first one count: what is written later gives way to what stands.
    _refuse_held(catalogue, rules, held)
    _refuse_beside(catalogue, rules, held, upgrades)
    _unlock(catalogue, rules, held)
    return Verdicts(rules, upgrades)


def _is_open(rule: Rule | None) -> bool:
    """Whether no rule that comes before the prerequisites has refused an offer."""
    return rule is None or rule is Rule.REQUIRES


def _refuse_held(catalogue: CompiledCatalogue, rules: list[Rule | None], held: set[str]) -> None:
    for offer_id in held:
        position = catalogue.positions.get(offer_id)
        if position is not None and _is_open(rules[position]):
            rules[position] = Rule.ALREADY_CONNECTED


def _refuse_beside(
    catalogue: CompiledCatalogue, rules: list[Rule | None], held: set[str], upgrades: frozenset[int]
) -> None:
    """Refuse what cannot stand beside a holding."""
    for offer_id in held:
        for position in catalogue.slots.get(offer_id, ()):
            if position not in upgrades and _is_open(rules[position]):
                rules[position] = Rule.EXCLUSIVE_SLOT
    for offer_id in held:
        for position in catalogue.conflicts.get(offer_id, ()):
            if position != catalogue.upgrades.get(offer_id) and _is_open(rules[position]):
                rules[position] = Rule.EXCLUDES


def _unlock(catalogue: CompiledCatalogue, rules: list[Rule | None], held: set[str]) -> None:
    """Lift `REQUIRES` where every group is met."""
    for offer_id in held:
        for position in catalogue.unlocks.get(offer_id, ()):
            groups = catalogue.offers[position].requires
            if rules[position] is Rule.REQUIRES and not any(map(held.isdisjoint, groups)):
                rules[position] = None
