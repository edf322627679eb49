"""Engagement policy: what may be proposed to a client, and which rule refuses the rest.

availability → eligibility → applicability → suitability, for one client or for many by the same code. The
verdict on an offer is the smallest number among the rules that refuse it: those of the policy by their
conditions, the relations of the catalogue by the client's holdings, the rest whoever the client is.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.availability import NO_RESTRICTIONS, Availability, Restrictions
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.conditions.compile import ConditionSet
from recsys.decision.conditions.facts import Moment
from recsys.decision.conditions.syntax import Condition
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


@dataclass(frozen=True, slots=True)
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
        tests: dict[_Test, int] = {}
        rows = sorted(
            [_row_of(rule, tests, book, catalogue) for rule in spec.rules], key=lambda row: row.number
        )
        self._table = RuleTable(rows, len(tests), len(catalogue))
        self._proposals = Proposals(catalogue, spec.changes)
        self._n_tests = len(tests)
        self._n_asked_for = len(tests) + len(self._proposals.conditions)
        conditions = [*[_refusing(test) for test in tests], *self._proposals.conditions, *asked]
        self._conditions = ConditionSet(conditions, spec.segments, catalogue, thresholds)
        # Truth above this refuses: 0 is unknown.
        bounds = [-1 if test.is_unknown_refused else 0 for test in tests]
        self._bounds = np.array(bounds, dtype=np.int8).reshape(-1, 1)

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
        truths = self._conditions.truths(states, each)
        is_failing = truths[: self._n_tests] > self._bounds
        held = [{holding.offer_id for holding in state.holdings} for state in states]
        numbers = self._relations.refused_as_new(held)
        np.minimum(numbers, self._first_for_new(is_failing, restrictions), out=numbers)
        changes = np.zeros(numbers.shape, dtype=np.int8)
        proposals = self._proposals.find(states, held, truths[self._n_tests : self._n_asked_for] > 0, each)
        if proposals:
            lifted = self._lifted(restrictions)
            refused = self._table.first_for(is_failing, proposals, lifted)
            for (client, position, change), number in zip(proposals, refused, strict=True):
                changes[client, position] = change
                otherwise = self._relations.refused_otherwise(held[client], position)
                numbers[client, position] = min(number, otherwise)
        standing = self._availability.numbers(states, each, restrictions)
        asked = truths[self._n_asked_for :].T > 0
        return Engaged(np.minimum(numbers, standing, out=numbers), changes, asked)

    def _first_for_new(self, is_failing: BoolArray, restrictions: Restrictions) -> NumberArray:
        if not restrictions.lifted_rules:
            return self._table.first_for_new(is_failing)
        shape = (is_failing.shape[1], len(self.catalogue))
        candidates = [(client, position, NEW) for client, position in np.ndindex(shape)]
        numbers = self._table.first_for(is_failing, candidates, self._lifted(restrictions))
        return np.array(numbers, dtype=np.int16).reshape(shape)

    def _lifted(self, restrictions: Restrictions) -> AbstractSet[int]:
        return {self.book.number_of(rule_id) for rule_id in restrictions.lifted_rules}


class _Test(NamedTuple):
    """What rules with the same condition and the same view of the unknown share."""

    condition: Condition
    is_refused_when_true: bool
    is_unknown_refused: bool


def _row_of(
    rule: RuleSpec, tests: dict[_Test, int], book: RuleBook, catalogue: CompiledCatalogue
) -> TableRow:
    test = _Test(rule.condition, rule.is_refused_when_true, rule.is_refused_when_unknown)
    place = tests.setdefault(test, len(tests))
    changes = np.array([not rule.changes or change in rule.changes for change in CHANGES])
    return TableRow(book.number_of(rule.id), place, rule.offers.mask(catalogue), changes)


def _refusing(test: _Test) -> Condition:
    """The condition under which the rules refuse."""
    return test.condition if test.is_refused_when_true else Condition.model_validate({"not": test.condition})
