"""`GET /metrics`: right after known requests it tells exactly of these."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from scipy import sparse

from recsys.bundle import Provenance, load_bundle, save_bundle
from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, ClientState, Offer, OfferId, OfferKind, Profile
from recsys.features.builder import FeatureBuilder
from recsys.features.drift import SCORE_NAMES, compared, fit_reference, stability_index
from recsys.features.population import fit_population
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.ease import Ease
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from serving.api.questions import EventQuestion
from serving.app import create_app
from serving.orders import PolicyVersion
from serving.ports import PutClient, Role
from serving.security.keys import new_key
from serving.services.commit_queue import Outage
from serving.services.drift import N_ENOUGH, DriftWatch, drift_figures
from serving.services.services import Services
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.telemetry.budget import FloodGate
from serving.telemetry.logs import JsonFormatter

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THEN = datetime(2026, 2, 1, tzinfo=UTC)
OFFER_IDS = ("crm", "disk", "mail")
POLICY = {"placements.yaml": "placements: [{id: home, k: 2}]\n"}
RECOMMENDATIONS = {"method": "POST", "route": "/v1/recommendations"}


class FixedClock:
    def now(self) -> datetime:
        return NOW


class Caller:
    """Talks to the app with a key of each role."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner, keys: dict[Role, str]) -> None:
        self.app, self._runner, self._keys = app, runner, keys
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1"
        )

    def ask(self, method: str, path: str, role: Role = Role.PORTAL, **what: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._keys[role]}", **what.pop("headers", {})}
        return self._runner.run(self._client.request(method, path, headers=headers, **what))

    def recommend(self, client_id: str = "c-1", **more: Any) -> httpx.Response:
        body = {"client_id": client_id, "placements": [{"placement_id": "home"}]}
        return self.ask("POST", "/v1/recommendations", json=body, **more)

    def figures(self) -> dict[str, float]:
        """Every sample of `/metrics`: ``name{label=value,…}`` → value."""
        answer = self.ask("GET", "/metrics", Role.DUTY)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}"] = sample.value
        return found


def population_reference() -> tuple[tuple[Offer, ...], tuple[ClientState, ...]]:
    offers = tuple(Offer(OfferId(each), OfferKind.OWN) for each in OFFER_IDS)
    states = tuple(ClientState(ClientId(f"c-{n}"), profile=Profile(n_employees=n % 20)) for n in range(200))
    return offers, states


def save_model(folder: Path) -> Path:
    index, demand = OfferIndex(OFFER_IDS), np.eye(3)[np.arange(30) % 3]
    held = sparse.csr_array(demand)
    batch = ClientBatch(held.indptr.astype(np.int64), held.indices.astype(np.int64), ((),) * 30, 3)
    training = TrainingSet(as_of=THEN, offers=index, clients=batch, demand=held)
    rng, line = np.random.default_rng(1), Calibration(np.array([-10.0, 10.0]), np.array([0.01, 0.9]))
    recommender = Recommender(Ease().fit(training, rng), Popularity().fit(training, rng), line, line)
    offers, states = population_reference()
    population = fit_population(states, offers, THEN)
    builder = FeatureBuilder(offers, population)
    rows = np.array([builder.client_row(state, THEN) for state in states])
    probabilities = recommender.predict(ClientBatch.from_states(states, index, THEN, builder)).probabilities
    names = [feature.name for feature in builder.spec.client]
    reference = fit_reference((*names, *SCORE_NAMES), compared(rows, probabilities))
    digests = dict.fromkeys(("config_digest", "data_digest", "code_digest"), "0" * 64)
    provenance = Provenance(
        name="small", created_at=THEN, as_of=THEN, horizon_days=92, seed=1, metrics={}, **digests
    )
    return save_bundle(recommender, provenance, folder, replace(population, reference=reference))


@contextmanager
def running(bundles: Path | None = None, **settings: Any) -> Iterator[Caller]:
    store, keys = MemoryStore(), {}
    rows = [{"offer_id": each, "kind": "own", "recorded_at": THEN} for each in OFFER_IDS]
    store.upsert_rows("offers", rows, THEN)
    store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
    store.commit([PutClient(ClientId(f"c-{n}"), Profile(n_employees=n % 20), THEN) for n in range(40)])
    for role in Role:
        keys[role], record = new_key(role, THEN)
        store.add_key(record)
    app = create_app(Settings(bundles_dir=bundles, **settings), store, FixedClock())
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Caller(app, runner, keys)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"journal_dir": tmp_path / "journal"}


