"""What a worker does when it looks for what changed outside, and something is wrong with that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from fastapi import FastAPI

from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, Profile
from recsys.errors import StoreUnavailableError
from serving import background
from serving.app import create_app
from serving.orders import OfferStop, PolicyVersion
from serving.ports import Catalogue, PutClient, Store
from serving.services.scoring import Scoring
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@dataclass
class SetClock:
    """A clock that shows what it is set to."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


class FragileStore(MemoryStore):
    """Fails while reading the catalogue as long as it has a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.n_counts = 0

    def catalogue(self, now: datetime) -> Catalogue:
        if self.fault is not None:
            raise self.fault
        return super().catalogue(now)

    def holder_counts(self) -> dict[str, int]:
        self.n_counts += 1
        return super().holder_counts()


@pytest.fixture
def store() -> FragileStore:
    store = FragileStore()
    store.upsert_rows("offers", [offer_row("crm"), offer_row("mail")], NOW)
    store.commit([PutClient(ClientId("acme"), Profile(), NOW)])
    return store


def offer_row(offer_id: str) -> dict[str, Any]:
    return {"offer_id": offer_id, "kind": "own", "recorded_at": NOW}


def stop(offer_id: str = "mail") -> OfferStop:
    return OfferStop(offer_id, True, "prices", "duty", NOW, NOW)


def policy(documents: dict[str, str], effective_at: datetime = NOW) -> PolicyVersion:
    return PolicyVersion(version_of(documents), documents, effective_at, effective_at, "test")


def scoring_of(store: Store, bundles: Path | None = None) -> Scoring:
    return Scoring(store, bundles, ZoneInfo("UTC"), cache_size=10)


@contextmanager
def running(store: Store, clock: SetClock) -> Iterator[tuple[FastAPI, asyncio.Runner]]:
    app = create_app(Settings(), store, clock)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield app, runner
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


def ready(app: FastAPI, runner: asyncio.Runner) -> tuple[int, dict[str, Any]]:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/ready")

    answer = runner.run(ask())
    return answer.status_code, answer.json()


def test_the_watcher_outlives_whatever_a_look_does(
    store: FragileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "SECONDS_BETWEEN_LOOKS", 0.001)
    looks: asyncio.Queue[None] = asyncio.Queue()
    with running(store, SetClock()) as (app, runner):
        scoring = app.state.services.scoring
        look = scoring.refresh

        def count(now: datetime) -> None:
            try:
                look(now)
            finally:
                loop.call_soon_threadsafe(looks.put_nowait, None)

        async def wait_for_looks(n_looks: int) -> None:
            for _ in range(n_looks):
                await asyncio.wait_for(looks.get(), 30)

        loop = runner.get_loop()
        monkeypatch.setattr(scoring, "refresh", count)
        store.put_offer_stop(stop())
        store.fault = ZeroDivisionError("a fault of the program")
        runner.run(wait_for_looks(5))
        failed = [record for record in caplog.records if record.getMessage() == "refresh_failed"]
        assert {record.levelname for record in failed} == {"ERROR"}
        assert "a fault of the program" in str(vars(failed[0]))
        assert not scoring.world.catalogue.offers[1].is_stopped
        store.fault = None
        runner.run(wait_for_looks(5))
        assert scoring.world.catalogue.offers[1].is_stopped


def test_readiness_says_when_the_last_good_look_is_old(store: FragileStore) -> None:
    clock = SetClock()
    with running(store, clock) as (app, runner):
        assert ready(app, runner)[1]["faults"] == []
        store.fault = ZeroDivisionError("a fault of the program")
        clock.moment = NOW + 11 * SECOND
        status, told = ready(app, runner)
        assert (status, told["status"], told["looked_seconds_ago"]) == (200, "degraded", 11.0)
        assert "last seen 11 s ago" in told["faults"][0]


def test_a_bundle_that_came_while_the_store_failed_is_taken_up(
    store: FragileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring = scoring_of(store, tmp_path)
    scoring.refresh(NOW)
    assert scoring.world.ranking.degraded == "no_bundle"
    bundle = object()
    monkeypatch.setattr("serving.services.bundle_source.newest_bundle", lambda _: tmp_path / "new")
    monkeypatch.setattr("serving.services.bundle_source.load_bundle", lambda _: bundle)
    built: list[object] = []

    def build(*given: Any) -> Any:
        built.append(given[2])
        return scoring.world.ranking

    monkeypatch.setattr("serving.services.scoring.build_ranking", build)
    store.fault = StoreUnavailableError("gone")
    with pytest.raises(StoreUnavailableError):
        scoring.refresh(NOW)
    store.fault = None
    scoring.refresh(NOW)
    assert built == [bundle]


def test_a_change_of_stops_or_policy_counts_no_holders(store: FragileStore) -> None:
    scoring = scoring_of(store)
    scoring.refresh(NOW)
    ranking = scoring.world.ranking
    store.put_offer_stop(stop())
    scoring.refresh(NOW)
    store.put_policy(policy({"placements.yaml": "placements: [{id: home}]\n"}))
    scoring.refresh(NOW)
    assert scoring.world.catalogue.offers[1].is_stopped
    assert scoring.world.ranking is ranking
    assert store.n_counts == 1
    for change in (
        lambda: store.upsert_rows("offers", [offer_row("new")], NOW),
        lambda: store.put_documents({"dataset.toml": 'currency = "RUB"\n'}),
    ):
        change()
        scoring.refresh(NOW)
    assert store.n_counts == 3
    assert scoring.world.currency == "RUB"


SOUND = {"placements.yaml": "placements: [{id: home, k: 7}]\n"}
NEWER = {"contact.yaml": "caps_of_tomorrow: []\n"}
UNKNOWN_DOCUMENT = {**SOUND, "tomorrow.yaml": "{}\n"}


@pytest.mark.parametrize("unreadable", [NEWER, UNKNOWN_DOCUMENT])
def test_after_a_restart_the_last_policy_that_can_be_read_is_used(
    store: FragileStore, unreadable: dict[str, str]
) -> None:
    withdrawn = policy({"placements.yaml": "placements: [{id: home, k: 8}]\n"}, NOW + HOUR)
    store.put_policy(policy(SOUND))
    store.put_policy(withdrawn)
    store.put_policy(PolicyVersion(withdrawn.version, {}, NOW + HOUR, NOW, "test", is_withdrawal=True))
    store.put_policy(policy(unreadable, NOW + 2 * HOUR))
    with running(store, SetClock(NOW + 3 * HOUR)) as (app, runner):
        status, told = ready(app, runner)
        assert (status, told["status"], told["policy"]) == (200, "degraded", version_of(SOUND))
        assert f"policy {version_of(unreadable)} cannot be read" in told["faults"][0]
        store.put_policy(policy(SOUND, NOW + 3 * HOUR))
        app.state.services.scoring.refresh(NOW + 3 * HOUR)
        assert ready(app, runner)[1]["faults"] == []


def test_no_rules_are_made_up_where_no_policy_can_be_read(store: FragileStore) -> None:
    store.put_policy(policy(NEWER))
    with running(store, SetClock()) as (app, runner):
        status, told = ready(app, runner)
        assert (status, told["status"], told["database"]) == (503, "unready", "ok")
        assert "nor can one before it: publish one that can" in told["faults"][0]
        with pytest.raises(StoreUnavailableError, match="cannot be read"):
            _ = app.state.services.scoring.world
        store.put_policy(policy(SOUND))
        app.state.services.scoring.refresh(NOW)
        assert ready(app, runner)[1]["policy"] == version_of(SOUND)
