"""The demo portal's routes without a browser: the page, its questions, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, ClientState, Event, EventId, EventType, OfferId, Profile
from recsys.history import History, MonthFigures
from serving.app import create_app
from serving.orders import PolicyVersion
from serving.portal.views import client_card, telling_examples
from serving.ports import RecordEvents
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
THEN = datetime(2025, 1, 15, tzinfo=UTC)
POLICY = {
    "placements.yaml": """placements:
  - {id: home, k: 6, kinds: [own]}
  - {id: partners, k: 2, kinds: [partner]}
  - {id: banner, k: 1}
"""
}
PROPOSALS = {
    **POLICY,
    "engagement.yaml": """changes:
  renew: {within_days: 45}
  expand: {when: {field: stage, is: growth}, offers: [sms]}
  retain: {when: {field: stage, is: at_risk}}
""",
    "contact.yaml": """complaint: {silence_days: 30}
caps:
  - {id: applied, of: application, within_days: 30, at_most: 1, reset_on: [activation]}
  - {id: taken, of: activation, within_days: 30, at_most: 1}
""",
}


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


def _holding(holding_id: str, client_id: str, offer_id: str, **more: object) -> dict[str, object]:
    known = {"connected_at": THEN, "recorded_at": THEN, "quantity": 1}
    return {"holding_id": holding_id, "client_id": client_id, "offer_id": offer_id, **known, **more}


def _store(policy: dict[str, str] = POLICY) -> MemoryStore:
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
            _client("c-3", "ООО «Запад»", stage="growth"),
            _client("c-4", "АО «Восток»", stage="at_risk"),
        ],
        THEN,
    )
    store.upsert_rows("offers", offers + partners, THEN)
    store.upsert_rows("offer_relations", [relation], THEN)
    store.upsert_rows("offer_prices", [price], THEN)
    held = [
        _holding("h-1", "c-1", "pbx-start"),
        _holding("h-2", "c-3", "sms", quantity=5),
        _holding("h-3", "c-3", "vpn", term_ends_on=date(2026, 3, 31)),
        _holding("h-4", "c-4", "backup"),
    ]
    store.upsert_rows("holdings", held, THEN)
    month = {"month_on": date(2026, 2, 1), "n_sims_field": 4, "spend_minor": 123_400, "known_at": THEN}
    store.upsert_rows("client_months", [{"client_id": "c-1", **month}], THEN)
    store.put_policy(PolicyVersion(version_of(policy), policy, THEN, THEN, "test"))
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    store.rebuild_states()
    return store


@pytest.fixture
def browser() -> Iterator[Visitor]:
    """What the page's own requests look like."""
    app = create_app(Settings(is_portal_enabled=True), store=_store(), clock=FixedClock())
    with _visiting(app) as visitor:
        yield visitor


@dataclass(frozen=True)
class Holder:
    """The page of companies to which what they have is proposed again."""

    browser: Visitor
    store: MemoryStore

    def proposed(self, client_id: str, change: str) -> dict[str, Any]:
        """The offer with that change."""
        return next(item for item in _items(_view(self.browser, client_id)) if item["change"] == change)

    def post(self, route: str, client_id: str, item: dict[str, Any], **more: object) -> int:
        """Take an offer; gives the answer's status."""
        body = {**_taking(item, client_id), **more}
        return self.browser.post(f"/portal/api/{route}", json=body).status_code

    def events(self, event_type: str) -> list[str]:
        """The offers of the stored events of a type."""
        rows = self.store.read_rows("events")
        return [row["offer_id"] for row in rows if row["event_type"] == event_type]


@pytest.fixture
def holder() -> Iterator[Holder]:
    store = _store(PROPOSALS)
    with _visiting(create_app(Settings(is_portal_enabled=True), store=store, clock=FixedClock())) as visitor:
        yield Holder(visitor, store)


