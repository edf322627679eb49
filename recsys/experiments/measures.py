"""What clients did within a window of time, counted or summed: the raw material of every metric.

A connection counts whoever made it – the client, a manager, the portal – because an arm that only moves
sales from one channel to another has sold nothing. It counts as new unless the client held the same offer
when it began: a term that runs on is no sale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.decision.policy.scope import OfferScope
from recsys.domain import EventType
from recsys.errors import DataError
from recsys.experiments.experiment import Measure

FloatArray = NDArray[np.float64]
Tables = Mapping[str, pl.DataFrame]

HORIZON_MONTHS = 12
"""Months of margin that a connection counts for, as in off-policy estimates."""

_EVENTS = {
    Measure.CLICKS: EventType.CLICK,
    Measure.DISMISSALS: EventType.DISMISSAL,
    Measure.COMPLAINTS: EventType.COMPLAINT,
    Measure.IMPRESSIONS: EventType.IMPRESSION,
}
_OFFER = ("category", "need_group", "supplier_id", "kind")
_SCOPE = {
    "offers": "offer_id",
    "categories": "category",
    "need_groups": "need_group",
    "suppliers": "supplier_id",
    "kinds": "kind",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """What was known at an instant, as facts: client_id, at, amount, what is known of the offer.

    Attributes:
        connections: New connections, with the margin that they bring over the horizon, minor units.
        disconnections: Ends of what was held, but for what was replaced within its need group.
        activations: Activations that name a decision, with the margin of one unit over the horizon.
        events: Everything reported, with `event_type` and `decision_id`.
        decisions: Lists shown, with `placement_id` and, where the tables have them, `assignments`, `degraded`
            and `is_empty`.
        months: Spend of whole months, minor units, with the month's end.
        holdings_known_until: When the newest holding was recorded: what was connected later may not be
            loaded yet; None = none is known.
        months_known_until: End of the last month of which the spend of anybody is known; None = of none.
    """

    connections: pl.DataFrame
    disconnections: pl.DataFrame
    activations: pl.DataFrame
    events: pl.DataFrame
    decisions: pl.DataFrame
    months: pl.DataFrame
    holdings_known_until: datetime | None
    months_known_until: datetime | None


def read_sources(tables: Tables, now: datetime) -> Sources:
    """Cut the tables at an instant and put them into facts.

    Args:
        tables: Validated tables by name; `holdings` and `offers` are needed, the others optional.
        now: Nothing recorded later is used, aware.

    Raises:
        DataError: A needed table is missing.
    """
    for name in ("holdings", "offers"):
        if name not in tables:
            raise DataError(f"results of an experiment need the table {name!r}; add it to the data")
    offers = latest(tables["offers"], ["offer_id"], now).select("offer_id", *_OFFER, "margin_minor")
    ends = pl.col("disconnected_at")
    holdings = latest(tables["holdings"], ["holding_id"], now)
    held = (
        holdings.filter(pl.col("connected_at") <= now, ends.is_null() | (ends > pl.col("connected_at")))
        .join(offers, on="offer_id", how="left")
        .with_columns(pl.col("margin_minor").fill_null(0) * pl.col("quantity").fill_null(1) * HORIZON_MONTHS)
    )
    connections = _new_connections(held)
    events = _known(tables, "events", ["event_id"], now).join(offers, on="offer_id", how="left")
    months = _months(tables, now)
    return Sources(
        connections=_facts(connections, "connected_at", "margin_minor"),
        disconnections=_facts(_given_up(held, connections, now), "disconnected_at"),
        activations=_activations(events),
        events=_facts(events, "occurred_at", None, "event_type", "decision_id"),
        decisions=_decisions(tables, now),
        months=months,
        holdings_known_until=_newest(holdings["recorded_at"]),
        months_known_until=_newest(months["ends_at"]),
    )


def _newest(instants: pl.Series) -> datetime | None:
    newest = instants.max()
    return newest if isinstance(newest, datetime) else None


def latest(frame: pl.DataFrame, key: Sequence[str], now: datetime, at: str = "recorded_at") -> pl.DataFrame:
    """The latest row of each key that was known at an instant."""
    known = frame.filter(pl.col(at) <= now)
    return known.sort(at, maintain_order=True).unique(list(key), keep="last", maintain_order=True)


def _known(tables: Tables, name: str, key: Sequence[str], now: datetime) -> pl.DataFrame:
    """The same of an optional table; without it, its columns without rows."""
    if name in tables:
        return latest(tables[name], key, now)
    return _EMPTY[name]


_INSTANT = pl.Datetime("us", "UTC")
_FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
_EMPTY = {
    "events": pl.DataFrame(
        schema={
            "event_id": pl.String,
            "event_type": pl.String,
            "client_id": pl.String,
            "occurred_at": _INSTANT,
            "offer_id": pl.String,
            "decision_id": pl.String,
        }
    ),
    "decisions": pl.DataFrame(
        schema={
            "decision_id": pl.String,
            "client_id": pl.String,
            "placement_id": pl.String,
            "occurred_at": _INSTANT,
        }
    ),
    "client_months": pl.DataFrame(
        schema={"client_id": pl.String, "month_on": pl.Date, "known_at": _INSTANT, "spend_minor": pl.Int64}
    ),
}


def _amount(column: str | None) -> pl.Expr:
    amount = pl.lit(1.0) if column is None else pl.col(column).fill_null(0).cast(pl.Float64)
    return amount.alias("amount")


def _facts(frame: pl.DataFrame, at: str, amount: str | None = None, *more: str) -> pl.DataFrame:
    return frame.select("client_id", pl.col(at).alias("at"), _amount(amount), "offer_id", *_OFFER, *more)


def _new_connections(held: pl.DataFrame) -> pl.DataFrame:
    """Connections of what the client did not hold when they were made."""
    held_until = pl.col("disconnected_at").fill_null(_FOREVER).cum_max().shift(1)
    pair = ["client_id", "offer_id"]
    ordered = held.sort(*pair, "connected_at", "holding_id")
    was_held = (held_until.over(pair) > pl.col("connected_at")).fill_null(value=False)
    return ordered.filter(~was_held)


def _given_up(held: pl.DataFrame, connections: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Ends of holdings, but for those where another offer of the need group was connected within a day."""
    ended = held.filter(pl.col("disconnected_at") <= now)
    other = connections.select("client_id", "need_group", "offer_id", "connected_at")
    replaced = (
        ended.join(other, on=["client_id", "need_group"], suffix="_new")
        .filter(
            pl.col("offer_id") != pl.col("offer_id_new"),
            (pl.col("connected_at_new") - pl.col("disconnected_at")).abs() <= pl.duration(days=1),
        )
        .select("holding_id")
    )
    return ended.join(replaced, on="holding_id", how="anti")


