"""Our metrics against scikit-learn, where the definitions agree.

Oracle: scikit-learn (``sklearn.metrics``). Its precision-recall family knows no list length, so average
precision and the reciprocal rank are compared on whole rankings (k = number of offers), and its top-k
accuracy knows one right answer per row, so the hit rate is compared on clients with one relevant offer.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics as oracle

from recsys.evaluation.ranking import (
    Hits,
    average_precision,
    find_hits,
    hit_rate,
    ndcg,
    precision,
    rank_top_k,
    recall,
    reciprocal_rank,
)

N_CLIENTS, N_OFFERS = 150, 40


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return np.random.default_rng(11).normal(size=(N_CLIENTS, N_OFFERS))  # no ties


@pytest.fixture(scope="module")
def relevance() -> np.ndarray:
    """From one to 25 relevant offers per client, so often more than k."""
    rng = np.random.default_rng(12)
    relevance = np.zeros((N_CLIENTS, N_OFFERS), dtype=int)
    for row in relevance:
        row[rng.choice(N_OFFERS, size=rng.integers(1, 26), replace=False)] = 1
    return relevance


def hits_at(scores: np.ndarray, relevance: np.ndarray, k: int) -> Hits:
    return find_hits(rank_top_k(scores, k), sparse.csr_array(relevance))


@pytest.mark.parametrize("k", [1, 3, 10, N_OFFERS])
def test_ndcg(scores: np.ndarray, relevance: np.ndarray, k: int) -> None:
    expected = [
        oracle.ndcg_score(truth[None], row[None], k=k) for truth, row in zip(relevance, scores, strict=True)
    ]
    assert ndcg(hits_at(scores, relevance, k)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("k", [1, 3, 10, N_OFFERS])
def test_recall_and_precision(scores: np.ndarray, relevance: np.ndarray, k: int) -> None:
    shown = (np.argsort(np.argsort(-scores, axis=1), axis=1) < k).astype(int)
    hits = hits_at(scores, relevance, k)
    # one column per client: scikit-learn then gives one figure per client
    expected_recall = oracle.recall_score(relevance.T, shown.T, average=None)
    expected_precision = oracle.precision_score(relevance.T, shown.T, average=None)
    assert recall(hits) == pytest.approx(expected_recall, abs=1e-9)
    assert precision(hits) == pytest.approx(expected_precision, abs=1e-9)


def test_average_precision_of_whole_rankings(scores: np.ndarray, relevance: np.ndarray) -> None:
    expected = [oracle.average_precision_score(*pair) for pair in zip(relevance, scores, strict=True)]
    assert average_precision(hits_at(scores, relevance, N_OFFERS)) == pytest.approx(expected, abs=1e-9)


def test_average_precision_at_k_where_everything_relevant_is_in_the_list(relevance: np.ndarray) -> None:
    k = 30
    rng = np.random.default_rng(13)
    scores = rng.random((N_CLIENTS, N_OFFERS)) + 0.3 * relevance
    position = np.argsort(np.argsort(-scores, axis=1), axis=1)
    is_complete = np.where(relevance == 1, position, 0).max(axis=1) < k
    assert is_complete.sum() > 30
    expected = [
        oracle.average_precision_score(*pair)
        for pair in zip(relevance[is_complete], scores[is_complete], strict=True)
    ]
    found = average_precision(hits_at(scores, relevance, k))[is_complete]
    assert found == pytest.approx(expected, abs=1e-9)


def test_reciprocal_rank_of_one_relevant_offer(scores: np.ndarray) -> None:
    relevant = np.random.default_rng(14).integers(N_OFFERS, size=N_CLIENTS)
    relevance = np.eye(N_OFFERS, dtype=int)[relevant]
    found = reciprocal_rank(hits_at(scores, relevance, N_OFFERS))
    expected = [
        oracle.label_ranking_average_precision_score(truth[None], row[None])
        for truth, row in zip(relevance, scores, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_hit_rate_of_one_relevant_offer(scores: np.ndarray, k: int) -> None:
    relevant = np.random.default_rng(15).integers(N_OFFERS, size=N_CLIENTS)
    hits = hits_at(scores, np.eye(N_OFFERS, dtype=int)[relevant], k)
    expected = oracle.top_k_accuracy_score(relevant, scores, k=k, labels=np.arange(N_OFFERS))
    assert hit_rate(hits).mean() == pytest.approx(expected, abs=1e-9)
