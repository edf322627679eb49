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
_TERM_SPREAD = 0.12
_WHOLE_SPREAD = 1e3
_WEIGHT_SPREAD = 0.3
_HELD_SPREAD = 3.0
_LEVEL_SPREAD = 0.2
_SLOT_SPREAD = 0.3


class Candidates(NamedTuple):
    """What a regression learns from, one row per candidate.

    Attributes:
        logs: Logarithms of the components' scores, shape (n_candidates, n_components).
        columns: Each candidate's offer, shape (n_candidates,).
        slots: 1-based slot in which it was seen, 0 = none, shape (n_candidates,).
        outcomes: 1 where it came true, else 0, shape (n_candidates,).
        shifts: What sampling added to the log-odds, shape (n_candidates,).
        is_held: 1 where the client holds the offer already, else 0, shape (n_candidates,).
        levels: Logarithm of how often the offer was held then among those who could have it (`could_have`),
            shape (n_candidates,).
        counts: For how many each candidate counts, ≥0, shape (n_candidates,).
    """

    logs: FloatArray
    columns: IntArray
    slots: IntArray
    outcomes: FloatArray
    shifts: FloatArray
    is_held: FloatArray
    levels: FloatArray
    counts: FloatArray


class LogLinear(NamedTuple):
    """``log-odds = term_j + Σ_c w_c log s_c + h [is held] + v level_j + p · log(slot)``.

    What is held is offered anew when its term ends, which is accepted many times as often: h keeps that from
    the terms. The level lets an offer that is held by many be wanted by more or fewer than the components'
    weights say, which are those that hold between clients: what was popular once may be so no longer.

    Attributes:
        terms: Shape (n_offers,).
        weights: Shape (n_components,).
        held_weight: h.
        level_weight: v.
        slot_weight: p; 0 at the first slot, for which everything is scored.
    """

    terms: FloatArray
    weights: FloatArray
    held_weight: float
    level_weight: float
    slot_weight: float

    def log_odds(self, candidates: Candidates) -> FloatArray:
        """Log-odds of candidates in their slots, without what sampling added, shape (n_candidates,)."""
        found: FloatArray = (
            self.terms[candidates.columns]
            + candidates.logs @ self.weights
            + self.held_weight * candidates.is_held
            + self.level_weight * candidates.levels
            + self.slot_weight * np.log(np.maximum(candidates.slots, 1))
        )
        return found


def fit_log_linear(candidates: Candidates, groups: IntArray, weights: FloatArray) -> LogLinear:
    """The most probable regression under normal priors.

    An offer's term is the whole's plus its group's plus its own; both have the prior 0 ± 0.12, for components
    that are rates among those who could have an offer say most of how much it is wanted, and a costly offer
    has three outcomes to say more. The weights have the prior `weights` ± 0.3, that of the levels 0 ± 0.2, so
    that few outcomes leave them where they were.

    Args:
        candidates: What it learns from.
        groups: Each offer's need group, 0-based, −1 = none, shape (n_offers,).
        weights: What the weights are expected to be, shape (n_components,).
    """
    n_components, n_groups = len(weights), int(groups.max(initial=-1)) + 1
    counts, outcomes, shifts = candidates.counts, candidates.outcomes, candidates.shifts
    shared = np.column_stack([candidates.logs, candidates.is_held, candidates.levels])
    centre = np.average(shared, axis=0, weights=counts)
    design = _design(candidates, shared - centre, groups, n_groups)
    spreads = np.concatenate(
        [
            [_WHOLE_SPREAD],
            np.full(n_components, _WEIGHT_SPREAD),
            [_HELD_SPREAD, _LEVEL_SPREAD, _SLOT_SPREAD],
            np.full(n_groups + len(groups), _TERM_SPREAD),
        ]
    )
    precision = spreads**-2.0
    prior = np.zeros(len(precision))
    prior[1 : 1 + n_components] = weights
    found = prior.copy()
    rate = (counts @ outcomes + 0.5) / (counts.sum() + 1.0)
    found[0] = np.log(rate / (1 - rate)) - shifts.mean()
    for _ in range(_MAX_STEPS):
        chances = expit(design @ found + shifts)
        slope = design.T @ (counts * (outcomes - chances)) - precision * (found - prior)
        bend = (design.T @ design.multiply((counts * chances * (1 - chances))[:, None])).toarray()
        step = np.linalg.solve(bend + np.diag(precision), slope)
        found += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < _SMALL_STEP:
            break
    shares, slot_weight = found[1 : 3 + n_components], float(found[3 + n_components])
    of_groups, own = np.split(found[4 + n_components :], [n_groups])
    terms = found[0] - centre @ shares + own + np.append(of_groups, 0.0)[groups]
    return LogLinear(terms, shares[:-2].copy(), float(shares[-2]), float(shares[-1]), slot_weight)


def _design(candidates: Candidates, shared: FloatArray, groups: IntArray, n_groups: int) -> sparse.csr_array:
    n, n_offers = len(candidates.columns), len(groups)
    rows = np.arange(n)
    of_groups = groups[candidates.columns]
    is_grouped = of_groups >= 0
    n_grouped = int(is_grouped.sum())
    return sparse.csr_array(
        sparse.hstack(
            [
                np.ones((n, 1)),
                shared,
                np.log(np.maximum(candidates.slots, 1))[:, None],
                sparse.csr_array(
                    (np.ones(n_grouped), (rows[is_grouped], of_groups[is_grouped])), shape=(n, n_groups)
                ),
                sparse.csr_array((np.ones(n), (rows, candidates.columns)), shape=(n, n_offers)),
            ]
        )
    )
