"""Intervals contain the truth, and tests err, as often as they say, over simulated evaluations.

An evaluation is simulated whole: account groups of random size, each with a taste of its own, so companies
under one roof decide alike; the slot in which two models show each client what it took; NDCG from these.
The truth is known in closed form unless said otherwise. Seeds were fixed beforehand; the tolerance is 3
Monte-Carlo errors. The suite runs a few hundred evaluations of each law, ``make soak`` 4,000.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse
from scipy.special import ndtr, ndtri, stdtrit

from recsys.evaluation.beyond_accuracy import recommended_pattern
from recsys.evaluation.calibration import (
    calibration_error,
    calibration_line,
    observed_to_expected,
    reliability_curve,
)
from recsys.evaluation.comparison import compare_paired
from recsys.evaluation.gains import caught_at_top
from recsys.evaluation.intervals import Estimate, bootstrap_means, bootstrap_ratios, jackknife_coverage
from recsys.evaluation.ranking import Hits, ndcg
from recsys.experiments.multiplicity import Correction, adjust

K = 10
DISCOUNTS = 1 / np.log2(np.arange(2, K + 2))

n_evaluations = pytest.mark.parametrize(
    "n_evaluations",
    [pytest.param(400, id="short"), pytest.param(4000, id="long", marks=pytest.mark.soak)],
)


def monte_carlo(share: float, n: int) -> float:
    """Three standard errors of a share."""
    return 3 * (share * (1 - share) / n) ** 0.5


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


class Population(NamedTuple):
    """Where clients come from: one relevant offer each, which a model shows in one of `slots`, or not."""

    n_groups: int
    n_hits: float = 0.5  # share of clients whose relevant offer is shown
    slots: tuple[int, ...] = (1, 2, 3, 5, 8)

    @property
    def mean_ndcg(self) -> float:
        return self.n_hits * float(DISCOUNTS[np.array(self.slots) - 1].mean())


def draw_units(n_groups: int, rng: np.random.Generator) -> np.ndarray:
    """Units of the rows: groups of 1, 2, 3 … companies, two on average."""
    return np.repeat(np.arange(n_groups), rng.geometric(0.5, size=n_groups))


def draw_ndcg(
    population: Population, units: np.ndarray, taste: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """NDCG of every row; `taste` of a group, uniform on 0–1, moves the chance of a hit by up to its half."""
    chance = population.n_hits * (0.5 + taste[units])
    is_relevant = np.zeros((len(units), K), dtype=bool)
    slot = rng.choice(population.slots, size=len(units)) - 1
    is_relevant[np.arange(len(units)), slot] = rng.random(len(units)) < chance
    return ndcg(Hits(is_relevant, np.ones(len(units), dtype=np.int64)))


def share_of(n: int, seed: int, is_so: Callable[[np.random.Generator], bool]) -> float:
    rng = np.random.default_rng(seed)
    return float(np.mean([is_so(rng) for _ in range(n)]))


@n_evaluations
@pytest.mark.parametrize("n_groups", [20, 50, 200])
def test_interval_of_a_mean_holds_the_truth(n_groups: int, n_evaluations: int) -> None:
    population = Population(n_groups)

    def is_inside(rng: np.random.Generator) -> bool:
        units = draw_units(n_groups, rng)
        values = draw_ndcg(population, units, rng.random(n_groups), rng)
        [found] = bootstrap_means(values[:, None], units, rng, n_resamples=500)
        return holds(found, population.mean_ndcg)

    share = share_of(n_evaluations, 61, is_inside)
    assert share == pytest.approx(0.95, abs=monte_carlo(0.95, n_evaluations))


@n_evaluations
def test_interval_over_clients_instead_of_groups_is_too_short(n_evaluations: int) -> None:
    """Companies that decide exactly alike: as if independent, the interval is an illusion."""

    def is_inside(rng: np.random.Generator) -> bool:
        units = np.repeat(np.arange(80), 4)
        values = np.where(rng.random(80) < 0.5, rng.beta(2, 2, size=80), 0.0)[units]
        [found] = bootstrap_means(values[:, None], np.arange(320), rng, n_resamples=200)
        return holds(found, 0.25)

    assert share_of(n_evaluations, 62, is_inside) < 0.8


@n_evaluations
def test_interval_where_hits_are_rare_errs_little(n_evaluations: int) -> None:
    """Some 20 hits in all: what is documented is that the interval then falls somewhat short."""
    population = Population(100, n_hits=0.1)

    def is_inside(rng: np.random.Generator) -> bool:
        units = draw_units(100, rng)
        values = draw_ndcg(population, units, rng.random(100), rng)
        [found] = bootstrap_means(values[:, None], units, rng, n_resamples=500)
        return holds(found, population.mean_ndcg)

    assert share_of(n_evaluations, 63, is_inside) > 0.92 - monte_carlo(0.92, n_evaluations)


def draw_difference(
    n_groups: int, rng: np.random.Generator, candidate: Population, baseline: Population
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models on the same clients: groups that suit one suit the other."""
    units, taste = draw_units(n_groups, rng), rng.random(n_groups)
    return draw_ndcg(candidate, units, taste, rng), draw_ndcg(baseline, units, taste, rng), units


