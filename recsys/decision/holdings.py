"""What a client's holdings refuse: prerequisites, exclusive slots and exclusions of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.rulebook import NO_RULE, RuleBook

NumberArray = NDArray[np.int16]


class _Held(NamedTuple):
    """What holding something means for the offers, by position.

    Attributes:
        unlocks: It is all that they require.
        helps: It is a part of what they require.
        refuses: What it refuses if it would be new, and the number of the first rule by which it does.
    """

    unlocks: Sequence[int]
    helps: Sequence[int]
    refuses: Sequence[tuple[int, int]]


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
        self._alone = np.full(len(catalogue), NO_RULE, dtype=np.int16)
        self._alone[list(self._groups)] = self._requires
        excluded = _excluded(catalogue)
        self._held = _held(catalogue, excluded, book)
        self._excluding: dict[int, set[str]] = {}
        for name, positions in excluded.items():
            for position in positions:
                self._excluding.setdefault(position, set()).add(name)

    def refused_as_new(self, held: Sequence[AbstractSet[str]]) -> NumberArray:
        """The first rule by which what is held, or is not, refuses each offer if it would be new.

        Args:
            held: Ids of what each client holds.

        Returns:
            clients_by_offers, `NO_RULE` where none does.
        """
        n_offers = len(self._alone)
        numbers = np.empty((len(held), n_offers), dtype=np.int16)
        numbers[:] = self._alone
        cells = numbers.reshape(-1).data
        for client, names in enumerate(held):
            first = client * n_offers
            refused: list[tuple[int, int]] = []
            for name in names:
                if name in self._held:
                    unlocks, helps, refuses = self._held[name]
                    refused += refuses
                    for position in unlocks:
                        cells[first + position] = NO_RULE
                    for position in helps:
                        if self._is_ready(position, names):
                            cells[first + position] = NO_RULE
            for position, number in refused:
                if cells[first + position] > number:  # noqa: PLR1730 -- a call costs more
                    cells[first + position] = number
        return numbers

    def refused_otherwise(self, names: AbstractSet[str], position: int) -> int:
        """The same for one offer and any other change: neither a slot nor being connected refuses it."""
        excluding = self._excluding.get(position)
        if excluding is not None and not names.isdisjoint(excluding):
            return self._excludes
        return NO_RULE if self._is_ready(position, names) else self._requires

    def _is_ready(self, position: int, names: AbstractSet[str]) -> bool:
        return not any(map(names.isdisjoint, self._groups.get(position, ())))


def _excluded(catalogue: CompiledCatalogue) -> dict[str, list[int]]:
    """Held offer id → what cannot stand beside it; an edition does not stand in its own successor's way."""
    return {
        name: [position for position in positions if position != catalogue.upgrades.get(name)]
        for name, positions in catalogue.conflicts.items()
    }


def _held(
    catalogue: CompiledCatalogue, excluded: Mapping[str, Sequence[int]], book: RuleBook
) -> dict[str, _Held]:
    """Offer id → what holding it means, for every id that the catalogue has or mentions."""
    unlocks: dict[str, list[int]] = {}
    helps: dict[str, list[int]] = {}
    slots: dict[str | None, list[int]] = {}
    for position, offer in enumerate(catalogue.offers):
        for name in {name for group in offer.requires for name in group}:
            (unlocks if len(offer.requires) == 1 else helps).setdefault(name, []).append(position)
        if offer.exclusive_slot is not None:
            slots.setdefault(offer.exclusive_slot, []).append(position)
    found: dict[str, _Held] = {}
    names: set[str] = {*catalogue.offer_ids, *catalogue.conflicts, *unlocks, *helps}
    for held_id in names:
        own = catalogue.positions.get(held_id)
        refuses = dict.fromkeys(excluded.get(held_id, ()), book.number_of("excludes"))
        if own is not None:
            shared = slots.get(catalogue.offers[own].exclusive_slot, ())
            refuses.update(dict.fromkeys(shared, book.number_of("exclusive_slot")))
            refuses[own] = book.number_of("already_connected")
        found[held_id] = _Held(unlocks.get(held_id, ()), helps.get(held_id, ()), tuple(refuses.items()))
    return found
