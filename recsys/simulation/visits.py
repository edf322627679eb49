"""Visits to the portal: who comes, what is seen, and what members do with offers that they do not take."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recsys.domain import DismissalReason
from recsys.simulation.clients import BoolArray, Clients, FloatArray, IntArray, Members
from recsys.simulation.sections import Portal
from recsys.simulation.timeline import DAY, HOUR, MINUTE, SECOND

REASONS = tuple(DismissalReason)
TOPICS = ("irrelevant offer", "too many offers", "misleading price", "connected without consent")
N_TOPICS_OF_SHOWN = 3

_VISIT_DAYS = 28


@dataclass(frozen=True, slots=True)
class Visits:
    """Visits of one month, one row each, by the client's row; a list has k slots, -1 = empty.

    Attributes:
        rows: The client's row.
        members: The member's row.
        at: When.
        seeds: Seed of the list's draws.
        policies: Version of the policy that filled each list.
        is_personalised: Whether the client's own data ordered each list.
        eligible: Offers that could be drawn for the first slot, visits_by_offers.
        changes: What taking an offer would change, same shape; see `recsys.simulation.aftersales.CHANGES`.
        priority: What the offers were drawn by, visits_by_offers; None = all alike.
        offers: The offer of each slot, visits_by_slots.
        logging_probability: P(that offer at that slot | slots above), same shape.
        is_seen: Whether the slot was really seen, same shape.
    """

    rows: IntArray
    members: IntArray
    at: IntArray
    seeds: IntArray
    policies: tuple[str, ...]
    is_personalised: BoolArray
    eligible: BoolArray
    changes: NDArray[np.int8]
    priority: FloatArray | None
    offers: IntArray
    logging_probability: FloatArray
    is_seen: BoolArray


@dataclass(frozen=True, slots=True)
class Reactions:
    """What members do with seen offers that they do not take, visits_by_slots.

    Attributes:
        is_applied: Applied for, but nobody confirmed it.
        is_clicked: Opened.
        reasons: Position in `REASONS` of a dismissal; -1 = not put aside.
        topics: Position in `TOPICS` of a complaint; -1 = none.
    """

    is_applied: BoolArray
    is_clicked: BoolArray
    reasons: IntArray
    topics: IntArray


@dataclass(frozen=True, slots=True)
class Visitors:
    """Who visits within a month; each of shape (n_visits,).

    Attributes:
        rows: The client's row, ascending.
        members: The member's row.
        at: When.
        seeds: Seed of the list's draws.
    """

    rows: IntArray
    members: IntArray
    at: IntArray
    seeds: IntArray

    def take(self, places: IntArray | BoolArray) -> Visitors:
        """Those visitors."""
        return Visitors(*(getattr(self, column.name)[places] for column in fields(self)))


def visit_chances(portal: Portal, clients: Clients, is_active: BoolArray) -> FloatArray:
    """P(a visit in a month), shape (n_clients,).

    A client that switched profiling off gets no list of a logging policy, so it is not in this log.
    """
    chances = np.clip(portal.visit * 2 * clients.traits.digital, 0, 0.95)
    return np.where(is_active & clients.is_profiling_allowed, chances, 0.0)


def draw_visitors(
    chances: FloatArray, members: Members, starts_at: int, rng: np.random.Generator
) -> Visitors:
    """Who visits within a month that starts at an instant; at most one visit of each client."""
    n = len(chances)
    luck, person = rng.random(n), rng.random(n)
    days = rng.integers(0, _VISIT_DAYS, n)
    hours = rng.triangular(8, 11, 20, n)
    seeds = rng.integers(0, 2**62, n)
    rows = np.flatnonzero(luck < chances)
    n_members = members.first[rows + 1] - members.first[rows]
    return Visitors(
        rows=rows,
        members=members.first[rows] + np.floor(person[rows] * n_members).astype(np.int64),
        at=starts_at + days[rows] * DAY + (hours[rows] * HOUR).astype(np.int64),
        seeds=seeds[rows],
    )


def trust_by_slot(portal: Portal) -> FloatArray:
    """Factor of the response by 0-based slot, shape (k,)."""
    return np.array(portal.trust or (1.0,) * portal.k)


def seen_chances(portal: Portal, attention: FloatArray) -> FloatArray:
    """P(each slot is seen) by members of that attention, members_by_slots: the lower, the rarer."""
    return np.minimum(1.0, np.array(portal.seen) * attention[:, None])


def draw_reactions(portal: Portal, is_left: BoolArray, thrift: FloatArray, luck: FloatArray) -> Reactions:
    """What members do with seen offers that they neither take nor apply for.

    Args:
        portal: The probabilities.
        is_left: Slots that were seen and whose offer is left, visits_by_slots.
        thrift: Price sensitivity of each visit's client; the higher, the more often an offer is too
            expensive.
        luck: Uniform draws, visits_by_slots_by_6.
    """
    is_dismissed = is_left & (luck[:, :, 0] < portal.dismissal)
    is_clicked = is_left & (luck[:, :, 1] < portal.click) & ~is_dismissed
    is_complaint = is_left & (luck[:, :, 2] < portal.complaint)
    others = np.floor(luck[:, :, 3] * (len(REASONS) - 1)).astype(np.int64)
    is_about_price = luck[:, :, 4] < 0.6 * thrift[:, None]
    reasons = np.where(is_about_price, REASONS.index(DismissalReason.TOO_EXPENSIVE), others)
    topics = np.floor(luck[:, :, 5] * N_TOPICS_OF_SHOWN).astype(np.int64)
    return Reactions(
        is_applied=np.zeros_like(is_left),
        is_clicked=is_clicked,
        reasons=np.where(is_dismissed, reasons, -1),
        topics=np.where(is_complaint, topics, -1),
    )


def no_reactions(is_applied: BoolArray) -> Reactions:
    """Nothing but applications that nobody confirms."""
    missing = np.full(is_applied.shape, -1)
    return Reactions(is_applied, np.zeros_like(is_applied), missing, missing)


def complaint_at(visited_at: IntArray, slot: IntArray) -> IntArray:
    """When a complaint about the offer of a 0-based slot comes."""
    return impression_at(visited_at, slot) + 90 * SECOND


def impression_at(visited_at: IntArray, slot: IntArray) -> IntArray:
    """When a 0-based slot comes into view after a visit begins."""
    return visited_at + 2 * SECOND + slot * 4 * SECOND


def delay_of(luck: FloatArray, scale_days: float) -> IntArray:
    """Time from impression to activation: from an hour to 29 days, exponential with that scale.

    Example:
        >>> (delay_of(np.array([0.0, 0.5]), 6.0) / DAY).round(2)
        array([0.04, 3.98])
    """
    days = -scale_days * np.log1p(luck * np.expm1(-29 / scale_days))
    minutes: IntArray = (days * (DAY - HOUR)).astype(np.int64) // MINUTE
    return HOUR + minutes * MINUTE
