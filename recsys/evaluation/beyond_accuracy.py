"""What a list is worth beyond being right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.evaluation.ranking import EMPTY_SLOT, divide_or_nan
from recsys.models.base import FloatArray, IntArray


def recommended_pattern(ranked: IntArray, n_offers: int) -> sparse.csr_array:
    """Who was recommended what, as a binary matrix.

    Args:
        ranked: Columns, shape (n_clients, k), each at most once per row; `EMPTY_SLOT` = nothing there.
        n_offers: Number of offers of the index.

    Returns:
        clients_by_offers of ones.

    Example:
        >>> recommended_pattern(np.array([[2, -1]]), n_offers=3).toarray()
        array([[0., 0., 1.]])
    """
    is_filled = ranked != EMPTY_SLOT
    indptr = np.concatenate([[0], np.cumsum(is_filled.sum(axis=1))])
    columns = ranked[is_filled]
    return sparse.csr_array((np.ones(len(columns)), columns, indptr), shape=(len(ranked), n_offers))


def catalogue_coverage(recommended: sparse.csr_array) -> float:
    """Share of the offers that at least one client is recommended.

    ``coverage = |∪_clients {offers in the client's k slots}| ÷ n_offers``

    Args:
        recommended: clients_by_offers pattern; see `recommended_pattern`.

    Returns:
        0–1; 0 for an empty catalogue.

    Example:
        Offers 0 and 2 of four reach somebody: 2/4.

        >>> catalogue_coverage(recommended_pattern(np.array([[0, 2], [2, 0]]), n_offers=4))
        0.5
    """
    n_offers = recommended.shape[1]
    return len(np.unique(recommended.indices)) / n_offers if n_offers else 0.0


def novelty(ranked: IntArray, n_holders: NDArray[np.integer], n_clients: int) -> FloatArray:
    """How unexpected a list is, in bits.

    ``novelty = mean over filled slots of −log2(max(n_holders, 1) ÷ n_clients)``: an offer that every client
    has brings 0 bits, one that every eighth has 3. An offer without a holder counts as one with a single one.

    Args:
        ranked: Columns, shape (n_rows, k); `EMPTY_SLOT` = nothing there.
        n_holders: Clients that hold each offer, shape (n_offers,).
        n_clients: Number of clients, ≥ every n_holders, ≥1.

    Returns:
        One value per list, ≥0, shape (n_rows,); NaN for an empty list.

    Source:
        Castells, Hurley & Vargas 2015, "Novelty and diversity in recommender systems" (self-information).

    Example:
        Held by 4 and by 1 of 8 clients: (1 + 3) ÷ 2 bits.

        >>> novelty(np.array([[0, 1]]), np.array([4, 1]), n_clients=8)
        array([2.])
    """
    bits = -np.log2(np.maximum(n_holders, 1) / n_clients)
    return _mean_of_slots(bits, ranked)


def intra_list_diversity(ranked: IntArray, groups: NDArray[np.integer]) -> FloatArray:
    """How varied a list is: share of the pairs of its slots whose offers are of different groups.

    ``diversity = 1 − Σ_g n_g (n_g − 1) ÷ (n (n − 1))``, where *n* slots are filled,
    n_g of them with group *g*.

    Args:
        ranked: Columns, shape (n_rows, k); `EMPTY_SLOT` = nothing there.
        groups: Category or need group of each offer, from 0, shape (n_offers,); −1 = unknown, which is
            alike to nothing.

    Returns:
        One value per list, 0–1, shape (n_rows,); NaN with fewer than two filled slots.

    Source:
        Ziegler et al. 2005, "Improving recommendation lists through topic diversification", with a
        similarity of 1 within a group and 0 else.

    Example:
        Of three pairs of slots, two are mixed.

        >>> intra_list_diversity(np.array([[0, 1, 2]]), np.array([5, 5, 6])).round(4)
        array([0.6667])
    """
    is_filled = ranked != EMPTY_SLOT
    shown = np.where(is_filled, groups[ranked], -1)
    is_alike = (shown[:, :, None] == shown[:, None, :]) & (shown >= 0)[:, :, None]
    n_known = (shown >= 0).sum(axis=1)
    n_filled = is_filled.sum(axis=1)
    n_pairs = n_filled * (n_filled - 1)
    return 1.0 - divide_or_nan(is_alike.sum(axis=(1, 2)) - n_known, n_pairs)


def mean_popularity(ranked: IntArray, popularity: FloatArray) -> FloatArray:
    """Mean popularity of what a list shows.

    Args:
        ranked: Columns, shape (n_rows, k); `EMPTY_SLOT` = nothing there.
        popularity: Share of clients that hold each offer, 0–1, shape (n_offers,).

    Returns:
        One value per list, 0–1, shape (n_rows,); NaN for an empty list.

    Example:
        >>> mean_popularity(np.array([[0, 1, -1]]), np.array([0.5, 0.1]))
        array([0.3])
    """
    return _mean_of_slots(popularity, ranked)


def popularity_lift(ranked: IntArray, held: sparse.csr_array, popularity: FloatArray) -> FloatArray:
    """Popularity bias: by how much a list is more popular than what the client chose for itself.

    ``lift = mean popularity of the filled slots − mean popularity of the client's holdings``

    Args:
        ranked: Columns, shape (n_rows, k); `EMPTY_SLOT` = nothing there.
        held: What each client holds, as a pattern; its values are not read; rows_by_offers.
        popularity: Share of clients that hold each offer, 0–1, shape (n_offers,).

    Returns:
        One value per list, −1 to 1, shape (n_rows,): above 0 the list leans to what is popular anyway. NaN
        for an empty list or a client without holdings.

    Source:
        Abdollahpouri et al. 2019, "The unfairness of popularity bias in recommendation" (the group average
        popularity of lists against that of profiles).

    Example:
        >>> popularity_lift(np.array([[0]]), sparse.csr_array([[0, 1]]), np.array([0.5, 0.25]))
        array([0.25])
    """
    pattern = sparse.csr_array((np.ones(len(held.indices)), held.indices, held.indptr), shape=held.shape)
    own = divide_or_nan(pattern @ popularity, np.diff(held.indptr))
    return mean_popularity(ranked, popularity) - own


def exposure_by_offer(ranked: IntArray, n_offers: int) -> IntArray:
    """Number of lists that show each offer, shape (n_offers,).

    Example:
        >>> exposure_by_offer(np.array([[0, 2], [2, -1]]), n_offers=3)
        array([1, 0, 2])
    """
    return np.bincount(ranked[ranked != EMPTY_SLOT], minlength=n_offers).astype(np.int64)


def exposure_shares(ranked: IntArray, groups: NDArray[np.integer], n_groups: int) -> FloatArray:
    """Share of all filled slots that shows offers of each group: of a supplier, a kind, a category.

    Args:
        ranked: Columns, shape (n_rows, k); `EMPTY_SLOT` = nothing there.
        groups: Group of each offer, 0 … n_groups − 1, shape (n_offers,).
        n_groups: Number of groups.

    Returns:
        Shares that sum to 1, shape (n_groups,); NaN if no slot is filled.

    Example:
        >>> exposure_shares(np.array([[0, 1], [1, -1]]), np.array([0, 1]), n_groups=2).round(4)
        array([0.3333, 0.6667])
    """
    n_slots = np.bincount(groups[ranked[ranked != EMPTY_SLOT]], minlength=n_groups)
    return divide_or_nan(n_slots, np.full(n_groups, n_slots.sum()))


def gini(amounts: NDArray[np.generic]) -> float:
    """How unequally something is spread, such as exposure over offers.

    ``G = Σ_i (2i − n − 1) · x_(i) ÷ (n · Σ x)``, x_(1) ≤ … ≤ x_(n)

    Args:
        amounts: Amount by offer, those that got nothing included, each ≥0, shape (n,).

    Returns:
        0 if all are equal, 1 − 1/n if one has everything; NaN if there is nothing to spread.

    Example:
        One of four offers has every slot: 1 − 1/4.

        >>> gini(np.array([0, 0, 8, 0]))
        0.75
    """
    n = len(amounts)
    total = float(amounts.sum())
    if total == 0:
        return float("nan")
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float(ranks @ np.sort(amounts)) / (n * total)


def _mean_of_slots(values: FloatArray, ranked: IntArray) -> FloatArray:
    is_filled = ranked != EMPTY_SLOT
    return divide_or_nan(np.where(is_filled, values[ranked], 0.0).sum(axis=1), is_filled.sum(axis=1))
