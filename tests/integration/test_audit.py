"""Some hundred decisions over HTTP, of two arms, each made again from what is stored."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import polars as pl
import pytest
from pydantic import TypeAdapter

from recsys.bundle import load_bundle
from recsys.data.state import present
from recsys.decision.availability import Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Decision, decide
from recsys.decision.engine import Engine
from recsys.decision.policy.policy import version_of
from recsys.decision.policy.read import policy_from_documents, read_documents
from recsys.decision.rulebook import NO_RULE
from recsys.decision.situation import Ask, Situation
from recsys.domain import ClientId, ClientState, Language, Profile
from recsys.experiments.experiment import Experiment, Status
from recsys.experiments.life import Standing
from serving.app import create_app
from serving.orders import ExperimentOrder, OfferStop, PolicyVersion
from serving.ports import Role
from serving.security.keys import new_key
from serving.services.load import LoadOptions, load
from serving.services.world import BundleScorer
from serving.settings import Settings
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore
from training.pipelines.fit import fit
from training.pipelines.worlds.simulate import simulate

N_REQUESTS = 120
ROLES = ("administrator", "finance", "employee", None)
PLACEMENTS = """placements:
  - {id: home, k: 6, max_k: 12, max_per_need_group: 1, rotation: 0.2,
     exploration: {kind: softmax, share: 0.4}}
  - {id: banner, k: 2, exploration: {kind: epsilon, share: 0.5, new_offer_share: 0.1}, rotation: 0.05}
  - {id: partners, k: 3, kinds: [partner], max_per_supplier: 2}
"""


@dataclass
class SetClock:
    """A clock that shows what it is set to."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


@dataclass(frozen=True)
class Told:
    """What was decided, and what a replay may look at.

    Attributes:
        store: With the log.
        bundles: Paths of the models, by version.
        states: The states at the time, by client and version.
    """

    store: SqlStore
    bundles: Mapping[str, Path]
    states: Mapping[tuple[str, int], ClientState]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, root_dir: Path) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("audit")
    demo = root_dir / "datasets" / "demo"
    simulate(demo, demo / "worlds" / "small.toml", folder / "data", n_clients=60, n_months=4, seed=7)
    ends_at = pl.read_parquet(folder / "data" / "holdings.parquet")["recorded_at"].max()
    assert isinstance(ends_at, datetime)
    as_of, bundles = f"{ends_at:%Y-%m-%d}", folder / "bundles"
    paths = [
        fit(str(folder / "data"), recipe, as_of, bundles, seed=1).path for recipe in ("popularity", "ease")
    ]
    url = f"sqlite:///{folder / 'audit.db'}"
    migrate(url)
    store = SqlStore(url)
    load(store, folder / "data", ends_at, LoadOptions(is_log_loaded=False))
    documents = {**read_documents(demo), "placements.yaml": PLACEMENTS}
    daily, once = "at_most: 50\n    per: day", "at_most: 1\n    per: month"
    documents["engagement.yaml"] = documents["engagement.yaml"].replace(daily, once)
    del documents["examples.yaml"]
    store.put_policy(PolicyVersion(version_of(documents), documents, ends_at, ends_at, "test"))
    versions = {load_bundle(path).version: path for path in paths}
    order_experiment(store, documents, next(iter(versions)), ends_at)
    settings = Settings(bundles_dir=bundles, time_zone="Europe/Moscow")
    states = make_decisions(store, settings, documents, ends_at)
    yield Told(store, versions, states)
    store.close()


def order_experiment(
    store: SqlStore, documents: Mapping[str, str], bundle_version: str, at: datetime
) -> None:
    """Another policy together with other models, against what is in force."""
    arbitration = documents["arbitration.yaml"].replace("cap: 5", "cap: 2")
    other = {**documents, "arbitration.yaml": arbitration}
    store.put_policy(PolicyVersion(version_of(other), other, at - timedelta(days=1), at, "test"))
    arms = [
        {"name": "control", "weight": 0.6},
        {
            "name": "other",
            "weight": 0.4,
            "policy_version": version_of(other),
            "bundle_version": bundle_version,
        },
    ]
    primary = {"name": "taken", "measure": "activations"}
    texts = {"title": "t", "hypothesis": "h", "owner": "o", "minimum_effect": 0.1, "primary": primary}
    experiment = Experiment.model_validate({"experiment_id": "audited", "arms": arms, **texts})
    standing = Standing(experiment=experiment, status=Status.RUNNING, started_at=at)
    store.put_experiment(
        ExperimentOrder("audited", 1, Status.RUNNING, standing.model_dump_json(), "test", "", at)
    )


