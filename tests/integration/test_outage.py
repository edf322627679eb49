"""While the database is away: what is answered, what is promised, and what comes of it afterwards."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from recsys.domain import ClientId, Profile
from recsys.errors import StoreUnavailableError
from serving import background
from serving.app import create_app
from serving.orders import Assignment
from serving.ports import LogDecisions, LoggedDecision, PutClient, Role
from serving.security.keys import new_key
from serving.services import commit_queue
from serving.services.commit_queue import CommitQueue
from serving.services.journal import Journal
from serving.services.journal_files import JournalFile, record
from serving.services.scoring import Scoring
from serving.services.services import Services
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.storage.schema import SCHEMA_REVISION
from serving.storage.sql import SqlStore

THEN, NOW = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 1, 12, tzinfo=UTC)
LISTS = [{"placement_id": "home", "k": 3}]
AWAY = "store_unavailable"


class MovingClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


class ShakyStore(SqlStore):
    """SQLite that goes away, wholly or for writes alone, or hangs in a transaction, as a test wants it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_gone = False
        self.is_read_only = False
        self.way_is_free = Flag()
        self.way_is_free.set()
        self.n_reads = 0
        self.n_held_up = 0

    def _check(self) -> None:
        if self.is_gone:
            raise StoreUnavailableError("the database at db.inner did not answer")

    def _row(self, *asked: Any) -> Any:
        self.n_reads += 1
        self._check()
        return super()._row(*asked)

    def _rows(self, *asked: Any) -> Any:
        self._check()
        return super()._rows(*asked)

    def _transact(self, work: Any) -> Any:
        self._check()
        if self.is_read_only:
            raise StoreUnavailableError("the disk of db.inner is full")
        self.n_held_up += not self.way_is_free.is_set()
        self.way_is_free.wait(30)
        return super()._transact(work)


