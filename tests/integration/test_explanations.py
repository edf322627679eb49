"""Why these offers and not those, and may this client have that offer: over HTTP and on the terminal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import Result
from fastapi import FastAPI
from typer.testing import CliRunner

from recsys.decision.policy.policy import version_of
from recsys.experiments.experiment import Experiment, Holdout, Status
from recsys.experiments.life import Standing
from serving.app import create_app
from serving.cli import app as commands
from serving.orders import ExperimentOrder, PolicyVersion
from serving.ports import Role, Store
from serving.security.keys import new_key
from serving.settings import Settings
from serving.storage.memory import MemoryStore
from serving.storage.sql import SqlStore

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THEN = datetime(2025, 1, 15, tzinfo=UTC)
POLICY = {
    "engagement.yaml": """
segments:
  large: {field: n_employees, at_least: 100}
rules:
  - id: no-small-clouds
    stage: eligibility
    offers: [cloud]
    only_if: {segment: large}
    title: {ru: "Только для больших", en: "For large companies only"}
  - id: recorders-record
    stage: applicability
    offers: [crm]
    never_if: {context: role, is: employee}
    title: {ru: "Не для сотрудников", en: "Not for employees"}
    cure: {ru: "Спросите администратора", en: "Ask your administrator"}
  - id: nobody-new
    stage: eligibility
    offers: [winback]
    never_if: {field: stage, is: onboarding}
  - id: not-for-the-poor
    stage: eligibility
    offers: [disk]
    unknown: allow
    only_if: {field: revenue_minor, at_least: 123456789}
volume_caps:
  - {id: bank-leads, offers: [bank], of: application, at_most: 1, per: day}
""",
    "arbitration.yaml": """
value: {share_in_need_groups: false}
context_weights:
  - {id: reach-first, when: {field: stage, is: onboarding}, offers: [disk], weight: 50}
levers: {offers: {disk: 20}}
""",
    "placements.yaml": """
placements:
  - {id: home, k: 3}
  - {id: partners, k: 2, kinds: [partner], pins: [{offer: bank, slot: 1}]}
