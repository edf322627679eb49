"""Whether probabilities hold: of what is said to happen one time in a hundred, does one in a hundred?

All functions read pairs of a client and an offer: what was said (a probability) and what followed (0 or 1).
Judge what was really ranked at the top (`recsys.evaluation.ranking.slot_pairs` of the first slots): whoever
picks the highest of many numbers picks their errors too, so probabilities that hold over all pairs may
promise too much just where it counts. Pairs of one unit (client or account group) depend on each other;
intervals here allow for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln, logit, stdtrit, xlog1py, xlogy

from recsys.evaluation.intervals import Estimate, bootstrap_ratios, check_confidence, sums_by_unit
from recsys.models.base import FloatArray, IntArray

_SMALLEST = float(np.finfo(np.float64).eps)
_MAX_STEPS = 100
_NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """What is left to correct in log-odds: ``log-odds(outcome) = intercept + slope · log-odds(said)``.

    Attributes:
        intercept: 0 is right.
        slope: 1 is right; below 1 the probabilities are too extreme, above 1 too timid.
    """

    intercept: Estimate
    slope: Estimate


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """The mean gap between what was said and what followed.

    Attributes:
        value: Equal-mass expected calibration error (ECE), 0–1.
        by_chance: The ECE to expect if every probability were right, 0–1: a `value` near it shows no fault.
        base_rate: Share of the pairs with an outcome, 0–1: an ECE means little without it.
        n_bins: Number of bins; fewer than asked for where probabilities are tied.
    """

    value: float
    by_chance: float
    base_rate: float
    n_bins: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of a reliability curve.

    Attributes:
        expected: Mean probability, 0–1.
        observed: Share of pairs with an outcome, 0–1, and its interval.
        n_pairs: Number of pairs.
        n_outcomes: Number of pairs with an outcome.
    """

    expected: float
    observed: Estimate
    n_pairs: int
    n_outcomes: int


