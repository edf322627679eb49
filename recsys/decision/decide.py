"""The funnel: from what is known of a client to the lists it sees, with everything needed to audit them.

engagement (availability → suitability) → contact policy → the request's own exclusions → arbitration → draws
per placement. Nothing here reads a clock: the moment of the decision is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.arbitration import Estimate, Factors
from recsys.decision.availability import Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.facts import Moment
from recsys.decision.constraints import BELOW_LEAST_PRIORITY, BoolArray, KeptOut
from recsys.decision.contact import ContactRefusal, ContactRefusals
from recsys.decision.engagement import Verdicts
from recsys.decision.engine import Engine
from recsys.decision.exploration import Roll, draw_list, seed_of, window_of
from recsys.decision.refusals import Refusal, RefusalStage
from recsys.decision.rulebook import RuleBook
from recsys.domain import Change, ClientState, Language, Profile
from recsys.history import NO_HISTORY
from recsys.models.base import IntArray

EXCLUDED_BY_REQUEST = "excluded_by_request"


@dataclass(frozen=True, slots=True)
class Ask:
    """A list that is asked for.

    Attributes:
        placement_id: Where it will be shown; one of the engine's placements.
        k: Length wanted, ≥1.
    """

    placement_id: str
    k: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything about the moment of a decision.

    Attributes:
        state: What is known of the client.
        now: When, aware.
        asks: The lists, in the order of the request; an offer is shown in the first that takes it.
        excluded: Offers that the request does not want.
        channel: Where the lists will be shown, where known.
        language: Language of the member who sees them.
        member_id: That member, where known.
        role: Its role, where known.
        restrictions: Suspensions, caps that are used up, and the member's spending limit.
    """

    state: ClientState
    now: datetime
    asks: tuple[Ask, ...]
    excluded: frozenset[str] = frozenset()
    channel: str | None = None
    language: Language = Language.RU
    member_id: str | None = None
    role: str | None = None
    restrictions: Restrictions = field(default_factory=Restrictions)

    @property
    def is_profiling_allowed(self) -> bool:
        """The client's profiling switch."""
        return self.state.profile is None or self.state.profile.is_profiling_allowed

    @property
    def read_state(self) -> ClientState:
        """What may be read of the client to choose for it.

        With profiling switched off this is what it takes not to offer the impossible: region, legal form and
        what is connected.
        """
        if self.is_profiling_allowed or self.state.profile is None:
            return self.state
        profile = Profile(
            region=self.state.profile.region,
            legal_form=self.state.profile.legal_form,
            is_profiling_allowed=False,
        )
        return replace(self.state, profile=profile, past_offer_ids=(), history=NO_HISTORY)


class Slot(NamedTuple):
    """One place of a list.

    Attributes:
        rank: 1-based.
        position: The offer's position in the catalogue.
        change: What taking it would change.
        logging_probability: P(this offer at this slot | the slots above), 0–1.
    """

    rank: int
    position: int
    change: Change
    logging_probability: float


