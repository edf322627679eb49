"""Over many seeds the draws fall as often as their logged probabilities say."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from math import inf, sqrt

import numpy as np
import pytest

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.constraints import ListRules, OpenList
from recsys.decision.exploration import Lottery, Roll, draw_list, list_probability, seed_of
from recsys.decision.marginals import slot_marginals
from recsys.domain import Offer, OfferId, OfferKind
from recsys.placement import Exploration, ExplorationKind, Pin, Placement, SlotKind

NOW = datetime(2026, 6, 1, tzinfo=UTC)
N_LISTS = 12_000
K = 3


def offer(name: str, need: str, kind: OfferKind = OfferKind.OWN, supplier: str = "operator") -> Offer:
    return Offer(OfferId(name), need_group=need, kind=kind, supplier_id=supplier)


OFFERS = (
    offer("bank-a", "account", OfferKind.PARTNER, "a"),
    offer("bank-b", "account", OfferKind.PARTNER, "b"),
    offer("bank-c", "account", OfferKind.PARTNER, "c"),
    offer("cloud", "storage"),
    offer("internet", "internet"),
    offer("pbx", "pbx"),
    offer("site", "site", OfferKind.CONTENT, "a"),
)
PRIORITIES = np.array([0.40, 0.39, 0.20, 0.30, 0.35, 0.10, 0.15])
ORDER = np.argsort(-PRIORITIES, kind="stable")
IS_UNKNOWN = np.array([offer.offer_id == "site" for offer in OFFERS])
EPSILON = Exploration(ExplorationKind.EPSILON, 0.4)
SOFTMAX = Exploration(ExplorationKind.SOFTMAX, 1.0, temperature=0.8)
CAPS = {"max_per_supplier": 2, "max_per_need_group": 1}
# Slots in this order make the sets of allowed offers overlap without lying in each other.
MIXED = (SlotKind.PARTNER, SlotKind.ANY, SlotKind.OWN)

PLACEMENTS = {
    "none": Placement("home"),
    "none, rotation": Placement("home", rotation=0.05),
    "epsilon": Placement("home", exploration=EPSILON),
    "softmax": Placement("home", exploration=SOFTMAX),
    "epsilon, caps, slots": Placement("home", exploration=EPSILON, slots=MIXED, max_per_need_group=1),
    "softmax, caps, slots": Placement("home", exploration=SOFTMAX, slots=MIXED, max_per_need_group=1),
    "epsilon, everything": Placement(
        "home",
        exploration=Exploration(ExplorationKind.EPSILON, 0.4, new_offer_share=0.2),
        rotation=0.05,
        slots=(SlotKind.ANY, SlotKind.PARTNER),
        pins=(Pin(OfferId("pbx"), 3),),
        least_priority=0.12,
        **CAPS,
    ),
    "softmax, everything": Placement(
        "home",
        exploration=Exploration(ExplorationKind.SOFTMAX, 0.6, 0.8, new_offer_share=0.2),
        rotation=0.05,
        slots=(SlotKind.ANY, SlotKind.PARTNER),
        pins=(Pin(OfferId("cloud"), 1),),
        **CAPS,
    ),
}


def rules_of(placement: Placement) -> ListRules:
    return ListRules(CompiledCatalogue(OFFERS), placement)


def misfit(observed: np.ndarray, probabilities: np.ndarray) -> float:
    """Pearson's χ² in standard errors above what chance makes (Wilson and Hilferty 1931: cube root)."""
    degrees = len(observed) - 1
    if degrees == 0:
        return 0.0 if observed[0] == N_LISTS else inf
    expected = N_LISTS * probabilities
    ratio = float(((observed - expected) ** 2 / expected).sum()) / degrees
    spread = 2 / (9 * degrees)
    return (ratio ** (1 / 3) - (1 - spread)) / sqrt(spread)


@cache
def draw_many(name: str) -> list[tuple[tuple[int, ...], float]]:
    """Lists of many clients, each with its logged probability."""
    rules = rules_of(PLACEMENTS[name])
    rolls = (Roll(K, seed_of(f"client-{number}", "home", 0), NOW, IS_UNKNOWN) for number in range(N_LISTS))
    lists = (draw_list(ORDER, PRIORITIES, rules, roll).draws for roll in rolls)
    return [(tuple(draw.position for draw in draws), list_probability(draws)) for draws in lists]


@cache
def every_list(name: str) -> dict[tuple[int, ...], float]:
    """Every list that may be drawn, with its probability."""
    rules, roll = rules_of(PLACEMENTS[name]), Roll(K, 1, NOW, IS_UNKNOWN)
    lists = {(): 1.0}
    for slot in range(1, K + 1):
        longer = {}
        for above, probability in lists.items():
            slots = OpenList(rules, ORDER, PRIORITIES, K, NOW)
            for number, position in enumerate(above, start=1):
                slots.take(number, position)
            chances = Lottery(rules, slots, PRIORITIES, roll).chances(slot)
            if slot in slots.pinned:
                chances = np.eye(len(OFFERS))[slots.pinned[slot]]
            longer |= {
                (*above, position): probability * float(chances[position])
                for position in np.flatnonzero(chances).tolist()
            }
        lists = longer
    return lists


