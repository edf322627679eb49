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
    """Trials of the main model, each with the clients whom it scores."""
    return [
        Trial(main, window.take(np.flatnonzero(_has_holdings(window))) if main.reads_holdings else window)
        for main, window in trials
    ]


def fallback_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Trials of the fallback with the clients without holdings.

    Everybody is kept where those adopted too little to learn from (under 100).
    """
    without = [Trial(one, window.take(np.flatnonzero(~_has_holdings(window)))) for one, window in trials]
    is_enough = sum(int(trial.window.is_adopted.sum()) for trial in without) >= _MIN_ADOPTIONS
    return without if is_enough else list(trials)


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
        of every window's clients calibrated on the other halves.
    """
    n_adoptions = sum(int(trial.window.is_adopted.sum()) for trial in trials)
    metrics = {
        "n_calibration_windows": float(len(trials)),
        "n_calibration_adoptions": float(n_adoptions),
    }
    if n_adoptions and min(len(trial.window.clients) for trial in trials) > 1:
        metrics["observed_over_expected"] = n_adoptions / _expected_adoptions(trials, adoptions_per_bin, rng)
    return metrics


def _ndcg_at_10(main: Scorer, fallback: Popularity, window: AdoptionWindow) -> float:
    scores = score_clients(main, fallback, window.clients)
    scores[~window.is_open] = -np.inf
    hits = find_hits(rank_top_k(scores, 10), sparse.csr_array(window.is_adopted.astype(np.float64)))
    return float(ndcg(hits).mean())


def _expected_adoptions(trials: Sequence[Trial], adoptions_per_bin: int, rng: np.random.Generator) -> float:
    orders = [rng.permutation(len(trial.window.clients)) for trial in trials]
    halves = [
        [Trial(one, window.take(order[half::2])) for (one, window), order in zip(trials, orders, strict=True)]
        for half in (0, 1)
    ]
    expected = 0.0
    for learnt, judged in (halves, halves[::-1]):
        calibration = calibrate(learnt, adoptions_per_bin)
        for one, window in judged:
            expected += float(calibration.predict(one.score(window.clients))[window.is_open].sum())
    return expected


def _has_holdings(window: AdoptionWindow) -> BoolArray:
    has_holdings: BoolArray = np.diff(window.clients.indptr) > 0
    return has_holdings


def _mask(offer_ids: Sequence[Sequence[str]], offers: OfferIndex) -> BoolArray:
    mask = np.zeros((len(offer_ids), len(offers)), dtype=bool)
    for row, ids in enumerate(offer_ids):
        mask[row, offers.known_columns(ids)] = True
    return mask
