"""A bundle held against the truth of the made-up world that it learnt from.

What is judged is every (client, offer) that the client could connect or upgrade to when a month begins. Gains
are true probabilities, not drawn outcomes, so that nothing but the clients and the model varies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recsys.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.data.snapshot import take_snapshot
from recsys.domain import ClientState, Offer, Target
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.ranking import rank_top_k, take_slots
from recsys.features.builder import FeatureBuilder
from recsys.history import History
from recsys.models.base import ClientBatch, FloatArray
from recsys.simulation.aftersales import NEW, UPGRADE
from recsys.simulation.truth import Truth

K = 5
HORIZON_DAYS = 30
LEAST_POSITIVES = 200
_LEAST_CHANCE = 1e-9
_N_FUTURES = 3
_CLIENTS_PER_CHUNK = 2000
_NEWTON_STEPS = 50
_TINY = 1e-12
_LEAST_SPREAD = 1e-6
_Z = 1.96

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WorldTruth:
    """What is true of the clients that a snapshot knows, clients_by_offers, when a month begins.

    Attributes:
        as_of: The first instant of the month.
        states: The clients, as they were known.
        offers: The offers, as they were known.
        is_open: What a client could connect or upgrade to.
        acceptance: P(activation within 30 days | seen at the first slot), 0–1.
        adoption: P(first held within 30 days), 0–1.
        gains: Margin expected once it is connected, whole units of the currency.
    """

    as_of: datetime
    states: tuple[ClientState, ...]
    offers: tuple[Offer, ...]
    is_open: Mask
    acceptance: FloatArray
    adoption: FloatArray
    gains: FloatArray

    @property
    def margins(self) -> FloatArray:
        """What the catalogue says an offer brings in a month, shape (n_offers,)."""
        return np.array([float(offer.margin_minor or 0) for offer in self.offers])

    def chances(self, target: Target) -> FloatArray:
        """What a bundle of that target estimates."""
        return self.acceptance if target is Target.ACCEPTANCE else self.adoption

    @classmethod
    def pooled(cls, lives: Sequence[WorldTruth]) -> WorldTruth:
        """The clients of several lives of one world, one under the other."""
        return cls(
            as_of=lives[0].as_of,
            states=tuple(state for life in lives for state in life.states),
            offers=lives[0].offers,
            is_open=np.concatenate([life.is_open for life in lives]),
            acceptance=np.concatenate([life.acceptance for life in lives]),
            adoption=np.concatenate([life.adoption for life in lives]),
            gains=np.concatenate([life.gains for life in lives]),
        )


def take_truth(truth: Truth, dataset: Dataset, month: int) -> WorldTruth:
    """The truth when a 0-based month begins, about the clients and offers that the dataset knows then."""
    as_of = truth.starts_at(month)
    here = truth.at(month)
    offered = here.offered()
    adoption = truth.adoption_within(as_of, HORIZON_DAYS, _N_FUTURES)
    snapshot = take_snapshot(dataset, as_of)
    rows = {client_id: row for row, client_id in enumerate(here.client_ids)}
    columns = {offer_id: column for column, offer_id in enumerate(here.offer_ids)}
    is_open = np.isin(offered.changes, (NEW, UPGRADE))
    keeps = [bool(is_open[rows[state.client_id]].any()) for state in snapshot.states]
    states = tuple(state for state, is_kept in zip(snapshot.states, keeps, strict=True) if is_kept)
    asked = np.ix_(
        [rows[state.client_id] for state in states], [columns[offer.offer_id] for offer in snapshot.offers]
    )
    return WorldTruth(
        as_of=as_of,
        states=states,
        offers=snapshot.offers,
        is_open=is_open[asked],
        acceptance=offered.acceptance[asked],
        adoption=adoption[asked],
        gains=offered.gains[asked],
    )


def predict(bundle: Bundle, truth: WorldTruth, states: Sequence[ClientState]) -> FloatArray:
    """The bundle's probabilities for the truth's offers, clients_by_offers; 0 if it knows no such offer."""
    known = bundle.recommender.offers
    features = FeatureBuilder(truth.offers, bundle.population) if bundle.population else None
    found = np.zeros((len(states), len(truth.offers)))
    columns = [place for place, offer in enumerate(truth.offers) if offer.offer_id in known]
    theirs = [known.column_of(truth.offers[place].offer_id) for place in columns]
    for first in range(0, len(states), _CLIENTS_PER_CHUNK):
        some = slice(first, first + _CLIENTS_PER_CHUNK)
        batch = ClientBatch.from_states(states[some], known, truth.as_of, features)
        found[some, columns] = bundle.recommender.predict(batch).probabilities[:, theirs]
    return found


def without_history(states: Sequence[ClientState]) -> tuple[ClientState, ...]:
    """The same clients, of whom nothing but the profile is known."""
    return tuple(
        replace(state, holdings=(), past_offer_ids=(), dismissals=(), history=History()) for state in states
    )


@dataclass(frozen=True, slots=True)
class Gains:
    """What lists of five bring of some value, by client.

    Attributes:
        ours: Sum of the true values in the lists.
        oracle: The most that lists could bring.
        chance: What lists drawn at random are expected to bring.
    """

    ours: FloatArray
    oracle: FloatArray
    chance: FloatArray

    @classmethod
    def of(cls, scores: FloatArray, values: FloatArray, is_open: Mask) -> Gains:
        """Rank by scores among what is open, and add up the values."""
        n_open = is_open.sum(axis=1)
        total = np.where(is_open, values, 0.0).sum(axis=1)
        return cls(
            ours=_at_top(scores, values, is_open),
            oracle=_at_top(values, values, is_open),
            chance=total * np.minimum(1.0, K / n_open),
        )

    def share(self) -> Estimate:
        """``(ours − chance) ÷ (oracle − chance)`` of the means, with its 95 % interval over clients."""
        return ratio_of_means(self.ours - self.chance, self.oracle - self.chance)


def _at_top(scores: FloatArray, values: FloatArray, is_open: Mask) -> FloatArray:
    ranked = rank_top_k(np.where(is_open, scores, -np.inf), K)
    total: FloatArray = take_slots(values, ranked).sum(axis=1)
    return total


def ratio_of_means(numerator: FloatArray, denominator: FloatArray) -> Estimate:
    """Ratio of the means of paired values, with its 95 % interval.

    ``r ± 1.96 s``, ``s = sd(x − r y) ÷ (mean(y) √n)``.

    Source:
        Cochran: Sampling Techniques, 3rd edition, 1977, section 6.3.

    Example:
        >>> ratio_of_means(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
        Estimate(value=0.5, low=0.5, high=0.5)
    """
    mean = float(denominator.mean())
    ratio = float(numerator.mean()) / mean
    error = float(np.std(numerator - ratio * denominator, ddof=1)) / (abs(mean) * len(numerator) ** 0.5)
    return Estimate(ratio, ratio - _Z * error, ratio + _Z * error)


class Line(NamedTuple):
    """True log-odds as a line of the estimated ones.

    Attributes:
        intercept: 0 is right.
        slope: 1 is right; below 1 the estimates are too extreme.
        slope_error: Standard error with which one draw of every outcome would tell the slope.
    """

    intercept: float
    slope: float
    slope_error: float


def calibration_line(estimates: FloatArray, chances: FloatArray) -> Line:
    """True log-odds against the estimated ones.

    The logistic regression of outcomes on ``logit(estimate)``; outcomes stand with their true probability,
    which is what endless draws would give.

    Args:
        estimates: Probabilities, each in (0, 1), not all the same, shape (n_pairs,).
        chances: True probabilities, 0–1, same shape.

    Source:
        Cox 1958, "Two further applications of a model for binary regression".

    Example:
        >>> estimates = np.array([0.1, 0.2, 0.5])
        >>> [round(value, 6) for value in calibration_line(estimates, estimates)]
        [0.0, 1.0, 1.601415]
    """
    log_odds = logit(estimates)
    design = np.column_stack([np.ones(len(log_odds)), log_odds])
    line = np.array([float(logit(chances.mean(keepdims=True))[0]), 0.0])
    for _ in range(_NEWTON_STEPS):
        fitted = expit(design @ line)
        weight = np.maximum(fitted * (1.0 - fitted), _LEAST_CHANCE)
        step = np.linalg.solve((design * weight[:, None]).T @ design, design.T @ (chances - fitted))
        # a step that overshoots is halved: the likelihood has one maximum only
        while _likelihood(design @ (line + step), chances) < _likelihood(design @ line, chances) - _TINY:
            step = step / 2.0
        line = line + step
        if float(np.abs(step).max()) < _TINY:
            break
    errors = np.sqrt(np.diag(np.linalg.inv((design * weight[:, None]).T @ design)))
    return Line(float(line[0]), float(line[1]), float(errors[1]))


def _likelihood(log_odds: FloatArray, chances: FloatArray) -> float:
    return float((chances * log_odds - np.logaddexp(0.0, log_odds)).mean())


def logit(probabilities: FloatArray) -> FloatArray:
    """Log-odds; 0 and 1 are kept a billionth away."""
    kept = np.clip(probabilities, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    odds: FloatArray = np.log(kept / (1.0 - kept))
    return odds


def log_loss(estimates: FloatArray, chances: FloatArray, is_open: Mask) -> FloatArray:
    """Expected log-loss of each client's open offers, summed, shape (n_clients,)."""
    kept = np.clip(estimates, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    loss = -(chances * np.log(kept) + (1.0 - chances) * np.log1p(-kept))
    total: FloatArray = np.where(is_open, loss, 0.0).sum(axis=1)
    return total


def judge_lists(estimates: FloatArray, truth: WorldTruth) -> dict[str, Estimate]:
    """How near lists of five come to the oracle's, as shares; see `Gains.share`.

    Returns:
        ``margin``: by estimate times the catalogue's margin, measured in true probability times that margin;
        ``true_margin``: the same lists, measured in the margin that this very client would bring;
        ``acceptance``: by the estimate alone, measured in true probability.
    """
    money = truth.margins[None, :]
    by_money = estimates * money
    return {
        "margin": Gains.of(by_money, truth.acceptance * money, truth.is_open).share(),
        "true_margin": Gains.of(by_money, truth.acceptance * truth.gains, truth.is_open).share(),
        "acceptance": Gains.of(estimates, truth.acceptance, truth.is_open).share(),
    }


def judge_probabilities(estimates: FloatArray, chances: FloatArray, truth: WorldTruth) -> dict[str, object]:
    """How true the probabilities are.

    Args:
        estimates: Probabilities, clients_by_offers.
        chances: What is true of what they are probabilities of; see `WorldTruth.chances`.
        truth: The truth that both are of.

    Returns:
        ``slope``, ``intercept`` and ``observed_to_expected`` over every open pair; ``groups``: slopes of the
        need groups with at least 200 expected positives, with ``slope_error`` (see `Line`); ``log_loss``
        and that of each offer's true mean, per pair, and their difference (ours minus the base rate's) with
        its interval.
    """
    is_open = truth.is_open
    line = calibration_line(estimates[is_open], chances[is_open])
    base = np.where(is_open, chances, 0.0).sum(axis=0) / np.maximum(is_open.sum(axis=0), 1)
    ours = log_loss(estimates, chances, is_open)
    others = log_loss(np.broadcast_to(base, chances.shape), chances, is_open)
    n_open = is_open.sum(axis=1).astype(np.float64)
    return {
        "slope": line.slope,
        "intercept": line.intercept,
        "observed_to_expected": float(chances[is_open].sum() / estimates[is_open].sum()),
        "groups": _slopes_by_group(estimates, chances, truth),
        "log_loss": float(ours.sum() / n_open.sum()),
        "base_log_loss": float(others.sum() / n_open.sum()),
        "log_loss_difference": ratio_of_means(ours - others, n_open),
    }


def _slopes_by_group(
    estimates: FloatArray, chances: FloatArray, truth: WorldTruth
) -> Mapping[str, dict[str, float]]:
    groups = np.array([offer.need_group or "" for offer in truth.offers])
    found = {}
    for group in sorted(set(groups.tolist())):
        is_in = truth.is_open & (groups == group)[None, :]
        expected = float(chances[is_in].sum())
        # a line through one point has any slope
        if expected >= LEAST_POSITIVES and np.ptp(logit(estimates[is_in])) > _LEAST_SPREAD:
            line = calibration_line(estimates[is_in], chances[is_in])
            found[group] = {
                "slope": line.slope,
                "slope_error": line.slope_error,
                "observed_to_expected": expected / float(estimates[is_in].sum()),
                "n_positives": expected,
            }
    return found


def judge_newcomers(
    estimates: FloatArray, popularity: Mapping[str, FloatArray], truth: WorldTruth
) -> dict[str, dict[str, Estimate]]:
    """Lists of five for clients known by profile alone, as a multiple of what popularity's lists bring.

    Args:
        estimates: Probabilities for them.
        popularity: Scores of the yardsticks by name, clients_by_offers.
        truth: The truth.

    Returns:
        By yardstick: the multiple in true ``acceptance`` and, both ranked by score times margin, ``margin``.
    """
    money = truth.margins[None, :]
    ours = _at_top(estimates, truth.acceptance, truth.is_open)
    our_margin = _at_top(estimates * money, truth.acceptance * money, truth.is_open)
    return {
        name: {
            "acceptance": ratio_of_means(ours, _at_top(scores, truth.acceptance, truth.is_open)),
            "margin": ratio_of_means(
                our_margin, _at_top(scores * money, truth.acceptance * money, truth.is_open)
            ),
        }
        for name, scores in popularity.items()
    }
