"""Policies, stops and announced connections over HTTP: who may, what is told, what decisions then know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, Profile
from serving.app import create_app
from serving.ports import PutClient, Role
from serving.security.keys import new_key
from serving.settings import Settings
from serving.storage.memory import MemoryStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEN = {"placements.yaml": "placements: [{id: home, k: 10}]\n"}
REASON = {"reason": "the partner's form is broken"}
DEEP = "segments:\n  s0: {field: is_vip, is: true}\n" + "".join(
    f"  s{n}: {40 * '{not: '}{{segment: s{n - 1}}}{40 * '}'}\n" for n in range(1, 48)
)
BROKEN = {**TEN, "vip.yaml": "months: 3\nmin_mean_spend: 5\n", "contact.yaml": "caps: [{}]\n"}


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
        self._app, self._clock, self._runner = app, clock, runner
        self._keys: dict[Role, str] = {}
        self.key_ids: dict[Role, str] = {}
        for role in Role:
            self._keys[role], record = new_key(role, NOW)
            self.key_ids[role] = record.key_id
            store.add_key(record)
        app.state.doorkeeper.refresh()

    def ask(self, role: Role, method: str, url: str, **what: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {self._keys[role]}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", headers=headers
            ) as client:
                return await client.request(method, url, **what)

        return self._runner.run(send())

    def at(self, moment: datetime) -> None:
        self._clock.moment = moment
        self._app.state.services.scoring.refresh(moment)

    def shown(self) -> list[str]:
        body = {"client_id": "acme", "placements": [{"placement_id": "home", "k": 5}]}
        answer = self.ask(Role.PORTAL, "POST", "/v1/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        return sorted(item["offer_id"] for item in answer.json()["placements"][0]["items"])


@contextmanager
def working(store: MemoryStore) -> Iterator[Desk]:
    clock = StandingClock()
    app = create_app(Settings(), store, clock)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Desk(app, store, clock, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


@pytest.fixture
def desk() -> Iterator[Desk]:
    store = MemoryStore()
    rows = [{"offer_id": each, "kind": "own", "recorded_at": NOW} for each in ("crm", "mail", "recording")]
    store.upsert_rows("offers", rows, NOW)
    needs = {"offer_id": "recording", "relation": "requires", "other_offer_id": "crm", "alternative": 0}
    store.upsert_rows("offer_relations", [{**needs, "recorded_at": NOW}], NOW)
    store.commit([PutClient(ClientId("acme"), Profile(), NOW)])
    with working(store) as desk:
        yield desk


def failure(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()["error"]
    assert body["code"] == code
    return dict(body)


class TestStops:
    def test_a_stopped_offer_is_offered_to_nobody_until_it_is_resumed(self, desk: Desk) -> None:
        assert desk.shown() == ["crm", "mail"]
        answer = desk.ask(Role.DUTY, "POST", "/v1/offers/mail/stop", json=REASON)
        assert answer.status_code == 200, answer.text
        assert answer.json()["author"] == desk.key_ids[Role.DUTY]
        desk.at(NOW)
        assert desk.shown() == ["crm"]
        offers = desk.ask(Role.ANALYST, "GET", "/v1/offers").json()["offers"]
        assert [each["offer_id"] for each in offers if each["is_stopped"]] == ["mail"]
        assert desk.ask(Role.MARKETER, "POST", "/v1/offers/mail/resume", json=REASON).status_code == 200
        desk.at(NOW)
        assert desk.shown() == ["crm", "mail"]

    def test_an_announced_stop_takes_effect_by_itself(self, desk: Desk) -> None:
        body = {**REASON, "effective_at": (NOW + HOUR).isoformat()}
        assert desk.ask(Role.ADMIN, "POST", "/v1/offers/mail/stop", json=body).status_code == 200
        desk.at(NOW + HOUR - timedelta(seconds=1))
        assert desk.shown() == ["crm", "mail"]
        desk.at(NOW + HOUR)
        assert desk.shown() == ["crm"]

    @pytest.mark.parametrize("role", [Role.PORTAL, Role.ANALYST])
    def test_others_may_not(self, desk: Desk, role: Role) -> None:
        failure(desk.ask(role, "POST", "/v1/offers/mail/stop", json=REASON), 403, "forbidden")

    @pytest.mark.parametrize(
        ("url", "body", "status", "code", "said"),
        [
            ("mial/stop", REASON, 404, "unknown_offer", "did you mean 'mail'?"),
            ("mail/resume", REASON, 409, "conflict", "not stopped"),
            ("mail/stop", {}, 422, "invalid_request", "reason"),
            ("mail/stop", {"reason": ""}, 422, "invalid_request", "reason"),
            ("mail/stop", {**REASON, "effective_at": "2026-03-01T00:00:00Z"}, 422, "invalid_request", "past"),
        ],
    )
    def test_what_cannot_be_is_told(
        self, desk: Desk, url: str, body: dict[str, str], status: int, code: str, said: str
    ) -> None:
        told = failure(desk.ask(Role.DUTY, "POST", f"/v1/offers/{url}", json=body), status, code)
        assert said in told["message"]


class TestPolicies:
    def test_an_off_policy_run_is_judged_as_on_the_command_line(self, desk: Desk) -> None:
        figures = {
            "subject": {"policy": version_of(TEN)},
            "unit": "activations",
            "difference": {"value": -2.0, "low": -3.0, "high": -1.0},
            "gate": {"says": True, "why": []},
        }
        body: dict[str, Any] = {"documents": TEN, "off_policy": {"figures": figures}}
        blocked = desk.ask(Role.MARKETER, "POST", "/v1/policies", json=body)
        assert (blocked.status_code, "earns less" in blocked.text) == (409, True)
        body["off_policy"]["override"] = "the law wants it"
        published = desk.ask(Role.MARKETER, "POST", "/v1/policies", json=body).json()
        assert "the law wants it" in published["note"]
        assert len(published["warnings"]) == 1
        for wrong in ({}, {**figures, "subject": {"policy": "other"}}):
            refused = desk.ask(
                Role.MARKETER,
                "POST",
                "/v1/policies",
                json={"documents": TEN, "off_policy": {"figures": wrong}},
            )
            assert (refused.status_code, "off_policy" in refused.text) == (422, True)

    def test_a_published_policy_is_in_force_and_can_be_read(self, desk: Desk) -> None:
        assert desk.ask(Role.ANALYST, "GET", "/v1/policies").json() == {"in_force": None, "policies": []}
        body: dict[str, Any] = {"documents": TEN, "note": "longer lists"}
        published = desk.ask(Role.MARKETER, "POST", "/v1/policies", json=body)
        assert published.status_code == 200, published.text
        version = published.json()["version"]
        desk.at(NOW)
        assert desk.ask(Role.PORTAL, "GET", "/ready").json()["policy"] == version
        listed = desk.ask(Role.ANALYST, "GET", "/v1/policies").json()
        assert listed["in_force"] == version
        (entry,) = listed["policies"]
        assert (entry["author"], entry["note"]) == (
            desk.key_ids[Role.MARKETER],
            "longer lists · not evaluated off-policy",
        )
        assert entry["documents"] == ["placements.yaml"]
        read = desk.ask(Role.ANALYST, "GET", f"/v1/policies/{version[:8]}")
        assert read.json()["documents"] == TEN
        failure(desk.ask(Role.ANALYST, "GET", "/v1/policies/nothing"), 404, "unknown_policy")

    def test_an_announced_policy_takes_effect_by_itself(self, desk: Desk) -> None:
        body = {"documents": TEN, "effective_at": (NOW + HOUR).isoformat()}
        version = desk.ask(Role.ADMIN, "POST", "/v1/policies", json=body).json()["version"]
        before = desk.ask(Role.PORTAL, "GET", "/ready").json()["policy"]
        desk.at(NOW + HOUR)
        assert desk.ask(Role.PORTAL, "GET", "/ready").json()["policy"] == version != before

    def test_an_announced_policy_is_withdrawn(self, desk: Desk) -> None:
        body = {"documents": TEN, "effective_at": (NOW + HOUR).isoformat()}
        version = desk.ask(Role.MARKETER, "POST", "/v1/policies", json=body).json()["version"]
        url = f"/v1/policies/{version[:6]}/withdraw"
        failure(desk.ask(Role.DUTY, "POST", url, json={}), 403, "forbidden")
        answer = desk.ask(Role.MARKETER, "POST", url, json={"note": "too early"})
        assert answer.status_code == 200, answer.text
        (entry,) = answer.json()["withdrawn"]
        assert (entry["version"], entry["is_withdrawal"], entry["note"]) == (version, True, "too early")
        desk.at(NOW + HOUR)
        assert desk.ask(Role.PORTAL, "GET", "/ready").json()["policy"] != version
        failure(desk.ask(Role.MARKETER, "POST", url, json={}), 409, "conflict")

    def test_what_should_be_looked_at_is_told_when_a_policy_is_published(self, desk: Desk) -> None:
        two = {"placements.yaml": "placements: [{id: home, k: 5}, {id: banner, k: 1}]\n"}
        first = desk.ask(Role.ADMIN, "POST", "/v1/policies", json={"documents": two}).json()
        assert first["warnings"] == []
        segments = {"engagement.yaml": "segments: {vip: {field: is_vip, is: true}}\n"}
        second = desk.ask(Role.ADMIN, "POST", "/v1/policies", json={"documents": {**TEN, **segments}})
        dropped, unused = second.json()["warnings"]
        assert "placement 'banner' of the policy before it is gone" in dropped
        assert unused.startswith("engagement.yaml:1: segment 'vip' is used nowhere")

    def test_faults_are_named_and_the_old_policy_stays(self, desk: Desk) -> None:
        version = desk.ask(Role.ADMIN, "POST", "/v1/policies", json={"documents": TEN}).json()["version"]
        told = failure(
            desk.ask(Role.MARKETER, "POST", "/v1/policies", json={"documents": BROKEN}), 422, "invalid_policy"
        )
        faults = told["details"]["faults"]
        assert "vip.yaml:2: unknown field 'min_mean_spend'; did you mean 'min_mean_spend_minor'?" in faults
        assert all(fault.split(":")[0] in BROKEN for fault in faults)
        assert desk.ask(Role.ANALYST, "GET", "/v1/policies").json()["in_force"] == version

    @pytest.mark.parametrize(
        ("documents", "said"),
        [
            ({"rules.yaml": "a"}, "rules.yaml: is no document of a policy"),
            ({"arbitration.yaml": "levers: {offers: {mial: 5}}\n"}, "mail"),
            ({"engagement.yaml": DEEP}, "engagement.yaml:5: segment 's3' unfolds to 124 conditions"),
        ],
    )
    def test_mistakes_are_faults(self, desk: Desk, documents: dict[str, str], said: str) -> None:
        answer = desk.ask(Role.ADMIN, "POST", "/v1/policies", json={"documents": documents})
        assert said in failure(answer, 422, "invalid_policy")["details"]["faults"][0]

    @pytest.mark.parametrize("role", [Role.PORTAL, Role.ANALYST, Role.DUTY])
    def test_others_may_not_publish(self, desk: Desk, role: Role) -> None:
        failure(desk.ask(role, "POST", "/v1/policies", json={"documents": TEN}), 403, "forbidden")

    def test_a_portal_does_not_read_them(self, desk: Desk) -> None:
        failure(desk.ask(Role.PORTAL, "GET", "/v1/policies"), 403, "forbidden")


def test_a_connection_at_a_chosen_time_counts_from_that_time_on(desk: Desk) -> None:
    holding = {"client_id": "acme", "holding_id": "h-1", "offer_id": "crm"}
    body = {"holdings": [{**holding, "connected_at": (NOW + HOUR).isoformat()}]}
    answer = desk.ask(Role.PORTAL, "POST", "/v1/holdings", json=body)
    assert answer.status_code == 200, answer.text
    desk.at(NOW + HOUR - timedelta(seconds=1))
    assert desk.shown() == ["crm", "mail"]
    desk.at(NOW + HOUR)
    assert desk.shown() == ["mail", "recording"]
