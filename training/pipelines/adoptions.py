"""An earlier window of adoptions: from scores to probabilities, and how good they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.data.snapshot import Snapshot
from recsys.errors import DataError
from recsys.evaluation.ranking import find_hits, ndcg, rank_top_k
from recsys.models.base import ClientBatch, OfferIndex, Scorer, TrainingSet
from recsys.models.calibration import Calibration, fit_calibration
from recsys.models.popularity import Popularity
from recsys.models.recommender import score_clients

MAX_PAIRS = 20_000_000
_MIN_ADOPTIONS = 100
# so many adoptions, as many as expected, are added to those that tell the level of clients without holdings
_PSEUDO_ADOPTIONS = 5.0
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AdoptionWindow:
    """Clients at the start of a window, and what they connected in it for the first time.

    Attributes:
        clients: The clients observed through the whole window, as they were at its start.
        is_open: Whether the client could adopt the offer: it was never seen with it before, shape
            (n_clients, n_offers).
        is_adopted: Whether it did; only where open.
    """

    clients: ClientBatch
    is_open: BoolArray
    is_adopted: BoolArray

    def take(self, rows: NDArray[np.int64]) -> AdoptionWindow:
        """Those clients only."""
        return AdoptionWindow(self.clients.take(rows), self.is_open[rows], self.is_adopted[rows])


def adoption_window(
    start: Snapshot,
    end: Snapshot,
    training: TrainingSet,
    adoptions: Mapping[str, Set[str]],
    rng: np.random.Generator,
    max_pairs: int = MAX_PAIRS,
) -> AdoptionWindow:
    """The window between two snapshots.

    Args:
        start: The world at the start.
        end: The world at the end; a client absent from it was not observed, which is no "did not adopt".
        training: The start as arrays.
        adoptions: First adoptions in the window by client_id; clients without any may be left out.
        rng: Draws the clients where all of them would make too many pairs.
        max_pairs: How many pairs of client and offer are enough, ≥1.
    """
    offers = training.offers
    observed = {state.client_id for state in end.states}
    rows = np.array(
        [row for row, state in enumerate(start.states) if state.client_id in observed], dtype=np.int64
    )
    n_clients = max(1, max_pairs // max(len(offers), 1))
    if len(rows) > n_clients:
        rows = np.sort(rng.choice(rows, n_clients, replace=False))
    states = [start.states[row] for row in rows]
    seen = [[*(holding.offer_id for holding in state.holdings), *state.past_offer_ids] for state in states]
    is_open = ~_mask(seen, offers)
    is_adopted = _mask([sorted(adoptions.get(state.client_id, ())) for state in states], offers) & is_open
    return AdoptionWindow(training.clients.take(rows), is_open, is_adopted)


class Trial(NamedTuple):
    """A model fitted as of a window's start, and the window.

    Attributes:
        scorer: The model.
        window: What happened afterwards, of the clients whom this model scores.
    """

    scorer: Scorer
    window: AdoptionWindow


def calibrate(trials: Sequence[Trial], adoptions_per_bin: int) -> Calibration:
    """One calibration on the open pairs of all trials of the same kind of model.

    Raises:
        DataError: There is no open pair.
    """
    if not any(trial.window.is_open.any() for trial in trials):
        raise DataError(
            "no client could connect anything new in the window, so there is nothing to calibrate on"
        )
    scores = [trial.scorer.score(trial.window.clients)[trial.window.is_open] for trial in trials]
    outcomes = [trial.window.is_adopted[trial.window.is_open] for trial in trials]
    return fit_calibration(
        np.concatenate(scores), np.concatenate(outcomes).astype(np.float64), adoptions_per_bin
    )


def main_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Trials of the main model, each with the clients that hold something where it reads that."""
    return [
        Trial(main, window.take(np.flatnonzero(_has_holdings(window))) if main.reads_holdings else window)
        for main, window in trials
    ]


