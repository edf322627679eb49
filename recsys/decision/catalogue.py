"""The catalogue, compiled once so that a decision only looks things up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from recsys.data.offers import price_for
from recsys.decision.refusals import Rule
from recsys.domain import Language, LegalForm, Offer, Price, Size


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
        self.unlocks = _unlocks(self.offers)
        self.conflicts = _conflicts(self.offers, self.positions)
        self.slots = _slots(self.offers)
        self.upgrades = _upgrades(self.offers, self.positions)
        self.texts: Mapping[Language, tuple[OfferText, ...]] = MappingProxyType(
            {language: tuple(_text(offer, language) for offer in self.offers) for language in Language}
        )
        self._regions = frozenset(region for offer in self.offers for region in offer.regions)
        self._price_regions = frozenset(
            price.region for offer in self.offers for price in offer.prices if price.region is not None
        )
        self._boundaries = sorted(
            {
                boundary
                for offer in self.offers
                for boundary in (offer.valid_from, offer.valid_to)
                if boundary is not None
            }
        )
        self._rules: dict[tuple[str | None, LegalForm, int], tuple[Rule | None, ...]] = {}
        self._prices: dict[tuple[str | None, Size], tuple[Price | None, ...]] = {}

    def __len__(self) -> int:
        return len(self.offers)

    def rules_without_holdings(
        self, region: str | None, legal_form: LegalForm, now: datetime
    ) -> tuple[Rule | None, ...]:
        """The first rule that refuses each offer to a client that holds nothing; None where there is none.

        Availability and legal form stand whatever the client holds; `REQUIRES` is what a holding may
        lift. An unknown region or legal form fails an offer that is restricted by it.

        Args:
            region: The client's region, None when unknown.
            legal_form: The client's legal form.
            now: The moment of the decision, aware.

        Returns:
            One rule or None per position.
        """
        epoch = bisect_right(self._boundaries, now)
        # Any text may come as a region: only those the catalogue names may become keys of the cache.
        key = (region if region in self._regions else None, legal_form, epoch)
        rules = self._rules.get(key)
        if rules is None:
            rules = tuple(_rule_without_holdings(offer, key[0], legal_form, now) for offer in self.offers)
            self._rules[key] = rules
        return rules

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


def _rule_without_holdings(
    offer: Offer, region: str | None, legal_form: LegalForm, now: datetime
) -> Rule | None:
    if offer.is_stopped:
        return Rule.STOPPED
    if offer.valid_from is not None and now < offer.valid_from:
        return Rule.NOT_YET_LIVE
    if offer.valid_to is not None and now >= offer.valid_to:
        return Rule.NO_LONGER_LIVE
    if offer.regions and region not in offer.regions:
        return Rule.REGION
    if offer.legal_forms and legal_form not in offer.legal_forms:
        return Rule.LEGAL_FORM
    return Rule.REQUIRES if offer.requires else None


def _unlocks(offers: Sequence[Offer]) -> Mapping[str, tuple[int, ...]]:
    """Held offer id → positions of the offers that name it among what they require."""
    found: dict[str, set[int]] = {}
    for position, offer in enumerate(offers):
        for group in offer.requires:
            for other in group:
                found.setdefault(other, set()).add(position)
    return MappingProxyType({offer_id: tuple(sorted(positions)) for offer_id, positions in found.items()})


def _conflicts(offers: Sequence[Offer], positions: Mapping[str, int]) -> Mapping[str, tuple[int, ...]]:
    """Held offer id → positions that cannot stand beside it; an exclusion holds in both directions."""
    pairs: dict[str, set[int]] = {}
    for position, offer in enumerate(offers):
        for other in offer.excludes:
            pairs.setdefault(other, set()).add(position)
            if other in positions:
                pairs.setdefault(offer.offer_id, set()).add(positions[other])
    return MappingProxyType({offer_id: tuple(sorted(found)) for offer_id, found in pairs.items()})


def _slots(offers: Sequence[Offer]) -> Mapping[str, tuple[int, ...]]:
    """Held offer id → positions of its exclusive slot."""
    members: dict[str, list[int]] = {}
    for position, offer in enumerate(offers):
        if offer.exclusive_slot is not None:
            members.setdefault(offer.exclusive_slot, []).append(position)
    return MappingProxyType(
        {
            offer.offer_id: tuple(members[offer.exclusive_slot])
            for offer in offers
            if offer.exclusive_slot is not None
        }
    )


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
