"""The truth is true, and rollouts give policies their value: the logging policy's is the log's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.validation import recorded_column
from recsys.domain import Change
from recsys.models.base import TrainingSet
from recsys.models.registry import make_scorer
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.lists import Lists, draw_weighted
from recsys.simulation.operator import Operator
from recsys.simulation.record import record_world
from recsys.simulation.rollout import Aim, Policy, Request, Rollout, Rollouts, top_lists
from recsys.simulation.truth import Context, Truth, dense_chances
from recsys.simulation.world import World
from recsys.tables import table_named

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
FROM_MONTH, N_MONTHS = 10, 4


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@pytest.fixture(scope="module")
def world() -> World:
    changes = {"n_clients": 2500, "seed": 20260202, "n_months": FROM_MONTH + N_MONTHS}
    return World.load(DEMO / "worlds" / "typical.toml").model_copy(update=changes)


@pytest.fixture(scope="module")
def rollouts(world: World, catalogue: Catalogue) -> Rollouts:
    return Rollouts(world, catalogue, FROM_MONTH)


@pytest.fixture(scope="module")
def truth(world: World, catalogue: Catalogue) -> Truth:
    return Truth(world, catalogue)


def show_anything(request: Request) -> Lists:
    return draw_weighted(np.where(request.eligible, 1.0, 0.0), request.seeds, request.k)


def show_what_is_popular(request: Request) -> Lists:
    column = {offer_id: number for number, offer_id in enumerate(request.offer_ids)}
    n_holders = np.zeros(len(column))
    for state in request.snapshot.states:
        for holding in state.holdings:
            n_holders[column[holding.offer_id]] += 1
    return top_lists(np.broadcast_to(n_holders, request.eligible.shape), request)


def show_what_a_model_says(request: Request) -> Lists:
    training = TrainingSet.from_snapshot(request.snapshot)
    ease = make_scorer("ease").fit(training, np.random.default_rng(1))
    rows = {state.client_id: row for row, state in enumerate(request.snapshot.states)}
    known = np.array([rows.get(client_id, -1) for client_id in request.client_ids])
    columns = [training.offers.offer_ids.index(offer_id) for offer_id in request.offer_ids]
    scores = ease.score(training.clients)[known][:, columns]
    return top_lists(np.where(known[:, None] >= 0, scores, 0.0), request)


@pytest.fixture(scope="module")
def logging(rollouts: Rollouts) -> Rollout:
    return rollouts.run_logging(N_MONTHS)


@pytest.fixture(scope="module")
def oracle(rollouts: Rollouts) -> Rollout:
    return rollouts.run_oracle(N_MONTHS)


@pytest.fixture(scope="module")
def oracle_of_acceptance(rollouts: Rollouts) -> Rollout:
    return rollouts.run_oracle(N_MONTHS, Aim.ACCEPTANCE)


@pytest.fixture(scope="module")
def popular(rollouts: Rollouts) -> Rollout:
    return rollouts.run(show_what_is_popular, N_MONTHS)


def test_a_rollout_of_the_logging_policy_is_the_log(
    logging: Rollout, world: World, catalogue: Catalogue
) -> None:
    """With the same luck to the last row."""
    recorded = record_world(world, catalogue, lambda _: None)
    tables = logging.tables()
    for name, frame in recorded.items():
        assert frame.equals(tables[name]), name


def test_with_other_luck_its_acceptance_is_that_of_the_log(
    logging: Rollout, world: World, catalogue: Catalogue
) -> None:
    operator = Operator(world, catalogue)
    while operator.month < FROM_MONTH:
        operator.finish(operator.begin())
    n_impressions = n_accepted = 0
    for month in operator.fork(path=1).months():
        n_impressions += int(month.visits.is_seen.sum())
        n_accepted += int((month.adoptions.visits >= 0).sum())
    share = n_accepted / n_impressions
    error = (share * (1 - share) * (1 / n_impressions + 1 / logging.n_impressions.sum())) ** 0.5
    assert share != logging.acceptance
    assert abs(share - logging.acceptance) <= 3 * error


def test_what_is_accepted_is_what_was_expected(logging: Rollout, oracle: Rollout) -> None:
    for rollout in (logging, oracle):
        expected = rollout.n_expected.sum()
        assert abs(rollout.n_accepted.sum() - expected) <= 3 * expected**0.5


@pytest.mark.parametrize("policy", [show_anything, show_what_a_model_says])
def test_the_oracle_beats_every_policy(
    rollouts: Rollouts, oracle: Rollout, oracle_of_acceptance: Rollout, policy: Policy
) -> None:
    other = rollouts.run(policy, N_MONTHS)
    advantage, error = oracle.advantage(other)
    assert advantage > 3 * error
    assert oracle_of_acceptance.acceptance > other.acceptance


def test_the_oracle_beats_what_is_popular(
    oracle: Rollout, oracle_of_acceptance: Rollout, popular: Rollout
) -> None:
    advantage, error = oracle.advantage(popular)
    assert advantage > 3 * error
    assert oracle_of_acceptance.acceptance > popular.acceptance


def test_the_oracle_beats_the_log(logging: Rollout, oracle: Rollout) -> None:
    advantage, error = oracle.advantage(logging)
    assert advantage > 3 * error


def test_rollouts_share_their_luck(popular: Rollout, logging: Rollout) -> None:
    """A rollout is compared client by client: who never saw a list led the same life."""
    assert (popular.n_impressions == logging.n_impressions).mean() > 0.9
    unseen = (popular.n_impressions == 0) & (logging.n_impressions == 0)
    assert unseen.sum() > 200
    assert (popular.n_adopted[unseen] == logging.n_adopted[unseen]).all()
    _, paired = popular.advantage(logging)
    unpaired = (popular.margin.var() / 2500 + logging.margin.var() / 2500) ** 0.5
    assert paired < 0.9 * unpaired


def test_an_experiment_finds_the_known_effect(rollouts: Rollouts, logging: Rollout, oracle: Rollout) -> None:
    is_treated = np.random.default_rng(5).random(2500) < 0.5
    split = rollouts.run_oracle(N_MONTHS, is_treated=is_treated)
    known = float((oracle.margin - logging.margin).mean())
    treated, control = split.margin[is_treated], split.margin[~is_treated]
    error = (treated.var(ddof=1) / len(treated) + control.var(ddof=1) / len(control)) ** 0.5
    assert abs(treated.mean() - control.mean() - known) <= 3 * error
    versions = split.tables()["decisions"].filter(pl.col("policy_version") == "oracle")["client_id"].unique()
    assert set(versions) <= {
        client_id for client_id, mine in zip(split.client_ids, is_treated, strict=True) if mine
    }


def test_a_policy_sees_what_was_known_and_nothing_of_the_truth(rollouts: Rollouts) -> None:
    seen: list[Request] = []

    def watch(request: Request) -> Lists:
        seen.append(request)
        for name, frame in request.dataset.tables.items():
            recorded = recorded_column(table_named(name))
            assert recorded is None or frame[recorded].max() <= request.as_of, name
        states = request.states()
        assert [state.client_id for state in states] == list(request.client_ids)
        return show_anything(request)

    rollouts.run(watch, 2)
    assert [request.month for request in seen] == [FROM_MONTH, FROM_MONTH + 1]
    public = {name for name in dir(seen[0]) if not name.startswith("_")}
    assert public == {
        *("month", "as_of", "k", "offer_ids", "client_ids", "seeds"),
        *("eligible", "changes", "dataset", "snapshot", "states"),
    }


def test_a_policy_may_not_show_what_is_not_eligible(rollouts: Rollouts) -> None:
    def show_the_first(request: Request) -> Lists:
        shape = (len(request.seeds), request.k)
        return Lists(np.tile(np.arange(request.k), (shape[0], 1)), np.ones(shape))

    with pytest.raises(ValueError, match="not eligible"):
        rollouts.run(show_the_first, 1)


@pytest.mark.parametrize("n_months", [0, N_MONTHS + 1])
def test_a_rollout_ends_with_the_world(rollouts: Rollouts, n_months: int) -> None:
    with pytest.raises(ValueError, match="n_months"):
        rollouts.run_logging(n_months)


@pytest.mark.parametrize("month", [0, FROM_MONTH + N_MONTHS])
def test_a_rollout_begins_when_something_is_known(world: World, catalogue: Catalogue, month: int) -> None:
    with pytest.raises(ValueError, match="from_month"):
        Rollouts(world, catalogue, month)


def test_the_truth_is_what_the_life_was_drawn_from(truth: Truth, world: World, catalogue: Catalogue) -> None:
    operator = Operator(world, catalogue)
    for number in range(3):
        moment = operator.begin()
        chances = dense_chances(operator, moment)
        there = truth.at(number)
        assert (there.chances.adoption == chances.adoption).all()
        assert (there.chances.lift == chances.lift).all()
        operator.finish(moment)


def test_answers_are_the_arrays(truth: Truth, world: World, catalogue: Catalogue) -> None:
    there = truth.at(FROM_MONTH)
    row, column = np.argwhere(there.moment.allowed.upgrade)[0]
    client_id, offer_id = there.client_ids[row], there.offer_ids[column]
    adoption, lift = there.chances.adoption[row, column], there.chances.lift[row, column]
    answer = there.answer(client_id, offer_id, Change.UPGRADE)
    confirmed = world.portal.confirmed
    assert answer.adoption == pytest.approx(adoption)
    assert answer.acceptance == pytest.approx(adoption + confirmed.administrator * lift)
    by_employee = there.answer(client_id, offer_id, Change.UPGRADE, Context("employee", 3))
    assert by_employee.acceptance == pytest.approx(
        adoption + confirmed.employee * world.portal.trust[2] * lift
    )
    operator = there._operator
    held = [
        there.offer_ids.index(other.id)
        for other in catalogue.offers
        if other.upgrades_to == offer_id and there.moment.held[row, there.offer_ids.index(other.id)]
    ]
    needed = operator.terms.quantity(np.array([row]), np.array([column]), operator.course.scale[[row]])
    gained = operator.worth.of_connections(np.array([column]), needed)
    replaced = operator.worth.of_connections(np.array(held), operator.book.quantity[row, held])
    assert answer.margin == pytest.approx(float(gained[0] - replaced.sum()))
    assert answer.gain == pytest.approx((answer.acceptance - adoption) * answer.margin)
    as_new = there.answer(client_id, offer_id, Change.NEW)
    assert (as_new.acceptance, as_new.adoption) == (0, 0)


def test_questions_that_have_no_answer(truth: Truth) -> None:
    there = truth.at(FROM_MONTH)
    with pytest.raises(KeyError):
        there.answer("nobody", "loyalty")
    row, column = np.argwhere(~there.moment.ready)[0]
    with pytest.raises(ValueError, match="does not have"):
        there.keeping(there.client_ids[row], there.offer_ids[column])
    with pytest.raises(ValueError, match="slot"):
        there.answer("c0000000", "loyalty", context=Context(slot=9))
    with pytest.raises(ValueError, match="month"):
        truth.at(99)
    with pytest.raises(ValueError, match="cut"):
        truth.adoption_within(datetime(2026, 3, 2, tzinfo=UTC), 30)
    with pytest.raises(ValueError, match="cut"):
        truth.adoption_within(truth.starts_at(FROM_MONTH + 2), 90)


def test_adoption_within_a_horizon_is_as_probable_as_the_truth_says(
    truth: Truth, world: World, catalogue: Catalogue
) -> None:
    """Against what the log's life brought, in groups of rising probability: within 3 Monte-Carlo errors."""
    n_days = 91
    probabilities = truth.adoption_within(truth.starts_at(FROM_MONTH + 1), n_days, n_paths=4)
    operator = Operator(world, catalogue)
    while operator.month < FROM_MONTH + 1:
        operator.finish(operator.begin())
    before = operator.book.had.copy()
    assert [month.number for month in operator.months()][-1] == world.n_months - 1
    chance, came = probabilities[~before], operator.book.had[~before]
    error = np.sqrt((chance * (1 - chance)).sum())
    assert abs(came.sum() - chance.sum()) <= 3 * error
    scores = []
    for group in np.array_split(np.argsort(chance, kind="stable"), 50):
        expected = chance[group].sum()
        if expected >= 5:
            scores.append((came[group].sum() - expected) ** 2 / (chance[group] * (1 - chance[group])).sum())
    assert len(scores) >= 3
    assert sum(scores) - len(scores) <= 3 * np.sqrt(2 * len(scores))
