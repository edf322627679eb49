"""The card of a world: what a marketer and a statistician want to know of it, counted from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from recsys.domain import EventType, Stage
from recsys.simulation.grain import (
    Tables,
    client_months,
    distinct_events,
    first_rows,
    impressions,
    latest_profiles,
    latest_rows,
    local_month,
    monthly_figures,
    profiles,
)
from recsys.simulation.tails import Tail, hill

SEGMENTS = ("stage", "size", "industry")


@dataclass(frozen=True, slots=True)
class Segment:
    """Client-months of one stage, size or industry.

    Attributes:
        name: The stage, size or industry.
        share: Of all client-months, 0–1.
        exposures: Offers seen in a month by one client, on average.
        acceptance: Share of impressions that led to an activation within 30 days, 0–1; None without any.
        adding: Share of client-months in which a service was added, 0–1.
    """

    name: str
    share: float
    exposures: float
    acceptance: float | None
    adding: float


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """One month of the whole.

    Attributes:
        month_on: Its first day.
        n_clients: Clients with figures.
        n_impressions: Offers seen.
        acceptance: Share of them that led to an activation within 30 days, 0–1; None where that cannot be
            known yet, or without any.
        adding: Share of clients that added a service, 0–1.
    """

    month_on: date
    n_clients: int
    n_impressions: int
    acceptance: float | None
    adding: float


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """One policy of the log.

    Attributes:
        version: Its name.
        first_on: First month with its decisions.
        last_on: Last month with them.
        n_decisions: Lists.
        certain: Share of slots drawn with probability 1: 1 for a deterministic policy.
        acceptance: As in `Segment`.
    """

    version: str
    first_on: date
    last_on: date
    n_decisions: int
    certain: float
    acceptance: float | None


@dataclass(frozen=True, slots=True)
class ChangeFigures:
    """Impressions of offers that would change the same.

    Attributes:
        change: What would change; see `recsys.domain.Change`.
        share: Of all impressions, 0–1.
        acceptance: As in `Segment`.
    """

    change: str
    share: float
    acceptance: float | None


@dataclass(frozen=True, slots=True)
class SupplierFigures:
    """Complaints about the offers of one supplier.

    Attributes:
        supplier_id: The supplier.
        n_impressions: How often its offers were seen.
        n_complaints: Complaints.
    """

    supplier_id: str
    n_impressions: int
    n_complaints: int


@dataclass(frozen=True, slots=True)
class LogQuality:
    """How the log falls short of what happened.

    Attributes:
        lost: Share of clicks and activations in a list whose impression is missing, 0–1.
        late: Share of events recorded more than an hour after they happened, 0–1.
        duplicate: Share of events that repeat another one, 0–1.
    """

    lost: float
    late: float
    duplicate: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What came and went.

    Attributes:
        n_contracts_ended: Contracts that ended within the months.
        leaving: The same per client-month.
        n_returned: Contracts that began again.
        n_offers_new: Offers that came after the first month began.
        n_offers_withdrawn: Offers that were withdrawn.
        n_price_changes: Prices that replaced an earlier one.
    """

    n_contracts_ended: int
    leaving: float
    n_returned: int
    n_offers_new: int
    n_offers_withdrawn: int
    n_price_changes: int


@dataclass(frozen=True, slots=True)
class Card:
    """What a world looks like from outside.

    Attributes:
        n_clients: Clients.
        n_offers: Offers.
        n_holdings: Connections, those that ended included.
        n_decisions: Lists.
        n_events: Events.
        acceptance: Share of impressions that led to an activation within 30 days, 0–1, among those whose 30
            days were over when the log ended; None without any.
        adding: Share of client-months in which a service was added, 0–1.
        spend_tail: Tail of mean monthly spend over clients.
        seats_tail: Tail of the mean number of people's SIM cards over clients.
        quantity_tail: Tail of quantities over connections of what is sold by the piece.
        channels: Share of the connections within the months, by who connected them.
        quality: How the log falls short.
        changes: What came and went.
        months: Month by month.
        segments: By stage, size and industry.
        reach: Share of clients that hold something of a category at the end: size or industry → its value →
            category → share.
        policies: The policies of the log, in the order of appearance.
        shown: What the offers that were seen would change, the most frequent first.
        suppliers: Suppliers, first those with most complaints above what their impressions would bring at the
            common rate.
    """

    n_clients: int
    n_offers: int
    n_holdings: int
    n_decisions: int
    n_events: int
    acceptance: float | None
    adding: float
    spend_tail: Tail
    seats_tail: Tail
    quantity_tail: Tail
    channels: Mapping[str, float]
    quality: LogQuality
    changes: Changes
    months: tuple[MonthFigures, ...]
    segments: Mapping[str, tuple[Segment, ...]]
    reach: Mapping[str, Mapping[str, Mapping[str, float]]]
    policies: tuple[PolicyFigures, ...]
    shown: tuple[ChangeFigures, ...]
    suppliers: tuple[SupplierFigures, ...]


