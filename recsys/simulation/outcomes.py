"""What happens within a month, drawn from the true probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys.simulation.behaviour import choose_one
from recsys.simulation.book import Adoptions, Endings, Revisions
from recsys.simulation.clients import ROLES, BoolArray, FloatArray, IntArray
from recsys.simulation.months import SHRINKING, SILENT
from recsys.simulation.rules import needed_offers, replaced_offers
from recsys.simulation.settling import blocks
from recsys.simulation.streams import Purpose
from recsys.simulation.timeline import DAY, HOUR
from recsys.simulation.visits import Visits, delay_of, trust_by_slot

if TYPE_CHECKING:
    from recsys.simulation.operator import Moment, Operator

WINDOW = 30 * DAY
_DAYS_TO_COMPLAIN = 28


@dataclass(frozen=True, slots=True)
class Complaints:
    """Complaints after activations, one row each: client, offer, when, and the month's visit or -1."""

    rows: IntArray
    offers: IntArray
    at: IntArray
    visits: IntArray


@dataclass(frozen=True, slots=True)
class Reports:
    """New figures of clients, one row each; -1 = not reported. See `recsys.simulation.clients.Clients`."""

    rows: IntArray
    n_employees: IntArray
    revenue_minor: IntArray


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What clients would adopt unshown, and what being shown adds.

    Attributes:
        chosen: Offer adopted by own wish or after a call; -1 = none; shape (n_clients,).
        is_call: Whether after a call, same shape.
        total: P(anything is adopted unshown), same shape.
        at_slots: P(adoption unshown) of every slot's offer, visits_by_slots.
        lift: `Chances.lift` of every slot's offer, same shape.
    """

    chosen: IntArray
    is_call: BoolArray
    total: FloatArray
    at_slots: FloatArray
    lift: FloatArray


def draw_adoptions(
    operator: Operator, moment: Moment, visits: Visits
) -> tuple[Adoptions, FloatArray, BoolArray]:
    """Draw what is adopted: at most one offer per client, so that every probability holds exactly.

    What a client would adopt unshown does not move when lists change; what being shown adds is drawn from
    the rest of the same uniform number.

    Returns:
        The adoptions; P(activation | seen) of every slot; and the slots applied for in vain.
    """
    luck = operator.streams.rng(Purpose.CHOICES, moment.number).random(len(operator.clients))
    wishes = _draw_wishes(operator, moment, visits, luck)
    persuaded, confirmed = _persuasion(operator, visits, wishes)
    seen = np.where(visits.is_seen, persuaded, 0.0)
    parts = np.concatenate([seen * confirmed[:, None], seen * (1 - confirmed[:, None])], axis=1)
    rest = (luck - wishes.total)[visits.rows]
    k = visits.offers.shape[1]
    extra = np.where(wishes.chosen[visits.rows] < 0, choose_one(parts, rest), -1)
    is_applied = (extra[:, None] - k) == np.arange(k)
    is_wanted = visits.is_seen & (visits.offers == wishes.chosen[visits.rows][:, None])
    is_taken = is_wanted | (extra[:, None] == np.arange(k))
    acceptance = wishes.at_slots + persuaded * confirmed[:, None]
    return _connections(operator, moment, visits, (is_taken, wishes)), acceptance, is_applied


def _draw_wishes(operator: Operator, moment: Moment, visits: Visits, luck: FloatArray) -> _Wishes:
    n, shape = len(luck), visits.offers.shape
    chosen, is_call, total = np.full(n, -1), np.zeros(n, dtype=bool), np.zeros(n)
    at_slots, lift = np.zeros(shape), np.zeros(shape)
    source = operator.streams.uniforms(Purpose.SOURCES, moment.number, np.arange(1, n + 1))
    for rows in blocks(n):
        chances = operator.chances(moment, rows)
        adoption = chances.adoption
        running = np.cumsum(adoption, axis=1)
        total[rows] = running[:, -1]
        found = (running <= luck[rows, None]).sum(axis=1)
        chosen[rows] = np.where(luck[rows] < total[rows], found, -1)
        place, column = np.arange(len(rows)), np.maximum(chosen[rows], 0)
        is_call[rows] = source[rows] * adoption[place, column] < chances.call[place, column]
        first, last = np.searchsorted(visits.rows, [rows[0], rows[-1] + 1])
        offers = visits.offers[first:last]
        at = (visits.rows[first:last, None] - rows[0], np.maximum(offers, 0))
        at_slots[first:last] = np.where(offers >= 0, adoption[at], 0.0)
        lift[first:last] = np.where(offers >= 0, chances.lift[at], 0.0)
    return _Wishes(chosen, is_call, total, at_slots, lift)


def _persuasion(operator: Operator, visits: Visits, wishes: _Wishes) -> tuple[FloatArray, FloatArray]:
    """What being seen adds to P(application) of every slot, and P(confirmed) of every visit."""
    trust = trust_by_slot(operator.world.portal)
    return wishes.lift * trust, role_confirmation(operator)[operator.members.roles[visits.members]]


def role_confirmation(operator: Operator) -> FloatArray:
    """P(an application becomes an activation) by position in `ROLES`."""
    return np.array([getattr(operator.world.portal.confirmed, role) for role in ROLES])


def _connections(
    operator: Operator, moment: Moment, visits: Visits, drawn: tuple[BoolArray, _Wishes]
) -> Adoptions:
    is_taken, wishes = drawn
    visit, slot = np.nonzero(is_taken)
    shown = visits.rows[visit]
    is_shown = np.zeros(len(wishes.chosen), dtype=bool)
    is_shown[shown] = True
    own = np.flatnonzero((wishes.chosen >= 0) & ~is_shown)
    dates = operator.streams.uniforms(Purpose.DATES, moment.number, np.arange(1, len(is_shown) + 1))
    rows = np.concatenate([shown, own])
    offers = np.concatenate([visits.offers[visit, slot], wishes.chosen[own]])
    replaced = replaced_offers(operator.shelf, moment.held, rows, offers)
    # What is replaced may stand in the month's list, and goes only afterwards.
    after = np.where(replaced[len(shown) :] >= 0, visited_at(visits, len(is_shown))[own], 0)
    at = np.concatenate(
        [
            visits.at[visit] + delay_of(dates[shown], operator.world.portal.delay_days),
            _unshown_at(operator, moment, (own, wishes.chosen[own]), after, dates[own]),
        ]
    )
    nowhere = np.full(len(own), -1)
    quantity = operator.terms.quantity(rows, offers, operator.course.scale[rows])
    return Adoptions(
        rows=rows,
        offers=offers,
        at=at,
        replaced=replaced,
        visits=np.concatenate([visit, nowhere]),
        slots=np.concatenate([slot, nowhere]),
        is_call=np.concatenate([np.zeros(len(shown), dtype=bool), wishes.is_call[own]]),
        quantity=quantity,
        term=operator.terms.term(offers, np.full(len(rows), moment.number)),
        gains=_gains(operator, rows, (offers, quantity), replaced),
    )


def _gains(
    operator: Operator, rows: IntArray, connected: tuple[IntArray, IntArray], replaced: IntArray
) -> FloatArray:
    """Margin expected of connections (offers and quantities), less that of what they replace."""
    lower = np.maximum(replaced, 0)
    lost = operator.worth.of_connections(lower, operator.book.quantity[rows, lower].astype(np.int64))
    return operator.worth.of_connections(*connected) - np.where(replaced >= 0, lost, 0.0)


def visited_at(visits: Visits, n_clients: int) -> IntArray:
    """When clients visited in a month, shape (n_clients,); 0 = not at all."""
    at = np.zeros(n_clients, dtype=np.int64)
    at[visits.rows] = visits.at
    return at


def _unshown_at(
    operator: Operator, moment: Moment, pairs: tuple[IntArray, IntArray], after: IntArray, luck: FloatArray
) -> IntArray:
    """When offers are adopted unshown: never within the window of an earlier impression."""
    rows, offers = pairs
    begins_at, ends_at = (int(bound) for bound in operator.timeline.bounds[moment.number :][:2])
    window_ends_at = operator.book.last_seen_at(rows, offers) + WINDOW
    earliest = np.maximum(np.maximum(begins_at, after), window_ends_at) + HOUR
    at: IntArray = earliest + (luck * (ends_at - earliest)).astype(np.int64)
    return at


def draw_endings(operator: Operator, moment: Moment, visits: Visits, revisions: Revisions) -> Endings:
    """Whole contracts of leavers, and at most one service of everybody else, after its visit."""
    begins_at, ends_at = (int(bound) for bound in operator.timeline.bounds[moment.number :][:2])
    course, held = operator.course, operator.book.held
    rng = operator.streams.rng(Purpose.ENDINGS, moment.number)
    luck, share = rng.random(len(held)), rng.random(len(held))
    leaves = (course.ended_at >= begins_at) & (course.ended_at < ends_at)
    given_up = np.concatenate(
        [choose_one(giving_up_chances(operator, moment, rows), luck[rows]) for rows in blocks(len(held))]
    )
    given_up[leaves] = -1
    rows = np.flatnonzero(given_up >= 0)
    # Who has just changed a service keeps it for the month.
    is_kept = np.isin(
        operator.terms.keys(rows, given_up[rows]), operator.terms.keys(revisions.rows, revisions.offers)
    )
    rows = rows[~is_kept]
    left_rows, left_offers = np.nonzero(held & leaves[:, None])
    earliest = np.maximum(begins_at, visited_at(visits, len(held))[rows]) + HOUR
    at = earliest + (share[rows] * (ends_at - earliest)).astype(np.int64)
    return Endings(
        rows=np.concatenate([rows, left_rows]),
        offers=np.concatenate([given_up[rows], left_offers]),
        at=np.concatenate([at, course.ended_at[left_rows]]),
    )


def giving_up_chances(operator: Operator, moment: Moment, rows: IntArray) -> FloatArray:
    """P(a service is given up within a month, unless it is changed), rows_by_offers.

    0 for what something else that is held rests on.
    """
    appetite, held = operator.world.appetite, operator.book.held[rows]
    is_in_trouble = np.isin(operator.course.regimes[rows], (SHRINKING, SILENT))
    chance = np.where(is_in_trouble, appetite.disconnection_in_trouble, appetite.disconnection)
    bound = np.where(operator.book.term[rows] > moment.number, appetite.locked, 1.0)
    can_end = moment.ready[rows] & held & ~needed_offers(operator.shelf, held)
    return np.where(can_end, bound * chance[:, None], 0.0)


def draw_complaints(operator: Operator, moment: Moment, adoptions: Adoptions) -> Complaints:
    """Complaints about partners that misbehave, after activations in their bad time."""
    chance = operator.market.complaint_chances(moment.number)[adoptions.offers]
    keys = operator.terms.keys(adoptions.rows, adoptions.offers)
    luck = operator.streams.uniforms(Purpose.COMPLAINTS, moment.number, keys)
    chosen = np.flatnonzero(luck < chance)
    # What is left of the number is uniform again.
    share = luck[chosen] / chance[chosen]
    return Complaints(
        rows=adoptions.rows[chosen],
        offers=adoptions.offers[chosen],
        at=adoptions.at[chosen] + HOUR + (share * _DAYS_TO_COMPLAIN * DAY).astype(np.int64),
        visits=adoptions.visits[chosen],
    )


def draw_reports(operator: Operator, moment: Moment) -> Reports:
    """New figures of staff and revenue, where those figures are reported at all."""
    clients = operator.clients
    luck = operator.streams.rng(Purpose.REPORTS, moment.number).random(len(clients))
    rows = np.flatnonzero(moment.is_active & (luck < operator.world.population.reports))
    scale = operator.course.scale[rows]
    staff = np.maximum(1, np.round(clients.staff[rows] * scale)).astype(np.int64)
    revenue = np.round(clients.revenue_minor[rows] * scale).astype(np.int64)
    return Reports(
        rows=rows,
        n_employees=np.where(clients.n_employees[rows] < 0, -1, staff),
        revenue_minor=np.where(clients.revenue_minor[rows] < 0, -1, revenue),
    )
