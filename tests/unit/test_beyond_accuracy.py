"""Coverage, novelty, diversity, popularity and exposure on lists small enough to work out by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from scipy import sparse

from recsys.evaluation.beyond_accuracy import (
    catalogue_coverage,
    exposure_by_offer,
    exposure_shares,
    gini,
    intra_list_diversity,
    mean_popularity,
    novelty,
    popularity_lift,
    recommended_pattern,
)

LISTS = np.array([[0, 1, 2], [3, -1, 1], [2, -1, -1], [-1, -1, -1]])


@pytest.mark.parametrize(
    ("ranked", "n_offers", "expected"),
    [
        pytest.param([[0, 1], [1, 0]], 4, 2 / 4, id="an offer counts once"),
        pytest.param([[0, -1], [-1, -1]], 4, 1 / 4, id="an empty slot covers nothing"),
        pytest.param([[-1, -1]], 0, 0.0, id="no offers"),
    ],
)
def test_catalogue_coverage(ranked: list[list[int]], n_offers: int, expected: float) -> None:
    assert catalogue_coverage(recommended_pattern(np.array(ranked), n_offers)) == expected


def test_novelty_in_bits() -> None:
    # offer 3 has no holder and counts as if it had one
    found = novelty(LISTS, np.array([10, 5, 2, 0]), n_clients=10)
    expected = [(log2(10 / 10) + log2(10 / 5) + log2(10 / 2)) / 3, (log2(10 / 1) + log2(10 / 5)) / 2, log2(5)]
    assert found[:3] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found[3])


def test_diversity_is_the_share_of_mixed_pairs() -> None:
    assert intra_list_diversity(np.array([[0, 1, 2, 3]]), np.array([7, 7, 8, 9]))[0] == pytest.approx(5 / 6)
    found = intra_list_diversity(LISTS, np.array([1, 1, 1, 2]))
    assert found[:2].tolist() == [0.0, 1.0]
    assert np.isnan(found[2:]).all()  # one slot makes no pair


def test_offers_of_unknown_group_are_alike_to_nothing() -> None:
    assert intra_list_diversity(np.array([[0, 1, 2]]), np.array([-1, -1, 0])).tolist() == [1.0]


def test_popularity_against_the_clients_own() -> None:
    popularity = np.array([0.8, 0.4, 0.2, 0.1])
    shown = mean_popularity(LISTS, popularity)
    assert shown[:3] == pytest.approx([1.4 / 3, 0.25, 0.2])
    assert np.isnan(shown[3])
    held = sparse.csr_array(np.array([[1, 0, 0, 1], [0, 0, 5, 0], [0, 0, 0, 0], [1, 0, 0, 0]]))
    lift = popularity_lift(LISTS, held, popularity)
    assert lift[:2] == pytest.approx([1.4 / 3 - 0.45, 0.25 - 0.2])
    assert np.isnan(lift[2:]).all()  # nothing held; nothing shown


def test_exposure_by_offer_and_by_supplier() -> None:
    assert exposure_by_offer(LISTS, n_offers=5).tolist() == [1, 2, 2, 1, 0]
    suppliers = np.array([0, 2, 0, 2])
    assert exposure_shares(LISTS, suppliers, n_groups=3) == pytest.approx([3 / 6, 0.0, 3 / 6])
    assert np.isnan(exposure_shares(LISTS[3:], suppliers, n_groups=3)).all()


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        pytest.param([3, 3, 3], 0.0, id="equal"),
        pytest.param([0, 0, 0, 0, 10], 1 - 1 / 5, id="one has everything"),
        # |differences| of all ordered pairs: 2 (1 + 2 + 3 + 1 + 2 + 1) ÷ (2 · 4² · mean 2.5)
        pytest.param([4, 1, 3, 2], 20 / 80, id="an even climb"),
    ],
)
def test_gini(amounts: list[int], expected: float) -> None:
    assert gini(np.array(amounts)) == pytest.approx(expected, abs=1e-15)


def test_gini_of_nothing_is_not_defined() -> None:
    assert np.isnan(gini(np.zeros(3)))
