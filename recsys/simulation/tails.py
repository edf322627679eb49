"""How heavy a tail is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Tail:
    """The estimated index of a power tail ``P(X > x) ~ x^-index``.

    Attributes:
        index: The estimate; the smaller, the heavier. NaN where there is too little to say.
        standard_error: Of the estimate.
        n_largest: Number of values it rests on.
    """

    index: float
    standard_error: float
    n_largest: int


def hill(values: ArrayLike, share: float = 0.03) -> Tail:
    """Hill's estimator from the largest values.

    ``index = m / Σ_{i≤m} ln(x_(i) / x_(m+1))`` with x_(1) ≥ x_(2) ≥ … and m the given share of the positive
    values; its standard error is ``index / √m``.

    Args:
        values: A sample; values that are not positive are left out.
        share: Which part of the sample counts as its tail, in (0, 1).

    Returns:
        The estimate; NaN with fewer than ten values in the tail, or if they are all equal.

    Source:
        Hill: A simple general approach to inference about the tail of a distribution, Annals of Statistics 3
        (1975), 1163–1174.

    Example:
        Quantiles of a Pareto distribution with index 2:

        >>> n = 10_000
        >>> round(hill((np.arange(n) + 0.5) ** -0.5).index, 1)
        2.0
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))[::-1]
    ordered = ordered[ordered > 0]
    n_largest = int(share * len(ordered))
    if n_largest < 10:
        return Tail(float("nan"), float("nan"), n_largest)
    excess = float(np.log(ordered[:n_largest] / ordered[n_largest]).sum())
    if excess == 0:
        return Tail(float("nan"), float("nan"), n_largest)
    index = n_largest / excess
    return Tail(index, index / n_largest**0.5, n_largest)
