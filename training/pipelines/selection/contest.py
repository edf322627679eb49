"""Ours against others on the same clients: one value per client and cut, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from recsys.evaluation.comparison import compare_paired
from recsys.evaluation.intervals import unit_codes
from recsys.evaluation.ranking import find_hits, ndcg, rank_top_k
from recsys.models.base import FloatArray, IntArray
from training.pipelines.evaluation.contestants import Contestant, Predict
from training.pipelines.evaluation.cuts import CutTruth, latest_units

_CLIENTS_PER_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Scored:
    """A figure of several contestants for the same clients, cut by cut.

    Attributes:
        cuts: Name of each row's cut.
        units: What is resampled in each row's place, as text.
        values: By contestant, one value per row.
    """

    cuts: tuple[str, ...]
    units: tuple[str, ...]
    values: Mapping[str, FloatArray]

    def mean(self, name: str, cut: str | None = None) -> float:
        """Mean of a contestant, pooled over the cuts or of one."""
        return float(self.values[name][self._rows(cut)].mean())

    def best(self, names: Sequence[str], cut: str | None = None) -> str:
        """The contestant with the highest mean among those; of equals the first."""
        return max(names, key=lambda name: self.mean(name, cut))

    def difference(self, name: str, other: str, cut: str | None = None) -> dict[str, float | str]:
        """How much better one is than another: difference with its 95 % interval, ratio, p.

        Args:
            name: The contestant.
            other: Whom it is compared with.
            cut: Only this cut; None = pooled.
        """
        rows = self._rows(cut)
        found = compare_paired(
            self.values[name][rows],
            self.values[other][rows],
            unit_codes([self.units[row] for row in rows.tolist()]),
            np.random.default_rng(1),
        )
        return {
            "against": other,
            "difference": found.difference.value,
            "low": found.difference.low,
            "high": found.difference.high,
            "ratio": self.mean(name, cut) / self.mean(other, cut),
            "p_value": found.p_value,
        }

    def _rows(self, cut: str | None) -> IntArray:
        rows = [row for row, name in enumerate(self.cuts) if cut is None or name == cut]
        return np.array(rows, dtype=np.int64)


def name_of(truth: CutTruth) -> str:
    """A cut by its instant in the dataset's zone, as a folder may be called."""
    here = truth.as_of.astimezone(ZoneInfo(truth.known.dataset.meta.time_zone))
    return here.isoformat().replace(":", "")


def score_lists(truths: Sequence[CutTruth], lists: Mapping[str, Sequence[IntArray]]) -> Scored:
    """NDCG of lists for the adopters of some cuts.

    Args:
        truths: The cuts.
        lists: By contestant, the lists of each cut's adopters, shape (n_adopters, k).
    """
    values = {
        name: np.concatenate(
            [
                ndcg(find_hits(ranked, truth.relevant[truth.adopters]))
                for truth, ranked in zip(truths, of_cuts, strict=True)
            ]
        )
        for name, of_cuts in lists.items()
    }
    unit_of = latest_units((truth.client_ids, truth.units) for truth in truths)
    return Scored(
        cuts=tuple(name_of(truth) for truth in truths for _ in truth.adopters),
        units=tuple(unit_of[truth.client_ids[place]] for truth in truths for place in truth.adopters),
        values=values,
    )


def rank_adopters(item: Contestant, truth: CutTruth, k: int, seed: int) -> IntArray:
    """Fit a contestant on what was known at a cut, and make lists for the cut's adopters."""
    return rank_by(item.fit(truth.known, seed).predict, truth, k)


def rank_by(predict: Predict, truth: CutTruth, k: int) -> IntArray:
    """Lists for a cut's adopters, of what they never had; empty slots where nothing else is left."""
    lists = []
    for first in range(0, len(truth.adopters), _CLIENTS_PER_CHUNK):
        rows = truth.adopters[first : first + _CLIENTS_PER_CHUNK]
        scores = np.array(predict(truth.clients.take(rows))[0])
        scores[truth.seen[rows].nonzero()] = -np.inf
        lists.append(rank_top_k(scores, k))
    return np.concatenate(lists)
