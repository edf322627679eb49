"""Every rule of a policy in the order of the funnel: a rule's number is its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.refusals import BUILT_IN_RULES, RefusalStage, Rule

NO_RULE = 32_767
"""The number that stands for "no rule refuses": larger than every rule's (the largest int16)."""


class RuleBook:
    """Rules numbered in the order of the funnel, so that the verdict on an offer is a smallest number.

    Within a stage the built-in rules come first, then those of the policy in the order of its documents.

    Args:
        engagement: Rules and volume caps.
        contact: Caps on contacts.

    Raises:
        ValueError: Two rules have one id, or there are more rules than numbers.

    Example:
        >>> book = RuleBook(EngagementSpec(), ContactSpec())
        >>> book.number_of("stopped"), book[book.number_of("requires")].stage.value
        (0, 'eligibility')
    """

    def __init__(self, engagement: EngagementSpec, contact: ContactSpec) -> None:
        self.rules = tuple(_in_order(engagement, contact))
        # Plain texts: an enum's value is looked up anew each time it is written.
        self.labels = tuple((rule.stage.value, rule.rule_id) for rule in self.rules)
        if len(self.rules) > NO_RULE:
            raise ValueError(f"{len(self.rules)} rules are more than {NO_RULE}; merge some")
        rule_ids = Counter(rule.rule_id for rule in self.rules)
        if repeated := sorted(rule_id for rule_id, count in rule_ids.items() if count > 1):
            raise ValueError(f"rule ids must be unique and no built-in ones: rename {', '.join(repeated)}")
        self._numbers: Mapping[str, int] = MappingProxyType(
            {rule.rule_id: number for number, rule in enumerate(self.rules)}
        )
        n_rules = Counter(rule.stage for rule in self.rules)
        self._stage_ends = dict(
            zip(RefusalStage, accumulate(n_rules[stage] for stage in RefusalStage), strict=True)
        )

    def __len__(self) -> int:
        return len(self.rules)

    def __getitem__(self, number: int) -> Rule:
        return self.rules[number]

    def number_of(self, rule_id: str) -> int:
        """The number of a rule.

        Raises:
            KeyError: The policy has no such rule.
        """
        return self._numbers[rule_id]

    def end_of(self, stage: RefusalStage) -> int:
        """The first number after those of a stage."""
        return self._stage_ends[stage]

    def funnel(self, numbers: NDArray[np.int16]) -> dict[RefusalStage, int]:
        """How many candidates are left after each stage.

        Args:
            numbers: The number of the first rule that refuses each candidate, `NO_RULE` where none does;
                any shape.

        Example:
            >>> book = RuleBook(EngagementSpec(), ContactSpec())
            >>> numbers = np.array([0, NO_RULE, book.number_of("requires")], dtype=np.int16)
            >>> [(stage.value, n_left) for stage, n_left in book.funnel(numbers).items()][:3]
            [('availability', 2), ('eligibility', 1), ('applicability', 1)]
        """
        return {stage: int(np.count_nonzero(numbers >= end)) for stage, end in self._stage_ends.items()}


def _in_order(engagement: EngagementSpec, contact: ContactSpec) -> Iterator[Rule]:
    for stage, built_in in BUILT_IN_RULES.items():
        yield from (Rule(rule_id, stage, rule_id) for rule_id in built_in)
        if stage is RefusalStage.AVAILABILITY:
            yield from (Rule(cap.id, stage, "volume_cap", cap) for cap in engagement.volume_caps)
        if stage is RefusalStage.CONTACT_POLICY:
            yield from (Rule(cap.id, stage, "contact_cap", cap) for cap in contact.caps)
        yield from (
            Rule(rule.id, stage, "rule", rule) for rule in engagement.rules if rule.stage.value == stage.value
        )
