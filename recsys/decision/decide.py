"""The funnel: from what is known of a client to the lists it sees, with everything needed to audit them.

engagement (availability → suitability) → contact policy → the request's own exclusions → arbitration → draws
per placement. Nothing here reads a clock: the moment of the decision is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import numpy as np

from recsys.decision.arbitration import Estimate, Factors
from recsys.decision.constraints import BoolArray, KeptOut
from recsys.decision.contact import ContactRefusal, ContactRefusals
from recsys.decision.engagement import Engaged, Verdicts
from recsys.decision.engine import Engine
from recsys.decision.exploration import Roll, Window, draw_list, seed_of, window_of
from recsys.decision.refusals import Refusal
from recsys.decision.rulebook import RuleBook
from recsys.decision.situation import Situation, moment_of
from recsys.decision.weigh import Look, Weighed, engage, weigh
from recsys.domain import Change
from recsys.models.base import IntArray


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


class Slate(NamedTuple):
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


class Decision(NamedTuple):
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
    """Choose the lists of one request; see `decide_all`."""
    return decide_all([situation], [estimate], engine)[0]


def decide_all(
    situations: Sequence[Situation], estimates: Sequence[Estimate], engine: Engine
) -> list[Decision]:
    """Choose the lists of many requests, each as if it were alone.

    With profiling switched off nothing is drawn at random, weights and softer rules read a client of whom
    little is known (see `Situation.read_state`), and the caller passes an estimate that does not rest on the
    client's data. Availability and eligibility still refuse what the client cannot have.

    Args:
        situations: The clients, the moments and the lists asked for.
        estimates: What a model says of each client, by position of the engine's catalogue.
        engine: The policy, compiled with the catalogue.

    Returns:
        For each request one slate per list; an empty slate is a result, not an error.
    """
    # Stage by stage: what was just run for another client is still in the processor's cache.
    lists = [
        (situation, estimate)
        for situation, estimate in zip(situations, estimates, strict=True)
        for _ in situation.asks
    ]
    weighed = iter(
        [
            weigh(verdicts, asked, estimate, situation, engine)
            for (verdicts, asked), (situation, estimate) in zip(
                _judge_lists(situations, engine), lists, strict=True
            )
        ]
    )
    windows = {now: window_of(now, engine.policy.window_seconds) for now in {each.now for each in situations}}
    return [
        _draw_lists(
            situation, estimate, list(islice(weighed, len(situation.asks))), windows[situation.now], engine
        )
        for situation, estimate in zip(situations, estimates, strict=True)
    ]


def _judge_lists(situations: Sequence[Situation], engine: Engine) -> list[tuple[Verdicts, bytes]]:
    """Apply all that refuses an offer before a list is drawn, list by list.

    Returns:
        The verdicts of each list, and which conditions of context weights are true of it.
    """
    # Where nothing depends on the placement, engagement says of all lists what it says of one.
    looks = [
        Look(situation, moment_of(situation, engine, ask.placement_id))
        for situation in situations
        for ask in (situation.asks if engine.is_placement_read else situation.asks[:1])
    ]
    if not looks:
        return []
    engaged = engage(looks, engine)
    n_lists = [len(situation.asks) for situation in situations if situation.asks]
    if len(looks) < sum(n_lists):
        rows = np.arange(len(looks)).repeat(n_lists)
        asked = [engaged.asked[row] for row in rows.tolist()]
        engaged = Engaged(engaged.numbers[rows], engaged.changes[rows], asked)
    judged = list(zip(map(Verdicts, engaged.numbers, engaged.changes), engaged.asked, strict=True))
    of_lists = iter(judged)
    for situation in situations:
        contact = engine.contact.refusals(situation.state, situation.now, situation.member_id)
        for ask in situation.asks:
            _apply_contact(next(of_lists)[0], contact, ask.placement_id, engine.book)
    return judged


def _draw_lists(
    situation: Situation, estimate: Estimate, weighed: Sequence[Weighed], window: Window, engine: Engine
) -> Decision:
    """Draw the lists of one request, whose offers were weighed for each of them."""
    state, now, asks = situation.state, situation.now, situation.asks
    is_shown: BoolArray | None = None
    reserved: IntArray | None = None
    if len(asks) > 1:
        is_shown, reserved = np.zeros(len(engine.catalogue), dtype=bool), _reserved(situation, engine)
    slates: list[Slate] = []
    for number, (ask, found) in enumerate(zip(asks, weighed, strict=True)):
        seed = seed_of(state.client_id, ask.placement_id, window.index)
        roll = Roll(ask.k, seed, now, estimate.is_unknown, situation.is_profiling_allowed)
        is_elsewhere = is_shown
        if is_shown is not None and reserved is not None:
            is_elsewhere = is_shown | ((reserved >= 0) & (reserved != number))
        slate = _draw(engine, found, ask.placement_id, roll, is_elsewhere)
        if is_shown is not None:
            is_shown[[slot.position for slot in slate.slots]] = True
        slates.append(slate)
    return Decision(tuple(slates), now, window.ends_at)


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
    verdicts = engage([Look(situation, moment_of(situation, engine, placement_id))], engine)[0]
    contact = engine.contact.refusals(situation.state, situation.now, situation.member_id)
    _apply_contact(verdicts, contact, placement_id, engine.book)
    return verdicts


def _apply_contact(
    verdicts: Verdicts, contact: ContactRefusals, placement_id: str | None, book: RuleBook
) -> None:
    if contact.everywhere:
        _refuse(verdicts, contact.everywhere, book)
    if contact.by_placement and placement_id is not None:
        _refuse(verdicts, contact.by_placement.get(placement_id, ()), book)


def _refuse(verdicts: Verdicts, refusals: Iterable[ContactRefusal | KeptOut], book: RuleBook) -> None:
    for refusal in refusals:
        verdicts.refuse(refusal.positions.tolist(), book.number_of(refusal.rule_id))


def _draw(
    engine: Engine, weighed: Weighed, placement_id: str, roll: Roll, is_shown: BoolArray | None
) -> Slate:
    verdicts, rules = weighed.verdicts, engine.list_rules[placement_id]
    candidates, kept_out = rules.narrow(weighed.candidates, is_shown)
    drawn = draw_list(candidates, weighed.factors.priority, rules, roll)
    if kept_out or drawn.kept_out:
        _refuse(verdicts, (*kept_out, *drawn.kept_out), engine.book)
    slots = [
        Slot(rank, position, verdicts.change_of(position), probability)
        for rank, (_, position, probability) in enumerate(drawn.draws, start=1)
    ]
    return Slate(
        placement_id,
        roll.seed,
        tuple(slots),
        candidates,
        weighed.factors,
        weighed.is_personal,
        verdicts,
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
