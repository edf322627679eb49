"""Base of every run configuration: frozen, strict about names, with a digest for the manifest."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from recsys.errors import ConfigError

# Type of a pydantic error → what the name has to be told of.
_STANDING: Mapping[str, str] = MappingProxyType(
    {"missing": "is missing", "extra_forbidden": "is no known name"}
)
_OUTSIDE: Mapping[str, str] = MappingProxyType(
    {
        "greater_than_equal": "at least {ge:g}",
        "greater_than": "more than {gt:g}",
        "less_than_equal": "at most {le:g}",
        "less_than": "less than {lt:g}",
    }
)
_WANTED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "be a whole number"),
        **dict.fromkeys(("float_type", "float_parsing"), "be a number"),
        **dict.fromkeys(("bool_type", "bool_parsing"), "be true or false"),
        **dict.fromkeys(("enum", "literal_error"), "be {expected}"),
        "finite_number": "be a finite number",
        **dict.fromkeys(("list_type", "tuple_type"), "be a list"),
        "too_short": "have {min_length} or more values",
        "too_long": "have {max_length} or fewer values",
        "string_type": "be a text",
        "string_too_short": "have {min_length} or more characters",
        "string_too_long": "have {max_length} or fewer characters",
    }
)
# A line feed may stand: a folded text of YAML ends with one.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class RunConfig(BaseModel):
    """A frozen configuration; a mistyped name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a TOML file.

        Raises:
            ConfigError: The file is missing, is no TOML, or names or types in it are wrong; the text
                says which and where.
        """
        return cls.parse(read_toml(path), str(path))

    @classmethod
    def parse(cls, values: object, place: str) -> Self:
        """Validate plain values; `place` says in errors where they come from.

        Raises:
            ConfigError: A name or a type is wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{place}: {describe(error)}") from error
        except RecursionError:
            raise ConfigError(f"{place}: is nested too deeply to be meant; use fewer levels") from None

    def digest(self) -> str:
        """SHA-256 of the canonical JSON (keys in order), as 64 hexadecimal digits."""
        canonical = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()


def read_toml(path: Path) -> dict[str, object]:
    """The plain values of a TOML file.

    Raises:
        ConfigError: The file is missing or is no TOML; the text says where.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply to be meant; use fewer levels") from None
    except ValueError as error:  # no TOML, no UTF-8, a number of too many digits
        raise ConfigError(f"{path}: not a TOML file: {error}") from error


def describe(error: ValidationError) -> str:
    """A pydantic error as one sentence a person can act on.

    Example:
        >>> class Ease(RunConfig):
        ...     l2: float
        >>> try:
        ...     Ease.model_validate({"l2": "much"})
        ... except ValidationError as error:
        ...     print(describe(error))
        l2 must be a number, not 'much'
    """
    return "; ".join(
        describe_fault(fault, ".".join(str(part) for part in fault["loc"]) or "value")
        for fault in error.errors()
    )


def describe_fault(fault: ErrorDetails, name: str, bounds: str = "") -> str:
    """What is wrong with one value.

    Args:
        fault: What pydantic says of it.
        name: What the person who set it calls it.
        bounds: What is allowed, such as ``from 1 to 64``; "" = the bound that was missed alone is told.

    Example:
        >>> low = {"type": "greater_than_equal", "loc": (), "msg": "", "input": 0, "ctx": {"ge": 1}}
        >>> describe_fault(low, "k"), describe_fault(low, "k", "from 1 to 64")
        ("k must be at least 1, not '0'", "k must be from 1 to 64, not '0'")
    """
    kind, ctx, given = fault["type"], fault.get("ctx", {}), repr(_shown(fault["input"]))
    if kind in _STANDING:
        return f"{name} {_STANDING[kind]}"
    if kind in _OUTSIDE:
        return f"{name} must be {bounds or _OUTSIDE[kind].format(**ctx)}, not {given}"
    if kind in _WANTED:
        return f"{name} must {_WANTED[kind].format(**ctx)}, not {given}"
    said = ctx["error"] if kind == "value_error" else fault["msg"]
    return f"{name}: {said} (got {given})"


def _shown(value: object) -> str:
    try:
        return str(value)[:80]
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return "…"


def readable(text: str) -> str:
    r"""A text that is shown to people as it is.

    Raises:
        ValueError: There is nothing to read, or a character that would steer a terminal.

    Example:
        >>> readable("PBX \x1b[31mStart")
        Traceback (most recent call last):
        ...
        ValueError: '\x1b' is a control character, not to be shown; remove it
    """
    if not text.strip():
        raise ValueError("people read this, and it is blank; write a text")
    if found := CONTROL_CHARACTER.search(text):
        raise ValueError(f"{found[0]!r} is a control character, not to be shown; remove it")
    return text


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The name most like another one; None when none is like it.

    Example:
        >>> nearest_name("bankng", ["telephony", "banking"])
        'banking'
    """
    found = get_close_matches(name, sorted(names), n=1)
    return found[0] if found else None
