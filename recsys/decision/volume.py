"""Caps over all clients together: which are used up now, and when they start anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.engagement import VolumeCap
from recsys.domain import EventType

Period = Literal["day", "week", "month"]


class Tally(NamedTuple):
    """What has to be counted: events of a type since the period's begin."""

    event_type: EventType
    since: datetime


Counts = Mapping[Tally, Mapping[str, int]]
"""Number of events by offer_id; an offer that is missing has none."""


class VolumeCaps:
    """Volume caps against one catalogue.

    A cap counts over all clients and over all offers of its scope together.

    Args:
        caps: The caps.
        catalogue: The offers.
        zone: Days, weeks and months begin at midnights of this zone; a week begins on Monday.

    Example:
        >>> from recsys.decision.policy.scope import OfferScope
        >>> from recsys.domain import Offer, OfferId
        >>> catalogue = CompiledCatalogue([Offer(OfferId("bank-a")), Offer(OfferId("crm"))], "v")
        >>> scope = OfferScope(offers=("bank-a",))
        >>> caps = VolumeCaps([VolumeCap(id="leads", offers=scope, at_most=2, per="day")], catalogue, UTC)
        >>> now = datetime(2025, 3, 5, 10, tzinfo=UTC)
        >>> (tally,) = caps.tallies(now)
        >>> caps.used_up({tally: {"bank-a": 1, "crm": 9}}, now)
        {}
        >>> [f"{cap} {until:%d %b}" for cap, until in caps.used_up({tally: {"bank-a": 2}}, now).items()]
        ['leads 06 Mar']
    """

    def __init__(self, caps: Sequence[VolumeCap], catalogue: CompiledCatalogue, zone: tzinfo) -> None:
        self._caps = tuple(
            (cap, [offer.offer_id for offer in catalogue.offers if cap.offers.has(offer)]) for cap in caps
        )
        self._zone = zone

    def tallies(self, now: datetime) -> frozenset[Tally]:
        """What has to be counted to judge every cap."""
        return frozenset(self._tally(cap, now) for cap, _ in self._caps)

    def used_up(self, counts: Counts, now: datetime) -> dict[str, datetime]:
        """The caps that are used up; a tally that was not counted counts as nothing.

        Args:
            counts: Of the present periods; counts of periods that are over are passed over.
            now: The instant.

        Returns:
            Id of each cap that is used up → when it starts anew.
        """
        found = {}
        for cap, offer_ids in self._caps:
            by_offer = counts.get(self._tally(cap, now), {})
            if sum(by_offer.get(offer_id, 0) for offer_id in offer_ids) >= cap.at_most:
                found[cap.id] = period_of(cap.per, now, self._zone)[1]
        return found

    def _tally(self, cap: VolumeCap, now: datetime) -> Tally:
        return Tally(EventType(cap.of), period_of(cap.per, now, self._zone)[0])


def period_of(per: Period, now: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Begin and end (excluded) of the day, week or month that an instant lies in, in UTC.

    Example:
        >>> [f"{each:%a %d.%m. %H:%M}" for each in period_of("week", datetime(2025, 3, 5, tzinfo=UTC), UTC)]
        ['Mon 03.03. 00:00', 'Mon 10.03. 00:00']
    """
    today = now.astimezone(zone).date()
    match per:
        case "day":
            first, next_one = today, today + timedelta(days=1)
        case "week":
            first = today - timedelta(days=today.weekday())
            next_one = first + timedelta(days=7)
        case "month":
            first = today.replace(day=1)
            next_one = (first + timedelta(days=31)).replace(day=1)
    return _midnight(first, zone), _midnight(next_one, zone)


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
