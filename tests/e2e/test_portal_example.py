"""The example page of docs/examples/portal in a real browser: a portal's backend, the real service."""

from __future__ import annotations

import runpy
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import OKPKey
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, Profile, Size
from serving.app import create_app
from serving.orders import PolicyVersion
from serving.ports import PutClient, Role
from serving.security.keys import new_key
from serving.security.tokens import token_key_of
from serving.settings import Settings
from serving.storage.memory import MemoryStore

pytestmark = pytest.mark.browser

THEN = datetime(2025, 1, 15, tzinfo=UTC)
CLIENT, MEMBER = "c-000123", "m-1"
OUTBOX = f"recsys-outbox/{CLIENT}/{MEMBER}"
POLICY = {
    "placements.yaml": "placements:\n"
    "  - {id: home, k: 3, kinds: [own]}\n"
    "  - {id: partners, k: 2, kinds: [partner]}\n"
}
TITLES = {
    "bank-a-rko": ("Расчётный счёт в «Банке А»", "Account at Bank A"),
    "cloud-disk": ("Облачный диск", "Cloud disk"),
    "crm-b": ("CRM Б <b>", "CRM B <b>"),
    "vpbx-start": ("Виртуальная АТС Старт", "Virtual PBX Start"),
}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
N_SECONDS = 20.0


