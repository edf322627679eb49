"""ALS: matrix factorisation for implicit feedback, with clients folded in from what they hold now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
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
    mean_holders,
    take_array,
    take_counts,
)
from recsys.models.chance import CountArray, held_together
from recsys.models.grounds import Grounds
from recsys.models.item_to_item import MOST_HOLDINGS

_L2_PER_HOLDER = 0.1


class AlsParams(RunConfig):
    """Parameters of `Als`.

    Attributes:
        n_factors: Length of a client's and an offer's vector.
        l2: Ridge penalty λ of every vector. None means a tenth of the mean number of holders of the
            offers that anybody holds: the sums it is added to grow with the number of clients.
        alpha: Confidence in a holding; the absence of one has confidence 1.
        n_iterations: Sweeps over clients and offers.
    """

    n_factors: int = Field(default=64, ge=1, le=1_024)
    l2: float | None = Field(default=None, gt=0)
    alpha: float = Field(default=2.0, ge=1)
    n_iterations: int = Field(default=15, ge=1)


class Als(FittedOffers):
    """ALS of the library implicit; clients are folded in by the normal equations.

    With the offers' vectors ``Y`` (n_offers × n_factors), a client who holds the offers H has

    ``A = YᵀY + (α − 1) Σ_{i∈H} yᵢ yᵢᵀ + λI``,  ``x = A⁻¹ α Σ_{i∈H} yᵢ``,  ``score(j) = yⱼ · x``.

    Given A the score is a sum over the holdings, ``Σ_{i∈H} α yⱼᵀ A⁻¹ yᵢ``, and this is how it is
    explained. A client without holdings gets zeros.

    Source:
        Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets", ICDM '08,
        equation 4 and section 5.
    """

    name: ClassVar[str] = "als"
    reads_holdings: ClassVar[bool] = True

    def __init__(self, params: AlsParams | None = None) -> None:
        self.params = params or AlsParams()
        self._keep(np.zeros((0, self.params.n_factors)), 1.0, np.zeros((0, 0), dtype=np.uint8))

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> Self:
        """Learn the offers' vectors from present holdings; returns self."""
        holdings = training.clients.clients_by_offers()
        seed = int(rng.integers(2**31))
        l2 = self.params.l2 or _L2_PER_HOLDER * mean_holders(holdings)
        factors = np.zeros((len(training.offers), self.params.n_factors))
        if holdings.nnz:
            factors = self._learn(holdings, l2, seed)
        self._keep(factors, l2, held_together(holdings))
        self._offers = training.offers
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        """Scores of the folded-in clients, shape (n_clients, n_offers)."""
        self.check_batch(clients)
        vectors = np.zeros((len(clients), self.params.n_factors))
        for client in np.flatnonzero(np.diff(clients.indptr)).tolist():
            held = self._factors[clients.columns_of(client)]
            vectors[client] = np.linalg.solve(self._normal_matrix(held), self.params.alpha * held.sum(axis=0))
        return vectors @ self._factors.T

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """The holdings that add most to the score."""
        offer_ids, columns_held = self.offers.offer_ids, list(facts.held)
        subjects, held = [offer_ids[one] for one in columns_held], self._factors[columns_held]
        direction = np.linalg.solve(self._normal_matrix(held), self._factors[column])
        contributions = self.params.alpha * held @ direction
        together = self._together[columns_held, column]
        grounds = Grounds(EvidenceKind.HOLDING, subjects, contributions[:, None], together[:, None])
        return grounds.strongest(range(len(subjects)), 0, MOST_HOLDINGS)

    def to_arrays(self) -> Arrays:
        """``factors`` (n_offers, n_factors), λ as ``l2`` (1,), and ``together``; see `held_together`."""
        self.check_fitted()
        return {"factors": self._factors, "l2": np.array([self._l2]), "together": self._together}

    def restore(self, offers: OfferIndex, arrays: FrozenArrays) -> Self:
        """The opposite of `to_arrays`; returns self."""
        l2 = float(take_array(arrays, "l2", (1,))[0])
        if l2 <= 0:
            raise ValueError(f"array 'l2' holds {l2}, must be above 0")
        self._keep(
            take_array(arrays, "factors", (len(offers), self.params.n_factors)),
            l2,
            take_counts(arrays, "together", (len(offers), len(offers)), np.uint8),
        )
        self._offers = offers
        return self

    def _learn(self, clients_by_offers: sparse.csr_array, l2: float, seed: int) -> FloatArray:
        # imported here because scoring a loaded bundle must not need the library
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        # one thread: the order of the sums, and so the last bits, must not depend on the machine's load
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=self.params.n_factors,
                regularization=l2,
                alpha=self.params.alpha,
                iterations=self.params.n_iterations,
                num_threads=1,
                random_state=seed,
            )
            model.fit(sparse.csr_matrix(clients_by_offers), show_progress=False)
        factors: FloatArray = model.item_factors.astype(np.float64)
        return factors

    def _keep(self, factors: FloatArray, l2: float, together: CountArray) -> None:
        self._factors, self._l2, self._together = factors, l2, together
        self._ridge_gram = factors.T @ factors + l2 * np.eye(self.params.n_factors)

    def _normal_matrix(self, held: FloatArray) -> FloatArray:
        matrix: FloatArray = self._ridge_gram + (self.params.alpha - 1) * (held.T @ held)
        return matrix
