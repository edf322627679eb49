"""What stands before whoever fills the lists of a month, and what the truth says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.aftersales import NEW, NO_CHANGE, UPGRADE, amended, expected_gains
from recsys.simulation.behaviour import Chances
from recsys.simulation.clients import BoolArray, FloatArray, IntArray
from recsys.simulation.outcomes import role_confirmation
from recsys.simulation.policies import Occasion
from recsys.simulation.settling import blocks
from recsys.simulation.visits import Visitors, seen_chances, trust_by_slot

if TYPE_CHECKING:
    from recsys.simulation.operator import Moment, Operator


@dataclass(frozen=True, slots=True)
class Offered:
    """What is true of everything that could be shown in a month, clients_by_offers.

    Attributes:
        changes: What taking an offer would change; positions in `recsys.simulation.aftersales.CHANGES`,
            `NO_CHANGE` where it cannot be had.
        adoption: P(the change happens within the month | not seen), 0–1.
        acceptance: P(activation within 30 days | seen at the first slot), 0–1, averaged over the members of
            the client who may be the one that sees it.
        gains: Margin expected of it within the horizon, beyond that of what it changes, whole units of the
            currency.
    """

    changes: NDArray[np.int8]
    adoption: FloatArray
    acceptance: FloatArray
    gains: FloatArray


def true_offers(operator: Operator, moment: Moment) -> Offered:
    """The truth about every client and offer when a month begins."""
    persuasion = _first_slot_persuasion(operator)
    parts = []
    for rows in blocks(len(operator.clients)):
        changes, chances = possible_changes(moment, rows), _true_chances(operator, moment, rows)
        is_possible = changes != NO_CHANGE
        adoption = np.where(is_possible, chances.adoption, 0.0)
        seen = np.where(is_possible, chances.adoption + persuasion[rows, None] * chances.lift, 0.0)
        gains = np.where(is_possible, _true_gains(operator, moment, rows), 0.0)
        parts.append((changes, adoption, seen, gains))
    changes, adoption, acceptance, gains = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Offered(changes, adoption, acceptance, gains)


def _first_slot_persuasion(operator: Operator) -> FloatArray:
    """Factor of the lift at the first slot, by client: trust times P(confirmed | seen) over the members."""
    members, portal = operator.members, operator.world.portal
    seen = seen_chances(portal, members.attention)[:, 0]
    confirmed = seen * role_confirmation(operator)[members.roles]
    starts = members.first[:-1]
    share = np.add.reduceat(confirmed, starts) / np.add.reduceat(seen, starts)
    persuasion: FloatArray = trust_by_slot(portal)[0] * share
    return persuasion


def make_occasion(operator: Operator, moment: Moment, visitors: Visitors, eligible: BoolArray) -> Occasion:
    """The lists of a month's visitors; the truth is worked out when a policy asks for it."""
    rows = visitors.rows
    return Occasion(
        month=moment.number,
        begins_at=int(operator.timeline.bounds[moment.number]),
        visitors=visitors,
        eligible=eligible,
        changes=possible_changes(moment, rows),
        popularity=operator.popularity(moment),
        wants=lambda: true_wants(operator, moment, rows),
        chances=lambda: _true_chances(operator, moment, rows),
        gains=lambda: _true_gains(operator, moment, rows),
    )


def possible_changes(moment: Moment, rows: IntArray) -> NDArray[np.int8]:
    """What taking an offer would change, rows_by_offers; positions in `aftersales.CHANGES`.

    Args:
        moment: The month.
        rows: Clients' rows, ascending.
    """
    changes = np.where(moment.allowed.new[rows], np.int8(NEW), np.int8(NO_CHANGE))
    changes[moment.allowed.upgrade[rows]] = UPGRADE
    moment.services.spread(moment.services.changes, rows, changes)
    return changes


def true_wants(operator: Operator, moment: Moment, rows: IntArray) -> FloatArray:
    """True attractions, rows_by_offers; of what is held and may be changed, the lasting part."""
    wants = operator.behaviour.attraction(operator.situation(moment, rows), moment.number)
    services = moment.services
    lasting = operator.behaviour.lasting(services.rows, services.offers, moment.number)
    services.spread(lasting, rows, wants)
    return wants


def _true_chances(operator: Operator, moment: Moment, rows: IntArray) -> Chances:
    """The true probabilities of everything that may be shown, rows_by_offers."""
    chances, services = operator.chances(moment, rows), moment.services
    services.spread(services.base, rows, chances.own)
    services.spread(services.lift, rows, chances.lift)
    return chances


def _true_gains(operator: Operator, moment: Moment, rows: IntArray) -> FloatArray:
    """Margin expected of taking each offer, beyond that of what it would change, rows_by_offers."""
    shape = (len(rows), len(operator.shelf.offer_ids))
    every, columns = np.repeat(rows, shape[1]), np.tile(np.arange(shape[1]), shape[0])
    quantity = operator.terms.quantity(every, columns, operator.course.scale[every])
    gains = operator.worth.of_connections(columns, quantity).reshape(shape)
    for lower, higher in operator.shelf.upgrades:
        place = np.flatnonzero(moment.allowed.upgrade[rows, higher] & moment.held[rows, lower])
        seats = operator.book.quantity[rows[place], lower].astype(np.int64)
        gains[place, higher] -= operator.worth.of_connections(np.full(len(place), lower), seats)
    services = moment.services
    after = amended(operator, moment, services, services.changes)
    services.spread(expected_gains(moment.number, services, after, operator.worth), rows, gains)
    return gains