def test_requests_stages_and_fallbacks_are_counted_right(settings: dict[str, Any]) -> None:
    with running(**settings) as caller:
        before = caller.figures()
        for n in range(7):
            assert caller.recommend(f"c-{n}").status_code == 200
        assert caller.ask("POST", "/v1/recommendations", json={"client_id": 3}).status_code == 422
        assert caller.recommend(role=Role.DUTY).status_code == 403
        assert caller.ask("GET", "/v1/clients/c-1").status_code == 200
        assert caller.ask("GET", "/no/such/place").status_code == 404
        found = caller.figures()
    seconds = "recsys_request_seconds_count"
    assert not any("/v1/" in name for name in before)
    assert found[f"{seconds}{{method=POST,route=/v1/recommendations,status=200}}"] == 7
    assert found[f"{seconds}{{method=POST,route=/v1/recommendations,status=422}}"] == 1
    assert found[f"{seconds}{{method=POST,route=/v1/recommendations,status=403}}"] == 1
    assert found[f"{seconds}{{method=GET,route=/v1/clients/{{client_id}},status=200}}"] == 1
    assert found[f"{seconds}{{method=GET,route=unmatched,status=404}}"] == 1
    for stage in ("read", "score", "decide", "write", "commit"):
        assert found[f"recsys_stage_seconds_count{{stage={stage}}}"] == 7
    assert found["recsys_fallbacks_total{cause=no_bundle}"] == 7
    assert found["recsys_workers_wanted{}"] == 1
    assert found["recsys_workers{}"] == found["recsys_ready{}"] == found["recsys_database_up{}"] == 1
    assert found["recsys_requests_in_flight{}"] == 1, "the scrape itself"
    assert found["recsys_commit_queue_length{}"] == found["recsys_draining{}"] == 0
    assert found["recsys_source_age_seconds{source=offers}"] == (NOW - THEN) / timedelta(seconds=1)


def test_models_cache_and_ages_are_told(tmp_path: Path, settings: dict[str, Any]) -> None:
    version = load_bundle(save_model(tmp_path / "bundles")).version
    with running(tmp_path / "bundles", **settings) as caller:
        before = caller.figures()
        for _ in range(3):
            caller.recommend("c-7")
        found = caller.figures()
    hits, misses = "recsys_score_cache_hits_total{}", "recsys_score_cache_misses_total{}"
    assert found[hits] + found[misses] - before[hits] - before[misses] == 3
    assert found[misses] - before[misses] <= 1
    age = (NOW - THEN).total_seconds()
    assert found["recsys_bundle_age_seconds{}"] == found["recsys_bundle_data_age_seconds{}"] == age
    assert found[f"recsys_in_force{{bundle={version},policy={version_of(POLICY)}}}"] == 1


def test_outcomes_are_counted_once_by_models_and_place(tmp_path: Path, settings: dict[str, Any]) -> None:
    version = load_bundle(save_model(tmp_path / "bundles")).version
    with running(tmp_path / "bundles", **settings) as caller:
        shown = caller.recommend("c-1").json()["placements"][0]
        event = {"client_id": "c-1", "decision_id": shown["decision_id"], "occurred_at": NOW.isoformat()}
        seen = [
            {**event, "event_id": "e-1", "event_type": "impression", "slot": 1},
            {**event, "event_id": "e-2", "event_type": "impression", "slot": 2},
            {**event, "event_id": "e-3", "event_type": "click", "slot": 2},
        ]
        for _ in range(2):
            assert caller.ask("POST", "/v1/events", json={"events": seen}).status_code == 200
        found = caller.figures()
    name = "recsys_outcomes_total{bundle=%s,event_type=%s,placement=home}"
    assert found[name % (version, "impression")] == 2
    assert found[name % (version, "click")] == 1
    assert found["recsys_outcomes_uncounted_total{}"] == 0


@pytest.mark.parametrize(
    ("role", "status"), [(role, 200 if role in {Role.DUTY, Role.ADMIN} else 403) for role in Role]
)
def test_figures_are_for_duty_and_admin(role: Role, status: int, settings: dict[str, Any]) -> None:
    with running(**settings) as caller:
        assert caller.ask("GET", "/metrics", role).status_code == status