def _activations(events: pl.DataFrame) -> pl.DataFrame:
    """Activations that name a decision, once each; an event does not say how much, so one unit counts."""
    named = (
        events.filter(pl.col("event_type") == EventType.ACTIVATION, pl.col("decision_id").is_not_null())
        .sort("occurred_at", "event_id")
        .unique(["client_id", "decision_id", "offer_id"], keep="first", maintain_order=True)
        .with_columns(pl.col("margin_minor").fill_null(0) * HORIZON_MONTHS)
    )
    return _facts(named, "occurred_at", "margin_minor", "decision_id")


def _decisions(tables: Tables, now: datetime) -> pl.DataFrame:
    known = _known(tables, "decisions", ["decision_id"], now)
    more = [name for name in ("assignments", "degraded") if name in known.columns]
    at = pl.col("occurred_at").alias("at")
    decisions = known.select("client_id", "decision_id", "placement_id", at, _amount(None), *more)
    if "decision_items" not in tables:
        return decisions
    shown = tables["decision_items"].select("decision_id", pl.lit(value=False).alias("is_empty")).unique()
    return decisions.join(shown, on="decision_id", how="left").with_columns(
        pl.col("is_empty").fill_null(value=True)
    )


def _months(tables: Tables, now: datetime) -> pl.DataFrame:
    known = _known_months(tables, now).filter(pl.col("spend_minor").is_not_null())
    begins = pl.col("month_on").cast(_INSTANT)
    ends = pl.col("month_on").dt.offset_by("1mo").cast(_INSTANT)
    return known.select(
        "client_id", begins.alias("at"), ends.alias("ends_at"), pl.col("spend_minor").cast(pl.Float64)
    )


