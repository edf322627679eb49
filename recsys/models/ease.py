"""EASE: a linear item-to-item model with a closed form."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.models.base import ClientBatch, FloatArray, TrainingSet, mean_holders
from recsys.models.item_to_item import ItemToItem


class EaseParams(RunConfig):
    """Parameters of `Ease`.

    Attributes:
        l2: Ridge penalty λ, in clients. None means `l2_per_holder` times the mean number of holders of the
            offers that anybody holds: the Gram matrix grows with the number of clients, and the penalty has
            to grow with it.
        l2_per_holder: See `l2`; >0.
        half_life_days: Days after which a holding counts for half as something to predict, >0. None counts
            all alike. What is predicted from counts in full at any age, so scoring needs no ages.
    """

    l2: float | None = Field(default=None, gt=0)
    l2_per_holder: float = Field(default=5.0, gt=0)
    half_life_days: float | None = Field(default=None, gt=0)


class Ease(ItemToItem):
    """EASE, which may predict what is held *recently* from all that is held.

    Minimises ``‖R − X B‖² + λ ‖B‖²`` subject to ``diag(B) = 0``, where X is the binary matrix
    clients_by_offers and ``R = X ∘ 2^(−age / half-life)``, or X itself without a half-life. With
    ``P = (XᵀX + λI)⁻¹`` and ``Q = P Xᵀ R`` the solution is ``B[i, j] = Q[i, j] − P[i, j] Q[j, j] / P[j, j]``,
    which without a half-life is ``−P[i, j] / P[j, j]``.

    Source:
        Steck 2019, "Embarrassingly shallow autoencoders for sparse data", WWW '19, equation 8; the same
        Lagrangian with another target.
    """

    name: ClassVar[str] = "ease"

    def __init__(self, params: EaseParams | None = None) -> None:
        self.params = params or EaseParams()

    def _learn(self, training: TrainingSet) -> FloatArray:
        holdings = training.clients.clients_by_offers()
        gram = (holdings.T @ holdings).toarray()
        l2 = self.params.l2 or self.params.l2_per_holder * mean_holders(holdings)
        if self.params.half_life_days is None:
            return ease_weights(gram, l2)
        recent = recency_weighted(training.clients, self.params.half_life_days)
        return ease_weights_toward(gram, (holdings.T @ recent).toarray(), l2)


def ease_weights(gram: FloatArray, l2: float) -> FloatArray:
    """The closed form of EASE.

    Args:
        gram: ``XᵀX``, shape (n_offers, n_offers).
        l2: Ridge penalty λ > 0.

    Returns:
        B with a zero diagonal, shape (n_offers, n_offers).

    Example:
        Two clients hold both of two offers. With λ = 2, ``XᵀX + λI = [[4, 2], [2, 4]]``, its inverse is
        ``[[4, −2], [−2, 4]] / 12``, and so ``B[0, 1] = 2/4``.

        >>> ease_weights(np.array([[2.0, 2.0], [2.0, 2.0]]), l2=2.0)
        array([[0. , 0.5],
               [0.5, 0. ]])
    """
    inverse = np.linalg.inv(gram + l2 * np.eye(len(gram)))
    weights: FloatArray = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def ease_weights_toward(gram: FloatArray, toward: FloatArray, l2: float) -> FloatArray:
    """The closed form of EASE with a target of its own.

    Args:
        gram: ``XᵀX``, shape (n_offers, n_offers).
        toward: ``XᵀR``, shape (n_offers, n_offers).
        l2: Ridge penalty λ > 0.

    Returns:
        B with a zero diagonal, shape (n_offers, n_offers).

    Example:
        The two clients of `ease_weights`, whose second offers count for half: what predicts the second
        one weighs half.

        >>> ease_weights_toward(np.array([[2.0, 2.0], [2.0, 2.0]]), np.array([[2.0, 1.0], [2.0, 1.0]]), 2.0)
        array([[0.  , 0.25],
               [0.5 , 0.  ]])
    """
    inverse = np.linalg.inv(gram + l2 * np.eye(len(gram)))
    weights: FloatArray = inverse @ toward
    weights -= inverse * (np.diag(weights) / np.diag(inverse))
    np.fill_diagonal(weights, 0.0)
    return weights


def recency_weighted(clients: ClientBatch, half_life_days: float) -> sparse.csr_array:
    """Holdings that count for half after every half-life, shape (n_clients, n_offers), each in (0, 1]."""
    return sparse.csr_array(
        (np.exp2(-clients.ages / half_life_days), clients.columns, clients.indptr),
        shape=(len(clients), clients.n_offers),
    )
