"""Exposures and their windows: first impressions, outcomes within the horizon, nothing from after as_of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.domain import Target
from recsys.errors import LeakageError
from recsys.tables import table_named
from training.pipelines.past import PastPlan, exposures, past_windows

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = BEGIN + timedelta(days=120)


def _day(number: float) -> datetime:
    return BEGIN + timedelta(days=number)


def _frame(name: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(table_named(name)))


def _event(kind: str, day: float, client: str = "a", offer: str = "pbx", told: float | None = None) -> dict:
    happened = _day(day)
    return {
        "event_id": f"{kind}-{client}-{offer}-{day}",
        "event_type": kind,
        "client_id": client,
        "offer_id": offer,
        "occurred_at": happened,
        "recorded_at": happened if told is None else _day(told),
        "decision_id": f"d-{client}-{day}" if kind == "impression" else None,
        "slot": 2 if kind == "impression" else None,
    }


def _dataset(events: list[dict], n_clients: int = 1) -> Dataset:
    clients = [
        {"client_id": client, "valid_from": BEGIN, "recorded_at": BEGIN}
        for client in ["a", *(f"c{number}" for number in range(n_clients - 1))]
    ]
    items = [
        {"decision_id": each["decision_id"], "slot": 2, "offer_id": each["offer_id"], "change": "new",
         "logging_probability": 0.25}
        for each in events
        if each["decision_id"]
    ]  # fmt: skip
    offers = [
        {"offer_id": offer, "kind": "own", "valid_from": BEGIN, "recorded_at": BEGIN}
        for offer in ("pbx", "sms")
    ]
    tables = {"clients": clients, "offers": offers, "holdings": [], "events": events, "decision_items": items}
    return Dataset(
        DatasetMeta(name="test", time_zone="UTC"), {name: _frame(name, rows) for name, rows in tables.items()}
    )


def _outcomes(events: list[dict]) -> list[tuple[float, float]]:
    found = exposures(_dataset(events), AS_OF, 30)
    return [((at - BEGIN).days, outcome) for at, outcome in found.select("at", "outcome").iter_rows()]


def test_an_activation_within_the_horizon_counts() -> None:
    assert _outcomes([_event("impression", 10), _event("activation", 40)]) == [(10, 1.0)]
    assert _outcomes([_event("impression", 10), _event("activation", 41)]) == [(10, 0.0)]
    assert _outcomes([_event("impression", 10), _event("activation", 9)]) == [(10, 0.0)]
    assert _outcomes([_event("impression", 10), _event("activation", 12, offer="sms")]) == [(10, 0.0)]


def test_a_later_impression_belongs_to_the_first_until_its_horizon_ends() -> None:
    events = [_event("impression", day) for day in (10, 20, 40, 41, 60, 80)]
    assert [day for day, _ in _outcomes(events)] == [10, 41, 80]


def test_an_open_window_is_left_out_whatever_happened_so_far() -> None:
    events = [_event("impression", 90), _event("impression", 91, "b"), _event("activation", 92, "b")]
    assert _outcomes(events) == [(90, 0.0)]


def test_what_nobody_saw_is_no_row() -> None:
    assert _outcomes([_event("click", 10), _event("activation", 12)]) == []


def test_slot_and_logging_probability_are_carried() -> None:
    found = exposures(_dataset([_event("impression", 10)]), AS_OF, 30)
    assert found.select("slot", "logging_probability").row(0) == (2, 0.25)


def test_a_dataset_without_exposures_has_none() -> None:
    dataset = _dataset([])
    tables = {name: frame for name, frame in dataset.tables.items() if name != "events"}
    assert len(exposures(Dataset(dataset.meta, tables), AS_OF, 30)) == 0


def test_an_event_recorded_later_is_a_leak() -> None:
    with pytest.raises(LeakageError, match="recorded after"):
        exposures(_dataset([_event("activation", 12, told=121)]), AS_OF, 30)


def _busy(n_clients: int) -> Dataset:
    events = []
    for number in range(n_clients - 1):
        for day in (20, 55, 87):
            events.append(_event("impression", day + number / n_clients, f"c{number}"))
            if number % 4 == 0:
                events.append(_event("activation", day + 5, f"c{number}"))
    return _dataset(events, n_clients)


def test_windows_hold_candidates_at_their_moments() -> None:
    plan = PastPlan(n_windows=3, min_accepted=1)
    windows = past_windows(_busy(101), AS_OF, 30, plan, np.random.default_rng(0))
    assert [len(window) for window in windows] == [100, 100, 100]
    for window in windows:
        assert window.target is Target.ACCEPTANCE
        assert window.outcomes.sum() == 25
        assert np.array_equal(window.rows, np.arange(100))
        assert set(window.columns) == {window.training.offers.column_of("pbx")}
        ages = [moment - window.training.as_of for moment in window.clients.moments]
        assert timedelta(0) <= min(ages)
        assert max(ages) <= timedelta(days=30)


def test_features_of_a_window_do_not_know_its_outcome() -> None:
    plan = PastPlan(n_windows=3, min_accepted=1)
    first = past_windows(_busy(41), AS_OF, 30, plan, np.random.default_rng(0))[0]
    assert all(not state.history.activity.hours for state in first.clients.states)


def test_lists_are_sampled_and_what_was_accepted_is_kept() -> None:
    plan = PastPlan(n_windows=3, min_accepted=1, max_moments=100)
    windows = past_windows(_busy(401), AS_OF, 30, plan, np.random.default_rng(0))
    assert sum(window.outcomes.sum() for window in windows) == 300
    rate = 100 / 1200
    assert {float(each) for window in windows for each in window.keep_rates} == {rate}
    n_negative = sum(int((window.outcomes == 0).sum()) for window in windows)
    assert n_negative == pytest.approx(900 * rate, abs=3 * (900 * rate) ** 0.5)


def test_what_is_kept_of_a_list_stands_at_the_moment_of_the_whole_list() -> None:
    """Else the slots above what was accepted would be seen already, and that would tell the outcome."""
    events = []
    for number in range(200):
        client, day = f"c{number}", 20 + number / 200
        for slot, offer in ((1, "pbx"), (2, "sms")):
            seen = _event("impression", day + slot / 10_000, client, offer)
            events.append({**seen, "decision_id": f"d-{client}", "slot": slot})
        events.append(_event("activation", day + 5, client, "sms"))
    plan = PastPlan(n_windows=3, min_accepted=1, max_moments=100)
    (window,) = past_windows(_dataset(events, 201), AS_OF, 30, plan, np.random.default_rng(0))
    assert window.outcomes.sum() == 200
    assert len(window) < 400
    assert all(not state.history.activity.hours for state in window.clients.states)


def test_enough_is_enough() -> None:
    plan = PastPlan(n_windows=3, min_accepted=1, enough_accepted=30)
    assert len(past_windows(_busy(101), AS_OF, 30, plan, np.random.default_rng(0))) == 2


def test_too_little_was_accepted() -> None:
    assert past_windows(_busy(11), AS_OF, 30, PastPlan(), np.random.default_rng(0)) == ()
