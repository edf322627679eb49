"""From JSON to frozen dataclasses, by their annotations."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Shape = TypeVar("Shape")
Reader = Callable[[Any], Any]


def read(shape: type[Shape], value: object) -> Shape:
    """A JSON value as a dataclass; fields that it does not know are ignored.

    Raises:
        ValueError: A field is missing, or of another type; the text names it.

    Example:
        >>> from serving.client.answers import Price
        >>> read(Price, {"amount_minor": 69000, "currency": "RUB", "period": "month", "new": 1})
        Price(amount_minor=69000, currency='RUB', period='month')
    """
    as_key: Any = shape
    found: Shape = _reader(as_key)(value)
    return found


@cache
def _reader(kind: Any) -> Reader:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        [inner] = [each for each in get_args(kind) if each is not type(None)]
        return _or_none(_reader(inner))
    if origin is tuple:
        return _list_of(_reader(get_args(kind)[0]))
    if origin is Mapping:
        return _plain(dict)
    if is_dataclass(kind):
        return _object_of(kind)
    if kind in (date, datetime):
        return _moment(kind)
    return _number if kind is float else _plain(kind)


def _or_none(inner: Reader) -> Reader:
    return lambda value: None if value is None else inner(value)


def _list_of(inner: Reader) -> Reader:
    whole = _plain(list)
    return lambda value: tuple(inner(each) for each in whole(value))


def _object_of(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {each.name: _reader(hints[each.name]) for each in fields(kind)}
    whole = _plain(dict)

    def convert(value: object) -> object:
        told: dict[str, Any] = {}
        for name, given in whole(value).items():
            if name in readers:
                try:
                    told[name] = readers[name](given)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        try:
            return kind(**told)
        except TypeError as error:
            raise ValueError(f"{kind.__name__}: {error}") from error

    return convert


def _moment(kind: type[date] | type[datetime]) -> Reader:
    text = _plain(str)
    return lambda value: kind.fromisoformat(text(value))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.80} is no number")  # noqa: TRY004 -- a wrong value, not a wrong call
    return float(value)


def _plain(kind: type) -> Reader:
    def check(value: object) -> object:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{value!r:.80} is no {kind.__name__}")
        return value

    return check
