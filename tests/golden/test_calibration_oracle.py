"""Calibration figures and tests against other libraries.

Oracles: scikit-learn and SciPy, run here; statsmodels 0.15.0 (``GLM`` with clustered covariance,
``multipletests``), whose figures are stored with the rule that makes their input.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from recsys.evaluation.calibration import calibration_error, calibration_line, log_losses, reliability_curve
from recsys.evaluation.comparison import compare_paired
from recsys.experiments.multiplicity import Correction, adjust

N_PAIRS = 2000


@pytest.fixture(scope="module")
def said() -> np.ndarray:
    return np.random.default_rng(51).beta(1, 12, size=N_PAIRS)  # no ties


@pytest.fixture(scope="module")
def followed(said: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(52).random(N_PAIRS) < 0.7 * said + 0.02).astype(float)


def test_log_loss(said: np.ndarray, followed: np.ndarray) -> None:
    assert log_losses(said, followed).mean() == pytest.approx(oracle.log_loss(followed, said), abs=1e-9)


@pytest.mark.parametrize("n_bins", [1, 10, 40])
def test_reliability_curve_and_error(said: np.ndarray, followed: np.ndarray, n_bins: int) -> None:
    observed, expected = calibration_curve(followed, said, n_bins=n_bins, strategy="quantile")
    curve = reliability_curve(said, followed, np.arange(N_PAIRS), n_bins=n_bins)
    assert [point.observed.value for point in curve] == pytest.approx(observed, abs=1e-9)
    assert [point.expected for point in curve] == pytest.approx(expected, abs=1e-9)
    error = calibration_error(said, followed, n_bins=n_bins)
    assert error.value == pytest.approx(np.abs(observed - expected).mean(), abs=1e-9)


def test_line_without_penalty(said: np.ndarray, followed: np.ndarray) -> None:
    log_odds = np.log(said / (1 - said))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(log_odds[:, None], followed)
    line = calibration_line(said, followed, np.arange(N_PAIRS))
    assert line.slope.value == pytest.approx(model.coef_[0, 0], abs=1e-9)
    assert line.intercept.value == pytest.approx(model.intercept_[0], abs=1e-9)


def test_line_with_clustered_errors_of_statsmodels() -> None:
    step = np.arange(60)
    said = (1 + step * 37 % 60) / 62 * 0.8
    followed = (step * 53 % 61 / 61 < 0.7 * said + 0.1).astype(float)
    line = calibration_line(said, followed, step // 3)
    assert line.intercept.value == pytest.approx(-0.26883701496598644, abs=1e-9)
    assert line.slope.value == pytest.approx(0.5600203021419278, abs=1e-9)
    # statsmodels multiplies the variance by (n − 1)/(n − 2) for the two coefficients, we do not
    t = stats.t.ppf(0.975, df=19)
    assert (line.intercept.high - line.intercept.value) / t == pytest.approx(
        0.33521682469359637 * (58 / 59) ** 0.5, abs=1e-9
    )
    assert (line.slope.high - line.slope.value) / t == pytest.approx(
        0.3287462532030941 * (58 / 59) ** 0.5, abs=1e-9
    )


def test_holm_of_statsmodels() -> None:
    found = adjust(np.array([0.021, 0.004, 0.6, 0.03, 0.012]), Correction.HOLM)
    assert found == pytest.approx([0.063, 0.02, 0.6, 0.063, 0.048], abs=1e-9)


@pytest.mark.parametrize("n_units", [2, 5, 9, 11])
def test_exact_sign_flip_test_of_scipy(n_units: int) -> None:
    rng = np.random.default_rng(53 + n_units)
    candidate, baseline = rng.normal(0.3, 1, size=n_units), rng.normal(size=n_units)
    found = compare_paired(candidate, baseline, np.arange(n_units), rng, n_resamples=2000)
    expected = stats.permutation_test(
        (candidate, baseline),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**n_units,
    )
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.difference.value == pytest.approx(expected.statistic, abs=1e-9)
