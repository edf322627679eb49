"""Clients in experiments over HTTP: which arm decides, what is logged, what is stored, what harms nobody."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from scipy import sparse

from recsys.bundle import Provenance, load_bundle, save_bundle
from recsys.decision.decide import Decision, decide_all
from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, Profile, Size
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Holdout, Status
from recsys.experiments.life import Standing
from recsys.models.base import ClientBatch, OfferIndex, TrainingSet
from recsys.models.calibration import Calibration
from recsys.models.ease import Ease
from recsys.models.popularity import Popularity
from recsys.models.recommender import Recommender
from serving.app import create_app
from serving.orders import Assignment, ExperimentOrder, PolicyVersion
from serving.ports import LogDecisions, PutClient, Role, Write
from serving.security.keys import new_key
from serving.services.sighting import decide_together
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THEN = datetime(2025, 1, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFFER_IDS = ("bank", "crm", "disk", "mail", "pbx", "sms")
CLIENT_IDS = tuple(f"c-{number}" for number in range(40))
# no two are held by equally many: what breaks a tie is the processor's rounding
OTHERS = ("disk",) * 11 + ("mail",) * 9 + ("pbx",) * 7 + ("bank",) * 6 + ("sms",) * 4 + ("crm",) * 3

HOME = "placements: [{id: home, k: 3, max_k: 10}, {id: banner, k: 2}]\n"
LIVE = {"placements.yaml": HOME}
"""In force: both lists by the models."""
SMS_FIRST = {"placements.yaml": HOME.replace("k: 3,", "k: 3, pins: [{offer: sms, slot: 1}],")}
"""Another list at home, the same on the banner."""
SHORT = {"placements.yaml": "placements: [{id: home, k: 2, max_k: 2}]\n"}
"""A shorter list at home, and no banner."""


def offer_row(offer_id: str) -> dict[str, object]:
    titles = {"title_ru": f"Услуга {offer_id}", "title_en": f"Service {offer_id}"}
    return {"offer_id": offer_id, "kind": "own", "recorded_at": THEN, **titles}


def save_models(folder: Path, name: str, favourite: str, created_at: datetime) -> str:
    """Models of forty clients who all hold the favourite and one other offer; their version."""
    index = OfferIndex(OFFER_IDS)
    demand = np.zeros((40, len(index)))
    for row, other in enumerate(OTHERS):
        demand[row, index.known_columns((favourite, other))] = 1
    held = sparse.csr_array(demand)
    training = TrainingSet(
        as_of=THEN,
        offers=index,
        clients=ClientBatch(
            held.indptr.astype(np.int64),
            held.indices.astype(np.int64),
            tuple(() for _ in range(40)),
            len(index),
        ),
        demand=held,
    )
    rng = np.random.default_rng(1)
    line = Calibration(np.array([-10.0, 10.0]), np.array([0.01, 0.9]))
    recommender = Recommender(Ease().fit(training, rng), Popularity().fit(training, rng), line, line)
    digests = dict.fromkeys(("config_digest", "data_digest", "code_digest"), "0" * 64)
    provenance = Provenance(
        name=name, created_at=created_at, as_of=THEN, horizon_days=92, seed=1, metrics={}, **digests
    )
    return load_bundle(save_bundle(recommender, provenance, folder)).version


class WatchedStore(MemoryStore):
    """Remembers which assignments it was given, and how often it was asked for some."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Assignment] = []
        self.n_asked = 0

    def commit(self, writes: Sequence[Write]) -> Any:
        for write in writes:
            if isinstance(write, LogDecisions):
                self.given += write.assignments
        return super().commit(writes)

    def client_assignments(self, client_id: ClientId) -> tuple[Assignment, ...]:
        self.n_asked += 1
        return super().client_assignments(client_id)


