"""Laws of assignment: shares, arms, layers and ramps, for any ids and any experiment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.experiments.assignment import (
    Assigner,
    assign,
    assign_all,
    assignments_of,
    is_held_out,
    trial_of,
    unit_of,
)
from recsys.experiments.buckets import Buckets, Trial, bucket_ranges, choose
from recsys.experiments.experiment import Experiment, Holdout, Unit
from recsys.experiments.hashing import Ids, hash_share, hash_shares
from recsys.experiments.life import Standing, draft

QUICK = settings(max_examples=60, deadline=None)
UNITS = tuple(f"client-{number}" for number in range(4_000))
IDS = st.text(max_size=12)
SEEDS = st.text(max_size=8)
SHARES = st.floats(0.01, 1.0)
WEIGHTS = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(
    lambda parts: [part / sum(parts) for part in parts]
)


def standing(weights: Sequence[float] = (0.5, 0.5), **keys: object) -> Standing:
    arms = [{"name": f"arm-{number}", "weight": weight} for number, weight in enumerate(weights)]
    document: dict[str, object] = {
        "experiment_id": "short-list",
        "title": "A shorter list",
        "hypothesis": "Three offers are read, ten are not",
        "owner": "anna",
        "arms": arms,
        "primary": {"name": "taken", "measure": "activations"},
        "minimum_effect": 0.1,
    }
    return draft(Experiment.model_validate({**document, **keys}))


@given(SEEDS, st.lists(IDS, max_size=8), st.sampled_from((1, 2)))
@QUICK
def test_many_ids_are_hashed_as_each_alone(seed: str, values: list[str], version: int) -> None:
    alone = [hash_share(seed, value, version) for value in values]
    assert hash_shares(seed, values, version).tolist() == alone
    assert all(share is not None and 0 <= share < 1 for share in alone)


def test_ids_of_any_script_and_length_are_hashed_by_their_code_units() -> None:
    values = ["", "\0", "a\0", "я", "\N{GRINNING FACE}x", "x" * 64]
    for version in (1, 2):
        assert Ids(values).shares("соль", version).tolist() == [
            hash_share("соль", value, version) for value in values
        ]
    assert hash_shares("seed", []).shape == (0,)


@given(WEIGHTS, SHARES, st.sampled_from((1, 2)), SEEDS.filter(bool), st.lists(IDS.filter(bool), max_size=20))
@QUICK
def test_an_assigner_says_what_the_specification_says(
    weights: list[float], coverage: float, version: int, salt: str, units: list[str]
) -> None:
    one = standing(
        weights, coverage=coverage, hash_version=version, salt=salt, layer="lists", layer_range=(0.2, 0.9)
    )
    buckets, assigner = Buckets(trial_of(one)), Assigner(one)
    told = [buckets.of({"unit": unit}).arm for unit in units]
    assert [assigner.arm_of(unit) for unit in units] == told
    assert assigner.arms_of(units).tolist() == told


@given(WEIGHTS, SHARES, SHARES)
@QUICK
def test_a_ramp_lets_in_and_changes_nobody(weights: list[float], first: float, second: float) -> None:
    low, high = sorted((first, second))
    before = assign_all(standing(weights, coverage=low), UNITS)
    after = assign_all(standing(weights, coverage=high), UNITS)
    was_in = before >= 0
    assert np.array_equal(before[was_in], after[was_in])


@given(SHARES, SHARES, SHARES, SHARES)
@QUICK
def test_experiments_in_disjoint_parts_of_a_layer_have_nobody_in_common(
    cut: float, first: float, second: float, low: float
) -> None:
    cut = min(max(cut, 0.02), 0.98)
    one = standing(coverage=first, layer="lists", layer_range=(min(low, cut / 2), cut))
    other = standing(coverage=second, layer="lists", layer_range=(cut, 1.0), experiment_id="faq")
    assert not ((assign_all(one, UNITS) >= 0) & (assign_all(other, UNITS) >= 0)).any()


@given(st.permutations(UNITS[:200]))
@QUICK
def test_the_order_of_units_does_not_matter(units: list[str]) -> None:
    one = standing((0.2, 0.3, 0.5))
    assert dict(zip(units, assign_all(one, units).tolist(), strict=True)) == {
        unit: assign(one, unit) for unit in UNITS[:200]
    }


@given(WEIGHTS, SHARES, st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_arms_have_their_weights(weights: list[float], coverage: float, number: int) -> None:
    one = standing(weights, coverage=coverage, salt=f"salt-{number}")
    arms = assign_all(one, UNITS)
    for arm, weight in enumerate(weights):
        share = weight * coverage
        # five errors, for many arms of many experiments are looked at
        assert abs((arms == arm).mean() - share) <= 5 * sqrt(share * (1 - share) / len(UNITS)) + 1e-4


def test_two_experiments_divide_the_units_independently() -> None:
    one, other = assign_all(standing(), UNITS), assign_all(standing(experiment_id="faq"), UNITS)
    assert abs(np.corrcoef(one, other)[0, 1]) <= 3 / sqrt(len(UNITS))


def test_a_layer_is_drawn_apart_from_an_experiment_of_the_same_name() -> None:
    one = standing(layer="short-list", layer_range=(0.0, 0.5))
    arms = assign_all(one, UNITS)
    inside = arms[arms >= 0]
    assert abs(inside.mean() - 0.5) <= 3 * 0.5 / sqrt(len(inside))


@given(st.floats(0, 0.5), st.floats(0, 0.5))
@QUICK
def test_nobody_leaves_a_hold_out_that_grows(first: float, second: float) -> None:
    low, high = sorted((first, second))
    for unit in UNITS[:100]:
        assert is_held_out(Holdout(share=high), unit) or not is_held_out(Holdout(share=low), unit)


def test_a_hold_out_has_its_share() -> None:
    held = np.mean([is_held_out(Holdout(share=0.1), unit) for unit in UNITS])
    assert abs(held - 0.1) <= 3 * sqrt(0.09 / len(UNITS))
    assert not any(is_held_out(Holdout(share=0.0), unit) for unit in UNITS)


def test_forced_units_have_their_arm_whatever_the_hash_says() -> None:
    forced = {unit: f"arm-{number % 2}" for number, unit in enumerate(UNITS[:20])}
    one = standing(coverage=0.01, forced=forced)
    assert assign_all(one, UNITS[:20]).tolist() == [number % 2 for number in range(20)]
    assert [assign(one, unit) for unit in UNITS[:20]] == [number % 2 for number in range(20)]


def test_other_salts_give_the_arms_that_their_experiments_would_have() -> None:
    one = standing(coverage=0.3, layer="lists", layer_range=(0.1, 0.8))
    salts = ["short-list", "b", "c"]
    arms = assignments_of(one, salts, UNITS[:500])
    assert arms.shape == (3, 500)
    assert arms.dtype == np.int8
    for row, salt in zip(arms, salts, strict=True):
        whole = standing(salt=salt, layer="lists", layer_range=(0.1, 0.8))
        assert np.array_equal(row, assign_all(whole, UNITS[:500]))
    present = assign_all(one, UNITS[:500])
    assert np.array_equal(arms[0][present >= 0], present[present >= 0])


def test_a_group_is_assigned_as_one() -> None:
    units = [unit_of(f"c{number}", "g1", Unit.GROUP) for number in range(30)]
    assert len(set(assign_all(standing(), units).tolist())) == 1
    assert len(set(assign_all(standing(), [f"c{number}" for number in range(30)]).tolist())) == 2


@given(st.integers(0, 6), st.floats(-0.5, 1.5), st.lists(st.floats(0, 1), max_size=6))
@QUICK
def test_ranges_never_overlap(n_arms: int, coverage: float, weights: list[float]) -> None:
    ranges = bucket_ranges(n_arms, coverage, weights)
    assert len(ranges) == n_arms
    for (low, high), (next_low, _) in pairwise(ranges):
        assert low <= high <= next_low + 1e-12


@given(IDS.filter(bool), st.integers(-3, 6))
@QUICK
def test_an_arm_that_was_given_is_kept_whatever_the_weights_become(unit: str, version: int) -> None:
    names = ("a", "b")
    first = Buckets(Trial("t", tuple(bucket_ranges(2)), names=names))
    found = first.of({"id": unit}, {})
    kept = first.remembered(found, {})
    later = Trial("t", tuple(bucket_ranges(2, 0.01, [0.01, 0.99])), names=names, least_version=version)
    again = Buckets(later).of({"id": unit}, kept, is_admitted=False)
    assert again.arm == (found.arm if version <= 0 else -1)
    assert again.is_kept


def test_a_share_between_the_ranges_has_no_arm() -> None:
    assert choose(0.25, bucket_ranges(2, 0.5)) == -1
    assert choose(float("nan"), bucket_ranges(2)) == -1
