"""What the clients of an experiment did: windows, channels, and who is left out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.experiments.analysis import analyse
from recsys.experiments.experiment import (
    Arm,
    Experiment,
    Measure,
    Metric,
    MetricKind,
    Status,
    read_experiment,
)
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import Observed, observe
from recsys.experiments.segments import segments_of

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=60)
INSTANT = pl.Datetime("us", "UTC")
Schema = dict[str, pl.DataType | type[pl.DataType]]


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def an_experiment(**changes: object) -> Experiment:
    text = """{experiment_id: short, title: t, hypothesis: h, owner: o, minimum_effect: 0.1, window_days: 30,
      arms: [{name: control, weight: 0.5}, {name: new, weight: 0.5}],
      primary: {name: taken, measure: activations},
      secondary: [{name: margin, measure: margin, kind: mean, covariate: margin},
                  {name: own, measure: activations, is_attributed: true},
                  {name: spend, measure: spend, kind: mean},
                  {name: rate, measure: clicks, kind: ratio, per: decisions}],
      guardrails: [{metric: {name: gone, measure: disconnections, higher_is_better: false}, margin: 0.2}]}"""
    return read_experiment(text, "short.yaml").model_copy(update=changes)


def a_standing(**changes: object) -> Standing:
    return Standing(experiment=an_experiment(**changes), status=Status.RUNNING, started_at=START)


def assigned(*rows: tuple[str, str, str, float | None]) -> pl.DataFrame:
    """Rows of client, unit, arm and the day of the trigger."""
    return pl.DataFrame(
        [
            ("short", client, unit, arm, day(0), None if at is None else day(at), day(0))
            for client, unit, arm, at in rows
        ],
        schema={
            "experiment_id": pl.String,
            "client_id": pl.String,
            "unit_id": pl.String,
            "arm": pl.String,
            "assigned_at": INSTANT,
            "triggered_at": INSTANT,
            "recorded_at": INSTANT,
        },
        orient="row",
    )


def held(*rows: tuple[str, str, float, float | None, str, int | None]) -> pl.DataFrame:
    """Rows of client, offer, days of connection and end, who connected it, and quantity.

    One of somebody else shows that everything up to the present is loaded.
    """
    rows = (*rows, ("somebody", "crm", 60, None, "portal", None))
    return pl.DataFrame(
        [
            (f"h{n}", client, offer, day(begin), None if end is None else day(end), day(begin), by, quantity)
            for n, (client, offer, begin, end, by, quantity) in enumerate(rows)
        ],
        schema={
            "holding_id": pl.String,
            "client_id": pl.String,
            "offer_id": pl.String,
            "connected_at": INSTANT,
            "disconnected_at": INSTANT,
            "recorded_at": INSTANT,
            "connected_by": pl.String,
            "quantity": pl.Int64,
        },
        orient="row",
    )


OFFERS = pl.DataFrame(
    {
        "offer_id": ["pbx", "pbx-pro", "crm"],
        "category": ["telephony", "telephony", "crm"],
        "need_group": ["pbx", "pbx", "crm"],
        "supplier_id": ["us", "us", "them"],
        "kind": ["own", "own", "partner"],
        "margin_minor": [100, 300, 1_000],
        "recorded_at": [day(-900)] * 3,
    },
    schema_overrides={"recorded_at": INSTANT},
)
EVENTS: Schema = {
    "event_id": pl.String,
    "event_type": pl.String,
    "client_id": pl.String,
    "occurred_at": INSTANT,
    "recorded_at": INSTANT,
    "offer_id": pl.String,
    "decision_id": pl.String,
}
DECISIONS: Schema = {
    "decision_id": pl.String,
    "client_id": pl.String,
    "placement_id": pl.String,
    "occurred_at": INSTANT,
    "recorded_at": INSTANT,
}


def look(assignments: pl.DataFrame, holdings: pl.DataFrame, **more: pl.DataFrame) -> Observed:
    return observe(
        a_standing(), {"assignments": assignments, "holdings": holdings, "offers": OFFERS, **more}, NOW
    )


def test_any_channel_counts_within_the_window_and_nothing_outside() -> None:
    rows = assigned(*((f"c{n}", f"c{n}", "control", 5) for n in range(5)))
    seen = look(
        rows,
        held(
            ("c0", "pbx", 6, None, "manager", 2),
            ("c1", "pbx", 4, None, "portal", None),  # before the trigger
            ("c2", "pbx", 35, None, "portal", None),  # the window is over
            ("c3", "pbx", 34.9, None, "client", None),
        ),
    )
    assert seen.metrics["taken"].values.tolist() == [1, 0, 0, 1, 0]
    assert seen.metrics["margin"].values.tolist() == [12 * 200, 0, 0, 12 * 100, 0]
    before = seen.metrics["margin"].before
    assert before is not None
    assert before.tolist() == [0, 12 * 100, 0, 0, 0]


def test_a_term_that_runs_on_is_no_sale_and_a_return_is_one() -> None:
    rows = assigned(("c0", "c0", "control", 5), ("c1", "c1", "control", 5))
    seen = look(
        rows,
        held(
            ("c0", "pbx", -100, 20, "client", None),
            ("c0", "pbx", 10, None, "client", None),  # while the first is held
            ("c1", "pbx", -100, -10, "client", None),
            ("c1", "pbx", 10, None, "client", None),
        ),
    )
    assert seen.metrics["taken"].values.tolist() == [0, 1]


def test_what_is_replaced_is_not_given_up() -> None:
    rows = assigned(("c0", "c0", "control", 5), ("c1", "c1", "control", 5))
    seen = look(
        rows,
        held(
            ("c0", "pbx", -100, 10, "client", None),
            ("c0", "pbx-pro", 10, None, "client", None),
            ("c1", "pbx", -100, 10, "client", None),
            ("c1", "crm", 10, None, "client", None),
        ),
    )
    assert seen.metrics["gone"].values.tolist() == [0, 1]


def test_open_windows_and_the_untriggered_are_counted_and_left_out() -> None:
    rows = assigned(
        ("c0", "c0", "control", 5),
        ("c1", "c1", "control", 45),
        ("c2", "g", "new", None),
        ("c3", "g", "new", 30),
    )
    seen = look(rows, held())
    assert len(seen.units) == 2
    control, new = seen.counts
    assert (control.n_clients, control.n_triggered, control.n_open, control.n_analysed) == (2, 2, 1, 1)
    assert (new.n_units, new.n_clients, new.n_triggered, new.n_analysed) == (1, 2, 1, 1)
    assert seen.days.tolist() == [35, 60]
    assert seen.arrivals.sum(axis=0).tolist() == [2, 1]


def test_the_forced_and_the_held_out_take_no_part() -> None:
    rows = assigned(*((f"c{n}", f"c{n}", "new", 5) for n in range(3)))
    held_out = rows.head(1).with_columns(
        pl.lit("holdout").alias("experiment_id"), pl.lit("held_out").alias("arm")
    )
    standing = a_standing(forced={"c1": "new"})
    tables = {"assignments": pl.concat([rows, held_out]), "holdings": held(), "offers": OFFERS}
    seen = observe(standing, tables, NOW)
    assert (seen.n_forced, seen.n_held_out, seen.counts[1].n_clients) == (1, 1, 1)


def test_attributed_are_only_activations_that_name_a_decision_of_the_window() -> None:
    rows = assigned(("c0", "c0", "new", 5), ("c1", "c1", "new", 5))
    decisions = pl.DataFrame(
        [("d0", "c0", "home", day(6), day(6)), ("d1", "c1", "home", day(2), day(2))],
        schema=DECISIONS,
        orient="row",
    )
    events = pl.DataFrame(
        [
            ("e0", "activation", "c0", day(7), day(7), "pbx", "d0"),
            ("e1", "activation", "c1", day(7), day(7), "pbx", "d1"),
            ("e2", "click", "c0", day(7), day(7), "pbx", "d0"),
        ],
        schema=EVENTS,
        orient="row",
    )
    connected = held(("c0", "pbx", 7, None, "portal", 3), ("c1", "pbx", 7, None, "portal", 3))
    seen = look(rows, connected, decisions=decisions, events=events)
    assert seen.metrics["taken"].values.tolist() == [1, 1]
    assert seen.metrics["own"].values.tolist() == [1, 0]
    assert seen.metrics["rate"].denominators is not None
    assert seen.metrics["rate"].values.tolist() == [1, 0]
    assert seen.metrics["rate"].denominators.tolist() == [1, 0]
    assert seen.decisions is not None
    assert (seen.decisions.margins.tolist(), seen.decisions.n_decisions.tolist()) == ([1_200, 1_200], [1, 1])


def billed(*rows: tuple[str, date, float, int]) -> pl.DataFrame:
    """Rows of client, month, the day when its bill became known, and the bill."""
    return pl.DataFrame(
        [(client, month, day(known), spend) for client, month, known, spend in rows],
        schema={
            "client_id": pl.String,
            "month_on": pl.Date,
            "known_at": INSTANT,
            "spend_minor": pl.Int64,
        },
        orient="row",
    )


def spend_of(window_days: int, triggers: tuple[float, ...], now: float, months: pl.DataFrame) -> list[float]:
    rows = assigned(*((f"c{n}", f"c{n}", "new", at) for n, at in enumerate(triggers)))
    tables = {"assignments": rows, "holdings": held(), "offers": OFFERS, "client_months": months}
    values: list[float] = (
        observe(a_standing(window_days=window_days), tables, day(now)).metrics["spend"].values.tolist()
    )
    return values


def test_spend_is_of_whole_months_and_unknown_until_they_are() -> None:
    bills = billed(
        *((f"c{n}", date(2026, month, 1), 120, 100 * month) for n in range(3) for month in (1, 2, 3))
    )
    # days 0, 1 and 20 are 1, 2 and 21 January; windows end on 4, 5 and 24 March
    assert spend_of(62, (0, 1, 20), 130, bills) == [150, 200, 200]
    assert np.isnan(spend_of(62, (0, 1, 20), 119, bills)).all()
    assert np.isnan(spend_of(30, (0, 1, 20), 130, bills)).all()  # no whole month fits in
    assert spend_of(31, (0,), 130, bills) == [100]


def test_a_covariate_of_spend_is_of_months_that_ended_by_the_trigger() -> None:
    bills = billed(*(("c0", date(2025, month, 1), 0, month) for month in range(1, 13)))
    metric = Metric(name="taken", measure=Measure.SPEND, kind=MetricKind.MEAN, covariate=Measure.SPEND)
    for trigger, window, before in ((15, 30, 12), (0, 30, 12), (30.9, 30, 12), (15, 62, 11), (15, 5, 12)):
        tables = {"assignments": assigned(("c0", "c0", "new", trigger)), "holdings": held(), "offers": OFFERS}
        standing = a_standing(primary=metric, window_days=window)
        seen = observe(standing, {**tables, "client_months": bills}, day(120))
        covariate = seen.metrics["taken"].before
        assert covariate is not None
        assert covariate.tolist() == [before]


def test_a_planted_effect_on_spend_is_found_whole() -> None:
    """+20 % from the middle of a month on; the covariate must not see it."""
    rng = np.random.default_rng(1)
    n = 2_000
    usual = rng.lognormal(11, 1, n)
    effect = np.where(np.arange(n) % 2, 1.0, 1.2)
    bills = []
    for month, n_days, n_after in (
        (date(2025, 12, 1), 31, 0),
        (date(2026, 1, 1), 31, 16),
        (date(2026, 2, 1), 28, 28),
    ):
        spend = usual * (n_days - n_after + n_after * effect) / 30 * rng.normal(1, 0.05, n)
        bills += [(f"c{i:04}", month, 100.0, int(spend[i])) for i in range(n)]
    rows = assigned(*((f"c{i:04}", f"c{i:04}", "control" if i % 2 else "new", 15) for i in range(n)))
    metric = Metric(name="taken", measure=Measure.SPEND, kind=MetricKind.MEAN, covariate=Measure.SPEND)
    standing = a_standing(primary=metric, window_days=62)
    tables = {"assignments": rows, "holdings": held(), "offers": OFFERS, "client_months": billed(*bills)}
    found = analyse(standing, observe(standing, tables, day(120))).comparisons[0]
    assert found.cause is None
    assert found.relative.low < 0.2 < found.relative.high
    assert found.relative.value == pytest.approx(0.2, abs=0.01)
    assert found.variance_reduction > 0.95


def test_sales_that_are_not_loaded_yet_are_unknown_not_zero() -> None:
    rows = assigned(("c0", "c0", "new", 1), ("c1", "c1", "control", 20))
    late = held(("c0", "pbx", 3, None, "manager", 1)).with_columns(
        pl.when(pl.col("client_id") == "c0")
        .then(day(45))
        .otherwise(day(60))
        .cast(INSTANT)
        .alias("recorded_at")
    )
    tables = {"assignments": rows, "holdings": late, "offers": OFFERS}
    for now, taken in ((40, [None]), (50, [1, None]), (60, [1, 0])):
        metrics = observe(a_standing(), tables, day(now)).metrics
        assert pl.Series(metrics["taken"].values).fill_nan(None).to_list() == taken
        assert not np.isnan(metrics["rate"].values).any()  # clicks are reported as they happen


def test_nothing_recorded_later_is_used() -> None:
    later = pl.lit(NOW + timedelta(days=1)).cast(INSTANT)
    is_own = pl.col("client_id") == "c0"
    late = held(("c0", "pbx", 6, None, "manager", 2)).with_columns(
        pl.when(is_own).then(later).otherwise("recorded_at").alias("recorded_at")
    )
    assert look(assigned(("c0", "c0", "control", 5)), late).metrics["taken"].values.tolist() == [0]


def test_nobody_assigned_is_no_error() -> None:
    seen = look(assigned(), held())
    assert len(seen.units) == 0
    assert seen.counts[0].n_clients == 0


def test_a_unit_in_two_arms_has_the_one_that_was_stored_first() -> None:
    rows = assigned(("c0", "g7", "control", 5), ("c1", "g7", "new", 5), ("c2", "c2", "new", 5)).with_columns(
        pl.when(pl.col("client_id") == "c0")
        .then(day(2))
        .otherwise("assigned_at")
        .cast(INSTANT)
        .alias("assigned_at")
    )
    seen = look(rows, held())
    assert seen.arms.tolist() == [1, 1, 1]
    assert (seen.counts[0].n_units, seen.counts[1].n_units) == (0, 2)


def test_the_hold_out_is_compared_among_units_drawn_under_its_present_share() -> None:
    rows = assigned(
        ("c0", "g0", "treated", 0),
        ("c1", "g0", "held_out", 6),  # stored under the larger share, though its group was treated
        ("c2", "c2", "held_out", 6),
        ("c3", "c3", "treated", 6),
    ).with_columns(
        pl.lit("holdout").alias("experiment_id"),
        pl.when(pl.col("client_id") == "c0")
        .then(day(0))
        .otherwise(day(6))
        .cast(INSTANT)
        .alias("assigned_at"),
    )
    experiment = an_experiment(
        experiment_id="holdout",
        arms=(Arm(name="held_out", weight=0.1), Arm(name="treated", weight=0.9)),
    )
    standing = Standing(experiment=experiment, status=Status.RUNNING, started_at=day(5))
    seen = observe(standing, {"assignments": rows, "holdings": held(), "offers": OFFERS}, NOW)
    assert seen.n_earlier == 2
    assert [counts.n_units for counts in seen.counts] == [1, 1]


def worth(standing: Standing, decisions: list[tuple[object, ...]], **more: pl.DataFrame) -> dict[int, float]:
    """Decisions of each arm that count; rows of id, client, day, assignments, degraded."""
    rows = assigned(("c0", "c0", "control", 0), ("c1", "c1", "new", 0))
    frame = pl.DataFrame(
        [(name, client, "p", day(at), day(at), arms, why) for name, client, at, arms, why in decisions],  # type: ignore[arg-type]
        schema={**DECISIONS, "assignments": pl.String, "degraded": pl.String},
        orient="row",
    )
    tables = {"assignments": rows, "holdings": held(), "offers": OFFERS, "decisions": frame, **more}
    found = observe(standing, tables, day(120)).decisions
    assert found is not None
    assert found.is_comparable is ("decision_items" in more)
    return dict(zip(found.arms.tolist(), found.n_decisions.tolist(), strict=True))


def test_decisions_count_for_the_arm_that_took_them() -> None:
    own, other = '[["short","control",true]]', '[["holdout","treated",false], ["short", "new", false]]'
    decisions: list[tuple[object, ...]] = [
        ("d0", "c0", 1, own, None),
        ("d1", "c0", 2, own, "no_model"),  # a fallback
        ("d2", "c0", 3, None, None),  # no arm decided it
        ("d3", "c1", 4, other, None),
        ("d4", "c1", 5, own, None),  # of another arm than its unit's
        ("d5", "c1", 6, other, None),  # an empty list
        ("d6", "c1", 7, '[["shorter","new",true]]', None),
    ]
    items = pl.DataFrame({"decision_id": ["d0", "d0", "d3"], "slot": [1, 2, 1]})
    assert worth(a_standing(), decisions, decision_items=items) == {0: 1, 1: 1}
    assert worth(a_standing(), decisions) == {0: 1, 1: 2}


def test_a_log_without_arms_counts_until_the_stop() -> None:
    decisions: list[tuple[object, ...]] = [(f"d{n}", f"c{n % 2}", 5 * n, None, None) for n in range(6)]
    stopped = Standing(
        experiment=an_experiment(), status=Status.STOPPED, started_at=START, stopped_at=day(10)
    )
    assert worth(stopped, decisions) == {0: 1, 1: 1}
    assert worth(a_standing(), decisions) == {0: 3, 1: 3}


def test_segments_are_those_known_at_the_trigger() -> None:
    rows = pl.DataFrame(
        {"client_id": ["c0", "c1", "c2"], "triggered_at": [day(5)] * 3},
        schema_overrides={"triggered_at": INSTANT},
    )
    clients = pl.DataFrame(
        [
            ("c0", day(-9), day(-9), "micro"),
            ("c0", day(-9), day(4), "small"),  # a correction in time
            ("c0", day(-9), day(30), "large"),  # and one that came late
            ("c0", day(4), day(30), "large"),
            ("c0", day(6), day(1), "large"),  # known before, holds later
            ("c1", day(1), day(6), "micro"),
        ],
        schema={"client_id": pl.String, "valid_from": INSTANT, "recorded_at": INSTANT, "size": pl.String},
        orient="row",
    ).with_columns(pl.lit("growth").alias("stage"), pl.lit("retail").alias("industry"))
    months = billed(
        ("c0", date(2025, 10, 1), 4, 9_000),  # an older month, corrected last
        ("c0", date(2025, 11, 1), -20, 500),
        ("c0", date(2025, 11, 1), 20, 9_000),
        ("c1", date(2025, 11, 1), -20, 1_000),
        ("c2", date(2025, 11, 1), -20, 2_000),
    )
    found = segments_of({"clients": clients, "client_months": months}, rows, NOW)
    named = {name: [one.labels[code] for code in one.codes] for name, one in found.items()}
    assert named["size"] == ["small", "unknown", "unknown"]
    assert named["spend"] == ["low", "low", "high"]


def test_an_unknown_arm_is_named() -> None:
    with pytest.raises(DataError, match="client 'c0' is in arm 'third'; the arms are control, new"):
        look(assigned(("c0", "c0", "third", 5)), held())


def test_a_draft_has_no_outcomes() -> None:
    with pytest.raises(DataError, match="'short' was never started; start it first"):
        observe(Standing(experiment=an_experiment()), {}, NOW)


@pytest.mark.parametrize("missing", ["assignments", "holdings", "offers"])
def test_a_missing_table_is_named(missing: str) -> None:
    tables = {"assignments": assigned(), "holdings": held(), "offers": OFFERS}
    with pytest.raises(DataError, match=f"need the table '{missing}'"):
        observe(a_standing(), {name: table for name, table in tables.items() if name != missing}, NOW)