def make_card(tables: Tables, time_zone: str) -> Card:
    """Count a world's card.

    Args:
        tables: Every table of the contract, by name.
        time_zone: Months are those of this zone.
    """
    seen = impressions(tables, time_zone)
    grain = client_months(tables, seen, time_zone)
    return Card(
        n_clients=tables["clients"]["client_id"].n_unique(),
        n_offers=tables["offers"]["offer_id"].n_unique(),
        n_holdings=tables["holdings"]["holding_id"].n_unique(),
        n_decisions=len(tables["decisions"]),
        n_events=len(tables["events"]),
        acceptance=_acceptance(seen),
        adding=_share(grain["n_added"] > 0),
        spend_tail=hill(_mean_figure(tables, pl.col("spend_minor"))),
        seats_tail=hill(_mean_figure(tables, pl.col("n_sims_employees") + pl.col("n_sims_field"))),
        quantity_tail=hill(_quantities(tables)),
        channels=_channels(tables, grain, time_zone),
        quality=_quality(tables),
        changes=_changes(tables, grain, time_zone),
        months=_months(grain, seen),
        segments={name: _segments(grain, seen, name) for name in SEGMENTS},
        reach={name: _reach(tables, name) for name in ("size", "industry")},
        policies=_policies(tables, seen, time_zone),
        shown=_shown(tables, seen),
        suppliers=_suppliers(tables, seen),
    )


def _share(is_so: pl.Series) -> float:
    return float(is_so.sum()) / max(len(is_so), 1)


def _acceptance(seen: pl.DataFrame) -> float | None:
    closed = seen.filter("is_closed")
    return _share(closed["is_accepted"]) if len(closed) else None


def _mean_figure(tables: Tables, figure: pl.Expr) -> pl.Series:
    """A monthly figure's mean by client."""
    return monthly_figures(tables).group_by("client_id").agg(figure.mean().alias("mean"))["mean"]


def _quantities(tables: Tables) -> pl.Series:
    """Quantities as last agreed, of offers of which anybody has more than one piece."""
    sold = latest_rows(tables).select("offer_id", "quantity").fill_null(1)
    by_piece = sold.group_by("offer_id").agg(pl.col("quantity").max()).filter(pl.col("quantity") > 1)
    return sold.join(by_piece, on="offer_id", how="semi")["quantity"]


def _channels(tables: Tables, grain: pl.DataFrame, time_zone: str) -> dict[str, float]:
    month_on = local_month("connected_at", time_zone)
    within = first_rows(tables).filter(month_on >= pl.lit(grain["month_on"].min(), pl.Date))
    counts = within.group_by(pl.col("connected_by").fill_null("unknown")).len().sort("connected_by")
    return {name: n / len(within) for name, n in counts.iter_rows()}


def _quality(tables: Tables) -> LogQuality:
    events, distinct = tables["events"], distinct_events(tables)
    shown = ["decision_id", "offer_id"]
    answers = (EventType.CLICK, EventType.ACTIVATION)
    answered = distinct.filter(pl.col("event_type").is_in(answers), pl.col("decision_id").is_not_null())
    seen = distinct.filter(pl.col("event_type") == EventType.IMPRESSION)
    n_lost = len(answered.join(seen, on=shown, how="anti"))
    lag = events["recorded_at"] - events["occurred_at"]
    return LogQuality(
        lost=n_lost / max(len(answered), 1),
        late=_share(lag.dt.total_minutes() > 60),
        duplicate=1 - len(distinct) / max(len(events), 1),
    )


def _changes(tables: Tables, grain: pl.DataFrame, time_zone: str) -> Changes:
    begins_on = pl.lit(grain["month_on"].min(), pl.Date)
    earlier = pl.col("stage").shift(1).over("client_id", order_by="valid_from")
    moves = profiles(tables).select("stage", earlier.alias("earlier"))
    is_churned, was_churned = moves["stage"] == Stage.CHURNED, moves["earlier"] == Stage.CHURNED
    n_ended = int((is_churned & ~was_churned.fill_null(value=False)).sum())
    offers = tables["offers"].sort("recorded_at").unique("offer_id", keep="last")
    price = ["offer_id", "region", "size", "period"]
    return Changes(
        n_contracts_ended=n_ended,
        leaving=n_ended / max(len(grain), 1),
        n_returned=int((was_churned & ~is_churned).sum()),
        n_offers_new=len(offers.filter(local_month("valid_from", time_zone) > begins_on)),
        n_offers_withdrawn=offers["valid_to"].count(),
        n_price_changes=len(tables["offer_prices"]) - len(tables["offer_prices"].unique(price)),
    )


