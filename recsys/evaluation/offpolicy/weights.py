"""How much more likely a policy shows what a log shows, and what a log can say nothing of."""

from __future__ import annotations

import numpy as np

from recsys.models.base import FloatArray, IntArray

_ROUNDING = 1e-9


def importance_weights(target: FloatArray, logging: FloatArray) -> FloatArray:
    """P(what was shown, under the policy in question) ÷ P(the same, under the policy that showed it).

    Args:
        target: Probabilities under the policy in question, 0–1; any shape.
        logging: Probabilities with which the log was drawn, above 0 and at most 1; of the same shape.

    Raises:
        ValueError: Shapes differ; a probability is not a number or out of its bounds. What was shown had a
            positive probability, so 0 in a log is a fault of the log and no weight can be made of it.

    Example:
        >>> importance_weights(np.array([0.5, 0.0]), np.array([0.25, 0.75])).tolist()
        [2.0, 0.0]
    """
    if target.shape != logging.shape:
        raise ValueError(f"target is {target.shape}, logging {logging.shape}, must be the same")
    check_probabilities("target", target)
    check_probabilities("logging", logging, is_zero_refused=True)
    weights: FloatArray = target / logging
    return weights


def check_probabilities(name: str, values: FloatArray, *, is_zero_refused: bool = False) -> None:
    """Refuse what is no probability.

    Raises:
        ValueError: A value is not a number, below 0 (or 0 where that is refused) or above 1; the text names
            the first such row.
    """
    with np.errstate(invalid="ignore"):
        is_low = values <= 0.0 if is_zero_refused else values < 0.0
        is_wrong = ~np.isfinite(values) | is_low | (values > 1.0 + _ROUNDING)
    if is_wrong.any():
        row = tuple(np.argwhere(is_wrong)[0].tolist())
        place = row[0] if len(row) == 1 else row
        bound = "above 0 and at most 1" if is_zero_refused else "0–1"
        raise ValueError(f"{name} is {values[row]} in row {place}, must be {bound}")


def mixture_probabilities(probabilities: FloatArray, loggers: IntArray) -> FloatArray:
    """Logging probabilities of a log that several policies made, as if one mixture had made all of it.

    ``π(a | x) = Σ_j n_j/n · π_j(a | x)``, the balanced mixture: its weights are bounded by the best of the
    policies, where those of each policy by itself may be huge.

    Args:
        probabilities: P(what was shown) under each policy, 0–1, shape (n_rows, n_policies).
        loggers: Which policy showed it, 0 … n_policies − 1, shape (n_rows,).

    Returns:
        Shape (n_rows,).

    Raises:
        ValueError: A probability is out of its bounds, or 0 under the policy that showed the row.

    Source:
        Agarwal, Basu, Schnabel, Joachims 2017, "Effective evaluation using logged bandit feedback from
        multiple loggers", KDD.

    Example:
        >>> both = np.array([[0.5, 0.1], [0.2, 0.4]])
        >>> mixture_probabilities(both, np.array([0, 1])).tolist()
        [0.3, 0.30000000000000004]
    """
    check_probabilities("probabilities", probabilities)
    own = probabilities[np.arange(len(loggers)), loggers]
    check_probabilities("probabilities of the policy that showed the row", own, is_zero_refused=True)
    shares = np.bincount(loggers, minlength=probabilities.shape[1]) / len(loggers)
    mixed: FloatArray = probabilities @ shares
    return mixed


def logger_factors(contributions: FloatArray, loggers: IntArray) -> FloatArray:
    """By what to multiply the rows of each policy's part of a log so that noisy parts count less.

    ``λ_j ∝ n_j / Var_j``: the value is then ``Σ_j λ_j · mean_j``, the combination of least variance of
    estimates that are each unbiased. A row's factor is λ_j · n / n_j, so that the mean over all rows is that.

    Args:
        contributions: What each row adds, for example weight times reward, shape (n_rows,).
        loggers: Which policy showed the row, 0 …, every number used, shape (n_rows,).

    Returns:
        Shape (n_rows,); all 1 where a part of the log has no variance, which says nothing of its worth.

    Source:
        Agarwal et al. 2017, section 4.3; see `mixture_probabilities`.

    Example:
        >>> logger_factors(np.array([0.0, 2.0, 0.0, 4.0]), np.array([0, 0, 1, 1])).tolist()
        [1.6, 1.6, 0.4, 0.4]
    """
    counts = np.bincount(loggers).astype(np.float64)
    means = np.bincount(loggers, weights=contributions) / counts
    variances = np.bincount(loggers, weights=(contributions - means[loggers]) ** 2) / counts
    if not (variances > 0).all():
        return np.ones(len(loggers))
    shares = counts / variances
    shares /= shares.sum()
    factors: FloatArray = (shares * len(loggers) / counts)[loggers]
    return factors
