"""Conditions taken apart: the distinct comparisons and conjunctions that they are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys.decision.conditions.facts import FactKey
from recsys.decision.conditions.scales import Interval, TextScale
from recsys.decision.conditions.syntax import Condition
from recsys.decision.conditions.vocabulary import Kind
from recsys.decision.policy.scope import OfferScope
from recsys.errors import ConfigError

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue


class Test(NamedTuple):
    """Whether a fact lies in one of several closed intervals, or, without any interval, is missing."""

    fact: FactKey
    intervals: tuple[Interval, ...] = ()


# A literal names a node and whether it is negated: 2 × number + negated.
Literal = int


class Nodes:
    """Tests and conjunctions, each once."""

    def __init__(self, segments: Mapping[str, Condition], catalogue: CompiledCatalogue) -> None:
        self.texts: dict[FactKey, TextScale] = {}
        self.nodes: list[Test | tuple[Literal, ...]] = []
        self._numbers: dict[Test | tuple[Literal, ...], int] = {}
        self._parts: dict[Literal, tuple[Literal, ...]] = {}
        self._segments = segments
        self._catalogue = catalogue
        self._segment_literals: dict[str, Literal | None] = {}
        self._scopes: dict[bytes, OfferScope] = {}

    def literal(self, condition: Condition) -> Literal:
        """The literal that says what a condition says."""
        if condition.all_of is not None:
            return self._all(map(self.literal, condition.all_of))
        if condition.any_of is not None:
            return self._any(map(self.literal, condition.any_of))
        if condition.negated is not None:
            return self.literal(condition.negated) ^ 1
        if condition.segment is not None:
            return self._segment(condition.segment)
        if condition.holds is not None:
            return self._test(FactKey("n_held", offers=self._scope(condition.holds)), (1, math.inf))
        return self._compared(condition)

    def _segment(self, name: str) -> Literal:
        if name not in self._segments:
            raise ConfigError(f"there is no segment {name!r}; declare it")
        if name not in self._segment_literals:
            self._segment_literals[name] = None
            self._segment_literals[name] = self.literal(self._segments[name])
        found = self._segment_literals[name]
        if found is None:
            raise ConfigError(f"segment {name!r} refers to itself; break the circle")
        return found

    def _compared(self, condition: Condition) -> Literal:
        key = self._key(condition)
        fact = condition.fact
        if fact is not None and fact.kind in (Kind.CHOICE, Kind.TEXT) and key not in self.texts:
            self.texts[key] = TextScale(fact.labels if fact.kind is Kind.CHOICE else ())
        comparison, operand = condition.comparison
        if comparison == "is_missing":
            return self._test(key) ^ (not operand)
        operands = operand if isinstance(operand, tuple) else (operand,)
        numbers = [self._number(key, value) for value in operands]
        if comparison in ("is_", "is_not", "in_", "not_in"):
            is_whole = fact is not None and fact.kind is not Kind.NUMBER
            literal = self._test(key, *_runs(sorted(set(numbers)), is_whole=is_whole))
            return literal ^ (comparison in ("is_not", "not_in"))
        return self._test(key, _interval(comparison, numbers))

    def _key(self, condition: Condition) -> FactKey:
        if condition.field is not None:
            return FactKey("field", condition.field)
        if condition.context is not None:
            return FactKey("context", condition.context)
        if condition.n_events is not None:
            events = condition.n_events
            return FactKey("n_events", events.type.value, self._scope(events.offers), events.within_days)
        if condition.days_since_event is not None:
            latest = condition.days_since_event
            return FactKey("days_since_event", latest.type.value, self._scope(latest.offers))
        if condition.n_held is not None:
            return FactKey("n_held", offers=self._scope(condition.n_held))
        return FactKey(
            "days_since_connected", offers=self._scope(condition.days_since_connected or OfferScope())
        )

    def _scope(self, scope: OfferScope) -> OfferScope:
        """The first scope that means the same offers."""
        meaning = scope.mask(self._catalogue).tobytes() + bytes([scope.is_everything])
        return self._scopes.setdefault(meaning, scope)

    def _number(self, key: FactKey, value: Any) -> float:
        if isinstance(value, str):
            return float(self.texts[key].number_of(value))
        return float(value.toordinal() if isinstance(value, date) else value)

    def _test(self, fact: FactKey, *intervals: Interval) -> Literal:
        return 2 * self._number_of(Test(fact, intervals))

    def _any(self, literals: Iterable[Literal]) -> Literal:
        return self._all(literal ^ 1 for literal in literals) ^ 1

    def _all(self, literals: Iterable[Literal]) -> Literal:
        parts = tuple(sorted({part for literal in literals for part in self._parts.get(literal, (literal,))}))
        literal = parts[0] if len(parts) == 1 else 2 * self._number_of(parts)
        self._parts[literal] = parts
        return literal

    def _number_of(self, node: Test | tuple[Literal, ...]) -> int:
        number = self._numbers.setdefault(node, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return number


def _interval(comparison: str, numbers: Sequence[float]) -> tuple[float, float]:
    """The closed interval in which a comparison holds."""
    first, last = numbers[0], numbers[-1]
    match comparison:
        case "at_least":
            return first, math.inf
        case "at_most":
            return -math.inf, first
        case "more_than":
            return math.nextafter(first, math.inf), math.inf
        case "less_than":
            return -math.inf, math.nextafter(first, -math.inf)
        case _:
            return first, last


def _runs(numbers: Sequence[float], *, is_whole: bool) -> list[tuple[float, float]]:
    """Numbers, ascending, as closed intervals; whole ones without a gap share one.

    Example:
        >>> _runs([1.0, 2.0, 3.0, 7.0], is_whole=True)
        [(1.0, 3.0), (7.0, 7.0)]
    """
    runs: list[tuple[float, float]] = []
    for number in numbers:
        if is_whole and runs and runs[-1][1] + 1 == number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
