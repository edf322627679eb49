"""What models read of a client and an offer together."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.domain import ClientState, EventType, Profile
from recsys.features.client import days_between
from recsys.features.offer import OfferFamily
from recsys.features.population import Population, segments_of
from recsys.features.spec import Feature, counts, flags
from recsys.history import hour_of

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
_MISSING, _IN_GROUP = _AT["n_prerequisites_missing"], _AT["n_held_in_group"]
_NEED_GAP, _ARE_MET = _AT["has_need_gap"], _AT["are_prerequisites_met"]
_WAS_HELD, _TERM_END = _AT["was_held"], _AT["days_to_term_end"]
_PRICE, _TO_SPEND, _NEIGHBOURS = _AT["price_minor"], _AT["price_to_spend"], _AT["neighbour_share"]
_RECENT, _DISMISSED = _AT["n_impressions_30d"], _AT["days_since_dismissal"]
# The rows of the timed types side by side, so that a place in one is a place in the other.
_TOTALS, _SINCE = (
    slice(_AT[first], _AT[first] + len(_TIMED)) for first in ("n_impressions_90d", "days_since_impression")
)
# Rows that are unknown until something is known, instead of zero.
_UNKNOWN_ROWS = [
    row for row, each in enumerate(PAIR_FEATURES) if each.unit in {"days", "ratio", "minor", "share"}
]
_MONTH_HOURS = 30 * 24
_NOBODY = Profile()


class _Effect(NamedTuple):
    """What holding an offer changes.

    Attributes:
        flags: Places of the flattened block that become 1.
        group: Positions of the offer's need group.
        met: (position, number of the group) of what it is a prerequisite for.
    """

    flags: tuple[int, ...]
    group: tuple[int, ...]
    met: tuple[tuple[int, int], ...]


class PairFamily:
    """Builds the rows of a client with every offer.

    Args:
        offers: The catalogue as features need it.
        population: Frozen figures; None = unknown.
    """

    def __init__(self, offers: OfferFamily, population: Population | None) -> None:
        self._offers = offers
        self._effects = _effects(offers)
        self._type_starts = {each.value: place * len(offers) for place, each in enumerate(_TIMED)}
        segments = () if population is None else population.segments
        shares = None if population is None else offers.aligned(population.segment_shares)
        self._neighbours = {name: shares[row] for row, name in enumerate(segments) if shares is not None}
        self.template = np.zeros((len(PAIR_FEATURES), len(offers)))
        self.template[_UNKNOWN_ROWS] = math.nan
        self.template[_MISSING] = offers.n_prerequisites

    def fill(self, block: FloatArray, state: ClientState, now: datetime) -> None:
        """Write the client's numbers with every offer.

        Args:
            block: A copy of `template`, shape (n_features, n_offers); changed in place.
            state: The state as `FeatureBuilder` reads it.
            now: The moment, aware.
        """
        self._fill_holdings(block, state, now.date())
        self._fill_money(block, state)
        self._fill_activity(block, state, now)

    def _fill_holdings(self, block: FloatArray, state: ClientState, today: date) -> None:
        positions, n_offers = self._offers.positions, len(self._offers)
        flags: list[int] = []
        in_group: dict[int, float] = {}
        met: set[tuple[int, int]] = set()
        for offer_id in {held.offer_id for held in state.holdings}:
            effect = self._effects.get(offer_id)
            if effect is not None:
                flags += effect.flags
                met.update(effect.met)
                for position in effect.group:
                    in_group[position] = in_group.get(position, 0.0) + 1.0
        flags += [
            _WAS_HELD * n_offers + positions[each] for each in state.past_offer_ids if each in positions
        ]
        # one assignment of many numbers costs less than many of one
        block.reshape(-1)[flags] = 1.0
        missing, n_in_group = block[_MISSING], block[_IN_GROUP]
        n_in_group[list(in_group)] = list(in_group.values())
        for position, _ in met:
            missing[position] -= 1.0
        block[_NEED_GAP] = self._offers.has_group & (n_in_group == 0)
        block[_ARE_MET] = missing == 0
        for held in state.holdings:
            if held.term_ends_on is not None and held.offer_id in positions:
                block[_TERM_END, positions[held.offer_id]] = (held.term_ends_on - today).days

    def _fill_money(self, block: FloatArray, state: ClientState) -> None:
        profile = state.profile or _NOBODY
        prices = self._offers.prices(profile.region, profile.size)
        block[_PRICE] = prices
        months = state.history.months
        spend = months[-1].spend_minor if months else None
        if spend is not None and spend > 0:
            block[_TO_SPEND] = prices / spend
        for segment in segments_of(state.profile):
            shares = self._neighbours.get(segment)
            if shares is not None:
                block[_NEIGHBOURS] = shares
                break

    def _fill_activity(self, block: FloatArray, state: ClientState, now: datetime) -> None:
        places, starts, hour = self._offers.positions, self._type_starts, hour_of(now)
        activity = state.history.activity
        totals: dict[int, int] = {}
        newest: dict[int, int] = {}
        for happened, offer_id, event_type, n in zip(
            activity.hours, activity.offer_ids, activity.event_types, activity.counts, strict=True
        ):
            position, start = places.get(offer_id), starts.get(event_type)
            if position is not None and start is not None:
                position += start
                totals[position] = totals.get(position, 0) + n
                # entries ascend by hour, so the last one of an offer is the newest
                newest[position] = happened
        if totals:
            # one assignment of many numbers costs less than many of one
            found = list(totals)
            block[_TOTALS].reshape(-1)[found] = list(totals.values())
            block[_SINCE].reshape(-1)[found] = (hour - np.array(list(newest.values()))) / 24
        first = bisect_right(activity.hours, hour - _MONTH_HOURS)
        recent = block[_RECENT]
        for offer_id, event_type, n in zip(
            activity.offer_ids[first:], activity.event_types[first:], activity.counts[first:], strict=True
        ):
            if event_type == EventType.IMPRESSION.value and offer_id in places:
                recent[places[offer_id]] += n
        for item in state.dismissals:
            if item.offer_id in places:
                block[_DISMISSED, places[item.offer_id]] = days_between(item.dismissed_at, now)


def _effects(offers: OfferFamily) -> Mapping[str, _Effect]:
    """What holding each offer changes; an offer outside the catalogue may still be asked for by others."""
    flags: dict[str, list[tuple[int, int]]] = defaultdict(list)
    met: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for position, offer in enumerate(offers.offers):
        flags[offer.offer_id].append((_AT["is_held"], position))
        flags[offer.offer_id] += [(_AT["is_slot_taken"], each) for each in offers.in_slot.get(position, ())]
        if offer.upgrades_to is not None and offer.upgrades_to in offers.positions:
            flags[offer.offer_id].append((_AT["is_upgrade"], offers.positions[offer.upgrades_to]))
        for other in offer.excludes:
            flags[other].append((_AT["is_excluded"], position))
            # an exclusion holds in both directions
            if other in offers.positions:
                flags[offer.offer_id].append((_AT["is_excluded"], offers.positions[other]))
        for number, group in enumerate(offer.requires):
            for other in group:
                met[other].append((position, number))
    return {
        offer_id: _Effect(
            tuple([row * len(offers) + position for row, position in flags[offer_id]]),
            offers.in_group.get(offers.positions.get(offer_id, -1), ()),
            tuple(met[offer_id]),
        )
        for offer_id in {*flags, *met}
    }