@dataclass
class Shop:
    """A portal's own backend: gives the page, hands out member tokens, forwards to the service.

    Attributes:
        faults: What happens to the next reports of events instead of an answer: a status, or ``lose``
            (forwarded, and the answer lost).
        asked: Every question that came for the service: path, whether it came with a token, body.
        lifetime: Of a token, in seconds.
        member: Who is logged in.
    """

    folder: Path
    service: str
    key: str
    signer: Any
    uses_tokens: bool = True
    url: str = ""
    faults: list[int | str] = field(default_factory=list)
    asked: list[tuple[str, bool, Any]] = field(default_factory=list)
    n_tokens: int = 0
    lifetime: int = 300
    member: str = MEMBER

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/portal.js", self._script),
                Route("/member-token", self._token, methods=["POST"]),
                Route("/recsys/{path:path}", self._forward, methods=["POST"]),
            ]
        )

    def ids(self, path: str = "/v1/events") -> list[list[str]]:
        """The event_ids of each report that came."""
        return [
            [each["event_id"] for each in body["events"]] for asked, _, body in self.asked if asked == path
        ]

    async def _page(self, _request: Request) -> Response:
        text = (self.folder / "index.html").read_text(encoding="utf-8")
        text = text.replace('data-service=""', 'data-service="/recsys"')
        text = text.replace('data-client=""', f'data-client="{CLIENT}"')
        text = text.replace('data-member=""', f'data-member="{self.member}"')
        if not self.uses_tokens:
            text = text.replace('data-token-url="/member-token"', 'data-token-url=""')
        return Response(text, media_type="text/html")

    async def _script(self, _request: Request) -> Response:
        return Response((self.folder / "portal.js").read_bytes(), media_type="text/javascript")

    async def _token(self, _request: Request) -> Response:
        self.n_tokens += 1
        now = int(time.time())
        end = now + self.lifetime
        claims = {
            "aud": "recsys",
            "sub": self.member,
            "client_id": CLIENT,
            "iat": min(now, end - 1),
            "exp": end,
        }
        header = {"alg": "Ed25519", "kid": "shop"}
        return JSONResponse({"token": jwt.encode(header, claims, self.signer, algorithms=["Ed25519"])})

    async def _forward(self, request: Request) -> Response:
        path, content = "/" + request.path_params["path"], await request.body()
        has_token = "authorization" in request.headers
        self.asked.append((path, has_token, orjson.loads(content)))
        fault = self.faults.pop(0) if self.faults and path == "/v1/events" else None
        if isinstance(fault, int):
            return JSONResponse({"error": {}}, fault, {"Retry-After": "0"})
        key = request.headers.get("authorization", f"Bearer {self.key}")
        headers = {"Authorization": key, "Content-Type": "application/json"}
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(self.service + path, content=content, headers=headers)
        if fault == "lose":
            return Response(status_code=502)
        return Response(answer.content, answer.status_code, media_type="application/json")


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """A real server on a free loopback port; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until = time.monotonic() + 60
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def filled(signer: Any) -> tuple[MemoryStore, str]:
    store = MemoryStore()
    known = {"kind": "own", "recorded_at": THEN}
    bank = {"kind": "partner", "supplier_id": "bank-a", "need_group": "bank"}
    store.upsert_rows(
        "offers",
        [
            {
                **known,
                "offer_id": each,
                "title_ru": ru,
                "title_en": en,
                **(bank if each == "bank-a-rko" else {}),
            }
            for each, (ru, en) in TITLES.items()
        ],
        THEN,
    )
    price = {"period": "month", "recorded_at": THEN, "region": None, "size": None}
    prices = {"bank-a-rko": 0, "cloud-disk": 29_000, "vpbx-start": 69_050}
    store.upsert_rows(
        "offer_prices", [{**price, "offer_id": each, "amount_minor": n} for each, n in prices.items()], THEN
    )
    store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    store.commit([PutClient(ClientId(CLIENT), Profile(size=Size.SMALL), THEN)])
    store.add_token_key(token_key_of("shop", signer.as_pem(private=False).decode(), THEN))
    key, record = new_key(Role.PORTAL, THEN)
    store.add_key(record)
    return store, key


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no Chromium found; install it with: apt-get install -y chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def store_and_shop(root_dir: Path) -> Iterator[tuple[MemoryStore, Shop]]:
    signer = OKPKey.generate_key("Ed25519")
    store, key = filled(signer)
    with serving(create_app(Settings(), store)) as service:
        shop = Shop(root_dir / "docs" / "examples" / "portal", service, key, signer)
        with serving(shop.app()) as shop.url:
            yield store, shop


@pytest.fixture
def shop(store_and_shop: tuple[MemoryStore, Shop]) -> Shop:
    return store_and_shop[1]


@pytest.fixture
def store(store_and_shop: tuple[MemoryStore, Shop]) -> MemoryStore:
    return store_and_shop[0]


@pytest.fixture
def page(browser: Browser, shop: Shop) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="ru-RU")
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
    page.on(
        "request",
        lambda one: one.url.startswith((shop.url, "data:")) or faults.append(f"external: {one.url}"),
    )
    yield page
    context.close()
    assert faults == []


def open_shop(page: Page, shop: Shop, language: str = "ru") -> None:
    page.goto(f"{shop.url}/?lang={language}")
    expect(page.locator("main[aria-busy=false]")).to_be_visible()


def eventually(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + N_SECONDS
    while not is_so():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def stored(store: MemoryStore, event_type: str) -> list[dict[str, Any]]:
    return [dict(row) for row in store.read_rows("events") if str(row["event_type"]) == event_type]


def sent_ids(store: MemoryStore, event_type: str) -> list[str]:
    """As the page made them; what comes with a token is stored in a space of its member's own."""
    return [str(row["event_id"]).rpartition(".")[2] for row in stored(store, event_type)]


def outbox(page: Page) -> list[Any]:
    return list(page.evaluate("name => JSON.parse(localStorage.getItem(name) ?? '[]')", OUTBOX))


def put_into_outbox(page: Page, shop: Shop, *events: dict[str, Any]) -> None:
    page.goto(shop.url)
    texts = [OUTBOX, orjson.dumps(events).decode()]
    page.evaluate("([name, text]) => localStorage.setItem(name, text)", texts)


@pytest.mark.parametrize("uses_tokens", [True, False], ids=["member token", "own backend"])
def test_offers_are_shown_and_reported_once_seen(
    page: Page, shop: Shop, store: MemoryStore, *, uses_tokens: bool, tmp_path: Path
) -> None:
    shop.uses_tokens = uses_tokens
    open_shop(page, shop)
    titles = page.locator("h3").all_inner_texts()
    assert sorted(titles) == sorted(ru for ru, _ in TITLES.values()), "the text of a title, never HTML"
    texts = page.locator("main").inner_text()
    assert "Подходит вам" in texts
    assert "Бесплатно" in texts
    assert "690,50 ₽ в месяц" in texts.replace("\xa0", " ")
    eventually(lambda: len(stored(store, "impression")) == len(titles))
    shown = {row["decision_id"]: row["client_id"] for row in store.read_rows("decisions")}
    assert {row["decision_id"] for row in stored(store, "impression")} == set(shown)
    assert set(shown.values()) == {CLIENT}
    assert {has_token for _, has_token, _ in shop.asked} == {uses_tokens}
    page.locator("li button").first.click()
    eventually(lambda: len(stored(store, "click")) == 1)
    eventually(lambda: outbox(page) == [])
    expect(page.locator("li button").first).to_be_disabled()
    page.screenshot(path=str(tmp_path / "portal.png"))


