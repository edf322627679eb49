"""Which rule of the policy refuses which candidate first: every rule against every (offer, change)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import zip_longest
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
# What is made for so many at once stays in the processor's cache, and memory is not fetched anew for it.
_CLIENTS_AT_ONCE, _OFFERS_AT_ONCE = 200, 256


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
        for row in rows:
            rule = (row.test, row.number)
            for candidate in np.flatnonzero(np.outer(row.changes, row.offers)).tolist():
                self._rules_of[candidate].append(rule)
                if candidate < n_offers:
                    self._new[row.test, candidate] = min(self._new[row.test, candidate], row.number)
        # no list is empty, or there would be no smallest of its numbers
        self._lists = Lists([[(0, NO_RULE), *rules] for rules in self._rules_of], 2)
        self._compile_scopes(rows)

    def _compile_scopes(self, rows: Sequence[TableRow]) -> None:
        """Which rules about new offers are about the same ones, and which such scopes each offer is in."""
        alike: dict[bytes, list[int]] = {}
        for place, row in enumerate(rows):
            if row.changes[0]:
                alike.setdefault(row.offers.tobytes(), []).append(place)
        rules_of = sorted(alike.values(), key=len, reverse=True)
        self._n_scopes = len(rules_of)
        scopes_of: list[list[int]] = [[] for _ in range(self._n_offers)]
        for scope, (place, *_) in enumerate(rules_of):
            for position in np.flatnonzero(rows[place].offers).tolist():
                scopes_of[position].append(scope)
        # the first of each list, the second of each that has one …; longer lists stand in front
        self._rules = [
            np.array([places[nth] for places in rules_of if nth < len(places)], dtype=np.intp)
            for nth in range(max(map(len, rules_of), default=0))
        ]
        # the same, but offers keep their order: where there is no more, a scope that refuses nothing
        self._scopes = [
            [
                np.array(scopes, dtype=np.intp)
                for scopes in zip_longest(*scopes_of[start : start + _OFFERS_AT_ONCE], fillvalue=-1)
            ]
            for start in range(0, self._n_offers, _OFFERS_AT_ONCE)
        ]

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
        found = np.empty((len(is_failing), self._n_offers), dtype=np.int16)
        for start in range(0, len(found), _CLIENTS_AT_ONCE):
            some = slice(start, start + _CLIENTS_AT_ONCE)
            self._find(is_failing[some], found[some])
        return found

    def _find(self, is_failing: BoolArray, found: NumberArray) -> None:
        """Write the first rules of some clients: rules into scopes, scopes into offers."""
        # where a test passes, all bits are set, and a number or-ed with them is NO_RULE
        passes = is_failing.T.astype(np.int16, order="C")
        passes -= 1
        passes &= _NO_RULE
        values = passes.take(self._tests, axis=0)
        values |= self._numbers
        by_scope = _least(values, self._rules, self._n_scopes + 1)
        for start, scopes in zip(range(0, self._n_offers, _OFFERS_AT_ONCE), self._scopes, strict=True):
            some = found[:, start : start + _OFFERS_AT_ONCE]
            some[:] = _least(by_scope, scopes, some.shape[1]).T

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


def _least(rows: NumberArray, nth: Sequence[IntArray], n_lists: int) -> NumberArray:
    """The smallest number in each column of the rows of each of some lists; `NO_RULE` without rows.

    Args:
        rows: The rows.
        nth: The first row of each list, the second of each that has one …
        n_lists: How many lists there are.
    """
    found = np.full((n_lists, rows.shape[1]), NO_RULE, dtype=np.int16)
    for places in nth:
        some = found[: len(places)]
        np.minimum(some, rows.take(places, axis=0), out=some)
    return found
