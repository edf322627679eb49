"""The demo portal in a real browser, at desktop and phone width, over a real server and a real bundle."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread

import httpx
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

from recsys.domain import (
    ClientId,
    Event,
    EventId,
    EventType,
    Holding,
    LegalForm,
    OfferId,
    Profile,
    Size,
    Stage,
)
from recsys.history import MonthFigures
from serving.app import create_app
from serving.ports import HoldingChange, MonthChange, PutClient, PutHoldings, PutMonths, RecordEvents, Write
from serving.services.load import LoadOptions, load
from serving.settings import Settings
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore
from training.pipelines.fit import fit
from training.pipelines.worlds.simulate import simulate

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
    "ru": r"(\d[\d\s]*(,\d\d)?\s₽ (в месяц|разово|по факту использования)|Бесплатно|По договорённости)",
    "en": r"(RUB\s[\d,]+(\.\d\d)? (a month|one-off|by usage)|Free|By agreement)",
}
# Draws depend on the day, so the day is always the same: the one after the data end.
NOW = datetime(2026, 5, 12, 9, tzinfo=UTC)
HELD = OfferId("vpbx-pro")
STAGES = {"renew": Stage.STEADY, "expand": Stage.GROWTH, "retain": Stage.AT_RISK}
UPSET_ID = "upset"
PLACEMENTS = ("banner", "home", "partners")
# Resolves once the browser has told every observer that the element is half on the screen.
IS_NOTICED = """selector => new Promise(answer => {
    const seen = entries => entries.some(entry => entry.isIntersecting) && answer(observer.disconnect());
    const observer = new IntersectionObserver(seen, {threshold: 0.5});
    observer.observe(document.querySelector(selector));
})"""
MADE_OF = re.compile(r"P\s[\d.]+% × C\s[\d.]+ × V\s[\d.]+ × L\s[\d.]+ =\s[\d.]+")
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
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def _console(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.faults.append(f"console {kind}: {text}")

    def _failed(self, request: Request) -> None:
        # A page that is left gives up its requests; its reports are kept alive all the same.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed: {request.url}")

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


class FixedClock:
    """Always the same moment."""

    def now(self) -> datetime:
        return NOW


@dataclass
class Operator:
    """A running service of a small simulated operator."""

    base: str
    client_ids: Iterator[str]
    holder_ids: dict[str, Iterator[str]]

    def next_client(self) -> str:
        """A company that no other test touches, with services, and new offers in every list."""
        while True:
            client_id = next(self.client_ids)
            question = {"client_id": client_id, "language": "ru"}
            view = httpx.post(f"{self.base}/portal/api/views", json=question).json()
            lists = {one["placement_id"]: one["items"] for one in view["placements"]}
            changes = {item["change"] for items in lists.values() for item in items}
            if all(lists[name] for name in PLACEMENTS) and len(lists["home"]) > 1 and changes == {"new"}:
                return client_id

    def next_holder(self, change: str) -> str:
        """A company that no other test touches, to which the service it has is proposed so."""
        return next(self.holder_ids[change])


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
    load(store, folder / "data", NOW, LoadOptions(is_log_loaded=False))
    nameless = Profile(stage=Stage.AT_RISK, is_vip=True)
    store.commit(
        [
            PutClient(ClientId(HOSTILE_ID), Profile(name=HOSTILE_NAME), NOW),
            PutClient(ClientId(NAMELESS_ID), nameless, NOW),
        ]
    )
    holders = {change: [f"{change}-{n}" for n in range(2)] for change in STAGES}
    for change, ids in holders.items():
        for holder_id in ids:
            store.commit(_holder(holder_id, change))
    complaint = Event(EventId("complaint"), EventType.COMPLAINT, ClientId(UPSET_ID), NOW)
    store.commit([*_holder(UPSET_ID, "expand"), RecordEvents((complaint,), NOW)])
    with_services = [
        state.client_id
        for state in store.find_clients("", 500)
        if len(state.holdings) >= 2 and state.profile and state.profile.is_profiling_allowed
    ]
    with _serving(create_app(settings, store=store, clock=FixedClock())) as base:
        yield Operator(base, iter(with_services), {change: iter(ids) for change, ids in holders.items()})
    store.close()


def _holder(client_id: str, change: str) -> list[Write]:
    """A company with six seats of a PBX, to which that change is proposed."""
    profile = Profile(
        name=f"ООО «{client_id}»",
        legal_form=LegalForm.LLC,
        size=Size.SMALL,
        industry="G",
        region="MOW",
        stage=STAGES[change],
        n_employees=20,
        client_since_on=NOW.date() - timedelta(days=900),
    )
    ends_on = NOW.date() + timedelta(days=20) if change == "renew" else None
    held = Holding(f"h-{client_id}", HELD, NOW - timedelta(days=800), quantity=6, term_ends_on=ends_on)
    figures = MonthFigures(date(2026, 4, 1), n_sims_field=3, spend_minor=500_000, overdue_days=0)
    return [
        PutClient(ClientId(client_id), profile, NOW),
        PutHoldings((HoldingChange(ClientId(client_id), held),), NOW),
        PutMonths((MonthChange(ClientId(client_id), figures),), NOW),
    ]


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
    for placement in PLACEMENTS:
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
    priced = portal.page.locator("[data-placement=home] .card").filter(has_not_text="По договорённости")
    offer = priced.first.get_attribute("data-offer")
    assert offer is not None
    card = portal.page.locator(f".card[data-offer='{offer}']")
    title, price = card.locator(".card-title").inner_text(), card.locator(".price strong").inner_text()
    provider = card.locator(".badge-own, .badge-partner").inner_text().removeprefix("Партнёр: ")

    portal.press("take", offer)
    dialog = portal.page.locator("dialog[open]")
    for shown in (title, price):
        expect(dialog).to_contain_text(shown)
    facts = dialog.locator("dd").all_inner_texts()
    assert provider.replace("Услуга оператора", "Оператор") in facts
    assert {"ежемесячно", "разово", "по факту использования", "не списывается"} & {*facts}
    portal.answer("cancel")
    expect(card).to_be_visible()
    portal.press("take", offer)
    portal.answer("confirm")

    expect(portal.page.locator(f".service[data-offer='{offer}']")).to_have_count(1)
    expect(card).to_have_count(0)
    expect(portal.page.locator("#announcer")).to_contain_text("Список обновлён")
    assert portal.page.evaluate("window.sameDocument") is True
    portal.page.reload()
    expect(portal.page.locator(f".service[data-offer='{offer}']")).to_have_count(1)


def test_what_has_no_price_is_asked_for(portal: Portal, client_id: str) -> None:
    def answer(route: Route) -> None:
        view = route.fetch().json()
        for placement in view["placements"]:
            placement["items"] = [{**item, "price": None} for item in placement["items"]]
        route.fulfill(json=view)

    portal.page.route("**/portal/api/views", answer)
    portal.open(client_id, "en")
    offer = portal.cards()[0]
    card = portal.page.locator(f".card[data-offer='{offer}']")
    expect(card.locator(".price")).to_have_text("By agreement")
    expect(card.locator("[data-action=take]")).to_have_text("Request it")

    portal.press("take", offer)
    dialog = portal.page.locator("dialog[open]")
    expect(dialog.locator("#dialog-title")).to_have_text("Request this service?")
    expect(dialog).not_to_contain_text("Charged")
    with portal.page.expect_response("**/portal/api/applications") as taken:
        portal.answer("confirm")

    assert taken.value.ok
    expect(portal.page.locator("#toast")).to_contain_text("Request taken")
    portal.settle()
    expect(portal.page.locator(f".service[data-offer='{offer}']")).to_have_count(0)


@pytest.mark.parametrize("change", ["renew", "expand", "retain"])
def test_what_a_company_has_is_proposed_again_and_taken_once(
    portal: Portal, operator: Operator, change: str
) -> None:
    portal.open(operator.next_holder(change), "en")
    card = portal.page.locator(f".card[data-offer={HELD}]")
    expect(card).to_have_attribute("data-change", change)
    label, sentence, dialog_says, said, row = {
        "renew": (
            "Renew",
            "Renewed until 1 June 2027",
            "Renew this service?",
            "Renewed",
            "term until 1 June 2027",
        ),
        "expand": ("Add seats", "You have 6 seats now", "8 seats in all", "Added", "8 seats"),
        "retain": ("Talk to us", "A manager will call back", "nobody will call", "Request taken", "6 seats"),
    }[change]
    expect(card.locator("[data-action=take]")).to_have_text(label)
    expect(card.locator(".becomes")).to_contain_text(sentence)

    portal.press("take", HELD)
    if change == "expand":
        portal.page.locator("#more").fill("0")
        portal.answer("confirm")
        expect(portal.page.locator("dialog[open]")).to_be_visible()
        portal.page.locator("#more").fill("2")
    expect(portal.page.locator("dialog[open]")).to_contain_text(dialog_says)
    assert portal.has_no_horizontal_scroll()
    portal.answer("confirm")

    expect(card).to_have_count(0)
    expect(portal.page.locator("#toast")).to_contain_text(said)
    expect(portal.page.locator(f".service[data-offer={HELD}]")).to_contain_text(row)
    assert portal.page.locator(".service").count() == 1
    notices = ["We have your request. A manager will call you about “Virtual PBX Pro, up to 25 users”."]
    expect(portal.page.locator(".notice")).to_have_text(notices if change == "retain" else [])
    portal.page.reload()
    portal.settle()
    expect(card).to_have_count(0)


def test_an_empty_list_says_why(portal: Portal) -> None:
    portal.open(UPSET_ID, "en")

    expect(portal.page.locator(".notice")).to_contain_text("Your complaint is open. Until 11 June 2026")
    assert portal.cards("partners") == []
    empty = portal.page.locator("[data-placement=partners] .empty")
    expect(empty).to_contain_text("We offer nothing here now")
    expect(empty.locator("li")).to_contain_text("First we will settle your complaint")


def test_figures_of_the_latest_month_stand_in_the_profile(portal: Portal, client_id: str) -> None:
    portal.open(client_id, "en")
    portal.unfold_profile()

    facts = portal.page.locator(".company .facts")
    expect(facts).to_contain_text(re.compile(r"SIM cards\s*\d+ (staff|field|in devices)"))
    expect(facts).to_contain_text(re.compile(r"Spend\s*RUB\s[\d,]+\s*April 2026"))
    expect(facts).to_contain_text(re.compile(r"Data\s*[\d,.]+\s[MG]B"))


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
    portal.page.clock.install(time=NOW)
    portal.page.clock.pause_at(NOW + timedelta(seconds=1))
    first, last = "[data-placement=home] .card", "[data-placement=partners] .slot:last-child .card"

    portal.open(client_id)
    _look_at(portal, first, n_milliseconds=900)
    assert seen == [], "nothing was on the screen for a second"
    with portal.page.expect_response(lambda answer: _is_report(answer, "impression")) as answer:
        _look_at(portal, first, n_milliseconds=1500)
    assert answer.value.json() == {"n_new": len(seen)}
    n_seen, n_cards = len(seen), portal.page.locator(".card").count()
    assert 0 < n_seen < n_cards

    with portal.page.expect_response(lambda answer: _is_report(answer, "impression")):
        _look_at(portal, last, n_milliseconds=1500)
    _look_at(portal, first, n_milliseconds=1500)
    assert n_seen < len(seen) == len(set(seen)) <= n_cards
    assert len({decision for decision, _ in seen}) > 1


def _look_at(portal: Portal, selector: str, n_milliseconds: int) -> None:
    """Scroll to a card and let the page's own clock run on."""
    portal.page.locator(selector).first.scroll_into_view_if_needed()
    portal.page.evaluate(IS_NOTICED, selector)
    portal.page.clock.run_for(n_milliseconds)


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
    portal.page.locator("[data-placement=home] .why > summary").click()
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
    portal.page.locator("[data-placement=home] .why > summary").click()
    why = portal.page.locator("[data-placement=home] .why-body")

    expect(why).to_contain_text("Adoption probability")
    expect(why).to_contain_text("Logging probability")
    assert re.search(r"\d(\.\d+)?%", why.locator("tbody tr").first.inner_text())
    assert why.locator("tbody .place").count() == len(portal.cards())
    expect(why.locator("tbody .made")).to_have_text([MADE_OF] * len(portal.cards()))
    assert portal.has_no_horizontal_scroll()


