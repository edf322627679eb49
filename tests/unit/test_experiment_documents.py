"""The document of an experiment: what it may say, and what is told of its faults."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from ruamel.yaml import YAML

from recsys.data.documents import YamlDocument
from recsys.errors import ConfigError
from recsys.experiments.experiment import (
    Experiment,
    Holdout,
    Method,
    MetricKind,
    Stratum,
    Unit,
    read_experiment,
)

TEXT = """\
experiment_id: short-list
title: A shorter list
hypothesis: Three offers are read, ten are not
owner: anna
arms:
  - {name: control, weight: 0.5}
  - {name: short, weight: 0.5, policy_version: 1f0c}
primary: {name: taken, measure: activations}
minimum_effect: 0.1
"""


def written(change: Callable[[dict[str, object]], object]) -> str:
    """The document after a change, one key a line."""
    document: dict[str, object] = YAML(typ="safe").load(TEXT)
    change(document)
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in document.items())


def with_keys(**keys: object) -> str:
    return written(lambda document: document.update(keys))


def fault_of(text: str) -> str:
    with pytest.raises(ConfigError) as found:
        read_experiment(text, "short.yaml")
    return str(found.value)


def test_what_is_not_said_has_cautious_defaults() -> None:
    experiment = read_experiment(TEXT, "short.yaml")
    assert experiment.unit is Unit.GROUP
    assert experiment.method is Method.SEQUENTIAL
    assert experiment.primary.kind is MetricKind.PROPORTION
    assert experiment.stratify_by == (Stratum.SIZE, Stratum.STAGE, Stratum.SPEND)
    assert (experiment.seed, experiment.hash_version, experiment.coverage) == ("short-list", 2, 1.0)
    assert experiment.weights == (0.5, 0.5)


@pytest.mark.parametrize(("measure", "is_good"), [("activations", True), ("complaints", False)])
def test_a_harm_is_better_when_there_is_less_of_it(measure: str, is_good: bool) -> None:
    experiment = read_experiment(with_keys(primary={"name": "taken", "measure": measure}), "short.yaml")
    assert experiment.primary.higher_is_better is is_good
    against = {"name": "taken", "measure": measure, "higher_is_better": not is_good}
    assert read_experiment(with_keys(primary=against), "").primary.higher_is_better is not is_good


def test_json_is_read_as_yaml_is() -> None:
    as_json = json.dumps(YAML(typ="safe").load(TEXT), indent=2)
    assert read_experiment(as_json, "short.json") == read_experiment(TEXT, "short.yaml")


def test_a_document_comes_back_as_it_went() -> None:
    experiment = read_experiment(
        with_keys(
            targeting={"all": [{"field": "n_employees", "at_least": 10}, {"holds": ["vpn"]}]},
            primary={"name": "earned", "measure": "margin", "kind": "mean", "offers": {"kinds": ["own"]}},
            guardrails=[{"metric": {"name": "angry", "measure": "complaints"}, "margin": 0.05}],
            planned_end_at="2026-09-01T12:00:00+03:00",
            forced={"tester": "short"},
        ),
        "short.yaml",
    )
    stored = experiment.model_dump_json()
    assert Experiment.model_validate_json(stored) == experiment
    assert read_experiment(stored, "stored.json") == experiment
    assert [metric.name for metric in experiment.metrics] == ["earned", "angry"]


ARM = {"name": "control", "weight": 0.5}
METRIC = {"name": "taken", "measure": "activations"}
FAULTS: list[tuple[dict[str, object], str]] = [
    ({"arms": [ARM]}, "short.yaml:5: arms: 2–20 arms can be compared, not 1; the first is the control"),
    (
        {"arms": [ARM, {"name": "short", "weight": 0.4}]},
        "short.yaml:5: arms: the weights of the arms are 0.5 + 0.4 = 0.9, not 1; correct them",
    ),
    ({"arms": [ARM, ARM]}, "short.yaml:5: arms: arm 'control' stands twice; rename or remove one"),
    (
        {"arms": [ARM, {"name": "short", "weight": 0}]},
        "short.yaml:5: arms.1.weight: more than 0.0 is needed, not 0; correct the value",
    ),
    ({"coverage": 0}, "short.yaml:8: coverage: more than 0.0 is needed, not 0; correct the value"),
    ({"coverage": 1.2}, "short.yaml:8: coverage: at most 1.0 is allowed, not 1.2; correct the value"),
    ({"coverag": 0.5}, "short.yaml:8: unknown field 'coverag'; did you mean 'coverage'?"),
    (
        {"layer": "lists", "layer_range": [0.5, 0.5]},
        "short.yaml:9: layer_range: [0.5, 0.5] is no part of a layer; write 0 ≤ low < high ≤ 1",
    ),
    (
        {"layer_range": [0.0, 0.5]},
        "short.yaml:8: layer_range: it is a part of no layer; name the layer too, or write coverage",
    ),
    ({"title": "  "}, "short.yaml:2: title: it is empty; say it in a few words"),
    ({"owner": "a\x1b[31m"}, "short.yaml:4: owner: it holds characters that cannot be seen; remove them"),
    (
        {"method": "bayes"},
        (
            "short.yaml:8: method: fixed, sequential, group_sequential can stand here, not 'bayes';"
            " write one of them"
        ),
    ),
    (
        {"n_looks": 3},
        "short.yaml:8: n_looks: only method: group_sequential has several looks; remove n_looks",
    ),
    (
        {"method": "group_sequential"},
        (
            "short.yaml:1: n_looks: a group-sequential experiment has 2–20 looks;"
            " write n_looks or another method"
        ),
    ),
    (
        {"method": "group_sequential", "n_looks": 4},
        "short.yaml:9: n_looks: looks are planned by numbers of units; add planned_units",
    ),
    (
        {"forced": {"tester": "long"}},
        "short.yaml:8: forced: 'tester' is forced into 'long'; only control, short are there",
    ),
    (
        {"guardrails": [{"metric": METRIC, "margin": 0.1}]},
        "short.yaml:8: guardrails: metric 'taken' stands twice in the experiment; rename one",
    ),
    ({"placements": ["home", "home"]}, "short.yaml:8: placements: 'home' stands twice; remove one"),
    (
        {"primary": {"name": "earned", "measure": "margin"}},
        "short.yaml:6: primary.kind: margin is an amount of money; write kind: mean",
    ),
    (
        {"primary": {**METRIC, "kind": "ratio"}},
        (
            "short.yaml:6: primary.per: a ratio, and nothing else, has a denominator;"
            " write kind: ratio with its per"
        ),
    ),
    (
        {"primary": {**METRIC, "winsorised_at": 0.99}},
        (
            "short.yaml:6: primary.winsorised_at: only a mean has a tail to cut;"
            " write kind: mean or remove winsorised_at"
        ),
    ),
    (
        {"primary": {"name": "billed", "measure": "spend", "kind": "mean", "is_attributed": True}},
        "short.yaml:6: primary.is_attributed: spend is not told apart by offers; remove is_attributed",
    ),
    (
        {"targeting": {"field": "n_employes", "at_least": 10}},
        "short.yaml:8: targeting.field: there is no field 'n_employes'; did you mean 'n_employees'?",
    ),
    (
        {
            "arms": [
                ARM,
                {"name": "b", "weight": 0.5, "expected": {"value": 9, "low": 1, "high": 5, "source": "ab"}},
            ]
        },
        "short.yaml:5: arms.1.expected.high: 9 lies outside of its interval 1 … 5; correct them",
    ),
]


@pytest.mark.parametrize(("keys", "told"), FAULTS, ids=[told.split(": ", 1)[1][:40] for _, told in FAULTS])
def test_a_fault_is_one_line_with_its_place_and_cure(keys: dict[str, object], told: str) -> None:
    assert fault_of(with_keys(**keys)) == told


def test_a_number_that_is_none_is_refused() -> None:
    text = TEXT + "coverage: .nan\n"
    assert fault_of(text) == "short.yaml:10: coverage: a finite number is needed, not nan; correct the value"


def test_every_fault_of_a_document_is_told_at_once() -> None:
    lines = fault_of(with_keys(coverage=0, alpha=0.9, owner="")).splitlines()
    assert len(lines) == 3


def test_what_is_missing_is_named() -> None:
    assert fault_of("experiment_id: a").splitlines()[0].endswith("field 'title' is missing; add it")


def test_a_hold_out_is_a_share_of_at_most_half() -> None:
    assert YamlDocument("share: 0.05", "h.yaml").read(Holdout).salt == "holdout"
    with pytest.raises(ConfigError, match=r"h\.yaml:1: share: at most 0\.5 is allowed"):
        YamlDocument("share: 0.6", "h.yaml").read(Holdout)
    with pytest.raises(ConfigError, match="share: a finite number is needed"):
        YamlDocument("share: .nan", "h.yaml").read(Holdout)
