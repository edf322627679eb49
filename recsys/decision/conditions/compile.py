"""Conditions compiled into bits, evaluated for one client and for many by the same few operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

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
from recsys.decision.conditions.nodes import Nodes, Test
from recsys.decision.conditions.questions import Layout, Question, Wanted
from recsys.decision.conditions.scales import (
    Bits,
    CountScale,
    NumberBits,
    NumberScale,
    Rows,
    TextBits,
    TextScale,
    bits_by_cell,
    rows_of,
)
from recsys.decision.conditions.syntax import Condition
from recsys.decision.flat import MANY_CLIENTS
from recsys.domain import ClientState
from recsys.features.lifecycle import StageThresholds

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue

BoolArray = NDArray[np.bool_]

_TRUTHS = bytes.maketrans(b"01", b"\0\1")


class Truth(NamedTuple):
    """What is known of conditions; neither rail = unknown.

    Attributes:
        is_true: n_conditions_by_clients.
        is_false: The same.
    """

    is_true: BoolArray
    is_false: BoolArray


class Reader(Protocol):
    """Reads some facts."""

    def read(self, state: ClientState, now: datetime, today: Today) -> Bits:
        """What they tell of a client."""

    def read_all(self, states: Sequence[ClientState], now: datetime, today: Today, found: Rows) -> None:
        """Add what they tell of each of many clients to its row."""


class QuestionSet:
    """Questions, ready to be asked of clients.

    Equal parts of conditions are compared once, however many questions stand on them.

    Args:
        questions: The questions, in the order of the answers.
        segments: What conditions may name.
        catalogue: What scopes mean. Offers that it does not have belong to a scope without any bound only.
        thresholds: Where lifecycle stages begin and end.

    Raises:
        ConfigError: A segment is not declared, or refers to itself.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        segments: Mapping[str, Condition],
        catalogue: CompiledCatalogue,
        thresholds: StageThresholds = StageThresholds(),  # noqa: B008 -- frozen
    ) -> None:
        nodes = Nodes(segments, catalogue)
        wanted = [
            Wanted(nodes.literal(question.condition) ^ (not question.is_true), question.is_unknown_enough)
            for question in questions
        ]
        layout = Layout(nodes.nodes, wanted)
        self._n_questions = len(questions)
        self._turned, self._gates = layout.turned, layout.gates
        self._n_bits, self._top = layout.n_bits, 1 << len(questions)
        self.n_tests = len(layout.uses)
        """Number of distinct comparisons."""
        self._compile_facts(layout, nodes.texts, catalogue, thresholds)

    def answers(self, states: Sequence[ClientState], moments: Moment | Sequence[Moment]) -> BoolArray:
        """Ask every question of every client.

        Args:
            states: The clients, each as it is at that moment (see `recsys.data.state.present`).
            moments: The context of the decision, or one for each of the states; a state that stands next
                to itself is read once.

        Returns:
            clients_by_questions, in the order of the states and the questions.
        """
        each = [moments] * len(states) if isinstance(moments, Moment) else moments
        if len(states) >= MANY_CLIENTS and each.count(each[0]) == len(each):
            return self.answers_of_all(states, each[0])
        told = bytearray(b"".join(self.answers_of_each(states, each)))
        return np.ndarray((len(states), self._n_questions), dtype=bool, buffer=told)

    def answers_of_each(self, states: Sequence[ClientState], moments: Sequence[Moment]) -> list[bytes]:
        """The answers of each of a few clients: a byte for each question, 1 or 0."""
        found = []
        state_before: ClientState | None = None
        now_before: datetime | None = None
        today_before: Today | None = None
        own, top = 0, self._top
        for state, moment in zip(states, moments, strict=True):
            now = moment.now
            today, context = self._context.read(moment)
            if state is not state_before or now is not now_before or today is not today_before:
                state_before, now_before, today_before = state, now, today
                own = 0
                for reader in self._readers:
                    own |= reader.read(state, now, today)
            bits = (own | context) ^ self._turned
            for sources, is_all, bit in self._gates:
                if bits & sources == sources if is_all else bits & sources:
                    bits |= bit
            # a number is written faster than an array takes its bits apart; `top` keeps the zeros in front
            found.append(bin(bits & (top - 1) | top)[3:].encode().translate(_TRUTHS))
        return found

    def answers_of_all(self, states: Sequence[ClientState], moment: Moment) -> BoolArray:
        """The answers of many clients at one moment, fact by fact."""
        if not self._n_questions:
            return np.zeros((len(states), 0), dtype=bool)
        today, context = self._context.read(moment)
        found = rows_of([context], self._n_bits).repeat(len(states), axis=0)
        for reader in self._readers:
            reader.read_all(states, moment.now, today, found)
        found ^= rows_of([self._turned], self._n_bits)
        for sources, is_all, bit in self._gates:
            wanted, added = rows_of([sources, bit], self._n_bits)
            known = found & wanted
            is_set = (known == wanted).all(axis=1) if is_all else known.any(axis=1)
            found[is_set] |= added
        answers = np.unpackbits(found.view(np.uint8), axis=1).view(bool)
        return answers[:, answers.shape[1] - self._n_questions :]

    def _compile_facts(
        self,
        layout: Layout,
        texts: Mapping[FactKey, TextScale],
        catalogue: CompiledCatalogue,
        thresholds: StageThresholds,
    ) -> None:
        """Make the readers."""
        tests: dict[FactKey, list[Test]] = {}
        for test in layout.uses:
            tests.setdefault(test.fact, []).append(test)
        told_texts: dict[FactKey, TextBits] = {}
        told_numbers: dict[FactKey, NumberBits] = {}
        context: dict[FactKey, TextBits | NumberBits] = {}
        held: dict[FactKey, list[Bits]] = {}
        events: dict[FactKey, list[Bits]] = {}
        for key, found in tests.items():
            compared = [(test.intervals, layout.uses[test]) for test in found]
            intervals = [interval for test in found for interval in test.intervals]
            if key.head not in ("field", "context"):
                counted = events if "event" in key.head else held
                counted[key] = bits_by_cell(CountScale(intervals), compared)
            elif key in texts:
                of_texts = context if key.head == "context" else told_texts
                of_texts[key] = texts[key].told(bits_by_cell(texts[key], compared))
            else:
                scale = NumberScale(intervals)
                of_numbers = context if key.head == "context" else told_numbers
                of_numbers[key] = scale.told(bits_by_cell(scale, compared))
        self._context = ContextReader(context)
        n_bits = layout.n_bits
        self._readers: list[Reader] = [NumberReader(told_numbers, n_bits)]
        if told_texts:
            self._readers.append(TextReader(told_texts, n_bits, thresholds))
        if held:
            self._readers.append(HeldReader(held, n_bits, catalogue))
        if events:
            self._readers.append(EventReader(events, n_bits, catalogue))


class ConditionSet:
    """Conditions, ready to be evaluated.

    Args:
        conditions: The conditions, in the order of the answer.
        segments: What conditions may name.
        catalogue: What scopes mean; see `QuestionSet`.
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
        self._n = len(conditions)
        questions = [Question(condition, is_true) for is_true in (True, False) for condition in conditions]
        self._questions = QuestionSet(questions, segments, catalogue, thresholds)

    def __len__(self) -> int:
        return self._n

    @property
    def n_tests(self) -> int:
        """Number of distinct comparisons."""
        return self._questions.n_tests

    def evaluate(self, states: Sequence[ClientState], moments: Moment | Sequence[Moment]) -> Truth:
        """What is known of every condition for every client.

        Args:
            states: The clients; see `QuestionSet.answers`.
            moments: The context of the decision, or one for each of the states.

        Returns:
            Rails of shape (n_conditions, n_states), in the order of the conditions and the states.
        """
        answers = self._questions.answers(states, moments).T
        return Truth(answers[: self._n], answers[self._n :])
