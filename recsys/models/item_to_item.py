"""What EASE, neighbours and similar offers share: one weight for each (offer held, offer scored)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np

from recsys.models.base import (
    Arrays,
    ClientBatch,
    ClientFacts,
    Evidence,
    EvidenceKind,
    FittedOffers,
    FloatArray,
    FrozenArrays,
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
    _grounds: Grounds

    @abstractmethod
    def _learn(self, training: TrainingSet) -> FloatArray:
        """The weights W, shape (n_offers, n_offers)."""

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:  # noqa: ARG002 (nothing is drawn)
        """Learn the weights from present holdings; returns self."""
        together = held_together(training.clients.clients_by_offers())
        self._keep(training.offers, self._learn(training), together)
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Sums of weights over the offers held, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        if len(clients) <= _FEW:
            return self._scores_of_few(clients)
        scores: FloatArray = clients.clients_by_offers() @ self._weights
        return scores

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The holdings with the largest weights above 0."""
        self.check_fitted()
        return self._grounds.strongest(facts.held, column, MOST_HOLDINGS)

    def to_arrays(self) -> Arrays:
        """The weights as ``weights``, the clients that hold both as ``together``; see `held_together`."""
        self.check_fitted()
        return {"weights": self._weights, "together": self._together}

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        shape = (len(offers), len(offers))
        together = take_counts(arrays, "together", shape, np.uint8)
        self._keep(offers, take_array(arrays, "weights", shape), together)
        return self

    def _scores_of_few(self, clients: ClientBatch) -> FloatArray:
        """What a server asks for: plain indexing costs a tenth of a sparse product."""
        scores = np.empty((len(clients), len(self.offers)))
        weights = self._weights.take(clients.columns, axis=0)
        for of_client, (first, last) in zip(scores, pairwise(clients.indptr.tolist()), strict=True):
            np.add.reduce(weights[first:last], axis=0, out=of_client)
        return scores

    def _keep(self, offers: OfferIndex, weights: FloatArray, together: CountArray) -> None:
        self._offers, self._weights, self._together = offers, weights, together
        self._grounds = Grounds(EvidenceKind.HOLDING, offers.offer_ids, weights, together)