@dataclass
class Moving:
    """A clock that stands still until it is moved."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


@dataclass
class Shop:
    """A service in this process, and what is stored behind it."""

    store: WatchedStore
    bundles: Path
    clock: Moving
    runner: asyncio.Runner
    app: Any
    client: httpx.AsyncClient
    numbers: dict[str, int] = field(default_factory=dict)

    def run(self, standing: Standing) -> None:
        """Order an experiment, in the status that it has, and let the service see it."""
        self.order(standing.experiment.experiment_id, standing.status, standing.model_dump_json())

    def hold_out(self, share: float) -> None:
        self.order(HOLDOUT_ID, Status.RUNNING, Holdout(share=share).model_dump_json())

    def order(self, experiment_id: str, status: Status, document: str) -> None:
        number = self.numbers[experiment_id] = self.numbers.get(experiment_id, 0) + 1
        at = self.clock.now()
        self.store.put_experiment(ExperimentOrder(experiment_id, number, status, document, "test", "", at))
        self.look()

    def look(self) -> None:
        self.app.state.services.scoring.refresh(self.clock.now())

    async def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        return await self.client.post(path, json=body)

    def ask(self, client_id: str, *placements: str, **more: Any) -> dict[str, Any]:
        response = self.runner.run(self.post("/v1/recommendations", question(client_id, *placements, **more)))
        assert response.status_code == 200, response.text
        return dict(response.json())

    def ask_at_once(self, client_ids: Sequence[str]) -> list[dict[str, Any]]:
        async def all_of_them() -> list[httpx.Response]:
            bodies = [question(client_id, "home", "banner") for client_id in client_ids]
            return await asyncio.gather(*[self.post("/v1/recommendations", body) for body in bodies])

        return [response.json() for response in self.runner.run(all_of_them())]

    def explain(self, client_id: str, *placements: str) -> dict[str, Any]:
        response = self.runner.run(self.post("/v1/explanations", question(client_id, *placements)))
        assert response.status_code == 200, response.text
        return dict(response.json())

    def logged(self, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The rows of an answer's lists."""
        rows = {row["decision_id"]: row for row in self.store.read_rows("decisions")}
        return [rows[shown["decision_id"]] for shown in answer["placements"]]

    def arms(self, answer: Mapping[str, Any]) -> list[list[list[Any]]]:
        """What the log says of experiments, for each list."""
        return [orjson.loads(row["assignments"] or b"[]") for row in self.logged(answer)]

    def stored(self, client_id: str) -> dict[str, Assignment]:
        found = MemoryStore.client_assignments(self.store, ClientId(client_id))
        return {each.experiment_id: each for each in found}


def question(client_id: str, *placements: str, **more: Any) -> dict[str, Any]:
    named = [{"placement_id": name} for name in placements or ("home",)]
    return {"client_id": client_id, "placements": named, "language": "en", **more}


def shown(answer: Mapping[str, Any], place: int = 0) -> list[str]:
    return [item["offer_id"] for item in answer["placements"][place]["items"]]


def titles(answer: Mapping[str, Any]) -> list[str]:
    return [item["title"] for item in answer["placements"][0]["items"]]


def experiment(experiment_id: str, *arms: Mapping[str, Any], **more: Any) -> Standing:
    """A running experiment of equal arms, all of its clients in it."""
    told = [{"weight": 1 / len(arms), **arm} for arm in arms]
    primary = {"name": "taken", "measure": "activations"}
    texts = {"title": "t", "hypothesis": "h", "owner": "o", "minimum_effect": 0.1, "primary": primary}
    started_at = more.pop("started_at", THEN)
    document = Experiment(experiment_id=experiment_id, arms=told, **texts, **more)
    coverage = document.coverage
    return Standing(experiment=document, status=Status.RUNNING, started_at=started_at, coverage=coverage)


def policies(experiment_id: str, documents: Mapping[str, str] = SMS_FIRST, **more: Any) -> Standing:
    """The policy in force against another one."""
    new = {"name": "new", "policy_version": version_of(documents)}
    return experiment(experiment_id, {"name": "control"}, new, **more)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_models(folder, "crm-lovers", "crm", THEN)
    return folder


@contextmanager
def opened(bundles: Path) -> Iterator[Shop]:
    store, clock = WatchedStore(), Moving()
    store.upsert_rows("offers", [offer_row(offer_id) for offer_id in OFFER_IDS], NOW)
    for documents in (SMS_FIRST, SHORT, LIVE):
        store.put_policy(PolicyVersion(version_of(documents), dict(documents), THEN, THEN, "test"))
    profiles = [PutClient(ClientId(each), Profile(size=Size.SMALL), THEN) for each in CLIENT_IDS]
    store.commit(profiles)
    holdings = [
        {
            "client_id": client_id,
            "holding_id": f"h-{client_id}",
            "offer_id": OFFER_IDS[number % 3],
            "connected_at": THEN,
            "recorded_at": THEN,
        }
        for number, client_id in enumerate(CLIENT_IDS)
    ]
    store.upsert_rows("holdings", holdings, NOW)
    store.rebuild_states(None, NOW)
    key, record = new_key(Role.ADMIN, NOW)
    store.add_key(record)
    app = create_app(Settings(bundles_dir=bundles), store, clock)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://127.0.0.1",
            headers={"Authorization": f"Bearer {key}"},
        )
        try:
            yield Shop(store, bundles, clock, runner, app, client)
        finally:
            runner.run(client.aclose())
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def shop(models: Path, tmp_path: Path) -> Iterator[Shop]:
    folder = tmp_path / "bundles"
    shutil.copytree(models, folder)
    with opened(folder) as shop:
        yield shop