def test_what_was_not_on_the_screen_is_not_reported(page: Page, shop: Shop, store: MemoryStore) -> None:
    page.set_viewport_size({"width": 600, "height": 260})
    open_shop(page, shop)
    last = page.locator("li").last
    assert last.evaluate("card => card.getBoundingClientRect().top > innerHeight")
    n_cards = page.locator("li").count()
    eventually(lambda: len(stored(store, "impression")) >= 1)
    assert len(stored(store, "impression")) < n_cards
    for card in page.locator("li").all():
        n_before = len(stored(store, "impression"))
        card.scroll_into_view_if_needed()
        title = card.locator("h3").inner_text()
        offer_id = next(each for each, (ru, _) in TITLES.items() if ru == title)
        eventually(lambda seen=offer_id: seen in {row["offer_id"] for row in stored(store, "impression")})
        assert len(stored(store, "impression")) >= n_before
    assert len(stored(store, "impression")) == n_cards


@pytest.mark.parametrize("fault", [404, 408, 500, 503, "lose"])
def test_a_report_that_fails_is_sent_again_and_counts_once(
    page: Page, shop: Shop, store: MemoryStore, fault: int | str
) -> None:
    shop.faults = [fault] * 3
    open_shop(page, shop)
    n_cards = page.locator("li").count()
    eventually(lambda: len(stored(store, "impression")) == n_cards and not outbox(page))
    reports = shop.ids()
    assert len(reports) >= 4
    first = reports[0][0]
    assert sum(first in ids for ids in reports) >= 4, "the id is made once"
    kept = [row["event_id"] for row in stored(store, "impression")]
    assert len(kept) == len(set(kept)) == n_cards


def test_a_page_that_was_left_reports_from_the_next_one(page: Page, shop: Shop, store: MemoryStore) -> None:
    shop.faults = [503] * 1000
    open_shop(page, shop)
    page.locator("li button").first.click()
    eventually(lambda: any(event["event_type"] == "click" for event in outbox(page)))
    [click] = [event for event in outbox(page) if event["event_type"] == "click"]
    page.goto("about:blank")
    assert stored(store, "click") == []
    shop.faults = []
    open_shop(page, shop)
    eventually(lambda: sent_ids(store, "click") == [click["event_id"]])


@pytest.mark.parametrize("uses_tokens", [True, False], ids=["kept-alive request", "beacon"])
def test_leaving_the_page_sends_what_is_left(
    page: Page, shop: Shop, store: MemoryStore, *, uses_tokens: bool
) -> None:
    shop.uses_tokens = uses_tokens
    shop.faults = [503]
    open_shop(page, shop)
    # The first try fails, and the page is gone before the second one.
    page.locator("li button").first.click()
    page.goto("about:blank")
    eventually(lambda: len(stored(store, "click")) == 1)


def test_an_event_that_cannot_be_true_does_not_stop_the_others(
    page: Page, shop: Shop, store: MemoryStore
) -> None:
    wrong = {
        "event_id": "wrong",
        "event_type": "click",
        "client_id": CLIENT,
        "decision_id": "never-made",
        "slot": 1,
        "occurred_at": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(),
    }
    put_into_outbox(page, shop, wrong)
    open_shop(page, shop)
    n_cards = page.locator("li").count()
    eventually(lambda: len(stored(store, "impression")) == n_cards and not outbox(page))
    assert stored(store, "click") == []


