"""Models of rewards for estimators that use one: smoothed means by offer and slot, learnt across folds.

A model that has seen the very outcome it is asked to correct makes a doubly robust estimate look surer than
it is. So clients are split into folds, and each fold is judged by the model of all the others.
"""

from __future__ import annotations

import numpy as np

from recsys.models.base import FloatArray, IntArray

PRIOR_ROWS = 100.0


def smoothed_means(
    offers: IntArray, slots: IntArray, rewards: FloatArray, shape: tuple[int, int], prior: float = PRIOR_ROWS
) -> FloatArray:
    """q̂(offer, slot) = (Σ r + prior · r̄) / (n + prior), r̄ the mean of all rows.

    Args:
        offers: Offer of each row, 0 … n_offers − 1.
        slots: 0-based slot of each row.
        rewards: Reward of each row.
        shape: n_offers and n_slots.
        prior: Rows that r̄ stands for, above 0.

    Returns:
        Of that shape; r̄ = 0 where there are no rows.

    Example:
        >>> one = np.array([0])
        >>> smoothed_means(one, one, np.array([1.0]), (2, 1), prior=1.0).tolist()
        [[1.0], [1.0]]
    """
    if not prior > 0:
        raise ValueError(f"prior is {prior}, must be above 0")
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (offers, slots), rewards)
    np.add.at(counts, (offers, slots), 1.0)
    mean = float(rewards.mean()) if len(rewards) else 0.0
    means: FloatArray = (sums + prior * mean) / (counts + prior)
    return means


def folds_of(clients: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    """A fold for each row, the same for all rows of a client.

    Args:
        clients: Client of each row, 0 … n_clients − 1.
        n_folds: ≥2.
        rng: Source of the split.
    """
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}, must be at least 2")
    n_clients = int(clients.max(initial=-1)) + 1
    found: IntArray = rng.permutation(n_clients)[clients] % n_folds
    return found


def cross_fitted(
    offers: IntArray,
    slots: IntArray,
    rewards: FloatArray,
    folds: IntArray,
    shape: tuple[int, int],
    prior: float = PRIOR_ROWS,
) -> FloatArray:
    """For each fold the smoothed means of all the others, n_folds_by_offers_by_slots."""
    n_folds = int(folds.max(initial=1)) + 1
    return np.stack(
        [
            smoothed_means(offers[others], slots[others], rewards[others], shape, prior)
            for others in (folds != fold for fold in range(n_folds))
        ]
    )
