"""What a client's holdings refuse: prerequisites, exclusive slots and exclusions of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from recsys.decision.availability import Standing
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.flat import FlatHoldings, IntArray, Lists, is_among
from recsys.decision.rulebook import NO_RULE, RuleBook

NumberArray = NDArray[np.int16]

# So few that what is put beside their numbers stays in the processor's cache.
_CLIENTS_AT_ONCE = 64


class Relations:
    """The relations of a catalogue, by what each held offer refuses and what it unlocks.

    Ids that the catalogue only mentions count too: a withdrawn offer still excludes.

    Args:
        catalogue: The compiled catalogue.
        book: The rules' numbers.
    """

    def __init__(self, catalogue: CompiledCatalogue, book: RuleBook) -> None:
        self._groups = {
            place: offer.requires for place, offer in enumerate(catalogue.offers) if offer.requires
        }
        self._requires = book.number_of("requires")
        self._excludes = book.number_of("excludes")
        self.alone = np.full(len(catalogue), NO_RULE, dtype=np.int16)
        self.alone[list(self._groups)] = self._requires
        """The rule that refuses each offer to a client that holds nothing, by position."""
        excluded = _excluded(catalogue)
        self._refuses = _refuses(catalogue, excluded, book)
        self._unlocks = _unlocks(catalogue)
        self._compile_lists(excluded)
        self._excluding: dict[int, set[str]] = {}
        for name, positions in excluded.items():
            for position in positions:
                self._excluding.setdefault(position, set()).add(name)

    def refuse_as_new(
        self, cells: memoryview, first: NumberArray, standing: Standing, names: AbstractSet[str]
    ) -> None:
        """Refuse what a client's holdings refuse if it would be new, and lift what they fulfil.

        Args:
            cells: The first rule that refuses each offer to a client that holds nothing; changed.
            first: The first rule of the policy that does.
            standing: What refuses whatever a client holds.
            names: Ids of what it holds.
        """
        requires = self._requires
        for name in names:
            for position, besides in self._unlocks.get(name, ()):
                if cells[position] == requires and not any(map(names.isdisjoint, besides)):
                    cells[position] = min(first.item(position), standing.otherwise.item(position))
        for name in names:
            for position, number in self._refuses.get(name, ()):
                if cells[position] > number:  # noqa: PLR1730 -- a call costs more
                    cells[position] = number

    def _compile_lists(self, excluded: Mapping[str, Sequence[int]]) -> None:
        """The same as lists by code; the code of an offer of the catalogue is its position."""
        names = list(self._refuses)
        self.codes = {name: code for code, name in enumerate(names)}
        """Codes of held offers; see `FlatHoldings`."""
        fulfils: list[list[tuple[int, ...]]] = [[] for _ in names]
        position_of_group: list[int] = []
        for position, groups in self._groups.items():
            for group in groups:
                for name in set(group):
                    fulfils[self.codes[name]].append((len(position_of_group),))
                position_of_group.append(position)
        self._position_of_group = np.array(position_of_group, dtype=np.intp)
        self._fulfils = Lists(fulfils, 1)
        self._refuses_by_code = Lists(list(self._refuses.values()), 2)
        self._excludes_by_code = Lists([[(place,) for place in excluded.get(name, ())] for name in names], 1)
        self._n_groups = np.zeros(len(self.alone), dtype=np.intp)
        self._n_groups[list(self._groups)] = [len(groups) for groups in self._groups.values()]

    def refuse_all_as_new(
        self, numbers: NumberArray, standing: Standing, rows: IntArray, held: FlatHoldings
    ) -> IntArray:
        """Do for many clients what `refuse_as_new` does for one.

        Args:
            numbers: The first rule of the policy that refuses each offer, clients_by_offers; changed.
            standing: What refuses whatever a client holds, a row each.
            rows: The row of each client.
            held: What the clients hold.

        Returns:
            Where all that an offer requires is held: places in the row of all `numbers`.
        """
        n_offers, cells = len(self.alone), numbers.reshape(-1)
        of, groups = self._fulfils.join(held.codes)
        n_groups = max(len(self._position_of_group), 1)
        met = np.sort(held.owners[of] * n_groups + groups)
        owners, groups = np.divmod(met[np.diff(met, prepend=-1).nonzero()], n_groups)
        # ascending, as groups are numbered by position: those of one offer stand side by side
        each = owners * n_offers + self._position_of_group[groups]
        firsts = np.diff(each, prepend=-1).nonzero()[0]
        places, n_fulfilled = each[firsts], np.diff(firsts, append=len(each))
        fulfilled: IntArray = places[n_fulfilled == self._n_groups[places % n_offers]]
        clients, positions = np.divmod(fulfilled, n_offers)
        unlocked = np.minimum(cells[fulfilled], standing.otherwise[rows[clients], positions])
        for start in range(0, len(rows), _CLIENTS_AT_ONCE):
            some = slice(start, start + _CLIENTS_AT_ONCE)
            np.minimum(numbers[some], standing.alone.take(rows[some], axis=0), out=numbers[some])
        cells[fulfilled] = unlocked
        of, positions, refusing = self._refuses_by_code.join(held.codes)
        np.minimum.at(cells, held.owners[of] * n_offers + positions, refusing.astype(np.int16))
        return fulfilled

    def refused_all_otherwise(self, places: IntArray, held: FlatHoldings, fulfilled: IntArray) -> NumberArray:
        """Do for candidates of many clients what `refused_otherwise` does for one.

        Args:
            places: The candidates, as places in the row of all clients' offers.
            held: What is held.
            fulfilled: Where all that an offer requires is held.
        """
        n_offers = len(self.alone)
        of, positions = self._excludes_by_code.join(held.codes)
        is_excluded = is_among(places, held.owners[of] * n_offers + positions)
        is_missing = (self._n_groups[places % n_offers] > 0) & ~is_among(places, fulfilled)
        found = np.where(is_missing, self._requires, NO_RULE)
        return np.where(is_excluded, self._excludes, found).astype(np.int16)

    def refused_otherwise(self, names: AbstractSet[str], position: int) -> int:
        """The same for one offer and any other change: neither a slot nor being connected refuses it."""
        excluding = self._excluding.get(position)
        if excluding is not None and not names.isdisjoint(excluding):
            return self._excludes
        groups = self._groups.get(position)
        return NO_RULE if groups is None or not any(map(names.isdisjoint, groups)) else self._requires


def _excluded(catalogue: CompiledCatalogue) -> dict[str, list[int]]:
    """Held offer id → what cannot stand beside it; an edition does not stand in its own successor's way."""
    return {
        name: [position for position in positions if position != catalogue.upgrades.get(name)]
        for name, positions in catalogue.conflicts.items()
    }


