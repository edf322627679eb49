"""From rows of the catalogue's tables to offers, and the price of an offer for a client."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recsys.domain import LegalForm, Offer, OfferId, OfferKind, Price, PricePeriod, Size
from recsys.errors import DataError

Row = Mapping[str, Any]
_PERIOD_ORDER = (PricePeriod.MONTH, PricePeriod.ONCE, PricePeriod.USAGE)


def offers_from_rows(
    offers: Iterable[Row], relations: Iterable[Row], prices: Iterable[Row]
) -> tuple[Offer, ...]:
    """Offers from rows of ``offers``, ``offer_relations`` and ``offer_prices``.

    Args:
        offers: One row per offer, in the contract's types; nullable columns may be absent.
        relations: At most one row per key.
        prices: At most one row per key.

    Returns:
        The offers, ordered by offer_id. Relations and prices of unknown offers are passed over.

    Raises:
        DataError: An offer upgrades to two others, or stands twice.

    Example:
        >>> rows = [{"offer_id": "pbx", "kind": "own", "title_en": "Virtual PBX"}]
        >>> price = {"offer_id": "pbx", "period": "month", "amount_minor": 49_900}
        >>> (offer,) = offers_from_rows(rows, [], [price])
        >>> offer.title["en"], offer.prices[0].amount_minor
        ('Virtual PBX', 49900)
    """
    relations_of: dict[str, list[Row]] = defaultdict(list)
    for row in relations:
        relations_of[row["offer_id"]].append(row)
    prices_of: dict[str, list[Row]] = defaultdict(list)
    for row in prices:
        prices_of[row["offer_id"]].append(row)
    made: dict[str, Offer] = {}
    for row in offers:
        offer_id = row["offer_id"]
        if offer_id in made:
            raise DataError(f"offer {offer_id!r} stands twice among the offers")
        made[offer_id] = _offer(row, relations_of[offer_id], prices_of[offer_id])
    return tuple(made[offer_id] for offer_id in sorted(made))


def price_for(prices: Sequence[Price], region: str | None, size: Size) -> Price | None:
    """The price that a client pays: the most specific one of the leading period.

    A price that names another region or size does not apply. The monthly price leads, then the one-off
    price, then the price of usage; within a period a price for the region beats one for the size, and
    both together beat either.

    Args:
        prices: Every price of one offer.
        region: The client's region, None when unknown.
        size: The client's size class.

    Returns:
        The price, or None when no price applies.

    Example:
        >>> month = PricePeriod.MONTH
        >>> prices = (Price(500, month), Price(400, month, size=Size.MICRO), Price(900, month, region="77"))
        >>> [price_for(prices, region, Size.MICRO).amount_minor for region in ("77", "16")]
        [900, 400]
        >>> price_for((Price(100, month, region="77"),), None, Size.MICRO) is None
        True
    """
    matching = [
        price
        for price in prices
        if price.region in (None, region) and (price.size is None or price.size is size)
    ]
    return min(matching, key=_specificity, default=None)


def _specificity(price: Price) -> tuple[int, bool, bool, int]:
    return (_PERIOD_ORDER.index(price.period), price.region is None, price.size is None, price.amount_minor)


def _offer(row: Row, relations: Sequence[Row], prices: Sequence[Row]) -> Offer:
    upgrades = [relation["other_offer_id"] for relation in relations if relation["relation"] == "upgrades_to"]
    if len(upgrades) > 1:
        raise DataError(
            f"offer {row['offer_id']!r} upgrades to {', '.join(sorted(upgrades))}; one is allowed"
        )
    titles = {language: row.get(f"title_{language}") for language in ("ru", "en")}
    excluded = [relation["other_offer_id"] for relation in relations if relation["relation"] == "excludes"]
    return Offer(
        offer_id=OfferId(row["offer_id"]),
        kind=OfferKind(row["kind"]),
        title={language: title for language, title in titles.items() if title is not None},
        supplier_id=row.get("supplier_id"),
        category=row.get("category"),
        need_group=row.get("need_group"),
        margin_minor=row.get("margin_minor"),
        prices=tuple(sorted((_price(price) for price in prices), key=_price_order)),
        regions=tuple(row.get("regions") or ()),
        legal_forms=tuple(LegalForm(form) for form in row.get("legal_forms") or ()),
        requires=_required_groups(relations),
        excludes=tuple(OfferId(offer_id) for offer_id in sorted(excluded)),
        exclusive_slot=row.get("exclusive_slot"),
        upgrades_to=OfferId(upgrades[0]) if upgrades else None,
        valid_from=row.get("valid_from"),
        valid_to=row.get("valid_to"),
        is_stopped=bool(row.get("is_stopped")),
    )


def _required_groups(relations: Sequence[Row]) -> tuple[tuple[OfferId, ...], ...]:
    groups: dict[int, list[OfferId]] = defaultdict(list)
    for row in relations:
        if row["relation"] == "requires":
            groups[row["alternative"]].append(OfferId(row["other_offer_id"]))
    return tuple(tuple(sorted(groups[number])) for number in sorted(groups))


def _price(row: Row) -> Price:
    size = row.get("size")
    return Price(
        amount_minor=row["amount_minor"],
        period=PricePeriod(row["period"]),
        region=row.get("region"),
        size=None if size is None else Size(size),
    )


def _price_order(price: Price) -> tuple[str, str, str]:
    return (price.region or "", price.size or "", price.period)
