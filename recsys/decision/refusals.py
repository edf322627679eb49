"""Why an offer is refused: a stage of the funnel and a rule of that stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from recsys.decision.policy.contact import ContactCap
from recsys.decision.policy.engagement import RuleSpec, VolumeCap
from recsys.domain import Change


class RefusalStage(StrEnum):
    """The step of the funnel that refused an offer, in the order of the funnel."""

    AVAILABILITY = "availability"
    ELIGIBILITY = "eligibility"
    APPLICABILITY = "applicability"
    SUITABILITY = "suitability"
    CONTACT_POLICY = "contact_policy"
    REQUEST = "request"
    PLACEMENT = "placement"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that can refuse an offer.

    Attributes:
        rule_id: Stable id: that of the policy's document, or a built-in one (see `BUILT_IN_RULES`).
        stage: The step of the funnel to which it belongs.
        code: Kind of rule, for programs and texts: the id of a built-in rule, else ``rule``,
            ``volume_cap`` or ``contact_cap``.
        spec: What the policy says of it; None for a built-in rule.
    """

    rule_id: str
    stage: RefusalStage
    code: str
    spec: RuleSpec | VolumeCap | ContactCap | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused candidate.

    Attributes:
        offer_id: The offer.
        change: What taking it would have changed.
        rule: The first rule that refused it.
    """

    offer_id: str
    change: Change
    rule: Rule

    @property
    def stage(self) -> RefusalStage:
        """The stage to which the rule belongs."""
        return self.rule.stage


BUILT_IN_RULES: Mapping[RefusalStage, tuple[str, ...]] = MappingProxyType(
    {
        RefusalStage.AVAILABILITY: (
            "stopped",
            "not_yet_live",
            "no_longer_live",
            "region",
            "supplier_suspended",
        ),
        RefusalStage.ELIGIBILITY: (
            "legal_form",
            "already_connected",
            "exclusive_slot",
            "excludes",
            "requires",
            "budget_limit",
        ),
        RefusalStage.APPLICABILITY: (),
        RefusalStage.SUITABILITY: (),
        RefusalStage.CONTACT_POLICY: (
            "complaint_open",
            "dismissed_not_now",
            "dismissed_irrelevant",
            "dismissed_have_elsewhere",
            "dismissed_too_expensive",
        ),
        RefusalStage.REQUEST: ("excluded_by_request",),
        RefusalStage.PLACEMENT: (
            "placement_kind",
            "shown_above",
            "no_slot",
            "slot_kind",
            "supplier_cap",
            "need_group_cap",
            "category_cap",
            "below_least_priority",
        ),
    }
)
