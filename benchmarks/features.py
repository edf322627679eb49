"""How fast are features, offline for a whole operator and online for one client?

Clients with the full history a state can hold in practice are made up: 16 months, a few holdings, some
sixty entries of activity, the demo catalogue and a population. *Offline* takes a snapshot out of tables and
builds every row, the client's own and those with all offers, in one process; *online* builds the rows of
one client at a time, out of a state and out of the JSON that a store holds, and reads a state as a decision
does. How fast the machine is at this moment is told by `numpy_120_calls_us`, 120 additions of one small
array; `online_ratio` is what one client costs in such units. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from recsys.data.columns import schema_of
from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.snapshot import Snapshot, take_snapshot
from recsys.data.state_json import state_from_json, state_to_json
from recsys.data.write import conform
from recsys.domain import EventType, Size
from recsys.features.builder import FeatureBuilder
from recsys.features.population import fit_population
from recsys.simulation.catalogue import catalogue_tables, read_catalogue
from recsys.tables import CLIENT_MONTHS, CLIENTS, EVENTS, HOLDINGS

ROOT = Path(__file__).resolve().parent.parent
AS_OF = datetime(2026, 10, 31, 12, tzinfo=UTC)
N_MONTHS = 16
HOLDINGS_EACH = 7
EVENTS_EACH = 60
N_ONLINE = 2_000
ROUND_SIZE = 20
N_ROUNDS = 5


def make_dataset(n_clients: int, rng: np.random.Generator) -> Dataset:
    """Tables of made-up clients, all with a full history."""
    catalogue = read_catalogue(ROOT / "datasets" / "demo")
    tables = dict(catalogue_tables(catalogue, AS_OF - timedelta(days=900)))
    offer_ids = tables["offers"]["offer_id"]
    ids = pl.select(pl.lit("c") + pl.int_range(n_clients).cast(pl.String).str.zfill(7)).to_series()
    tables["clients"] = _clients(ids, rng)
    tables["client_months"] = _months(ids, rng)
    tables["holdings"] = _holdings(ids, offer_ids, rng)
    tables["events"] = _events(ids, offer_ids, rng)
    return Dataset(DatasetMeta(name="benchmark"), tables)


def _clients(ids: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    n = len(ids)
    start = AS_OF - timedelta(days=800)
    frame = pl.DataFrame(
        {
            "client_id": ids,
            "valid_from": [start] * n,
            "recorded_at": [start] * n,
            "size": rng.choice([str(size) for size in Size], n),
            "industry": rng.choice(list("ABCDEFGHIJKLMNOPQRS"), n),
            "n_employees": rng.integers(1, 200, n),
            "client_since_on": [start.date()] * n,
        }
    )
    return conform(frame, CLIENTS)


def _months(ids: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    n = len(ids) * N_MONTHS
    firsts = pl.date_range(datetime(2025, 6, 1), datetime(2026, 9, 1), "1mo", eager=True)  # noqa: DTZ001
    whole = {
        name: rng.integers(0, 10_000, n)
        for name, dtype in schema_of(CLIENT_MONTHS).items()
        if dtype == pl.Int64()
    }
    shares = {name: rng.random(n).round(4) for name in ("overage_share", "roaming_share", "m2m_share")}
    frame = pl.DataFrame(
        {
            "client_id": ids.gather(np.repeat(np.arange(len(ids)), N_MONTHS)),
            "month_on": firsts.gather(np.tile(np.arange(N_MONTHS), len(ids))),
            "known_at": [AS_OF - timedelta(days=1)] * n,
            **whole,
            **shares,
        }
    )
    return conform(frame, CLIENT_MONTHS)


def _holdings(ids: pl.Series, offer_ids: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    n = len(ids) * HOLDINGS_EACH
    connected = _instants(rng.integers(1, 700 * 24 * 3600, n))
    frame = pl.DataFrame(
        {
            "holding_id": pl.select(pl.lit("h") + pl.int_range(n).cast(pl.String)).to_series(),
            "client_id": ids.gather(np.repeat(np.arange(len(ids)), HOLDINGS_EACH)),
            "offer_id": offer_ids.gather(rng.integers(0, len(offer_ids), n)),
            "connected_at": connected,
            "recorded_at": connected,
        }
    )
    return conform(frame, HOLDINGS)


def _events(ids: pl.Series, offer_ids: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    n = len(ids) * EVENTS_EACH
    occurred = _instants(rng.integers(1, 89 * 24 * 3600, n))
    types = [str(EventType.IMPRESSION), str(EventType.CLICK), str(EventType.DISMISSAL)]
    frame = pl.DataFrame(
        {
            "event_id": pl.select(pl.lit("e") + pl.int_range(n).cast(pl.String)).to_series(),
            "event_type": rng.choice(types, n, p=[0.93, 0.05, 0.02]),
            "client_id": ids.gather(np.repeat(np.arange(len(ids)), EVENTS_EACH)),
            "occurred_at": occurred,
            "recorded_at": occurred,
            "offer_id": offer_ids.gather(rng.integers(0, len(offer_ids), n)),
        }
    )
    return conform(frame, EVENTS)


def _instants(seconds_before: np.ndarray) -> pl.Series:
    end = pl.lit(AS_OF).cast(pl.Datetime("us", "UTC"))
    return pl.select(end - pl.duration(seconds=pl.Series(seconds_before))).to_series()


def measure_online(snapshot: Snapshot, builder: FeatureBuilder) -> dict[str, float]:
    """Microseconds for one client: the best and the median of many short rounds, the kinds taking turns."""
    states = snapshot.states[:N_ONLINE]
    bodies = [state_to_json(state).decode() for state in states]
    client_id = states[0].client_id
    small = np.zeros(len(builder.offer_ids))

    def add_often(_: int) -> None:
        for _ in range(120):
            small + 1

    kinds = {
        "numpy_120_calls_us": add_often,
        "online_us": lambda number: builder.rows(states[number], AS_OF),
        "online_from_json_us": lambda number: builder.rows(
            state_from_json(client_id, 1, bodies[number]), AS_OF
        ),
        "read_state_us": lambda number: state_from_json(client_id, 1, bodies[number]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    firsts = range(0, len(states) - ROUND_SIZE + 1, ROUND_SIZE)
    for first in (*firsts,) * N_ROUNDS:
        for name, do in kinds.items():
            started = time.perf_counter()
            for number in range(first, first + ROUND_SIZE):
                do(number)
            seconds[name].append((time.perf_counter() - started) / ROUND_SIZE)
    figures = {name: min(found) * 1e6 for name, found in seconds.items()}
    medians = {f"{name}_median": median(found) * 1e6 for name, found in seconds.items()}
    return {**figures, **medians, "online_ratio": figures["online_us"] / figures["numpy_120_calls_us"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100_000)
    n_clients = parser.parse_args().clients
    dataset = make_dataset(n_clients, np.random.default_rng(1))
    print(f"{n_clients:,} clients: tables made")
    started = time.perf_counter()
    snapshot = take_snapshot(dataset, AS_OF)
    taken = time.perf_counter()
    print(f"snapshot: {taken - started:.1f} s")
    population = fit_population(snapshot.states, snapshot.offers, AS_OF - timedelta(days=7))
    builder = FeatureBuilder(snapshot.offers, population)
    fitted = time.perf_counter()
    for state in snapshot.states:
        builder.rows(state, AS_OF)
    built = time.perf_counter()
    print(f"rows: {built - fitted:.1f} s")
    offline = built - started
    figures = {
        "n_clients": n_clients,
        "n_client_features": len(builder.spec.client),
        "n_pair_features": len(builder.spec.pair),
        "snapshot_s": taken - started,
        "rows_s": built - fitted,
        "offline_s": offline,
        "offline_clients_per_s": n_clients / offline,
        **measure_online(snapshot, builder),
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
