"""Draws: probabilities by hand, what is left to chance and what is not, and no re-roll by a refresh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import log
from typing import Any

import numpy as np
import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules, OpenList
from recsys.decision.exploration import Draw, Lottery, Roll, draw_list, seed_of, window_of
from recsys.decision.hashing import coins_of, hash_of, patience_of
from recsys.decision.marginals import slot_marginals
from recsys.domain import Offer, OfferId
from recsys.placement import Exploration, ExplorationKind, Pin, Placement

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EPSILON = Exploration(ExplorationKind.EPSILON, 0.2)
SOFTMAX = Exploration(ExplorationKind.SOFTMAX, 1.0)
# Best first: positions 2, 0, 1, 3 of the offers a, b, c, d.
PRIORITIES = np.array([0.3, 0.1, 0.6, 0.0])
CANDIDATES = np.array([2, 0, 1, 3])


def rules_of(*, offers: Sequence[Offer] | None = None, **options: Any) -> ListRules:
    found = offers or [Offer(OfferId(name)) for name in "abcd"]
    return ListRules(CompiledCatalogue(found), Placement("home", **options))


def chances(
    rules: ListRules, above: Sequence[int] = (), priorities: np.ndarray = PRIORITIES, **roll: Any
) -> Any:
    """Probabilities of the slot below those already taken."""
    order = np.argsort(-priorities, kind="stable")
    what = Roll(len(above) + 1, 1, NOW, **roll)
    slots = OpenList(rules, order, priorities, what.k, NOW)
    for slot, position in enumerate(above, start=1):
        slots.take(slot, position)
    return Lottery(rules, slots, priorities, what).chances(len(above) + 1)


def drawn(rules: ListRules, k: int, seed: int = 1, **roll: Any) -> list[int]:
    return [
        draw.position for draw in draw_list(CANDIDATES, PRIORITIES, rules, Roll(k, seed, NOW, **roll)).draws
    ]


def test_without_exploration_the_best_are_shown_for_sure() -> None:
    found = draw_list(CANDIDATES, PRIORITIES, rules_of(), Roll(3, 1, NOW))
    assert found.draws == (Draw(1, 2, 1.0), Draw(2, 0, 1.0), Draw(3, 1, 1.0))
    assert found.kept_out == ()


def test_fewer_rather_than_padding() -> None:
    for exploration in (Exploration(), EPSILON, SOFTMAX):
        rules = rules_of(exploration=exploration)
        assert sorted(drawn(rules, 10)) == [0, 1, 2, 3]
        nobody = np.zeros(0, dtype=np.int64)
        assert draw_list(nobody, PRIORITIES, rules, Roll(3, 1, NOW)).draws == ()


def test_epsilon_gives_every_offer_the_same_share() -> None:
    rules = rules_of(exploration=EPSILON)
    assert chances(rules).tolist() == pytest.approx([0.05, 0.05, 0.85, 0.05])
    assert chances(rules, [2]).tolist() == pytest.approx([0.8 + 0.2 / 3, 0.2 / 3, 0.0, 0.2 / 3])


def test_softmax_goes_by_priority() -> None:
    rules = rules_of(exploration=SOFTMAX)
    assert chances(rules).tolist() == pytest.approx([0.3, 0.1, 0.6, 0.0], abs=1e-11)
    assert chances(rules, [2]).tolist() == pytest.approx([0.75, 0.25, 0.0, 0.0], abs=1e-11)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    squared = chances(rules_of(exploration=Exploration(ExplorationKind.SOFTMAX, 1.0, temperature=0.5)))
    assert squared.tolist() == pytest.approx([0.09 / 0.46, 0.01 / 0.46, 0.36 / 0.46, 0.0], abs=1e-11)
    roots = chances(rules_of(exploration=Exploration(ExplorationKind.SOFTMAX, 1.0, temperature=2.0)))
    assert (roots[0] / roots[2], roots[1] / roots[2]) == pytest.approx((0.5**0.5, (1 / 6) ** 0.5))


def test_the_lowest_temperature_still_orders_the_tail() -> None:
    priorities = np.array([1.0, 1e-4, 1e-6, 1e-8])
    rules = rules_of(exploration=Exploration(ExplorationKind.SOFTMAX, 1.0, temperature=0.05))
    found = draw_list(np.arange(4), priorities, rules, Roll(4, 1, NOW)).draws
    assert [draw.position for draw in found] == [0, 1, 2, 3]
    assert all(draw.logging_probability == pytest.approx(1.0) for draw in found)


def test_where_every_priority_is_zero_the_softmax_is_uniform() -> None:
    found = chances(rules_of(exploration=SOFTMAX), priorities=np.zeros(4))
    assert found.tolist() == pytest.approx([0.25] * 4)


def test_a_share_of_softmax_leaves_the_rest_to_the_best() -> None:
    found = chances(rules_of(exploration=Exploration(ExplorationKind.SOFTMAX, 0.5)))
    assert found.tolist() == pytest.approx([0.15, 0.05, 0.8, 0.0], abs=1e-11)


def test_new_offers_share_their_least_share_evenly() -> None:
    exploration = Exploration(ExplorationKind.EPSILON, 0.2, new_offer_share=0.1)
    is_unknown = np.array([False, True, False, True])
    found = chances(rules_of(exploration=exploration), is_unknown=is_unknown)
    assert found.tolist() == pytest.approx([0.045, 0.095, 0.765, 0.095])
    assert chances(rules_of(exploration=exploration)).tolist() == pytest.approx([0.05, 0.05, 0.85, 0.05])


def test_an_offer_is_new_for_its_days() -> None:
    exploration = Exploration(new_offer_share=0.1, new_offer_days=30)
    for age, share in ((29, 0.1), (30, 0.0)):
        born = NOW - timedelta(days=age)
        offers = [Offer(OfferId(name), valid_from=born if name == "d" else None) for name in "abcd"]
        assert chances(rules_of(offers=offers, exploration=exploration))[3] == pytest.approx(share)


BANKS = [
    Offer(OfferId(name), need_group="bank" if name in "ab" else "other" * (name == "c")) for name in "abcd"
]
NEAR = np.array([0.97, 1.0, 0.99, 0.2])


def test_competitors_share_a_place_when_they_nearly_tie() -> None:
    rules = rules_of(offers=BANKS, rotation=0.05)
    assert chances(rules, priorities=NEAR).tolist() == [0.5, 0.5, 0.0, 0.0]
    assert chances(rules, [0], priorities=NEAR).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert chances(rules_of(offers=BANKS, rotation=0.02), priorities=NEAR).tolist() == [0, 1, 0, 0]
    assert chances(rules_of(offers=BANKS), priorities=NEAR).tolist() == [0, 1, 0, 0]


def test_near_ties_have_the_same_chance_at_random_too() -> None:
    rules = rules_of(offers=BANKS, rotation=0.05, exploration=SOFTMAX)
    found = chances(rules, priorities=NEAR)
    assert found[0] == found[1] == pytest.approx(1.0 / (1.0 + 1.0 + 0.99 + 0.2))


def test_everything_at_once_is_the_sum_of_its_parts() -> None:
    exploration = Exploration(ExplorationKind.EPSILON, 0.2, new_offer_share=0.1)
    rules = rules_of(offers=BANKS, rotation=0.05, exploration=exploration)
    found = chances(rules, priorities=NEAR, is_unknown=np.array([False, False, False, True]))
    even = 0.9 * 0.2 / 4
    assert found.tolist() == pytest.approx([0.36 + even, 0.36 + even, even, 0.1 + even])


def test_a_pinned_offer_has_its_slot_for_sure_and_no_other() -> None:
    rules = rules_of(exploration=Exploration(ExplorationKind.EPSILON, 1.0), pins=(Pin(OfferId("d"), 2),))
    for seed in range(50):
        draws = draw_list(CANDIDATES, PRIORITIES, rules, Roll(3, seed, NOW)).draws
        assert draws[1] == Draw(2, 3, 1.0)
        assert [draw.logging_probability for draw in draws] == pytest.approx([1 / 3, 1.0, 1 / 2])


def test_nothing_is_left_to_chance_where_it_is_switched_off() -> None:
    exploration = Exploration(ExplorationKind.EPSILON, 1.0, new_offer_share=0.5)
    rules = rules_of(offers=BANKS, rotation=1.0, exploration=exploration)
    for seed in range(20):
        draws = draw_list(CANDIDATES, PRIORITIES, rules, Roll(4, seed, NOW, is_random=False)).draws
        assert [(draw.position, draw.logging_probability) for draw in draws] == [
            (position, 1.0) for position in CANDIDATES
        ]


def mixed(number: int) -> int:
    """The finaliser of SplitMix64 (Stafford's variant 13), in whole numbers."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)


def test_seeds_and_draws_of_today_stay_those_of_tomorrow() -> None:
    """A log is replayed by its seeds: other numbers would make every logged list another one."""
    digest = blake2b(b"3:c-1home:5", digest_size=8).digest()
    assert hash_of("3:c-1home:5") == int.from_bytes(digest, "big") == 0x914E07DE737BD8D7
    assert seed_of("c-1", "home", 5) == int.from_bytes(digest, "big") // 2
    coins = blake2b(b"7:way:0", digest_size=64).digest() + blake2b(b"7:way:8", digest_size=64).digest()
    numbers = [int.from_bytes(coins[8 * n : 8 * n + 8], "little") >> 11 for n in range(9)]
    assert coins_of(7, "way", 9)[:9] == [number / 2**53 for number in numbers]
    keys = [hash_of(name) for name in "abc"]
    patience = [-log((((mixed((key + 7) % 2**64)) >> 11) + 0.5) / 2**53) for key in keys]
    assert patience_of(np.array(keys, dtype=np.uint64), 7).tolist() == pytest.approx(patience, rel=1e-15)
    assert patience == pytest.approx(
        [0.29289182056034835, 0.3142901174143669, 0.13123648798648316], rel=1e-15
    )


def test_another_process_draws_the_same_list() -> None:
    code = """
from datetime import UTC, datetime
import numpy as np
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules
from recsys.decision.exploration import Roll, draw_list, seed_of
from recsys.domain import Offer
from recsys.placement import Exploration, ExplorationKind, Placement
offers = CompiledCatalogue([Offer(name) for name in "abcdefgh"])
rules = ListRules(offers, Placement("home", exploration=Exploration(ExplorationKind.SOFTMAX, 0.7)))
roll = Roll(6, seed_of("c-1", "home", 5), datetime(2026, 6, 1, tzinfo=UTC))
print(draw_list(np.arange(8), np.linspace(0.9, 0.1, 8), rules, roll).draws)
"""
    lists = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4711")
    }
    assert len(lists) == 1
    assert lists.pop().count("Draw(") == 6


