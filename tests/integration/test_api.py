"""The REST API through HTTP in this process, on the memory store and on SQLite, with a real small bundle."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Event as Signal
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from fastapi import FastAPI
from scipy import sparse

from recsys.bundle import Provenance, save_bundle
from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, Profile
from recsys.errors import StoreUnavailableError
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.ease import Ease
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from serving.app import create_app
from serving.orders import PolicyVersion
from serving.ports import PutClient, Role, Store
from serving.security.keys import new_key
from serving.services.commit_queue import CommitQueue
from serving.services.scoring import Scoring
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.storage.sql import SqlStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THEN = datetime(2025, 1, 15, tzinfo=UTC)
OFFER_IDS = ("bank", "crm", "disk", "pbx", "pbx-pro", "recording")
POLICY = {
    "placements.yaml": """placements:
  - {id: home, k: 3, max_k: 10}
  - {id: lucky, k: 3, exploration_share: 1.0}
  - {id: partners, k: 2, kinds: [partner]}
"""
}


class MovingClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


class Portal:
    """A program that talks to the service with one key."""

    def __init__(
        self, app: FastAPI, runner: asyncio.Runner, client: httpx.AsyncClient, clock: MovingClock
    ) -> None:
        self.app, self.clock = app, clock
        self.runner, self.client = runner, client

    def ask(self, method: str, url: str, **what: Any) -> httpx.Response:
        return self.runner.run(self.client.request(method, url, **what))

    def recommend(self, client_id: str = "c-1", *, status: int = 200, **more: Any) -> Any:
        body = {"client_id": client_id, "placements": [{"placement_id": "home"}], **more}
        response = self.ask("POST", "/v1/recommendations", json=body)
        assert response.status_code == status, response.text
        return response.json()

    def shown(self, client_id: str = "c-1", **more: Any) -> list[str]:
        answer = self.recommend(client_id, **more)
        return [item["offer_id"] for item in answer["placements"][0]["items"]]

    def record(self, *events: dict[str, Any], status: int = 200) -> Any:
        response = self.ask("POST", "/v1/events", json={"events": list(events)})
        assert response.status_code == status, response.text
        return response.json()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)


def offer_row(offer_id: str, **more: object) -> dict[str, object]:
    titles = {"title_ru": f"Услуга {offer_id}", "title_en": f"Service {offer_id}"}
    return {"offer_id": offer_id, "kind": "own", "recorded_at": THEN, **titles, **more}


def fill(store: Store) -> None:
    slot = {"exclusive_slot": "pbx", "need_group": "pbx"}
    store.upsert_rows(
        "offers",
        [
            offer_row("bank", kind="partner", need_group="bank", supplier_id="bank-a"),
            offer_row("crm"),
            offer_row("disk"),
            offer_row("pbx", **slot),
            offer_row("pbx-pro", **slot),
            offer_row("recording"),
        ],
        NOW,
    )
    related = {"recorded_at": THEN, "alternative": 0}
    store.upsert_rows(
        "offer_relations",
        [
            {"offer_id": "recording", "relation": "requires", "other_offer_id": "pbx", **related},
            {"offer_id": "recording", "relation": "requires", "other_offer_id": "pbx-pro", **related},
            {"offer_id": "pbx", "relation": "upgrades_to", "other_offer_id": "pbx-pro", **related},
        ],
        NOW,
    )
    price = {"offer_id": "pbx", "period": "month", "recorded_at": THEN}
    store.upsert_rows(
        "offer_prices",
        [
            {**price, "region": None, "size": None, "amount_minor": 100_000},
            {**price, "region": "77", "size": None, "amount_minor": 150_000},
            {**price, "offer_id": "bank", "region": None, "size": None, "amount_minor": 0},
        ],
        NOW,
    )
    known = {"valid_from": THEN, "recorded_at": THEN, "legal_form": "llc"}
    store.upsert_rows(
        "clients",
        [
            {"client_id": "c-1", "region": "77", "size": "small", "industry": "G", **known},
            {"client_id": "c-2", "region": "16", "size": "micro", **known},
        ],
        NOW,
    )
    holding = {"client_id": "c-1", "connected_at": THEN, "recorded_at": THEN}
    store.upsert_rows("holdings", [{"holding_id": "h-1", "offer_id": "crm", **holding}], NOW)
    store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    store.rebuild_states(None, NOW)


def save_small_bundle(folder: Path, offer_ids: tuple[str, ...] = OFFER_IDS) -> Path:
    """Models of forty clients, half of whom hold crm and disk, the others pbx and recording."""
    index = OfferIndex(offer_ids)
    demand = np.zeros((40, len(index)))
    for row in range(40):
        held = ("crm", "disk") if row % 2 else ("pbx", "recording", "bank")
        demand[row, index.known_columns(held)] = 1
    held_by_client = sparse.csr_array(demand)
    training = TrainingSet(
        as_of=THEN,
        offers=index,
        clients=ClientBatch(
            held_by_client.indptr.astype(np.int64),
            held_by_client.indices.astype(np.int64),
            tuple(("size=small", "industry=G") for _ in range(40)),
            len(index),
        ),
        demand=held_by_client,
    )
    rng = np.random.default_rng(1)
    line = Calibration(np.array([-10.0, 10.0]), np.array([0.01, 0.9]))
    recommender = Recommender(Ease().fit(training, rng), Popularity().fit(training, rng), line, line)
    digests = dict.fromkeys(("config_digest", "data_digest", "code_digest"), "0" * 64)
    provenance = Provenance(
        name="small", created_at=THEN, as_of=THEN, horizon_days=92, seed=1, metrics={}, **digests
    )
    return save_bundle(recommender, provenance, folder)


@contextmanager
def serving(store: Store, bundles: Path | None, role: Role | None = Role.PORTAL) -> Iterator[Portal]:
    clock = MovingClock()
    headers = {}
    if role is not None:
        key, record = new_key(role, NOW)
        store.add_key(record)
        headers["Authorization"] = f"Bearer {key}"
    app = create_app(Settings(bundles_dir=bundles), store, clock)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)
        try:
            yield Portal(app, runner, client, clock)
        finally:
            runner.run(client.aclose())
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    save_small_bundle(folder)
    return folder


@pytest.fixture(params=["memory", "sqlite"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, new_sqlite: Callable[[Path], str]
) -> Iterator[Store]:
    is_kept = request.param == "sqlite"
    store: Store = SqlStore(new_sqlite(tmp_path / "api.db")) if is_kept else MemoryStore()
    fill(store)
    yield store
    store.close()


@pytest.fixture
def portal(store: Store, bundles: Path) -> Iterator[Portal]:
    with serving(store, bundles) as portal:
        yield portal


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def steady(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_sqlite: Callable[[Path], str],
    bundles: Path,
) -> Iterator[Portal]:
    """One service for every question that is refused and therefore changes nothing."""
    file = tmp_path_factory.mktemp("steady") / "api.db"
    store: Store = SqlStore(new_sqlite(file)) if request.param == "sqlite" else MemoryStore()
    fill(store)
    with serving(store, bundles) as portal:
        yield portal
    store.close()


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    fill(store)
    return store


@pytest.fixture(scope="module")
def strangers_store() -> MemoryStore:
    """What nobody may change who is turned away."""
    store = MemoryStore()
    fill(store)
    return store


@pytest.fixture(scope="module")
def stranger(strangers_store: MemoryStore) -> Iterator[Portal]:
    """Somebody without a key."""
    with serving(strangers_store, None, role=None) as portal:
        yield portal


@pytest.fixture(scope="module")
def analyst(strangers_store: MemoryStore) -> Iterator[Portal]:
    """Somebody whose key may read alone."""
    with serving(strangers_store, None, Role.ANALYST) as portal:
        yield portal


def failure(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Every failure has the one shape."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["code"] == code
    assert "Traceback" not in response.text
    return dict(body["error"])


# Recommendations


def test_a_known_client_gets_ranked_offers_with_price_and_reasons(portal: Portal) -> None:
    answer = portal.recommend(language="en", placements=[{"placement_id": "home", "k": 10}])
    assert answer["client_id"] == "c-1"
    assert answer["client_known"] is True
    assert answer["basis"] == "holdings"
    assert answer["personalised"] is True
    assert answer["degraded"] is None
    assert answer["versions"]["bundle"].startswith("small-")
    assert answer["versions"]["state"] == 1
    home = answer["placements"][0]
    assert home["placement_id"] == "home"
    assert datetime.fromisoformat(home["valid_until"]) == datetime(2026, 3, 3, tzinfo=UTC)
    items = home["items"]
    assert items[0]["offer_id"] == "disk", "the other half of what crm holders hold"
    assert [item["rank"] for item in items] == list(range(1, len(items) + 1))
    probabilities = [item["adoption_probability"] for item in items]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 < probability < 1 for probability in probabilities)
    assert all("acceptance_probability" not in item for item in items)
    assert all(item["logging_probability"] == 1.0 and item["change"] == "new" for item in items)
    assert items[0]["title"] == "Service disk"
    assert items[0]["reasons"][0] == {
        "code": "taken_with",
        "text": "Often taken together with “Service crm”, which you already have",
    }
    prices = {item["offer_id"]: item["price"] for item in items}
    assert prices["pbx"] == {"amount_minor": 150_000, "currency": "RUB", "period": "month"}
    assert prices["bank"]["amount_minor"] == 0
    assert prices["disk"] is None, "an offer without a price is shown without one"
    assert {"crm", "recording"}.isdisjoint(prices), "connected already; needs a PBX"


def test_titles_and_reasons_are_russian_by_default(portal: Portal) -> None:
    item = portal.recommend()["placements"][0]["items"][0]
    assert item["title"] == "Услуга disk"
    assert item["reasons"][0]["text"].startswith("Часто подключают вместе с услугой «Услуга crm»")


def test_explain_names_every_refused_offer_with_stage_and_rule(portal: Portal) -> None:
    assert "refused" not in portal.recommend()["placements"][0]
    refused = portal.recommend(explain=True, exclude=["disk"])["placements"][0]["refused"]
    assert {one["offer_id"]: (one["stage"], one["rule"]) for one in refused} == {
        "crm": ("eligibility", "already_connected"),
        "disk": ("request", "excluded_by_request"),
        "recording": ("eligibility", "requires"),
    }


def test_several_placements_share_no_offer_and_keep_the_order_asked_for(portal: Portal) -> None:
    answer = portal.recommend(placements=[{"placement_id": "partners"}, {"placement_id": "home", "k": 10}])
    first, second = answer["placements"]
    assert [first["placement_id"], second["placement_id"]] == ["partners", "home"]
    assert [item["offer_id"] for item in first["items"]] == ["bank"], "fewer rather than padding"
    assert "bank" not in [item["offer_id"] for item in second["items"]]
    assert first["decision_id"] != second["decision_id"]


def test_a_weight_that_asks_of_clients_makes_no_strangers_list_personal(memory: MemoryStore) -> None:
    weight = "{id: w, when: {field: is_vip, is: false}, offers: [disk], weight: 50}"
    policy = {**POLICY, "arbitration.yaml": f"context_weights: [{weight}]\n"}
    memory.put_policy(PolicyVersion(version_of(policy), policy, NOW, NOW, "test"))
    with serving(memory, None) as portal:
        known, stranger = portal.recommend("c-2"), portal.recommend("nobody-knows")
        assert (known["personalised"], stranger["personalised"]) == (True, False)
        prospect = portal.recommend("nobody-knows", profile={"size": "micro"})
        assert prospect["personalised"] is True


def test_an_unknown_client_gets_a_cold_list(portal: Portal) -> None:
    answer = portal.recommend("nobody-knows")
    assert answer["client_known"] is False
    assert answer["basis"] == "population"
    assert answer["personalised"] is False
    assert answer["versions"]["state"] == 0
    assert len(answer["placements"][0]["items"]) == 3


def test_a_prospect_is_known_by_the_profile_that_comes_with_the_request(portal: Portal) -> None:
    profile = {"size": "small", "industry": "G", "region": "77"}
    placements = [{"placement_id": "home", "k": 10}]
    answer = portal.recommend("prospect", profile=profile, placements=placements)
    assert answer["client_known"] is False
    assert answer["basis"] == "profile"
    prices = {item["offer_id"]: item["price"] for item in answer["placements"][0]["items"]}
    assert prices["pbx"]["amount_minor"] == 150_000


def test_a_stored_profile_goes_before_the_one_in_the_request(portal: Portal) -> None:
    answer = portal.recommend(profile={"region": "16"}, placements=[{"placement_id": "home", "k": 10}])
    prices = {item["offer_id"]: item["price"] for item in answer["placements"][0]["items"]}
    assert prices["pbx"]["amount_minor"] == 150_000


def test_a_client_without_holdings_is_known_by_its_profile(portal: Portal) -> None:
    answer = portal.recommend("c-2")
    assert answer["client_known"] is True
    assert answer["basis"] in ("profile", "population")
    assert answer["placements"][0]["items"]


def test_switching_profiling_off_counts_at_once(portal: Portal) -> None:
    off = {"size": "small", "industry": "G", "region": "77", "is_profiling_allowed": False}
    assert portal.ask("PUT", "/v1/clients/c-1", json=off).status_code == 200
    answer = portal.recommend(placements=[{"placement_id": "lucky"}])
    assert answer["personalised"] is False
    assert answer["basis"] == "population"
    items = answer["placements"][0]["items"]
    assert all(item["logging_probability"] == 1.0 for item in items), "no exploration"
    codes = {reason["code"] for item in items for reason in item["reasons"]}
    assert codes <= {"popular", "price_free", "price_month"}


def test_a_refresh_does_not_roll_again(portal: Portal) -> None:
    placements = [{"placement_id": "lucky"}]
    first = portal.recommend(placements=placements)["placements"][0]
    second = portal.recommend(placements=placements)["placements"][0]
    assert first["items"] == second["items"]
    assert first["decision_id"] != second["decision_id"]
    n = 4
    assert [item["logging_probability"] for item in first["items"]] == [
        pytest.approx(1 / m) for m in (n, n - 1, n - 2)
    ]


def test_decisions_are_logged_with_candidates_and_refusals(portal: Portal, store: Store) -> None:
    answer = portal.recommend(member_id="m-1", channel="web")
    decision_id = answer["placements"][0]["decision_id"]
    (row,) = store.read_rows("decisions")
    assert row["decision_id"] == decision_id
    assert (row["client_id"], row["member_id"], row["channel"]) == ("c-1", "m-1", "web")
    assert row["occurred_at"] == NOW
    assert row["is_personalised"] is True
    assert row["degraded"] is None
    assert row["state_version"] == 1
    items = list(store.read_rows("decision_items"))
    assert [item["offer_id"] for item in items] == [
        item["offer_id"] for item in answer["placements"][0]["items"]
    ]
    assert all(item["logging_probability"] == 1.0 for item in items)


# Wrong questions


@pytest.mark.parametrize(
    ("k", "bound"),
    [(0, "shows 1 to 10"), (-1, "shows 1 to 10"), (11, "shows 1 to 10"), (2**31, "less than or equal")],
)
def test_k_out_of_bounds_names_the_bound(steady: Portal, k: int, bound: str) -> None:
    body = {"client_id": "c-1", "placements": [{"placement_id": "home", "k": k}]}
    error = failure(steady.ask("POST", "/v1/recommendations", json=body), 422, "invalid_request")
    assert bound in error["message"]
    assert [fault["field"] for fault in error["details"]["fields"]] == ["placements.0.k"]
    assert "more)" not in error["message"]


@pytest.mark.parametrize("placements", [[], "home", [{"placement_id": "home"}] * 21])
def test_a_list_is_called_a_list(portal: Portal, placements: object) -> None:
    body = {"client_id": "c-1", "placements": placements}
    error = failure(portal.ask("POST", "/v1/recommendations", json=body), 422, "invalid_request")
    assert error["details"]["fields"][0]["field"] == "placements"
    assert "list" in error["message"].casefold() or "valid array" in error["message"]
    assert "tuple" not in error["message"].casefold()


def test_excluding_what_nobody_knows_changes_nothing(portal: Portal) -> None:
    assert portal.shown(exclude=["no-such-offer"]) == portal.shown()


def test_an_unknown_placement_names_the_known_ones(portal: Portal) -> None:
    body = {"client_id": "c-1", "placements": [{"placement_id": "attic"}]}
    error = failure(portal.ask("POST", "/v1/recommendations", json=body), 404, "unknown_placement")
    assert error["message"] == "unknown placement 'attic'; known: home, lucky, partners"
    assert error["details"] == {"id": "attic"}


def test_a_placement_stands_once(portal: Portal) -> None:
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}, {"placement_id": "home"}]}
    failure(portal.ask("POST", "/v1/recommendations", json=body), 422, "invalid_request")


@pytest.mark.parametrize(
    "content",
    [b"{", b'{"client_id": "c-1",}', b"\xff\xfe", b"not json"],
    ids=["open brace", "trailing comma", "not UTF-8", "text"],
)
@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "/v1/recommendations"),
        ("POST", "/v1/events"),
        ("POST", "/v1/holdings"),
        ("PUT", "/v1/clients/c-1"),
    ],
)
def test_malformed_json_is_400(steady: Portal, method: str, url: str, content: bytes) -> None:
    response = steady.ask(method, url, content=content, headers={"content-type": "application/json"})
    failure(response, 400, "malformed_json")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"client_id": None}, "client_id"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": "x" * 65}, "client_id"),
        ({"client_id": "a\x00b"}, "client_id"),
        ({"placements": []}, "placements"),
        ({"placements": [{"placement_id": "home", "k": "five"}]}, "placements.0.k"),
        ({"placements": [{"placement_id": "home"}, {"id": "home"}]}, "placements.1.placement_id"),
        ({"language": "de"}, "language"),
        ({"excluded": []}, "excluded"),
        ({"profile": {"industry": "Z"}}, "profile.industry"),
        ({"context": {"page": ["a"]}}, "context.page"),
    ],
)
def test_a_wrong_field_is_422_and_named_by_its_path(
    steady: Portal, change: dict[str, Any], field: str
) -> None:
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}], **change}
    error = failure(steady.ask("POST", "/v1/recommendations", json=body), 422, "invalid_request")
    assert error["details"]["fields"][0]["field"].startswith(field)


@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize("url", ["/v1/recommendations", "/v1/holdings"])
def test_a_body_of_ten_megabytes_is_413(portal: Portal, url: str, is_announced: bool) -> None:
    content = b'{"client_id": "' + b"x" * 10_000_000 + b'"}'

    async def parts() -> Any:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    sent = content if is_announced else parts()
    error = failure(
        portal.ask("POST", url, content=sent, headers={"content-type": "application/json"}),
        413,
        "body_too_large",
    )
    assert error["details"] == {"max_bytes": 1_048_576}
    assert portal.shown(), "and the service goes on"


def test_another_method_and_another_path_have_the_same_shape(portal: Portal) -> None:
    error = failure(portal.ask("GET", "/v1/recommendations"), 405, "method_not_allowed")
    assert (
        error["message"]
        == "/v1/recommendations takes POST, not GET; the API is described under /openapi.json"
    )
    error = failure(portal.ask("GET", "/v1/nothing"), 404, "not_found")
    assert error["message"] == "there is nothing under /v1/nothing; the API is described under /openapi.json"


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"industry": "Z"}, "String should be one capital letter A–S"),
        ({"region": "a\nb"}, "String should be without line breaks and other control characters"),
        ({"client_since_on": "0001-01-01"}, "Input should be greater than or equal to 1970-01-01"),
        ({"client_since_on": "9999-12-31"}, "Input should be less than or equal to 2200-01-01"),
    ],
)
def test_what_is_wrong_with_a_profile_is_told_in_words(
    portal: Portal, profile: dict[str, str], words: str
) -> None:
    error = failure(portal.ask("PUT", "/v1/clients/c-9", json=profile), 422, "invalid_request")
    assert error["message"] == f"{next(iter(profile))}: {words}"


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_term_that_ends_beyond_the_years_of_the_service_is_refused(portal: Portal, day: str) -> None:
    response = portal.ask("POST", "/v1/holdings", json={"holdings": [holding(term_ends_on=day)]})
    error = failure(response, 422, "invalid_request")
    assert error["details"]["fields"][0]["field"] == "holdings.0.term_ends_on"


# Keys and roles


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer rk_a_b"}],
    ids=["none", "another scheme", "empty", "unknown"],
)
@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "/v1/recommendations"),
        ("POST", "/v1/events"),
        ("POST", "/v1/holdings"),
        ("POST", "/v1/client-months"),
        ("PUT", "/v1/clients/c-1"),
        ("GET", "/v1/clients/c-1"),
        ("GET", "/v1/clients/c-1/features"),
        ("GET", "/v1/offers"),
    ],
)
def test_without_a_valid_key_nothing_is_answered(
    stranger: Portal, strangers_store: MemoryStore, method: str, url: str, headers: dict[str, str]
) -> None:
    body = {
        "/v1/recommendations": {"client_id": "c-1", "placements": [{"placement_id": "home"}]},
        "/v1/events": {"events": [event()]},
        "/v1/holdings": {"holdings": [holding()]},
        "/v1/client-months": {"months": [month()]},
    }.get(url, {})
    response = stranger.ask(method, url, json=None if method == "GET" else body, headers=headers)
    failure(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert list(strangers_store.read_rows("events")) == []
    assert list(strangers_store.read_rows("decisions")) == []


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"", b"x" * 2_000_000], ids=["open", "wrong", "none", "long"]
)
@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "/v1/recommendations"),
        ("POST", "/v1/events"),
        ("POST", "/v1/holdings"),
        ("PUT", "/v1/clients/c-1"),
    ],
)
def test_a_stranger_learns_nothing_of_the_body_and_it_is_not_read(
    stranger: Portal, analyst: Portal, method: str, url: str, is_announced: bool, content: bytes
) -> None:
    n_read = 0

    async def parts() -> Any:
        nonlocal n_read
        n_read += 1
        yield content

    length = {"Content-Length": str(len(content))} if is_announced else {}
    for key in ({}, {"Authorization": "Bearer rk_a_b"}):
        headers = {"Content-Type": "application/json", **length, **key}
        response = stranger.ask(method, url, content=parts(), headers=headers)
        failure(response, 401, "unauthenticated")
    assert n_read == 0
    failure(analyst.ask(method, url, content=parts()), 403, "forbidden")
    assert n_read == 0


def test_a_role_may_do_only_what_is_its_own(memory: MemoryStore) -> None:
    with serving(memory, None, Role.ANALYST) as analyst:
        assert analyst.ask("GET", "/v1/offers").status_code == 200
        body = {"client_id": "c-1", "placements": [{"placement_id": "home"}]}
        error = failure(analyst.ask("POST", "/v1/recommendations", json=body), 403, "forbidden")
        assert "portal, admin" in error["message"]
        failure(analyst.ask("PUT", "/v1/clients/c-1", json={}), 403, "forbidden")
        failure(analyst.ask("POST", "/v1/events", json={"events": [event()]}), 403, "forbidden")


def test_a_key_made_while_the_service_runs_is_known(memory: MemoryStore, monkeypatch: Any) -> None:
    monkeypatch.setattr("serving.web.authentication._SECONDS_BETWEEN_READS", 0.0)
    with serving(memory, None) as portal:
        key, record = new_key(Role.ADMIN, NOW)
        memory.add_key(record)
        assert portal.ask("GET", "/v1/offers", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        memory.revoke_key(record.key_id, NOW)
        portal.app.state.doorkeeper.refresh()
        failure(
            portal.ask("GET", "/v1/offers", headers={"Authorization": f"Bearer {key}"}),
            401,
            "unauthenticated",
        )


# Events


def event(event_id: str = "e-1", **more: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_type": "application",
        "client_id": "c-1",
        "occurred_at": NOW.isoformat(),
        **more,
    }


def holding(holding_id: str = "h-9", **more: Any) -> dict[str, Any]:
    return {
        "holding_id": holding_id,
        "client_id": "c-1",
        "offer_id": "pbx",
        "connected_at": NOW.isoformat(),
        **more,
    }


def test_the_same_event_is_stored_once(portal: Portal, store: Store) -> None:
    assert portal.record(event()) == {"accepted": 1, "duplicates": 0}
    assert portal.record(event(), event("e-2")) == {"accepted": 1, "duplicates": 1}
    assert portal.record(event("e-3"), event("e-3")) == {"accepted": 1, "duplicates": 1}
    assert [row["event_id"] for row in store.read_rows("events")] == ["e-1", "e-2", "e-3"]


def test_an_impression_counts_once_per_decision_and_slot(portal: Portal) -> None:
    decision_id = portal.recommend()["placements"][0]["decision_id"]
    seen = {"event_type": "impression", "decision_id": decision_id}
    assert portal.record(event("e-1", slot=1, **seen), event("e-2", slot=2, **seen))["accepted"] == 2
    assert portal.record(event("e-3", slot=1, **seen)) == {"accepted": 0, "duplicates": 1}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"decision_id": "no-such-decision"}, "unknown_decision"),
        ({"offer_id": "no-such-offer"}, "unknown_offer"),
        ({"occurred_at": (NOW + timedelta(minutes=6)).isoformat()}, "future"),
        ({"event_type": "impression", "slot": 1}, "needs_decision"),
        ({"event_type": "complaint", "client_id": "nobody"}, "unknown_client"),
    ],
)
def test_an_event_that_cannot_be_true_refuses_the_batch(
    portal: Portal, store: Store, wrong: dict[str, Any], code: str
) -> None:
    response = portal.ask("POST", "/v1/events", json={"events": [event("e-1"), event("e-2", **wrong)]})
    error = failure(response, 422, "invalid_events")
    (fault,) = error["details"]["faults"]
    assert (fault["index"], fault["event_id"], fault["code"]) == (1, "e-2", code)
    assert any(cure in fault["message"] for cure in ("; send", "; create", "needs the"))
    assert list(store.read_rows("events")) == []


def test_an_impression_belongs_to_a_list_that_was_shown(portal: Portal, store: Store) -> None:
    decision_id = portal.recommend()["placements"][0]["decision_id"]
    seen = {"event_type": "impression", "decision_id": decision_id}
    early = {"slot": 1, "occurred_at": (NOW - timedelta(minutes=6)).isoformat()}
    for wrong, code in ((early, "before_decision"), ({}, "needs_slot")):
        response = portal.ask("POST", "/v1/events", json={"events": [event(**seen, **wrong)]})
        (fault,) = failure(response, 422, "invalid_events")["details"]["faults"]
        assert fault["code"] == code
    assert list(store.read_rows("events")) == []


def test_the_same_event_id_with_another_content_is_a_conflict(portal: Portal, store: Store) -> None:
    decision_id = portal.recommend()["placements"][0]["decision_id"]
    shown = {"decision_id": decision_id, "slot": 1}
    assert portal.record(event("e-1", event_type="impression", **shown))["accepted"] == 1
    click = event("e-1", event_type="click", **shown)
    response = portal.ask("POST", "/v1/events", json={"events": [event("e-2"), click]})
    assert "'e-1'" in failure(response, 409, "conflict")["message"]
    assert [row["event_id"] for row in store.read_rows("events")] == ["e-1"]


def test_a_prospect_may_dismiss_what_it_was_shown(portal: Portal) -> None:
    shown = portal.recommend("prospect")["placements"][0]
    offer_id = shown["items"][0]["offer_id"]
    put_aside = {"event_type": "dismissal", "client_id": "prospect", "offer_id": offer_id}
    failure(portal.ask("POST", "/v1/events", json={"events": [event(**put_aside)]}), 422, "invalid_events")
    portal.record(event(**put_aside, decision_id=shown["decision_id"]))
    assert offer_id not in portal.shown("prospect")


def test_a_clock_five_minutes_ahead_is_forgiven(portal: Portal) -> None:
    assert portal.record(event(occurred_at=(NOW + timedelta(minutes=5)).isoformat()))["accepted"] == 1


def test_a_time_without_zone_is_refused(portal: Portal) -> None:
    response = portal.ask("POST", "/v1/events", json={"events": [event(occurred_at="2026-03-02T09:00:00")]})
    error = failure(response, 422, "invalid_request")
    assert error["details"]["fields"][0]["field"] == "events.0.occurred_at"


def test_a_batch_has_between_one_and_a_thousand_events(portal: Portal) -> None:
    failure(portal.ask("POST", "/v1/events", json={"events": []}), 422, "invalid_request")
    batch = [event(f"e-{number}") for number in range(1001)]
    failure(portal.ask("POST", "/v1/events", json={"events": batch}), 422, "invalid_request")
    assert portal.record(*batch[:1000])["accepted"] == 1000


def test_a_dismissed_offer_rests_and_comes_back(portal: Portal) -> None:
    assert "disk" in portal.shown()
    portal.record(event(event_type="dismissal", offer_id="disk", reason="not_now"))
    assert "disk" not in portal.shown()
    portal.clock.moment = NOW + timedelta(days=30)
    assert "disk" in portal.shown()


# Clients, holdings, offers


def test_the_next_decision_knows_a_new_holding(portal: Portal) -> None:
    assert "recording" not in portal.shown(placements=[{"placement_id": "home", "k": 10}])
    response = portal.ask("POST", "/v1/holdings", json={"holdings": [holding()]})
    assert response.status_code == 200
    assert response.json() == {"clients": [{"client_id": "c-1", "state_version": 2}]}
    answer = portal.recommend(placements=[{"placement_id": "home", "k": 10}], explain=True)
    items = {item["offer_id"]: item for item in answer["placements"][0]["items"]}
    assert answer["versions"]["state"] == 2
    assert items["recording"]["reasons"][0]["code"] == "works_with"
    assert items["pbx-pro"]["change"] == "upgrade"
    assert items["pbx-pro"]["reasons"][0]["code"] == "upgrade"
    ended = holding(disconnected_at=NOW.isoformat())
    assert portal.ask("POST", "/v1/holdings", json={"holdings": [ended]}).status_code == 200
    assert "recording" not in portal.shown(placements=[{"placement_id": "home", "k": 10}])


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"client_id": "nobody"}, 404, "unknown_client"),
        ({"offer_id": "nothing"}, 404, "unknown_offer"),
        ({"holding_id": "h-1"}, 409, "conflict"),
        ({"quantity": 0}, 422, "invalid_request"),
        ({"disconnected_at": THEN.isoformat()}, 422, "invalid_request"),
    ],
)
def test_a_wrong_holding_refuses_the_batch(
    portal: Portal, wrong: dict[str, Any], status: int, code: str
) -> None:
    body = {"holdings": [holding("h-8", offer_id="disk"), holding(**wrong)]}
    failure(portal.ask("POST", "/v1/holdings", json=body), status, code)
    assert len(portal.ask("GET", "/v1/clients/c-1").json()["holdings"]) == 1


def month(**changes: Any) -> dict[str, Any]:
    return {"client_id": "c-1", "month_on": "2026-02-01", "n_sims_field": 4, "spend_minor": 900, **changes}


def test_figures_of_months_reach_the_features(portal: Portal) -> None:
    before = portal.ask("GET", "/v1/clients/c-1/features").json()
    response = portal.ask("POST", "/v1/client-months", json={"months": [month()]})
    assert response.json() == {"clients": [{"client_id": "c-1", "state_version": 2}]}
    after = portal.ask("GET", "/v1/clients/c-1/features").json()
    assert (before["state_version"], after["state_version"]) == (1, 2)
    assert before["spec"] == after["spec"]
    values = {each["name"]: each["value"] for each in after["features"]}
    assert (values["n_sims"], values["spend_minor"], values["n_sims_employees"]) == (4, 900, None)
    assert {each["name"]: each["value"] for each in before["features"]}["spend_minor"] is None
    (shown,) = portal.ask("GET", "/v1/clients/c-1").json()["months"]
    assert (shown["month_on"], shown["n_sims_field"]) == ("2026-02-01", 4)


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"month_on": "2026-02-02"}, 422, "invalid_request"),
        ({"month_on": "2026-04-01"}, 422, "invalid_request"),
        ({"n_sims_field": -1}, 422, "invalid_request"),
        ({"client_id": "nobody"}, 404, "unknown_client"),
    ],
)
def test_a_wrong_month_refuses_the_batch(
    portal: Portal, wrong: dict[str, Any], status: int, code: str
) -> None:
    body = {"months": [month(), month(**wrong)]}
    failure(portal.ask("POST", "/v1/client-months", json=body), status, code)
    assert portal.ask("GET", "/v1/clients/c-1").json()["months"] == []


def test_what_happened_is_shown_with_the_client(portal: Portal) -> None:
    portal.recommend()
    noise = {"event_type": "complaint", "client_id": "c-1", "topic": "noise", "occurred_at": NOW.isoformat()}
    portal.record({"event_id": "x-1", **noise})
    read = portal.ask("GET", "/v1/clients/c-1").json()
    assert read["complaint"]["topic"] == "noise"
    (counted,) = read["activity"]
    assert (counted["event_type"], counted["n_events"], counted["offer_id"]) == ("complaint", 1, None)
    values = {each["name"]: each["value"] for each in features_of(portal, "c-1")}
    assert (values["has_open_complaint"], values["n_complaints_7d"]) == (1, 1)
    portal.clock.moment = NOW + timedelta(days=31)
    values = {each["name"]: each["value"] for each in features_of(portal, "c-1")}
    assert (values["has_open_complaint"], values["n_complaints_90d"]) == (0, 1)


def features_of(portal: Portal, client_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = portal.ask("GET", f"/v1/clients/{client_id}/features").json()["features"]
    return found


def test_a_stranger_who_only_looked_stays_unknown(portal: Portal) -> None:
    shown = portal.recommend("stranger")["placements"][0]["decision_id"]
    seen = {"event_type": "impression", "client_id": "stranger", "occurred_at": NOW.isoformat()}
    portal.record({"event_id": "x-2", **seen, "decision_id": shown, "slot": 1})
    assert portal.recommend("stranger")["client_known"] is False


def test_a_clock_that_runs_ahead_connects_now(portal: Portal) -> None:
    ahead = holding(connected_at=(NOW + timedelta(minutes=2)).isoformat())
    assert portal.ask("POST", "/v1/holdings", json={"holdings": [ahead]}).status_code == 200
    *_, newest = portal.ask("GET", "/v1/clients/c-1").json()["holdings"]
    assert datetime.fromisoformat(newest["connected_at"]) == NOW


def test_a_client_is_created_replaced_and_read(portal: Portal) -> None:
    failure(portal.ask("GET", "/v1/clients/new"), 404, "unknown_client")
    created = portal.ask("PUT", "/v1/clients/new", json={"name": "Ромашка", "n_employees": 20})
    assert created.status_code == 200
    assert created.json()["profile"]["size"] == "small", "derived from staff"
    read = portal.ask("GET", "/v1/clients/new").json()
    assert read == created.json()
    assert read["state_version"] == 1
    assert portal.recommend("new")["client_known"] is True


def test_offers_come_with_rules_and_without_margins(portal: Portal) -> None:
    answer = portal.ask("GET", "/v1/offers").json()
    assert answer["currency"] == "RUB"
    assert [offer["offer_id"] for offer in answer["offers"]] == list(OFFER_IDS)
    assert answer["offers"][-1]["requires"] == [["pbx", "pbx-pro"]]
    assert "margin" not in str(answer)


# The same request again


def test_the_same_request_id_gets_the_same_answer(portal: Portal, store: Store) -> None:
    first = portal.recommend(request_id="r-1")
    portal.record(event(event_type="dismissal", offer_id="disk"))
    assert portal.recommend(request_id="r-1") == first
    assert first["request_id"] == "r-1"
    assert len(list(store.read_rows("decisions"))) == 1
    reordered = b'{"placements":[{"placement_id":"home"}],\n "request_id":"r-1","client_id":"c-1"}'
    assert portal.ask("POST", "/v1/recommendations", content=reordered).json() == first


def test_the_same_request_id_with_another_content_is_a_conflict(portal: Portal) -> None:
    portal.recommend(request_id="r-1")
    body = {"client_id": "c-2", "placements": [{"placement_id": "home"}], "request_id": "r-1"}
    failure(portal.ask("POST", "/v1/recommendations", json=body), 409, "conflict")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999", "1" + "0" * 30, "1" + "0" * 400])
@pytest.mark.parametrize("request_id", ['"r-1"', "null"])
def test_a_number_that_is_none_is_refused(steady: Portal, number: str, request_id: str) -> None:
    body = (
        '{"client_id": "c-1", "placements": [{"placement_id": "home"}],'
        f' "request_id": {request_id}, "context": {{"basket": {number}}}}}'
    )
    failure(steady.ask("POST", "/v1/recommendations", content=body), 422, "invalid_request")


def test_what_the_stricter_reader_of_json_refuses_is_no_fault_of_the_server(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: bytes) -> None:
        raise orjson.JSONDecodeError("no", "{", 0)

    monkeypatch.setattr("serving.api.routes.orjson.loads", refuse)
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}], "request_id": "r-1"}
    failure(portal.ask("POST", "/v1/recommendations", json=body), 400, "malformed_json")


def test_twins_at_the_same_time_get_one_answer(portal: Portal, store: Store) -> None:
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}], "request_id": "r-1"}

    async def ask_together() -> list[httpx.Response]:
        posts = (portal.client.post("/v1/recommendations", json=body) for _ in range(8))
        return await asyncio.gather(*posts)

    answers = portal.run(ask_together())
    assert {response.status_code for response in answers} == {200}
    assert len({response.content for response in answers}) == 1
    assert len(list(store.read_rows("decisions"))) == 1


# When a part is missing


def test_without_a_bundle_the_most_held_come_first(memory: MemoryStore, tmp_path: Path) -> None:
    with serving(memory, tmp_path) as portal:
        answer = portal.recommend("c-2")
        assert answer["degraded"] == "no_bundle"
        assert answer["personalised"] is False
        assert answer["versions"]["bundle"] is None
        items = answer["placements"][0]["items"]
        assert items[0]["offer_id"] == "crm", "the only offer that anybody holds"
        assert items[0]["adoption_probability"] is None
        assert items[0]["reasons"] == [], "one holder makes nothing popular"
        ready = portal.ask("GET", "/ready")
        assert ready.status_code == 200
        assert (ready.json()["status"], ready.json()["degraded"]) == ("degraded", "no_bundle")


def test_without_a_bundle_popular_is_what_ten_clients_hold(memory: MemoryStore) -> None:
    held = {"offer_id": "disk", "connected_at": THEN, "recorded_at": THEN}
    memory.upsert_rows(
        "holdings", [{"holding_id": f"d-{n}", "client_id": f"d-{n}", **held} for n in range(10)], NOW
    )
    memory.rebuild_states(None, NOW)
    with serving(memory, None) as portal:
        items = portal.recommend("c-2")["placements"][0]["items"]
    assert items[0]["offer_id"] == "disk"
    assert items[0]["reasons"] == [{"code": "popular", "text": "Популярно среди бизнес-клиентов"}]
    assert all("popular" not in [one["code"] for one in item["reasons"]] for item in items[1:])


def test_where_holdings_are_purchases_things_are_bought(memory: MemoryStore, bundles: Path) -> None:
    memory.put_documents({"dataset.toml": 'holdings = "purchases"\n'})
    with serving(memory, bundles) as portal:
        item = portal.recommend(language="en")["placements"][0]["items"][0]
    assert item["reasons"][0] == {
        "code": "bought_with",
        "text": "Often bought together with “Service crm”, which you have bought before",
    }


def test_without_holdings_the_catalogue_gives_the_order(tmp_path: Path) -> None:
    store = MemoryStore()
    store.upsert_rows("offers", [offer_row("b"), offer_row("a")], NOW)
    with serving(store, None) as portal:
        answer = portal.recommend("c-1")
        assert answer["degraded"] == "no_bundle"
        assert [item["offer_id"] for item in answer["placements"][0]["items"]] == ["a", "b"]


def test_with_an_empty_catalogue_the_list_is_empty() -> None:
    with serving(MemoryStore(), None) as portal:
        assert portal.shown() == []
        ready = portal.ask("GET", "/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["faults"] == ["no offers are loaded: every list is empty (recsys-serve load DIR)"]


def test_a_corrupt_bundle_is_named(memory: MemoryStore, bundles: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundles"
    shutil.copytree(bundles, copy)
    array = next(copy.rglob("*.npy"))
    array.write_bytes(array.read_bytes()[:-1])
    with serving(memory, copy) as portal:
        assert portal.recommend()["degraded"] == "bundle_corrupt"


def test_a_corrupt_newer_bundle_leaves_the_present_one_in_use(
    memory: MemoryStore, bundles: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundles"
    shutil.copytree(bundles, copy)
    with serving(memory, copy) as portal:
        before = portal.recommend()["versions"]["bundle"]
        (copy / "newer").mkdir()
        (copy / "newer" / "manifest.json").write_text("{")
        portal.app.state.services.scoring.refresh(NOW)
        after = portal.recommend()
        assert after["degraded"] is None
        assert after["versions"]["bundle"] == before


def test_a_bundle_that_arrives_later_is_taken_up(memory: MemoryStore, tmp_path: Path) -> None:
    with serving(memory, tmp_path) as portal:
        assert portal.recommend()["degraded"] == "no_bundle"
        save_small_bundle(tmp_path)
        portal.app.state.services.scoring.refresh(NOW)
        assert portal.recommend()["degraded"] is None
        ready = portal.ask("GET", "/ready").json()
        assert ready["status"] == "ready"
        assert ready["bundle"].startswith("small-")


def test_a_changed_catalogue_is_taken_up(memory: MemoryStore, bundles: Path) -> None:
    with serving(memory, bundles) as portal:
        before = portal.recommend()["versions"]["catalogue"]
        assert "disk" in portal.shown()
        memory.upsert_rows(
            "offers", [offer_row("disk", recorded_at=NOW, is_stopped=True), offer_row("brand-new")], NOW
        )
        portal.app.state.services.scoring.refresh(NOW)
        answer = portal.recommend(placements=[{"placement_id": "home", "k": 10}], explain=True)
        assert answer["versions"]["catalogue"] != before
        shown = [item["offer_id"] for item in answer["placements"][0]["items"]]
        assert "brand-new" in shown, "an offer that the models do not know has a chance"
        assert {"offer_id": "disk", "stage": "availability", "rule": "stopped"} in answer["placements"][0][
            "refused"
        ]


def test_a_bundle_of_withdrawn_offers_serves_what_is_left(memory: MemoryStore, tmp_path: Path) -> None:
    save_small_bundle(tmp_path, ("crm", "disk", "pbx", "recording", "bank", "withdrawn"))
    with serving(memory, tmp_path) as portal:
        shown = portal.shown(placements=[{"placement_id": "home", "k": 10}])
        assert "withdrawn" not in shown
        assert "pbx-pro" in shown


def test_a_model_that_fails_is_replaced_by_popularity(
    memory: MemoryStore, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("the model is at fault")

    with serving(memory, bundles) as portal:
        monkeypatch.setattr(Recommender, "predict", fail)
        assert portal.ask("POST", "/v1/holdings", json={"holdings": [holding()]}).status_code == 200
        answer = portal.recommend()
        assert answer["degraded"] == "scoring_failed"
        assert answer["versions"]["bundle"] is None
        assert answer["placements"][0]["items"]
        (row,) = memory.read_rows("decisions")
        assert row["degraded"] == "scoring_failed"


def test_an_explanation_that_fails_costs_only_the_reason(
    memory: MemoryStore, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no evidence")

    with serving(memory, bundles) as portal:
        before = portal.shown()
    monkeypatch.setattr(Recommender, "explain", fail)
    with serving(memory, bundles) as portal:
        answer = portal.recommend()
    items = answer["placements"][0]["items"]
    assert answer["degraded"] is None
    assert [item["offer_id"] for item in items] == before
    assert not {"popular", "cohort", "taken_with"} & {
        reason["code"] for item in items for reason in item["reasons"]
    }


def test_what_was_told_once_is_told_again_and_nothing_is_left_out(portal: Portal) -> None:
    world = portal.app.state.services.scoring.world
    scorer, [state] = world.ranking.scorer, portal.app.state.services.store.client_states_of(["c-2"])
    scored, anew = scorer.score(state, NOW), scorer.score(state, NOW)
    n_told = 0
    for position in range(len(world.catalogue)):
        whole = list(scorer.explain(anew, position))
        assert whole[:1] == list(islice(scorer.explain(scored, position), 1))
        for _ in range(2):
            assert list(scorer.explain(scored, position)) == whole
        n_told += len(whole)
    assert n_told > 0


def test_what_was_told_to_its_end_asks_no_model_again(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = portal.app.state.services.scoring.world
    scorer, [state] = world.ranking.scorer, portal.app.state.services.store.client_states_of(["c-2"])
    scored = scorer.score(state, NOW)
    positions = range(len(world.catalogue))
    told = [list(scorer.explain(scored, position)) for position in positions]
    assert [] in told, "what has nothing to say is kept too"
    monkeypatch.delattr(Recommender, "explain")
    assert [list(scorer.explain(scored, position)) for position in positions] == told


class FailingStore(MemoryStore):
    """Its database is gone once `is_gone` is set."""

    is_gone = False

    def client_state(self, client_id: Any) -> Any:
        if self.is_gone:
            raise StoreUnavailableError("the database postgresql://reader@db.inner:5432/shop did not answer")
        return super().client_state(client_id)

    def commit(self, writes: Any) -> Any:
        if self.is_gone:
            raise StoreUnavailableError("the database postgresql://reader@db.inner:5432/shop did not answer")
        return super().commit(writes)

    def take_turn(self, *asked: Any) -> bool:
        self.commit([])
        return super().take_turn(*asked)

    def is_ready(self) -> bool:
        return not self.is_gone


def test_a_database_that_does_not_answer_is_503_with_a_time_to_come_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FailingStore()
    fill(store)
    with serving(store, None) as portal:
        assert portal.ask("GET", "/ready").status_code == 200
        store.is_gone = True
        client = {"legal_form": "llc", "size": "micro"}
        for number in range(3):
            for verb, url, sent in (
                ("POST", "/v1/events", {"events": [event(f"e-{number}")]}),
                ("PUT", "/v1/clients/c-9", client),
            ):
                response = portal.ask(verb, url, json=sent)
                failure(response, 503, "store_unavailable")
                assert "db.inner" not in response.text
                assert response.headers["Retry-After"] == "1"
        told = [str(vars(record)) for record in caplog.records if "db.inner" in str(vars(record))]
        assert len(told) == 1, "it is told once, not for each request"
        ready = portal.ask("GET", "/ready")
        assert ready.status_code == 200, "recommendations go on: see test_outage.py"
        assert (ready.json()["status"], ready.json()["database"]) == ("degraded", "unavailable")
        assert "the database is away" in ready.json()["faults"][0]
        assert portal.ask("GET", "/health").json() == {"status": "alive"}


def test_readiness_tells_the_age_of_each_source(portal: Portal) -> None:
    portal.clock.moment = NOW + timedelta(hours=1)
    portal.app.state.services.scoring.refresh(portal.clock.moment)
    ready = portal.ask("GET", "/ready").json()
    assert (ready["status"], ready["looked_seconds_ago"], ready["faults"]) == ("ready", 0.0, [])
    assert ready["n_offers"] == len(OFFER_IDS)
    ages = {source["source"]: source["age_seconds"] for source in ready["sources"]}
    assert {"clients", "offers", "holdings"} <= set(ages)
    assert set(ages.values()) == {3600.0}


def test_a_fault_of_the_program_is_500_without_its_inside(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(memory, None) as portal:

        def fail(_: object) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr("serving.services.sighting.decide_all", lambda *_: fail(0))
        body = {"client_id": "c-1", "placements": [{"placement_id": "home"}]}
        response = portal.ask("POST", "/v1/recommendations", json=body)
        failure(response, 500, "internal")
        assert "secret" not in response.text


# The commit queue


class SlowStore(MemoryStore):
    """Counts its transactions and waits for a permission before each."""

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self._wait = wait
        self.batches: list[int] = []

    def commit(self, writes: Any) -> Any:
        self._wait()
        self.batches.append(len(writes))
        return super().commit(writes)


def test_writes_that_wait_share_a_transaction_and_a_full_queue_refuses() -> None:
    allowed = Signal()
    store = SlowStore(lambda: allowed.wait(10) or None)

    async def work() -> None:
        queue = CommitQueue(store, max_waiting=5)
        queue.start()
        writes = [
            asyncio.ensure_future(queue.submit(PutClient(ClientId(f"c-{n}"), Profile(), NOW)))
            for n in range(5)
        ]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailableError, match="waiting"):
            await queue.submit(PutClient(ClientId("c-9"), Profile(), NOW))
        allowed.set()
        closing = asyncio.ensure_future(queue.close())
        states = await asyncio.gather(*writes)
        await closing
        assert [state.client_id for state in states] == [f"c-{n}" for n in range(5)]
        with pytest.raises(StoreUnavailableError, match="shutting down"):
            await queue.submit(PutClient(ClientId("c-9"), Profile(), NOW))

    asyncio.run(work())
    assert sum(store.batches) == 5
    assert len(store.batches) <= 2, "the first alone perhaps, the others together"


def test_scores_are_kept_until_the_holdings_change(portal: Portal) -> None:
    scoring: Scoring = portal.app.state.services.scoring
    cache = scoring.world.ranking.cache
    portal.shown()
    portal.shown()
    assert (cache.n_hits, cache.n_misses) == (2, 0), "the warm-up scored the client"
    assert portal.ask("POST", "/v1/holdings", json={"holdings": [holding()]}).status_code == 200
    portal.shown()
    portal.shown()
    assert (cache.n_hits, cache.n_misses) == (3, 1)


def test_the_openapi_document_is_complete(memory: MemoryStore) -> None:
    app = create_app(Settings(), memory)
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description") or operation.get("summary"), path
            assert "200" in operation["responses"], path
            if path.startswith("/v1"):
                assert {"401"} <= set(operation["responses"]), path
            if method in ("post", "put"):
                assert "requestBody" in operation, path
    body = document["components"]["schemas"]["RecommendationsQuestion"]
    assert body["examples"]
