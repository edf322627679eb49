"""Our metrics against other libraries, where the definitions agree.

Oracles: scikit-learn (``sklearn.metrics``), run here, and ranx 0.3.21, whose figures are stored below with
the rule that makes its input. ranx divides average precision by |R| even where the list is shorter, so it is
compared on whole rankings. scikit-learn's precision-recall family knows no list length, so average
precision and the reciprocal rank are compared on whole rankings (k = number of offers), and its top-k
accuracy knows one right answer per row, so the hit rate is compared on clients with one relevant offer.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics as oracle

from recsys.evaluation.ranking import (
    RANKING_METRICS,
    Hits,
    average_precision,
    find_hits,
    hit_rate,
    ndcg,
    pr_auc_by_offer,
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


@pytest.mark.parametrize("decimals", [9, 1], ids=["no ties", "scores full of ties"])
def test_pr_auc_by_offer(scores: np.ndarray, relevance: np.ndarray, decimals: int) -> None:
    rounded = scores.round(decimals)
    expected = [oracle.average_precision_score(*pair) for pair in zip(relevance.T, rounded.T, strict=True)]
    found = pr_auc_by_offer(rounded, sparse.csr_array(relevance))
    assert found == pytest.approx(expected, abs=1e-9)


def test_pr_auc_among_candidates_only(scores: np.ndarray, relevance: np.ndarray) -> None:
    is_candidate = np.random.default_rng(16).random(scores.shape) < 0.7
    expected = [
        oracle.average_precision_score(truth[allowed], column[allowed])
        for truth, column, allowed in zip(relevance.T, scores.T, is_candidate.T, strict=True)
    ]
    found = pr_auc_by_offer(np.where(is_candidate, scores, -np.inf), sparse.csr_array(relevance))
    assert found == pytest.approx(expected, abs=1e-9)


# fmt: off
RANX = {
    "ndcg": (10, [0.2691828628414762, 0.4761627026161036, 0.7809435871569447, 0.2691828628414762,
                  0.36331756126716835, 0.5766405527108873, 0.2691828628414762, 0.44149241373678083,
                  0.4935232796777481, 0.0, 0.0, 0.0]),
    "recall": (10, [0.5, 0.75, 0.8333333333333334, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3333333333333333,
                    0.0, 0.0, 0.0]),
    "precision": (10, [0.2, 0.3, 0.5, 0.2, 0.2, 0.4, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0]),
    "mrr": (10, [0.16666666666666666, 0.3333333333333333, 1.0, 0.16666666666666666, 0.3333333333333333, 1.0,
                 0.16666666666666666, 0.5, 1.0, 0.0, 0.0, 0.0]),
    "hit_rate": (10, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
    "map": (30, [0.24221611721611722, 0.37424242424242427, 0.614021164021164, 0.17229064039408865,
                 0.2742165242165242, 0.4928286749482401, 0.17229064039408865, 0.3601282051282051,
                 0.44951690821256046, 0.09229816909726954, 0.10866621682411157, 0.17177049080501766]),
}
# fmt: on


@pytest.mark.parametrize("metric", list(RANX))
def test_metrics_of_ranx(metric: str) -> None:
    k, expected = RANX[metric]
    client, offer = np.indices((12, 30))
    mixed = (client * 30 + offer + 1) * 2654435761 % 2**32
    is_relevant = (mixed * 40503 % 2**31) < 2**31 // 6
    found = RANKING_METRICS[metric](hits_at(mixed / 2**32, is_relevant.astype(int), k))
    assert found == pytest.approx(expected, abs=1e-9)
