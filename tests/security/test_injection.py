"""What comes from outside is a value: never a statement, a template, a path or a formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from recsys.domain import ClientId
from serving.accounts import Role
from serving.storage.migrate import migrate
from serving.storage.sql import SqlStore
from training.pipelines.policies.diff import OfferChange, PolicyDiff
from training.pipelines.scoring.lead_rows import without_formulas

from .conftest import NOW, Service, console_settings, running

SQL = [
    "' OR '1'='1",
    "'; DELETE FROM client_state; --",
    "%' OR 1=1 --",
    "\\",
    "%",
    "_",
    ":client_id",
    "%(client_id)s",
    "?",
    "$1",
]
FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("//x")']
PATHS = ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "%2e%2e/%2e%2e/", "a\x00b", "..\\..\\x"]
TEMPLATES = ["{{7*7}}", "${7*7}", "#{7*7}", "{0.__class__}", "%(a)s", "{% include 'passwd' %}"]


@pytest.fixture(scope="module")
def sqlite_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on a real database."""
    tmp_path = tmp_path_factory.mktemp("injection")
    url = f"sqlite:///{tmp_path / 'recsys.db'}"
    migrate(url)
    store: Any = SqlStore(url)
    titles = {"title_ru": "Услуга", "title_en": "Service"}
    store.upsert_rows("offers", [{"offer_id": "crm", "kind": "own", "recorded_at": NOW, **titles}], NOW)
    with running(console_settings(tmp_path / "journal"), store) as service:
        yield service
    store.close()


@pytest.mark.parametrize("hostile", SQL + TEMPLATES)
def test_ids_and_texts_are_values_to_the_database(sqlite_service: Service, hostile: str) -> None:
    service, admin = sqlite_service, sqlite_service.keys[Role.ADMIN]
    for name in ("c-plain", hostile):
        path = f"/v1/clients/{quote(name, safe='')}"
        stored = service.ask("PUT", path, admin, json={"name": f"{name} {hostile}"})
        assert stored.status_code in (200, 422), stored.text
        if stored.status_code == 200:
            assert service.ask("GET", path, admin).json()["client_id"] == name
    listed = service.recommend(admin, hostile)
    assert listed.status_code in (200, 422)
    assert service.store.client_state(ClientId("c-plain")) is not None
    # A pattern's signs stand for themselves.
    for state in service.store.find_clients(hostile, 10):
        assert hostile.casefold() in f"{state.client_id} {state.profile.name}".casefold()
    assert service.ask("POST", "/v1/offers/crm/stop", admin, json={"reason": hostile}).status_code == 200
    assert service.store.offer_stops()[-1].reason == hostile


@pytest.mark.parametrize("hostile", PATHS)
@pytest.mark.parametrize(
    "place",
    [
        "/portal/static/{}",
        "/console/static/{}",
        "/v1/policies/{}",
        "/v1/bundles/{}",
        "/v1/clients/{}",
        "/v1/experiments/{}",
    ],
)
def test_a_path_leads_nowhere_else(service: Service, place: str, hostile: str) -> None:
    for written in (hostile, quote(hostile, safe="")):
        answer = service.ask("GET", place.format(quote(written, safe="%/")), service.keys[Role.ADMIN])
        assert answer.status_code in (404, 405, 422), answer.text
        assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["../evil.yaml", "/etc/evil.yaml", "a/b.yaml", "evil.py"])
def test_a_document_of_a_policy_is_named_as_documents_are(service: Service, name: str) -> None:
    body = {"documents": {name: "a: 1\n"}}
    assert service.ask("POST", "/v1/policies", service.keys[Role.ADMIN], json=body).status_code == 422


@pytest.mark.parametrize("hostile", FORMULAS)
def test_a_spreadsheet_gets_texts_and_no_formulas(hostile: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"client_id": [hostile, "c-1"], "amount": [-5, 7]})
    made = without_formulas(frame)
    assert made["client_id"].to_list() == [f"'{hostile}", "c-1"]
    assert made["amount"].to_list() == [-5, 7]
    changed = pl.DataFrame({"client_id": [hostile], "before": [[hostile]], "after": [["crm"]]})
    offers = [offer_change(hostile)]
    diff = policy_diff(changed, offers)
    diff.write(tmp_path)
    for name in ("changed_clients.csv", "offers.csv"):
        written = pl.read_csv(tmp_path / name, infer_schema=False)
        assert written.row(0)[0] == f"'{hostile}", name


def offer_change(offer_id: str) -> OfferChange:
    values: dict[str, Any] = {field.name: 0 for field in fields(OfferChange)}
    return OfferChange(**{**values, "offer_id": offer_id})


def policy_diff(changed: pl.DataFrame, offers: list[OfferChange]) -> PolicyDiff:
    values: dict[str, Any] = {field.name: 0 for field in fields(PolicyDiff)}
    values |= {"n_clients": 1, "segments": (), "offers": tuple(offers), "changed": changed}
    return PolicyDiff(**values)
