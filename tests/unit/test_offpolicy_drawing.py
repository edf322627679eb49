"""How a policy would have drawn a logged list: exact given the slots above, right in expectation over all."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from math import prod

import numpy as np
import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules
from recsys.decision.exploration import Roll, draw_list
from recsys.domain import Offer, OfferId
from recsys.placement import Exploration, ExplorationKind, Pin, Placement
from training.pipelines.offpolicy.drawing import Chances, Drawing, chances_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PRIORITIES = np.array([0.3, 0.1, 0.6, 0.05])
ORDER = np.argsort(-PRIORITIES)
K = 3
EVERYTHING = np.ones((K, 4), dtype=bool)
ONES = np.ones((K, 4, 1))


def rules_of(**options: object) -> ListRules:
    offers = [Offer(OfferId(name)) for name in "abcd"]
    return ListRules(CompiledCatalogue(offers), Placement("home", **options))  # type: ignore[arg-type]


def chances(rules: ListRules, shown: list[int], n_lists: int = 1) -> Chances:
    luck = np.random.default_rng(1).random((n_lists, K))
    drawing = Drawing(rules, ORDER, PRIORITIES, Roll(K, 1, NOW))
    return chances_of(drawing, shown, ONES, EVERYTHING, luck)


@pytest.mark.parametrize(
    "exploration",
    [Exploration(), Exploration(ExplorationKind.EPSILON, 0.3), Exploration(ExplorationKind.SOFTMAX, 1.0)],
)
def test_of_its_own_list_a_policy_says_what_it_logged(exploration: Exploration) -> None:
    rules = rules_of(exploration=exploration)
    for seed in range(20):
        draws = draw_list(ORDER, PRIORITIES, rules, Roll(K, seed, NOW)).draws
        found = chances(rules, [draw.position for draw in draws])
        assert found.given.tolist() == pytest.approx([draw.logging_probability for draw in draws])


def test_below_what_a_policy_would_never_show_there_is_nothing() -> None:
    found = chances(rules_of(), [2, 3, 1])
    assert found.given.tolist() == [1.0, 0.0, 0.0]
    assert chances(rules_of(), [-1, 2, 0]).given.tolist() == [0.0, 0.0, 0.0]


def test_a_pin_has_its_slot_for_sure() -> None:
    rules = rules_of(pins=(Pin(OfferId("d"), 2),), exploration=Exploration(ExplorationKind.SOFTMAX, 1.0))
    found = chances(rules, [2, 3, 0])
    assert found.given[1] == 1.0
    assert chances(rules, [2, 0, 3]).given[1] == 0.0


def overall_by_enumeration() -> np.ndarray:
    """By slot and position, P(offer at slot) over every list that may be drawn by Plackett–Luce."""
    found = np.zeros((K, len(PRIORITIES)))
    for drawn in permutations(range(len(PRIORITIES)), K):
        left = [PRIORITIES.sum() - PRIORITIES[list(drawn[:slot])].sum() for slot in range(K)]
        found[range(K), drawn] += prod(PRIORITIES[list(drawn)] / left)
    return found


def test_over_its_own_lists_chances_are_those_of_enumeration() -> None:
    rules, shown = rules_of(exploration=Exploration(ExplorationKind.SOFTMAX, 1.0)), [2, 1, 3]
    expected = overall_by_enumeration()[range(K), shown]
    n_lists = 4000
    found = chances(rules, shown, n_lists)
    np.testing.assert_allclose(found.overall, expected, atol=3 * 0.5 / n_lists**0.5)
    assert found.overall[0] == pytest.approx(expected[0])
    assert found.expected[:, 0].tolist() == pytest.approx([1.0] * K)
    assert found.filled.tolist() == pytest.approx([1.0] * K)


def test_slots_that_stay_empty_are_not_filled() -> None:
    drawing = Drawing(rules_of(), ORDER[:2], PRIORITIES, Roll(K, 1, NOW))
    found = chances_of(drawing, [2, 0, 1], ONES, EVERYTHING, np.zeros((1, K)))
    assert found.filled.tolist() == found.filled_given.tolist() == [1.0, 1.0, 0.0]


def test_what_the_log_could_not_show_is_counted() -> None:
    possible = EVERYTHING.copy()
    possible[:, 2] = False
    drawing = Drawing(rules_of(), ORDER, PRIORITIES, Roll(K, 1, NOW))
    found = chances_of(drawing, [0, 1, 3], ONES, possible, np.zeros((1, K)))
    assert found.lost_given[0] == found.lost[0] == 1.0
