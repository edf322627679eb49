"""Parts of the made-up operator by themselves: each parameter of a world does what its docstring says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigError
from recsys.simulation.behaviour import Chances
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.lists import draw_greedy, draw_weighted, slot_probabilities
from recsys.simulation.market import Market
from recsys.simulation.operator import Moment, Operator
from recsys.simulation.policies import LoggingPolicies
from recsys.simulation.record import record_world
from recsys.simulation.rules import Allowed
from recsys.simulation.sections import Logging, LoggingKind, Misconduct, Repricing
from recsys.simulation.streams import Purpose, Streams
from recsys.simulation.timeline import make_timeline
from recsys.simulation.world import World, check_world
from recsys.simulation.worth import expected_margins, months_kept

DEMO = Path(__file__).parents[2] / "datasets" / "demo"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@pytest.fixture(scope="module")
def world() -> World:
    return World.load(DEMO / "worlds" / "typical.toml").model_copy(update={"n_clients": 600, "seed": 4})


def changed(world: World, section: str, **values: object) -> World:
    part = getattr(world, section).model_copy(update=values)
    return world.model_copy(update={section: part})


def begun(world: World, catalogue: Catalogue) -> tuple[Operator, Moment]:
    operator = Operator(world, catalogue)
    return operator, operator.begin()


def chances_of(operator: Operator, moment: Moment) -> Chances:
    return operator.chances(moment, np.arange(len(operator.clients)))


def test_fatigue_wears_the_response_down_and_nothing_else(world: World, catalogue: Catalogue) -> None:
    operator, moment = begun(changed(world, "portal", fatigue=0.2), catalogue)
    fresh = chances_of(operator, moment)
    operator.book.n_seen[:] = 2
    tired = chances_of(operator, moment)
    assert tired.lift == pytest.approx(fresh.lift * 0.64)
    assert (tired.adoption == fresh.adoption).all()


def test_companies_of_one_owner_want_alike(world: World, catalogue: Catalogue) -> None:
    def correlation(shared: float) -> float:
        plain = changed(world, "population", group_taste=shared, grouped=0.6)
        operator, _ = begun(plain, catalogue)
        groups = operator.clients.groups
        wants = np.log(operator.behaviour._lasting)
        wants = wants - wants.mean(axis=0)
        by_group = [np.flatnonzero(groups == group)[:2] for group in range(groups.max() + 1)]
        pairs = np.array([pair for pair in by_group if len(pair) == 2])
        return float(np.corrcoef(wants[pairs[:, 0]].ravel(), wants[pairs[:, 1]].ravel())[0, 1])

    assert correlation(0.9) > correlation(0.0) + 0.04


def test_without_drift_wants_stay_and_with_it_they_wander(world: World, catalogue: Catalogue) -> None:
    still, _ = begun(changed(world, "appetite", drift=0.0), catalogue)
    assert not still.behaviour._log_pulls.any()
    restless, _ = begun(changed(world, "appetite", drift=0.3), catalogue)
    steps = np.diff(restless.behaviour._log_pulls, axis=0)
    n = steps.size
    assert abs(steps.std() - 0.3) <= 3 * 0.3 / np.sqrt(2 * n)
    before = restless.behaviour._log_pulls[:4].copy()
    restless.behaviour.redraw_drift(3, Streams(99))
    assert (restless.behaviour._log_pulls[:4] == before).all()
    assert (restless.behaviour._log_pulls[5] != before[0]).any()


def test_a_sharper_choice_keeps_the_need_and_favours_the_best(world: World, catalogue: Catalogue) -> None:
    operator, _ = begun(changed(world, "appetite", choice=3.0), catalogue)
    needs = operator.shelf.needs
    wants = np.random.default_rng(1).random((5, len(needs)))
    sharp = operator.behaviour._sharpen(wants)
    for need in range(needs.max() + 1):
        columns = needs == need
        assert sharp[:, columns].sum(axis=1) == pytest.approx(wants[:, columns].sum(axis=1))
        if columns.sum() > 1:
            best = wants[:, columns].argmax(axis=1)
            gain = (sharp - wants)[:, columns][np.arange(5), best]
            assert (gain > 0).all()


def test_a_term_locks_a_client_in(world: World, catalogue: Catalogue) -> None:
    operator, moment = begun(changed(world, "appetite", switching=0.5, locked=0.1), catalogue)
    rows, columns = np.nonzero(moment.allowed.switch)
    assert len(rows) > 100
    everybody = np.arange(len(operator.clients))
    situation = operator.situation(moment, everybody)
    free = operator.behaviour.attraction(replace(situation, is_locked=np.zeros_like(moment.held)), 0)
    bound = operator.behaviour.attraction(replace(situation, is_locked=np.ones_like(moment.held)), 0)
    assert bound[rows, columns] == pytest.approx(0.1 * free[rows, columns])
    assert not chances_of(operator, moment).lift[rows, columns].any()


def test_nobody_switches_unless_the_world_says_so(world: World, catalogue: Catalogue) -> None:
    _, moment = begun(changed(world, "appetite", switching=0.0), catalogue)
    assert not moment.allowed.switch.any()


def test_an_edition_that_is_too_small_makes_the_next_one_wanted(world: World, catalogue: Catalogue) -> None:
    operator, moment = begun(world, catalogue)
    lower, higher = (operator.shelf.offer_ids.index(name) for name in ("vpbx-start", "vpbx-pro"))
    held = np.zeros((2, len(operator.shelf.offer_ids)), dtype=bool)
    held[:, lower] = True
    upgrade = np.zeros_like(held)
    upgrade[:, higher] = True
    quantity = np.zeros(held.shape, dtype=np.int64)
    quantity[:, lower] = (3, 12)
    situation = replace(
        operator.situation(moment, np.array([0, 0])),
        held=held,
        allowed=Allowed(np.zeros_like(held), upgrade, np.zeros_like(held)),
        quantity=quantity,
    )
    small, large = operator.behaviour.attraction(situation, 0)[:, higher]
    assert large == pytest.approx(4 * small)


def test_margins_count_the_months_that_a_service_stays(world: World, catalogue: Catalogue) -> None:
    plain = changed(changed(world, "life", leave=0.0), "appetite", disconnection=0.1, locked=0.5)
    operator, _ = begun(plain, catalogue)
    margins = expected_margins(plain, operator.shelf, 3)
    without, with_term = (operator.shelf.offer_ids.index(name) for name in ("loyalty", "inet-fix"))
    assert plain.demand["inet-fix"].term_months >= 3
    for offer, stays in ((without, 0.9), (with_term, 0.95)):
        assert margins[offer] == pytest.approx(operator.shelf.margins[offer] * (1 + stays + stays**2))


def test_a_service_in_trouble_is_kept_for_fewer_months(world: World) -> None:
    """By hand: one month surely, then (1 - leave)(1 - d), in trouble or settled."""
    plain = changed(world, "life", leave=0.0, leave_in_trouble=0.2, settle=0.5)
    plain = changed(plain, "appetite", disconnection=0.1, disconnection_in_trouble=0.5)
    free = np.ones((1, 3))
    assert months_kept(plain, free, is_in_trouble=False) == pytest.approx(1 + 0.9 + 0.81)
    stays = 0.8 * 0.5
    later = stays * (0.5 * 0.9 + 0.5 * stays)
    assert months_kept(plain, free, is_in_trouble=True) == pytest.approx(1 + stays + later)
    assert months_kept(plain, 0 * free, is_in_trouble=False) == pytest.approx(3)


def test_the_same_key_draws_the_same_number_for_every_purpose_apart() -> None:
    keys = np.arange(1, 50_001)
    one = Streams(7).uniforms(Purpose.DATES, 3, keys)
    assert (one == Streams(7).uniforms(Purpose.DATES, 3, keys)).all()
    assert abs(one.mean() - 0.5) <= 3 / np.sqrt(12 * len(keys))
    others = (
        Streams(7).uniforms(Purpose.TERMS, 3, keys),
        Streams(7).uniforms(Purpose.DATES, 4, keys),
        Streams(8).uniforms(Purpose.DATES, 3, keys),
        Streams(7).other_path(1).uniforms(Purpose.DATES, 3, keys),
    )
    for other in others:
        assert abs(np.corrcoef(one, other)[0, 1]) <= 3 / np.sqrt(len(keys))


def test_weighted_draws_have_their_probabilities() -> None:
    n = 20_000
    weights = np.tile([4.0, 0.0, 2.0, 1.0, 1.0], (n, 1))
    lists = draw_weighted(weights, np.random.default_rng(2).integers(0, 2**62, n), 3)
    assert (lists.offers != 1).all()
    for offer, share in ((0, 0.5), (2, 0.25), (3, 0.125)):
        drawn = (lists.offers[:, 0] == offer).mean()
        assert abs(drawn - share) <= 3 * np.sqrt(share * (1 - share) / n)
    first, second = lists.offers[:, 0], lists.offers[:, 1]
    left = 8 - weights[0][first]
    assert lists.probabilities[:, 1] == pytest.approx(weights[0][second] / left)
    expected = slot_probabilities(weights[:1], 3)[:, 0]
    shown = np.array([[(lists.offers[:, slot] == offer).mean() for offer in range(5)] for slot in range(3)])
    assert shown[0] == pytest.approx(expected[0], abs=3 * 0.5 / np.sqrt(n))
    assert shown == pytest.approx(expected, abs=0.06)


def test_equal_weights_have_exact_slots() -> None:
    expected = slot_probabilities(np.array([[1.0, 1.0, 0.0, 1.0, 1.0]]), 3)
    assert expected[:, 0, [0, 1, 3, 4]] == pytest.approx(np.full((3, 4), 0.25))
    assert not expected[:, 0, 2].any()


def test_greedy_draws_explore_as_often_as_they_say() -> None:
    n, exploration = 20_000, 0.3
    eligible = np.ones((n, 4), dtype=bool)
    scores = np.array([[1.0, 3.0, 2.0, 0.0]])
    lists = draw_greedy(scores, eligible, np.random.default_rng(3).integers(0, 2**62, n), 2, exploration)
    share = 0.7 + 0.3 / 4
    best = lists.offers[:, 0] == 1
    assert abs(best.mean() - share) <= 3 * np.sqrt(share * (1 - share) / n)
    assert set(lists.probabilities[best, 0]) == {share}
    assert lists.probabilities[~best, 0] == pytest.approx(0.3 / 4)
    assert len(np.unique(lists.offers[~best, 0])) == 3


@pytest.mark.parametrize("kind", list(LoggingKind))
def test_expected_slots_are_those_of_the_draws(world: World, kind: LoggingKind) -> None:
    n = 20_000
    policy = Logging(kind=kind, exploration=0.2 if kind is LoggingKind.GREEDY else 0.0)
    policies = LoggingPolicies(world)
    popularity = 40.0 * np.random.default_rng(1).permutation(40) ** 2 / 1600
    eligible = np.ones((n, 40), dtype=bool)
    eligible[:, 4] = False
    priority = policies.priority(policy, popularity, None)
    seeds = np.random.default_rng(4).integers(0, 2**62, n)
    if kind is LoggingKind.GREEDY:
        offers = draw_greedy(priority, eligible, seeds, 5, policy.exploration).offers
    else:
        offers = draw_weighted(np.where(eligible, priority, 0.0), seeds, 5).offers
    expected = policies.expected_slots(policy, priority, eligible[:1])[:, 0]
    shown = np.array([[(offers[:, slot] == offer).mean() for offer in range(40)] for slot in range(5)])
    assert shown[0] == pytest.approx(expected[0], abs=0.02)
    assert shown.sum(axis=0) == pytest.approx(expected.sum(axis=0), abs=0.03)


def test_a_confounded_policy_shows_what_clients_want(world: World, catalogue: Catalogue) -> None:
    """It looks good in the log for a reason that no table shows."""

    def mean_chance(confounding: float) -> float:
        policy = Logging(kind=LoggingKind.SOFTMAX, confounding=confounding)
        month = next(Operator(world.model_copy(update={"logging": (policy,)}), catalogue).months())
        return float(month.acceptance[month.visits.is_seen].mean())

    assert mean_chance(1.0) > 1.5 * mean_chance(0.0)


def test_regional_prices_are_added_where_there_were_none(catalogue: Catalogue, world: World) -> None:
    change = Repricing(month=2, offer="loyalty", factor=2.0, region="SPE")
    priced = world.model_copy(update={"prices": (change,)})
    market = Market(catalogue, priced, make_timeline(world.starts_on, 4, world.time_zone))
    column = [offer.id for offer in catalogue.offers].index("loyalty")
    region = list(world.regions).index("SPE")
    before, after = market.prices_in(1).month[column], market.prices_in(2).month[column]
    assert after[region] == pytest.approx(2 * before[region])
    assert np.delete(after, region, axis=0) == pytest.approx(np.delete(before, region, axis=0))
    table = market.tables()["offer_prices"].filter(offer_id="loyalty")
    assert table.filter(region="SPE")["recorded_at"].item() == datetime(2025, 6, 30, 21, tzinfo=UTC)


def test_a_world_that_says_nothing_new_is_a_plain_one(world: World, catalogue: Catalogue) -> None:
    """The defaults switch everything off but uniform lists, own wishes and what keeps lists decent."""
    kept = ("new", "prospects", "staff_unknown", "revenue_unknown", "profiling_off", "vip", "grouped")
    values = world.model_dump(exclude={"calls", "facts", "prices", "misconduct", "feed", "logging", "face"})
    values["population"] = {name: values["population"][name] for name in kept}
    del values["aftersales"], values["loyalty_offer"], values["portal"]["complaint_days"]
    for section, added in (
        ("life", ("come_back", "closing_months")),
        ("portal", ("trust", "attention_spread", "fatigue", "recovery", "confirmed", "delay_days")),
        (
            "appetite",
            ("response_power", "choice", "switching", "locked", "renewal", "adjust", "drift", "calendar"),
        ),
    ):
        values[section] = {name: value for name, value in values[section].items() if name not in added}
    new = ("past", "seats", "capacity", "term_months", "from_month", "until_month", "announced_days")
    values["demand"] = {
        offer_id: {name: value for name, value in demand.items() if name not in new}
        for offer_id, demand in values["demand"].items()
    }
    plain = World.parse({**values, "n_months": 4}, "plain")
    check_world(plain, catalogue, "plain")
    tables = record_world(plain, catalogue, lambda _: None)
    assert set(tables["decisions"]["policy_version"]) == {"uniform-1"}
    assert set(tables["holdings"]["quantity"]) == {1}
    # Without terms and seats only a retention is left to be offered.
    assert set(tables["decision_items"]["change"]) <= {"new", "upgrade", "retain"}
    bound = tables["holdings"].filter(pl.col("term_ends_on").is_not_null())
    assert bound["holding_id"].n_unique() <= 5
    assert tables["events"]["event_id"].is_unique().all()
    assert tables["offers"]["offer_id"].is_unique().all()
    applied, activated = (
        tables["events"].filter(event_type=kind)["decision_id"].n_unique()
        for kind in ("application", "activation")
    )
    assert applied >= activated > 0
    decided = tables["decisions"].select("decision_id", "occurred_at")
    assert decided["decision_id"].is_sorted()
    assert decided["occurred_at"].is_sorted()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logging": (Logging(from_month=1),)}, "first policy begins in month 0"),
        ({"logging": (Logging(), Logging())}, "first policy begins in month 0"),
        ({"prices": (Repricing(month=1, offer="nothing", factor=2),)}, "prices names offers.*nothing"),
        ({"prices": (Repricing(month=1, offer="loyalty", factor=2, region="X"),)}, "regions.*X"),
        ({"misconduct": (Misconduct(supplier="nobody", from_month=0, complaint=1),)}, "suppliers.*nobody"),
    ],
)
def test_a_world_that_cannot_be_lived_is_refused(
    world: World, catalogue: Catalogue, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_world(world.model_copy(update=changes), catalogue, "world.toml")


def test_the_tables_of_a_short_life_are_sorted_by_their_keys(world: World, catalogue: Catalogue) -> None:
    tables = record_world(world.model_copy(update={"n_months": 2}), catalogue, lambda _: None)
    for name, key in (
        ("clients", ["client_id", "valid_from", "recorded_at"]),
        ("holdings", ["holding_id", "recorded_at"]),
        ("events", ["event_id", "recorded_at"]),
        ("decision_items", ["decision_id", "slot"]),
        ("client_months", ["client_id", "month_on", "known_at"]),
    ):
        keys = tables[name].select(pl.struct(key).alias("key"))["key"]
        assert keys.is_duplicated().sum() == 0, name
        assert tables[name].equals(tables[name].sort(key)), name
