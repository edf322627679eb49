"""Which of the pairs that could be leads are leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.decision.volume import Tally, period_of
from recsys.domain import EventType
from recsys.models.base import FloatArray, IntArray
from training.pipelines.scoring.sources import Sources

PER_CLIENT = "per_client"
PER_MANAGER = "per_manager"


@dataclass(frozen=True, slots=True)
class LeadLimits:
    """How many leads there may be.

    Attributes:
        capacity: In all, ≥1.
        per_client: Of one client, open applications included, ≥1.
        per_manager: Of the clients of one account manager together, ≥1; None = any number. Clients whose
            manager nobody knows are not limited.
    """

    capacity: int
    per_client: int = 1
    per_manager: int | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of client and offer, as parallel arrays.

    Attributes:
        clients: The client's number.
        positions: The offer's position in the catalogue.
        changes: Place in `Change` of what taking it would change.
        probabilities: P, 0–1.
        margins: What the change brings a month, in minor units, >0.
        quantities: Units at stake, ≥1; the margin is of all of them.
        is_stated: Whether P is the policy's stated prior, not the model's.
    """

    clients: NDArray[np.int32]
    positions: NDArray[np.int32]
    changes: NDArray[np.int8]
    probabilities: FloatArray
    margins: FloatArray
    quantities: IntArray
    is_stated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.clients)

    @property
    def values(self) -> FloatArray:
        """Expected value a month of each pair, in minor units."""
        return self.probabilities * self.margins

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """All pairs of the parts, in their order."""
        if not parts:
            none = np.zeros(0, dtype=np.int32)
            amounts = np.zeros(0)
            return cls(
                none, none, none.astype(np.int8), amounts, amounts, none.astype(np.int64), none.astype(bool)
            )
        return cls(
            np.concatenate([part.clients for part in parts]),
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.changes for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.margins for part in parts]),
            np.concatenate([part.quantities for part in parts]),
            np.concatenate([part.is_stated for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The leads.

    Attributes:
        places: Places in the pairs, by descending value.
        limited: Limit (``per_client``, ``per_manager`` or the id of a volume cap) → how many pairs worth more
            than the last lead it kept out.
    """

    places: IntArray
    limited: Mapping[str, int]


def choose(
    pairs: Pairs,
    n_open: Mapping[int, int],
    managers: Mapping[int, str],
    limits: LeadLimits,
    sources: Sources,
) -> Choice:
    """Take pairs by descending value as long as the limits leave room.

    Volume caps count: what is left of one in its present period is the most leads on its offers.

    Args:
        pairs: What could be a lead; equal values stand in their order.
        n_open: Client's number → applications that are open.
        managers: Client's number → its account manager.
        limits: How many there may be.
        sources: Whose volume caps count.
    """
    caps = _Caps(sources)
    n_of_client, n_of_manager = Counter(n_open), Counter[str]()
    taken, limited = list[int](), Counter[str]()
    clients, positions = pairs.clients.tolist(), pairs.positions.tolist()
    for place in np.argsort(-pairs.values, kind="stable").tolist():
        if len(taken) == limits.capacity:
            break
        client, manager = clients[place], managers.get(clients[place])
        if n_of_client[client] >= limits.per_client:
            limited[PER_CLIENT] += 1
        elif manager and limits.per_manager and n_of_manager[manager] >= limits.per_manager:
            limited[PER_MANAGER] += 1
        elif cap := caps.full(positions[place]):
            limited[cap] += 1
        else:
            taken.append(place)
            n_of_client[client] += 1
            n_of_manager[manager or ""] += 1
            caps.use(positions[place])
    return Choice(np.array(taken, dtype=np.int64), dict(limited.most_common()))


class _Caps:
    """What is left of each volume cap."""

    def __init__(self, sources: Sources) -> None:
        engine, now = sources.engine, sources.as_of
        offer_ids = engine.catalogue.offer_ids
        self._of_position: list[list[str]] = [[] for _ in offer_ids]
        self._left: dict[str, int] = {}
        for cap in engine.policy.engagement.volume_caps:
            counts = sources.volume_counts[Tally(EventType(cap.of), period_of(cap.per, now, engine.zone)[0])]
            inside = np.flatnonzero(cap.offers.mask(engine.catalogue)).tolist()
            self._left[cap.id] = cap.at_most - sum(counts.get(offer_ids[place], 0) for place in inside)
            for place in inside:
                self._of_position[place].append(cap.id)

    def full(self, position: int) -> str | None:
        """A cap of the offer of which nothing is left."""
        return next((cap for cap in self._of_position[position] if self._left[cap] <= 0), None)

    def use(self, position: int) -> None:
        """Count a lead."""
        for cap in self._of_position[position]:
            self._left[cap] -= 1
