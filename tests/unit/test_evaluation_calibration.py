"""Calibration figures on pairs few enough to work out by hand."""

from __future__ import annotations

from math import comb, log

import numpy as np
import pytest

from recsys.evaluation.calibration import (
    CalibrationLine,
    calibration_error,
    calibration_line,
    log_losses,
    observed_to_expected,
    offer_rates,
    reliability_curve,
)

SAID = np.array([0.1, 0.2, 0.2, 0.3, 0.5, 0.9])
FOLLOWED = np.array([0.0, 1.0, 0.0, 0.0, 1.0, 1.0])


def test_observed_to_expected_by_hand() -> None:
    found = observed_to_expected(SAID, FOLLOWED, np.arange(6), np.random.default_rng(1))
    assert found.value == pytest.approx(3 / 2.2)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_line_undoes_a_distortion_of_the_log_odds(scale: float) -> None:
    # outcomes in the exact proportions of p, judged against distorted log-odds
    p = np.repeat([0.1, 0.3, 0.6], 100)
    followed = (np.tile(np.arange(100), 3) < 100 * p - 1e-9).astype(float)
    said = 1 / (1 + np.exp(-(scale * np.log(p / (1 - p)) + 0.7)))
    line = calibration_line(said, followed, np.arange(300))
    assert line.slope.value == pytest.approx(1 / scale, abs=1e-9)
    assert line.intercept.value == pytest.approx(-0.7 / scale, abs=1e-9)
    assert line.slope.low < line.slope.value < line.slope.high


def test_duplicated_pairs_of_a_unit_tell_nothing_new() -> None:
    rng = np.random.default_rng(2)
    said = rng.uniform(0.05, 0.6, size=80)
    followed = (rng.random(80) < said).astype(float)
    once = calibration_line(said, followed, np.arange(80))
    thrice = calibration_line(np.repeat(said, 3), np.repeat(followed, 3), np.repeat(np.arange(80), 3))
    assert thrice.slope.value == pytest.approx(once.slope.value, abs=1e-9)
    assert thrice.slope.high == pytest.approx(once.slope.high, abs=1e-8)


@pytest.mark.parametrize(
    ("said", "followed"),
    [
        pytest.param([0.2, 0.2, 0.2], [0, 1, 0], id="one probability only"),
        pytest.param([0.1, 0.2, 0.3], [0, 0, 0], id="nothing followed"),
        pytest.param([0.1, 0.2, 0.3], [1, 1, 1], id="everything followed"),
        pytest.param([0.1, 0.2, 0.3], [0, 0, 1], id="separated"),
        pytest.param([0.1, 0.2, 0.2, 0.3], [1, 0, 1, 0], id="separated up to a tie, the wrong way round"),
    ],
)
def test_no_line_where_there_is_none(said: list[float], followed: list[float]) -> None:
    line = calibration_line(np.array(said), np.array(followed, dtype=float), np.arange(len(said)))
    assert isinstance(line, CalibrationLine)
    assert np.isnan([line.intercept.value, line.slope.value, line.slope.low, line.slope.high]).all()


def test_line_of_a_single_unit_has_no_interval() -> None:
    line = calibration_line(SAID, FOLLOWED, np.zeros(6, dtype=np.int64))
    assert np.isfinite(line.slope.value)
    assert np.isnan([line.slope.low, line.slope.high]).all()


def test_probabilities_of_zero_and_one_are_survived() -> None:
    said = np.array([0.0, 1.0, 0.5, 0.5, 0.3, 0.3])
    followed = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    line = calibration_line(said, followed, np.arange(6))
    assert np.isfinite([line.intercept.value, line.slope.value]).all()
    assert np.isfinite(log_losses(said, followed)).all()


def test_error_of_equal_masses() -> None:
    said = np.array([0.9, 0.1, 0.3, 0.7])
    followed = np.array([1.0, 0.0, 1.0, 1.0])
    found = calibration_error(said, followed, n_bins=2)
    # bins (.1, .3) with one outcome and (.7, .9) with two
    assert found.value == pytest.approx((2 * abs(0.5 - 0.2) + 2 * abs(1 - 0.8)) / 4)


