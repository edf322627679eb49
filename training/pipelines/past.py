"""Past windows of exposures: offers really seen at past moments, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl
from pydantic import Field

from recsys.config import RunConfig
from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset
from recsys.data.replay import collector_paused, replay
from recsys.data.snapshot import take_snapshot
from recsys.domain import EventType, Target
from recsys.errors import LeakageError
from recsys.models.base import ClientBatch, PastWindow, TrainingSet
from recsys.tables import table_named

_PAIR = ["client_id", "offer_id"]
_MOMENT = ["client_id", "decision_id"]
_JUST_BEFORE = timedelta(microseconds=1)
_EXPOSURE: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "client_id": pl.String(),
        "offer_id": pl.String(),
        "at": pl.Datetime("us", "UTC"),
        "decision_id": pl.String(),
        "slot": pl.Int64(),
        "logging_probability": pl.Float64(),
        "outcome": pl.Float64(),
    }
)


class PastPlan(RunConfig):
    """Which past is read.

    Attributes:
        n_windows: Windows at most: the latest ones, ≥1.
        window_days: Length of a window. Components and population are those of its beginning, so this is also
            how stale they get; a server with a new bundle each week reads fresher ones.
        max_moments: Lists of all windows together at most, about; of more a sample is read, and all that was
            accepted.
        min_accepted: Acceptances in all windows below which there is too little to learn from.
        enough_accepted: Acceptances in the latest windows beyond which no earlier window is read.
    """

    n_windows: int = Field(default=18, ge=1, le=120)
    window_days: int = Field(default=30, ge=1, le=366)
    max_moments: int = Field(default=60_000, ge=100)
    min_accepted: int = Field(default=200, ge=1)
    enough_accepted: int = Field(default=10_000, ge=1)


def exposures(known: Dataset, as_of: datetime, horizon_days: int) -> pl.DataFrame:
    """Every exposure whose outcome is known: a first impression of a client and an offer, and what followed.

    A later impression of the same pair belongs to the same exposure until the horizon of the first is over,
    and begins a new one afterwards. An exposure whose horizon is not over at as_of is left out, whatever
    happened so far; a slot that nobody saw is no row.

    Args:
        known: The dataset as it was known at as_of.
        as_of: The information cut-off, aware.
        horizon_days: Days within which an activation counts.

    Returns:
        client_id, offer_id, at, decision_id, slot (0 = none), logging_probability (NaN = none), outcome (0 or
        1), in the order of at.

    Raises:
        LeakageError: An event was recorded after as_of.
    """
    events = known.tables.get("events")
    if events is None:
        return pl.DataFrame(schema=_EXPOSURE)
    items = known.tables.get("decision_items")
    if items is None:
        # who keeps no log of decisions knows no logging probabilities, and what was seen all the same
        items = pl.DataFrame(schema=schema_of(table_named("decision_items")))
    as_of = as_of.astimezone(UTC)
    _check_known(events, as_of)
    horizon = pl.duration(days=horizon_days)
    kind, is_over = pl.col("event_type"), pl.col("occurred_at") <= pl.lit(as_of) - horizon
    told = events.sort("recorded_at", maintain_order=True).unique("event_id", keep="first")
    told = told.drop_nulls("offer_id")
    seen = told.filter(kind == str(EventType.IMPRESSION), is_over).select(
        *_PAIR, "decision_id", "slot", at="occurred_at"
    )
    activated = told.filter(kind == str(EventType.ACTIVATION)).select(*_PAIR, activated_at="occurred_at")
    is_activated = pl.col("activated_at") - pl.col("at") <= horizon
    return (
        _openings(seen.sort("at", *_PAIR, "decision_id", "slot"), timedelta(days=horizon_days))
        .join_asof(
            activated.sort("activated_at"),
            left_on="at",
            right_on="activated_at",
            by=_PAIR,
            strategy="forward",
            check_sortedness=False,
        )
        .join(
            items.select("decision_id", "slot", "offer_id", "logging_probability"),
            on=["decision_id", "slot", "offer_id"],
            how="left",
            maintain_order="left",
        )
        .select(
            *_PAIR,
            "at",
            "decision_id",
            pl.col("slot").fill_null(0).cast(pl.Int64),
            pl.col("logging_probability").fill_null(float("nan")),
            is_activated.fill_null(value=False).cast(pl.Float64).alias("outcome"),
        )
    )


def past_windows(
    known: Dataset, as_of: datetime, horizon_days: int, plan: PastPlan, rng: np.random.Generator
) -> tuple[PastWindow, ...]:
    """The windows of exposures before as_of, in the order of time; none where too little was accepted.

    A window that begins before anybody held anything is left out, for components would know nothing in it,
    and so is what was shown of an offer that its beginning does not know.

    Args:
        known: The dataset as it was known at as_of.
        as_of: The information cut-off, aware.
        horizon_days: Days within which an activation counts.
        plan: Which past is read.
        rng: Draws the lists that are read where there are more than the plan asks for.

    Raises:
        LeakageError: An event was recorded after as_of.
    """
    as_of = as_of.astimezone(UTC)
    seen = exposures(known, as_of, horizon_days)
    if seen["decision_id"].null_count():
        # what was seen outside a list, in a letter say, is a list of its own
        alone = pl.format("alone {}", pl.int_range(pl.len()))
        seen = seen.with_columns(pl.col("decision_id").fill_null(alone))
    length, last = timedelta(days=plan.window_days), as_of - timedelta(days=horizon_days)
    starts = [last - length * number for number in range(plan.n_windows, 0, -1)]
    accepted = seen.filter(pl.col("outcome") > 0)["at"].sort(descending=True)
    if len(accepted) > plan.enough_accepted:
        starts = [start for start in starts if start + length >= accepted[plan.enough_accepted]]
    seen = seen.filter(pl.col("at") > starts[0])
    if float(seen["outcome"].sum()) < plan.min_accepted:
        return ()
    n_moments = seen.select(pl.struct(_MOMENT).n_unique()).item()
    rate = min(1.0, plan.max_moments / n_moments)
    parts = (
        (
            start,
            _thinned(_decided(seen.filter(pl.col("at") > start, pl.col("at") <= start + length)), rate, rng),
        )
        for start in starts
    )
    windows = tuple(_windows(known, ((start, part) for start, part in parts if len(part)), rate))
    n_accepted = sum(float(window.outcomes.sum()) for window in windows)
    return windows if n_accepted >= plan.min_accepted else ()


def decided_at() -> pl.Expr:
    """When the list of each exposure was decided: at once, just before its first offer was seen.

    So it knows nothing of its own fate.
    """
    return pl.col("at").min().over(_MOMENT) - _JUST_BEFORE


def frozen_training(known: Dataset, at: datetime) -> TrainingSet:
    """The world as it was known at an instant, without the clients' states, which components do not read."""
    training = TrainingSet.from_snapshot(
        take_snapshot(known, at, has_events=False),
        known.documents.get("expert.yaml"),
        known.table("offers")["offer_id"],
    )
    return replace(training, clients=replace(training.clients, states=(), moments=()))