class Portal:
    """A program that talks to a service in this process."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self.app, self.runner, self.client = app, runner, client
        self.commits: CommitQueue = app.state.services.commits

    def ask(self, method: str, url: str, **what: Any) -> httpx.Response:
        return self.runner.run(self.client.request(method, url, **what))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def recommend(self, client_id: str = "c-1", *, status: int = 200, **more: Any) -> Any:
        body = {"client_id": client_id, "placements": LISTS, **more}
        response = self.ask("POST", "/v1/recommendations", json=body)
        assert response.status_code == status, response.text
        return response.json()

    def report(self, decision_id: str, event_id: str = "e-1") -> httpx.Response:
        event = {
            "event_id": event_id,
            "event_type": "impression",
            "client_id": "c-1",
            "decision_id": decision_id,
            "slot": 1,
            "occurred_at": NOW.isoformat(),
        }
        return self.ask("POST", "/v1/events", json={"events": [event]})

    def until(self, is_so: Callable[[], bool]) -> None:
        """Let the service work until something is so."""

        async def wait() -> None:
            async with asyncio.timeout(30):
                while not is_so():
                    await asyncio.sleep(0.01)

        self.runner.run(wait())

    def until_back(self) -> None:
        self.until(lambda: self.commits.outage is None)


def row(**more: object) -> dict[str, object]:
    return {"recorded_at": THEN, **more}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, new_sqlite: Callable[[Path], str]) -> Path:
    """A file with some clients and offers, to copy."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    store = SqlStore(new_sqlite(path))
    names = [f"o{number}" for number in range(6)]
    store.upsert_rows("offers", [row(offer_id=name, kind="own") for name in names], NOW)
    clients = [row(client_id=f"c-{n}", valid_from=THEN, legal_form="llc", name="Firm") for n in range(3)]
    store.upsert_rows("clients", clients, NOW)
    held = row(holding_id="h-1", client_id="c-1", offer_id="o0", connected_at=THEN)
    store.upsert_rows("holdings", [held], NOW)
    store.rebuild_states()
    store.close()
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[ShakyStore]:
    shutil.copyfile(template, tmp_path / "store.db")
    shaky = ShakyStore(f"sqlite:///{tmp_path / 'store.db'}")
    yield shaky
    shaky.way_is_free.set()
    shaky.close()


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are shorter here."""
    monkeypatch.setattr(commit_queue, "_SECONDS_TO_COMMIT", 0.3)
    monkeypatch.setattr(commit_queue, "_SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(commit_queue, "_SECONDS_BETWEEN_PROBES", 0.05)
    monkeypatch.setattr(commit_queue, "_SECONDS_BETWEEN_ADOPTIONS", 0.1)


@pytest.fixture
def portal(store: ShakyStore, tmp_path: Path) -> Iterator[Portal]:
    key, record = new_key(Role.ADMIN, THEN)
    store.add_key(record)
    app = create_app(Settings(journal_dir=tmp_path / "journal"), store, MovingClock())
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {key}"}
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)
        yield Portal(app, runner, client)
        store.is_gone = store.is_read_only = False
        store.way_is_free.set()
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


def test_a_worker_that_has_read_nothing_leaves_callers_to_one_that_has(
    store: ShakyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SECONDS_BETWEEN_LOOKS", 0.05)
    late = ShakyStore(f"sqlite:///{tmp_path / 'store.db'}")
    settings = Settings(journal_dir=tmp_path / "journal", metrics_dir=tmp_path, workers=2)

    async def live() -> None:
        first, second, third = (create_app(settings, one, MovingClock()) for one in (store, late, late))
        async with asyncio.timeout(30):
            async with first.router.lifespan_context(first):
                assert "connection" not in (await readiness(first)).headers
                late.is_gone = True
                waiting = second.router.lifespan_context(second)
                begin = asyncio.create_task(waiting.__aenter__())
                done, _ = await asyncio.wait([begin], timeout=0.5)
                assert not done, "it lets callers in"
                late.is_gone = False
                await begin
                assert (await readiness(second)).json()["status"] == "degraded", "there are no models"
                await waiting.__aexit__(None, None, None)
            late.is_gone = True
            async with third.router.lifespan_context(third):  # where nobody can answer, it tells so
                refused = await readiness(third)
                assert (refused.status_code, refused.headers["connection"]) == (503, "close")
                late.is_gone = False
                while (await readiness(third)).status_code == 503:
                    await asyncio.sleep(0.01)
                assert "connection" not in (await readiness(third)).headers

    asyncio.run(live())
    late.close()


async def readiness(app: FastAPI) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get("/ready")


def test_another_schema_is_no_outage_and_told_as_what_it_is(
    portal: Portal, store: ShakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def told() -> list[str]:
        names = ("schema_foreign", "schema_known", "store_away")
        return [record.message for record in caplog.records if record.message in names]

    def move_to(revision: str) -> None:
        with closing(sqlite3.connect(store.place.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))

    move_to("0008")
    portal.until(lambda: told() == ["schema_foreign"])
    for _ in range(3):
        ready = portal.ask("GET", "/ready").json()
        assert (ready["status"], ready["database"]) == ("degraded", "ok")
        (fault,) = ready["faults"]
        assert fault.startswith(
            f"the database has another schema: 0008, this program needs {SCHEMA_REVISION}"
        )
        assert "recsys_database_up 1.0" in portal.ask("GET", "/metrics").text
    answer = portal.recommend()
    assert (answer["degraded"], answer["logged"]) == ("no_bundle", True)
    assert portal.report(ids(answer)).status_code == 200
    assert told() == ["schema_foreign"], "once, however often it is looked at"
    move_to(SCHEMA_REVISION)
    portal.until(lambda: told() == ["schema_foreign", "schema_known"])
    assert portal.ask("GET", "/ready").json()["faults"] == []


def test_what_cannot_be_read_of_another_schema_is_left_out_of_readiness(
    portal: Portal, store: ShakyStore
) -> None:
    with closing(sqlite3.connect(store.place.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0008'")
        connection.execute("ALTER TABLE loads RENAME TO feeds")
    ready = portal.ask("GET", "/ready")
    assert (ready.status_code, ready.json()["sources"]) == (200, [])
    assert "another schema: 0008" in ready.json()["faults"][0]


def decisions(store: ShakyStore) -> dict[str, Mapping[str, Any]]:
    return {str(one["decision_id"]): one for one in store.read_rows("decisions")}


def ids(answer: Any) -> str:
    return str(answer["placements"][0]["decision_id"])


def made(decision_id: str) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id="c-1",
        member_id=None,
        placement_id="home",
        channel=None,
        occurred_at=NOW,
        seed=1,
        policy_version="p",
        catalogue_version="c",
        bundle_version=None,
        state_version=1,
        is_personalised=False,
        degraded=AWAY,
        basis="population",
        items=b'[[1,"o1","new",1.0,[]]]',
        candidates=b"{}",
        request=b'{"k":1}',
    )


def test_a_normal_answer_says_that_it_is_logged(portal: Portal, store: ShakyStore) -> None:
    answer = portal.recommend()
    assert (answer["logged"], answer["degraded"]) == (True, "no_bundle")
    assert ids(answer) in decisions(store)


def test_a_client_is_taken_as_this_worker_last_knew_it(portal: Portal, store: ShakyStore) -> None:
    known = portal.recommend("c-1")
    store.is_gone = True
    answer = portal.recommend("c-1")
    assert (answer["degraded"], answer["logged"], answer["client_known"]) == (AWAY, True, True)
    assert answer["versions"]["state"] == known["versions"]["state"]
    shown = [item["offer_id"] for item in answer["placements"][0]["items"]]
    assert "o0" not in shown, "what is connected is not offered"
    stranger = portal.recommend("c-2")
    assert (stranger["degraded"], stranger["logged"]) == (AWAY, True)
    assert (stranger["client_known"], stranger["versions"]["state"]) == (False, 0)
    assert stranger["placements"][0]["items"]


def test_what_was_answered_meanwhile_is_stored_once_afterwards(portal: Portal, store: ShakyStore) -> None:
    portal.recommend()
    store.is_gone = True
    answers = [portal.recommend() for _ in range(5)]
    assert portal.commits.journal is not None
    assert portal.commits.journal.n_waiting == 5
    faults = portal.ask("GET", "/ready").json()["faults"]
    assert "5 decisions wait in the journal" in faults[0]
    store.is_gone = False
    portal.until_back()
    assert {ids(answer) for answer in answers} < set(decisions(store))
    assert len(decisions(store)) == 6
    assert decisions(store)[ids(answers[-1])]["degraded"] == AWAY
    assert portal.ask("GET", "/ready").json()["faults"] == []
    assert portal.recommend()["degraded"] == "no_bundle"


def test_an_event_waits_for_the_decision_that_it_refers_to(portal: Portal, store: ShakyStore) -> None:
    portal.recommend()
    store.is_gone = True
    answer = portal.recommend()
    refused = portal.report(ids(answer))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    store.is_gone = False
    told = portal.report(ids(answer))
    assert told.status_code in (200, 503), "never that the decision is unknown"
    portal.until_back()
    assert portal.report(ids(answer)).status_code == 200


def test_an_event_waits_for_a_decision_in_the_journal_of_another_worker(
    portal: Portal, store: ShakyStore, tmp_path: Path
) -> None:
    other = Journal(tmp_path / "journal")

    async def keep_elsewhere() -> None:
        other.start()
        await other.keep(LogDecisions((made("other-worker"),)))

    portal.run(keep_elsewhere())
    refused = portal.report("other-worker")
    assert refused.status_code == 503, "it may be one of those that wait"
    assert portal.report("nobodys").status_code == 503
    portal.run(other.close())  # the other worker dies, and this one takes its file
    portal.until(lambda: "other-worker" in decisions(store))
    portal.until(lambda: not list((tmp_path / "journal").iterdir()))
    assert portal.report("other-worker").status_code == 200
    assert portal.report("nobodys", "e-2").status_code == 422


def test_a_retry_gets_the_same_answer_meanwhile_and_afterwards(portal: Portal, store: ShakyStore) -> None:
    portal.recommend()
    store.is_gone = True
    first = portal.recommend(request_id="r-1")
    assert portal.recommend(request_id="r-1") == first
    assert portal.recommend("c-2", request_id="r-1", status=409)["error"]["code"] == "conflict"
    store.is_gone = False
    portal.until_back()
    assert portal.recommend(request_id="r-1") == first
    assert portal.recommend("c-2", request_id="r-1", status=409)["error"]["code"] == "conflict"
    assert len(decisions(store)) == 2


def test_a_retry_of_what_the_database_has_gets_the_same_answer_meanwhile(
    portal: Portal, store: ShakyStore
) -> None:
    first = portal.recommend(request_id="r-1")
    store.is_gone = True
    assert portal.recommend(request_id="r-1") == first
    assert portal.recommend("c-2", request_id="r-1", status=409)["error"]["code"] == "conflict"
    store.is_gone = False
    portal.until_back()
    assert portal.recommend(request_id="r-1") == first
    assert list(decisions(store)) == [ids(first)]


def leave(folder: Path, names: Iterable[str]) -> None:
    """Leave a journal as a worker does that is killed."""
    folder.mkdir(exist_ok=True)
    file = JournalFile.create(folder)
    file.append([record(LogDecisions((made(name),))) for name in names])
    file.close()


def test_a_database_that_hangs_in_the_replay_of_a_dead_worker_keeps_nobody_waiting(
    portal: Portal, store: ShakyStore, tmp_path: Path
) -> None:
    store.way_is_free.clear()
    leave(tmp_path / "journal", ["other-worker"])
    portal.until(lambda: portal.commits.n_waiting > 0)  # it is being replayed
    answer = portal.recommend()
    assert answer["logged"]
    portal.until(lambda: portal.commits.outage is not None)
    store.way_is_free.set()
    portal.until_back()
    portal.until(lambda: not list((tmp_path / "journal").iterdir()))
    assert set(decisions(store)) == {ids(answer), "other-worker"}


def test_what_a_dead_worker_left_is_replayed_between_others_requests(
    portal: Portal, store: ShakyStore, tmp_path: Path
) -> None:
    names = [f"left-{number}" for number in range(1_500)]
    leave(tmp_path / "journal", names)
    answers = []
    while list((tmp_path / "journal").iterdir()):
        answers.append(portal.recommend())
        assert portal.commits.outage is None
    assert {(answer["logged"], answer["degraded"]) for answer in answers} == {(True, "no_bundle")}
    assert len(answers) > 1
    assert set(decisions(store)) == {*names, *map(ids, answers)}


def test_a_fault_that_passes_loses_no_decision(
    portal: Portal, store: ShakyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a right that was taken away: no outage in the driver's words."""

    def fail(_writes: object) -> list[Any]:
        raise ZeroDivisionError("permission denied for table decisions")

    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", fail)
        answer = portal.recommend()
        assert answer["logged"]
        assert portal.report(ids(answer)).status_code == 503
        assert portal.commits.journal is not None
        assert portal.commits.journal.n_waiting == 1
    portal.until_back()
    assert set(decisions(store)) == {ids(answer)}
    assert list((tmp_path / "journal").iterdir()) == []


