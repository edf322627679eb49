"""A policy compiled with a catalogue: everything that decisions share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from types import MappingProxyType

from recsys.decision.arbitration import Arbitration
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules
from recsys.decision.contact import Contact
from recsys.decision.engagement import Engagement
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.walk import reads_client, reads_context
from recsys.decision.rulebook import RuleBook
from recsys.placement import Placement

ONLY_PLACEMENT = (Placement("home"),)
"""The placements of a policy that names none."""


class Engine:
    """What a policy comes to for a catalogue; it holds nothing of any client.

    Args:
        catalogue: The compiled catalogue.
        policy: The policy; without placements it has one called ``home``.
        zone: Days and hours in conditions are those of this zone.
    """

    def __init__(self, catalogue: CompiledCatalogue, policy: Policy, zone: tzinfo = UTC) -> None:
        self.catalogue = catalogue
        self.policy = policy
        self.zone = zone
        self.book = RuleBook(policy.engagement, policy.contact)
        self.arbitration = Arbitration(catalogue, policy.arbitration)
        weights = self.arbitration.conditions
        self.engagement = Engagement(catalogue, policy.engagement, self.book, weights)
        segments = policy.engagement.segments
        self.is_weight_personal = tuple([reads_client(condition, segments) for condition in weights])
        self.placements: Mapping[str, Placement] = MappingProxyType(
            {placement.placement_id: placement for placement in policy.placements or ONLY_PLACEMENT}
        )
        self.contact = Contact(catalogue, policy.contact, tuple(self.placements))
        self.list_rules: Mapping[str, ListRules] = MappingProxyType(
            {name: ListRules(catalogue, placement) for name, placement in self.placements.items()}
        )
        self.is_placement_read = reads_context(policy, "placement")
