"""Off-policy estimators: what they refuse, and what holds by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.offpolicy import (
    Limits,
    Logged,
    Promotion,
    Slates,
    bootstrap,
    cascade_dr,
    cross_fitted,
    diagnose,
    direct,
    doubly_robust,
    folds_of,
    importance_weights,
    ips,
    judge_promotion,
    judge_slots,
    judge_support,
    logger_factors,
    mixture_probabilities,
    optimistic_dr,
    overridden,
    plain,
    self_normalised_dr,
    slate_snips,
    slot_chances,
    snips,
    sub_gaussian_dr,
    switch_dr,
)

HALF = np.array([0.5, 0.5])


@pytest.mark.parametrize("chance", [0.0, np.nan, -0.1, 1.5, np.inf])
def test_a_logging_probability_that_is_none_is_refused_with_its_row(chance: float) -> None:
    with pytest.raises(ValueError, match=r"logging is .* in row 1, must be above 0"):
        importance_weights(HALF, np.array([0.5, chance]))


def test_a_policy_may_give_no_chance_to_what_was_shown() -> None:
    assert importance_weights(np.array([0.0]), np.array([0.2])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("rewards", np.nan), ("weights", np.inf), ("weights", -1.0), ("q_logged", np.nan)],
)
def test_a_log_with_a_value_that_is_none_is_refused(field: str, value: float) -> None:
    columns = dict.fromkeys(("rewards", "weights", "q_logged", "q_expected"), HALF)
    columns[field] = np.array([0.5, value])
    with pytest.raises(ValueError, match=field):
        Logged(**columns)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Logged(np.zeros(0), np.zeros(0))


def test_estimators_of_a_model_say_that_it_is_missing() -> None:
    with pytest.raises(ValueError, match="q_logged"):
        direct(Logged(HALF, HALF))


def test_limits_of_shrinkage_are_the_direct_method_and_doubly_robust() -> None:
    rng = np.random.default_rng(1)
    log = Logged(*rng.random((4, 50)))
    assert switch_dr(log, 0.0).value == pytest.approx(direct(log).value)
    assert optimistic_dr(log, 0.0).value == pytest.approx(direct(log).value)
    for same in (switch_dr(log, np.inf), optimistic_dr(log, np.inf), sub_gaussian_dr(log, 0.0)):
        assert same.value == pytest.approx(doubly_robust(log).value)


def test_of_the_policy_that_made_the_log_every_estimator_says_what_happened() -> None:
    rewards = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    model = np.array([0.2, 0.9, 0.1, 0.3, 0.4])
    log = Logged(rewards, np.ones(5), model, model)
    for parts in (ips(log), snips(log), doubly_robust(log), self_normalised_dr(log)):
        assert parts.value == pytest.approx(0.6)


def test_values_per_decision_are_sums_over_slots() -> None:
    log = Logged(np.array([1.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0]))
    decisions = np.array([0, 0, 1])
    assert ips(log).by_decision(decisions, 2).value == pytest.approx((1 + 3) / 2)
    assert snips(log).by_decision(decisions, 2).value == pytest.approx(4 / 6 * 3 / 2)


def test_sums_by_client_leave_a_value_as_it_is() -> None:
    rng = np.random.default_rng(2)
    log = Logged(*rng.random((4, 60)))
    clients = rng.permutation(np.arange(60) % 7)
    for parts in (snips(log), doubly_robust(log), self_normalised_dr(log)):
        assert parts.summed(clients, 7).value == pytest.approx(parts.value)


def test_mixture_weights_are_bounded_where_those_of_one_policy_are_not() -> None:
    chances = np.array([[0.001, 0.5], [0.9, 0.1]])
    mixed = mixture_probabilities(chances, np.array([0, 1]))
    assert mixed.tolist() == pytest.approx([0.2505, 0.5])
    with pytest.raises(ValueError, match="showed the row"):
        mixture_probabilities(np.array([[0.0, 0.5], [0.9, 0.1]]), np.array([0, 1]))


def test_parts_of_a_log_count_the_more_the_less_they_spread() -> None:
    rng = np.random.default_rng(3)
    loggers = np.repeat([0, 1], 500)
    contributions = rng.normal(1.0, np.where(loggers == 0, 0.1, 3.0))
    factors = logger_factors(contributions, loggers)
    assert factors[0] > 100 * factors[-1]
    assert factors.mean() == pytest.approx(1.0)


def test_slots_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="sorted"):
        Slates(np.array([0, 0]), np.array([1, 0]), 1)


def test_lists_may_be_of_different_length() -> None:
    slates = Slates(np.array([0, 0, 1, 3]), np.array([0, 1, 0, 0]), 4)
    ratios = np.array([2.0, 0.5, 3.0, 4.0])
    assert slates.down_to(ratios).tolist() == [2.0, 1.0, 3.0, 4.0]
    assert slates.whole(ratios).tolist() == [1.0, 1.0, 3.0, 4.0]
    assert slates.above(ratios).tolist() == [1.0, 2.0, 1.0, 1.0]
    rewards = np.ones(4)
    assert slate_snips(slates, rewards, ratios).value == pytest.approx((3 + 1) / 4)


def test_cascade_dr_needs_no_rewards_where_its_model_is_right() -> None:
    slates = Slates(np.array([0, 0]), np.array([0, 1]), 1)
    shown = np.array([1.5, 0.5])
    parts = cascade_dr(slates, shown - [0.5, 0.0], np.array([2.0, 4.0]), (shown, shown))
    # 2 (1 − 1.5) + 1.5 + 4 (0.5 − 0.5) + 2 · 0.5
    assert parts.value == pytest.approx(1.5)


def test_chances_of_slots_sum_to_one_over_offers() -> None:
    worths = np.exp(np.random.default_rng(4).normal(0.0, 3.0, 12))
    chances = np.array([slot_chances(worths, place, 4) for place in range(12)])
    np.testing.assert_allclose(chances.sum(axis=0), 1.0, rtol=1e-9)
    np.testing.assert_allclose(chances[:, 0], worths / worths.sum(), rtol=1e-9)


def test_no_client_reaches_the_model_that_judges_it() -> None:
    clients = np.arange(40) // 2
    folds = folds_of(clients, 4, np.random.default_rng(5))
    assert (folds[::2] == folds[1::2]).all()
    offers, slots, rewards = np.zeros(40, dtype=np.int64), np.zeros(40, dtype=np.int64), np.zeros(40)
    rewards[folds == 2] = 1.0
    means = cross_fitted(offers, slots, rewards, folds, (1, 1), prior=1.0)
    assert means[2, 0, 0] == 0.0
    assert (means[[0, 1, 3], 0, 0] > 0).all()


def test_decisions_of_a_client_move_together() -> None:
    rewards = np.repeat(np.arange(30.0), 20)
    one_by_one, by_client = (
        bootstrap({"mean": plain(rewards)}, clients, np.random.default_rng(6)).interval("mean")
        for clients in (np.arange(600), np.repeat(np.arange(30), 20))
    )
    assert by_client.high - by_client.low > 3 * (one_by_one.high - one_by_one.low)


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(7)
    live = rng.normal(10.0, 5.0, 400)
    new = live + rng.normal(0.5, 0.1, 400)
    resampled = bootstrap({"new": plain(new), "live": plain(live)}, np.arange(400), rng)
    assert resampled.difference("new", "live").low > 0.4
    assert resampled.interval("new").low < resampled.interval("live").high


def weights_like(n_rows: int, ess: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Mean 1, of that effective size: a share ess/n of rows carries all."""
    n_heavy = int(ess)
    return np.where(np.arange(n_rows) < n_heavy, n_rows / n_heavy, 0.0)


