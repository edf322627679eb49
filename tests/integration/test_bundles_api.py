"""Bundles over HTTP: published, tried in shadow, promoted, rolled back and pinned while a server answers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from recsys.domain import ClientId, ClientState, Profile, Size
from recsys.errors import StoreUnavailableError
from recsys.models.recommender import Recommender
from serving.app import create_app
from serving.orders import ShadowDecision
from serving.ports import PutClient, Role
from serving.security.keys import new_key
from serving.services.scoring import Scoring
from serving.services.world import BundleScorer, Scored
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OFFERS = ("crm", "disk", "mail", "pbx")
WHY = {"reason": "the plan of March"}
NewBundle = Callable[..., str]


class StandingClock:
    def now(self) -> datetime:
        return NOW


class Desk:
    """Somebody at work with a key of each role."""

    def __init__(self, app: FastAPI, store: MemoryStore, runner: asyncio.Runner) -> None:
        self.app, self.store, self._runner = app, store, runner
        self._keys: dict[Role, str] = {}
        self.key_ids: dict[Role, str] = {}
        for role in (Role.PORTAL, Role.MARKETER, Role.ANALYST, Role.DUTY, Role.ADMIN):
            self._keys[role], record = new_key(role, NOW)
            self.key_ids[role] = record.key_id
            store.add_key(record)
        app.state.doorkeeper.refresh()

    def ask(self, role: Role, method: str, url: str, **what: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {self._keys[role]}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", headers=headers
            ) as client:
                return await client.request(method, url, **what)

        return self._runner.run(send())

    def order(self, url: str, role: Role = Role.DUTY, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = self.ask(role, "POST", f"/v1/bundles{url}", json={**WHY, **body})
        assert answer.status_code == status, answer.text
        self.look()
        return dict(answer.json())

    def refused(self, url: str, status: int, code: str, **body: Any) -> str:
        error = self.order(url, status=status, **body)["error"]
        assert error["code"] == code
        return str(error["message"])

    def look(self) -> None:
        self.app.state.services.scoring.refresh(NOW)

    def stands(self) -> dict[str, Any]:
        return dict(self.ask(Role.MARKETER, "GET", "/v1/bundles").json())

    def shown(self, version: str) -> dict[str, Any]:
        answer = self.ask(Role.ANALYST, "GET", f"/v1/bundles/{version}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ready(self) -> dict[str, Any]:
        return dict(self.ask(Role.PORTAL, "GET", "/ready").json())

    def recommend(self, client_id: str = "acme") -> dict[str, Any]:
        body = {"client_id": client_id, "placements": [{"placement_id": "home", "k": 1}]}
        answer = self.ask(Role.PORTAL, "POST", "/v1/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def served(self) -> tuple[str | None, str]:
        """The version that answers say, and the offer that they show first."""
        answer = self.recommend()
        return answer["versions"]["bundle"], answer["placements"][0]["items"][0]["offer_id"]


@contextmanager
def working(store: MemoryStore, bundles: Path, **more: Any) -> Iterator[Desk]:
    app = create_app(Settings(bundles_dir=bundles, **more), store, StandingClock())
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Desk(app, store, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    rows = [{"offer_id": each, "kind": "own", "recorded_at": NOW} for each in OFFERS]
    store.upsert_rows("offers", rows, NOW)
    for number in range(3):
        store.commit([PutClient(ClientId(f"c-{number}"), Profile(size=Size.MICRO), NOW)])
    store.commit([PutClient(ClientId("acme"), Profile(size=Size.SMALL), NOW)])
    return store


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    folder = tmp_path / "bundles"
    folder.mkdir()
    return folder


@pytest.fixture
def desk(store: MemoryStore, bundles: Path) -> Iterator[Desk]:
    with working(store, bundles) as desk:
        yield desk


@pytest.fixture
def fit(bundles: Path, new_bundle: NewBundle) -> NewBundle:
    def save(favourite: str, **more: Any) -> str:
        return new_bundle(bundles, OFFERS, favourite, **more)

    return save


class TestLife:
    def test_until_one_is_promoted_the_newest_of_the_folder_is_served_and_labelled(
        self, desk: Desk, fit: NewBundle
    ) -> None:
        newest = fit("crm")
        desk.look()
        assert desk.served() == (newest, "crm")
        assert "newest of the folder" in desk.ready()["bundle_by"]
        desk.order("", folder=newest)
        assert desk.served() == (newest, "crm")
        assert desk.stands()["live"] is None
        desk.order(f"/{newest}/promote")
        assert desk.ready()["bundle_by"] == "live by order 2"
        later = fit("mail", name="zz-later")
        desk.look()
        assert desk.served() == (newest, "crm"), f"nobody promoted {later}"

    def test_a_bundle_goes_its_way_and_back(self, desk: Desk, fit: NewBundle) -> None:
        first, second, third = fit("crm"), fit("mail"), fit("pbx")
        for version in (first, second, third):
            said = desk.order("", Role.ANALYST, folder=version)
            assert (said["action"], said["author"], said["reason"]) == (
                "publish",
                desk.key_ids[Role.ANALYST],
                WHY["reason"],
            )
            desk.order(f"/{version}/promote")
        assert desk.served() == (third, "pbx")
        assert {each["version"]: each["status"] for each in desk.stands()["bundles"]} == {
            first: "retired",
            second: "retired",
            third: "live",
        }
        assert desk.order("/roll-back")["version"] == second
        assert desk.served() == (second, "mail")
        assert desk.stands()["before"] == first
        assert desk.order("/roll-back")["judgement"] == f"instead of {second}"
        assert desk.served() == (first, "crm")
        assert "nothing was live before" in desk.refused("/roll-back", 409, "conflict")
        desk.order(f"/{third}/promote")
        assert desk.served() == (third, "pbx")
        assert [order["action"] for order in desk.shown(third)["orders"]] == ["publish", "promote", "promote"]

    def test_a_pinned_bundle_stays_whatever_is_said(self, desk: Desk, fit: NewBundle) -> None:
        first, second = fit("crm"), fit("mail")
        assert "promote one" in desk.refused("/pin", 409, "conflict")
        for version in (first, second):
            desk.order("", folder=version)
            desk.order(f"/{version}/promote")
        desk.order("/pin", reason="the sale of March")
        assert desk.ready()["bundle_by"].endswith(f"pinned by {desk.key_ids[Role.DUTY]}")
        assert desk.shown(second)["is_pinned"]
        for url in (f"/{first}/promote", "/roll-back", "/pin"):
            assert "pinned by" in (said := desk.refused(url, 409, "conflict"))
            assert "the sale of March" in said
        desk.order(f"/{first}/promote", to="shadow")
        assert desk.served() == (second, "mail")
        desk.order("/unpin")
        assert "no bundle is pinned" in desk.refused("/unpin", 409, "conflict")
        desk.order("/roll-back")
        assert desk.served() == (first, "crm")

    def test_who_gave_up_a_candidate_may_publish_it_again(self, desk: Desk, fit: NewBundle) -> None:
        version = fit("crm")
        desk.order("", folder=version)
        assert "published already" in desk.refused("", 409, "conflict", folder=version)
        desk.order(f"/{version}/retire", Role.ANALYST)
        assert "retired already" in desk.refused(f"/{version}/retire", 409, "conflict")
        desk.order("", folder=version)
        desk.order(f"/{version}/promote")
        assert "is live" in desk.refused(f"/{version}/retire", 409, "conflict")
        assert "is live already" in desk.refused(f"/{version}/promote", 409, "conflict")

    def test_versions_may_be_shortened_where_that_is_plain(self, desk: Desk, fit: NewBundle) -> None:
        one, other = fit("crm"), fit("mail", name="other")
        for version in (one, other):
            desk.order("", folder=version)
        assert desk.shown("oth")["version"] == other
        assert "did you mean" in desk.refused(f"/{one[:-1]}x/promote", 404, "unknown_bundle")
        assert desk.ask(Role.DUTY, "GET", "/v1/bundles/nothing-like-it").status_code == 404


class TestRights:
    @pytest.mark.parametrize(
        ("url", "able"),
        [
            ("", {Role.ANALYST, Role.DUTY, Role.ADMIN}),
            ("/x/retire", {Role.ANALYST, Role.DUTY, Role.ADMIN}),
            ("/x/promote", {Role.DUTY, Role.ADMIN}),
            ("/roll-back", {Role.DUTY, Role.ADMIN}),
            ("/pin", {Role.DUTY, Role.ADMIN}),
            ("/unpin", {Role.DUTY, Role.ADMIN}),
        ],
    )
    def test_only_some_may_order(self, desk: Desk, url: str, able: set[Role]) -> None:
        body = {**WHY, "folder": "nothing"} if not url else WHY
        forbidden = {
            role
            for role in desk.key_ids
            if desk.ask(role, "POST", f"/v1/bundles{url}", json=body).status_code == 403
        }
        assert forbidden == set(desk.key_ids) - able

    def test_the_portal_reads_nothing_of_it(self, desk: Desk) -> None:
        for url in ("/v1/bundles", "/v1/bundles/x"):
            assert desk.ask(Role.PORTAL, "GET", url).status_code == 403


class TestWhatCannotBe:
    @pytest.mark.parametrize("folder", ["nothing", "..", ".hidden", "a/b"])
    def test_a_folder_that_is_no_bundle(self, desk: Desk, folder: str) -> None:
        desk.refused("", 422, "invalid_request", folder=folder)
        assert desk.stands()["bundles"] == []

    def test_a_damaged_bundle_is_not_published(self, desk: Desk, fit: NewBundle, bundles: Path) -> None:
        version = fit("crm")
        damage(bundles / version)
        assert "edited or truncated" in desk.refused("", 422, "invalid_request", folder=version)

    def test_a_bundle_that_does_not_score_is_not_published(
        self, desk: Desk, fit: NewBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError("the model is at fault")

        version = fit("crm")
        with monkeypatch.context() as patch:
            patch.setattr(Recommender, "predict", fail)
            answer = desk.ask(Role.DUTY, "POST", "/v1/bundles", json={"folder": version})
        assert answer.status_code == 422
        assert "does not score" in answer.text

    def test_what_changed_since_it_was_published_is_not_promoted(
        self, desk: Desk, fit: NewBundle, bundles: Path
    ) -> None:
        first, second = fit("crm"), fit("mail")
        desk.order("", folder=first)
        shutil.rmtree(bundles / first)
        shutil.copytree(bundles / second, bundles / first)
        assert "was changed since" in desk.refused(f"/{first}/promote", 409, "conflict")
        assert "was changed since" in desk.shown(first)["fault"]

    def test_a_roll_back_to_a_pruned_folder_says_so_and_changes_nothing(
        self, desk: Desk, fit: NewBundle, bundles: Path
    ) -> None:
        first, second = fit("crm"), fit("mail")
        for version in (first, second):
            desk.order("", folder=version)
            desk.order(f"/{version}/promote")
        shutil.rmtree(bundles / first)
        said = desk.refused("/roll-back", 409, "conflict")
        assert first in said
        assert "put its folder back" in said
        assert desk.stands()["live"] == second
        assert desk.served() == (second, "mail")

    def test_of_two_who_promote_at_once_one_is_told(
        self, desk: Desk, fit: NewBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second reads what stands before the first one's order is written."""
        first, second = fit("crm"), fit("mail")
        for version in (first, second):
            desk.order("", folder=version)
        stale = desk.store.bundle_orders()
        desk.order(f"/{first}/promote")
        with monkeypatch.context() as patch:
            patch.setattr(desk.store, "bundle_orders", lambda: stale)
            answer = desk.ask(Role.ADMIN, "POST", f"/v1/bundles/{second}/promote", json=WHY)
        assert answer.status_code == 409
        assert "meanwhile" in answer.json()["error"]["message"]
        assert desk.stands()["live"] == first


