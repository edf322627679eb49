"""Why an offer is refused: a stage of the funnel and a rule of that stage."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class RefusalStage(StrEnum):
    """The step of the funnel that refused an offer."""

    AVAILABILITY = "availability"
    ELIGIBILITY = "eligibility"
    CONTACT_POLICY = "contact_policy"
    REQUEST = "request"
    PLACEMENT = "placement"


class Rule(StrEnum):
    """The rule that refused an offer, and the stage to which it belongs."""

    STOPPED = "stopped", RefusalStage.AVAILABILITY
    NOT_YET_LIVE = "not_yet_live", RefusalStage.AVAILABILITY
    NO_LONGER_LIVE = "no_longer_live", RefusalStage.AVAILABILITY
    REGION = "region", RefusalStage.AVAILABILITY
    LEGAL_FORM = "legal_form", RefusalStage.ELIGIBILITY
    ALREADY_CONNECTED = "already_connected", RefusalStage.ELIGIBILITY
    EXCLUSIVE_SLOT = "exclusive_slot", RefusalStage.ELIGIBILITY
    EXCLUDES = "excludes", RefusalStage.ELIGIBILITY
    REQUIRES = "requires", RefusalStage.ELIGIBILITY
    DISMISSED_NOT_NOW = "dismissed_not_now", RefusalStage.CONTACT_POLICY
    DISMISSED_IRRELEVANT = "dismissed_irrelevant", RefusalStage.CONTACT_POLICY
    DISMISSED_HAVE_ELSEWHERE = "dismissed_have_elsewhere", RefusalStage.CONTACT_POLICY
    DISMISSED_TOO_EXPENSIVE = "dismissed_too_expensive", RefusalStage.CONTACT_POLICY
    EXCLUDED_BY_REQUEST = "excluded_by_request", RefusalStage.REQUEST
    PLACEMENT_KIND = "placement_kind", RefusalStage.PLACEMENT
    SHOWN_ABOVE = "shown_above", RefusalStage.PLACEMENT

    stage: RefusalStage

    def __new__(cls, value: str, stage: RefusalStage) -> Self:
        """A text that carries its stage."""
        rule = str.__new__(cls, value)
        rule._value_ = value
        rule.stage = stage
        return rule


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused offer.

    Attributes:
        offer_id: The offer.
        rule: The first rule that refused it.
    """

    offer_id: str
    rule: Rule

    @property
    def stage(self) -> RefusalStage:
        """The stage to which the rule belongs."""
        return self.rule.stage
