"""What can be said of conditions without any client: can this ever be true, does one imply another.

A condition is looked at as the plain mapping it is written as. Whatever it compares (a field, a count, a
fact of the moment) is a *subject*; for each subject a few values stand for all others: every constant it is
compared with, one between each two of them, one beyond either end, and "unknown" where a fact may be that.
A condition can be true if some choice of values makes it so. Subjects count as independent of each other,
so "impossible" is certain, and "possible" may be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

from recsys.decision.conditions.vocabulary import ALWAYS_KNOWN, CONTEXT, COUNT, Fact, Kind, field_fact

Plain = Mapping[str, Any]
Truths = int
"""Ways in which a condition can come out: a sum of `FALSE`, `UNKNOWN` and `TRUE`."""

FALSE, UNKNOWN, TRUE = 1, 2, 4
ANY: Final[Truths] = FALSE | UNKNOWN | TRUE
COMPARISONS = frozenset(
    ("is", "is_not", "in", "not_in", "at_least", "at_most", "more_than", "less_than", "between", "is_missing")
)
_MISSING = "\0missing"
_OTHER = "\0other"
_MOST_LEAVES = 20_000
_MOST_LEAVES_IN_ALL = 100_000


@dataclass(frozen=True)
class Demand:
    """A condition must come out one of several ways.

    What is found out about it is kept: a rule is compared with thousands of others.

    Attributes:
        condition: As written, with every segment in its place.
        truths: The ways that will do.
    """

    condition: Plain
    truths: Truths

    @cached_property
    def tree(self) -> _Node | _Leaf:
        """The condition, taken apart."""
        return _tree(self.condition)

    @cached_property
    def leaves(self) -> tuple[_Leaf, ...]:
        """Its comparisons."""
        return tuple(_leaves_of(self.tree))

    @cached_property
    def subjects(self) -> frozenset[str]:
        """What the condition looks at."""
        return frozenset(leaf.subject for leaf in self.leaves)


@dataclass(slots=True)
class Budget:
    """How much may be looked at by several questions together.

    Attributes:
        n_leaves: Comparisons that may still be looked at; below 1 every further question is left open.
        is_overdrawn: Whether a question was left open, or broken off.
    """

    n_leaves: int = _MOST_LEAVES_IN_ALL
    is_overdrawn: bool = False

    def is_used_up(self) -> bool:
        """Whether the next question has to be left open, which is noted."""
        self.is_overdrawn |= self.n_leaves <= 0
        return self.n_leaves <= 0


def inline(condition: Plain, segments: Mapping[str, Plain]) -> Plain:
    """A condition with every segment replaced by what it stands for; segments have no cycles.

    Example:
        >>> inline({"not": {"segment": "vip"}}, {"vip": {"field": "is_vip", "is": True}})
        {'not': {'field': 'is_vip', 'is': True}}
    """
    if "segment" in condition:
        return inline(segments[condition["segment"]], segments)
    if "not" in condition:
        return {"not": inline(condition["not"], segments)}
    for head in ("all", "any"):
        if head in condition:
            return {head: [inline(part, segments) for part in condition[head]]}
    return condition


def is_possible(demands: Sequence[Demand], budget: Budget | None = None) -> bool:
    """Whether all demands can be met at once; True as well where that would take too long to find out.

    Args:
        demands: The demands.
        budget: What it may take, shared with other questions; None = this question has one of its own.

    Example:
        >>> few = {"field": "n_employees", "less_than": 5}
        >>> many = {"field": "n_employees", "at_least": 5}
        >>> is_possible([Demand({"all": [few, many]}, TRUE)])
        False
        >>> is_possible([Demand({"any": [few, many]}, UNKNOWN)])
        True
    """
    budget = budget or Budget()
    if budget.is_used_up():
        return True
    values = _values(leaf for demand in demands for leaf in demand.leaves)
    search = _Search(values, min(_MOST_LEAVES, budget.n_leaves))
    found = search.is_possible(demands)
    budget.n_leaves -= search.n_seen
    budget.is_overdrawn |= search.is_broken_off
    return found


def reads_context(condition: Plain) -> bool:
    """Whether a condition looks at the moment of the decision; its segments are in their place."""
    return any("context" in leaf for leaf in _leaves(condition))


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A comparison: its subject, the comparison's name, what is compared with, and all that as written."""

    subject: str
    comparison: str
    bound: Any
    written: Plain


@dataclass(frozen=True, slots=True)
class _Node:
    """A negation, a conjunction or a disjunction."""

    head: str
    parts: tuple[_Node | _Leaf, ...]


def _leaves_of(tree: _Node | _Leaf) -> Iterator[_Leaf]:
    if isinstance(tree, _Leaf):
        yield tree
        return
    for part in tree.parts:
        yield from _leaves_of(part)


def _tree(condition: Plain) -> _Node | _Leaf:
    if "not" in condition:
        return _Node("not", (_tree(condition["not"]),))
    for head in ("all", "any"):
        if head in condition:
            return _Node(head, tuple(_tree(part) for part in condition[head]))
    return _Leaf(_subject(condition), *_comparison(condition), condition)