def _known_months(tables: Tables, now: datetime) -> pl.DataFrame:
    frame = tables.get("client_months", _EMPTY["client_months"])
    return latest(frame, ["client_id", "month_on"], now, "known_at")


def measure(
    what: Measure, sources: Sources, windows: pl.DataFrame, scope: OfferScope, *, is_attributed: bool = False
) -> FloatArray:
    """Count or sum one measure in every window.

    Args:
        what: The measure.
        sources: Facts.
        windows: `client_id`, `begins_at`, `ends_at` (excluded); one row for each client.
        scope: Offers that count.
        is_attributed: Only activations, and events, that name a decision taken within the window.

    Returns:
        One value for each window, in their order: a count, or an amount in minor units. Of a spend it is the
        mean a month over the whole months inside the window; NaN where the window holds none, or they are
        not all known yet.
    """
    if what is Measure.SPEND:
        return _spend(sources, windows)
    facts = _of_measure(what, sources, is_attributed=is_attributed)
    facts = facts.filter(scoped(scope)) if "offer_id" in facts.columns else facts
    if is_attributed:
        shown = _within(sources.decisions, windows).select("decision_id")
        facts = facts.join(shown, on="decision_id", how="semi")
    amount = pl.len().cast(pl.Float64) if what is not Measure.MARGIN else pl.col("amount").sum()
    return by_row(_within(facts, windows).group_by("row").agg(amount.alias("amount")), len(windows))


def _of_measure(what: Measure, sources: Sources, *, is_attributed: bool) -> pl.DataFrame:
    if what in (Measure.ACTIVATIONS, Measure.MARGIN):
        return sources.activations if is_attributed else sources.connections
    if what is Measure.DISCONNECTIONS:
        ended = sources.events.filter(pl.col("event_type") == EventType.DISCONNECTION)
        return ended if is_attributed else sources.disconnections
    if what is Measure.DECISIONS:
        return sources.decisions
    return sources.events.filter(pl.col("event_type") == _EVENTS[what])


def scoped(scope: OfferScope) -> pl.Expr:
    """Whether a fact is about one of the offers meant."""
    is_meant = pl.lit(value=True)
    for key, column in _SCOPE.items():
        if names := getattr(scope, key):
            is_meant &= pl.col(column).is_in([str(name) for name in names]).fill_null(value=False)
    return is_meant


def _within(facts: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Facts within the windows of their clients, with the window's row."""
    return facts.join(windows.with_row_index("row"), on="client_id").filter(
        pl.col("at") >= pl.col("begins_at"), pl.col("at") < pl.col("ends_at")
    )


def by_row(found: pl.DataFrame, n_rows: int) -> FloatArray:
    """Amounts by row as an array; 0 where there is none."""
    values = np.zeros(n_rows)
    values[found["row"].to_numpy()] = found["amount"].to_numpy()
    return values


def _spend(sources: Sources, windows: pl.DataFrame) -> FloatArray:
    """Billed a month, over the whole months inside the window.

    A month that the window cuts is left out: its bill does not say which days it is for, so a share of it
    would carry the time before the trigger into the outcome, and the effect into the covariate.
    """
    if sources.months_known_until is None:
        return np.full(len(windows), np.nan)
    begins, ends = pl.col("begins_at").dt, pl.col("ends_at").dt
    first = pl.when(begins.truncate("1mo") == pl.col("begins_at")).then(0).otherwise(1)
    number = 12 * (ends.year() - begins.year()) + ends.month().cast(pl.Int64) - begins.month() - first
    counted = windows.with_columns(number.alias("n_months"), ends.truncate("1mo").alias("ends_at"))
    inside = sources.months.join(counted.with_row_index("row"), on="client_id", suffix="_window").filter(
        pl.col("at") >= pl.col("begins_at"), pl.col("ends_at") <= pl.col("ends_at_window")
    )
    billed = by_row(inside.group_by("row").agg(pl.col("spend_minor").sum().alias("amount")), len(windows))
    n_months = counted["n_months"].to_numpy().astype(np.float64)
    is_known = (n_months > 0) & (counted["ends_at"] <= sources.months_known_until).to_numpy()
    spend: FloatArray = np.divide(billed, n_months, out=np.full(len(windows), np.nan), where=is_known)
    return spend
