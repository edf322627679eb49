"""What may be said of counts: enough clients, and clearly more of them than chance would give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.models.base import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
CountArray = NDArray[np.uint8]

# no sentence rests on fewer clients
MIN_COHORT = 10
MIN_LIFT = 1.2
# thousands of pairs are looked at: at three standard deviations about one in 700 is there by chance
_N_DEVIATIONS = 3.0


def is_clearly_above(
    n_both: FloatArray | IntArray,
    n_left: FloatArray | IntArray,
    n_right: FloatArray | IntArray,
    n_all: int,
) -> BoolArray:
    """Whether two properties meet in at least `MIN_COHORT` clients and clearly more often than by chance.

    By chance ``E = n_left · n_right / n_all`` clients have both, with the variance of the hypergeometric
    distribution. Clearly means ``n_both ≥ 1.2 E`` and ``n_both ≥ E + 3 √variance``.

    Args:
        n_both: Clients with both properties; the arrays are broadcast against each other.
        n_left: Clients with the first.
        n_right: Clients with the second.
        n_all: All clients, ≥0.

    Example:
        Of 100 clients 25 have each property: 6.25 are expected to have both, with a deviation of 1.88.

        >>> is_clearly_above(np.array([9, 11, 12]), np.array([25]), np.array([25]), 100)
        array([False, False,  True])
    """
    n_clients = max(n_all, 2)
    expected = np.asarray(n_left) * n_right / n_clients
    spread = (1 - np.asarray(n_left) / n_clients) * (n_clients - np.asarray(n_right)) / (n_clients - 1)
    floor = np.maximum(MIN_LIFT * expected, expected + _N_DEVIATIONS * np.sqrt(expected * spread))
    is_above: BoolArray = np.asarray(n_both) >= np.maximum(floor, MIN_COHORT)
    return is_above


def held_together(clients_by_offers: sparse.csr_array) -> CountArray:
    """The clients that hold both of two offers, where that is clearly no chance.

    Returns:
        Counts up to 255, which stands for any number above; 0 where `is_clearly_above` is not true and
        on the diagonal; shape (n_offers, n_offers).
    """
    n_clients, n_offers = clients_by_offers.shape
    n_holders = np.asarray(clients_by_offers.sum(axis=0))
    both = sparse.coo_array(clients_by_offers.T @ clients_by_offers)
    is_said = (both.row != both.col) & is_clearly_above(
        both.data, n_holders[both.row], n_holders[both.col], n_clients
    )
    counts = np.zeros((n_offers, n_offers), dtype=np.uint8)
    counts[both.row[is_said], both.col[is_said]] = np.minimum(both.data[is_said], 255)
    return counts