def calibrate_fallback(trials: Sequence[Trial], adoptions_per_bin: int) -> Calibration:
    """One calibration for clients without holdings.

    Where those adopted too little to learn from (under 100), it is that of everybody at their level, to which
    five adoptions, as many as expected, are added.

    Args:
        trials: Of the model that scores them, with all clients.
        adoptions_per_bin: See `fit_calibration`.

    Raises:
        DataError: There is no open pair.
    """
    without = [
        Trial(one, window.take(np.flatnonzero(~_has_holdings(window))))
        for one, window in trials
        if not _has_holdings(window).all()
    ]
    n_adoptions = sum(int(trial.window.is_adopted.sum()) for trial in without)
    if n_adoptions >= _MIN_ADOPTIONS:
        return calibrate(without, adoptions_per_bin)
    of_all = calibrate(trials, adoptions_per_bin)
    n_expected = _expected_of(of_all, without)
    return of_all.at_level((n_adoptions + _PSEUDO_ADOPTIONS) / (n_expected + _PSEUDO_ADOPTIONS))


def measure_ranking(main: Scorer, fallback: Popularity, window: AdoptionWindow) -> dict[str, float]:
    """How the lists of models fitted at the window's start did in it.

    Returns:
        ``n_adopters``, ``n_adoptions`` and, with any adopter, ``ndcg_at_10`` (0–1, over adopters).
    """
    adopters = np.flatnonzero(window.is_adopted.any(axis=1))
    metrics = {"n_adopters": float(len(adopters)), "n_adoptions": float(window.is_adopted.sum())}
    if len(adopters):
        metrics["ndcg_at_10"] = _ndcg_at_10(main, fallback, window.take(adopters))
    return metrics


def measure_calibration(
    trials: Sequence[Trial], adoptions_per_bin: int, rng: np.random.Generator
) -> dict[str, float]:
    """How well calibrations of that many windows hold for clients who are not among them.

    Returns:
        ``n_calibration_windows``, ``n_calibration_adoptions`` and, with any adoption,
        ``observed_over_expected``: adoptions divided by the sum of probabilities (1 is perfect), each half
        of every window's clients calibrated on the other halves; left out where a half could connect nothing.
    """
    n_adoptions = sum(int(trial.window.is_adopted.sum()) for trial in trials)
    metrics = {
        "n_calibration_windows": float(len(trials)),
        "n_calibration_adoptions": float(n_adoptions),
    }
    halves = _halves(trials, rng)
    if n_adoptions and all(any(trial.window.is_open.any() for trial in half) for half in halves):
        n_expected = sum(
            _expected_of(calibrate(learnt, adoptions_per_bin), judged)
            for learnt, judged in (halves, halves[::-1])
        )
        metrics["observed_over_expected"] = n_adoptions / n_expected
    return metrics


def _ndcg_at_10(main: Scorer, fallback: Popularity, window: AdoptionWindow) -> float:
    scores = score_clients(main, fallback, window.clients)
    scores[~window.is_open] = -np.inf
    hits = find_hits(rank_top_k(scores, 10), sparse.csr_array(window.is_adopted.astype(np.float64)))
    return float(ndcg(hits).mean())


def _halves(trials: Sequence[Trial], rng: np.random.Generator) -> list[list[Trial]]:
    """Trials with one half of their clients, and with the other; one without a client is left out."""
    orders = [rng.permutation(len(trial.window.clients)) for trial in trials]
    return [
        [
            Trial(one, window.take(order[half::2]))
            for (one, window), order in zip(trials, orders, strict=True)
            if len(order) > half
        ]
        for half in (0, 1)
    ]


def _expected_of(calibration: Calibration, trials: Sequence[Trial]) -> float:
    """Sum of the probabilities of all open pairs."""
    return sum(
        float(calibration.predict(one.score(window.clients))[window.is_open].sum()) for one, window in trials
    )


def _has_holdings(window: AdoptionWindow) -> BoolArray:
    has_holdings: BoolArray = np.diff(window.clients.indptr) > 0
    return has_holdings


def _mask(offer_ids: Sequence[Sequence[str]], offers: OfferIndex) -> BoolArray:
    mask = np.zeros((len(offer_ids), len(offers)), dtype=bool)
    for row, ids in enumerate(offer_ids):
        mask[row, offers.known_columns(ids)] = True
    return mask