def make_decisions(
    store: SqlStore, settings: Settings, documents: Mapping[str, str], begins_at: datetime
) -> dict[tuple[str, int], ClientState]:
    """Ask, tell what followed, change the rules and the catalogue in between; the states that were read."""
    key, record = new_key(Role.ADMIN, begins_at)
    store.add_key(record)
    clock, rng = SetClock(begins_at + timedelta(hours=1)), random.Random(5)  # noqa: S311 -- a fixed seed
    app = create_app(settings, store, clock)
    client_ids = [*(state.client_id for state in store.client_states("", 60)), "stranger-1", "stranger-2"]
    states: dict[tuple[str, int], ClientState] = {}

    async def converse() -> None:
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as portal,
        ):
            for number in range(N_REQUESTS):
                clock.moment += timedelta(minutes=rng.randint(1, 400))
                now = clock.moment
                if number == N_REQUESTS // 3:
                    store.put_offer_stop(OfferStop("dms", True, "prices", "test", now, now))
                if number == N_REQUESTS // 2:
                    arbitration = documents["arbitration.yaml"].replace("cap: 5", "cap: 3")
                    other = {**documents, "arbitration.yaml": arbitration}
                    store.put_policy(PolicyVersion(version_of(other), other, now, now, "test"))
                await asyncio.to_thread(app.state.services.scoring.refresh, now)
                client_id = rng.choice(client_ids)
                state = store.client_state(ClientId(client_id))
                if state is not None:
                    states[client_id, state.version] = state
                response = await portal.post("/v1/recommendations", json=question(client_id, rng))
                assert response.status_code == 200, response.text
                if events := list(what_followed(response.json(), now, rng)):
                    accepted = await portal.post("/v1/events", json={"events": events})
                    assert accepted.status_code == 200, accepted.text

    asyncio.run(converse())
    return states


def question(client_id: str, rng: random.Random) -> dict[str, Any]:
    placements = [{"placement_id": "home", "k": rng.randint(1, 12)}, {"placement_id": "banner"}]
    placements.append({"placement_id": "partners", "k": 2})
    context = {"role": rng.choice(ROLES), "spending_limit_minor": rng.choice([None, None, 50_000])}
    body = {
        "client_id": client_id,
        "member_id": rng.choice(["m-1", "m-2", None]),
        "channel": rng.choice(["web", None]),
        "placements": rng.sample(placements, rng.randint(1, 3)),
        "language": rng.choice(["ru", "en"]),
        "exclude": rng.sample(["crm-lite", "bank-a-rko", "nobody-knows-it"], rng.randint(0, 2)),
        "context": {name: value for name, value in context.items() if value is not None},
    }
    if client_id == "stranger-1":
        body["profile"] = {"size": "small", "region": "MOW", "industry": "G", "tags": ["agency=N"]}
    return body


def what_followed(answer: Mapping[str, Any], now: datetime, rng: random.Random) -> Iterator[dict[str, Any]]:
    for shown in answer["placements"]:
        for item in shown["items"]:
            told = {"client_id": answer["client_id"], "decision_id": shown["decision_id"]}
            told |= {"slot": item["rank"], "occurred_at": now.isoformat()}
            kinds = [
                "impression",
                *rng.choices(["application", "application", "click", "dismissal"], k=rng.random() < 0.4),
            ]
            for kind in kinds:
                name = f"{kind[:4]}-{shown['decision_id']}-{item['rank']}"
                reason = {"reason": "not_now"} if kind == "dismissal" else {}
                yield {**told, "event_id": name, "event_type": kind, **reason}


