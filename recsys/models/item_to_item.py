"""What EASE, neighbours and similar offers share: one weight for each (offer held, offer scored)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np

from recsys.models.base import (
    Arrays,
    ClientBatch,
    Evidence,
    EvidenceKind,
    FittedOffers,
    FloatArray,
    FrozenArrays,
    IntArray,
    OfferIndex,
    TrainingSet,
    take_array,
    take_counts,
)
from recsys.models.chance import CountArray, held_together
from recsys.models.grounds import Grounds

_FEW = 16
# the first may be said of other offers of the same list already
MOST_HOLDINGS = 2
"""Holdings that are told of one score."""


class ItemToItem(FittedOffers, ABC):
    """Scores that add up over the offers held.

    ``score(client, j) = Σ_{i held by client} W[i, j]``

    A client without holdings gets zeros. W and the counts behind reasons have
    n_offers² numbers of 8 bytes and of one: 3,000 offers take 81 MB.
    """

    reads_holdings: ClassVar[bool] = True

    _weights: FloatArray
    _together: CountArray

    @abstractmethod
    def _learn(self, training: TrainingSet) -> FloatArray:
        """The weights W, shape (n_offers, n_offers)."""

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:  # noqa: ARG002 (nothing is drawn)
        """Learn the weights from present holdings; returns self."""
        self._weights = self._learn(training)
        self._together = held_together(training.clients.clients_by_offers())
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Sums of weights over the offers held, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        if len(clients) <= _FEW:
            # what a server asks for: plain indexing costs a tenth of a sparse product
            held = [clients.columns_of(client) for client in range(len(clients))]
            sums = [np.add.reduce(self._weights[columns], axis=0) for columns in held]
            return np.array(sums).reshape(len(held), len(self.offers))
        scores: FloatArray = clients.clients_by_offers() @ self._weights
        return scores

    def explain(self, clients: ClientBatch, client: int, columns: IntArray) -> list[tuple[Evidence, ...]]:
        """The holdings with the largest weights above 0 for each column."""
        self.check_batch(clients)
        held = clients.columns_of(client).tolist()
        grounds = Grounds(EvidenceKind.HOLDING, self.offers.offer_ids, self._weights, self._together)
        return [grounds.strongest(held, column, MOST_HOLDINGS) for column in columns.tolist()]

    def to_arrays(self) -> Arrays:
        """The weights as ``weights``, the clients that hold both as ``together``; see `held_together`."""
        _ = self.offers
        return {"weights": self._weights, "together": self._together}

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        shape = (len(offers), len(offers))
        self._weights = take_array(arrays, "weights", shape)
        self._together = take_counts(arrays, "together", shape, np.uint8)
        self._offers = offers
        return self


def strongest_holdings(
    offers: OfferIndex, held: IntArray, contributions: FloatArray, together: CountArray
) -> list[tuple[Evidence, ...]]:
    """The holdings that add most to each score, of those often held together with what is scored.

    Args:
        offers: The columns.
        held: Columns of the offers held, shape (n_held,).
        contributions: What each holding adds to each score, shape (n_held, n_scores).
        together: Clients that hold both, 0 where nothing may be said, shape (n_held, n_scores).

    Returns:
        At most two holdings for each score, the strongest first.

    Example:
        >>> offers = OfferIndex(["pbx", "sms"])
        >>> contributions, together = np.array([[0.1, 0.9], [0.3, 0.0]]), np.array([[20, 0], [30, 50]])
        >>> found = strongest_holdings(offers, np.array([0, 1]), contributions, together.astype(np.uint8))
        >>> [[(evidence.subject, evidence.n_clients) for evidence in one] for one in found]
        [[('sms', 30), ('pbx', 20)], []]
    """
    subjects = [offers.offer_ids[column] for column in held.tolist()]
    grounds = Grounds(EvidenceKind.HOLDING, subjects, contributions, together)
    rows = range(len(subjects))
    return [grounds.strongest(rows, place, MOST_HOLDINGS) for place in range(contributions.shape[1])]