@pytest.mark.parametrize("refused", ["foreign", "used before"])
def test_where_a_batch_is_refused_as_a_whole_the_others_of_it_are_stored(
    page: Page, shop: Shop, store: MemoryStore, refused: str
) -> None:
    then = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    sound = {"event_id": "e-1", "event_type": "complaint", "client_id": CLIENT, "occurred_at": then}
    events = [sound, {**sound, "event_id": "e-2"}, {**sound, "event_id": "e-3"}]
    events[1] |= {"client_id": "c-other"} if refused == "foreign" else {"event_id": "e-1", "topic": "x"}
    put_into_outbox(page, shop, *events)
    open_shop(page, shop)
    eventually(lambda: {*sent_ids(store, "complaint")} >= {"e-1", "e-3"})
    eventually(lambda: not outbox(page))
    assert {row["client_id"] for row in stored(store, "complaint")} == {CLIENT}


def test_where_a_refusal_names_no_event_they_are_sent_one_by_one(
    page: Page, shop: Shop, store: MemoryStore
) -> None:
    then = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    sound = {"event_type": "complaint", "client_id": CLIENT, "occurred_at": then}
    events = [{**sound, "event_id": f"e-{n}"} for n in range(3)]
    put_into_outbox(page, shop, events[0], {**events[1], "slot": "first"}, events[2])
    open_shop(page, shop)
    eventually(lambda: not outbox(page))
    assert {*sent_ids(store, "complaint")} == {"e-0", "e-2"}


def test_what_one_saw_is_not_reported_by_the_next_one(page: Page, shop: Shop, store: MemoryStore) -> None:
    shop.faults = [503] * 1000
    open_shop(page, shop)
    page.locator("li button").first.click()
    eventually(lambda: any(event["event_type"] == "click" for event in outbox(page)))
    [click] = [event for event in outbox(page) if event["event_type"] == "click"]
    page.goto("about:blank")
    shop.faults, shop.member = [], "m-2"
    open_shop(page, shop)
    n_cards = page.locator("li").count()
    eventually(lambda: len(stored(store, "impression")) == n_cards)
    assert {row["member_id"] for row in stored(store, "click")} <= {MEMBER}
    shop.member = MEMBER
    open_shop(page, shop)
    eventually(lambda: sent_ids(store, "click") == [click["event_id"]])


def test_an_expired_token_is_renewed(page: Page, shop: Shop, store: MemoryStore) -> None:
    shop.lifetime = -3600
    page.goto(shop.url)
    expect(page.locator("main[aria-busy=false]")).to_be_visible()
    assert page.locator("li").count() == 0
    assert shop.n_tokens >= 2, "asked for a new one"
    shop.lifetime = 300
    open_shop(page, shop)
    assert page.locator("li").count() == len(TITLES)


def test_where_no_token_can_be_had_the_console_names_the_attribute(page: Page, shop: Shop) -> None:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type == "warning" else None)
    page.route("**/member-token", lambda route: route.fulfill(status=404))
    page.goto(shop.url)
    expect(page.locator("main[aria-busy=false]")).to_be_visible()
    assert len(told) == 1, "once, however often it is tried"
    assert told[0].startswith('data-token-url="/member-token" gives no member token (status 404)')


def test_the_stand_in_backend_serves_the_page(page: Page, shop: Shop, store: MemoryStore) -> None:
    portal_at = runpy.run_path(str(shop.folder / "backend.py"))["portal_at"]
    with portal_at(0, shop.service, shop.key, CLIENT) as portal:
        thread = Thread(target=portal.serve_forever)
        thread.start()
        shop.url = f"http://127.0.0.1:{portal.server_address[1]}"
        try:
            open_shop(page, shop)
            n_cards = page.locator("li").count()
            assert n_cards == len(TITLES)
            eventually(lambda: len(stored(store, "impression")) == n_cards)
            foreign = {"client_id": "c-other", "placements": [{"placement_id": "home"}]}
            for question in (foreign, {"events": [foreign]}, []):
                answer = httpx.post(f"{shop.url}/recsys/v1/recommendations", json=question)
                assert answer.status_code == 403
        finally:
            portal.shutdown()
            thread.join(30)


def test_without_the_service_the_page_stays_calm(page: Page, shop: Shop) -> None:
    shop.service = "http://127.0.0.1:1"
    page.goto(f"{shop.url}/?lang=en")
    expect(page.locator("main[aria-busy=false]")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("There are no offers now.")
