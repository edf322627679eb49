"""Groups of clients for which an evaluation gives figures of their own."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from recsys.domain import ClientId, ClientState, Holding, OfferId, Profile, Size, Stage
from training.pipelines.evaluation.segments import DIMENSIONS, segments_of
from training.pipelines.evaluation.tables import LEAST_ROWS, segment_columns

ON = date(2026, 6, 1)


def client(profile: Profile | None = None, n_holdings: int = 0) -> ClientState:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    holdings = tuple(Holding(f"h{number}", OfferId("pbx"), since) for number in range(n_holdings))
    return ClientState(ClientId("c"), profile=profile, holdings=holdings)


def test_what_is_known_of_nobody_is_no_dimension() -> None:
    assert segments_of([client(), client(n_holdings=1)], ON) == {"history": ("cold", "warm")}


def test_every_dimension_is_read_from_the_profile() -> None:
    profile = Profile(
        size=Size.SMALL, industry="G", region="77", stage=Stage.GROWTH, client_since_on=date(2026, 1, 1)
    )
    found = segments_of([client(profile), client()], ON)
    assert set(found) == set(DIMENSIONS)
    assert {name: values[0] for name, values in found.items()} == {
        "history": "cold",
        "tenure": "3–12 months",
        "size": "small",
        "stage": "growth",
        "industry": "G",
        "region": "77",
    }
    assert [found[name][1] for name in ("tenure", "size", "stage", "industry", "region")] == [None] * 5


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (date(2026, 3, 4), "under 3 months"),
        (date(2026, 3, 3), "3–12 months"),
        (date(2025, 6, 1), "1–3 years"),
        (date(2023, 6, 2), "1–3 years"),
        (date(2023, 6, 1), "over 3 years"),
    ],
)
def test_tenure_has_classes(since: date, expected: str) -> None:
    assert segments_of([client(Profile(client_since_on=since))], ON)["tenure"] == (expected,)


def test_small_segments_are_one_and_tiny_ones_none() -> None:
    few = LEAST_ROWS // 2
    rows = pl.DataFrame(
        {
            "region": ["a"] * LEAST_ROWS + ["b"] * few + ["c"] * few,
            "size": ["x"] * (2 * LEAST_ROWS - 1) + [None],
        }
    )
    found = [
        (dimension, segment, int(is_in.sum()))
        for dimension, segment, is_in in segment_columns(rows, ["region", "size"])
    ]
    assert found == [("region", "a", LEAST_ROWS), ("region", "2 smaller", LEAST_ROWS)]
