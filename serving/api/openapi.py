"""The OpenAPI document: what FastAPI derives from the routes, with keys, names and examples added."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serving.api.examples import ANSWERS, FAILURES, OTHER_ANSWERS, PARAMETERS, QUESTIONS
from serving.api.failure_answers import FAILURE_REF, failure_schemas

_JSON = "application/json"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "an API key, as `recsys-serve keys create` prints it",
}
_RETRY_AFTER = {"description": "seconds to wait before the next try", "schema": {"type": "integer"}}
_MAY_RETRY = ("429", "503")


def name_of(route: APIRoute) -> str:
    """The operationId of a route: the name of its function, which is unique in the API.

    Example:
        >>> name_of(APIRoute("/health", lambda: None, name="show_health"))
        'show_health'
    """
    return route.name


def complete_openapi(app: FastAPI) -> None:
    """Make the app's OpenAPI document complete; it is built when it is first asked for."""
    derive = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = derive()
            _complete(found)
            app.openapi_schema = found
        return app.openapi_schema

    # FastAPI's manual has no other way.
    app.openapi = document  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    document.setdefault("components", {})["securitySchemes"] = {"bearer": _BEARER}
    for methods in document["paths"].values():
        for operation in methods.values():
            # Who needs no key cannot be refused for want of one.
            operation["security"] = [{"bearer": []}] if "401" in operation["responses"] else []
            operation["summary"] = operation["description"].splitlines()[0].rstrip(".")
            _correct_failures(operation["responses"])
            _add_examples(operation)
    schemas = document["components"].setdefault("schemas", {}) | failure_schemas()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _correct_failures(responses: dict[str, Any]) -> None:
    """Every failure is JSON of one shape, whatever FastAPI documents for wrong parameters."""
    schema = responses.get("422", {}).get("content", {}).get(_JSON, {}).get("schema", {})
    if schema.get("$ref", "").endswith("/HTTPValidationError"):
        responses["422"] = {
            "description": "a parameter has a wrong value; details.fields names it",
            "content": {_JSON: {"schema": {"$ref": FAILURE_REF}}},
        }


def _add_examples(operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    for parameter in operation.get("parameters", []):
        if parameter["name"] in PARAMETERS:
            parameter.setdefault("example", PARAMETERS[parameter["name"]])
    if name in QUESTIONS:
        _json_of(operation["requestBody"])["example"] = QUESTIONS[name]
    for status, response in operation["responses"].items():
        if status == "200" and name in ANSWERS:
            _json_of(response)["example"] = ANSWERS[name]
        elif (name, status) in OTHER_ANSWERS:
            _json_of(response)["example"] = OTHER_ANSWERS[name, status]
        elif _is_failure(response) and int(status) in FAILURES:
            _json_of(response)["example"] = FAILURES[int(status)]
            if status in _MAY_RETRY:
                response["headers"] = {"Retry-After": _RETRY_AFTER}


def _json_of(body: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", body["content"][_JSON])


def _is_failure(response: dict[str, Any]) -> bool:
    content = response.get("content", {}).get(_JSON, {})
    return bool(content.get("schema", {}).get("$ref") == FAILURE_REF)