# Without experiments


def test_where_nothing_runs_nothing_is_asked_and_nothing_is_written(shop: Shop) -> None:
    answer = shop.ask("c-1")
    assert not answer["held_out"]
    assert shop.logged(answer)[0]["assignments"] is None
    assert (shop.store.n_asked, shop.store.given) == (0, [])
    shop.run(policies("pins").model_copy(update={"status": Status.DRAFT}))
    assert shop.app.state.services.scoring.world.trials is None


def test_a_stopped_experiment_decides_nothing_any_more(shop: Shop) -> None:
    running = policies("pins")
    shop.run(running)
    new = next(each for each in CLIENT_IDS if shown(shop.ask(each))[0] == "sms")
    shop.run(running.model_copy(update={"status": Status.STOPPED}))
    answer = shop.ask(new)
    assert shown(answer)[0] != "sms"
    assert shop.arms(answer) == [[]]


# An arm decides


def test_every_client_is_decided_by_its_arm_and_the_log_says_so(shop: Shop) -> None:
    live = {client_id: shown(shop.ask(client_id)) for client_id in CLIENT_IDS}
    shop.run(policies("pins"))
    counts = {"control": 0, "new": 0}
    for client_id in CLIENT_IDS:
        answer = shop.ask(client_id)
        [[[experiment_id, arm, is_triggered]]] = shop.arms(answer)
        counts[arm] += 1
        documents = SMS_FIRST if arm == "new" else LIVE
        assert answer["versions"]["policy"] == version_of(documents)
        assert shop.logged(answer)[0]["policy_version"] == version_of(documents)
        assert (shown(answer)[0] == "sms") if arm == "new" else (shown(answer) == live[client_id])
        assert (experiment_id, is_triggered) == ("pins", True)
        assert shop.stored(client_id)["pins"] == Assignment(
            "pins", client_id, client_id, arm, NOW, NOW, answer["placements"][0]["decision_id"]
        )
    assert min(counts.values()) >= 8, counts


def test_what_is_stored_already_is_not_written_again(shop: Shop) -> None:
    shop.run(policies("pins"))
    first = shop.ask("c-1")
    shop.clock.moment += HOUR
    later = shop.ask("c-1")
    assert shop.arms(later) == shop.arms(first)
    assert len(shop.store.given) == 1


def test_an_experiment_is_triggered_by_the_first_list_that_differs(shop: Shop) -> None:
    """The banner is the same under both policies."""
    shop.run(policies("pins"))
    shop.ask("c-1", "banner")
    assert shop.stored("c-1")["pins"].triggered_at is None
    shop.clock.moment += HOUR
    answer = shop.ask("c-1", "home")
    shop.clock.moment += HOUR
    shop.ask("c-1", "home")
    stored = shop.stored("c-1")["pins"]
    assert (stored.assigned_at, stored.triggered_at) == (NOW, NOW + HOUR)
    assert stored.trigger_decision_id == answer["placements"][0]["decision_id"]
    assert len(shop.store.given) == 2


def test_a_trigger_is_told_of_each_list_by_itself(shop: Shop) -> None:
    shop.run(policies("pins"))
    seen = set()
    for client_id in CLIENT_IDS:
        answer = shop.ask(client_id, "banner", "home")
        are_triggered = tuple(each[0][2] for each in shop.arms(answer))
        seen.add(are_triggered)
        first = are_triggered.index(True) if True in are_triggered else None
        trigger = None if first is None else answer["placements"][first]["decision_id"]
        assert shop.stored(client_id)["pins"].trigger_decision_id == trigger
    assert (False, True) in seen


def test_the_trigger_of_a_client_does_not_depend_on_its_arm(models: Path) -> None:
    """Else the arms' triggered clients would not be alike, and their comparison would mean nothing."""
    found = []
    for arm in ("control", "titled"):
        texts = {"disk": {"ru": "Диск", "en": "A disk"}}
        forced = dict.fromkeys(CLIENT_IDS, arm)
        arms = ({"name": "control"}, {"name": "titled", "texts": texts})
        with opened(models) as shop:
            shop.run(experiment("titles", *arms, forced=forced))
            found.append([shop.arms(shop.ask(client_id, "banner"))[0][0][2] for client_id in CLIENT_IDS])
    assert found[0] == found[1]
    assert set(found[0]) == {True, False}


