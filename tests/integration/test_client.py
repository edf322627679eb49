"""The Python client: against the real service, over a line that breaks, and against the OpenAPI document."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event as Flag
from threading import Thread
from typing import Any, BinaryIO

import httpx
import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from recsys.decision.policy.policy import version_of
from serving.app import create_app
from serving.client import (
    Client,
    ConflictError,
    EligibilityQuestion,
    Event,
    ForbiddenError,
    Holding,
    InvalidError,
    Month,
    NoAnswerError,
    NotFoundError,
    Patience,
    Profile,
    Question,
    RateLimitedError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    Wanted,
    answers,
    questions,
)
from serving.client.decode import read
from serving.client.transport import Transport
from serving.orders import PolicyVersion
from serving.ports import Role
from serving.security.keys import new_key
from serving.settings import Settings
from serving.storage.memory import MemoryStore

THEN = datetime(2025, 1, 15, tzinfo=UTC)
POLICY = {
    "placements.yaml": "placements: [{id: home, k: 3, max_k: 10}, {id: partners, k: 2, kinds: [partner]}]\n"
}
HOME = (Wanted("home"),)


@dataclass(frozen=True)
class Service:
    """The real service on a port of this machine."""

    url: str
    key: str
    store: MemoryStore
    app: FastAPI


def filled() -> MemoryStore:
    store = MemoryStore()
    known = {"kind": "own", "recorded_at": THEN}
    titles = {"disk": "Disk", "pbx": "PBX", "recording": "Recording"}
    store.upsert_rows(
        "offers",
        [{**known, "offer_id": each, "title_ru": title, "title_en": title} for each, title in titles.items()],
        THEN,
    )
    store.upsert_rows(
        "offer_relations",
        [
            {
                "offer_id": "recording",
                "relation": "requires",
                "other_offer_id": "pbx",
                "alternative": 0,
                "recorded_at": THEN,
            }
        ],
        THEN,
    )
    price = {"offer_id": "pbx", "period": "month", "recorded_at": THEN, "region": None, "size": None}
    store.upsert_rows("offer_prices", [{**price, "amount_minor": 69_000}], THEN)
    store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    return store


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    store = filled()
    key, record = new_key(Role.PORTAL, THEN)
    store.add_key(record)
    app = create_app(Settings(), store)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended"
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Service(f"http://127.0.0.1:{port}", key, store, app)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, service.key, Patience(timeout_seconds=30)) as client:
        yield client


# The real service


def test_a_client_is_put_asked_shown_and_told_of(client: Client) -> None:
    profile = Profile("ООО «Ромашка»", "llc", industry="G", client_since_on=date(2021, 5, 17), tags=["a=1"])
    put = client.put_client("c:1 %", profile)
    assert put.profile is not None
    assert (put.profile.name, put.profile.client_since_on) == ("ООО «Ромашка»", date(2021, 5, 17))
    assert client.put_months([Month("c:1 %", date(2026, 2, 1), spend_minor=845_000)]) == {"c:1 %": 2}
    given_now = client.recommend(Question("c:1 %", (Wanted("home", 2),), language="en", explain=True))
    home = given_now.placement("home")
    assert given_now.client_known
    assert given_now.request_id, "the client made one"
    assert [item.rank for item in home.items] == [1, 2]
    assert home.valid_until > datetime.now(UTC)
    assert home.refused is not None
    assert [each.rule for each in home.refused if each.offer_id == "recording"] == ["requires"]
    seen = [Event("impression", "c:1 %", home.decision_id, slot=item.rank) for item in home.items]
    assert client.record(seen) == answers.Recorded(accepted=2, duplicates=0)
    assert client.record(seen) == answers.Recorded(accepted=0, duplicates=2), "the same objects count once"
    [held] = [client.put_holdings([Holding("c:1 %", "h-1", "pbx", THEN, quantity=5)])]
    known = client.get_client("c:1 %")
    assert held == {"c:1 %": known.state_version}
    assert known.holdings == (answers.Held("h-1", "pbx", THEN, 5, None, None),)
    assert known.months[0].spend_minor == 845_000
    assert sum(each.n_events for each in known.activity) == 2


def test_eligibility_says_why_not_and_what_would_help(client: Client) -> None:
    may, may_not = client.check_eligibility(EligibilityQuestion("new", ("pbx", "recording"), language="en"))
    assert may.is_eligible
    assert may.price == answers.Price(69_000, "RUB", "month")
    assert may.refused_by is None
    assert may_not.refused_by is not None
    assert may_not.refused_by.cure is not None
    assert may_not.refused_by.cure.offer_ids == ("pbx",)


def test_the_catalogue_and_readiness_are_told(client: Client) -> None:
    offers = client.offers()
    assert [each.offer_id for each in offers.offers] == ["disk", "pbx", "recording"]
    assert offers.offers[2].requires == (("pbx",),)
    assert client.readiness().status in ("ready", "degraded")


def test_refusals_are_exceptions_that_mirror_the_body(service: Service, client: Client) -> None:
    with pytest.raises(NotFoundError) as unknown:
        client.recommend(Question("c", (Wanted("attic"),)))
    error = unknown.value
    assert (error.status, error.code, error.details["id"]) == (404, "unknown_placement", "attic")
    assert "known: home, partners" in error.message
    with pytest.raises(InvalidError) as wrong:
        client.recommend(Question("c", (Wanted("home", 99),)))
    assert wrong.value.details["fields"][0]["field"] == "placements.0.k"
    with pytest.raises(InvalidError) as untrue:
        client.record([Event("click", "c", "no-such-decision", slot=1)])
    assert [fault["code"] for fault in untrue.value.details["faults"]] == ["unknown_decision"]
    event = Event("complaint", "c", event_id="once", topic="a")
    client.put_client("c", Profile())
    client.record([event])
    with pytest.raises(ConflictError):
        client.record([Event("complaint", "c", event_id="once", topic="b")])
    with Client(service.url, "no-such-key") as stranger, pytest.raises(UnauthenticatedError):
        stranger.offers()


def test_a_key_of_another_role_is_forbidden_to_write(service: Service) -> None:
    key, record = new_key(Role.ANALYST, THEN)
    service.store.add_key(record)
    service.app.state.doorkeeper.refresh()
    with Client(service.url, key, Patience(timeout_seconds=30)) as analyst, pytest.raises(ForbiddenError):
        analyst.put_client("c", Profile())


def test_threads_share_one_client(service: Service) -> None:
    with (
        Client(service.url, service.key, Patience(timeout_seconds=30)) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        found = list(threads.map(lambda n: client.recommend(Question(f"t-{n}", HOME)), range(64)))
    assert [each.client_id for each in found] == [f"t-{n}" for n in range(64)]
    assert len({each.placements[0].decision_id for each in found}) == 64


# A line that breaks


@dataclass
class Line:
    """Stands between client and service, and plays one act for each request; the last one is repeated.

    An act is ``answer`` (forwards), ``lose`` (forwards, and loses the answer), ``drop`` (does not forward),
    ``cut`` (half of an answer), ``trickle`` (byte by byte, for seconds), or a status with headers and
    a body that it says by itself.
    """

    service: str
    acts: list[str | tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    url: str = ""

    def act(self) -> str | tuple[int, dict[str, str], bytes]:
        return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]


def trickle(out: BinaryIO, body: bytes, is_over: Flag) -> None:
    """Send byte by byte until the other side is gone."""
    with suppress(OSError):
        for number in range(len(body)):
            is_over.wait(0.02)
            out.write(body[number : number + 1])


@contextmanager
def line(service: Service, *acts: str | tuple[int, dict[str, str], bytes]) -> Iterator[Line]:
    between, is_over = Line(service.url, list(acts)), Flag()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            between.asked.append((self.path, orjson.loads(content) if content else None))
            between.keys.append(self.headers["Authorization"])
            between.ports.add(self.client_address[1])
            act = between.act()
            if act == "drop":
                self.close_connection = True
                return
            status, headers, body = self._forward(content) if isinstance(act, str) else act
            if act == "lose":
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if act == "trickle":
                self.close_connection = True
                trickle(self.wfile, body, is_over)
                return
            self.wfile.write(body[: len(body) // 2] if act == "cut" else body)
            self.close_connection = act == "cut"

        do_GET = do_PUT = do_POST  # noqa: N815 -- the library's names

        def _forward(self, content: bytes) -> tuple[int, dict[str, str], bytes]:
            headers = {"Authorization": self.headers["Authorization"], "Content-Type": "application/json"}
            url = between.service + self.path
            answer = httpx.request(self.command, url, content=content, headers=headers, timeout=30)
            return answer.status_code, {}, answer.content

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    between.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield between
    finally:
        is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def patient(url: str, key: str | Callable[[], str], waits: list[float], n_tries: int = 4) -> Client:
    return Client(url, key, Patience(timeout_seconds=30, n_tries=n_tries), wait=waits.append)


def failing(
    status: int, code: str = "store_unavailable", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    body = orjson.dumps({"error": {"code": code, "message": "later", "details": {}}})
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body


@pytest.mark.parametrize("act", ["lose", "drop", "cut"])
def test_a_decision_whose_answer_is_lost_is_made_once(service: Service, act: str) -> None:
    waits: list[float] = []
    n_before = len(list(service.store.read_rows("decisions")))
    with line(service, act, act, "answer") as between, patient(between.url, service.key, waits) as client:
        found = client.recommend(Question(f"lost-{act}", HOME))
    assert len(between.asked) == 3
    assert len({body["request_id"] for _, body in between.asked}) == 1, "one id for all tries"
    assert len(waits) == 2
    logged = list(service.store.read_rows("decisions"))
    assert len(logged) == n_before + 1
    assert [row["decision_id"] for row in logged if row["client_id"] == f"lost-{act}"] == [
        found.placements[0].decision_id
    ]


def test_two_calls_have_two_ids_and_a_chosen_one_is_kept(service: Service) -> None:
    with line(service, "answer") as between, patient(between.url, service.key, []) as client:
        one, two = (client.recommend(Question("ids", HOME)).request_id for _ in range(2))
        third = client.recommend(Question("ids", HOME, request_id="mine")).request_id
    assert one != two
    assert third == "mine"
    assert len(between.ports) == 1, "the connection is used again"


@pytest.mark.parametrize("act", ["lose", "drop", "cut"])
def test_an_event_whose_acknowledgement_is_lost_counts_once(service: Service, act: str) -> None:
    with line(service, act, "answer") as between, patient(between.url, service.key, []) as client:
        client_id = f"event-{act}"
        with Client(service.url, service.key, Patience(timeout_seconds=30)) as direct:
            direct.put_client(client_id, Profile())
        event = Event("complaint", client_id, topic="slow")
        recorded = client.record([event])
    assert recorded.accepted + recorded.duplicates == 1
    assert [body["events"][0]["event_id"] for _, body in between.asked] == [event.event_id] * 2
    stored = [row for row in service.store.read_rows("events") if row["client_id"] == client_id]
    assert [row["event_id"] for row in stored] == [event.event_id]


def test_the_service_is_waited_for_as_long_as_it_asks(service: Service) -> None:
    waits: list[float] = []
    acts = (failing(503, Retry_After="2"), failing(429, "rate_limited", Retry_After="1"), failing(502))
    with line(service, *acts, "answer") as between, patient(between.url, service.key, waits) as client:
        client.offers()
    assert 2 <= waits[0] <= 2.1
    assert 1 <= waits[1] <= 1.2
    assert 0 <= waits[2] <= 0.4


def test_an_answer_that_trickles_is_none_in_time(service: Service) -> None:
    """Each byte comes well before the time is over, all of them do not."""
    patience = Patience(timeout_seconds=0.3, n_tries=1)
    with (
        line(service, "trickle") as between,
        Client(between.url, service.key, patience) as client,
        pytest.raises(NoAnswerError, match=r"in time|timed out"),
    ):
        client.offers()


def test_a_question_that_came_too_slowly_is_asked_again(service: Service) -> None:
    slow = failing(408, "body_timeout")
    with line(service, slow, "answer") as between, patient(between.url, service.key, []) as client:
        client.offers()
    assert len(between.asked) == 2
    with (
        line(service, slow) as between,
        patient(between.url, service.key, []) as client,
        pytest.raises(UnavailableError),
    ):
        client.offers()


def test_patience_ends(service: Service) -> None:
    waits: list[float] = []
    busy = failing(503, Retry_After="1")
    with line(service, busy) as between, patient(between.url, service.key, waits, n_tries=3) as client:
        with pytest.raises(UnavailableError) as refused:
            client.offers()
        assert len(between.asked) == 3
        with pytest.raises(UnavailableError):
            client.record([Event("complaint", "c")])
    assert refused.value.retry_after == 1
    assert len(waits) == 4


def test_who_asks_for_more_than_patience_is_not_waited_for(service: Service) -> None:
    waits: list[float] = []
    busy = failing(429, "rate_limited", Retry_After="3600")
    with line(service, busy) as between, patient(between.url, service.key, waits) as client:
        with pytest.raises(RateLimitedError) as refused:
            client.offers()
        assert len(between.asked) == 1
    assert refused.value.retry_after == 3600
    assert waits == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_what_asking_again_does_not_help_is_asked_once(service: Service, status: int) -> None:
    with line(service, failing(status)) as between, patient(between.url, service.key, []) as client:
        with pytest.raises(RefusedError) as refused:
            client.offers()
        assert refused.value.status == status
        assert len(between.asked) == 1


def test_a_redirect_is_not_followed_for_the_key_would_go_along(service: Service) -> None:
    away = (302, {"Location": "http://127.0.0.1:1/v1/offers"}, b"")
    with line(service, away) as between, patient(between.url, service.key, []) as client:
        with pytest.raises(RefusedError) as refused:
            client.offers()
        assert refused.value.status == 302


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"offers": 1}', b'{"version": 1, "currency": null}'])
def test_an_answer_of_somebody_else_is_none(service: Service, body: bytes) -> None:
    with (
        line(service, (200, {}, body)) as between,
        patient(between.url, service.key, []) as client,
        pytest.raises(NoAnswerError),
    ):
        client.offers()


def test_an_unready_service_is_an_answer(service: Service) -> None:
    ready = httpx.get(f"{service.url}/ready").json()
    unready = (503, {}, orjson.dumps({**ready, "status": "unready", "database": "unavailable"}))
    with line(service, unready) as between, patient(between.url, service.key, []) as client:
        assert client.readiness().status == "unready"


def test_a_token_that_expires_is_asked_for_before_every_try(service: Service) -> None:
    tokens = iter(["first", service.key])
    with (
        line(service, "drop", "answer") as between,
        patient(between.url, lambda: next(tokens), []) as client,
    ):
        client.offers()
    assert between.keys == ["Bearer first", f"Bearer {service.key}"]


def test_nobody_there_is_told() -> None:
    waits: list[float] = []
    with (
        patient("http://127.0.0.1:1", "key", waits) as client,
        pytest.raises(NoAnswerError, match=r":1/ready"),
    ):
        client.readiness()
    assert len(waits) == 3


# Without a service


@pytest.mark.parametrize("url", ["", "recsys.example", "ftp://recsys.example", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Transport(url, "key", Patience())


@pytest.mark.parametrize("client_id", ["", ".", "..", "a/features"])
def test_an_id_that_would_be_another_address_is_refused(client_id: str) -> None:
    with Client("http://127.0.0.1:1", "key") as client, pytest.raises(ValueError, match="cannot stand"):
        client.get_client(client_id)


def test_a_moment_without_a_zone_is_refused_before_it_is_sent() -> None:
    naive = Event("complaint", "c", occurred_at=datetime(2026, 1, 1))  # noqa: DTZ001
    with Client("http://127.0.0.1:1", "key") as client, pytest.raises(ValueError, match="no zone"):
        client.record([naive])


@given(st.integers(1, 10), st.none() | st.floats(0, 100), st.floats(0, 1))
def test_every_wait_is_bounded(n_done: int, retry_after: float | None, draw: float) -> None:
    patience = Patience(n_tries=6)
    seconds = patience.wait_before_next(n_done, retry_after, draw)
    if n_done >= 6 or (retry_after or 0) > 5:
        assert seconds is None
    else:
        assert seconds is not None
        assert (retry_after or 0) <= seconds <= 5


@pytest.mark.parametrize("wrong", [{"n_tries": 0}, {"timeout_seconds": 0.0}])
def test_patience_has_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Patience(**wrong)


def test_importing_the_client_loads_no_part_of_the_server() -> None:
    program = "import sys; import serving.client; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))  # noqa: S307 -- a list of names that this test has written itself
    assert "urllib3" in loaded
    foreign = {
        "fastapi",
        "starlette",
        "sqlalchemy",
        "numpy",
        "polars",
        "pydantic",
        "orjson",
        "recsys",
        "httpx",
    }
    assert not loaded & foreign
    inside = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, serving.client; print(*[n for n in sys.modules if 'serving' in n])",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(name == "serving" or name.startswith("serving.client") for name in inside)


# The OpenAPI document

SAME = {
    answers.Price: "PriceAnswer",
    answers.Reason: "ReasonAnswer",
    answers.Item: "ItemAnswer",
    answers.RefusedOffer: "RefusalAnswer",
    answers.Placement: "PlacementAnswer",
    answers.Versions: "VersionsAnswer",
    answers.Recommendations: "RecommendationsAnswer",
    answers.Recorded: "EventsAnswer",
    answers.Cure: "CureAnswer",
    answers.Refusal: "SuppressedAnswer",
    answers.Eligibility: "EligibilityAnswer",
    answers.KnownProfile: "ProfileAnswer",
    answers.Held: "HoldingAnswer",
    answers.KnownMonth: "MonthAnswer",
    answers.Activity: "ActivityAnswer",
    answers.Complaint: "ComplaintAnswer",
    answers.Dismissal: "DismissalAnswer",
    answers.Known: "ClientAnswer",
    answers.OfferPrice: "OfferPriceAnswer",
    answers.Offer: "OfferAnswer",
    answers.Offers: "OffersAnswer",
    answers.Source: "SourceAnswer",
    answers.Readiness: "ReadyAnswer",
    questions.Wanted: "PlacementQuestion",
    questions.Profile: "ProfileQuestion",
    questions.Question: "RecommendationsQuestion",
    questions.EligibilityQuestion: "EligibilityQuestion",
    questions.Event: "EventQuestion",
    questions.Holding: "HoldingQuestion",
    questions.Month: "MonthQuestion",
}


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    return service.app.openapi()


@pytest.mark.parametrize("shape", SAME, ids=lambda shape: shape.__name__)
def test_every_shape_has_the_fields_of_the_service(document: dict[str, Any], shape: type) -> None:
    schema = document["components"]["schemas"][SAME[shape]]
    assert {each.name for each in fields(shape)} == set(schema["properties"])


def test_every_choice_is_one_of_the_service(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("EventType", "DismissalReason", "LegalForm", "Size", "Stage", "Language"):
        assert set(getattr(questions, name).__args__) == set(schemas[name]["enum"]), name


def test_every_example_of_the_document_is_read(document: dict[str, Any]) -> None:
    shapes = {name: shape for shape, name in SAME.items()}
    n_read = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            media = operation["responses"]["200"]["content"].get("application/json", {})
            name = str(media.get("schema", {}).get("$ref", "")).rpartition("/")[2]
            if name in shapes:
                read(shapes[name], media["example"])
                n_read += 1
    assert n_read >= 6


def test_every_address_that_is_asked_is_in_the_document(document: dict[str, Any]) -> None:
    asked = {
        ("/v1/recommendations", "post"),
        ("/v1/events", "post"),
        ("/v1/eligibility", "post"),
        ("/v1/clients/{client_id}", "put"),
        ("/v1/clients/{client_id}", "get"),
        ("/v1/holdings", "post"),
        ("/v1/client-months", "post"),
        ("/v1/offers", "get"),
        ("/ready", "get"),
    }
    assert all(method in document["paths"][path] for path, method in asked)