@dataclass(frozen=True, slots=True)
class Slate:
    """The list for one placement.

    Attributes:
        placement_id: Where it is shown.
        seed: Seed of its draws.
        slots: What was drawn; fewer than asked for where the candidates ran out.
        candidates: Positions that the draws were made from, best first.
        factors: What each offer's priority is made of, by position.
        is_weighed_personally: Whether a context weight that reads the client's data counts.
        verdicts: The verdict on every offer in this list. A candidate that only a constraint of the list
            kept out is refused here and still stands among the candidates.
    """

    placement_id: str
    seed: int
    slots: tuple[Slot, ...]
    candidates: IntArray
    factors: Factors
    is_weighed_personally: bool
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request.

    Attributes:
        slates: One per list asked for, in that order.
        decided_at: The moment of the decision.
        valid_until: Until then the same question gets the same draws.
    """

    slates: tuple[Slate, ...]
    decided_at: datetime
    valid_until: datetime


def decide(situation: Situation, estimate: Estimate, engine: Engine) -> Decision:
    """Choose the lists.

    With profiling switched off nothing is drawn at random, weights and softer rules read a client of whom
    little is known (see `Situation.read_state`), and the caller passes an estimate that does not rest on the
    client's data. Availability and eligibility still refuse what the client cannot have.

    Args:
        situation: The client, the moment and the lists asked for.
        estimate: What a model says, by position of the engine's catalogue.
        engine: The policy, compiled with the catalogue.

    Returns:
        One slate per list; an empty slate is a result, not an error.
    """
    window = window_of(situation.now, engine.policy.window_seconds)
    contact = engine.contact.refusals(situation.state, situation.now, situation.member_id)
    is_shown = np.zeros(len(engine.catalogue), dtype=bool)
    reserved = _reserved(situation, engine)
    slates: list[Slate] = []
    for number, (ask, weighed) in enumerate(
        zip(situation.asks, _weigh(situation, estimate, engine), strict=True)
    ):
        verdicts = Verdicts(weighed.verdicts.numbers.copy(), weighed.verdicts.changes)
        _apply_contact(verdicts, contact, ask.placement_id, engine.book)
        seed = seed_of(situation.state.client_id, ask.placement_id, window.index)
        roll = Roll(ask.k, seed, situation.now, estimate.is_unknown, situation.is_profiling_allowed)
        is_elsewhere = is_shown if reserved is None else is_shown | ((reserved >= 0) & (reserved != number))
        slate = _draw(engine, weighed._replace(verdicts=verdicts), ask.placement_id, roll, is_elsewhere)
        is_shown[[slot.position for slot in slate.slots]] = True
        slates.append(slate)
    return Decision(tuple(slates), situation.now, window.ends_at)


def _reserved(situation: Situation, engine: Engine) -> IntArray | None:
    """By position, the number of the list that has the offer pinned, −1 for none; None without any pin."""
    pinned = [
        (position, number)
        for number, ask in enumerate(situation.asks)
        for pin, position in engine.list_rules[ask.placement_id].pins
        if pin.slot <= ask.k and pin.is_on(situation.now)
    ]
    if not pinned:
        return None
    reserved = np.full(len(engine.catalogue), -1, dtype=np.int64)
    for position, number in reversed(pinned):  # the first list that pins an offer has it
        reserved[position] = number
    return reserved


def judge(situation: Situation, engine: Engine, placement_id: str | None) -> Verdicts:
    """Apply all that refuses an offer before a list is drawn: engagement, exclusions, contact policy.

    Args:
        situation: The client and the moment.
        engine: The policy.
        placement_id: Where the offer would be shown; None = nowhere in particular.
    """
    (verdicts,), _ = engage(situation, engine, [moment_of(situation, engine, placement_id)])
    contact = engine.contact.refusals(situation.state, situation.now, situation.member_id)
    _apply_contact(verdicts, contact, placement_id, engine.book)
    return verdicts


def engage(
    situation: Situation, engine: Engine, moments: Sequence[Moment]
) -> tuple[list[Verdicts], BoolArray]:
    """Apply engagement and exclusions at each of several moments.

    Returns:
        The verdicts, and which of the context weights count, moments_by_weights.
    """
    states = [situation.read_state] * len(moments)
    engaged = engine.engagement.engage(states, moments, situation.restrictions)
    if not situation.is_profiling_allowed:
        # What cannot be had stays refused, whatever it takes to know it.
        states = [situation.state] * len(moments)
        full = engine.engagement.engage(states, moments, situation.restrictions)
        is_hard = full.numbers < engine.book.end_of(RefusalStage.ELIGIBILITY)
        np.minimum(engaged.numbers, full.numbers, out=engaged.numbers, where=is_hard)
    positions = engine.catalogue.positions
    found = [positions[offer_id] for offer_id in situation.excluded if offer_id in positions]
    verdicts = [engaged[place] for place in range(len(moments))]
    for each in verdicts if found else ():
        each.refuse(found, engine.book.number_of(EXCLUDED_BY_REQUEST))
    return verdicts, engaged.asked


def _apply_contact(
    verdicts: Verdicts, contact: ContactRefusals, placement_id: str | None, book: RuleBook
) -> None:
    _refuse(verdicts, contact.everywhere, book)
    if placement_id is not None:
        _refuse(verdicts, contact.by_placement.get(placement_id, ()), book)


class Weighed(NamedTuple):
    """What the funnel knows before a list is drawn.

    Attributes:
        verdicts: The verdict on every offer so far.
        factors: What each offer's priority is made of, by position.
        is_personal: Whether a context weight that reads the client's data counts.
        order: All positions, best first.
    """

    verdicts: Verdicts
    factors: Factors
    is_personal: bool
    order: NDArray[np.int32]


def _weigh(situation: Situation, estimate: Estimate, engine: Engine) -> list[Weighed]:
    """Give every offer its priority in each list that is asked for, candidate or not."""
    moments = [moment_of(situation, engine, ask.placement_id) for ask in situation.asks]
    # Where nothing depends on the placement, one list's priorities are those of all.
    different = moments if engine.is_placement_read else moments[:1]
    if not different:
        return []
    quantities = quantities_of(situation.read_state, engine.catalogue)
    weighed: list[Weighed] = []
    for verdicts, truth in zip(*engage(situation, engine, different), strict=True):
        factors = engine.arbitration.factors(estimate.probabilities, verdicts.changes, truth, quantities)
        is_personal = bool((truth & engine.is_weight_personal).any())
        order = engine.arbitration.order(factors.priority, estimate.order)
        weighed.append(Weighed(verdicts, factors, is_personal, order))
    return weighed if engine.is_placement_read else weighed * len(moments)


def quantities_of(state: ClientState, catalogue: CompiledCatalogue) -> IntArray:
    """How many of each offer the client has, by position."""
    quantities = np.zeros(len(catalogue), dtype=np.int64)
    for holding in state.holdings:
        position = catalogue.positions.get(holding.offer_id)
        if position is not None:
            quantities[position] += holding.quantity
    return quantities


def moment_of(situation: Situation, engine: Engine, placement_id: str | None) -> Moment:
    """The context of the decision, as conditions read it."""
    return Moment(
        situation.now, placement_id, situation.channel, situation.language, situation.role, engine.zone
    )


def _refuse(verdicts: Verdicts, refusals: Iterable[ContactRefusal | KeptOut], book: RuleBook) -> None:
    for refusal in refusals:
        verdicts.refuse(refusal.positions, book.number_of(refusal.rule_id))


def _draw(engine: Engine, weighed: Weighed, placement_id: str, roll: Roll, is_shown: BoolArray) -> Slate:
    verdicts = weighed.verdicts
    rules, order = engine.list_rules[placement_id], weighed.order
    # A weight of −100 says never, and chance must not say otherwise.
    verdicts.refuse(
        np.flatnonzero(weighed.factors.context == 0.0), engine.book.number_of(BELOW_LEAST_PRIORITY)
    )
    candidates, kept_out = rules.narrow(order[verdicts.is_candidate[order]].astype(np.int64), is_shown)
    drawn = draw_list(candidates, weighed.factors.priority, rules, roll)
    _refuse(verdicts, (*kept_out, *drawn.kept_out), engine.book)
    slots = [
        Slot(rank, draw.position, verdicts.change_of(draw.position), draw.logging_probability)
        for rank, draw in enumerate(drawn.draws, start=1)
    ]
    return Slate(
        placement_id, roll.seed, tuple(slots), candidates, weighed.factors, weighed.is_personal, verdicts
    )


def list_refusals(slate: Slate, engine: Engine) -> tuple[Refusal, ...]:
    """Every offer that a rule keeps from this slate, ordered by id."""
    numbers, verdicts = slate.verdicts.numbers, slate.verdicts
    return tuple(
        Refusal(
            engine.catalogue.offer_ids[position], verdicts.change_of(position), engine.book[numbers[position]]
        )
        for position in np.flatnonzero(~verdicts.is_candidate).tolist()
    )
