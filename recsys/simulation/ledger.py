"""The holdings of a world, written down as they begin, change and end."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.write import conform
from recsys.simulation.book import NO_TERM, Adoptions, Endings, Revisions
from recsys.simulation.clients import IntArray
from recsys.simulation.frames import named, numbered, optional
from recsys.simulation.operator import Month, Operator
from recsys.simulation.rules import editions_of
from recsys.simulation.streams import Purpose
from recsys.simulation.timeline import HOUR
from recsys.tables import HOLDINGS

CONNECTED_BY = ("client", "manager", "portal", "other")
_OTHER_SHARE = 0.1
_LONGEST_LAG_HOURS = 36

_COLUMNS = ("number", "disconnected_at", "recorded_at", "quantity", "term")
_FACTS = ("row", "offer", "connected_at", "connected_by", "price_minor")


class Ledger:
    """Connections in the order in which they were decided, and every version of them.

    A holding has a row as it was recorded when it began, one for each renewal or change of seats, and one
    with its end.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        shape = (len(operator.clients), len(operator.shelf.offer_ids))
        self._open = np.full(shape, -1, dtype=np.int32)
        self._facts: dict[str, list[IntArray]] = {name: [] for name in _FACTS}
        self._versions: dict[str, list[IntArray]] = {name: [] for name in _COLUMNS}
        self._latest = np.zeros((3, 0), dtype=np.int64)
        for adoptions in operator.initial:
            self._connect(adoptions, -1)
        self._revise(operator.initial_revisions)

    def add(self, month: Month) -> None:
        """Write a month down; what a connection replaces ends at the same instant."""
        # What was revised may be replaced later in the month, but is never given up in it.
        self._revise(month.revisions)
        self._connect(month.adoptions, month.number)
        self._end(month.endings)

    def _connect(self, adoptions: Adoptions, month: int) -> None:
        operator, rows, offers = self._operator, adoptions.rows, adoptions.offers
        is_replacing = adoptions.replaced >= 0
        self._end(Endings(rows[is_replacing], adoptions.replaced[is_replacing], adoptions.at[is_replacing]))
        luck = operator.streams.uniforms(Purpose.FEED, month, operator.terms.keys(rows, offers))
        by = np.where(luck < _OTHER_SHARE, CONNECTED_BY.index("other"), CONNECTED_BY.index("client"))
        by = np.where(adoptions.is_call, CONNECTED_BY.index("manager"), by)
        by = np.where(adoptions.visits >= 0, CONNECTED_BY.index("portal"), by)
        prices = operator.market.prices_in(max(month, 0)).recurring_minor
        price = prices[offers, operator.clients.regions[rows], operator.clients.sizes[rows]]
        for name, values in zip(_FACTS, (rows, offers, adoptions.at, by, price), strict=True):
            self._facts[name].append(values)
        numbers = self._latest.shape[1] + np.arange(len(rows))
        self._open[rows, offers] = numbers
        none = np.zeros_like(adoptions.at)
        self._latest = np.concatenate(
            [self._latest, np.array([none, adoptions.quantity, adoptions.term])], axis=1
        )
        self._write(numbers, adoptions.at, np.full(len(rows), -1))

    def _revise(self, revisions: Revisions) -> None:
        numbers = self._open[revisions.rows, revisions.offers].astype(np.int64)
        # A service that goes on after its term keeps the day on which the term ended.
        term = np.where(revisions.term == NO_TERM, self._latest[2, numbers], revisions.term)
        self._latest[1:, numbers] = revisions.quantity, term
        self._write(numbers, revisions.at, np.full(len(numbers), -1))

    def _end(self, endings: Endings) -> None:
        numbers = self._open[endings.rows, endings.offers].astype(np.int64)
        self._open[endings.rows, endings.offers] = -1
        self._write(numbers, endings.at, endings.at)

    def _write(self, numbers: IntArray, at: IntArray, disconnected_at: IntArray) -> None:
        """A version of each of these holdings; it is never known before the one it replaces."""
        keys = numbers * 64 + len(self._versions["number"]) % 64 + 1
        luck = self._operator.streams.uniforms(Purpose.FEED, -1, keys)
        lag = (1 + np.floor(luck * (_LONGEST_LAG_HOURS - 1)).astype(np.int64)) * HOUR
        recorded_at = np.maximum(at + lag, self._latest[0, numbers] + HOUR)
        is_first = self._latest[0, numbers] == 0
        recorded_at = np.where(is_first, at + lag, recorded_at)
        self._latest[0, numbers] = recorded_at
        columns = (numbers, disconnected_at, recorded_at, self._latest[1, numbers], self._latest[2, numbers])
        for name, values in zip(_COLUMNS, columns, strict=True):
            self._versions[name].append(values)

    def table(self) -> pl.DataFrame:
        """The table ``holdings`` as known when the world ends."""
        facts = {name: np.concatenate(values) for name, values in self._facts.items()}
        versions = {name: np.concatenate(values) for name, values in self._versions.items()}
        is_known = versions["recorded_at"] < self._operator.timeline.ends_at
        numbers, disconnected_at, recorded_at, quantity, term = (
            versions[name][is_known] for name in _COLUMNS
        )
        offers = facts["offer"][numbers]
        editions = editions_of(self._operator.shelf)
        units = np.where(self._operator.terms.seats[offers] > 0, 0, -1)
        frame = pl.DataFrame(
            {
                "holding_id": numbered("h", numbers),
                "client_id": numbered("c", facts["row"][numbers]),
                "offer_id": named(self._operator.shelf.offer_ids, offers),
                "connected_at": facts["connected_at"][numbers],
                "disconnected_at": optional(disconnected_at),
                "recorded_at": recorded_at,
                "edition": named([str(number) for number in range(editions.max() + 1)], editions[offers]),
                "quantity": quantity,
                "unit": named(("seat",), units),
                "price_minor": facts["price_minor"][numbers],
                "term_ends_on": self._last_days(term),
                "connected_by": named(CONNECTED_BY, facts["connected_by"][numbers]),
                "source": pl.repeat("billing", len(numbers), eager=True),
            }
        )
        return conform(frame, HOLDINGS).sort("holding_id", "recorded_at")

    def _last_days(self, months: IntArray) -> pl.Series:
        """Last day of months counted from the first one; null without a term."""
        first = np.datetime64(self._operator.world.starts_on, "M")
        known = np.where(months == NO_TERM, 0, months)
        days = ((first + known + 1).astype("datetime64[D]") - 1).astype(np.int64)
        series = pl.Series("day", days).cast(pl.Date)
        has_term = pl.Series("has_term", months != NO_TERM)
        return pl.select(pl.when(has_term).then(series)).to_series()
