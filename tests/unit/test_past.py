"""Exposures and their windows: first impressions, outcomes within the horizon, nothing from after as_of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.snapshot import take_snapshot
from recsys.domain import Target
from recsys.errors import LeakageError
from recsys.models.base import TrainingSet
from recsys.models.boosted import Boosted, BoostedParams
from recsys.models.calibration import expit
from recsys.models.registry import make_scorer
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


def _dataset(
    events: list[dict], n_clients: int = 1, offered_from: datetime = BEGIN, held_from: datetime = BEGIN
) -> Dataset:
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
        {"offer_id": offer, "kind": "own", "valid_from": BEGIN, "recorded_at": offered_from}
        for offer in ("pbx", "sms")
    ]
    holdings = [
        {"holding_id": "h", "client_id": "a", "offer_id": "sms", "connected_at": held_from,
         "recorded_at": held_from}
    ]  # fmt: skip
    tables = {
        "clients": clients,
        "offers": offers,
        "holdings": holdings,
        "events": events,
        "decision_items": items,
    }
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


def test_exposures_need_no_log_of_decisions() -> None:
    dataset = _dataset([_event("impression", 10), _event("activation", 20)])
    tables = {name: frame for name, frame in dataset.tables.items() if name != "decision_items"}
    (row,) = exposures(Dataset(dataset.meta, tables), AS_OF, 30).iter_rows(named=True)
    assert (row["slot"], row["outcome"]) == (2, 1.0)
    assert np.isnan(row["logging_probability"])


def test_a_dataset_without_exposures_has_none() -> None:
    dataset = _dataset([])
    tables = {name: frame for name, frame in dataset.tables.items() if name != "events"}
    assert len(exposures(Dataset(dataset.meta, tables), AS_OF, 30)) == 0


def test_an_event_recorded_later_is_a_leak() -> None:
    with pytest.raises(LeakageError, match="recorded after"):
        exposures(_dataset([_event("activation", 12, told=121)]), AS_OF, 30)


def _busy(n_clients: int, **known: datetime) -> Dataset:
    events = []
    for number in range(n_clients - 1):
        for day in (20, 55, 87):
            events.append(_event("impression", day + number / n_clients, f"c{number}"))
            if number % 4 == 0:
                events.append(_event("activation", day + 5, f"c{number}"))
    return _dataset(events, n_clients, **known)


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


@pytest.mark.parametrize("known", ["offered_from", "held_from"])
def test_a_window_whose_beginning_knew_too_little_is_no_window(known: str) -> None:
    """Else a model would be said to have learnt from exposures of which it saw none."""
    plan = PastPlan(n_windows=3, min_accepted=50)
    after_two = past_windows(_busy(101, **{known: _day(31)}), AS_OF, 30, plan, np.random.default_rng(0))
    assert after_two == (), "the one window left has 25"
    plan = PastPlan(n_windows=3, min_accepted=25)
    (window,) = past_windows(_busy(101, **{known: _day(31)}), AS_OF, 30, plan, np.random.default_rng(0))
    assert window.outcomes.sum() == 25


def test_what_was_seen_outside_a_list_stands_at_its_own_moment() -> None:
    seen = [
        {**_event("impression", day, f"c{number}", offer), "decision_id": None, "slot": None}
        for number in range(20)
        for day, offer in ((5, "pbx"), (25, "sms"))
    ]
    events = [*seen, *(_event("activation", 26, f"c{number}", "sms") for number in range(20))]
    plan = PastPlan(n_windows=3, min_accepted=1)
    (window,) = past_windows(_dataset(events, 21), AS_OF, 30, plan, np.random.default_rng(0))
    assert len(window.clients) == 40
    assert {(moment - BEGIN).days for moment in window.clients.moments} == {4, 24}
    assert {int(each) for each in window.slots} == {0}


def test_what_learns_from_few_acceptances_still_gives_probabilities() -> None:
    """A plan that asks for few gets log-odds of them, not scores under the name of probabilities."""
    dataset = _busy(41)
    past = past_windows(dataset, AS_OF, 30, PastPlan(n_windows=3, min_accepted=30), np.random.default_rng(0))
    training = TrainingSet.from_snapshot(take_snapshot(dataset, AS_OF))
    model = Boosted(BoostedParams(), make_scorer)
    model.fit(replace(training, past=past), np.random.default_rng(0))
    assert model.figures["n_came_true"] == 30
    chances = expit(model.score(training.clients)[:, training.offers.column_of("pbx")])
    assert chances.mean() == pytest.approx(0.25, abs=0.1)
