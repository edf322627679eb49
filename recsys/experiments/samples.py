"""What an arm of an experiment is known by: moments of its units, additive and small.

A *unit* is what was assigned to an arm. Where a unit holds several rows (the clients of an account group),
rows are summed by unit first: a mean over rows is then a ratio of sums over units, and its error is the one
that lets clients of one group be alike. Moments are kept about the mean, so that large money loses no digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from recsys.models.base import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Sufficient statistics of one metric in one arm; `a + b` is the sample of both.

    Columns, as far as the metric has them: the outcome (numerator), its denominator, the same outcome before
    the experiment, the denominator before.

    Attributes:
        n_units: Number of units, ≥0.
        means: Mean of each column over units, shape (n_columns,); 0 without units.
        scatter: ``Σ_u (x_u − x̄)(x_u − x̄)ᵀ``, shape (n_columns, n_columns).
        is_binary: Which columns hold only 0 and 1; their variance is p(1 − p), others divide by n − 1.
        is_ratio: The metric is Σ numerator ÷ Σ denominator, else the mean of the outcome.
        is_adjusted: The last half of the columns was measured before the experiment (CUPED).
        n_events: Number of units whose outcome is not 0; NaN where not known.
        third: ``Σ_u (x_u − x̄)³`` of the outcome; NaN where not known.
        is_proportion: Outcomes of rows are 0 or 1, also where rows are summed by unit.
        n_non_events: Of a proportion: number of units that hold a row with outcome 0; NaN where not known.
    """

    n_units: int
    means: FloatArray
    scatter: FloatArray
    is_binary: tuple[bool, ...]
    is_ratio: bool = False
    is_adjusted: bool = False
    n_events: float = float("nan")
    third: float = float("nan")
    is_proportion: bool = False
    n_non_events: float = float("nan")

    def __add__(self, other: Sample) -> Sample:
        """The sample of the units of both.

        Source:
            Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance"; Pébay 2008 for the
            third moment.
        """
        n_both = self.n_units + other.n_units
        if not self.n_units or not other.n_units:
            return other if not self.n_units else self
        apart = other.means - self.means
        share = other.n_units / n_both
        weight = self.n_units * share
        skew = apart[0] ** 3 * weight * (self.n_units - other.n_units) / n_both
        skew += (
            3 * apart[0] * (self.n_units * other.scatter[0, 0] - other.n_units * self.scatter[0, 0]) / n_both
        )
        return Sample(
            n_both,
            self.means + apart * share,
            self.scatter + other.scatter + np.outer(apart, apart) * weight,
            (False,) * len(self.means),
            self.is_ratio,
            self.is_adjusted,
            self.n_events + other.n_events,
            self.third + other.third + float(skew),
            self.is_proportion and other.is_proportion,
            self.n_non_events + other.n_non_events,
        )

    @property
    def covariance(self) -> FloatArray:
        """Covariance of a unit's columns, shape (n_columns, n_columns); zeros below two units."""
        if self.n_units <= 1:
            return np.zeros_like(self.scatter)
        binary = np.array(self.is_binary)
        return self.scatter / np.where(np.outer(binary, binary), self.n_units, self.n_units - 1)

    @property
    def value(self) -> float:
        """The metric without adjustment: a mean, or a ratio (0 where its denominator is)."""
        return _ratio(self.means[:2]) if self.is_ratio else float(self.means[0])

    @property
    def value_before(self) -> float:
        """The metric before the experiment; 0 for a sample without it."""
        before = self.means[self.n_outcomes :]
        if not self.is_adjusted:
            return 0.0
        return _ratio(before) if self.is_ratio else float(before[0])

    @property
    def n_outcomes(self) -> int:
        """Number of columns measured during the experiment: 1, or 2 for a ratio."""
        return 2 if self.is_ratio else 1

    def gradient(self, theta: float) -> FloatArray:
        """Derivative of ``value − theta · value_before`` by the column means, shape (n_columns,).

        For a ratio m/d it is (1/d, −m/d²), the delta method; zeros where a denominator is 0.
        """
        if not self.is_ratio:
            return np.array([1.0, -theta])[: len(self.means)]
        parts = [(1.0, self.means[:2])] + ([(-theta, self.means[2:])] if self.is_adjusted else [])
        if any(pair[1] == 0.0 for _, pair in parts):
            return np.zeros(len(self.means))
        return np.concatenate([sign * np.array([1 / m[1], -m[0] / m[1] ** 2]) for sign, m in parts])

    def variance(self, theta: float = 0.0) -> float:
        """Variance of one unit's part of the adjusted metric; ÷ n_units it is that of the estimate."""
        gradient = self.gradient(theta)
        return float(gradient @ self.covariance @ gradient)

    def without_covariates(self) -> Sample:
        """The same sample as if nothing had been measured before."""
        kept = self.n_outcomes
        return Sample(
            self.n_units,
            self.means[:kept],
            self.scatter[:kept, :kept],
            self.is_binary[:kept],
            self.is_ratio,
            n_events=self.n_events,
            third=self.third,
            is_proportion=self.is_proportion,
            n_non_events=self.n_non_events,
        )


