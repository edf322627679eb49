"""The demo portal's routes without a browser: the page, its questions, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from recsys.domain import OfferKind, Placement
from serving.app import create_app
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
THEN = datetime(2025, 1, 15, tzinfo=UTC)
PLACEMENTS = (
    Placement("home", k=3),
    Placement("partners", k=2, kinds=(OfferKind.PARTNER,)),
    Placement("banner", k=1),
)


class FixedClock:
    """Always the same moment."""

    def now(self) -> datetime:
        return NOW


class Visitor:
    """Asks an app in this process, one request after the other."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def ask(self, method: str, url: str, **what: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, url, **what))

    def get(self, url: str, **what: Any) -> httpx.Response:
        return self.ask("GET", url, **what)

    def post(self, url: str, **what: Any) -> httpx.Response:
        return self.ask("POST", url, **what)

    def put(self, url: str, **what: Any) -> httpx.Response:
        return self.ask("PUT", url, **what)


@contextmanager
def _visiting(app: FastAPI) -> Iterator[Visitor]:
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://127.0.0.1:8080",
            headers={"sec-fetch-site": "same-origin"},
            follow_redirects=True,
        )
        yield Visitor(runner, client)
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


def _offer(offer_id: str, kind: str = "own", **more: object) -> dict[str, object]:
    texts = {"title_ru": f"Услуга {offer_id}", "title_en": f"Service {offer_id}"}
    return {"offer_id": offer_id, "kind": kind, "recorded_at": THEN, **texts, **more}


def _client(client_id: str, name: str, **more: object) -> dict[str, object]:
    return {"client_id": client_id, "valid_from": THEN, "recorded_at": THEN, "name": name, **more}


def _store() -> MemoryStore:
    store = MemoryStore()
    partners = [_offer(f"z-partner-{n}", "partner", supplier_id="bank-a") for n in range(3)]
    editions = [_offer(name, exclusive_slot="pbx") for name in ("pbx-start", "pbx-pro")]
    offers = editions + [_offer(name) for name in ("sms", "edo", "vpn", "backup")]
    relation = {
        "offer_id": "pbx-start",
        "relation": "upgrades_to",
        "other_offer_id": "pbx-pro",
        "alternative": 0,
        "recorded_at": THEN,
    }
    price = {"offer_id": "pbx-pro", "period": "month", "amount_minor": 250_000, "recorded_at": THEN}
    store.upsert_rows(
        "clients",
        [
            _client("c-1", "ООО «Север»", stage="growth", client_since_on=THEN.date(), is_vip=True),
            _client("c-2", "ИП Южная", stage="onboarding"),
        ],
        THEN,
    )
    store.upsert_rows("offers", offers + partners, THEN)
    store.upsert_rows("offer_relations", [relation], THEN)
    store.upsert_rows("offer_prices", [price], THEN)
    holding = {"holding_id": "h-1", "client_id": "c-1", "offer_id": "pbx-start", "connected_at": THEN}
    store.upsert_rows("holdings", [{**holding, "recorded_at": THEN, "quantity": 1}], THEN)
    store.put_placements(PLACEMENTS, THEN)
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    store.rebuild_states()
    return store


@pytest.fixture
def browser() -> Iterator[Visitor]:
    """What the page's own requests look like."""
    app = create_app(Settings(is_portal_enabled=True), store=_store(), clock=FixedClock())
    with _visiting(app) as visitor:
        yield visitor


def _view(browser: Visitor, client_id: str = "c-1", language: str = "ru") -> dict[str, Any]:
    answer = browser.post("/portal/api/views", json={"client_id": client_id, "language": language})
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


def _items(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for placement in view["placements"] for item in placement["items"]]


def _event(item: dict[str, Any], event_type: str, event_id: str, **more: object) -> dict[str, object]:
    named = {name: item[name] for name in ("decision_id", "slot", "offer_id")}
    return {"event_id": event_id, "event_type": event_type, **named, **more}


def _connection(item: dict[str, Any], client_id: str = "c-1") -> dict[str, object]:
    named = {name: item[name] for name in ("decision_id", "slot", "offer_id")}
    return {"client_id": client_id, "connection_id": f"n-{item['offer_id']}", **named}


def test_root_leads_to_the_page_with_strict_headers(browser: Visitor) -> None:
    answer = browser.get("/")

    assert answer.url.path == "/portal/"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_file_is_sent_once(browser: Visitor) -> None:
    first = browser.get("/portal/static/main.js")
    second = browser.get("/portal/static/main.js", headers={"if-none-match": first.headers["etag"]})

    assert first.headers["content-type"].startswith("text/javascript")
    assert (second.status_code, second.content) == (304, b"")
    assert browser.get("/portal/static/..%2froutes.py").status_code == 404
    assert browser.get("/portal/static/none.js").status_code == 404


def test_a_view_holds_profile_services_and_lists(browser: Visitor) -> None:
    view = _view(browser, language="en")

    assert view["client"]["name"] == "ООО «Север»"
    assert view["client"]["n_tenure_months"] == 13
    assert view["currency"] == "RUB"
    assert [row["title"] for row in view["holdings"]] == ["Service pbx-start"]
    assert [placement["placement_id"] for placement in view["placements"]] == ["banner", "home", "partners"]
    assert all(item["kind"] == "partner" for item in view["placements"][2]["items"])
    assert len({item["offer_id"] for item in _items(view)}) == len(_items(view)) == 6
    assert all(placement["degraded"] == "no_bundle" for placement in view["placements"])


