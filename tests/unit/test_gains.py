"""What the top of all (client, offer) pairs catches, on tables small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recsys.evaluation.gains import caught_at_top, gain_curve

# ten pairs: three clients, and two pairs that are no candidates
SCORES = np.array([[0.9, 0.1, 0.5, -np.inf], [0.8, 0.7, 0.2, 0.3], [0.6, -np.inf, 0.4, 0.05]])
GAINED = sparse.csr_array(
    np.array([[30.0, 0.0, 0.0, 0.0], [0.0, 0.0, 20.0, 0.0], [50.0, 99.0, 0.0, 0.0]])
)  # 99 is a gain of what is no candidate


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.1, 30 / 100), (0.3, 30 / 100), (0.4, 80 / 100), (0.35, 55 / 100), (0.8, 1.0), (1.0, 1.0)],
)
def test_share_of_the_gains_at_the_top(share: float, expected: float) -> None:
    # in order of score: 30 0 0 50 0 0 0 20 0 0; .35 of ten pairs is three and a half
    assert caught_at_top(SCORES, GAINED, share).share == pytest.approx(expected, abs=1e-12)
    assert gain_curve(SCORES, GAINED, np.array([share])) == pytest.approx([expected], abs=1e-12)


def test_gains_by_client_sum_to_the_whole() -> None:
    caught = caught_at_top(SCORES, GAINED, 0.4)
    assert caught.denominators.tolist() == [30.0, 20.0, 50.0]
    assert caught.numerators.sum() == pytest.approx(80.0)
    # near the threshold (pairs 3 to 6 in order) a pair brings 50/4; the clients have 1, 2, 1 of the top four
    # where .4 of 3, 4, 3 pairs would be 1.2, 1.6, 1.2
    assert caught.numerators == pytest.approx([30 + 0.2 * 12.5, 0 - 0.4 * 12.5, 50 + 0.2 * 12.5])


def test_tied_scores_share_what_room_is_left() -> None:
    gained = sparse.csr_array(np.array([[1.0, 0.0], [1.0, 0.0]]))
    for scores in (np.zeros((2, 2)), np.zeros((2, 2), dtype=np.float32)):
        assert caught_at_top(scores, gained, 0.3).share == pytest.approx(0.3)
        assert gain_curve(scores, gained, np.array([0.1, 0.6])) == pytest.approx([0.1, 0.6])


def test_a_permutation_of_clients_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, size=(40, 5)).astype(float)
    gained = sparse.csr_array((rng.random((40, 5)) < 0.1) * 1.0)
    order = rng.permutation(40)
    caught = caught_at_top(scores, gained, 0.05)
    permuted = caught_at_top(scores[order], gained[order], 0.05)
    assert permuted.numerators == pytest.approx(caught.numerators[order])


def test_no_gains_no_share() -> None:
    nothing = sparse.csr_array((3, 4))
    assert np.isnan(caught_at_top(SCORES, nothing, 0.1).share)
    assert np.isnan(gain_curve(SCORES, nothing, np.array([0.1]))).all()
    nobody = np.full((3, 4), -np.inf)
    assert np.isnan(caught_at_top(nobody, GAINED, 0.1).share)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"share is 0\.0"):
        caught_at_top(SCORES, GAINED, 0.0)
    with pytest.raises(ValueError, match="must be the same"):
        gain_curve(SCORES[:2], GAINED, np.array([0.1]))
    with pytest.raises(ValueError, match="NaN"):
        caught_at_top(np.full((3, 4), np.nan), GAINED, 0.1)
