"""The made-up operator is what it says: reproducible, lawful, and with exactly its true probabilities."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.simulation.behaviour import Chances
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.clients import ROLES
from recsys.simulation.operator import Month, Operator
from recsys.simulation.sections import Logging, LoggingKind
from recsys.simulation.streams import uniform_of
from recsys.simulation.truth import dense_chances
from recsys.simulation.world import World
from training.pipelines.worlds.simulate import SimulationSummary, simulate

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
WORLD = DEMO / "worlds" / "typical.toml"
SEED = 20250501
N_CLIENTS = 2500


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@dataclass(frozen=True)
class Lived:
    """A month, and the true probabilities it was drawn from."""

    month: Month
    chances: Chances


@pytest.fixture(scope="module")
def world() -> World:
    return World.load(WORLD).model_copy(update={"n_clients": N_CLIENTS, "seed": SEED})


@pytest.fixture(scope="module")
def operator(world: World, catalogue: Catalogue) -> Operator:
    return Operator(world, catalogue)


@pytest.fixture(scope="module")
def months(operator: Operator) -> list[Lived]:
    lived = []
    while operator.month < operator.timeline.n_months:
        moment = operator.begin()
        chances = dense_chances(operator, moment)
        lived.append(Lived(operator.finish(moment), chances))
    return lived


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulationSummary, Dataset]:
    out = tmp_path_factory.mktemp("simulated") / "demo"
    summary = simulate(DEMO, WORLD, out, n_clients=N_CLIENTS, seed=SEED)
    return summary, read_dataset(out)


@pytest.fixture(scope="module")
def dataset(simulated: tuple[SimulationSummary, Dataset]) -> Dataset:
    return simulated[1]


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_same_seed_same_bytes_in_processes_with_one_and_two_threads(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from training.pipelines.worlds.simulate import simulate; "
        "catalogue, world, out = map(pathlib.Path, sys.argv[1:]); "
        "simulate(catalogue, world, out, n_clients=300, n_months=12, seed=3)"
    )
    for n_threads in ("1", "2"):
        threads = {"POLARS_MAX_THREADS": n_threads, "OMP_NUM_THREADS": n_threads}
        environment = {**os.environ, **threads, "PYTHONHASHSEED": n_threads}
        arguments = [sys.executable, "-c", code, str(DEMO), str(WORLD), str(tmp_path / n_threads)]
        subprocess.run(arguments, check=True, env=environment, capture_output=True)
    digests = _digests(tmp_path / "1")
    assert len(digests) >= 13
    assert digests == _digests(tmp_path / "2")


def test_another_seed_is_another_life(tmp_path: Path) -> None:
    simulate(DEMO, WORLD, tmp_path / "one", n_clients=60, n_months=2, seed=3)
    simulate(DEMO, WORLD, tmp_path / "two", n_clients=60, n_months=2, seed=4)
    one, two = _digests(tmp_path / "one"), _digests(tmp_path / "two")
    different = {name for name in one if one[name] != two[name]}
    drawn = ("clients", "client_months", "members", "holdings", "decisions", "decision_items", "events")
    assert different == {f"{name}.parquet" for name in drawn}


def test_summary_counts_what_was_written(simulated: tuple[SimulationSummary, Dataset]) -> None:
    summary, dataset = simulated
    assert summary.n_clients == N_CLIENTS == dataset.table("clients")["client_id"].n_unique()
    assert summary.n_decisions == len(dataset.table("decisions"))
    assert summary.n_events == len(dataset.table("events"))
    assert "2,500" in summary.card()


def test_rates_are_those_of_the_field(simulated: tuple[SimulationSummary, Dataset]) -> None:
    summary, _ = simulated
    assert 0.025 <= summary.share_adding_a_month <= 0.045
    assert 0.01 <= summary.acceptance_per_impression <= 0.04


def _draw_again(
    policy: Logging, seed: int, remaining: list[str], priority: dict[str, float], slot: int
) -> tuple[str, float]:
    """A slot's offer and its logging probability, by the rules of `recsys.simulation.lists`."""
    luck = float(uniform_of(np.array([seed]), slot)[0])
    if policy.kind is LoggingKind.GREEDY:
        assert policy.exploration == 0
        return max(remaining, key=lambda offer_id: priority[offer_id]), 1.0
    running = list(itertools.accumulate(priority[offer_id] for offer_id in remaining))
    place = next(place for place, weight in enumerate(running) if weight > luck * running[-1])
    return remaining[place], priority[remaining[place]] / running[-1]


