"""Thompson sampling in batches, and what may be said of the arms afterwards.

Before each batch every arm gets the probability that it is the best one; all clients of the batch are drawn
with these probabilities, which are logged. They are integrated, not simulated: the log holds exact numbers.
An arm that is behind gets fewer and fewer clients, so a plain mean over the log is biased and its interval
too narrow; `adaptive_values` weighs the log so that intervals hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, ndtr, stdtrit

from recsys.experiments.inference import check_alpha
from recsys.models.base import FloatArray, IntArray

_N_NODES = 301
_REACH = 9.0


def chances_to_be_best(means: FloatArray, standard_errors: FloatArray) -> FloatArray:
    """Probability of each arm to have the highest mean, under independent normal posteriors.

    ``∫ Π_{j≠k} F_j dF_k`` by quadrature on nodes of every arm.

    Args:
        means: Posterior means, shape (n_arms,).
        standard_errors: Posterior standard deviations, >0.

    Returns:
        Probabilities that sum to 1, shape (n_arms,); right to 1e-4. What is drawn is what is logged, so the
        log is exact all the same.

    Raises:
        ValueError: A standard error is not above 0.

    Example:
        >>> chances_to_be_best(np.array([0.0, 0.0]), np.array([1.0, 1.0])).round(8).tolist()
        [0.5, 0.5]
    """
    if not (standard_errors > 0.0).all():
        raise ValueError(f"standard errors are {standard_errors.tolist()}, must be above 0")
    nodes = _nodes(means, standard_errors)
    return _chances(ndtr((nodes[:, None] - means) / standard_errors))


def binary_chances_to_be_best(
    n_successes: FloatArray, n_trials: FloatArray, *, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """Probability of each arm to have the highest rate, under independent beta posteriors.

    Args:
        n_successes: Successes of each arm, shape (n_arms,).
        n_trials: Trials of each arm.
        prior: Successes and failures counted before the first trial, both >0.

    Returns:
        Probabilities that sum to 1, shape (n_arms,).

    Raises:
        ValueError: More successes than trials, or a prior not above 0.

    Example:
        >>> binary_chances_to_be_best(np.array([3.0, 3.0]), np.array([9.0, 9.0])).round(8).tolist()
        [0.5, 0.5]
    """
    if (n_successes > n_trials).any() or (n_successes < 0).any() or min(prior) <= 0.0:
        raise ValueError(
            f"successes {n_successes.tolist()} of {n_trials.tolist()} with prior {prior} cannot be"
        )
    a, b = prior[0] + n_successes, prior[1] + n_trials - n_successes
    spreads = np.sqrt(a * b / (a + b + 1.0)) / (a + b)
    nodes = np.unique(np.clip(_nodes(a / (a + b), spreads), 0.0, 1.0))
    return _chances(betainc(a, b, nodes[:, None]))


def _nodes(means: FloatArray, spreads: FloatArray) -> FloatArray:
    """Points dense where any arm is, in rising order."""
    return np.unique(means + spreads * np.linspace(-_REACH, _REACH, _N_NODES)[:, None])


def _chances(below: FloatArray) -> FloatArray:
    """From the arms' distribution functions on common nodes, shape (n_nodes, n_arms)."""
    chances = np.empty(below.shape[1])
    for arm in range(len(chances)):
        others = np.delete(below, arm, axis=1).prod(axis=1)
        chances[arm] = np.diff(below[:, arm]) @ (0.5 * (others[1:] + others[:-1]))
    shares: FloatArray = chances / chances.sum()
    return shares


def logging_probabilities(chances: FloatArray, floor: float) -> FloatArray:
    """Mix the chances with equal shares, so that no arm is ever without clients.

    ``floor + (1 − n_arms · floor) · chance``: what every client of the batch is drawn with, and what is
    logged.

    Args:
        chances: From `chances_to_be_best`, summing to 1.
        floor: Least probability of an arm, above 0 and at most 1 ÷ n_arms.

    Returns:
        Probabilities that sum to 1.

    Raises:
        ValueError: floor is out of its bounds.

    Example:
        >>> logging_probabilities(np.array([0.9, 0.1]), 0.1).round(2).tolist()
        [0.82, 0.18]
    """
    if not 0.0 < floor <= 1.0 / len(chances):
        raise ValueError(f"floor is {floor}, must lie above 0 and at most at 1/{len(chances)}")
    return floor + (1.0 - len(chances) * floor) * chances


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveValues:
    """Values of the arms from an adaptive log.

    Attributes:
        values: Value of each arm, shape (n_arms,).
        lows: Lower ends.
        highs: Upper ends.
        differences: Value − that of the first arm; 0 for the first.
        difference_lows: Lower ends.
        difference_highs: Upper ends.
    """

    values: FloatArray
    lows: FloatArray
    highs: FloatArray
    differences: FloatArray
    difference_lows: FloatArray
    difference_highs: FloatArray


