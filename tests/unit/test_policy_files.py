"""A policy's documents: what is read, and that every mistake is one clear line with file, line and cure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from recsys.data.documents import MAX_BYTES, YamlDocument
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.check import check_policy, refusing_truths
from recsys.decision.policy.engagement import RuleSpec, RuleStage
from recsys.decision.policy.examples import ClientExample, Expectation
from recsys.decision.policy.logic import ANY, FALSE, TRUE, UNKNOWN, Budget, Demand, inline, is_possible
from recsys.decision.policy.policy import Policy, version_of
from recsys.decision.policy.read import policy_from_documents, read_documents, read_policy
from recsys.decision.policy.scope import OfferScope, names_of
from recsys.decision.policy.walk import plain
from recsys.domain import Change, LegalForm, Offer, OfferId, OfferKind, Stage
from recsys.errors import ConfigError
from training.pipelines.policies.sources import catalogue_beside, open_policy

RULE = """
rules:
  - id: small-only
    stage: suitability
    offers: [crm]
    only_if: {field: size, is: small}
"""
OFFERS = (
    Offer(OfferId("crm"), OfferKind.PARTNER, category="crm", need_group="crm", supplier_id="vendor"),
    Offer(OfferId("pbx"), category="telephony", need_group="pbx", supplier_id="operator"),
    Offer(OfferId("vpn"), category="connectivity", need_group="vpn", legal_forms=(LegalForm.LLC,)),
)


@pytest.fixture(scope="module")
def catalogue() -> CompiledCatalogue:
    return CompiledCatalogue(OFFERS)


def faults_of(documents: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_policy(documents, "shop")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("shop/") for line in lines)
    return [line.removeprefix("shop/") for line in lines]


def warnings_and_faults(text: str, catalogue: CompiledCatalogue) -> list[str]:
    files = read_policy({"engagement.yaml": text})
    return [files.line(fault) for fault in check_policy(files.policy, catalogue)]


# ── Reading


def test_what_is_absent_has_todays_defaults() -> None:
    policy = policy_from_documents({})
    assert policy == Policy()
    assert policy.contact.cool_downs.not_now == 30
    assert policy.contact.complaint is None
    assert policy.arbitration.factors.value is False
    assert (policy.window_seconds, policy.min_cohort, policy.max_reasons) == (86_400, 10, 3)


def test_an_empty_document_says_nothing() -> None:
    policy = policy_from_documents({"engagement.yaml": "# nothing yet\n", "contact.yaml": ""})
    assert policy.engagement.rules == ()


def test_a_written_arbitration_counts_value_unless_it_says_otherwise() -> None:
    policy = policy_from_documents(
        {"arbitration.yaml": "window_hours: 6\nreasons: {at_most: 2, min_cohort: 20}\n"}
    )
    assert policy.arbitration.factors.value is True
    assert (policy.window_seconds, policy.min_cohort, policy.max_reasons) == (6 * 3600, 20, 2)


def test_other_documents_of_the_folder_are_passed_over() -> None:
    assert policy_from_documents({"catalogue.yaml": "[["}) == Policy()


def test_examples_decide_nothing() -> None:
    documents = {"engagement.yaml": RULE, "examples.yaml": "no examples"}
    assert policy_from_documents(documents).version == version_of(documents)
    with pytest.raises(ConfigError, match=r"^examples\.yaml:1: "):
        read_policy(documents)


def test_the_version_follows_the_content_alone() -> None:
    documents = {"engagement.yaml": RULE, "vip.yaml": "min_mean_spend_minor: 1\n"}
    version = policy_from_documents(documents).version
    assert version == version_of(dict(reversed(documents.items())))
    assert version != policy_from_documents({**documents, "engagement.yaml": RULE + "\n"}).version
    assert version == policy_from_documents({**documents, "catalogue.yaml": "offers: []"}).version
    assert len(version) == 16
    assert int(version, 16) >= 0


@pytest.mark.parametrize(
    ("key", "unknown", "refuses_unknown"),
    [
        ("only_if", None, True),
        ("never_if", None, False),
        ("only_if", "allow", False),
        ("never_if", "refuse", True),
    ],
)
def test_what_unknown_does(key: str, unknown: str | None, refuses_unknown: bool) -> None:
    rule = RuleSpec.model_validate(
        {"id": "r", "stage": "eligibility", "unknown": unknown, key: {"field": "is_vip", "is": True}}
    )
    assert rule.is_refused_when_unknown is refuses_unknown
    assert rule.is_refused_when_true is (key == "never_if")
    assert rule.stage is RuleStage.ELIGIBILITY


# ── Scopes


@pytest.mark.parametrize(
    ("scope", "offers"),
    [
        ({}, ["crm", "pbx", "vpn"]),
        (["pbx"], ["pbx"]),
        ({"categories": ["crm", "telephony"]}, ["crm", "pbx"]),
        ({"categories": ["crm", "telephony"], "kinds": ["own"]}, ["pbx"]),
        ({"suppliers": ["vendor"], "need_groups": ["pbx"]}, []),
    ],
)
def test_a_scope_means(scope: object, offers: list[str], catalogue: CompiledCatalogue) -> None:
    mask = OfferScope.model_validate(scope).mask(catalogue)
    assert [
        offer_id for offer_id, is_meant in zip(catalogue.offer_ids, mask, strict=True) if is_meant
    ] == offers


def test_an_empty_list_is_no_scope() -> None:
    (line,) = faults_of({"engagement.yaml": RULE.replace("[crm]", "[]")})
    assert line.startswith("engagement.yaml:5: ")


def test_names_that_a_catalogue_lacks_come_with_their_place(catalogue: CompiledCatalogue) -> None:
    scope = OfferScope(categories=("telefony", "telephony"), offers=("zzz",))
    assert [tuple(name) for name in scope.unknown_names(names_of(catalogue.offers))] == [
        ("offers", 0, "zzz"),
        ("categories", 0, "telefony"),
    ]


# ── Mistakes

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
MERGES = "a: &a {x: 1}\n" + "".join(f"b{number}:\n  <<: *a\n" for number in range(500))


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param(
            {"engagement.yaml": RULE.replace("stage", "stge")},
            "engagement.yaml:3: field 'stage' is missing; add it\n"
            "engagement.yaml:4: unknown field 'stge'; did you mean 'stage'?",
            id="unknown field",
        ),
        pytest.param(
            {"engagement.yaml": RULE.replace("offers: [crm]", "offers: {categry: [crm]}")},
            "engagement.yaml:5: unknown field 'categry'; did you mean 'categories'?",
            id="unknown field further down",
        ),
        pytest.param(
            {"engagement.yaml": RULE.replace("field: size", "field: sise")},
            "engagement.yaml:6: rules.0.only_if.field: there is no field 'sise'; did you mean 'size'?",
            id="unknown field of a client",
        ),
        pytest.param(
            {"contact.yaml": "cool_downs: {not_now: soon}\n"},
            "contact.yaml:1: cool_downs.not_now: a whole number is needed, not 'soon'; correct the value",
            id="wrong type",
        ),
        pytest.param(
            {"engagement.yaml": RULE.replace("field: size, is: small", "field: n_employees, in: [a]")},
            "engagement.yaml:6: rules.0.only_if.in: n_employees is a whole number from 0, "
            "not 'a'; correct the value",
            id="impossible type",
        ),
        pytest.param(
            {"engagement.yaml": RULE + "    never_if: {field: is_vip, is: true}\n"},
            "engagement.yaml:3: rules.0: a rule has either only_if or never_if; write exactly one of them",
            id="two conditions",
        ),
        pytest.param(
            {"engagement.yaml": "segments:\n  a: {segment: b}\n  b: {not: {segment: a}}\n"},
            "engagement.yaml:2: segments refer to each other in a circle (a → b → a); take one reference out",
            id="cycle",
        ),
        pytest.param(
            {"engagement.yaml": "segments:\n  a: {all: [{segment: a}]}\n"},
            "engagement.yaml:2: segments refer to each other in a circle (a → a); take one reference out",
            id="cycle of one",
        ),
        pytest.param(
            {
                "engagement.yaml": "segments:\n  growing: {field: is_vip, is: true}\n"
                + RULE.replace("{field: size, is: small}", "\n      all:\n        - {segment: growin}")
            },
            "engagement.yaml:10: there is no segment 'growin'; did you mean 'growing'?",
            id="unknown segment",
        ),
        pytest.param(
            {"engagement.yaml": RULE + RULE.replace("\nrules:\n", "")},
            "engagement.yaml:7: id 'small-only' stands already among rules of "
            "engagement.yaml; choose another one",
            id="duplicate id",
        ),
        pytest.param(
            {"engagement.yaml": RULE, "contact.yaml": "caps: [{id: small-only, within_days: 1, at_most: 1}]"},
            "contact.yaml:1: id 'small-only' stands already among rules of engagement.yaml; "
            "choose another one",
            id="duplicate id in two documents",
        ),
        pytest.param(
            {"engagement.yaml": RULE.replace("small-only", "region")},
            "engagement.yaml:3: id 'region' is a built-in rule; choose another one",
            id="id of a built-in rule",
        ),
        pytest.param(
            {"engagement.yaml": BOMB},
            "engagement.yaml:5: more than 100 aliases, or they unfold to more than 50,000 "
            "values; write out what is meant",
            id="anchor bomb",
        ),
        pytest.param(
            {"engagement.yaml": "segments: &s\n  a: *s\n"},
            "engagement.yaml:2: more than 100 aliases, or they unfold to more than 50,000 "
            "values; write out what is meant",
            id="alias of itself",
        ),
        pytest.param(
            {"engagement.yaml": MERGES},
            "engagement.yaml:203: more than 100 aliases, or they unfold to more than 50,000 "
            "values; write out what is meant",
            id="many merges",
        ),
        pytest.param(
            {"engagement.yaml": "# x\n" * 2_500_000},
            "engagement.yaml: has 10,000,000 bytes, and 1,000,000 are the most; remove what is not needed",
            id="10 MB",
        ),
        pytest.param(
            {"engagement.yaml": "rules: [" + "a," * 60_000 + "]"},
            "engagement.yaml: has more than 50,000 values; remove what is not needed",
            id="too many values",
        ),
        pytest.param(
            {"engagement.yaml": "[" * 400_000},
            "engagement.yaml: is nested too deeply to be meant; use fewer levels",
            id="deep brackets",
        ),
        pytest.param(
            {"engagement.yaml": "- " * 200_000},
            "engagement.yaml: is nested too deeply to be meant; use fewer levels",
            id="deep dashes",
        ),
        pytest.param(
            {"engagement.yaml": "".join(" " * level + "a:\n" for level in range(600))},
            "engagement.yaml: is nested too deeply to be meant; use fewer levels",
            id="deep indents",
        ),
        pytest.param(
            {"engagement.yaml": "rules: [\n"},
            "engagement.yaml:2: a bracket is opened and not closed; close it",
            id="bracket without end",
        ),
        pytest.param(
            {"engagement.yaml": "rules: \0"},
            None,
            id="control character",
        ),
        pytest.param(
            {"engagement.yaml": "just a text"},
            None,
            id="a text",
        ),
        pytest.param(
            {"placements.yaml": "placements: [{id: home, k: 60}]\n"},
            None,
            id="placements",
        ),
        pytest.param(
            {"vip.yaml": "months: 0\nmin_mean_spend_minor: 5\n"},
            "vip.yaml:1: months: at least 1 is needed, not 0; correct the value",
            id="bound",
        ),
        pytest.param(
            {"contact.yaml": "complaint: {silence_days: 3, exept: [pbx]}\n"},
            "contact.yaml:1: unknown field 'exept'; did you mean 'except'?",
            id="a name that Python keeps for itself",
        ),
        pytest.param(
            {
                "examples.yaml": (
                    "at: 2026-01-01T00:00:00Z\nclients: {cafe: {}}\n"
                    "examples:\n  - {id: a, client: caffe, expect: [{allowed: pbx}]}\n"
                )
            },
            "examples.yaml:4: there is no client 'caffe'; did you mean 'cafe'?",
            id="unknown client of an example",
        ),
        pytest.param(
            {
                "examples.yaml": (
                    "at: 2026-01-01T00:00:00Z\nclients: {cafe: {}}\n"
                    "examples:\n  - {id: a, client: cafe, expect: [{first: pbx}]}\n"
                )
            },
            "examples.yaml:4: examples.0.expect.0: first and before go together; write both",
            id="half an order",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(documents: dict[str, str], expected: str | None) -> None:
    found = faults_of(documents)
    if expected is None:
        (line,) = found
        assert line.startswith(f"{next(iter(documents))}:")
        assert ";" in line
    else:
        assert "\n".join(found) == expected


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("placement.yaml", "did you mean 'placements.yaml'?"),
        ("engagement.yml", "did you mean 'engagement.yaml'?"),
        ("Contact.yaml", "did you mean 'contact.yaml'?"),
        ("notes.YML", "move it out of the folder"),
    ],
)
def test_a_misnamed_file_is_refused(tmp_path: Path, name: str, cure: str) -> None:
    (tmp_path / "vip.yaml").write_text("min_mean_spend_minor: 5\n", encoding="utf-8")
    for neighbour in ("catalogue.yaml", "expert.yaml", "README.md", ".hidden.yaml"):
        (tmp_path / neighbour).write_text("x", encoding="utf-8")
    assert set(read_documents(tmp_path)) == {"vip.yaml"}
    (tmp_path / name).write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_documents(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: is no document of a policy (engagement.yaml, ")
    assert str(caught.value).endswith(f"; {cure}")


def test_mistakes_in_several_documents_are_all_told() -> None:
    lines = faults_of({"engagement.yaml": "rulez: []\n", "vip.yaml": "month: 3\n"})
    assert lines == [
        "engagement.yaml:1: unknown field 'rulez'; did you mean 'rules'?",
        "vip.yaml:1: field 'min_mean_spend_minor' is missing; add it",
        "vip.yaml:1: unknown field 'month'; did you mean 'months'?",
    ]


def test_few_aliases_are_welcome() -> None:
    text = "segments:\n  a: &vip {field: is_vip, is: true}\n  b: {not: *vip}\n"
    assert set(policy_from_documents({"engagement.yaml": text}).engagement.segments) == {"a", "b"}


def test_a_star_in_a_text_is_no_alias() -> None:
    assert YamlDocument("a: 'x *y'\nb: [\"*z\"]\n# *bold*\n", "text").place_of(("b",)) == "text:2"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "contact.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"contact\.yaml: has 1,000,001 bytes"):
        read_documents(tmp_path)


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has none of engagement\.yaml"):
        read_documents(tmp_path)
    with pytest.raises(ConfigError, match="there is no such folder"):
        read_documents(tmp_path / "nowhere")
    (tmp_path / "vip.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 text; save it as UTF-8"):
        read_documents(tmp_path)


# ── Soundness


def rule(text: str, name: str = "r", more: str = "") -> str:
    return f"  - id: {name}\n    stage: suitability\n    offers: [crm]\n    {text}\n{more}"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(
            rule("only_if: {field: size, is: small}").replace("[crm]", "[crn]"),
            "engagement.yaml:4: there is no offer 'crn'; did you mean 'crm'?",
            id="unknown offer",
        ),
        pytest.param(
            rule("only_if: {holds: {need_groups: [pbxx]}}"),
            "engagement.yaml:5: there is no need group 'pbxx'; did you mean 'pbx'?",
            id="unknown need group in a condition",
        ),
        pytest.param(
            rule("never_if: {all: [{field: size, is: small}, {field: size, is: large}]}"),
            "engagement.yaml:5: rule 'r' refuses nobody: its condition can never be true; "
            "correct or remove it",
            id="contradictory all",
        ),
        pytest.param(
            rule("only_if: {all: [{field: n_employees, more_than: 5}, {field: n_employees, less_than: 5}]}"),
            "engagement.yaml:5: rule 'r' refuses everybody: its condition can never be true; "
            "correct or remove it",
            id="only_if that cannot be",
        ),
        pytest.param(
            rule(
                "never_if: {any: [{field: is_vip, is: true}, {field: is_vip, is: false}]}",
                more="    unknown: refuse\n",
            ),
            "engagement.yaml:5: rule 'r' refuses everybody: its condition is always true; "
            "correct or remove it",
            id="never_if that always is",
        ),
        pytest.param(
            rule("never_if: {field: n_employees, at_least: 10}", "wide")
            + rule("never_if: {field: n_employees, at_least: 50}", "few"),
            "engagement.yaml:6: rule 'few' is never reached: whatever it refuses, rule "
            "'wide' has refused already; remove it or put it first",
            id="unreachable",
        ),
        pytest.param(
            rule("never_if: {field: n_employees, at_least: 50}", "few")
            + rule("never_if: {field: n_employees, at_least: 10}", "wide"),
            "",
            id="the narrow one first is reached",
        ),
        pytest.param(
            rule("only_if: {field: size, is: small}", "a") + rule("only_if: {field: size, is: large}", "b"),
            "engagement.yaml:6: nobody can get 'crm': 'a', 'b' contradict each other; relax one of them",
            id="offer nobody can get",
        ),
        pytest.param(
            rule("only_if: {field: legal_form, is: notary}").replace("[crm]", "[vpn]"),
            "engagement.yaml:2: nobody can get 'vpn': 'r' contradicts the catalogue; relax one of them",
            id="offer nobody can get because of the catalogue",
        ),
        pytest.param(
            rule("only_if: {holds: [crm]}"),
            "engagement.yaml:2: nobody can get 'crm': 'r' contradicts the catalogue; relax one of them",
            id="to be had only by who has it",
        ),
        pytest.param(
            rule("only_if: {holds: [crm]}\n    changes: [expand]"),
            "",
            id="to be expanded only by who has it",
        ),
        pytest.param(
            rule("only_if: {field: is_vip, is: true}").replace(
                "[crm]", "{suppliers: [vendor], kinds: [own]}"
            ),
            "engagement.yaml:4: no offer of the catalogue is all of this at once; widen it",
            id="about nothing",
        ),
        pytest.param(
            rule("only_if: {field: is_vip, is: true}") + "segments:\n  s: {field: is_vip, is: true}\n",
            "engagement.yaml:7: segment 's' is used nowhere; use it or remove it",
            id="unused segment",
        ),
    ],
)
def test_what_is_unsound_is_named(rules: str, expected: str, catalogue: CompiledCatalogue) -> None:
    assert "\n".join(warnings_and_faults(f"rules:\n{rules}", catalogue)) == expected


def some_rules(seed: int) -> str:
    """Rules that often refuse what others refuse."""
    rng = Random(seed)  # noqa: S311 -- nothing secret
    lines = ["segments:", "  few: {field: n_employees, at_most: 4}", "rules:"]
    leaves = [
        "{segment: few}",
        *(f"{{field: n_employees, at_least: {number}}}" for number in (3, 5, 8)),
        *(f"{{field: size, in: [{names}]}}" for names in ("micro", "micro, small", "small, large")),
        "{context: date, at_least: 2026-05-01}",
    ]
    for number in range(25):
        parts = ", ".join(rng.sample(leaves, rng.randint(1, 2)))
        rule = {
            "id": f"r{number}",
            "stage": rng.choice([*RuleStage]).value,
            "offers": rng.choice(["[crm]", "[pbx, crm]", "{kinds: [own, partner, content]}"]),
            "changes": rng.choice(["[new]", "[new, renew]", "[]"]),
            rng.choice(["never_if", "only_if"]): f"{{{rng.choice(['all', 'any'])}: [{parts}]}}",
            "unknown": rng.choice(["allow", "refuse"]),
        }
        lines.append("  - {" + ", ".join(f"{key}: {value}" for key, value in rule.items()) + "}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(8))
def test_a_rule_is_held_against_every_earlier_one_about_its_offers(
    seed: int, catalogue: CompiledCatalogue
) -> None:
    text = some_rules(seed)
    engagement = policy_from_documents({"engagement.yaml": text}).engagement
    segments = {name: plain(condition) for name, condition in engagement.segments.items()}
    expected, before = set(), list[RuleSpec]()
    for rule in sorted(engagement.rules, key=lambda rule: [*RuleStage].index(rule.stage)):
        refuses = Demand(inline(plain(rule.condition), segments), refusing_truths(rule))
        for earlier in before:
            passes = Demand(inline(plain(earlier.condition), segments), ANY & ~refusing_truths(earlier))
            is_wider = (
                set(rule.changes or Change) <= set(earlier.changes or Change)
                and not (rule.offers.mask(catalogue) & ~earlier.offers.mask(catalogue)).any()
            )
            is_covered = not is_possible([refuses, passes]) and is_possible([refuses])
            if is_wider and refuses.subjects & passes.subjects and is_covered:
                expected.add((rule.id, earlier.id))
                break
        before.append(rule)
    told = [
        re.findall(r"'(r\d+)'", line) for line in warnings_and_faults(text, catalogue) if "reached" in line
    ]
    assert {(rule, earlier) for rule, earlier in told} == expected
    assert expected


def test_rules_about_other_offers_and_beyond_the_budget_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else thousands of rules would make millions of pairs."""
    pairs: list[str] = []
    monkeypatch.setattr(
        "recsys.decision.policy.check._covers", lambda earlier, rule, budget: pairs.append(rule.spec.id)
    )
    offers = CompiledCatalogue([Offer(OfferId(f"o{number}")) for number in range(200)])
    rule = "  - {{id: r{0}, stage: eligibility, offers: [o{1}], never_if: {{field: n_sims, is: {0}}}}}\n"
    others = "".join(rule.format(number, number) for number in range(200))
    assert not warnings_and_faults(f"rules:\n{others}", offers)
    assert not pairs
    same = "".join(rule.format(number, 0) for number in range(200))
    monkeypatch.setattr("recsys.decision.policy.check.Budget", lambda: Budget(n_leaves=300))
    (line,) = warnings_and_faults(f"rules:\n{same}", offers)
    assert "the rules are too many" in line
    assert not pairs


