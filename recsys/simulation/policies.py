"""Who fills the lists: the world's logging policies, and what any other policy gets to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.behaviour import Chances
from recsys.simulation.clients import BoolArray, FloatArray
from recsys.simulation.lists import Lists, draw_greedy, draw_weighted, slot_probabilities
from recsys.simulation.sections import Logging, LoggingKind
from recsys.simulation.visits import Visitors
from recsys.simulation.world import World

_LEAST_WANT = 1e-9
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Occasion:
    """The lists of one month that wait to be filled; arrays are visits_by_offers.

    Attributes:
        month: 0-based month.
        begins_at: Its first instant, microseconds since 1970.
        visitors: Who visits.
        eligible: What may be shown.
        changes: What taking an offer would change; positions in `recsys.simulation.aftersales.CHANGES`.
        popularity: Holders of each offer per thousand clients, shape (n_offers,).
        wants: Returns the true attractions, which no policy of an operator can know.
        chances: Returns the true probabilities, likewise.
        gains: Returns the expected margin of taking an offer, beyond that of what it would change.
    """

    month: int
    begins_at: int
    visitors: Visitors
    eligible: BoolArray
    changes: NDArray[np.int8]
    popularity: FloatArray
    wants: Callable[[], FloatArray]
    chances: Callable[[], Chances]
    gains: Callable[[], FloatArray]


@dataclass(frozen=True, slots=True)
class Choice:
    """Filled lists.

    Attributes:
        lists: The lists.
        policies: Version of the policy that filled each list.
        is_personalised: Whether the client's own data ordered each list, shape (n_visits,).
        priority: What they were drawn by, visits_by_offers or one row for all; None = all alike.
    """

    lists: Lists
    policies: tuple[str, ...]
    is_personalised: BoolArray
    priority: FloatArray | None = None


def chosen_by(
    policy: str, lists: Lists, *, is_personalised: bool, priority: FloatArray | None = None
) -> Choice:
    """Lists that one policy filled."""
    n = len(lists.offers)
    return Choice(lists, (policy,) * n, np.full(n, is_personalised), priority)


Chooser = Callable[[Occasion], Choice]


class LoggingPolicies:
    """The world's logging policies, one after another; a `Chooser`."""

    def __init__(self, world: World) -> None:
        self._policies = world.logging
        self._k = world.portal.k

    def in_month(self, month: int) -> Logging:
        """The policy in force in a month."""
        return [policy for policy in self._policies if policy.from_month <= month][-1]

    def __call__(self, occasion: Occasion) -> Choice:
        """Fill the lists of a month."""
        policy, eligible, seeds = self.in_month(occasion.month), occasion.eligible, occasion.visitors.seeds
        is_personalised = policy.confounding > 0
        wants = occasion.wants() if is_personalised else None
        priority = self.priority(policy, occasion.popularity, wants)
        if policy.kind is LoggingKind.GREEDY:
            lists = draw_greedy(priority, eligible, seeds, self._k, policy.exploration)
        else:
            lists = draw_weighted(np.where(eligible, priority, 0.0), seeds, self._k)
        shown = None if policy.kind is LoggingKind.UNIFORM else priority
        return chosen_by(policy.policy, lists, is_personalised=is_personalised, priority=shown)

    def priority(self, policy: Logging, popularity: FloatArray, wants: FloatArray | None) -> FloatArray:
        """What offers are drawn by: weights, or scores of a greedy policy; see `sections.Logging`.

        Rounded, so that what is logged is exactly what was drawn by.
        """
        if policy.kind is LoggingKind.UNIFORM:
            return np.ones((1, len(popularity)))
        scores: FloatArray = np.log1p(popularity)[None, :]
        if wants is not None:
            scores = scores + policy.confounding * np.log(np.maximum(wants, _LEAST_WANT))
        if policy.kind is LoggingKind.GREEDY:
            return scores.round(_DECIMALS)
        # A weight is never 0, which would make an eligible offer one that can never be shown.
        weights: FloatArray = np.exp(scores / policy.temperature)
        return np.maximum(weights.round(_DECIMALS), 10.0**-_DECIMALS)

    def expected_slots(self, policy: Logging, priority: FloatArray, eligible: BoolArray) -> FloatArray:
        """P(an offer stands at each slot), slots_by_lists_by_offers; see `lists.slot_probabilities`."""
        if policy.kind is not LoggingKind.GREEDY:
            return slot_probabilities(np.where(eligible, priority, 0.0), self._k)
        explored = slot_probabilities(np.where(eligible, 1.0, 0.0), self._k) * policy.exploration
        no_seeds = np.zeros(len(eligible), dtype=np.int64)
        best = draw_greedy(priority, eligible, no_seeds, self._k).offers
        kept = 1 - policy.exploration
        for slot in range(self._k):
            # As many of the best stand above as slots above were not explored.
            for rank in range(slot + 1):
                chance = comb(slot, rank) * kept ** (rank + 1) * policy.exploration ** (slot - rank)
                lists = np.flatnonzero(best[:, rank] >= 0)
                explored[slot, lists, best[lists, rank]] += chance
        return explored