def _months(grain: pl.DataFrame, seen: pl.DataFrame) -> tuple[MonthFigures, ...]:
    lived = grain.group_by("month_on").agg(
        pl.len(), pl.col("n_seen").sum(), (pl.col("n_added") > 0).mean().alias("adding")
    )
    accepted = seen.filter(pl.col("is_closed").all().over("month_on")).group_by("month_on")
    rows = lived.join(accepted.agg(pl.col("is_accepted").mean()), on="month_on", how="left").sort("month_on")
    columns = rows.select("month_on", "len", "n_seen", "is_accepted", "adding")
    return tuple(MonthFigures(*row) for row in columns.iter_rows())


def _segments(grain: pl.DataFrame, seen: pl.DataFrame, name: str) -> tuple[Segment, ...]:
    lived = grain.group_by(name).agg(
        (pl.len() / len(grain)).alias("share"),
        pl.col("n_seen").mean(),
        (pl.col("n_added") > 0).mean().alias("adding"),
    )
    of_client = grain.select("client_id", "month_on", name)
    judged = seen.filter("is_closed").join(of_client, on=["client_id", "month_on"])
    accepted = judged.group_by(name).agg(pl.col("is_accepted").mean())
    rows = lived.join(accepted, on=name, how="left").sort(name)
    return tuple(
        Segment(*row) for row in rows.select(name, "share", "n_seen", "is_accepted", "adding").iter_rows()
    )


def _reach(tables: Tables, name: str) -> dict[str, dict[str, float]]:
    clients = latest_profiles(tables).select("client_id", pl.col(name).fill_null("unknown"))
    categories = tables["offers"].unique("offer_id", keep="last").select("offer_id", "category")
    held = latest_rows(tables).filter(pl.col("disconnected_at").is_null()).join(categories, on="offer_id")
    holders = held.unique(["client_id", "category"]).join(clients, on="client_id")
    n_clients = dict(clients.group_by(name).len().sort(name).iter_rows())
    reach: dict[str, dict[str, float]] = {value: {} for value in n_clients}
    counts = holders.group_by(name, "category").len().sort(name, "category")
    for value, category, n in counts.iter_rows():
        reach[value][category] = n / n_clients[value]
    return reach


def _policies(tables: Tables, seen: pl.DataFrame, time_zone: str) -> tuple[PolicyFigures, ...]:
    version = "policy_version"
    decisions = tables["decisions"].with_columns(local_month("occurred_at", time_zone).alias("month_on"))
    slots = tables["decision_items"].join(decisions.select("decision_id", version), on="decision_id")
    lists = decisions.group_by(version).agg(
        pl.col("month_on").min().alias("first_on"), pl.col("month_on").max().alias("last_on"), pl.len()
    )
    certain = slots.group_by(version).agg((pl.col("logging_probability") >= 1).mean().alias("certain"))
    accepted = seen.filter("is_closed").group_by(version).agg(pl.col("is_accepted").mean())
    rows = lists.join(certain, on=version, how="left").join(accepted, on=version, how="left")
    ordered = rows.sort("first_on", version)
    names = (version, "first_on", "last_on", "len", "certain", "is_accepted")
    return tuple(PolicyFigures(*row) for row in ordered.select(*names).iter_rows())


def _shown(tables: Tables, seen: pl.DataFrame) -> tuple[ChangeFigures, ...]:
    changes = tables["decision_items"].select("decision_id", "offer_id", "change")
    rows = seen.join(changes, on=["decision_id", "offer_id"])
    accepted = pl.col("is_accepted").filter("is_closed").mean().alias("accepted")
    shares = rows.group_by("change").agg((pl.len() / len(rows)).alias("share"), accepted)
    ordered = shares.sort("share", "change", descending=[True, False])
    return tuple(ChangeFigures(*row) for row in ordered.select("change", "share", "accepted").iter_rows())


def _suppliers(tables: Tables, seen: pl.DataFrame) -> tuple[SupplierFigures, ...]:
    supplier_of = tables["offers"].unique("offer_id", keep="last").select("offer_id", "supplier_id")
    complaints = distinct_events(tables).filter(pl.col("event_type") == EventType.COMPLAINT)
    counts = [
        frame.join(supplier_of, on="offer_id").group_by("supplier_id").agg(pl.len().alias(name))
        for name, frame in (("n_seen", seen), ("n_complaints", complaints))
    ]
    rows = counts[0].join(counts[1], on="supplier_id", how="left").fill_null(0)
    common = len(complaints) / max(len(seen), 1)
    excess = pl.col("n_complaints") - common * pl.col("n_seen")
    ordered = rows.sort(excess, "supplier_id", descending=[True, False])
    return tuple(
        SupplierFigures(*row) for row in ordered.select("supplier_id", "n_seen", "n_complaints").iter_rows()
    )
