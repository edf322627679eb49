"""The account of a decision: how many offers each stage left, and why each one is where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from recsys.decision.constraints import OpenList
from recsys.decision.cures import Case, Cure, Cures
from recsys.decision.decide import Slate, judge
from recsys.decision.engagement import Verdicts
from recsys.decision.engine import Engine
from recsys.decision.refusals import RefusalStage, Rule
from recsys.decision.situation import Situation, moment_of
from recsys.decision.weigh import Look, engage
from recsys.decision.whynot import WhyNot
from recsys.domain import Change, Language


@dataclass(frozen=True, slots=True)
class Weights:
    """What the priority of a candidate is made of.

    Attributes:
        probability: P, 0–1.
        context: C, ≥0.
        value: V, ≥0.
        levers: L, 0.5–2.
        priority: Their product.
        context_weights: Ids of the context weights that count for the offer now.
    """

    probability: float
    context: float
    value: float
    levers: float
    priority: float
    context_weights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An offer that is not shown because of a rule.

    Attributes:
        offer_id: The offer.
        title: Its title.
        change: What taking it would have changed.
        rule: The first rule that refuses it.
        text: Why, as one sentence.
        cure: The one step that would help; None where there is none.
    """

    offer_id: str
    title: str
    change: Change
    rule: Rule
    text: str
    cure: Cure | None


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one list.

    Attributes:
        n_offers: Offers in the catalogue.
        funnel: How many are left after each stage, in the order of the stages.
        weights: Of every candidate of the list, by position, best first.
        pinned: Positions of the offers that have their slot by a pin.
        suppressed: Every offer that a rule keeps from the list, in the order of the funnel, then by id.
    """

    n_offers: int
    funnel: Mapping[RefusalStage, int]
    weights: Mapping[int, Weights]
    pinned: frozenset[int]
    suppressed: tuple[Suppressed, ...]


class Accountant:
    """Gives accounts of one client's lists.

    Args:
        situation: The client and the moment.
        engine: The policy that decided.
        language: Language of the sentences.
        currency: ISO code of amounts in them; None where it is not known.
    """

    def __init__(
        self, situation: Situation, engine: Engine, language: Language, currency: str | None = None
    ) -> None:
        self._situation = situation
        self._engine = engine
        self._why_not = WhyNot(engine.catalogue, engine.policy.engagement.segments, language, currency)
        self._language = language

    def account(self, slate: Slate) -> Account:
        """The account of one list."""
        numbers = slate.verdicts.numbers
        refused = np.flatnonzero(~slate.verdicts.is_candidate)
        in_order = refused[np.argsort(numbers[refused], kind="stable")].tolist()
        return Account(
            n_offers=len(numbers),
            funnel=self._engine.book.funnel(numbers),
            weights=self._weights(slate),
            pinned=self._pinned(slate),
            suppressed=tuple(
                [self.suppressed(slate.verdicts, position, slate.placement_id) for position in in_order]
            ),
        )

    def _pinned(self, slate: Slate) -> frozenset[int]:
        """Who has its slot by a pin: those that the draws kept a slot for."""
        rules = self._engine.list_rules[slate.placement_id]
        if not rules.pins:
            return frozenset()
        k = next(ask.k for ask in self._situation.asks if ask.placement_id == slate.placement_id)
        slots = OpenList(rules, slate.candidates, slate.factors.priority, k, self._situation.now)
        return frozenset(slots.pinned.values())

    def suppressed(self, verdicts: Verdicts, position: int, placement_id: str | None = None) -> Suppressed:
        """Why an offer is refused, and what would help.

        Args:
            verdicts: By which it is refused.
            position: The offer.
            placement_id: The list in question; None = none in particular.
        """
        state, engine = self._situation.state, self._engine
        rule = engine.book[verdicts.numbers[position]]
        case = Case(state, moment_of(self._situation, engine, placement_id), self._situation.restrictions)
        segments = engine.policy.engagement.segments
        cures = Cures(
            engine.catalogue, segments, lambda each: self._judge(each, placement_id), self._language
        )
        return Suppressed(
            offer_id=engine.catalogue.offer_ids[position],
            title=engine.catalogue.texts[self._language][position].title,
            change=verdicts.change_of(position),
            rule=rule,
            text=self._why_not.text(rule, position, state, case.moment),
            cure=cures.find(case, position, rule, self._until(rule, position, placement_id)),
        )

    def _judge(self, case: Case, placement_id: str | None) -> Verdicts:
        changed = replace(
            self._situation, state=case.state, now=case.moment.now, restrictions=case.restrictions
        )
        return judge(changed, self._engine, placement_id)

    def _until(self, rule: Rule, position: int, placement_id: str | None) -> datetime | None:
        """From when on the contact policy no longer refuses an offer by that rule."""
        situation = self._situation
        contact = self._engine.contact.refusals(situation.state, situation.now, situation.member_id)
        here = contact.by_placement.get(placement_id, ()) if placement_id is not None else ()
        ends = [
            refusal.until
            for refusal in (*contact.everywhere, *here)
            if refusal.rule_id == rule.rule_id and position in refusal.positions and refusal.until is not None
        ]
        return max(ends, default=None)

    def _weights(self, slate: Slate) -> Mapping[int, Weights]:
        engine, factors = self._engine, slate.factors
        moment = moment_of(self._situation, engine, slate.placement_id)
        (truth,) = engage([Look(self._situation, moment)], engine).asked
        counting = [
            weight
            for weight, is_true in zip(engine.policy.arbitration.context_weights, truth, strict=True)
            if is_true
        ]
        offers = engine.catalogue.offers
        return {
            position: Weights(
                probability=float(factors.probability[position]),
                context=float(factors.context[position]),
                value=float(factors.value[position]),
                levers=float(factors.levers[position]),
                priority=float(factors.priority[position]),
                context_weights=tuple(
                    [weight.id for weight in counting if weight.offers.has(offers[position])]
                ),
            )
            for position in slate.candidates.tolist()
        }
