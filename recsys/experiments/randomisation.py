"""A test that trusts nothing but the draw of the arms.

The arms that were drawn are compared with the arms that could have been drawn in their place. Nothing is
assumed of the outcomes: not their tails, not their number. Where the draw was restricted (only well-balanced
salts were allowed), the same restriction holds for what is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.experiments.inference import check_alpha
from recsys.models.base import FloatArray, IntArray

_CELLS_PER_CHUNK = 8_000_000


@dataclass(frozen=True, slots=True)
class RandomisationResult:
    """What the draws that could have been say of the one that was.

    Attributes:
        difference: Treatment − control, of means or of ratios of sums; NaN where an arm is empty.
        p_value: Two-sided, of "no unit would have had another outcome in the other arm"; never below
            1 ÷ (1 + n_permitted).
        low: Lower end of the interval of constant effects not rejected; −∞ where so few draws bound nothing.
        high: Upper end.
        n_permitted: Number of draws compared with.
    """

    difference: float
    p_value: float
    low: float
    high: float
    n_permitted: int


@dataclass(frozen=True, slots=True)
class Randomisation:
    """The test of one arm that rests on nothing but the draw: assignments by all admissible salts.

    Attributes:
        arm: Name of the arm.
        difference: Difference of the primary metric.
        low: Lower end of the constant effects that are not rejected; infinite with too few salts.
        high: Upper end.
        p_value: Share of admissible salts with a difference at least as large.
        n_salts: How many there are.
        adjusted_p_value: After Holm over the arms.
        decides: Whether the verdict rests on it: it is exact, and its one look is now.
    """

    arm: str
    difference: float
    low: float
    high: float
    p_value: float
    n_salts: int
    adjusted_p_value: float
    decides: bool


def randomisation_test(  # noqa: PLR0913 – the outcomes, the draws and the two arms
    values: FloatArray,
    arms: IntArray,
    permitted: NDArray[np.int8] | IntArray,
    *,
    control: int = 0,
    treatment: int = 1,
    denominators: FloatArray | None = None,
    alpha: float = 0.05,
) -> RandomisationResult:
    """Compare the arms drawn with all arms that the same rule permits.

    ``T = Σ_b y / Σ_b d − Σ_a y / Σ_a d``; ``p = (1 + #{|T_i| ≥ |T|}) / (1 + n)``. The interval holds every τ
    for which the test of y − τ·d on the treated gives p > alpha; in closed form, since T_i is linear in τ.

    Args:
        values: Outcome of each unit, finite, shape (n_units,).
        arms: Arm each unit was given; shape (n_units,).
        permitted: Arms of each permitted draw, shape (n_permitted, n_units); the draw itself may be among
            them.
        control: Code of the control.
        treatment: Code of the treatment; units of other arms do not count in that draw.
        denominators: Denominator of each unit for a ratio, such as its number of clients; None: 1.
        alpha: 1 − coverage of the interval.

    Returns:
        The result; NaN difference and p 1 where an arm is empty.

    Raises:
        ValueError: Shapes do not fit or a value is not finite.

    Source:
        Phipson & Smyth 2010, "Permutation p-values should never be zero"; Morgan & Rubin 2012,
        "Rerandomization to improve covariate balance in experiments"; Rosenbaum 2002, section 2.6.3, for the
        interval by inversion.

    Example:
        Two treated of four were the best two; of the six draws two are as far apart.

        >>> half = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]], dtype=np.int8)
        >>> draws = np.vstack([half, 1 - half])
        >>> randomisation_test(np.array([1.0, 2.0, 3.0, 4.0]), draws[0], draws).p_value
        0.42857142857142855
    """
    check_alpha(alpha)
    denominators = np.ones(len(values)) if denominators is None else denominators
    if (
        permitted.ndim != 2
        or permitted.shape[1] != len(values)
        or not len(values) == len(arms) == len(denominators)
    ):
        raise ValueError(
            f"values, arms, denominators and draws are of {len(values)}, {len(arms)}, {len(denominators)} and"
            f" {permitted.shape[-1]} units, must be of the same"
        )
    if not (np.isfinite(values).all() and np.isfinite(denominators).all()):
        raise ValueError("a value or denominator is not finite")
    columns = np.stack([values, denominators, denominators * (arms == treatment)], axis=1)
    [[difference, _]] = _contrasts(columns, arms[None, :], control, treatment)
    if np.isnan(difference):
        return RandomisationResult(float("nan"), 1.0, -np.inf, np.inf, len(permitted))
    drawn = _contrasts(columns, permitted, control, treatment)
    drawn = drawn[~np.isnan(drawn[:, 0])]
    tolerance = 1e-12 * np.abs(values).sum() / max(float(denominators.sum()), 1e-300)
    n_as_far = int(np.count_nonzero(np.abs(drawn[:, 0]) >= abs(difference) - tolerance))
    low, high = _invert(float(difference), drawn, alpha)
    return RandomisationResult(float(difference), (1 + n_as_far) / (1 + len(drawn)), low, high, len(drawn))


def _contrasts(
    columns: FloatArray, draws: NDArray[np.int8] | IntArray, control: int, treatment: int
) -> FloatArray:
    """For each draw T of the values, and T of "was treated in truth"; NaN with an empty arm."""
    found = np.empty((len(draws), 2))
    chunk = max(1, _CELLS_PER_CHUNK // max(1, columns.shape[0]))
    for start in range(0, len(draws), chunk):
        part = draws[start : start + chunk]
        treated = (part == treatment).astype(np.float64) @ columns
        untreated = (part == control).astype(np.float64) @ columns
        with np.errstate(divide="ignore", invalid="ignore"):
            found[start : start + chunk] = (
                treated[:, [0, 2]] / treated[:, [1]] - untreated[:, [0, 2]] / untreated[:, [1]]
            )
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found


def _invert(difference: float, drawn: FloatArray, alpha: float) -> tuple[float, float]:
    """Ends of {τ: p(τ) > alpha}; a draw is as far as the truth for τ between its two crossings."""
    n_needed = int(np.floor(alpha * (1 + len(drawn)) + 1e-9))
    if not n_needed:
        return -np.inf, np.inf
    statistic, overlap = drawn[:, 0], drawn[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(overlap < 1.0 - 1e-12, (difference - statistic) / (1.0 - overlap), -np.inf)
        second = np.where(overlap > -1.0 + 1e-12, (difference + statistic) / (1.0 + overlap), np.inf)
    is_same = (overlap >= 1.0 - 1e-12) | (overlap <= -1.0 + 1e-12)
    lows = np.where(is_same, -np.inf, np.minimum(first, second))
    highs = np.where(is_same, np.inf, np.maximum(first, second))
    return float(np.sort(lows)[n_needed - 1]), float(-np.sort(-highs)[n_needed - 1])
