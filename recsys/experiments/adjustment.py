"""What was known before the experiment, taken out of the error: covariates and strata.

CUPED itself is part of `effect_of`; here is how much it brought, and post-stratification: effects found
inside each stratum, weighted by the size of the strata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from recsys.experiments.inference import Effect, best_theta, effect_of
from recsys.experiments.samples import Sample
from recsys.models.base import FloatArray

Pair = tuple[Sample, Sample]
_MINIMUM_UNITS_RATIO = 7


def variance_reduction(control: Sample, treatment: Sample) -> float:
    """Share of the difference's variance that the covariate took away: ρ² for a mean; 0 without a covariate.

    Args:
        control: Sample of the control.
        treatment: Sample of the treatment.

    Returns:
        0–1 for equally correlated arms; NaN where there is no variance.
    """
    theta = best_theta(control, treatment)
    if not control.n_units or not treatment.n_units:
        return float("nan")
    plain = control.variance() / control.n_units + treatment.variance() / treatment.n_units
    left = control.variance(theta) / control.n_units + treatment.variance(theta) / treatment.n_units
    return 1.0 - left / plain if plain > 0.0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """A stratum: (baseline, effect) of the numerator and, for a ratio, of the denominator.

    Attributes:
        n_units: Units of both arms.
        values: Shape (2,) or (4,).
        covariance: Of one unit's part of the values: n_units times that of the values.
    """

    n_units: int
    values: FloatArray
    covariance: FloatArray


def effect_by_strata(pairs: Sequence[Pair]) -> Effect:
    """The post-stratified effect: ``Σ_s (n_s / n) · effect_s``, and likewise the baseline.

    Inside a stratum the effect is the difference of means, or, with covariates, the coefficient of the arm in
    ``y ~ 1 + arm + x`` (both parts of a ratio regressed on both covariates). Errors allow for the sizes of
    the strata being random themselves. Strata in which an arm has no variance join the largest stratum; if
    the largest has none either, or only one is left, the effect is that of all units together.

    Args:
        pairs: (control, treatment) of each stratum, of one metric; ≥1.

    Returns:
        The effect, to be given to `find` on either scale.

    Raises:
        ValueError: No strata.

    Source:
        Miratrix, Sekhon & Yu 2013, "Adjusting treatment effect estimates by post-stratification in randomized
        experiments"; the errors are those of gbstats (GrowthBook), whose published figures are repeated.
    """
    if not pairs:
        raise ValueError("no strata were given, must be at least one")
    whole = effect_of(*_sum(pairs))
    if whole.cause is not None:
        return whole
    if not _covariates_vary(*_sum(pairs)):
        pairs = [_without_covariates(pair) for pair in pairs]
    cells = [_cell(pair) for pair in _merge(pairs)]
    kept = [cell for cell in cells if cell is not None]
    if len(kept) < max(2, len(cells)):
        return whole
    sizes = np.array([cell.n_units for cell in kept], dtype=np.float64)
    shares = sizes / sizes.sum()
    values = np.stack([cell.values for cell in kept], axis=1)
    covariance = _pooled_covariance(values, np.stack([cell.covariance for cell in kept]), sizes)
    return _compose(whole, values @ shares, covariance)


def _sum(pairs: Sequence[Pair]) -> Pair:
    return reduce(add, (a for a, _ in pairs)), reduce(add, (b for _, b in pairs))


def _covariates_vary(control: Sample, treatment: Sample) -> bool:
    start = control.n_outcomes
    return all((np.diag(sample.covariance)[start:] > 0.0).all() for sample in (control, treatment))


def _without_covariates(pair: Pair) -> Pair:
    return pair[0].without_covariates(), pair[1].without_covariates()


def _merge(pairs: Sequence[Pair]) -> list[Pair]:
    """Strata that cannot stand alone join the largest."""
    ordered = sorted(pairs, key=lambda pair: -(pair[0].n_units + pair[1].n_units))
    merged = [ordered[0]]
    for control, treatment in ordered[1:]:
        enough = control.n_units + treatment.n_units >= _MINIMUM_UNITS_RATIO
        stands = control.variance() > 0.0 and treatment.variance() > 0.0
        if stands and (enough or not (control.is_ratio and control.is_adjusted)):
            merged.append((control, treatment))
        else:
            merged[0] = (merged[0][0] + control, merged[0][1] + treatment)
    return merged


def _cell(pair: Pair) -> _Cell | None:
    control, treatment = pair
    if control.variance() <= 0.0 or treatment.variance() <= 0.0:
        return None
    if control.is_adjusted and _covariates_vary(control, treatment):
        return _regressed(control, treatment)
    return _plain(*_without_covariates(pair))


def _plain(control: Sample, treatment: Sample) -> _Cell:
    n_units = control.n_units + treatment.n_units
    values, own = [], (control.covariance / control.n_units, treatment.covariance / treatment.n_units)
    for base, other in zip(control.means, treatment.means, strict=True):
        values += [base, other - base]
    # baseline = a, effect = b − a, for each part
    blocks = np.kron(own[0], np.array([[1.0, -1.0], [-1.0, 1.0]]))
    blocks += np.kron(own[1], np.array([[0.0, 0.0], [0.0, 1.0]]))
    return _Cell(n_units, np.array(values), blocks * n_units)


def _regressed(control: Sample, treatment: Sample) -> _Cell | None:
    """Both parts regressed on arm and covariates; the baseline is read at the mean of the covariates."""
    n_outcomes = control.n_outcomes
    both = control + treatment
    n_units = both.n_units
    n_left = n_units - (6 if control.is_ratio else 3)
    design = _products(both, treatment, n_outcomes)
    responses = np.vstack(
        [
            both.means[:n_outcomes] * n_units,
            treatment.means[:n_outcomes] * treatment.n_units,
            _raw(both)[n_outcomes:, :n_outcomes],
        ]
    )
    if n_left <= 0 or np.linalg.matrix_rank(design) < len(design):
        return None
    inverse = np.linalg.inv(design)
    coefficients = inverse @ responses
    residual = (_raw(both)[:n_outcomes, :n_outcomes] - responses.T @ coefficients) / n_left
    at_mean = np.concatenate([[1.0, 0.0], both.means[n_outcomes:]])
    spread = both.covariance[n_outcomes:, n_outcomes:] / n_units
    slopes = coefficients[2:]
    baseline = at_mean @ inverse @ at_mean + np.trace(inverse[2:, 2:] @ spread)
    both_ways = at_mean @ inverse[1]
    blocks = np.kron(residual, np.array([[baseline, both_ways], [both_ways, inverse[1, 1]]]))
    blocks += np.kron(slopes.T @ spread @ slopes, np.array([[1.0, 0.0], [0.0, 0.0]]))
    values = np.stack([at_mean @ coefficients, coefficients[1]], axis=1).ravel()
    return _Cell(n_units, values, blocks * n_units)


def _raw(sample: Sample) -> FloatArray:
    """``Σ x xᵀ``, not about the mean."""
    return sample.scatter + sample.n_units * np.outer(sample.means, sample.means)


def _products(both: Sample, treatment: Sample, n_outcomes: int) -> FloatArray:
    """``XᵀX`` of the columns 1, arm, covariates."""
    before, before_treated = both.means[n_outcomes:], treatment.means[n_outcomes:]
    top = np.concatenate([[both.n_units, treatment.n_units], before * both.n_units])
    second = np.concatenate([[treatment.n_units] * 2, before_treated * treatment.n_units])
    below = np.hstack([np.stack([top[2:], second[2:]], axis=1), _raw(both)[n_outcomes:, n_outcomes:]])
    return np.vstack([top, second, below])


def _pooled_covariance(values: FloatArray, covariances: FloatArray, sizes: FloatArray) -> FloatArray:
    """Covariance of ``Σ_s share_s · values_s`` where the shares are multinomial draws themselves.

    ``(V (diag(share) − share shareᵀ) Vᵀ + Σ_s share_s C_s) / n`` with C_s for one unit.
    """
    n_units = sizes.sum()
    shares = sizes / n_units
    of_shares = np.diag(shares) - np.outer(shares, shares)
    pooled: FloatArray = (values @ of_shares @ values.T + np.tensordot(shares, covariances, axes=1)) / n_units
    return pooled


def _compose(whole: Effect, values: FloatArray, covariance: FloatArray) -> Effect:
    """From (baseline, effect) of the parts to baseline and difference of the metric."""
    if len(values) == 2:
        baseline, difference = float(values[0]), float(values[1])
        gradients = np.eye(2)
    else:
        below, above = values[2], values[2] + values[3]
        if not below or not above:
            return whole
        baseline = float(values[0] / below)
        treatment = float((values[0] + values[1]) / above)
        difference = treatment - baseline
        of_baseline = np.array([1 / below, 0.0, -baseline / below, 0.0])
        of_treatment = np.array([1.0, 1.0, -treatment, -treatment]) / above
        gradients = np.stack([of_baseline, of_treatment - of_baseline])
    errors = gradients @ covariance @ gradients.T
    return replace(
        whole,
        difference=difference,
        baseline=baseline,
        treatment=baseline + difference,
        difference_variance=float(errors[1, 1]),
        baseline_variance=float(errors[0, 0]),
        covariance=float(errors[0, 1]),
        slope=difference / baseline if baseline else float("nan"),
    )
