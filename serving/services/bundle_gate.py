"""Whether a bundle may go live: what was measured at its fit, held against the live one's figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from recsys.bundle import Manifest
from recsys.errors import ConflictError
from serving.orders import PolicyVersion
from serving.services.promotion import Evidence, InForce, Judged, judge_bundle_evidence

# Two fits of one recipe a month apart differ by this much through their windows alone: 4 % of the log-loss on
# the made-up operator. What is worse by more is not noise, and a person has to say why it goes live.
TOLERATED = 0.05
# A factor: beyond it, what the probabilities add up to says little of how many say yes.
_TOLERATED_FACTOR = 1.25
NOTHING_LIVE = "nothing is live to compare it with"


class Unreadable(NamedTuple):
    """A live bundle that cannot be read.

    Attributes:
        version: Its version; None = nobody ordered one, and the newest of the folder is served.
        fault: Why.
    """

    version: str | None
    fault: str


class Compared(NamedTuple):
    """A figure of the candidate beside that of the live bundle.

    Attributes:
        name: What was measured.
        candidate: Of the candidate; NaN = it has none.
        live: Of the live bundle.
        is_worse: Whether it is worse by more than is tolerated.
    """

    name: str
    candidate: float
    live: float
    is_worse: bool

    def __str__(self) -> str:
        ours = f"{self.candidate:.4g}" if math.isfinite(self.candidate) else "unknown"
        return f"{self.name} {ours} against {self.live:.4g}"


def compare_figures(candidate: Mapping[str, float], live: Mapping[str, float]) -> list[Compared]:
    """The figures that the live bundle has and that say which is better.

    One that the candidate lacks, or that is no number, counts as worse.
    ``ndcg_at_10``, the larger the better, and the log-loss of the models as they are used, the smaller the
    better, by more than `TOLERATED` of the live one's; ``observed_over_expected``, the nearer to 1 the
    better, where it lies off by more than a quarter.

    Example:
        >>> [found] = compare_figures({"ndcg_at_10": 0.2}, {"ndcg_at_10": 0.3})
        >>> str(found), found.is_worse
        ('ndcg_at_10 0.2 against 0.3', True)
        >>> compare_figures({"ndcg_at_10": 0.29}, {"ndcg_at_10": 0.3})[0].is_worse
        False
    """
    ours, theirs = _as_used(candidate), _as_used(live)
    return [
        Compared(name, value, theirs[name], not math.isfinite(value) or is_worse(value, theirs[name]))
        for name, is_worse in _IS_WORSE.items()
        if name in theirs
        for value in (ours.get(name, math.nan),)
    ]


def judge_bundle(
    candidate: Manifest,
    live: Manifest | Unreadable | None,
    author: str,
    evidence: Evidence | None = None,
    override: str = "",
    policy: PolicyVersion | None = None,
) -> Judged:
    """Judge whether a bundle may replace the live one.

    Args:
        candidate: What it says of itself.
        live: What the live one says of itself; None = there is none.
        author: Who promotes it.
        evidence: An off-policy run on it; None = there is none.
        override: Why it is to go live although the figures speak against it; "" = it is not.
        policy: The policy in force.

    Raises:
        ConfigError: The run cannot be read, or is about another bundle.
        ConflictError: It is worse, or what is live cannot be read, and nobody overrides that; the text has
            the numbers.
    """
    told, warnings = _offline(candidate, live, author, override.strip())
    if evidence is None:
        return Judged(f"{told}; not evaluated off-policy", warnings)
    in_force = InForce(policy, None if live is None else live.version)
    off_policy = judge_bundle_evidence(evidence, candidate.version, author, in_force)
    return Judged(f"{told}; {off_policy.note}", (*warnings, *off_policy.warnings))


def _offline(
    candidate: Manifest, live: Manifest | Unreadable | None, author: str, override: str
) -> tuple[str, tuple[str, ...]]:
    """What the figures say, for the order and as warnings."""
    if live is None:
        return f"offline: {NOTHING_LIVE}", ()
    if isinstance(live, Unreadable):
        return _uncompared(live, author, override)
    if candidate.target is not live.target:
        told = (
            f"offline: it estimates {candidate.target.value}, {live.version} estimates {live.target.value}:"
            " their figures cannot be compared"
        )
        return told, (told,)
    found = compare_figures(candidate.metrics, live.metrics)
    if not found:
        told = f"offline: {live.version} has no figure that says which is better"
        return told, (told,)
    worse = [str(each) for each in found if each.is_worse]
    if not worse:
        figures = ", ".join(map(str, found))
        return f"offline: not worse than {live.version} by more than {TOLERATED:.0%}: {figures}", ()
    return _overridden(f"worse than the live {live.version}: {', '.join(worse)}", author, override)


def _uncompared(live: Unreadable, author: str, override: str) -> tuple[str, tuple[str, ...]]:
    if live.version is None:
        told = f"offline: it cannot be compared: the newest of the folder cannot be read ({live.fault})"
        return told, (told,)
    told = f"it cannot be compared: the live {live.version} cannot be read ({live.fault})"
    return _overridden(told, author, override)


def _overridden(told: str, author: str, override: str) -> tuple[str, tuple[str, ...]]:
    if not override:
        raise ConflictError(f"not promoted: {told}; name a reason with --override to promote it all the same")
    told = f"offline: {told}; overridden by {author}: {override}"
    return told, (told,)


def _as_used(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures with the log-loss of the models as they are used: of the trees where there are any."""
    used = {name: value for name, value in figures.items() if math.isfinite(value)}
    with_trees = used.get("n_trees", 0) > 0
    name = "log_loss_trees" if with_trees else "log_loss_start"
    return {**used, "log_loss": used[name]} if name in used else used


def _factor_off(ratio: float) -> float:
    """How far a ratio lies from 1, as a factor ≥1."""
    return math.inf if ratio <= 0 else max(ratio, 1 / ratio)


_IS_WORSE: Mapping[str, Callable[[float, float], bool]] = {
    "ndcg_at_10": lambda ours, theirs: ours < theirs * (1 - TOLERATED),
    "log_loss": lambda ours, theirs: ours > theirs * (1 + TOLERATED),
    "observed_over_expected": lambda ours, theirs: (
        _factor_off(ours) > max(_factor_off(theirs), _TOLERATED_FACTOR)
    ),
}
