"""Which volume caps were never used up in the past: nothing that arms share runs out there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from types import MappingProxyType

from recsys.decision.policy.engagement import VolumeCap
from recsys.domain import EventType, Offer
from serving.ports import Store

_PERIODS: Mapping[str, tuple[timedelta, int]] = MappingProxyType(
    {"day": (timedelta(days=1), 28), "week": (timedelta(days=7), 12), "month": (timedelta(days=31), 12)}
)
"""Longest a period can be, and how many of that length are looked at."""


def unused_caps(
    store: Store, caps: Iterable[VolumeCap], offers: Sequence[Offer], now: datetime
) -> dict[str, float]:
    """The caps that cannot have been used up in the last 28 days, 12 weeks or 12 months.

    A period of the operator's calendar lies within two adjacent stretches of its longest length, so a cap
    that no two of them reach together was used up in no zone. Where no such event is logged nothing is known.

    Returns:
        Id of the cap → 0, the share of the past periods in which it was used up; the others are left out.
    """
    past: dict[tuple[str, str], list[dict[str, int]]] = {}
    could_be: dict[str, bool] = {}
    for cap in caps:
        if (cap.of, cap.per) not in past:
            past[cap.of, cap.per] = _counts(store, cap, now)
        since = past[cap.of, cap.per]
        offer_ids = [str(offer.offer_id) for offer in offers if cap.offers.has(offer)]
        is_known = any(since[-1].values())
        could_be[cap.id] = could_be.get(cap.id, False) or not is_known or _reached(cap, since, offer_ids)
    return {cap_id: 0.0 for cap_id, could in could_be.items() if not could}


def _counts(store: Store, cap: VolumeCap, now: datetime) -> list[dict[str, int]]:
    """Events by offer since 0, 1, 2 … stretches ago."""
    length, n_stretches = _PERIODS[cap.per]
    return [store.event_counts(EventType(cap.of), now - n * length) for n in range(n_stretches + 1)]


def _reached(cap: VolumeCap, since: Sequence[Mapping[str, int]], offer_ids: Sequence[str]) -> bool:
    totals = [sum(counts.get(offer_id, 0) for offer_id in offer_ids) for counts in since]
    stretches = [older - newer for newer, older in pairwise(totals)]
    return any(one + other >= cap.at_most for one, other in pairwise(stretches))
