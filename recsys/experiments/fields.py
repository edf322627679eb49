"""What the fields of an experiment's document are made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from recsys.domain import MAX_ID_LENGTH

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]


def _readable(text: str) -> str:
    """Refuse what shows nothing, or makes a terminal do something."""
    if not text.strip():
        raise ValueError("it is empty; say it in a few words")
    if not text.replace("\n", "").replace("\t", "").replace("\u00a0", "").isprintable():
        raise ValueError("it holds characters that cannot be seen; remove them")
    return text


Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_readable)]
Paragraph = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_readable)]
Salt = Annotated[str, Field(min_length=1, max_length=2 * MAX_ID_LENGTH)]


def _written(value: object) -> object:
    """Refuse a number, which would be read as seconds since 1970."""
    if isinstance(value, int | float):
        raise ValueError("a moment is needed, not a number; write it with a zone")  # noqa: TRY004
    return value


# The reader of YAML has a type of its own for moments.
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_written),
    AfterValidator(lambda at: datetime.fromtimestamp(at.timestamp(), UTC)),
]


def repeated(names: Sequence[str]) -> str | None:
    """The first name that stands twice.

    Example:
        >>> repeated(["control", "new", "control"])
        'control'
    """
    return next((name for at, name in enumerate(names) if name in names[:at]), None)
