"""Who may do what: one readable table, held against every route that the app has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts

from serving.accounts import Role
from serving.app import create_app
from serving.security.keys import new_key
from serving.settings import Settings
from serving.storage.memory import MemoryStore

from .conftest import FOREIGN, MEMBER, NOW, OWN, Service, console_settings, filled_store, running

# Right of each route. Words are roles; `member` is the browser of a member, for its own client alone.
# `public`: anybody. `page`: whoever is logged in to the console. `form`: the same, with the form's token.
# `loopback`: the demo portal, which answers on this machine only.
RIGHTS = """
GET  /openapi.json                                   public
GET  /health                                         public
GET  /ready                                          public
GET  /metrics                                        duty admin
POST /v1/recommendations                             portal admin member
POST /v1/events                                      portal admin member
POST /v1/explanations                                marketer analyst duty admin
POST /v1/eligibility                                 portal marketer analyst duty admin
PUT  /v1/clients/{client_id}                         portal admin
GET  /v1/clients/{client_id}                         portal marketer analyst duty admin
GET  /v1/clients/{client_id}/features                portal marketer analyst duty admin
POST /v1/holdings                                    portal admin
POST /v1/client-months                               portal admin
GET  /v1/offers                                      portal marketer analyst duty admin
POST /v1/offers/{offer_id}/stop                      marketer duty admin
POST /v1/offers/{offer_id}/resume                    marketer duty admin
GET  /v1/policies                                    marketer analyst duty admin
GET  /v1/policies/{version}                          marketer analyst duty admin
POST /v1/policies                                    marketer admin
POST /v1/policies/{version}/withdraw                 marketer admin
POST /v1/experiments                                 marketer admin
PUT  /v1/experiments/{experiment_id}                 marketer admin
POST /v1/experiments/plan                            marketer analyst duty admin
GET  /v1/experiments                                 marketer analyst duty admin
GET  /v1/experiments/{experiment_id}                 marketer analyst duty admin
GET  /v1/experiments/{experiment_id}/results         marketer analyst duty admin
POST /v1/experiments/{experiment_id}/start           marketer admin
POST /v1/experiments/{experiment_id}/ramp            marketer admin
POST /v1/experiments/{experiment_id}/stop            marketer duty admin
POST /v1/experiments/{experiment_id}/decide          marketer admin
GET  /v1/holdout                                     marketer analyst duty admin
GET  /v1/holdout/results                             marketer analyst duty admin
PUT  /v1/holdout                                     marketer admin
GET  /v1/bundles                                     marketer analyst duty admin
GET  /v1/bundles/{bundle_version}                    marketer analyst duty admin
POST /v1/bundles                                     analyst duty admin
POST /v1/bundles/{bundle_version}/retire             analyst duty admin
POST /v1/bundles/{bundle_version}/promote            duty admin
POST /v1/bundles/roll-back                           duty admin
POST /v1/bundles/pin                                 duty admin
POST /v1/bundles/unpin                               duty admin
GET  /                                               public
GET  /portal/                                        public
GET  /portal/static/{name}                           public
GET  /portal/api/examples                            loopback
GET  /portal/api/clients                             loopback
POST /portal/api/views                               loopback
POST /portal/api/explanations                        loopback
POST /portal/api/events                              loopback
POST /portal/api/connections                         loopback
POST /portal/api/renewals                            loopback
POST /portal/api/expansions                          loopback
POST /portal/api/applications                        loopback
PUT  /portal/api/clients/{client_id}/profiling       loopback
GET  /console                                        public
GET  /console/                                       page
GET  /console/login                                  public
POST /console/login                                  form
GET  /console/sign-on                                public
GET  /console/signed-on                              public
GET  /console/static/{name}                          public
GET  /console/password                               page
POST /console/password                               form
POST /console/logout                                 form
POST /console/logout-everywhere                      form
"""
EXPECTED = {
    (method, path): frozenset(words) for method, path, *words in map(str.split, RIGHTS.strip().splitlines())
}
KEYED = [route for route, words in EXPECTED.items() if words <= {*Role, "member"}]
UNKEYED = [route for route in EXPECTED if route not in KEYED]
OWN_BODIES: dict[str, dict[str, Any]] = {
    "/v1/recommendations": {"client_id": OWN, "placements": [{"placement_id": "home"}]},
    "/v1/events": {
        "events": [
            {
                "event_id": "e-1",
                "event_type": "complaint",
                "client_id": OWN,
                "occurred_at": NOW.isoformat(),
            }
        ]
    },
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, password_hash: str) -> Iterator[Service]:
    """A service with every page that there is."""
    settings = console_settings(
        tmp_path_factory.mktemp("journal"), is_portal_enabled=True, member_token_requests_per_second=0
    )
    with running(settings, filled_store(password_hash)) as service:
        yield service


def new_app(folder: Path) -> FastAPI:
    settings = Settings(is_portal_enabled=True, is_console_enabled=True, journal_dir=folder)
    return create_app(settings, MemoryStore())


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method, str(route.path))
        for route in iter_route_contexts(app.routes)
        for method in route.methods or ()
        if method != "HEAD"
    }


def test_the_table_names_every_route_there_is_and_no_other(tmp_path: Path) -> None:
    assert set(EXPECTED) == routes_of(new_app(tmp_path))


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_route_that_nobody_wrote_down_is_noticed(tmp_path: Path, *, is_nested: bool) -> None:
    app, router = new_app(tmp_path), APIRouter(prefix="/v1")
    place = router if is_nested else app
    place.add_api_route("/all-clients" if is_nested else "/v1/all-clients", lambda: None, methods=["GET"])
    if is_nested:
        app.include_router(router)
    assert routes_of(app) - set(EXPECTED) == {("GET", "/v1/all-clients")}


@pytest.mark.parametrize("path", ["/v1/offers/", "/health/", "/console/login/"])
def test_another_address_leads_nowhere(everything: Service, path: str) -> None:
    answer = everything.ask("GET", path, headers={"Host": "elsewhere.test"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


def ask(service: Service, route: tuple[str, str], credential: str | None, body: Any = None) -> int:
    method, path = route
    for name in ("client_id", "offer_id", "version", "bundle_version", "experiment_id"):
        path = path.replace(f"{{{name}}}", OWN if name == "client_id" else "nothing")
    what = {} if method == "GET" else {"json": {} if body is None else body}
    return service.ask(method, path, credential, **what).status_code


@pytest.mark.parametrize("route", KEYED, ids=" ".join)
@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_what_the_table_says(
    everything: Service, route: tuple[str, str], role: Role
) -> None:
    status = ask(everything, route, everything.keys[role])
    if role in EXPECTED[route]:
        # What is asked for is not there, or the question is empty: that is told to whoever may ask.
        assert status in {200, 404, 409, 422}
    else:
        assert status == 403


@pytest.mark.parametrize("route", KEYED, ids=" ".join)
def test_nobody_else_comes_in(everything: Service, route: tuple[str, str]) -> None:
    store = everything.store
    revoked, record = new_key(Role.ADMIN, NOW)
    store.add_key(record)
    store.revoke_key(record.key_id, NOW)
    ended, record = new_key(Role.ADMIN, NOW - timedelta(days=2), NOW)
    store.add_key(record)
    everything.refresh()
    wrong = everything.keys[Role.ADMIN][:-1] + "-"
    for credential in (None, "", wrong, revoked, ended, "x" * 5_000, "ключ"):
        # A body that is no JSON at all: a stranger hears of the key before he hears of the body.
        assert ask(everything, route, credential) == 401, credential


@pytest.mark.parametrize("route", KEYED, ids=" ".join)
def test_a_member_may_ask_for_its_own_client_only(everything: Service, route: tuple[str, str]) -> None:
    body = OWN_BODIES.get(route[1], {})
    own = everything.signer.token()
    foreign = everything.signer.token(client_id=FOREIGN)
    if "member" in EXPECTED[route]:
        assert ask(everything, route, own, body) == 200
        assert ask(everything, route, foreign, body) == 403
    else:
        assert ask(everything, route, own, body) == 403
    assert ask(everything, route, everything.signer.token(aud="others"), body) == 401


@pytest.mark.parametrize("route", UNKEYED, ids=" ".join)
def test_pages_let_in_whom_the_table_says(everything: Service, route: tuple[str, str]) -> None:
    everything.client.cookies.clear()
    (word,) = EXPECTED[route]
    for credential in (None, everything.keys[Role.ADMIN], everything.signer.token()):
        status = ask(everything, route, credential)
        if word == "public":
            assert status != 403, credential
        elif word == "page":
            assert status == 303
        else:
            assert status == 403


def test_a_page_is_shown_after_log_in(everything: Service) -> None:
    everything.client.cookies.clear()
    assert everything.log_in().status_code == 303
    for method, path in UNKEYED:
        if EXPECTED[method, path] == {"page"}:
            assert everything.ask(method, path).status_code == 200
    # The console's session opens no door of the API.
    assert everything.ask("GET", "/v1/offers").status_code == 401


def member_event(**changed: Any) -> dict[str, Any]:
    (event,) = OWN_BODIES["/v1/events"]["events"]
    return {"events": [{**event, **changed}]}


@pytest.mark.parametrize(
    "body",
    [
        member_event(client_id=FOREIGN),
        member_event(member_id="m-other"),
        member_event(event_type="activation", offer_id="crm"),
        member_event(event_type="disconnection", offer_id="crm"),
        {"events": [*member_event()["events"], *member_event(event_id="e-9", client_id=FOREIGN)["events"]]},
    ],
)
def test_a_browser_tells_only_what_a_member_did_itself(everything: Service, body: dict[str, Any]) -> None:
    token = everything.signer.token()
    assert everything.ask("POST", "/v1/events", token, json=body).status_code == 403
    assert not [row for row in everything.store.read_rows("events") if row["client_id"] == FOREIGN]


@pytest.mark.parametrize(
    "more",
    [
        {"explain": True},
        {"profile": {"name": "x"}},
        {"member_id": "m-other"},
        {"context": {"role": "administrator"}},
    ],
)
def test_a_browser_says_nothing_of_itself_that_its_token_does_not(
    everything: Service, more: dict[str, Any]
) -> None:
    assert everything.recommend(everything.signer.token(role="employee"), **more).status_code == 403


def test_a_members_decision_is_logged_in_the_members_name(everything: Service) -> None:
    answer = everything.recommend(everything.signer.token()).json()
    logged = {row["decision_id"]: row for row in everything.store.read_rows("decisions")}
    assert logged[answer["placements"][0]["decision_id"]]["member_id"] == MEMBER
