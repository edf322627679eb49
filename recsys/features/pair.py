"""What models read of a client and an offer together."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.domain import ClientState, EventType, Profile
from recsys.features.client import days_between
from recsys.features.offer import OfferFamily
from recsys.features.population import Population, segments_of
from recsys.features.spec import Feature, counts, flags
from recsys.history import Activity, hour_of

FloatArray = NDArray[np.float64]

_TIMED = (EventType.IMPRESSION, EventType.CLICK, EventType.APPLICATION)
PAIR_FEATURES = (
    *flags(["is_held", "was_held", "has_need_gap", "are_prerequisites_met"]),
    *counts(["n_prerequisites_missing", "n_held_in_group"]),
    *flags(["is_slot_taken", "is_upgrade", "is_excluded"]),
    Feature("price_minor", "minor"),
    Feature("price_to_spend", "ratio"),
    Feature("neighbour_share", "share", 0.0, 1.0),
    *counts(["n_impressions_30d"]),
    *counts([f"n_{each}s_90d" for each in _TIMED]),
    *(Feature(f"days_since_{each}", "days") for each in (*_TIMED, EventType.DISMISSAL)),
    Feature("days_to_term_end", "days", -math.inf),
)
# Features that are unknown until something is known, instead of zero.
_UNKNOWN_UNITS = {"days", "ratio", "minor", "share"}
_MONTH_HOURS = 30 * 24
_PREREQUISITES = ("n_prerequisites_missing", "are_prerequisites_met")
_NOBODY = Profile()


class _Effect(NamedTuple):
    """What holding an offer changes.

    Attributes:
        cells: Cells that take another value, and which.
        in_group: Cells that count what is held in the offer's need group.
        met: (position, number of the group) of what it is a prerequisite for.
    """

    cells: tuple[tuple[int, float], ...]
    in_group: tuple[int, ...]
    met: tuple[tuple[int, int], ...]


class _Timed(NamedTuple):
    """First cell of each feature of one type of event; None = it is not asked for.

    Attributes:
        recent: How often within a month.
        total: How often within 90 days.
        last: Days since the last one.
    """

    recent: int | None
    total: int | None
    last: int | None


class PairFamily:
    """Builds the rows of clients with every offer.

    The rows of a client lie one after another in one array of cells.

    Args:
        offers: The catalogue as features need it.
        population: Frozen figures; None = unknown.
        asked: Names of the features that are wanted; None = all.

    Attributes:
        features: Of the rows, in the order of `PAIR_FEATURES`.
    """

    def __init__(
        self, offers: OfferFamily, population: Population | None, asked: Set[str] | None = None
    ) -> None:
        self._offers = offers
        n_offers = len(offers)
        self.features = tuple([each for each in PAIR_FEATURES if asked is None or each.name in asked])
        self._rows = {each.name: row for row, each in enumerate(self.features)}
        self._starts = {name: row * n_offers for name, row in self._rows.items()}
        self._effects = _effects(offers, self._starts)
        self._n_required = offers.n_prerequisites.tolist()
        timed = {
            each.value: [self._starts.get(f"n_{each}s_{days}d") for days in (30, 90)]
            + [self._starts.get(f"days_since_{each}")]
            for each in _TIMED
        }
        self._timed = {each: _Timed(*rows) for each, rows in timed.items() if rows != [None] * len(rows)}
        self._neighbours: dict[str, FloatArray] = {}
        self._unknown = np.full(n_offers, math.nan)
        if population is not None and "neighbour_share" in self._starts:
            shares = offers.aligned(population.segment_shares)
            self._neighbours = dict(zip(population.segments, shares, strict=True))
        self._template = self._cells_of_nobody()

    def blocks(
        self, states: Sequence[ClientState], activities: Sequence[Activity], moments: Sequence[datetime]
    ) -> FloatArray:
        """The clients' numbers with every offer.

        Args:
            states: The states as decisions read them.
            activities: Their activity within the last 90 days.
            moments: The moment of each, aware.

        Returns:
            Shape (n_clients, n_features, n_offers).
        """
        n_clients, n_offers = len(states), len(self._offers)
        cells = np.empty((n_clients, len(self._template)))
        cells[:] = self._template
        found: dict[int, float] = {}
        for client, (state, activity, now) in enumerate(zip(states, activities, moments, strict=True)):
            first = client * len(self._template)
            self._find_held(found, first, state)
            self._find_dated(found, first, state, now)
            if activity.hours and self._timed:
                self._find_activity(found, first, activity, hour_of(now))
        # one assignment of many numbers costs less than many of one
        places = np.fromiter(found, np.intp, len(found))
        cells.reshape(-1)[places] = np.fromiter(found.values(), np.float64, len(found))
        blocks = cells.reshape(n_clients, len(self.features), n_offers)
        self._fill_money(blocks, states)
        return blocks

    def _cells_of_nobody(self) -> FloatArray:
        offers = self._offers
        given = {
            "n_prerequisites_missing": offers.n_prerequisites,
            "are_prerequisites_met": offers.n_prerequisites == 0,
            "has_need_gap": offers.has_group,
        }
        block = np.zeros((len(self.features), len(offers)))
        for row, each in zip(block, self.features, strict=True):
            row[:] = given.get(each.name, math.nan if each.unit in _UNKNOWN_UNITS else 0.0)
        return block.reshape(-1)

    def _find_held(self, found: dict[int, float], first: int, state: ClientState) -> None:
        """What is changed by what is held; `first` is the client's first cell."""
        met: set[tuple[int, int]] = set()
        for offer_id in {held.offer_id for held in state.holdings}:
            effect = self._effects.get(offer_id)
            if effect is not None:
                for cell, value in effect.cells:
                    found[first + cell] = value
                for cell in effect.in_group:
                    found[first + cell] = found.get(first + cell, 0.0) + 1.0
                met.update(effect.met)
        if met:
            missing, are_met = (self._starts.get(name) for name in _PREREQUISITES)
            for position, n_met in Counter(position for position, _ in met).items():
                n_missing = self._n_required[position] - n_met
                if missing is not None:
                    found[first + missing + position] = n_missing
                if are_met is not None:
                    found[first + are_met + position] = float(n_missing == 0)

    def _find_dated(self, found: dict[int, float], first: int, state: ClientState, now: datetime) -> None:
        """What was, is to end or was dismissed."""
        positions, starts = self._offers.positions, self._starts
        if (start := starts.get("was_held")) is not None:
            for offer_id in state.past_offer_ids:
                if offer_id in positions:
                    found[first + start + positions[offer_id]] = 1.0
        if (start := starts.get("days_to_term_end")) is not None:
            today = now.date()
            for held in state.holdings:
                if held.term_ends_on is not None and held.offer_id in positions:
                    found[first + start + positions[held.offer_id]] = float((held.term_ends_on - today).days)
        if (start := starts.get("days_since_dismissal")) is not None:
            for item in state.dismissals:
                if item.offer_id in positions:
                    found[first + start + positions[item.offer_id]] = days_between(item.dismissed_at, now)

    def _find_activity(self, found: dict[int, float], first: int, activity: Activity, hour: int) -> None:
        """How often and when last each offer was shown, clicked and applied for."""
        positions, timed = self._offers.positions, self._timed
        entries = zip(activity.hours, activity.offer_ids, activity.event_types, activity.counts, strict=True)
        for at, offer_id, event_type, n in entries:
            position, rows = positions.get(offer_id), timed.get(event_type)
            if position is None or rows is None:
                continue
            recent, total, last = rows
            cell, age = first + position, hour - at
            if recent is not None and age < _MONTH_HOURS:
                found[cell + recent] = found.get(cell + recent, 0.0) + n
            if total is not None:
                found[cell + total] = found.get(cell + total, 0.0) + n
            if last is not None:
                # entries ascend by hour
                found[cell + last] = age / 24

    def _fill_money(self, blocks: FloatArray, states: Sequence[ClientState]) -> None:
        profiles = [state.profile or _NOBODY for state in states]
        price, to_spend = self._rows.get("price_minor"), self._rows.get("price_to_spend")
        if price is not None or to_spend is not None:
            of_each = [self._offers.prices(each.region, each.size) for each in profiles]
            prices = np.array(of_each).reshape(len(states), len(self._offers))
            if price is not None:
                blocks[:, price] = prices
            if to_spend is not None:
                spends = np.array([_spend_of(state) for state in states])
                np.divide(prices, spends[:, None], out=blocks[:, to_spend])
        if (neighbours := self._rows.get("neighbour_share")) is not None:
            shares = np.array([self._shares_near(state) for state in states])
            blocks[:, neighbours] = shares.reshape(len(states), len(self._offers))

    def _shares_near(self, state: ClientState) -> FloatArray:
        """Share of similar companies that hold each offer: of the narrowest segment that is known."""
        for segment in segments_of(state.profile):
            if (shares := self._neighbours.get(segment)) is not None:
                return shares
        return self._unknown


