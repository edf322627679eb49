"""EASE: a linear item-to-item model with a closed form."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.models.base import FloatArray, mean_holders
from recsys.models.item_to_item import ItemToItem

_L2_PER_HOLDER = 5.0


class EaseParams(RunConfig):
    """Parameters of `Ease`.

    Attributes:
        l2: Ridge penalty λ, in clients. None means five times the mean number of holders of the offers
            that anybody holds: the Gram matrix grows with the number of clients, and the penalty has to
            grow with it.
    """

    l2: float | None = Field(default=None, gt=0)


class Ease(ItemToItem):
    """EASE.

    Minimises ``‖X − X B‖² + λ ‖B‖²`` subject to ``diag(B) = 0``, where X is the binary matrix
    clients_by_offers. With ``P = (XᵀX + λI)⁻¹`` the solution is ``B[i, j] = −P[i, j] / P[j, j]``.

    Source:
        Steck 2019, "Embarrassingly shallow autoencoders for sparse data", WWW '19, equation 8.
    """

    name: ClassVar[str] = "ease"

    def __init__(self, params: EaseParams | None = None) -> None:
        self.params = params or EaseParams()

    def _learn(self, clients_by_offers: sparse.csr_array) -> FloatArray:
        gram = (clients_by_offers.T @ clients_by_offers).toarray()
        l2 = self.params.l2 or _L2_PER_HOLDER * mean_holders(clients_by_offers)
        return ease_weights(gram, l2)


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