def test_what_is_not_shown_is_asked_for_and_told_when_unfolded(portal: Portal, client_id: str) -> None:
    asked: list[str] = []
    portal.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    portal.open(client_id, "en")
    assert "explanations" not in asked
    why = portal.page.locator("[data-placement=home] .why")
    why.locator("> summary").click()
    why.locator(".hidden-fold summary").click()

    expect(why.locator(".funnel")).to_have_text(re.compile(r"^102 in the catalogue.*5 shown$"))
    numbers = [int(text) for text in why.locator(".funnel strong").all_inner_texts()]
    assert numbers == sorted(numbers, reverse=True)
    stages = why.locator(".stage-refused")
    assert stages.locator("h3").first.inner_text().startswith("Not available")
    n_refused = sum(int(text) for text in stages.locator("h3 .counter").all_inner_texts())
    assert n_refused == numbers[0] - numbers[-2]
    expect(stages.locator("li", has_text="You already have it")).to_have_count(1)
    assert stages.locator(".cure").count() > 0
    assert asked.count("explanations") == 1
    assert portal.has_no_horizontal_scroll()


def test_a_hostile_name_stays_text(portal: Portal) -> None:
    portal.open(HOSTILE_ID)

    expect(portal.page.locator("#company-name")).to_have_text(HOSTILE_NAME)
    portal.page.locator("#search").fill("onerror")
    expect(portal.page.locator("#found")).to_contain_text(HOSTILE_NAME)
    portal.press("take", portal.cards()[0])
    expect(portal.page.locator("dialog[open]")).to_contain_text(HOSTILE_NAME)
    assert portal.page.locator("img").count() == 0
    assert portal.page.title() != "broken"
    assert portal.has_no_horizontal_scroll()


def test_an_offer_is_connected_by_keyboard_alone(portal: Portal, client_id: str) -> None:
    portal.open(client_id)
    offer = portal.cards()[0]
    target = f"document.activeElement.matches(\".card[data-offer='{offer}'] [data-action=take]\")"

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
