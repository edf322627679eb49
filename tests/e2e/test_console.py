"""The console in a real browser: log in, look, log out, on a desk and on a phone."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from argon2 import PasswordHasher
from playwright.sync_api import Browser, Page, expect, sync_playwright

from serving.accounts import Role, User
from serving.app import create_app
from serving.orders import BundleAction, BundleOrder, OfferStop, PolicyVersion
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.web.connections import PatientProtocol

pytestmark = pytest.mark.browser

NOW = datetime(2026, 5, 12, 9, tzinfo=UTC)
PASSWORD = "correct horse battery staple"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
SECONDS_TO_START = 60.0
BUNDLE = "default-conversion-2026-03-01-0f3a9c1b"
WORSE = (
    "offline: worse than the live a: ndcg_at_10 0.2 against 0.4; overridden by command line: prices; broken"
)
ORDERS = (
    (BundleAction.PUBLISH, ""),
    (BundleAction.PROMOTE, f"{WORSE}; not evaluated off-policy"),
    (BundleAction.PIN, ""),
    (BundleAction.UNPIN, ""),
    (BundleAction.ROLL_BACK, "instead of b"),
)
N_SOURCES = 3
ABORTED = "net::ERR_ABORTED"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = MemoryStore()
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    store.add_user(User("anna", cheap.hash(PASSWORD), Role.DUTY, False, NOW, NOW))
    store.put_offer_stop(OfferStop("crm", True, HOSTILE, "command line", NOW, NOW))
    store.put_policy(PolicyVersion("0b84", {}, NOW, NOW, "command line", "loaded from data"))
    for number, (action, judgement) in enumerate(ORDERS, 1):
        said = BundleOrder(number, BUNDLE, BUNDLE, "f" * 64, action, "command line", "", judgement, NOW)
        store.put_bundle_order(said)
    offer = {"offer_id": "crm", "kind": "own", "recorded_at": NOW}
    price = {"offer_id": "crm", "region": None, "size": None, "period": "month", "amount_minor": 1}
    relation = {"offer_id": "crm", "relation": "excludes", "other_offer_id": "disk", "alternative": None}
    store.upsert_rows("offers", [offer], NOW)
    store.upsert_rows("offer_prices", [{**price, "recorded_at": NOW}], NOW)
    store.upsert_rows("offer_relations", [{**relation, "recorded_at": NOW}], NOW)
    settings = Settings(
        is_console_enabled=True,
        is_console_cookie_secure=False,
        journal_dir=tmp_path_factory.mktemp("journal"),
        time_zone="Europe/Moscow",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    app = create_app(settings, store)
    config = uvicorn.Config(app, port=port, http=PatientProtocol, log_level="critical")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + SECONDS_TO_START
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found is not None, "no Chromium found; install it with: apt-get install -y chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(Path(found)), args=ARGUMENTS)
        yield browser
        browser.close()


def tags(page: Page) -> set[str]:
    return set(page.locator(".tag").all_inner_texts())


@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_logs_in_looks_and_logs_out(
    browser: Browser, address: str, width: int, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, locale="ru-RU")
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    # An icon that was still on its way when the page was left is none.
    page.on("requestfailed", lambda one: one.failure == ABORTED or faults.append(one.url))
    page.goto(f"{address}/console/password")
    page.get_by_label("Имя").fill("anna")
    page.get_by_label("Пароль").fill(PASSWORD)
    page.get_by_role("button", name="Войти").click()
    expect(page).to_have_url(f"{address}/console/password")
    page.goto(f"{address}/console/")
    expect(page.get_by_text("anna · дежурный")).to_be_visible()
    expect(page.get_by_text("Остановлено: crm")).to_be_visible()
    expect(page.get_by_text(HOSTILE)).to_be_visible()  # a text, and no picture
    expect(page.get_by_text("вопреки оценке: prices; broken", exact=True)).to_be_visible()
    expect(page.get_by_text("загружено из data", exact=True)).to_be_visible()
    assert tags(page) == {"опубликованы", "введены в работу", "закреплены", "откреплены", "возвращены"}
    assert set(page.locator(".author").all_inner_texts()) == {"командная строка"}
    page.screenshot(path=str(tmp_path / "russian.png"), full_page=True)
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Latest orders")).to_be_visible()
    expect(page).to_have_title("Recommendations console")
    expect(page.get_by_text("overridden: prices; broken", exact=True)).to_be_visible()
    assert tags(page) == {"published", "promoted", "pinned", "unpinned", "rolled back"}
    page.screenshot(path=str(tmp_path / "english.png"), full_page=True)
    # The style is there in spite of the policy, and nothing is wider than the screen.
    assert page.evaluate("getComputedStyle(document.querySelector('.panel')).borderRadius") == "16px"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # Nor does anything stand outside of its panel.
    assert page.evaluate(
        "[...document.querySelectorAll('.panel')].every(one => one.scrollWidth <= one.clientWidth)"
    )
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth)"
    )
    expect(page.get_by_role("row")).to_have_count((1 + N_SOURCES) + (1 + len(ORDERS) + 2))
    page.get_by_role("button", name="Log out", exact=True).click()
    expect(page).to_have_url(re.compile("/console/login"))
    page.goto(f"{address}/console/")
    expect(page).to_have_url(re.compile("/console/login"))
    assert faults == []
    context.close()
