"""Intervals on data small enough to know the answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recsys.evaluation import intervals
from recsys.evaluation.intervals import (
    Estimate,
    bootstrap_means,
    bootstrap_ratios,
    defined,
    jackknife_coverage,
    resampled_weights,
    sums_by_unit,
    unit_codes,
)


def test_equal_values_have_an_interval_of_no_width() -> None:
    [estimate] = bootstrap_means(np.full((5, 1), 0.25), np.arange(5), np.random.default_rng(1))
    assert estimate == Estimate(0.25, 0.25, 0.25)


def test_rows_of_a_unit_move_together() -> None:
    # unit 0 holds the value 1 three times, unit 1 holds 0 once: a resample is all ones, the mix, or all zeros
    values = np.array([[1.0], [1.0], [1.0], [0.0]])
    units = np.array([0, 0, 0, 1])
    [estimate] = bootstrap_means(values, units, np.random.default_rng(2))
    assert estimate == Estimate(3 / 4, 0.0, 1.0)


def test_quantities_of_one_call_share_their_resamples() -> None:
    rng = np.random.default_rng(3)
    first = rng.random(40)
    shared, shifted = bootstrap_means(
        np.column_stack([first, first + 1]), np.arange(40), np.random.default_rng(4)
    )
    assert (shifted.low - 1, shifted.high - 1) == pytest.approx((shared.low, shared.high))


def test_same_seed_same_interval_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).random((30, 2))
    whole = bootstrap_means(values, np.arange(30), np.random.default_rng(6), n_resamples=100)
    monkeypatch.setattr(intervals, "_CELLS_PER_CHUNK", 30 * 7)
    assert bootstrap_means(values, np.arange(30), np.random.default_rng(6), n_resamples=100) == whole


def test_every_resample_draws_as_many_units_as_there_are() -> None:
    weights = np.concatenate(list(resampled_weights(17, 50, np.random.default_rng(7))))
    assert weights.shape == (50, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert len(np.unique(weights, axis=0)) == 50


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        pytest.param([[np.nan]], {}, "must be finite", id="a metric that is not defined"),
        pytest.param([[1.0]], {"n_resamples": 0}, "n_resamples is 0", id="no resamples"),
        pytest.param([[1.0]], {"confidence": 1.0}, "confidence is 1.0", id="certainty"),
        pytest.param(np.zeros((0, 1)), {}, "n_units is 0", id="no rows"),
    ],
)
def test_wrong_arguments_are_named(values: object, options: dict[str, float], message: str) -> None:
    values = np.asarray(values)
    with pytest.raises(ValueError, match=message):
        bootstrap_means(values, np.arange(len(values)), np.random.default_rng(8), **options)


def test_coverage_interval_by_hand() -> None:
    # three units; offers 0 and 1 hang on unit 0, offer 2 is shown by units 1 and 2, offer 3 by nobody
    recommended = sparse.csr_array(np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]], dtype=float))
    losses = np.array([2 / 4, 0, 0])
    standard_error = np.sqrt(2 / 3 * ((losses - 1 / 6) ** 2).sum())
    estimate = jackknife_coverage(recommended, np.arange(3))
    assert estimate.value == 3 / 4
    assert estimate.low == pytest.approx(max(0, 3 / 4 - 1.959964 * standard_error), abs=1e-6)
    assert estimate.high == min(1, 3 / 4 + 1.959964 * standard_error)


def test_a_single_unit_tells_no_interval_of_coverage() -> None:
    estimate = jackknife_coverage(
        sparse.csr_array(np.array([[1.0, 0.0], [1.0, 0.0]])), np.zeros(2, dtype=np.int64)
    )
    assert estimate.value == 0.5
    assert np.isnan([estimate.low, estimate.high]).all()


def test_coverage_interval_counts_a_units_rows_as_one() -> None:
    # both rows of unit 0 show offer 0, so it still hangs on one unit
    recommended = sparse.csr_array(np.array([[1, 0], [1, 0], [0, 1]], dtype=float))
    by_unit = jackknife_coverage(recommended, np.array([0, 0, 1]))
    assert by_unit == Estimate(1.0, 1.0, 1.0)
    by_row = jackknife_coverage(recommended, np.arange(3))
    assert by_row.low < 1.0


def test_ratios_leave_out_rows_that_do_not_define_them() -> None:
    values = np.array([[0.2, np.nan], [0.4, 0.5], [np.nan, np.nan], [0.9, 0.7]])
    numerators, denominators = defined(values)
    first, second = bootstrap_ratios(numerators, denominators, np.arange(4), np.random.default_rng(9))
    assert (first.value, second.value) == (pytest.approx(1.5 / 3), pytest.approx(1.2 / 2))
    assert (second.low, second.high) == (0.5, 0.7)


def test_quantities_that_nobody_or_a_single_unit_defines() -> None:
    numerators, denominators = np.zeros((3, 2)), np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    nobody, one = bootstrap_ratios(numerators, denominators, np.arange(3), np.random.default_rng(10))
    assert np.isnan([nobody.value, nobody.low, nobody.high, one.low, one.high]).all()
    assert one.value == 0.0


def test_interval_stands_at_the_expanded_percentiles() -> None:
    # 10 units: Φ(√(10/9) · t₉(.025)) = Φ(1.0541 · −2.2622) = Φ(−2.3845) = .00855
    values = np.random.default_rng(11).random((10, 1))
    [found] = bootstrap_means(values, np.arange(10), np.random.default_rng(12), n_resamples=4000)
    weights = np.concatenate(list(resampled_weights(10, 4000, np.random.default_rng(12))))
    means = np.sort((weights @ values[:, 0]) / 10)
    # the q quantile lies at place q · (n + 1), from 1
    place = 0.008550 * 4001 - 1
    assert means[int(place)] <= found.low <= means[int(place) + 1]
    assert means[-int(place) - 2] <= found.high <= means[-int(place) - 1]


def test_ratios_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="must be the same"):
        bootstrap_ratios(np.zeros((2, 1)), np.zeros((3, 1)), np.arange(2), np.random.default_rng(13))


def test_units_by_name_and_their_sums() -> None:
    units = unit_codes(["b", "a", "b", "c"])
    assert units.tolist() == [1, 0, 1, 2]
    assert sums_by_unit(np.array([1.0, 2.0, 4.0, 8.0]), units).tolist() == [2.0, 5.0, 8.0]
    assert sums_by_unit(np.ones(1), np.array([0]), 3).tolist() == [1.0, 0.0, 0.0]
