"""The funnel: from what is known of a client to the lists it sees, with everything needed to audit them.

availability → eligibility → contact policy → the request's own exclusions → priority → draws per
placement. Nothing here reads a clock: the moment of the decision is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import orjson

from recsys.decision.arbitration import Estimate
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.contact import CoolDowns, let_rest
from recsys.decision.engagement import Verdicts, engage
from recsys.decision.exploration import draw_slots, seed_of, window_of
from recsys.decision.refusals import Refusal, Rule
from recsys.domain import Change, ClientState, Placement
from recsys.models.chance import MIN_COHORT

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Policy:
    """The parameters of every decision.

    Attributes:
        cool_downs: How long a dismissed offer rests.
        window_seconds: Length of the window within which draws are not repeated, ≥1.
        min_cohort: Smallest number of clients that a reason may speak of.
        max_reasons: Most reasons shown with one offer.
    """

    cool_downs: CoolDowns = field(default_factory=CoolDowns)
    window_seconds: int = DAY_SECONDS
    min_cohort: int = MIN_COHORT
    max_reasons: int = 3

    def digest(self) -> str:
        """SHA-256 of the parameters, as 64 hexadecimal digits."""
        return sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Ask:
    """A list that is asked for.

    Attributes:
        placement: Where it will be shown.
        k: Length wanted, ≥1.
    """

    placement: Placement
    k: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything about the moment of a decision.

    Attributes:
        state: What is known of the client.
        now: When, aware.
        asks: The lists, in the order of the request; an offer is shown in the first that takes it.
        excluded: Offers that the request does not want.
    """

    state: ClientState
    now: datetime
    asks: tuple[Ask, ...]
    excluded: frozenset[str] = frozenset()

    @property
    def is_profiling_allowed(self) -> bool:
        """The client's profiling switch."""
        return self.state.profile is None or self.state.profile.is_profiling_allowed


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
        candidates: Positions that could have been drawn for the first slot, highest priority first.
        refused: Position and rule of the candidates that this placement may not show.
    """

    placement_id: str
    seed: int
    slots: tuple[Slot, ...]
    candidates: Sequence[int]
    refused: tuple[tuple[int, Rule], ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request.

    Attributes:
        slates: One per list asked for, in that order.
        verdicts: The verdict on every offer before placements looked at it.
        refused: Position and rule of the offers that no placement may show.
        valid_until: Until then the same question gets the same draws.
    """

    slates: tuple[Slate, ...]
    verdicts: Verdicts
    refused: tuple[tuple[int, Rule], ...]
    valid_until: datetime


def decide(
    situation: Situation, estimate: Estimate, catalogue: CompiledCatalogue, policy: Policy
) -> Decision:
    """Choose the lists.

    With profiling switched off nothing is drawn at random; the caller passes an estimate that does not
    rest on the client's data.

    Args:
        situation: The client, the moment and the lists asked for.
        estimate: What a model says, by position of this catalogue.
        catalogue: The compiled catalogue.
        policy: The parameters.

    Returns:
        One slate per list; an empty slate is a result, not an error.
    """
    verdicts = engage(catalogue, situation.state, situation.now)
    let_rest(verdicts, catalogue, situation.state, situation.now, policy.cool_downs)
    for offer_id in situation.excluded:
        position = catalogue.positions.get(offer_id)
        if position is not None:
            verdicts.refuse(position, Rule.EXCLUDED_BY_REQUEST)
    rules = verdicts.rules
    candidates = [position for position in estimate.order.tolist() if rules[position] is None]
    refused = tuple([(position, rule) for position, rule in enumerate(rules) if rule is not None])
    window = window_of(situation.now, policy.window_seconds)
    slates: list[Slate] = []
    shown: set[int] = set()
    for ask in situation.asks:
        allowed, refused_here = _narrow(candidates, catalogue, ask.placement, shown)
        slate = _draw(situation, ask, verdicts, allowed, window.index)
        shown.update(slot.position for slot in slate.slots)
        slates.append(replace(slate, refused=refused_here) if refused_here else slate)
    return Decision(tuple(slates), verdicts, refused, window.ends_at)


def _draw(situation: Situation, ask: Ask, verdicts: Verdicts, allowed: Sequence[int], window: int) -> Slate:
    placement = ask.placement
    seed = seed_of(situation.state.client_id, placement.placement_id, window)
    share = placement.exploration_share if situation.is_profiling_allowed else 0.0
    slots = tuple(
        [
            Slot(number, draw.position, verdicts.change_of(draw.position), draw.logging_probability)
            for number, draw in enumerate(draw_slots(allowed, ask.k, share, seed), start=1)
        ]
    )
    return Slate(placement.placement_id, seed, slots, allowed, ())


def _narrow(
    candidates: Sequence[int], catalogue: CompiledCatalogue, placement: Placement, shown: Set[int]
) -> tuple[Sequence[int], tuple[tuple[int, Rule], ...]]:
    """The candidates that this placement may show, and the others with the rule."""
    if not placement.kinds and not shown:
        return candidates, ()
    allowed: list[int] = []
    refused: list[tuple[int, Rule]] = []
    for position in candidates:
        if position in shown:
            refused.append((position, Rule.SHOWN_ABOVE))
        elif placement.kinds and catalogue.kinds[position] not in placement.kinds:
            refused.append((position, Rule.PLACEMENT_KIND))
        else:
            allowed.append(position)
    return allowed, tuple(refused)


def list_refusals(decision: Decision, slate: Slate, catalogue: CompiledCatalogue) -> tuple[Refusal, ...]:
    """Every offer that is no candidate on this slate, ordered by id, with the rule."""
    return tuple(
        Refusal(catalogue.offer_ids[position], rule)
        for position, rule in sorted((*decision.refused, *slate.refused))
    )
