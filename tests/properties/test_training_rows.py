"""Rows for training hold nothing that a server could not have known at their moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.replay import states_at
from recsys.data.snapshot import take_snapshot
from recsys.data.write import conform
from recsys.errors import LeakageError
from recsys.features.builder import FeatureBuilder
from recsys.features.population import fit_population
from recsys.features.training_rows import CutRows, PastCut, training_rows
from recsys.tables import CLIENTS, EVENTS, HOLDINGS, OFFER_PRICES, OFFERS

START = datetime(2025, 1, 1, tzinfo=UTC)
CLIENT_IDS, OFFER_IDS = ("c1", "c2", "c3"), ("bank", "crm", "pbx")
NEED_GROUPS = ("bank", "pbx", "soon")
N_DAYS = 60


def day(number: int) -> datetime:
    return START + timedelta(days=number)


class Told(NamedTuple):
    """Something that happened on a day and was recorded some days later."""

    kind: str
    client_id: str
    offer_id: str
    on: int
    lag: int


TOLD = st.builds(
    Told,
    kind=st.sampled_from(["holding", "impression", "dismissal", "profile", "price", "offer"]),
    client_id=st.sampled_from(CLIENT_IDS),
    offer_id=st.sampled_from(OFFER_IDS),
    on=st.integers(0, N_DAYS),
    lag=st.integers(0, 20),
)
WORLDS = st.lists(
    TOLD, max_size=25, unique_by=lambda told: (told.kind, told.client_id, told.offer_id, told.on)
)
CUTS = st.lists(
    st.builds(PastCut, at=st.integers(0, N_DAYS + 20).map(day), population_age_days=st.integers(0, 14)),
    min_size=1,
    max_size=3,
)


def dataset_of(world: list[Told]) -> Dataset:
    rows: dict[str, list[dict[str, object]]] = {
        "clients": [{"client_id": each, "valid_from": START, "recorded_at": START} for each in CLIENT_IDS],
        "offers": [{"offer_id": "pbx", "kind": "own", "need_group": "pbx", "recorded_at": START}],
        "holdings": [],
        "events": [],
        "offer_prices": [],
    }
    for number, (kind, client_id, offer_id, on, lag) in enumerate(world):
        # an instant of its own for each row, so that none replaces another of one instant
        recorded_at = day(on + lag) + timedelta(seconds=number)
        client = {"client_id": client_id, "recorded_at": recorded_at}
        event = {"event_id": f"e{number}", "event_type": kind, "occurred_at": day(on), "offer_id": offer_id}
        price = {"offer_id": offer_id, "period": "month", "amount_minor": number, "recorded_at": recorded_at}
        holding = {"holding_id": f"h{number}", "offer_id": offer_id, "connected_at": day(on)}
        match kind:
            case "holding":
                rows["holdings"].append({**client, **holding})
            case "profile":
                rows["clients"].append({**client, "valid_from": day(on), "size": "micro", "industry": "G"})
            case "price":
                rows["offer_prices"].append(price)
            case "offer":
                told = {"offer_id": offer_id, "kind": "partner", "need_group": offer_id}
                rows["offers"].append({**told, "recorded_at": recorded_at})
            case _:
                rows["events"].append({**client, **event})
    frames = {}
    for contract in (CLIENTS, OFFERS, HOLDINGS, EVENTS, OFFER_PRICES):
        told = rows[contract.name]
        found = (
            pl.DataFrame(told, infer_schema_length=None) if told else pl.DataFrame(schema=schema_of(contract))
        )
        frames[contract.name] = conform(found, contract)
    return Dataset(DatasetMeta(name="told"), frames)


def known_by(dataset: Dataset, instant: datetime) -> Dataset:
    known = pl.col("recorded_at") <= instant
    return Dataset(dataset.meta, {name: frame.filter(known) for name, frame in dataset.tables.items()})


def same_rows(one: CutRows, other: CutRows) -> bool:
    return (
        one.client.tobytes() == other.client.tobytes()
        and one.pairs.tobytes() == other.pairs.tobytes()
        and (one.client_ids, one.offer_ids, one.spec) == (other.client_ids, other.offer_ids, other.spec)
    )


@given(WORLDS, CUTS)
@settings(max_examples=25, deadline=None)
def test_nothing_recorded_after_a_moment_changes_its_rows(world: list[Told], cuts: list[PastCut]) -> None:
    dataset = dataset_of(world)
    for cut, rows in zip(cuts, training_rows(dataset, cuts, NEED_GROUPS), strict=True):
        (alone,) = training_rows(known_by(dataset, cut.at), [cut], NEED_GROUPS)
        assert same_rows(rows, alone)


@given(WORLDS, CUTS)
@settings(max_examples=25, deadline=None)
def test_rows_are_those_of_a_server_with_a_bundle_of_that_age(world: list[Told], cuts: list[PastCut]) -> None:
    dataset = dataset_of(world)
    for cut, rows in zip(cuts, training_rows(dataset, cuts, NEED_GROUPS), strict=True):
        fitted_at = cut.at - timedelta(days=cut.population_age_days)
        before = take_snapshot(known_by(dataset, fitted_at), fitted_at)
        population = fit_population(before.states, before.offers, fitted_at)
        builder = FeatureBuilder(take_snapshot(dataset, cut.at).offers, population)
        states = states_at(dataset, [(client_id, cut.at) for client_id in rows.client_ids])
        assert rows.population_as_of == fitted_at
        for number, state in enumerate(states):
            assert np.array_equal(rows.pairs[number], builder.rows(state, cut.at).pairs, equal_nan=True)


def _row(rows: CutRows, name: str) -> np.ndarray:
    return rows.pairs[..., [feature.name for feature in rows.spec.pair].index(name)]


def test_a_connection_younger_than_the_population_is_seen_by_its_client_only() -> None:
    dataset = dataset_of([Told("holding", "c1", "pbx", 10, 0)])
    cut = PastCut(day(12), 7)
    aged, fresh = training_rows(dataset, [cut, PastCut(day(12), 0)], NEED_GROUPS)
    for rows in (aged, fresh):
        assert _row(rows, "is_held").tolist() == [[1.0], [0.0], [0.0]]
    assert _row(aged, "holder_share").tolist() == [[0.0]] * 3
    assert _row(fresh, "holder_share").tolist() == [[1 / 3]] * 3
    assert _row(aged, "population_age_days").tolist() == [[7.0]] * 3


def test_the_columns_of_all_cuts_are_the_same() -> None:
    dataset = dataset_of([Told("offer", "c1", "bank", 30, 0)])
    early, late = training_rows(dataset, [PastCut(day(5), 5), PastCut(day(40), 0, ["c3", "c1"])], NEED_GROUPS)
    assert early.spec == late.spec
    assert (early.offer_ids, late.offer_ids) == (("pbx",), ("bank", "pbx"))
    assert late.client_ids == ("c3", "c1")
    assert late.client.shape == (2, len(late.spec.client))
    assert late.pairs.shape == (2, 2, len(late.spec.pair))


@pytest.mark.parametrize(
    ("cut", "refused"),
    [
        pytest.param(
            lambda: PastCut(day(9), -1), pytest.raises(LeakageError, match="0 or more"), id="future"
        ),
        pytest.param(
            lambda: PastCut(datetime(2025, 1, 9), 1),  # noqa: DTZ001 -- that is the fault
            pytest.raises(ValueError, match="no time zone"),
            id="naive",
        ),
    ],
)
def test_a_cut_that_cannot_be_true_is_refused_at_once(
    cut: Callable[[], PastCut], refused: pytest.RaisesExc[Exception]
) -> None:
    with refused:
        training_rows(dataset_of([]), [cut()], NEED_GROUPS)