def test_decisions_can_be_drawn_again_from_their_seeds(dataset: Dataset, world: World) -> None:
    policies = {policy.policy: policy for policy in world.logging}
    assert {policy.kind for policy in policies.values()} == set(LoggingKind)
    decisions, items = dataset.table("decisions"), dataset.table("decision_items")
    assert set(decisions["policy_version"]) == set(policies)
    slots = defaultdict(list)
    for decision_id, *slot in items.select(
        "decision_id", "offer_id", "change", "logging_probability"
    ).iter_rows():
        slots[decision_id].append(slot)
    for decision_id, seed, version, text in (
        decisions.gather_every(4).select("decision_id", "seed", "policy_version", "candidates").iter_rows()
    ):
        candidates = orjson.loads(text)
        changes = dict(zip(candidates["offer_id"], candidates["change"], strict=True))
        priority = dict(zip(candidates["offer_id"], candidates["priority"], strict=True))
        remaining = list(candidates["offer_id"])
        for slot, (offer_id, change, probability) in enumerate(slots[decision_id], start=1):
            drawn = _draw_again(policies[version], seed, remaining, priority, slot)
            assert drawn == (offer_id, pytest.approx(probability, rel=1e-12))
            assert changes[offer_id] == change
            remaining.remove(offer_id)
        assert len(slots[decision_id]) == min(5, len(changes))


def test_policies_follow_each_other(dataset: Dataset, world: World, operator: Operator) -> None:
    first = dataset.table("decisions").group_by("policy_version").agg(pl.col("occurred_at").min())
    begins_at = dict(first.iter_rows())
    for policy in world.logging:
        month_begins_at = datetime.fromtimestamp(operator.timeline.bounds[policy.from_month] / 1e6, tz=UTC)
        assert timedelta(0) <= begins_at[policy.policy] - month_begins_at < timedelta(days=2)


@pytest.mark.parametrize("slot", range(5))
def test_draws_are_as_frequent_as_their_logging_probabilities(months: list[Lived], slot: int) -> None:
    """Σ over offers of (drawn - expected)² / variance has mean n and a variance that is estimated."""
    n_offers = months[0].month.moment.held.shape[1]
    drawn, expected, variance = (np.zeros(n_offers) for _ in range(3))
    for lived in months:
        visits = lived.month.visits
        if visits.policies[0] == "bestsellers-1":
            continue
        weights = np.where(visits.eligible, 1.0 if visits.priority is None else visits.priority, 0.0)
        for above in range(slot):
            weights[np.arange(len(visits.rows)), visits.offers[:, above]] = 0
        chance = weights / weights.sum(axis=1, keepdims=True)
        expected += chance.sum(axis=0)
        variance += (chance * (1 - chance)).sum(axis=0)
        drawn += np.bincount(visits.offers[:, slot], minlength=n_offers)
    often = expected >= 20
    statistic = ((drawn - expected)[often] ** 2 / variance[often]).sum()
    assert abs(statistic - often.sum()) <= 3 * np.sqrt(2 * often.sum())


def _check_frequencies(probabilities: np.ndarray, happened: np.ndarray, n_groups: int = 8) -> None:
    """In all, and in groups of rising probability: within 3 Monte-Carlo errors (groups pooled)."""
    error = np.sqrt((probabilities * (1 - probabilities)).sum())
    assert abs(happened.sum() - probabilities.sum()) <= 3 * error
    scores = []
    for group in np.array_split(np.argsort(probabilities, kind="stable"), n_groups):
        expected, variance = (
            probabilities[group].sum(),
            (probabilities[group] * (1 - probabilities[group])).sum(),
        )
        if expected >= 5:
            scores.append((happened[group].sum() - expected) ** 2 / variance)
    assert len(scores) >= 3
    assert sum(scores) - len(scores) <= 3 * np.sqrt(2 * len(scores))


