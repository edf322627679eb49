"""Shape of ``engagement.yaml``: who may be offered what."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recsys.config import RunConfig
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.scope import OfferScope
from recsys.decision.policy.wording import Wording
from recsys.domain import Change

_MOST_RULES = 3_000
"""Far above what people keep in their heads; what lies beyond would keep a server busy for long."""

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class RuleStage(StrEnum):
    """The steps of the funnel for which rules can be written."""

    AVAILABILITY = "availability"
    ELIGIBILITY = "eligibility"
    APPLICABILITY = "applicability"
    SUITABILITY = "suitability"


class RuleSpec(RunConfig):
    """One rule: offers of a scope are candidates only if, or never if, a condition holds.

    Attributes:
        id: Stable id; refusals name it.
        stage: Step of the funnel.
        offers: Which offers it is about.
        changes: Which changes it is about; empty = every change.
        only_if: Refuse unless this holds.
        never_if: Refuse when this holds.
        unknown: What to do where the condition is unknown; left out = refuse for only_if, allow for never_if.
        title: The rule in words; left out = the condition says itself.
        cure: What the client can do about it, where it can do something.
    """

    id: Identifier
    stage: RuleStage
    offers: OfferScope = OfferScope()
    changes: tuple[Change, ...] = ()
    only_if: Condition | None = None
    never_if: Condition | None = None
    unknown: Literal["refuse", "allow"] | None = None
    title: Wording | None = None
    cure: Wording | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if (self.only_if is None) == (self.never_if is None):
            raise ValueError("a rule has either only_if or never_if; write exactly one of them")
        return self

    @property
    def condition(self) -> Condition:
        """The condition, whichever way it is used."""
        found = self.never_if if self.only_if is None else self.only_if
        assert found is not None  # noqa: S101 – the validator saw to it
        return found

    @property
    def is_refused_when_true(self) -> bool:
        """Whether the condition refuses (never_if) rather than admits (only_if)."""
        return self.never_if is not None

    @property
    def is_refused_when_unknown(self) -> bool:
        """Whether an unknown condition refuses.

        Example:
            >>> from recsys.decision.conditions.syntax import Condition
            >>> is_vip = Condition.model_validate({"field": "is_vip", "is": True})
            >>> RuleSpec(id="vip", stage=RuleStage.ELIGIBILITY, only_if=is_vip).is_refused_when_unknown
            True
        """
        if self.unknown is None:
            return self.only_if is not None
        return self.unknown == "refuse"


class VolumeCap(RunConfig):
    """At most so many events of a type in a period, counted over all clients and the whole scope together.

    Attributes:
        id: Stable id; refusals name it.
        offers: What is counted, and what is refused when the cap is used up.
        of: What is counted.
        at_most: How many, ≥0.
        per: The period, by the operator's calendar.
        title: The cap in words.
    """

    id: Identifier
    offers: OfferScope = OfferScope()
    of: Literal["application", "activation"] = "application"
    at_most: int = Field(ge=0)
    per: Literal["day", "week", "month"]
    title: Wording | None = None


class RenewSpec(RunConfig):
    """A held service is proposed for renewal shortly before its term ends, and for a while after.

    Attributes:
        within_days: Days before the end of the term.
        lapsed_days: Days after it during which the service is still proposed, 0–365.
        offers: Of which offers.
    """

    within_days: int = Field(default=45, ge=1, le=365)
    lapsed_days: int = Field(default=30, ge=0, le=365)
    offers: OfferScope = OfferScope()


class ProposalSpec(RunConfig):
    """A held service is proposed for a change when a condition holds.

    Attributes:
        when: The condition; unknown = not proposed.
        offers: Of which offers.
        after_days: Only so many days after the latest connection of that very offer, 0–3650.
    """

    when: Condition
    offers: OfferScope = OfferScope()
    after_days: int = Field(default=30, ge=0, le=3650)


class ChangesSpec(RunConfig):
    """What is proposed for a service that a client has; None = that change never is.

    Attributes:
        renew: Another term.
        expand: More seats, SIMs, pieces.
        retain: A talk about keeping it.
    """

    renew: RenewSpec | None = None
    expand: ProposalSpec | None = None
    retain: ProposalSpec | None = None


class EngagementSpec(RunConfig):
    """The whole document.

    Attributes:
        segments: Named conditions, for use in other conditions.
        rules: In the order in which they are tried within a stage; at most 3,000.
        volume_caps: Caps over all clients together.
        changes: What is proposed for services that a client has.
    """

    segments: dict[Identifier, Condition] = Field(default_factory=dict)
    rules: tuple[RuleSpec, ...] = Field(default=(), max_length=_MOST_RULES)
    volume_caps: tuple[VolumeCap, ...] = ()
    changes: ChangesSpec = ChangesSpec()
