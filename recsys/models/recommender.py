"""The recommender: a model, what stands in for it where a client holds nothing, and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from recsys.domain import Basis, Target
from recsys.models.base import (
    ClientBatch,
    ClientFacts,
    Evidence,
    FloatArray,
    OfferIndex,
    Scorer,
)
from recsys.models.calibration import Calibration, expit
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

    A main model that reads profiles (popularity, expert, blend, boosted) scores everybody itself; the basis
    is ``holdings`` where it reads those and the client has any, else ``profile`` where any fact of the client
    is known. Where it reads both, clients without holdings have a calibration of their own: its scores rest
    on something else there, and those clients adopt far less.

    Attributes:
        main: The model for clients with holdings.
        fallback: Popularity, for the others.
        main_calibration: From the main model's scores to probabilities; None where they are log-odds.
        fallback_calibration: For clients without holdings, from the scores of the model that scores them, the
            main one where it reads profiles, else popularity; None where the main model gives log-odds.
        target: What the probabilities are probabilities of.
    """

    def __init__(
        self,
        main: Scorer,
        fallback: Popularity,
        main_calibration: Calibration | None,
        fallback_calibration: Calibration | None,
        target: Target = Target.ADOPTION,
    ) -> None:
        if main.offers != fallback.offers:
            raise ValueError("the main model and its fallback know different offers")
        if (main_calibration is None) is not main.gives_log_odds:
            raise ValueError(f"the model {main.name!r} gives log-odds or has a calibration, one of the two")
        is_with_others = not main.reads_profiles or (main.reads_holdings and not main.gives_log_odds)
        if fallback_calibration is None and is_with_others:
            raise ValueError(f"the model {main.name!r} needs a fallback, and so a calibration of it")
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
        shares = _shares(self.main, self.fallback, bases)
        if len(shares) == 1:
            scorer, _ = shares[0]
            return Prediction(*self._predict_by(scorer, clients), bases)
        scores = np.empty((len(clients), len(self.offers)))
        probabilities = np.empty(scores.shape)
        for scorer, rows in shares:
            scores[rows], probabilities[rows] = self._predict_by(scorer, clients.take(rows))
        return Prediction(scores, probabilities, bases)

    def _predict_by(self, scorer: Scorer, clients: ClientBatch) -> tuple[FloatArray, FloatArray]:
        """Scores of one of the two models, and their probabilities."""
        scores = scorer.score(clients)
        if scorer is self.main:
            return scores, self._main_probabilities(scores, clients)
        return scores, self._fallback_probabilities(scores)

    def _main_probabilities(self, scores: FloatArray, clients: ClientBatch) -> FloatArray:
        if self.main_calibration is None:
            return expit(scores)
        probabilities = self.main_calibration.predict(scores)
        if self.main.reads_holdings and not clients.n_held.all():
            is_without = clients.n_held == 0
            probabilities[is_without] = self._fallback_probabilities(scores[is_without])
        return probabilities

    def _fallback_probabilities(self, scores: FloatArray) -> FloatArray:
        if self.fallback_calibration is None:
            raise ValueError("the fallback is asked for probabilities and has no calibration")
        return self.fallback_calibration.predict(scores)

    def explain(self, facts: ClientFacts, column: int) -> Iterator[Evidence]:
        """What is true of an offer (a column) for a client, the strongest first.

        It is what helped the score, and last how common the offer is.
        """
        scorer = self.main if facts.held or self.main.reads_profiles else self.fallback
        if isinstance(scorer, Popularity):
            yield from scorer.explain(facts, column)
            return
        for one in scorer.explain(facts, column):
            if one.subject:
                yield one
        if column in self.fallback.common:
            yield self.fallback.common[column]


def scoring_moment(now: datetime) -> datetime:
    """The moment at which clients are scored: the end of the present hour.

    So scores hold for an hour and can be made again exactly; what is known lies before it.

    Example:
        >>> scoring_moment(datetime(2025, 1, 1, 9, 40)).isoformat()
        '2025-01-01T10:00:00'
    """
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def bases_of(main: Scorer, fallback: Popularity, clients: ClientBatch) -> tuple[Basis, ...]:
    """On what the scores of each client rest; see `Recommender`."""
    indptr = clients.indptr.tolist()
    return tuple(
        [
            _basis_of(main, fallback, clients, client, indptr[client + 1] > indptr[client])
            for client in range(len(clients))
        ]
    )


def score_clients(main: Scorer, fallback: Popularity, clients: ClientBatch) -> FloatArray:
    """Scores by the main model, and by the fallback where it has nothing to read.

    Returns:
        Shape (n_clients, n_offers); scores compare inside one client only.
    """
    scores = np.empty((len(clients), len(main.offers)))
    for scorer, rows in _shares(main, fallback, bases_of(main, fallback, clients)):
        scores[rows] = scorer.score(_rows_of(clients, rows))
    return scores


def _shares(main: Scorer, fallback: Popularity, bases: Sequence[Basis]) -> list[tuple[Scorer, list[int]]]:
    """Which of the two scores which clients (rows of the batch), where it scores any."""
    by_main = [main.reads_profiles or basis is Basis.HOLDINGS for basis in bases]
    shares: list[tuple[Scorer, list[int]]] = [
        (main, [row for row, is_by_main in enumerate(by_main) if is_by_main]),
        (fallback, [row for row, is_by_main in enumerate(by_main) if not is_by_main]),
    ]
    return [(scorer, rows) for scorer, rows in shares if rows]


def _rows_of(clients: ClientBatch, rows: list[int]) -> ClientBatch:
    return clients if len(rows) == len(clients) else clients.take(rows)


def _basis_of(
    main: Scorer, fallback: Popularity, clients: ClientBatch, client: int, has_holdings: bool
) -> Basis:
    if main.reads_holdings and has_holdings:
        return Basis.HOLDINGS
    traits = clients.traits[client]
    is_profile_read = traits if main.reads_profiles else fallback.has_segment(traits)
    return Basis.PROFILE if is_profile_read else Basis.POPULATION