def _unlocks(catalogue: CompiledCatalogue) -> dict[str, list[tuple[int, Sequence[Sequence[str]]]]]:
    """Offer id → positions of what requires it, each with the alternatives required besides, mostly none."""
    unlocks: dict[str, list[tuple[int, Sequence[Sequence[str]]]]] = {}
    for position, offer in enumerate(catalogue.offers):
        for name in {name for group in offer.requires for name in group}:
            besides = [group for group in offer.requires if name not in group]
            unlocks.setdefault(name, []).append((position, besides))
    return unlocks


def _refuses(
    catalogue: CompiledCatalogue, excluded: Mapping[str, Sequence[int]], book: RuleBook
) -> dict[str, Sequence[tuple[int, int]]]:
    """Offer id → positions that holding it refuses if they would be new, and the first rule by which it does.

    Every id that the catalogue has or mentions is a key.
    """
    slots: dict[str | None, list[int]] = {}
    for position, offer in enumerate(catalogue.offers):
        if offer.exclusive_slot is not None:
            slots.setdefault(offer.exclusive_slot, []).append(position)
    required = [name for offer in catalogue.offers for group in offer.requires for name in group]
    found: dict[str, Sequence[tuple[int, int]]] = {}
    for held_id in dict.fromkeys([*catalogue.offer_ids, *catalogue.conflicts, *required]):
        own = catalogue.positions.get(held_id)
        refuses = dict.fromkeys(excluded.get(held_id, ()), book.number_of("excludes"))
        if own is not None:
            shared = slots.get(catalogue.offers[own].exclusive_slot, ())
            refuses.update(dict.fromkeys(shared, book.number_of("exclusive_slot")))
            refuses[own] = book.number_of("already_connected")
        found[held_id] = tuple(refuses.items())
    return found