def test_no_more_faults_are_told_than_anybody_mends_at_once(catalogue: CompiledCatalogue) -> None:
    strange = "".join(rule("never_if: {segment: s}", f"r{number}") for number in range(200))
    lines = faults_of({"engagement.yaml": "rules:\n" + strange})
    assert (len(lines), "no segment" in lines[99]) == (101, True)
    assert lines[100].endswith("here and below are more faults; correct the first 100 and check again")
    strange = "".join(
        rule("never_if: {field: is_vip, is: true}", f"r{number}").replace("crm", "crn")
        for number in range(200)
    )
    lines = warnings_and_faults("rules:\n" + strange, catalogue)
    assert len([line for line in lines if "no offer 'crn'" in line]) == 100


def test_between_needs_its_lesser_end_first() -> None:
    (line,) = faults_of(
        {"engagement.yaml": "rules:\n" + rule("never_if: {field: n_employees, between: [5, 3]}")}
    )
    assert line.startswith("engagement.yaml:5: ")
    assert "the lesser one first" in line


def test_unknown_is_a_way_for_a_condition_to_come_out() -> None:
    many = {"field": "n_employees", "at_least": 5}
    either = {"any": [many, {"not": many}]}
    assert is_possible([Demand(either, UNKNOWN)])
    assert not is_possible([Demand(either, FALSE)])
    known = {"field": "n_employees", "is_missing": False}
    assert not is_possible([Demand({"all": [either, known]}, UNKNOWN)])
    assert is_possible([Demand({"all": [either, known]}, TRUE)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"field": "is_vip", "is": True}, {"field": "is_vip", "is": False}),
        ({"field": "stage", "in": ["growth", "mature"]}, {"field": "stage", "not_in": ["growth", "mature"]}),
        ({"context": "month", "between": [1, 6]}, {"context": "month", "between": [7, 12]}),
        (
            {"n_events": {"type": "click", "within_days": 30}, "at_least": 3},
            {"n_events": {"type": "click", "within_days": 30}, "less_than": 3},
        ),
    ],
)
def test_what_is_always_known_is_one_or_the_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    both_fail = [Demand(one, FALSE | UNKNOWN), Demand(other, FALSE | UNKNOWN)]
    assert not is_possible(both_fail)
    maybe = {"field": "n_employees", "at_least": 3}
    assert is_possible([Demand(maybe, FALSE | UNKNOWN), Demand({"not": maybe}, FALSE | UNKNOWN)])


