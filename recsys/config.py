"""Base of every run configuration: frozen, strict about names, with a digest for the manifest."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import ConfigError


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
        l2: Input should be a valid number, unable to parse string as a number (got 'much')
    """
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or 'value'}: {fault['msg']}"
        f" (got {str(fault['input'])[:80]!r})"
        for fault in error.errors()
    )


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The name most like another one; None when none is like it.

    Example:
        >>> nearest_name("bankng", ["telephony", "banking"])
        'banking'
    """
    found = get_close_matches(name, sorted(names), n=1)
    return found[0] if found else None
