"""Exploration: a known share of randomness, with the exact probability of every draw.

A slot is drawn in one of three *ways*, picked by a coin that depends on the seed and the slot:

* with the new-offer share ν, one of the new offers still allowed, all alike (while there are any);
* else with the exploration share σ at random: uniformly (ε) or by Plackett–Luce, P(i) = wᵢ / Σ w with worths
  w = priority^(1/τ);
* else the best that is still allowed; near ties of competitors share this place evenly (rotation).

Whoever of several is drawn is found by a race of exponential clocks: each offer has one patience
E ~ Exp(1), made from the seed and the offer's id, and the first with the least E/w wins: P(i) = wᵢ / Σ w.
The losers keep what is left, E − w·(E/w of the winner), which is Exp(1) again and independent of everything
drawn before (the clock has no memory). So the probability given the slots above is that of the formula
whatever was drawn before, and an offer that goes away leaves the clocks of the others as they were.

Source:
    Plackett (1975), The analysis of permutations. Maddison, Tarlow, Minka (2014), A* sampling (the race).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from typing import NamedTuple

import numpy as np

from recsys.decision.constraints import BoolArray, KeptOut, ListRules, OpenList
from recsys.decision.hashing import coins_of, hash_of, patience_of
from recsys.models.base import FloatArray, IntArray
from recsys.placement import Exploration, ExplorationKind

# Keeps every worth a positive number down to the lowest temperature.
_LEAST_SHARE = 1e-12


class Draw(NamedTuple):
    """One slot that was given to an offer.

    Attributes:
        slot: 1-based slot of the placement.
        position: The offer's position in the catalogue.
        logging_probability: P(this offer at this slot | the slots above), 0–1.
    """

    slot: int
    position: int
    logging_probability: float


class Roll(NamedTuple):
    """What a list's draws depend on besides candidates and rules.

    Attributes:
        k: Number of slots, ≥0.
        seed: See `seed_of`.
        now: The moment of the decision, aware.
        is_unknown: By position, whether no model knows the offer; None = every offer is known.
        is_random: False leaves nothing to chance: neither exploration nor rotation.
    """

    k: int
    seed: int
    now: datetime
    is_unknown: BoolArray | None = None
    is_random: bool = True


class DrawnList(NamedTuple):
    """A list as it was drawn.

    Attributes:
        draws: The slots, first one first. A slot that nothing could take is left out.
        kept_out: Candidates that a constraint kept out; see `OpenList.kept_out`.
    """

    draws: tuple[Draw, ...]
    kept_out: tuple[KeptOut, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time within which a refresh does not re-roll the list.

    Attributes:
        index: Number of the window since 1970.
        ends_at: The first moment of the next one, aware UTC.
    """

    index: int
    ends_at: datetime


