"""What is wrong with a document, in words of the person who wrote it rather than of a library."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

from pydantic_core import ErrorDetails
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import Node

from recsys.config import nearest_name

_LONGEST_VALUE = 80
_MISFITS = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError)
"""What the parser lets through when a text does not fit the kind it is marked with."""
_TAGS = "tag:yaml.org,2002:"
_TIMESTAMP_TAG = f"{_TAGS}timestamp"
_KINDS = frozenset(["binary", "bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp"])
_INDENT = "this line is indented differently from the one above; align it with the lines it belongs to"

# Pattern of the parser's words → plain ones, which may use what the pattern found.
_YAML_PROBLEMS: Mapping[str, str] = MappingProxyType(
    {
        r"found character '\\t'": "a tab stands where the line begins; indent with spaces",
        r"found duplicate key \"?(.+?)\"? with value": "key {0!r} stands twice; remove one of the two",
        r"found character '(.)' that cannot start": "a text cannot start with {0}; put it in quotes",
        r"expected <block end>, but found '<scalar>'": (
            "text follows a quote that is closed; put the whole value in quotes"
        ),
        r"expected <block end>": _INDENT,
        r"could not find expected ':'": "a key without its colon; write `key: value` on every line",
        r"mapping values are not allowed": (
            "a second colon in one value, or a line that is indented differently from the one above; put a"
            " text with a colon in quotes, align the line"
        ),
        r"sequence entries are not allowed": "a list begins beside its key; write each `- ` on its own line",
        r"unexpected end of stream": "a quote is opened and not closed; close it",
        r"but (?:found|got) '<stream end>'": "a bracket is opened and not closed; close it",
        r"expected the node content": "a value is missing here, or a bracket above is not closed; add it",
        r"expected ',' or '([\]}])'": "a comma or the closing {0} is missing here or above; add it",
    }
)
# Type of a pydantic error → what is wrong, with the value, the keys and the bounds that the error names.
_LIST = "write a list, like [{like}]"
_KEYS = "a group of keys{keys} is needed, not {value}; write them as `key: value`"
_MOMENT = "a moment is needed, not {value}; write it with a zone, like 2026-03-01T10:00:00+03:00"
_VALUE_PROBLEMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), _LIST),
        **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _KEYS),
        **dict.fromkeys(("timezone_aware", "datetime_type", "datetime_parsing"), _MOMENT),
        **dict.fromkeys(("datetime_from_date_parsing", "datetime_object_invalid"), _MOMENT),
        "string_pattern_mismatch": (
            "ids are small Latin letters, digits, - and _, at most 64 of them, not {value}; rename it"
        ),
        "too_short": "the list has {actual_length} values, at least {min_length} is needed; add one",
        "too_long": "has more than {max_length:,} values, which are the most; merge or remove some",
        "int_type": "a whole number is needed, not {value}; correct the value",
        "int_parsing": "a whole number is needed, not {value}; correct the value",
        "int_from_float": "a whole number is needed, not {value}; correct the value",
        "float_type": "a number is needed, not {value}; correct the value",
        "float_parsing": "a number is needed, not {value}; correct the value",
        "finite_number": "a finite number is needed, not {value}; correct the value",
        "bool_type": "true or false is needed, not {value}; correct the value",
        "bool_parsing": "true or false is needed, not {value}; correct the value",
        "string_unicode": "the text has characters that cannot be stored; remove them",
        "string_type": "a text is needed, not {value}; write it in quotes",
        "greater_than_equal": "at least {ge} is needed, not {value}; correct the value",
        "greater_than": "more than {gt} is needed, not {value}; correct the value",
        "less_than_equal": "at most {le} is allowed, not {value}; correct the value",
        "less_than": "less than {lt} is needed, not {value}; correct the value",
        "string_too_short": "the text is too short; write at least {min_length} character(s)",
        "string_too_long": "the text is too long; write at most {max_length} characters",
    }
)


class PlainConstructor(RoundTripConstructor):
    """Makes values of what was written; one that cannot be is told with its line."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """The value that a node stands for."""
        tag = str(node.tag)
        if tag.removeprefix(_TAGS) not in _KINDS:
            name = tag.replace(_TAGS, "!!")[:_LONGEST_VALUE]
            problem = f"{name} is a tag, and tags mean nothing here; correct it"
            raise ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except _MISFITS as error:
            written = getattr(node, "value", None)
            text = written if isinstance(written, str) else "such value"
            raise ConstructorError(None, None, _no_such_value(text, node), node.start_mark) from error


def _no_such_value(text: str, node: Node) -> str:
    if node.tag == _TIMESTAMP_TAG:
        return f"there is no {'day' if len(text) <= len('2026-02-30') else 'moment'} {text}; correct it"
    return f"{text[:_LONGEST_VALUE]!r} is no value of its kind; correct it"


def describe_yaml(error: MarkedYAMLError) -> str:
    """What keeps a text from being a document, and the cure."""
    problem = str(error.problem or error.context)
    if isinstance(error, ConstructorError) and problem.endswith("; correct it"):
        return problem
    for pattern, plain in _YAML_PROBLEMS.items():
        if found := re.search(pattern, problem):
            return plain.format(*found.groups())
    return f"not a YAML document: {' '.join(problem.split())}; correct it"


def describe_value(fault: ErrorDetails, where: str, names: Collection[str]) -> str:
    """What is wrong with a value, and the cure.

    Args:
        fault: What the shape says of it.
        where: Path of the value.
        names: The keys that may stand there; empty where there are none.

    Example:
        >>> fault = {"type": "int_type", "loc": ("k",), "msg": "", "input": "five", "ctx": {}}
        >>> describe_value(fault, "k", ())
        "k: a whole number is needed, not 'five'; correct the value"
    """
    kind, given = fault["type"], fault["input"]
    where = where.removesuffix(".[key]")
    if kind in ("enum", "literal_error"):
        return f"{where}: {_one_of(str(fault['ctx']['expected']), given)}"
    ctx = fault.get("ctx", {})
    if kind == "value_error":
        return f"{where}: {ctx['error']}"
    problem = _VALUE_PROBLEMS.get(kind, "{msg}, got {value}; correct the value")
    told = problem.format(
        **ctx,
        msg=fault["msg"],
        value=_written(given),
        like=given if isinstance(given, str | int) else "a, b",
        keys=f" ({', '.join(sorted(names))})" if names else "",
    )
    return f"{where}: {told}"


def _one_of(expected: str, given: Any) -> str:
    """`expected` is as pydantic words it: ``'a', 'b' or 'c'``."""
    known = re.findall(r"'([^']*)'", expected)
    nearest = nearest_name(str(given), known)
    cure = f"did you mean {nearest!r}?" if nearest else "write one of them"
    return f"{', '.join(known)} can stand here, not {_written(given)}; {cure}"


def _written(given: Any) -> str:
    """A value as it was written, without the reader's own types."""
    if isinstance(given, date):
        return given.isoformat()
    if given is None:
        return "nothing"
    # the reader's own kinds of numbers, texts, lists and mappings name themselves
    kinds: tuple[type[Any], ...] = (bool, int, float, str, list, dict)
    plain = next((kind(given) for kind in kinds if isinstance(given, kind)), given)
    return repr(plain)[:_LONGEST_VALUE]
