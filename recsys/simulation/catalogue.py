"""The catalogue's YAML, read strictly, and as tables."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import polars as pl
from pydantic import Field, field_validator

from recsys.config import RunConfig, readable
from recsys.data.columns import schema_of
from recsys.data.documents import YamlDocument
from recsys.domain import MAX_ID_LENGTH, LegalForm, OfferKind, PricePeriod, Size
from recsys.errors import ConfigError
from recsys.tables import OFFER_PRICES, OFFER_RELATIONS, OFFERS

_MINOR_UNITS = 100


class Title(RunConfig):
    """A name in both languages."""

    ru: str = Field(min_length=1)
    en: str = Field(min_length=1)

    _is_readable = field_validator("ru", "en")(readable)


class PriceEntry(RunConfig):
    """One price; see `recsys.domain.Price`. The amount is in whole units of the currency."""

    amount: Decimal = Field(ge=0, decimal_places=2)
    period: PricePeriod
    region: str | None = None
    size: Size | None = None


class OfferEntry(RunConfig):
    """One offer; see `recsys.domain.Offer`. The margin is in whole units of the currency."""

    id: str = Field(min_length=1, max_length=MAX_ID_LENGTH)
    kind: OfferKind
    supplier: str
    category: str
    need_group: str
    title: Title
    margin: Decimal = Field(decimal_places=2)
    prices: tuple[PriceEntry, ...] = ()
    regions: tuple[str, ...] = ()
    legal_forms: tuple[LegalForm, ...] = ()
    requires: tuple[tuple[str, ...], ...] = ()
    excludes: tuple[str, ...] = ()
    exclusive_slot: str | None = None
    upgrades_to: str | None = None


class CatalogueFile(RunConfig):
    """The document as it stands in ``catalogue.yaml``."""

    regions: dict[str, Title]
    suppliers: dict[str, Title]
    categories: dict[str, Title]
    need_groups: dict[str, Title]
    offers: tuple[OfferEntry, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A catalogue without contradictions.

    Attributes:
        regions: Region codes, in the order of the file.
        offers: The offers, in the order of the file.
        version: First 12 hexadecimal digits of the text's SHA-256.
    """

    regions: tuple[str, ...]
    offers: tuple[OfferEntry, ...]
    version: str


def read_catalogue(path: Path) -> Catalogue:
    """Read ``catalogue.yaml``.

    Args:
        path: The file, or the folder it stands in.

    Raises:
        ConfigError: The file is missing, or something in it is wrong; file, line and cure are named.
    """
    file = path / "catalogue.yaml" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); name a folder with it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text; save it as UTF-8") from error
    return catalogue_from_yaml(text, str(file))


def catalogue_from_yaml(text: str, place: str) -> Catalogue:
    """Read a catalogue from the text of ``catalogue.yaml``; `place` names it in errors.

    Raises:
        ConfigError: A field is unknown, missing or wrong; an id stands twice; something refers to what
            is not declared; requirements run in a circle; or a relation contradicts another. One line
            per fault, each with file, line and cure.
    """
    document = YamlDocument(text, place)
    content = document.read(CatalogueFile)
    faults = [
        *_duplicate_faults(document, content),
        *_reference_faults(document, content),
        *_price_faults(document, content),
        *_relation_faults(document, content),
    ] or list(_cycle_faults(document, content))
    if faults:
        raise ConfigError("\n".join(str(fault) for fault in faults))
    return Catalogue(
        regions=tuple(content.regions),
        offers=content.offers,
        version=hashlib.sha256(text.encode()).hexdigest()[:12],
    )


def _duplicate_faults(document: YamlDocument, content: CatalogueFile) -> Iterator[ConfigError]:
    first_seen: dict[str, int] = {}
    for index, offer in enumerate(content.offers):
        if offer.id in first_seen:
            first = document.place_of(("offers", first_seen[offer.id]))
            yield document.error(
                ("offers", index, "id"), f"offer {offer.id!r} stands at {first} already; rename or remove one"
            )
        first_seen.setdefault(offer.id, index)


def _reference_faults(document: YamlDocument, content: CatalogueFile) -> Iterator[ConfigError]:
    offer_ids = {offer.id for offer in content.offers}
    for index, offer in enumerate(content.offers):
        for path, value, thing, known in _references(offer, content, offer_ids):
            if value not in known:
                cure = "name an offer of this file" if thing == "offer" else f"declare it under {thing}"
                yield document.error(
                    ("offers", index, *path),
                    f"offer {offer.id!r} refers to {value!r}, which is not there; correct the id or {cure}",
                )


_Reference = tuple[tuple[str | int, ...], str, str, set[str]]


def _references(offer: OfferEntry, content: CatalogueFile, offer_ids: set[str]) -> Iterator[_Reference]:
    regions = set(content.regions)
    yield ("supplier",), offer.supplier, "suppliers", set(content.suppliers)
    yield ("category",), offer.category, "categories", set(content.categories)
    yield ("need_group",), offer.need_group, "need_groups", set(content.need_groups)
    for number, region in enumerate(offer.regions):
        yield ("regions", number), region, "regions", regions
    for number, price in enumerate(offer.prices):
        if price.region is not None:
            yield ("prices", number, "region"), price.region, "regions", regions
    for number, group in enumerate(offer.requires):
        for place, other in enumerate(group):
            yield ("requires", number, place), other, "offer", offer_ids
    for number, other in enumerate(offer.excludes):
        yield ("excludes", number), other, "offer", offer_ids
    if offer.upgrades_to is not None:
        yield ("upgrades_to",), offer.upgrades_to, "offer", offer_ids