def window_of(now: datetime, seconds: int) -> Window:
    """The window of that length in which a moment lies.

    Example:
        >>> window_of(datetime(1970, 1, 2, 5, tzinfo=UTC), 86_400)
        Window(index=1, ends_at=datetime.datetime(1970, 1, 3, 0, 0, tzinfo=datetime.timezone.utc))
    """
    index = int(now.timestamp() // seconds)
    return Window(index, datetime.fromtimestamp((index + 1) * seconds, UTC))


def seed_of(client_id: str, placement_id: str, window: int) -> int:
    """The seed of a list's draws: the same client, placement and window give the same seed.

    Returns:
        An integer in [0, 2⁶³), which a signed 64-bit column can keep.
    """
    return hash_of(f"{len(client_id)}:{client_id}{placement_id}:{window}") >> 1


_Law = tuple[list[int], BoolArray | None, float]
"""By what one slot is drawn: the best offer that it may take and those that share its place; by position, the
new offers that it may take, None where there is none; the sum of the worths, at random, of all that it may
take."""


class Lottery:
    """The law by which the slots of one list are drawn.

    Args:
        rules: The placement's rules.
        slots: The list that is drawn.
        priorities: By position, ≥0.
        roll: What else the draws depend on.
    """

    def __init__(self, rules: ListRules, slots: OpenList, priorities: FloatArray, roll: Roll) -> None:
        exploration = rules.placement.exploration if roll.is_random else Exploration()
        self._rules = rules
        self._slots = slots
        self._seed = roll.seed
        self._share = 0.0 if exploration.kind is ExplorationKind.NONE else exploration.share
        self._new_share = exploration.new_offer_share
        self._new = _new_offers(rules, slots, roll) if self._new_share > 0 else None
        self._rotation = rules.placement.rotation if roll.is_random else 0.0
        self._priorities = priorities
        self._worths: FloatArray | None = None
        if self._share > 0 and exploration.kind is ExplorationKind.SOFTMAX:
            level = _level(slots, priorities, rules) if self._rotation > 0 else priorities
            self._worths = _worths(level, exploration.temperature)
        self._is_certain = self._share == 0.0 and self._new is None and self._rotation == 0.0
        self._coins = [] if self._is_certain else coins_of(roll.seed, "way", roll.k)
        self._new_coins = [] if self._new is None else coins_of(roll.seed, "new", roll.k)
        self._patience: FloatArray | None = None

    def chances(self, slot: int) -> FloatArray:
        """By position P(offer at this slot | the slots above); all 0 where nothing is allowed, else Σ = 1."""
        chances = np.zeros(len(self._slots.is_open))
        law = self._law(slot)
        if law is not None:
            for position in self._slots.allowed(slot).nonzero()[0].tolist():
                chances[position] = self._chance(law, position)
        return chances

    def draw(self, slot: int) -> Draw | None:
        """Draw one slot; None when nothing is allowed."""
        if self._is_certain:
            best = self._slots.best(slot)
            return None if best is None else Draw(slot, best, 1.0)
        law = self._law(slot)
        if law is None:
            return None
        ties, new, _ = law
        # A coin of its own, so that a new offer that goes away leaves the other draws as they were.
        if new is not None and self._new_coins[slot - 1] < self._new_share:
            position = self._race(new.nonzero()[0])
        elif self._coins[slot - 1] < self._share:
            position = self._race(self._slots.allowed(slot).nonzero()[0], self._worths)
        else:
            position = ties[0] if len(ties) == 1 else self._race(np.array(ties))
        return Draw(slot, position, self._chance(law, position))

    def _law(self, slot: int) -> _Law | None:
        best = self._slots.best(slot)
        if best is None:
            return None
        rivals = self._rules.rivals[best]
        ties = self._ties_of(best, rivals, slot) if rivals and self._rotation > 0 else [best]
        new, total = None, 0.0
        if self._new is not None:
            is_new = self._slots.allowed(slot) & self._new
            new = is_new if np.count_nonzero(is_new) else None
        if self._worths is not None:
            total = float(self._worths @ self._slots.allowed(slot))
        elif self._share > 0:
            total = self._slots.n_allowed(slot)
        return ties, new, total

    def _ties_of(self, best: int, rivals: Sequence[int], slot: int) -> list[int]:
        """The best offer and the competitors whose priority is at least (1 − rotation) of its own."""
        priority_of = self._priorities.item
        least = (1.0 - self._rotation) * priority_of(best)
        return [
            other for other in rivals if priority_of(other) >= least and self._slots.is_allowed(slot, other)
        ]

    def _chance(self, law: _Law, position: int) -> float:
        """P(an offer that is allowed) = ν·[new]/n_new + (1 − ν)·((1 − σ)·[tied for best]/n_ties + σ·w/Σw)."""
        ties, new, total = law
        chance = 0.0
        if position in ties:
            chance = (1.0 - self._share) / len(ties)
        if self._share > 0:
            worth = 1.0 if self._worths is None else float(self._worths[position])
            chance += self._share * worth / total
        if new is not None:
            chance *= 1.0 - self._new_share
            if new[position]:
                chance += self._new_share / int(np.count_nonzero(new))
        return chance

    def _race(self, members: IntArray, worths: FloatArray | None = None) -> int:
        """The member whose clock rings first; the clocks of the others run on."""
        if self._patience is None:
            self._patience = patience_of(self._rules.offer_keys, self._seed)
        left = self._patience.take(members)
        if worths is None:
            first = int(left.argmin())
            self._patience[members] = left - left.item(first)
        else:
            speeds = worths.take(members)
            times = left / speeds
            first = int(times.argmin())
            self._patience[members] = left - speeds * times[first]
        return members.item(first)


def _level(slots: OpenList, priorities: FloatArray, rules: ListRules) -> FloatArray:
    """Priorities in which near ties of competitors are ties.

    Going down the candidates of one need group, each gets the priority of the current leader while its own
    is at least (1 − rotation) of it; else it leads from there on.
    """
    level = priorities.copy()
    leading: dict[int, float] = {}
    for position in slots.order:
        rivals = rules.rivals[position]
        if rivals:
            value = float(priorities[position])
            leader = leading.get(rivals[0])
            if leader is None or value < (1.0 - rules.placement.rotation) * leader:
                leader = leading[rivals[0]] = value
            level[position] = leader
    return level


def _new_offers(rules: ListRules, slots: OpenList, roll: Roll) -> BoolArray | None:
    """By position, which of the open candidates are new; None where none is."""
    is_new = rules.is_young(roll.now)
    if roll.is_unknown is not None:
        is_new = roll.is_unknown if is_new is None else is_new | roll.is_unknown
    if is_new is None:
        return None
    is_new = is_new & slots.is_open
    return is_new if is_new.any() else None


def _worths(priorities: FloatArray, temperature: float) -> FloatArray:
    """(priority ÷ the highest)^(1/τ) by position."""
    most = priorities.max(initial=0.0)
    shares = np.maximum(priorities / most, _LEAST_SHARE) if most > 0 else np.ones(len(priorities))
    return shares if temperature == 1.0 else shares ** (1.0 / temperature)


def draw_list(candidates: IntArray, priorities: FloatArray, rules: ListRules, roll: Roll) -> DrawnList:
    """Draw a list slot by slot from what its rules still allow.

    Args:
        candidates: Positions, best first: descending by priority, ties in the order that shall hold.
        priorities: By position, ≥0.
        rules: The placement's rules.
        roll: Length, seed and moment.

    Returns:
        The draws with their exact probabilities, and what the rules kept out. The same arguments give the
        same list; a longer list begins with the shorter one unless a pin stands in between.
    """
    slots = OpenList(rules, candidates, priorities, roll.k, roll.now)
    lottery = Lottery(rules, slots, priorities, roll)
    draws: list[Draw] = []
    for slot in range(1, roll.k + 1):
        pinned = slots.pinned.get(slot)
        drawn = lottery.draw(slot) if pinned is None else Draw(slot, pinned, 1.0)
        if drawn is not None:
            slots.take(slot, drawn.position)
            draws.append(drawn)
            continue
        slots.take(slot, None)
        if slots.is_exhausted(slot):
            break
    return DrawnList(tuple(draws), tuple(slots.kept_out()))


def list_probability(draws: Iterable[Draw]) -> float:
    """P(the list) = Π P(offer at slot j | the slots above).

    Example:
        >>> list_probability([Draw(1, 4, 0.5), Draw(2, 0, 0.25)])
        0.125
    """
    return prod(draw.logging_probability for draw in draws)
