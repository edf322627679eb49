"""Changes of what clients have: offered, drawn with exactly their true probabilities, and written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.domain import Change
from recsys.simulation.aftersales import CHANGES, EXPAND, RENEW, RETAIN, Services
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.lists import Lists
from recsys.simulation.months import STAGES
from recsys.simulation.operator import Month, Operator
from recsys.simulation.record import Recorder
from recsys.simulation.rollout import Policy, Request, Rollouts, top_lists
from recsys.simulation.truth import Context, Truth
from recsys.simulation.world import World

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
N_CLIENTS, N_MONTHS = 2500, 16
OF_SERVICES = (EXPAND, RENEW, RETAIN)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@pytest.fixture(scope="module")
def world() -> World:
    """The typical world with trouble, growth, complaints and offers to change what is held made frequent."""
    typical = World.load(DEMO / "worlds" / "typical.toml")
    life = {"shrink": 0.08, "expand": 0.08, "pace_up": 0.1}
    changes = {
        "n_clients": N_CLIENTS,
        "n_months": N_MONTHS,
        "seed": 20260303,
        "life": typical.life.model_copy(update=life),
        "portal": typical.portal.model_copy(update={"complaint": 0.02, "visit": 0.6}),
        "appetite": typical.appetite.model_copy(update={"disconnection_in_trouble": 0.05, "renewal": 0.5}),
        "aftersales": typical.aftersales.model_copy(update={"share": 1.0}),
    }
    return typical.model_copy(update=changes)


@dataclass(frozen=True)
class Life:
    """A life as months and as tables."""

    operator: Operator
    months: list[Month]
    tables: dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def life(world: World, catalogue: Catalogue) -> Life:
    operator = Operator(world, catalogue)
    recorder, months = Recorder(operator, catalogue.version), []
    for month in operator.months():
        recorder.add(month)
        months.append(month)
    return Life(operator, months, recorder.tables())


def _near(happened: np.ndarray, chances: np.ndarray) -> bool:
    """Within three Monte-Carlo errors, of a number of events that says something."""
    assert chances.sum() > 10
    return bool(abs(happened.sum() - chances.sum()) <= 3 * np.sqrt((chances * (1 - chances)).sum()))


def _shown(life: Life, month: Month) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visit, slot and service of every slot that offers to change one."""
    visits = month.visits
    changes = np.take_along_axis(visits.changes, np.maximum(visits.offers, 0), axis=1)
    visit, slot = np.nonzero((visits.offers >= 0) & (changes >= EXPAND))
    keys = life.operator.terms.keys(visits.rows[visit], visits.offers[visit, slot])
    return visit, slot, month.moment.services.find(keys)


def test_lists_offer_every_change_and_say_which(life: Life) -> None:
    items, decisions = life.tables["decision_items"], life.tables["decisions"]
    assert set(items["change"]) == set(Change)
    assert decisions["candidates"].str.contains('"retain"').any()
    held = life.tables["holdings"].unique("holding_id").select("client_id", "offer_id").unique()
    shown = items.join(decisions.select("decision_id", "client_id"), on="decision_id")
    of_services = shown.filter(pl.col("change").is_in([CHANGES[change] for change in OF_SERVICES]))
    assert len(of_services.join(held, on=["client_id", "offer_id"], how="anti")) == 0


def test_each_change_is_offered_where_it_has_a_point(life: Life) -> None:
    for month in life.months:
        services, moment = month.moment.services, month.moment
        expands, renews, retains = (services.changes == change for change in OF_SERVICES)
        assert (services.needed[expands] > services.quantity[expands]).all()
        assert (services.term[renews] == moment.number).all()
        assert (services.term[retains] <= moment.number).all()
        assert set(moment.stages[services.rows[retains]]) <= {STAGES.index("at_risk")}
        assert moment.ready[services.rows, services.offers].all()


@pytest.mark.parametrize("change", OF_SERVICES)
def test_changes_that_are_seen_happen_with_their_true_probability(life: Life, change: int) -> None:
    chances, happened = [], []
    for month in life.months:
        visit, slot, place = _shown(life, month)
        is_taken = np.zeros_like(month.visits.is_seen)
        is_taken[month.taken.visits, month.taken.slots] = True
        judged = month.visits.is_seen[visit, slot] & (month.moment.services.changes[place] == change)
        chances.append(month.acceptance[visit, slot][judged])
        happened.append(is_taken[visit, slot][judged])
    assert _near(np.concatenate(happened), np.concatenate(chances))