def _ratio(pair: FloatArray) -> float:
    return float(pair[0] / pair[1]) if pair[1] else 0.0


def sample_from_sums(
    n_units: int,
    sums: Sequence[float],
    products: Sequence[Sequence[float]],
    *,
    is_binary: Sequence[bool] | None = None,
    is_ratio: bool = False,
    is_adjusted: bool = False,
) -> Sample:
    """A sample from plain sums, as another system publishes them.

    Args:
        n_units: Number of units, ≥0.
        sums: ``Σ_u x_u`` of each column.
        products: ``Σ_u x_u x_uᵀ``, shape (n_columns, n_columns).
        is_binary: Which columns hold only 0 and 1; None: none.
        is_ratio: See `Sample`.
        is_adjusted: See `Sample`.

    Returns:
        The sample; events are known only for a binary outcome.

    Example:
        >>> sample_from_sums(4, [2.0], [[2.0]], is_binary=[True]).variance()  # p(1 − p), p = 1/2
        0.25
    """
    total = np.asarray(sums, dtype=np.float64)
    means = total / n_units if n_units else np.zeros(len(total))
    scatter = np.asarray(products, dtype=np.float64) - np.outer(total, means)
    binary = tuple(is_binary) if is_binary is not None else (False,) * len(total)
    events = float(total[0]) if binary[0] else float("nan")
    third = n_units * means[0] * (1 - means[0]) * (1 - 2 * means[0]) if binary[0] else float("nan")
    return Sample(
        n_units,
        means,
        scatter,
        binary,
        is_ratio,
        is_adjusted,
        events,
        float(third),
        is_proportion=binary[0],
        n_non_events=n_units - events,
    )


def quantile_sample(
    n_events: int, level: float, estimate: float, ends: tuple[float, float], *, n_interval: int | None = None
) -> Sample:
    """A quantile as a sample whose variance comes from its 95 % order-statistic interval.

    ``variance = n*/n · (n − 1) · ((high − low) ÷ (2 · 1.96))²``, at least 1e-5 from 100 events on; 0 (so that
    nothing can be told) where n is too small for the interval's ends to lie inside the data.

    Args:
        n_events: Number n of values.
        level: Level of the quantile, between 0 and 1.
        estimate: The quantile.
        ends: Lower and upper end of its interval.
        n_interval: Size n* of the sample for which the ends were found; None: n_events.

    Returns:
        A sample to compare by `effect_of`.

    Source:
        Deng, Knoblich & Lu 2018, "Applying the delta method in metric analytics", section 4.
    """
    width = 2.0 * float(ndtri(0.975))
    n_interval = n_events if n_interval is None else n_interval
    needed = (width / 2) ** 2 * max(level / (1 - level), (1 - level) / level)
    variance = 0.0
    if n_events > max(1.0, needed):
        variance = n_interval / n_events * (n_events - 1) * ((ends[1] - ends[0]) / width) ** 2
        if variance > 0.0 or n_events >= 1000:
            variance = max(variance, 1e-5) if n_events >= 100 else variance
    return Sample(n_events, np.array([estimate]), np.array([[variance * (n_events - 1)]]), (False,))


