"""The one step, where there is one, after which a refused offer could be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import NamedTuple

from recsys.decision.availability import NO_RESTRICTIONS, Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.syntax import Condition
from recsys.decision.engagement import Verdicts
from recsys.decision.policy.engagement import RuleSpec, VolumeCap
from recsys.decision.refusals import RefusalStage, Rule
from recsys.decision.rulebook import NO_RULE
from recsys.decision.volume import period_of
from recsys.decision.whynot import missing_groups, unknown_facts
from recsys.domain import ClientState, Holding, Language, OfferId, Profile
from recsys.texts import TELLABLE_FACTS, cure_text, day_text, fact_text, join_facts

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Case:
    """A client at a moment.

    Attributes:
        state: The client.
        moment: When and where it asks.
        restrictions: What restricts offers then.
    """

    state: ClientState
    moment: Moment
    restrictions: Restrictions = NO_RESTRICTIONS


Judge = Callable[[Case], Verdicts]
"""Applies everything that can refuse an offer before a placement looks at it: engagement, contact policy."""


class Cure(NamedTuple):
    """A step that a client can take.

    Attributes:
        code: ``connect_first``, ``wait_until``, ``offered_again`` (it can be connected all the while),
            ``raise_limit``, ``tell_fact`` or ``rule`` (the policy's own words).
        text: One sentence.
        offer_ids: What to connect first.
        from_at: From when on the offer can be had, for ``wait_until``, or is proposed, for ``offered_again``.
    """

    code: str
    text: str
    offer_ids: tuple[str, ...] = ()
    from_at: datetime | None = None


class Cures:
    """Finds cures. Each was tried: with that step made the offer is a candidate.

    Nothing cures a region, a legal form, or an offer that is connected already. A fact that is missing can be
    told: the cure where it may help, for what it says nobody knows yet.

    Args:
        catalogue: The compiled catalogue.
        segments: The policy's segments.
        judge: Gives the verdicts of a case.
        language: Language of the sentences.
    """

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        segments: Mapping[str, Condition],
        judge: Judge,
        language: Language,
    ) -> None:
        self._catalogue = catalogue
        self._segments = segments
        self._judge = judge
        self._language = language

    def find(self, case: Case, position: int, rule: Rule, until: datetime | None = None) -> Cure | None:
        """The step after which the client could have the offer.

        Args:
            case: The client and the moment.
            position: The offer.
            rule: The rule that refuses it.
            until: From when on a rule of the contact policy no longer refuses it; None = no such instant.

        Returns:
            The cure; None where no single step is known to help.
        """
        if rule.code == "requires":
            return self._connect_first(case, position)
        if rule.code == "budget_limit":
            unlimited = replace(case.restrictions, spending_limit_minor=None)
            return self._if_cured(replace(case, restrictions=unlimited), position, self._said("raise_limit"))
        unknown = unknown_facts(rule, case.state, case.moment, self._catalogue, self._segments)
        if unknown and TELLABLE_FACTS.issuperset(unknown):
            return self._tell(case, position, rule, unknown)
        if isinstance(rule.spec, RuleSpec):
            return self._words_of_rule(case, position, rule.spec)
        if isinstance(rule.spec, VolumeCap):
            restrictions = case.restrictions
            used_up = restrictions.used_up_caps - {rule.rule_id}
            case = replace(case, restrictions=replace(restrictions, used_up_caps=used_up))
            until = period_of(rule.spec.per, case.moment.now, case.moment.zone)[1]
        elif rule.code == "not_yet_live":
            until = self._catalogue.offers[position].valid_from
        elif rule.stage is not RefusalStage.CONTACT_POLICY:
            until = None
        code = "offered_again" if rule.stage is RefusalStage.CONTACT_POLICY else "wait_until"
        return self._wait(case, position, until, code)

    def _connect_first(self, case: Case, position: int) -> Cure | None:
        groups = missing_groups(self._catalogue, position, case.state)
        if len(groups) != 1:
            return None
        for offer_id in self._can_be_connected(case, groups[0]):
            holding = Holding("", OfferId(offer_id), case.moment.now)
            state = replace(case.state, holdings=(*case.state.holdings, holding))
            title = self._catalogue.title(offer_id, self._language) or offer_id
            cure = Cure("connect_first", cure_text("connect_first", self._language, title), (offer_id,))
            if self._if_cured(replace(case, state=state), position, cure):
                return cure
        return None

    def _can_be_connected(self, case: Case, group: tuple[str, ...]) -> Iterator[str]:
        """The candidates of a group, the cheapest first, then by title; without a price last."""
        catalogue = self._catalogue
        profile = case.state.profile or Profile()
        prices = catalogue.prices(profile.region, profile.size)
        verdicts = self._judge(case)
        found: list[tuple[bool, int, str, str]] = []
        for offer_id in group:
            position = catalogue.positions.get(offer_id)
            if position is not None and verdicts.numbers[position] == NO_RULE:
                price, title = prices[position], catalogue.title(offer_id, self._language) or ""
                found.append((price is None, 0 if price is None else price.amount_minor, title, offer_id))
        return (offer_id for _, _, _, offer_id in sorted(found))

    def _tell(self, case: Case, position: int, rule: Rule, unknown: Sequence[str]) -> Cure | None:
        """Tell what is not known, if there is an answer with which the client could have the offer."""
        names = join_facts([fact_text(fact, self._language) for fact in unknown], self._language)
        cure = Cure("tell_fact", cure_text("tell_fact", self._language, names))
        return (
            cure if any(self._is_cured(told, position) for told in self._told(case, position, rule)) else None
        )

    def _told(self, case: Case, position: int, rule: Rule) -> Iterator[Case]:
        """The case with the answers that the rule would let pass."""
        offer, profile = self._catalogue.offers[position], case.state.profile or Profile()
        if rule.code == "region":
            profiles = [replace(profile, region=region) for region in offer.regions]
        elif rule.code == "legal_form":
            profiles = [replace(profile, legal_form=form) for form in offer.legal_forms]
        else:
            yield _without_rule(case, rule.rule_id)
            return
        for told in profiles:
            yield replace(case, state=replace(case.state, profile=told))

    def _words_of_rule(self, case: Case, position: int, spec: RuleSpec) -> Cure | None:
        if spec.cure is None:
            return None
        cure = Cure("rule", spec.cure.in_language(self._language))
        return self._if_cured(_without_rule(case, spec.id), position, cure)

    def _wait(self, case: Case, position: int, until: datetime | None, code: str) -> Cure | None:
        if until is None:
            return None
        local = until.astimezone(case.moment.zone)
        # A day is said on which the offer can be had from its first minute on.
        day = local.date() if local.time() == time.min else local.date() + _DAY
        text = cure_text(code, self._language, day_text(day, self._language))
        later = replace(case, moment=replace(case.moment, now=until))
        return self._if_cured(later, position, Cure(code, text, from_at=until))

    def _said(self, code: str) -> Cure:
        return Cure(code, cure_text(code, self._language))

    def _if_cured(self, case: Case, position: int, cure: Cure) -> Cure | None:
        return cure if self._is_cured(case, position) else None

    def _is_cured(self, case: Case, position: int) -> bool:
        return bool(self._judge(case).numbers[position] == NO_RULE)


def _without_rule(case: Case, rule_id: str) -> Case:
    restrictions = case.restrictions
    lifted = restrictions.lifted_rules | {rule_id}
    return replace(case, restrictions=replace(restrictions, lifted_rules=lifted))