def test_a_search_that_would_take_too_long_accuses_nobody() -> None:
    """Whether tags can be so that an odd number of them is "yes" and yet an even one is."""
    odd: dict[str, object] = {"field": "tag.t0", "is": "yes"}
    for number in range(1, 8):
        field = {"field": f"tag.t{number}", "is": "yes"}
        odd = {"any": [{"all": [odd, {"not": field}]}, {"all": [{"not": odd}, field]}]}
    assert is_possible([Demand({"all": [odd, {"not": odd}]}, TRUE)])


def told(documents: Mapping[str, str], *offers: Offer) -> list[str]:
    policy = read_policy(documents).policy
    found = check_policy(policy, CompiledCatalogue(offers))
    assert all(fault.is_warning for fault in found)
    return [fault.message for fault in found]


def test_an_offer_whose_prerequisite_nobody_can_connect_is_named() -> None:
    """One that is gone, one that is stopped, one that needs such a one, and two that need each other."""
    crm, gone = Offer(OfferId("crm")), Offer(OfferId("a"), requires=(("crm",), ("gone",)))
    either = Offer(OfferId("b"), requires=(("gone", "crm"),))
    assert told({}, crm, either) == []
    stopped = Offer(OfferId("off"), is_stopped=True)
    on_stopped, on_that = (
        Offer(OfferId("c"), requires=(("off",),)),
        Offer(OfferId("d"), requires=(("c",),)),
    )
    one, other = Offer(OfferId("e"), requires=(("f",),)), Offer(OfferId("f"), requires=(("e",),))
    found = told({}, crm, gone, stopped, on_stopped, on_that, one, other)
    assert [message.split(" already")[0] for message in found] == [
        f"nobody can get {name!r} without having {needed!r}"
        for name, needed in (("a", "gone"), ("c", "off"), ("d", "c"), ("e", "f"), ("f", "e"))
    ]


