"""The world as it was known at an instant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from recsys.data.dataset import Dataset
from recsys.data.offers import offers_from_rows
from recsys.data.replay import collector_paused, replay
from recsys.domain import ClientState, HoldingsKind, Offer
from recsys.tables import table_named

DEMAND_DAYS = 30
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Clients and offers as they were known at as_of.

    Attributes:
        as_of: The information cut-off; only rows with recorded_at ≤ as_of were read.
        states: One per client with a valid profile version at as_of, ordered by client_id.
        offers: Every offer known, ordered by offer_id.
        demand: (row in states, row in offers) of present demand: for subscriptions what is held now,
            for purchases what was bought in the last 30 days.
        holdings_kind: What a holding means in this dataset.
        first_connections: (row in states, row in offers, days before as_of) of the first known connection of
            every client and offer, ended ones included.
    """

    as_of: datetime
    states: tuple[ClientState, ...]
    offers: tuple[Offer, ...]
    demand: tuple[tuple[int, int], ...]
    holdings_kind: HoldingsKind
    first_connections: tuple[tuple[int, int, float], ...] = ()


def take_snapshot(
    dataset: Dataset, as_of: datetime, *, has_contacts: bool = False, has_events: bool = True
) -> Snapshot:
    """The world as it was known at an instant.

    A client is in it when a version of its profile is valid then; of versions with one valid_from the
    latest recorded holds. Of a holding the latest recorded row holds; an end that lies after as_of is
    not yet known. What a client held or was seen with before, and does not hold now, is past.

    Args:
        dataset: Validated tables.
        as_of: The information cut-off, aware; see `parse_as_of`.
        has_contacts: Whether the states carry contacts, which no model reads and every decision may.
        has_events: Whether they carry events and what followed from those.

    Raises:
        ValueError: as_of is naive.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of {as_of.isoformat()} has no time zone")
    as_of = as_of.astimezone(UTC)
    clients = valid_clients(dataset, as_of)
    moments = clients.select("client_id", pl.lit(as_of).alias("at"))
    with collector_paused():
        states = tuple(replay(dataset, moments, has_contacts=has_contacts, has_events=has_events))
    offers = offers_at(dataset, as_of)
    return Snapshot(
        as_of=as_of,
        states=states,
        offers=offers,
        demand=_demand(dataset.meta.holdings, states, offers, as_of),
        holdings_kind=dataset.meta.holdings,
        first_connections=_first_connections(dataset, states, offers, as_of),
    )


def parse_as_of(text: str, time_zone: str) -> datetime:
    """A cut-off as people write it.

    Args:
        text: A day, which means its midnight in the time zone, or an ISO instant with its offset.
        time_zone: The dataset's time zone.

    Raises:
        ValueError: The text is neither, or an instant lacks its offset.

    Example:
        >>> parse_as_of("2024-07-01", "Europe/Moscow").isoformat()
        '2024-06-30T21:00:00+00:00'
        >>> parse_as_of("2024-07-01T09:30:00+03:00", "UTC").isoformat()
        '2024-07-01T06:30:00+00:00'
    """
    expected = f"{text!r} is no day like 2024-07-01 and no instant like 2024-07-01T00:00:00Z"
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone))
            return midnight.astimezone(UTC)
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter where UTC is in the year 0 or 10000
        raise ValueError(expected) from None
    raise ValueError(f"{expected}: the offset is missing")


def valid_clients(dataset: Dataset, as_of: datetime) -> pl.DataFrame:
    """The profile version of each client that is valid at as_of, as known then, by client_id."""
    versions = _latest(dataset.table("clients"), ("client_id", "valid_from"), as_of)
    return (
        versions.filter(pl.col("valid_from") <= as_of)
        .sort("client_id", "valid_from")
        .unique("client_id", keep="last", maintain_order=True)
        .filter(pl.col("valid_to").is_null() | (pl.col("valid_to") > as_of))
    )


def holding_rows(dataset: Dataset, as_of: datetime) -> pl.DataFrame:
    """The latest row of each holding that began by as_of, as known then.

    Returns:
        The table's columns and is_held: it goes on at as_of. A row that ends where it begins was seen
        once and never held.
    """
    rows = _latest(dataset.table("holdings"), ("holding_id",), as_of)
    end = pl.col("disconnected_at")
    return rows.filter(pl.col("connected_at") <= as_of).with_columns(
        (end.is_null() | (end > as_of)).alias("is_held")
    )


def _latest(frame: pl.DataFrame, key: tuple[str, ...], as_of: datetime) -> pl.DataFrame:
    """The latest row of each key that was recorded by as_of."""
    return (
        frame.filter(pl.col("recorded_at") <= as_of)
        .sort("recorded_at", maintain_order=True)
        .unique(list(key), keep="last", maintain_order=True)
    )


def offers_at(dataset: Dataset, as_of: datetime) -> tuple[Offer, ...]:
    """Every offer known at an instant, as known then, by offer_id."""

    def rows(name: str) -> Iterable[Mapping[str, object]]:
        frame = dataset.tables.get(name)
        return () if frame is None else _latest(frame, table_named(name).key, as_of).iter_rows(named=True)

    return offers_from_rows(rows("offers"), rows("offer_relations"), rows("offer_prices"))


def _demand(
    kind: HoldingsKind, states: Sequence[ClientState], offers: Sequence[Offer], as_of: datetime
) -> tuple[tuple[int, int], ...]:
    rows = {offer.offer_id: row for row, offer in enumerate(offers)}
    oldest = as_of - timedelta(days=DEMAND_DAYS) if kind is HoldingsKind.PURCHASES else _EVER
    return tuple(
        [
            (client, offer)
            for client, state in enumerate(states)
            for offer in sorted(
                {
                    rows[held.offer_id]
                    for held in state.holdings
                    if held.connected_at > oldest and held.offer_id in rows
                }
            )
        ]
    )


def _first_connections(
    dataset: Dataset, states: Sequence[ClientState], offers: Sequence[Offer], as_of: datetime
) -> tuple[tuple[int, int, float], ...]:
    clients, columns = (
        pl.DataFrame({key: ids}, schema={key: pl.String}).with_row_index(name)
        for key, name, ids in (
            ("client_id", "client", [state.client_id for state in states]),
            ("offer_id", "offer", [offer.offer_id for offer in offers]),
        )
    )
    days = (pl.lit(as_of) - pl.col("connected_at")).dt.total_microseconds() / 86_400e6
    found = (
        holding_rows(dataset, as_of)
        .group_by("client_id", "offer_id")
        .agg(pl.col("connected_at").min())
        .join(clients, on="client_id")
        .join(columns, on="offer_id")
        .select("client", "offer", days.alias("days"))
        .sort("client", "offer")
    )
    return tuple(found.iter_rows())