@pytest.mark.parametrize("change", [EXPAND, RENEW])
def test_changes_that_are_not_seen_happen_with_theirs(life: Life, change: int) -> None:
    chances, happened = [], []
    for month in life.months:
        services, keys = month.moment.services, life.operator.terms.keys
        visit, slot, place = _shown(life, month)
        is_seen = np.zeros(len(services.keys), dtype=bool)
        is_seen[place[month.visits.is_seen[visit, slot]]] = True
        judged = ~is_seen & (services.changes == change)
        revised = month.revisions
        kind = revised.term if change == RENEW else revised.quantity
        before = services.term if change == RENEW else services.quantity
        at = services.find(keys(revised.rows, revised.offers))
        is_changed = np.zeros(len(services.keys), dtype=bool)
        is_changed[at] = kind > before[at]
        chances.append(services.base[judged])
        happened.append(is_changed[judged])
    assert _near(np.concatenate(happened), np.concatenate(chances))


def test_a_retention_that_is_seen_keeps_services(life: Life, world: World, catalogue: Catalogue) -> None:
    """What is given up, of services at risk that were shown a retention and of those that were not."""
    truth, operator = Truth(world, catalogue), life.operator
    given_up: dict[bool, list[bool]] = {True: [], False: []}
    chances: dict[bool, list[float]] = {True: [], False: []}
    for month in life.months[3::3]:
        there = truth.at(month.number)
        visit, slot, place = _shown(life, month)
        seen = month.visits.is_seen[visit, slot]
        context = {
            int(one): Context(_role(operator, month, at), int(column) + 1)
            for one, at, column in zip(place[seen], visit[seen], slot[seen], strict=True)
        }
        ended = set(operator.terms.keys(month.endings.rows, month.endings.offers).tolist())
        services = month.moment.services
        for one in np.flatnonzero(services.changes == RETAIN).tolist():
            pair = f"c{services.rows[one]:07d}", there.offer_ids[services.offers[one]]
            keeping = there.keeping(*pair, context.get(one))
            assert keeping.shown > keeping.unshown
            is_shown = one in context
            chances[is_shown].append(1 - (keeping.shown if is_shown else keeping.unshown))
            given_up[is_shown].append(int(services.keys[one]) in ended)
    for is_shown in (True, False):
        assert _near(np.array(given_up[is_shown]), np.array(chances[is_shown]))


def _role(operator: Operator, month: Month, visit: int) -> str:
    return ("administrator", "finance", "employee")[operator.members.roles[month.visits.members[visit]]]


def test_truth_answers_for_every_change(world: World, catalogue: Catalogue) -> None:
    there = Truth(world, catalogue).at(12)
    services = there.moment.services
    confirmed = world.portal.confirmed.administrator
    for change in OF_SERVICES:
        for one in np.flatnonzero(services.changes == change)[:20].tolist():
            pair = f"c{services.rows[one]:07d}", there.offer_ids[services.offers[one]]
            answer = there.answer(*pair, CHANGES[change])
            assert answer.adoption == (0 if change == RETAIN else services.base[one])
            assert answer.acceptance == pytest.approx(answer.adoption + confirmed * services.lift[one])
            assert answer.acceptance > answer.adoption
            assert change == EXPAND or answer.margin > 0
            nothing = there.answer(*pair, Change.NEW)
            assert (nothing.acceptance, nothing.adoption) == (0, 0)


def test_margins_grow_with_seats(life: Life, world: World) -> None:
    worth, offer_ids = life.operator.worth, life.operator.shelf.offer_ids
    by_seat, by_piece = offer_ids.index("fmc"), offer_ids.index("detail")
    assert world.demand["fmc"].seats > 0 == world.demand["detail"].seats
    one, ten = worth.of_connections(np.array([by_seat, by_seat]), np.array([1, 10]))
    assert ten == pytest.approx(10 * one)
    assert worth.of_connections(np.array([by_piece]), np.array([1]))[0] > 0
    capped, capacity = offer_ids.index("vpbx-start"), int(world.demand["vpbx-start"].capacity)
    full, more = worth.of_connections(np.array([capped, capped]), np.array([capacity, capacity + 5]))
    assert full == more


def test_an_activation_changes_the_holding(life: Life) -> None:
    """A renewal and a retention give a later term, an expansion more seats; the service goes on."""
    events = life.tables["events"].unique("event_id").filter(event_type="activation")
    changes = life.tables["decision_items"].select("decision_id", "offer_id", "change")
    activated = events.join(changes, on=["decision_id", "offer_id"])
    holdings = life.tables["holdings"].sort("recorded_at")
    counts = {}
    for change, column in (
        (Change.EXPAND, "quantity"),
        (Change.RENEW, "term_ends_on"),
        (Change.RETAIN, "term_ends_on"),
    ):
        cases = activated.filter(change=str(change)).filter(
            pl.col("occurred_at") < life.tables["events"]["occurred_at"].max() - timedelta(days=3)
        )
        counts[change] = len(cases)
        for client_id, offer_id, at in cases.select("client_id", "offer_id", "occurred_at").iter_rows():
            versions = holdings.filter(client_id=client_id, offer_id=offer_id).filter(
                pl.col("connected_at") < at
            )
            versions = versions.filter(holding_id=versions["holding_id"][-1])
            before = versions.filter(pl.col("recorded_at") <= at)[column]
            after = versions.filter(pl.col("recorded_at") > at)[column]
            earlier = before[-1] if len(before) else None
            assert len(after), (client_id, offer_id)
            assert earlier is None or (after > earlier).any()
            ended = versions["disconnected_at"].drop_nulls()
            assert len(ended) == 0 or ended[0] > at
    assert min(counts.values()) > 10