def test_marginals_by_hand() -> None:
    """Second slot of Plackett–Luce with worths .6, .3, .1: P(a) = .6·.3/.4 + .1·.3/.9, and so on."""
    rules = rules_of(exploration=SOFTMAX)
    candidates = CANDIDATES[:3]
    found = slot_marginals(candidates, PRIORITIES, rules, Roll(3, 1, NOW))
    expected = {2: 0.3 * 6 / 7 + 0.1 * 6 / 9, 0: 0.6 * 3 / 4 + 0.1 * 3 / 9, 1: 0.6 / 4 + 0.3 / 7}
    assert found.probabilities[0].tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert found.probabilities[1].tolist() == pytest.approx([expected[position] for position in candidates])
    assert found.probabilities.sum(axis=0).tolist() == pytest.approx([1.0] * 3)
    assert not found.standard_errors.any()


def test_the_same_seed_gives_the_same_list_and_another_window_another_seed() -> None:
    seed = seed_of("c-1", "home", 5)
    rules = rules_of(exploration=Exploration(ExplorationKind.EPSILON, 0.9))
    assert drawn(rules, 4, seed) == drawn(rules, 4, seed)
    assert len({tuple(drawn(rules, 4, seed)) for seed in range(500)}) == 24
    seeds = {
        seed_of(*key) for key in (("c-1", "home", 5), ("c-1", "home", 6), ("c-1", "x", 5), ("c-2", "home", 5))
    }
    assert len(seeds) == 4
    assert all(0 <= one < 2**63 for one in seeds)


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    rules = rules_of(exploration=Exploration(ExplorationKind.EPSILON, 0.7))
    for seed in range(50):
        assert drawn(rules, 4, seed)[:2] == drawn(rules, 2, seed)


def test_where_one_id_ends_and_the_next_begins_matters() -> None:
    assert seed_of("ab", "c", 0) != seed_of("a", "bc", 0)


def test_a_window_lasts_its_seconds() -> None:
    now = datetime(2024, 10, 1, 10, 59, 59, tzinfo=UTC)
    window = window_of(now, 3600)
    assert window.ends_at == datetime(2024, 10, 1, 11, tzinfo=UTC)
    assert window_of(now + timedelta(seconds=1), 3600).index == window.index + 1
    assert window_of(now - timedelta(minutes=59), 3600) == window