@contextmanager
def _later(monkeypatch: pytest.MonkeyPatch, n_minutes: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(FixedClock, "now", lambda _: NOW + timedelta(minutes=n_minutes))
        yield


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


def _taking(item: dict[str, Any], client_id: str = "c-1") -> dict[str, object]:
    return {"client_id": client_id, **{name: item[name] for name in ("decision_id", "slot", "offer_id")}}


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
    assert view["month"] == {
        "month_on": "2026-02-01",
        "n_sims_employees": None,
        "n_sims_field": 4,
        "n_sims_devices": None,
        "spend_minor": 123_400,
        "data_megabytes": None,
    }
    assert view["complaint_until"] is None
    assert [row["title"] for row in view["holdings"]] == ["Service pbx-start"]
    assert [placement["placement_id"] for placement in view["placements"]] == ["banner", "home", "partners"]
    assert all(item["kind"] == "partner" for item in view["placements"][2]["items"])
    assert len({item["offer_id"] for item in _items(view)}) == len(_items(view)) == 7
    assert all(placement["degraded"] == "no_bundle" for placement in view["placements"])


def test_connecting_adds_the_service_and_an_upgrade_ends_the_edition_below(
    browser: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = next(item for item in _items(_view(browser)) if item["offer_id"] == "pbx-pro")
    assert upgrade["change"] == "upgrade"
    assert upgrade["price"] == {"amount_minor": 250_000, "period": "month"}

    assert upgrade["replaces"] == "Услуга pbx-start"

    for n_minutes in range(2):
        with _later(monkeypatch, n_minutes):
            answer = browser.post("/portal/api/connections", json=_taking(upgrade))
        assert answer.status_code == 204, answer.text

    view = _view(browser)
    assert [row["offer_id"] for row in view["holdings"]] == ["pbx-pro"]
    assert not {"pbx-start", "pbx-pro"} & {item["offer_id"] for item in _items(view)}


def test_a_renewal_gives_one_further_term(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    item = holder.proposed("c-3", "renew")
    held = {"holding_id": "h-3", "quantity": 1, "term_ends_on": "2026-03-31", "renewed_until": "2027-03-31"}
    assert (item["offer_id"], item["held"]) == ("vpn", held)

    for n_minutes in range(2):
        with _later(monkeypatch, n_minutes):
            status = holder.post("renewals", "c-3", item, holding_id="h-3", term_ends_on="2027-03-31")
        assert status == 204

    view = _view(holder.browser, "c-3")
    assert {row["offer_id"]: row["term_ends_on"] for row in view["holdings"]} == {
        "sms": None,
        "vpn": "2027-03-31",
    }
    assert "vpn" not in {shown["offer_id"] for shown in _items(view)}
    assert holder.events("activation") == ["vpn"]


def test_an_expansion_raises_the_quantity_once(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    item = holder.proposed("c-3", "expand")
    assert (item["offer_id"], item["held"]["quantity"]) == ("sms", 5)

    for n_minutes in range(2):
        with _later(monkeypatch, n_minutes):
            assert holder.post("expansions", "c-3", item, holding_id="h-2", quantity=8) == 204

    view = _view(holder.browser, "c-3")
    assert {row["offer_id"]: row["quantity"] for row in view["holdings"]} == {"sms": 8, "vpn": 1}
    assert "sms" not in {shown["offer_id"] for shown in _items(view)}
    assert holder.events("activation") == ["sms"]


def test_a_wish_to_talk_is_one_application(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    item = holder.proposed("c-4", "retain")
    assert item["offer_id"] == "backup"

    for n_minutes in range(2):
        with _later(monkeypatch, n_minutes):
            assert holder.post("applications", "c-4", item) == 204

    view = _view(holder.browser, "c-4")
    assert [row["offer_id"] for row in view["holdings"]] == ["backup"]
    assert "backup" not in {shown["offer_id"] for shown in _items(view)}
    assert holder.events("application") == ["backup"]


def test_what_a_page_of_yesterday_asks_is_refused(holder: Holder) -> None:
    renewal, expansion = holder.proposed("c-3", "renew"), holder.proposed("c-3", "expand")

    statuses = [
        holder.post("renewals", "c-3", renewal, holding_id="h-3", term_ends_on="2036-03-31"),
        holder.post("renewals", "c-3", renewal, holding_id="h-2", term_ends_on="2027-03-31"),
        holder.post("expansions", "c-3", expansion, holding_id="h-2", quantity=4),
        holder.post("expansions", "c-3", {**expansion, "slot": 9}, holding_id="h-2", quantity=8),
        holder.post("connections", "c-3", expansion),
        holder.post("applications", "c-1", renewal),
    ]

    assert statuses == [409, 409, 409, 422, 409, 422]
    assert holder.events("activation") == holder.events("application") == []


def test_an_open_complaint_is_named_where_lists_are_silent(holder: Holder) -> None:
    complaint = Event(EventId("e"), EventType.COMPLAINT, ClientId("c-3"), NOW)
    holder.store.commit([RecordEvents((complaint,), NOW)])

    view = _view(holder.browser, "c-3", "en")

    assert _items(view) == []
    assert view["complaint_until"] == "2026-04-01T09:00:00Z"
    for placement, n_offers in zip(view["placements"], (9, 6, 3), strict=True):
        why = {"text": "First we will settle your complaint", "n_offers": n_offers}
        assert placement["silences"] == [why]


def test_a_list_is_explained_when_asked(holder: Holder) -> None:
    view = _view(holder.browser, "c-3", "en")
    shown = view["placements"][1]["items"]

    question = {"client_id": "c-3", "language": "en", "placement_id": "home"}
    account = holder.browser.post("/portal/api/explanations", json=question).json()

    assert (account["n_offers"], account["n_shown"]) == (9, len(shown))
    assert set(account["made_of"]) == {item["offer_id"] for item in shown}
    for made in account["made_of"].values():
        product = made["probability"] * made["context"] * made["value"] * made["levers"]
        assert made["priority"] == pytest.approx(product)
    left = [step["n_left"] for step in account["funnel"]]
    assert left == sorted(left, reverse=True)
    texts = {one["text"] for one in account["not_shown"] if one["stage"] == "placement"}
    assert texts == {"Already shown in another list", "This place does not show such offers"}
    unknown = holder.browser.post("/portal/api/explanations", json={**question, "placement_id": "nowhere"})
    assert unknown.status_code == 404


def test_a_guest_becomes_a_client_with_the_first_service(browser: Visitor) -> None:
    view = _view(browser, "guest-1")
    assert view["client"]["is_known"] is False

    item = next(item for item in _items(view) if item["price"] is not None)

    answer = browser.post("/portal/api/connections", json=_taking(item, "guest-1"))

    assert answer.status_code == 204, answer.text
    after = _view(browser, "guest-1")
    assert after["client"]["is_known"] is True
    assert [row["offer_id"] for row in after["holdings"]] == [item["offer_id"]]


def test_what_has_no_price_is_requested_and_not_connected(browser: Visitor) -> None:
    item = next(item for item in _items(_view(browser, "guest-1")) if item["price"] is None)

    answer = browser.post("/portal/api/connections", json=_taking(item, "guest-1"))

    assert answer.status_code == 409
    assert "has no price for this company" in answer.json()["error"]["message"]
    assert _view(browser, "guest-1")["client"]["is_known"] is False
    assert browser.post("/portal/api/applications", json=_taking(item, "guest-1")).status_code == 204


def test_an_offer_that_was_not_shown_is_not_connected(browser: Visitor) -> None:
    item = {**_items(_view(browser))[0], "offer_id": "never-shown"}

    answer = browser.post("/portal/api/connections", json=_taking(item, "guest-2"))

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
    assert (after["client"]["is_known"], after["client"]["is_former"]) == (False, False)
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


def test_a_company_without_profile_and_services_was_a_client_once() -> None:
    months = History(months=(MonthFigures(date(2026, 1, 1), spend_minor=100),))
    gone = [
        ClientState(ClientId("gone"), 3, past_offer_ids=(OfferId("sms"),)),
        ClientState(ClientId("gone"), 3, history=months),
    ]
    cards = [client_card("gone", state, NOW.date()) for state in gone]
    assert [(card.is_known, card.is_former) for card in cards] == [(False, True)] * 2
    back = client_card("back", replace(gone[0], profile=Profile()), NOW.date())
    assert (back.is_known, back.is_former) == (True, False)


def test_a_former_client_is_no_example() -> None:
    gone, here = ClientState(ClientId("gone")), ClientState(ClientId("here"), profile=Profile())
    assert telling_examples([gone, here], 2) == [here]


def test_examples_and_search(browser: Visitor) -> None:
    examples = browser.get("/portal/api/examples").json()["clients"]
    assert {one["client_id"] for one in examples[:-1]} == {"c-1", "c-2", "c-3", "c-4"}
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