@pytest.mark.parametrize("name", PLACEMENTS)
def test_each_slot_falls_as_its_marginal_says(name: str) -> None:
    exact = np.zeros((K, len(OFFERS)))
    for positions, probability in every_list(name).items():
        exact[np.arange(K), list(positions)] += probability
    exact = exact[:, ORDER]
    roll = Roll(K, 1, NOW, IS_UNKNOWN)
    found = slot_marginals(ORDER, PRIORITIES, rules_of(PLACEMENTS[name]), roll)
    assert found.probabilities == pytest.approx(exact, abs=1e-12)
    assert not found.standard_errors.any()
    counts = np.zeros((K, len(OFFERS)))
    for positions, _ in draw_many(name):
        counts[np.arange(K), list(positions)] += 1
    for observed, probabilities in zip(counts[:, ORDER], exact, strict=True):
        assert not observed[probabilities == 0].any()
        assert misfit(observed[probabilities > 0], probabilities[probabilities > 0]) <= 3


@pytest.mark.parametrize("name", PLACEMENTS)
def test_each_list_falls_as_often_as_its_logged_probability(name: str) -> None:
    """Lists that are expected less than 5 times count as one."""
    lists = draw_many(name)
    logged = dict(lists)
    assert all(abs(logged[positions] - probability) < 1e-12 for positions, probability in lists)
    counts = Counter(positions for positions, _ in lists)
    usual = [positions for positions, p in logged.items() if N_LISTS * p >= 5]
    observed = [counts[positions] for positions in usual]
    probabilities = [logged[positions] for positions in usual]
    if (rest := 1 - sum(probabilities)) > 1e-9:
        observed.append(N_LISTS - sum(observed))
        probabilities.append(rest)
    assert misfit(np.array(observed), np.array(probabilities)) <= 3


def reward_of(positions: tuple[int, ...]) -> float:
    return float(PRIORITIES[list(positions)] @ [1.0, 0.5, 0.25])


def uniform(name: str) -> dict[tuple[int, ...], float]:
    return dict.fromkeys(every_list(name), 1 / len(every_list(name)))


@pytest.mark.parametrize(
    ("logging", "target"),
    [
        ("epsilon", "softmax"),
        ("softmax", "epsilon"),
        ("epsilon", "none"),
        ("softmax, caps, slots", "epsilon, caps, slots"),
        ("epsilon, everything", None),
        ("softmax, everything", None),
    ],
)
def test_another_policy_is_valued_without_bias_from_the_log(logging: str, target: str | None) -> None:
    """Inverse weighting by logged probabilities meets the enumerated worth of the target; None = uniform."""
    wanted = uniform(logging) if target is None else every_list(target)
    assert wanted.keys() <= every_list(logging).keys()
    truth = sum(probability * reward_of(positions) for positions, probability in wanted.items())
    lists = draw_many(logging)
    weighted = np.array([reward_of(positions) * wanted.get(positions, 0.0) / p for positions, p in lists])
    assert abs(weighted.mean() - truth) <= 3 * weighted.std(ddof=1) / sqrt(N_LISTS)
    plain = np.array([reward_of(positions) for positions, _ in lists])
    assert abs(plain.mean() - truth) > 3 * plain.std(ddof=1) / sqrt(N_LISTS), (
        "unweighted it is another number"
    )


@pytest.mark.parametrize("name", PLACEMENTS)
def test_the_policy_of_the_log_is_worth_the_mean_of_its_rewards(name: str) -> None:
    lists = draw_many(name)
    weighted = [reward_of(positions) * every_list(name)[positions] / p for positions, p in lists]
    assert np.mean(weighted) == pytest.approx(
        np.mean([reward_of(positions) for positions, _ in lists]), rel=1e-12
    )


def test_sampled_marginals_agree_with_the_enumerated_ones() -> None:
    """The first three slots of a list of four do not depend on the fourth."""
    rules = rules_of(PLACEMENTS["softmax, caps, slots"])
    exact = slot_marginals(ORDER, PRIORITIES, rules, Roll(3, 1, NOW, IS_UNKNOWN))
    sampled = slot_marginals(ORDER, PRIORITIES, rules, Roll(4, 1, NOW, IS_UNKNOWN), n_lists=4_000)
    error = np.sqrt(exact.probabilities * (1 - exact.probabilities) / 4_000)
    assert (abs(sampled.probabilities[:3] - exact.probabilities) <= 3 * error + 1e-12).all()
    assert sampled.standard_errors[:3] == pytest.approx(error, abs=2e-3)


def test_neighbouring_seeds_are_as_good_as_hashed_ones() -> None:
    """Patience must not depend on how seeds were made: 1, 2, 3 … draw as fairly."""
    rules = rules_of(PLACEMENTS["softmax"])
    firsts = Counter(
        draw_list(ORDER, PRIORITIES, rules, Roll(1, seed, NOW)).draws[0].position for seed in range(N_LISTS)
    )
    worths = PRIORITIES ** (1 / 0.8)
    exact = worths / worths.sum()
    shares = np.array([firsts[position] for position in range(len(OFFERS))]) / N_LISTS
    assert (abs(shares - exact) <= 3 * np.sqrt(exact * (1 - exact) / N_LISTS)).all()
