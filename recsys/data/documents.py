"""YAML documents whose every error names file, line and cure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.parser import Parser
from ruamel.yaml.scanner import Scanner

from recsys.config import RunConfig, nearest_name
from recsys.data.document_faults import PlainConstructor, describe_value, describe_yaml
from recsys.errors import ConfigError

POLICY_DOCUMENTS = (
    "engagement.yaml",
    "contact.yaml",
    "arbitration.yaml",
    "placements.yaml",
    "vip.yaml",
    "examples.yaml",
)
"""Files that make up an operator's policy."""

Config = TypeVar("Config", bound=RunConfig)
YamlPath = Sequence[str | int]

# A document that people write by hand stays far below these; what lies above would keep the parser busy.
MAX_BYTES = 1_000_000
_MAX_OPEN_BRACKETS = 100
_MAX_INDICATORS = 100
_MAX_VALUES = 50_000
_MAX_ALIASES = 100
_ALIAS = re.compile(r"(?:^|[\s\[{,:-])\*\S")
_RUN_OF_INDICATORS = re.compile(rf"(?:[-?:]\s+){{{_MAX_INDICATORS}}}")
_RUN_OF_INDENTS = re.compile(r"^ {400}", re.MULTILINE)


class YamlDocument:
    r"""A parsed YAML text that remembers where everything stands.

    Example:
        >>> document = YamlDocument("offers:\n  - id: vpn\n", "catalogue.yaml")
        >>> document.place_of(("offers", 0, "id"))
        'catalogue.yaml:2'
    """

    def __init__(self, text: str, place: str) -> None:
        self._place = place
        _check_bounds(text, place)
        try:
            if _ALIAS.search(text):
                _check_aliases(text, place)
            self._root: Any = _parser().load(text)
        except MarkedYAMLError as error:
            raise ConfigError(f"{place}{_line(error)}: {describe_yaml(error)}") from error
        except YAMLError as error:
            raise ConfigError(
                f"{place}: not a YAML document: {' '.join(str(error).split())}; correct it"
            ) from error
        except RecursionError:
            raise _too_deep(place) from None

    def read(self, model: type[Config]) -> Config:
        """Validate the document.

        Args:
            model: The shape it must have.

        Raises:
            ConfigError: A field is unknown, missing or of a wrong type; one line per fault, each with
                file, line and cure.
        """
        try:
            return model.model_validate({} if self._root is None else self._root)
        except ValidationError as error:
            faults = [self.error(fault["loc"], _describe(fault, model)) for fault in _own_faults(error)]
            raise ConfigError("\n".join(dict.fromkeys(str(fault) for fault in faults))) from error
        except RecursionError:
            raise _too_deep(self._place) from None

    def error(self, path: YamlPath, message: str) -> ConfigError:
        """An error about the value at `path` (keys and 0-based indices from the top)."""
        return ConfigError(f"{self.place_of(path)}: {message}")

    def place_of(self, path: YamlPath) -> str:
        """``file:line`` of the value at `path`, or of the nearest thing around it that exists.

        A step that does not exist is passed over: a shape may have a level that is not written.
        """
        node, line = self._root, 0
        for step in path:
            if isinstance(node, CommentedMap) and step in node:
                # a key that was merged in stands elsewhere
                line = node.lc.key(step)[0] if step in (node.lc.data or ()) else line
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0]
            else:
                continue
            node = node[step]
        return f"{self._place}:{line + 1}"


def _parser() -> YAML:
    parser = YAML(typ="rt", pure=True)
    parser.Constructor = PlainConstructor
    # of the round trip only the lines are wanted: gathering the comments takes a fifth of the time
    parser.Scanner, parser.Parser = Scanner, Parser
    return parser


def _line(error: MarkedYAMLError) -> str:
    """``:line``; a quote without end is told where it begins."""
    is_open = "end of stream" in str(error.problem) and error.context_mark is not None
    mark = error.context_mark if is_open else error.problem_mark or error.context_mark
    return "" if mark is None else f":{mark.line + 1}"