def samples_by_arm(  # noqa: PLR0913 – the columns of one metric
    metric: str,
    values: FloatArray,
    arms: IntArray,
    n_arms: int,
    *,
    units: IntArray | None = None,
    denominators: FloatArray | None = None,
    covariates: FloatArray | None = None,
    covariate_denominators: FloatArray | None = None,
    is_binary: bool = False,
) -> tuple[Sample, ...]:
    """Sum rows up to one sample for each arm.

    With `units` rows are summed by unit; a mean over rows then becomes Σ values ÷ Σ rows, so that errors are
    clustered by unit (delta method; Cameron & Miller 2015 without a finite-sample factor but n/(n − 1)).

    Args:
        metric: Name of the metric, for the text of errors.
        values: Outcome of each row, shape (n_rows,).
        arms: Arm of each row, 0 … n_arms − 1, or −1: left out; shape (n_rows,).
        n_arms: Number of arms.
        units: Code of each row's unit, ≥0; None: every row is a unit.
        denominators: Denominator of a ratio for each row; None: the metric is a mean over rows.
        covariates: The outcome of each row before the experiment; None: no adjustment.
        covariate_denominators: The denominator before; must be there for a ratio with covariates.
        is_binary: The outcome is 0 or 1 (a proportion).

    Returns:
        One sample per arm; an arm without units has n_units 0.

    Raises:
        ValueError: A value is not finite, a binary outcome is not 0 or 1, a unit lies in two arms, or columns
            do not fit; the text names the metric.

    Example:
        >>> sales, arms = np.array([0.0, 1.0, 1.0]), np.array([0, 0, 1])
        >>> one, two = samples_by_arm("sales", sales, arms, 2, is_binary=True)
        >>> one.n_units, one.value, two.n_events
        (2, 0.5, 1.0)
    """
    is_ratio = denominators is not None or units is not None
    columns = _columns(values, units, denominators, covariates, covariate_denominators, metric)
    _check_rows(metric, columns, arms, n_arms)
    if is_binary and not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            f"metric {metric!r} is a proportion, but has values other than 0 and 1; make it a mean"
        )
    if units is not None:
        columns, arms = _sum_by_unit(metric, columns, arms, units)
    binary = (is_binary and not is_ratio,) + (False,) * (len(columns) - 1)
    is_adjusted = covariates is not None
    chosen = [np.flatnonzero(arms == arm) for arm in range(n_arms)]
    return tuple(
        _sample([column[rows] for column in columns], binary, is_ratio, is_adjusted, is_binary)
        for rows in chosen
    )


def _columns(
    values: FloatArray,
    units: IntArray | None,
    denominators: FloatArray | None,
    covariates: FloatArray | None,
    covariate_denominators: FloatArray | None,
    metric: str,
) -> list[FloatArray]:
    if denominators is None and covariate_denominators is not None:
        raise ValueError(f"metric {metric!r} is a mean, but was given denominators from before")
    if denominators is not None and (covariates is None) != (covariate_denominators is None):
        raise ValueError(f"metric {metric!r} is a ratio: give both its parts from before, or none")
    columns = [values]
    counts = np.ones(len(values)) if denominators is None and units is not None else None
    columns += [part for part in (denominators, counts) if part is not None]
    if covariates is not None:
        columns += [part for part in (covariates, covariate_denominators, counts) if part is not None]
    return [np.asarray(column, dtype=np.float64) for column in columns]


