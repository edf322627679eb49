"""Assignment against the published cases of GrowthBook's specification (cases.json, spec 0.8.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recsys.experiments.buckets import (
    Bucketed,
    Buckets,
    Filter,
    Namespace,
    Range,
    Trial,
    arm_in_query,
    bucket_ranges,
    choose,
    equal_weights,
    in_namespace,
    in_rollout,
)
from recsys.experiments.hashing import hash_share, hash_shares

pytestmark = pytest.mark.reference

_DIGITS = 8
"""To so many digits the cases are written."""
_NOT_OURS = {"condition", "parentConditions", "contextualVariations"}
"""Targeting by GrowthBook's own language, where ours is the policy's, and its contextual bandits."""


@pytest.fixture(scope="module")
def cases(reference_dir: Path) -> dict[str, list[Any]]:
    path = reference_dir / "reference" / "experiments" / "growthbook" / "cases.json"
    found: dict[str, list[Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def rounded(ranges: Any) -> list[list[float]]:
    return [[round(low, _DIGITS), round(high, _DIGITS)] for low, high in ranges]


def test_every_id_has_the_published_share_alone_and_among_many(cases: dict[str, list[Any]]) -> None:
    for seed, value, version, expected in cases["hash"]:
        assert hash_share(seed, value, version) == expected
        if expected is not None:
            assert hash_shares(seed, ["", value, "another one"], version)[1] == expected


def test_ranges_are_the_published_ones(cases: dict[str, list[Any]]) -> None:
    for name, (n_arms, coverage, weights), expected in cases["getBucketRange"]:
        assert rounded(bucket_ranges(n_arms, coverage, weights)) == expected, name


def test_equal_weights_are_the_published_ones(cases: dict[str, list[Any]]) -> None:
    for n_arms, expected in cases["getEqualWeights"]:
        assert [round(weight, _DIGITS) for weight in equal_weights(n_arms)] == expected


def test_shares_fall_into_the_published_ranges(cases: dict[str, list[Any]]) -> None:
    for name, share, ranges, expected in cases["chooseVariation"]:
        assert choose(share, ranges) == expected, name


def test_namespaces_hold_whom_they_should(cases: dict[str, list[Any]]) -> None:
    for name, value, (namespace, low, high), expected in cases["inNamespace"]:
        assert in_namespace(value, Namespace(namespace, low, high)) is expected, name


def test_a_url_asks_for_the_published_arm(cases: dict[str, list[Any]]) -> None:
    for name, key, url, n_arms, expected in cases["getQueryStringOverride"]:
        assert arm_in_query(key, url, n_arms) == expected, name


def filters_of(rule: Mapping[str, Any]) -> tuple[Filter, ...]:
    return tuple(
        Filter(
            each["seed"],
            tuple((low, high) for low, high in each["ranges"]),
            each.get("hashVersion", 2),
            each.get("attribute", "id"),
        )
        for each in rule.get("filters", ())
    )


def trial_of(rule: Mapping[str, Any], key: str) -> Trial:
    """A trial as the specification writes it; its defaults are not all ours."""
    variations = rule["variations"]
    ranges: list[Range] = [(low, high) for low, high in rule.get("ranges", ())] or bucket_ranges(
        len(variations), rule.get("coverage"), rule.get("weights")
    )
    return Trial(
        key=rule.get("key", key),
        ranges=tuple(ranges),
        seed=rule.get("seed", ""),
        hash_version=rule.get("hashVersion", 1),
        attribute=rule.get("hashAttribute", "id"),
        fallback_attribute=rule.get("fallbackAttribute"),
        filters=filters_of(rule) if "filters" in rule else None,
        namespace=Namespace(*rule["namespace"]) if "namespace" in rule else None,
        force=rule.get("force"),
        is_active=rule.get("active", True),
        names=tuple(each.get("key", str(at)) for at, each in enumerate(rule.get("meta", ()))),
        is_kept=not rule.get("disableStickyBucketing", False),
        version=rule.get("bucketVersion", 0),
        least_version=rule.get("minBucketVersion", 0),
    )


def ids_of(context: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in context.get("attributes", {}).items() if value is not None}


def forced_in(context: Mapping[str, Any], trial: Trial) -> int | None:
    asked = arm_in_query(trial.key, context.get("url", ""), len(trial.ranges))
    return context.get("forcedVariations", {}).get(trial.key) if asked is None else asked


def test_whole_experiments_assign_as_published(cases: dict[str, list[Any]]) -> None:
    n_tried = 0
    for name, context, experiment, value, is_in, is_hashed in cases["run"]:
        if _NOT_OURS & experiment.keys() or {"enabled", "qaMode"} & context.keys():
            continue
        trial = trial_of(experiment, "")
        found = Buckets(trial).of(ids_of(context), forced=forced_in(context, trial))
        assert (found.arm >= 0, found.share is not None) == (is_in, is_hashed), name
        assert experiment["variations"][max(found.arm, 0)] == value, name
        n_tried += 1
    assert n_tried >= 50


def matches(found: Bucketed, expected: Mapping[str, Any]) -> bool:
    return (
        found.arm == expected["variationId"]
        and found.share == expected.get("bucket")
        and found.is_kept == expected["stickyBucketUsed"]
        and (found.share is None or found.attribute == expected["hashAttribute"])
        and (found.share is None or found.value == str(expected["hashValue"]))
    )


def is_rolled_out(rule: Mapping[str, Any], feature: str, ids: Mapping[str, str]) -> bool:
    """Whether a rule that forces a value is for somebody."""
    if not all(each.lets_in(ids) for each in filters_of(rule)):
        return False
    if "coverage" not in rule and "range" not in rule:
        return True
    value = ids.get(rule.get("hashAttribute", "id"))
    share = hash_share(rule.get("seed", feature), value, rule.get("hashVersion", 1)) if value else None
    ends: Range | None = tuple(rule["range"]) if "range" in rule else None
    return share is not None and in_rollout(share, rule.get("coverage"), ends)


def value_of(context: Mapping[str, Any], feature: str) -> tuple[Any, Bucketed | None]:
    """The value of a feature by its rules, and where the last experiment that gave it put the id."""
    ids, described = ids_of(context), context["features"][feature]
    for rule in described.get("rules", ()):
        if "force" in rule and is_rolled_out(rule, feature, ids):
            return rule["force"], None
        if "variations" in rule and "force" not in rule:
            trial = trial_of(rule, feature)
            found = Buckets(trial).of(ids, forced=forced_in(context, trial))
            meta = rule.get("meta", [{}] * len(trial.ranges))
            if found.arm >= 0 and not meta[found.arm].get("passthrough"):
                return rule["variations"][found.arm], found
    return described.get("defaultValue"), None


def test_rules_of_features_assign_as_published(cases: dict[str, list[Any]]) -> None:
    n_tried = 0
    for name, context, feature, expected in cases["feature"]:
        rules = context.get("features", {}).get(feature, {}).get("rules", [])
        if feature not in context.get("features", {}) or any(_NOT_OURS & rule.keys() for rule in rules):
            continue
        value, found = value_of(context, feature)
        assert value == expected["value"], name
        result = expected.get("experimentResult")
        assert (found is None) is (result is None), name
        assert result is None or found is None or matches(found, result), name
        n_tried += 1
    assert n_tried >= 25


def test_arms_are_kept_as_published(cases: dict[str, list[Any]]) -> None:
    for name, context, given, feature, expected, kept_after in cases["stickyBucket"]:
        (rule,) = context["features"][feature]["rules"]
        trial = trial_of(rule, feature)
        ids = ids_of(context)
        kept = {
            f"{each['attributeName']}||{each['attributeValue']}": each["assignments"]
            for each in given
            if ids.get(each["attributeName"]) == each["attributeValue"]
        }
        buckets = Buckets(trial)
        found = buckets.of(ids, kept)
        if expected is None:
            assert found.arm == -1, name
        else:
            assert matches(found, expected), name
        after = buckets.remembered(found, kept)
        assert after == {place: each["assignments"] for place, each in kept_after.items()}, name