def _price_faults(document: YamlDocument, content: CatalogueFile) -> Iterator[ConfigError]:
    for index, offer in enumerate(content.offers):
        seen = set()
        for number, price in enumerate(offer.prices):
            key = (price.region, price.size, price.period)
            if key in seen:
                yield document.error(
                    ("offers", index, "prices", number),
                    f"offer {offer.id!r} has two prices for the same region, size and period; remove one",
                )
            seen.add(key)


def _relation_faults(document: YamlDocument, content: CatalogueFile) -> Iterator[ConfigError]:
    slots = Counter(offer.exclusive_slot for offer in content.offers)
    for index, offer in enumerate(content.offers):
        path = ("offers", index)
        if offer.exclusive_slot is not None and slots[offer.exclusive_slot] == 1:
            yield document.error(
                (*path, "exclusive_slot"),
                f"slot {offer.exclusive_slot!r} has a single offer and excludes nothing; "
                "correct its name or remove it",
            )
        for number, group in enumerate(offer.requires):
            if not group:
                yield document.error(
                    (*path, "requires", number), "an empty group can never be met; fill or remove it"
                )
        required = {other for group in offer.requires for other in group}
        for number, other in enumerate(offer.excludes):
            if other == offer.id or other in required:
                yield document.error(
                    (*path, "excludes", number),
                    f"offer {offer.id!r} cannot exclude {other!r}, which it is or requires; remove one",
                )
        yield from _upgrade_faults(document, content, index)


def _upgrade_faults(document: YamlDocument, content: CatalogueFile, index: int) -> Iterator[ConfigError]:
    next_edition = {offer.id: offer.upgrades_to for offer in content.offers if offer.upgrades_to}
    offer = content.offers[index]
    for number, group in enumerate(offer.requires):
        for place, other in enumerate(group):
            higher = next_edition.get(other)
            if higher is not None and higher not in group:
                yield document.error(
                    ("offers", index, "requires", number, place),
                    f"offer {offer.id!r} would be lost by upgrading {other!r}; add {higher!r} to the group",
                )


def _cycle_faults(document: YamlDocument, content: CatalogueFile) -> Iterator[ConfigError]:
    index_of = {offer.id: index for index, offer in enumerate(content.offers)}
    chains = (
        ("requires", {offer.id: {o for g in offer.requires for o in g} for offer in content.offers}),
        ("upgrades_to", {o.id: {o.upgrades_to} for o in content.offers if o.upgrades_to is not None}),
    )
    for field, edges in chains:
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            yield document.error(
                ("offers", index_of[cycle[0]], field),
                f"{field} runs in a circle: {' → '.join(cycle)}; remove one of these relations",
            )


def catalogue_tables(catalogue: Catalogue, recorded_at: datetime) -> dict[str, pl.DataFrame]:
    """The tables ``offers``, ``offer_relations`` and ``offer_prices``, sorted by their keys.

    Args:
        catalogue: The catalogue.
        recorded_at: When the catalogue became known, aware UTC.
    """
    return {
        "offers": _offers_table(catalogue, recorded_at),
        "offer_relations": _relations_table(catalogue, recorded_at),
        "offer_prices": price_rows(catalogue.offers, recorded_at),
    }


def _offers_table(catalogue: Catalogue, recorded_at: datetime) -> pl.DataFrame:
    rows = [
        {
            "offer_id": offer.id,
            "kind": offer.kind.value,
            "recorded_at": recorded_at,
            "title_ru": offer.title.ru,
            "title_en": offer.title.en,
            "supplier_id": offer.supplier,
            "category": offer.category,
            "need_group": offer.need_group,
            "margin_minor": minor(offer.margin),
            "regions": list(offer.regions) or None,
            "legal_forms": [form.value for form in offer.legal_forms] or None,
            "exclusive_slot": offer.exclusive_slot,
            "valid_from": None,
            "valid_to": None,
            "is_stopped": False,
        }
        for offer in catalogue.offers
    ]
    return pl.DataFrame(rows, schema=schema_of(OFFERS)).sort("offer_id")


def _relations_table(catalogue: Catalogue, recorded_at: datetime) -> pl.DataFrame:
    # "Cannot stand beside" holds both ways, whichever side it was written on.
    excluded = {(offer.id, other) for offer in catalogue.offers for other in offer.excludes}
    rows = {(one, "excludes", other, 0) for pair in excluded for one, other in (pair, pair[::-1])}
    for offer in catalogue.offers:
        for number, group in enumerate(offer.requires):
            rows |= {(offer.id, "requires", other, number) for other in group}
        if offer.upgrades_to is not None:
            rows.add((offer.id, "upgrades_to", offer.upgrades_to, 0))
    return pl.DataFrame(
        [
            {
                "offer_id": offer_id,
                "relation": relation,
                "other_offer_id": other,
                "alternative": alternative,
                "recorded_at": recorded_at,
            }
            for offer_id, relation, other, alternative in sorted(rows)
        ],
        schema=schema_of(OFFER_RELATIONS),
    )


def price_rows(offers: tuple[OfferEntry, ...], recorded_at: datetime) -> pl.DataFrame:
    """The prices of offers as rows of ``offer_prices``, sorted by their key."""
    rows = [
        {
            "offer_id": offer.id,
            "region": price.region,
            "size": price.size,
            "period": price.period.value,
            "amount_minor": minor(price.amount),
            "recorded_at": recorded_at,
        }
        for offer in offers
        for price in offer.prices
    ]
    frame = pl.DataFrame(rows, schema=schema_of(OFFER_PRICES))
    return frame.sort("offer_id", "region", "size", "period", nulls_last=False)


def minor(amount: Decimal) -> int:
    """An amount in minor units.

    Example:
        >>> minor(Decimal("1.60"))
        160
    """
    return int(amount * _MINOR_UNITS)
