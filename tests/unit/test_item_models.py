"""EASE, neighbours and ALS against their definitions, solved another way."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import hypergeom

from recsys.models.als import Als, AlsParams
from recsys.models.base import (
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FloatArray,
    OfferIndex,
    TrainingSet,
)
from recsys.models.chance import held_together
from recsys.models.ease import Ease, EaseParams
from recsys.models.neighbours import Neighbours, NeighboursParams


def _training(holdings: FloatArray) -> TrainingSet:
    matrix = sparse.csr_array(holdings)
    n_clients, n_offers = holdings.shape
    clients = ClientBatch(
        matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), ((),) * n_clients, n_offers
    )
    offers = OfferIndex([f"offer-{column}" for column in range(n_offers)])
    return TrainingSet(datetime(2025, 1, 1, tzinfo=UTC), offers, clients, matrix)


def _random_holdings(seed: int, n_clients: int = 60, n_offers: int = 8) -> FloatArray:
    rng = np.random.default_rng(seed)
    return (rng.random((n_clients, n_offers)) < rng.uniform(0.1, 0.6, n_offers)).astype(np.float64)


def test_ease_by_hand() -> None:
    # XᵀX = [[2, 1, 0], [1, 1, 0], [0, 0, 0]] and λ = 1: the block [[3, 1], [1, 2]] has the inverse
    # [[2, −1], [−1, 3]] / 5, so B[0, 1] = (1/5) / (3/5) and B[1, 0] = (1/5) / (2/5)
    holdings = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    training = _training(holdings)
    ease = Ease(EaseParams(l2=1.0)).fit(training, np.random.default_rng(0))
    np.testing.assert_allclose(
        ease.to_arrays()["weights"], [[0, 1 / 3, 0], [1 / 2, 0, 0], [0, 0, 0]], atol=1e-15
    )
    np.testing.assert_allclose(ease.score(training.clients), [[1 / 2, 1 / 3, 0], [0, 1 / 3, 0]], atol=1e-15)


def test_ease_solves_the_constrained_ridge_regression() -> None:
    # column j of B is the ridge regression of column j on all the others; solved here by least squares
    # on the data with √λ I appended, which shares no step with the closed form
    holdings, l2 = _random_holdings(1), 3.0
    n_offers = holdings.shape[1]
    expected = np.zeros((n_offers, n_offers))
    for column in range(n_offers):
        others = np.delete(np.arange(n_offers), column)
        stacked = np.vstack([holdings[:, others], np.sqrt(l2) * np.eye(n_offers - 1)])
        wanted = np.concatenate([holdings[:, column], np.zeros(n_offers - 1)])
        expected[others, column] = np.linalg.lstsq(stacked, wanted)[0]
    ease = Ease(EaseParams(l2=l2)).fit(_training(holdings), np.random.default_rng(0))
    np.testing.assert_allclose(ease.to_arrays()["weights"], expected, atol=1e-10)


def test_ease_toward_what_is_recent_solves_its_own_regression() -> None:
    # as above, but what is predicted counts for half after every 30 days
    holdings, l2 = _random_holdings(8), 3.0
    n_offers = holdings.shape[1]
    training = _training(holdings)
    ages = np.random.default_rng(9).uniform(0, 200, len(training.clients.columns))
    recent = holdings.copy()
    recent[holdings > 0] = 0.5 ** (ages / 30)
    expected = np.zeros((n_offers, n_offers))
    for column in range(n_offers):
        others = np.delete(np.arange(n_offers), column)
        stacked = np.vstack([holdings[:, others], np.sqrt(l2) * np.eye(n_offers - 1)])
        wanted = np.concatenate([recent[:, column], np.zeros(n_offers - 1)])
        expected[others, column] = np.linalg.lstsq(stacked, wanted)[0]
    aged = replace(training, clients=replace(training.clients, ages=ages))
    ease = Ease(EaseParams(l2=l2, half_life_days=30.0)).fit(aged, np.random.default_rng(0))
    np.testing.assert_allclose(ease.to_arrays()["weights"], expected, atol=1e-10)


def test_ease_toward_holdings_of_one_age_is_plain_ease_to_scale() -> None:
    training = _training(_random_holdings(10))
    aged = replace(
        training, clients=replace(training.clients, ages=np.full(len(training.clients.columns), 60.0))
    )
    plain = Ease().fit(training, np.random.default_rng(0)).to_arrays()["weights"]
    halved = Ease(EaseParams(half_life_days=60.0)).fit(aged, np.random.default_rng(0)).to_arrays()["weights"]
    np.testing.assert_allclose(halved, plain / 2, atol=1e-12)


def test_ease_default_penalty_is_five_times_the_mean_number_of_holders() -> None:
    training = _training(_random_holdings(2))
    l2 = 5 * training.demand.sum() / training.demand.shape[1]
    by_default = Ease().fit(training, np.random.default_rng(0))
    by_hand = Ease(EaseParams(l2=float(l2))).fit(training, np.random.default_rng(0))
    np.testing.assert_allclose(by_default.to_arrays()["weights"], by_hand.to_arrays()["weights"], rtol=1e-12)


def test_ease_names_the_holding_with_the_largest_weight() -> None:
    # 40 clients hold 0 and 2, 20 hold 1 and 2: to 2, the service 0 is the better guide
    training = _training(
        np.array([[1.0, 0, 1]] * 40 + [[0, 1, 1]] * 20 + [[1, 1, 0]] + [[0, 1, 0]] * 9 + [[0, 0, 0]] * 130)
    )
    ease = Ease(EaseParams(l2=1.0)).fit(training, np.random.default_rng(0))
    assert list(ease.explain(ClientFacts(held=(0, 1)), 2)) == [
        Evidence(EvidenceKind.HOLDING, "offer-0", 40),
        Evidence(EvidenceKind.HOLDING, "offer-1", 20),
    ]


def test_services_held_together_by_few_are_no_reason() -> None:
    # both of the two are always held together, but only by nine clients
    few, enough = ([[1.0, 1.0]] * n_both + [[0.0, 0.0]] * 500 for n_both in (9, 10))
    for holdings, said in ((few, ()), (enough, (Evidence(EvidenceKind.HOLDING, "offer-0", 10),))):
        training = _training(np.array(holdings))
        for model in (Ease(), Neighbours(), Als(AlsParams(n_factors=2))):
            fitted = model.fit(training, np.random.default_rng(0))
            assert tuple(fitted.explain(ClientFacts(held=(0, 1)), 1)) == said, model.name


def test_counts_held_together_are_those_of_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(7)
    holdings = (rng.random((2000, 10)) < 0.2 + 0.4 * (rng.random((2000, 1)) < 0.3)).astype(np.float64)
    holdings[:, 0] = 1.0
    counts = held_together(sparse.csr_array(holdings))
    assert counts.dtype == np.uint8
    assert not counts[0].any(), "who holds anything holds the first: it says nothing"
    for left in range(1, 10):
        for right in range(1, 10):
            n_both = int((holdings[:, left] * holdings[:, right]).sum())
            chance = hypergeom(2000, int(holdings[:, left].sum()), int(holdings[:, right].sum()))
            floor = max(1.2 * chance.mean(), chance.mean() + 3 * chance.std(), 10)
            assert counts[left, right] == (min(n_both, 255) if n_both >= floor and left != right else 0)
    assert counts.max() > 0


@pytest.mark.parametrize("similarity", ["cosine", "tfidf", "bm25"])
def test_neighbours_are_those_of_implicit(similarity: str) -> None:
    nearest = pytest.importorskip("implicit.nearest_neighbours")
    holdings = _random_holdings(3)
    params = NeighboursParams.model_validate({"similarity": similarity, "n_neighbours": 3})
    ours = Neighbours(params).fit(_training(holdings), np.random.default_rng(0)).to_arrays()["weights"]
    theirs = {
        "cosine": nearest.CosineRecommender,
        "tfidf": nearest.TFIDFRecommender,
        "bm25": nearest.BM25Recommender,
    }[similarity](K=4, num_threads=1)
    # the library converts its own intermediate matrix and warns about it
    with warnings.catch_warnings(action="ignore"):
        theirs.fit(sparse.csr_matrix(holdings), show_progress=False)
    expected = theirs.similarity.toarray()
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert ((ours > 0).sum(axis=1) <= 4).all()


def test_cosine_by_hand() -> None:
    # offers 0 and 1 share one of 2 and 1 clients: 1 / √(2·1)
    training = _training(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    neighbours = Neighbours(NeighboursParams(similarity="cosine")).fit(training, np.random.default_rng(0))
    half = 1 / np.sqrt(2)
    np.testing.assert_allclose(neighbours.score(training.clients), [[half, half, 0], [0, half, 0]], rtol=1e-7)


def test_als_folds_in_by_the_normal_equations() -> None:
    # x minimises Σ_j c_j (p_j − x·y_j)² + λ‖x‖² with c = α and p = 1 where held, else c = 1 and p = 0;
    # solved here over all offers as weighted least squares, without the sparse trick of the model
    holdings = _random_holdings(4)
    params = AlsParams(n_factors=5, l2=0.7, alpha=4.0, n_iterations=5)
    training = _training(holdings)
    als = Als(params).fit(training, np.random.default_rng(0))
    factors = als.to_arrays()["factors"].astype(np.float64)
    scores = als.score(training.clients)
    for client, held in enumerate(holdings):
        root = np.sqrt(np.where(held > 0, params.alpha, 1.0))
        stacked = np.vstack([root[:, None] * factors, np.sqrt(params.l2) * np.eye(5)])
        vector = np.linalg.lstsq(stacked, np.concatenate([root * held, np.zeros(5)]))[0]
        np.testing.assert_allclose(scores[client], factors @ vector, rtol=1e-9, atol=1e-10)


def test_als_fold_in_reproduces_the_library() -> None:
    implicit_als = pytest.importorskip("implicit.cpu.als")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    params = AlsParams(n_factors=4, l2=0.5, alpha=3.0, n_iterations=3)
    training = _training(_random_holdings(5))
    als = Als(params).fit(training, np.random.default_rng(0))
    with threadpoolctl.threadpool_limits(1, "blas"):
        library = implicit_als.AlternatingLeastSquares(
            factors=4, regularization=0.5, alpha=3.0, num_threads=1
        )
        library.item_factors = als.to_arrays()["factors"].astype(np.float32)
        matrix = sparse.csr_matrix(training.demand)
        vectors = library.recalculate_user(np.arange(matrix.shape[0]), matrix)
    np.testing.assert_allclose(als.score(training.clients), vectors @ library.item_factors.T, atol=1e-4)


def test_als_contributions_add_up_to_the_score() -> None:
    kinds = np.random.default_rng(6).random((300, 1)) < 0.5
    holdings = np.where(kinds, _random_holdings(6, 300), _random_holdings(7, 300) / 2).round()
    training = _training(holdings)
    als = Als(AlsParams(n_factors=4, l2=0.5, alpha=3.0)).fit(training, np.random.default_rng(0))
    factors = als.to_arrays()["factors"].astype(np.float64)
    client = int(np.argmax(holdings.sum(axis=1)))
    held = np.flatnonzero(holdings[client])
    normal = factors.T @ factors + 2.0 * factors[held].T @ factors[held] + 0.5 * np.eye(4)
    contributions = 3.0 * factors[held] @ np.linalg.inv(normal) @ factors.T
    np.testing.assert_allclose(contributions.sum(axis=0), als.score(training.clients)[client], rtol=1e-9)
    together = als.to_arrays()["together"]
    facts = ClientFacts(held=tuple(held.tolist()))
    found = [list(als.explain(facts, column)) for column in range(8)]
    for column, said in enumerate(found):
        strengths = np.where(together[held, column] > 0, contributions[:, column], 0.0)
        best = [row for row in np.argsort(-strengths) if strengths[row] > 0][:2]
        assert [evidence.subject for evidence in said] == [f"offer-{held[row]}" for row in best]
    assert any(found)
