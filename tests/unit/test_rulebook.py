"""Rules numbered in the order of the funnel, and their sentences."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.refusals import BUILT_IN_RULES, Refusal, RefusalStage
from recsys.decision.rulebook import NO_RULE, RuleBook
from recsys.domain import Change
from recsys.texts import REFUSALS, refusal_text

VIP = {"field": "is_vip", "is": True}
ENGAGEMENT = EngagementSpec.model_validate(
    {
        "rules": [
            {"id": "vip-b", "stage": "suitability", "only_if": VIP},
            {"id": "vip-a", "stage": "eligibility", "only_if": VIP},
            {"id": "vip-c", "stage": "eligibility", "never_if": VIP},
        ],
        "volume_caps": [{"id": "leads", "at_most": 50, "per": "day"}],
    }
)
CONTACT = ContactSpec.model_validate({"caps": [{"id": "thrice", "within_days": 7, "at_most": 3}]})
BOOK = RuleBook(ENGAGEMENT, CONTACT)


def test_numbers_follow_the_funnel_then_the_document() -> None:
    stages = [rule.stage for rule in BOOK.rules]
    assert stages == sorted(stages, key=list(RefusalStage).index)
    ids = [rule.rule_id for rule in BOOK.rules]
    in_order = [
        "stopped",
        "leads",
        "legal_form",
        "requires",
        "vip-a",
        "vip-c",
        "vip-b",
        "thrice",
        "shown_above",
    ]
    assert sorted(in_order, key=ids.index) == in_order
    assert [BOOK.number_of(rule_id) for rule_id in ids] == list(range(len(BOOK)))


def test_a_rule_knows_its_kind_and_what_the_policy_says_of_it() -> None:
    rules = {rule.rule_id: rule for rule in BOOK.rules}
    assert rules["vip-a"].code == "rule"
    assert rules["vip-a"].spec == ENGAGEMENT.rules[1]
    assert rules["leads"].code == "volume_cap"
    assert rules["thrice"].code == "contact_cap"
    assert rules["region"].code == "region"
    assert rules["region"].spec is None
    refusal = Refusal("vpn", Change.NEW, rules["thrice"])
    assert refusal.stage is RefusalStage.CONTACT_POLICY


def test_a_built_in_id_or_a_repeated_one_is_refused() -> None:
    caps = ContactSpec.model_validate({"caps": [{"id": "leads", "within_days": 7, "at_most": 3}]})
    with pytest.raises(ValueError, match="rename leads"):
        RuleBook(ENGAGEMENT, caps)
    taken = {"rules": [{"id": "stopped", "stage": "suitability", "only_if": VIP}]}
    with pytest.raises(ValueError, match="rename stopped"):
        RuleBook(EngagementSpec.model_validate(taken), ContactSpec())


def test_an_unknown_rule_has_no_number() -> None:
    with pytest.raises(KeyError):
        BOOK.number_of("nobody-wrote-this")


def test_the_funnel_counts_who_is_left_after_each_stage() -> None:
    numbers = [BOOK.number_of(rule_id) for rule_id in ("stopped", "leads", "vip-c", "vip-b", "thrice")]
    left = BOOK.funnel(np.array([*numbers, NO_RULE, NO_RULE], dtype=np.int16))
    assert list(left) == list(RefusalStage)
    assert list(left.values()) == [5, 4, 4, 3, 2, 2, 2]


def test_every_rule_has_a_sentence_in_both_languages() -> None:
    built_in = {rule_id for rule_ids in BUILT_IN_RULES.values() for rule_id in rule_ids}
    caps = {f"contact_cap_{counted}" for counted in ("impression", "click", "application", "activation")}
    worded = {"volume_cap", "only_if", "never_if", "fact_unknown", "not_for_client"}
    assert built_in | caps | worded == REFUSALS
    for code in REFUSALS:
        russian, english = refusal_text(code, "ru", "X"), refusal_text(code, "en", "X")
        assert "{" not in russian + english
        assert russian[0].isupper()
        assert english[0].isupper()
        assert russian != english
