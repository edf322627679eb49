"""What was known at an instant, on a world small enough to read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.data.snapshot import Snapshot, parse_as_of, take_snapshot
from recsys.data.splits import first_adoptions
from recsys.domain import ClientState, DismissalReason, LegalForm, Size

CLIENTS = """client_id,valid_from,valid_to,recorded_at,legal_form,stage,tags,is_profiling_allowed
c1,2024-01-01,,2024-01-01,llc,growth,fleet=yes;crm=none,
c1,2024-03-01,,2024-03-01,llc,mature,,false
c2,2024-01-01,,2024-01-01,,,,
c2,2024-01-01,2024-03-15,2024-03-15,,,,
c3,2024-02-01,,2024-04-01,,,,
"""
OFFERS = """offer_id,kind,recorded_at,title_en
pbx,own,2024-01-01,PBX
pbx,own,2024-03-01,PBX new
crm,partner,2024-01-01,CRM
late,own,2024-03-01,Late
"""
HOLDINGS = """holding_id,client_id,offer_id,connected_at,disconnected_at,recorded_at,quantity
h1,c1,pbx,2024-01-10,,2024-01-10,3
h1,c1,pbx,2024-01-10,2024-03-10,2024-03-10,3
h2,c1,crm,2024-01-05,2024-01-05,2024-01-05,
h3,c2,crm,2024-02-10,,2024-02-20,
h4,c1,crm,2024-03-20,,2024-03-20,
h5,c1,late,2024-03-05,2024-06-01,2024-03-05,
h6,c2,pbx,2024-03-01,,2024-03-01,
"""
EVENTS = """event_id,event_type,client_id,occurred_at,recorded_at,offer_id,reason
e1,dismissal,c1,2024-01-02,2024-01-02,crm,not_now
e2,dismissal,c1,2024-02-02,2024-02-05,crm,too_expensive
e3,impression,c1,2024-01-02,2024-01-02,pbx,
e4,dismissal,c1,2024-01-03,2024-01-03,pbx,
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name, text in (("clients", CLIENTS), ("offers", OFFERS), ("holdings", HOLDINGS), ("events", EVENTS)):
        (tmp_path / f"{name}.csv").write_text(text)
    return read_dataset(tmp_path)


def at(dataset: Dataset, day: str) -> Snapshot:
    return take_snapshot(dataset, parse_as_of(day, dataset.meta.time_zone))


def state_of(snapshot: Snapshot, client_id: str) -> ClientState:
    return next(state for state in snapshot.states if state.client_id == client_id)


def test_the_version_in_force_holds(dataset: Dataset) -> None:
    before, after = (state_of(at(dataset, day), "c1").profile for day in ("2024-02-29", "2024-03-01"))
    assert before is not None
    assert after is not None
    assert (before.stage, before.tags, before.is_profiling_allowed) == (
        "growth",
        ("fleet=yes", "crm=none"),
        True,
    )
    assert (after.stage, after.tags, after.is_profiling_allowed) == ("mature", (), False)
    assert (after.legal_form, after.size, after.is_vip) == (LegalForm.LLC, Size.UNKNOWN, False)


def test_a_client_is_there_while_a_known_version_is_valid(dataset: Dataset) -> None:
    days = ("2023-12-31", "2024-01-01", "2024-03-14", "2024-03-15", "2024-04-01")
    found = [[state.client_id for state in at(dataset, day).states] for day in days]
    assert found == [[], ["c1", "c2"], ["c1", "c2"], ["c1"], ["c1", "c3"]]


def test_holdings_are_what_was_known_to_go_on(dataset: Dataset) -> None:
    held = {
        day: [(holding.holding_id, holding.quantity) for holding in state_of(at(dataset, day), "c1").holdings]
        for day in ("2024-01-09", "2024-03-09", "2024-03-10", "2024-03-20", "2024-06-01")
    }
    assert held == {
        "2024-01-09": [],
        "2024-03-09": [("h1", 3), ("h5", 1)],
        "2024-03-10": [("h5", 1)],
        "2024-03-20": [("h5", 1), ("h4", 1)],
        "2024-06-01": [("h4", 1)],
    }


