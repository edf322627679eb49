"""How the catalogue changes: prices move, offers come and go."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import numpy as np
import polars as pl

from recsys.simulation.catalogue import (
    Catalogue,
    OfferEntry,
    PriceEntry,
    catalogue_tables,
    price_rows,
)
from recsys.simulation.clients import BoolArray, FloatArray
from recsys.simulation.demand import Demand
from recsys.simulation.rules import Prices, make_prices
from recsys.simulation.sections import Repricing
from recsys.simulation.timeline import DAY, Timeline, to_datetime
from recsys.simulation.world import World

_MONTH_BEYOND = 30 * DAY


class Market:
    """What is on sale, and for how much, month by month.

    Args:
        catalogue: The catalogue before the first change.
        world: Names the changes.
        timeline: The simulated months.
    """

    def __init__(self, catalogue: Catalogue, world: World, timeline: Timeline) -> None:
        self._catalogue = catalogue
        self._timeline = timeline
        self._regions = tuple(world.regions)
        self._demands = [world.demand[offer.id] for offer in catalogue.offers]
        self._misconduct = world.misconduct
        self._changes = [change for change in world.prices if change.month < timeline.n_months]
        months = sorted({0, *(change.month for change in self._changes)})
        self._prices = {month: make_prices(self._offers_in(month), self._regions) for month in months}

    def is_on_sale(self, month: int) -> BoolArray:
        """Which offers may be connected in a month, in the catalogue's order."""
        return np.array(
            [
                demand.from_month <= month and (demand.until_month is None or month < demand.until_month)
                for demand in self._demands
            ]
        )

    def complaint_chances(self, month: int) -> FloatArray:
        """P(a complaint follows an activation) of a month, shape (n_offers,)."""
        chances = np.zeros(len(self._demands))
        for bad in self._misconduct:
            if bad.from_month <= month:
                is_theirs = [offer.supplier == bad.supplier for offer in self._catalogue.offers]
                chances[is_theirs] = bad.complaint
        return chances

    def prices_in(self, month: int) -> Prices:
        """Prices in force in a month."""
        return self._prices[max(first for first in self._prices if first <= month)]

    def _offers_in(self, month: int) -> tuple[OfferEntry, ...]:
        """The catalogue's offers with the prices of a month."""
        offers = {offer.id: offer for offer in self._catalogue.offers}
        for change in sorted(self._changes, key=lambda change: change.month):
            if change.month <= month:
                offer = offers[change.offer]
                prices = _repriced(offer.prices, change)
                offers[change.offer] = offer.model_copy(update={"prices": prices})
        return tuple(offers.values())

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables ``offers``, ``offer_relations`` and ``offer_prices`` with every version.

        An offer that comes or goes, and everything about it, is recorded when that was announced; a new price
        on its first day.
        """
        starts_at = to_datetime(self._timeline.starts_at)
        tables = catalogue_tables(self._catalogue, starts_at)
        if all(self._announced_at(demand) == starts_at for demand in self._demands):
            known = tables
        else:
            known = {name: self._as_announced(frame) for name, frame in tables.items()}
        return {
            "offers": self._with_terms_of_sale(known["offers"]),
            "offer_relations": known["offer_relations"],
            "offer_prices": self._with_changes(known["offer_prices"]),
        }

    def _announced_at(self, demand: Demand) -> datetime:
        return self._notice(demand.from_month, demand.announced_days)

    def _notice(self, month: int, n_days: int) -> datetime:
        return to_datetime(max(self._timeline.starts_at, self._begins_at(month) - n_days * DAY))

    def _begins_at(self, month: int) -> int:
        n_beyond = max(0, month - self._timeline.n_months)
        return int(self._timeline.bounds[month - n_beyond]) + n_beyond * _MONTH_BEYOND

    def _as_announced(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows recorded when the offers they speak of were announced."""
        announced = {
            offer.id: self._announced_at(demand)
            for offer, demand in zip(self._catalogue.offers, self._demands, strict=True)
        }
        names = [name for name in ("offer_id", "other_offer_id") if name in frame.columns]
        instants = [
            pl.col(name).replace_strict(announced, return_dtype=pl.Datetime("us", "UTC")) for name in names
        ]
        return frame.with_columns(pl.max_horizontal(instants).alias("recorded_at"))

    def _with_terms_of_sale(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Offers with the months in which they come and go."""
        rows = {row["offer_id"]: row for row in frame.iter_rows(named=True)}
        versions = []
        for offer, demand in zip(self._catalogue.offers, self._demands, strict=True):
            row = rows[offer.id]
            if demand.from_month > 0:
                row["valid_from"] = to_datetime(self._begins_at(demand.from_month))
            if demand.until_month is None:
                versions.append(row)
                continue
            known_at = self._notice(demand.until_month, demand.announced_days)
            end = {"valid_to": to_datetime(self._begins_at(demand.until_month))}
            if known_at > row["recorded_at"]:
                versions.append(row)
            versions.append({**row, **end, "recorded_at": max(known_at, row["recorded_at"])})
        return pl.DataFrame(versions, schema=frame.schema).sort("offer_id", "recorded_at")

    def _with_changes(self, frame: pl.DataFrame) -> pl.DataFrame:
        frames = [frame]
        for month in sorted({change.month for change in self._changes}):
            changed = {change.offer for change in self._changes if change.month == month}
            now = price_rows(self._offers_in(month), to_datetime(int(self._timeline.bounds[month])))
            before = price_rows(self._offers_in(month - 1), to_datetime(0))
            key = ["offer_id", "region", "size", "period", "amount_minor"]
            fresh = now.filter(pl.col("offer_id").is_in(sorted(changed)))
            frames.append(fresh.join(before, on=key, how="anti", nulls_equal=True))
        return pl.concat(frames).sort("offer_id", "region", "size", "period", "recorded_at", nulls_last=False)


def _repriced(prices: tuple[PriceEntry, ...], change: Repricing) -> tuple[PriceEntry, ...]:
    """Prices after a change; a regional one adds a price where the region had none of its own."""

    def scaled(price: PriceEntry) -> PriceEntry:
        amount = (price.amount * Decimal(str(change.factor))).quantize(Decimal("0.01"))
        return price.model_copy(update={"amount": amount, "region": change.region or price.region})

    if not change.region:
        return tuple(scaled(price) for price in prices)
    own = {(price.size, price.period) for price in prices if price.region == change.region}
    kept = [scaled(price) if price.region == change.region else price for price in prices]
    general = [price for price in prices if price.region is None and (price.size, price.period) not in own]
    return (*kept, *(scaled(price) for price in general))
