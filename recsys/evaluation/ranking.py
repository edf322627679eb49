"""Ranking metrics at k, per client, with their exact definitions.

Notation of every formula below: a client has the set *R* of relevant offers, ``|R| ≥ 1``; its ranked list
has *k* slots; ``rel_j`` is 1 if the offer in slot *j* (1-based) is relevant, else 0. An empty slot is never
relevant and the list keeps its length *k*. For a client without relevant offers no metric is defined: its
value is NaN, so that no average can take it for a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.models.base import FloatArray, IntArray

EMPTY_SLOT = -1


def rank_top_k(scores: FloatArray, k: int) -> IntArray:
    """The k best columns of each row: by score descending, equal scores by column ascending.

    Args:
        scores: Shape (n_clients, n_offers). Minus infinity marks an offer that must not appear.
        k: Length of the lists, ≥1.

    Returns:
        Columns, shape (n_clients, k); slots that no offer may fill hold `EMPTY_SLOT`.

    Raises:
        ValueError: k < 1, or a score is NaN.

    Example:
        >>> rank_top_k(np.array([[0.1, 0.9, 0.9, -np.inf]]), k=2)
        array([[1, 2]])
        >>> rank_top_k(np.array([[0.1, -np.inf]]), k=3)
        array([[ 0, -1, -1]])
    """
    if k < 1:
        raise ValueError(f"k is {k}, must be at least 1")
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN, which has no place in an order")
    n_clients, n_offers = scores.shape
    ranked = np.full((n_clients, k), EMPTY_SLOT, dtype=np.int64)
    length = min(k, n_offers)
    if n_clients == 0 or length == 0:
        return ranked
    columns = _best_columns(scores, length)
    best = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    columns = np.take_along_axis(columns, order, axis=1)
    is_allowed = np.take_along_axis(best, order, axis=1) > -np.inf
    ranked[:, :length] = np.where(is_allowed, columns, EMPTY_SLOT)
    return ranked


def _best_columns(scores: FloatArray, length: int) -> IntArray:
    """The columns of the best scores, ascending; of equal scores at the border the first columns.

    A partition and two comparisons: sorting whole rows costs several times as much on wide catalogues.
    """
    n_clients, n_offers = scores.shape
    border = np.partition(scores, n_offers - length, axis=1)[:, n_offers - length, None]
    is_above = scores > border
    is_equal = scores == border
    n_missing = length - is_above.sum(axis=1, keepdims=True)
    is_best = is_above | (is_equal & (np.cumsum(is_equal, axis=1) <= n_missing))
    return np.nonzero(is_best)[1].reshape(n_clients, length)


@dataclass(frozen=True, slots=True)
class Hits:
    """Ranked lists reduced to what the metrics read.

    Attributes:
        is_relevant: ``rel_j`` for each slot, shape (n_clients, k).
        n_relevant: ``|R|``, shape (n_clients,).
    """

    is_relevant: NDArray[np.bool_]
    n_relevant: IntArray

    @property
    def k(self) -> int:
        """Length of the lists."""
        return int(self.is_relevant.shape[1])

    def cut(self, k: int) -> Hits:
        """The same lists, only the first k slots."""
        return Hits(self.is_relevant[:, :k], self.n_relevant)


def find_hits(ranked: IntArray, relevant: sparse.csr_array) -> Hits:
    """Compare ranked lists with relevant offers.

    Args:
        ranked: Columns, shape (n_clients, k), each at most once per row; `EMPTY_SLOT` = nothing there.
        relevant: The relevant offers as a pattern, clients_by_offers; its values are not read.

    Returns:
        The hits.

    Raises:
        ValueError: The two have different numbers of clients.

    Example:
        >>> relevant = sparse.csr_array(np.array([[1, 0, 1], [0, 1, 0]]))
        >>> hits = find_hits(np.array([[2, 1], [0, -1]]), relevant)
        >>> hits.is_relevant.tolist(), hits.n_relevant.tolist()
        ([[True, False], [False, False]], [2, 1])
    """
    n_clients, n_offers = relevant.shape
    if len(ranked) != n_clients:
        raise ValueError(f"ranked has {len(ranked)} clients, relevant has {n_clients}")
    rows = np.repeat(np.arange(n_clients), np.diff(relevant.indptr))
    # (client, offer) as one number: a single sorted lookup instead of one set per client
    relevant_keys = np.unique(rows * n_offers + relevant.indices)
    keys = np.arange(n_clients)[:, None] * n_offers + ranked
    is_relevant = np.isin(keys, relevant_keys) & (ranked != EMPTY_SLOT)
    n_relevant = np.bincount(relevant_keys // max(n_offers, 1), minlength=n_clients)
    return Hits(is_relevant, n_relevant.astype(np.int64))


def ndcg(hits: Hits) -> FloatArray:
    """Normalised discounted cumulative gain, binary gain, ideal list cut at k.

    ``NDCG = Σ_{j≤k} rel_j / log2(j + 1)  ÷  Σ_{j≤min(k, |R|)} 1 / log2(j + 1)``

    Returns:
        One value per client, 0–1, shape (n_clients,); NaN without relevant offers.

    Source:
        Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".

    Example:
        One of two relevant offers, in slot 1 of 3: 1 ÷ (1 + 1/log2(3)) = 1 ÷ 1.6309.

        >>> ndcg(Hits(np.array([[True, False, False]]), np.array([2]))).round(4)
        array([0.6131])
    """
    discounts = 1.0 / np.log2(np.arange(2, hits.k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    return _divide(hits.is_relevant @ discounts, ideal[np.minimum(hits.n_relevant, hits.k)])


def recall(hits: Hits) -> FloatArray:
    """Share of the relevant offers that the list shows.

    ``recall = Σ_{j≤k} rel_j ÷ |R|``. With more than k relevant offers even a perfect list stays below 1.

    Returns:
        One value per client, 0–1, shape (n_clients,); NaN without relevant offers.

    Example:
        One of four relevant offers: 1/4.

        >>> recall(Hits(np.array([[False, True]]), np.array([4])))
        array([0.25])
    """
    return _divide(hits.is_relevant.sum(axis=1), hits.n_relevant)


def precision(hits: Hits) -> FloatArray:
    """Share of the slots that hold a relevant offer.

    ``precision = Σ_{j≤k} rel_j ÷ k``. The denominator is k even where fewer slots could be filled.

    Returns:
        One value per client, 0–1, shape (n_clients,); NaN without relevant offers.

    Example:
        One relevant offer in four slots: 1/4.

        >>> precision(Hits(np.array([[False, True, False, False]]), np.array([1])))
        array([0.25])
    """
    return _divide(hits.is_relevant.sum(axis=1) / hits.k, np.minimum(hits.n_relevant, 1))


def average_precision(hits: Hits) -> FloatArray:
    """Precision averaged over the slots of the hits; its mean over clients is MAP.

    ``AP = Σ_{j≤k} rel_j · (Σ_{i≤j} rel_i ÷ j)  ÷  min(k, |R|)``

    Returns:
        One value per client, 0–1, shape (n_clients,); NaN without relevant offers.

    Example:
        Two relevant offers, in slots 1 and 4 of 4: (1/1 + 2/4) ÷ 2.

        >>> average_precision(Hits(np.array([[True, False, False, True]]), np.array([2])))
        array([0.75])
    """
    precisions = np.cumsum(hits.is_relevant, axis=1) / np.arange(1, hits.k + 1)
    total = (precisions * hits.is_relevant).sum(axis=1)
    return _divide(total, np.minimum(hits.n_relevant, hits.k))


def reciprocal_rank(hits: Hits) -> FloatArray:
    """One divided by the slot of the first hit; its mean over clients is MRR.

    ``RR = 1 ÷ min{j ≤ k : rel_j = 1}``, and 0 if the list shows nothing relevant.

    Returns:
        One value per client, 0–1, shape (n_clients,); NaN without relevant offers.

    Example:
        First hit in slot 2: 1/2.

        >>> reciprocal_rank(Hits(np.array([[False, True, True]]), np.array([3])))
        array([0.5])
    """
    first = hits.is_relevant.argmax(axis=1) + 1
    return _divide(hits.is_relevant.any(axis=1) / first, np.minimum(hits.n_relevant, 1))


def hit_rate(hits: Hits) -> FloatArray:
    """Whether the list shows anything relevant; its mean over clients is the hit rate.

    ``hit = max_{j≤k} rel_j``

    Returns:
        0 or 1 per client, shape (n_clients,); NaN without relevant offers.

    Example:
        >>> hit_rate(Hits(np.array([[False, True], [False, False]]), np.array([3, 1])))
        array([1., 0.])
    """
    return _divide(hits.is_relevant.max(axis=1), np.minimum(hits.n_relevant, 1))


RANKING_METRICS: Mapping[str, Callable[[Hits], FloatArray]] = MappingProxyType(
    {
        "ndcg": ndcg,
        "recall": recall,
        "precision": precision,
        "map": average_precision,
        "mrr": reciprocal_rank,
        "hit_rate": hit_rate,
    }
)


def _divide(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> FloatArray:
    """The quotient; NaN where the denominator is 0."""
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.greater(denominator, 0))
    return quotient