def test_a_holding_recorded_late_is_unknown_before(dataset: Dataset) -> None:
    assert state_of(at(dataset, "2024-02-15"), "c2").holdings == ()
    (holding,) = state_of(at(dataset, "2024-02-20"), "c2").holdings
    assert holding.connected_at == datetime(2024, 2, 10, tzinfo=UTC)


def test_what_ended_or_was_seen_once_is_past(dataset: Dataset) -> None:
    past = {
        day: state_of(at(dataset, day), "c1").past_offer_ids
        for day in ("2024-01-04", "2024-01-05", "2024-03-10", "2024-03-20", "2024-06-01")
    }
    assert past == {
        "2024-01-04": (),
        "2024-01-05": ("crm",),
        "2024-03-10": ("crm", "pbx"),
        "2024-03-20": ("pbx",),
        "2024-06-01": ("late", "pbx"),
    }


def test_the_latest_known_dismissal_of_an_offer_counts(dataset: Dataset) -> None:
    early, late = (state_of(at(dataset, day), "c1").dismissals for day in ("2024-02-04", "2024-02-05"))
    assert [(found.offer_id, found.reason) for found in early] == [
        ("crm", DismissalReason.NOT_NOW),
        ("pbx", DismissalReason.NOT_NOW),
    ]
    assert [(found.offer_id, found.reason) for found in late] == [
        ("pbx", DismissalReason.NOT_NOW),
        ("crm", DismissalReason.TOO_EXPENSIVE),
    ]


def test_the_latest_known_version_of_an_offer_counts(dataset: Dataset) -> None:
    before, after = at(dataset, "2024-02-01").offers, at(dataset, "2024-03-01").offers
    assert [(offer.offer_id, offer.title["en"]) for offer in before] == [("crm", "CRM"), ("pbx", "PBX")]
    assert [offer.offer_id for offer in after] == ["crm", "late", "pbx"]
    assert after[2].title["en"] == "PBX new"


def test_demand_is_what_is_held(dataset: Dataset) -> None:
    assert at(dataset, "2024-03-09").demand == ((0, 1), (0, 2), (1, 0), (1, 2))


def test_demand_for_purchases_is_the_last_thirty_days(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('holdings = "purchases"\n')
    purchases = read_dataset(tmp_path)
    assert at(purchases, "2024-02-09").demand == ()  # bought on 01-10, 30 days before to the day
    assert at(purchases, "2024-02-08").demand == ((0, 1),)
    assert at(purchases, "2024-03-12").demand == ((0, 1), (1, 2))


def test_adoptions_are_new_held_at_the_end_and_seen_never_before(dataset: Dataset) -> None:
    cut = parse_as_of("2024-02-15", "UTC")
    # c1: late is new and goes on; crm was seen in January. c2 left before the end.
    assert first_adoptions(dataset, cut, 40) == {"c1": frozenset({"late"})}
    # c2 is there at both ends; its crm was connected before the cut, though recorded after it.
    assert first_adoptions(dataset, cut, 20) == {"c1": frozenset({"late"}), "c2": frozenset({"pbx"})}


def test_what_ends_within_the_horizon_is_not_adopted(dataset: Dataset) -> None:
    cut = parse_as_of("2024-02-15", "UTC")
    assert first_adoptions(dataset, cut, 107) == {"c1": frozenset()}  # until 06-01, when late ends


def test_a_horizon_is_at_least_a_day(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="horizon_days is 0"):
        first_adoptions(dataset, datetime(2024, 1, 1, tzinfo=UTC), 0)


def test_a_naive_cut_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        take_snapshot(dataset, datetime(2024, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("text", ["yesterday", "2024-02-30", "2024-01-01T10:00:00", "20240101"])
def test_a_cut_that_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no day like 2024-07-01"):
        parse_as_of(text, "UTC")
