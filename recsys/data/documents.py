"""YAML documents whose every error names file, line and cure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from recsys.config import RunConfig
from recsys.errors import ConfigError

Config = TypeVar("Config", bound=RunConfig)
YamlPath = Sequence[str | int]


class YamlDocument:
    r"""A parsed YAML text that remembers where everything stands.

    Example:
        >>> document = YamlDocument("offers:\n  - id: vpn\n", "catalogue.yaml")
        >>> document.place_of(("offers", 0, "id"))
        'catalogue.yaml:2'
    """

    def __init__(self, text: str, place: str) -> None:
        self._place = place
        try:
            self._root: Any = YAML(typ="rt", pure=True).load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = "" if mark is None else f":{mark.line + 1}"
            raise ConfigError(f"{place}{line}: not a YAML document: {error.problem}; correct it") from error
        except YAMLError as error:
            raise ConfigError(f"{place}: not a YAML document: {error}; correct it") from error

    def read(self, model: type[Config]) -> Config:
        """Validate the document.

        Args:
            model: The shape it must have.

        Raises:
            ConfigError: A field is unknown, missing or of a wrong type; one line per fault, each with
                file, line and cure.
        """
        try:
            return model.model_validate(self._root)
        except ValidationError as error:
            faults = [self.error(fault["loc"], _describe(fault)) for fault in error.errors()]
            raise ConfigError("\n".join(str(fault) for fault in faults)) from error

    def error(self, path: YamlPath, message: str) -> ConfigError:
        """An error about the value at `path` (keys and 0-based indices from the top)."""
        return ConfigError(f"{self.place_of(path)}: {message}")

    def place_of(self, path: YamlPath) -> str:
        """``file:line`` of the value at `path`, or of the nearest thing around it that exists."""
        node, line = self._root, 0
        for step in path:
            if isinstance(node, CommentedMap) and step in node:
                line = node.lc.key(step)[0]
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0]
            else:
                break
            node = node[step]
        return f"{self._place}:{line + 1}"


def _describe(fault: ErrorDetails) -> str:
    names = [str(part) for part in fault["loc"]]
    where, name = ".".join(names) or "document", names[-1] if names else "document"
    if fault["type"] == "extra_forbidden":
        return f"unknown field {name!r}; correct its name or remove it"
    if fault["type"] == "missing":
        return f"field {name!r} is missing; add it"
    got = repr(fault["input"])[:80]
    return f"{where}: {fault['msg']}, got {got}; correct the value"
