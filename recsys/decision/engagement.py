"""Engagement policy: what may be proposed to a client, and which rule refuses the rest.

availability → eligibility → applicability → suitability, for one client or for many by the same code. The
verdict on an offer is the smallest number among the rules that refuse it: those of the policy by their
conditions, the relations of the catalogue by the client's holdings, the rest whoever the client is.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.availability import NO_RESTRICTIONS, Availability, Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import QuestionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.questions import Question
from recsys.decision.conditions.syntax import Condition
from recsys.decision.flat import FlatHoldings
from recsys.decision.holdings import Relations
from recsys.decision.policy.engagement import EngagementSpec, RuleSpec
from recsys.decision.proposals import CHANGES, NEW, Proposals
from recsys.decision.rulebook import NO_RULE, RuleBook
from recsys.decision.ruletable import RuleTable, TableRow
from recsys.domain import Change, ClientState
from recsys.features.lifecycle import StageThresholds

BoolArray = NDArray[np.bool_]
NumberArray = NDArray[np.int16]
ChangeArray = NDArray[np.int8]

# For few clients it is cheaper to look at the holdings of each, for many at all of them at once.
_MANY_CLIENTS = 32


@dataclass(frozen=True, slots=True)
class Verdicts:
    """For each offer the first rule that refuses it, and what taking it would change.

    Attributes:
        numbers: Number of the rule by position, `NO_RULE` where the offer is a candidate. Later stages may
            add refusals and never clear one.
        changes: Place in `Change` by position.
    """

    numbers: NumberArray
    changes: ChangeArray

    def refuse(self, positions: NDArray[np.intp] | Sequence[int], number: int) -> None:
        """Refuse offers by a rule, except where a rule with a smaller number did."""
        self.numbers[positions] = np.minimum(self.numbers[positions], np.int16(number))

    @property
    def is_candidate(self) -> BoolArray:
        """By position, whether no rule refuses the offer."""
        is_candidate: BoolArray = self.numbers == NO_RULE
        return is_candidate

    def change_of(self, position: int) -> Change:
        """What taking the offer would change."""
        return CHANGES[int(self.changes[position])]


@dataclass(slots=True)
class Engaged:
    """The verdicts for many clients.

    Attributes:
        numbers: As in `Verdicts`, clients_by_offers.
        changes: As in `Verdicts`, clients_by_offers.
        asked: Whether each of the further conditions is true (not: unknown), clients_by_conditions.
    """

    numbers: NumberArray
    changes: ChangeArray
    asked: BoolArray

    def __getitem__(self, client: int) -> Verdicts:
        return Verdicts(self.numbers[client], self.changes[client])


class _Known(NamedTuple):
    """What is known of clients before their holdings are looked at.

    Attributes:
        is_failing: clients_by_tests.
        is_true: Whether the conditions of the proposals are true, clients_by_conditions.
        without: The first rule that refuses each offer if it would be new and nothing is required.
        standing: The first that refuses it whatever it would change.
        lifted: Numbers of rules that are left out.
    """

    is_failing: BoolArray
    is_true: BoolArray
    without: NumberArray
    standing: NumberArray
    lifted: frozenset[int]


class Engagement:
    """An engagement policy, compiled for a catalogue.

    A held offer is refused as already connected unless a renewal, a retention or an expansion is proposed
    for it (the first of these that applies). The next edition of a held offer is an upgrade: neither the
    slot that the old edition fills nor an exclusion of the old edition refuses it. An exclusive slot
    refuses only what would be new.

    Args:
        catalogue: The compiled catalogue.
        spec: The policy's rules, volume caps and proposals.
        book: The rules' numbers; made from the same `spec`.
        asked: Further conditions whose truth is told along with the verdicts, so that facts are read once.
        thresholds: Where lifecycle stages begin and end.
    """

    def __init__(
        self,
        catalogue: CompiledCatalogue,
        spec: EngagementSpec,
        book: RuleBook,
        asked: Sequence[Condition] = (),
        thresholds: StageThresholds = StageThresholds(),  # noqa: B008 -- frozen
    ) -> None:
        self.catalogue = catalogue
        self.book = book
        self._availability = Availability(catalogue, spec.volume_caps, book)
        self._relations = Relations(catalogue, book)
        tests: dict[Question, int] = {}
        rows = sorted(
            [_row_of(rule, tests, book, catalogue) for rule in spec.rules], key=lambda row: row.number
        )
        self._table = RuleTable(rows, len(tests), len(catalogue))
        self._proposals = Proposals(catalogue, spec.changes, len(self._relations.codes))
        self._n_tests = len(tests)
        self._n_asked_for = len(tests) + len(self._proposals.conditions)
        further = [Question(condition) for condition in (*self._proposals.conditions, *asked)]
        self._questions = QuestionSet([*tests, *further], spec.segments, catalogue, thresholds)

    def engage(
        self,
        states: Sequence[ClientState],
        moments: Moment | Sequence[Moment],
        restrictions: Restrictions = NO_RESTRICTIONS,
    ) -> Engaged:
        """Apply every stage from availability to suitability.

        Args:
            states: The clients, ≥1; memory grows with their number times that of the offers.
            moments: When and where the decision is made, or that of each of the states; a state that stands
                next to itself is read once.
            restrictions: Suspensions, used-up caps, and the spending limit of the member who asks.

        Returns:
            The verdict on every offer for every client.
        """
        each = [moments] * len(states) if isinstance(moments, Moment) else moments
        answers = self._questions.answers(states, each)
        lifted: frozenset[int] = frozenset()
        if restrictions.lifted_rules:
            lifted = frozenset(map(self.book.number_of, restrictions.lifted_rules))
        is_failing = answers[:, : self._n_tests]
        standing = self._availability.numbers(states, each, restrictions)
        numbers = self._first_for_new(is_failing, lifted)
        np.minimum(numbers, standing, out=numbers)
        found = Engaged(
            np.minimum(numbers, self._relations.alone),
            np.zeros(numbers.shape, dtype=np.int8),
            answers[:, self._n_asked_for :],
        )
        known = _Known(is_failing, answers[:, self._n_tests : self._n_asked_for], numbers, standing, lifted)
        if len(states) >= _MANY_CLIENTS and not lifted and each.count(each[0]) == len(each):
            self._hold_all(states, each[0], known, found)
        else:
            self._hold_each(states, each, known, found)
        return found

    def _hold_each(
        self, states: Sequence[ClientState], each: Sequence[Moment], known: _Known, found: Engaged
    ) -> None:
        """What holdings refuse and make possible, client by client."""
        cells, without, stands = found.numbers.data, known.without.data, known.standing.data
        moment_before, today = None, date.min
        for client, (state, moment) in enumerate(zip(states, each, strict=True)):
            if not state.holdings:
                continue
            if moment is not moment_before:
                moment_before, today = moment, moment.now.astimezone(moment.zone).date()
            names = {held.offer_id for held in state.holdings}
            self._relations.refuse_as_new(cells, without, client, names)
            is_true = known.is_true[client].tobytes()
            changes = self._proposals.find(state.holdings, names, is_true, moment.now, today)
            fails = known.is_failing[client].tobytes() if changes else b""
            for position, change in changes.items():
                found.changes[client, position] = change
                cells[client, position] = min(
                    stands[client, position],
                    self._table.first_for(fails, position, change, known.lifted),
                    self._relations.refused_otherwise(names, position),
                )

    def _hold_all(self, states: Sequence[ClientState], moment: Moment, known: _Known, found: Engaged) -> None:
        """The same for all clients at once; nothing is lifted."""
        held = FlatHoldings.of(states, self._relations.codes)
        today = moment.now.astimezone(moment.zone).date()
        fulfilled = self._relations.refuse_all_as_new(found.numbers, known.without, held)
        places, changes = self._proposals.find_all(held, known.is_true, moment.now, today)
        if not len(places):
            return
        refused = [
            known.standing.reshape(-1)[places],
            self._table.first_for_all(known.is_failing, places, changes),
            self._relations.refused_all_otherwise(places, held, fulfilled),
        ]
        found.changes.reshape(-1)[places] = changes
        found.numbers.reshape(-1)[places] = np.minimum.reduce(refused)

    def _first_for_new(self, is_failing: BoolArray, lifted: AbstractSet[int]) -> NumberArray:
        if not lifted:
            return self._table.first_for_new(is_failing)
        shape = (len(is_failing), len(self.catalogue))
        numbers = [
            self._table.first_for(fails.tobytes(), position, NEW, lifted)
            for fails in is_failing
            for position in range(len(self.catalogue))
        ]
        return np.array(numbers, dtype=np.int16).reshape(shape)


def _row_of(
    rule: RuleSpec, tests: dict[Question, int], book: RuleBook, catalogue: CompiledCatalogue
) -> TableRow:
    test = Question(rule.condition, rule.is_refused_when_true, rule.is_refused_when_unknown)
    place = tests.setdefault(test, len(tests))
    changes = np.array([not rule.changes or change in rule.changes for change in CHANGES])
    return TableRow(book.number_of(rule.id), place, rule.offers.mask(catalogue), changes)