class TestGate:
    def test_a_worse_one_is_refused_with_its_numbers_unless_somebody_says_why(
        self, desk: Desk, fit: NewBundle
    ) -> None:
        good, bad = (
            fit("crm", metrics={"ndcg_at_10": 0.4}),
            fit("mail", metrics={"ndcg_at_10": 0.3}),
        )
        for version in (good, bad):
            desk.order("", folder=version)
        assert "nothing is live" not in desk.order(f"/{good}/promote")["judgement"]
        said = desk.refused(f"/{bad}/promote", 409, "conflict")
        assert "ndcg_at_10 0.3 against 0.4" in said
        assert desk.served() == (good, "crm")
        order = desk.order(f"/{bad}/promote", override="the good one leaks")
        assert f"overridden by {desk.key_ids[Role.DUTY]}: the good one leaks" in order["judgement"]
        assert order["warnings"] == [order["judgement"].removesuffix("; not evaluated off-policy")]
        assert desk.served() == (bad, "mail")
        assert "ndcg_at_10 0.4 against 0.3" in desk.order(f"/{good}/promote")["judgement"]

    def test_an_off_policy_run_speaks_for_this_bundle_alone(self, desk: Desk, fit: NewBundle) -> None:
        good, next_one = fit("crm"), fit("mail")
        for version in (good, next_one):
            desk.order("", folder=version)
        desk.order(f"/{good}/promote")

        def run(bundle: str, low: float, high: float) -> dict[str, Any]:
            return {
                "subject": {"policy": "p", "bundle": bundle},
                "unit": "RUB",
                "difference": {"value": (low + high) / 2, "low": low, "high": high},
                "gate": {"says": True},
            }

        url = f"/{next_one}/promote"
        said = desk.refused(url, 422, "invalid_request", off_policy={"figures": run(good, 1, 2)})
        assert "evaluated bundle" in said
        said = desk.refused(url, 409, "conflict", off_policy={"figures": run(next_one, -2, -1)})
        assert "earns less" in said
        assert said.startswith("not promoted: ")
        assert "to promote it all the same" in said
        figures = run(next_one, 1, 2)
        figures["subject"]["live_bundles"] = {next_one: 9}
        order = desk.order(url, off_policy={"figures": figures})
        (warning,) = [each for each in order["warnings"] if "made no part of the run's log" in each]
        assert warning.startswith(f"bundle {good} is live now")
        assert "nothing speaks against it: +1.5" in order["judgement"]

    def test_a_live_one_that_cannot_be_read_lets_nothing_through_in_silence(
        self, desk: Desk, fit: NewBundle, bundles: Path
    ) -> None:
        first, second = fit("crm", metrics={"ndcg_at_10": 0.4}), fit("mail")
        for version in (first, second):
            desk.order("", folder=version)
        desk.order(f"/{first}/promote")
        damage(bundles / first)
        said = desk.refused(f"/{second}/promote", 409, "conflict")
        assert f"the live {first} cannot be read" in said
        assert "edited or truncated" in said
        assert "--override" in said
        order = desk.order(f"/{second}/promote", override="its disk is lost")
        assert "its disk is lost" in order["warnings"][0]
        assert desk.served() == (second, "mail")

    def test_bundles_of_different_targets_are_not_compared(self, desk: Desk, fit: NewBundle) -> None:
        one = fit("crm", metrics={"ndcg_at_10": 0.4})
        other = fit("mail", metrics={"ndcg_at_10": 0.1}, target="acceptance")
        for version in (one, other):
            desk.order("", folder=version)
        desk.order(f"/{one}/promote")
        assert "cannot be compared" in desk.order(f"/{other}/promote")["warnings"][0]


