"""Windows before a cut: nothing after it, enough before them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.read import read_dataset
from recsys.errors import DataError
from training.pipelines.selection.windows import LEAST_HISTORY, MAX_WINDOWS, earlier_windows, take_windows

FIRST = datetime(2024, 1, 1, tzinfo=UTC)


@given(known=st.integers(60, 900), horizon=st.integers(1, 400))
def test_windows_end_by_the_cut_and_begin_after_some_history(known: int, horizon: int) -> None:
    as_of = FIRST + timedelta(days=known)
    windows = earlier_windows(FIRST, as_of, horizon)
    assert 1 <= len(windows) <= MAX_WINDOWS
    for window in windows:
        assert window.start + timedelta(days=window.horizon_days) <= as_of
        assert window.start - FIRST >= LEAST_HISTORY
        assert window.horizon_days <= horizon
    assert [window.start for window in windows] == sorted([window.start for window in windows], reverse=True)


def test_the_horizon_shrinks_where_little_is_known() -> None:
    assert earlier_windows(FIRST, FIRST + timedelta(days=100), 92)[0].horizon_days == 50


def test_two_months_are_needed() -> None:
    with pytest.raises(DataError, match="59 days are known"):
        earlier_windows(FIRST, FIRST + timedelta(days=59), 30)


def test_windows_in_which_nobody_connected_anything_are_left_out(tmp_path: Path) -> None:
    connected = [0, 1, 75, 75]
    instant = pl.Datetime("us", "UTC")
    pl.DataFrame(
        {
            "holding_id": ["1", "2", "3", "4"],
            "client_id": ["a", "b", "a", "b"],
            "offer_id": ["x", "y", "y", "x"],
            "connected_at": [FIRST + timedelta(days=day) for day in connected],
        }
    ).with_columns(
        pl.col("connected_at").cast(instant),
        pl.lit(None, instant).alias("disconnected_at"),
        pl.col("connected_at").cast(instant).alias("recorded_at"),
    ).write_parquet(tmp_path / "holdings.parquet")
    since = [pl.lit(FIRST, instant).alias("recorded_at")]
    pl.DataFrame({"client_id": ["a", "b"]}).with_columns(
        *since, pl.lit(FIRST, instant).alias("valid_from")
    ).write_parquet(tmp_path / "clients.parquet")
    pl.DataFrame({"offer_id": ["x", "y"], "kind": "own"}).with_columns(*since).write_parquet(
        tmp_path / "offers.parquet"
    )
    dataset = read_dataset(tmp_path)
    # windows of three days begin on the days 75, 74 and 73; what begins at their start is not in them
    truths = take_windows(dataset, FIRST + timedelta(days=78), 3)
    assert [(truth.as_of - FIRST).days for truth in truths] == [74, 73]
    with pytest.raises(DataError, match=r"before 2024-03-26T00:00:00\+00:00: choose another as_of"):
        take_windows(dataset, FIRST + timedelta(days=85), 3)