def _check_bounds(text: str, place: str) -> None:
    """Refuse, without parsing, what the parser would chew on for minutes."""
    n_bytes = len(text.encode())
    if n_bytes > MAX_BYTES:
        raise ConfigError(
            f"{place}: has {n_bytes:,} bytes, and {MAX_BYTES:,} are the most; remove what is not needed"
        )
    if text.count("\n") + text.count(",") > _MAX_VALUES:
        raise ConfigError(f"{place}: has more than {_MAX_VALUES:,} values; remove what is not needed")
    depth = 0
    for character in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if character in "[{" else max(depth - 1, 0)
        if depth > _MAX_OPEN_BRACKETS:
            raise _too_deep(place)
    if _RUN_OF_INDICATORS.search(text) or _RUN_OF_INDENTS.search(text):
        raise _too_deep(place)


def _too_deep(place: str) -> ConfigError:
    return ConfigError(f"{place}: is nested too deeply to be meant; use fewer levels")


def _check_aliases(text: str, place: str) -> None:
    """Refuse a text whose aliases would unfold to far more than was written."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    n_nodes = n_aliases = 0
    for event in YAML(typ="rt", pure=True).parse(text):
        if isinstance(event, CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = n_nodes - before
        elif isinstance(event, AliasEvent):
            n_aliases += 1
            n_nodes += sizes.get(event.anchor, _MAX_VALUES + 1)  # an alias of what is still open has no end
        elif isinstance(event, NodeEvent):
            if isinstance(event, CollectionStartEvent):
                opened.append((event.anchor, n_nodes))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
            n_nodes += 1
        if n_nodes > _MAX_VALUES or n_aliases > _MAX_ALIASES:
            raise ConfigError(
                f"{place}:{event.start_mark.line + 1}: more than {_MAX_ALIASES} aliases, or they unfold to"
                f" more than {_MAX_VALUES:,} values; write out what is meant"
            )


def _own_faults(error: ValidationError) -> Iterator[ErrorDetails]:
    """The faults, without lists that are too short only because what stands in them is wrong."""
    faults = error.errors()
    for fault in faults:
        place = fault["loc"]
        inside = (other["loc"][: len(place)] == place != other["loc"] for other in faults)
        if fault["type"] != "too_short" or not any(inside):
            yield fault


def _describe(fault: ErrorDetails, model: type[BaseModel]) -> str:
    names = [str(part) for part in fault["loc"]]
    where, name = ".".join(names) or "document", names[-1] if names else "document"
    if fault["type"] == "extra_forbidden":
        nearest = nearest_name(name, _field_names(model, fault["loc"][:-1]))
        cure = f"did you mean {nearest!r}?" if nearest else "correct its name or remove it"
        return f"unknown field {name!r}; {cure}"
    if fault["type"] == "missing":
        return f"field {name!r} is missing; add it"
    return describe_value(fault, where, _field_names(model, fault["loc"]))


def _field_names(model: type[BaseModel], path: YamlPath) -> set[str]:
    """Names that the mapping at `path` may have."""
    kinds: list[Any] = [model]
    for step in path:
        inner = [found for kind in kinds for found in _inside(kind, step)]
        kinds = inner or kinds
    return {
        field.alias or name
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name, field in kind.model_fields.items()
    }


def _inside(kind: Any, step: str | int) -> Iterator[Any]:
    """The types that may stand at a step inside of a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        yield from (
            one for name, field in fields if step in (name, field.alias) for one in _plain(field.annotation)
        )
    elif get_args(kind) and isinstance(step, int) != issubclass(get_origin(kind), Mapping):
        yield from _plain(get_args(kind)[0 if isinstance(step, int) else -1])


def _plain(kind: Any) -> Iterator[Any]:
    """A type without what is written around it: each member of a union, what is annotated."""
    if get_origin(kind) is Annotated:
        yield from _plain(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        yield from (one for member in get_args(kind) for one in _plain(member))
    else:
        yield kind
