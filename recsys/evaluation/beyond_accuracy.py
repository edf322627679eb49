"""What a list is worth beyond being right."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys.evaluation.ranking import EMPTY_SLOT
from recsys.models.base import IntArray


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
