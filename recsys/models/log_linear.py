"""A logistic regression on logarithms of scores, with a shrunk term for every offer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from recsys.models.batch import FloatArray, IntArray
from recsys.models.calibration import expit

_MAX_STEPS = 40
_SMALL_STEP = 1e-6
# one offer's log-odds differ from its group's, and a group's from the whole, by about so much
_TERM_SPREAD = 0.7
_WEIGHT_SPREAD = 0.5
_SLOT_SPREAD = 0.3


class Candidates(NamedTuple):
    """What a regression learns from, one row per candidate.

    Attributes:
        logs: Logarithms of the components' scores, shape (n_candidates, n_components).
        columns: Each candidate's offer, shape (n_candidates,).
        slots: 1-based slot in which it was seen, 0 = none, shape (n_candidates,).
        outcomes: 1 where it came true, else 0, shape (n_candidates,).
        shifts: What sampling added to the log-odds, shape (n_candidates,).
    """

    logs: FloatArray
    columns: IntArray
    slots: IntArray
    outcomes: FloatArray
    shifts: FloatArray


class LogLinear(NamedTuple):
    """``log-odds = term_j + Σ_c w_c log s_c + p · log(slot)``.

    Attributes:
        terms: Shape (n_offers,).
        weights: Shape (n_components,).
        slot_weight: p; 0 at the first slot, for which everything is scored.
    """

    terms: FloatArray
    weights: FloatArray
    slot_weight: float

    def log_odds(self, candidates: Candidates) -> FloatArray:
        """Log-odds of candidates in their slots, without what sampling added, shape (n_candidates,)."""
        found: FloatArray = (
            self.terms[candidates.columns]
            + candidates.logs @ self.weights
            + self.slot_weight * np.log(np.maximum(candidates.slots, 1))
        )
        return found


def fit_log_linear(candidates: Candidates, groups: IntArray, weights: FloatArray) -> LogLinear:
    """The most probable regression under normal priors.

    An offer's term is the whole's plus its group's plus its own; both have the prior 0 ± 0.7. The weights
    have the prior `weights` ± 0.5, so that few outcomes leave them where they were.

    Args:
        candidates: What it learns from.
        groups: Each offer's need group, 0-based, −1 = none, shape (n_offers,).
        weights: What the weights are expected to be, shape (n_components,).
    """
    n, n_components, n_offers = len(candidates.columns), len(weights), len(groups)
    n_groups = int(groups.max(initial=-1)) + 1
    centre = candidates.logs.mean(axis=0)
    design = _design(candidates, groups, n_groups, centre)
    precision = np.concatenate(
        [
            [1e-6],
            np.full(n_components, _WEIGHT_SPREAD**-2),
            [_SLOT_SPREAD**-2],
            np.full(n_groups + n_offers, _TERM_SPREAD**-2),
        ]
    )
    prior = np.concatenate([[0.0], weights, np.zeros(1 + n_groups + n_offers)])
    found = prior.copy()
    rate = (candidates.outcomes.sum() + 0.5) / (n + 1.0)
    found[0] = np.log(rate / (1 - rate)) - candidates.shifts.mean()
    for _ in range(_MAX_STEPS):
        chances = expit(design @ found + candidates.shifts)
        slope = design.T @ (candidates.outcomes - chances) - precision * (found - prior)
        bend = (design.T @ design.multiply((chances * (1 - chances))[:, None])).toarray()
        step = np.linalg.solve(bend + np.diag(precision), slope)
        found += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < _SMALL_STEP:
            break
    learnt = found[1 : 1 + n_components]
    of_groups, own = np.split(found[2 + n_components :], [n_groups])
    terms = found[0] - centre @ learnt + own + np.append(of_groups, 0.0)[groups]
    return LogLinear(terms, learnt, float(found[1 + n_components]))


def _design(candidates: Candidates, groups: IntArray, n_groups: int, centre: FloatArray) -> sparse.csr_array:
    n, n_offers = len(candidates.columns), len(groups)
    rows = np.arange(n)
    of_groups = groups[candidates.columns]
    is_grouped = of_groups >= 0
    n_grouped = int(is_grouped.sum())
    return sparse.csr_array(
        sparse.hstack(
            [
                np.ones((n, 1)),
                candidates.logs - centre,
                np.log(np.maximum(candidates.slots, 1))[:, None],
                sparse.csr_array(
                    (np.ones(n_grouped), (rows[is_grouped], of_groups[is_grouped])), shape=(n, n_groups)
                ),
                sparse.csr_array((np.ones(n), (rows, candidates.columns)), shape=(n, n_offers)),
            ]
        )
    )
