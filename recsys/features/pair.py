"""What models read of a client and an offer together."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from itertools import repeat
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
_AT = {feature.name: row for row, feature in enumerate(PAIR_FEATURES)}
# The rows of the timed types side by side, so that a place in one is a place in the other.
_TOTALS, _SINCE = f"n_{_TIMED[0]}s_90d", f"days_since_{_TIMED[0]}"
# Rows that are unknown until something is known, instead of zero.
_UNKNOWN_ROWS = [
    row for row, each in enumerate(PAIR_FEATURES) if each.unit in {"days", "ratio", "minor", "share"}
]
_MONTH_HOURS = 30 * 24
_NOBODY = Profile()


class _Effect(NamedTuple):
    """What holding an offer changes.

    Attributes:
        cells: Cells that take another value.
        in_group: Cells that count what is held in the offer's need group.
        met: (position, number of the group) of what it is a prerequisite for.
    """

    cells: Mapping[int, float]
    in_group: tuple[int, ...]
    met: tuple[tuple[int, int], ...]


class PairFamily:
    """Builds the rows of a client with every offer.

    The rows lie one after another in one array of cells, and behind them one cell more, which takes what
    concerns no offer of the catalogue.

    Args:
        offers: The catalogue as features need it.
        population: Frozen figures; None = unknown.
    """

    def __init__(self, offers: OfferFamily, population: Population | None) -> None:
        self._offers = offers
        n_offers = len(offers)
        self._starts = {name: row * n_offers for name, row in _AT.items()}
        self._effects = _effects(offers, self._starts)
        self._n_required = offers.n_prerequisites.tolist()
        self._nowhere = len(PAIR_FEATURES) * n_offers
        self._timed_places = {
            (offer_id, event_type.value): number * n_offers + position
            for number, event_type in enumerate(_TIMED)
            for offer_id, position in offers.positions.items()
        }
        segments = () if population is None else population.segments
        shares = None if population is None else offers.aligned(population.segment_shares)
        self._neighbours = {name: shares[row] for row, name in enumerate(segments) if shares is not None}
        self.template = self._cells_of_nobody()

    def fill(self, cells: FloatArray, state: ClientState, activity: Activity, now: datetime) -> None:
        """Write the client's numbers with every offer.

        Args:
            cells: A copy of `template`, shape (n_features × n_offers + 1,); changed in place.
            state: The state as decisions read it.
            activity: Its activity within the last 90 days.
            now: The moment, aware.
        """
        found = self._held_cells(state, now.date())
        start = self._starts["days_since_dismissal"]
        for item in state.dismissals:
            position = self._offers.positions.get(item.offer_id)
            if position is not None:
                found[start + position] = days_between(item.dismissed_at, now)
        # one assignment of many numbers costs less than many of one
        n_cells = len(found)
        cells[np.fromiter(found, np.intp, n_cells)] = np.fromiter(found.values(), np.float64, n_cells)
        self._fill_money(cells, state)
        if activity.hours:
            self._fill_activity(cells, activity, hour_of(now))

    def _cells_of_nobody(self) -> FloatArray:
        block = np.zeros((len(PAIR_FEATURES), len(self._offers)))
        block[_UNKNOWN_ROWS] = math.nan
        block[_AT["n_prerequisites_missing"]] = self._offers.n_prerequisites
        block[_AT["are_prerequisites_met"]] = self._offers.n_prerequisites == 0
        block[_AT["has_need_gap"]] = self._offers.has_group
        return np.append(block.reshape(-1), 0.0)

    def _held_cells(self, state: ClientState, today: date) -> dict[int, float]:
        """What holdings, present and past, change."""
        positions, starts = self._offers.positions, self._starts
        found: dict[int, float] = {}
        met: set[tuple[int, int]] = set()
        for offer_id in {held.offer_id for held in state.holdings}:
            effect = self._effects.get(offer_id)
            if effect is not None:
                found.update(effect.cells)
                for cell in effect.in_group:
                    found[cell] = found.get(cell, 0.0) + 1.0
                met.update(effect.met)
        was_held, term_end = starts["was_held"], starts["days_to_term_end"]
        for offer_id in state.past_offer_ids:
            if offer_id in positions:
                found[was_held + positions[offer_id]] = 1.0
        for held in state.holdings:
            if held.term_ends_on is not None and held.offer_id in positions:
                found[term_end + positions[held.offer_id]] = float((held.term_ends_on - today).days)
        missing, are_met = starts["n_prerequisites_missing"], starts["are_prerequisites_met"]
        for position, _ in met:
            n_missing = found.get(missing + position, self._n_required[position]) - 1.0
            found[missing + position] = n_missing
            found[are_met + position] = float(n_missing == 0)
        return found

    def _fill_money(self, cells: FloatArray, state: ClientState) -> None:
        profile, n_offers = state.profile or _NOBODY, len(self._offers)
        prices = self._offers.prices(profile.region, profile.size)
        start = self._starts["price_minor"]
        cells[start : start + n_offers] = prices
        months = state.history.months
        spend = months[-1].spend_minor if months else None
        if spend is not None and spend > 0:
            start = self._starts["price_to_spend"]
            np.divide(prices, spend, out=cells[start : start + n_offers])
        for segment in segments_of(state.profile):
            shares = self._neighbours.get(segment)
            if shares is not None:
                start = self._starts["neighbour_share"]
                cells[start : start + n_offers] = shares
                break

    def _fill_activity(self, cells: FloatArray, activity: Activity, hour: int) -> None:
        n_offers, n_entries, hours = len(self._offers), len(activity.hours), activity.hours
        n_timed, since, totals = len(_TIMED) * n_offers, self._starts[_SINCE], self._starts[_TOTALS]
        nowhere = self._nowhere - since
        found = map(
            self._timed_places.get,
            zip(activity.offer_ids, activity.event_types, strict=True),
            repeat(nowhere),
        )
        places = np.fromiter(found, np.intp, n_entries)
        counts = np.fromiter(activity.counts, np.float64, n_entries)
        cells[totals : totals + n_timed] = np.bincount(places, counts, n_timed)[:n_timed]
        # entries ascend by hour, and of several numbers for one cell the last stays
        cells[since:][places] = (hour - np.fromiter(hours, np.float64, n_entries)) / 24
        first, recent = bisect_right(hours, hour - _MONTH_HOURS), self._starts["n_impressions_30d"]
        # impressions come first of the timed types
        cells[recent : recent + n_offers] = np.bincount(places[first:], counts[first:], n_offers)[:n_offers]


def _effects(offers: OfferFamily, starts: Mapping[str, int]) -> Mapping[str, _Effect]:
    """What holding each offer changes; an offer outside the catalogue may still be asked for by others."""
    cells: dict[str, dict[int, float]] = defaultdict(dict)
    met: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for position, offer in enumerate(offers.offers):
        own = cells[offer.offer_id]
        own[starts["is_held"] + position] = 1.0
        own.update((starts["is_slot_taken"] + each, 1.0) for each in offers.in_slot.get(position, ()))
        own.update((starts["has_need_gap"] + each, 0.0) for each in offers.in_group.get(position, ()))
        if offer.upgrades_to is not None and offer.upgrades_to in offers.positions:
            own[starts["is_upgrade"] + offers.positions[offer.upgrades_to]] = 1.0
        for other in offer.excludes:
            cells[other][starts["is_excluded"] + position] = 1.0
            # an exclusion holds in both directions
            if other in offers.positions:
                own[starts["is_excluded"] + offers.positions[other]] = 1.0
        for number, group in enumerate(offer.requires):
            for other in group:
                met[other].append((position, number))
    return {
        offer_id: _Effect(
            cells[offer_id],
            tuple(
                [
                    starts["n_held_in_group"] + each
                    for each in offers.in_group.get(offers.positions.get(offer_id, -1), ())
                ]
            ),
            tuple(met[offer_id]),
        )
        for offer_id in {*cells, *met}
    }
