"""Mistakes of a policy's author: each is one line in plain words, with file, line and cure."""

from __future__ import annotations

import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.policy.check import check_policy
from recsys.decision.policy.read import read_policy
from recsys.domain import Offer, OfferId, OfferKind
from recsys.errors import ConfigError

RULE = """
rules:
  - id: small-only
    stage: suitability
    offers: [crm]
    only_if: {field: size, is: small}
"""


@pytest.mark.parametrize(
    ("document", "text", "expected"),
    [
        pytest.param(
            "engagement.yaml",
            RULE.replace("{field: size, is: small}", "{context: date, between: [2026-03-01, 2026-02-30]}"),
            "engagement.yaml:6: there is no day 2026-02-30; correct it",
            id="impossible day",
        ),
        pytest.param(
            "placements.yaml",
            "placements:\n  - id: home\n    pins: [{offer: a, slot: 1, from_at: 2026-03-01T25:00:00Z}]\n",
            "placements.yaml:3: there is no moment 2026-03-01T25:00:00Z; correct it",
            id="impossible moment",
        ),
        pytest.param(
            "vip.yaml",
            "min_mean_spend_minor: 5\nmonths: !!bool x\n",
            "vip.yaml:2: 'x' is no value of its kind; correct it",
            id="value of another kind",
        ),
        pytest.param(
            "placements.yaml",
            "placements:\n  - &home {id: home, k: 60}\n  - {<<: *home, id: banner, max_k: 20}\n",
            "placements.yaml:2: k = 60 is above max_k = 50; lower k or raise max_k\n"
            "placements.yaml:3: k = 60 is above max_k = 20; lower k or raise max_k",
            id="merged key",
        ),
        pytest.param(
            "vip.yaml",
            "months: 3\nmin_mean_spend_minor: 5\nmonths: 4\n",
            "vip.yaml:3: key 'months' stands twice; remove one of the two",
            id="key twice",
        ),
        pytest.param(
            "vip.yaml",
            "months: 3\n min_mean_spend_minor: 5\n",
            "vip.yaml:2: a second colon in one value, or a line that is indented differently from the one"
            " above; put a text with a colon in quotes, align the line",
            id="deeper line",
        ),
        pytest.param(
            "engagement.yaml",
            "rules:\n  - id: a\n   stage: suitability\n",
            "engagement.yaml:3: this line is indented differently from the one above; align it with the"
            " lines it belongs to",
            id="crooked line",
        ),
        pytest.param(
            "engagement.yaml",
            "rules:\n\t- id: a\n",
            "engagement.yaml:2: a tab stands where the line begins; indent with spaces",
            id="tab",
        ),
        pytest.param(
            "engagement.yaml",
            "segments: {}\nrules: 'all\nvolume_caps: []\n",
            "engagement.yaml:2: a quote is opened and not closed; close it",
            id="quote without end",
        ),
        pytest.param(
            "engagement.yaml",
            RULE.replace("[crm]", "crm"),
            "engagement.yaml:5: rules.0.offers: offers are meant here; write a list, like [crm]",
            id="an offer instead of a list",
        ),
        pytest.param(
            "engagement.yaml",
            RULE.replace("[crm]", "{categories: crm}"),
            "engagement.yaml:5: rules.0.offers.categories: write a list, like [crm]",
            id="a category instead of a list",
        ),
        pytest.param(
            "engagement.yaml",
            RULE + "    title: Small ones only\n",
            "engagement.yaml:7: rules.0.title: people read this in both languages; write {ru: …, en: …}",
            id="one language",
        ),
        pytest.param(
            "engagement.yaml",
            RULE.replace("small-only", "Small_Only"),
            "engagement.yaml:3: rules.0.id: ids are small Latin letters, digits, - and _, at most 64 of them,"
            " not 'Small_Only'; rename it",
            id="capital letters in an id",
        ),
        pytest.param(
            "engagement.yaml",
            "segments:\n  New ones: {field: is_vip, is: true}\n",
            "engagement.yaml:2: segments.New ones: ids are small Latin letters, digits, - and _, at most 64"
            " of them, not 'New ones'; rename it",
            id="space in the name of a segment",
        ),
        pytest.param(
            "engagement.yaml",
            RULE.replace("suitability", "suitabilty"),
            "engagement.yaml:4: rules.0.stage: availability, eligibility, applicability, suitability can"
            " stand here, not 'suitabilty'; did you mean 'suitability'?",
            id="one of a list",
        ),
        pytest.param(
            "engagement.yaml",
            RULE + "volume_caps: 5\nchanges: renew\n",
            "engagement.yaml:7: volume_caps: write a list, like [5]\n"
            "engagement.yaml:8: changes: a group of keys (expand, renew, retain) is needed, not 'renew';"
            " write them as `key: value`",
            id="neither list nor group",
        ),
        pytest.param(
            "engagement.yaml",
            "rules: !foo\n  - {id: r1}\n",
            "engagement.yaml:1: !foo is a tag, and tags mean nothing here; correct it",
            id="tag of a list",
        ),
        pytest.param(
            "engagement.yaml",
            "rules: !!python/object/apply:os.system ['id']\n",
            "engagement.yaml:1: !!python/object/apply:os.system is a tag, and tags mean nothing here;"
            " correct it",
            id="tag that asks for a call",
        ),
        pytest.param(
            "engagement.yaml",
            "segments:\n  s0: {field: is_vip, is: true}\n"
            + "".join(
                f"  s{n}: {{all: [{{segment: s{n - 1}}}, {{segment: s{n - 1}}}]}}\n" for n in range(1, 40)
            ),
            "engagement.yaml:11: segment 's9' unfolds to 512 comparisons, and 500 are the most; ask for"
            " less, or name fewer segments",
            id="segments that unfold to billions",
        ),
        pytest.param(
            "engagement.yaml",
            "segments:\n  s0: {field: is_vip, is: true}\n"
            + "".join(f"  s{n}: {{not: {{segment: s{n - 1}}}}}\n" for n in range(1, 3_000)),
            "engagement.yaml:52: segment 's50' unfolds to 101 conditions within each other, and 100 are the"
            " most; ask for less, or name fewer segments",
            id="segments upon segments",
        ),
        pytest.param(
            "engagement.yaml",
            "segments:\n  s0: {field: is_vip, is: true}\n"
            + "".join(f"  s{n}: {40 * '{not: '}{{segment: s{n - 1}}}{40 * '}'}\n" for n in range(1, 48)),
            "engagement.yaml:5: segment 's3' unfolds to 124 conditions within each other, and 100 are the"
            " most; ask for less, or name fewer segments",
            id="deep segments upon each other",
        ),
        pytest.param(
            "engagement.yaml",
            "segments:\n" + "".join(f"  s{n}: {{segment: s{(n + 1) % 900}}}\n" for n in range(900)),
            "engagement.yaml:2: segments refer to each other in a circle (s0 → s899 → s898 → s897 → s896"
            " → s895 → s894 → s893 → … → s0); take one reference out",
            id="a wide circle of segments",
        ),
        pytest.param(
            "engagement.yaml",
            "rules:\n"
            + "".join(
                f"  - {{id: r{n}, stage: eligibility, never_if: {{field: n_sims, is: {n}}}}}\n"
                for n in range(3_001)
            ),
            "engagement.yaml:1: rules: has more than 3,000 values, which are the most; merge or remove some",
            id="thousands of rules",
        ),
        pytest.param(
            "engagement.yaml",
            "segments:\n  few: {any: ["
            + ", ".join(f"{{field: n_sims, at_least: {n}}}" for n in range(400))
            + "]}\n"
            + RULE.replace("{field: size, is: small}", "{all: [{segment: few}, {not: {segment: few}}]}"),
            "engagement.yaml:8: this condition unfolds to 800 comparisons, and 500 are the most; ask for"
            " less, or name fewer segments",
            id="a rule that unfolds to hundreds",
        ),
        pytest.param(
            "placements.yaml",
            "placements:\n  - id: home\n    pins: [{offer: a, slot: 1, from_at: 2026-03-01T10:00:00}]\n",
            "placements.yaml:3: placements.0.pins.0.from_at: a moment is needed, not 2026-03-01T10:00:00;"
            " write it with a zone, like 2026-03-01T10:00:00+03:00",
            id="moment without a zone",
        ),
        pytest.param(
            "placements.yaml",
            "placements:\n  - id: home\n    max_k: 9\n    pins: [{offer: a, slot: 10}]\n",
            "placements.yaml:4: slot 10 is beyond max_k = 9; lower it",
            id="pin beyond the list",
        ),
        pytest.param(
            "placements.yaml",
            "placements:\n  - id: home\n    pins:\n      - {offer: a, slot: 1}\n"
            "      - {offer: b, slot: 1}\n",
            "placements.yaml:5: another pin without dates has slot 1; give dates or choose another slot",
            id="two pins in one slot",
        ),
        pytest.param(
            "examples.yaml",
            "at: 2026-01-01T00:00:00Z\nclients:\n  cafe: {industry: II}\n"
            "examples: [{id: a, client: cafe, expect: [{allowed: pbx}]}]\n",
            "examples.yaml:3: clients.cafe.industry: industry is A, B, C, D, E, F, G, H, I, J, K, L, M, N, O,"
            " P, Q, R or S, not 'II'; did you mean 'I'?",
            id="industry of an example",
        ),
        pytest.param(
            "engagement.yaml",
            "volume_caps: [{id: a, at_most: 1, per: day,\n  title: {ru: '  ', en: A}}]\n",
            "engagement.yaml:2: volume_caps.0.title.ru: people read this, and it is blank; write a text",
            id="blank title",
        ),
        pytest.param(
            "contact.yaml",
            'caps:\n  - {id: a, within_days: 1, at_most: 1, title: {ru: А, en: "\\e[31mA"}}\n',
            "contact.yaml:2: caps.0.title.en: '\\x1b' is a control character, not to be shown; remove it",
            id="control character in a title",
        ),
    ],
)
def test_a_mistake_is_told_in_plain_words(document: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_policy({document: text})
    assert str(caught.value) == expected


NAMES = {
    "placements.yaml": "placements: [{id: home}, {id: banner}]\n",
    "engagement.yaml": RULE.replace("{field: size, is: small}", "\n      all:\n        - {PART}"),
    "contact.yaml": "caps:\n  - {id: weekly, within_days: 7, at_most: 3, placements: [home, PLACE]}\n",
    "examples.yaml": """at: 2026-01-01T00:00:00Z
placement: START
clients:
  cafe:
    holds: [HELD]
    seen: [{offer: pbx, placement: SEEN}]
examples:
  - id: a
    client: cafe
    expect:
      - {refused: pbx, by: RULE}
      - {allowed: OFFER}
  - id: b
    client: cafe
    moment: {placement: banner, used_up_caps: [CAP]}
    expect: [{refused: pbx}]
""",
}
SOUND = {
    "{PART}": "{field: region, is: MOW}",
    "PLACE": "banner",
    "START": "home",
    "HELD": "pbx",
    "SEEN": "home",
    "RULE": "already_connected",
    "OFFER": "vpn",
    "[CAP]": "[]",
}


@pytest.mark.parametrize(
    ("put", "expected"),
    [
        ({}, ""),
        (
            {"{PART}": "{context: placement, in: [home, hmoe]}"},
            "engagement.yaml:8: there is no placement 'hmoe'; did you mean 'home'?",
        ),
        (
            {"{PART}": "{not: {context: placement, is: baner}}"},
            "engagement.yaml:8: there is no placement 'baner'; did you mean 'banner'?",
        ),
        (
            {"{PART}": "{field: region, is_not: MWO}"},
            "engagement.yaml:8: no offer of the catalogue names region 'MWO'; did you mean 'MOW'? (warning)",
        ),
        ({"PLACE": "hmoe"}, "contact.yaml:2: there is no placement 'hmoe'; did you mean 'home'?"),
        ({"START": "hmoe"}, "examples.yaml:2: there is no placement 'hmoe'; did you mean 'home'?"),
        ({"SEEN": "hmoe"}, "examples.yaml:6: there is no placement 'hmoe'; did you mean 'home'?"),
        ({"HELD": "pbxx"}, "examples.yaml:5: there is no offer 'pbxx'; did you mean 'pbx'?"),
        (
            {"RULE": "small-olny"},
            "examples.yaml:11: there is no rule or cap 'small-olny'; did you mean 'small-only'?",
        ),
        ({"OFFER": "vpnn"}, "examples.yaml:12: there is no offer 'vpnn'; did you mean 'vpn'?"),
        ({"[CAP]": "[daily]"}, "examples.yaml:15: there is no volume cap 'daily'; correct it or remove it"),
    ],
)
def test_a_name_that_nobody_declares_is_told(put: dict[str, str], expected: str) -> None:
    documents = dict(NAMES)
    for name, text in documents.items():
        for key, value in {**SOUND, **put}.items():
            text = text.replace(key, value)  # noqa: PLW2901 – one replacement after the other
        documents[name] = text
    files = read_policy(documents)
    offers = [Offer(OfferId(name)) for name in ("crm", "pbx", "vpn")]
    offers.append(Offer(OfferId("fibre"), OfferKind.OWN, regions=("MOW",)))
    found = check_policy(files.policy, CompiledCatalogue(offers), files.examples)
    assert "\n".join(files.line(fault) + " (warning)" * fault.is_warning for fault in found) == expected
