"""Do two experiments that run over the same clients disturb each other?"""

from __future__ import annotations

import numpy as np

from recsys.experiments.inference import Cause, Effect
from recsys.experiments.judgement import MINIMUM_EVENTS, MINIMUM_UNITS
from recsys.models.base import FloatArray, IntArray


def interaction_effect(
    metric: str,
    values: FloatArray,
    first: IntArray,
    second: IntArray,
    units: IntArray | None = None,
) -> Effect:
    """The interaction of two experiments: what one changes in the effect of the other.

    ``(ȳ_11 − ȳ_01) − (ȳ_10 − ȳ_00)`` with cells by the arms (0 control, 1 treatment) of both experiments.
    Errors are clustered by unit across cells, so the experiments may assign different units as long as
    `units` is the coarser of the two: ``Var = G/(G − 1) Σ_u (Σ_{i∈u} ±(y_i − ȳ_cell)/n_cell)²``.

    Args:
        metric: Its name, for the text of errors.
        values: Outcome of each client, shape (n_rows,).
        first: Arm in the first experiment, 0 or 1; any other code leaves the row out.
        second: Arm in the second, likewise.
        units: Code of each row's unit, ≥0; None: every row is one.

    Returns:
        The effect for `find` on the absolute scale; its baseline is cell 00 without an error. The cause is
        NO_UNITS, FEW_UNITS or FEW_EVENTS where a cell is too small by the thresholds of `inadequacy`.

    Raises:
        ValueError: A value is not finite, or shapes differ.

    Source:
        Cameron & Miller 2015, "A practitioner's guide to cluster-robust inference".
    """
    if not values.shape == first.shape == second.shape or not np.isfinite(values).all():
        raise ValueError(f"metric {metric!r} must have one finite value for each pair of arms")
    kept = np.isin(first, (0, 1)) & np.isin(second, (0, 1))
    y, cells = values[kept].astype(np.float64), (2 * first + second)[kept].astype(np.int64)
    codes = np.arange(len(y)) if units is None else np.unique(units[kept], return_inverse=True)[1]
    sizes = np.bincount(cells, minlength=4).astype(np.float64)
    pairs = np.unique(cells * max(1, len(y)) + codes)
    clusters = np.bincount(pairs // max(1, len(y)), minlength=4)
    events = np.bincount(cells, weights=y != 0.0, minlength=4)
    means = np.bincount(cells, weights=y, minlength=4) / np.maximum(sizes, 1.0)
    difference = float(means[3] - means[1] - means[2] + means[0])
    scores = np.array([1.0, -1.0, -1.0, 1.0])[cells] * (y - means[cells]) / sizes[cells]
    by_unit = np.bincount(codes, weights=scores)
    n_units = len(by_unit)
    variance = float((by_unit**2).sum() * n_units / max(1, n_units - 1))
    return Effect(
        difference=difference,
        baseline=float(means[0]),
        treatment=float(means[3]),
        difference_variance=variance,
        baseline_variance=0.0,
        covariance=0.0,
        slope=float("nan"),
        degrees_of_freedom=_degrees_of_freedom(scores**2, cells, clusters),
        n_units=n_units,
        cause=_cause(clusters, sizes, float(events.sum()), variance),
    )


def _cause(clusters: IntArray, sizes: FloatArray, n_events: float, variance: float) -> Cause | None:
    if not clusters.min():
        return Cause.NO_UNITS
    if clusters.min() < MINIMUM_UNITS:
        return Cause.FEW_UNITS
    if sizes.min() * n_events / sizes.sum() < MINIMUM_EVENTS:
        return Cause.FEW_EVENTS
    return None if variance > 0.0 else Cause.NO_VARIANCE


def _degrees_of_freedom(squares: FloatArray, cells: IntArray, clusters: IntArray) -> float:
    """Welch–Satterthwaite over the four cells, each with its own number of units."""
    parts = np.bincount(cells, weights=squares, minlength=4)
    below = (parts**2 / np.maximum(clusters - 1, 1)).sum()
    return float(parts.sum() ** 2 / below) if below > 0.0 else 1.0
