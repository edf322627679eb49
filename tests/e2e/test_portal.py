"""The demo portal in a real browser, at desktop and phone width, over a real server and a real bundle."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    Response,
    Route,
    expect,
    sync_playwright,
)

from recsys.domain import ClientId, Profile, Stage
from serving.app import create_app
from serving.ports import PutClient
from serving.services.load import LoadOptions, load
from serving.settings import Settings
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore
from training.pipelines.fit import fit
from training.pipelines.simulate import simulate

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
INSTALL = "no Chromium found; install it with: apt-get install -y chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PRICE = {
    "ru": r"(\d[\d\s]*(,\d\d)?\s₽ (в месяц|разово|по факту использования)|Бесплатно|Цена по запросу)",
    "en": r"(RUB\s[\d,]+(\.\d\d)? (a month|one-off|by usage)|Free|Price on request)",
}
HOSTILE_ID = "hostile-name"
NAMELESS_ID = "nameless-7"
HOSTILE_NAME = "<img src=x onerror=\"document.title='broken'\">"


@dataclass
class Watch:
    """Everything a page did that it should not have done."""

    base: str
    faults: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        page.on("response", self._response)

    def _console(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.faults.append(f"console {kind}: {text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.base):
            self.faults.append(f"external: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")


@dataclass(frozen=True)
class Portal:
    """A page of the running portal."""

    page: Page
    base: str

    def open(self, client_id: str, language: str = "ru") -> None:
        self.page.goto(f"{self.base}/portal/?client={client_id}&lang={language}")
        self.settle()

    def settle(self) -> None:
        expect(self.page.locator("#page[aria-busy=false]")).to_be_visible()

    def cards(self, placement: str = "home") -> list[str]:
        """The offers of a placement, in order."""
        found = self.page.locator(f"[data-placement={placement}] .card").evaluate_all(
            "cards => cards.map(card => card.dataset.offer)"
        )
        return [str(offer) for offer in found]

    def unfold_profile(self) -> None:
        """Where room is scarce, the profile is folded up at first."""
        if not self.page.locator("#profile[open]").count():
            self.page.locator("#profile summary").click()

    def press(self, action: str, offer: str) -> None:
        self.page.locator(f".card[data-offer='{offer}'] [data-action={action}]").click()

    def answer(self, choice: str) -> None:
        self.page.locator(f"dialog [data-choice={choice}]").click()

    def has_no_horizontal_scroll(self) -> bool:
        return bool(
            self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        )


@dataclass
class Operator:
    """A running service of a small simulated operator."""

    base: str
    client_ids: Iterator[str]

    def next_client(self) -> str:
        """A company with services that no other test touches."""
        return next(self.client_ids)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, root_dir: Path) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    demo = root_dir / "datasets" / "demo"
    simulate(demo, demo / "worlds" / "typical.toml", folder / "data", n_clients=300, n_months=12, seed=7)
    fit(str(folder / "data"), "ease", "2026-04-30", folder / "bundles", seed=7)
    settings = Settings(
        database_url=f"sqlite:///{folder / 'portal.db'}",
        bundles_dir=folder / "bundles",
        is_portal_enabled=True,
    )
    migrate(settings.database_url)
    store = SqlStore(settings.database_url)
    now = datetime.now(UTC)
    load(store, folder / "data", now, LoadOptions(is_log_loaded=False))
    nameless = Profile(stage=Stage.AT_RISK, is_vip=True)
    store.commit(
        [
            PutClient(ClientId(HOSTILE_ID), Profile(name=HOSTILE_NAME), now),
            PutClient(ClientId(NAMELESS_ID), nameless, now),
        ]
    )
    with_services = [
        state.client_id
        for state in store.find_clients("", 500)
        if len(state.holdings) >= 2 and state.profile and state.profile.is_profiling_allowed
    ]
    with _serving(create_app(settings, store=store)) as base:
        yield Operator(base, iter(with_services))
    store.close()


@contextmanager
def _serving(app: FastAPI) -> Iterator[str]:
    """A real server on a free loopback port; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until = time.monotonic() + 30
        while not server.started and thread.is_alive() and time.monotonic() < wait_until:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail(INSTALL)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