@n_evaluations
@pytest.mark.parametrize("n_groups", [12, 40, 200])
def test_interval_of_a_difference_holds_the_truth(n_groups: int, n_evaluations: int) -> None:
    candidate, baseline = Population(n_groups, 0.6), Population(n_groups, 0.4)

    def is_inside(rng: np.random.Generator) -> bool:
        pair = draw_difference(n_groups, rng, candidate, baseline)
        found = compare_paired(*pair, rng, n_resamples=500)
        return holds(found.difference, candidate.mean_ndcg - baseline.mean_ndcg)

    share = share_of(n_evaluations, 64, is_inside)
    assert share == pytest.approx(0.95, abs=monte_carlo(0.95, n_evaluations))


@n_evaluations
@pytest.mark.parametrize("n_groups", [40, 200])
def test_paired_bootstrap_of_a_difference_holds_the_truth(n_groups: int, n_evaluations: int) -> None:
    candidate, baseline = Population(n_groups, 0.6), Population(n_groups, 0.4)

    def is_inside(rng: np.random.Generator) -> bool:
        pair = draw_difference(n_groups, rng, candidate, baseline)
        found = compare_paired(*pair, rng, n_resamples=500)
        return holds(found.bootstrap, candidate.mean_ndcg - baseline.mean_ndcg)

    share = share_of(n_evaluations, 65, is_inside)
    assert share == pytest.approx(0.95, abs=monte_carlo(0.95, n_evaluations))


@n_evaluations
@pytest.mark.parametrize("n_groups", [12, 40, 200])
def test_alike_models_are_told_apart_one_time_in_twenty(n_groups: int, n_evaluations: int) -> None:
    population = Population(n_groups)

    def is_rejected(rng: np.random.Generator) -> bool:
        pair = draw_difference(n_groups, rng, population, population)
        return compare_paired(*pair, rng, n_resamples=499).p_value <= 0.05

    share = share_of(n_evaluations, 66, is_rejected)
    assert share == pytest.approx(0.05, abs=monte_carlo(0.05, n_evaluations))


@n_evaluations
@pytest.mark.parametrize("n_groups", [5, 8])
def test_few_units_never_make_false_findings_more_frequent(n_groups: int, n_evaluations: int) -> None:
    population = Population(n_groups)

    def is_rejected(rng: np.random.Generator) -> bool:
        pair = draw_difference(n_groups, rng, population, population)
        return compare_paired(*pair, rng, n_resamples=499).p_value <= 0.05

    share = share_of(n_evaluations, 67, is_rejected)
    assert share <= 0.05 + monte_carlo(0.05, n_evaluations)
    assert n_groups > 5 or share == 0.0  # 2 patterns of 32 are more than 5 %


@n_evaluations
def test_models_that_are_alike_on_average_only(n_evaluations: int) -> None:
    """One finds little but puts it first, the other much but low: skewed differences with the mean 0."""
    rarely_first, often_low = Population(100, 0.2, (1,)), Population(100, 0.2 / DISCOUNTS[4], (5,))
    assert rarely_first.mean_ndcg == pytest.approx(often_low.mean_ndcg)

    def is_rejected(rng: np.random.Generator) -> bool:
        pair = draw_difference(100, rng, rarely_first, often_low)
        return compare_paired(*pair, rng, n_resamples=499).p_value <= 0.05

    share = share_of(n_evaluations, 68, is_rejected)
    assert share == pytest.approx(0.05, abs=monte_carlo(0.05, n_evaluations))


@n_evaluations
def test_one_of_six_alike_models_is_called_different_one_time_in_twenty_at_most(n_evaluations: int) -> None:
    population = Population(40)

    def is_any_rejected(rng: np.random.Generator) -> bool:
        units, taste = draw_units(40, rng), rng.random(40)
        values = [draw_ndcg(population, units, taste, rng) for _ in range(7)]
        found = [compare_paired(other, values[0], units, rng, n_resamples=299) for other in values[1:]]
        return bool((adjust(np.array([one.p_value for one in found]), Correction.HOLM) <= 0.05).any())

    n = n_evaluations // 4
    assert share_of(n, 69, is_any_rejected) <= 0.05 + monte_carlo(0.05, n)


@n_evaluations
@pytest.mark.parametrize("n_units", [15, 60])
def test_a_detectable_difference_is_found_four_times_in_five(n_units: int, n_evaluations: int) -> None:
    spread = 0.3
    truth = float(stdtrit(n_units - 1, [0.975, 0.8]).sum()) * spread / n_units**0.5
    stated = []

    def is_found(rng: np.random.Generator) -> bool:
        differences = rng.normal(truth, spread, size=n_units)
        found = compare_paired(differences, np.zeros(n_units), np.arange(n_units), rng, n_resamples=499)
        stated.append(found.detectable)
        return found.p_value <= 0.05

    share = share_of(n_evaluations, 70, is_found)
    assert share == pytest.approx(0.8, abs=monte_carlo(0.8, n_evaluations))
    # its square is unbiased; the relative error of a variance from n normal values is √(2 ÷ (n − 1))
    tolerance = 3 * (2 / (n_units - 1) / n_evaluations) ** 0.5
    assert np.mean(np.square(stated)) == pytest.approx(truth**2, rel=tolerance)


