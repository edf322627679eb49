"""Off-policy evaluation where the truth is known: whom the gate lets through, what intervals cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from recsys.evaluation.offpolicy import (
    Logged,
    bootstrap,
    cross_fitted,
    diagnose,
    doubly_robust,
    folds_of,
    importance_weights,
    judge_support,
    plain,
    self_normalised_dr,
)
from recsys.evaluation.offpolicy.estimators import usual_hit
from recsys.models.base import FloatArray

N_TYPES, N_OFFERS, N_FOLDS = 20, 12, 5
RATES = (0.005, 0.02, 0.1)


@dataclass(frozen=True, slots=True)
class Trial:
    """One log, one policy.

    Attributes:
        effective: True effective number of decisions.
        unsupported: True share of the policy's choices that the log never shows.
        says: Whether the gate lets it through.
        covers: Whether intervals hold the truth: doubly robust, self-normalised, new − live.
    """

    effective: float
    unsupported: float
    says: bool
    covers: tuple[bool, bool, bool]


def random_policy(sharpness: float, rng: np.random.Generator) -> FloatArray:
    worths = np.exp(rng.normal(0.0, sharpness, (N_TYPES, N_OFFERS)))
    chances: FloatArray = worths / worths.sum(axis=1, keepdims=True)
    return chances


def try_out(rate: float, rng: np.random.Generator, *, is_heavy: bool = False, is_cut: bool = False) -> Trial:
    """Clients differ in appetite, offers in margin; a cut log never shows a third of the offers."""
    means = np.minimum(rate * np.exp(0.7 * rng.standard_normal((N_TYPES, N_OFFERS))), 0.6)
    margins = rng.lognormal(0.0, 1.2, N_OFFERS) if is_heavy else np.ones(N_OFFERS)
    logging, sharpness = random_policy(1.0, rng), float(rng.uniform(0.3, 3.0))
    policy = random_policy(sharpness, rng)
    if sharpness < 1.5:
        policy = (policy + logging) / 2
    if is_cut:
        is_dead = (rng.random(logging.shape) < 0.35) & (logging < logging.max(axis=1, keepdims=True))
        logging = np.where(is_dead, 0.0, logging)
        logging /= logging.sum(axis=1, keepdims=True)
    n_clients, n_each = int(rng.choice([150, 500, 1500])), int(rng.choice([1, 4]))
    types = np.repeat(rng.integers(0, N_TYPES, n_clients), n_each)
    clients, n_rows = np.repeat(np.arange(n_clients), n_each), n_clients * n_each
    offers = (np.cumsum(logging[types], axis=1) < rng.random((n_rows, 1))).sum(axis=1).clip(max=N_OFFERS - 1)
    appetite = rng.gamma(2.0, 0.5, n_clients)[clients]
    taken = rng.random(n_rows) < np.minimum(means[types, offers] * appetite, 1.0)
    rewards = taken * margins[offers]
    weights = importance_weights(policy[types, offers], logging[types, offers])
    folds = folds_of(clients, N_FOLDS, rng)
    q_hat = cross_fitted(offers, np.zeros(n_rows, dtype=np.int64), rewards, folds, (N_OFFERS, 1))[:, :, 0]
    log = Logged(rewards, weights, q_hat[folds, offers], (policy[types] * q_hat[folds]).sum(axis=1))
    live = plain(rewards, usual_hit(rewards, np.ones(n_rows)))
    estimates = {"dr": doubly_robust(log), "sndr": self_normalised_dr(log), "live": live}
    resampled = bootstrap(estimates, clients, rng, n_resamples=400)
    values = means * margins
    truth, live_truth = (float((each * values).sum(axis=1).mean()) for each in (policy, logging))
    ends = [(resampled.interval(name), truth) for name in ("dr", "sndr")]
    ends.append((resampled.difference("sndr", "live"), truth - live_truth))
    is_shown = logging > 0
    squares = np.divide(policy**2, logging, out=np.zeros_like(policy), where=is_shown).sum(axis=1).mean()
    first, second, third = (found.low <= value <= found.high for found, value in ends)
    return Trial(
        effective=n_rows * np.where(is_shown, policy, 0.0).sum(axis=1).mean() ** 2 / squares,
        unsupported=float(np.where(is_shown, 0.0, policy).sum(axis=1).mean()),
        says=judge_support(diagnose(weights, clients, rewards=rewards)).says,
        covers=(first, second, third),
    )


def check_gate(n_trials: int, seed: int) -> None:
    """The gate's promises, with a tolerance of three Monte-Carlo errors."""
    rng = np.random.default_rng(seed)
    for rate in RATES:
        for is_heavy in (False, True):
            trials = [try_out(rate, rng, is_heavy=is_heavy) for _ in range(n_trials)]
            large = [trial.says for trial in trials if trial.effective >= 200]
            assert np.mean(large) >= 0.8 - 3 * (0.8 * 0.2 / len(large)) ** 0.5, rate
            heard = np.array([trial.covers for trial in trials if trial.says])
            error = (0.95 * 0.05 / len(heard)) ** 0.5
            assert (heard.mean(axis=0) >= 0.95 - 3 * error).all(), (rate, is_heavy, heard.mean(axis=0))
    cut = [try_out(0.02, rng, is_cut=True) for _ in range(n_trials)]
    refused = [not trial.says for trial in cut if trial.unsupported > 0.1]
    assert np.mean(refused) >= 0.95 - 3 * (0.95 * 0.05 / len(refused)) ** 0.5


def test_the_gate_lets_through_what_has_support_and_its_intervals_cover() -> None:
    check_gate(60, seed=11)


@pytest.mark.soak
def test_the_gate_lets_through_what_has_support_and_its_intervals_cover_in_many_logs() -> None:
    check_gate(2000, seed=12)


def test_support_that_is_known_to_be_missing_is_always_refused() -> None:
    rng = np.random.default_rng(13)
    for share in (0.06, 0.2, 1.0):
        weights = rng.exponential(1.0, 5000)
        assert not judge_support(diagnose(weights, np.arange(5000), np.full(5000, share))).says
