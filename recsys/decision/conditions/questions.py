"""Questions about conditions: asked of three truths, answered in two, so that bits can do it.

Truth is a number: 1 true, 0 unknown, −1 false; *and* is the minimum, *or* the maximum, *not* the change of
sign. A question asks whether a truth exceeds a bound: −1 where "unknown" is enough, else 0. Bounds pass
through minimum and maximum, so of a question only plain *and*, *or* and compared comparisons are left.

Each question has a bit. What a fact's value tells is a number with the bits that it sets, and all that is
known of a client is the *or* of those: a question that any of some comparisons answers is asked by that
alone, and one that all of them must answer sets its bit where one does not, and is turned round afterwards.
Only what stands on other groups than comparisons is a gate that looks at bits already there.

Source:
    S. C. Kleene, Introduction to Metamathematics (1952), § 64: strong three-valued logic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from recsys.decision.conditions.nodes import Literal, Test
from recsys.decision.conditions.scales import Bits, Use
from recsys.decision.conditions.syntax import Condition


class Question(NamedTuple):
    """Whether a condition has a truth.

    Attributes:
        condition: The condition.
        is_true: Whether it has to be true; otherwise false.
        is_unknown_enough: Whether it may also be unknown.
    """

    condition: Condition
    is_true: bool = True
    is_unknown_enough: bool = False


class Gate(NamedTuple):
    """A bit that follows from others.

    Attributes:
        sources: The bits it stands on.
        is_all: Whether all of them must be set, or any.
        bit: The bit to set.
    """

    sources: Bits
    is_all: bool
    bit: Bits


class Wanted(NamedTuple):
    """A literal of which a truth is wanted; see `Question`."""

    literal: Literal
    is_unknown_enough: bool

    def truths(self) -> frozenset[int]:
        """The truths of the literal's node that answer it."""
        sign, bound = (-1 if self.literal & 1 else 1), (-1 if self.is_unknown_enough else 0)
        return frozenset(truth for truth in (-1, 0, 1) if sign * truth > bound)


class Layout:
    """Which bits each comparison sets, and what is done with them.

    Args:
        nodes: Comparisons, and conjunctions of literals.
        wanted: What is asked; the bits read from the highest to the lowest, so that their number, written
            down, is the answers in order.

    Attributes:
        uses: The bits that each comparison sets.
        turned: The bits that are turned round once every fact was read.
        gates: What follows then, in this order.
        n_bits: Number of bits, those of the gates' sources above those that are asked.
    """

    def __init__(self, nodes: Sequence[Test | tuple[Literal, ...]], wanted: Sequence[Wanted]) -> None:
        self._nodes = nodes
        self._bits: dict[Wanted, Bits] = {}
        self.n_bits = len(wanted)
        self.uses: dict[Test, list[Use]] = {}
        self.turned: Bits = 0
        self.gates: list[Gate] = []
        for place, asked in enumerate(wanted):
            self._place(asked, 1 << (len(wanted) - 1 - place))

    def _place(self, wanted: Wanted, bit: Bits) -> None:
        node = self._nodes[wanted.literal // 2]
        if isinstance(node, Test):
            self._use(wanted, bit, is_turned=False)
            return
        # what refutes a conjunction is the refutation of any of its parts
        is_all = not wanted.literal & 1
        parts = [Wanted(part ^ (wanted.literal & 1), wanted.is_unknown_enough) for part in node]
        if all(isinstance(self._nodes[part.literal // 2], Test) for part in parts):
            self.turned |= bit if is_all else 0
            for part in parts:
                self._use(part, bit, is_turned=is_all)
        else:
            self.gates.append(Gate(sum({self._bit_of(part) for part in parts}), is_all, bit))

    def _use(self, wanted: Wanted, bit: Bits, *, is_turned: bool) -> None:
        test = self._nodes[wanted.literal // 2]
        truths = frozenset({-1, 0, 1}) - wanted.truths() if is_turned else wanted.truths()
        if isinstance(test, Test):
            self.uses.setdefault(test, []).append(Use(bit, truths))

    def _bit_of(self, wanted: Wanted) -> Bits:
        """The bit of what a gate stands on."""
        if wanted not in self._bits:
            bit = self._bits[wanted] = 1 << self.n_bits
            self.n_bits += 1
            self._place(wanted, bit)
        return self._bits[wanted]
