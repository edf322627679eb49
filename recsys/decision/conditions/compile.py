"""Conditions compiled into arrays, evaluated for one client and for many by the same few array operations.

Truth is a number: 1 true, 0 unknown, −1 false. Then *and* is the minimum, *or* the maximum and *not* the
change of sign. What a fact's value tells of every comparison with it is a row of truths, made beforehand
for each cell of the fact's scale: to read a client is to look up a row for each fact and to lay them side
by side.

Source:
    S. C. Kleene, Introduction to Metamathematics (1952), § 64: strong three-valued logic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.conditions.counted import EventReader, HeldReader
from recsys.decision.conditions.facts import (
    ContextReader,
    FactKey,
    Moment,
    NumberReader,
    TextReader,
    Today,
)
from recsys.decision.conditions.nodes import Literal, Nodes, Test
from recsys.decision.conditions.scales import (
    CountScale,
    Interval,
    NumberRows,
    NumberScale,
    Row,
    TextRows,
    TextScale,
    TruthArray,
    rows_by_cell,
)
from recsys.decision.conditions.syntax import Condition
from recsys.domain import ClientState
from recsys.features.lifecycle import StageThresholds
from recsys.history import hour_of

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue

PositionArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

# For few clients a number is looked up by itself, for many all of a fact at once.
_MANY_CLIENTS = 16


class Truth(NamedTuple):
    """What is known of conditions; neither rail = unknown.

    Attributes:
        is_true: n_conditions_by_clients.
        is_false: The same.
    """

    is_true: BoolArray
    is_false: BoolArray


class _Level(NamedTuple):
    """Conjunctions that stand on what comes before them.

    Attributes:
        sources: Rows whose minimum is taken, width_by_conjunctions.
        n: Number of conjunctions.
        start: First row to write; the negations follow.
    """

    sources: PositionArray
    n: int
    start: int


class ConditionSet:
    """Conditions, ready to be evaluated.

    Equal conditions are compiled once, and so are equal parts of different ones.

    Args:
        conditions: The conditions, in the order of the answer.
        segments: What conditions may name.
        catalogue: What scopes mean. Offers that it does not have belong to a scope without any bound only.
        thresholds: Where lifecycle stages begin and end.

    Raises:
        ConfigError: A segment is not declared, or refers to itself.

    Example:
        >>> from datetime import UTC, datetime
        >>> from recsys.decision.catalogue import CompiledCatalogue
        >>> from recsys.domain import ClientId, Profile
        >>> staff = Condition.model_validate({"field": "n_employees", "at_least": 10})
        >>> compiled = ConditionSet([staff], {}, CompiledCatalogue(()))
        >>> states = [ClientState(ClientId("c"), profile=Profile(n_employees=n)) for n in (9, 10, None)]
        >>> truth = compiled.evaluate(states, Moment(datetime(2025, 1, 1, tzinfo=UTC)))
        >>> truth.is_true.tolist(), truth.is_false.tolist()
        ([[False, True, False]], [[True, False, False]])
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        segments: Mapping[str, Condition],
        catalogue: CompiledCatalogue,
        thresholds: StageThresholds = StageThresholds(),  # noqa: B008 -- frozen
    ) -> None:
        nodes = Nodes(segments, catalogue)
        literals = [nodes.literal(condition) for condition in conditions]
        tests: dict[FactKey, list[Test]] = {}
        for node in nodes.nodes:
            if isinstance(node, Test):
                tests.setdefault(node.fact, []).append(node)
        compared = {fact: [test.intervals for test in found] for fact, found in tests.items()}
        facts = self._compile_facts(compared, nodes.texts, catalogue, thresholds)
        self._compile_levels(nodes.nodes, [tests[fact] for fact in facts], literals)

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def n_tests(self) -> int:
        """Number of distinct comparisons."""
        return self._n_tests

    @property
    def n_conjunctions(self) -> int:
        """Number of distinct groups that are evaluated, wide ones in several."""
        return sum(level.n for level in self._levels)

    def evaluate(self, states: Sequence[ClientState], moments: Moment | Sequence[Moment]) -> Truth:
        """What is known of every condition for every client.

        Args:
            states: The clients, each as it is at that moment (see `recsys.data.state.present`).
            moments: The context of the decision, or one for each of the states; a state that stands next
                to itself is read once.

        Returns:
            Rails of shape (n_conditions, n_states), in the order of the conditions and the states.
        """
        truths = self.truths(states, moments)
        return Truth(truths > 0, truths < 0)

    def truths(self, states: Sequence[ClientState], moments: Moment | Sequence[Moment]) -> TruthArray:
        """The same as one number: 1 true, 0 unknown, −1 false."""
        if not len(self) or not states:
            return np.zeros((len(self), len(states)), dtype=np.int8)
        truths = self._read(states, moments)
        for sources, n, start in self._levels:
            parts = truths.take(sources, axis=0)
            found = np.minimum.reduce(parts, axis=0, out=truths[start : start + n])
            np.negative(found, out=truths[start + n : start + 2 * n])
        return truths.take(self._answers, axis=0)

    def _read(self, states: Sequence[ClientState], moments: Moment | Sequence[Moment]) -> TruthArray:
        """What is told of all facts, truths_by_states, with room for what follows from it."""
        each = [moments] * len(states) if isinstance(moments, Moment) else moments
        is_many = len(states) >= _MANY_CLIENTS
        rows: list[Row] = []
        numbers: list[float | None] = []
        own: list[Row] = []
        values: list[float | None] = []
        state_before: ClientState | None = None
        moment_before = each[0]
        today, context = self._read_moment(moment_before)
        for state, moment in zip(states, each, strict=True):
            if moment is not moment_before and moment != moment_before:
                moment_before, today_before = moment, today
                today, context = self._read_moment(moment)
                if today != today_before:
                    state_before = None
            if state is not state_before:
                state_before = state
                values = self._numbers.values(state, today)
                own = [] if is_many else self._numbers.rows(values)
                for reader in self._readers:
                    own += reader.rows(state, today)
            rows += own
            rows.append(context)
            if is_many:
                numbers += values
        told = np.frombuffer(bytearray().join(rows), dtype=np.int8).reshape(len(states), -1).T
        if is_many:
            return np.concatenate([*self._numbers.columns(numbers, len(states)), told])
        return np.ascontiguousarray(told)

    def _read_moment(self, moment: Moment) -> tuple[Today, Row]:
        local = moment.now.astimezone(moment.zone)
        today = Today(moment.now, local.date(), hour_of(moment.now))
        return today, self._context.row(moment, local) + self._room

    def _compile_facts(
        self,
        comparisons: Mapping[FactKey, Sequence[Sequence[Interval]]],
        texts: Mapping[FactKey, TextScale],
        catalogue: CompiledCatalogue,
        thresholds: StageThresholds,
    ) -> list[FactKey]:
        """Make the readers; returns the facts in the order in which they are read."""
        plain: dict[str, dict[FactKey, TextRows | NumberRows]] = {"field": {}, "context": {}}
        counted: dict[str, dict[FactKey, Sequence[Row]]] = {"held": {}, "event": {}}
        for key, compared in comparisons.items():
            intervals = [interval for each in compared for interval in each]
            if key.head in plain:
                scale = texts.get(key) or NumberScale(intervals)
                plain[key.head][key] = scale.told(rows_by_cell(scale, compared))
            else:
                of_head = counted["event" if "event" in key.head else "held"]
                of_head[key] = rows_by_cell(CountScale(intervals), compared)
        self._context = ContextReader(plain["context"])
        fields = plain["field"].items()
        self._numbers = NumberReader({key: rows for key, rows in fields if isinstance(rows, NumberRows)})
        texts_told = {key: rows for key, rows in fields if isinstance(rows, TextRows)}
        self._readers: list[TextReader | HeldReader | EventReader] = []
        if texts_told:
            self._readers.append(TextReader(texts_told, thresholds))
        if counted["held"]:
            self._readers.append(HeldReader(counted["held"], catalogue))
        if counted["event"]:
            self._readers.append(EventReader(counted["event"], catalogue))
        return [key for reader in (self._numbers, *self._readers, self._context) for key in reader.keys]

    def _compile_levels(
        self,
        nodes: Sequence[Test | tuple[Literal, ...]],
        tests: Sequence[Sequence[Test]],
        literals: Sequence[Literal],
    ) -> None:
        """Give every literal that is needed a row; `tests` are those of each fact, as they are read."""
        rows_of_tests: dict[Test, tuple[int, int]] = {}
        start = 0
        for found in tests:
            for place, test in enumerate(found, start):
                rows_of_tests[test] = (place, place + len(found))
            start += 2 * len(found)
        self._n_tests = len(rows_of_tests)
        rows = np.zeros(2 * len(nodes), dtype=np.intp)
        heights: dict[int, int] = {}
        levels: dict[int, list[int]] = {}
        needed = _needed(nodes, literals)
        for number, node in enumerate(nodes):
            if isinstance(node, Test):
                heights[number] = 0
                rows[2 * number : 2 * number + 2] = rows_of_tests[node]
            elif number in needed:
                heights[number] = 1 + max(heights[literal // 2] for literal in node)
                levels.setdefault(heights[number], []).append(number)
        self._levels: list[_Level] = []
        for _, members in sorted(levels.items()):
            parts = [nodes[number] for number in members]
            width = max(map(len, parts))
            # the same row again changes no minimum
            padded = [[*part, *[part[-1]] * (width - len(part))] for part in parts]
            sources = rows[np.array(padded, dtype=np.intp).T]
            self._levels.append(_Level(sources, len(members), start))
            rows[2 * np.array(members)] = np.arange(start, start + len(members))
            rows[2 * np.array(members) + 1] = np.arange(start, start + len(members)) + len(members)
            start += 2 * len(members)
        self._room = bytes(start - 2 * self._n_tests)
        self._answers = rows[np.array(literals, dtype=np.intp)]


def _needed(nodes: Sequence[Test | tuple[Literal, ...]], literals: Sequence[Literal]) -> set[int]:
    """The nodes on which literals stand; a conjunction that became part of another is not among them."""
    needed = {literal // 2 for literal in literals}
    for number in range(len(nodes) - 1, -1, -1):
        node = nodes[number]
        if number in needed and not isinstance(node, Test):
            needed.update(literal // 2 for literal in node)
    return needed