class TestWorkers:
    """What a worker does that cannot load what is live."""

    def test_it_keeps_the_former_one_says_so_once_and_heals(
        self, desk: Desk, fit: NewBundle, bundles: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = fit("crm"), fit("mail")
        for version in (first, second):
            desk.order("", folder=version)
        desk.order(f"/{first}/promote")
        assert desk.ask(Role.DUTY, "POST", f"/v1/bundles/{second}/promote", json=WHY).status_code == 200
        kept = (bundles / second).rename(bundles / ".away")
        for _ in range(3):
            desk.look()
        assert desk.served() == (first, "crm")
        ready = desk.ready()
        assert (ready["status"], ready["bundle"]) == ("degraded", first)
        assert f"bundle {second} should be live" in ready["faults"][0]
        assert f"{first} stays in use" in ready["faults"][0]
        refusals = [record for record in caplog.records if record.getMessage() == "bundle_refused"]
        assert len(refusals) == 1
        kept.rename(bundles / second)
        desk.look()
        assert desk.served() == (second, "mail")
        assert desk.ready()["faults"] == []

    def test_one_that_does_not_score_here_is_not_taken(
        self, desk: Desk, fit: NewBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = fit("crm"), fit("mail")
        for version in (first, second):
            desk.order("", folder=version)
        desk.order(f"/{first}/promote")
        assert desk.ask(Role.DUTY, "POST", f"/v1/bundles/{second}/promote", json=WHY).status_code == 200
        predict = Recommender.predict

        def fail(self: Recommender, clients: Any) -> Any:
            if favourite_of(self) == "mail":
                raise ZeroDivisionError("the model is at fault")
            return predict(self, clients)

        with monkeypatch.context() as patch:
            patch.setattr(Recommender, "predict", fail)
            desk.look()
            assert desk.served() == (first, "crm")
            assert "does not score" in desk.ready()["faults"][0]

    @pytest.mark.parametrize("read", ["client_states", "holder_counts"])
    def test_a_passing_fault_of_the_store_gives_no_bundle_up(
        self,
        store: MemoryStore,
        bundles: Path,
        fit: NewBundle,
        desk: Desk,
        monkeypatch: pytest.MonkeyPatch,
        read: str,
    ) -> None:
        scoring = Scoring(store, bundles, NOW.tzinfo or UTC, cache_size=10)
        scoring.refresh(NOW)
        version = fit("crm")
        desk.order("", folder=version)
        desk.order(f"/{version}/promote")

        def fail(*_: object) -> None:
            raise TimeoutError("every connection is taken")

        with monkeypatch.context() as patch:
            patch.setattr(store, read, fail)
            with pytest.raises(TimeoutError):
                scoring.refresh(NOW)
        scoring.refresh(NOW)
        assert (scoring.world.bundle_version, scoring.source.faults) == (version, ())

    @pytest.mark.parametrize("is_promoted", [True, False])
    def test_one_that_did_not_score_is_tried_again_with_other_offers(
        self,
        store: MemoryStore,
        bundles: Path,
        fit: NewBundle,
        desk: Desk,
        monkeypatch: pytest.MonkeyPatch,
        is_promoted: bool,
    ) -> None:
        version = fit("crm")
        if is_promoted:
            desk.order("", folder=version)
            desk.order(f"/{version}/promote")
        scoring = Scoring(store, bundles, NOW.tzinfo or UTC, cache_size=10)

        def fail(*_: object) -> None:
            raise ZeroDivisionError("the model is at fault")

        with monkeypatch.context() as patch:
            patch.setattr(Recommender, "predict", fail)
            scoring.refresh(NOW)
        scoring.refresh(NOW)
        assert scoring.world.ranking.degraded == "scoring_failed"
        store.upsert_rows("offers", [{"offer_id": "new", "kind": "own", "recorded_at": NOW}], NOW)
        scoring.refresh(NOW)
        assert (scoring.world.bundle_version, scoring.source.faults) == (version, ())

    def test_a_live_one_stays_although_its_folder_is_pruned(
        self, desk: Desk, fit: NewBundle, bundles: Path
    ) -> None:
        version = fit("crm")
        desk.order("", folder=version)
        desk.order(f"/{version}/promote")
        shutil.rmtree(bundles / version)
        desk.look()
        assert desk.served() == (version, "crm")

    def test_a_new_worker_without_the_folder_serves_without_models(
        self, desk: Desk, fit: NewBundle, bundles: Path, store: MemoryStore
    ) -> None:
        version = fit("crm")
        desk.order("", folder=version)
        desk.order(f"/{version}/promote")
        damage(bundles / version)
        with working(store, bundles) as other:
            assert other.recommend()["degraded"] == "bundle_corrupt"
            assert "no other is in use" in other.ready()["faults"][0]

    def test_clients_are_scored_before_the_new_models_answer(self, desk: Desk, fit: NewBundle) -> None:
        first, second = fit("crm"), fit("mail")
        for version in (first, second):
            desk.order("", folder=version)
        desk.order(f"/{first}/promote")
        for client_id in ("c-0", "acme"):
            desk.recommend(client_id)
        desk.order(f"/{second}/promote")
        cache = desk.app.state.services.scoring.world.ranking.cache
        assert cache.n_hits == cache.n_misses == 0
        assert desk.served() == (second, "mail")
        assert (cache.n_hits, cache.n_misses) == (1, 0)

    def test_one_odd_client_keeps_no_models_out(
        self, desk: Desk, fit: NewBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = fit("crm")
        desk.order("", folder=version)
        score = BundleScorer.score

        def fail(self: BundleScorer, state: ClientState, now: datetime) -> Scored:
            if state.client_id == "c-0":
                raise ZeroDivisionError("an odd client")
            return score(self, state, now)

        monkeypatch.setattr(BundleScorer, "score", fail)
        desk.order(f"/{version}/promote")
        assert desk.served() == (version, "crm")

    def test_an_outage_between_two_looks_loses_no_order(
        self, store: MemoryStore, bundles: Path, fit: NewBundle, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = fit("crm")
        desk.order("", folder=version)
        desk.order(f"/{version}/promote")
        scoring = Scoring(store, bundles, NOW.tzinfo or UTC, cache_size=10)

        def fail() -> None:
            raise StoreUnavailableError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(store, "bundle_orders", fail)
            with pytest.raises(StoreUnavailableError):
                scoring.refresh(NOW)
        scoring.refresh(NOW)
        assert scoring.world.bundle_version == version


class TestShadow:
    def test_disagreement_is_kept_and_told_and_nobody_sees_its_lists(
        self, store: MemoryStore, bundles: Path, fit: NewBundle
    ) -> None:
        with working(store, bundles, shadow_share=1.0) as desk:
            live, tried = fit("crm"), fit("mail")
            for version in (live, tried):
                desk.order("", folder=version)
            desk.order(f"/{live}/promote")
            desk.order(f"/{tried}/promote", to="shadow")
            assert desk.ready()["shadow"] == tried
            decided = [desk.recommend(client_id) for client_id in ("acme", "c-0", "c-1")]
            assert {each["versions"]["bundle"] for each in decided} == {live}
            desk.app.state.services.shadow.close()
            kept = [ShadowDecision(**row) for row in store.read_rows("shadow_decisions")]
            assert {each.decision_id for each in kept} == {
                each["placements"][0]["decision_id"] for each in decided
            }
            for each in kept:
                assert (each.bundle_version, each.live_version) == (tried, live)
                assert (each.n_shown, each.n_differing, each.n_candidates) == (1, 1, 4)
                assert each.rank_correlation is not None
                assert -1 <= each.rank_correlation < 1
            shadow = desk.shown(tried)["shadow"]
            assert shadow["against"] == [live]
            assert (shadow["overall"]["n_decisions"], shadow["overall"]["mean_overlap"]) == (3, 0.0)
            assert shadow["worst"] == [], "three decisions say little of a segment"
            desk.order(f"/{tried}/promote")
            assert desk.ready()["shadow"] is None
            counts = desk.app.state.services.measures.snapshot().counts
            assert counts["recsys_shadow_scored_total",] == 3
            assert not [key for key in counts if key[0] == "recsys_shadow_dropped_total"]

    def test_what_comes_too_fast_or_cannot_be_stored_is_counted_and_lost(
        self,
        store: MemoryStore,
        bundles: Path,
        fit: NewBundle,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        is_storing, may_store = Event(), Event()

        def store_slowly(_: object) -> None:
            is_storing.set()
            may_store.wait(60)
            raise StoreUnavailableError("gone")

        monkeypatch.setattr("serving.services.shadow._MAX_WAITING", 2)
        monkeypatch.setattr(store, "put_shadow_decisions", store_slowly)
        with working(store, bundles, shadow_share=1.0) as desk:
            live, tried = fit("crm"), fit("mail")
            for version in (live, tried):
                desk.order("", folder=version)
            desk.order(f"/{live}/promote")
            desk.order(f"/{tried}/promote", to="shadow")
            desk.recommend()
            assert is_storing.wait(60)
            for _ in range(5):
                assert desk.served() == (live, "crm")
            may_store.set()
            desk.app.state.services.shadow.close()
            counts = desk.app.state.services.measures.snapshot().counts
            assert counts["recsys_shadow_dropped_total", "busy"] == 3
            assert counts["recsys_shadow_dropped_total", "failed"] == 3
        told = [record for record in caplog.records if record.getMessage() == "shadow_failed"]
        assert len(told) == 1

    def test_another_one_in_shadow_makes_the_first_a_candidate_again(
        self, desk: Desk, fit: NewBundle
    ) -> None:
        versions = [fit(favourite) for favourite in ("crm", "mail", "pbx")]
        for version in versions:
            desk.order("", folder=version)
        desk.order(f"/{versions[0]}/promote")
        for version in versions[1:]:
            desk.order(f"/{version}/promote", to="shadow")
        statuses = [each["status"] for each in desk.stands()["bundles"]]
        assert statuses == ["live", "candidate", "shadow"]
        assert "shadow already" in desk.refused(f"/{versions[2]}/promote", 409, "conflict", to="shadow")

    def test_one_that_cannot_be_loaded_harms_no_answer(
        self, desk: Desk, fit: NewBundle, bundles: Path
    ) -> None:
        live, tried = fit("crm"), fit("mail")
        for version in (live, tried):
            desk.order("", folder=version)
        desk.order(f"/{live}/promote")
        assert desk.ask(Role.DUTY, "POST", f"/v1/bundles/{tried}/promote", json={"to": "shadow"}).is_success
        damage(bundles / tried)
        desk.look()
        assert desk.served() == (live, "crm")
        assert f"bundle {tried} in shadow cannot be loaded" in desk.ready()["faults"][0]


class TestArms:
    def test_an_arm_asks_for_a_published_bundle_where_any_is(self, desk: Desk, fit: NewBundle) -> None:
        live, arm = fit("crm"), fit("mail")
        desk.order("", folder=live)
        desk.order(f"/{live}/promote")
        drafted = desk.ask(Role.ADMIN, "POST", "/v1/experiments", json=experiment(arm))
        assert any("that was published" in warning for warning in drafted.json()["warnings"])
        refused = desk.ask(Role.ADMIN, "POST", "/v1/experiments/models/start", json={})
        assert refused.status_code == 422, refused.text
        assert "that was published" in refused.json()["error"]["message"]
        desk.order("", folder=arm)
        started = desk.ask(Role.ADMIN, "POST", "/v1/experiments/models/start", json={})
        assert started.is_success, started.text
        desk.look()
        assert desk.ready()["faults"] == []
        served = {desk.recommend(f"c-{number}")["versions"]["bundle"] for number in range(20)}
        assert served == {live, arm}


def experiment(bundle_version: str) -> dict[str, Any]:
    return {
        "experiment_id": "models",
        "title": "New models",
        "hypothesis": "The new models bring more",
        "owner": "anna",
        "arms": [
            {"name": "old", "weight": 0.5},
            {"name": "new", "weight": 0.5, "bundle_version": bundle_version},
        ],
        "primary": {"name": "taken", "measure": "activations"},
        "minimum_effect": 0.1,
        "window_days": 7,
        "is_balanced": False,
    }


def damage(bundle: Path) -> None:
    """Cut a byte off one of its files."""
    path = min(bundle.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1])


def favourite_of(recommender: Recommender) -> str:
    """The offer that most of a bundle's clients hold."""
    counts = recommender.fallback.to_arrays()["n_holders"]
    return recommender.offers.offer_ids[int(counts.argmax())]
