"""Experiments over HTTP: who may, what is refused and its cure, what results say, what stops by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, Profile, Size
from serving.app import create_app
from serving.orders import Assignment, ExperimentOrder, PolicyVersion
from serving.ports import LogDecisions, LoggedDecision, PutClient, Role
from serving.security.keys import new_key
from serving.services.analysis import Analysis
from serving.services.experiment_guard import EVERY, Guard
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
DOCUMENTS = {"placements.yaml": "placements: [{id: home, k: 10}]\n"}
CAPPED = {
    **DOCUMENTS,
    "engagement.yaml": (
        "volume_caps: [{id: mail-leads, offers: [mail], at_most: 50, of: application, per: day}]\n"
    ),
}
POLICY = version_of(DOCUMENTS)
ACTIVE = {"name": "taken", "measure": "activations"}
COMPLAINTS = {"name": "complaints", "measure": "complaints", "higher_is_better": False}


def document(experiment_id: str = "hints", **changes: Any) -> dict[str, Any]:
    return {
        "experiment_id": experiment_id,
        "title": "Short hints",
        "hypothesis": "Less to read is more to take",
        "owner": "anna",
        "arms": [
            {"name": "control", "weight": 0.5},
            {"name": "short", "weight": 0.5, "texts": {"mail": {"ru": "Почта", "en": "Mail"}}},
        ],
        "primary": ACTIVE,
        "minimum_effect": 0.1,
        "window_days": 7,
        **changes,
    }


def decision(decision_id: str, client_id: str) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id,
        client_id=client_id,
        member_id=None,
        placement_id="home",
        channel=None,
        occurred_at=NOW,
        seed=1,
        policy_version=POLICY,
        catalogue_version="c",
        bundle_version=None,
        state_version=1,
        is_personalised=True,
        degraded=None,
        basis="population",
        items=b"[]",
        candidates=b"{}",
        request=b"{}",
    )


class StandingClock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


class Desk:
    """Somebody at work with a key of each role."""

    def __init__(
        self, app: FastAPI, store: MemoryStore, clock: StandingClock, runner: asyncio.Runner
    ) -> None:
        self._app, self._runner = app, runner
        self.store, self.clock = store, clock
        self.key_ids: dict[Role, str] = {}
        self._keys: dict[Role, str] = {}
        for role in Role:
            self._keys[role], record = new_key(role, NOW)
            self.key_ids[role] = record.key_id
            store.add_key(record)
        app.state.doorkeeper.refresh()

    def ask(self, method: str, path: str, body: Any = None, role: Role = Role.MARKETER) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {self._keys[role]}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", headers=headers
            ) as client:
                return await client.request(method, f"/v1{path}", json=body)

        return self._runner.run(send())

    def done(self, method: str, path: str, body: Any = None, role: Role = Role.MARKETER) -> dict[str, Any]:
        response = self.ask(method, path, body, role)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def look(self) -> None:
        """Follow what was ordered, as every worker does twice a second."""
        self._app.state.services.scoring.refresh(self.clock.moment)

    def refused(self, status: int, method: str, path: str, body: Any = None) -> str:
        response = self.ask(method, path, body)
        assert response.status_code == status, response.text
        return str(response.json()["error"]["message"])

    def started(self, experiment_id: str = "hints", **changes: Any) -> dict[str, Any]:
        self.done("POST", "/experiments", document(experiment_id, **changes))
        return self.done("POST", f"/experiments/{experiment_id}/start", {})


def doubts(started: dict[str, Any]) -> list[str]:
    """What is warned of, but that no models are served here."""
    return [text for text in started["warnings"] if "no bundle is in force" not in text]


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    rows = [
        {"offer_id": each, "kind": "own", "recorded_at": NOW, "margin_minor": 100} for each in ("crm", "mail")
    ]
    store.upsert_rows("offers", rows, NOW)
    store.put_policy(PolicyVersion(POLICY, DOCUMENTS, NOW - DAY, NOW - DAY, "test"))
    sizes = (Size.MICRO, Size.SMALL)
    profiles = [
        Profile(size=sizes[n % 2], account_group_id=f"g{n // 2}" if n < 20 else None) for n in range(60)
    ]
    store.commit([PutClient(ClientId(f"c{n:02}"), profile, NOW - DAY) for n, profile in enumerate(profiles)])
    return store


@pytest.fixture
def desk(store: MemoryStore, tmp_path: Path) -> Iterator[Desk]:
    clock = StandingClock()
    app = create_app(Settings(bundles_dir=tmp_path), store, clock)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Desk(app, store, clock, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


class TestLife:
    def test_from_draft_to_decision(self, desk: Desk) -> None:
        draft = desk.done("POST", "/experiments", document())
        assert (draft["status"], draft["author"]) == ("draft", desk.key_ids[Role.MARKETER])
        assert draft["warnings"] == []
        edited = desk.done("PUT", "/experiments/hints", document(title="Shorter hints", coverage=0.2))
        assert (edited["title"], edited["coverage"]) == ("Shorter hints", 0.2)
        started = desk.done("POST", "/experiments/hints/start", {"reason": "as planned"})
        assert (started["status"], started["started_at"]) == ("running", "2026-03-02T09:30:00Z")
        assert desk.done("POST", "/experiments/hints/ramp", {"coverage": 0.6})["coverage"] == 0.6
        desk.clock.moment = NOW + DAY
        stopped = desk.done("POST", "/experiments/hints/stop", {"reason": "enough"}, Role.DUTY)
        assert (stopped["status"], stopped["reason"]) == ("stopped", "enough")
        decided = desk.done(
            "POST", "/experiments/hints/decide", {"winner": "short", "reason": "clearly better"}
        )
        assert (decided["status"], decided["winner"]) == ("decided", "short")
        said = [(order["number"], order["status"], order["reason"]) for order in decided["orders"]]
        assert said == [
            (1, "draft", ""),
            (2, "draft", ""),
            (3, "running", "as planned"),
            (4, "running", ""),
            (5, "stopped", "enough"),
            (6, "decided", "clearly better"),
        ]
        shown = desk.done("GET", "/experiments/hints", role=Role.ANALYST)
        assert shown == {name: value for name, value in decided.items() if name != "warnings"}
        (listed,) = desk.done("GET", "/experiments", role=Role.ANALYST)["experiments"]
        assert listed["experiment_id"] == "hints"
        assert listed["arms"] == ["control", "short"]

    def test_the_document_comes_back_as_it_was(self, desk: Desk) -> None:
        told = document(
            targeting={"all": [{"field": "n_employees", "at_least": 5}, {"field": "size", "is": "micro"}]},
            guardrails=[{"metric": {**COMPLAINTS, "offers": {"kinds": ["own"]}}, "margin": 0.1}],
            planned_end_at="2026-05-01T00:00:00+03:00",
        )
        shown = desk.done("POST", "/experiments", told)["experiment"]
        assert shown["targeting"] == told["targeting"]
        assert shown["planned_end_at"] == "2026-04-30T21:00:00Z"
        again = desk.done("PUT", "/experiments/hints", shown)
        assert again["experiment"] == shown

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/ramp", {"coverage": 0.5}),
            ("/stop", {"reason": "x"}),
            ("/decide", {"reason": "x"}),
        ],
    )
    def test_a_draft_can_only_be_started(self, desk: Desk, path: str, body: dict[str, Any]) -> None:
        desk.done("POST", "/experiments", document())
        assert "start it first" in desk.refused(409, "POST", f"/experiments/hints{path}", body)

    def test_what_runs_is_what_it_was(self, desk: Desk) -> None:
        desk.started()
        assert "stop it" in desk.refused(409, "PUT", "/experiments/hints", document(title="Other"))
        assert "running" in desk.refused(409, "POST", "/experiments/hints/start", {})
        assert "can only grow" in desk.refused(409, "POST", "/experiments/hints/ramp", {"coverage": 0.5})

    def test_an_id_is_used_once(self, desk: Desk) -> None:
        desk.done("POST", "/experiments", document())
        assert "choose another id" in desk.refused(409, "POST", "/experiments", document())

    def test_every_order_is_seen_by_the_workers(self, desk: Desk) -> None:
        before = desk.store.content_version(NOW)
        desk.started()
        assert desk.store.content_version(NOW).experiments == before.experiments + 2


class TestRights:
    @pytest.mark.parametrize("role", [Role.PORTAL, Role.ANALYST, Role.DUTY])
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/experiments", document()),
            ("PUT", "/experiments/hints", document()),
            ("POST", "/experiments/hints/start", {}),
            ("POST", "/experiments/hints/ramp", {"coverage": 1}),
            ("POST", "/experiments/hints/decide", {"reason": "x"}),
            ("PUT", "/holdout", {"share": 0.1}),
        ],
    )
    def test_only_marketers_and_administrators_run_them(
        self, desk: Desk, role: Role, method: str, path: str, body: Any
    ) -> None:
        assert desk.ask(method, path, body, role).status_code == 403

    @pytest.mark.parametrize("path", ["/experiments", "/experiments/x", "/experiments/x/results", "/holdout"])
    def test_the_portal_sees_nothing_of_them(self, desk: Desk, path: str) -> None:
        assert desk.ask("GET", path, role=Role.PORTAL).status_code == 403
        assert desk.ask("GET", path, role=Role.ANALYST).status_code in {200, 404}

    def test_the_portal_and_the_analyst_stop_nothing(self, desk: Desk) -> None:
        for role in (Role.PORTAL, Role.ANALYST):
            assert desk.ask("POST", "/experiments/x/stop", {"reason": "x"}, role).status_code == 403


class TestRefusals:
    def test_an_unknown_experiment_is_named_with_its_likeness(self, desk: Desk) -> None:
        desk.done("POST", "/experiments", document())
        for method, path, body in (
            ("GET", "/experiments/hins", None),
            ("GET", "/experiments/hins/results", None),
            ("PUT", "/experiments/hins", document("hins")),
            ("POST", "/experiments/hins/start", {}),
            ("POST", "/experiments/hins/stop", {"reason": "x"}),
        ):
            assert "did you mean 'hints'?" in desk.refused(404, method, path, body)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"arms": [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 0.6}]}, "1.1, not 1"),
            ({"arms": [{"name": "a", "weight": 1}]}, "2–20 arms"),
            ({"primary": {"name": "x", "measure": "joy"}}, "primary.measure"),
            ({"alfa": 0.1}, "alfa"),
            ({"secondary": [ACTIVE]}, "guardrails: metric 'taken' stands twice"),
            ({"planned_units": 10**40}, "planned_units"),
            ({"coverage": 0}, "coverage"),
            ({"layer_range": [0.5, 0.2]}, "layer_range"),
            ({"experiment_id": "holdout"}, "hold"),
        ],
    )
    def test_a_wrong_document_names_field_and_cure(
        self, desk: Desk, changes: dict[str, Any], said: str
    ) -> None:
        assert said in desk.refused(422, "POST", "/experiments", document(**changes))
        assert desk.done("GET", "/experiments") == {"experiments": [], "unreadable": []}

    def test_the_address_and_the_body_speak_of_one_experiment(self, desk: Desk) -> None:
        assert "'hints' in the body" in desk.refused(422, "PUT", "/experiments/other", document())

    @pytest.mark.parametrize(
        ("arm", "said"),
        [
            ({"policy_version": "abcd1234"}, "arms.1.policy_version: unknown policy 'abcd1234'"),
            ({"bundle_version": "nothing"}, "arms.1.bundle_version"),
            ({"texts": {"mial": {"ru": "П", "en": "M"}}}, "arms.1.texts.mial"),
        ],
    )
    def test_what_an_arm_names_has_to_exist_at_the_start(
        self, desk: Desk, arm: dict[str, Any], said: str
    ) -> None:
        arms = [{"name": "control", "weight": 0.5}, {"name": "other", "weight": 0.5, **arm}]
        draft = desk.done("POST", "/experiments", document(arms=arms))
        assert said in draft["warnings"][0]
        assert said in desk.refused(422, "POST", "/experiments/hints/start", {})
        assert desk.done("GET", "/experiments/hints")["status"] == "draft"

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"placements": ["hom"]}, "placements.0: "),
            ({"targeting": {"segment": "giants"}}, "targeting: "),
            ({"primary": {**ACTIVE, "offers": ["nail"]}}, "offers.offers.0"),
        ],
    )
    def test_every_other_name_too(self, desk: Desk, changes: dict[str, Any], said: str) -> None:
        desk.done("POST", "/experiments", document(**changes))
        assert said in desk.refused(422, "POST", "/experiments/hints/start", {})

    def test_layers_do_not_overlap(self, desk: Desk) -> None:
        desk.started("first", layer="home", layer_range=[0, 0.5])
        desk.done("POST", "/experiments", document("second", layer="home", layer_range=[0.4, 1]))
        assert "overlap in layer 'home'" in desk.refused(409, "POST", "/experiments/second/start", {})
        desk.done("PUT", "/experiments/second", document("second", layer="home", layer_range=[0.5, 1]))
        assert desk.done("POST", "/experiments/second/start", {})["status"] == "running"

    def test_a_draft_says_what_would_keep_it_from_starting(self, desk: Desk) -> None:
        desk.started("first", layer="home", layer_range=[0, 0.5])
        second = document("second", layer="home", layer_range=[0.4, 1])
        created = desk.done("POST", "/experiments", second)["warnings"]
        assert "overlap in layer 'home'" in created[0]
        edited = desk.done("PUT", "/experiments/second", document("second", salt="first"))
        assert "has the salt 'first'" in edited["warnings"][0]
        late = document("second", planned_end_at="2026-03-05T00:00:00Z")
        assert "before the first window" in desk.done("PUT", "/experiments/second", late)["warnings"][0]

    def test_a_ramp_names_who_cannot_enter(self, desk: Desk) -> None:
        desk.started("first")
        desk.started("second", coverage=0.1, planned_units=1000)
        clash, few = desk.done("POST", "/experiments/second/ramp", {"coverage": 0.5})["warnings"]
        assert "'first' runs already" in clash
        assert "at most about 30 enter" in few

    def test_a_decision_while_windows_are_open_is_kept_as_one(self, desk: Desk) -> None:
        desk.started()
        assign(desk.store, ["control", "short"] * 30)
        desk.clock.moment = NOW + DAY
        desk.done("POST", "/experiments/hints/stop", {"reason": "enough"})
        decided = desk.done("POST", "/experiments/hints/decide", {"reason": "no time"})
        assert decided["warnings"] == ["decided while the windows of 60 clients were open"]
        assert decided["reason"] == f"no time ({decided['warnings'][0]})" == decided["orders"][-1]["reason"]

    def test_a_plan_that_cannot_come_out(self, desk: Desk) -> None:
        desk.done("POST", "/experiments", document(planned_end_at="2026-03-05T00:00:00Z"))
        assert "before the first window" in desk.refused(409, "POST", "/experiments/hints/start", {})


class TestStart:
    def test_the_first_digits_of_a_policy_will_do(self, desk: Desk) -> None:
        arms = [
            {"name": "control", "weight": 0.5},
            {"name": "new", "weight": 0.5, "policy_version": POLICY[:6]},
        ]
        started = desk.started(arms=arms)
        assert started["experiment"]["arms"][1]["policy_version"] == POLICY

    def test_what_is_in_force_is_written_into_the_arms(self, desk: Desk) -> None:
        texts = {"mail": {"ru": "П", "en": "M"}}
        arms = [{"name": "control", "weight": 0.5}, {"name": "titled", "weight": 0.5, "texts": texts}]
        started = desk.started(arms=arms)
        assert [arm["policy_version"] for arm in started["experiment"]["arms"]] == [POLICY, POLICY]
        assert [arm["bundle_version"] for arm in started["experiment"]["arms"]] == [None, None]
        assert "arms control, titled: no bundle is in force here" in started["warnings"][0]

    def test_a_bundle_is_looked_for_in_the_folder(self, desk: Desk, tmp_path: Path) -> None:
        (tmp_path / "trees-1").mkdir()
        (tmp_path / "trees-1" / "manifest.json").write_text("{}")
        arms = [
            {"name": "control", "weight": 0.5},
            {"name": "new", "weight": 0.5, "bundle_version": "trees-1"},
        ]
        assert desk.started(arms=arms)["status"] == "running"

    def test_the_salt_of_a_balanced_experiment_is_chosen(self, desk: Desk) -> None:
        started = desk.started(is_balanced=True, n_salts=50, admissible_share=0.2)
        assert started["salt"].startswith("hints/")
        assert started["n_admissible_salts"] >= 10
        assert started["experiment"]["salt"] is None

    def test_too_few_for_the_balance(self, desk: Desk) -> None:
        nobody = {"field": "n_employees", "at_least": 10**6}
        desk.done("POST", "/experiments", document(is_balanced=True, targeting=nobody))
        assert "0 units for 2 arms" in desk.refused(409, "POST", "/experiments/hints/start", {})

    def test_too_few_for_the_plan_is_a_warning(self, desk: Desk) -> None:
        desk.done("PUT", "/holdout", {"share": 0.1})
        (warning,) = doubts(desk.started(planned_units=1000, coverage=0.5))
        assert "at most about 27 enter" in warning

    def test_what_runs_beside_it_is_a_warning(self, desk: Desk) -> None:
        desk.started("first")
        (warning,) = doubts(desk.started("second"))
        assert "'first' runs already" in warning

    def test_shared_capacity_is_a_warning(self, desk: Desk) -> None:
        policy = PolicyVersion(version_of(CAPPED), CAPPED, NOW, NOW, "test")
        desk.store.put_policy(policy)
        (warning,) = doubts(desk.started())
        assert "mail-leads" in warning

    @pytest.mark.parametrize(("n_days", "is_told"), [(1, True), (10, False)])
    def test_a_cap_that_was_never_used_up_is_passed_over(
        self, desk: Desk, n_days: int, is_told: bool
    ) -> None:
        desk.store.put_policy(PolicyVersion(version_of(CAPPED), CAPPED, NOW, NOW, "test"))
        asked = [
            {
                "event_id": f"e{n}",
                "event_type": "application",
                "client_id": "c01",
                "occurred_at": NOW - (n % n_days) * DAY - DAY / 2,
                "recorded_at": NOW,
                "offer_id": "mail",
            }
            for n in range(100)
        ]
        desk.store.upsert_rows("events", asked, NOW)
        assert any("mail-leads" in text for text in desk.started()["warnings"]) is is_told

    def test_forced_ids_that_do_nothing_are_told(self, desk: Desk) -> None:
        forced = dict.fromkeys(("c01", "nobody", "g1", "c30"), "short")
        few = {"field": "n_employees", "at_least": 10**6}
        told = doubts(desk.started(forced=forced, targeting=few, layer="home", layer_range=[0, 0.0001]))
        assert "forced.c01: is a client of account group 'g0'" in told[0]
        assert "forced.nobody: no account group or client without one of this id is stored" in told[1]
        assert "forced.g1: lies outside of the experiment's part of its layer and its targeting" in told[2]

    def test_an_arm_may_name_a_policy_that_was_announced_and_called_off(self, desk: Desk) -> None:
        at = NOW + 10_000 * DAY
        announced = PolicyVersion(version_of(CAPPED), CAPPED, at, NOW, "test")
        desk.store.put_policy(announced)
        desk.store.put_policy(replace(announced, recorded_at=NOW + DAY / 24, is_withdrawal=True))
        arms = [
            {"name": "control", "weight": 0.5},
            {"name": "new", "weight": 0.5, "policy_version": announced.version},
        ]
        assert desk.started(arms=arms)["status"] == "running"

    def test_shared_hours_are_a_warning(self, desk: Desk) -> None:
        desk.store.commit(
            [PutClient(ClientId(f"m{n:02}"), Profile(tags=(f"manager=m{n % 5}",)), NOW) for n in range(100)]
        )
        warnings = doubts(desk.started())
        assert len(warnings) == 4
        assert "the hours of m0" in warnings[0]
        assert "2 more people" in warnings[3]


class TestHoldout:
    def test_it_is_ordered_and_read(self, desk: Desk) -> None:
        none = desk.done("GET", "/holdout", role=Role.ANALYST)
        assert (none["share"], none["author"]) == (0, None)
        said = desk.done("PUT", "/holdout", {"share": 0.05, "reason": "to measure"})
        assert said["author"] == desk.key_ids[Role.MARKETER]
        assert desk.done("GET", "/holdout") == said
        assert desk.done("PUT", "/holdout", {"share": 0.05})["warnings"] == []
        for changed in ({"share": 0.1}, {"share": 0.1, "salt": "other"}):
            (warning,) = desk.done("PUT", "/holdout", changed)["warnings"]
            assert "keeps the side it was on" in warning
        assert desk.done("GET", "/experiments") == {"experiments": [], "unreadable": []}

    @pytest.mark.parametrize("share", [-0.1, 0.6, "much"])
    def test_its_share_has_bounds(self, desk: Desk, share: object) -> None:
        assert "share" in desk.refused(422, "PUT", "/holdout", {"share": share})

    def test_it_is_not_drawn_as_an_experiment_is(self, desk: Desk) -> None:
        desk.started()
        assert "salt" in desk.refused(422, "PUT", "/holdout", {"share": 0.1, "salt": "hints"})


def assigned(n: int, arm: str, at: datetime) -> Assignment:
    return Assignment("hints", f"k{n:04}", f"k{n:04}", arm, at, at, f"d{n}")


def assign(store: MemoryStore, arms: list[str], at: datetime = NOW) -> None:
    assignments = tuple(assigned(n, arm, at) for n, arm in enumerate(arms))
    made = [decision(f"d{n}", each.client_id) for n, each in enumerate(assignments)]
    (result,) = store.commit([LogDecisions(tuple(made), assignments=assignments)])
    assert result is None


class TestResults:
    def test_a_draft_has_none(self, desk: Desk) -> None:
        desk.done("POST", "/experiments", document())
        assert "start it first" in desk.refused(409, "GET", "/experiments/hints/results")

    def test_without_anybody_it_cannot_tell(self, desk: Desk) -> None:
        desk.started()
        found = desk.done("GET", "/experiments/hints/results", role=Role.ANALYST)
        assert [verdict["says"] for verdict in found["verdicts"]] == ["cannot_tell"]
        assert found["alarms"] == []

    def test_windows_that_are_open_are_counted_and_left_out(self, desk: Desk) -> None:
        desk.started()
        assign(desk.store, ["control", "short"] * 30)
        desk.clock.moment = NOW + 3 * DAY
        arms = desk.done("GET", "/experiments/hints/results")["arms"]
        assert [(arm["counts"]["n_open"], arm["counts"]["n_analysed"]) for arm in arms] == [(30, 0), (30, 0)]
        desk.clock.moment = NOW + 7 * DAY
        arms = desk.done("GET", "/experiments/hints/results")["arms"]
        assert [(arm["counts"]["n_open"], arm["counts"]["n_analysed"]) for arm in arms] == [(0, 30), (0, 30)]


def test_the_hold_out_has_results(desk: Desk) -> None:
    assert "its share is 0" in desk.refused(409, "GET", "/holdout/results")
    desk.done("PUT", "/holdout", {"share": 0.2})
    found = desk.done("GET", "/holdout/results", role=Role.ANALYST)
    assert [arm["name"] for arm in found["arms"]] == ["held_out", "treated"]
    assert [verdict["says"] for verdict in found["verdicts"]] == ["cannot_tell"]


def test_who_asks_for_a_list_while_it_runs_is_in_the_results(desk: Desk) -> None:
    desk.started()
    desk.look()
    for n in range(60):
        body = {"client_id": f"c{n:02}", "placements": [{"placement_id": "home", "k": 5}]}
        desk.done("POST", "/recommendations", body, Role.PORTAL)
    desk.clock.moment = NOW + 7 * DAY
    counts = [arm["counts"] for arm in desk.done("GET", "/experiments/hints/results")["arms"]]
    assert sum(each["n_units"] for each in counts) == 50
    assert sum(each["n_clients"] for each in counts) == 60
    assert sum(each["n_analysed"] for each in counts) == 60
    desk.done("POST", "/experiments/hints/stop", {"reason": "enough"})
    desk.look()
    decided = desk.done("POST", "/recommendations", {**body, "client_id": "late"}, Role.PORTAL)
    assert desk.store.client_assignments(ClientId("late")) == ()
    assert decided["placements"][0]["items"]


class TestPlan:
    @pytest.fixture
    def history(self, desk: Desk) -> Desk:
        """2,000 companies, 250 of whom come first in each of eight weeks; every fifth took something."""
        ids = [f"k{n:04}" for n in range(2_000)]
        desk.store.commit([PutClient(ClientId(each), Profile(n_employees=5), NOW - 90 * DAY) for each in ids])
        desk.store.commit(
            [
                LogDecisions(
                    tuple(
                        decision(f"d{n}", each)._replace(occurred_at=NOW - 7 * DAY * (n % 8) - DAY)
                        for n, each in enumerate(ids)
                    )
                )
            ]
        )
        connected = [
            {
                "holding_id": f"h{n}",
                "client_id": each,
                "offer_id": "mail",
                "connected_at": NOW - 2 * DAY,
                "recorded_at": NOW - 2 * DAY,
            }
            for n, each in enumerate(ids)
            if n % 5 == 0
        ]
        desk.store.upsert_rows("holdings", connected, NOW)
        return desk

    def test_a_population_that_is_large_enough(self, history: Desk) -> None:
        targeted = {"field": "n_employees", "at_least": 5}
        found = history.done("POST", "/experiments/plan", document(minimum_effect=0.9, targeting=targeted))
        assert (found["n_clients"], found["baseline"], found["is_enough"]) == (2_000, 0.2, True)
        assert found["units_by_week"] == [250, 500, 750, 1000, 1250, 1500, 1750]
        assert "are enough" in found["verdict"]["en"]
        assert found["weeks_needed"] <= 7
        assert history.done("GET", "/experiments") == {"experiments": [], "unreadable": []}

    def test_one_that_is_too_small_says_so(self, history: Desk) -> None:
        targeted = {"field": "n_employees", "at_least": 5}
        fixed = document(method="fixed", planned_units=2_000, minimum_effect=0.1, targeting=targeted)
        found = history.done("POST", "/experiments/plan", fixed, Role.ANALYST)
        assert found["is_enough"] is False
        # two arms, (z.975 + z.8)² · variance ÷ mean² · (1 + 1.1²) ÷ .1² each
        needed = 2 * (1.95996 + 0.84162) ** 2 * 0.2 * 0.8 / 0.2**2 * (1 + 1.1**2) / 0.1**2
        assert found["units_needed"] == pytest.approx(needed, rel=0.001)
        assert found["weeks_needed"] is None
        assert 0.1 < found["smallest_effect"] < 0.5
        assert "too small" in found["verdict"]["en"]
        assert "мало" in found["verdict"]["ru"]

    def test_who_enters_follows_from_the_document(self, history: Desk) -> None:
        half = document(coverage=0.5, planned_end_at=(NOW + 21 * DAY).isoformat())
        found = history.done("POST", "/experiments/plan", half)
        assert found["n_expected"] == 250  # two weeks bring 500 before the last window has to begin

    def test_without_any_outcome_it_cannot_tell(self, desk: Desk) -> None:
        found = desk.done("POST", "/experiments/plan", document())
        assert (found["n_clients"], found["n_units"]) == (60, 50)
        assert (found["power"], found["is_enough"]) == (None, False)
        assert "Cannot tell" in found["verdict"]["en"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"planned_end_at": (NOW - DAY).isoformat()}, "over by planned_end_at"),
            ({"targeting": {"field": "n_employees", "at_least": 10**6}}, "no client meets the targeting"),
            ({"primary": {**ACTIVE, "measure": "clicks"}}, "did nothing of"),
        ],
    )
    def test_each_cause_of_not_telling_has_its_sentence(
        self, history: Desk, changes: dict[str, Any], said: str
    ) -> None:
        assert said in history.done("POST", "/experiments/plan", document(**changes))["verdict"]["en"]

    def test_an_offer_that_there_is_not_cannot_be_planned(self, history: Desk) -> None:
        wrong = document(primary={**ACTIVE, "offers": ["mial"]})
        assert "did you mean 'mail'" in history.refused(422, "POST", "/experiments/plan", wrong)

    def test_only_those_whose_lists_differ_count(self, history: Desk) -> None:
        all_of_them = history.done("POST", "/experiments/plan", document())
        half = history.done("POST", "/experiments/plan?share_triggered=0.5", document())
        assert "everybody who asks for a list" in all_of_them["verdict"]["en"]
        assert "differ for 50% of those" in half["verdict"]["en"]
        assert half["n_expected"] == all_of_them["n_expected"] // 2
        assert history.refused(422, "POST", "/experiments/plan?share_triggered=0", document())

    def test_the_portal_plans_nothing(self, desk: Desk) -> None:
        assert desk.ask("POST", "/experiments/plan", document(), Role.PORTAL).status_code == 403


class TestGuard:
    def test_arms_that_lack_their_units_stop_the_experiment(self, desk: Desk) -> None:
        desk.started("hints")
        desk.started("fine")
        assign(desk.store, ["control"] * 300 + ["short"] * 100)
        guard = Guard(desk.store, desk.clock, Analysis())
        guard.look()
        stopped = desk.done("GET", "/experiments/hints")
        assert (stopped["status"], stopped["author"]) == ("stopped", "guardrail")
        assert "300" in stopped["reason"]
        assert stopped["orders"][-1]["reason"] == stopped["reason"]
        listed = {each["experiment_id"]: each for each in desk.done("GET", "/experiments")["experiments"]}
        assert (listed["hints"]["author"], listed["fine"]["status"]) == ("guardrail", "running")

    def test_a_breached_guardrail_stops_it(self, desk: Desk) -> None:
        desk.started(guardrails=[{"metric": COMPLAINTS, "margin": 0.1}])
        assign(desk.store, ["control", "short"] * 1000)
        complaints = [
            {
                "event_id": f"e{n}",
                "event_type": "complaint",
                "client_id": f"k{n:04}",
                "occurred_at": NOW + DAY,
                "recorded_at": NOW + DAY,
            }
            for n in range(2000)
            if n % 20 == 0 or n % 2 == 1
        ]
        desk.store.upsert_rows("events", complaints, NOW + DAY)
        desk.clock.moment = NOW + 8 * DAY
        Guard(desk.store, desk.clock, Analysis()).look()
        stopped = desk.done("GET", "/experiments/hints")
        assert (stopped["status"], stopped["author"]) == ("stopped", "guardrail")
        assert "complaints" in stopped["reason"]

    def test_one_worker_looks_every_ten_minutes(self, desk: Desk) -> None:
        desk.started()
        one, other = Guard(desk.store, desk.clock, Analysis()), Guard(desk.store, desk.clock, Analysis())
        for guard in (one, other):
            guard.look()
        assign(desk.store, ["control"] * 300 + ["short"] * 100)
        desk.clock.moment = NOW + 0.9 * EVERY
        for guard in (one, other):
            guard.look()
        assert desk.done("GET", "/experiments/hints")["status"] == "running"
        desk.clock.moment = NOW + EVERY
        for guard in (one, other):
            guard.look()
        shown = desk.done("GET", "/experiments/hints")
        assert [order["status"] for order in shown["orders"]] == ["draft", "running", "stopped"]

    def test_one_that_cannot_be_judged_keeps_no_other_from_it(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk.started("broken")
        desk.started("hints")
        strange = replace(assigned(9_999, "nobody", NOW), experiment_id="broken")
        desk.store.commit([LogDecisions((decision("d-strange", "k9999"),), assignments=(strange,))])
        assign(desk.store, ["control"] * 300 + ["short"] * 100)
        Guard(desk.store, desk.clock, Analysis()).look()
        assert desk.done("GET", "/experiments/hints")["status"] == "stopped"
        assert desk.done("GET", "/experiments/broken")["status"] == "running"
        assert {"guard_failed", "experiment_stopped"} <= {record.message for record in caplog.records}

    def test_the_app_looks_by_itself(self, store: MemoryStore) -> None:
        stopped = threading.Event()

        class Listening(MemoryStore):
            def put_experiment(self, order: ExperimentOrder) -> None:
                super().put_experiment(order)
                if order.author == "guardrail":
                    stopped.set()

        listening = Listening()
        clock = StandingClock()
        for table in ("offers", "clients"):
            listening.upsert_rows(table, list(store.read_rows(table)), NOW)
        with asyncio.Runner() as runner:
            first = create_app(Settings(), listening, clock)
            desk = Desk(first, listening, clock, runner)
            desk.started()
            assign(listening, ["control"] * 300 + ["short"] * 100)
            app = create_app(Settings(), listening, clock)
            lifespan = app.router.lifespan_context(app)
            runner.run(lifespan.__aenter__())
            try:
                assert runner.run(asyncio.to_thread(stopped.wait, 60))
            finally:
                runner.run(lifespan.__aexit__(None, None, None))


def test_an_order_that_this_program_cannot_read_is_listed_and_can_be_stopped(desk: Desk) -> None:
    desk.store.put_experiment(ExperimentOrder("newer", 1, "running", '{"shape": 9}', "x", "", NOW))
    desk.done("POST", "/experiments", document())
    listed = desk.done("GET", "/experiments")
    assert [each["experiment_id"] for each in listed["experiments"]] == ["hints"]
    (unread,) = listed["unreadable"]
    assert (unread["experiment_id"], unread["status"]) == ("newer", "running")
    assert "use the release that wrote it" in unread["cause"]
    assert desk.done("GET", "/experiments/newer") == unread
    assert "another id" in desk.refused(409, "POST", "/experiments", document("newer"))
    assert "cannot be read" in desk.refused(409, "POST", "/experiments/newer/ramp", {"coverage": 1})
    assert desk.done("POST", "/experiments/newer/stop", {"reason": "enough"})["status"] == "stopped"
    last = desk.store.experiment_orders()[-1]
    assert (last.number, orjson.loads(last.document)["shape"]) == (2, 9)
    assert orjson.loads(last.document)["status"] == "stopped"
    assert "stopped" in desk.refused(409, "POST", "/experiments/newer/stop", {"reason": "again"})
