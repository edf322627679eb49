"""Volume caps at the borders of their periods and counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.engagement import VolumeCap
from recsys.decision.policy.scope import OfferScope
from recsys.decision.volume import Period, Tally, VolumeCaps, period_of
from recsys.domain import EventType, Offer, OfferId

MOSCOW = ZoneInfo("Europe/Moscow")
BERLIN = ZoneInfo("Europe/Berlin")
CATALOGUE = CompiledCatalogue(
    [
        Offer(OfferId(each), need_group="bank" if each.startswith("bank") else None)
        for each in ("bank-a", "bank-b", "crm")
    ]
)
BANKS = OfferScope(need_groups=("bank",))
NOW = datetime(2025, 3, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("per", "zone", "now", "begin", "end"),
    [
        ("day", MOSCOW, "2025-03-04T21:00", "2025-03-04T21:00", "2025-03-05T21:00"),
        ("day", MOSCOW, "2025-03-04T20:59", "2025-03-03T21:00", "2025-03-04T21:00"),
        ("week", MOSCOW, "2025-03-09T20:59", "2025-03-02T21:00", "2025-03-09T21:00"),
        ("week", MOSCOW, "2025-03-09T21:00", "2025-03-09T21:00", "2025-03-16T21:00"),
        ("month", MOSCOW, "2025-12-31T20:59", "2025-11-30T21:00", "2025-12-31T21:00"),
        ("month", UTC, "2024-02-29T12:00", "2024-02-01T00:00", "2024-03-01T00:00"),
        ("day", BERLIN, "2025-03-30T12:00", "2025-03-29T23:00", "2025-03-30T22:00"),
    ],
)
def test_periods_are_those_of_the_zone(per: Period, zone: ZoneInfo, now: str, begin: str, end: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert [f"{each:%Y-%m-%dT%H:%M}" for each in period_of(per, instant, zone)] == [begin, end]


def cap(at_most: int, per: Period = "day", cap_id: str = "leads") -> VolumeCap:
    return VolumeCap(id=cap_id, offers=BANKS, at_most=at_most, per=per)


@pytest.mark.parametrize(("n", "is_used_up"), [(49, False), (50, True), (51, True)])
def test_a_cap_counts_its_whole_scope_together(n: int, is_used_up: bool) -> None:
    caps = VolumeCaps([cap(50)], CATALOGUE, UTC)
    tally = Tally(EventType.APPLICATION, datetime(2025, 3, 5, tzinfo=UTC))
    assert caps.tallies(NOW) == {tally}
    found = caps.used_up({tally: {"bank-a": 20, "bank-b": n - 20, "crm": 900}}, NOW)
    assert found == ({"leads": datetime(2025, 3, 6, tzinfo=UTC)} if is_used_up else {})


def test_a_new_period_starts_anew() -> None:
    caps = VolumeCaps([cap(1)], CATALOGUE, UTC)
    (tally,) = caps.tallies(NOW)
    counts = {tally: {"bank-a": 5}}
    assert caps.used_up(counts, NOW)
    assert not caps.used_up(counts, NOW + timedelta(days=1))


def test_equal_questions_are_asked_once_and_nothing_is_always_too_much_for_zero() -> None:
    caps = VolumeCaps([cap(0), cap(3, cap_id="more"), cap(9, "month", "monthly")], CATALOGUE, UTC)
    assert len(caps.tallies(NOW)) == 2
    assert caps.used_up({}, NOW) == {"leads": datetime(2025, 3, 6, tzinfo=UTC)}
    assert VolumeCaps([], CATALOGUE, UTC).tallies(NOW) == frozenset()
