"""The 95 % interval contains the truth about 95 times in a hundred.

Tolerance: 3 Monte-Carlo errors, plus what is known beforehand of the percentile bootstrap: it uses the
normal's 1.96 where a sample of n units would need Student's t and divides by n instead of n − 1, and with a
finite number of resamples B the empirical quantiles lie inward by a fraction of 1/B. Both are computed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from recsys.evaluation.beyond_accuracy import recommended_pattern
from recsys.evaluation.intervals import bootstrap_means, jackknife_coverage

N_EVALUATIONS = 1000
N_RESAMPLES = 400
MONTE_CARLO = 3 * (0.95 * 0.05 / N_EVALUATIONS) ** 0.5


def expected_coverage(n_units: int) -> float:
    """Coverage of the percentile interval of a mean, to first order."""
    # numpy's quantile q of B values is the order statistic 1 + (B − 1) q, whose level is that ÷ (B + 1)
    tail = (1 + (N_RESAMPLES - 1) * 0.025) / (N_RESAMPLES + 1)
    z = -student.ppf(tail, df=10**9) * ((n_units - 1) / n_units) ** 0.5
    return float(1 - 2 * student.sf(z, df=n_units - 1))


def share_containing(truth: float, n_units: int, rows_per_unit: int, *, by_unit: bool) -> float:
    """How often the interval contains the truth; values look like NDCG: many zeros, the rest in 0–1."""
    rng = np.random.default_rng(31)
    rows = np.arange(n_units * rows_per_unit)
    units = rows // rows_per_unit if by_unit else rows
    n_inside = 0
    for _ in range(N_EVALUATIONS):
        is_hit = np.repeat(rng.random(n_units) < 0.5, rows_per_unit)
        values = np.where(is_hit, rng.beta(2, 2, size=len(rows)), 0.0)
        [estimate] = bootstrap_means(values[:, None], units, rng, n_resamples=N_RESAMPLES)
        n_inside += estimate.low <= truth <= estimate.high
    return n_inside / N_EVALUATIONS


@pytest.mark.parametrize("n_clients", [60, 200])
def test_interval_over_clients(n_clients: int) -> None:
    expected = expected_coverage(n_clients)
    assert expected > 0.935  # the allowance is small
    share = share_containing(0.25, n_clients, 1, by_unit=True)
    assert share == pytest.approx(expected, abs=MONTE_CARLO)


def test_interval_over_groups_and_what_happens_without_them() -> None:
    share = share_containing(0.25, n_units=80, rows_per_unit=4, by_unit=True)
    assert share == pytest.approx(expected_coverage(80), abs=MONTE_CARLO)
    as_if_independent = share_containing(0.25, n_units=80, rows_per_unit=4, by_unit=False)
    assert as_if_independent < 0.8


def test_coverage_interval_is_on_the_safe_side() -> None:
    rng = np.random.default_rng(32)
    popularity = 1 / np.arange(1, 301) ** 1.2

    def lists() -> np.ndarray:
        keys = np.log(popularity) + rng.gumbel(size=(200, 300))
        return np.argpartition(-keys, 5, axis=1)[:, :5].astype(np.int64)

    estimates = [jackknife_coverage(recommended_pattern(lists(), 300), np.arange(200)) for _ in range(300)]
    truth = np.mean([estimate.value for estimate in estimates])
    share = np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])
    assert share >= 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5