def _effects(offers: OfferFamily, starts: Mapping[str, int]) -> Mapping[str, _Effect]:
    """What holding each offer changes; an offer outside the catalogue may still be asked for by others."""
    cells: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    met: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for position, offer in enumerate(offers.offers):
        own = cells[offer.offer_id]
        own["is_held", position] = 1.0
        own.update((("is_slot_taken", each), 1.0) for each in offers.in_slot.get(position, ()))
        own.update((("has_need_gap", each), 0.0) for each in offers.in_group.get(position, ()))
        if offer.upgrades_to is not None and offer.upgrades_to in offers.positions:
            own["is_upgrade", offers.positions[offer.upgrades_to]] = 1.0
        for other in offer.excludes:
            cells[other]["is_excluded", position] = 1.0
            # an exclusion holds in both directions
            if other in offers.positions:
                own["is_excluded", offers.positions[other]] = 1.0
        for number, group in enumerate(offer.requires):
            for other in group:
                met[other].append((position, number))
    counted, are_met = starts.get("n_held_in_group"), any(name in starts for name in _PREREQUISITES)
    in_group = {} if counted is None else offers.in_group
    return {
        offer_id: _Effect(
            tuple(
                [
                    (starts[name] + at, value)
                    for (name, at), value in cells[offer_id].items()
                    if name in starts
                ]
            ),
            tuple([(counted or 0) + at for at in in_group.get(offers.positions.get(offer_id, -1), ())]),
            tuple(met[offer_id]) if are_met else (),
        )
        for offer_id in {*cells, *met}
    }


def _spend_of(state: ClientState) -> float:
    """What was billed for the latest month; NaN where that is unknown or nothing."""
    months = state.history.months
    spend = months[-1].spend_minor if months else None
    return math.nan if spend is None or spend <= 0 else float(spend)
