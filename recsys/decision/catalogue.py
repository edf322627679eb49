"""The catalogue, compiled once so that a decision only looks things up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from recsys.data.offers import price_for
from recsys.domain import Language, Offer, Price, Size


@dataclass(frozen=True, slots=True)
class OfferText:
    """What a list shows of an offer whoever the client is, in one language.

    Attributes:
        offer_id: The offer.
        kind: Own, partner or content.
        supplier_id: Who provides it, where known.
        title: Title in that language, else in another, else the id.
        category: Shelf of the catalogue, where known.
    """

    offer_id: str
    kind: str
    supplier_id: str | None
    title: str
    category: str | None


class CompiledCatalogue:
    """Offers ordered by id, with every index that a decision needs.

    An offer's *position* is its place in `offers`. Two catalogues with the same offers in another order
    compile to the same thing.
    """

    def __init__(self, offers: Iterable[Offer], version: str = "") -> None:
        self.version = version
        self.offers = tuple(sorted(offers, key=lambda offer: offer.offer_id))
        self.offer_ids = tuple(offer.offer_id for offer in self.offers)
        self.positions: Mapping[str, int] = MappingProxyType(
            {offer_id: position for position, offer_id in enumerate(self.offer_ids)}
        )
        if len(self.positions) != len(self.offers):
            raise ValueError("offer_ids must be unique")
        self.kinds = tuple(offer.kind for offer in self.offers)
        self.conflicts = _conflicts(self.offers, self.positions)
        self.upgrades = _upgrades(self.offers, self.positions)
        self.texts: Mapping[Language, tuple[OfferText, ...]] = MappingProxyType(
            {language: tuple(_text(offer, language) for offer in self.offers) for language in Language}
        )
        self._price_regions = frozenset(
            price.region for offer in self.offers for price in offer.prices if price.region is not None
        )
        self._prices: dict[tuple[str | None, Size], tuple[Price | None, ...]] = {}

    def __len__(self) -> int:
        return len(self.offers)

    def prices(self, region: str | None, size: Size) -> tuple[Price | None, ...]:
        """The price of each offer for such a client; see `price_for`."""
        key = (region if region in self._price_regions else None, size)
        prices = self._prices.get(key)
        if prices is None:
            prices = tuple(price_for(offer.prices, key[0], size) for offer in self.offers)
            self._prices[key] = prices
        return prices

    def title(self, offer_id: str, language: Language) -> str | None:
        """An offer's title; None when the catalogue does not have the offer."""
        position = self.positions.get(offer_id)
        return None if position is None else self.texts[language][position].title


def _conflicts(offers: Sequence[Offer], positions: Mapping[str, int]) -> Mapping[str, tuple[int, ...]]:
    """Held offer id → positions that cannot stand beside it; an exclusion holds in both directions."""
    pairs: dict[str, set[int]] = {}
    for position, offer in enumerate(offers):
        for other in offer.excludes:
            pairs.setdefault(other, set()).add(position)
            if other in positions:
                pairs.setdefault(offer.offer_id, set()).add(positions[other])
    return MappingProxyType({offer_id: tuple(sorted(found)) for offer_id, found in pairs.items()})


def _upgrades(offers: Sequence[Offer], positions: Mapping[str, int]) -> Mapping[str, int]:
    """Held offer id → position of its next edition."""
    return MappingProxyType(
        {
            offer.offer_id: positions[offer.upgrades_to]
            for offer in offers
            if offer.upgrades_to is not None and offer.upgrades_to in positions
        }
    )


def _text(offer: Offer, language: Language) -> OfferText:
    title = (
        offer.title.get(language) or next((text for text in offer.title.values() if text), None)
    ) or offer.offer_id
    return OfferText(offer.offer_id, offer.kind.value, offer.supplier_id, title, offer.category)
