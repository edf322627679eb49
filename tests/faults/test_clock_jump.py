"""The server's clock jumps forth and back: nothing breaks, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys.domain import ClientId
from serving.app import create_app
from serving.ports import Role
from serving.security.keys import new_key
from serving.services.journal import Journal
from serving.settings import Settings
from serving.storage.sql import SqlStore

NewOperator = Callable[[str], Any]
NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
JUMPS = [timedelta(days=40), timedelta(days=-40), timedelta(hours=3), timedelta(seconds=-1)]
ids = [f"{jump.total_seconds():+.0f}s" for jump in JUMPS]


class WrongClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


# An answer given while the clock was wrong may look old; it is kept all the same.
_ANSWER_DAYS = 3650


class Service:
    """A service in this process, with a clock that can be set."""

    def __init__(self, url: str, folder: Path, runner: asyncio.Runner) -> None:
        self.clock, self.store, self.journal = WrongClock(), SqlStore(url), folder / "journal"
        key, record = new_key(Role.ADMIN, NOW - timedelta(days=365))
        self.store.add_key(record)
        self.app = create_app(
            Settings(journal_dir=self.journal, answer_days=_ANSWER_DAYS), self.store, self.clock
        )
        self._runner = runner
        self._lifespan = self.app.router.lifespan_context(self.app)
        runner.run(self._lifespan.__aenter__())
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://127.0.0.1",
            headers={"Authorization": f"Bearer {key}"},
        )

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self._lifespan.__aexit__(None, None, None))
        self.store.close()

    def post(self, path: str, body: object) -> httpx.Response:
        return self._runner.run(self._client.post(path, json=body))

    def recommend(self, request_id: str | None = None) -> Any:
        body = {"client_id": "c001", "placements": [{"placement_id": "home", "k": 3}]}
        answer = self.post("/v1/recommendations", {"request_id": request_id, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def report(self, event_id: str, at: datetime, decision_id: str | None = None) -> httpx.Response:
        shown = {"offer_id": "o01"} if decision_id is None else {"decision_id": decision_id, "slot": 1}
        event_type = "application" if decision_id is None else "impression"
        told = {"event_id": event_id, "event_type": event_type, "occurred_at": at.isoformat(), **shown}
        return self.post("/v1/events", {"events": [{"client_id": "c001", **told}]})


@pytest.fixture
def service(tmp_path: Path, new_operator: NewOperator) -> Iterator[Service]:
    operator = new_operator(f"sqlite:///{tmp_path / 'store.db'}")
    with asyncio.Runner() as runner:
        used = Service(operator.database_url, tmp_path, runner)
        yield used
        used.close()


@pytest.mark.parametrize("jump", JUMPS, ids=ids)
def test_decisions_and_events_survive_a_jump_of_the_clock(service: Service, jump: timedelta) -> None:
    first = service.recommend("r-1")
    assert service.report("e-1", NOW).status_code == 200

    service.clock.moment = NOW + jump
    meanwhile = service.recommend("r-2")
    assert meanwhile["logged"]
    valid_until = datetime.fromisoformat(meanwhile["placements"][0]["valid_until"])
    assert valid_until > service.clock.moment
    assert service.recommend("r-1") == first, "a retry has no age"
    assert service.report("e-1", NOW).status_code in (200, 422)
    told = service.report("e-2", service.clock.moment)
    assert told.status_code == 200, told.text

    service.clock.moment = NOW + timedelta(minutes=1)
    last = service.recommend("r-3")
    assert service.recommend("r-2") == meanwhile
    assert service.report("e-3", service.clock.moment).json() == {"accepted": 1, "duplicates": 0}
    assert service.report("e-1", NOW).json() == {"accepted": 0, "duplicates": 1}

    stored = [str(one["decision_id"]) for one in service.store.read_rows("decisions")]
    answered = [shown["decision_id"] for one in (first, meanwhile, last) for shown in one["placements"]]
    assert sorted(stored) == sorted(answered)
    assert sorted(str(one["event_id"]) for one in service.store.read_rows("events")) == ["e-1", "e-2", "e-3"]
    state = service.store.client_state(ClientId("c001"))
    assert state is not None
    service.store.rebuild_states()
    assert service.store.rebuild_states() == 0


def test_an_event_from_a_clock_that_is_right_is_refused_by_name_where_ours_is_slow(service: Service) -> None:
    service.clock.moment = NOW - timedelta(hours=1)
    refused = service.report("e-1", NOW)
    assert refused.status_code == 422
    assert refused.json()["error"]["details"]["faults"][0]["code"] == "future"
    service.clock.moment = NOW
    assert service.report("e-1", NOW).status_code == 200


def test_what_people_do_at_a_wrong_time_is_put_right_at_the_right_one(service: Service) -> None:
    def put(name: str) -> int:
        profile = {"name": name, "legal_form": "llc", "size": "micro"}
        client = service._client.put("/v1/clients/c001", json=profile)
        return service._runner.run(client).status_code

    assert put("before") == 200
    service.clock.moment = NOW + timedelta(days=40)
    assert put("in the future") == 200
    service.clock.moment = NOW + timedelta(minutes=1)
    assert put("now") == 200
    state = service.store.client_state(ClientId("c001"))
    assert state is not None
    assert state.profile is not None
    assert state.profile.name == "now"


def test_a_turn_that_was_taken_in_the_future_is_free_again(service: Service) -> None:
    hour = timedelta(hours=1)
    assert service.store.take_turn("work", NOW + timedelta(days=40), hour)
    assert service.store.take_turn("work", NOW, hour), "else nothing is done for forty days"
    assert not service.store.take_turn("work", NOW + timedelta(minutes=30), hour)
    assert service.store.take_turn("work", NOW + hour, hour)


def test_a_journal_of_a_wrong_time_is_replayed_at_the_right_one(service: Service) -> None:
    commits = service.app.state.services.commits
    service.clock.moment = NOW + timedelta(days=40)

    async def lose() -> None:
        commits.lose(OSError("the database is away"))

    service._runner.run(lose())
    answer = service.recommend("r-1")
    service.clock.moment = NOW

    async def come_back() -> None:
        async with asyncio.timeout(30):
            while commits.outage is not None:
                await asyncio.sleep(0.01)

    service._runner.run(come_back())
    assert not Journal(service.journal).has_pending()
    stored = [str(one["decision_id"]) for one in service.store.read_rows("decisions")]
    assert stored == [answer["placements"][0]["decision_id"]]
    assert service.recommend("r-1") == answer