def test_arms_that_are_the_same_on_purpose_are_triggered_at_once(shop: Shop) -> None:
    """Else an A/A test would have no clients."""
    shop.run(experiment("aa", {"name": "a"}, {"name": "b"}))
    assert shop.arms(shop.ask("c-1"))[0][0][2]


def test_another_title_is_another_list_where_the_offer_is_shown(shop: Shop) -> None:
    texts = {"disk": {"ru": "Диск", "en": "Never lose a file"}}
    shop.run(experiment("titles", {"name": "control"}, {"name": "titled", "texts": texts}))
    seen = set()
    for client_id in CLIENT_IDS:
        answer = shop.ask(client_id, "banner")
        [[[_, arm, is_triggered]]] = shop.arms(answer)
        assert is_triggered == ("disk" in shown(answer))
        if is_triggered:
            assert ("Never lose a file" in titles(answer)) == (arm == "titled")
            assert ("Service disk" in titles(answer)) == (arm == "control")
        seen.add((arm, is_triggered))
    assert len(seen) == 4
    russian = shop.ask("c-3", "home", language="ru")
    assert all(title.startswith("Услуга ") or title == "Диск" for title in titles(russian))


def test_an_arm_with_other_models_is_decided_by_them(shop: Shop) -> None:
    version = save_models(shop.bundles, "sms-lovers", "sms", THEN - HOUR)
    live = shop.app.state.services.scoring.world.bundle_version
    shop.run(experiment("models", {"name": "control"}, {"name": "other", "bundle_version": version}))
    used = set()
    for client_id in CLIENT_IDS[:12]:
        answer = shop.ask(client_id)
        arm = shop.arms(answer)[0][0][1]
        assert answer["versions"]["bundle"] == (version if arm == "other" else live)
        assert answer["degraded"] is None
        used.add(arm)
    assert used == {"control", "other"}


def test_a_list_is_never_refused_because_of_an_arm(shop: Shop) -> None:
    shop.run(policies("short", SHORT, forced={"c-1": "new"}))
    long = {"client_id": "c-1", "placements": [{"placement_id": "home", "k": 5}]}
    answer = shop.runner.run(shop.post("/v1/recommendations", long)).json()
    assert len(shown(answer)) == 2
    assert orjson.loads(shop.logged(answer)[0]["request"])["k"] == 2
    outside = shop.ask("c-1", "home", "banner")
    assert (len(shown(outside)), shop.arms(outside)) == (3, [[], []])
    too_long = {"client_id": "c-1", "placements": [{"placement_id": "home", "k": 11}]}
    assert shop.runner.run(shop.post("/v1/recommendations", too_long)).status_code == 422
    assert shop.runner.run(shop.post("/v1/recommendations", question("c-1", "attic"))).status_code == 404


# Who is in


def test_an_experiment_of_placements_has_the_requests_that_name_one(shop: Shop) -> None:
    shop.run(policies("pins", placements=["home"], forced={"c-1": "new"}))
    assert shop.arms(shop.ask("c-1", "banner")) == [[]]
    both = shop.arms(shop.ask("c-1", "banner", "home"))
    assert [list(map(tuple, each)) for each in both] == [[("pins", "new", False)], [("pins", "new", True)]]


def test_companies_of_one_group_are_in_one_arm(shop: Shop) -> None:
    grouped = [f"g-{number}-{member}" for number in range(8) for member in "ab"]
    for client_id in grouped:
        profile = Profile(account_group_id=client_id.rsplit("-", 1)[0])
        shop.store.commit([PutClient(ClientId(client_id), profile, NOW)])
    shop.run(policies("pins"))
    arms = [shop.arms(shop.ask(client_id))[0][0][1] for client_id in grouped]
    assert arms[::2] == arms[1::2]
    assert set(arms) == {"control", "new"}
    assert shop.stored("g-3-b")["pins"].unit_id == "group:g-3"