def test_threads_that_are_busy_are_no_outage_and_hold_up_no_end(tmp_path: Path) -> None:
    class Remote(MemoryStore):
        is_embedded = False

    async def work() -> None:
        free, loop = Flag(), asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, free.wait, 60)
        store = Remote()
        commits = CommitQueue(store, journal=Journal(tmp_path))
        services = Services(store, commits, Scoring(store, None, UTC, 1), MovingClock())
        commits.start()
        async with asyncio.timeout(30):
            assert await services.ask(store.client_state, ClientId("c-1")) is None
            assert commits.outage is None
            await commits.close()
        assert not busy.done()
        free.set()
        services.readers.shutdown()

    asyncio.run(work())


HUNG = """
import threading
from serving.services import drain
drain._SECONDS_TO_END = 0.05
server = drain.Drain()
server.hears_signals = True
threading.Thread(target=threading.Event().wait, name="hangs").start()
server.insist()
"""


def test_a_thread_that_hangs_does_not_keep_a_server_from_its_end() -> None:
    command = [sys.executable, "-c", HUNG]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "ended_with_threads" in done.stderr


def test_where_nothing_can_be_written_the_answer_says_so_and_is_kept_nowhere(
    portal: Portal, store: ShakyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    portal.recommend()
    (tmp_path / "journal").write_text("in the way of the folder")
    store.is_gone = True
    answer = portal.recommend()
    assert (answer["logged"], answer["degraded"]) == (False, AWAY)
    assert answer["placements"][0]["items"]
    assert [portal.recommend()["logged"] for _ in range(3)] == [False] * 3
    assert "the journal cannot be written" in " ".join(portal.ask("GET", "/ready").json()["faults"])
    assert sum(record.getMessage() == "journal_unwritable" for record in caplog.records) == 1
    store.is_gone = False
    portal.until_back()
    assert len(decisions(store)) == 1
    assert portal.report(ids(answer)).status_code == 422, "nothing is learnt from it"


def test_what_the_store_may_have_taken_is_never_called_unlogged(
    portal: Portal, store: ShakyStore, tmp_path: Path
) -> None:
    """The transaction that hangs may end well: then the decision is stored, whatever was answered."""
    (tmp_path / "journal").write_text("in the way of the folder")
    store.way_is_free.clear()
    told = portal.recommend(status=503)
    assert told["error"]["code"] == AWAY
    assert portal.recommend()["logged"] is False
    store.way_is_free.set()
    portal.until_back()
    assert len(decisions(store)) == 1, "the one that hung"


def test_a_transaction_that_hangs_keeps_nobody_waiting_and_doubles_nothing(
    portal: Portal, store: ShakyStore
) -> None:
    store.way_is_free.clear()
    first = portal.recommend(request_id="r-1")
    assert (first["logged"], first["degraded"]) == (True, "no_bundle"), "it was decided as always"
    assert portal.recommend(request_id="r-1") == first
    second = portal.recommend()
    assert (second["logged"], second["degraded"], second["client_known"]) == (True, AWAY, True)
    assert portal.report(ids(first)).status_code == 503
    store.way_is_free.set()
    portal.until_back()
    assert set(decisions(store)) == {ids(first), ids(second)}
    assert portal.recommend(request_id="r-1") == first
    assert portal.report(ids(first)).status_code == 200


def test_who_waits_behind_a_transaction_that_hangs_waits_no_longer(portal: Portal, store: ShakyStore) -> None:
    store.way_is_free.clear()

    async def ask_together() -> list[httpx.Response]:
        body = {"client_id": "c-1", "placements": LISTS}
        put = {"legal_form": "llc", "size": "micro"}
        first = asyncio.ensure_future(portal.client.post("/v1/recommendations", json=body))
        while store.n_held_up == 0:
            await asyncio.sleep(0.005)
        later = [portal.client.post("/v1/recommendations", json=body) for _ in range(5)]
        return list(await asyncio.gather(first, *later, portal.client.put("/v1/clients/c-9", json=put)))

    *answers, refused = portal.run(ask_together())
    assert [answer.status_code for answer in answers] == [200] * 6
    assert all(answer.json()["logged"] for answer in answers)
    assert refused.status_code == 503
    store.way_is_free.set()
    portal.until_back()
    assert set(decisions(store)) == {ids(answer.json()) for answer in answers}
    assert store.client_state(ClientId("c-9")) is None, "what was never begun is not done later"


def test_clients_are_read_as_long_as_they_can_be(portal: Portal, store: ShakyStore) -> None:
    store.is_read_only = True
    portal.recommend("c-2")
    answer = portal.recommend("c-2")
    assert (answer["degraded"], answer["client_known"], answer["logged"]) == (AWAY, True, True)
    store.is_read_only = False
    portal.until_back()
    assert len(decisions(store)) == 2


def test_a_database_that_is_away_is_asked_by_nobody(portal: Portal, store: ShakyStore) -> None:
    portal.recommend()
    store.is_gone = True
    portal.recommend()
    n_reads = store.n_reads
    for number in range(20):
        portal.recommend(request_id=f"r-{number}")
    assert store.n_reads == n_reads


def test_only_recommendations_are_answered_from_memory(portal: Portal, store: ShakyStore) -> None:
    portal.recommend()
    store.is_gone = True
    body = {"client_id": "c-1", "placements": LISTS}
    assert portal.ask("POST", "/v1/explanations", json=body).status_code == 503
    asked = {"client_id": "c-1", "offer_ids": ["o1"]}
    assert portal.ask("POST", "/v1/eligibility", json=asked).status_code == 503
    assert portal.ask("GET", "/v1/clients/c-1").status_code == 503


def test_an_outage_is_told_at_its_begin_and_at_its_end(
    portal: Portal, store: ShakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    portal.recommend()
    caplog.clear()
    store.is_gone = True
    for number in range(10):
        portal.recommend()
        portal.report("d", f"e-{number}")
    store.is_gone = False
    portal.until_back()
    told = [record.getMessage() for record in caplog.records if record.name == "serving"]
    assert [name for name in told if name.startswith("store_")] == ["store_away", "store_back"]
    (back,) = [record for record in caplog.records if record.getMessage() == "store_back"]
    assert back.__dict__["fields"]["n_replayed"] == 10


def test_a_worker_without_requests_notices_too(portal: Portal, store: ShakyStore) -> None:
    store.is_gone = True
    portal.until(lambda: portal.commits.outage is not None)
    store.is_gone = False
    portal.until_back()


def test_decisions_of_an_earlier_run_are_stored_before_anything_else(
    store: ShakyStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"

    async def work() -> None:
        first = CommitQueue(store, journal=Journal(journal))
        first.start()
        store.is_gone = True
        first.lose(StoreUnavailableError("gone"))
        logged = await first.log(LogDecisions((made("d-1"),)))
        assert logged.is_logged
        await first.close()
        store.is_gone = False
        second = CommitQueue(store, journal=Journal(journal))
        second.start()
        assert second.outage is not None
        async with asyncio.timeout(30):
            while second.outage is not None:
                await asyncio.sleep(0.01)
        await second.submit(PutClient(ClientId("c-9"), Profile(), NOW))
        await second.close()

    asyncio.run(work())
    assert list(decisions(store)) == ["d-1"]
    assert list(journal.iterdir()) == []


def test_what_was_replayed_is_not_learnt_twice_where_the_store_took_it_after_all(store: ShakyStore) -> None:
    write = LogDecisions((made("d-1"),), assignments=(Assignment("e", "c-1", "client:c-1", "a", NOW),))
    again = LogDecisions(write.decisions, assignments=write.assignments, is_replayed=True)
    for used in (store, MemoryStore()):
        used.commit([write])
        used.commit([again, again])
        assert len(list(used.read_rows("decisions"))) == 1
        assert len(used.client_assignments(ClientId("c-1"))) == 1
