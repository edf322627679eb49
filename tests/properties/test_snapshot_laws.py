"""Laws of snapshots and splits on random small worlds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.snapshot import take_snapshot
from recsys.data.splits import first_adoptions
from recsys.data.write import conform
from recsys.tables import CLIENTS, HOLDINGS, OFFERS

START = datetime(2024, 1, 1, tzinfo=UTC)
CLIENT_IDS = ("c1", "c2", "c3")
OFFER_IDS = ("o1", "o2", "o3", "o4")
N_DAYS = 20


class Row(NamedTuple):
    """A row of holdings, in days from the start."""

    holding: int
    client_id: str
    offer_id: str
    connected: int
    length: int | None
    delay: int


ROWS = st.builds(
    Row,
    holding=st.integers(0, 5),
    client_id=st.sampled_from(CLIENT_IDS),
    offer_id=st.sampled_from(OFFER_IDS),
    connected=st.integers(0, N_DAYS),
    length=st.none() | st.integers(0, 8),
    delay=st.integers(0, 6),
)
WORLDS = st.lists(ROWS, max_size=12)
DAYS = st.integers(0, N_DAYS)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def dataset_of(rows: list[Row]) -> Dataset:
    holdings = pl.DataFrame(
        [
            {
                "holding_id": f"{row.client_id}-{row.offer_id}-{row.holding}",
                "client_id": row.client_id,
                "offer_id": row.offer_id,
                "connected_at": day(row.connected),
                "disconnected_at": None if row.length is None else day(row.connected + row.length),
                "recorded_at": day(row.connected + row.delay),
            }
            for row in rows
        ],
        schema=dict(list(schema_of(HOLDINGS).items())[:6]),
    ).unique(["holding_id", "recorded_at"], keep="first", maintain_order=True)
    clients = pl.DataFrame({"client_id": CLIENT_IDS, "valid_from": START, "recorded_at": START})
    offers = pl.DataFrame({"offer_id": OFFER_IDS, "kind": "own", "recorded_at": START})
    return Dataset(
        DatasetMeta(name="random"),
        {
            "clients": conform(clients, CLIENTS),
            "offers": conform(offers, OFFERS),
            "holdings": conform(holdings, HOLDINGS),
        },
    )


@given(WORLDS, DAYS)
@settings(max_examples=60, deadline=None)
def test_a_snapshot_taken_twice_is_one_snapshot(rows: list[Row], as_of: int) -> None:
    dataset = dataset_of(rows)
    assert take_snapshot(dataset, day(as_of)) == take_snapshot(dataset, day(as_of))


@given(WORLDS, ROWS, DAYS)
@settings(max_examples=100, deadline=None)
def test_a_row_changes_nothing_before_it_was_recorded(rows: list[Row], planted: Row, as_of: int) -> None:
    recorded = planted.connected + planted.delay
    before = day(min(as_of, recorded - 1))
    assert take_snapshot(dataset_of([*rows, planted]), before) == take_snapshot(dataset_of(rows), before)


@given(WORLDS, DAYS)
@settings(max_examples=60, deadline=None)
def test_the_order_of_rows_means_nothing(rows: list[Row], as_of: int) -> None:
    dataset = dataset_of(rows)
    turned = {name: frame.reverse() for name, frame in dataset.tables.items()}
    assert take_snapshot(Dataset(dataset.meta, turned), day(as_of)) == take_snapshot(dataset, day(as_of))


@given(WORLDS, DAYS)
@settings(max_examples=60, deadline=None)
def test_no_offer_is_both_held_and_past(rows: list[Row], as_of: int) -> None:
    for state in take_snapshot(dataset_of(rows), day(as_of)).states:
        held = {holding.offer_id for holding in state.holdings}
        assert not held & set(state.past_offer_ids)
        assert all(holding.connected_at <= day(as_of) for holding in state.holdings)


@given(WORLDS, DAYS, st.integers(1, 10))
@settings(max_examples=100, deadline=None)
def test_a_split_never_leaks(rows: list[Row], cut: int, horizon: int) -> None:
    dataset = dataset_of(rows)
    now = {state.client_id: state for state in take_snapshot(dataset, day(cut)).states}
    end = {state.client_id: state for state in take_snapshot(dataset, day(cut + horizon)).states}
    adoptions = first_adoptions(dataset, day(cut), horizon)
    assert list(adoptions) == sorted(adoptions)
    for client_id, adopted in adoptions.items():
        seen = {holding.offer_id for holding in now[client_id].holdings} | set(now[client_id].past_offer_ids)
        assert not adopted & seen
        assert adopted <= {holding.offer_id for holding in end[client_id].holdings}