def observed_to_expected(
    probabilities: FloatArray,
    outcomes: FloatArray,
    units: IntArray,
    rng: np.random.Generator,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Outcomes that followed by outcomes promised.

    ``O/E = Σ outcome ÷ Σ probability``; above 1 more happened than was said.

    Args:
        probabilities: What was said, 0–1, shape (n_pairs,).
        outcomes: What followed, 0 or 1, shape (n_pairs,).
        units: Unit of each pair, 0 … n_units − 1, every number used, shape (n_pairs,).
        rng: Source of the resamples.
        n_resamples: Number of resamples, ≥1.
        confidence: Nominal coverage of the interval, between 0 and 1.

    Raises:
        ValueError: There are no pairs, or they are not probabilities and outcomes.

    Example:
        One outcome where .5 + .3 were promised.

        >>> said, followed = np.array([0.5, 0.3]), np.array([1.0, 0.0])
        >>> observed_to_expected(said, followed, np.array([0, 1]), np.random.default_rng(0)).value
        1.25
    """
    _check_pairs(probabilities, outcomes)
    [estimate] = bootstrap_ratios(
        np.asarray(outcomes, dtype=np.float64)[:, None],
        probabilities[:, None],
        units,
        rng,
        n_resamples=n_resamples,
        confidence=confidence,
    )
    return estimate


def calibration_line(
    probabilities: FloatArray, outcomes: FloatArray, units: IntArray, *, confidence: float = 0.95
) -> CalibrationLine:
    """Calibration intercept and slope: the logistic regression of outcomes on the log-odds of what was said.

    ``P(outcome) = 1 ÷ (1 + exp(−(a + b · log(p ÷ (1 − p)))))``, by maximum likelihood without any penalty.
    The covariance is H⁻¹ (n/(n − 1) Σ_u g_u g_uᵀ) H⁻¹, with *H* the information and g_u the score summed over
    a unit; intervals use Student's t with n_units − 1 degrees of freedom. Trust them from about 30 units with
    an outcome on.

    Args:
        probabilities: What was said, shape (n_pairs,); kept 2e-16 away from 0 and 1.
        outcomes: What followed, 0 or 1, shape (n_pairs,).
        units: Unit of each pair, 0 … n_units − 1, every number used, shape (n_pairs,).
        confidence: Nominal coverage of the intervals, between 0 and 1.

    Returns:
        The line; NaN throughout where no line exists: one probability only, outcomes all alike, or
        probabilities that separate the outcomes.

    Raises:
        ValueError: They are not probabilities and outcomes, or confidence is out of its bounds.

    Source:
        Cox 1958, "Two further applications of a model for binary regression"; Van Calster et al. 2016, "A
        calibration hierarchy for risk models was defined"; clusters: Liang & Zeger 1986.

    Example:
        At .2 one of four, at .8 three of four: the truth has log-odds ∓log 3 where ∓log 4 was said.

        >>> said, followed = np.repeat([0.2, 0.8], 4), np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
        >>> line = calibration_line(said, followed, np.arange(8))
        >>> abs(round(line.intercept.value, 4)), round(line.slope.value, 4)  # log 3 ÷ log 4
        (0.0, 0.7925)
    """
    check_confidence(confidence)
    _check_pairs(probabilities, outcomes)
    design = np.column_stack([np.ones(len(outcomes)), logit(_inside(probabilities))])
    found = _fit_logistic(design, outcomes)
    if found is None:
        return CalibrationLine(_NOTHING, _NOTHING)
    line, information = found
    residuals = (outcomes - expit(design @ line))[:, None] * design
    gradients = np.column_stack([sums_by_unit(column, units) for column in residuals.T])
    n_units = len(gradients)
    if n_units < 2:
        errors = np.full(2, np.nan)
    else:
        bread = np.linalg.inv(information)
        meat = gradients.T @ gradients * (n_units / (n_units - 1))
        errors = np.sqrt(np.diag(bread @ meat @ bread)) * stdtrit(n_units - 1, (1.0 + confidence) / 2.0)
    intercept, slope = (
        Estimate(float(value), float(value - error), float(value + error))
        for value, error in zip(line, errors, strict=True)
    )
    return CalibrationLine(intercept, slope)


def _fit_logistic(design: FloatArray, outcomes: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Coefficients and information by Newton's method with halved steps; None where there is no maximum."""
    spread = np.ptp(design[:, 1]) if len(design) else 0.0
    if spread < 1e-12 or outcomes.min() == outcomes.max() or _is_separated(design[:, 1], outcomes):
        return None
    mean = outcomes.mean()
    line = np.array([logit(mean), 0.0])
    likelihood = _log_likelihood(design, line, outcomes)
    for _ in range(_MAX_STEPS):
        chances = expit(design @ line)
        gradient = design.T @ (outcomes - chances)
        information = (design * (chances * (1.0 - chances))[:, None]).T @ design
        step = np.linalg.solve(information, gradient)
        if gradient @ step < 1e-18 * len(outcomes):
            break
        while (raised := _log_likelihood(design, line + step, outcomes)) < likelihood and np.any(
            np.abs(step) > 1e-12
        ):
            step /= 2.0
        line, likelihood = line + step, raised
    return line, information


def _is_separated(said: FloatArray, outcomes: FloatArray) -> bool:
    """Whether a threshold tells the outcomes apart: the slope would run off to infinity."""
    followed, not_followed = said[outcomes > 0], said[outcomes == 0]
    return bool(followed.min() >= not_followed.max() or followed.max() <= not_followed.min())


def _log_likelihood(design: FloatArray, line: FloatArray, outcomes: FloatArray) -> float:
    log_odds = design @ line
    return float((outcomes * log_odds - np.logaddexp(0.0, log_odds)).sum())


def calibration_error(probabilities: FloatArray, outcomes: FloatArray, n_bins: int = 10) -> CalibrationError:
    """Expected calibration error on bins of equally many pairs, beside what chance alone would show.

    ``ECE = Σ_b n_b/n · |mean outcome − mean probability|``. Even right probabilities leave gaps in a sample:
    with s_b outcomes in a bin as a binomial of n_b draws at its mean probability p_b, the expected ECE is
    ``Σ_b E|s_b − n_b p_b| ÷ n``, where ``E|s − n p| = 2 m C(n, m) p^m (1 − p)^(n − m + 1)``, m = ⌊n p⌋ + 1
    (De Moivre). It takes pairs as independent; pairs of one client that go together make chance gaps larger.

    Args:
        probabilities: What was said, 0–1, shape (n_pairs,).
        outcomes: What followed, 0 or 1, shape (n_pairs,).
        n_bins: Number of bins, ≥1; equal probabilities stay in one bin.

    Returns:
        The error, its value by chance and the base rate.

    Raises:
        ValueError: There are no pairs, they are not probabilities and outcomes, or n_bins < 1.

    Source:
        Nixon et al. 2019, "Measuring calibration in deep learning" (adaptive calibration error); Diaconis &
        Zabell 1991, "Closed form summation for classical distributions".

    Example:
        Bins (.1, .1) and (.5, .5) with 0 and 2 outcomes: 1/2 · .1 + 1/2 · .5. By chance, 2 draws at .1 miss
        .2 by .324 on average, 2 at .5 miss 1 by .5: (.324 + .5) ÷ 4.

        >>> said, followed = np.array([0.1, 0.1, 0.5, 0.5]), np.array([0.0, 0.0, 1.0, 1.0])
        >>> found = calibration_error(said, followed, n_bins=2)
        >>> round(found.value, 9), round(found.by_chance, 9), found.base_rate
        (0.3, 0.206, 0.5)
    """
    _check_pairs(probabilities, outcomes)
    bins = _equal_mass_bins(probabilities, n_bins)
    n_pairs = sums_by_unit(np.ones(len(bins)), bins)
    expected = sums_by_unit(probabilities, bins)
    gaps = np.abs(sums_by_unit(outcomes, bins) - expected)
    by_chance = _mean_absolute_deviation(n_pairs, np.clip(expected / n_pairs, 0.0, 1.0))
    n = len(outcomes)
    return CalibrationError(
        value=float(gaps.sum()) / n,
        by_chance=float(by_chance.sum()) / n,
        base_rate=float(np.mean(outcomes)),
        n_bins=len(n_pairs),
    )


def _mean_absolute_deviation(n: FloatArray, p: FloatArray) -> FloatArray:
    """``E|s − n p|`` of binomials; see `calibration_error`."""
    m = np.minimum(np.floor(n * p) + 1.0, n)
    log_ways = gammaln(n + 1.0) - gammaln(m + 1.0) - gammaln(n - m + 1.0)
    deviation: FloatArray = 2.0 * m * np.exp(log_ways + xlogy(m, p) + xlog1py(n - m + 1.0, -p))
    return deviation


def _equal_mass_bins(probabilities: FloatArray, n_bins: int) -> IntArray:
    """Bin of each pair, rising with its probability; a bin that ties leave empty does not count."""
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}, must be at least 1")
    ordered = np.sort(probabilities)
    # a pair belongs where the first of its equals stands
    place = np.searchsorted(ordered, probabilities, side="left")
    return np.unique(place * n_bins // len(ordered), return_inverse=True)[1].astype(np.int64)


def reliability_curve(
    probabilities: FloatArray,
    outcomes: FloatArray,
    units: IntArray,
    *,
    n_bins: int = 10,
    confidence: float = 0.95,
) -> list[ReliabilityBin]:
    """What followed against what was said, on bins of equally many pairs.

    The interval is Wilson's for n ÷ d pairs, where *d* ≥ 1 is the design effect: how many times larger the
    variance of the bin's rate is because pairs of one unit go together.

    Args:
        probabilities: What was said, 0–1, shape (n_pairs,).
        outcomes: What followed, 0 or 1, shape (n_pairs,).
        units: Unit of each pair, shape (n_pairs,).
        n_bins: Number of bins, ≥1; equal probabilities stay in one bin.
        confidence: Nominal coverage of the intervals, between 0 and 1.

    Raises:
        ValueError: There are no pairs, they are not probabilities and outcomes, or an argument is out of
            its bounds.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference"; design effect:
        Kish 1965, "Survey sampling"; Dean & Pagano 2015, "Evaluating confidence interval methods for
        binomial proportions in clustered surveys".

    Example:
        >>> said, followed = np.array([0.1, 0.1, 0.6, 0.6]), np.array([0.0, 0.0, 1.0, 0.0])
        >>> [(point.expected, point.observed.value) for point in
        ...  reliability_curve(said, followed, np.arange(4), n_bins=2)]
        [(0.1, 0.0), (0.6, 0.5)]
    """
    check_confidence(confidence)
    _check_pairs(probabilities, outcomes)
    bins = _equal_mass_bins(probabilities, n_bins)
    curve = []
    for number in range(int(bins.max()) + 1):
        is_here = bins == number
        followed = outcomes[is_here]
        curve.append(
            ReliabilityBin(
                expected=float(probabilities[is_here].mean()),
                observed=_wilson(followed, units[is_here], confidence),
                n_pairs=len(followed),
                n_outcomes=int(followed.sum()),
            )
        )
    return curve


def _wilson(outcomes: FloatArray, units: IntArray, confidence: float) -> Estimate:
    n, rate = len(outcomes), float(outcomes.mean())
    _, codes = np.unique(units, return_inverse=True)
    deviations = sums_by_unit(outcomes - rate, codes)
    n_units = len(deviations)
    if n_units < 2:
        return Estimate(rate, 0.0, 1.0)
    variance = n_units / (n_units - 1) * float(deviations @ deviations) / n**2
    independent = rate * (1.0 - rate) / n
    n_effective = n / max(1.0, variance / independent) if independent else n
    z = float(stdtrit(n_units - 1, (1.0 + confidence) / 2.0))
    share = 1.0 / (1.0 + z**2 / n_effective)
    middle = share * (rate + z**2 / (2.0 * n_effective))
    margin = share * z * float(np.sqrt(rate * (1.0 - rate) / n_effective + z**2 / (4.0 * n_effective**2)))
    return Estimate(rate, max(0.0, middle - margin), min(1.0, middle + margin))


def log_losses(probabilities: FloatArray, outcomes: FloatArray) -> FloatArray:
    """What each pair's probability lost against the outcome; the mean is the log-loss.

    ``loss = −log(p)`` where the outcome followed, ``−log(1 − p)`` where not.

    Args:
        probabilities: What was said, shape (n_pairs,); kept 2e-16 away from 0 and 1.
        outcomes: What followed, 0 or 1, shape (n_pairs,).

    Returns:
        Nats, ≥0, shape (n_pairs,). Against base rates: `recsys.evaluation.comparison.compare_paired` with
        the losses of `offer_rates` as the baseline, where below 0 is better.

    Raises:
        ValueError: They are not probabilities and outcomes.

    Example:
        >>> log_losses(np.array([0.5, 0.2]), np.array([1.0, 0.0])).round(4)  # −log .5, −log .8
        array([0.6931, 0.2231])
    """
    _check_pairs(probabilities, outcomes)
    inside = _inside(probabilities)
    return -np.where(outcomes > 0, np.log(inside), np.log1p(-inside))


def offer_rates(outcomes: FloatArray, columns: NDArray[np.integer], n_offers: int) -> FloatArray:
    """The base rate of each pair's offer among these very pairs: the best constant there is, seen afterwards.

    A model that knows nothing of clients can at best reach the log-loss of these rates, so to be below it
    is to know something of them.

    Args:
        outcomes: What followed, 0 or 1, shape (n_pairs,).
        columns: Offer of each pair, shape (n_pairs,).
        n_offers: Number of offers.

    Example:
        >>> offer_rates(np.array([1.0, 0.0, 0.0]), np.array([0, 0, 1]), n_offers=2)
        array([0.5, 0.5, 0. ])
    """
    n_pairs = np.bincount(columns, minlength=n_offers)
    rates = sums_by_unit(outcomes, columns, n_offers) / np.maximum(n_pairs, 1)
    return np.asarray(rates[columns], dtype=np.float64)


def _inside(probabilities: FloatArray) -> FloatArray:
    return np.clip(probabilities, _SMALLEST, 1.0 - _SMALLEST)


def _check_pairs(probabilities: FloatArray, outcomes: FloatArray) -> None:
    if probabilities.shape != outcomes.shape or probabilities.ndim != 1 or len(outcomes) == 0:
        shapes = f"{probabilities.shape} and {outcomes.shape}"
        raise ValueError(f"probabilities and outcomes are {shapes}, must be as many, at least one")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability lies outside 0–1 or is NaN")
    if not ((outcomes == 0) | (outcomes == 1)).all():
        raise ValueError("an outcome is neither 0 nor 1")