def test_who_joins_a_group_whose_side_is_stored_takes_it(shop: Shop) -> None:
    """A larger share draws more groups; of one that was seen before nobody changes the side."""
    groups = [f"g-{number}" for number in range(30)]
    for client_id in (f"{group}-{member}" for group in groups for member in "ab"):
        profile = Profile(account_group_id=client_id.rsplit("-", 1)[0])
        shop.store.commit([PutClient(ClientId(client_id), profile, NOW)])
    shop.hold_out(0.1)
    before = [shop.ask(f"{group}-a")["held_out"] for group in groups]
    shop.hold_out(0.5)
    assert [shop.ask(f"{group}-b")["held_out"] for group in groups] == before
    for client_id in (f"new-{number}" for number in range(30)):
        shop.store.commit([PutClient(ClientId(client_id), Profile(account_group_id=client_id), NOW)])
    assert sum(before) < sum(shop.ask(f"new-{number}")["held_out"] for number in range(30))


def test_a_group_and_a_client_of_one_id_are_two_units(shop: Shop) -> None:
    shop.store.commit([PutClient(ClientId("m-1"), Profile(account_group_id="c-1"), NOW)])
    shop.run(policies("pins"))
    for client_id in ("c-1", "m-1"):
        shop.ask(client_id)
    units = [shop.stored(client_id)["pins"].unit_id for client_id in ("c-1", "m-1")]
    assert units == ["c-1", "group:c-1"]


def test_who_was_shown_an_arm_is_not_forced_into_another(shop: Shop) -> None:
    """It joins a group that is in the experiment by hand."""
    shop.run(policies("pins", forced={"g-1": "new", "g-2": "control"}))
    (arm,) = shop.arms(shop.ask("c-1"))[0]
    for group in ("g-1", "g-2"):
        profile = Profile(size=Size.SMALL, account_group_id=group)
        shop.store.commit([PutClient(ClientId("c-1"), profile, NOW)])
        assert shop.arms(shop.ask("c-1"))[0][0][1] == arm[1]
    assert not shop.stored("c-1")["pins"].is_forced


def test_an_arm_is_decided_by_its_version_whatever_comes_into_force(shop: Shop) -> None:
    texts = {"sms": {"ru": "Смс", "en": "Be read"}}
    held = {"policy_version": version_of(LIVE), "bundle_version": shop.ask("c-0")["versions"]["bundle"]}
    shop.run(experiment("titles", {"name": "control", **held}, {"name": "titled", "texts": texts, **held}))
    before = {client_id: shop.ask(client_id) for client_id in CLIENT_IDS[:10]}
    shop.store.put_policy(PolicyVersion(version_of(SMS_FIRST), SMS_FIRST, NOW, NOW, "test"))
    save_models(shop.bundles, "sms-lovers", "sms", NOW)
    shop.look()
    for client_id, answer in before.items():
        after = shop.ask(client_id)
        for name in ("policy", "bundle"):
            assert after["versions"][name] == answer["versions"][name] == held[f"{name}_version"]
        assert shown(after) == shown(answer)
    shop.run(policies("pins", SHORT))
    found = {shop.ask(client_id)["versions"]["policy"] for client_id in CLIENT_IDS}
    assert found == {version_of(LIVE), version_of(SHORT)}, "what is compared comes before what is held still"


def test_who_is_in_stays_in_its_arm_whatever_becomes_of_it(shop: Shop) -> None:
    """It leaves the targeting, and joins groups that are in either arm."""
    small = {"field": "size", "is": "small"}
    shop.run(policies("pins", targeting=small))
    before = {client_id: shop.arms(shop.ask(client_id)) for client_id in CLIENT_IDS[:8]}
    assert all(each[0] for each in before.values())
    for group in ("g-1", "g-2", "g-3", "g-4"):
        for client_id, arms in before.items():
            profile = Profile(size=Size.LARGE, account_group_id=group)
            shop.store.commit([PutClient(ClientId(client_id), profile, NOW)])
            assert shop.arms(shop.ask(client_id)) == arms
    shop.store.commit([PutClient(ClientId("late"), Profile(size=Size.LARGE), NOW)])
    assert shop.arms(shop.ask("late")) == [[]]


def test_nobody_is_let_in_by_a_condition_that_cannot_be_read(shop: Shop) -> None:
    shop.run(policies("pins", targeting={"segment": "gone-with-its-policy"}))
    assert shop.arms(shop.ask("c-1")) == [[]]


def test_a_share_of_the_units_is_in(shop: Shop) -> None:
    shop.run(policies("pins", coverage=0.5))
    n_in = sum(bool(shop.arms(shop.ask(client_id))[0]) for client_id in CLIENT_IDS)
    assert 8 <= n_in <= 32


