"""What clients want, and the true probabilities that follow.

A client's attraction to an offer is a product: the offer's pull, how well the company's trade and staff
suit it, powers of the latent traits, a personal taste (which companies of one owner share), facts from
outside, whether the price is bearable, the moment in the client's life, and what is held already. Adoption
by own wish is a competition of all offers for one month's attention; a manager's call pitches one offer;
being shown raises the probability of that offer. Of all this, models see only the reported profile, the
holdings and the log.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.clients import INDUSTRIES, BoolArray, Clients, FloatArray, IntArray, Traits
from recsys.simulation.demand import Demand
from recsys.simulation.months import STAGES
from recsys.simulation.rules import Allowed, Prices, Shelf
from recsys.simulation.streams import Purpose, Streams
from recsys.simulation.world import World

_BIGGEST_CALL = 0.95
_UPGRADE_BOUND = 8.0


@dataclass(frozen=True, slots=True)
class Chances:
    """The true probabilities of one month, clients_by_offers, 0–1; 0 where nothing may be connected.

    Attributes:
        own: P(the offer is adopted within the month by own wish | not seen).
        call: P(it is adopted within the month after a manager's call | not seen).
        lift: By how much being seen at the first slot, by a member who may connect, raises the probability
            of application.
    """

    own: FloatArray
    call: FloatArray
    lift: FloatArray

    @property
    def adoption(self) -> FloatArray:
        """P(the offer is adopted within the month | it is not seen)."""
        return self.own + self.call

    @property
    def acceptance(self) -> FloatArray:
        """P(it is applied for within 30 days | seen at the first slot); see `Chances.lift`."""
        return self.own + self.call + self.lift

    def take(self, rows: BoolArray | IntArray) -> Chances:
        """Those rows."""
        return Chances(self.own[rows], self.call[rows], self.lift[rows])


@dataclass(frozen=True, slots=True)
class Situation:
    """Where some clients stand when a month begins; arrays are clients_by_offers but the first two.

    Attributes:
        rows: The clients' rows.
        stages: Their lifecycle stages, positions in `STAGES`.
        held: What they have or have on its way.
        allowed: What they may connect.
        is_locked: Whether what a switch would replace is still under contract.
        quantity: Seats of what is held.
        n_seen: Earlier impressions that are not forgotten.
    """

    rows: IntArray
    stages: IntArray
    held: BoolArray
    allowed: Allowed
    is_locked: BoolArray
    quantity: IntArray
    n_seen: FloatArray


class Behaviour:
    """The wants of a world's clients."""

    def __init__(self, world: World, shelf: Shelf, clients: Clients, streams: Streams) -> None:
        self._world = world
        self._shelf = shelf
        self._clients = clients
        demands = [world.demand[offer_id] for offer_id in shelf.offer_ids]
        self._capacities = np.array([demand.capacity for demand in demands])
        self._past = np.array([demand.past for demand in demands])
        self._lasting = _lasting_attraction(world, demands, shelf, clients, streams.rng(Purpose.TASTES))
        self._moments = np.array(
            [[world.moments[demand.moment].get(stage, 1.0) for demand in demands] for stage in STAGES]
        )
        column = {offer_id: number for number, offer_id in enumerate(shelf.offer_ids)}
        self._complements = [
            (number, np.array([column[other] for other in demand.after]), demand.lift)
            for number, demand in enumerate(demands)
            if demand.after
        ]
        self._same_need = _same_need(shelf.needs)
        self._by_need = np.argsort(shelf.needs, kind="stable")
        self._need_starts = np.unique(shelf.needs[self._by_need], return_index=True)[1]
        self._call_chance = np.minimum(
            _BIGGEST_CALL, world.calls.rate * (clients.staff / 10) ** world.calls.size_power
        )
        self._log_pulls = np.zeros((world.n_months, len(demands)))
        self.redraw_drift(0, streams)

    def fork(self) -> Behaviour:
        """A copy whose prices and drift go on by themselves."""
        return copy.copy(self)

    def redraw_drift(self, month: int, streams: Streams) -> None:
        """Draw how pulls drift after a month; up to it they stay as they were."""
        steps = streams.rng(Purpose.DRIFT, month).standard_normal(self._log_pulls.shape)
        walk = self._world.appetite.drift * np.cumsum(steps[month + 1 :], axis=0)
        # A new array, as forks share the old one.
        self._log_pulls = np.concatenate([self._log_pulls[: month + 1], self._log_pulls[month] + walk])

    def reprice(self, before: Prices, after: Prices) -> None:
        """Let a change of prices change what is bearable."""
        changed = np.flatnonzero((before.month != after.month).any(axis=(1, 2))).tolist()
        if changed:
            self._lasting = self._lasting.copy()
        for offer in changed:
            ratio = _bearable(self._world, self._clients, after, offer) / _bearable(
                self._world, self._clients, before, offer
            )
            self._lasting[:, offer] *= ratio.astype(np.float32)

    def attraction(self, now: Situation, month: int) -> FloatArray:
        """How much clients want every offer, clients_by_offers, ≥0; 0 where nothing may be connected."""
        appetite, allowed = self._world.appetite, now.allowed
        attraction: FloatArray = self._lasting[now.rows].astype(np.float64)
        attraction *= self._moments[now.stages]
        attraction *= np.exp(self._log_pulls[month])
        for offer, others, lift in self._complements:
            attraction[:, offer] *= np.where(now.held[:, others].any(axis=1), lift, 1.0)
        is_met = now.held.astype(np.float32) @ self._same_need > 0
        attraction[is_met & allowed.new] *= appetite.substitute
        for lower, higher in self._shelf.upgrades:
            if self._capacities[lower] > 0:
                use = now.quantity[:, lower] / self._capacities[lower]
                outgrown = np.clip(use, 1 / _UPGRADE_BOUND, _UPGRADE_BOUND)
                is_upgrade = allowed.upgrade[:, higher] & now.held[:, lower]
                attraction[:, higher] *= np.where(is_upgrade, outgrown, 1.0)
        switch = appetite.switching * np.where(now.is_locked, appetite.locked, 1.0)
        return attraction * np.where(allowed.switch, switch, allowed.any)

    def lasting(self, rows: IntArray, offers: IntArray, month: int) -> FloatArray:
        """What of the attraction no moment in a client's life changes, for pairs of a client and an offer."""
        lasting: FloatArray = self._lasting[rows, offers] * np.exp(self._log_pulls[month])[offers]
        return lasting

    def chances(self, now: Situation, month: int, calendar: float) -> Chances:
        """True probabilities of a month.

        Own wish: ``own = a / A · M (1 - exp(-o A / M))`` with A the sum of a client's attractions a
        (sharpened within each need). A call: P(called) · P(pitched | called) · ``L' (1 - exp(-r' a / L'))``.
        Being shown: ``lift = L (1 - exp(-r a^γ / L)) (1 - fatigue)^n``. M, o, L, r, γ as in
        `sections.Appetite`, L', r' as in `sections.Calls`; the calendar's factor multiplies every rate.
        """
        appetite, portal = self._world.appetite, self._world.portal
        attraction = self.attraction(now, month)
        own = _compete(appetite.organic * calendar * self._sharpen(attraction), appetite.organic_limit)
        offered = np.where(now.allowed.any, attraction, 0.0)
        rates = appetite.response * calendar * offered**appetite.response_power
        lift = saturate(np.where(now.allowed.any, rates, 0.0), appetite.response_limit)
        lift *= (1 - portal.fatigue) ** now.n_seen
        return Chances(own=own, call=self._call(offered, now.rows, calendar), lift=lift)

    def initial_adoption(self, now: Situation) -> FloatArray:
        """P(an offer is adopted in one round before the first month), clients_by_offers."""
        attraction = np.where(now.allowed.any, self.attraction(now, 0), 0.0) * self._past
        return _compete(self._world.appetite.initial * attraction, 1.0)

    def _sharpen(self, attraction: FloatArray) -> FloatArray:
        choice = self._world.appetite.choice
        if choice == 1:
            return attraction
        ordered = attraction[:, self._by_need]
        sharp = ordered**choice
        totals = np.add.reduceat(ordered, self._need_starts, axis=1)
        sharp_totals = np.add.reduceat(sharp, self._need_starts, axis=1)
        ratio = np.divide(totals, sharp_totals, out=np.zeros_like(totals), where=sharp_totals > 0)
        lengths = np.diff(np.append(self._need_starts, len(self._by_need)))
        result = np.empty_like(attraction)
        result[:, self._by_need] = sharp * np.repeat(ratio, lengths, axis=1)
        return result

    def _call(self, offered: FloatArray, rows: IntArray, calendar: float) -> FloatArray:
        calls = self._world.calls
        if calls.rate == 0:
            return np.zeros_like(offered)
        worth = np.maximum(self._shelf.margins, 1.0) ** calls.margin_power
        weights = np.where(offered > 0, worth * offered**calls.insight, 0.0)
        total = weights.sum(axis=1, keepdims=True)
        pitched = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        taken = saturate(calls.response * calendar * offered, calls.limit)
        adoption: FloatArray = self._call_chance[rows, None] * pitched * taken
        return adoption


def choose_one(probabilities: FloatArray, luck: FloatArray) -> IntArray:
    """At most one column for each row, each with its probability.

    Args:
        probabilities: Rows whose sum is at most 1.
        luck: Uniform draws in [0, 1), one for each row.

    Returns:
        The column, or -1 for none.

    Example:
        >>> choose_one(np.array([[0.1, 0.2], [0.1, 0.2]]), np.array([0.15, 0.9]))
        array([ 1, -1])
    """
    columns = (np.cumsum(probabilities, axis=1) <= luck[:, None]).sum(axis=1)
    return np.where(columns == probabilities.shape[1], -1, columns)


def saturate(rates: FloatArray, limit: float) -> FloatArray:
    """Probabilities below a limit that grow with rates: ``limit · (1 - exp(-rate / limit))``."""
    if limit == 0:
        return np.zeros_like(rates)
    saturated: FloatArray = -limit * np.expm1(-rates / limit)
    return saturated


def _compete(rates: FloatArray, limit: float) -> FloatArray:
    total: FloatArray = rates.sum(axis=1, keepdims=True)
    share: FloatArray = np.divide(rates, total, out=np.zeros_like(rates), where=total > 0)
    return share * saturate(total, limit)


def _same_need(needs: IntArray) -> NDArray[np.float32]:
    same: NDArray[np.float32] = (needs[:, None] == needs[None, :]).astype(np.float32)
    np.fill_diagonal(same, 0.0)
    return same


def _lasting_attraction(
    world: World, demands: list[Demand], shelf: Shelf, clients: Clients, rng: np.random.Generator
) -> NDArray[np.float32]:
    """What no month changes but a price, clients_by_offers."""
    taste = _shared_normal(world, clients, int(shelf.themes.max()) + 1, rng)
    whim = _shared_normal(world, clients, int(shelf.needs.max()) + 1, rng)
    attraction = np.empty((len(clients), len(demands)), dtype=np.float32)
    log_staff = np.log(clients.staff)
    for number, demand in enumerate(demands):
        column = demand.pull * np.exp(
            world.appetite.taste * taste[:, shelf.themes[number]]
            + world.appetite.whim * whim[:, shelf.needs[number]]
        )
        column *= _trade_fit(demand, clients.industries, world.appetite.off_industry)
        column *= _staff_fit(demand, log_staff, world.appetite.staff_width)
        column *= _trait_fit(demand, clients.traits)
        for place, fact in enumerate(world.facts.values()):
            if shelf.offer_ids[number] in fact.offers:
                column *= np.where(clients.facts[:, place], fact.factor, 1.0)
        column *= _bearable(world, clients, shelf.prices, number)
        attraction[:, number] = column
    return attraction


def _shared_normal(world: World, clients: Clients, n_columns: int, rng: np.random.Generator) -> FloatArray:
    """Standard normal numbers, clients_by_columns, correlated within account groups."""
    own = rng.standard_normal((len(clients), n_columns))
    shared = world.population.group_taste
    if shared == 0:
        return own
    group = rng.standard_normal((int(clients.groups.max(initial=0)) + 1, n_columns))
    in_group = (clients.groups >= 0)[:, None]
    mixed = np.sqrt(1 - shared) * own + np.sqrt(shared) * group[np.maximum(clients.groups, 0)]
    return np.where(in_group, mixed, own)


def _bearable(world: World, clients: Clients, prices: Prices, offer: int) -> FloatArray:
    """How little the price hurts, shape (n_clients,), 0–1."""
    price = prices.month[offer][clients.regions, clients.sizes]
    budget = world.appetite.budget * clients.staff
    bearable: FloatArray = (1 + price / budget) ** (-2 * clients.traits.thrift)
    return bearable


def _trade_fit(demand: Demand, industries: IntArray, off_industry: float) -> FloatArray:
    fits = np.array([not demand.industries or code in demand.industries for code in INDUSTRIES])
    return np.where(fits[industries], 1.0, off_industry)


def _staff_fit(demand: Demand, log_staff: FloatArray, width: float) -> FloatArray:
    least, most = np.log(demand.staff)
    distance = np.maximum(0, np.maximum(least - log_staff, log_staff - most))
    fit: FloatArray = np.exp(-0.5 * (distance / width) ** 2)
    return fit


def _trait_fit(demand: Demand, traits: Traits) -> FloatArray:
    exponents: Mapping[str, float] = {
        "digital": demand.digital,
        "growth": demand.growth,
        "thrift": demand.thrift,
        "mobility": demand.mobility,
    }
    fit = np.ones_like(traits.digital)
    for name, exponent in exponents.items():
        fit = fit * (2 * getattr(traits, name)) ** exponent
    return fit
