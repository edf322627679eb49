"""Calibration: order kept, levels right, never 0 or 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.models.calibration import Calibration, fit_calibration


def test_rates_of_two_levels() -> None:
    scores = np.repeat([0.0, 1.0], 1000)
    outcomes = np.concatenate([np.arange(1000) < 100, np.arange(1000) < 300]).astype(float)
    found = fit_calibration(scores, outcomes).predict(np.array([0.0, 1.0]))
    np.testing.assert_allclose(found, [0.1, 0.3], rtol=2e-3)


def test_falling_rates_are_pooled() -> None:
    scores = np.repeat([0.0, 1.0], 1000)
    outcomes = np.concatenate([np.arange(1000) < 300, np.arange(1000) < 100]).astype(float)
    found = fit_calibration(scores, outcomes).predict(np.array([0.0, 1.0]))
    np.testing.assert_allclose(found, [0.2, 0.2], rtol=2e-3)
    assert found[0] < found[1]


def test_expected_adoptions_are_those_observed() -> None:
    rng = np.random.default_rng(8)
    scores = rng.gamma(0.5, size=100_000)
    outcomes = (rng.random(100_000) < 0.02 * scores).astype(float)
    expected = fit_calibration(scores, outcomes).predict(scores).sum()
    # odds are scaled, not probabilities: equal up to the square of a rate of one per cent
    assert outcomes.sum() / expected == pytest.approx(1, abs=1e-3)


def test_known_probabilities_are_found_again() -> None:
    rng = np.random.default_rng(9)
    scores = rng.random(200_000)
    truth = 0.01 + 0.2 * scores**2
    outcomes = (rng.random(200_000) < truth).astype(float)
    at = np.array([0.2, 0.5, 0.8])
    found = fit_calibration(scores, outcomes, adoptions_per_bin=400).predict(at)
    # 400 adoptions in a bin: relative error 1/√400, three of them
    np.testing.assert_allclose(found, 0.01 + 0.2 * at**2, rtol=3 / 20)


def test_no_adoption_at_all_leaves_half_of_one() -> None:
    found = fit_calibration(np.arange(99.0), np.zeros(99)).predict(np.array([50.0]))
    np.testing.assert_allclose(found, [0.5 / 100], rtol=2e-3)


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 10),
)
def test_map_rises_strictly_inside_zero_and_one(pairs: list[tuple[float, bool]], per_bin: int) -> None:
    scores = np.array([score for score, _ in pairs])
    outcomes = np.array([float(adopted) for _, adopted in pairs])
    calibration = fit_calibration(scores, outcomes, per_bin)
    assert (np.diff(calibration.scores) > 0).all()
    assert (np.diff(calibration.probabilities) > 0).all()
    found = calibration.predict(np.concatenate([scores, [-1e9, 1e9]]))
    assert (found > 0).all()
    assert (found < 1).all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50, unique=True), st.integers(0, 2**32 - 1))
def test_order_of_seen_scores_is_kept(values: list[float], seed: int) -> None:
    scores = np.sort(np.round(values, 6))
    outcomes = (np.random.default_rng(seed).random(len(scores)) < 0.3).astype(float)
    found = fit_calibration(scores, outcomes, 2).predict(scores)
    assert (np.diff(found)[np.diff(scores) > 0] > 0).all()


def test_restored_map_is_equal() -> None:
    calibration = fit_calibration(np.arange(9.0), (np.arange(9) > 4).astype(float), 2)
    again = Calibration.restore(calibration.to_arrays())
    assert np.array_equal(again.predict(np.arange(9.0)), calibration.predict(np.arange(9.0)))


@pytest.mark.parametrize(
    ("scores", "probabilities"),
    [
        pytest.param([0.0, 0.0], [0.1, 0.2], id="scores that do not rise"),
        pytest.param([0.0, 1.0], [0.2, 0.1], id="falling probabilities"),
        pytest.param([0.0, 1.0], [0.2, 1.0], id="certainty"),
        pytest.param([], [], id="empty"),
    ],
)
def test_what_is_no_map_is_refused(scores: list[float], probabilities: list[float]) -> None:
    arrays = {"scores": np.array(scores), "probabilities": np.array(probabilities)}
    with pytest.raises(ValueError, match="calibration"):
        Calibration.restore(arrays)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        fit_calibration(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="at least 1"):
        fit_calibration(np.zeros(1), np.zeros(1), 0)


def test_the_topmost_step_keeps_the_slope_of_its_outcomes() -> None:
    # two bins: without the slope every score above the upper mean would get the same probability
    rng = np.random.default_rng(10)
    scores = rng.random(400_000)
    outcomes = (rng.random(400_000) < 0.02 * scores).astype(float)
    calibration = fit_calibration(scores, outcomes, adoptions_per_bin=1500)
    top = scores[scores >= np.sort(scores[outcomes > 0])[1500]]
    middle, highest = calibration.predict(np.array([top.mean(), 1.0]))
    # the relative error of a least-squares slope over the top, and that of its mean rate
    noise = 0.02 * top.mean() / len(top)
    error = np.sqrt(noise / top.var() * (1 - top.mean()) ** 2 + noise) / (0.02 * top.mean())
    assert highest / middle == pytest.approx(1 / top.mean(), rel=3 * error)
    assert highest / middle > 1.1


def test_a_falling_top_stays_level() -> None:
    scores = np.arange(2000.0)
    outcomes = (np.arange(2000) % 40 == 0) & (np.arange(2000) < 1000)
    found = fit_calibration(scores, outcomes.astype(float), 10_000).predict(np.array([1000.0, 1999.0]))
    assert found[0] < found[1] == pytest.approx(found[0], rel=2e-3)
