"""How far to trust an off-policy estimate: resamples of whole clients, in one pass over the log.

Decisions of a client hang together, so what is drawn again is the client. Every estimate is a function of
sums over rows (`recsys.evaluation.offpolicy.parts`), so rows are summed by client once, and a resample
costs as much as there are clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsys.evaluation.intervals import Estimate, check_confidence, resampled_weights
from recsys.evaluation.offpolicy.parts import Parts
from recsys.models.base import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Resampled:
    """Estimates on the same resamples of clients.

    Attributes:
        values: The estimates by name.
        samples: By name the estimate on each resample, shape (n_resamples,).
        hits: By name and resample what rewards that might have come would have added, same shapes, ≥0.
        n_clients: Number of clients.
    """

    values: Mapping[str, float]
    samples: Mapping[str, FloatArray]
    hits: Mapping[str, FloatArray]
    n_clients: int

    def interval(self, name: str, confidence: float = 0.95) -> Estimate:
        """The estimate with its interval.

        The lower end is that of the resamples; the upper end is that of resamples with one more reward (see
        `bootstrap`).
        """
        samples = self.samples[name]
        return self._estimate(self.values[name], samples, samples + self.hits[name], confidence)

    def difference(self, name: str, other: str, confidence: float = 0.95) -> Estimate:
        """One estimate less another, on the same resamples; one more reward may be either's."""
        found = self.samples[name] - self.samples[other]
        value = self.values[name] - self.values[other]
        return self._estimate(value, found - self.hits[other], found + self.hits[name], confidence)

    def _estimate(self, value: float, lower: FloatArray, upper: FloatArray, confidence: float) -> Estimate:
        check_confidence(confidence)
        lower, upper = lower[~np.isnan(lower)], upper[~np.isnan(upper)]
        if self.n_clients < 2 or np.isnan(value) or len(lower) == 0:
            return Estimate(value, float("nan"), float("nan"))
        from scipy.special import ndtr, stdtrit  # noqa: PLC0415 -- a server's start has no use for it

        n = self.n_clients
        # The percentile interval is too short for few clients; see `recsys.evaluation.intervals`.
        tail = float(ndtr(stdtrit(n - 1, (1 - confidence) / 2) * (n / (n - 1)) ** 0.5))
        low = float(np.quantile(lower, tail, method="weibull"))
        high = float(np.quantile(upper, 1 - tail, method="weibull"))
        return Estimate(value, low, high)


def bootstrap(
    estimates: Mapping[str, Parts],
    clients: IntArray,
    rng: np.random.Generator,
    *,
    n_resamples: int = 1000,
) -> Resampled:
    """Draw clients again and again, for all estimates at once.

    Rewards are rare: of ten rewards with weights, resamples know ten, and the eleventh that might as well
    have come is in none of them. So beside each resample goes a Poisson(1) number of further rewards of the
    usual weight and size (`Parts.hit`), which count for the end of an interval that they would move
    outwards. With many rewards they do not matter; with few they are what keeps the coverage
    (``tests/statistical/test_offpolicy_laws.py``).

    Args:
        estimates: By name, all over the same rows.
        clients: Client of each row, 0 … n_clients − 1, every number used, shape (n_rows,).
        rng: Source of the draws.
        n_resamples: Number of resamples, ≥1.

    Raises:
        ValueError: Rows and clients differ in number.

    Example:
        Two clients, so a resample's mean is 0, 1/2 or 1.

        >>> from recsys.evaluation.offpolicy.parts import plain
        >>> two = {"mean": plain(np.array([0.0, 1.0]))}
        >>> bootstrap(two, np.array([0, 1]), np.random.default_rng(0)).interval("mean")
        Estimate(value=0.5, low=0.0, high=1.0)
    """
    n_clients = int(clients.max(initial=-1)) + 1
    for name, parts in estimates.items():
        if len(parts.base) != len(clients):
            raise ValueError(f"{name} has {len(parts.base)} rows, clients {len(clients)}, must be the same")
    summed = {name: parts.summed(clients, n_clients) for name, parts in estimates.items()}
    drawn: dict[str, list[FloatArray]] = {name: [] for name in summed}
    for counts in resampled_weights(n_clients, n_resamples, rng):
        for name, parts in summed.items():
            drawn[name].append(parts.values(counts))
    n_hits = rng.poisson(1.0, (len(summed), n_resamples))
    return Resampled(
        values={name: parts.value for name, parts in summed.items()},
        samples={name: np.concatenate(chunks) for name, chunks in drawn.items()},
        hits={
            name: found * parts.hit / float(parts.sizes.sum())
            for (name, parts), found in zip(summed.items(), n_hits, strict=True)
        },
        n_clients=n_clients,
    )
