"""Ranking metrics, top-k and what stands in slots, on tables small enough to work out by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from scipy import sparse

from recsys.evaluation.ranking import (
    RANKING_METRICS,
    Hits,
    find_hits,
    margin_at_k,
    pr_auc_by_offer,
    rank_top_k,
    slot_pairs,
    take_slots,
)

INF = np.inf
# k = 4: the slots that hold a relevant offer, and how many relevant offers there are
CASES = {
    "perfect": ([1, 1, 0, 0], 2),
    "late": ([0, 0, 1, 1], 2),
    "more relevant than slots": ([1, 0, 1, 0], 6),
    "nothing found": ([0, 0, 0, 0], 3),
}
IDEAL_2 = 1 / log2(2) + 1 / log2(3)
IDEAL_4 = 1 / log2(2) + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)
EXPECTED = {
    "ndcg": [1.0, (1 / log2(4) + 1 / log2(5)) / IDEAL_2, (1 / log2(2) + 1 / log2(4)) / IDEAL_4, 0.0],
    "recall": [2 / 2, 2 / 2, 2 / 6, 0 / 3],
    "precision": [2 / 4, 2 / 4, 2 / 4, 0 / 4],
    "map": [(1 / 1 + 2 / 2) / 2, (1 / 3 + 2 / 4) / 2, (1 / 1 + 2 / 3) / 4, 0.0],
    "mrr": [1 / 1, 1 / 3, 1 / 1, 0.0],
    "hit_rate": [1.0, 1.0, 1.0, 0.0],
}


@pytest.fixture
def hits() -> Hits:
    slots, n_relevant = zip(*CASES.values(), strict=True)
    return Hits(np.array(slots, dtype=bool), np.array(n_relevant))


@pytest.mark.parametrize("metric", list(RANKING_METRICS))
def test_metric_agrees_with_arithmetic(metric: str, hits: Hits) -> None:
    assert RANKING_METRICS[metric](hits) == pytest.approx(EXPECTED[metric], abs=1e-15)


@pytest.mark.parametrize("metric", list(RANKING_METRICS))
def test_metric_of_a_client_without_relevant_offers_is_undefined(metric: str) -> None:
    nothing_relevant = Hits(np.zeros((1, 3), dtype=bool), np.array([0]))
    assert np.isnan(RANKING_METRICS[metric](nothing_relevant)).all()


def test_metrics_of_the_first_slots_alone(hits: Hits) -> None:
    first_two = hits.cut(2)
    assert RANKING_METRICS["precision"](first_two) == pytest.approx([2 / 2, 0, 1 / 2, 0])
    assert RANKING_METRICS["map"](first_two) == pytest.approx([(1 / 1 + 2 / 2) / 2, 0, (1 / 1) / 2, 0])


def test_hits_read_the_pattern_and_never_an_empty_slot() -> None:
    relevant = sparse.csr_array(np.array([[0, 5, 0, 5], [5, 0, 0, 0], [0, 0, 0, 0]]))
    hits = find_hits(np.array([[3, 0, -1], [-1, -1, -1], [0, 1, 2]]), relevant)
    assert hits.is_relevant.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert hits.n_relevant.tolist() == [2, 1, 0]


def test_an_empty_slot_is_not_taken_for_the_previous_clients_last_offer() -> None:
    # as a number, slot -1 of client 1 is offer 3 of client 0
    relevant = sparse.csr_array(np.array([[0, 0, 0, 1], [1, 0, 0, 0]]))
    assert not find_hits(np.array([[0], [-1]]), relevant).is_relevant.any()


def test_hits_of_lists_for_other_clients_are_refused() -> None:
    with pytest.raises(ValueError, match="ranked has 2 clients, relevant has 1"):
        find_hits(np.zeros((2, 1), dtype=np.int64), sparse.csr_array((1, 3)))


@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        pytest.param([3, 1, 2], 2, [0, 2], id="best first"),
        pytest.param([1, 1, 1, 1], 2, [0, 1], id="all equal"),
        pytest.param([0, 7, 1, 1, 1], 3, [1, 2, 3], id="equal at the border"),
        pytest.param([2, -INF, -INF], 2, [0, -1], id="masked offers leave slots empty"),
        pytest.param([-INF, -INF], 2, [-1, -1], id="everything masked"),
        pytest.param([1, 2], 4, [1, 0, -1, -1], id="fewer offers than slots"),
        pytest.param([0.0, -0.0, INF], 3, [2, 0, 1], id="zeros of both signs are equal"),
        pytest.param([], 2, [-1, -1], id="no offers"),
    ],
)
def test_top_k(scores: list[float], k: int, expected: list[int]) -> None:
    assert rank_top_k(np.array([scores], dtype=float), k).tolist() == [expected]


def test_top_k_equals_a_full_sort_on_scores_full_of_ties() -> None:
    rng = np.random.default_rng(20)
    scores = rng.integers(0, 4, size=(200, 30)).astype(float)
    scores[rng.random(scores.shape) < 0.3] = -INF
    by_hand = np.argsort(-scores, axis=1, kind="stable")[:, :8]
    by_hand[np.take_along_axis(scores, by_hand, axis=1) == -INF] = -1
    assert (rank_top_k(scores, 8) == by_hand).all()


def test_top_k_of_no_clients() -> None:
    assert rank_top_k(np.zeros((0, 5)), 3).shape == (0, 3)


def test_top_k_refuses_what_has_no_order() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        rank_top_k(np.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match="NaN"):
        rank_top_k(np.array([[0.0, np.nan]]), 1)


def test_what_stands_in_a_slot_and_what_it_earns() -> None:
    ranked = np.array([[2, 0], [1, -1], [-1, -1]])
    chances = np.array([[0.5, 0.0, 0.25], [0.0, 0.1, 0.9], [1.0, 1.0, 1.0]])
    margins = np.array([100, 3000, 20])
    in_slots = take_slots(chances, ranked)
    assert in_slots.tolist() == [[0.25, 0.5], [0.1, 0.0], [0.0, 0.0]]
    assert margin_at_k(in_slots, ranked, margins) == pytest.approx([0.25 * 20 + 0.5 * 100, 0.1 * 3000, 0.0])


def test_margin_of_outcomes_is_what_followed_and_defined_for_every_client() -> None:
    relevant = sparse.csr_array(np.array([[1, 0, 1], [0, 0, 0]]))
    ranked = np.array([[2, 1], [0, 1]])
    hits = find_hits(ranked, relevant)
    assert margin_at_k(hits.is_relevant, ranked, np.array([7, 11, 13])).tolist() == [13, 0]


def test_pairs_of_lists_name_their_slots() -> None:
    rows, columns, slots = slot_pairs(np.array([[4, -1, 2], [-1, -1, -1], [0, 1, 3]]))
    assert rows.tolist() == [0, 0, 2, 2, 2]
    assert columns.tolist() == [4, 2, 0, 1, 3]
    assert slots.tolist() == [1, 3, 1, 2, 3]


def test_pr_auc_by_hand() -> None:
    # offer 0: takers in places 2 and 3; offer 1: all tied, so the base rate; offer 2: nobody; offer 3: its
    # taker is no candidate
    scores = np.array([[9, 5, 1, -INF], [8, 5, 2, 3], [7, 5, 3, 2], [6, 5, 4, 1]], dtype=float)
    relevant = sparse.csr_array(np.array([[0, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]))
    found = pr_auc_by_offer(scores, relevant)
    assert found[:2] == pytest.approx([(1 / 2 + 2 / 3) / 2, 1 / 4], abs=1e-15)
    assert np.isnan(found[2:]).all()


def test_pr_auc_of_other_clients_or_of_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="must be the same"):
        pr_auc_by_offer(np.zeros((2, 3)), sparse.csr_array((2, 4)))
    with pytest.raises(ValueError, match="NaN"):
        pr_auc_by_offer(np.full((1, 1), np.nan), sparse.csr_array((1, 1)))