def _is_taken(month: Month) -> np.ndarray:
    is_taken = np.zeros_like(month.visits.is_seen)
    is_taken[month.taken.visits, month.taken.slots] = True
    return is_taken


def test_shown_offers_are_activated_with_their_true_probability(months: list[Lived]) -> None:
    probabilities, happened = [], []
    for lived in months:
        seen, is_taken = lived.month.visits.is_seen, _is_taken(lived.month)
        assert not (is_taken & ~seen).any()
        probabilities.append(lived.month.acceptance[seen])
        happened.append(is_taken[seen])
    _check_frequencies(np.concatenate(probabilities), np.concatenate(happened))


@pytest.mark.parametrize("role", range(3))
def test_what_each_role_may_do_decides_about_activation(
    months: list[Lived], operator: Operator, role: int
) -> None:
    """Applications that nobody confirms: their number is the lift times 1 - confirmed."""
    confirmed = getattr(operator.world.portal.confirmed, ROLES[role])
    trust = np.array(operator.world.portal.trust)
    expected = happened = 0.0
    for lived in months:
        visits = lived.month.visits
        mine = operator.members.roles[visits.members] == role
        lift = lived.chances.lift.copy()
        lived.month.moment.services.spread(lived.month.moment.services.lift, np.arange(len(lift)), lift)
        lift = lift[visits.rows[:, None], np.maximum(visits.offers, 0)] * trust
        expected += (lift * visits.is_seen)[mine].sum() * (1 - confirmed)
        happened += lived.month.reactions.is_applied[mine].sum()
    assert expected > 5
    assert abs(happened - expected) <= 3 * np.sqrt(expected)


def test_offers_not_seen_are_adopted_with_their_true_probability(months: list[Lived]) -> None:
    probabilities, happened = [], []
    for lived in months:
        visits, adoptions = lived.month.visits, lived.month.adoptions
        adoption = lived.chances.adoption
        is_open = adoption > 0
        visit, slot = np.nonzero(visits.is_seen)
        is_open[visits.rows[visit], visits.offers[visit, slot]] = False
        is_adopted = np.zeros_like(is_open)
        unseen = adoptions.visits < 0
        is_adopted[adoptions.rows[unseen], adoptions.offers[unseen]] = True
        assert not (is_adopted & ~is_open).any()
        probabilities.append(adoption[is_open])
        happened.append(is_adopted[is_open])
    _check_frequencies(np.concatenate(probabilities), np.concatenate(happened), n_groups=50)


def test_managers_call_as_often_as_they_should_and_mostly_big_clients(
    months: list[Lived], operator: Operator
) -> None:
    expected = np.zeros((2, N_CLIENTS))
    happened = np.zeros((2, N_CLIENTS))
    for lived in months:
        unseen = np.ones_like(lived.chances.own)
        visit, slot = np.nonzero(lived.month.visits.is_seen)
        unseen[lived.month.visits.rows[visit], lived.month.visits.offers[visit, slot]] = 0
        expected += [(lived.chances.own * unseen).sum(axis=1), (lived.chances.call * unseen).sum(axis=1)]
        adoptions = lived.month.adoptions
        is_call, is_own = adoptions.is_call, (adoptions.visits < 0) & ~adoptions.is_call
        happened[0] += np.bincount(adoptions.rows[is_own], minlength=N_CLIENTS)
        happened[1] += np.bincount(adoptions.rows[is_call], minlength=N_CLIENTS)
    for kind in range(2):
        assert abs(happened[kind].sum() - expected[kind].sum()) <= 3 * np.sqrt(expected[kind].sum())
    is_big = operator.clients.staff >= 30
    rate_of_calls = [expected[1, rows].sum() / expected[:, rows].sum() for rows in (is_big, ~is_big)]
    assert rate_of_calls[0] > 1.3 * rate_of_calls[1]