def test_a_cap_of_none_and_what_needs_its_offers_are_named() -> None:
    offers = Offer(OfferId("bank")), Offer(OfferId("pos"), requires=(("bank",),))
    caps = "volume_caps: [{id: none, offers: [bank], at_most: 0, per: day}]"
    closed, needing = told({"engagement.yaml": caps}, *offers)
    assert closed.startswith("nobody can get 'bank': the cap lets nothing through")
    assert needing.startswith("nobody can get 'pos' without having 'bank'")
    contact = "caps: [{id: none, within_days: 7, at_most: 0, offers: [pos]}]"
    assert told({"contact.yaml": contact}, *offers)[0].startswith("nobody can get 'pos'")


def test_of_a_cap_over_many_offers_the_first_are_named() -> None:
    contact = "caps: [{id: none, within_days: 7, at_most: 0}]"
    (line,) = told({"contact.yaml": contact}, *(Offer(OfferId(f"o{number:03}")) for number in range(100)))
    names = "'o000', 'o001', 'o002', 'o003', 'o004' and 95 more"
    assert line == f"nobody can get {names}: the cap lets nothing through; raise at_most or stop the offer"


PINNED = (
    Offer(OfferId("bank"), OfferKind.PARTNER, supplier_id="b", need_group="account"),
    Offer(OfferId("film"), OfferKind.CONTENT),
    Offer(OfferId("pbx"), need_group="pbx"),
    Offer(OfferId("pbx-2"), need_group="pbx"),
    Offer(OfferId("pbx-3"), need_group="pbx"),
)
APRIL, MAY = "2026-04-01T00:00:00+03:00", "2026-05-01T00:00:00+03:00"
APRIL_15 = "2026-04-15T00:00:00+03:00"


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (
            "kinds: [partner], pins: [{offer: pbx, slot: 1}]",
            "the pin of 'pbx' never shows: the offer is own, which kinds leaves out; change one",
        ),
        (
            "slots: [any, partner], pins: [{offer: pbx, slot: 2}]",
            (
                "the pin of 'pbx' never shows: the offer is own, slot 2 takes only partner offers;"
                " choose another slot"
            ),
        ),
        (
            "pins: [{offer: pbx, slot: 3}, {offer: bank, slot: 2}, {offer: pbx, slot: 1}]",
            "the pin of 'pbx' does nothing while slot 1 has the offer too; remove one",
        ),
        (
            f"pins: [{{offer: pbx, slot: 1, from_at: {APRIL}}}, {{offer: bank, slot: 1, until_at: {MAY}}}]",
            (
                "the pin of 'bank' gives way while slot 1 is that of 'pbx', which stands first;"
                " part their dates or move one"
            ),
        ),
        (
            "max_per_need_group: 1, pins: [{offer: pbx, slot: 1}, {offer: pbx-2, slot: 2}]",
            (
                "the pin of 'pbx-2' gives way while 'pbx' is pinned: max_per_need_group is 1;"
                " raise it or part their dates"
            ),
        ),
        (
            f"pins: [{{offer: pbx, slot: 1, until_at: {APRIL}}}]",
            "the pin of 'pbx' is over since 2026-03-31 21:00 UTC; remove it",
        ),
    ],
)
def test_a_pin_that_cannot_show_is_named(placement: str, expected: str) -> None:
    text = f"placements:\n  - {{id: home, {placement}}}"
    files = read_policy({"placements.yaml": text})
    found = check_policy(files.policy, CompiledCatalogue(PINNED), now=datetime.fromisoformat(APRIL_15))
    (fault,) = [fault for fault in found if "pins" in fault.path]
    assert fault.is_warning
    assert files.line(fault) == f"placements.yaml:2: {expected}"


