"""What a connection, and a change of what is held, is worth to the operator.

The catalogue's margins are those of a typical client. Of an offer that is sold by the piece the margin grows
in proportion to the quantity; the typical client of such an offer is the one with the median number of people
employed among the clients in the staff range that the offer fits best, and it has the seats that
`Demand.seats` says. Seats beyond `Demand.capacity` bring nothing: that is what the next edition is for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.simulation.clients import BoolArray, Clients, FloatArray, IntArray
from recsys.simulation.rules import Shelf
from recsys.simulation.world import World

HORIZON_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Amendments:
    """Changes of what is held, one row each.

    Attributes:
        offers: The offer's column.
        quantity: Seats before and after, changes_by_2.
        bound: Months for which a term binds the client, before and after, changes_by_2; ≤0 = it does not.
        is_in_trouble: Whether the client shrinks or is silent.
    """

    offers: IntArray
    quantity: IntArray
    bound: IntArray
    is_in_trouble: BoolArray


class Worth:
    """Expected margins, whole units of the currency.

    Args:
        world: The parameters.
        shelf: The catalogue.
        clients: Among them the typical client of each offer is found.
        horizon_months: Months that count, ≥1.
    """

    def __init__(
        self, world: World, shelf: Shelf, clients: Clients, horizon_months: int = HORIZON_MONTHS
    ) -> None:
        self._months = horizon_months
        typical = _typical_seats(world, shelf, clients)
        capacities = np.array([world.demand[offer_id].capacity for offer_id in shelf.offer_ids])
        self._most_seats = np.where(capacities > 0, capacities, np.inf)
        self._of_a_seat = shelf.margins / typical
        self._of_a_first_seat = expected_margins(world, shelf, horizon_months) / typical
        locks = np.where(
            np.arange(horizon_months) < np.arange(horizon_months + 1)[:, None], world.appetite.locked, 1.0
        )
        kept = locks.copy()
        # Who has just changed a service does not give it up in the same month.
        kept[:, 0] = 0.0
        self._n_months = np.array(
            [
                [months_kept(world, factors, is_in_trouble=trouble) for trouble in (False, True)]
                for factors in (locks, kept)
            ]
        )

    def of_connections(self, offers: IntArray, quantity: IntArray) -> FloatArray:
        """Margin expected of offers once connected: `expected_margins` times quantity over typical seats."""
        seats = np.minimum(quantity, self._most_seats[offers])
        margins: FloatArray = self._of_a_first_seat[offers] * seats
        return margins

    def of_revisions(self, changes: Amendments) -> FloatArray:
        """Margin expected of changes, beyond what the service brings without them.

        ``m (q' K'(b') - q K(b))`` with m the monthly margin of one seat, q seats and K(b) the expected number
        of months within the horizon for which a service is kept whose client is bound for b more months; K'
        is K with nothing given up in the first month, for who has just changed a service keeps it.
        """
        months = np.clip(changes.bound, 0, self._months)
        trouble = changes.is_in_trouble.astype(np.int64)
        seats = np.minimum(changes.quantity, self._most_seats[changes.offers, None])
        before, after = (seats[:, at] * self._n_months[at, trouble, months[:, at]] for at in (0, 1))
        gains: FloatArray = self._of_a_seat[changes.offers] * (after - before)
        return gains


def expected_margins(world: World, shelf: Shelf, horizon_months: int = HORIZON_MONTHS) -> FloatArray:
    """Margin expected of each offer once a typical client connects it, whole units of the currency.

    ``margin · Σ_{t < horizon} Π_{s < t} (1 - leave) (1 - d_s)`` with d the monthly disconnection of a calm
    client, times ``locked`` while the first term runs; shape (n_offers,).

    Args:
        world: The parameters.
        shelf: The catalogue.
        horizon_months: Months that count, ≥1.
    """
    terms = np.array([world.demand[offer_id].term_months for offer_id in shelf.offer_ids])
    factors = np.where(np.arange(horizon_months) < terms[:, None], world.appetite.locked, 1.0)
    margins: FloatArray = shelf.margins * months_kept(world, factors, is_in_trouble=False)
    return margins


def months_kept(world: World, factors: FloatArray, *, is_in_trouble: bool) -> FloatArray:
    """Expected number of months, the first included, for which services are kept, shape (n_services,).

    A calm client stays calm; one in trouble becomes calm with probability ``life.settle`` after each month.

    Args:
        world: The parameters.
        factors: Of the probability of giving a service up, services_by_months.
        is_in_trouble: Whether the client shrinks or is silent when the first month begins.
    """
    life, appetite = world.life, world.appetite
    total = np.zeros(len(factors))
    calm, troubled = np.full(len(factors), 1.0 - is_in_trouble), np.full(len(factors), 1.0 * is_in_trouble)
    for factor in factors.T:
        total += calm + troubled
        calm *= (1 - life.leave) * (1 - appetite.disconnection * factor)
        troubled *= (1 - life.leave_in_trouble) * (1 - appetite.disconnection_in_trouble * factor)
        calm += life.settle * troubled
        troubled *= 1 - life.settle
    return total


def _typical_seats(world: World, shelf: Shelf, clients: Clients) -> FloatArray:
    """Seats of the typical client of each offer, shape (n_offers,); 1 of what is not sold by the piece."""
    seats = np.ones(len(shelf.offer_ids))
    for number, offer_id in enumerate(shelf.offer_ids):
        demand = world.demand[offer_id]
        if demand.seats > 0:
            least, most = demand.staff
            fitting = clients.staff[(clients.staff >= least) & (clients.staff <= most)]
            staff = float(np.median(fitting)) if len(fitting) else (least * most) ** 0.5
            seats[number] = max(1.0, demand.seats * staff)
    return seats
