"""What is said of an experiment: verdicts, refusals, alarms, and figures that stand beside each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pytest

from recsys.experiments.analysis import analyse
from recsys.experiments.assignment import assign_all
from recsys.experiments.experiment import Expected, Experiment, Method, Status, read_experiment
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import ArmCounts, DecisionValues, MetricValues, Observed
from recsys.experiments.results import Results, Says
from recsys.experiments.segments import Segment

START = datetime(2026, 1, 1, tzinfo=UTC)
N = 2_000


def an_experiment(**changes: object) -> Experiment:
    text = """{experiment_id: short, title: t, hypothesis: h, owner: o, minimum_effect: 0.1,
      arms: [{name: control, weight: 0.5}, {name: new, weight: 0.5}],
      primary: {name: taken, measure: activations},
      secondary: [{name: margin, measure: margin, kind: mean, winsorised_at: 0.99}],
      guardrails: [{metric: {name: gone, measure: disconnections, higher_is_better: false}, margin: 0.2}]}"""
    return read_experiment(text, "short.yaml").model_copy(update=changes)


def a_standing(status: Status = Status.RUNNING, **changes: object) -> Standing:
    return Standing(experiment=an_experiment(**changes), status=status, started_at=START)


def what_was_seen(
    rates: tuple[float, float] = (0.2, 0.2), n: int = N, gone: tuple[float, float] = (0.05, 0.05)
) -> Observed:
    """So many clients, each its own unit, half of them in each arm."""
    rng = np.random.default_rng(1)
    arms = np.arange(n) % 2
    taken = (rng.random(n) < np.array(rates)[arms]).astype(np.float64)
    lost = (rng.random(n) < np.array(gone)[arms]).astype(np.float64)
    counts = ArmCounts(n // 2, n // 2, n // 2, 0, n // 2, n // 2)
    arrivals = np.full((40, 2), n // 80, dtype=np.int64)
    return Observed(
        now=START + timedelta(days=70),
        unit_ids=tuple(f"c{number:05}" for number in range(n)),
        units=np.arange(n),
        arms=arms,
        days=30 + np.arange(n) // 2 % 40,
        metrics={
            "taken": MetricValues(taken),
            "margin": MetricValues(taken * rng.integers(100, 10_000, size=n)),
            "gone": MetricValues(lost),
        },
        segments={"size": Segment(("micro", "small", "medium", "large"), np.arange(n) // 2 % 4)},
        strata=np.zeros(n, dtype=np.int64),
        overlaps={},
        counts=(counts, counts),
        arrivals=arrivals,
    )


def with_metric(seen: Observed, name: str, values: np.ndarray) -> Observed:
    return replace(seen, metrics={**seen.metrics, name: MetricValues(values)})


def only(results: Results) -> tuple[Says, str]:
    [verdict] = results.verdicts
    return verdict.says, verdict.why.en


@pytest.mark.parametrize(
    ("rates", "says"),
    [((0.2, 0.3), Says.BETTER), ((0.3, 0.2), Says.WORSE), ((0.2, 0.2), Says.NO_DIFFERENCE)],
)
def test_verdict_follows_the_primary_metric(rates: tuple[float, float], says: Says) -> None:
    results = analyse(a_standing(), what_was_seen(rates))
    assert only(results)[0] is says
    assert results.verdicts[0].why.ru


def test_fewer_is_better_where_it_is_so() -> None:
    fewer = an_experiment().primary.model_copy(update={"higher_is_better": False})
    assert only(analyse(a_standing(primary=fewer), what_was_seen((0.3, 0.2))))[0] is Says.BETTER


def test_no_difference_says_what_is_ruled_out_or_what_is_needed() -> None:
    few = analyse(a_standing(), what_was_seen())
    assert "units are needed (2,000 now)" in few.verdicts[0].needed.en
    many = analyse(a_standing(), what_was_seen(n=200_000))
    assert "A difference of 10.0 % or more is ruled out" in many.verdicts[0].why.en
    assert not many.verdicts[0].needed.en


def test_nobody_yet_cannot_tell() -> None:
    nobody = ArmCounts(0, 0, 0, 0, 0, 0)
    seen = replace(what_was_seen(n=0), counts=(nobody, nobody))
    assert only(analyse(a_standing(), seen)) == (
        Says.CANNOT_TELL,
        "Cannot tell: nobody is in the experiment yet.",
    )


def test_open_windows_and_equal_lists_say_so() -> None:
    still_open, equal = ArmCounts(9, 9, 9, 9, 0, 9), ArmCounts(9, 9, 0, 0, 0, 0)
    for counts, why in ((still_open, "window of 30 days is not over"), (equal, "would have shown the same")):
        seen = replace(what_was_seen(n=0), counts=(counts, counts))
        assert why in only(analyse(a_standing(), seen))[1]


def test_an_empty_arm_cannot_tell() -> None:
    seen = what_was_seen(n=200)
    seen = replace(seen, arms=np.zeros(200, dtype=np.int64))
    assert only(analyse(a_standing(), seen))[1] == "Cannot tell: one of the arms has no clients yet."


def test_few_events_cannot_tell() -> None:
    says, why = only(analyse(a_standing(), what_was_seen((0.005, 0.005), n=300)))
    assert says is Says.CANNOT_TELL
    assert "too few events" in why


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_outcomes_cannot_tell(value: float) -> None:
    results = analyse(a_standing(), with_metric(what_was_seen(), "taken", np.full(N, value)))
    assert only(results)[0] is Says.CANNOT_TELL
    assert results.comparisons[0].cause in ("few_events", "no_variance")


def test_values_that_are_not_known_are_left_out_and_counted() -> None:
    seen = what_was_seen()
    values = seen.metrics["margin"].values.copy()
    values[:100] = np.nan
    margin = analyse(a_standing(), with_metric(seen, "margin", values)).comparisons[1]
    assert (margin.n_unknown, margin.n_clients, margin.cause) == (100, (950, 950), None)


def test_nothing_known_cannot_tell() -> None:
    results = analyse(a_standing(), with_metric(what_was_seen(), "taken", np.full(N, np.nan)))
    assert only(results)[1] == "Cannot tell: the values are not known yet."


def test_an_infinite_value_is_an_error_that_names_the_metric() -> None:
    with pytest.raises(ValueError, match="metric 'taken' is inf"):
        analyse(a_standing(), with_metric(what_was_seen(), "taken", np.full(N, np.inf)))


def test_a_cut_that_leaves_nothing_says_so() -> None:
    values = np.zeros(N)
    values[:10] = 100.0
    margin = analyse(a_standing(), with_metric(what_was_seen(), "margin", values)).comparisons[1]
    assert margin.cause == "cut_away"


def test_a_tail_that_a_few_clients_carry_cannot_tell() -> None:
    plain = an_experiment().secondary[0].model_copy(update={"winsorised_at": None})
    values = np.where(np.arange(N) < 100, 1.0, 0.0)
    values[0] = 10_000.0
    seen = with_metric(what_was_seen(), "margin", values)
    assert analyse(a_standing(secondary=(plain,)), seen).comparisons[1].cause == "lopsided"


def test_a_mismatched_sample_ratio_silences_every_verdict_and_alarms() -> None:
    seen = what_was_seen((0.2, 0.3))
    counts = (replace(seen.counts[0], n_units=1_500), seen.counts[1])
    arrivals = np.tile(np.array([[38, 25]]), (40, 1))
    results = analyse(a_standing(), replace(seen, counts=counts, arrivals=arrivals))
    says, why = only(results)
    assert says is Says.CANNOT_TELL
    assert "did not split as planned" in why
    assert [alarm.kind for alarm in results.alarms] == ["sample_ratio"]


def test_a_breached_guardrail_alarms_and_is_told_beside_a_better_result() -> None:
    results = analyse(a_standing(), what_was_seen((0.2, 0.35), gone=(0.05, 0.2)))
    assert results.guardrails[0].holds is False
    assert [(alarm.kind, alarm.metric, alarm.arm) for alarm in results.alarms] == [
        ("guardrail", "gone", "new")
    ]
    says, why = only(results)
    assert says is Says.BETTER
    assert "a guardrail is breached: gone" in why


def test_a_harmless_arm_is_shown_to_be_so() -> None:
    results = analyse(a_standing(), what_was_seen(n=40_000, gone=(0.3, 0.3)))
    assert results.guardrails[0].holds is True
    assert not results.alarms


def test_a_fixed_experiment_is_not_judged_before_its_plan() -> None:
    seen = what_was_seen((0.2, 0.3))
    early = analyse(a_standing(method=Method.FIXED, planned_units=N + 1), seen)
    assert only(early)[0] is Says.CANNOT_TELL
    assert "2,000 / 2,001" in early.verdicts[0].needed.en
    assert only(analyse(a_standing(method=Method.FIXED, planned_units=N), seen))[0] is Says.BETTER


def test_a_fixed_interval_is_narrower_than_one_for_daily_looks() -> None:
    seen = what_was_seen()
    fixed = analyse(a_standing(method=Method.FIXED, planned_units=N), seen).comparisons[0].absolute
    daily = analyse(a_standing(), seen).comparisons[0].absolute
    assert fixed.high - fixed.low < daily.high - daily.low


def test_a_planned_look_is_of_the_units_planned_for_it() -> None:
    planned = {"method": Method.GROUP_SEQUENTIAL, "n_looks": 4, "planned_units": N}
    seen = what_was_seen()
    assert analyse(a_standing(**planned), seen).look == 4
    third = analyse(a_standing(**{**planned, "planned_units": 2_500}), seen)
    assert (third.look, third.n_units) == (3, 1_875)
    before = analyse(a_standing(**{**planned, "planned_units": 10_000}), seen)
    assert (before.look, only(before)[0]) == (0, Says.CANNOT_TELL)


def test_clients_of_one_unit_are_counted_once() -> None:
    seen = what_was_seen((0.2, 0.25))
    alike = replace(seen, units=np.repeat(np.arange(N // 4), 4), arms=np.repeat(np.arange(N // 4) % 2, 4))
    alike = with_metric(alike, "taken", np.repeat(seen.metrics["taken"].values[: N // 4], 4))
    apart = with_metric(replace(alike, units=np.arange(N)), "taken", alike.metrics["taken"].values)
    widths = [
        (found.high - found.low)
        for found in (analyse(a_standing(), each).comparisons[0].absolute for each in (alike, apart))
    ]
    assert widths[0] > 1.5 * widths[1]


def test_holm_leaves_the_primary_metric_alone() -> None:
    results = analyse(a_standing(), what_was_seen((0.2, 0.22)))
    primary, *others = results.comparisons
    assert primary.adjusted_p_value == primary.p_value
    assert all(one.adjusted_p_value >= one.p_value for one in others)


def test_segments_are_drawn_to_each_other() -> None:
    results = analyse(a_standing(), what_was_seen((0.2, 0.3), n=8_000))
    own = [one.absolute.value for one in results.segments]
    shrunk = [one.shrunk.value for one in results.segments]
    assert len(own) == 4
    assert np.ptp(shrunk) < np.ptp(own)


def test_an_interaction_with_another_experiment_is_found() -> None:
    seen = what_was_seen(n=8_000)
    other = np.arange(8_000) // 2 % 2
    rng = np.random.default_rng(2)
    taken = (rng.random(8_000) < 0.2 + 0.2 * (seen.arms * other)).astype(np.float64)
    overlap = {"prices": Segment(("plain", "bold"), other)}
    [found] = analyse(a_standing(), replace(with_metric(seen, "taken", taken), overlaps=overlap)).overlaps
    assert found.is_found
    assert found.absolute.value == pytest.approx(0.2, abs=0.06)


def test_strata_that_explain_the_outcome_narrow_the_interval() -> None:
    seen = what_was_seen(n=4_000)
    strata = np.arange(4_000) // 2 % 2
    rng = np.random.default_rng(3)
    taken = (rng.random(4_000) < np.where(strata, 0.9, 0.1)).astype(np.float64)
    plain = analyse(a_standing(), with_metric(seen, "taken", taken)).comparisons[0].absolute
    cut = analyse(a_standing(), replace(with_metric(seen, "taken", taken), strata=strata))
    found = cut.comparisons[0].absolute
    assert found.high - found.low < 0.8 * (plain.high - plain.low)


def test_the_promise_of_the_log_stands_beside_what_came_out() -> None:
    seen = what_was_seen()
    values = DecisionValues(
        np.arange(N), np.arange(N) % 2, np.where(np.arange(N) % 4 < 2, 300.0, 0.0), np.full(N, 3.0)
    )
    arms = tuple(
        arm.model_copy(update={"expected": Expected(value=value, low=value - 5, high=value + 5, source="r")})
        for arm, value in zip(an_experiment().arms, (50.0, 90.0), strict=True)
    )
    control, new = analyse(a_standing(arms=arms), replace(seen, decisions=values)).decisions
    assert control.measured.value == pytest.approx(50)
    assert (control.n_decisions, control.agrees, new.agrees) == (3_000, True, False)


def test_admissible_salts_give_a_test_of_their_own_that_decides_a_fixed_experiment() -> None:
    salts = tuple(f"s{number}" for number in range(100))
    standing = a_standing(method=Method.FIXED, planned_units=100, is_balanced=True).model_copy(
        update={"salt": "s0", "admissible_salts": salts}
    )
    seen = what_was_seen(n=1_000)
    arms = assign_all(standing, seen.unit_ids).astype(np.int64)
    for lift, says in ((0.3, Says.BETTER), (0.0, Says.NO_DIFFERENCE)):
        rng = np.random.default_rng(4)
        taken = (rng.random(1_000) < 0.2 + lift * arms).astype(np.float64)
        results = analyse(standing, with_metric(replace(seen, arms=arms), "taken", taken))
        [found] = results.randomisation
        assert found.n_salts == 100
        assert only(results)[0] is says
        assert (found.p_value < 0.05) is (says is Says.BETTER)


def test_json_has_no_figures_that_are_none() -> None:
    nobody = ArmCounts(0, 0, 0, 0, 0, 0)
    for seen in (what_was_seen(), replace(what_was_seen(n=0), counts=(nobody, nobody))):
        text = orjson.dumps(analyse(a_standing(), seen).as_json()).decode()
        assert "NaN" not in text
        assert orjson.loads(text)["verdicts"][0]["why"].keys() == {"ru", "en"}


def test_the_course_over_time_ends_with_everybody() -> None:
    results = analyse(a_standing(), what_was_seen())
    assert [point.day for point in results.timeline] == sorted(point.day for point in results.timeline)
    assert results.timeline[-1].n_clients == (N // 2, N // 2)


@pytest.mark.parametrize(("few", "many"), [(0, 100), (5, 100), (13, 130)])
@pytest.mark.parametrize("per_unit", [1, 2])
def test_a_guardrail_sees_harm_where_the_control_has_next_to_none(few: int, many: int, per_unit: int) -> None:
    seen = what_was_seen(n=4_000)
    lost = np.zeros(4_000)
    for arm, count in ((0, few), (1, many)):
        lost[np.flatnonzero(seen.arms == arm)[: count * 2 : 2]] = 1.0
    units = np.arange(4_000) // (2 * per_unit) * 2 + seen.arms
    results = analyse(a_standing(), with_metric(replace(seen, units=units), "gone", lost))
    assert results.guardrails[0].holds is False
    assert "is breached" in results.alarms[0].why.en
    assert "nan" not in results.alarms[0].why.en


@pytest.mark.parametrize("is_daily_known", [False, True])
def test_an_arm_that_loses_clients_before_the_trigger_is_seen_while_running(is_daily_known: bool) -> None:
    seen = what_was_seen((0.2, 0.3))
    counts = (seen.counts[0], replace(seen.counts[1], n_triggered=600, n_triggered_units=600))
    by_day = np.tile(np.array([[25, 15]]), (40, 1)) if is_daily_known else None
    results = analyse(a_standing(), replace(seen, counts=counts, triggered_arrivals=by_day))
    assert results.sample_ratio.failed == ("triggered",)
    assert only(results)[0] is Says.CANNOT_TELL
    assert "control 1,000 / 800, new 600 / 800" in results.alarms[0].why.en


def test_a_look_at_which_nothing_may_be_found_says_so() -> None:
    planned = {"method": Method.GROUP_SEQUENTIAL, "n_looks": 15, "planned_units": 15 * N // 2}
    results = analyse(a_standing(**planned), what_was_seen((0.2, 0.25)))
    first = analyse(a_standing(**{**planned, "planned_units": 15 * N}), what_was_seen((0.2, 0.25)))
    assert (first.look, first.comparisons[0].cause) == (1, "not_yet")
    assert "nothing may be found yet" in only(first)[1]
    assert results.look == 2


def test_few_failures_of_a_proportion_are_few_events_also_by_unit() -> None:
    seen = what_was_seen()
    values = np.ones(N)
    values[:4] = 0.0
    units = np.arange(N) // 4 * 2 + seen.arms
    results = analyse(a_standing(), with_metric(replace(seen, units=units), "taken", values))
    assert results.comparisons[0].cause == "few_events"


def test_a_fixed_experiment_stopped_early_is_judged_by_the_stricter_test() -> None:
    standing = a_standing(Status.STOPPED, method=Method.FIXED, planned_units=10 * N)
    [verdict] = analyse(standing, what_was_seen((0.2, 0.3))).verdicts
    assert (verdict.says, verdict.decided_by) == (Says.BETTER, "always_valid")
    assert "stopped before its plan" in verdict.why.en