@pytest.mark.parametrize(
    ("weights", "unsupported", "cause"),
    [
        (np.zeros(1000), None, "no_weight"),
        (np.ones(1000), np.full(1000, 0.3), "no_support"),
        (weights_like(1000, 20), None, "few_effective"),
        (np.full(1000, 0.6), None, "weights_off"),
    ],
)
def test_the_gate_names_why_a_log_says_nothing(
    weights: np.ndarray[tuple[int], np.dtype[np.float64]],
    unsupported: np.ndarray[tuple[int], np.dtype[np.float64]] | None,
    cause: str,
) -> None:
    gate = judge_support(diagnose(weights, np.arange(1000), unsupported))
    assert not gate.says
    assert cause in gate.causes


def test_the_gate_counts_clients_and_rewards() -> None:
    few = judge_support(diagnose(np.ones(1000), np.arange(1000) % 10))
    assert few.causes == ("few_clients",)
    none = judge_support(diagnose(np.ones(1000), np.arange(1000), rewards=np.zeros(1000)))
    assert none.causes == ("few_rewarded",)


def test_slots_that_a_policy_leaves_empty_are_no_missing_support() -> None:
    """Half of the lists of the new policy end above: their weights are 0, and should be."""
    is_filled = np.arange(1000) % 2 == 0
    weights, clients = is_filled.astype(np.float64), np.arange(1000)
    assert judge_support(diagnose(weights, clients)).causes == ("weights_off",)
    found = diagnose(weights, clients, due=weights)
    assert (found.mean_weight, found.mean_weight_error) == (1.0, 0.0)
    assert judge_support(found).says
    assert judge_support(diagnose(np.zeros(9), np.arange(9), due=np.zeros(9))).causes[0] == "no_weight"


def test_every_fault_of_every_slot_is_named() -> None:
    fine, clients = np.ones(1000), np.arange(1000)
    rewards = (clients == 0).astype(np.float64)
    gate = judge_slots(
        {
            1: diagnose(fine, clients, np.full(1000, 0.3), rewards),
            2: diagnose(fine, clients, rewards=rewards),
            3: diagnose(fine[:50], clients[:50], np.full(50, 0.1), rewards[:50]),
        }
    )
    assert gate.slots == {"no_support": (1, 3), "few_effective": (3,)}
    assert gate.causes == ("no_support", "few_effective")
    assert (gate.says, gate.ess, gate.support) == (False, 50.0, pytest.approx(0.7))
    assert judge_slots({1: diagnose(fine, clients, rewards=rewards)}).causes == ("few_rewarded",)


def test_the_gate_lets_through_what_is_like_the_log() -> None:
    gate = judge_support(diagnose(np.ones(1000), np.arange(1000)), Limits(least_effective=1000))
    assert gate.says
    assert gate.ess == pytest.approx(1000)


def test_a_promotion_that_loses_is_blocked_until_somebody_says_why_not() -> None:
    judgement = judge_promotion(Estimate(-2.0, -3.0, -0.1))
    assert judgement.promotion is Promotion.BLOCKED
    assert not judgement.may_promote
    assert overridden(judgement, "Anna", "a partner's contract ends").may_promote
    for author, reason in (("", "why"), ("Anna", " ")):
        with pytest.raises(ValueError, match="author and a reason"):
            overridden(judgement, author, reason)


def test_a_log_that_says_nothing_blocks_nothing_and_praises_nothing() -> None:
    for difference in (None, Estimate(0.1, float("nan"), float("nan"))):
        judgement = judge_promotion(difference)
        assert judgement.promotion is Promotion.UNKNOWN
        assert judgement.may_promote


def test_what_may_be_lost_is_no_negative_number() -> None:
    with pytest.raises(ValueError, match="tolerated is -1"):
        judge_promotion(None, -1.0)