def test_the_log_counts_the_activations_of_the_truth(dataset: Dataset, world: World) -> None:
    """No activation lies outside the window; no holding begins inside it without one."""
    events = dataset.table("events").unique("event_id", keep="first")
    keys = ["decision_id", "client_id", "offer_id"]
    impressions = events.filter(event_type="impression").select(*keys, seen_at="occurred_at")
    assert impressions.select(keys).is_duplicated().sum() == 0
    activations = events.filter(event_type="activation").select(*keys, activated_at="occurred_at")
    joined = activations.join(impressions, on=keys, how="left")
    lost, n = world.feed.lost, len(joined)
    assert abs(joined["seen_at"].null_count() - n * lost) <= 3 * np.sqrt(n * lost * (1 - lost))
    delay = (joined["activated_at"] - joined["seen_at"]).drop_nulls()
    assert timedelta(0) < delay.min() <= delay.max() <= timedelta(days=30)
    began = dataset.table("holdings").select("client_id", "offer_id", "connected_at", "connected_by").unique()
    inside = impressions.join(began, on=["client_id", "offer_id"]).filter(
        (pl.col("connected_at") > pl.col("seen_at"))
        & (pl.col("connected_at") <= pl.col("seen_at") + timedelta(days=30))
    )
    assert len(inside) > 100
    assert set(inside["connected_by"]) == {"portal"}


def test_truth_is_zero_where_nothing_may_be_connected(months: list[Lived]) -> None:
    for lived in months:
        allowed, chances = lived.month.moment.allowed, lived.chances
        assert not chances.lift[~allowed.any].any()
        assert not chances.adoption[~(allowed.any | allowed.switch)].any()
        assert not (allowed.new & lived.month.moment.held).any()
        assert 0 <= chances.lift.min() <= chances.lift.max() <= 0.12
        assert (chances.own.sum(axis=1) < 0.25).all()
        assert (chances.call.sum(axis=1) < 0.15).all()


def test_popularity_is_far_from_the_truth(months: list[Lived]) -> None:
    """Otherwise there would be nothing to learn: mean reciprocal ranks of what is adopted unseen."""
    by_truth, by_popularity = [], []
    for lived in months:
        held, adoptions = lived.month.moment.held, lived.month.adoptions
        popularity = held[lived.month.moment.is_active].mean(axis=0)
        unseen = adoptions.visits < 0
        for row, offer in zip(adoptions.rows[unseen], adoptions.offers[unseen], strict=True):
            is_open = ~held[row]
            truth = lived.chances.adoption[row]
            by_truth.append(1 / (1 + (truth[is_open] > truth[offer]).sum()))
            by_popularity.append(1 / (1 + (popularity[is_open] > popularity[offer]).sum()))
    assert np.mean(by_truth) > 1.5 * np.mean(by_popularity)


def _latest_holdings(dataset: Dataset) -> dict[str, list[tuple[str, int, int]]]:
    """Offer, connected and disconnected instants (microseconds) of every holding, by client."""
    latest = dataset.table("holdings").sort("recorded_at").unique("holding_id", keep="last")
    end = pl.col("disconnected_at").dt.timestamp("us").fill_null(2**62)
    rows = latest.select("client_id", "offer_id", pl.col("connected_at").dt.timestamp("us"), end)
    held = defaultdict(list)
    for client_id, offer_id, connected_at, disconnected_at in rows.iter_rows():
        held[client_id].append((offer_id, connected_at, disconnected_at))
    return held


