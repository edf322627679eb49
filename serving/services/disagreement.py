"""How far two rankings disagree: for one list, and over many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from recsys.decision.decide import Slate
from recsys.models.base import FloatArray
from serving.orders import ShadowFigures

# A share of fewer decisions says little of a segment.
LEAST_DECISIONS = 30
_N_WORST = 3


class Disagreement(NamedTuple):
    """How far two lists for the same placement disagree.

    Attributes:
        n_shown: Offers of the first list.
        n_differing: Of them, those that the second lacks.
        n_candidates: Offers that both could have shown.
        rank_correlation: Spearman's, of the candidates' priorities; None = none can be told.
        mean_difference: Mean over the candidates of the second's probability − the first's; None = none.
    """

    n_shown: int
    n_differing: int
    n_candidates: int
    rank_correlation: float | None
    mean_difference: float | None


class Segment(NamedTuple):
    """How far a bundle in shadow disagreed over some decisions.

    Attributes:
        name: What they have in common: ``placement home``, ``size micro``; "" = all.
        n_decisions: How many.
        mean_overlap: Share of the shown offers that the shadow's lists have too, 0–1; None = none was shown.
        rank_correlation: Mean of the decisions' correlations, −1–1; None = none could be told.
        mean_difference: Mean of the decisions' differences of probability, shadow − live; None = none.
    """

    name: str
    n_decisions: int
    mean_overlap: float | None
    rank_correlation: float | None
    mean_difference: float | None


class Summary(NamedTuple):
    """How far a bundle in shadow disagreed with what was live.

    Attributes:
        overall: Over all decisions that were sampled.
        against: Versions that were live meanwhile.
        worst: The segments that disagree most, of those with `LEAST_DECISIONS` at least, the worst first.
    """

    overall: Segment
    against: tuple[str, ...]
    worst: tuple[Segment, ...]


def disagreement(live: Slate, shadow: Slate) -> Disagreement:
    """Compare two lists for the same placement of the same request."""
    shown = {slot.position for slot in live.slots}
    both = np.intersect1d(live.candidates, shadow.candidates)
    moved = shadow.factors.probability[both] - live.factors.probability[both]
    return Disagreement(
        n_shown=len(shown),
        n_differing=len(shown - {slot.position for slot in shadow.slots}),
        n_candidates=len(both),
        rank_correlation=rank_correlation(live.factors.priority[both], shadow.factors.priority[both]),
        mean_difference=float(moved.mean()) if len(both) else None,
    )


def rank_correlation(first: FloatArray, second: FloatArray) -> float | None:
    """Spearman's rank correlation; equal values share their mean rank.

    Returns:
        −1–1; None for fewer than two values, or where all of one are alike.

    Example:
        >>> rank_correlation(np.array([0.1, 0.2, 0.9]), np.array([5.0, 7.0, 8.0]))
        1.0
        >>> rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
        0.8
        >>> rank_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])) is None
        True
    """
    if len(first) < 2:
        return None
    a, b = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return round(float(a @ b) / scale, 12) if scale > 0 else None


def summary_of(figures: Sequence[ShadowFigures]) -> Summary:
    """What the sums of a bundle in shadow amount to.

    Example:
        >>> found = ShadowFigures("a-1", "home", "micro", 40, 200, 50, 40, 32.0, 40, -0.4)
        >>> summary = summary_of([found])
        >>> summary.overall
        Segment(name='', n_decisions=40, mean_overlap=0.75, rank_correlation=0.8, mean_difference=-0.01)
        >>> [segment.name for segment in summary.worst]
        ['placement home', 'size micro']
    """
    segments = [
        *_by(figures, "placement", lambda each: each.placement_id),
        *_by(figures, "size", lambda each: each.client_size or "not known"),
    ]
    told = [
        each for each in segments if each.n_decisions >= LEAST_DECISIONS and each.mean_overlap is not None
    ]
    worst = sorted(told, key=lambda each: (each.mean_overlap or 0.0, each.name))[:_N_WORST]
    against = tuple(dict.fromkeys(each.live_version for each in figures))
    return Summary(_segment("", figures), against, tuple(worst))


def _by(
    figures: Iterable[ShadowFigures], kind: str, name_of: Callable[[ShadowFigures], str]
) -> list[Segment]:
    groups: dict[str, list[ShadowFigures]] = {}
    for each in figures:
        groups.setdefault(name_of(each), []).append(each)
    return [_segment(f"{kind} {name}", found) for name, found in groups.items()]


def _segment(name: str, figures: Sequence[ShadowFigures]) -> Segment:
    n_shown = sum(each.n_shown for each in figures)
    n_same = n_shown - sum(each.n_differing for each in figures)
    return Segment(
        name=name,
        n_decisions=sum(each.n_decisions for each in figures),
        mean_overlap=_ratio(n_same, n_shown),
        rank_correlation=_ratio(
            sum(each.sum_of_correlations for each in figures), sum(each.n_correlations for each in figures)
        ),
        mean_difference=_ratio(
            sum(each.sum_of_differences for each in figures), sum(each.n_differences for each in figures)
        ),
    )


def _ratio(total: float, n: int) -> float | None:
    return round(total / n, 9) if n else None


def _ranks(values: FloatArray) -> FloatArray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: FloatArray = last - (counts - 1) / 2
    return means[places]
