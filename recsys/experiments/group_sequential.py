"""A planned number of looks: how far the estimate must lie from its null at each of them.

The statistic at information share t is ``Z_t = W_t / √t`` with W a Brownian motion. Bounds spend the allowed
rate of false findings look by look; the spending functions need only the shares seen so far, so looks may
fall on other days than planned. The chance of crossing is integrated exactly, look by look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from recsys.experiments.experiment import Spending
from recsys.experiments.inference import Effect, Side, check_alpha
from recsys.models.base import FloatArray

_N_NODES = 201
_FARTHEST = 8.5
_LEAST_SPENT = 1e-15
_P_LEAST, _P_MOST = 1e-12, 1.0 - 1e-9


class Convention(StrEnum):
    """What a two-sided alpha is: spent as one total, or as alpha/2 on each side.

    They differ only for OBRIEN_FLEMING, which is not linear in alpha. R's ldbounds and gsDesign speak per
    side; Lan & DeMets 1983 and many tables speak of the total.
    """

    TOTAL = "total"
    PER_SIDE = "per_side"


_POWERS = {Spending.LINEAR: 1.0, Spending.QUADRATIC: 2.0, Spending.CUBIC: 3.0}


def spent(share: float, alpha: float, spending: Spending) -> float:
    """How much of alpha is spent by an information share t.

    OBRIEN_FLEMING ``2(1 − Φ(z_{1−alpha/2} / √t))``; POCOCK ``alpha · ln(1 + (e − 1)t)`` (both Lan & DeMets
    1983); LINEAR, QUADRATIC, CUBIC ``alpha · t, t², t³`` (Kim & DeMets 1987).

    Example:
        >>> spent(1.0, 0.05, Spending.OBRIEN_FLEMING)  # in the end, all of it
        0.05
    """
    if share >= 1.0:
        return alpha
    if spending is Spending.OBRIEN_FLEMING:
        return float(2.0 * ndtr(ndtri(alpha / 2.0) / np.sqrt(share)))
    if spending is Spending.POCOCK:
        return float(alpha * np.log1p((np.e - 1.0) * share))
    return float(alpha * share ** _POWERS[spending])


def spending_bounds(
    shares: Sequence[float],
    spending: Spending,
    *,
    alpha: float = 0.05,
    side: Side = Side.TWO_SIDED,
    convention: Convention = Convention.PER_SIDE,
) -> FloatArray:
    """The least |z| that is a finding at each look.

    Args:
        shares: Information share of each look so far (units seen ÷ units planned), rising, above 0; a share
            of 1 or more spends all that is left.
        spending: How fast alpha is spent.
        alpha: Rate of false findings over all looks.
        side: Both sides, or one; bounds of one side are given as positive numbers too.
        convention: What a two-sided alpha is.

    Returns:
        Bounds, shape (n_looks,); ∞ where nothing may be spent yet.

    Raises:
        ValueError: Shares do not rise from above 0, or alpha is out of its bounds.

    Source:
        Lan & DeMets 1983, "Discrete sequential boundaries for clinical trials", Biometrika 70; Kim & DeMets
        1987; the integration is that of Armitage, McPherson & Rowe 1969.

    Example:
        >>> spending_bounds([0.5, 1.0], Spending.POCOCK).round(3).tolist()
        [2.157, 2.201]
    """
    check_alpha(alpha)
    ordered = tuple(float(share) for share in shares)
    if not ordered or ordered[0] <= 0.0 or any(a >= b for a, b in pairwise(ordered)):
        raise ValueError(f"information shares are {list(ordered)}, must rise from above 0")
    return np.array(_spending_bounds(ordered, spending, alpha, side, convention))


@lru_cache(maxsize=1024)
def _spending_bounds(
    shares: tuple[float, ...], spending: Spending, alpha: float, side: Side, convention: Convention
) -> tuple[float, ...]:
    both = side is Side.TWO_SIDED
    halves = both and convention is Convention.PER_SIDE
    total = [
        2.0 * spent(share, alpha / 2.0, spending) if halves else spent(share, alpha, spending)
        for share in shares
    ]
    walk, bounds, before = _Walk(both), [], 0.0
    for share, until in zip(shares, total, strict=True):
        bound = walk.solve(share, until - before)
        walk.advance(share, bound)
        bounds.append(bound)
        before = until if np.isfinite(bound) else before
    return tuple(bounds)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of Gauss and Legendre: finding them takes longer than walking over a look."""
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


