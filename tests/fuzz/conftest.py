"""A small operator whose ids are those of the API's examples."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from fastapi import FastAPI
from scipy import sparse

from recsys.bundle import Provenance, save_bundle
from recsys.decision.policy.policy import version_of
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.ease import Ease
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from serving.api.examples import PARAMETERS
from serving.api.questions import EventsQuestion
from serving.app import create_app
from serving.orders import PolicyVersion
from serving.ports import LogDecisions, LoggedDecision, Role, Store
from serving.security.keys import new_key
from serving.services import commit_queue
from serving.settings import Settings
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THEN = datetime(2025, 1, 15, tzinfo=UTC)
OFFER_IDS = ("bank-a-rko", "call-recording", "cloud-disk", "crm-b", "vpbx-pro", "vpbx-start")
POLICY = {
    "placements.yaml": "placements:\n"
    "  - {id: home, k: 5, max_k: 10}\n"
    "  - {id: partners, k: 2, kinds: [partner]}\n"
    "  - {id: lucky, k: 3, exploration_share: 1.0}\n"
}


class StandingClock:
    """Always the same instant: what a run finds does not depend on the day."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture(scope="session")
def recommender() -> Recommender:
    """Models of forty clients, half of whom hold one set of offers and half the other."""
    index = OfferIndex(OFFER_IDS)
    demand = np.zeros((40, len(index)))
    for row in range(40):
        held = ("crm-b", "cloud-disk") if row % 2 else ("vpbx-start", "call-recording", "bank-a-rko")
        demand[row, index.known_columns(held)] = 1
    rows = sparse.csr_array(demand)
    clients = ClientBatch(
        rows.indptr.astype(np.int64),
        rows.indices.astype(np.int64),
        tuple(("size=small", "industry=G") for _ in range(40)),
        len(index),
    )
    training = TrainingSet(as_of=THEN, offers=index, clients=clients, demand=rows)
    rng = np.random.default_rng(1)
    line = Calibration(np.array([-10.0, 10.0]), np.array([0.01, 0.9]))
    return Recommender(Ease().fit(training, rng), Popularity().fit(training, rng), line, line)


@pytest.fixture(scope="session")
def bundles(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bundle."""
    folder = tmp_path_factory.mktemp("bundles")
    digests = dict.fromkeys(("config_digest", "data_digest", "code_digest"), "0" * 64)
    provenance = Provenance(
        name="default", created_at=THEN, as_of=THEN, horizon_days=92, seed=1, metrics={}, **digests
    )
    save_bundle(recommender, provenance, folder)
    return folder


def fill(store: Store) -> None:
    """Two companies, six offers with rules and prices, a policy."""
    known = {"kind": "own", "recorded_at": THEN}
    slot = {"exclusive_slot": "pbx", "need_group": "telephony", "category": "telephony"}
    titles = {
        "bank-a-rko": ("Расчётный счёт в «Банке А»", "Account at Bank A"),
        "call-recording": ("Запись звонков", "Call recording"),
        "cloud-disk": ("Облачный диск", "Cloud disk"),
        "crm-b": ("CRM Б", "CRM B"),
        "vpbx-pro": ("Виртуальная АТС Про", "Virtual PBX Pro"),
        "vpbx-start": ("Виртуальная АТС Старт", "Virtual PBX Start"),
    }
    more: dict[str, dict[str, object]] = {
        "bank-a-rko": {"kind": "partner", "need_group": "bank", "supplier_id": "bank-a"},
        "vpbx-pro": slot,
        "vpbx-start": slot,
    }
    rows = [
        {**known, "offer_id": offer_id, "title_ru": ru, "title_en": en, **more.get(offer_id, {})}
        for offer_id, (ru, en) in titles.items()
    ]
    store.upsert_rows("offers", rows, NOW)
    related = {"recorded_at": THEN, "alternative": 0}
    relations = [
        ("call-recording", "requires", "vpbx-start"),
        ("call-recording", "requires", "vpbx-pro"),
        ("vpbx-start", "upgrades_to", "vpbx-pro"),
    ]
    store.upsert_rows(
        "offer_relations",
        [
            {**related, "offer_id": one, "relation": what, "other_offer_id": two}
            for one, what, two in relations
        ],
        NOW,
    )
    price = {"period": "month", "recorded_at": THEN, "region": None, "size": None}
    prices = {"bank-a-rko": 0, "cloud-disk": 29_000, "vpbx-pro": 149_000, "vpbx-start": 69_000}
    store.upsert_rows(
        "offer_prices",
        [{**price, "offer_id": offer_id, "amount_minor": amount} for offer_id, amount in prices.items()],
        NOW,
    )
    company = {"valid_from": THEN, "recorded_at": THEN, "legal_form": "llc", "industry": "G"}
    store.upsert_rows(
        "clients",
        [
            {**company, "client_id": "c-000123", "region": "77", "size": "small", "name": "ООО «Ромашка»"},
            {**company, "client_id": "c-000124", "region": "16", "size": "micro"},
        ],
        NOW,
    )
    holding = {"holding_id": "h-7", "client_id": "c-000123", "offer_id": "crm-b", "connected_at": THEN}
    store.upsert_rows("holdings", [{**holding, "recorded_at": THEN}], NOW)
    store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    store.rebuild_states(None, NOW)
    store.commit([LogDecisions((shown_decision(),))])


def shown_decision() -> LoggedDecision:
    """The decision of which the example of an event tells."""
    [event] = EventsQuestion.model_config["json_schema_extra"]["examples"][0]["events"]
    return LoggedDecision(
        decision_id=event["decision_id"],
        client_id=event["client_id"],
        member_id=None,
        placement_id="home",
        channel=None,
        occurred_at=datetime.fromisoformat(event["occurred_at"]) - timedelta(minutes=1),
        seed=1,
        policy_version=version_of(POLICY),
        catalogue_version="c",
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded=None,
        basis="population",
        items=orjson.dumps([[event["slot"], event["offer_id"], "new", 1.0, []]]),
        candidates=b"{}",
        request=b"{}",
    )


@pytest.fixture
def operator(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FastAPI, str]]:
    """The app over a filled SQLite store, and the key of an administrator.

    It waits long: what is asked is whether an answer is right, on however busy a machine.
    """
    monkeypatch.setattr(commit_queue, "_SECONDS_TO_COMMIT", 600.0)
    url = f"sqlite:///{tmp_path / 'operator.db'}"
    migrate(url)
    store = SqlStore(url)
    fill(store)
    key, record = new_key(Role.ADMIN, NOW)
    store.add_key(record)
    settings = Settings(bundles_dir=bundles, request_seconds=600, body_seconds=600)
    app = create_app(settings, store, StandingClock())
    # A bundle's version is made of its content: the examples name the one that is there.
    [version] = [path.name for path in bundles.iterdir()]
    document = orjson.dumps(app.openapi()).decode().replace(PARAMETERS["bundle_version"], version)
    app.openapi_schema = orjson.loads(document)
    yield app, key
    store.close()
