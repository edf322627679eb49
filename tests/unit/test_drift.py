"""The stability index and its bins, against values worked out by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.features.drift import (
    N_EDGES,
    Reference,
    compared,
    count_bins,
    fit_reference,
    stability_index,
)
from recsys.features.population import Population, fit_population

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_number_of_few_values_has_a_bin_for_each_and_one_for_the_unknown() -> None:
    column = np.array([0.0] * 5 + [1.0] * 3 + [7.0] + [np.nan])
    reference = fit_reference(["n"], column[:, None])
    assert reference.edges[0].tolist() == [0.0, 1.0, *[math.inf] * (N_EDGES - 2)]
    assert reference.shares[0, :4].tolist() == [0.1, 0.5, 0.3, 0.1]


def test_a_rare_flag_is_not_lost_between_deciles() -> None:
    column = np.array([0.0] * 3 + [1.0] * 97)
    reference = fit_reference(["flag"], column[:, None])
    assert reference.shares[0, 1:3].tolist() == [0.03, 0.97]


def test_a_number_of_many_values_is_cut_at_its_deciles() -> None:
    reference = fit_reference(["x"], np.arange(1000, dtype=float)[:, None])
    np.testing.assert_allclose(reference.edges[0], [99.9 * each for each in range(1, 10)])
    np.testing.assert_allclose(reference.shares[0, 1:], 0.1)


def test_the_index_of_a_shifted_sample_is_the_formula() -> None:
    before = np.arange(1000, dtype=float)
    reference = fit_reference(["x"], before[:, None])
    counts = count_bins(reference.edges, (before + 100)[:, None])
    # a decile moves out at the low end (floored at 1e-4), and in at the high end
    assert counts[0, 1:].tolist() == [0, *[100] * 8, 200]
    expected = (1e-4 - 0.1) * math.log(1e-4 / 0.1) + (0.2 - 0.1) * math.log(0.2 / 0.1)
    assert stability_index(reference.shares[0], counts[0]) == pytest.approx(expected)
    assert expected > 0.25


def test_the_same_sample_has_index_zero() -> None:
    rows = np.random.default_rng(5).normal(size=(2000, 3))
    reference = fit_reference(["a", "b", "c"], rows)
    counts = count_bins(reference.edges, rows)
    assert [stability_index(*each) for each in zip(reference.shares, counts, strict=True)] == [0.0] * 3


def test_what_becomes_unknown_is_a_drift() -> None:
    rows = np.arange(100, dtype=float)[:, None]
    reference = fit_reference(["x"], rows)
    lost = np.where(rows < 50, np.nan, rows)
    assert stability_index(reference.shares[0], count_bins(reference.edges, lost)[0]) > 1


def test_chance_alone_stays_near_its_expectation() -> None:
    rng = np.random.default_rng(20260301)
    reference = fit_reference(["x"], rng.normal(size=(100_000, 1)))
    found = [
        stability_index(reference.shares[0], count_bins(reference.edges, rng.normal(size=(500, 1)))[0])
        for _ in range(200)
    ]
    # over ten bins of n = 500 it is χ² with nine degrees of freedom, over n: mean .018, deviation .0085
    assert abs(np.mean(found) - 9 / 500) < 3 * 0.0085 / math.sqrt(200) + 0.002


def test_scores_stand_behind_the_features() -> None:
    rows = compared(np.array([[1.0, 2.0]]), np.array([[0.1, 0.4, 0.1]]))
    np.testing.assert_allclose(rows, [[1.0, 2.0, 0.4, 0.2]])


def test_a_population_keeps_its_reference_and_older_programs_do_without() -> None:
    plain = fit_population((), (), T0)
    reference = fit_reference(["x"], np.arange(50, dtype=float)[:, None])
    population = Population(
        **{name: getattr(plain, name) for name in Population.__slots__[:-1]}, reference=reference
    )
    arrays = population.to_arrays()
    restored = Population.restore((), arrays)
    assert restored.reference is not None
    assert restored.reference.names == ("x",)
    np.testing.assert_array_equal(restored.reference.shares, reference.shares)
    without = {name: array for name, array in arrays.items() if not name.startswith("reference_")}
    assert without.keys() == plain.to_arrays().keys()
    assert Population.restore((), without).reference is None


@pytest.mark.parametrize("name", ["names", "edges", "shares"])
def test_a_broken_reference_is_refused(name: str) -> None:
    arrays = fit_reference(["x", "y"], np.zeros((4, 2))).to_arrays()
    arrays[name] = arrays[name][:1]
    with pytest.raises(ValueError, match="different lengths"):
        Reference.restore(arrays)
