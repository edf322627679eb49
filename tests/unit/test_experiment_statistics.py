"""Experiment statistics on data small enough to know the answer, and everything that can be wrong with it."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.experiments.adjustment import effect_by_strata, variance_reduction
from recsys.experiments.bandit import adaptive_values, binary_chances_to_be_best, logging_probabilities
from recsys.experiments.experiment import Spending
from recsys.experiments.group_sequential import Convention, Look, spending_bounds
from recsys.experiments.inference import Cause, Fixed, RelativeBy, Scale, Side, effect_of, find
from recsys.experiments.interaction import interaction_effect
from recsys.experiments.judgement import inadequacy, judge, judge_non_inferiority
from recsys.experiments.multiplicity import Correction, adjust, adjusted_alphas
from recsys.experiments.power import (
    Design,
    History,
    factor_needed,
    feasibility,
    history_of,
    power_of,
    smallest_effect,
    units_needed,
)
from recsys.experiments.randomisation import randomisation_test
from recsys.experiments.sample_ratio import sample_ratio_p_value, sequential_sample_ratio_p_values
from recsys.experiments.samples import Sample, quantile_sample, sample_from_sums, samples_by_arm, winsorise
from recsys.experiments.sequential import AlwaysValid, bernoulli_interval, treatment_effect_sequence
from recsys.experiments.shrinkage import posterior_of, shrink


def proportion(n_units: int, n_events: int) -> Sample:
    return sample_from_sums(n_units, [n_events], [[n_events]], is_binary=[True])


def means(values: list[float]) -> Sample:
    [sample] = samples_by_arm("spend", np.array(values, dtype=float), np.zeros(len(values), dtype=int), 1)
    return sample


def test_a_mean_over_clients_is_a_ratio_over_groups() -> None:
    # groups (1, 3), (5), (2, 2, 2): Σ y = 15 over 6 clients; residual sums 4 − 5, 5 − 2.5, 6 − 7.5
    values, units = np.array([1.0, 3, 5, 2, 2, 2]), np.array([0, 0, 1, 2, 2, 2])
    [sample] = samples_by_arm("spend", values, np.zeros(6, dtype=int), 1, units=units)
    assert (sample.n_units, sample.value, sample.n_events) == (3, 2.5, 3)
    error = (3 / 2 * (1 + 2.5**2 + 1.5**2) / 6**2) ** 0.5
    assert (sample.variance() / sample.n_units) ** 0.5 == pytest.approx(error, abs=1e-12)


def test_groups_without_rows_and_rows_of_no_arm_are_left_out() -> None:
    values, units, arms = np.array([1.0, 2, 9, 4]), np.array([7, 7, 2, 4]), np.array([0, 0, -1, 1])
    control, treatment = samples_by_arm("spend", values, arms, 2, units=units)
    assert (control.n_units, control.value, treatment.n_units, treatment.value) == (1, 1.5, 1, 4.0)


def test_the_sample_of_both_arms_is_the_sum_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    values, before = rng.lognormal(size=50), rng.normal(size=50)
    arms = np.repeat([0, 1], [20, 30])
    one, two = samples_by_arm("spend", values, arms, 2, covariates=before)
    [both] = samples_by_arm("spend", values, np.zeros(50, dtype=int), 1, covariates=before)
    added = one + two
    assert added.means == pytest.approx(both.means)
    assert added.scatter == pytest.approx(both.scatter)
    assert (added.third, added.n_events) == (pytest.approx(both.third), both.n_events)
    empty = samples_by_arm("spend", values, arms, 3, covariates=before)[2]
    assert (one + empty) is one
    assert (empty + one) is one


def test_large_money_loses_no_digits() -> None:
    values = 1e12 + np.array([0.0, 1.0, 2.0, 3.0])
    assert means(values.tolist()).variance() == pytest.approx(5 / 3, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": np.array([1.0, np.nan])}, "metric 'margin' is nan in row 1"),
        ({"covariates": np.array([np.inf, 1.0])}, "metric 'margin' is inf in row 0"),
        ({"arms": np.array([0, 2])}, "arms lie between 0 and 2"),
        ({"arms": np.array([0])}, r"columns of shape \(2,\)"),
        ({"is_binary": True, "values": np.array([0.0, 2.0])}, "has values other than 0 and 1"),
        ({"units": np.array([3, 3])}, "unit 3 has rows in two arms"),
        ({"denominators": np.ones(2), "covariates": np.ones(2)}, "give both its parts from before"),
        ({"covariate_denominators": np.ones(2)}, "is a mean, but was given denominators"),
    ],
)
def test_wrong_rows_are_named(change: dict[str, object], said: str) -> None:
    rows = {"values": np.array([1.0, 2.0]), "arms": np.array([0, 1]), **change}
    with pytest.raises(ValueError, match=said):
        samples_by_arm("margin", n_arms=2, **rows)


def test_absolute_and_relative_by_hand() -> None:
    # means 2 and 5, variances 1 and 4 of three units each: SE² = 1/3 + 4/3
    effect = effect_of(means([1, 2, 3]), means([3, 5, 7]))
    assert (effect.difference, effect.relative, effect.baseline) == (3.0, 1.5, 2.0)
    assert effect.difference_variance == pytest.approx(5 / 3)
    assert effect.delta_error() ** 2 == pytest.approx((4 / 3 + 2.5**2 / 3) / 4)
    assert effect.degrees_of_freedom == pytest.approx((5 / 3) ** 2 / ((1 / 9 + 16 / 9) / 2))


def test_fieller_agrees_with_the_test_of_the_difference() -> None:
    control, treatment = proportion(1000, 100), proportion(1000, 140)
    absolute = judge(control, treatment, Fixed(), Scale.ABSOLUTE)
    relative = judge(control, treatment, Fixed(), Scale.RELATIVE)
    assert relative.p_value == absolute.p_value < 0.05
    assert relative.low > 0.0
    # the end of the interval is the null that is just not rejected
    at_end = judge(control, treatment, Fixed(), Scale.RELATIVE, null=relative.high)
    assert at_end.p_value == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("procedure", [Fixed(), AlwaysValid(tuned_to=500), Look((0.5, 1.0))])
@pytest.mark.parametrize("scale", list(Scale))
def test_p_is_below_alpha_exactly_where_the_interval_leaves_the_null_out(
    procedure: Fixed | AlwaysValid | Look, scale: Scale
) -> None:
    for n_events in range(100, 200, 4):
        found = judge(proportion(1000, 100), proportion(1000, n_events), procedure, scale)
        assert (found.p_value < 0.05) == (found.low > 0.0)


def test_one_sided_intervals_end_in_infinity() -> None:
    greater = judge(proportion(1000, 100), proportion(1000, 140), Fixed(side=Side.GREATER), Scale.RELATIVE)
    lesser = judge(proportion(1000, 100), proportion(1000, 140), Fixed(side=Side.LESSER), Scale.RELATIVE)
    assert greater.high == np.inf
    assert lesser.low == -np.inf
    assert greater.p_value + lesser.p_value == pytest.approx(1.0)


def test_an_arm_without_units_or_variance_says_so() -> None:
    empty, same = proportion(0, 0), means([5.0] * 30)
    assert effect_of(empty, proportion(10, 5)).cause is Cause.NO_UNITS
    assert judge(empty, proportion(10, 5), Fixed(), Scale.RELATIVE).cause is Cause.NO_UNITS
    found = judge(same, same, Fixed(), Scale.ABSOLUTE)
    assert (found.cause, found.value) == (Cause.NO_VARIANCE, 0.0)
    assert np.isnan([found.low, found.high, found.p_value]).all()
    all_bought = proportion(30, 30)
    assert judge(all_bought, all_bought, Fixed(), Scale.RELATIVE).cause is Cause.FEW_EVENTS


def test_harm_where_the_control_had_none_is_still_told() -> None:
    found = judge(proportion(1000, 0), proportion(1000, 40), Fixed(), Scale.ABSOLUTE)
    assert found.cause is None
    assert found.p_value < 1e-6
    assert judge(proportion(1000, 0), proportion(1000, 40), Fixed(), Scale.RELATIVE).cause is not None


def test_few_units_few_events_and_tails_are_told_nothing_of() -> None:
    assert inadequacy(proportion(19, 9), proportion(500, 250)) is Cause.FEW_UNITS
    assert inadequacy(proportion(150, 1), proportion(150, 5)) is Cause.FEW_EVENTS
    assert inadequacy(proportion(150, 149), proportion(150, 145)) is Cause.FEW_EVENTS
    assert inadequacy(proportion(150, 10), proportion(150, 10)) is None
    # events expected in the smaller arm count, wherever they fell
    assert inadequacy(proportion(100, 0), proportion(900, 90)) is Cause.FEW_EVENTS
    giant = means([1.0] * 50 + [2.0] * 50 + [500.0])
    assert inadequacy(giant, giant) is Cause.LOPSIDED
    skewed = means(np.random.default_rng(2).exponential(size=100).tolist())
    many = means(np.random.default_rng(3).exponential(size=4000).tolist())
    assert inadequacy(skewed, skewed) is None
    assert inadequacy(skewed, many) is Cause.LOPSIDED


def test_a_baseline_that_may_be_zero_bounds_no_relative_effect() -> None:
    rng = np.random.default_rng(4)
    control, treatment = means(rng.normal(0.01, 1, 100).tolist()), means(rng.normal(1, 1, 100).tolist())
    found = judge(control, treatment, Fixed(), Scale.RELATIVE)
    assert found.cause in {Cause.UNBOUNDED, Cause.ZERO_BASELINE}
    assert judge(control, treatment, Fixed(), Scale.ABSOLUTE).cause is None
    zero = sample_from_sums(100, [0.0], [[100.0]])
    assert (
        find(effect_of(zero, treatment), Fixed(), Scale.RELATIVE, by=RelativeBy.DELTA).cause
        is Cause.ZERO_BASELINE
    )


def test_non_inferiority_wants_the_right_side() -> None:
    control, treatment = proportion(5000, 500), proportion(5000, 495)
    found = judge_non_inferiority(control, treatment, Fixed(side=Side.GREATER), 0.2)
    assert found.p_value < 0.01
    complaints = judge_non_inferiority(
        control, treatment, Fixed(side=Side.LESSER), 0.2, higher_is_better=False
    )
    assert complaints.p_value < 0.01
    with pytest.raises(ValueError, match="must be above 0 and greater"):
        judge_non_inferiority(control, treatment, Fixed(side=Side.LESSER), 0.2)


def test_a_constant_covariate_changes_nothing() -> None:
    values, arms = np.arange(40.0), np.repeat([0, 1], 20)
    with_before = samples_by_arm("spend", values, arms, 2, covariates=np.ones(40))
    plain = samples_by_arm("spend", values, arms, 2)
    assert effect_of(*with_before) == effect_of(*plain)
    assert variance_reduction(*with_before) == 0.0


def test_strata_without_variance_join_the_largest() -> None:
    rich = means([1.0, 4, 2, 6, 3]), means([3.0, 5, 8, 4])
    poor = means([1.0, 1]), means([2.0])
    joined = effect_by_strata([poor, rich])
    assert joined == effect_of(poor[0] + rich[0], poor[1] + rich[1])
    assert effect_by_strata([poor]).cause is Cause.NO_VARIANCE
    with pytest.raises(ValueError, match="no strata"):
        effect_by_strata([])


def test_strata_weigh_by_their_size() -> None:
    small = means([1.0, 3]), means([2.0, 4])  # effect 1, four units
    large = means([10.0, 12, 14]), means([15.0, 17, 19])  # effect 5, six units
    assert effect_by_strata([small, large]).difference == pytest.approx(0.4 * 1 + 0.6 * 5)


def test_sequential_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        Fixed(1.5)
    with pytest.raises(ValueError, match=r"below 0\.5 for a one-sided"):
        AlwaysValid(0.6, Side.GREATER)
    with pytest.raises(ValueError, match="tuned_to is 0"):
        AlwaysValid(tuned_to=0)
    with pytest.raises(ValueError, match="outcomes lie between"):
        treatment_effect_sequence(
            np.array([2.0]), np.array([1]), share=0.5, support=(0, 1), outcome_variance=0.1, tuned_to=50
        )
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        bernoulli_interval(3, 2, tuned_to=10)
    nothing = treatment_effect_sequence(
        np.zeros(0), np.zeros(0, dtype=int), share=0.5, support=(0, 1), outcome_variance=0.1, tuned_to=50
    )
    assert len(nothing.values) == 0


def test_one_look_is_a_normal_test() -> None:
    assert spending_bounds([1.0], Spending.LINEAR) == pytest.approx([1.959963985], abs=1e-8)
    assert spending_bounds([1.0], Spending.POCOCK, side=Side.GREATER) == pytest.approx(
        [1.644853627], abs=1e-8
    )
    # linear spending is linear in alpha: both conventions are the same
    per_side, total = (spending_bounds([0.3, 1], Spending.CUBIC, convention=one) for one in Convention)
    assert per_side == pytest.approx(total, abs=1e-9)
    # so little may be spent that nothing is
    assert spending_bounds([0.001, 1], Spending.OBRIEN_FLEMING)[0] == np.inf
    with pytest.raises(ValueError, match="must rise from above 0"):
        spending_bounds([0.5, 0.5], Spending.LINEAR)


def test_repeated_p_values_end_where_the_bounds_do() -> None:
    look, effect = Look((0.5, 1.0)), effect_of(proportion(20, 5), proportion(20, 6))
    assert look.p_value(look.critical(effect), 1.0, effect) == pytest.approx(0.05, abs=1e-7)
    assert look.p_value(0.0, 1.0, effect) == 1.0
    assert look.p_value(30.0, 1.0, effect) == 1e-12


def test_adjusted_p_values_by_hand() -> None:
    # Holm: (5 · .004, 4 · .012, 3 · .021, 2 · .03 → not below .063, 1 · .6); what cannot be told stays
    p_values = np.array([0.021, 0.004, 0.6, np.nan, 0.03, 0.012])
    found = adjust(p_values, Correction.HOLM)
    assert found == pytest.approx([0.063, 0.02, 0.6, np.nan, 0.063, 0.048], abs=1e-15, nan_ok=True)
    assert adjust(np.array([0.9, 0.8]), Correction.HOLM).tolist() == [1.0, 1.0]
    assert adjust(np.array([0.01, 0.5]), Correction.BONFERRONI).tolist() == [0.02, 1.0]
    assert adjust(np.array([0.1, 1.0]), Correction.SIDAK) == pytest.approx([0.19, 1.0])
    levels = adjusted_alphas(np.array([0.01, np.nan]), Correction.SIDAK, 0.05)
    assert levels == pytest.approx([0.05, np.nan], nan_ok=True)
    for correction in Correction:
        assert adjust(np.zeros(0), correction).tolist() == []
        assert adjusted_alphas(np.zeros(0), correction).tolist() == []


def test_sample_ratio_says_what_it_cannot_use() -> None:
    assert sample_ratio_p_value([0, 0], [0.5, 0.5]) == 1.0
    assert sample_ratio_p_value([5, 0], [1.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match="2 counts and 3 weights"):
        sample_ratio_p_value([1, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="must not be negative"):
        sample_ratio_p_value([1, -2], [1, 1])
    assert sequential_sample_ratio_p_values([[1, 0], [0, 3]], [1.0, 0.0]).tolist() == [1.0, 1.0]
    assert len(sequential_sample_ratio_p_values(np.zeros((0, 2)), [0.5, 0.5])) == 0


def test_daily_sample_ratio_by_hand() -> None:
    # α = (1, 1): after one client of arm 0 the evidence is B(2, 1)/B(1, 1) / ½ = 1; after two (1/3)/(1/4)
    found = sequential_sample_ratio_p_values([[1, 0], [1, 0]], [0.5, 0.5], concentration=2)
    assert found == pytest.approx([1.0, 0.75])
    # cutting clients into other days changes nothing in the end
    days = np.array([[3, 9], [2, 8], [1, 7]])
    whole = sequential_sample_ratio_p_values([days.sum(axis=0)], [0.5, 0.5])[-1]
    assert sequential_sample_ratio_p_values(days, [0.5, 0.5])[-1] == pytest.approx(whole)


def test_a_plan_for_a_population_that_is_too_small() -> None:
    history = history_of(proportion(1000, 5))
    assert (history.mean, history.event_rate) == (0.005, 0.005)
    found = feasibility(0.1, history, 300, Design(), units_per_week=20)
    assert not found.is_enough
    assert found.expected_events == 0.75
    assert found.smallest_effect is None
    assert found.units_needed is not None
    assert found.weeks_needed == found.units_needed / 20
    assert power_of(0.1, history, found.units_needed, Design()) == pytest.approx(0.8, abs=1e-5)
    nothing = feasibility(0.1, History(0.0, 0.0), 300, Design())
    assert (nothing.is_enough, nothing.units_needed) == (False, None)
    assert units_needed(1e-9, history, Design()) is None


def test_the_smallest_effect_is_found_with_the_power_wanted() -> None:
    history, design = History(10.0, 400.0), Design(n_arms=3, power=0.9)
    effect = smallest_effect(history, 6000, design)
    assert effect is not None
    assert power_of(effect, history, 6000, design) == pytest.approx(0.9, abs=1e-4)
    assert smallest_effect(History(1.0, 1e6), 100, design) is None
    assert factor_needed(0.001, 100, 0.05, design) == 0.0
    assert factor_needed(1e6, 100, 1e-6, design) is None
    with pytest.raises(ValueError, match="n_arms is 1"):
        Design(n_arms=1)


def test_randomisation_by_hand() -> None:
    # six draws of two treated out of four; two are as far apart as the one drawn: (1 + 2) / (1 + 6)
    half = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]], dtype=np.int8)
    draws = np.vstack([half, 1 - half])
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = randomisation_test(values, draws[0].astype(int), draws)
    assert (found.difference, found.p_value, found.n_permitted) == (2.0, 3 / 7, 6)
    assert (found.low, found.high) == (-np.inf, np.inf)
    wide = randomisation_test(values, draws[0].astype(int), draws, alpha=3 / 7)
    assert wide.low <= 2.0 <= wide.high
    empty = randomisation_test(values, np.zeros(4, dtype=int), draws)
    assert np.isnan(empty.difference)
    assert empty.p_value == 1.0
    with pytest.raises(ValueError, match="must be of the same"):
        randomisation_test(values[:3], draws[0].astype(int), draws)


def test_three_segments_are_left_as_they_are() -> None:
    found = shrink(np.array([0.1, np.nan, 0.9, 0.3]), np.array([0.1, np.nan, 0.1, 0.1]))
    assert found.values == pytest.approx([0.1, np.nan, 0.9, 0.3], nan_ok=True)
    assert found.weights == pytest.approx([1, np.nan, 1, 1], nan_ok=True)
    assert np.isnan(shrink(np.zeros(0), np.zeros(0)).mean)
    with pytest.raises(ValueError, match="not above 0"):
        shrink(np.array([1.0]), np.array([0.0]))


def test_a_posterior_lies_between_the_prior_and_the_estimate() -> None:
    found = posterior_of(0.2, 0.1, prior=(0.0, 0.01))
    assert (found.value, found.standard_error) == (pytest.approx(0.1), pytest.approx(0.005**0.5))
    fewer = posterior_of(0.2, 0.1, higher_is_better=False)
    assert fewer.chance_to_win == pytest.approx(1 - posterior_of(0.2, 0.1).chance_to_win)


def test_a_cell_too_small_for_an_interaction_says_so() -> None:
    first, second = np.repeat([0, 1], 60), np.tile([0, 1], 60)
    effect = interaction_effect("spend", np.ones(120), first, second)
    assert effect.cause is Cause.NO_VARIANCE
    values = np.random.default_rng(5).normal(1.0, 1.0, 120)
    assert interaction_effect("spend", values, first, second).cause is None
    assert interaction_effect("spend", values, first, np.zeros(120, dtype=int)).cause is Cause.NO_UNITS
    few = np.arange(120) // 20
    assert interaction_effect("spend", values, first, second, few).cause is Cause.FEW_UNITS
    assert interaction_effect("sales", 1.0 * (values > 2.5), first, second).cause is Cause.FEW_EVENTS
    with pytest.raises(ValueError, match="metric 'spend'"):
        interaction_effect("spend", np.full(120, np.nan), first, second)


def test_a_quantile_of_too_few_values_says_nothing() -> None:
    enough = quantile_sample(200, 0.9, 10.0, (9.0, 11.0))
    few = quantile_sample(20, 0.9, 10.0, (9.0, 11.0))
    assert enough.variance() > 0.0
    assert effect_of(few, enough).cause is Cause.NO_VARIANCE


def test_cutting_a_tail() -> None:
    values, threshold = winsorise(np.array([0.0] * 99 + [50.0]), 0.9)
    assert (values.max(), threshold) == (0.0, 0.0)
    assert winsorise(np.zeros(0), 0.9)[0].tolist() == []
    with pytest.raises(ValueError, match=r"quantile is 1\.2"):
        winsorise(np.ones(3), 1.2)


def test_a_bandit_log_is_checked() -> None:
    outcomes, arms, batches = np.array([1.0, 0.0]), np.array([0, 1]), np.array([0, 1])
    with pytest.raises(ValueError, match="row 1 was logged with probability 0"):
        adaptive_values(outcomes, arms, np.array([[0.5, 0.5], [1.0, 0.0]]), batches)
    with pytest.raises(ValueError, match="batches fall"):
        adaptive_values(outcomes, arms, np.full((2, 2), 0.5), batches[::-1])
    with pytest.raises(ValueError, match="floor is 0"):
        logging_probabilities(np.array([0.5, 0.5]), 0.0)
    with pytest.raises(ValueError, match="cannot be"):
        binary_chances_to_be_best(np.array([5.0]), np.array([3.0]))
