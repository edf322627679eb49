"""Draws: exact probabilities, true frequencies, and no re-roll by a refresh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import sqrt

import pytest

from recsys.decision.exploration import draw_probability, draw_slots, seed_of, window_of

RANKED = (7, 3, 5, 1)
N_SEEDS = 20_000


def test_without_exploration_the_best_are_shown_for_sure() -> None:
    draws = draw_slots(RANKED, 3, 0.0, seed=1)
    assert [(draw.position, draw.logging_probability) for draw in draws] == [(7, 1.0), (3, 1.0), (5, 1.0)]


def test_fewer_rather_than_padding() -> None:
    assert len(draw_slots(RANKED, 10, 0.0, seed=1)) == 4
    assert len(draw_slots(RANKED, 10, 0.5, seed=1)) == 4
    assert draw_slots((), 3, 0.5, seed=1) == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("n_allowed", [1, 2, 7])
def test_the_probabilities_of_one_draw_sum_to_one(share: float, n_allowed: int) -> None:
    total = draw_probability(True, n_allowed, share) + (n_allowed - 1) * draw_probability(
        False, n_allowed, share
    )
    assert total == pytest.approx(1.0, abs=1e-15)


def test_the_logged_probability_is_that_of_the_draw_given_the_slots_above() -> None:
    for seed in range(200):
        allowed = list(RANKED)
        for draw in draw_slots(RANKED, 4, 0.3, seed):
            m = len(allowed)
            expected = 0.7 + 0.3 / m if draw.position == allowed[0] else 0.3 / m
            assert draw.logging_probability == pytest.approx(expected, abs=1e-15)
            allowed.remove(draw.position)


def test_the_frequencies_are_the_logged_probabilities() -> None:
    """Over independent seeds, at slot 1 and at slot 2 given that the best stands at slot 1."""
    share = 0.3
    firsts = dict.fromkeys(RANKED, 0)
    seconds = dict.fromkeys(RANKED[1:], 0)
    for number in range(N_SEEDS):
        first, second = draw_slots(RANKED, 2, share, seed_of(f"c-{number}", "home", 0))
        firsts[first.position] += 1
        if first.position == RANKED[0]:
            seconds[second.position] += 1
    for counts in (firsts, seconds):
        n = sum(counts.values())
        for place, (position, count) in enumerate(counts.items()):
            p = draw_probability(place == 0, len(counts), share)
            assert abs(count / n - p) <= 3 * sqrt(p * (1 - p) / n), (position, count / n, p)


def test_the_same_seed_gives_the_same_list_and_another_window_another_seed() -> None:
    seed = seed_of("c-1", "home", 5)
    assert draw_slots(RANKED, 4, 0.9, seed) == draw_slots(RANKED, 4, 0.9, seed)
    seeds = {
        seed_of(*key) for key in (("c-1", "home", 5), ("c-1", "home", 6), ("c-1", "x", 5), ("c-2", "home", 5))
    }
    assert len(seeds) == 4
    assert all(0 <= one < 2**63 for one in seeds)


def test_where_one_id_ends_and_the_next_begins_matters() -> None:
    assert seed_of("ab", "c", 0) != seed_of("a", "bc", 0)


def test_a_window_lasts_its_seconds() -> None:
    now = datetime(2024, 10, 1, 10, 59, 59, tzinfo=UTC)
    window = window_of(now, 3600)
    assert window.ends_at == datetime(2024, 10, 1, 11, tzinfo=UTC)
    assert window_of(now + timedelta(seconds=1), 3600).index == window.index + 1
    assert window_of(now - timedelta(minutes=59), 3600) == window