class _Walk:
    """The part of the Brownian motion that has crossed no bound yet, on the nodes of a quadrature."""

    def __init__(self, is_two_sided: bool) -> None:
        self.is_two_sided = is_two_sided
        self.share = 0.0
        self.points = np.zeros(1)
        self.masses = np.ones(1)
        self.nodes, self.weights = _quadrature()

    def chance(self, share: float, bound: float) -> float:
        """Chance of crossing at this look for the first time."""
        step, edge = np.sqrt(share - self.share), bound * np.sqrt(share)
        tails = ndtr((self.points - edge) / step)
        if self.is_two_sided:
            tails = tails + ndtr((-edge - self.points) / step)
        return float(self.masses @ tails)

    def solve(self, share: float, chance: float) -> float:
        """The bound that is crossed with this chance; ∞ where it is next to none."""
        if chance <= _LEAST_SPENT:
            return float("inf")
        low = 0.0 if self.is_two_sided else -_FARTHEST
        if self.chance(share, low) <= chance:
            return low
        return float(brentq(lambda bound: self.chance(share, bound) - chance, low, _FARTHEST, xtol=1e-12))

    def advance(self, share: float, bound: float) -> None:
        """Go on with what has not crossed."""
        root = np.sqrt(share)
        high = min(bound, _FARTHEST) * root
        low = -high if self.is_two_sided else -_FARTHEST * root
        step = np.sqrt(share - self.share)
        points = low + (high - low) * (self.nodes + 1.0) / 2.0
        apart = (points[:, None] - self.points[None, :]) / step
        density = np.exp(-0.5 * apart**2) @ self.masses / (step * np.sqrt(2.0 * np.pi))
        self.points, self.masses = points, density * self.weights * (high - low) / 2.0
        self.share = share


def pocock_bounds(n_looks: int, alpha: float = 0.05) -> FloatArray:
    """The same |z| at each of equally spaced looks, two-sided.

    Source:
        Pocock 1977, "Group sequential methods in the design and analysis of clinical trials", Biometrika 64.
    """
    return _classical(n_looks, alpha, [1.0] * n_looks)


def obrien_fleming_bounds(n_looks: int, alpha: float = 0.05) -> FloatArray:
    """``|z_k| = C √(K/k)`` at equally spaced looks, two-sided: hardly anything stops early.

    Source:
        O'Brien & Fleming 1979, "A multiple testing procedure for clinical trials", Biometrics 35.
    """
    return _classical(n_looks, alpha, [float(np.sqrt(n_looks / look)) for look in range(1, n_looks + 1)])


def _classical(n_looks: int, alpha: float, shapes: Sequence[float]) -> FloatArray:
    check_alpha(alpha)
    if n_looks < 1:
        raise ValueError(f"n_looks is {n_looks}, must be at least 1")

    def excess(constant: float) -> float:
        walk, crossed = _Walk(is_two_sided=True), 0.0
        for look, factor in enumerate(shapes, start=1):
            crossed += walk.chance(look / n_looks, constant * factor)
            walk.advance(look / n_looks, constant * factor)
        return crossed - alpha

    return np.array(shapes) * float(brentq(excess, 0.1, _FARTHEST, xtol=1e-10))


@dataclass(frozen=True, slots=True)
class Look:
    """The test at one look of a group-sequential plan.

    Its interval is the repeated confidence interval ``estimate ± c_k · SE``: over all looks together it
    misses with probability alpha at most, whether one stops or not. Normal, not t: mind small arms.

    Attributes:
        shares: Information shares of all looks up to this one.
        alpha: Rate of false findings over all looks.
        side: What the test looks for.
        spending: How fast alpha is spent.
        convention: What a two-sided alpha is.

    Source:
        Jennison & Turnbull 1989, "Interim analyses: the repeated confidence interval approach", JRSS B 51.
    """

    shares: tuple[float, ...]
    alpha: float = 0.05
    side: Side = Side.TWO_SIDED
    spending: Spending = Spending.OBRIEN_FLEMING
    convention: Convention = Convention.PER_SIDE

    def __post_init__(self) -> None:
        self._bound(self.alpha)

    def _bound(self, alpha: float) -> float:
        bounds = spending_bounds(
            self.shares, self.spending, alpha=alpha, side=self.side, convention=self.convention
        )
        return float(bounds[-1])

    def critical(self, effect: Effect) -> float:  # noqa: ARG002 – what the test's protocol gives
        """The bound of this look."""
        return self._bound(self.alpha)

    def p_value(self, shift: float, standard_error: float, effect: Effect) -> float:  # noqa: ARG002
        """The repeated p: the smallest alpha whose bound at this look the estimate reaches.

        Between 1e-12 and 1; what lies beyond is given as these.
        """
        z = shift / standard_error
        reached = abs(z) if self.side is Side.TWO_SIDED else (z if self.side is Side.GREATER else -z)
        if self._bound(_P_LEAST) <= reached:
            return _P_LEAST
        if self._bound(_P_MOST) > reached:
            return 1.0

        def excess(log_alpha: float) -> float:
            return min(self._bound(float(np.exp(log_alpha))), 1e3) - reached

        return float(np.exp(brentq(excess, np.log(_P_LEAST), np.log(_P_MOST), xtol=1e-9)))