def adaptive_values(
    outcomes: FloatArray, arms: IntArray, probabilities: FloatArray, batches: IntArray, *, alpha: float = 0.05
) -> AdaptiveValues:
    """Values of all arms with intervals that hold although earlier outcomes chose later arms.

    ``Γ_t(k) = m̂ + 1{arm_t = k}/e_t(k) · (y_t − m̂)`` with m̂ the arm's mean over earlier batches, averaged
    with weights ``h_t(k) = √e_t(k)``, which keep the variance of the parts level while an arm dies out:
    ``Q_k = Σ h Γ / Σ h``, ``Var = Σ h²(Γ − Q)² / (Σ h)²``; differences by the variance of the difference of
    both weighted sums. The quantile is Student's with ``2 (Σ p²)² / Σ p⁴`` degrees of freedom (p the parts
    of the variance), since few clients of a dying arm carry its error. Measured coverage is in the
    documentation.

    Args:
        outcomes: Outcome of each client, in order of batches, shape (n_rows,).
        arms: Arm of each client, 0 … n_arms − 1.
        probabilities: Logged probability of *every* arm for each client, shape (n_rows, n_arms), above 0.
        batches: Number of each client's batch, not falling.
        alpha: 1 − coverage.

    Returns:
        The values, one arm at a time at 1 − alpha; for many arms adjust alpha.

    Raises:
        ValueError: A probability is not above 0, an outcome is not finite, batches fall, or shapes differ.

    Source:
        Hadad, Hirshberg, Zhan, Wager & Athey 2021, "Confidence intervals for policy evaluation in adaptive
        experiments", PNAS 118.
    """
    check_alpha(alpha)
    _check_log(outcomes, arms, probabilities, batches)
    scores = np.empty_like(probabilities)
    for arm in range(probabilities.shape[1]):
        guess = _means_before(outcomes, arms == arm, batches)
        scores[:, arm] = guess + (arms == arm) / probabilities[:, arm] * (outcomes - guess)
    weights = np.sqrt(probabilities)
    weights /= weights.sum(axis=0)
    values = (weights * scores).sum(axis=0)
    parts = weights * (scores - values)
    half = _half_widths(parts, alpha)
    between = _half_widths(parts - parts[:, [0]], alpha)
    differences = values - values[0]
    return AdaptiveValues(
        values, values - half, values + half, differences, differences - between, differences + between
    )


def _half_widths(parts: FloatArray, alpha: float) -> FloatArray:
    """Student's quantile times the error; degrees of freedom by how few parts carry the variance."""
    squares = (parts**2).sum(axis=0)
    freedom = 2.0 * squares**2 / np.maximum((parts**4).sum(axis=0), 1e-300)
    half: FloatArray = stdtrit(np.maximum(freedom, 1.0), 1.0 - alpha / 2.0) * np.sqrt(squares)
    return half


def _check_log(outcomes: FloatArray, arms: IntArray, probabilities: FloatArray, batches: IntArray) -> None:
    if probabilities.ndim != 2 or not len(outcomes) == len(arms) == len(batches) == len(probabilities):
        raise ValueError(
            f"{len(outcomes)} outcomes, {len(arms)} arms, {len(batches)} batches and probabilities of shape"
            f" {probabilities.shape} must be of the same rows"
        )
    if not len(outcomes) or not np.isfinite(outcomes).all():
        raise ValueError("the log is empty or has an outcome that is not finite")
    if not (probabilities > 0.0).all():
        row = int(np.flatnonzero(~(probabilities > 0.0).all(axis=1))[0])
        raise ValueError(
            f"row {row} was logged with probability 0 of an arm; nothing can be said of that arm"
        )
    if (np.diff(batches) < 0).any():
        raise ValueError("batches fall; the log must be in the order in which it was made")


def _means_before(outcomes: FloatArray, chosen: FloatArray, batches: IntArray) -> FloatArray:
    """The arm's mean over earlier batches, for each row; 0 where there is none."""
    _, codes = np.unique(batches, return_inverse=True)
    sums = np.bincount(codes, weights=outcomes * chosen)
    counts = np.bincount(codes, weights=chosen.astype(np.float64))
    before = np.concatenate([[0.0], np.cumsum(sums)[:-1]]), np.concatenate([[0.0], np.cumsum(counts)[:-1]])
    means: FloatArray = before[0] / np.maximum(before[1], 1.0)
    return means[codes]