class _Search:
    """Goes through the choices of values and turns back as soon as a demand cannot be met any more."""

    def __init__(self, values: Mapping[str, tuple[Any, ...]], most_leaves: int) -> None:
        self._values = values
        self._chosen: dict[str, Any] = {}
        self._most_leaves = most_leaves
        self.n_seen = 0
        self.is_broken_off = False

    def is_possible(self, demands: Sequence[Demand]) -> bool:
        """Whether some choice of what is not chosen yet meets every demand."""
        left: list[Demand] = []
        for demand in demands:
            self.n_seen += len(demand.leaves)
            found = _truths(demand.tree, self._chosen)
            if not found & demand.truths:
                return False
            if found & ~demand.truths:
                left.append(demand)
        if not left:
            return True
        if self.n_seen > self._most_leaves:
            self.is_broken_off = True
            return True
        # the demand with the fewest unknowns decides soonest
        narrow = min(left, key=lambda demand: len(demand.subjects - self._chosen.keys()))
        subject = min(narrow.subjects - self._chosen.keys(), key=lambda name: (len(self._values[name]), name))
        for value in self._values[subject]:
            self._chosen[subject] = value
            if self.is_possible(left):
                return True
        del self._chosen[subject]
        return False


def _truths(tree: _Node | _Leaf, chosen: Mapping[str, Any]) -> Truths:
    """Every way in which a condition can still come out."""
    if isinstance(tree, _Leaf):
        return _compare(tree, chosen[tree.subject]) if tree.subject in chosen else ANY
    if tree.head == "not":
        return _negated(_truths(tree.parts[0], chosen))
    if tree.head == "all":
        return _all([_truths(part, chosen) for part in tree.parts])
    return _negated(_all([_negated(_truths(part, chosen)) for part in tree.parts]))


def _negated(truths: Truths) -> Truths:
    return truths & UNKNOWN | (TRUE if truths & FALSE else 0) | (FALSE if truths & TRUE else 0)


def _all(parts: Sequence[Truths]) -> Truths:
    """A conjunction is as true as the least true of its parts.

    Example:
        >>> _all([TRUE, TRUE | UNKNOWN]) == TRUE | UNKNOWN, _all([TRUE, FALSE]) == FALSE
        (True, True)
    """
    possible = 0
    for part in parts:
        possible |= part
    found = possible & FALSE
    if all(part & (TRUE | UNKNOWN) for part in parts):
        found |= possible & UNKNOWN
    if all(part & TRUE for part in parts):
        found |= TRUE
    return found


def _compare(leaf: _Leaf, value: Any) -> int:
    name, bound = leaf.comparison, leaf.bound
    if name == "is_missing":
        return TRUE if (value == _MISSING) == bound else FALSE
    if value == _MISSING:
        return UNKNOWN
    match name:
        case "is":
            holds = value == bound
        case "is_not":
            holds = value != bound
        case "in":
            holds = value in bound
        case "not_in":
            holds = value not in bound
        case "between":
            holds = bound[0] <= value <= bound[1]
        case _:
            holds = {
                "at_least": value >= bound,
                "at_most": value <= bound,
                "more_than": value > bound,
                "less_than": value < bound,
            }[name]
    return TRUE if holds else FALSE


def _comparison(condition: Plain) -> tuple[str, Any]:
    for name in COMPARISONS & condition.keys():
        return name, _plain(condition[name])
    return "is", True  # what is held, is held or not


def _plain(value: Any) -> Any:
    """A constant so that those of one subject can be compared: a day as a number."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.toordinal()
    return value


def _subject(condition: Plain) -> str:
    head = {name: value for name, value in condition.items() if name not in COMPARISONS}
    return json.dumps(head, sort_keys=True, default=str)


def _fact(condition: Plain) -> Fact | None:
    """The fact a leaf compares; None where the leaf is true or false by itself."""
    if "field" in condition:
        return field_fact(condition["field"])
    if "context" in condition:
        return CONTEXT[condition["context"]]
    return None if "holds" in condition else COUNT


def _leaves(condition: Plain) -> Iterable[Plain]:
    if "not" in condition:
        yield from _leaves(condition["not"])
        return
    for head in ("all", "any"):
        if head in condition:
            for part in condition[head]:
                yield from _leaves(part)
            return
    yield condition


def _values(leaves: Iterable[_Leaf]) -> dict[str, tuple[Any, ...]]:
    """Subject → the values that stand for all its values."""
    constants: dict[str, list[Any]] = {}
    written: dict[str, Plain] = {}
    for leaf in leaves:
        bound = leaf.bound
        listed = bound if isinstance(bound, list) else [] if leaf.comparison == "is_missing" else [bound]
        constants.setdefault(leaf.subject, []).extend(listed)
        written[leaf.subject] = leaf.written
    return {subject: _representatives(written[subject], found) for subject, found in constants.items()}


def _representatives(leaf: Plain, constants: list[Any]) -> tuple[Any, ...]:
    fact = _fact(leaf)
    if fact is None:
        return (True, False)
    is_known = not ALWAYS_KNOWN.isdisjoint((leaf.get("field"), leaf.get("context"), *leaf))
    unknown = () if is_known else (_MISSING,)
    if fact.kind is Kind.FLAG:
        return (True, False, *unknown)
    if fact.kind is Kind.CHOICE:
        return (*fact.labels, *unknown)
    if fact.kind is Kind.TEXT:
        return (*dict.fromkeys(constants), _OTHER, *unknown)
    return (*_numbers(sorted(set(constants)), fact), *unknown)


def _numbers(constants: list[float], fact: Fact) -> list[float]:
    """Each constant, one number between each two, one beyond either end, within the fact's bounds."""
    is_dense = fact.kind is Kind.NUMBER
    gaps = pairwise(constants)
    between = [(low + high) / 2 for low, high in gaps if is_dense or high - low > 1]
    least, most = (constants[0], constants[-1]) if constants else (0, 0)
    ends = [
        least / 2 if is_dense else least - 1,
        (most + min(fact.high, most + 2)) / 2 if is_dense else most + 1,
    ]
    return [number for number in (*constants, *between, *ends) if fact.low <= number <= fact.high]
