"""What old clients connected before the first month."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recsys.simulation.behaviour import Situation, choose_one
from recsys.simulation.book import Adoptions, Revisions
from recsys.simulation.clients import BoolArray, IntArray
from recsys.simulation.months import STAGES
from recsys.simulation.rules import allowed_offers, replaced_offers
from recsys.simulation.streams import Purpose
from recsys.simulation.timeline import DAY

if TYPE_CHECKING:
    from recsys.simulation.operator import Operator

BLOCK = 4096

_ONBOARDING, _MATURE = STAGES.index("onboarding"), STAGES.index("mature")
_YOUNG_SHARE = 0.3
# Before the portal, most services were sold by a manager.
_CALLED_BEFORE = 0.55
_DAYS_TO_SETTLE = 3 * 365
_MONTH = 365.25 / 12 * DAY


def settle(operator: Operator) -> tuple[list[Adoptions], Revisions]:
    """Connect what old clients had before the first month, in rounds over their time as clients.

    Returns:
        The connections of every round, and the renewals that brought their terms up to the first month.
    """
    n_rounds = operator.world.appetite.initial_rounds
    starts_at, ends_at = operator.timeline.starts_at, operator.timeline.ends_at
    age = np.maximum(0, starts_at - np.minimum(operator.clients.joined_at, ends_at))
    rounds = np.round(n_rounds * -np.expm1(-age / (_DAYS_TO_SETTLE * DAY)))
    adoptions = []
    for number in range(n_rounds):
        stages = np.where(number < _YOUNG_SHARE * rounds, _ONBOARDING, _MATURE)
        offers = _draw_round(operator, number, stages, number < rounds)
        rows = np.flatnonzero(offers >= 0)
        luck = operator.streams.uniforms(Purpose.SETTLING, 1000 + number, rows + 1)
        share = (number + luck) / rounds[rows]
        at = starts_at - age[rows] + (share * age[rows]).astype(np.int64)
        adoption = _first_terms(operator, rows, offers[rows], at)
        operator.book.connect(adoption)
        adoptions.append(adoption)
    revisions = _renew_to_the_start(operator)
    operator.book.revise(revisions)
    return adoptions, revisions


def blocks(n: int) -> list[IntArray]:
    """The rows 0 … n - 1 in blocks, so that dense intermediate results stay small."""
    return [np.arange(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]


def _draw_round(operator: Operator, number: int, stages: IntArray, takes_part: BoolArray) -> IntArray:
    luck = operator.streams.rng(Purpose.SETTLING, number).random(len(stages))
    permitted = operator.permitted & operator.market.is_on_sale(0)
    chosen = np.empty(len(stages), dtype=np.int64)
    for rows in blocks(len(stages)):
        held = operator.book.held[rows]
        allowed = allowed_offers(operator.shelf, held, held, permitted[rows], may_switch=False)
        situation = Situation(
            rows=rows,
            stages=stages[rows],
            held=held,
            allowed=allowed,
            is_locked=np.zeros_like(held),
            quantity=operator.book.quantity[rows].astype(np.int64),
            n_seen=np.zeros(held.shape),
        )
        wanted = operator.behaviour.initial_adoption(situation)
        chosen[rows] = choose_one(wanted * takes_part[rows, None], luck[rows])
    return chosen


def _first_terms(operator: Operator, rows: IntArray, offers: IntArray, at: IntArray) -> Adoptions:
    nowhere = np.full(len(rows), -1)
    month = np.floor((at - operator.timeline.starts_at) / _MONTH).astype(np.int64)
    return Adoptions(
        rows=rows,
        offers=offers,
        at=at,
        replaced=replaced_offers(operator.shelf, operator.book.held, rows, offers),
        visits=nowhere,
        slots=nowhere,
        is_call=operator.streams.uniforms(Purpose.SOURCES, -1, operator.terms.keys(rows, offers))
        < _CALLED_BEFORE,
        quantity=operator.terms.quantity(rows, offers, np.ones(len(rows))),
        term=operator.terms.term(offers, month),
        gains=np.zeros(len(rows)),
    )


def _renew_to_the_start(operator: Operator) -> Revisions:
    """Terms that ended before the first month run again, by whole terms."""
    book, terms = operator.book, operator.terms
    rows, offers = np.nonzero(book.held & (book.term < 0) & (terms.months > 0))
    ended, length = book.term[rows, offers].astype(np.int64), terms.months[offers]
    n_terms = -(ended // length)
    term = ended + n_terms * length
    began_at = operator.timeline.starts_at + ((term - length) * _MONTH).astype(np.int64)
    return Revisions(
        rows=rows,
        offers=offers,
        at=np.minimum(began_at, operator.timeline.starts_at),
        quantity=book.quantity[rows, offers].astype(np.int64),
        term=term,
        visits=np.full(len(rows), -1),
        slots=np.full(len(rows), -1),
        gains=np.zeros(len(rows)),
    )
