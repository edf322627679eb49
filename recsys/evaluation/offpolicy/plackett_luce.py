"""How likely each offer stands in each slot when slots are drawn by weight, without putting back."""

from __future__ import annotations

import numpy as np

from recsys.models.base import FloatArray

_STEP = 0.2
_BELOW, _ABOVE = 1e-11, 60.0


def slot_chances(worths: FloatArray, drawn: int, n_slots: int) -> FloatArray:
    """P(an offer stands at each slot), whatever stands above, under a Plackett–Luce law.

    Offer i rings after a time Exp(w_i), and slots go to offers in the order of their ringing. So

    ``P(i at slot j) = ∫ w_i e^{−w_i t} · P(exactly j − 1 of the others have rung by t) dt``,

    by the trapezoidal rule in log t, which converges geometrically: exact to some ten digits.

    Args:
        worths: Above 0, shape (n_offers,).
        drawn: Place of the offer i.
        n_slots: ≥1.

    Returns:
        Shape (n_slots,); their sum is P(the offer is in the list).

    Raises:
        ValueError: A worth is not above 0.

    Example:
        >>> slot_chances(np.array([3.0, 1.0]), 0, 2).round(9).tolist()
        [0.75, 0.25]
    """
    if not (worths > 0).all():
        raise ValueError(f"worths hold {worths.min()}, must be above 0")
    if (worths == worths[0]).all():
        is_slot = np.arange(n_slots) < len(worths)
        return is_slot / len(worths)
    scaled = worths / worths.sum()
    own, others = scaled[drawn], np.delete(scaled, drawn)
    times = np.exp(np.arange(np.log(_BELOW), np.log(_ABOVE / scaled.min()), _STEP))
    # P(exactly so many of the others have rung), rung_by_times.
    rung = np.zeros((n_slots, len(times)))
    rung[0] = 1.0
    for silent in np.exp(-np.outer(others, times)):
        rung[1:] = rung[1:] * silent + rung[:-1] * (1 - silent)
        rung[0] *= silent
    density = own * times * np.exp(-own * times)
    chances: FloatArray = (rung * density).sum(axis=1) * _STEP
    return chances


def drawing_chances(worths: FloatArray, drawn: list[int]) -> FloatArray:
    """P(each drawn offer at its slot | the slots above) under a Plackett–Luce law.

    Args:
        worths: Above 0, shape (n_offers,).
        drawn: Places of the offers of a list, first slot first.

    Example:
        >>> drawing_chances(np.array([3.0, 1.0, 1.0]), [0, 2]).tolist()
        [0.6, 0.5]
    """
    taken = worths[drawn]
    left = worths.sum() - np.concatenate([[0.0], np.cumsum(taken)[:-1]])
    chances: FloatArray = taken / np.maximum(left, taken)
    return chances