@pytest.mark.parametrize(
    "placement",
    [
        "kinds: [own], pins: [{offer: pbx, slot: 1}]",
        "slots: [own, partner], pins: [{offer: film, slot: 2}]",
        f"pins: [{{offer: pbx, slot: 1, until_at: {APRIL}}}, {{offer: pbx, slot: 1, from_at: {APRIL}}}]",
        f"pins: [{{offer: pbx, slot: 1, until_at: {MAY}}}, {{offer: bank, slot: 1, from_at: {MAY}}}]",
        # of the three only two at a time
        (
            f"max_per_need_group: 2, pins: [{{offer: pbx, slot: 1, until_at: {MAY}}},"
            f" {{offer: pbx-2, slot: 2, from_at: {MAY}}}, {{offer: pbx-3, slot: 3}}]"
        ),
        "max_per_supplier: 1, pins: [{offer: pbx, slot: 1}, {offer: pbx-2, slot: 2}]",
    ],
)
def test_pins_that_leave_each_other_room_are_sound(placement: str) -> None:
    found = told({"placements.yaml": f"placements: [{{id: home, {placement}}}]"}, *PINNED)
    assert [message for message in found if "pin" in message.split()] == []


@pytest.mark.parametrize(
    ("placements", "n_told"),
    [
        ("[{id: home, kinds: [own]}]", 1),
        ("[{id: home, kinds: [own]}, {id: news}]", 0),
        ("[{id: home, k: 1, max_k: 2, slots: [own, own]}]", 1),
        ("[{id: home, k: 1, max_k: 3, slots: [own, own]}]", 0),
    ],
)
def test_an_offer_that_no_placement_takes_is_named(placements: str, n_told: int) -> None:
    offers = Offer(OfferId("bank"), OfferKind.PARTNER), Offer(OfferId("pbx"))
    found = told({"placements.yaml": f"placements: {placements}"}, *offers)
    assert [message.startswith("no placement ever shows 'bank'") for message in found] == [True] * n_told


