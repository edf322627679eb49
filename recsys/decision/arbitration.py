"""Arbitration: which candidate comes first.

The priority of a candidate is its probability. Ties are broken by the model's score, then by offer id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.domain import Basis, Target
from recsys.models.base import FloatArray, IntArray, OfferIndex

_GROUP_PRIOR_OFFERS = 3.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a model says of one client and every offer of the catalogue.

    Attributes:
        probabilities: By position, 0–1; what they are probabilities of is `target`.
        order: Positions from the highest priority to the lowest.
        basis: On what the numbers rest.
        target: What `probabilities` are; None when they only order (no model was there).
        is_personalised: Whether the client's own data ordered the offers.
    """

    probabilities: FloatArray
    order: NDArray[np.int32]
    basis: Basis
    target: Target | None
    is_personalised: bool


def rank(probabilities: FloatArray, scores: FloatArray) -> NDArray[np.int32]:
    """Positions by probability, then score, both descending, then position.

    Args:
        probabilities: Shape (n_offers,).
        scores: Shape (n_offers,).

    Example:
        >>> rank(np.array([0.1, 0.3, 0.3, 0.1]), np.array([1.0, 2.0, 5.0, 1.0])).tolist()
        [2, 1, 0, 3]
    """
    return np.lexsort((-scores, -probabilities)).astype(np.int32)


class Alignment:
    """Carries a model's columns over to the catalogue's positions.

    A column whose offer left the catalogue is dropped. An offer that the model never saw gets the mean of
    its need group, shrunk to the mean of all: (Σ_group p + m·p̄) / (n_group + m) with m = 3 offers.
    """

    def __init__(self, catalogue: CompiledCatalogue, offers: OfferIndex) -> None:
        is_known = np.array([offer_id in offers for offer_id in catalogue.offer_ids], dtype=bool)
        known = np.flatnonzero(is_known).tolist()
        self._n_offers = len(catalogue)
        self._columns = np.array(
            [offers.column_of(catalogue.offer_ids[position]) for position in known], dtype=np.int64
        )
        self._positions = np.array(known, dtype=np.int64)
        self._unknown = np.flatnonzero(~is_known)
        self._weights = _group_weights(catalogue, known, self._unknown)
        self._column_of = dict(zip(known, self._columns.tolist(), strict=True))

    def columns_of(self, positions: Iterable[int]) -> dict[int, int]:
        """Position → column, for those of the positions that the model knows."""
        columns = self._column_of
        return {position: columns[position] for position in positions if position in columns}

    def align(self, values: FloatArray) -> FloatArray:
        """One value per position of the catalogue.

        Args:
            values: One value per column of the model.
        """
        found = values[self._columns]
        if len(self._unknown) == 0:
            return found
        aligned = np.empty(self._n_offers)
        aligned[self._positions] = found
        aligned[self._unknown] = self._weights @ found if len(found) else 0.0
        return aligned


def _group_weights(catalogue: CompiledCatalogue, known: list[int], unknown: IntArray) -> FloatArray:
    """unknown_by_known weights; each row sums to one."""
    groups = [catalogue.offers[position].need_group for position in known]
    weights = np.zeros((len(unknown), len(known)))
    for row, position in enumerate(unknown):
        group = catalogue.offers[position].need_group
        is_same = np.array([group is not None and other == group for other in groups], dtype=float)
        everybody = np.full(len(known), 1.0 / len(known)) if known else np.zeros(0)
        weights[row] = (is_same + _GROUP_PRIOR_OFFERS * everybody) / (is_same.sum() + _GROUP_PRIOR_OFFERS)
    return weights


def fallback_estimate(catalogue: CompiledCatalogue, holder_counts: Mapping[str, int]) -> Estimate:
    """An order that needs no model: the most held offers first; without any holding, the catalogue's order.

    Args:
        catalogue: The compiled catalogue.
        holder_counts: Number of clients that hold each offer.

    Returns:
        The same estimate for every client; its "probabilities" are shares of the most held offer and
        only order, so its target is None.
    """
    counts = np.array([float(holder_counts.get(offer_id, 0)) for offer_id in catalogue.offer_ids])
    most = counts.max(initial=0.0)
    shares = counts / most if most > 0 else counts
    return Estimate(shares, rank(shares, shares), Basis.POPULATION, target=None, is_personalised=False)
