"""Which rule of the policy refuses which candidate first: every rule against every (offer, change)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.flat import IntArray, Lists
from recsys.decision.rulebook import NO_RULE
from recsys.domain import Change

BoolArray = NDArray[np.bool_]
NumberArray = NDArray[np.int16]

N_CHANGES = len(Change)
_NO_RULE = np.int16(NO_RULE)
_OFFERS_AT_ONCE = 32


class TableRow(NamedTuple):
    """One rule.

    Attributes:
        number: Its number.
        test: Place of the test by which it refuses; rules may share one.
        offers: Which offers it is about; by position.
        changes: Which changes it is about; by their place in `Change`.
    """

    number: int
    test: int
    offers: BoolArray
    changes: BoolArray


class RuleTable:
    """Looks up the first rule that refuses each candidate, from which tests fail for a client.

    Args:
        rows: The rules, by ascending number.
        n_tests: Number of tests.
        n_offers: Number of offers.

    Example:
        >>> every, new = np.ones(N_CHANGES, bool), np.arange(N_CHANGES) == 0
        >>> first, both = np.array([True, False]), np.array([True, True])
        >>> rows = [TableRow(4, 0, first, new), TableRow(7, 1, both, every)]
        >>> table = RuleTable(rows, n_tests=2, n_offers=2)
        >>> table.first_for_new(bytes([True, True])).tolist()
        [4, 7]
        >>> table.first_for([True, True], 1, 0), table.first_for([True, True], 0, 0, {4})
        (7, 7)
    """

    def __init__(self, rows: Sequence[TableRow], n_tests: int, n_offers: int) -> None:
        self._n_offers = n_offers
        self._tests = np.array([row.test for row in rows], dtype=np.intp)
        self._numbers = np.array([row.number for row in rows], dtype=np.int16)[:, None]
        # Of each test the smallest number among its rules, by offer.
        self._new = np.full((n_tests, n_offers), NO_RULE, dtype=np.int16)
        self._rules_of: list[list[tuple[int, int]]] = [[] for _ in range(N_CHANGES * n_offers)]
        rows_of: list[list[int]] = [[] for _ in range(n_offers)]
        for place, row in enumerate(rows):
            rule = (row.test, row.number)
            for candidate in np.flatnonzero(np.outer(row.changes, row.offers)).tolist():
                self._rules_of[candidate].append(rule)
                if candidate < n_offers:
                    rows_of[candidate].append(place)
                    self._new[row.test, candidate] = min(self._new[row.test, candidate], row.number)
        self._rows_of = [np.array(places, dtype=np.intp) for places in rows_of]
        # no list is empty, or there would be no smallest of its numbers
        self._lists = Lists([[(0, NO_RULE), *rules] for rules in self._rules_of], 2)

    def first_for_new(self, is_failing: bytes) -> NumberArray:
        """The smallest number among the failing rules of each offer, if it is new.

        Args:
            is_failing: By test.

        Returns:
            By offer, `NO_RULE` where no rule fails.
        """
        rows = self._new.take(np.frombuffer(is_failing, bool).nonzero()[0], 0)
        found: NumberArray = np.minimum.reduce(rows, initial=_NO_RULE)
        return found

    def first_for_new_of_all(self, is_failing: BoolArray) -> NumberArray:
        """The same for many clients, clients_by_tests → clients_by_offers."""
        # where a test passes, all bits are set, and a number or-ed with them is NO_RULE
        passes = is_failing.T.astype(np.int16, order="C")
        passes -= 1
        passes &= _NO_RULE
        values = passes.take(self._tests, axis=0)
        values |= self._numbers
        found = np.empty((len(is_failing), self._n_offers), dtype=np.int16)
        # turned round while it is still in the processor's cache
        for start in range(0, self._n_offers, _OFFERS_AT_ONCE):
            some = self._rows_of[start : start + _OFFERS_AT_ONCE]
            by_offer = np.empty((len(some), len(is_failing)), dtype=np.int16)
            for firsts, rows in zip(by_offer, some, strict=True):
                np.minimum.reduce(values.take(rows, axis=0), initial=_NO_RULE, out=firsts)
            found[:, start : start + len(some)] = by_offer.T
        return found

    def first_for_all(
        self, is_failing: BoolArray, places: IntArray, changes: NDArray[np.int8]
    ) -> NumberArray:
        """The same for some candidates of many clients.

        Args:
            is_failing: clients_by_tests.
            places: The candidates, as places in the row of all clients' offers.
            changes: Place of the change of each in `Change`.
        """
        if not len(self._tests):
            return np.full(len(places), NO_RULE, dtype=np.int16)
        clients, positions = np.divmod(places, self._n_offers)
        of, tests, numbers = self._lists.join(changes.astype(np.intp) * self._n_offers + positions)
        values = np.where(is_failing[clients[of], tests], numbers, NO_RULE).astype(np.int16)
        starts = np.searchsorted(of, np.arange(len(places)))
        return np.minimum.reduceat(values, starts)

    def first_for(
        self,
        is_failing: Sequence[bool] | bytes,
        position: int,
        change: int,
        lifted: AbstractSet[int] = frozenset(),
    ) -> int:
        """The same for one candidate of one client.

        Args:
            is_failing: By test.
            position: The offer's position.
            change: Place of the change in `Change`.
            lifted: Numbers of rules that are left out.
        """
        for test, number in self._rules_of[change * self._n_offers + position]:
            if is_failing[test] and number not in lifted:
                return number
        return NO_RULE
