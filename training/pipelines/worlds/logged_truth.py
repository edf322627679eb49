"""The truth behind a simulated log: what every offer would have brought in every decision that was logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from recsys.decision.decide import decide_all
from recsys.decision.engine import Engine
from recsys.decision.situation import Ask, Situation
from recsys.models.base import FloatArray
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.lists import Lists
from recsys.simulation.operator import Operator
from recsys.simulation.outcomes import role_confirmation
from recsys.simulation.policies import Choice, LoggingPolicies, Occasion
from recsys.simulation.rollout import Policy, Request
from recsys.simulation.truth import client_ids
from recsys.simulation.visits import seen_chances, trust_by_slot
from recsys.simulation.world import World
from training.pipelines.scoring.estimates import Estimates


@dataclass(frozen=True, slots=True)
class LoggedTruth:
    """P(activation within 30 days | an offer stands at a slot) in every logged decision.

    Attributes:
        offer_ids: The offers.
        visits: (client_id, month) → row of the arrays; a client visits at most once a month.
        adoption: P(the client adopts the offer unshown), visits_by_offers.
        lift: What being seen at the first slot by one who may confirm adds, same shape.
        seen: P(each slot is seen), visits_by_slots.
        persuasion: Factor of the lift at each slot, same shape.
        zone: Months are those of this zone.
    """

    offer_ids: tuple[str, ...]
    visits: dict[tuple[str, int], int]
    adoption: NDArray[np.float32]
    lift: NDArray[np.float32]
    seen: FloatArray
    persuasion: FloatArray
    zone: ZoneInfo

    def means(self, decisions: Sequence[tuple[str, datetime]], offer_ids: Sequence[str]) -> FloatArray:
        """P(activation), decisions_by_offers_by_slots.

        Args:
            decisions: Client and moment of each.
            offer_ids: The offers asked for; 0 of one that the world does not have.
        """
        rows = [self.visits[client_id, _month_of(at.astimezone(self.zone))] for client_id, at in decisions]
        place = {offer_id: number for number, offer_id in enumerate(self.offer_ids)}
        known = [number for number, offer_id in enumerate(offer_ids) if offer_id in place]
        columns = [place[offer_ids[number]] for number in known]
        found = np.zeros((len(rows), len(offer_ids), self.seen.shape[1]))
        adoption, lift = self.adoption[np.ix_(rows, columns)], self.lift[np.ix_(rows, columns)]
        taken = adoption[:, :, None] + lift[:, :, None] * self.persuasion[rows][:, None, :]
        found[:, known] = taken * self.seen[rows][:, None, :]
        return found


def _month_of(at: datetime) -> int:
    return at.year * 12 + at.month


def live_with_truth(world: World, catalogue: Catalogue) -> LoggedTruth:
    """Let a world live under its logging policies, and write down the truth of every visit.

    Exact where lists propose connections and upgrades only (``aftersales.share = 0``).
    """
    logging = LoggingPolicies(world)
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32], FloatArray, FloatArray]] = []
    places: dict[tuple[str, int], int] = {}
    trust = trust_by_slot(world.portal)

    def choose(occasion: Occasion) -> Choice:
        visitors, chances = occasion.visitors, occasion.chances()
        at = datetime.fromtimestamp(occasion.begins_at / 1e6, zone)
        for row in visitors.rows.tolist():
            places[ids[row], _month_of(at)] = len(places)
        confirmed = role_confirmation(operator)[operator.members.roles[visitors.members]]
        parts.append(
            (
                chances.adoption.astype(np.float32),
                chances.lift.astype(np.float32),
                seen_chances(world.portal, operator.members.attention[visitors.members]),
                confirmed[:, None] * trust,
            )
        )
        return logging(occasion)

    operator, zone = Operator(world, catalogue, choose), ZoneInfo(world.time_zone)
    ids = client_ids(operator)
    for _ in operator.months():
        pass
    adoption, lift, seen, persuasion = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return LoggedTruth(operator.shelf.offer_ids, places, adoption, lift, seen, persuasion, zone)


def rollout_policy(make_engine: Callable[[Request], tuple[Engine, Estimates]], placement: str) -> Policy:
    """An engine as a policy of rollouts; what the world does not allow is passed over.

    Args:
        make_engine: The engine and the models with the offers of a month.
        placement: Whose lists.
    """

    def fill(request: Request) -> Lists:
        engine, estimates = make_engine(request)
        states, k = request.states(), request.k
        columns = {offer_id: number for number, offer_id in enumerate(request.offer_ids)}
        asks = (Ask(placement, engine.placements[placement].max_k),)
        situations = [Situation(state, request.as_of, asks) for state in states]
        decisions = decide_all(situations, estimates.of(states, request.as_of).estimates, engine)
        offers, chances = np.full((len(states), k), -1), np.zeros((len(states), k))
        for row, decision in enumerate(decisions):
            drawn = [
                (columns[engine.catalogue.offer_ids[slot.position]], slot.logging_probability)
                for slot in decision.slates[0].slots
            ]
            kept = [each for each in drawn if request.eligible[row, each[0]]][:k]
            for slot, (offer, chance) in enumerate(kept):
                offers[row, slot], chances[row, slot] = offer, chance
        return Lists(offers, chances)

    return fill