""",
}


class StandingClock:
    def now(self) -> datetime:
        return NOW


def offer_row(offer_id: str, **more: object) -> dict[str, object]:
    titles = {"title_ru": f"Услуга {offer_id}", "title_en": f"Service {offer_id}"}
    return {"offer_id": offer_id, "kind": "own", "recorded_at": THEN, "margin_minor": 100, **titles, **more}


def fill(store: Store) -> None:
    rows = [
        offer_row("bank", kind="partner", supplier_id="bank-a"),
        offer_row("cloud"),
        offer_row("crm"),
        offer_row("disk", margin_minor=200),
        offer_row("pbx"),
        offer_row("recording"),
        offer_row("spring", valid_from=NOW + timedelta(days=2)),
        offer_row("winback"),
    ]
    store.upsert_rows("offers", rows, NOW)
    relation = {"offer_id": "recording", "relation": "requires", "other_offer_id": "pbx"}
    store.upsert_rows("offer_relations", [{**relation, "alternative": 0, "recorded_at": THEN}], NOW)
    price = {"period": "month", "recorded_at": THEN, "region": None, "size": None}
    store.upsert_rows("offer_prices", [{**price, "offer_id": "pbx", "amount_minor": 100_000}], NOW)
    client = {"valid_from": THEN, "recorded_at": THEN, "legal_form": "llc", "stage": "onboarding"}
    store.upsert_rows("clients", [{"client_id": "c-1", "n_employees": 12, **client}], NOW)
    holding = {"client_id": "c-1", "connected_at": THEN, "recorded_at": THEN}
    store.upsert_rows("holdings", [{"holding_id": "h-1", "offer_id": "crm", **holding}], NOW)
    store.put_policy(PolicyVersion(version_of(POLICY), POLICY, THEN, THEN, "test"))
    store.put_documents({"dataset.toml": 'currency = "RUB"\n'})
    store.rebuild_states(None, NOW)


class Portal:
    """A program that talks to the service."""

    def __init__(
        self, app: FastAPI, runner: asyncio.Runner, client: httpx.AsyncClient, keys: Mapping[Role, str]
    ) -> None:
        self.app, self._runner, self._client, self._keys = app, runner, client, keys

    def post(self, url: str, json: object, role: Role = Role.PORTAL) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._keys[role]}"}
        return self._runner.run(self._client.post(url, json=json, headers=headers))


@pytest.fixture
def portal() -> Iterator[Portal]:
    store = MemoryStore()
    fill(store)
    keys = {}
    for role in (Role.PORTAL, Role.ANALYST):
        keys[role], record = new_key(role, NOW)
        store.add_key(record)
    app = create_app(Settings(), store, StandingClock())
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")
        yield Portal(app, runner, client, keys)
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


def explained(portal: Portal, **more: Any) -> Any:
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}], "language": "en", **more}
    response = portal.post("/v1/explanations", json=body, role=Role.ANALYST)
    assert response.status_code == 200, response.text
    return response.json()


def eligible(portal: Portal, *offer_ids: str, status: int = 200, **more: Any) -> Any:
    body = {"client_id": "c-1", "offer_ids": offer_ids, "language": "en", **more}
    response = portal.post("/v1/eligibility", json=body)
    assert response.status_code == status, response.text
    return response.json()


def test_the_account_of_a_list_tells_the_funnel_the_factors_and_the_refusals(portal: Portal) -> None:
    (home,) = explained(portal)["placements"]

    left = {entry["stage"]: entry["n_left"] for entry in home["funnel"]}
    assert home["n_offers"] == 8
    assert left["availability"] == 7  # spring is not live yet
    assert left["eligibility"] == left["placement"] == 3  # cloud, crm, recording and winback are refused
    assert home["shown"][0]["offer_id"] == "disk"
    for one in home["shown"]:
        product = one["probability"] * one["context"] * one["value"] * one["levers"]
        assert one["priority"] == pytest.approx(product)
    (disk,) = [one for one in home["shown"] if one["offer_id"] == "disk"]
    assert (disk["context"], disk["value"], disk["levers"]) == (1.5, 2.0, 1.2)
    assert disk["context_weights"] == ["reach-first"]
    why = {one["offer_id"]: (one["stage"], one["rule"]) for one in home["suppressed"]}
    assert why == {
        "spring": ("availability", "not_yet_live"),
        "crm": ("eligibility", "already_connected"),
        "recording": ("eligibility", "requires"),
        "cloud": ("eligibility", "no-small-clouds"),
        "winback": ("eligibility", "nobody-new"),
    }


def test_an_explanation_decides_as_a_recommendation_does_and_logs_nothing(portal: Portal) -> None:
    (home,) = explained(portal)["placements"]
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}]}
    given = portal.post("/v1/recommendations", json=body).json()["placements"][0]["items"]
    assert [one["offer_id"] for one in home["shown"]] == [item["offer_id"] for item in given]

    store = portal.app.state.services.store
    assert len(list(store.read_rows("decisions"))) == 1


def test_every_refusal_has_a_sentence_and_a_cure_where_one_step_helps(portal: Portal) -> None:
    (home,) = explained(portal)["placements"]
    told = {one["offer_id"]: one for one in home["suppressed"]}

    assert told["cloud"]["text"] == "For large companies only"
    assert told["cloud"]["cure"] is None
    assert told["recording"]["cure"]["code"] == "connect_first"
    assert told["recording"]["cure"]["offer_ids"] == ["pbx"]
    assert told["spring"]["cure"]["from_at"] == "2026-03-04T09:30:00Z"
    assert all(one["text"] for one in told.values())


def test_amounts_in_a_reason_have_the_currency_of_the_data(portal: Portal) -> None:
    (home,) = explained(portal, client_id="nobody", profile={"revenue_minor": 99})["placements"]
    (disk,) = [one for one in home["suppressed"] if one["offer_id"] == "disk"]
    assert disk["text"] == "Only if the yearly revenue is at least 1,234,567.89\u00a0₽"


@pytest.mark.parametrize("url", ["/v1/explanations", "/v1/recommendations", "/v1/eligibility"])
def test_a_role_that_there_is_not_is_refused_with_those_that_there_are(portal: Portal, url: str) -> None:
    asked = {"offer_ids": ["pbx"]} if url == "/v1/eligibility" else {"placements": [{"placement_id": "home"}]}
    role = Role.ANALYST if url == "/v1/explanations" else Role.PORTAL
    refused = portal.post(url, {"client_id": "c-1", "context": {"role": "king"}, **asked}, role)
    assert refused.status_code == 422
    message = refused.json()["error"]["message"]
    assert all(name in message for name in ("context.role", "administrator", "finance", "employee"))


def test_explanations_are_for_staff(portal: Portal) -> None:
    body = {"client_id": "c-1", "placements": [{"placement_id": "home"}]}
    refused = portal.post("/v1/explanations", json=body)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "forbidden"


def test_a_pin_is_told(portal: Portal) -> None:
    body = [{"placement_id": "partners"}, {"placement_id": "home"}]
    partners, home = explained(portal, placements=body)["placements"]
    assert [(one["offer_id"], one["is_pinned"]) for one in partners["shown"]] == [("bank", True)]
    assert not any(one["is_pinned"] for one in home["shown"])


def test_a_client_reads_no_condition_of_a_rule(portal: Portal) -> None:
    told = {one["offer_id"]: one for one in explained(portal)["placements"][0]["suppressed"]}
    assert "onboarding" in told["winback"]["text"].casefold(), "staff does"
    for language, text in (
        ("ru", "Не подходит вашей компании по условиям услуги"),
        ("en", "Does not fit your company by the terms of the service"),
    ):
        (winback,) = eligible(portal, "winback", language=language)["offers"]
        assert winback["refused_by"]["text"] == text
        assert winback["is_proposed"] is False
    (cloud,) = eligible(portal, "cloud")["offers"]
    assert cloud["refused_by"]["text"] == "For large companies only"


def test_an_offer_that_may_be_had_is_eligible_with_its_price(portal: Portal) -> None:
    (pbx,) = eligible(portal, "pbx")["offers"]
    assert pbx["is_eligible"] is True
    assert pbx["price"] == {"amount_minor": 100_000, "currency": "RUB", "period": "month"}
    assert pbx["refused_by"] is None
    assert pbx["is_proposed"] is True


def test_a_spending_limit_refuses_what_costs_more_and_says_whom_to_ask(portal: Portal) -> None:
    (pbx,) = eligible(portal, "pbx", context={"role": "finance", "spending_limit_minor": 99_999})["offers"]
    assert pbx["is_eligible"] is False
    assert pbx["refused_by"]["rule"] == "budget_limit"
    assert pbx["refused_by"]["cure"]["code"] == "raise_limit"


def test_eligibility_is_answered_for_a_chosen_time(portal: Portal) -> None:
    (now,) = eligible(portal, "spring")["offers"]
    assert now["refused_by"]["rule"] == "not_yet_live"
    (later,) = eligible(portal, "spring", at="2026-03-04T12:30:00+03:00")["offers"]
    assert later["is_eligible"] is True
    past = eligible(portal, "spring", at="2026-03-01T00:00:00Z", status=422)
    assert past["error"]["message"].startswith("at: ")
    (field,) = past["error"]["details"]["fields"]
    assert (field["field"], "at: " in field["message"]) == ("at", False)


def test_what_the_policy_would_not_propose_may_still_be_had(portal: Portal) -> None:
    body = {"client_id": "nobody", "offer_ids": ["crm"], "language": "en", "context": {"role": "employee"}}
    (crm,) = portal.post("/v1/eligibility", json=body).json()["offers"]
    assert crm["is_eligible"] is True
    assert crm["refused_by"] is None
    assert crm["is_proposed"] is False


def test_a_misspelt_field_is_named_in_the_message(portal: Portal) -> None:
    refused = portal.post("/v1/eligibility", json={"client": "c-1", "offer_ids": ["pbx"]})
    message = refused.json()["error"]["message"]
    assert "client_id: " in message
    assert "client: " in message


def test_an_unknown_offer_is_named_with_the_nearest_one(portal: Portal) -> None:
    error = eligible(portal, "recordng", status=404)["error"]
    assert error["code"] == "unknown_offer"
    assert "recording" in error["message"]


def test_a_used_up_volume_cap_refuses_everybody_until_the_period_ends(portal: Portal) -> None:
    (before,) = eligible(portal, "bank")["offers"]
    assert before["is_eligible"] is True
    event = {
        "event_id": "e-1",
        "event_type": "application",
        "client_id": "c-1",
        "offer_id": "bank",
        "occurred_at": NOW.isoformat(),
    }
    assert portal.post("/v1/events", json={"events": [event]}).status_code == 200
    portal.app.state.services.scoring.refresh(NOW)
    (after,) = eligible(portal, "bank")["offers"]
    assert after["refused_by"]["rule"] == "bank-leads"
    assert after["refused_by"]["cure"]["from_at"] == "2026-03-03T00:00:00Z"


@pytest.fixture
def stored(tmp_path: Path, new_sqlite: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_sqlite(tmp_path / "explained.db")
    store = SqlStore(url)
    fill(store)
    store.close()
    monkeypatch.setenv("RECSYS_DATABASE_URL", url)


def told(*words: str) -> Result:
    done = CliRunner().invoke(commands, ["explain", *words])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.usefixtures("stored")
def test_the_terminal_explains_a_client_in_plain_lines() -> None:
    home = told("c-1", "--placement", "home")
    for line in (
        "priority = P × C × V × L: probability × context × value × levers",
        "    cloud  eligibility/no-small-clouds: For large companies only",
        "    recording  eligibility/requires: First you need “Service pbx” → Connect “Service pbx” first",
    ):
        assert line in home.stdout.splitlines()
    assert "\n  1. disk  Service disk: new; priority " in home.stdout
    refused = [line.split()[0] for line in home.stdout.partition("not shown:\n")[2].splitlines()]
    assert refused[0] == "recording", "what a step would lift comes first"
    assert "no bundle: ordered by popularity" in home.stderr
    assert "bundle_refused" not in home.stderr


@pytest.mark.usefixtures("stored")
def test_what_every_list_refuses_is_said_once() -> None:
    everywhere = told("c-1", "--language", "ru").stdout
    assert everywhere.count("\n  cloud  право/no-small-clouds: Только для больших") == 1
    assert "не показано нигде:" in everywhere
    assert "место/shown_above: " in everywhere
    answer = orjson.loads(told("c-1", "--json").stdout)
    assert [one["placement_id"] for one in answer["placements"]] == ["home", "partners"]


@pytest.mark.usefixtures("stored")
def test_one_offer_is_explained_by_itself() -> None:
    shown = told("c-1", "--offer", "pbx", "--placement", "home").stdout
    assert "pbx  Service pbx\n  home: " in shown
    assert "priority" in shown
    limited = told("c-1", "--offer", "pbx", "--placement", "home", "--limit", "999").stdout
    assert "home: not shown: eligibility/budget_limit: " in limited
    assert " → Ask your administrator to raise your spending limit" in limited
    assert "applicability/recorders-record" in told("nobody", "--offer", "crm", "--role", "employee").stdout
    assert "pinned to this place" in told("c-1", "--offer", "bank", "--placement", "partners").stdout
    assert "client nobody is unknown" in told("nobody", "--offer", "pbx").stderr


def put_order(experiment_id: str, document: str) -> None:
    store = SqlStore(os.environ["RECSYS_DATABASE_URL"])
    store.put_experiment(ExperimentOrder(experiment_id, 1, "running", document, "test", "", THEN))
    store.close()


@pytest.mark.usefixtures("stored")
def test_the_terminal_names_the_arms_that_decided() -> None:
    arms = [
        {"name": "control", "weight": 0.5},
        {"name": "titled", "weight": 0.25, "texts": {"disk": {"ru": "Диск", "en": "Never lose a file"}}},
        {"name": "other", "weight": 0.25, "bundle_version": "no-such"},
    ]
    document = {"experiment_id": "titles", "arms": arms, "minimum_effect": 0.1}
    document |= dict.fromkeys(("title", "hypothesis", "owner"), "x")
    document["primary"] = {"name": "taken", "measure": "activations"}
    document["forced"] = {"c-1": "titled", "c-2": "other"}
    experiment = Experiment.model_validate(document)
    standing = Standing(experiment=experiment, status=Status.RUNNING, started_at=THEN)
    put_order("titles", standing.model_dump_json())
    titled = told("c-1", "--placement", "home").stdout
    assert titled.startswith(
        "experiment titles: arm titled; put there by hand; another arm would show another list\npriority = "
    )
    assert "disk  Never lose a file: new; priority" in titled
    russian = told("c-2", "--offer", "disk", "--language", "ru").stdout
    assert "эксперимент titles: вариант other; назначен вручную; нет bundle no-such, решает" in russian
    put_order("holdout", Holdout(share=0.5).model_dump_json())
    said = [told(f"c-{number}", "--placement", "home").stdout for number in range(1, 9)]
    n_held_out = sum(each.startswith("held out, to measure: sees business as usual") for each in said)
    assert 1 <= n_held_out <= 7


def test_nothing_is_made_of_a_missing_file(
    tmp_path: Path, new_sqlite: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    refused = CliRunner().invoke(commands, ["explain", "c-1"])
    assert refused.exit_code == 1
    assert "there is no file" in str(refused.exception)
    assert not list(tmp_path.iterdir())
    new_sqlite(tmp_path / "none.db")
    empty = CliRunner().invoke(commands, ["explain", "c-1"])
    assert "is empty, there is nothing to explain" in str(empty.exception)
