"""May a policy go live, by what a log says of it against the one that is live."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from recsys.evaluation.intervals import Estimate


class Promotion(StrEnum):
    """What a log says of a promotion.

    ``allowed``: nothing speaks against it. ``warned``: it may lose more than it may. ``blocked``: it loses.
    ``unknown``: the log says nothing.
    """

    ALLOWED = "allowed"
    WARNED = "warned"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement on a promotion.

    Attributes:
        promotion: What the log says.
        difference: New − live per decision, with its interval; None where the log says nothing.
        tolerated: What may be lost per decision, ≥0.
        overridden_by: Who promotes all the same; "" = nobody.
        reason: Why; "" = nobody does.
    """

    promotion: Promotion
    difference: Estimate | None
    tolerated: float
    overridden_by: str = ""
    reason: str = ""

    @property
    def may_promote(self) -> bool:
        """Whether the policy may go live: unless it is blocked and nobody overrode that."""
        return self.promotion is not Promotion.BLOCKED or bool(self.overridden_by)


def judge_promotion(difference: Estimate | None, tolerated: float = 0.0) -> Judgement:
    """Judge a promotion by the paired difference new − live.

    Blocked when the upper end lies below 0: the new policy earns less. A warning when the lower end lies
    below −tolerated: more may be lost than is tolerated.

    Args:
        difference: New − live per decision; None, or ends that are nan, where the log says nothing.
        tolerated: What may be lost per decision, ≥0.

    Raises:
        ValueError: `tolerated` is negative or not a number.

    Example:
        >>> judge_promotion(Estimate(-2.0, -3.0, -1.0)).promotion.value
        'blocked'
        >>> judge_promotion(Estimate(1.0, -1.0, 3.0), tolerated=0.5).promotion.value
        'warned'
        >>> judge_promotion(Estimate(1.0, -0.4, 3.0), tolerated=0.5).promotion.value
        'allowed'
    """
    if not tolerated >= 0:
        raise ValueError(f"tolerated is {tolerated}, must be at least 0")
    if difference is None or difference.low != difference.low or difference.high != difference.high:
        return Judgement(Promotion.UNKNOWN, None, tolerated)
    if difference.high < 0:
        return Judgement(Promotion.BLOCKED, difference, tolerated)
    is_risky = difference.low < -tolerated
    return Judgement(Promotion.WARNED if is_risky else Promotion.ALLOWED, difference, tolerated)


def overridden(judgement: Judgement, author: str, reason: str) -> Judgement:
    """The judgement with somebody's decision to promote all the same.

    Raises:
        ValueError: Nobody is named, or no reason is given.
    """
    if not author.strip() or not reason.strip():
        raise ValueError("an override needs an author and a reason; name both")
    return replace(judgement, overridden_by=author.strip(), reason=reason.strip())
