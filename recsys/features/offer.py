"""What models read of an offer whoever looks at it; and the catalogue as feature rows need it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys.data.offers import price_for
from recsys.domain import Offer, OfferKind, PricePeriod, Size
from recsys.features.client import days_between
from recsys.features.population import Population
from recsys.features.spec import Feature, counts, flags

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

OFFER_FEATURES = (
    *flags([f"is_{kind}" for kind in OfferKind]),
    *flags(["is_monthly", "is_exclusive", "is_next_edition"]),
    Feature("margin_minor", "minor", -math.inf),
    *counts(["n_prerequisites"]),
    Feature("days_live", "days", -math.inf),
    Feature("holder_share", "share", 0.0, 1.0),
    Feature("adoption_share_30d", "share", 0.0, 1.0),
    Feature("adoption_share_90d", "share", 0.0, 1.0),
    Feature("adoption_trend", "ratio"),
    Feature("population_age_days", "days", -math.inf),
)


class OfferFamily:
    """Offers in the order of their ids, with everything that does not depend on a client.

    Args:
        offers: The catalogue.
        population: Frozen figures; None = every figure of the population is unknown.
        asked: Names of the features that are wanted; None = all.

    Attributes:
        features: Of each offer, in the order of `OFFER_FEATURES`.
        template: Them without what time changes, shape (n_features, n_offers).
    """

    def __init__(
        self, offers: Sequence[Offer], population: Population | None, asked: Set[str] | None = None
    ) -> None:
        self.offers = tuple(sorted(offers, key=lambda offer: offer.offer_id))
        self.positions: Mapping[str, int] = {
            offer.offer_id: position for position, offer in enumerate(self.offers)
        }
        self.in_group = _members([offer.need_group for offer in self.offers])
        self.in_slot = _members([offer.exclusive_slot for offer in self.offers])
        self.has_group = np.array([offer.need_group is not None for offer in self.offers], dtype=bool)
        self.n_prerequisites = np.array([float(len(offer.requires)) for offer in self.offers])
        self._population = population
        self._columns = _columns_of(self.offers, population)
        self._live_since = [
            (position, offer.valid_from)
            for position, offer in enumerate(self.offers)
            if offer.valid_from is not None
        ]
        kept = [row for row, each in enumerate(OFFER_FEATURES) if asked is None or each.name in asked]
        self.features = tuple([OFFER_FEATURES[row] for row in kept])
        self._rows = {each.name: row for row, each in enumerate(self.features)}
        self.template = self._static_block()[kept]
        self._price_regions = {price.region for offer in self.offers for price in offer.prices}
        self._prices: dict[tuple[str | None, Size], FloatArray] = {}

    def __len__(self) -> int:
        return len(self.offers)

    def fill(self, block: FloatArray, now: datetime) -> None:
        """Write what time changes of every offer.

        Args:
            block: A copy of `template`; changed in place.
            now: The moment, aware.
        """
        live, age = self._rows.get("days_live"), self._rows.get("population_age_days")
        if live is not None:
            for position, since in self._live_since:
                block[live, position] = days_between(since, now)
        if age is not None and self._population is not None:
            block[age] = days_between(self._population.as_of, now)

    def prices(self, region: str | None, size: Size) -> FloatArray:
        """What such a client pays for each offer, in minor units; NaN where no price applies."""
        # any text may come as a region: only those the catalogue names become keys
        key = (region if region in self._price_regions else None, size)
        found = self._prices.get(key)
        if found is None:
            prices = [price_for(offer.prices, *key) for offer in self.offers]
            found = np.array([math.nan if price is None else float(price.amount_minor) for price in prices])
            self._prices[key] = found
        return found

    def aligned(self, figures: FloatArray) -> FloatArray:
        """Figures of the population's offers in the order of this catalogue; NaN for offers it lacks.

        Args:
            figures: Shape (…, n_offers of the population).
        """
        with_unknown = np.concatenate([figures, np.full((*figures.shape[:-1], 1), math.nan)], axis=-1)
        return with_unknown[..., self._columns]

    def _static_block(self) -> FloatArray:
        upgraded = {offer.upgrades_to for offer in self.offers}
        rows = [[float(offer.kind is kind) for offer in self.offers] for kind in OfferKind]
        rows += [
            [
                float(any(price.period is PricePeriod.MONTH for price in offer.prices))
                for offer in self.offers
            ],
            [float(offer.exclusive_slot is not None) for offer in self.offers],
            [float(offer.offer_id in upgraded) for offer in self.offers],
            [math.nan if offer.margin_minor is None else float(offer.margin_minor) for offer in self.offers],
            self.n_prerequisites.tolist(),
            [math.nan] * len(self.offers),
        ]
        block = np.full((len(OFFER_FEATURES), len(self.offers)), math.nan)
        block[: len(rows)] = np.array(rows).reshape(len(rows), len(self.offers))
        if self._population is not None:
            figures = self.aligned(_population_rows(self._population))
            block[len(rows) : len(rows) + len(figures)] = figures
        return block


def _population_rows(population: Population) -> FloatArray:
    month, quarter = population.recent_shares
    # one holder more on either side keeps a trend of nothing at 1
    one = 1e-4
    trend = (3 * month + one) / (quarter + one)
    return np.stack([population.holder_shares, month, quarter, trend])


def _columns_of(offers: Sequence[Offer], population: Population | None) -> IntArray:
    ids = () if population is None else population.offer_ids
    columns = {offer_id: column for column, offer_id in enumerate(ids)}
    return np.array([columns.get(offer.offer_id, len(ids)) for offer in offers], dtype=np.int64)


def _members(names: Sequence[str | None]) -> Mapping[int, tuple[int, ...]]:
    """Position → positions under the same name, itself included; nothing for the nameless."""
    found: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        if name is not None:
            found[name].append(position)
    return {position: tuple(found[name]) for position, name in enumerate(names) if name is not None}