def test_forced_units_see_their_arm_and_are_marked(shop: Shop) -> None:
    forced = {"c-1": "new", "c-2": "control"}
    nobody = {"field": "size", "is": "large"}
    shop.run(policies("pins", forced=forced, targeting=nobody))
    assert [shop.arms(shop.ask(each))[0][0][1] for each in forced] == ["new", "control"]
    assert all(shop.stored(each)["pins"].is_forced for each in forced)
    assert shop.arms(shop.ask("c-3")) == [[]]


def test_who_switched_profiling_off_is_in_nothing(shop: Shop) -> None:
    shop.run(policies("pins", forced={"c-1": "new"}))
    shop.hold_out(0.5)
    shop.store.commit([PutClient(ClientId("c-1"), Profile(is_profiling_allowed=False), NOW)])
    answer = shop.ask("c-1")
    assert (shop.arms(answer), answer["held_out"], shop.stored("c-1")) == ([[]], False, {})


def test_an_unknown_client_is_in_as_any_other(shop: Shop) -> None:
    shop.run(policies("pins"))
    answer = shop.ask("stranger", profile={"size": "small"})
    assert not answer["client_known"]
    assert shop.stored("stranger")["pins"].unit_id == "stranger"


# Several experiments


def test_experiments_on_different_things_combine(shop: Shop) -> None:
    version = save_models(shop.bundles, "sms-lovers", "sms", THEN - HOUR)
    texts = {"sms": {"ru": "Смс", "en": "Be read"}}
    shop.run(policies("pins"))
    shop.run(experiment("models", {"name": "control"}, {"name": "other", "bundle_version": version}))
    shop.run(experiment("titles", {"name": "control"}, {"name": "titled", "texts": texts}))
    seen = set()
    for client_id in CLIENT_IDS:
        answer = shop.ask(client_id)
        arms = {name: arm for name, arm, _ in shop.arms(answer)[0]}
        assert list(arms) == ["models", "pins", "titles"]
        assert answer["versions"]["policy"] == version_of(SMS_FIRST if arms["pins"] == "new" else LIVE)
        assert (answer["versions"]["bundle"] == version) == (arms["models"] == "other")
        if "sms" in shown(answer):
            assert ("Be read" in titles(answer)) == (arms["titles"] == "titled")
        seen.add(tuple(arms.values()))
    assert len(seen) == 8


def test_of_two_experiments_on_one_thing_the_first_has_the_client(shop: Shop) -> None:
    shop.run(policies("later", SHORT, started_at=THEN + HOUR))
    shop.run(policies("earlier", coverage=0.5))
    found = {client_id: shop.arms(shop.ask(client_id))[0] for client_id in CLIENT_IDS}
    assert {len(each) for each in found.values()} == {1}
    n_earlier = sum(each[0][0] == "earlier" for each in found.values())
    assert 8 <= n_earlier <= 32
    shop.run(policies("earlier", coverage=1.0))
    again = {client_id: shop.arms(shop.ask(client_id))[0] for client_id in CLIENT_IDS}
    assert again == found, "who was in the later one stays there"
    assert shop.arms(shop.ask("newcomer"))[0][0][0] == "earlier"


def test_experiments_of_one_layer_share_no_client(shop: Shop) -> None:
    """Not even where their units differ, so that the draws of the layer do."""
    texts = {"disk": {"ru": "Диск", "en": "A disk"}}
    shop.run(policies("pins", layer="shop", layer_range=(0, 0.5)))
    arms = ({"name": "control"}, {"name": "titled", "texts": texts})
    shop.run(experiment("titles", *arms, layer="shop", layer_range=(0.5, 1), unit="client"))
    for number, client_id in enumerate(CLIENT_IDS):
        profile = Profile(account_group_id=f"g-{number % 9}")
        shop.store.commit([PutClient(ClientId(client_id), profile, NOW)])
    names = [[each[0] for each in shop.arms(shop.ask(client_id))[0]] for client_id in CLIENT_IDS]
    assert max(map(len, names)) == 1
    assert {name for each in names for name in each} == {"pins", "titles"}


# The hold-out