def _context(browser: Browser, viewport: dict[str, int]) -> BrowserContext:
    is_phone = viewport is PHONE
    return browser.new_context(
        viewport={"width": viewport["width"], "height": viewport["height"]},
        has_touch=is_phone,
        is_mobile=is_phone,
        locale="ru-RU",
    )


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def portal(request: pytest.FixtureRequest, browser: Browser, operator: Operator) -> Iterator[Portal]:
    context = _context(browser, request.param)
    page = context.new_page()
    page.set_default_timeout(10_000)
    watch = Watch(operator.base)
    watch.over(page)
    yield Portal(page, operator.base)
    context.close()
    assert watch.faults == []


@pytest.fixture
def client_id(operator: Operator) -> str:
    """A company with services that no other test touches."""
    return operator.next_client()


def test_root_leads_to_the_portal(portal: Portal, operator: Operator) -> None:
    portal.page.goto(operator.base)
    portal.settle()

    assert portal.page.url.startswith(f"{operator.base}/portal/")
    assert portal.page.locator("#examples .chip").count() >= 4
    assert portal.page.locator("#examples .chip[aria-pressed=true]").count() == 1
    assert portal.cards()


@pytest.mark.parametrize("language", ["ru", "en"])
def test_offers_are_ranked_with_price_and_reasons(portal: Portal, client_id: str, language: str) -> None:
    portal.open(client_id, language)

    assert portal.page.locator("html").get_attribute("lang") == language
    for placement in ("banner", "home", "partners"):
        cards = portal.page.locator(f"[data-placement={placement}] .card")
        expect(cards.first).to_be_visible()
        for card in cards.all():
            assert re.fullmatch(PRICE[language], card.locator(".price").inner_text().strip())
            assert 1 <= card.locator(".reasons li").count() <= 3
            assert card.locator(".card-title").inner_text().strip()
            assert card.locator(".badge-own, .badge-partner").count() == 1
    ranks = portal.page.locator("[data-placement=home] .card-rank").all_inner_texts()
    assert ranks == [str(rank) for rank in range(1, len(ranks) + 1)]
    assert portal.page.locator("[data-placement=partners] .card[data-kind=own]").count() == 0
    assert portal.has_no_horizontal_scroll()


