"""The shape of a condition as it is written in YAML or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from recsys.config import RunConfig, nearest_name
from recsys.decision.conditions.vocabulary import (
    CONTEXT,
    COUNT,
    DAYS,
    EVENT_DAYS,
    FIELDS,
    MAX_EVENT_DAYS,
    TAG_PREFIX,
    Fact,
    Value,
    field_fact,
)
from recsys.decision.policy.scope import OfferScope
from recsys.domain import EventType

BRANCHES = {"all_of": "all", "any_of": "any", "negated": "not", "segment": "segment", "holds": "holds"}
"""Heads that are conditions by themselves: attribute → as written."""

FACTS = {
    name: name
    for name in ("field", "context", "n_held", "days_since_connected", "n_events", "days_since_event")
}
"""Heads whose fact is compared."""

COMPARISONS = {
    "is_": "is",
    "is_not": "is_not",
    "in_": "in",
    "not_in": "not_in",
    "at_least": "at_least",
    "at_most": "at_most",
    "more_than": "more_than",
    "less_than": "less_than",
    "between": "between",
    "is_missing": "is_missing",
}
_ORDERED = ("at_least", "at_most", "more_than", "less_than", "between")
_MAX_NAMES = 1_000


class EventCount(RunConfig):
    """Events of a type within the last days, counted.

    Attributes:
        type: What happened.
        offers: With which offers; without any key also events that name no offer.
        within_days: How far back, 1–90.
    """

    type: EventType
    offers: OfferScope = OfferScope()
    within_days: int = Field(ge=1, le=MAX_EVENT_DAYS)


class EventAge(RunConfig):
    """The latest event of a type within the last 90 days.

    Attributes:
        type: What happened.
        offers: With which offers; without any key also events that name no offer.
    """

    type: EventType
    offers: OfferScope = OfferScope()


class Condition(RunConfig):
    """A condition: exactly one head, and one comparison where the head is a fact.

    Attributes:
        all_of: Every one of them holds (``all``).
        any_of: At least one of them holds (``any``).
        negated: It does not hold (``not``).
        segment: The segment of that name holds.
        holds: The client holds an offer of the scope.
        field: A field of the client; see `vocabulary.FIELDS`.
        context: Something about the decision; see `vocabulary.CONTEXT`.
        n_held: Number of connections of offers of the scope.
        days_since_connected: Full days since the latest of them began; missing without any.
        n_events: Number of events.
        days_since_event: Full days since the latest event; missing without one in 90 days.
        is_: Equal (``is``).
        is_not: Not equal.
        in_: Equal to one of them (``in``).
        not_in: Equal to none of them.
        at_least: No less.
        at_most: No more.
        more_than: More.
        less_than: Less.
        between: Both ends belong to it.
        is_missing: Whether the fact is unknown.

    Example:
        >>> Condition.model_validate({"field": "n_employees", "at_least": 10}).comparison
        ('at_least', 10)
    """

    model_config = ConfigDict(serialize_by_alias=True)

    all_of: tuple[Condition, ...] | None = Field(default=None, alias="all")
    any_of: tuple[Condition, ...] | None = Field(default=None, alias="any")
    negated: Condition | None = Field(default=None, alias="not")
    segment: str | None = None
    holds: OfferScope | None = None
    field: str | None = None
    context: str | None = None
    n_held: OfferScope | None = None
    days_since_connected: OfferScope | None = None
    n_events: EventCount | None = None
    days_since_event: EventAge | None = None
    is_: Value | None = Field(default=None, alias="is")
    is_not: Value | None = None
    in_: tuple[Value, ...] | None = Field(default=None, alias="in")
    not_in: tuple[Value, ...] | None = None
    at_least: Value | None = None
    at_most: Value | None = None
    more_than: Value | None = None
    less_than: Value | None = None
    between: tuple[Value, Value] | None = None
    is_missing: bool | None = None

    @field_validator("all_of", "any_of")
    @classmethod
    def _some(cls, conditions: tuple[Condition, ...] | None) -> tuple[Condition, ...] | None:
        if conditions == ():
            raise ValueError("the list is empty; write at least one condition or remove it")
        return conditions

    @field_validator("field", "context")
    @classmethod
    def _known(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None or (CONTEXT.get(name) if info.field_name == "context" else field_fact(name)):
            return name
        nearest = nearest_name(
            name, CONTEXT if info.field_name == "context" else [*FIELDS, TAG_PREFIX + "KEY"]
        )
        cure = f"did you mean {nearest!r}?" if nearest else "see the list of them in the reference"
        raise ValueError(f"there is no {info.field_name} {name!r}; {cure}")

    @field_validator("is_", "is_not", *_ORDERED[:-1], mode="before")
    @classmethod
    def _comparable(cls, value: object, info: ValidationInfo) -> object:
        compared = _compared(info.data)
        if value is None or compared is None:
            return value
        name, fact = compared
        if info.field_name in _ORDERED and not fact.kind.is_ordered:
            raise ValueError(f"{name} has no order, so nothing is more or less; use is, is_not, in or not_in")
        return fact.read(value, name)

    @field_validator("in_", "not_in", "between", mode="before")
    @classmethod
    def _all_comparable(cls, values: object, info: ValidationInfo) -> object:
        compared = _compared(info.data)
        if values is None or compared is None:
            return values
        name, fact = compared
        if not isinstance(values, list | tuple) or not 1 <= len(values) <= _MAX_NAMES:
            raise ValueError(f"{name} is compared with a list of 1–{_MAX_NAMES} values here, like [a, b]")
        read = tuple([fact.read(value, name) for value in values])
        if info.field_name == "between":
            _check_ends(read, name, fact)
        return read

    @model_validator(mode="after")
    def _one_head(self) -> Self:
        heads = [told for name, told in {**BRANCHES, **FACTS}.items() if getattr(self, name) is not None]
        if len(heads) != 1:
            known = ", ".join({**BRANCHES, **FACTS}.values())
            raise ValueError(f"a condition has exactly one of {known}; here are {_listed(heads)}")
        given = [told for name, told in COMPARISONS.items() if getattr(self, name) is not None]
        if heads[0] not in FACTS:
            if given:
                raise ValueError(f"{heads[0]} is a condition by itself; remove {_listed(given)}")
        elif len(given) != 1:
            known = ", ".join(COMPARISONS.values())
            raise ValueError(f"{heads[0]} is compared by exactly one of {known}; here are {_listed(given)}")
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What is written, without all that is not."""
        return ((name, value) for name, value in self if value is not None)

    @property
    def fact(self) -> Fact | None:
        """The fact that is compared; None where nothing is."""
        compared = _compared(dict(self))
        return None if compared is None else compared[1]

    @property
    def comparison(self) -> tuple[str, Any]:
        """Attribute and operand of the comparison.

        Raises:
            ValueError: The condition compares nothing.
        """
        for name in COMPARISONS:
            if (operand := getattr(self, name)) is not None:
                return name, operand
        raise ValueError("the condition compares nothing")


def _compared(values: dict[str, Any]) -> tuple[str, Fact] | None:
    """Name and fact of the head that is compared; None without one, or where it is wrong itself."""
    if name := values.get("field"):
        fact = field_fact(name)
        return None if fact is None else (name, fact)
    if name := values.get("context"):
        return name, CONTEXT[name]
    fixed = {"n_held": COUNT, "n_events": COUNT, "days_since_connected": DAYS, "days_since_event": EVENT_DAYS}
    return next(((head, fact) for head, fact in fixed.items() if values.get(head) is not None), None)


def _check_ends(values: tuple[Any, ...], name: str, fact: Fact) -> None:
    if not fact.kind.is_ordered:
        raise ValueError(f"{name} has no order, so nothing lies between; use is, is_not, in or not_in")
    if len(values) != 2 or values[0] > values[1]:
        raise ValueError(f"{name} lies between two values, the lesser one first, like [1, 5]")


def _listed(names: list[str]) -> str:
    return " and ".join(names) or "none"
