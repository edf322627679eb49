"""Item neighbours: what clients with the same services have besides."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.models.base import FloatArray, TrainingSet
from recsys.models.item_to_item import ItemToItem

# implicit's own defaults for items
_BM25_K1 = 1.2
_BM25_B = 0.75


class NeighboursParams(RunConfig):
    """Parameters of `Neighbours`.

    Attributes:
        similarity: ``cosine``, or cosine after TF-IDF, or BM25: the last two count a client with many
            services for less.
        n_neighbours: How many neighbours each offer keeps.
    """

    similarity: Literal["cosine", "tfidf", "bm25"] = "tfidf"
    n_neighbours: int = Field(default=20, ge=1)


class Neighbours(ItemToItem):
    """Item neighbours of the library implicit: ``W[i, j]`` is the similarity of j to i.

    Only the `n_neighbours` most similar offers of each i keep their weight, and ``W[i, i] = 0``.

    Source:
        Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms", WWW '01;
        the weightings are those of ``implicit.nearest_neighbours``.
    """

    name: ClassVar[str] = "neighbours"

    def __init__(self, params: NeighboursParams | None = None) -> None:
        self.params = params or NeighboursParams()

    def _learn(self, training: TrainingSet) -> FloatArray:
        clients_by_offers = training.clients.clients_by_offers()
        n_offers = clients_by_offers.shape[1]
        if clients_by_offers.nnz == 0:
            return np.zeros((n_offers, n_offers))
        # imported here because scoring a loaded bundle must not need the library
        from implicit import nearest_neighbours as implicit  # noqa: PLC0415
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        offers_by_clients = sparse.coo_matrix(clients_by_offers.T)
        # every offer is its own first neighbour, and that one is dropped below
        model = implicit.ItemItemRecommender(K=self.params.n_neighbours + 1, num_threads=1)
        with threadpool_limits(1, "blas"), np.errstate(invalid="ignore"):
            if self.params.similarity == "bm25":
                weighted = implicit.bm25_weight(offers_by_clients, K1=_BM25_K1, B=_BM25_B)
            elif self.params.similarity == "tfidf":
                weighted = implicit.normalize(implicit.tfidf_weight(offers_by_clients))
            else:
                weighted = implicit.normalize(offers_by_clients)
            model.fit(sparse.csr_matrix(weighted.T), show_progress=False)
        # an offer all of whose holders weigh nothing has no direction: it is similar to none
        weights: FloatArray = np.nan_to_num(model.similarity.toarray().astype(np.float64))
        np.fill_diagonal(weights, 0.0)
        return weights