def test_nothing_is_connected_against_the_rules(dataset: Dataset, catalogue: Catalogue) -> None:
    offers = {offer.id: offer for offer in catalogue.offers}
    clients = {
        row["client_id"]: row for row in dataset.table("clients").unique("client_id").iter_rows(named=True)
    }
    n_upgrades = 0
    for client_id, holdings in _latest_holdings(dataset).items():
        for offer_id, at, _ in holdings:
            offer = offers[offer_id]
            beside = [other for other, begins, ends in holdings if begins <= at < ends]
            assert beside.count(offer_id) == 1
            assert all(set(group) & set(beside) for group in offer.requires)
            others = [offers[other] for other in beside if other != offer_id]
            assert offer.exclusive_slot is None or offer.exclusive_slot not in {
                other.exclusive_slot for other in others
            }
            assert not any(other.id in offer.excludes or offer_id in other.excludes for other in others)
            assert not offer.regions or clients[client_id]["region"] in offer.regions
            assert not offer.legal_forms or clients[client_id]["legal_form"] in offer.legal_forms
            n_upgrades += any(
                ends == at and offers[other].upgrades_to == offer_id for other, _, ends in holdings
            )
    assert n_upgrades > 0


def test_no_service_outlives_what_it_rests_on(dataset: Dataset, catalogue: Catalogue) -> None:
    requires = {offer.id: offer.requires for offer in catalogue.offers}
    for holdings in _latest_holdings(dataset).values():
        for offer_id, begins, ends in holdings:
            for _, _, at in holdings:
                if begins <= at < ends:
                    beside = {other for other, since, until in holdings if since <= at < until}
                    assert all(set(group) & beside for group in requires[offer_id])


def test_an_ended_holding_has_a_row_of_its_beginning_and_one_of_its_end(dataset: Dataset) -> None:
    ended = dataset.table("holdings").filter(pl.col("disconnected_at").is_not_null())
    assert len(ended) > 100
    assert ended["holding_id"].n_unique() == len(ended)
    began = dataset.table("holdings").filter(pl.col("disconnected_at").is_null())
    pairs = ended.join(began, on="holding_id", suffix="_began")
    assert pairs["holding_id"].n_unique() == len(ended)
    assert (pairs["recorded_at"] > pairs["recorded_at_began"]).all()
    assert (pairs["disconnected_at"] > pairs["connected_at"]).all()


def test_nothing_is_recorded_before_it_happens_or_after_the_end(dataset: Dataset) -> None:
    ends_at = pl.lit("2026-10-31T21:00:00").str.to_datetime(time_zone="UTC")
    for name, happened in (
        ("events", "occurred_at"),
        ("decisions", "occurred_at"),
        ("holdings", "connected_at"),
    ):
        table = dataset.table(name)
        assert (table["recorded_at"] >= table[happened]).all()
        assert table.filter(pl.col("recorded_at") >= ends_at).is_empty()


def test_clients_without_profiling_stand_in_no_list(dataset: Dataset) -> None:
    off = dataset.table("clients").filter(~pl.col("is_profiling_allowed"))["client_id"].unique()
    assert 0.01 < len(off) / N_CLIENTS < 0.03
    assert dataset.table("decisions").filter(pl.col("client_id").is_in(off.implode())).is_empty()


def test_dismissed_offers_are_not_shown_again_for_a_while(dataset: Dataset) -> None:
    events = dataset.table("events")
    dismissals = events.filter(event_type="dismissal").select(
        "client_id", "offer_id", put_aside_at="occurred_at"
    )
    again = (
        events.filter(event_type="impression")
        .join(dismissals, on=["client_id", "offer_id"])
        .with_columns(after=pl.col("occurred_at") - pl.col("put_aside_at"))
        .filter(pl.col("after") > timedelta(0))
    )
    assert len(dismissals) > 100
    assert again["after"].min() > timedelta(days=89)


def test_members_belong_to_the_clients_of_their_decisions(dataset: Dataset) -> None:
    owners = dataset.table("members").select("member_id", owner="client_id")
    joined = dataset.table("decisions").join(owners, on="member_id")
    assert len(joined) == len(dataset.table("decisions"))
    assert (joined["owner"] == joined["client_id"]).all()
    roles = dataset.table("members").filter(role="administrator")["client_id"]
    assert len(roles) == roles.n_unique() == N_CLIENTS
