"""What models read of a client and an offer together."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Set
from datetime import datetime
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
# What is found together is written together.
_TOGETHER = (
    {"are_prerequisites_met", "n_prerequisites_missing"},
    *({f"n_{each}s_30d", f"n_{each}s_90d", f"days_since_{each}"} for each in _TIMED),
)
# Features that are unknown until something is known, instead of zero.
_UNKNOWN_UNITS = {"days", "ratio", "minor", "share"}
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
        asked: Names of the features that are wanted; None = all.

    Attributes:
        features: Of the rows, in the order of `PAIR_FEATURES`: at least what is asked for.
    """

    def __init__(
        self, offers: OfferFamily, population: Population | None, asked: Set[str] | None = None
    ) -> None:
        self._offers = offers
        n_offers = len(offers)
        self.features = _features_with(asked)
        self._starts = {each.name: row * n_offers for row, each in enumerate(self.features)}
        self._effects = _effects(offers, self._starts)
        self._n_required = offers.n_prerequisites.tolist()
        self._nowhere = len(self.features) * n_offers
        self._timed = [each for each in _TIMED if f"days_since_{each}" in self._starts]
        self._timed_places = {
            (offer_id, event_type.value): number * n_offers + position
            for number, event_type in enumerate(self._timed)
            for offer_id, position in offers.positions.items()
        }
        self._neighbours: dict[str, FloatArray] = {}
        if population is not None and "neighbour_share" in self._starts:
            shares = offers.aligned(population.segment_shares)
            self._neighbours = dict(zip(population.segments, shares, strict=True))
        self.template = self._cells_of_nobody()

    def fill(self, cells: FloatArray, state: ClientState, activity: Activity, now: datetime) -> None:
        """Write the client's numbers with every offer.

        Args:
            cells: A copy of `template`, shape (n_features × n_offers + 1,); changed in place.
            state: The state as decisions read it.
            activity: Its activity within the last 90 days.
            now: The moment, aware.
        """
        found = self._held_cells(state)
        found.update(self._dated_cells(state, now))
        # one assignment of many numbers costs less than many of one
        n_cells = len(found)
        cells[np.fromiter(found, np.intp, n_cells)] = np.fromiter(found.values(), np.float64, n_cells)
        self._fill_money(cells, state)
        if activity.hours and self._timed:
            self._fill_activity(cells, activity, hour_of(now))

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
        return np.append(block.reshape(-1), 0.0)

    def _held_cells(self, state: ClientState) -> dict[int, float]:
        """What is changed by what is held."""
        starts = self._starts
        found: dict[int, float] = {}
        met: set[tuple[int, int]] = set()
        for offer_id in {held.offer_id for held in state.holdings}:
            effect = self._effects.get(offer_id)
            if effect is not None:
                found.update(effect.cells)
                for cell in effect.in_group:
                    found[cell] = found.get(cell, 0.0) + 1.0
                met.update(effect.met)
        if met:
            missing, are_met = starts["n_prerequisites_missing"], starts["are_prerequisites_met"]
            for position, _ in met:
                n_missing = found.get(missing + position, self._n_required[position]) - 1.0
                found[missing + position] = n_missing
                found[are_met + position] = float(n_missing == 0)
        return found

    def _dated_cells(self, state: ClientState, now: datetime) -> dict[int, float]:
        """What was, is to end or was dismissed."""
        positions, starts = self._offers.positions, self._starts
        found: dict[int, float] = {}
        if (start := starts.get("was_held")) is not None:
            for offer_id in state.past_offer_ids:
                if offer_id in positions:
                    found[start + positions[offer_id]] = 1.0
        if (start := starts.get("days_to_term_end")) is not None:
            today = now.date()
            for held in state.holdings:
                if held.term_ends_on is not None and held.offer_id in positions:
                    found[start + positions[held.offer_id]] = float((held.term_ends_on - today).days)
        if (start := starts.get("days_since_dismissal")) is not None:
            for item in state.dismissals:
                if item.offer_id in positions:
                    found[start + positions[item.offer_id]] = days_between(item.dismissed_at, now)
        return found

    def _fill_money(self, cells: FloatArray, state: ClientState) -> None:
        profile, n_offers, starts = state.profile or _NOBODY, len(self._offers), self._starts
        prices = self._offers.prices(profile.region, profile.size)
        if (start := starts.get("price_minor")) is not None:
            cells[start : start + n_offers] = prices
        if (start := starts.get("price_to_spend")) is not None:
            months = state.history.months
            spend = months[-1].spend_minor if months else None
            if spend is not None and spend > 0:
                np.divide(prices, spend, out=cells[start : start + n_offers])
        if (start := starts.get("neighbour_share")) is not None:
            for segment in segments_of(state.profile):
                shares = self._neighbours.get(segment)
                if shares is not None:
                    cells[start : start + n_offers] = shares
                    break

    def _fill_activity(self, cells: FloatArray, activity: Activity, hour: int) -> None:
        n_offers, n_entries, hours = len(self._offers), len(activity.hours), activity.hours
        # the rows of the timed types lie side by side: a place among the ones is a place among the others
        n_timed, first_type = len(self._timed) * n_offers, self._timed[0]
        totals, since = self._starts[f"n_{first_type}s_90d"], self._starts[f"days_since_{first_type}"]
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
        recent = self._starts.get("n_impressions_30d")
        if recent is not None:
            first = bisect_right(hours, hour - _MONTH_HOURS)
            found_30d = np.bincount(places[first:], counts[first:], n_offers)
            # impressions come first of the timed types
            cells[recent : recent + n_offers] = found_30d[:n_offers]


def _features_with(asked: Set[str] | None) -> tuple[Feature, ...]:
    """The features that are asked for, and those that are found with them."""
    if asked is None:
        return PAIR_FEATURES
    kept = set(asked).union(*(group for group in _TOGETHER if group & asked))
    return tuple([each for each in PAIR_FEATURES if each.name in kept])


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
    counted, are_met = starts.get("n_held_in_group"), "are_prerequisites_met" in starts
    in_group = {} if counted is None else offers.in_group
    return {
        offer_id: _Effect(
            {starts[name] + at: value for (name, at), value in cells[offer_id].items() if name in starts},
            tuple([(counted or 0) + at for at in in_group.get(offers.positions.get(offer_id, -1), ())]),
            tuple(met[offer_id]) if are_met else (),
        )
        for offer_id in {*cells, *met}
    }
