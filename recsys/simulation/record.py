"""A simulated life as tables."""

from __future__ import annotations

import copy
from collections.abc import Callable

import polars as pl

from recsys.simulation.catalogue import Catalogue
from recsys.simulation.ledger import Ledger
from recsys.simulation.log import Log
from recsys.simulation.operator import Month, Operator
from recsys.simulation.profiles import Profiles
from recsys.simulation.world import World


class Recorder:
    """Writes a life down as tables, month by month."""

    def __init__(self, operator: Operator, catalogue_version: str) -> None:
        self._operator = operator
        self._profiles = Profiles(operator)
        self._ledger = Ledger(operator)
        self._log = Log(operator, catalogue_version)

    def add(self, month: Month) -> None:
        """Write a month down."""
        self._profiles.add(month)
        self._log.add(month)
        self._ledger.add(month)

    def fork(self, operator: Operator) -> Recorder:
        """A copy that writes on by itself, of a life that a copy of the operator leads."""
        return copy.deepcopy(self, {id(self._operator): operator})

    def tables(self) -> dict[str, pl.DataFrame]:
        """Every table by name, sorted by its key, as far as it was written."""
        return {
            "clients": self._profiles.clients_table(),
            "client_months": self._profiles.months_table(),
            "members": self._profiles.members_table(),
            **self._operator.market.tables(),
            "holdings": self._ledger.table(),
            "decisions": self._log.decisions_table(),
            "decision_items": self._log.items_table(),
            "events": self._log.events_table(),
        }


def record_world(
    world: World, catalogue: Catalogue, on_month: Callable[[int], None]
) -> dict[str, pl.DataFrame]:
    """Let a world live and write it down.

    Args:
        world: The parameters; see `recsys.simulation.world.check_world`.
        catalogue: What can be connected.
        on_month: Called with 1 after every month.

    Returns:
        Every table by name, sorted by its key.
    """
    operator = Operator(world, catalogue)
    recorder = Recorder(operator, catalogue.version)
    for month in operator.months():
        recorder.add(month)
        on_month(1)
    return recorder.tables()
