"""Whether who asks now is like those whom the models were trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np

from recsys.domain import ClientState
from recsys.features.drift import SCORE_NAMES, IntArray, Reference, compared, count_bins, stability_index
from recsys.models.recommender import scoring_moment
from serving.services.world import BundleScorer, Scored, World
from serving.telemetry.measures import Key
from serving.telemetry.names import DRIFT_SAMPLES, FEATURE_DRIFT, SCORE_DRIFT

N_ENOUGH: Final = 500
"""Samples from which on drift is told: with fewer, chance alone looks like one."""

_N_PER_LOOK: Final = 5
_N_KEPT: Final = 100
_SECONDS_OF_GENERATION: Final = 3600.0

Bins = Mapping[str, Sequence[Sequence[int]]]
"""By version of the bundle: how many samples lie in each bin, a row for each number."""


class _Sample(NamedTuple):
    scorer: BundleScorer
    reference: Reference
    state: ClientState
    now: datetime
    scored: Scored


class DriftWatch:
    """Takes a few decisions a second, and counts off the request path in which bins their numbers lie.

    What was counted is kept for one to two hours. Left out are those of whom no profile is known, as the
    reference leaves them out, and those who switched profiling off.
    """

    def __init__(self) -> None:
        self._n_wanted = _N_PER_LOOK
        self._samples: deque[_Sample] = deque(maxlen=_N_KEPT)
        self._counts: dict[str, IntArray] = {}
        self._before: dict[str, IntArray] = {}
        self._began: datetime | None = None

    def take(self, world: World, state: ClientState, now: datetime, scored: Scored) -> None:
        """Keep a decision as a sample, where one is wanted and its models know what to compare it with."""
        profile = state.profile
        if self._n_wanted <= 0 or profile is None or scored.estimate.target is None:
            return
        scorer = world.ranking.scorer
        reference = None if scorer is None else scorer.reference
        if scorer is not None and reference is not None and profile.is_profiling_allowed:
            self._n_wanted -= 1
            self._samples.append(_Sample(scorer, reference, state, now, scored))

    def count(self, now: datetime) -> None:
        """Count the samples, and ask for new ones; takes a millisecond, in a thread."""
        if self._began is None or (now - self._began).total_seconds() > _SECONDS_OF_GENERATION:
            self._before, self._counts, self._began = self._counts, {}, now
        while self._samples:
            sample = self._samples.popleft()
            moment = scoring_moment(sample.now)
            features = sample.scorer.features.client_row(sample.state, moment)
            rows = compared(features[None, :], sample.scored.estimate.probabilities[None, :])
            found = count_bins(sample.reference.edges, rows)
            before = self._counts.get(sample.scorer.version)
            self._counts[sample.scorer.version] = found if before is None else before + found
        self._n_wanted = _N_PER_LOOK

    def bins(self) -> dict[str, list[list[int]]]:
        """What was counted in this process, by bundle."""
        found = {}
        for version in {*self._counts, *self._before}:
            parts = [each[version] for each in (self._counts, self._before) if version in each]
            found[version] = np.sum(parts, axis=0).tolist()
        return found


def drift_figures(bins: Bins, version: str, reference: Reference) -> list[tuple[Key, float]]:
    """The stability index of every feature and score, as gauges.

    Args:
        bins: What all workers counted.
        version: The bundle in use.
        reference: What it was trained on.

    Returns:
        Only how many samples there are, where these are too few to say more.
    """
    rows = bins.get(version, ())
    n_samples = sum(rows[0]) if rows else 0
    found: list[tuple[Key, float]] = [((DRIFT_SAMPLES, version), float(n_samples))]
    if n_samples < N_ENOUGH or len(rows) != len(reference.names):
        return found
    for name, shares, row in zip(reference.names, reference.shares, rows, strict=True):
        metric = SCORE_DRIFT if name in SCORE_NAMES else FEATURE_DRIFT
        found.append(((metric, version, name), stability_index(shares, np.array(row, dtype=np.int64))))
    return found
