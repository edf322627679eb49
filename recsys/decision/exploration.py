"""Exploration: a known share of randomness, with the probability of every draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple


class Draw(NamedTuple):
    """One slot.

    Attributes:
        position: The offer drawn.
        logging_probability: P(this offer at this slot | the slots above), 0–1.
    """

    position: int
    logging_probability: float


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
    text = f"{len(client_id)}:{client_id}{placement_id}:{window}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def draw_probability(is_best: bool, n_allowed: int, share: float) -> float:
    """P(an offer at a slot | slots above) = (1 − ε)·[it is the best] + ε/m.

    Args:
        is_best: Whether it has the highest priority of those still allowed.
        n_allowed: m, how many offers are still allowed, ≥1.
        share: ε, the exploration share, 0–1.

    Returns:
        A probability; over the m allowed offers they sum to one.

    Example:
        >>> draw_probability(True, 4, 0.2), draw_probability(False, 4, 0.2)
        (0.8500000000000001, 0.05)
        >>> draw_probability(True, 4, 0.0)
        1.0
    """
    return (1.0 - share) * is_best + share / n_allowed


def draw_slots(ranked: Sequence[int], k: int, share: float, seed: int) -> list[Draw]:
    """Draw a list slot by slot from what is still allowed.

    With probability ε a slot is drawn uniformly from the m offers still allowed, else it gets the best
    of them. With ε = 0 the list is `ranked[:k]`, each with probability 1.

    Args:
        ranked: Positions of the candidates, best first.
        k: Length wanted, ≥0; the list is shorter where the candidates run out.
        share: ε, 0–1.
        seed: See `seed_of`.

    Returns:
        The draws, first slot first.
    """
    if share == 0.0:
        return [Draw(position, 1.0) for position in ranked[:k]]
    rng = random.Random(seed)  # noqa: S311 -- lists, not secrets
    allowed = list(ranked)
    draws: list[Draw] = []
    while allowed and len(draws) < k:
        chosen = int(rng.random() * len(allowed)) if rng.random() < share else 0
        probability = draw_probability(chosen == 0, len(allowed), share)
        draws.append(Draw(allowed.pop(chosen), probability))
    return draws