def test_connecting_adds_the_service_and_an_upgrade_ends_the_edition_below(
    browser: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = next(item for item in _items(_view(browser)) if item["offer_id"] == "pbx-pro")
    assert upgrade["change"] == "upgrade"
    assert upgrade["price"] == {"amount_minor": 250_000, "period": "month"}

    for n_minutes in range(2):
        moment = NOW + timedelta(minutes=n_minutes)
        monkeypatch.setattr(FixedClock, "now", lambda _, moment=moment: moment)
        answer = browser.post("/portal/api/connections", json=_connection(upgrade))
        assert answer.status_code == 204, answer.text

    view = _view(browser)
    assert [row["offer_id"] for row in view["holdings"]] == ["pbx-pro"]
    assert not {"pbx-start", "pbx-pro"} & {item["offer_id"] for item in _items(view)}


def test_a_guest_becomes_a_client_with_the_first_service(browser: Visitor) -> None:
    view = _view(browser, "guest-1")
    assert view["client"]["is_known"] is False

    answer = browser.post("/portal/api/connections", json=_connection(_items(view)[0], "guest-1"))

    assert answer.status_code == 204, answer.text
    after = _view(browser, "guest-1")
    assert after["client"]["is_known"] is True
    assert [row["offer_id"] for row in after["holdings"]] == [_items(view)[0]["offer_id"]]


def test_an_offer_that_was_not_shown_is_not_connected(browser: Visitor) -> None:
    item = {**_items(_view(browser))[0], "offer_id": "never-shown"}

    answer = browser.post("/portal/api/connections", json=_connection(item, "guest-2"))

    assert answer.status_code == 422
    assert _view(browser, "guest-2")["client"]["is_known"] is False
    assert [row["offer_id"] for row in _view(browser)["holdings"]] == ["pbx-start"]


def test_an_impression_counts_once_and_a_dismissal_removes_the_offer(browser: Visitor) -> None:
    item = _items(_view(browser))[0]

    def report(*events: dict[str, object]) -> object:
        answer = browser.post("/portal/api/events", json={"client_id": "c-1", "events": events})
        assert answer.status_code == 200, answer.text
        return answer.json()["n_new"]

    assert report(_event(item, "impression", "e-1")) == 1
    assert report(_event(item, "impression", "e-2")) == 0
    assert report(_event(item, "dismissal", "e-3", reason="too_expensive")) == 1
    assert item["offer_id"] not in {shown["offer_id"] for shown in _items(_view(browser))}


def test_a_guest_that_dismisses_stays_a_guest(browser: Visitor) -> None:
    item = _items(_view(browser, "guest-3"))[0]
    body = {"client_id": "guest-3", "events": [_event(item, "dismissal", "e-1", reason="not_now")]}

    assert browser.post("/portal/api/events", json=body).status_code == 200
    after = _view(browser, "guest-3")
    assert after["client"]["is_known"] is False
    assert item["offer_id"] not in {shown["offer_id"] for shown in _items(after)}


def test_the_profiling_switch_works_at_once(browser: Visitor) -> None:
    for is_allowed in (False, True):
        answer = browser.put("/portal/api/clients/c-1/profiling", json={"is_allowed": is_allowed})
        assert answer.status_code == 204, answer.text
        view = _view(browser)
        assert view["client"]["is_profiling_allowed"] is is_allowed
        assert view["client"]["name"] == "ООО «Север»"
    unknown = browser.put("/portal/api/clients/nobody/profiling", json={"is_allowed": False})
    assert unknown.status_code == 404


def test_examples_and_search(browser: Visitor) -> None:
    examples = browser.get("/portal/api/examples").json()["clients"]
    assert {one["client_id"] for one in examples[:-1]} == {"c-1", "c-2"}
    assert examples[-1]["is_known"] is False

    found = browser.get("/portal/api/clients", params={"text": "южн"}).json()["clients"]
    assert [one["client_id"] for one in found] == ["c-2"]


@pytest.mark.parametrize(
    ("base_url", "headers"),
    [
        ("http://portal.example:8080", {}),
        ("http://127.0.0.1:8080", {"sec-fetch-site": "cross-site"}),
        ("http://127.0.0.1:8080", {"sec-fetch-site": "same-site"}),
    ],
)
def test_strangers_are_refused(browser: Visitor, base_url: str, headers: dict[str, str]) -> None:
    question = {"client_id": "c-1", "language": "ru"}
    answer = browser.post(f"{base_url}/portal/api/views", json=question, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden"


def test_a_form_of_another_site_is_not_json(browser: Visitor) -> None:
    body = b'{"client_id": "c-1", "language": "ru"}'
    answer = browser.post("/portal/api/views", content=body, headers={"content-type": "text/plain"})

    assert answer.status_code == 422


@pytest.mark.parametrize(
    "question",
    [
        {"client_id": "", "language": "ru"},
        {"client_id": "x" * 65, "language": "ru"},
        {"client_id": "c-1", "language": "de"},
        {"client_id": "c-1", "language": "ru", "more": 1},
    ],
)
def test_a_wrong_question_is_explained(browser: Visitor, question: dict[str, object]) -> None:
    answer = browser.post("/portal/api/views", json=question)

    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


def test_without_the_setting_there_is_no_portal() -> None:
    app = create_app(Settings(is_portal_enabled=False), store=_store(), clock=FixedClock())
    with _visiting(app) as visitor:
        assert visitor.get("/portal/").status_code == 404
        assert visitor.get("/portal/api/examples").status_code == 404