def test_figures_do_not_wait_for_a_database_that_is_known_to_be_away(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(**settings) as caller:
        services: Services = caller.app.state.services
        shown = caller.recommend("c-1").json()["placements"][0]
        event = {"client_id": "c-1", "decision_id": shown["decision_id"], "occurred_at": NOW.isoformat()}
        click = {**event, "event_id": "e-1", "event_type": "click", "slot": 2}
        asked: list[str] = []
        for name in ("schema_fault", "decision_origins", "source_ages"):
            monkeypatch.setattr(services.store, name, lambda *_, name=name: asked.append(name))
        monkeypatch.setattr(services.commits, "outage", Outage("away", 0.0))
        monkeypatch.setattr(services.commits, "are_reads_away", True)
        services.outcomes.take([EventQuestion(**click).to_event()], [True])
        found = caller.figures()
        assert asked == []
        assert found["recsys_database_up{}"] == 0
        monkeypatch.undo()


def test_a_database_that_hangs_holds_up_no_figures(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.services.services._SECONDS_TO_WAIT", 0.2)
    way_is_free = Flag()
    with running(**settings) as caller:
        services: Services = caller.app.state.services
        shown = caller.recommend("c-1").json()["placements"][0]
        event = {"client_id": "c-1", "decision_id": shown["decision_id"], "occurred_at": NOW.isoformat()}
        click = {**event, "event_id": "e-1", "event_type": "click", "slot": 2}
        origins = services.store.decision_origins

        def hang(decision_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
            way_is_free.wait(30)
            return origins(decision_ids)

        monkeypatch.setattr(services.store, "decision_origins", hang)
        services.outcomes.take([EventQuestion(**click).to_event()], [True])
        found = caller.figures()
        assert found["recsys_database_up{}"] == 0
        assert found["recsys_fallbacks_total{cause=no_bundle}"] == 1
        assert not any(name.startswith("recsys_outcomes_total") for name in found)
        way_is_free.set()
        found = caller.figures()
        assert found["recsys_database_up{}"] == 1
        assert found["recsys_outcomes_total{bundle=none,event_type=click,placement=home}"] == 1


def test_a_server_that_drains_says_so_and_asks_to_close(settings: dict[str, Any]) -> None:
    with running(**settings) as caller:
        assert "connection" not in caller.recommend().headers
        caller.app.state.services.drain.is_draining = True
        answer = caller.ask("GET", "/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        still = caller.recommend()
        assert (still.status_code, still.headers["connection"]) == (200, "close")
        found = caller.figures()
    assert found["recsys_draining{}"] == 1
    assert found["recsys_ready{}"] == 0


def test_a_request_keeps_its_id_where_it_is_harmless(settings: dict[str, Any]) -> None:
    with running(**settings) as caller:
        kept = caller.recommend(headers={"X-Request-ID": "Portal-7.b_c"}).headers["x-request-id"]
        assert kept == "Portal-7.b_c"
        made = {
            caller.recommend(headers={"X-Request-ID": bad}).headers["x-request-id"]
            for bad in ("", "a b", "x" * 65, 'a"b', "<script>")
        }
        made.add(caller.ask("GET", "/health").headers["x-request-id"])
    assert len(made) == 6
    assert all(len(each) < 30 and each.replace("-", "").isalnum() for each in made)


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [
        {**vars(record)["fields"], "level": record.levelname}
        for record in caplog.records
        if record.getMessage() == event
    ]


@pytest.mark.parametrize(("share", "n_told"), [(0.0, 0), (1.0, 1)])
def test_a_sound_request_of_a_busy_path_is_told_by_share(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture, share: float, n_told: int
) -> None:
    caplog.set_level(logging.INFO)
    with running(request_log_share=share, slow_request_seconds=60, **settings) as caller:
        decision_id = caller.recommend().json()["placements"][0]["decision_id"]
        caller.ask("GET", "/ready")
        told = lines(caplog, "request")
        assert [line["decision_ids"] for line in told] == [[decision_id]] * n_told
        caller.recommend(role=Role.DUTY)
        refused = lines(caplog, "request")[-1]
    assert (refused["route"], refused["status"], refused["method"]) == ("/v1/recommendations", 403, "POST")
    assert lines(caplog, "worker_started")
    assert lines(caplog, "worker_stopped") == [{"n_left": 0, "level": "INFO"}]


def test_lines_of_a_request_bear_its_id_and_its_key(settings: dict[str, Any]) -> None:
    handler = _Kept()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("serving")
    logger.addHandler(handler)
    before, _ = logger.level, logger.setLevel(logging.INFO)
    try:
        with running(request_log_share=1.0, **settings) as caller:
            caller.recommend(headers={"X-Request-ID": "r-1"})
            keys = caller._keys.values()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    told = [json.loads(line) for line in handler.lines]
    (line,) = [each for each in told if each["event"] == "request"]
    assert line["request_id"] == "r-1"
    assert line["key_id"]
    assert line["pid"] > 0
    assert not any(key in text for key in keys for text in handler.lines)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def test_a_flood_of_refusals_does_not_flood_the_log(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running(**settings) as caller:
        observer = caller.app.state.observer
        for _ in range(1000):
            observer.end(observer.begin({"headers": []}), "POST", "/v1/recommendations", 401)
        found = caller.figures()
    assert len(lines(caplog, "request")) < 700
    assert found["recsys_request_seconds_count{method=POST,route=/v1/recommendations,status=401}"] == 1000


def test_drift_is_the_formula_over_what_was_sampled(tmp_path: Path, settings: dict[str, Any]) -> None:
    bundle = load_bundle(save_model(tmp_path / "bundles"))
    assert bundle.population is not None
    reference = bundle.population.reference
    assert reference is not None
    with running(tmp_path / "bundles", **settings) as caller:
        services: Services = caller.app.state.services
        caller.recommend("c-3")
        assert caller.figures()[f"recsys_drift_samples{{bundle={bundle.version}}}"] >= 1
        watch, world = DriftWatch(), services.scoring.world
        # everybody has nineteen people now: the last of twenty values, each of which five in a hundred had
        state = ClientState(ClientId("c-19"), version=1, profile=Profile(n_employees=19))
        [(scored, _)] = services.scoring.score_all(world, [state], NOW, [False])
        while sum(watch.bins().get(bundle.version, [[0]])[0]) < N_ENOUGH:
            for _ in range(5):
                watch.take(world, state, NOW, scored)
            watch.count(NOW)
    found = dict(drift_figures(watch.bins(), bundle.version, reference))
    assert found["recsys_drift_samples", bundle.version] >= N_ENOUGH
    place = reference.names.index("n_employees")
    counts = np.array(watch.bins()[bundle.version][place], dtype=np.int64)
    assert counts.max() == counts.sum()
    told = found["recsys_feature_drift_psi", bundle.version, "n_employees"]
    assert told == pytest.approx(stability_index(reference.shares[place], counts))
    assert told > 1
    assert found["recsys_feature_drift_psi", bundle.version, "is_vip"] == pytest.approx(0, abs=0.01)


def test_who_switched_profiling_off_is_no_sample(tmp_path: Path, settings: dict[str, Any]) -> None:
    save_model(tmp_path / "bundles")
    with running(tmp_path / "bundles", **settings) as caller:
        services: Services = caller.app.state.services
        watch, world = DriftWatch(), services.scoring.world
        for profile in (None, Profile(is_profiling_allowed=False)):
            state = ClientState(ClientId("c-1"), version=1, profile=profile)
            [(scored, _)] = services.scoring.score_all(world, [state], NOW, [False])
            watch.take(world, state, NOW, scored)
        watch.count(NOW)
    assert watch.bins() == {}


def test_too_few_samples_tell_no_drift_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    bundle = load_bundle(save_model(tmp_path / "bundles"))
    assert bundle.population is not None
    reference = bundle.population.reference
    assert reference is not None
    few = {bundle.version: [[0] * 11 for _ in reference.names]}
    for row in few[bundle.version]:
        row[1] = N_ENOUGH - 1
    assert drift_figures(few, bundle.version, reference) == [
        (("recsys_drift_samples", bundle.version), N_ENOUGH - 1)
    ]
    watch = DriftWatch()
    watch._counts["b"] = np.ones((1, 11), dtype=np.int64)
    watch.count(NOW)
    assert watch.bins() == {"b": [[1] * 11]}
    watch.count(NOW + timedelta(minutes=61))
    assert watch.bins() == {}


def test_what_strangers_make_a_server_say_does_not_flood_its_log() -> None:
    handler = _Kept()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(FloodGate())
    foreign, own = logging.Logger("uvicorn.error"), logging.Logger("serving")
    for logger in (foreign, own):
        logger.addHandler(handler)
    for _ in range(500):
        foreign.warning("Invalid HTTP request received.")
        own.error("request_failed", exc_info=ValueError("x"))
        own.info("policy_published")
    told = [json.loads(line)["event"] for line in handler.lines]
    assert 10 <= told.count("Invalid HTTP request received.") < 100
    assert 10 <= told.count("request_failed") < 100
    assert told.count("policy_published") == 500


def test_the_line_after_a_flood_says_how_many_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr("serving.telemetry.budget.time.monotonic", lambda: moment[0])
    gate = FloodGate()
    said = [logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "x", None, None) for _ in range(31)]
    assert sum(map(gate.filter, said[:30])) == 10
    moment[0] += 1
    assert gate.filter(said[30])
    assert json.loads(JsonFormatter().format(said[30]))["n_untold"] == 20
