"""Every shipped world has the face it states: its card within Monte-Carlo tolerance, an oracle out of reach.

Tolerances are three Monte-Carlo errors. The five worlds are tested small here and at length in `make soak`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from recsys.data.dataset import Dataset
from recsys.simulation.card import Card, Segment, make_card
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.tails import hill
from recsys.simulation.world import World
from training.pipelines.worlds.models import ORACLE, PairedValues, live, score_offline

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
WORLDS = ("small", "typical", "sparse", "drifting", "adversarial")
MODELS = ("popularity", "expert", "neighbours", "ease", "als")
N_CLIENTS, N_CLIENTS_SOAK = 2000, 10_000
SEED = 7
MOST_LIVES = 4


@dataclass(frozen=True)
class Lived:
    """A world, its lives (small worlds are lived several times) and what was measured in them."""

    world: World
    datasets: tuple[Dataset, ...]
    cards: tuple[Card, ...]
    offline: PairedValues


def live_world(name: str, catalogue: Catalogue, n_clients: int) -> Lived:
    world = World.load(DEMO / "worlds" / f"{name}.toml")
    n_lives = min(MOST_LIVES, max(1, n_clients // world.n_clients))
    expert = (DEMO / "expert.yaml").read_text(encoding="utf-8")
    datasets, offline = [], []
    for number in range(n_lives):
        changes = {"n_clients": min(n_clients, world.n_clients), "seed": SEED + number}
        life = world.model_copy(update=changes)
        datasets.append(live(life, catalogue, expert))
        with threadpool_limits(1):
            offline.append(score_offline(life, catalogue, datasets[-1], MODELS))
    values = {model: np.concatenate([part.values[model] for part in offline]) for model in (*MODELS, ORACLE)}
    cards = tuple(make_card(dataset.tables, world.time_zone) for dataset in datasets)
    return Lived(world, tuple(datasets), cards, PairedValues(values))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@pytest.fixture(
    scope="module",
    params=[
        *((name, N_CLIENTS) for name in WORLDS),
        *(pytest.param((name, N_CLIENTS_SOAK), marks=pytest.mark.soak) for name in WORLDS),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def lived(request: pytest.FixtureRequest, catalogue: Catalogue) -> Lived:
    name, n_clients = request.param
    return live_world(name, catalogue, n_clients)


def _pooled(shares: list[float], counts: list[int]) -> tuple[float, float]:
    """A share over several lives, and three times its Monte-Carlo error."""
    n = sum(counts)
    share = sum(part * count for part, count in zip(shares, counts, strict=True)) / n
    return share, 3 * (share * (1 - share) / n) ** 0.5


def _within(value: float, tolerance: float, band: tuple[float, float]) -> bool:
    return band[0] - tolerance <= value <= band[1] + tolerance


def test_acceptance_per_impression_is_that_of_the_field(lived: Lived) -> None:
    counts = [sum(month.n_impressions for month in card.months[:-1]) for card in lived.cards]
    share, tolerance = _pooled([card.acceptance or 0.0 for card in lived.cards], counts)
    assert _within(share, tolerance, lived.world.face.acceptance)


def test_clients_add_services_as_often_as_in_the_field(lived: Lived) -> None:
    counts = [sum(month.n_clients for month in card.months) for card in lived.cards]
    share, tolerance = _pooled([card.adding for card in lived.cards], counts)
    assert _within(share, tolerance, lived.world.face.adding)


def test_spend_and_seats_have_the_stated_tail(lived: Lived) -> None:
    """Pooled over the lives, for the tail of 150 clients says nothing."""
    for column in (["spend_minor"], ["n_sims_employees", "n_sims_field"]):
        means = [
            dataset.table("client_months").group_by("client_id").mean().select(column).sum_horizontal()
            for dataset in lived.datasets
        ]
        tail = hill(np.concatenate([mean.to_numpy() for mean in means]))
        assert abs(tail.index - lived.world.population.tail_index) <= 3 * tail.standard_error, column


def test_popularity_reaches_its_share_of_the_oracle(lived: Lived) -> None:
    share, error = lived.offline.share("popularity")
    assert _within(share, 3 * error, lived.world.face.popularity)


def test_the_best_single_model_leaves_room(lived: Lived) -> None:
    share, error = lived.offline.share(lived.offline.best())
    assert _within(share, 3 * error, lived.world.face.best_model)


@pytest.mark.parametrize("model", MODELS)
def test_the_oracle_beats_every_scorer(lived: Lived, model: str) -> None:
    share, error = lived.offline.share(model)
    assert share + 3 * error < 1


def _segments(lived: Lived, by: str) -> dict[str, Segment]:
    """Segments pooled over lives, weighted by client-months."""
    names = {segment.name for card in lived.cards for segment in card.segments[by]}
    pooled = {}
    for name in names:
        parts = [segment for card in lived.cards for segment in card.segments[by] if segment.name == name]
        weight = sum(part.share for part in parts)
        pooled[name] = Segment(
            name=name,
            share=weight / len(lived.cards),
            exposures=sum(part.exposures * part.share for part in parts) / weight,
            acceptance=None,
            adding=sum(part.adding * part.share for part in parts) / weight,
        )
    return pooled


@pytest.mark.parametrize(
    ("by", "more", "less"),
    [
        ("stage", "growth", "dormant"),
        ("stage", "growth", "at_risk"),
        ("stage", "mature", "at_risk"),
        ("stage", "onboarding", "dormant"),
        ("size", "small", "micro"),
        ("size", "medium", "micro"),
    ],
)
def test_some_adopt_more_than_others(lived: Lived, by: str, more: str, less: str) -> None:
    segments = _segments(lived, by)
    n_months = sum(month.n_clients for card in lived.cards for month in card.months)
    variance = sum(
        segments[name].adding * (1 - segments[name].adding) / (segments[name].share * n_months)
        for name in (more, less)
    )
    assert segments[more].adding > segments[less].adding - 3 * variance**0.5


def test_the_digital_are_shown_more(lived: Lived) -> None:
    """Information technology visits the portal more often than farming and building."""
    segments = _segments(lived, "industry")
    assert segments["J"].exposures > max(segments["A"].exposures, segments["F"].exposures)


def _reach(lived: Lived, by: str, name: str, category: str) -> float:
    return float(np.mean([card.reach[by].get(name, {}).get(category, 0.0) for card in lived.cards]))


def test_what_is_held_fits_size_and_trade(lived: Lived) -> None:
    assert _reach(lived, "size", "small", "telephony") > _reach(lived, "size", "micro", "telephony")
    assert _reach(lived, "industry", "H", "iot") > _reach(lived, "industry", "J", "iot")
    assert _reach(lived, "industry", "G", "retail") > _reach(lived, "industry", "F", "retail")


def test_every_month_has_its_clients_and_january_is_low(lived: Lived) -> None:
    by_calendar: dict[int, list[float]] = {}
    for card in lived.cards:
        assert len(card.months) == lived.world.n_months
        for month in card.months:
            by_calendar.setdefault(month.month_on.month, []).append(month.adding)
    means = {number: float(np.mean(shares)) for number, shares in by_calendar.items()}
    assert means[1] < np.mean(list(means.values())) < means[12]


def test_three_policies_follow_each_other_and_one_is_deterministic(lived: Lived) -> None:
    for card in lived.cards:
        assert len(card.policies) == 3
        assert [policy.first_on for policy in card.policies] == sorted(
            policy.first_on for policy in card.policies
        )
        assert max(policy.certain for policy in card.policies) > 0.99
