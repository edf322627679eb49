"""The history of the made-up operator: versions, what is known when, and what the world says happens."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.snapshot import take_snapshot
from recsys.data.validation import recorded_column
from recsys.simulation.catalogue import Catalogue, read_catalogue
from recsys.simulation.months import STAGES
from recsys.simulation.operator import Month, Operator
from recsys.simulation.record import Recorder
from recsys.simulation.sections import Aftersales, Fact, Feed, Misconduct
from recsys.simulation.world import World
from recsys.tables import table_named

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
N_CLIENTS = 3000
ELSEWHERE = Fact(share=0.5, known=0.4, offers=("loyalty",), factor=0.1)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO)


@pytest.fixture(scope="module")
def world() -> World:
    """The typical world with rare things made frequent enough to be counted."""
    typical = World.load(DEMO / "worlds" / "typical.toml")
    life = {"leave": 0.01, "come_back": 0.1, "closing_months": 3}
    feed = {"lost": 0.05, "late": 0.1, "late_days": 10, "duplicate": 0.05, "late_profiles": 0.2}
    return typical.model_copy(
        update={
            "n_clients": N_CLIENTS,
            "seed": 20260101,
            "life": typical.life.model_copy(update=life),
            "feed": Feed(late_figures=0.1, corrected_figures=0.1, **feed),
            "facts": {"loyalty_elsewhere": ELSEWHERE},
            "misconduct": (Misconduct(supplier="fiscal-operator-a", from_month=6, complaint=0.5),),
            # Own wishes alone, so that they can be counted.
            "aftersales": Aftersales(share=0.0),
        }
    )


@pytest.fixture(scope="module")
def operator(world: World, catalogue: Catalogue) -> Operator:
    return Operator(world, catalogue)


@pytest.fixture(scope="module")
def lived(operator: Operator, catalogue: Catalogue) -> tuple[list[Month], dict[str, pl.DataFrame]]:
    recorder = Recorder(operator, catalogue.version)
    months = []
    for month in operator.months():
        recorder.add(month)
        months.append(month)
    return months, recorder.tables()


@pytest.fixture(scope="module")
def months(lived: tuple[list[Month], dict[str, pl.DataFrame]]) -> list[Month]:
    return lived[0]


@pytest.fixture(scope="module")
def tables(lived: tuple[list[Month], dict[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    return lived[1]


def _starts_at(operator: Operator, month: int) -> datetime:
    return datetime.fromtimestamp(operator.timeline.bounds[month] / 1e6, tz=UTC)


def _near(count: float, n: float, share: float) -> bool:
    return bool(abs(count - n * share) <= 3 * np.sqrt(n * share * (1 - share)))


def _latest_versions(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return (
        tables["clients"]
        .sort("recorded_at")
        .unique(["client_id", "valid_from"], keep="last")
        .sort("client_id", "valid_from")
        .with_columns(
            follows=pl.col("valid_from").shift(-1).over("client_id"),
            next_stage=pl.col("stage").shift(-1).over("client_id"),
        )
    )


def test_profiles_have_gaps_only_where_a_closed_client_came_back(tables: dict[str, pl.DataFrame]) -> None:
    versions = _latest_versions(tables)
    ended = versions.filter(pl.col("valid_to").is_not_null())
    gaps = ended.filter(pl.col("valid_to") != pl.col("follows"))
    closed = ended.filter(pl.col("follows").is_null())
    assert len(gaps) > 10
    assert set(gaps["stage"]) == {"churned"}
    assert set(gaps["next_stage"]) == {"reactivated"}
    assert set(closed["stage"]) == {"churned"}
    assert (gaps["follows"] > gaps["valid_to"]).all()
    months_as_churned = (closed["valid_to"] - closed["valid_from"]).dt.total_days()
    assert set(months_as_churned.unique()) <= set(range(89, 93))


def test_clients_come_back_as_often_as_the_world_says(months: list[Month], operator: Operator) -> None:
    n_gone = n_back = 0
    for before, month in itertools.pairwise(months):
        was_churned = before.moment.stages == STAGES.index("churned")
        n_gone += was_churned.sum()
        n_back += (was_churned & (month.moment.stages != STAGES.index("churned"))).sum()
    assert n_back > 20
    assert _near(n_back, n_gone, operator.world.life.come_back)


def test_new_figures_are_new_versions(tables: dict[str, pl.DataFrame], months: list[Month]) -> None:
    versions = _latest_versions(tables)
    changed = versions.filter(
        (pl.col("n_employees") != pl.col("n_employees").shift(1).over("client_id"))
        | (pl.col("revenue_minor") != pl.col("revenue_minor").shift(1).over("client_id"))
    )
    assert len(changed) > 100
    n_active = sum(int(month.moment.is_active.sum()) for month in months)
    assert _near(sum(len(month.reports.rows) for month in months), n_active, 0.03)


def test_some_profiles_are_known_late(tables: dict[str, pl.DataFrame], operator: Operator) -> None:
    first = tables["clients"].filter(
        pl.col("valid_to").is_null(), pl.col("valid_from") > _starts_at(operator, 0)
    )
    delay = first["recorded_at"] - first["valid_from"]
    assert delay.min() >= timedelta(hours=6)
    assert delay.max() < timedelta(days=15)
    assert _near((delay > timedelta(hours=6)).sum(), len(delay), 0.2 * (1 - 1 / 336))


def test_late_and_corrected_figures(tables: dict[str, pl.DataFrame]) -> None:
    figures = tables["client_months"].sort("known_at")
    first = figures.unique(["client_id", "month_on"], keep="first", maintain_order=True)
    month_ends = pl.col("month_on").dt.offset_by("1mo").cast(pl.Datetime("us", "UTC"))
    delay = first.select(pl.col("known_at") - month_ends).to_series()
    assert delay.min() > timedelta(days=2)
    assert _near((delay > timedelta(days=3)).sum(), len(delay), 0.1 * 20 / 21)
    assert _near(len(figures) - len(first), len(first), 0.1)
    last = figures.unique(["client_id", "month_on"], keep="last", maintain_order=True)
    pairs = first.join(last, on=["client_id", "month_on"], suffix="_last")
    corrected = pairs.filter(pl.col("known_at") != pl.col("known_at_last"))
    assert (corrected["known_at_last"] - corrected["known_at"]).min() >= timedelta(days=10)
    ratio = (corrected["spend_minor"] / corrected["spend_minor_last"]).drop_nans()
    assert 0.84 < ratio.min() < ratio.max() < 1.16
    assert ratio.n_unique() > 0.9 * len(ratio)


def test_events_get_lost_late_and_twice(tables: dict[str, pl.DataFrame], months: list[Month]) -> None:
    events = tables["events"]
    once = events.sort("recorded_at").unique("event_id", keep="first", maintain_order=True)
    again = events.join(once, on=["event_id", "recorded_at"], how="anti")
    assert _near(len(again), len(once), 0.05)
    same = again.drop("recorded_at").join(once, on="event_id", suffix="_first")
    assert (same["occurred_at"] == same["occurred_at_first"]).all()
    n_impressions = sum(int(month.visits.is_seen.sum()) for month in months)
    n_known = len(once.filter(event_type="impression"))
    assert _near(n_known, n_impressions, 0.95)
    delay = once["recorded_at"] - once["occurred_at"]
    assert delay.max() <= timedelta(days=10)
    assert _near((delay > timedelta(minutes=1)).sum(), len(delay), 0.1)


def test_prices_change_when_the_world_says(tables: dict[str, pl.DataFrame], operator: Operator) -> None:
    prices = tables["offer_prices"]
    general = prices.filter(offer_id="inet-fix", period="month").sort("recorded_at")
    for change in operator.world.prices:
        rows = prices.filter(
            pl.col("offer_id") == change.offer, pl.col("recorded_at") == _starts_at(operator, change.month)
        )
        assert len(rows) >= 1
        assert change.region == "" or set(rows["region"]) == {change.region}
    by_size = general.group_by("region", "size", maintain_order=True).agg("amount_minor")
    for amounts in by_size["amount_minor"].to_list():
        assert amounts[-1] == pytest.approx(amounts[0] * 1.12, abs=1)


def test_agreed_prices_are_those_of_the_day(tables: dict[str, pl.DataFrame], operator: Operator) -> None:
    held = tables["holdings"].unique("holding_id", keep="first").filter(offer_id="inet-fix")
    change_at = _starts_at(operator, 8)
    # What is decided in one month is connected in the next, so the month of the change holds both prices.
    before = held.filter(pl.col("connected_at") < change_at)["price_minor"].unique().to_list()
    after = held.filter(pl.col("connected_at") > change_at + timedelta(days=31))["price_minor"]
    assert set(after.unique()).isdisjoint(before)


def test_offers_come_and_go_as_announced(tables: dict[str, pl.DataFrame], operator: Operator) -> None:
    offers, world = tables["offers"], operator.world
    for offer_id, demand in world.demand.items():
        rows = offers.filter(offer_id=offer_id).sort("recorded_at")
        if demand.from_month:
            begins_at = _starts_at(operator, demand.from_month)
            assert rows["valid_from"].to_list() == [begins_at] * len(rows)
            assert rows["recorded_at"][0] == begins_at - timedelta(days=demand.announced_days)
        if demand.until_month:
            ends_at = _starts_at(operator, demand.until_month)
            assert rows["valid_to"].to_list() == [None, ends_at]
            assert rows["recorded_at"][1] == ends_at - timedelta(days=demand.announced_days)
    announced = dict(offers.group_by("offer_id").agg(pl.col("recorded_at").min()).iter_rows())
    for name in ("offer_prices", "offer_relations"):
        first = tables[name].group_by("offer_id").agg(pl.col("recorded_at").min())
        assert all(at >= announced[offer_id] for offer_id, at in first.iter_rows())


def test_nothing_is_shown_or_decided_off_sale(months: list[Month], operator: Operator) -> None:
    assert any(not operator.market.is_on_sale(month.number).all() for month in months)
    for month in months:
        closed = ~operator.market.is_on_sale(month.number)
        assert not month.visits.eligible[:, closed].any()
        assert not closed[month.adoptions.offers].any()


def test_terms_end_and_are_renewed(tables: dict[str, pl.DataFrame], operator: Operator) -> None:
    with_term = [offer_id for offer_id, demand in operator.world.demand.items() if demand.term_months]
    holdings = tables["holdings"]
    has_term = holdings["term_ends_on"].is_not_null()
    assert set(holdings.filter(has_term)["offer_id"]) == set(with_term)
    assert holdings.filter(pl.col("offer_id").is_in(with_term))["term_ends_on"].null_count() == 0
    starts_on = operator.world.starts_on
    ended = renewed = 0
    for (_,), rows in holdings.filter(has_term).sort("recorded_at").group_by("holding_id"):
        terms = rows["term_ends_on"].unique().sort().to_list()
        connected_at = rows["connected_at"][0]
        assert all(
            (later.year - earlier.year) * 12 + later.month - earlier.month >= 12
            for earlier, later in itertools.pairwise(terms)
        )
        assert terms[0] >= connected_at.date()
        n_within = [day for day in terms if starts_on <= day < starts_on.replace(year=2026)]
        still_held = rows["disconnected_at"].is_null().all()
        ended += still_held and len(n_within) > 0
        renewed += still_held and len(n_within) > 0 and terms[-1] > n_within[0]
    assert ended > 100
    assert _near(renewed, ended, operator.world.appetite.renewal)


def test_seats_have_a_heavy_tail_and_follow_the_client(
    tables: dict[str, pl.DataFrame], operator: Operator
) -> None:
    holdings = tables["holdings"]
    seated = {offer_id for offer_id, demand in operator.world.demand.items() if demand.seats}
    assert set(holdings.filter(unit="seat")["offer_id"]) <= seated
    assert set(holdings.filter(pl.col("unit").is_null())["quantity"]) == {1}
    per_holding = holdings.filter(unit="seat").group_by("holding_id").agg(pl.col("quantity").n_unique())
    assert (per_holding["quantity"] > 1).sum() > 30
    staff = operator.clients.staff
    tail, index = staff[staff > 60] / 60, operator.world.population.tail_index
    assert abs(np.log(tail).mean() - 1 / index) <= 3 / index / np.sqrt(len(tail))


def test_bigger_offices_move_to_higher_editions(tables: dict[str, pl.DataFrame]) -> None:
    holdings = tables["holdings"]
    upgraded = holdings.filter(offer_id="vpbx-start").join(
        holdings.filter(offer_id="vpbx-pro"),
        left_on=["client_id", "disconnected_at"],
        right_on=["client_id", "connected_at"],
    )
    others = holdings.filter(pl.col("offer_id") == "vpbx-start", pl.col("disconnected_at").is_null())
    assert upgraded["client_id"].n_unique() >= 5
    assert upgraded["quantity"].median() > others["quantity"].median()


def test_a_partner_that_misbehaves_is_complained_about(
    tables: dict[str, pl.DataFrame], months: list[Month], operator: Operator, catalogue: Catalogue
) -> None:
    theirs = [offer.supplier == "fiscal-operator-a" for offer in catalogue.offers]
    sold = [int(np.array(theirs)[month.adoptions.offers].sum()) for month in months]
    complaints = tables["events"].filter(topic="connected without consent").unique("event_id")
    assert set(complaints["offer_id"]) == {
        offer.id for offer in catalogue.offers if offer.supplier == "fiscal-operator-a"
    }
    assert complaints["occurred_at"].min() >= _starts_at(operator, 6)
    drawn = sum(len(month.complaints.rows) for month in months)
    assert _near(drawn, sum(sold[6:]), 0.5)


def test_facts_drive_behaviour_but_are_only_partly_known(
    tables: dict[str, pl.DataFrame], months: list[Month], operator: Operator
) -> None:
    truth = operator.clients.facts[:, 0]
    tags = [dict(tag.split("=") for tag in tags) for tags in operator.clients.tags]
    known = [(row, one["loyalty_elsewhere"]) for row, one in enumerate(tags) if "loyalty_elsewhere" in one]
    assert _near(truth.sum(), N_CLIENTS, 0.5)
    assert _near(len(known), N_CLIENTS, 0.4)
    assert all((text == "yes") == truth[row] for row, text in known)
    column = operator.shelf.offer_ids.index("loyalty")
    adopters = np.concatenate([month.adoptions.rows[month.adoptions.offers == column] for month in months])
    assert truth[adopters].mean() < 0.5 - 3 * np.sqrt(0.25 / len(adopters))
    assert len(tables["clients"].filter(pl.col("tags").list.contains("loyalty_elsewhere=yes"))) > 0


def test_january_is_low_and_december_high(months: list[Month]) -> None:
    """Adoptions in calendar months, against the world's factors."""
    added = np.array([len(month.adoptions.rows) / month.moment.is_active.sum() for month in months])
    january, december = added[8], added[7]
    assert january < 0.7 * december


def test_what_was_known_does_not_move_when_the_future_is_cut_off(
    tables: dict[str, pl.DataFrame], operator: Operator
) -> None:
    meta = DatasetMeta(name="demo", currency="RUB", time_zone="Europe/Moscow")
    for month in (5, 11):
        as_of = _starts_at(operator, month) + timedelta(days=3, hours=5)
        known = {
            name: frame
            if (recorded := recorded_column(table_named(name))) is None
            else frame.filter(pl.col(recorded) <= as_of)
            for name, frame in tables.items()
        }
        assert take_snapshot(Dataset(meta=meta, tables=known), as_of) == take_snapshot(
            Dataset(meta=meta, tables=tables), as_of
        )
