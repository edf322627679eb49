"""Known truth: rates of false findings and coverage of every interval that the analysis may show.

Clients buy with a base rate; what they buy is worth a log-normal margin with σ = 1.5 (a tenth
of the buyers hold more than half of it). Seeds were fixed before the first run; tolerances are three
Monte-Carlo errors.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from recsys.experiments.adjustment import effect_by_strata, variance_reduction
from recsys.experiments.bandit import (
    adaptive_values,
    binary_chances_to_be_best,
    chances_to_be_best,
    logging_probabilities,
)
from recsys.experiments.experiment import Spending
from recsys.experiments.group_sequential import Look
from recsys.experiments.inference import Cause, Fixed, Procedure, Scale, Side, effect_of, find
from recsys.experiments.interaction import interaction_effect
from recsys.experiments.judgement import judge, judge_non_inferiority
from recsys.experiments.randomisation import randomisation_test
from recsys.experiments.sample_ratio import sequential_sample_ratio_p_values
from recsys.experiments.samples import Sample, samples_by_arm
from recsys.experiments.sequential import AlwaysValid
from recsys.experiments.shrinkage import shrink

SIGMA = 1.5
CELLS = [(n, rate) for n in (150, 1000, 10_000) for rate in (0.005, 0.02, 0.1)]
runs = pytest.mark.parametrize(
    "n_runs", [pytest.param(400, id="short"), pytest.param(10_000, id="long", marks=pytest.mark.soak)]
)


def error(share: float, n_runs: int) -> float:
    return 3.0 * (share * (1.0 - share) / n_runs) ** 0.5


def margin_sample(n_units: int, margins: np.ndarray) -> Sample:
    """A sample of n_units of whom some bought, without rows of zeros."""
    mean = margins.sum() / n_units
    idle = n_units - len(margins)
    scatter = ((margins - mean) ** 2).sum() + idle * mean**2
    third = ((margins - mean) ** 3).sum() - idle * mean**3
    return Sample(
        n_units,
        np.array([mean]),
        np.array([[scatter]]),
        (False,),
        n_events=float(len(margins)),
        third=float(third),
    )


def sales_sample(n_units: int, n_sales: int) -> Sample:
    rate = n_sales / n_units
    scatter = n_units * rate * (1.0 - rate)
    return Sample(
        n_units,
        np.array([rate]),
        np.array([[scatter]]),
        (True,),
        n_events=float(n_sales),
        third=scatter * (1.0 - 2.0 * rate),
    )


def draw_arm(rng: np.random.Generator, n_units: int, rate: float) -> dict[str, Sample]:
    n_sales = int(rng.binomial(n_units, rate))
    margins = rng.lognormal(0.0, SIGMA, n_sales)
    return {"sales": sales_sample(n_units, n_sales), "margin": margin_sample(n_units, margins)}


def miss_rates(  # how often a finding leaves the true relative effect out, and how often nothing is told
    cell: tuple[int, float], lift: float, procedure: Procedure, n_runs: int, ratio: int = 1
) -> dict[str, float]:
    n_units, rate = cell
    rng = np.random.default_rng([61, n_units, int(rate * 1e4), int(lift * 10), ratio])
    missed = silent = 0
    for _ in range(n_runs):
        control = draw_arm(rng, n_units, rate)
        treatment = draw_arm(rng, n_units * ratio, rate * (1.0 + lift))
        for metric in ("sales", "margin"):
            found = judge(control[metric], treatment[metric], procedure, Scale.RELATIVE)
            silent += metric == "sales" and found.cause is not None
            missed += found.cause is None and not found.low <= lift <= found.high
    return {"missed": missed / (2 * n_runs), "silent": silent / n_runs}


@runs
@pytest.mark.parametrize("cell", CELLS)
def test_fixed_intervals_miss_at_most_as_often_as_they_say(cell: tuple[int, float], n_runs: int) -> None:
    same = miss_rates(cell, 0.0, Fixed(), n_runs)
    assert same["missed"] <= 0.055 + error(0.05, 2 * n_runs)
    better = miss_rates(cell, 0.5, Fixed(), n_runs)
    assert better["missed"] <= 0.065 + error(0.05, 2 * n_runs)
    if cell[0] * cell[1] < 5:
        assert same["silent"] > 0.95  # less than five sales expected: nothing is told
    if cell[0] * cell[1] >= 20:
        assert same["silent"] < 0.01


@pytest.mark.parametrize("cell", [(150, 0.02), (150, 0.1), (1000, 0.005), (1000, 0.02)])
def test_false_findings_among_sales_without_any_draw(cell: tuple[int, float]) -> None:
    # every pair of counts that can come, with its probability
    n_units, rate = cell
    counts = np.arange(*binom.ppf([1e-5, 1 - 1e-5], n_units, rate).astype(int))
    chances = binom.pmf(counts, n_units, rate)
    arms = [sales_sample(n_units, int(count)) for count in counts]
    false = 0.0
    for control, one in zip(arms, chances, strict=True):
        for treatment, other in zip(arms, chances, strict=True):
            if control.n_events < treatment.n_events:  # the other half is the same
                found = judge(control, treatment, Fixed(), Scale.ABSOLUTE)
                false += 2.0 * one * other * (found.p_value < 0.05)
    assert false < 0.052


@runs
def test_unequal_arms_with_a_heavy_tail_are_told_nothing_of(n_runs: int) -> None:
    # three times as many treated: the tails do not cancel, Welch finds 7 % where nothing is
    rng = np.random.default_rng(62)
    missed = silent = naive = 0
    for _ in range(n_runs):
        control, treatment = draw_arm(rng, 1000, 0.02), draw_arm(rng, 3000, 0.02)
        found = judge(control["margin"], treatment["margin"], Fixed(), Scale.ABSOLUTE)
        silent += found.cause is Cause.LOPSIDED
        missed += found.p_value < 0.05
        plain = find(effect_of(control["margin"], treatment["margin"]), Fixed(), Scale.ABSOLUTE)
        naive += plain.p_value < 0.05
    assert silent > 0.9 * n_runs
    assert missed <= 0.055 * n_runs + error(0.05, n_runs) * n_runs
    assert naive > missed


@runs
@pytest.mark.parametrize("cell", [(150, 0.1), (1000, 0.02), (10_000, 0.005)])
def test_looking_daily_stays_below_alpha(cell: tuple[int, float], n_runs: int) -> None:
    n_units, rate = cell
    rng = np.random.default_rng([63, n_units])
    n_days, false = 20, {"sales": 0, "margin": 0}
    per_day = n_units // n_days
    procedure = AlwaysValid(tuned_to=2.0 * n_units)
    for _ in range(n_runs // 4):
        arms = [np.where(rng.random(n_units) < rate, rng.lognormal(0, SIGMA, n_units), 0.0) for _ in range(2)]
        found = {"sales": False, "margin": False}
        for day in range(1, n_days + 1):
            bought = [arm[: day * per_day][arm[: day * per_day] > 0] for arm in arms]
            both = {
                "sales": [sales_sample(day * per_day, len(some)) for some in bought],
                "margin": [margin_sample(day * per_day, some) for some in bought],
            }
            for metric, (control, treatment) in both.items():
                found[metric] |= judge(control, treatment, procedure, Scale.ABSOLUTE).p_value < 0.05
        for metric in false:
            false[metric] += found[metric]
    assert max(false.values()) <= (0.05 + error(0.05, n_runs // 4)) * (n_runs // 4)


@runs
def test_a_plan_of_looks_finds_nothing_in_nothing(n_runs: int) -> None:
    rng = np.random.default_rng(64)
    shares = (0.2, 0.5, 0.8, 1.0)
    looks = [Look(shares[: number + 1], spending=Spending.POCOCK) for number in range(4)]
    bounds = np.array([look.critical(effect_of(sales_sample(20, 5), sales_sample(20, 6))) for look in looks])
    steps = rng.normal(size=(50 * n_runs, 4)) * np.sqrt(np.diff((0.0, *shares)))
    crossed = (np.abs(steps.cumsum(axis=1) / np.sqrt(shares)) >= bounds).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=error(0.05, 50 * n_runs))


@runs
def test_clients_of_one_group_are_not_independent(n_runs: int) -> None:
    # 60 groups of 1–20 clients; groups are what was randomised
    rng = np.random.default_rng(65)
    by_unit = by_client = 0
    for _ in range(n_runs):
        units = np.repeat(np.arange(60), rng.integers(1, 21, size=60))
        arms = rng.permutation(np.repeat([0, 1], 30))[units]
        values = rng.normal(10.0, 1.0, 60)[units] + rng.normal(0.0, 1.0, len(units))
        clustered = samples_by_arm("spend", values, arms, 2, units=units)
        plain = samples_by_arm("spend", values, arms, 2)
        by_unit += judge(*clustered, Fixed(), Scale.RELATIVE).p_value < 0.05
        by_client += judge(*plain, Fixed(), Scale.RELATIVE).p_value < 0.05
    assert by_unit <= (0.06 + error(0.06, n_runs)) * n_runs
    assert by_client > 0.3 * n_runs


def test_what_was_before_takes_rho_squared_of_the_variance() -> None:
    rng, rho, n_runs = np.random.default_rng(66), 0.7, 300
    plain, adjusted, promised = [], [], []
    for _ in range(n_runs):
        before = rng.normal(5.0, 1.0, 400)
        values = 3.0 + rho * before + (1.0 - rho**2) ** 0.5 * rng.normal(size=400)
        arms = np.repeat([0, 1], 200)
        with_before = samples_by_arm("margin", values, arms, 2, covariates=before)
        plain.append(effect_of(*samples_by_arm("margin", values, arms, 2)).difference)
        adjusted.append(effect_of(*with_before).difference)
        promised.append(variance_reduction(*with_before))
    assert np.mean(promised) == pytest.approx(rho**2, abs=0.01)
    # a variance ratio of two correlated normal estimates: (1 − ρ²) · √(4ρ²/n) or so
    assert np.var(adjusted) / np.var(plain) == pytest.approx(1 - rho**2, abs=3 * 0.51 * 2 * rho / n_runs**0.5)


def test_strata_take_their_part_and_intervals_hold() -> None:
    rng, n_runs = np.random.default_rng(67), 400
    missed, narrower = 0, 0.0
    for _ in range(n_runs):
        strata = rng.integers(0, 4, 600)
        arms = rng.integers(0, 2, 600)
        values = 5.0 * strata + rng.normal(0.0, 2.0, 600) + 1.0 * arms
        cells = [samples_by_arm("spend", values[strata == s], arms[strata == s], 2) for s in range(4)]
        effect = effect_by_strata([(pair[0], pair[1]) for pair in cells])
        found = find(effect, Fixed(), Scale.ABSOLUTE)
        missed += not found.low <= 1.0 <= found.high
        narrower += (
            effect.difference_variance
            / effect_of(*samples_by_arm("spend", values, arms, 2)).difference_variance
        )
    assert missed / n_runs <= 0.055 + error(0.05, n_runs)
    assert narrower / n_runs < 0.2


def test_harm_within_the_margin_is_told_and_harm_at_the_margin_is_not() -> None:
    rng, n_runs = np.random.default_rng(68), 1000
    passed = 0
    procedure = Fixed(side=Side.GREATER)
    for _ in range(n_runs):
        control, treatment = sales_sample(3000, int(rng.binomial(3000, 0.1))), rng.binomial(3000, 0.09)
        found = judge_non_inferiority(control, sales_sample(3000, int(treatment)), procedure, 0.1)
        passed += found.p_value < 0.05
        assert (found.p_value < 0.05) == (found.low > -0.1)
    assert passed / n_runs == pytest.approx(0.05, abs=error(0.05, n_runs))


def test_randomisation_needs_no_theory() -> None:
    rng, n_runs = np.random.default_rng(69), 300
    false = missed = 0
    for _ in range(n_runs):
        values = rng.lognormal(0.0, 2.0, 40) * (rng.random(40) < 0.3)
        draws = (np.argsort(rng.random((400, 40)), axis=1) >= 30).astype(np.int8)  # ten treated, thirty not
        arms = draws[0].astype(np.int64)
        false += randomisation_test(values, arms, draws[1:]).p_value <= 0.05
        found = randomisation_test(values + 2.0 * arms, arms, draws[1:])
        missed += not found.low <= 2.0 <= found.high
    assert false / n_runs <= 0.05 + error(0.05, n_runs)
    assert missed / n_runs <= 0.05 + error(0.05, n_runs)


def test_segments_are_believed_as_far_as_they_differ() -> None:
    rng, n_runs = np.random.default_rng(70), 800
    covered, better = 0.0, 0.0
    for _ in range(n_runs):
        errors = rng.uniform(0.5, 2.0, 8)
        truth = rng.normal(0.5, 0.7, 8)
        seen = rng.normal(truth, errors)
        found = shrink(seen, errors)
        covered += ((found.lows <= truth) & (truth <= found.highs)).mean()
        better += ((found.values - truth) ** 2).mean() / ((seen - truth) ** 2).mean() < 1.0
    assert covered / n_runs >= 0.95 - error(0.05, n_runs)
    assert better / n_runs > 0.85


def test_two_experiments_over_the_same_groups() -> None:
    rng, n_runs = np.random.default_rng(71), 500
    false = 0
    for _ in range(n_runs):
        units = np.arange(800) // 4
        first, second = rng.integers(0, 2, 800), rng.integers(0, 2, 200)[units]
        values = rng.normal(10.0, 1.0, 200)[units] + rng.normal(size=800) + 0.5 * first + 0.3 * second
        effect = interaction_effect("spend", values, first, second, units)
        false += find(effect, Fixed(), Scale.ABSOLUTE).p_value < 0.05
    assert false / n_runs == pytest.approx(0.05, abs=error(0.05, n_runs))


def test_daily_sample_ratio_alarms_rarely_and_sees_a_mismatch() -> None:
    rng, n_runs = np.random.default_rng(72), 2000
    days = rng.multinomial(20, [0.5, 0.5], size=(n_runs, 40))
    alarms = np.mean([sequential_sample_ratio_p_values(run, [0.5, 0.5])[-1] < 0.05 for run in days])
    assert alarms <= 0.05
    days = rng.multinomial(20, [0.4, 0.6], size=(200, 40))
    assert np.mean([sequential_sample_ratio_p_values(run, [0.5, 0.5])[-1] < 0.01 for run in days]) > 0.95


def test_chances_to_be_best_are_those_of_a_simulation() -> None:
    rng, n_draws = np.random.default_rng(73), 200_000
    means, errors = np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.5, 2.0])
    drawn = rng.normal(means, errors, (n_draws, 3)).argmax(axis=1)
    shares = np.bincount(drawn, minlength=3) / n_draws
    assert chances_to_be_best(means, errors) == pytest.approx(shares, abs=error(0.5, n_draws))
    drawn = rng.beta([4, 11, 1], [98, 141, 6], (n_draws, 3)).argmax(axis=1)
    shares = np.bincount(drawn, minlength=3) / n_draws
    found = binary_chances_to_be_best(np.array([3.0, 10.0, 0.0]), np.array([100.0, 150.0, 5.0]))
    assert found == pytest.approx(shares, abs=error(0.5, n_draws))


@pytest.mark.parametrize("n_runs", [100, pytest.param(3000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("rates", [(0.1, 0.1, 0.1), (0.1, 0.12, 0.2)])
def test_intervals_hold_on_the_log_of_a_bandit(rates: tuple[float, ...], n_runs: int) -> None:
    rng = np.random.default_rng(74)
    truth, covered, gaps = np.array(rates), np.zeros(3), np.zeros(3)
    for _ in range(n_runs):
        found = adaptive_values(*play(rng, truth, n_batches=15, size=200))
        covered += (found.lows <= truth) & (truth <= found.highs)
        away = truth - truth[0]
        gaps += (found.difference_lows <= away) & (away <= found.difference_highs)
    assert (covered / n_runs).min() >= 0.935 - error(0.05, n_runs)
    assert (gaps / n_runs).min() >= 0.935 - error(0.05, n_runs)


def play(
    rng: np.random.Generator, truth: np.ndarray, n_batches: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    successes, trials, log = np.zeros(3), np.zeros(3), []
    for batch in range(n_batches):
        chances = logging_probabilities(binary_chances_to_be_best(successes, trials), 0.05)
        arms = rng.choice(3, size, p=chances)
        outcomes = (rng.random(size) < truth[arms]).astype(float)
        successes += np.bincount(arms, outcomes, 3)
        trials += np.bincount(arms, minlength=3)
        log.append((outcomes, arms, np.tile(chances, (size, 1)), np.full(size, batch)))
    outcomes, arms, chances, batches = (np.concatenate(part) for part in zip(*log, strict=True))
    return outcomes, arms, chances, batches