class Auditor:
    """Makes decisions again, from the log and what it names."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.rows = {row["decision_id"]: row for row in told.store.read_rows("decisions")}
        self.items: dict[str, list[tuple[Any, ...]]] = {decision_id: [] for decision_id in self.rows}
        for item in told.store.read_rows("decision_items"):
            self.items[item["decision_id"]].append(
                (item["slot"], item["offer_id"], item["change"], item["logging_probability"])
            )
        self._documents = {each.version: each.documents for each in told.store.policies()}
        self.engine = cache(self._engine)
        self._scorer = cache(self._aligned)

    def decide_again(self, row: Mapping[str, Any]) -> tuple[Decision, Engine]:
        """The decision of a row, with the lists above it in the same answer."""
        told = orjson.loads(row["request"])
        engine = self.engine(row["policy_version"], row["catalogue_version"], told["time_zone"])
        scorer = self._scorer(row["bundle_version"], row["catalogue_version"])
        state = self._state(row, told)
        is_allowed = state.profile is None or state.profile.is_profiling_allowed
        scored = scorer.score(state, row["occurred_at"]) if is_allowed else scorer.population
        situation = Situation(
            state=state,
            now=row["occurred_at"],
            asks=tuple(
                self._ask(decision_id) for decision_id in (*told.get("above", ()), row["decision_id"])
            ),
            excluded=frozenset(told.get("excluded", ())),
            channel=row["channel"],
            language=Language(told["language"]),
            member_id=row["member_id"],
            role=told.get("role"),
            restrictions=Restrictions(
                used_up_caps=frozenset(told.get("used_up_caps", ())),
                spending_limit_minor=told.get("spending_limit_minor"),
            ),
        )
        return decide(situation, scored.estimate, engine), engine

    def _ask(self, decision_id: str) -> Ask:
        row = self.rows[decision_id]
        return Ask(row["placement_id"], orjson.loads(row["request"])["k"])

    def _state(self, row: Mapping[str, Any], told: Mapping[str, Any]) -> ClientState:
        stored = self._told.states.get((row["client_id"], row["state_version"]))
        if stored is None:
            assert row["state_version"] == 0
        state = ClientState(row["client_id"]) if stored is None else present(stored, row["occurred_at"])
        if "profile" not in told:
            return state
        return replace(state, profile=TypeAdapter(Profile).validate_json(orjson.dumps(told["profile"])))

    def _engine(self, policy: str, catalogue: str, time_zone: str) -> Engine:
        return Engine(
            self._catalogue(catalogue), policy_from_documents(self._documents[policy]), ZoneInfo(time_zone)
        )

    def _aligned(self, bundle: str, catalogue: str) -> BundleScorer:
        return BundleScorer(load_bundle(self._told.bundles[bundle]), self._catalogue(catalogue))

    def _catalogue(self, version: str) -> CompiledCatalogue:
        kept = self._told.store.kept_catalogue(version)
        assert kept is not None
        return CompiledCatalogue(kept.offers, kept.version)


def test_every_decision_is_made_again_from_the_log(told: Told) -> None:
    auditor = Auditor(told)
    assert len(auditor.rows) > N_REQUESTS
    for row in auditor.rows.values():
        decision, engine = auditor.decide_again(row)
        slate, offer_ids = decision.slates[-1], engine.catalogue.offer_ids
        items = [
            (slot.rank, offer_ids[slot.position], slot.change, slot.logging_probability)
            for slot in slate.slots
        ]
        assert items == auditor.items[row["decision_id"]], row
        assert slate.seed == row["seed"]
        logged = orjson.loads(row["candidates"])
        assert [offer_ids[position] for position in slate.candidates.tolist()] == logged["offer_id"]
        refused: dict[int, list[str]] = {}
        for offer_id, number in zip(offer_ids, slate.verdicts.numbers.tolist(), strict=True):
            refused.setdefault(number, []).append(offer_id)
        refused.pop(NO_RULE, None)
        by_rule = [[*engine.book.labels[number], offers] for number, offers in sorted(refused.items())]
        assert by_rule == logged["refused"]


def test_the_log_holds_what_a_replay_is_to_be_tried_on(told: Told) -> None:
    """Chance, caps, another policy, another catalogue, strangers: else the test above would say little."""
    auditor = Auditor(told)
    rows = list(auditor.rows.values())
    assert len({row["policy_version"] for row in rows}) == 3
    assert len({row["bundle_version"] for row in rows}) == 2
    arms = [orjson.loads(row["assignments"])[0][1] if row["assignments"] else None for row in rows]
    assert min(arms.count("control"), arms.count("other")) > len(rows) / 5
    used = {(arm, row["bundle_version"]) for arm, row in zip(arms, rows, strict=True) if arm}
    assert len(used) == 2, "each arm has its models"
    assert len({row["catalogue_version"] for row in rows}) == 2
    assert {row["degraded"] for row in rows} == {None}
    requests = [orjson.loads(row["request"]) for row in rows]
    names = {name for request in requests for name in request}
    assert names == {
        "k",
        "language",
        "time_zone",
        "role",
        "spending_limit_minor",
        "excluded",
        "used_up_caps",
        "profile",
        "above",
    }
    assert max(len(request.get("above", ())) for request in requests) == 2
    drawn = [item[3] for items in auditor.items.values() for item in items]
    assert sum(probability < 1 for probability in drawn) > len(drawn) / 4
    rules = {rule for row in rows for _, rule, _ in orjson.loads(row["candidates"])["refused"]}
    assert {"stopped", "excluded_by_request", "budget_limit", "shown_above", "need_group_cap"} <= rules
