"""Estimators of off-policy values hold to obp 0.5.5, on public logs and on lists with known laws."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.evaluation.offpolicy import (
    Logged,
    Parts,
    Slates,
    cascade_dr,
    diagnose,
    direct,
    doubly_robust,
    importance_weights,
    ips,
    optimistic_dr,
    self_normalised_dr,
    slate_ips,
    slate_snips,
    slot_chances,
    smoothed_means,
    snips,
    sub_gaussian_dr,
    sub_gaussian_ips,
    switch_dr,
)
from recsys.models.base import FloatArray

pytestmark = pytest.mark.reference
TOLERANCE = 1e-9
N_SLOTS = 3

ESTIMATORS: dict[str, Callable[[Logged], Parts]] = {
    "ipw": ips,
    "ipw_clip10": lambda log: ips(log, cap=10.0),
    "snipw": snips,
    "dm": direct,
    "dr": doubly_robust,
    "sndr": self_normalised_dr,
    "switch-dr_tau1": lambda log: switch_dr(log, 1.0),
    "switch-dr_tau5": lambda log: switch_dr(log, 5.0),
    "dr-os_lambda1": lambda log: optimistic_dr(log, 1.0),
    "dr-os_lambda100": lambda log: optimistic_dr(log, 100.0),
    "sg-ipw_0.1": lambda log: sub_gaussian_ips(log, 0.1),
    "sg-dr_0.1": lambda log: sub_gaussian_dr(log, 0.1),
}


def columns_of(path: Path) -> dict[str, FloatArray]:
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def open_bandit_cases(reference_dir: Path) -> list[dict[str, Any]]:
    path = reference_dir / "reference" / "experiments" / "open_bandit_ope_expected.json"
    cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return cases


def logged_of(reference_dir: Path, case: dict[str, Any]) -> Logged:
    """The log of a case as its evaluation policy weighs it, with the case's model of rewards."""
    folder, campaign = reference_dir / "data" / "open_bandit", case["campaign"]
    log = columns_of(folder / f"obd_{case['behaviour']}_{campaign}.csv")
    law = columns_of(folder / f"action_dist_bts_{campaign}.csv")
    chances = np.stack([law[f"p_pos{slot}"] for slot in range(N_SLOTS)], axis=1)
    if case["evaluation"] == "random":
        chances = np.full_like(chances, 1 / len(chances))
    items, slots = log["item_id"].astype(np.int64), log["position"].astype(np.int64)
    means = smoothed_means(items, slots, log["click"], (len(chances), N_SLOTS))
    return Logged(
        log["click"],
        importance_weights(chances[items, slots], log["propensity_score"]),
        means[items, slots],
        (means * chances).sum(axis=0)[slots],
    )


def test_every_estimator_gives_the_published_numbers_of_open_bandit(reference_dir: Path) -> None:
    for case in open_bandit_cases(reference_dir):
        logged = logged_of(reference_dir, case)
        found = {name: estimate(logged).value for name, estimate in ESTIMATORS.items()}
        assert found == pytest.approx(case["estimates"], abs=TOLERANCE, rel=TOLERANCE)
        weights = diagnose(logged.weights, np.arange(len(logged.weights)))
        assert weights.ess == pytest.approx(case["ess"], rel=TOLERANCE)
        assert weights.mean_weight == pytest.approx(case["mean_weight"], rel=TOLERANCE)
        assert weights.max_weight == pytest.approx(case["max_weight"], rel=TOLERANCE)


def drawn_law(logits: FloatArray, contexts: FloatArray, actions: FloatArray) -> FloatArray:
    """P(every item at each slot | the items above) of a Plackett–Luce policy, lists_by_slots_by_items."""
    worths = np.exp(logits)[contexts]
    chances = np.empty((*actions.shape, worths.shape[1]))
    for slot in range(actions.shape[1]):
        chances[:, slot] = worths / worths.sum(axis=1, keepdims=True)
        worths[np.arange(len(worths)), actions[:, slot]] = 0.0
    return chances


def test_every_estimator_of_lists_gives_the_published_numbers(reference_dir: Path) -> None:
    folder = reference_dir / "reference" / "experiments" / "slate"
    told = json.loads((folder / "slate_expected.json").read_text(encoding="utf-8"))
    log = columns_of(folder / "slate_log.csv")
    lists, slots = log["slate_id"].astype(np.int64), log["position"].astype(np.int64)
    slates, rewards = Slates(lists, slots, told["n_slates"]), log["reward"]
    weights = {
        kind: importance_weights(log[f"evaluation_policy_pscore{kind}"], log[f"pscore{kind}"])
        for kind in ("", "_item_position", "_cascade")
    }
    k = told["len_list"]
    contexts = log["context"].astype(np.int64)[::k]
    actions = log["action"].astype(np.int64).reshape(-1, k)
    chances = drawn_law(np.array(told["evaluation_logits"]), contexts, actions)
    means = np.array(told["base_reward"])[contexts][:, None, :] * (k - np.arange(k))[:, None]
    means = np.where(chances > 0, means, 0.0)
    shown = np.take_along_axis(means, actions[:, :, None], axis=2).ravel()
    found = {
        "sips": slate_ips(slates, rewards, weights[""]),
        "iips": slate_ips(slates, rewards, weights["_item_position"]),
        "rips": slate_ips(slates, rewards, weights["_cascade"]),
        "snsips": slate_snips(slates, rewards, weights[""], is_by_slot=False),
        "sniips": slate_snips(slates, rewards, weights["_item_position"]),
        "snrips": slate_snips(slates, rewards, weights["_cascade"]),
        "cascade-dr": cascade_dr(
            slates, rewards, weights["_cascade"], (shown, (chances * means).sum(axis=2).ravel())
        ),
    }
    values = {name: parts.value for name, parts in found.items()}
    assert values == pytest.approx(told["expected"], abs=TOLERANCE, rel=TOLERANCE)


def test_products_of_conditional_probabilities_are_the_published_joint_ones(reference_dir: Path) -> None:
    log = columns_of(reference_dir / "reference" / "experiments" / "slate" / "slate_log.csv")
    lists, slots = log["slate_id"].astype(np.int64), log["position"].astype(np.int64)
    slates = Slates(lists, slots, int(lists.max()) + 1)
    joint = log["pscore_cascade"]
    conditional = joint / slates.above(joint)
    np.testing.assert_allclose(slates.down_to(conditional), joint, rtol=1e-12)
    np.testing.assert_allclose(slates.whole(conditional), log["pscore"], rtol=1e-12)


def test_chances_of_slots_are_the_published_ones_by_enumeration(reference_dir: Path) -> None:
    folder = reference_dir / "reference" / "experiments" / "slate"
    logits = np.array(json.loads((folder / "slate_expected.json").read_text())["behaviour_logits"])
    log = columns_of(folder / "slate_log.csv")
    drawn = np.stack([log[name] for name in ("context", "action", "position")], axis=1).astype(np.int64)
    _, first = np.unique(drawn, axis=0, return_index=True)
    found = [
        slot_chances(np.exp(logits[context]), action, N_SLOTS)[slot]
        for context, action, slot in drawn[first].tolist()
    ]
    np.testing.assert_allclose(found, log["pscore_item_position"][first], rtol=1e-9)
