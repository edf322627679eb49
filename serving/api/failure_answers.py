"""Bodies of failures, as they are documented."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

_SCHEMAS = "#/components/schemas/"
FAILURE_REF = f"{_SCHEMAS}FailureAnswer"


class FailureDetails(BaseModel):
    """What went wrong."""

    code: str = Field(description="stable name", examples=["unknown_placement"])
    message: str = Field(description="one sentence for a person")
    details: dict[str, object] = Field(description="facts for a program, by code")


class FailureAnswer(BaseModel):
    """Every failure looks like this."""

    error: FailureDetails


def failure_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of an endpoint as they are documented.

    Whoever needs a key may meet 401, 429 and 503 too, and whoever sends a body (413) may meet 408.
    """
    about = {
        400: "the body is no valid JSON",
        401: "no API key, or an unknown or revoked one",
        403: "the key's role may not do this",
        404: "there is no such thing; the message names those that exist",
        408: "the body did not arrive in time; send it again",
        409: "the same id was used before with another content",
        413: "the body is too long",
        422: "a field has a wrong value; details.fields names it by its path",
        429: "this key asks too often; try again after Retry-After seconds",
        503: "the database did not answer; try again after Retry-After seconds",
    }
    of_a_body = {408} if 413 in statuses else set()
    every = sorted({401, 429, 503, *of_a_body, *statuses})
    # Given as `model`, each of the some 300 would become a validator of its own whenever an app is made.
    return {
        status: {
            "description": about[status],
            "content": {"application/json": {"schema": {"$ref": FAILURE_REF}}},
        }
        for status in every
    }


def failure_schemas() -> dict[str, Any]:
    """The schemas that documented failures refer to, by name."""
    schema = FailureAnswer.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
    return {**schema.pop("$defs"), FailureAnswer.__name__: schema}
