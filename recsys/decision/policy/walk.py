"""Finds every condition and every scope of a policy, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.policy import Policy
from recsys.decision.policy.scope import OfferScope

Path = tuple[str | int, ...]


class ConditionPlace(NamedTuple):
    """A condition and where it stands."""

    document: str
    path: Path
    condition: Condition


class ScopePlace(NamedTuple):
    """A scope and where it stands."""

    document: str
    path: Path
    scope: OfferScope


class Unfolded(NamedTuple):
    """How large a condition is with every segment in its place.

    Attributes:
        n_comparisons: Comparisons; one that stands twice counts twice.
        n_levels: Conditions within each other, 1 for a comparison alone.
    """

    n_comparisons: int
    n_levels: int


def conditions_in(policy: Policy) -> Iterator[ConditionPlace]:
    """Every condition that is not part of another one."""
    for document, content in _documents(policy).items():
        for path, found in _find(content, (), Condition):
            yield ConditionPlace(document, path, found)


def scopes_in(policy: Policy) -> Iterator[ScopePlace]:
    """Every scope, those inside of conditions too."""
    for document, content in _documents(policy).items():
        for path, found in _find(content, (), OfferScope):
            yield ScopePlace(document, path, found)


def segments_named(condition: Condition) -> Iterator[tuple[Path, str]]:
    """The segments a condition refers to, and where in it."""
    yield from _segments(plain(condition), ())


def unfolded(condition: Condition, segments: Mapping[str, Unfolded]) -> Unfolded:
    """How large a condition is with every segment in its place.

    Args:
        condition: The condition.
        segments: How large each segment is that it names.

    Example:
        >>> twice = Condition.model_validate({"all": [{"segment": "vip"}, {"not": {"segment": "vip"}}]})
        >>> unfolded(twice, {"vip": Unfolded(3, 2)})
        Unfolded(n_comparisons=6, n_levels=5)
    """
    if condition.segment is not None:
        named = segments[condition.segment]
        return Unfolded(named.n_comparisons, named.n_levels + 1)
    parts = [unfolded(part, segments) for part in _parts(condition)] or [Unfolded(1, 0)]
    return Unfolded(sum(part.n_comparisons for part in parts), 1 + max(part.n_levels for part in parts))


def reads_context(policy: Policy, name: str) -> bool:
    """Whether any condition of a policy asks for that part of the context."""
    return any(name in _contexts(plain(place.condition)) for place in conditions_in(policy))


def reads_client(condition: Condition, segments: Mapping[str, Condition]) -> bool:
    """Whether a condition asks for anything of the client; else it is about the context alone.

    Example:
        >>> in_winter = Condition.model_validate({"not": {"context": "month", "between": [4, 10]}})
        >>> named = Condition.model_validate({"segment": "cold"})
        >>> reads_client(in_winter, {}), reads_client(named, {"cold": in_winter})
        (False, False)
    """
    parts = _parts(condition)
    if condition.segment is not None:
        parts = (segments[condition.segment],)
    if parts:
        return any(reads_client(part, segments) for part in parts)
    return condition.context is None


def _parts(condition: Condition) -> tuple[Condition, ...]:
    """What a condition is made of; nothing for a comparison or a segment."""
    if condition.negated is not None:
        return (condition.negated,)
    return condition.all_of or condition.any_of or ()


def plain(condition: Condition) -> dict[str, Any]:
    """A condition as the mapping it is written as."""
    return condition.model_dump(by_alias=True, exclude_unset=True)


def _segments(condition: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    if "segment" in condition:
        yield path, condition["segment"]
    if "not" in condition:
        yield from _segments(condition["not"], (*path, "not"))
    for head in ("all", "any"):
        for index, part in enumerate(condition.get(head, ())):
            yield from _segments(part, (*path, head, index))


def _contexts(condition: Mapping[str, Any]) -> Iterator[str]:
    if "context" in condition:
        yield condition["context"]
    if "not" in condition:
        yield from _contexts(condition["not"])
    for head in ("all", "any"):
        for part in condition.get(head, ()):
            yield from _contexts(part)


def _documents(policy: Policy) -> dict[str, BaseModel]:
    return {
        "engagement.yaml": policy.engagement,
        "contact.yaml": policy.contact,
        "arbitration.yaml": policy.arbitration,
    }


def _find(value: Any, path: Path, wanted: type[Any]) -> Iterator[tuple[Path, Any]]:
    """Values of a type inside of shapes, lists and mappings, without looking into what was found."""
    if isinstance(value, wanted):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _find(getattr(value, name), (*path, field.alias or name), wanted)
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _find(item, (*path, index), wanted)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _find(item, (*path, key), wanted)
