"""Shape of ``contact.yaml``: how often a client may be spoken to, and about what."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from recsys.config import RunConfig
from recsys.decision.policy.engagement import Identifier
from recsys.decision.policy.scope import OfferScope
from recsys.decision.policy.wording import Wording
from recsys.domain import DismissalReason

_LONGEST_REST_DAYS = 3650
_REMEMBERED_DAYS = 90


class CoolDowns(RunConfig):
    """How many days an offer rests after a dismissal, by its reason; 0 = not at all."""

    not_now: int = Field(default=30, ge=0, le=_LONGEST_REST_DAYS)
    irrelevant: int = Field(default=180, ge=0, le=_LONGEST_REST_DAYS)
    have_elsewhere: int = Field(default=365, ge=0, le=_LONGEST_REST_DAYS)
    too_expensive: int = Field(default=90, ge=0, le=_LONGEST_REST_DAYS)

    def days(self, reason: DismissalReason) -> int:
        """The days for that reason.

        Example:
            >>> CoolDowns().days(DismissalReason.NOT_NOW)
            30
        """
        match reason:
            case DismissalReason.NOT_NOW:
                return self.not_now
            case DismissalReason.IRRELEVANT:
                return self.irrelevant
            case DismissalReason.HAVE_ELSEWHERE:
                return self.have_elsewhere
            case DismissalReason.TOO_EXPENSIVE:
                return self.too_expensive


class ContactCap(RunConfig):
    """At most so many contacts within so many days.

    Attributes:
        id: Stable id; refusals name it.
        of: What is counted.
        per: For whom: the whole client or each of its members.
        over: What shares one count: one offer, everything of a category, a need group, a supplier or a
            placement, or all.
        within_days: Length of the period back from now, 1–90.
        at_most: How many, ≥0.
        offers: Which offers are counted and refused.
        placements: In which placements they are counted and refused; empty = every placement.
        reset_on: A later event of one of these types on the same thing clears the count.
        title: The cap in words.
    """

    id: Identifier
    of: Literal["impression", "click", "application", "activation"] = "impression"
    per: Literal["client", "member"] = "client"
    over: Literal["offer", "category", "need_group", "supplier", "placement", "all"] = "offer"
    within_days: int = Field(ge=1, le=_REMEMBERED_DAYS)
    at_most: int = Field(ge=0)
    offers: OfferScope = OfferScope()
    placements: tuple[str, ...] = ()
    reset_on: tuple[Literal["click", "application", "activation"], ...] = ()
    title: Wording | None = None

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        if self.of in self.reset_on and self.at_most > 0:
            raise ValueError(f"each {self.of} clears the count of {self.of}s; take {self.of} out of reset_on")
        return self


class ComplaintSilence(RunConfig):
    """While a complaint is open nothing is offered.

    Attributes:
        silence_days: Days after a complaint during which it counts as open, ≥1.
        exempt: Offers that may still be shown, such as service messages; None = none. Written ``except``.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    silence_days: int = Field(default=30, ge=1, le=365)
    exempt: OfferScope | None = Field(default=None, alias="except")


class ContactSpec(RunConfig):
    """The whole document.

    Attributes:
        cool_downs: How long a dismissed offer rests.
        caps: Most contacts within a period.
        complaint: Silence after a complaint; None = no silence.
    """

    cool_downs: CoolDowns = CoolDowns()
    caps: tuple[ContactCap, ...] = ()
    complaint: ComplaintSilence | None = None