def test_titles_differ_by_language_and_the_address_keeps_it(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    russian = portal.page.locator("[data-placement=home] .card-title").all_inner_texts()

    portal.page.locator("[data-language=en]").click()
    expect(portal.page.locator("html[lang=en]")).to_have_count(1)
    expect(portal.page.locator("#heading-home")).to_have_text("Recommended for your company")
    english = portal.page.locator("[data-placement=home] .card-title").all_inner_texts()

    assert russian != english
    assert "lang=en" in portal.page.url
    assert f"client={client_id}" in portal.page.url
    portal.page.reload()
    expect(portal.page.locator("#heading-home")).to_have_text("Recommended for your company")
    portal.page.go_back()
    expect(portal.page.locator("html[lang=ru]")).to_have_count(1)


def test_connecting_asks_first_and_changes_the_list_at_once(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    portal.page.evaluate("window.sameDocument = true")
    offer = portal.cards()[0]
    card = portal.page.locator(f".card[data-offer='{offer}']")
    title, price = card.locator(".card-title").inner_text(), card.locator(".price strong").inner_text()
    provider = card.locator(".badge-own, .badge-partner").inner_text()

    portal.press("connect", offer)
    dialog = portal.page.locator("dialog[open]")
    for shown in (title, price, provider):
        expect(dialog).to_contain_text(shown)
    portal.answer("cancel")
    expect(card).to_be_visible()
    portal.press("connect", offer)
    portal.answer("confirm")

    expect(portal.page.locator(f".service[data-offer='{offer}']")).to_have_count(1)
    expect(card).to_have_count(0)
    expect(portal.page.locator("#announcer")).to_contain_text("Список обновлён")
    assert portal.page.evaluate("window.sameDocument") is True
    portal.page.reload()
    expect(portal.page.locator(f".service[data-offer='{offer}']")).to_have_count(1)


def test_dismissing_removes_the_card_whatever_the_reason(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    dismissed = []

    for reason in ("not_now", "irrelevant", "have_elsewhere", "too_expensive"):
        offer = portal.cards()[0]
        portal.press("dismiss", offer)
        portal.answer(reason)
        expect(portal.page.locator(f".card[data-offer='{offer}']")).to_have_count(0)
        dismissed.append(offer)

    portal.page.reload()
    portal.settle()
    assert not set(dismissed) & set(portal.cards())
    assert portal.cards()


def test_details_open_and_report_a_click(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    offer = portal.cards()[0]

    with portal.page.expect_response(lambda answer: _is_report(answer, "click")) as answer:
        portal.press("details", offer)

    assert answer.value.ok
    assert answer.value.request.post_data_json["events"][0]["offer_id"] == offer
    portal.page.keyboard.press("Escape")
    expect(portal.page.locator("dialog[open]")).to_have_count(0)


def _is_report(answer: Response, event_type: str) -> bool:
    return answer.url.endswith("/portal/api/events") and event_type in (answer.request.post_data or "")


def test_only_cards_really_seen_are_reported_and_once(portal: Portal, client_id: str) -> None:
    seen: list[tuple[str, int]] = []
    portal.page.on("request", lambda request: seen.extend(_impressions(request)))

    portal.open(client_id)
    with portal.page.expect_response(lambda answer: _is_report(answer, "impression")) as answer:
        portal.page.locator("#heading-home").scroll_into_view_if_needed()
        portal.page.locator("[data-placement=home] .card").first.scroll_into_view_if_needed()
    assert answer.value.json() == {"n_new": len(seen)}
    n_cards = portal.page.locator(".card").count()
    assert 0 < len(seen) < n_cards

    for place in ("[data-placement=partners] .slot:last-child", "#heading-home"):
        portal.page.locator(place).scroll_into_view_if_needed()
        portal.page.wait_for_timeout(1400)
    assert len(seen) == len(set(seen)) <= n_cards
    assert len({decision for decision, _ in seen}) > 1


def _impressions(request: Request) -> list[tuple[str, int]]:
    if not request.url.endswith("/portal/api/events"):
        return []
    events = request.post_data_json["events"]
    return [(event["decision_id"], event["slot"]) for event in events if event["event_type"] == "impression"]


def test_another_company_is_found_and_shown(portal: Portal, operator: Operator) -> None:
    first, second = operator.next_client(), operator.next_client()
    portal.open(first)
    name = portal.page.locator("#company-name").inner_text()

    portal.page.locator("#search").fill(second)
    expect(portal.page.locator(f"#found [data-client='{second}']")).to_be_visible()
    portal.page.keyboard.press("ArrowDown")
    portal.page.keyboard.press("Enter")

    expect(portal.page.locator("#company-name")).not_to_have_text(name)
    assert f"client={second}" in portal.page.url
    portal.page.go_back()
    expect(portal.page.locator("#company-name")).to_have_text(name)


def test_an_example_is_shown_by_a_click(portal: Portal, operator: Operator) -> None:
    portal.page.goto(operator.base)
    portal.settle()
    chip = portal.page.locator("#examples .chip").nth(1)
    name = chip.locator(".chip-name").inner_text()

    chip.click()

    expect(portal.page.locator("#company-name")).to_have_text(name)
    expect(chip).to_have_attribute("aria-pressed", "true")


def test_a_company_without_a_name_is_called_by_its_id_and_not_judged(portal: Portal) -> None:
    def answer(route: Route) -> None:
        found = route.fetch().json()
        nameless = {**found["clients"][0], "client_id": NAMELESS_ID, "name": None, "stage": "at_risk"}
        route.fulfill(json={"clients": [nameless, *found["clients"]]})

    portal.page.route("**/portal/api/examples", answer)
    portal.open(NAMELESS_ID, "en")

    chip = portal.page.locator(f".chip[data-client={NAMELESS_ID}]")
    expect(chip.locator(".chip-name")).to_have_text(NAMELESS_ID)
    expect(chip.locator(".chip-hint")).to_contain_text("at risk")
    expect(portal.page.locator("#company-name")).to_have_text(NAMELESS_ID)
    expect(portal.page.locator("#company .badge")).to_have_text(["VIP"])


def test_connected_services_are_near_the_profile(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    fold, list_ = portal.page.locator("#service-fold"), portal.page.locator(".service-list")
    if portal.page.viewport_size == PHONE:
        expect(list_).to_be_hidden()
        box = fold.bounding_box()
        assert box is not None
        assert box["y"] < PHONE["height"]
        fold.locator("summary").click()
    expect(list_).to_be_visible()
    assert int(fold.locator(".counter").inner_text()) == list_.locator(".service").count()
    assert portal.has_no_horizontal_scroll()


def test_profiling_off_gives_a_list_that_is_not_personal(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    portal.unfold_profile()
    switch = portal.page.get_by_role("switch")
    expect(switch).to_have_attribute("aria-checked", "true")

    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(portal.page.locator(".notice")).to_contain_text("Персональные предложения выключены")
    expect(portal.page.locator("[data-placement=home] .section-head")).to_contain_text("Общий список")
    portal.page.locator("[data-placement=home] .why summary").click()
    expect(portal.page.locator("[data-placement=home] .why-body")).to_contain_text("Персонализация выключена")

    portal.page.get_by_role("switch").click()
    expect(portal.page.locator(".notice")).to_have_count(0)


def test_a_company_unknown_so_far_gets_a_list(portal: Portal) -> None:
    portal.open("never-seen-before", "en")

    expect(portal.page.locator("#company")).to_contain_text("Not a client yet")
    expect(portal.page.locator("#services")).to_contain_text("Nothing is connected yet")
    assert portal.cards()
    assert portal.page.get_by_role("switch").count() == 0


def test_why_this_list_names_the_probability_rightly(portal: Portal, client_id: str) -> None:
    portal.open(client_id, "en")
    portal.page.locator("[data-placement=home] .why summary").click()
    why = portal.page.locator("[data-placement=home] .why-body")

    expect(why).to_contain_text("Adoption probability")
    expect(why).to_contain_text("Logging probability")
    assert re.search(r"\d(\.\d+)?%", why.locator("tbody tr").first.inner_text())
    assert why.locator("tbody tr").count() == len(portal.cards())
    assert portal.has_no_horizontal_scroll()


def test_a_hostile_name_stays_text(portal: Portal) -> None:
    portal.open(HOSTILE_ID)

    expect(portal.page.locator("#company-name")).to_have_text(HOSTILE_NAME)
    portal.page.locator("#search").fill("onerror")
    expect(portal.page.locator("#found")).to_contain_text(HOSTILE_NAME)
    portal.press("connect", portal.cards()[0])
    expect(portal.page.locator("dialog[open]")).to_contain_text(HOSTILE_NAME)
    assert portal.page.locator("img").count() == 0
    assert portal.page.title() != "broken"
    assert portal.has_no_horizontal_scroll()


def test_an_offer_is_connected_by_keyboard_alone(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    offer = portal.cards()[0]
    target = f"document.activeElement.matches(\".card[data-offer='{offer}'] [data-action=connect]\")"

    for _ in range(100):
        portal.page.keyboard.press("Tab")
        if portal.page.evaluate(target):
            break
    assert portal.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    portal.page.keyboard.press("Enter")
    expect(portal.page.locator("dialog[open]")).to_be_visible()
    portal.page.keyboard.press("Enter")

    expect(portal.page.locator(f".service[data-offer='{offer}']")).to_have_count(1)
    assert portal.page.evaluate("document.activeElement.id") == "heading-home"


def test_a_server_that_fails_is_told_of_and_asked_again(
    browser: Browser, operator: Operator, client_id: str
) -> None:
    context = _context(browser, DESKTOP)
    portal = Portal(context.new_page(), operator.base)
    portal.page.route("**/portal/api/views", lambda route: route.abort())
    portal.page.goto(f"{operator.base}/portal/?client={client_id}&lang=en")
    expect(portal.page.locator(".notice")).to_contain_text("The server does not answer")

    portal.page.unroute("**/portal/api/views")
    portal.page.get_by_role("button", name="Try again").click()
    expect(portal.page.locator("[data-placement=home] .card").first).to_be_visible()
    context.close()
