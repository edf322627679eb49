"""Engagement policy: what may be proposed to a client, and which rule refuses the rest.

availability → eligibility → applicability → suitability, for one client or for many by the same code. The
verdict on an offer is the smallest number among the rules that refuse it: those of the policy by their
conditions, the relations of the catalogue by the client's holdings, the rest whoever the client is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.availability import NO_RESTRICTIONS, Availability, Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import QuestionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.questions import Question
from recsys.decision.conditions.syntax import Condition
from recsys.decision.flat import MANY_CLIENTS, FlatHoldings
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


class Verdicts(NamedTuple):
    """For each offer the first rule that refuses it, and what taking it would change.

    Attributes:
        numbers: Number of the rule by position, `NO_RULE` where the offer is a candidate. Later stages may
            add refusals and never clear one.
        changes: Place in `Change` by position.
    """

    numbers: NumberArray
    changes: ChangeArray

    def refuse(self, positions: Iterable[int], number: int) -> None:
        """Refuse offers by a rule, except where a rule with a smaller number did."""
        cells = self.numbers.data
        for position in positions:
            cells[position] = min(cells[position], number)

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
        asked: By client, of each of the further conditions whether it is true (not: unknown): a byte, 1 or 0.
    """

    numbers: NumberArray
    changes: ChangeArray
    asked: list[bytes]

    def __getitem__(self, client: int) -> Verdicts:
        return Verdicts(self.numbers[client], self.changes[client])


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
        self._relations = Relations(catalogue, book)
        self._availability = Availability(catalogue, spec.volume_caps, book, self._relations.alone)
        tests: dict[Question, int] = {}
        rows = sorted(
            [_row_of(rule, tests, book, catalogue) for rule in spec.rules], key=lambda row: row.number
        )
        self._proposals = Proposals(catalogue, spec.changes, len(self._relations.codes))
        self._n_tests = len(tests)
        self._n_asked_for = len(tests) + len(self._proposals.conditions)
        further = [Question(condition) for condition in (*self._proposals.conditions, *asked)]
        questions = [*tests, *further]
        self._questions = QuestionSet(questions, spec.segments, catalogue, thresholds)
        # what no rule asks refuses nothing
        self._table = RuleTable(rows, len(questions), len(catalogue))

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
        lifted: frozenset[int] = frozenset()
        if restrictions.lifted_rules:
            lifted = frozenset(map(self.book.number_of, restrictions.lifted_rules))
        if len(states) >= MANY_CLIENTS and not lifted and each.count(each[0]) == len(each):
            found = self._engage_all(states, each[0])
        else:
            found = self._engage_each(states, each, lifted)
        self._availability.restrict(found.numbers, states, restrictions)
        return found

    def _engage_each(
        self, states: Sequence[ClientState], moments: Sequence[Moment], lifted: frozenset[int]
    ) -> Engaged:
        """Apply every stage, client by client; `lifted` = numbers of rules that are left out."""
        answers = self._questions.answers_of_each(states, moments)
        shape = (len(states), len(self.catalogue))
        numbers, changes = np.empty(shape, np.int16), np.zeros(shape, np.int8)
        for client, (state, moment, told) in enumerate(zip(states, moments, answers, strict=True)):
            refused, standing = numbers[client], self._availability.standing(state, moment.now)
            first = self._first_of_others(told, lifted) if lifted else self._table.first_for_new(told)
            np.minimum(first, standing.alone, out=refused)
            if not state.holdings:
                continue
            cells, names = refused.data, {held.offer_id for held in state.holdings}
            self._relations.refuse_as_new(cells, first, standing, names)
            is_true = told[self._n_tests : self._n_asked_for]
            today = moment.now.astimezone(moment.zone).date()
            proposed = self._proposals.find(state.holdings, names, is_true, moment.now, today)
            for position, change in proposed.items():
                changes[client, position] = change
                cells[position] = min(
                    standing.otherwise.item(position),
                    self._table.first_for(told, position, change, lifted),
                    self._relations.refused_otherwise(names, position),
                )
        return Engaged(numbers, changes, [told[self._n_asked_for :] for told in answers])

    def _engage_all(self, states: Sequence[ClientState], moment: Moment) -> Engaged:
        """The same for all clients at once; nothing is lifted."""
        answers = self._questions.answers_of_all(states, moment)
        numbers = self._table.first_for_new_of_all(answers)
        changes = np.zeros(numbers.shape, dtype=np.int8)
        standing, rows = self._availability.standing_of_all(states, moment.now)
        held = FlatHoldings.of(states, self._relations.codes)
        fulfilled = self._relations.refuse_all_as_new(numbers, standing, rows, held)
        is_true = answers[:, self._n_tests : self._n_asked_for]
        today = moment.now.astimezone(moment.zone).date()
        places, proposed = self._proposals.find_all(held, is_true, moment.now, today)
        if len(places):
            clients, positions = np.divmod(places, len(self.catalogue))
            refused = [
                standing.otherwise[rows[clients], positions],
                self._table.first_for_all(answers, places, proposed),
                self._relations.refused_all_otherwise(places, held, fulfilled),
            ]
            changes.reshape(-1)[places] = proposed
            numbers.reshape(-1)[places] = np.minimum.reduce(refused)
        asked = [told.tobytes() for told in answers[:, self._n_asked_for :]]
        return Engaged(numbers, changes, asked)

    def _first_of_others(self, told: bytes, lifted: AbstractSet[int]) -> NumberArray:
        """The first rule that refuses each offer if it would be new, but for some rules."""
        every = range(len(self.catalogue))
        numbers = [self._table.first_for(told, position, NEW, lifted) for position in every]
        return np.array(numbers, dtype=np.int16)


def _row_of(
    rule: RuleSpec, tests: dict[Question, int], book: RuleBook, catalogue: CompiledCatalogue
) -> TableRow:
    test = Question(rule.condition, rule.is_refused_when_true, rule.is_refused_when_unknown)
    place = tests.setdefault(test, len(tests))
    changes = np.array([not rule.changes or change in rule.changes for change in CHANGES])
    return TableRow(book.number_of(rule.id), place, rule.offers.mask(catalogue), changes)