def _check_known(events: pl.DataFrame, as_of: datetime) -> None:
    late = events.filter(pl.col("recorded_at") > as_of)
    if len(late):
        raise LeakageError(
            f"event {late['event_id'][0]!r} was recorded after {as_of.isoformat()} but stands in what is"
            " learnt from: the result would look too good"
        )


def _openings(seen: pl.DataFrame, horizon: timedelta) -> pl.DataFrame:
    """Impressions that begin an exposure, in the order of the rows."""
    left, found = seen.with_row_index("place"), [seen.with_row_index("place").clear()]
    while len(left):
        first = left.unique(_PAIR, keep="first", maintain_order=True)
        found.append(first)
        ends = first.select(*_PAIR, (pl.col("at") + horizon).alias("ends_at"))
        left = left.join(ends, on=_PAIR, maintain_order="left").filter(pl.col("at") > pl.col("ends_at"))
        left = left.drop("ends_at")
    return pl.concat(found).sort("place").drop("place")


def _decided(part: pl.DataFrame) -> pl.DataFrame:
    """Each list at the moment when it was decided.

    Of whole lists only: what is left of a thinned one was accepted, and its moment, were it that of the slot
    accepted, would come after the slots above it, whose impressions would then tell the outcome.
    """
    return part.with_columns(decided_at().alias("at"))


def _thinned(part: pl.DataFrame, rate: float, rng: np.random.Generator) -> pl.DataFrame:
    """Lists at that rate, and everything that was accepted."""
    lists = part.select(_MOMENT).unique(maintain_order=True)
    drawn = lists.with_columns(pl.Series("is_drawn", rng.random(len(lists)) < rate))
    part = part.join(drawn, on=_MOMENT, maintain_order="left")
    return part.filter(pl.col("is_drawn") | (pl.col("outcome") > 0))


def _windows(
    known: Dataset, parts: Iterator[tuple[datetime, pl.DataFrame]], rate: float
) -> Iterator[PastWindow]:
    for start, part in parts:
        training = frozen_training(known, start)
        columns = training.offers.columns
        part = part.filter(pl.col("offer_id").is_in(list(columns)))  # noqa: PLW2901
        if part.is_empty() or not len(training.clients.columns):
            continue
        moments = part.select("client_id", "at").unique().sort("at", "client_id").with_row_index("row")
        rows = part.join(moments, on=["client_id", "at"]).sort("row", "slot", "offer_id")
        yield PastWindow(
            training=training,
            clients=_clients_at(known, moments.drop("row"), training),
            rows=rows["row"].cast(pl.Int64).to_numpy(),
            columns=np.array([columns[one] for one in rows["offer_id"].to_list()], dtype=np.int64),
            outcomes=rows["outcome"].to_numpy(),
            keep_rates=np.full(len(rows), rate),
            slots=rows["slot"].to_numpy(),
            logging_probabilities=rows["logging_probability"].to_numpy(),
            target=Target.ACCEPTANCE,
        )


def _clients_at(known: Dataset, moments: pl.DataFrame, training: TrainingSet) -> ClientBatch:
    with collector_paused():
        states = list(replay(known, moments, has_contacts=False))
    return ClientBatch.from_states(
        states, training.offers, moments["at"].to_list(), training.clients.features
    )
