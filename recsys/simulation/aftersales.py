"""Changes of what clients have, by own wish or because they were shown: seats, renewals, retentions.

A service that a client has may be offered to it with one change:

- *renew*, in the last month of its contract's term: the term runs once more;
- *retain*, while the client's lifecycle stage is ``at_risk``, no term binds it to the service and nothing
  else rests on the service: accepting binds the client for some months, as a term does;
- *expand*, when the seats it needs exceed those it has: it gets the seats it needs.

Each may happen within a month with its own probability, independently of everything else that the client
does. Terms are renewed and seats added by own wish too; nobody extends a contract that he is not asked to.
Who has changed a service does not give it up in the same month.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys.domain import Change, Stage
from recsys.simulation.behaviour import saturate
from recsys.simulation.book import NO_TERM, Adoptions, Revisions
from recsys.simulation.clients import BoolArray, FloatArray, IntArray
from recsys.simulation.months import SHRINKING, SILENT, STAGES
from recsys.simulation.outcomes import WINDOW, role_confirmation
from recsys.simulation.rules import needed_offers
from recsys.simulation.streams import Purpose
from recsys.simulation.timeline import DAY, HOUR, MINUTE
from recsys.simulation.visits import Visits, delay_of, trust_by_slot
from recsys.simulation.worth import Amendments, Worth

if TYPE_CHECKING:
    from recsys.simulation.operator import Moment, Operator

CHANGES = tuple(Change)
NEW, UPGRADE, EXPAND, RENEW, RETAIN = range(5)
NO_CHANGE = -1

_AT_RISK = STAGES.index(Stage.AT_RISK)
_WORTH_A_CHANGE = 0.15
_RENEWED_BEFORE_THE_END = 5 * DAY


@dataclass(frozen=True, slots=True)
class Services:
    """What clients have of which something may change within a month, one row each, by client and offer.

    Attributes:
        keys: One number for every pair of a client and an offer, ascending.
        rows: The client's row.
        offers: The offer's column.
        changes: Position in `CHANGES` of what may be offered; `NO_CHANGE` = nothing.
        quantity: Seats.
        needed: Seats that the client needs.
        term: Month in which the contract's term ends; `NO_TERM` = it has none.
        is_in_trouble: Whether the client shrinks or is silent.
        renewal: P(the term is renewed within the month | that is not seen).
        adjustment: P(the seats become those needed within the month | more seats are not seen).
        lift: By how much seeing what may be offered, at the first slot and by a member who may connect,
            raises the probability of application for it.
    """

    keys: IntArray
    rows: IntArray
    offers: IntArray
    changes: IntArray
    quantity: IntArray
    needed: IntArray
    term: IntArray
    is_in_trouble: BoolArray
    renewal: FloatArray
    adjustment: FloatArray
    lift: FloatArray

    @property
    def base(self) -> FloatArray:
        """P(the change that may be offered happens within the month | it is not seen)."""
        return self.unshown(self.changes)

    def unshown(self, changes: IntArray) -> FloatArray:
        """P(each service's change happens within the month | it is not seen); see `Services.changes`."""
        grows = self.needed > self.quantity
        return np.select(
            [changes == RENEW, (changes == EXPAND) & grows], [self.renewal, self.adjustment], default=0.0
        )

    def spread(self, values: NDArray[np.generic], rows: IntArray, target: NDArray[np.generic]) -> None:
        """Write values of what may be offered into a matrix rows_by_offers; `rows` ascend, each once."""
        offered = np.flatnonzero(self.changes != NO_CHANGE)
        if len(rows) == 0:
            return
        place = np.minimum(np.searchsorted(rows, self.rows[offered]), len(rows) - 1)
        is_theirs = rows[place] == self.rows[offered]
        chosen = offered[is_theirs]
        target[place[is_theirs], self.offers[chosen]] = values[chosen]

    def take(self, places: IntArray) -> Services:
        """Those services."""
        return Services(*(getattr(self, column.name)[places] for column in fields(self)))

    def find(self, keys: IntArray) -> IntArray:
        """Places of pairs by their keys; -1 = nothing may change there."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)


def no_services() -> Services:
    """Nothing may change."""
    number, chance = np.zeros(0, dtype=np.int64), np.zeros(0)
    is_in_trouble = np.zeros(0, dtype=bool)
    return Services(*(number,) * 7, is_in_trouble, *(chance,) * 3)


def find_services(operator: Operator, moment: Moment) -> Services:
    """What may change within a month, and how probably."""
    terms, book = operator.terms, operator.book
    is_settled = moment.ready & moment.is_active[:, None]
    is_at_risk = moment.stages == _AT_RISK
    is_open = is_at_risk[:, None] | (book.term == moment.number) | (terms.seats > 0)
    rows, offers = np.nonzero(is_settled & is_open)
    quantity = book.quantity[rows, offers].astype(np.int64)
    term = book.term[rows, offers].astype(np.int64)
    needed = terms.quantity(rows, offers, operator.course.scale[rows])
    appetite = operator.world.appetite
    is_worth_it = np.abs(needed - quantity) >= np.maximum(1, _WORTH_A_CHANGE * quantity)
    renews = (term == moment.number) & (terms.months[offers] > 0)
    adjusts = is_worth_it & (terms.seats[offers] > 0)
    can_go = is_at_risk[rows] & (term <= moment.number)
    can_go[can_go] &= ~needed_offers(operator.shelf, moment.held[rows[can_go]])[
        np.arange(can_go.sum()), offers[can_go]
    ]
    changes = np.select(
        [renews, can_go, adjusts & (needed > quantity)], [RENEW, RETAIN, EXPAND], default=NO_CHANGE
    )
    changes[~operator.market.is_on_sale(moment.number)[offers]] = NO_CHANGE
    services = Services(
        keys=terms.keys(rows, offers),
        rows=rows,
        offers=offers,
        changes=changes,
        quantity=quantity,
        needed=np.where(adjusts, needed, quantity),
        term=term,
        is_in_trouble=np.isin(operator.course.regimes[rows], (SHRINKING, SILENT)),
        renewal=np.where(renews, appetite.renewal, 0.0),
        adjustment=np.where(adjusts, appetite.adjust, 0.0),
        lift=np.zeros(len(rows)),
    )
    return _with_lift(operator, moment, services)


def _with_lift(operator: Operator, moment: Moment, services: Services) -> Services:
    """What being seen adds.

    ``lift = (1 - b) L (1 - exp(-f r a^γ / L)) (1 - fatigue)^n`` with b the probability unshown, f and L as in
    `sections.Aftersales`, a the lasting attraction, and r, γ, n as in `Behaviour.chances`.
    """
    world, rows, offers = operator.world, services.rows, services.offers
    appetite, care = world.appetite, world.aftersales
    wanted = operator.behaviour.lasting(rows, offers, moment.number)
    rate = care.response * appetite.response * operator.calendar(moment) * wanted**appetite.response_power
    n_seen = operator.book.n_seen[rows, offers].astype(np.float64)
    lift = (1 - services.base) * saturate(rate, care.limit) * (1 - world.portal.fatigue) ** n_seen
    return replace(services, lift=np.where(services.changes == NO_CHANGE, 0.0, lift))


def amended(
    operator: Operator, moment: Moment, services: Services, changes: IntArray
) -> tuple[IntArray, IntArray]:
    """Seats and terms of services after a change; see `Services.changes`."""
    retained = moment.number + operator.world.aftersales.retention_months
    renewed = operator.terms.term(services.offers, services.term)
    quantity = np.where(changes == EXPAND, services.needed, services.quantity)
    return quantity, np.select([changes == RENEW, changes == RETAIN], [renewed, retained], services.term)


def expected_gains(
    month: int, services: Services, after: tuple[IntArray, IntArray], worth: Worth
) -> FloatArray:
    """Margin expected of seats and terms, beyond that of what is held; see `Worth.of_revisions`."""
    quantity, term = after
    bound = np.stack([services.term, term], axis=1) - month
    return worth.of_revisions(
        Amendments(
            offers=services.offers,
            quantity=np.stack([services.quantity, quantity], axis=1),
            bound=bound,
            is_in_trouble=services.is_in_trouble,
        )
    )


@dataclass(frozen=True, slots=True)
class Care:
    """What came of a month's services.

    Attributes:
        revisions: What changed.
        acceptance: P(activation within 30 days | seen) of every slot with such a change, visits_by_slots;
            of the others 0.
        is_applied: Slots whose change was applied for in vain, same shape.
    """

    revisions: Revisions
    acceptance: FloatArray
    is_applied: BoolArray


@dataclass(frozen=True, slots=True)
class _Showing:
    """Slots that offer changes of services, one row each, and what being seen adds.

    Attributes:
        visit: Row of the month's visits.
        slot: 0-based slot.
        place: The service.
        is_seen: Whether the slot was really seen.
        persuaded: P(activation | seen) beyond that unseen.
        in_vain: P(an application that nobody confirms | seen).
    """

    visit: IntArray
    slot: IntArray
    place: IntArray
    is_seen: BoolArray
    persuaded: FloatArray
    in_vain: FloatArray


def draw_revisions(operator: Operator, moment: Moment, visits: Visits, adoptions: Adoptions) -> Care:
    """Draw what changes of services: one uniform number each decides, shown or not.

    What would change unshown does not move when lists change; what being shown adds is drawn from the rest of
    the same number. To be called before the month's impressions are remembered.
    """
    services, number = moment.services, moment.number
    showing = _find_shown(operator, services, visits)
    n, at_slots = len(services.keys), (showing.visit, showing.slot)
    persuaded, in_vain = np.zeros(n), np.zeros(n)
    seen = np.flatnonzero(showing.is_seen)
    persuaded[showing.place[seen]] = showing.persuaded[seen]
    in_vain[showing.place[seen]] = showing.in_vain[seen]
    luck = operator.streams.uniforms(Purpose.TERMS, number, services.keys)
    seat_luck = operator.streams.uniforms(Purpose.SEATS, number, services.keys)
    of_change = np.where(services.changes == EXPAND, seat_luck, luck)
    chance = services.base + persuaded
    is_taken = (of_change < chance) & (services.changes != NO_CHANGE)
    is_renewed = np.where(services.changes == RENEW, is_taken, luck < services.renewal)
    is_adjusted = np.where(services.changes == EXPAND, is_taken, seat_luck < services.adjustment)
    is_retained = is_taken & (services.changes == RETAIN)
    revisions = _revise(operator, moment, (is_renewed, is_adjusted, is_retained))
    taken = seen[is_taken[showing.place[seen]]]
    revisions.visits[showing.place[taken]] = showing.visit[taken]
    revisions.slots[showing.place[taken]] = showing.slot[taken]
    revisions.at[:] = _dates(operator, moment, visits, adoptions, (revisions, is_renewed))
    acceptance, is_applied = np.zeros(visits.offers.shape), np.zeros(visits.offers.shape, dtype=bool)
    acceptance[at_slots] = services.base[showing.place] + showing.persuaded
    is_wished = (of_change >= chance) & (of_change < chance + in_vain)
    is_applied[at_slots] = showing.is_seen & is_wished[showing.place]
    kept = np.flatnonzero(is_renewed | is_adjusted | is_retained)
    return Care(revisions.take(kept), acceptance, is_applied)


def _find_shown(operator: Operator, services: Services, visits: Visits) -> _Showing:
    columns = np.maximum(visits.offers, 0)
    changes = np.take_along_axis(visits.changes, columns, axis=1)
    visit, slot = np.nonzero((visits.offers >= 0) & (changes >= EXPAND))
    keys = operator.terms.keys(visits.rows[visit], visits.offers[visit, slot])
    place = services.find(keys)
    wished = services.lift[place] * trust_by_slot(operator.world.portal)[slot]
    confirmed = role_confirmation(operator)[operator.members.roles[visits.members[visit]]]
    is_seen = visits.is_seen[visit, slot]
    return _Showing(visit, slot, place, is_seen, wished * confirmed, wished * (1 - confirmed))


def _revise(operator: Operator, moment: Moment, drawn: tuple[BoolArray, BoolArray, BoolArray]) -> Revisions:
    """Services after their changes, dates and visits to be filled in."""
    is_renewed, is_adjusted, is_retained = drawn
    services = moment.services
    changes = np.select([is_renewed, is_retained], [RENEW, RETAIN], default=NO_CHANGE)
    _, term = amended(operator, moment, services, changes)
    # What is not renewed goes on without a term; nothing of it is recorded.
    is_over = (services.term == moment.number) & ~is_renewed & ~is_retained
    term = np.where(is_over, NO_TERM, term)
    operator.book.term[services.rows[is_over], services.offers[is_over]] = NO_TERM
    quantity = np.where(is_adjusted, services.needed, services.quantity)
    gains = expected_gains(moment.number, services, (quantity, term), operator.worth)
    at, visits, slots = (np.full(len(term), -1) for _ in range(3))
    return Revisions(services.rows, services.offers, at, quantity, term, visits, slots, gains)


def _dates(
    operator: Operator,
    moment: Moment,
    visits: Visits,
    adoptions: Adoptions,
    drawn: tuple[Revisions, BoolArray],
) -> IntArray:
    """When services change, always within the month and before what replaces them.

    Unshown never within the window of an earlier impression.
    """
    revisions, is_renewed = drawn
    begins_at, ends_at = (int(bound) for bound in operator.timeline.bounds[moment.number :][:2])
    last = ends_at - MINUTE
    share = operator.streams.uniforms(Purpose.DATES, moment.number, -moment.services.keys)
    window_ends_at = operator.book.last_seen_at(revisions.rows, revisions.offers) + WINDOW
    earliest = np.maximum(begins_at, window_ends_at) + HOUR
    days = np.where(is_renewed, np.minimum(last - earliest, _RENEWED_BEFORE_THE_END), last - earliest)
    at: IntArray = last - (share * days).astype(np.int64)
    is_shown = revisions.visits >= 0
    seen_at = visits.at[revisions.visits[is_shown]]
    at[is_shown] = seen_at + delay_of(share[is_shown], operator.world.portal.delay_days)
    late = is_shown & (at > last)
    seen_at = visits.at[revisions.visits[late]] + HOUR
    at[late] = seen_at + (share[late] * (last - seen_at)).astype(np.int64)
    replacing = np.flatnonzero(adoptions.replaced >= 0)
    keys = operator.terms.keys(adoptions.rows[replacing], adoptions.replaced[replacing])
    place = moment.services.find(keys)
    replacing, place = replacing[place >= 0], place[place >= 0]
    at[place] = np.minimum(at[place], adoptions.at[replacing] - MINUTE)
    return at