def test_the_held_out_see_business_as_usual(shop: Shop) -> None:
    lucky = {"placements.yaml": "placements: [{id: home, k: 3, exploration: {kind: epsilon, share: 0.9}}]\n"}
    shop.store.put_policy(PolicyVersion(version_of(lucky), lucky, NOW, NOW, "test"))
    shop.run(policies("pins"))
    shop.hold_out(0.4)
    usual: dict[str, set[tuple[str, ...]]] = {}
    n_held_out = 0
    for number, client_id in enumerate(CLIENT_IDS):
        answer = shop.ask(client_id)
        [row] = shop.logged(answer)
        arms = [tuple(each) for each in orjson.loads(row["assignments"])]
        stored = shop.stored(client_id)[HOLDOUT_ID]
        assert stored.triggered_at == NOW
        if not answer["held_out"]:
            assert (arms[0], stored.arm) == (("holdout", "treated", True), "treated")
            continue
        n_held_out += 1
        assert (arms, stored.arm) == ([("holdout", "held_out", True)], "held_out")
        assert list(shop.stored(client_id)) == [HOLDOUT_ID]
        assert (answer["personalised"], answer["degraded"], answer["versions"]["bundle"]) == (
            False,
            None,
            None,
        )
        assert not row["is_personalised"]
        assert [item["logging_probability"] for item in answer["placements"][0]["items"]] == [1.0] * 3
        usual.setdefault(OFFER_IDS[number % 3], set()).add(tuple(shown(answer)))
    assert 8 <= n_held_out <= 24
    assert all(len(lists) == 1 for lists in usual.values()), "alike for all who hold the same"


def test_the_hold_out_keeps_whom_it_has(shop: Shop) -> None:
    shop.hold_out(0.3)
    before = {client_id: shop.ask(client_id)["held_out"] for client_id in CLIENT_IDS}
    shop.hold_out(0.5)
    assert {client_id: shop.ask(client_id)["held_out"] for client_id in CLIENT_IDS} == before
    shop.hold_out(0)
    answer = shop.ask(next(client_id for client_id, is_held_out in before.items() if is_held_out))
    assert (answer["held_out"], shop.arms(answer)) == (False, [[]])
    assert shop.app.state.services.scoring.world.trials is None


def test_a_stranger_who_tells_its_profile_may_be_held_out(shop: Shop) -> None:
    shop.hold_out(0.5)
    answers = [shop.ask(f"new-{number}", profile={"size": "small"}) for number in range(12)]
    held_out = next(answer for answer in answers if answer["held_out"])
    told = orjson.loads(shop.logged(held_out)[0]["request"])
    assert told["profile"]["size"] == "small"


# What goes wrong


def test_an_arm_without_its_models_is_decided_by_what_is_in_force(shop: Shop) -> None:
    elsewhere = shop.bundles.parent / "elsewhere"
    version = save_models(elsewhere, "sms-lovers", "sms", THEN - HOUR)
    arms = ({"name": "control"}, {"name": "other", "bundle_version": version})
    shop.run(experiment("models", *arms, forced={"c-1": "other", "c-2": "control"}))
    live = shop.app.state.services.scoring.world.bundle_version
    lacking, control = shop.ask("c-1"), shop.ask("c-2")
    assert (lacking["degraded"], control["degraded"]) == ("arm_unavailable", None)
    assert lacking["versions"]["bundle"] == shop.logged(lacking)[0]["bundle_version"] == live
    assert [shop.arms(each)[0][0] for each in (lacking, control)] == [
        ["models", "other", False],
        ["models", "control", False],
    ]
    ready = shop.runner.run(shop.client.get("/ready")).json()
    assert ready["status"] == "degraded"
    assert ready["faults"][0].startswith(f"experiment models, arm other: bundle {version} cannot be had")
    shutil.copytree(elsewhere / version, shop.bundles / version)
    shop.look()
    assert shop.runner.run(shop.client.get("/ready")).json()["faults"] == []
    again = shop.ask("c-1")
    assert (again["degraded"], again["versions"]["bundle"]) == (None, version)


@pytest.mark.parametrize(
    "arm",
    [
        {"policy_version": "0" * 12},
        {"bundle_version": "../elsewhere"},
        {"policy_version": version_of({"contact.yaml": "caps_of_tomorrow: []\n"})},
    ],
    ids=["no such policy", "no bundle", "a policy of tomorrow"],
)
def test_whatever_an_arm_asks_for_clients_get_lists(shop: Shop, arm: Mapping[str, Any]) -> None:
    newer = {"contact.yaml": "caps_of_tomorrow: []\n"}
    shop.store.put_policy(PolicyVersion(version_of(newer), newer, THEN - HOUR, THEN, "test"))
    shop.run(experiment("odd", {"name": "control"}, {"name": "odd", **arm}, forced={"c-1": "odd"}))
    answer = shop.ask("c-1")
    assert (answer["degraded"], len(shown(answer))) == ("arm_unavailable", 3)
    assert shop.arms(answer) == [[["odd", "odd", False]]]