def test_a_policy_too_wide_to_be_compared_says_so(catalogue: CompiledCatalogue) -> None:
    """All rules together have one budget, so that a check takes as long as one of them may."""
    rules = "".join(
        f"  - {{id: r{number}, stage: suitability, offers: [crm], never_if: {{all: [{wide}]}}}}\n"
        for number in range(8)
        for wide in [
            ", ".join(
                f"{{any: [{{field: tag.a{at}, is: x{number}}}, {{field: tag.b{at}, is: 'y'}}]}}"
                for at in range(60)
            )
        ]
    )
    (line,) = warnings_and_faults(f"rules:\n{rules}", catalogue)
    assert "not checked further" in line


def test_a_cap_that_its_own_event_resets_is_refused() -> None:
    (line,) = faults_of(
        {"contact.yaml": "caps:\n  - {id: c, of: click, within_days: 7, at_most: 2, reset_on: [click]}\n"}
    )
    assert line == (
        "contact.yaml:2: caps.0: each click clears the count of clicks; take click out of reset_on"
    )


# ── Examples


def test_a_client_differs_only_where_it_says_so() -> None:
    cafe = ClientExample(industry="I", stage=Stage.ONBOARDING, tags={"site": "no"})
    other = cafe.but(ClientExample(stage=Stage.AT_RISK))
    assert (other.industry, other.stage, other.tags) == ("I", Stage.AT_RISK, {"site": "no"})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"allowed": "a", "refused": "b"},
        {"first": "a"},
        {"allowed": "a", "by": "r"},
        {"refused": "a", "change": "new"},
    ],
)
def test_an_expectation_has_one_form(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="write"):
        Expectation.model_validate(values)


