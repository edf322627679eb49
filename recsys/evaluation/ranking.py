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
    return divide_or_nan(hits.is_relevant @ discounts, ideal[np.minimum(hits.n_relevant, hits.k)])


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
    return divide_or_nan(hits.is_relevant.sum(axis=1), hits.n_relevant)


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
    return divide_or_nan(hits.is_relevant.sum(axis=1) / hits.k, np.minimum(hits.n_relevant, 1))


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
    return divide_or_nan(total, np.minimum(hits.n_relevant, hits.k))


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
    return divide_or_nan(hits.is_relevant.any(axis=1) / first, np.minimum(hits.n_relevant, 1))


def hit_rate(hits: Hits) -> FloatArray:
    """Whether the list shows anything relevant; its mean over clients is the hit rate.

    ``hit = max_{j≤k} rel_j``

    Returns:
        0 or 1 per client, shape (n_clients,); NaN without relevant offers.

    Example:
        >>> hit_rate(Hits(np.array([[False, True], [False, False]]), np.array([3, 1])))
        array([1., 0.])
    """
    return divide_or_nan(hits.is_relevant.max(axis=1), np.minimum(hits.n_relevant, 1))


def take_slots(values: NDArray[np.generic], ranked: IntArray) -> FloatArray:
    """What belongs to the offer in each slot; 0 in an empty slot.

    Args:
        values: A number for each client and offer, such as a probability, shape (n_clients, n_offers).
        ranked: Columns, shape (n_clients, k); `EMPTY_SLOT` = nothing there.

    Returns:
        Shape (n_clients, k).

    Example:
        >>> take_slots(np.array([[0.1, 0.2, 0.3]]), np.array([[2, 0, -1]]))
        array([[0.3, 0.1, 0. ]])
    """
    taken = np.take_along_axis(values, np.maximum(ranked, 0), axis=1)
    return np.where(ranked != EMPTY_SLOT, taken, 0.0)


def slot_pairs(ranked: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The (client, offer) pairs that lists hold, client by client in the order of the slots.

    Args:
        ranked: Columns, shape (n_clients, k); `EMPTY_SLOT` = nothing there.

    Returns:
        Rows, columns and slots (from 1), each of shape (n_filled,).

    Example:
        >>> slot_pairs(np.array([[2, -1], [0, 1]]))
        (array([0, 1, 1]), array([2, 0, 1]), array([1, 1, 2]))
    """
    rows, slots = np.nonzero(ranked != EMPTY_SLOT)
    return rows, ranked[rows, slots], slots + 1


def margin_at_k(
    chances: NDArray[np.generic], ranked: IntArray, margins_minor: NDArray[np.generic]
) -> FloatArray:
    """What a list of k slots earns.

    ``margin = Σ_{j≤k} chance_j · margin_minor(offer in slot j)``. With the true probabilities of a made-up
    operator as chances it is the expected margin, with outcomes (0 or 1) the margin that followed.

    Args:
        chances: Probability or outcome of the offer in each slot, 0–1, shape (n_clients, k); see `take_slots`
            and `Hits.is_relevant`.
        ranked: Columns, shape (n_clients, k); `EMPTY_SLOT` = nothing there, which earns nothing.
        margins_minor: Expected margin a month of each offer, minor units, shape (n_offers,).

    Returns:
        Minor units per client, shape (n_clients,): defined for every client, 0 where nothing is wanted.

    Example:
        One in ten of 5000 and one in two of 200.

        >>> margin_at_k(np.array([[0.1, 0.5, 0.0]]), np.array([[1, 0, -1]]), np.array([200, 5000]))
        array([600.])
    """
    margins = np.where(ranked != EMPTY_SLOT, margins_minor[ranked], 0)
    earned: FloatArray = (chances * margins).sum(axis=1)
    return earned


def pr_auc_by_offer(scores: FloatArray, relevant: sparse.csr_array) -> FloatArray:
    """Area under the precision-recall curve of each offer, over all clients: "which clients for this offer".

    ``PR-AUC = Σ_t (recall_t − recall_{t−1}) · precision_t`` over the distinct scores *t* from the highest
    down (average precision, no interpolation): clients with equal scores enter together, so their order in
    the data changes nothing. A ranking at random gives about the share of clients that took the offer.

    Args:
        scores: Comparable across clients, shape (n_clients, n_offers); minus infinity = this client is no
            candidate for this offer, whatever `relevant` says.
        relevant: Who took what, as a pattern, clients_by_offers; its values are not read.

    Returns:
        One value per offer, 0–1, shape (n_offers,); NaN where no candidate took the offer.

    Raises:
        ValueError: Shapes differ, or a score is NaN.

    Source:
        The definition of scikit-learn's ``average_precision_score``.

    Example:
        The takers stand at 1 and 3 of four: 1/2 · 1/1 + 1/2 · 2/3.

        >>> scores = np.array([[0.9], [0.8], [0.7], [0.1]])
        >>> pr_auc_by_offer(scores, sparse.csr_array(np.array([[1], [0], [1], [0]]))).round(4)
        array([0.8333])
    """
    if scores.shape != relevant.shape:
        raise ValueError(f"scores are {scores.shape}, relevant is {relevant.shape}, must be the same")
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN, which has no place in an order")
    takers = sparse.csc_array(relevant)
    takers.sum_duplicates()
    return np.array(
        [
            _pr_auc(scores[:, column], takers.indices[start:end])
            for column, (start, end) in enumerate(zip(takers.indptr[:-1], takers.indptr[1:], strict=True))
        ]
    )


def _pr_auc(scores: FloatArray, takers: IntArray) -> float:
    """Average precision of one offer; reads the order at its takers only, the others are just counted."""
    taken = np.sort(scores[takers])
    taken = taken[taken > -np.inf]
    if len(taken) == 0:
        return float("nan")
    candidates = np.sort(scores)
    n_as_good = len(candidates) - np.searchsorted(candidates, taken, side="left")
    n_takers_as_good = len(taken) - np.searchsorted(taken, taken, side="left")
    return float((n_takers_as_good / n_as_good).mean())


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


def divide_or_nan(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> FloatArray:
    """The quotient; NaN where the denominator is not above 0.

    Example:
        >>> divide_or_nan(np.array([1, 1]), np.array([2, 0]))
        array([0.5, nan])
    """
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.greater(denominator, 0))
    return quotient