def test_an_order_that_cannot_be_read_runs_nothing(shop: Shop) -> None:
    shop.order("odd", Status.RUNNING, '{"experiment": {"of": "tomorrow"}}')
    shop.run(policies("pins"))
    assert [each[0] for each in shop.arms(shop.ask("c-1"))[0]] == ["pins"]


def test_where_the_policy_of_an_arm_fails_the_present_one_decides(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_new(situations: Any, estimates: Any, engine: Any) -> list[Decision]:
        if engine.policy.version == version_of(SMS_FIRST):
            raise ZeroDivisionError("a fault of the program")
        return decide_all(situations, estimates, engine)

    assert decide_together.__globals__["decide_all"] is decide_all
    monkeypatch.setattr("serving.services.sighting.decide_all", fail_for_new)
    shop.run(policies("pins", forced={"c-1": "new", "c-2": "control"}))
    failed, control = shop.ask_at_once(["c-1", "c-2"])
    assert (failed["degraded"], control["degraded"]) == ("arm_unavailable", None)
    assert failed["versions"]["policy"] == version_of(LIVE)
    assert [shop.arms(each)[0][0] for each in (failed, control)] == [
        ["pins", "new", False],
        ["pins", "control", False],
    ]


# Rounds


def test_clients_who_ask_together_are_decided_as_if_each_were_alone(models: Path) -> None:
    """The law of rounds, with overlapping experiments, a hold-out, and lists that differ."""
    texts = {"disk": {"ru": "Диск", "en": "A disk"}}
    found = []
    for is_together in (False, True):
        with opened(models) as shop:
            shop.run(policies("pins", coverage=0.8))
            shop.run(experiment("titles", {"name": "control"}, {"name": "titled", "texts": texts}))
            shop.hold_out(0.2)
            asked = [*CLIENT_IDS, "stranger"]
            if is_together:
                answers = shop.ask_at_once(asked)
            else:
                answers = [shop.ask(client_id, "home", "banner") for client_id in asked]
            found.append([(without_ids(answer), shop.arms(answer)) for answer in answers])
            assert len(shop.store.given) == len(
                {(each.experiment_id, each.client_id) for each in shop.store.given}
            )
    assert found[0] == found[1]
    arms = {tuple(each[:2]) for _, lists in found[0] for each in lists[0]}
    assert len(arms) == 6


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    placements = [{**each, "decision_id": None} for each in answer["placements"]]
    return {**answer, "placements": placements}


# Why


def test_an_explanation_names_the_arms_and_logs_nothing(shop: Shop) -> None:
    shop.run(policies("pins", forced={"c-1": "new"}))
    told = shop.explain("c-1")
    assert told["assignments"] == [
        {
            "experiment_id": "pins",
            "arm": "new",
            "unit_id": "c-1",
            "is_forced": True,
            "is_different": True,
            "triggered_at": None,
            "lacking": None,
        }
    ]
    assert told["versions"]["policy"] == version_of(SMS_FIRST)
    assert told["placements"][0]["shown"][0]["offer_id"] == "sms"
    assert (shop.store.given, list(shop.store.read_rows("decisions"))) == ([], [])
    assert not shop.explain("c-1", "banner")["assignments"][0]["is_different"]
    shop.ask("c-1")
    assert shop.explain("c-1")["assignments"][0]["triggered_at"] is not None


def test_an_explanation_says_who_is_held_out(shop: Shop) -> None:
    shop.hold_out(0.5)
    told = [shop.explain(client_id) for client_id in CLIENT_IDS[:12]]
    assert {(each["held_out"], each["assignments"][0]["arm"]) for each in told} == {
        (True, "held_out"),
        (False, "treated"),
    }


def test_eligibility_is_that_of_the_arm(shop: Shop) -> None:
    rule = "rules: [{id: no-sms, stage: eligibility, offers: [sms], only_if: {field: size, is: large}}]\n"
    strict = {**LIVE, "engagement.yaml": rule}
    shop.store.put_policy(PolicyVersion(version_of(strict), strict, THEN - HOUR, THEN, "test"))
    shop.run(policies("strict", strict, forced={"c-1": "new", "c-2": "control"}, placements=["home"]))

    def may_have(client_id: str) -> bool:
        body = {"client_id": client_id, "offer_ids": ["sms"]}
        return bool(shop.runner.run(shop.post("/v1/eligibility", body)).json()["offers"][0]["is_eligible"])

    assert (may_have("c-1"), may_have("c-2")) == (False, True)
