"""Calibrations pooled over windows hold for clients and windows that they never saw."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.models.base import ClientBatch, FloatArray, TrainingSet
from recsys.models.popularity import Popularity
from training.pipelines.adoptions import (
    AdoptionWindow,
    Trial,
    calibrate,
    calibrate_fallback,
    main_trials,
    measure_calibration,
)

N_CLIENTS, N_OFFERS = 4000, 20


class KnownScorer(Popularity):
    """Scores of which the probabilities are known: they are drawn with the clients."""

    def __init__(self, scores: FloatArray) -> None:
        super().__init__()
        self.known = scores

    def fit(self, training: TrainingSet, rng: np.random.Generator) -> KnownScorer:
        return self

    def score(self, clients: ClientBatch) -> FloatArray:
        # a client of these tests holds nothing and is told by the number in its trait
        return self.known[[int(traits[0]) for traits in clients.traits]]


def truth_of(scores: FloatArray) -> FloatArray:
    """A rare adoption, thirty times as probable at the top as at the bottom."""
    return 0.0005 + 0.015 * scores**3


def trial(rng: np.random.Generator) -> Trial:
    """A window of clients that adopt at the known rates; a tenth of the pairs is not open."""
    scores = rng.random((N_CLIENTS, N_OFFERS))
    is_open = rng.random(scores.shape) < 0.9
    is_adopted = (rng.random(scores.shape) < truth_of(scores)) & is_open
    start = np.zeros(N_CLIENTS + 1, dtype=np.int64)
    clients = ClientBatch(start, start[:0], tuple((str(row),) for row in range(N_CLIENTS)), N_OFFERS)
    return Trial(KnownScorer(scores), AdoptionWindow(clients, is_open, is_adopted))


def _with_holders(one: Trial, share: float = 1.0, rng: np.random.Generator | None = None) -> Trial:
    """Four in five clients hold the first offer; the others adopt that share of what they would."""
    is_holder = np.arange(N_CLIENTS) % 5 > 0
    window = one.window
    clients = ClientBatch(
        np.append(0, np.cumsum(is_holder)), np.zeros(is_holder.sum(), dtype=np.int64),
        window.clients.traits, N_OFFERS,
    )  # fmt: skip
    is_kept = True if rng is None else is_holder[:, None] | (rng.random(window.is_open.shape) < share)
    return Trial(one.scorer, AdoptionWindow(clients, window.is_open, window.is_adopted & is_kept))


@pytest.mark.parametrize("seed", range(5))
def test_observed_over_expected_is_one_on_a_window_of_known_rates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    calibration = calibrate([trial(rng) for _ in range(3)], 25)
    later = trial(rng)
    scores = later.scorer.score(later.window.clients)[later.window.is_open]
    outcomes = later.window.is_adopted[later.window.is_open]
    probabilities = calibration.predict(scores)
    # the window that is judged has an error of 1/√n, the three windows learnt from one of 1/√(3n)
    for part in (scores >= 0, scores > 0.9, scores < 0.5):
        error = np.sqrt((1 + 1 / 3) / truth_of(scores[part]).sum())
        assert outcomes[part].sum() / probabilities[part].sum() == pytest.approx(1, abs=3 * error)


def test_more_windows_give_more_steps_up_to_the_top() -> None:
    rng = np.random.default_rng(11)
    trials = [trial(rng) for _ in range(3)]
    one, three = (len(calibrate(trials[:n], 25).scores) for n in (1, 3))
    assert three > 1.5 * one
    top = calibrate(trials, 25).predict(np.linspace(0.8, 1.0, 21))
    assert (np.diff(top) > 0).all()
    assert top[-1] / top[0] > 1.3, "the truth is 1.9"


def test_the_measure_counts_every_window_and_judges_what_it_did_not_learn_from() -> None:
    rng = np.random.default_rng(12)
    trials = [trial(rng) for _ in range(2)]
    found = measure_calibration(trials, 25, rng)
    n_adoptions = sum(int(one.window.is_adopted.sum()) for one in trials)
    assert found["n_calibration_windows"] == 2
    assert found["n_calibration_adoptions"] == n_adoptions
    assert found["observed_over_expected"] == pytest.approx(1, abs=3 / np.sqrt(n_adoptions))


def test_a_model_of_holdings_is_calibrated_on_clients_with_holdings() -> None:
    one = trial(np.random.default_rng(13))
    assert len(main_trials([one])[0].window.clients) == N_CLIENTS
    held = _with_holders(one)
    assert len(main_trials([held])[0].window.clients) == N_CLIENTS, "popularity reads no holdings"
    held.scorer.reads_holdings = True  # type: ignore[misc]
    assert len(main_trials([held])[0].window.clients) == N_CLIENTS - N_CLIENTS // 5


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_clients_without_holdings_have_the_level_at_which_they_adopt(share: float) -> None:
    """Of those that adopt as others do there are enough to learn from; of a fifth, their level alone."""
    rng = np.random.default_rng(15)
    trials = [_with_holders(trial(rng), share, rng) for _ in range(2)]
    n_adoptions = sum(int(one.window.is_adopted[::5].sum()) for one in trials)
    assert (n_adoptions >= 100) == (share == 1.0)
    calibration = calibrate_fallback(trials, 25)
    expected = sum(
        calibration.predict(one.scorer.score(one.window.clients))[::5][one.window.is_open[::5]].sum()
        for one in trials
    )
    assert n_adoptions / expected == pytest.approx(1, abs=0.25)


def test_nobody_without_holdings_gets_the_calibration_of_all() -> None:
    rng = np.random.default_rng(16)
    one = _with_holders(trial(rng))
    holders = np.flatnonzero(np.diff(one.window.clients.indptr))
    all_hold = [Trial(one.scorer, one.window.take(holders))]
    of_all = calibrate(all_hold, 25)
    np.testing.assert_allclose(calibrate_fallback(all_hold, 25).probabilities, of_all.probabilities)


def test_a_half_that_could_connect_nothing_is_not_judged() -> None:
    clients = ClientBatch(np.array([0, 0, 1]), np.array([0]), (("0",), ("1",)), 1)
    is_open = np.array([[True], [False]])
    one = Trial(KnownScorer(np.ones((2, 1))), AdoptionWindow(clients, is_open, is_open))
    found = measure_calibration([one], 25, np.random.default_rng(0))
    assert found == {"n_calibration_windows": 1.0, "n_calibration_adoptions": 1.0}


def test_nothing_open_is_refused() -> None:
    one = trial(np.random.default_rng(14))
    nothing = np.zeros_like(one.window.is_open)
    with pytest.raises(DataError, match="nothing to calibrate on"):
        calibrate([Trial(one.scorer, AdoptionWindow(one.window.clients, nothing, nothing))], 25)
