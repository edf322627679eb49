"""What a policy would have earned per row of a log that others made: one offer in one place per row.

Every estimator returns `Parts`; its value is the mean reward of a row had the policy chosen. With r the
reward, w the importance weight, q̂ a model of rewards, q̂(a) its value for what was shown and q̂(π) = Σ_a
π(a) q̂(a) its expectation under the policy:

=====================  ==========================================================================
inverse probability    mean(w r), w cut at a cap
self-normalised        mean(w r) / mean(w)
direct method          mean(q̂(π))
doubly robust          mean(q̂(π) + w (r − q̂(a)))
self-normalised DR     mean(q̂(π)) + mean(w (r − q̂(a))) / mean(w)
Switch-DR              DR with w = 0 where w exceeds a threshold
DR, optimistic (DRos)  DR with λ w / (w² + λ) for w
sub-Gaussian           w / (1 − λ + λ w) for w, with and without a model
=====================  ==========================================================================

Source:
    Strehl et al. 2010 (inverse probability); Swaminathan & Joachims 2015 (self-normalised); Dudík,
    Langford, Li 2011 (DR); Wang, Agarwal, Dudík 2017 (Switch-DR); Su, Dimakopoulou, Krishnamurthy, Dudík
    2020 (DRos); Metelli, Russo, Restelli 2021 (sub-Gaussian). The numbers are those of obp 0.5.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.evaluation.offpolicy.parts import Parts, plain
from recsys.models.base import FloatArray


@dataclass(frozen=True, slots=True)
class Logged:
    """Rows of a log as a policy would weigh them; each of shape (n_rows,).

    Attributes:
        rewards: What followed.
        weights: Importance weights, ≥0; see `recsys.evaluation.offpolicy.weights.importance_weights`.
        q_logged: What a model of rewards expects of what was shown; None = there is no model.
        q_expected: What it expects of the policy.
    """

    rewards: FloatArray
    weights: FloatArray
    q_logged: FloatArray | None = None
    q_expected: FloatArray | None = None

    def __post_init__(self) -> None:
        """Refuse what no estimate can be made of."""
        if len(self.rewards) == 0:
            raise ValueError("the log has no rows; nothing can be estimated")
        for name in ("rewards", "weights", "q_logged", "q_expected"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.shape != self.rewards.shape or values.ndim != 1:
                raise ValueError(f"{name} is {values.shape}, rewards {self.rewards.shape}; must be alike")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds {values[~np.isfinite(values)][0]}, must be finite")
        if (self.weights < 0).any():
            raise ValueError(f"weights hold {self.weights.min()}, must be at least 0")

    @property
    def model(self) -> tuple[FloatArray, FloatArray]:
        """Expected rewards of what was shown and of the policy.

        Raises:
            ValueError: There is no model.
        """
        if self.q_logged is None or self.q_expected is None:
            raise ValueError("this estimator needs q_logged and q_expected")
        return self.q_logged, self.q_expected


def ips(logged: Logged, cap: float = np.inf) -> Parts:
    """Inverse probability weighting, mean(min(w, cap)·r); unbiased without a cap.

    Example:
        >>> log = Logged(np.array([1.0, 0.0]), np.array([3.0, 0.5]))
        >>> ips(log).value, ips(log, cap=2.0).value
        (1.5, 1.0)
    """
    _check_above_0("cap", cap)
    return _weighted(logged, np.minimum(logged.weights, cap))


def snips(logged: Logged) -> Parts:
    """Self-normalised inverse probability weighting, Σ w r / Σ w.

    Example:
        >>> snips(Logged(np.array([1.0, 0.0]), np.array([3.0, 1.0]))).value
        0.75
    """
    return replace(_weighted(logged, logged.weights), normalisers=logged.weights[:, None])


def direct(logged: Logged) -> Parts:
    """The direct method: the model alone, as biased as the model is."""
    _, expected = logged.model
    return plain(expected)


def doubly_robust(logged: Logged) -> Parts:
    """Doubly robust: the model, corrected by weighted residuals; unbiased whatever the model says.

    Example:
        >>> half = np.array([0.5, 0.5])
        >>> log = Logged(np.array([1.0, 0.0]), np.array([2.0, 0.0]), half, half)
        >>> doubly_robust(log).value
        1.0
    """
    return _corrected(logged, logged.weights)


def self_normalised_dr(logged: Logged) -> Parts:
    """Doubly robust with the residuals' weights divided by their mean."""
    return replace(_corrected(logged, logged.weights), normalisers=logged.weights[:, None])


def switch_dr(logged: Logged, threshold: float) -> Parts:
    """Switch-DR: where a weight exceeds the threshold only the model speaks.

    Args:
        logged: The rows.
        threshold: τ ≥0; ∞ = doubly robust, 0 = the direct method.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold is {threshold}, must be at least 0")
    return _corrected(logged, np.where(logged.weights <= threshold, logged.weights, 0.0))


def optimistic_dr(logged: Logged, shrinkage: float) -> Parts:
    """Doubly robust with optimistic shrinkage (DRos), weights λ w / (w² + λ).

    Args:
        logged: The rows.
        shrinkage: λ ≥0; ∞ = doubly robust, 0 = the direct method.
    """
    if not shrinkage >= 0:
        raise ValueError(f"shrinkage is {shrinkage}, must be at least 0")
    weights = logged.weights
    if shrinkage == 0:
        weights = np.zeros(len(weights))
    elif shrinkage < np.inf:
        weights = shrinkage * weights / (weights**2 + shrinkage)
    return _corrected(logged, weights)


def sub_gaussian_ips(logged: Logged, shrinkage: float) -> Parts:
    """Inverse probability weighting with weights w / (1 − λ + λ w).

    Args:
        logged: The rows.
        shrinkage: λ, 0–1; 0 = unbiased, 1 = every weight is 1.
    """
    return _weighted(logged, _tempered(logged.weights, shrinkage))


def sub_gaussian_dr(logged: Logged, shrinkage: float) -> Parts:
    """Doubly robust with weights as in `sub_gaussian_ips`."""
    return _corrected(logged, _tempered(logged.weights, shrinkage))


def usual_hit(rewards: FloatArray, weights: FloatArray) -> float:
    """Weight times reward of one more reward: Σw²/Σw, the weight usual where the policy goes, × Σr²/Σr.

    Example:
        >>> usual_hit(np.array([1.0, 0.0, 0.0]), np.array([1.0, 3.0, 0.0]))
        2.5
    """
    sizes, total = np.abs(rewards), float(weights.sum())
    if total == 0 or not sizes.any():
        return 0.0
    return float((weights**2).sum() / total * (sizes**2).sum() / sizes.sum())


def _weighted(logged: Logged, weights: FloatArray) -> Parts:
    return plain(weights * logged.rewards, usual_hit(logged.rewards, weights))


def _corrected(logged: Logged, weights: FloatArray) -> Parts:
    shown, expected = logged.model
    parts = plain(weights * (logged.rewards - shown), usual_hit(logged.rewards, weights))
    return replace(parts, base=expected)


def _tempered(weights: FloatArray, shrinkage: float) -> FloatArray:
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}, must lie in 0–1")
    below = 1 - shrinkage + shrinkage * weights
    return np.divide(weights, below, out=np.zeros_like(weights), where=below > 0)


def _check_above_0(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} is {value}, must be above 0")
