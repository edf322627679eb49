"""The clients of a world: what is reported of them, and the latent traits that drive them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.domain import LegalForm, Size, size_of
from recsys.simulation.names import make_name
from recsys.simulation.sections import Population
from recsys.simulation.timeline import DAY, Timeline
from recsys.simulation.world import World

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

FORMS = tuple(LegalForm)
SIZES = tuple(Size)
INDUSTRIES = "ABCDEFGHIJKLMNOPQRS"
ROLES = ("administrator", "finance", "employee")
NEVER = np.iinfo(np.int64).max

_MINOR_PER_MILLION = 100_000_000
_VIP_STAFF = 20
_MOST_STAFF = 100_000.0


@dataclass(frozen=True, slots=True)
class Traits:
    """What drives a client and stands in no table; each in 0–1, shape (n_clients,).

    Attributes:
        digital: Digital maturity.
        growth: Will to grow.
        thrift: Price sensitivity.
        mobility: Share of the work done on the road.
    """

    digital: FloatArray
    growth: FloatArray
    thrift: FloatArray
    mobility: FloatArray


@dataclass(frozen=True, slots=True)
class Clients:
    """Columns of clients, each of shape (n_clients,).

    Attributes:
        names: Company names.
        forms: Positions in `FORMS`.
        industries: Positions in `INDUSTRIES`.
        regions: Positions in the world's regions.
        sizes: Positions in `SIZES`, by what is reported.
        staff: People really employed, at least 1.
        n_employees: People employed as reported; -1 = not reported.
        revenue_minor: Yearly revenue as reported; -1 = not reported.
        joined_at: Start of the contract; `NEVER` for a prospect.
        is_vip: VIP status.
        yearly_points: Loyalty points that the client collects in a year once it holds the loyalty offer.
        groups: Number of the account group; -1 = none.
        is_profiling_allowed: The profiling switch.
        tags: Further facts.
        facts: Truth of the world's outside facts, n_clients_by_facts; only some of it stands in `tags`.
        spend_factor: Lasting factor of the spend for one SIM card.
        traits: What drives the client.
    """

    names: tuple[str, ...]
    forms: IntArray
    industries: IntArray
    regions: IntArray
    sizes: IntArray
    staff: FloatArray
    n_employees: IntArray
    revenue_minor: IntArray
    joined_at: IntArray
    is_vip: BoolArray
    yearly_points: FloatArray
    groups: IntArray
    is_profiling_allowed: BoolArray
    tags: tuple[tuple[str, ...], ...]
    facts: BoolArray
    spend_factor: FloatArray
    traits: Traits

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Members:
    """People of clients, grouped by client; each of shape (n_members,) but `first`.

    Attributes:
        clients: The client's row.
        roles: Positions in `ROLES`.
        attention: Factor of the probability that a slot is seen; mean 1.
        first: First member of each client, shape (n_clients + 1,).
    """

    clients: IntArray
    roles: IntArray
    attention: FloatArray
    first: IntArray


def make_clients(world: World, timeline: Timeline, rng: np.random.Generator) -> Clients:
    """Draw clients.

    Args:
        world: The parameters.
        timeline: The simulated months.
        rng: Source of the draws.
    """
    n = world.n_clients
    forms = _draw_shares([world.forms[form].share if form in world.forms else 0.0 for form in FORMS], n, rng)
    industries = _draw_industries(world, forms, rng)
    staff = _draw_staff(world, forms, rng)
    revenue = _draw_revenue(world, industries, staff, rng)
    joined_at = _draw_joined_at(world, timeline, rng)
    traits = _draw_traits(world, industries, staff, timeline.starts_at - joined_at, rng)
    n_employees = np.where(rng.random(n) < world.population.staff_unknown, -1, staff.astype(np.int64))
    revenue_minor = np.where(rng.random(n) < world.population.revenue_unknown, -1, revenue)
    facts, fact_tags = _draw_facts(world, n, rng)
    return Clients(
        names=tuple(
            make_name(FORMS[form], INDUSTRIES[industry], rng)
            for form, industry in zip(forms, industries, strict=True)
        ),
        forms=forms,
        industries=industries,
        regions=_draw_shares(list(world.regions.values()), n, rng),
        sizes=size_codes(n_employees, revenue_minor),
        staff=staff,
        n_employees=n_employees,
        revenue_minor=revenue_minor,
        joined_at=joined_at,
        is_vip=_draw_vip(world, staff, rng),
        yearly_points=100 * np.sqrt(staff) * rng.random(n),
        groups=_draw_groups(world, n, rng),
        is_profiling_allowed=rng.random(n) >= world.population.profiling_off,
        tags=tuple(
            (*common, *others)
            for common, others in zip(_draw_tags(forms, revenue, staff, traits, rng), fact_tags, strict=True)
        ),
        facts=facts,
        spend_factor=np.exp(world.population.spend_spread * rng.standard_normal(n)),
        traits=traits,
    )


def make_members(clients: Clients, attention_spread: float, rng: np.random.Generator) -> Members:
    """Draw people: one administrator each, finance and further employees in larger companies."""
    n = len(clients)
    has_finance = rng.random(n) < np.clip(np.log(clients.staff) / 4, 0, 0.9)
    n_employees = rng.binomial(5, np.clip(np.log(clients.staff) / 8, 0, 0.8))
    counts = 1 + has_finance + n_employees
    first = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(np.arange(n), counts)
    place = np.arange(first[-1]) - first[rows]
    roles = np.where(place == 0, 0, np.where((place == 1) & has_finance[rows], 1, 2))
    noise = rng.standard_normal(len(rows))
    attention = np.exp(attention_spread * noise - attention_spread**2 / 2)
    return Members(clients=rows, roles=roles, attention=attention, first=first)


def _draw_shares(shares: Sequence[float], n: int, rng: np.random.Generator) -> IntArray:
    weights = np.array(shares) / sum(shares)
    return rng.choice(len(weights), size=n, p=weights)


def _draw_industries(world: World, forms: IntArray, rng: np.random.Generator) -> IntArray:
    shares = np.array(
        [world.industries[code].share if code in world.industries else 0 for code in INDUSTRIES]
    )
    industries = np.zeros(len(forms), dtype=np.int64)
    for form, parameters in world.forms.items():
        rows = np.flatnonzero(forms == FORMS.index(form))
        allowed = [not parameters.industries or code in parameters.industries for code in INDUSTRIES]
        industries[rows] = _draw_shares((shares * allowed).tolist(), len(rows), rng)
    return industries


def _draw_staff(world: World, forms: IntArray, rng: np.random.Generator) -> FloatArray:
    medians, spreads = np.ones(len(FORMS)), np.zeros(len(FORMS))
    for form, parameters in world.forms.items():
        medians[FORMS.index(form)], spreads[FORMS.index(form)] = parameters.staff, parameters.spread
    staff = medians[forms] * np.exp(spreads[forms] * rng.standard_normal(len(forms)))
    if world.population.tail_from > 0:
        staff = _with_pareto_tail(staff, world.population, rng)
    return np.maximum(1.0, np.round(staff))


def _with_pareto_tail(staff: FloatArray, population: Population, rng: np.random.Generator) -> FloatArray:
    start, index = population.tail_from, population.tail_index
    tail = np.minimum(start * (1 - rng.random(len(staff))) ** (-1 / index), _MOST_STAFF)
    return np.where(staff > start, tail, staff)


def _draw_revenue(
    world: World, industries: IntArray, staff: FloatArray, rng: np.random.Generator
) -> IntArray:
    per_head = np.array(
        [world.industries[code].revenue if code in world.industries else 0 for code in INDUSTRIES]
    )
    millions = per_head[industries] * staff * np.exp(0.7 * rng.standard_normal(len(staff)))
    return np.round(millions * 10).astype(np.int64) * (_MINOR_PER_MILLION // 10)


def _draw_joined_at(world: World, timeline: Timeline, rng: np.random.Generator) -> IntArray:
    n = world.n_clients
    days_before = np.clip(rng.exponential(4 * 365, n), 1, 15 * 365).astype(np.int64)
    days_after = rng.integers(0, (timeline.ends_at - timeline.starts_at) // DAY, n)
    kind = rng.random(n)
    joined_at = timeline.starts_at - days_before * DAY
    joined_at[kind < world.population.new] = (timeline.starts_at + days_after * DAY)[
        kind < world.population.new
    ]
    joined_at[kind > 1 - world.population.prospects] = NEVER
    return joined_at


def _draw_traits(
    world: World, industries: IntArray, staff: FloatArray, age: IntArray, rng: np.random.Generator
) -> Traits:
    known = [world.industries.get(code) for code in INDUSTRIES]
    digital = np.array([industry.digital if industry else 0.0 for industry in known])[industries]
    mobility = np.array([industry.mobility if industry else 0.0 for industry in known])[industries]
    noise = rng.standard_normal((4, len(staff)))
    log_staff = np.log(staff)
    is_young = age < 365 * DAY
    return Traits(
        digital=_squash(0.8 * noise[0] + digital + 0.15 * log_staff - 0.3),
        growth=_squash(0.9 * noise[1] + 0.4 * is_young - 0.1),
        thrift=_squash(0.8 * noise[2] - 0.35 * (log_staff - 1.6)),
        mobility=_squash(0.7 * noise[3] + mobility),
    )


def _squash(values: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-1.3 * values))


def size_codes(n_employees: IntArray, revenue_minor: IntArray) -> IntArray:
    """Size classes by what is reported, as positions in `SIZES`; -1 = not reported."""
    return np.array(
        [
            SIZES.index(size_of(None if staff < 0 else int(staff), None if money < 0 else int(money)))
            for staff, money in zip(n_employees, revenue_minor, strict=True)
        ],
        dtype=np.int64,
    )


def _draw_vip(world: World, staff: FloatArray, rng: np.random.Generator) -> BoolArray:
    is_large: BoolArray = staff >= _VIP_STAFF
    chance = world.population.vip / max(is_large.mean(), world.population.vip, 1e-9)
    is_chosen: BoolArray = rng.random(len(staff)) < chance
    return is_large & is_chosen


def _draw_groups(world: World, n: int, rng: np.random.Generator) -> IntArray:
    groups = np.full(n, -1, dtype=np.int64)
    rows = rng.permutation(n)[: round(world.population.grouped * n)]
    number = taken = 0
    while taken + 2 <= len(rows):
        # Most groups are one owner's two or three companies; a few are an accountant's thirty.
        count = min(30, int(1 + rng.geometric(0.4) * (5 if rng.random() < 0.1 else 1)))
        groups[rows[taken : taken + count]] = number
        number, taken = number + 1, taken + count
    return groups


def _draw_tags(
    forms: IntArray, revenue: IntArray, staff: FloatArray, traits: Traits, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    n = len(staff)
    has_site = rng.random(n) < _squash(4 * (traits.digital - 0.5) + 0.3 * np.log(staff))
    n_vehicles = rng.poisson(traits.mobility**2 * staff**0.7)
    luck = rng.random(n)
    return tuple(
        (
            *_tax_tag(FORMS[forms[row]], int(revenue[row]), luck[row]),
            f"site={'yes' if has_site[row] else 'no'}",
            f"vehicles={'none' if n_vehicles[row] == 0 else 'few' if n_vehicles[row] <= 5 else 'many'}",
        )
        for row in range(n)
    )


def _draw_facts(world: World, n: int, rng: np.random.Generator) -> tuple[BoolArray, list[tuple[str, ...]]]:
    """The truth of every outside fact, and as tags what is known of it."""
    truth = np.zeros((n, len(world.facts)), dtype=bool)
    tags: list[tuple[str, ...]] = [()] * n
    for number, (name, fact) in enumerate(world.facts.items()):
        truth[:, number] = rng.random(n) < fact.share
        for row in np.flatnonzero(rng.random(n) < fact.known).tolist():
            tags[row] = (*tags[row], f"{name}={'yes' if truth[row, number] else 'no'}")
    return truth, tags


def _tax_tag(form: LegalForm, revenue_minor: int, luck: float) -> tuple[str, ...]:
    if form is LegalForm.SOLE_TRADER:
        return ("tax=psn",) if luck < 0.3 else ("tax=usn",)
    if form in (LegalForm.LLC, LegalForm.JOINT_STOCK):
        is_simplified = revenue_minor < 450 * _MINOR_PER_MILLION and luck < 0.7
        return ("tax=usn",) if is_simplified else ("tax=osno",)
    return ()
