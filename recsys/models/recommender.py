"""The recommender: a model, what stands in for it where a client holds nothing, and probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.domain import Basis, Target
from recsys.models.base import ClientBatch, Evidence, FloatArray, IntArray, OfferIndex, Scorer
from recsys.models.calibration import Calibration
from recsys.models.popularity import Popularity


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the models say of some clients.

    Attributes:
        scores: Shape (n_clients, n_offers); compare them inside one client only, for two clients may
            have been scored by different models.
        probabilities: Calibrated, each in (0, 1), shape (n_clients, n_offers). What they are
            probabilities of is the recommender's `target`. They rise with the client's scores.
        bases: On what each client's scores rest.
    """

    scores: FloatArray
    probabilities: FloatArray
    bases: tuple[Basis, ...]


class Recommender:
    """Scores every client on the best ground there is, and says on which.

    * A client who holds something is scored by the main model (basis ``holdings``).
    * A client known only by profile gets the popularity of its segment (``profile``).
    * Any other client gets the popularity of the whole (``population``).

    A main model that does not read holdings (popularity, expert) scores everybody itself; the basis is
    ``profile`` where any fact of the client is known.

    Attributes:
        main: The model for clients with holdings.
        fallback: Popularity, for the others.
        main_calibration: From the main model's scores to probabilities.
        fallback_calibration: From popularity to probabilities.
        target: What the probabilities are probabilities of.
    """

    def __init__(
        self,
        main: Scorer,
        fallback: Popularity,
        main_calibration: Calibration,
        fallback_calibration: Calibration,
        target: Target = Target.ADOPTION,
    ) -> None:
        if main.offers != fallback.offers:
            raise ValueError("the main model and its fallback know different offers")
        self.main = main
        self.fallback = fallback
        self.main_calibration = main_calibration
        self.fallback_calibration = fallback_calibration
        self.target = target

    @property
    def offers(self) -> OfferIndex:
        """The columns of every score."""
        return self.main.offers

    def predict(self, clients: ClientBatch) -> Prediction:
        """Scores and probabilities of every offer for every client."""
        bases = bases_of(self.main, self.fallback, clients)
        is_main = [is_scored_by_main(self.main, basis) for basis in bases]
        if all(is_main):
            scores = self.main.score(clients)
            return Prediction(scores, self.main_calibration.predict(scores), bases)
        if not any(is_main):
            scores = self.fallback.score(clients)
            return Prediction(scores, self.fallback_calibration.predict(scores), bases)
        scores = score_clients(self.main, self.fallback, clients)
        by_main = np.array(is_main)[:, None]
        probabilities = np.where(
            by_main, self.main_calibration.predict(scores), self.fallback_calibration.predict(scores)
        )
        return Prediction(scores, probabilities, bases)

    def explain(self, clients: ClientBatch, client: int, columns: IntArray) -> list[tuple[Evidence, ...]]:
        """What is true of these columns for one client (a row of the batch), the strongest first.

        It is what helped the scores, and last whether the offer is popular.
        """
        has_holdings = clients.indptr[client + 1] > clients.indptr[client]
        scorer = self.main if has_holdings or not self.main.reads_holdings else self.fallback
        found = scorer.explain(clients, client, columns)
        if isinstance(scorer, Popularity):
            return found
        popular = self.fallback.popular
        return [
            (*evidence, popular[column]) if column in popular else evidence
            for evidence, column in zip(found, columns.tolist(), strict=True)
        ]


def bases_of(main: Scorer, fallback: Popularity, clients: ClientBatch) -> tuple[Basis, ...]:
    """On what the scores of each client rest; see `Recommender`."""
    indptr = clients.indptr.tolist()
    return tuple(
        [
            _basis_of(main, fallback, clients, client, indptr[client + 1] > indptr[client])
            for client in range(len(clients))
        ]
    )


def is_scored_by_main(main: Scorer, basis: Basis) -> bool:
    """Whether the main model, not the fallback, scores a client of that basis."""
    return basis is Basis.HOLDINGS or not main.reads_holdings


def score_clients(main: Scorer, fallback: Popularity, clients: ClientBatch) -> FloatArray:
    """Scores by the main model, and by the fallback where it has nothing to read.

    Returns:
        Shape (n_clients, n_offers); scores compare inside one client only.
    """
    by_main = np.array(
        [is_scored_by_main(main, basis) for basis in bases_of(main, fallback, clients)], dtype=bool
    )
    scores = np.empty((len(clients), len(main.offers)))
    for scorer, rows in ((main, np.flatnonzero(by_main)), (fallback, np.flatnonzero(~by_main))):
        if len(rows):
            scores[rows] = scorer.score(clients.take(rows))
    return scores


def _basis_of(
    main: Scorer, fallback: Popularity, clients: ClientBatch, client: int, has_holdings: bool
) -> Basis:
    if main.reads_holdings and has_holdings:
        return Basis.HOLDINGS
    is_profile_read = fallback.has_segment(clients, client) if main.reads_holdings else clients.traits[client]
    return Basis.PROFILE if is_profile_read else Basis.POPULATION