def _check_rows(metric: str, columns: Sequence[FloatArray], arms: IntArray, n_arms: int) -> None:
    if any(column.shape != arms.shape for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns)
        raise ValueError(f"metric {metric!r} has columns of shape {shapes}, arms have {arms.shape}")
    for column in columns:
        if not np.isfinite(column).all():
            row = int(np.flatnonzero(~np.isfinite(column))[0])
            raise ValueError(f"metric {metric!r} is {column[row]} in row {row}; every value must be finite")
    if len(arms) and (arms.min() < -1 or arms.max() >= n_arms):
        raise ValueError(
            f"arms lie between {arms.min()} and {arms.max()}, must lie between −1 and {n_arms - 1}"
        )


def _sum_by_unit(
    metric: str, columns: Sequence[FloatArray], arms: IntArray, units: IntArray
) -> tuple[list[FloatArray], IntArray]:
    n_codes = int(units.max()) + 1 if len(units) else 0
    arm_of = np.full(n_codes, -1, dtype=np.int64)
    arm_of[units] = arms
    if not np.array_equal(arm_of[units], arms):
        unit = int(units[np.flatnonzero(arm_of[units] != arms)[0]])
        raise ValueError(f"metric {metric!r}: unit {unit} has rows in two arms; a unit belongs to one")
    sums: dict[int, FloatArray] = {}  # the number of rows is two columns of an adjusted mean
    for column in columns:
        if id(column) not in sums:
            sums[id(column)] = np.bincount(units, column, n_codes).astype(np.float64, copy=False)
    return [sums[id(column)] for column in columns], arm_of


def _sample(
    columns: list[FloatArray],
    binary: tuple[bool, ...],
    is_ratio: bool,
    is_adjusted: bool,
    is_proportion: bool,
) -> Sample:
    n_units = len(columns[0])
    if not n_units:
        empty = np.zeros(len(columns))
        return Sample(
            0, empty, np.outer(empty, empty), binary, is_ratio, is_adjusted, 0.0, 0.0, is_proportion, 0.0
        )
    means = np.array([column.mean() for column in columns])
    centred = np.stack([column - mean for column, mean in zip(columns, means, strict=True)])
    return Sample(
        n_units,
        means,
        centred @ centred.T,
        binary,
        is_ratio,
        is_adjusted,
        float(np.count_nonzero(columns[0])),
        float(np.einsum("u,u,u->", centred[0], centred[0], centred[0])),
        is_proportion,
        float(np.count_nonzero(columns[0] < (columns[1] if is_ratio else 1.0)))
        if is_proportion
        else float("nan"),
    )


def winsorise(values: FloatArray, quantile: float) -> tuple[FloatArray, float]:
    """Cut values at a quantile of all of them together, so that one giant client decides nothing.

    The threshold must not know the arms: call it on the rows of all arms at once. What is then estimated is
    the mean of ``min(value, threshold)``, not of the value; say so beside the figure. Clients without an
    outcome count as 0: where fewer than 1 − quantile have one, the threshold is 0 and cuts everything away.

    Args:
        values: Finite, of every row of every arm.
        quantile: Level of the threshold, above 0 and at most 1.

    Returns:
        The values cut from above, and the threshold (NaN without values).

    Raises:
        ValueError: quantile is out of its bounds.

    Example:
        >>> winsorise(np.array([1.0, 2.0, 3.0, 100.0]), 0.75)[0].tolist()  # threshold between 3 and 100
        [1.0, 2.0, 3.0, 27.25]
    """
    if not 0.0 < quantile <= 1.0:
        raise ValueError(f"quantile is {quantile}, must lie above 0 and at most at 1")
    if not len(values):
        return values, float("nan")
    threshold = float(np.quantile(values, quantile))
    return np.minimum(values, threshold), threshold