def test_error_by_chance_is_the_mean_gap_of_binomials() -> None:
    said = np.repeat([0.0, 0.13, 0.5, 1.0], 7)
    found = calibration_error(said, (np.arange(28) % 7 == 0).astype(float), n_bins=4)

    def mean_gap(n: int, p: float) -> float:
        return sum(comb(n, s) * p**s * (1 - p) ** (n - s) * abs(s - n * p) for s in range(n + 1))

    expected = sum(mean_gap(7, p) for p in (0.0, 0.13, 0.5, 1.0)) / 28
    assert found.by_chance == pytest.approx(expected, abs=1e-12)


def test_equal_probabilities_stay_in_one_bin_whatever_their_order() -> None:
    said, followed = np.full(10, 0.2), np.array([1.0] * 2 + [0.0] * 8)
    found = calibration_error(said, followed, n_bins=5)
    assert (found.n_bins, found.value) == (1, pytest.approx(0.0, abs=1e-15))


def test_reliability_by_hand() -> None:
    curve = reliability_curve(SAID[[0, 1, 3, 4]], FOLLOWED[[0, 1, 3, 4]], np.arange(4), n_bins=2)
    assert [point.expected for point in curve] == pytest.approx([0.15, 0.4])
    assert [(point.observed.value, point.n_pairs, point.n_outcomes) for point in curve] == [(0.5, 2, 1)] * 2


def test_reliability_interval_is_wilsons_where_pairs_are_independent() -> None:
    # 30 of 300 pairs, each its own unit: z = t₂₉₉(.975) = 1.96793; the design effect is 300/299
    followed = (np.arange(300) % 10 == 0).astype(float)
    [point] = reliability_curve(np.full(300, 0.1), followed, np.arange(300), n_bins=5)
    z, n, p = 1.96793, 299, 0.1
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    assert point.observed.low == pytest.approx(middle - margin, abs=1e-6)
    assert point.observed.high == pytest.approx(middle + margin, abs=1e-6)


def test_reliability_interval_counts_pairs_that_go_together_once() -> None:
    followed = np.repeat((np.arange(60) % 4 == 0).astype(float), 5)
    units = np.repeat(np.arange(60), 5)
    [together] = reliability_curve(np.full(300, 0.2), followed, units)
    [once] = reliability_curve(np.full(60, 0.2), followed[::5], np.arange(60))
    assert together.observed.high == pytest.approx(once.observed.high, abs=1e-3)


def test_reliability_of_nothing_followed_and_of_a_single_unit() -> None:
    [none] = reliability_curve(np.full(50, 0.1), np.zeros(50), np.arange(50))
    assert none.observed.low == 0.0
    assert 0.05 < none.observed.high < 0.1  # z² ÷ (n + z²)
    [single] = reliability_curve(np.full(5, 0.1), np.zeros(5), np.zeros(5, dtype=np.int64))
    assert (single.observed.low, single.observed.high) == (0.0, 1.0)


def test_losses_by_hand() -> None:
    expected = [-log(0.9), -log(0.2), -log(0.8), -log(0.7), -log(0.5), -log(0.9)]
    assert log_losses(SAID, FOLLOWED) == pytest.approx(expected, abs=1e-15)


def test_offer_rates_are_the_best_constants() -> None:
    columns = np.array([0, 0, 1, 1, 1, 3])
    rates = offer_rates(FOLLOWED, columns, n_offers=4)
    assert rates == pytest.approx([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1.0])
    best = log_losses(rates, FOLLOWED).sum()
    for nudge in (-0.01, 0.01):
        assert log_losses(np.clip(rates + nudge, 0, 1), FOLLOWED).sum() > best


@pytest.mark.parametrize(
    ("said", "followed", "message"),
    [
        pytest.param([], [], "at least one", id="nothing"),
        pytest.param([0.1], [0.0, 1.0], "must be as many", id="other pairs"),
        pytest.param([1.5], [1.0], "outside 0–1", id="no probability"),
        pytest.param([np.nan], [1.0], "outside 0–1 or is NaN", id="no number"),
        pytest.param([0.5], [0.5], "neither 0 nor 1", id="no outcome"),
    ],
)
def test_wrong_pairs_are_named(said: list[float], followed: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_error(np.array(said), np.array(followed))


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="n_bins is 0"):
        calibration_error(SAID, FOLLOWED, n_bins=0)