def test_without_such_offers_nothing_else_moves(world: World, catalogue: Catalogue) -> None:
    """Own wishes are drawn the same, whatever stands in lists."""
    silent = world.aftersales.model_copy(update={"share": 0.0})
    one, other = (
        next(Operator(changed, catalogue).months())
        for changed in (world, world.model_copy(update={"aftersales": silent}))
    )
    assert not (other.visits.changes[other.visits.eligible] >= EXPAND).any()
    assert (one.visits.changes[one.visits.eligible] >= EXPAND).any()
    assert (other.revisions.visits == -1).all()
    pairs = [
        set(zip(part.rows.tolist(), part.offers.tolist(), strict=True))
        for part in (one.revisions, other.revisions)
    ]
    assert pairs[0] > pairs[1]


def _prefer(of_services: bool) -> Policy:
    def fill(request: Request) -> Lists:
        is_change = request.changes >= EXPAND
        # What is hardly ever eligible comes last, so that the rest of the list stays as it is.
        order = np.arange(is_change.shape[1], dtype=np.float64)
        return top_lists(np.where(is_change == of_services, 1000.0, 0.0) + order, request)

    return fill


def test_rollouts_count_what_changes_bring(world: World, catalogue: Catalogue) -> None:
    # Without giants, whose seats would drown everybody else's.
    population = world.population.model_copy(update={"tail_from": 0.0})
    forms = {name: form.model_copy(update={"spread": 0.5}) for name, form in world.forms.items()}
    even = world.model_copy(update={"population": population, "forms": forms})
    rollouts = Rollouts(even, catalogue, 8)
    with_them, without = (rollouts.run(_prefer(of_services), 4) for of_services in (True, False))
    advantage, error = with_them.advantage(without)
    assert advantage > 3 * error
    expected = with_them.n_expected.sum()
    assert abs(with_them.n_accepted.sum() - expected) <= 3 * expected**0.5


def test_nobody_gets_a_list_while_a_complaint_is_open(life: Life, world: World) -> None:
    complaints = life.tables["events"].unique("event_id").filter(event_type="complaint")
    opened = complaints.select("client_id", opened_at="occurred_at")
    gaps = (
        life.tables["decisions"]
        .join(opened, on="client_id")
        .select(gap=pl.col("occurred_at") - pl.col("opened_at"))["gap"]
    )
    after = gaps.filter(gaps > timedelta(0))
    assert len(after) > 200
    assert after.min() >= timedelta(days=world.portal.complaint_days)


def test_points_are_for_those_who_hold_the_loyalty_offer(life: Life) -> None:
    latest = life.tables["holdings"].sort("recorded_at").unique("holding_id", keep="last")
    loyal = latest.filter(offer_id="loyalty").select("client_id", "connected_at", "disconnected_at")
    versions = life.tables["clients"].sort("recorded_at").unique(["client_id", "valid_from"], keep="last")
    with_points = versions.filter(pl.col("loyalty_points") > 0)
    held = with_points.join(loyal, on="client_id").filter(
        (pl.col("connected_at") <= pl.col("valid_from"))
        & (pl.col("disconnected_at").is_null() | (pl.col("disconnected_at") >= pl.col("valid_to")))
    )
    assert held["client_id"].n_unique() > 100
    assert len(with_points.join(held, on=["client_id", "valid_from"], how="anti")) == 0


def test_editions_are_those_of_the_chain(life: Life) -> None:
    editions = dict(life.tables["holdings"].select("offer_id", "edition").unique().iter_rows())
    assert [editions[offer] for offer in ("vpbx-start", "vpbx-pro", "vpbx-ent")] == ["1", "2", "3"]
    assert [editions[offer] for offer in ("acc-online-1", "acc-online-2", "acc-out")] == ["1", "1", "2"]
    assert {offer for offer, edition in editions.items() if edition is not None} == {
        *("vpbx-start", "vpbx-pro", "vpbx-ent"),
        *("acc-online-1", "acc-online-2", "acc-out"),
    }


def test_services_are_found_by_their_pair(life: Life) -> None:
    services = life.months[5].moment.services
    assert (services.find(services.keys) == np.arange(len(services.keys))).all()
    assert services.find(np.array([-1])).tolist() == [-1]
    none = services.take(np.zeros(0, dtype=np.int64))
    assert isinstance(none, Services)
    assert none.find(services.keys[:2]).tolist() == [-1, -1]
