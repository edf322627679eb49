"""Curves that a centred sum crosses at most with probability alpha, at any time at all.

For a sum S_t with variance process V_t (both watched), ``P(some t: S_t ≥ bound(V_t)) ≤ alpha``. Mixtures are
tightest near the V for which they are tuned; stitched bounds hold the rate √(V log log V) for ever. Which
increments a mixture is made for: normal – sub-Gaussian; gamma-exponential – bounded below; gamma-Poisson –
bounded above; beta-binomial – inside [−g, h].

Source of all: Howard, Ramdas, McAuliffe & Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49; the empirical-process and quantile bounds: Howard & Ramdas 2022,
"Sequential estimation of quantiles", Bernoulli 28.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar
from scipy.special import betainc, betaln, gammainc, gammaincc, gammaln, log_ndtr, zeta

from recsys.models.base import FloatArray

_N_HALVINGS = 80


def best_variance(tuned_to: float, alpha: float, *, is_one_sided: bool) -> float:
    """The mixture's variance ρ for which its bound at V = tuned_to is lowest (to first order).

    ``ρ = V ÷ (2 ln(1/a) + ln(1 + 2 ln(1/a)))``, a = alpha, or 2·alpha for one side.

    Example:
        >>> round(best_variance(100, 0.05, is_one_sided=False), 5)
        12.60056
    """
    level = -2.0 * np.log(2.0 * alpha if is_one_sided else alpha)
    return float(tuned_to / (level + np.log1p(level)))


class Mixture(Protocol):
    """A supermartingale in (S, V) that starts at 1 at most."""

    def log_value(self, sums: ArrayLike, variances: ArrayLike) -> FloatArray:
        """Logarithm of the mixture: the evidence against a centred sum."""
        ...

    def largest_sums(self, variances: FloatArray) -> FloatArray:
        """The sum that V allows at most; ∞ where it does not."""
        ...


@dataclass(frozen=True, slots=True)
class NormalMixture:
    """Sub-Gaussian sums; one side or both.

    Two-sided ``½ ln(ρ/(V + ρ)) + S²/(2(V + ρ))``; one-sided ``½ ln(4ρ/(V + ρ)) + … + ln Φ(S/√(V + ρ))``.
    """

    rho: float
    is_one_sided: bool

    @classmethod
    def tuned(cls, tuned_to: float, alpha: float = 0.05, *, is_one_sided: bool = True) -> NormalMixture:
        """Narrowest at V = tuned_to."""
        return cls(best_variance(tuned_to, alpha, is_one_sided=is_one_sided), is_one_sided)

    def log_value(self, sums: ArrayLike, variances: ArrayLike) -> FloatArray:
        """See `Mixture`."""
        s, total = np.asarray(sums, dtype=np.float64), np.asarray(variances, dtype=np.float64) + self.rho
        two_sided = 0.5 * np.log(self.rho / total) + s * s / (2.0 * total)
        return two_sided + np.log(2.0) + log_ndtr(s / np.sqrt(total)) if self.is_one_sided else two_sided

    def largest_sums(self, variances: FloatArray) -> FloatArray:
        """See `Mixture`."""
        return np.full_like(variances, np.inf)

    def bounds(self, variances: ArrayLike, alpha: float) -> FloatArray:
        """The bound at each V; in closed form for two sides."""
        if self.is_one_sided:
            return _solve(self, variances, alpha)
        v = np.asarray(variances, dtype=np.float64)
        bounds: FloatArray = np.sqrt((v + self.rho) * (np.log1p(v / self.rho) - 2.0 * np.log(alpha)))
        return bounds


@dataclass(frozen=True, slots=True)
class GammaExponentialMixture:
    """Sub-exponential sums of scale c, one side."""

    rho: float
    scale: float

    @classmethod
    def tuned(cls, tuned_to: float, scale: float, alpha: float = 0.05) -> GammaExponentialMixture:
        """Narrowest at V = tuned_to."""
        return cls(best_variance(tuned_to, alpha, is_one_sided=True), scale)

    def log_value(self, sums: ArrayLike, variances: ArrayLike) -> FloatArray:
        """See `Mixture`."""
        squared = self.scale**2
        v = np.asarray(variances, dtype=np.float64)
        own, total = self.rho / squared, (v + self.rho) / squared
        moved = (self.scale * np.asarray(sums, dtype=np.float64) + v) / squared
        constant = own * np.log(own) - gammaln(own) - np.log(gammainc(own, own))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(gammainc(total, np.maximum(moved + own, 0.0))) - total * np.log(moved + own)
        value = constant + gammaln(total) + logs + moved
        return np.where(moved + own > 0.0, value, -np.inf)

    def largest_sums(self, variances: FloatArray) -> FloatArray:
        """See `Mixture`."""
        return np.full_like(variances, np.inf)

    def bounds(self, variances: ArrayLike, alpha: float) -> FloatArray:
        """The bound at each V."""
        return _solve(self, variances, alpha)


@dataclass(frozen=True, slots=True)
class GammaPoissonMixture:
    """Sub-Poisson sums of scale c, one side."""

    rho: float
    scale: float

    @classmethod
    def tuned(cls, tuned_to: float, scale: float, alpha: float = 0.05) -> GammaPoissonMixture:
        """Narrowest at V = tuned_to."""
        return cls(best_variance(tuned_to, alpha, is_one_sided=True), scale)

    def log_value(self, sums: ArrayLike, variances: ArrayLike) -> FloatArray:
        """See `Mixture`."""
        squared = self.scale**2
        v = np.asarray(variances, dtype=np.float64)
        own, total = self.rho / squared, (v + self.rho) / squared
        moved = np.asarray(sums, dtype=np.float64) / self.scale + total
        constant = own * np.log(own) - gammaln(own) - np.log(gammaincc(own, own))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = gammaln(moved) + np.log(gammaincc(np.maximum(moved, 0.0), total))
        value = constant + logs - moved * np.log(total) + v / squared
        return np.where(moved > 0.0, value, -np.inf)

    def largest_sums(self, variances: FloatArray) -> FloatArray:
        """See `Mixture`."""
        return np.full_like(variances, np.inf)

    def bounds(self, variances: ArrayLike, alpha: float) -> FloatArray:
        """The bound at each V."""
        return _solve(self, variances, alpha)


@dataclass(frozen=True, slots=True)
class BetaBinomialMixture:
    """Sums of increments inside [−g, h]; one side or both."""

    r: float
    g: float
    h: float
    is_one_sided: bool

    @classmethod
    def tuned(
        cls, tuned_to: float, g: float, h: float, alpha: float = 0.05, *, is_one_sided: bool = True
    ) -> BetaBinomialMixture:
        """Narrowest at V = tuned_to."""
        best = best_variance(tuned_to, alpha, is_one_sided=is_one_sided)
        return cls(max(best - g * h, 1e-3 * g * h), g, h, is_one_sided)

    def log_value(self, sums: ArrayLike, variances: ArrayLike) -> FloatArray:
        """See `Mixture`."""
        s, v = np.asarray(sums, dtype=np.float64), np.asarray(variances, dtype=np.float64)
        g, h, width = self.g, self.h, self.g + self.h
        powers = v / (g * h) * np.log(width)
        powers = powers - (v + h * s) / (h * width) * np.log(g) - (v - g * s) / (g * width) * np.log(h)
        posterior = self._log_beta((self.r + v - g * s) / (g * width), (self.r + v + h * s) / (h * width))
        value: FloatArray = powers + posterior - self._log_beta(self.r / (g * width), self.r / (h * width))
        return value

    def _log_beta(self, a: ArrayLike, b: ArrayLike) -> FloatArray:
        value: FloatArray = betaln(a, b)
        if self.is_one_sided:
            with np.errstate(divide="ignore"):
                value = value + np.log(betainc(a, b, self.h / (self.g + self.h)))
        return value

    def largest_sums(self, variances: FloatArray) -> FloatArray:
        """See `Mixture`."""
        return variances / self.g

    def bounds(self, variances: ArrayLike, alpha: float) -> FloatArray:
        """The bound at each V."""
        return _solve(self, variances, alpha)


def _solve(mixture: Mixture, variances: ArrayLike, alpha: float) -> FloatArray:
    """The S at which the mixture reaches 1/alpha, by bisection of all V at once."""
    v = np.asarray(variances, dtype=np.float64)
    threshold = -np.log(alpha)
    largest = mixture.largest_sums(v)
    high = np.where(np.isfinite(largest), largest, np.maximum(v, 1e-12))
    for _ in range(_N_HALVINGS):
        is_short = np.isinf(largest) & ~(mixture.log_value(high, v) > threshold)
        if not is_short.any():
            break
        high = np.where(is_short, 2.0 * high, high)
    low = np.zeros_like(v)
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (low + high)
        is_below = mixture.log_value(middle, v) < threshold
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return 0.5 * (low + high)


def poly_stitching_bound(
    variances: ArrayLike, alpha: float, v_min: float, scale: float = 0.0, s: float = 1.4, eta: float = 2.0
) -> FloatArray:
    """The polynomial stitched bound for sub-gamma sums of scale c (0: sub-Gaussian).

    ``√(k₁² V ℓ + k₂² c² ℓ²) + k₂ c ℓ``, ``ℓ = s ln ln(η V/m) + ln(ζ(s)/(alpha ln^s η))``, V at least m =
    v_min.
    """
    v = np.maximum(np.asarray(variances, dtype=np.float64), v_min)
    level = s * np.log(np.log(eta * v / v_min)) + np.log(zeta(s) / np.log(eta) ** s / alpha)
    first, linear = _stitching_constants(eta)
    beyond = linear * scale * level
    bound: FloatArray = np.sqrt(first**2 * v * level + beyond**2) + beyond
    return bound


def _stitching_constants(eta: float) -> tuple[float, float]:
    return float((eta**0.25 + eta**-0.25) / np.sqrt(2.0)), float((np.sqrt(eta) + 1.0) / 2.0)


def double_stitching_bound(  # noqa: PLR0913 – the constants of one formula
    level: float,
    t: float,
    alpha: float,
    t_opt: float,
    *,
    delta: float = 0.5,
    s: float = 1.4,
    eta: float = 2.0,
) -> float:
    """A bound for the count of values below a quantile, for all levels and all times at once.

    Args:
        level: Level p of the quantile.
        t: Number of values.
        alpha: Chance that the bound is ever crossed.
        t_opt: Values from which it is tight.
        delta: Fineness of the grid of levels.
        s: Exponent of the stitching.
        eta: Ratio of the epochs.
    """
    count = max(t, t_opt)
    odds = np.log(level / (1.0 - level))
    moved = odds + 2.0 * delta * np.sqrt(t_opt * eta / count)
    r = level if level >= 0.5 else min(0.5, 1.0 / (1.0 + np.exp(-moved)))
    variance = r * (1.0 - r)
    epoch = np.sqrt(count / t_opt) * abs(odds) / (2.0 * delta) + 1.0
    whole = zeta(s)
    height = s * np.log(np.log(eta * count / t_opt)) + s * np.log(epoch)
    height += np.log(2.0 * whole * (2.0 * whole + 1.0) / (alpha * np.log(eta) ** s))
    first, linear = _stitching_constants(eta)
    beyond = linear * (1.0 - 2.0 * level) / 3.0 * height
    grid = delta * np.sqrt(eta * count * variance / t_opt)
    return float(grid + np.sqrt(first**2 * variance * count * height + beyond**2) + beyond)


def empirical_process_bound(t: float, alpha: float, t_min: float, rate: float = 0.85) -> float:
    """Farthest that an empirical distribution function ever lies from the true one, from t_min values on.

    ``A √((ln(1 + ln(t/m)) + C) / t)``, with the smallest C for which the chance is alpha; ∞ before t_min.

    Args:
        t: Number of values.
        alpha: Chance that the bound is ever crossed.
        t_min: Values from which it holds, ≥1.
        rate: A, above √½.
    """
    if not rate > np.sqrt(0.5):
        raise ValueError(f"rate is {rate}, must be above √½")
    if t < t_min:
        return float("inf")
    high = 5.0
    while _crossing_chance(high, rate) > alpha:
        high *= 2.0
    low = high / 2.0
    while _crossing_chance(low, rate) < alpha:
        low /= 2.0
    constant = brentq(lambda c: _crossing_chance(c, rate) - alpha, low, high, xtol=1e-12)
    return float(rate * np.sqrt((np.log1p(np.log(t / t_min)) + constant) / t))


def _crossing_chance(constant: float, rate: float) -> float:
    """The best bound on the chance of ever crossing, over the ratio η of the epochs."""

    def chance(eta: float) -> float:
        power = 2.0 / eta * (rate - np.sqrt(2.0 * (eta - 1.0) / constant)) ** 2
        if power <= 1.0:
            return float("inf")
        return float(4.0 * np.exp(-power * constant) * (1.0 + 1.0 / ((power - 1.0) * np.log(eta))))

    def edge(eta: float) -> float:
        return float(np.sqrt(eta / 2.0) + np.sqrt(2.0 * (eta - 1.0) / constant) - rate)

    largest = brentq(edge, 1.0, 2.0 * rate**2)
    found = minimize_scalar(chance, bounds=(1.0, largest), method="bounded", options={"xatol": 1e-12})
    return float(found.fun)
