"""What an estimate is made of, row by row, so that sums by client are all that a bootstrap needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.evaluation.intervals import sums_by_unit
from recsys.models.base import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Parts:
    """An estimate as sums over rows.

    ``value = Σ base / Σ sizes  +  Σ_m scale_m · Σ correction_m / Σ normaliser_m``

    where a missing normaliser means the sizes.

    Attributes:
        base: What a model of rewards says, shape (n_rows,).
        corrections: Weighted rewards or residuals, shape (n_rows, n_columns).
        sizes: How many of what the value is a mean over each row stands for, shape (n_rows,).
        normalisers: Weights that a self-normalised estimate divides by, shape (n_rows, n_columns).
        scales: Factor of each column, shape (n_columns,); None = 1.
        hit: What one more reward of the usual size and weight would add to Σ correction, ≥0; see
            `recsys.evaluation.offpolicy.bootstrap.bootstrap`.
    """

    base: FloatArray
    corrections: FloatArray
    sizes: FloatArray
    normalisers: FloatArray | None = None
    scales: FloatArray | None = None
    hit: float = 0.0

    @property
    def value(self) -> float:
        """The estimate; nan where all weights of a self-normalised one are 0."""
        return float(self.values(np.ones((1, len(self.base))))[0])

    def values(self, counts: FloatArray) -> FloatArray:
        """The estimate on resamples.

        Args:
            counts: How often each row counts, shape (n_resamples, n_rows).
        """
        total = counts @ self.sizes
        below = total[:, None] if self.normalisers is None else counts @ self.normalisers
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = (counts @ self.corrections) / below
        if self.scales is not None:
            ratios = ratios * self.scales
        found: FloatArray = counts @ self.base / total + ratios.sum(axis=1)
        return found

    def by_decision(self, decisions: IntArray, n_decisions: int) -> Parts:
        """The same per decision instead of per row.

        Args:
            decisions: Decision of each row, 0 … n_decisions − 1.
            n_decisions: Number of decisions, those without a row included.
        """
        scales = self.scales
        if self.normalisers is not None:
            factor = float(self.sizes.sum()) / n_decisions
            scales = np.full(self.corrections.shape[1], factor) if scales is None else scales * factor
        summed = self.summed(decisions, n_decisions)
        return replace(summed, sizes=np.ones(n_decisions), scales=scales)

    def summed(self, groups: IntArray, n_groups: int) -> Parts:
        """Sums over the rows of each group: the same value from fewer rows."""
        return replace(
            self,
            base=sums_by_unit(self.base, groups, n_groups),
            corrections=_sums(self.corrections, groups, n_groups),
            sizes=sums_by_unit(self.sizes, groups, n_groups),
            normalisers=None if self.normalisers is None else _sums(self.normalisers, groups, n_groups),
        )


def plain(contributions: FloatArray, hit: float = 0.0) -> Parts:
    """A mean over rows.

    Example:
        >>> plain(np.array([1.0, 2.0])).value
        1.5
    """
    n_rows = len(contributions)
    return Parts(np.zeros(n_rows), contributions[:, None], np.ones(n_rows), hit=hit)


def _sums(columns: FloatArray, groups: IntArray, n_groups: int) -> FloatArray:
    return np.stack([sums_by_unit(column, groups, n_groups) for column in columns.T], axis=1)
