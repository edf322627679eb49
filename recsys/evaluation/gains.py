"""What a ranking of all (client, offer) pairs catches at its top: a budget of attention, spent by score.

Lists for clients that will connect something say nothing of whom to turn to. Here every client counts, also
those that connect nothing, and all pairs stand in one order, so scores must be comparable across clients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.evaluation.intervals import sums_by_unit
from recsys.models.base import FloatArray


@dataclass(frozen=True, slots=True)
class Caught:
    """What the top of all pairs catches, by client, as the parts of a ratio of sums.

    Attributes:
        numerators: The client's gains among the top pairs, less what the place of the threshold owes to it;
            shape (n_clients,). They sum to what is caught.
        denominators: The client's gains in all, shape (n_clients,).
    """

    numerators: FloatArray
    denominators: FloatArray

    @property
    def share(self) -> float:
        """Share of all gains that the top catches, 0–1; NaN where there are none."""
        total = float(self.denominators.sum())
        return float(self.numerators.sum()) / total if total else float("nan")


class _Order:
    """The order of all candidate pairs of one cut, and the gains in it."""

    def __init__(self, scores: NDArray[np.floating], gained: sparse.csr_array) -> None:
        if scores.shape != gained.shape:
            raise ValueError(f"scores are {scores.shape}, gained is {gained.shape}, must be the same")
        if np.isnan(scores).any():
            raise ValueError("scores hold NaN, which has no place in an order")
        self.ordered = np.sort(scores[scores > -np.inf])
        gains = gained.tocoo()
        is_candidate = scores[gains.row, gains.col] > -np.inf
        self.gain_rows = gains.row[is_candidate]
        self.gains = gains.data[is_candidate].astype(np.float64)
        gain_scores = scores[self.gain_rows, gains.col[is_candidate]]
        first = np.searchsorted(self.ordered, gain_scores, side="left")
        last = np.searchsorted(self.ordered, gain_scores, side="right")
        self.n_above, self.n_equal = len(self.ordered) - last, last - first

    def membership(self, share: float) -> FloatArray:
        """How much of each pair with a gain belongs to the top: 1, 0, or its part of what room ties leave."""
        room = share * len(self.ordered)
        return np.asarray(np.clip((room - self.n_above) / self.n_equal, 0.0, 1.0), dtype=np.float64)


def caught_at_top(scores: NDArray[np.floating], gained: sparse.csr_array, share: float) -> Caught:
    """Adoptions, or margin, among the best-scored share of all (client, offer) pairs of one cut.

    ``caught = Σ_{pairs in the top share} gain ÷ Σ_{pairs} gain``, the top being share × n_pairs pairs. Pairs
    whose scores equal the threshold's share what room is left, so the order of the data changes nothing.
    A ranking at random catches the share itself.

    Another sample of clients would move the threshold. To first order the client's own part in that is
    ``g · (n_top − share · n_pairs)`` of its pairs, *g* being the mean gain of a pair near the threshold;
    it is taken off, which changes no sum and makes intervals over clients right; those over account groups
    that become ready together stay some two points short.

    Args:
        scores: Comparable across clients, shape (n_clients, n_offers); minus infinity = no candidate.
        gained: What each pair brought, ≥0: 1 for an adoption, or its margin in minor units;
            clients_by_offers. Gains of what is no candidate do not count.
        share: Size of the top as a share of all candidate pairs, above 0, at most 1.

    Returns:
        By client; concatenate over cuts before intervals are made with `recsys.evaluation.intervals` or
        differences with `recsys.evaluation.comparison`.

    Raises:
        ValueError: Shapes differ, a score is NaN, or share is out of its bounds.

    Example:
        The top half of four pairs catches one of two adoptions.

        >>> gained = sparse.csr_array(np.array([[1.0, 0.0], [1.0, 0.0]]))
        >>> caught_at_top(np.array([[0.9, 0.8], [0.1, 0.2]]), gained, 0.5).share
        0.5
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share}, must be above 0 and at most 1")
    order = _Order(scores, gained)
    n_clients = scores.shape[0]
    totals = sums_by_unit(order.gains, order.gain_rows, n_clients)
    if len(order.ordered) == 0:
        return Caught(totals.copy(), totals)
    caught = sums_by_unit(order.membership(share) * order.gains, order.gain_rows, n_clients)
    wider, narrower = min(1.5 * share, 1.0), 0.5 * share
    gains_near = (order.membership(wider) - order.membership(narrower)) @ order.gains
    gain_near = gains_near / ((wider - narrower) * len(order.ordered))
    return Caught(caught - gain_near * _surplus(scores, order.ordered, share), totals)


def _surplus(scores: NDArray[np.floating], ordered: NDArray[np.floating], share: float) -> FloatArray:
    """Number of a client's pairs among the top, less its share of all its pairs; sums to 0."""
    n_pairs = len(ordered)
    room = share * n_pairs
    threshold = ordered[n_pairs - 1 - min(int(room), n_pairs - 1)]
    is_above, is_equal = scores > threshold, scores == threshold
    part = (room - np.count_nonzero(is_above)) / np.count_nonzero(is_equal)
    n_top = is_above.sum(axis=1) + part * is_equal.sum(axis=1)
    return np.asarray(n_top - share * (scores > -np.inf).sum(axis=1), dtype=np.float64)


def gain_curve(scores: NDArray[np.floating], gained: sparse.csr_array, shares: FloatArray) -> FloatArray:
    """The gain curve: what ever larger tops of all pairs catch.

    Args:
        scores: As for `caught_at_top`.
        gained: As for `caught_at_top`.
        shares: Sizes of the top as shares of all candidate pairs, each 0–1, shape (n_points,).

    Returns:
        Share of the gains caught, 0–1, shape (n_points,); straight lines within tied scores. NaN where there
        are no gains. A ranking at random gives `shares` itself.

    Raises:
        ValueError: Shapes differ, or a score is NaN.

    Example:
        >>> gained = sparse.csr_array(np.array([[3.0, 0.0], [1.0, 0.0]]))
        >>> gain_curve(np.array([[0.9, 0.8], [0.1, 0.2]]), gained, np.array([0.0, 0.25, 0.5, 1.0]))
        array([0.  , 0.75, 0.75, 1.  ])
    """
    order = _Order(scores, gained)
    total = order.gains.sum()
    if total == 0:
        return np.full(len(shares), np.nan)
    caught = [float(order.membership(share) @ order.gains) for share in shares.tolist()]
    return np.asarray(caught, dtype=np.float64) / float(total)