def draw_pairs(n_groups: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right probabilities and outcomes that go together within a group; six pairs each."""
    units = np.repeat(np.arange(n_groups), 6)
    said = rng.beta(1.5, 8, size=len(units))
    shared, own = rng.normal(size=n_groups)[units], rng.normal(size=len(units))
    # a latent trait with a correlation of .3 within the group leaves each pair's own chance as it is
    followed = (ndtr(0.3**0.5 * shared + 0.7**0.5 * own) < said).astype(float)
    return said, followed, units


@n_evaluations
def test_right_probabilities_look_right(n_evaluations: int) -> None:
    rng = np.random.default_rng(71)
    inside = []
    for _ in range(n_evaluations):
        said, followed, units = draw_pairs(200, rng)
        line = calibration_line(said, followed, units)
        ratio = observed_to_expected(said, followed, units, rng, n_resamples=300)
        points = reliability_curve(said, followed, units, n_bins=5)
        inside.append(
            (
                holds(line.intercept, 0.0),
                holds(line.slope, 1.0),
                holds(ratio, 1.0),
                holds(points[0].observed, points[0].expected),
                holds(points[4].observed, points[4].expected),
            )
        )
    shares = np.mean(inside, axis=0)
    assert shares == pytest.approx(0.95, abs=monte_carlo(0.95, n_evaluations))


@n_evaluations
def test_error_by_chance_is_the_error_of_right_probabilities(n_evaluations: int) -> None:
    rng = np.random.default_rng(72)
    said = rng.beta(1, 20, size=2000)
    errors = [
        calibration_error(said, (rng.random(2000) < said).astype(float)).value for _ in range(n_evaluations)
    ]
    by_chance = calibration_error(said, np.zeros(2000)).by_chance
    assert np.mean(errors) == pytest.approx(
        by_chance, abs=3 * np.std(errors) / n_evaluations**0.5 + 0.01 * by_chance
    )


def draw_scored(units: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, sparse.csr_array]:
    """Scores of all pairs, units differing in readiness, and what was adopted: some 1 pair in 30."""
    readiness = rng.normal(size=(units.max() + 1, 1))[units]
    log_odds = -4.5 + readiness + 1.2 * rng.normal(size=(len(units), 40))
    adopted = rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))
    return log_odds + rng.normal(size=log_odds.shape), sparse.csr_array(adopted.astype(float))


@pytest.mark.parametrize(
    ("units", "coverage"),
    [
        pytest.param(np.arange(200), 0.95, id="clients"),
        # the threshold hangs on few units, of which the largest count most: some two points short
        pytest.param(np.arange(800) // 4, 0.935, id="groups that are ready together"),
    ],
)
@n_evaluations
def test_interval_of_what_the_top_catches_holds_the_truth(
    n_evaluations: int, units: np.ndarray, coverage: float
) -> None:
    # over infinitely many pairs: log-odds and scores are normal, scores are log-odds and as much noise again
    log_odds = np.linspace(-20, 11, 20_001)
    density = np.exp(-0.5 * (log_odds + 4.5) ** 2 / 2.44)
    adopted = density / (1 + np.exp(-log_odds))
    threshold = -4.5 + ndtri(0.95) * 3.44**0.5
    truth = float((adopted * ndtr(log_odds - threshold)).sum() / adopted.sum())

    def is_inside(rng: np.random.Generator) -> bool:
        caught = caught_at_top(*draw_scored(units, rng), 0.05)
        sums = caught.numerators[:, None], caught.denominators[:, None]
        [found] = bootstrap_ratios(*sums, units, rng, n_resamples=300)
        return holds(found, truth)

    share = share_of(n_evaluations, 74, is_inside)
    assert share == pytest.approx(coverage, abs=monte_carlo(coverage, n_evaluations))


def test_coverage_interval_is_on_the_safe_side() -> None:
    rng = np.random.default_rng(32)
    popularity = 1 / np.arange(1, 301) ** 1.2

    def lists() -> np.ndarray:
        keys = np.log(popularity) + rng.gumbel(size=(200, 300))
        return np.argpartition(-keys, 5, axis=1)[:, :5].astype(np.int64)

    estimates = [jackknife_coverage(recommended_pattern(lists(), 300), np.arange(200)) for _ in range(300)]
    truth = np.mean([estimate.value for estimate in estimates])
    share = np.mean([holds(estimate, float(truth)) for estimate in estimates])
    assert share >= 0.95 - monte_carlo(0.95, 300)
