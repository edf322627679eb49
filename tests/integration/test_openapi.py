"""The OpenAPI document: complete, true to itself, with an example of every question and answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from serving.api.examples import ANSWERS, PARAMETERS, QUESTIONS
from serving.app import create_app
from serving.settings import Settings
from serving.storage.memory import MemoryStore

JSON = "application/json"
KEYLESS = {"/health", "/ready"}
WITH_BODY = {"400", "408", "413"}
Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(), MemoryStore()).openapi()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def check(example: object, schema: dict[str, Any], document: dict[str, Any], place: str) -> None:
    """An example obeys its schema, formats included; references lead into the document."""
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    faults = [f"{place}: {error.instance_path}: {error.message}" for error in validator.iter_errors(example)]
    assert not faults, "\n".join(faults)


def examples_of(media: dict[str, Any], document: dict[str, Any]) -> list[object]:
    """Those of a body, or of the model that it refers to."""
    schema = media["schema"]
    model = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
    given = [media["example"]] if "example" in media else []
    return [*given, *schema.get("examples", []), *model.get("examples", [])]


def bodies(operations: list[Operation]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, method, operation in operations:
        for status, response in operation["responses"].items():
            for kind, media in response.get("content", {}).items():
                yield f"{method.upper()} {path} {status} {kind}", media


def test_every_operation_says_what_it_does_under_a_name_of_its_own(operations: list[Operation]) -> None:
    names = [operation["operationId"] for _, _, operation in operations]
    assert len(names) > 30
    assert sorted(set(names)) == sorted(names)
    assert all(name.isidentifier() for name in names)
    for path, method, operation in operations:
        assert operation.get("summary"), f"{method} {path} has no summary"
        assert operation.get("description"), f"{method} {path}: its function has no docstring"
        assert operation.get("tags"), f"{method} {path} has no tag"


def test_every_question_has_an_example_that_its_schema_allows(
    operations: list[Operation], document: dict[str, Any]
) -> None:
    asked = [(path, method, one["requestBody"]) for path, method, one in operations if "requestBody" in one]
    assert asked
    for path, method, body in asked:
        for kind, media in body["content"].items():
            found = examples_of(media, document)
            assert found, f"{method.upper()} {path} {kind}: its question has no example"
            for example in found:
                check(example, media["schema"], document, f"{method.upper()} {path}")


def test_every_parameter_of_a_path_has_an_example_that_its_schema_allows(
    operations: list[Operation], document: dict[str, Any]
) -> None:
    named = [(path, each) for path, _, one in operations for each in one.get("parameters", [])]
    assert {each["name"] for _, each in named} >= set(PARAMETERS)
    for path, each in named:
        assert each.get("description"), f"{path}: parameter {each['name']} is not described"
        if each["in"] == "path":
            assert "example" in each, f"{path}: parameter {each['name']} has no example"
        if "example" in each:
            check(each["example"], each["schema"], document, f"{path}: {each['name']}")


def test_every_answer_has_an_example_that_its_schema_allows(
    operations: list[Operation], document: dict[str, Any]
) -> None:
    for place, media in bodies(operations):
        found = examples_of(media, document)
        assert found or JSON not in place, f"{place}: has no example"
        for example in found:
            check(example, media["schema"], document, place)


def test_every_status_that_may_come_is_documented(operations: list[Operation]) -> None:
    for path, method, operation in operations:
        place, statuses = f"{method.upper()} {path}", set(operation["responses"])
        if path in KEYLESS:
            assert operation["security"] == []
            continue
        assert operation["security"] == [{"bearer": []}], place
        assert {"401", "403", "429", "503"} <= statuses, place
        if "requestBody" in operation:
            assert {*WITH_BODY, "422"} <= statuses, place
        else:
            assert statuses.isdisjoint(WITH_BODY), place
        for status in ("429", "503"):
            assert "Retry-After" in operation["responses"][status]["headers"], place


def test_keys_are_declared(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_no_example_belongs_to_an_operation_that_is_gone(operations: list[Operation]) -> None:
    names = {operation["operationId"] for _, _, operation in operations}
    assert set(QUESTIONS) <= names
    assert set(ANSWERS) <= names