# ── The demo operator's policy


def test_the_demo_policy_is_sound(root_dir: Path) -> None:
    demo = root_dir / "datasets" / "demo"
    files, catalogue = open_policy(demo), catalogue_beside(demo)
    assert catalogue is not None
    assert [files.line(fault) for fault in check_policy(files.policy, catalogue, files.examples)] == []
    assert 30 <= len(files.policy.engagement.rules) <= 50
    assert files.examples is not None
    assert len(files.examples.examples) >= 25


def test_every_rule_of_the_demo_policy_speaks_both_languages(root_dir: Path) -> None:
    policy = open_policy(root_dir / "datasets" / "demo").policy
    titled = [*policy.engagement.rules, *policy.engagement.volume_caps, *policy.contact.caps]
    assert [item.id for item in titled if item.title is None] == []


def test_every_rule_of_the_demo_policy_has_an_example_or_a_reason(root_dir: Path) -> None:
    """Rules that only differ in their numbers share an example."""
    files = open_policy(root_dir / "datasets" / "demo")
    assert files.examples is not None
    named = {expected.by for example in files.examples.examples for expected in example.expect}
    rules = {rule.id for rule in files.policy.engagement.rules}
    assert len(rules - named) <= len(rules) // 3, sorted(rules - named)


def test_conditions_of_the_demo_policy_are_conditions(root_dir: Path) -> None:
    for spec in open_policy(root_dir / "datasets" / "demo").policy.engagement.rules:
        assert isinstance(spec.condition, Condition)
