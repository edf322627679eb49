"""Paired comparisons on data small enough to know the answer."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.comparison import Comparison, compare_paired
from recsys.evaluation.intervals import Estimate


def compared(differences: list[float] | np.ndarray, **options: object) -> Comparison:
    values = np.asarray(differences, dtype=float)
    units = options.pop("units", np.arange(len(values)))
    return compare_paired(values, np.zeros(len(values)), units, np.random.default_rng(1), **options)


def test_test_and_interval_by_hand() -> None:
    # eight units with differences 1 … 8: a pattern reaches the sum 36 only with all signs alike
    found = compared([1, 2, 3, 4, 5, 6, 7, 8])
    assert (found.difference.value, found.p_value) == (4.5, 2 / 256)
    # of the 128 ways to part the units, ⌊.05 · 128⌋ = 6 may be left out, the empty part among them
    halves = []
    for pattern in range(1, 128):
        members = [unit + 1 for unit in range(8) if pattern >> unit & 1]
        halves.append(sum(members) / len(members))
        others = set(range(1, 9)) - set(members)
        halves.append(sum(others) / len(others))
    pairs = np.array(halves).reshape(-1, 2)
    assert found.difference.low == np.sort(pairs.min(axis=1))[5]
    assert found.difference.high == np.sort(pairs.max(axis=1))[-6]


def test_units_move_together() -> None:
    # six rows, three units whose sums are 3, 3 and −1
    found = compared([1, 2, 3, 0, -2, 1], units=np.array([0, 0, 1, 1, 2, 2]))
    assert found.difference.value == 5 / 6
    assert found.p_value == 4 / 8  # |±3 ±3 ±1| ≥ 5: ±(3 + 3 + 1), ±(3 + 3 − 1)
    assert found.n_units == 3
    assert (found.difference.low, found.difference.high) == (-np.inf, np.inf)


def test_a_shared_denominator_scales_figures_and_leaves_the_test() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, size=12)
    plain = compared(differences)
    scaled = compared(differences, denominators=np.full(12, 4.0))
    assert scaled.p_value == plain.p_value
    assert scaled.difference.low == pytest.approx(plain.difference.low / 4)
    assert scaled.detectable == pytest.approx(plain.detectable / 4)


def test_interval_holds_zero_exactly_when_the_test_does_not_reject() -> None:
    rng = np.random.default_rng(4)
    rejected = 0
    for n_units in [7, 9, 15, 40] * 25:
        found = compared(rng.normal(0.4, 1, size=n_units), n_resamples=199)
        is_outside = not found.difference.low <= 0 <= found.difference.high
        assert is_outside == (found.p_value <= 0.05)
        rejected += is_outside
    assert 10 < rejected < 90


def test_other_side_other_sign() -> None:
    values = np.random.default_rng(5).normal(0.2, 1, size=(2, 9))
    one = compare_paired(values[0], values[1], np.arange(9), np.random.default_rng(6))
    other = compare_paired(values[1], values[0], np.arange(9), np.random.default_rng(6))
    assert other.p_value == one.p_value
    assert other.difference.low == pytest.approx(-one.difference.high)
    assert other.baseline == one.candidate


def test_equal_models_are_never_told_apart() -> None:
    found = compared(np.zeros(30))
    assert (found.p_value, found.detectable) == (1.0, 0.0)
    assert found.difference == Estimate(0.0, 0.0, 0.0)


def test_one_unit_tells_nothing() -> None:
    found = compared([0.5])
    assert found.p_value == 1.0
    assert np.isnan(found.detectable)


def test_detectable_by_hand() -> None:
    # t with 3 degrees of freedom: .975 → 3.182446, .8 → .978472; SE = √(4/3 · (2.25 + .25 + .25 + 2.25)) ÷ 4
    found = compared([1, 2, 3, 4])
    assert found.detectable == pytest.approx((3.182446 + 0.978472) * (20 / 3) ** 0.5 / 4, abs=1e-6)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="have 2, 1, 2 and 2 rows"):
        compare_paired(np.zeros(2), np.zeros(1), np.arange(2), np.random.default_rng(1))
    with pytest.raises(ValueError, match=r"confidence is 1\.0"):
        compared([1.0], confidence=1.0)
    with pytest.raises(ValueError, match=r"denominators sum to 0\.0"):
        compared([1.0, 2.0], denominators=np.zeros(2))
    with pytest.raises(ValueError, match="n_units is 0"):
        compared([])
    with pytest.raises(ValueError, match="must be finite"):
        compared([np.nan, 1.0])
