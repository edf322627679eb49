"""Laws of experiment statistics that hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.experiments.inference import Fixed, Scale, effect_of, find
from recsys.experiments.multiplicity import Correction, adjust, adjusted_alphas
from recsys.experiments.randomisation import randomisation_test
from recsys.experiments.sample_ratio import sequential_sample_ratio_p_values
from recsys.experiments.samples import samples_by_arm
from recsys.experiments.sequential import half_width, mixing_rate

seeds = st.integers(0, 2**32 - 1)
p_values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12).map(np.array)
quick = settings(max_examples=50, deadline=None)


def rows(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 30, 120)
    return rng.lognormal(size=120), rng.integers(0, 2, 30)[units], units


@quick
@given(seeds)
def test_the_order_of_rows_means_nothing(seed: int) -> None:
    values, arms, units = rows(seed)
    order = np.random.default_rng(seed + 1).permutation(len(values))
    first = find(effect_of(*samples_by_arm("m", values, arms, 2, units=units)), Fixed(), Scale.RELATIVE)
    again = samples_by_arm("m", values[order], arms[order], 2, units=units[order])
    second = find(effect_of(*again), Fixed(), Scale.RELATIVE)
    assert first.p_value == pytest.approx(second.p_value, nan_ok=True)
    assert first.low == pytest.approx(second.low, nan_ok=True)


@quick
@given(seeds, st.floats(1e-6, 1e9))
def test_the_currency_means_nothing(seed: int, unit: float) -> None:
    values, arms, units = rows(seed)
    first, second = (
        find(effect_of(*samples_by_arm("m", values * k, arms, 2, units=units)), Fixed(), Scale.RELATIVE)
        for k in (1.0, unit)
    )
    assert (first.value, first.low, first.high) == pytest.approx(
        (second.value, second.low, second.high), nan_ok=True
    )


@quick
@given(seeds)
def test_exchanged_arms_turn_the_difference_round(seed: int) -> None:
    values, arms, units = rows(seed)
    control, treatment = samples_by_arm("m", values, arms, 2, units=units)
    there = find(effect_of(control, treatment), Fixed(), Scale.ABSOLUTE)
    back = find(effect_of(treatment, control), Fixed(), Scale.ABSOLUTE)
    assert (there.value, there.low) == pytest.approx((-back.value, -back.high), nan_ok=True)
    assert there.p_value == pytest.approx(back.p_value, nan_ok=True)


@given(p_values, st.sampled_from(list(Correction)), st.floats(0.001, 0.5))
def test_adjusted_values_and_adjusted_levels_decide_alike(
    found: np.ndarray, correction: Correction, alpha: float
) -> None:
    adjusted, levels = adjust(found, correction), adjusted_alphas(found, correction, alpha)
    assert (adjusted >= found - 1e-12).all()
    near = np.isclose(adjusted, alpha, rtol=1e-9) | np.isclose(found, levels, rtol=1e-9)
    assert ((adjusted <= alpha) == (found <= levels))[~near].all()


@given(st.floats(10, 1e7), st.floats(10, 1e7), st.floats(0.001, 0.4))
def test_looking_at_any_time_costs_width(n_units: float, tuned_to: float, alpha: float) -> None:
    assert half_width(n_units, mixing_rate(alpha, tuned_to), alpha) > (-2 * np.log(alpha)) ** 0.5


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_daily_p_values_never_rise(days: list[tuple[int, int]]) -> None:
    found = sequential_sample_ratio_p_values(days, [0.3, 0.7])
    assert (np.diff(found) <= 0.0).all()
    assert ((found > 0.0) & (found <= 1.0)).all()


@quick
@given(seeds)
def test_the_interval_of_the_draw_agrees_with_its_p(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.lognormal(size=14)
    draws = (np.argsort(rng.random((79, 14)), axis=1) >= 7).astype(np.int8)
    arms = draws[0].astype(np.int64)
    found = randomisation_test(values, arms, draws[1:])
    for end in (found.low, found.high):
        inside = end + 1e-6 * np.sign(found.difference - end)
        outside = end - 1e-6 * np.sign(found.difference - end)
        assert randomisation_test(values - inside * arms, arms, draws[1:]).p_value > 0.05
        assert randomisation_test(values - outside * arms, arms, draws[1:]).p_value <= 0.05
