"""Which offers something is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from recsys.config import RunConfig
from recsys.domain import MAX_ID_LENGTH, Offer, OfferKind

if TYPE_CHECKING:  # the catalogue imports the rules, and the rules import this
    from recsys.decision.catalogue import CompiledCatalogue

_Name = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]


class UnknownName(NamedTuple):
    """A name that a catalogue does not have.

    Attributes:
        key: Key of the scope: offers, categories, need_groups or suppliers.
        at: 0-based place in the list of that key.
        name: The name.
    """

    key: str
    at: int
    name: str


class OfferScope(RunConfig):
    """Offers by id, category, need group, supplier and kind.

    Within a key any of the names will do; several keys must all be met; without any key it is every offer.
    A plain list is a list of offer ids.

    Attributes:
        offers: Ids of offers.
        categories: Shelves of the catalogue.
        need_groups: Groups of offers that meet the same need.
        suppliers: Who provides the offer.
        kinds: Own, partner or content.

    Example:
        >>> OfferScope.model_validate(["vpn"]).offers
        ('vpn',)
        >>> OfferScope().is_everything
        True
    """

    offers: tuple[_Name, ...] = Field(default=(), min_length=1)
    categories: tuple[_Name, ...] = Field(default=(), min_length=1)
    need_groups: tuple[_Name, ...] = Field(default=(), min_length=1)
    suppliers: tuple[_Name, ...] = Field(default=(), min_length=1)
    kinds: tuple[OfferKind, ...] = Field(default=(), min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _list_of_offers(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"offers": value}
        if isinstance(value, Mapping | OfferScope):
            return value
        raise ValueError(f"offers are meant here; write a list, like [{value or 'bank-b-rko'}]")

    @property
    def is_everything(self) -> bool:
        """Whether the scope leaves no offer out."""
        return not (self.offers or self.categories or self.need_groups or self.suppliers or self.kinds)

    def has(self, offer: Offer) -> bool:
        """Whether an offer is meant.

        Example:
            >>> from recsys.domain import OfferId
            >>> OfferScope(categories=("telephony",)).has(Offer(OfferId("pbx"), category="telephony"))
            True
        """
        return (
            (not self.offers or offer.offer_id in self.offers)
            and (not self.categories or offer.category in self.categories)
            and (not self.need_groups or offer.need_group in self.need_groups)
            and (not self.suppliers or offer.supplier_id in self.suppliers)
            and (not self.kinds or offer.kind in self.kinds)
        )

    def mask(self, catalogue: CompiledCatalogue) -> NDArray[np.bool_]:
        """Whether each offer of a catalogue is meant.

        Returns:
            By position, shape (n_offers,).
        """
        return np.array([self.has(offer) for offer in catalogue.offers], dtype=bool)

    def unknown_names(self, names: Mapping[str, frozenset[str]]) -> list[UnknownName]:
        """The names that a catalogue does not have, in the order of the scope; see `names_of`."""
        return [
            UnknownName(key, at, name)
            for key, known in names.items()
            for at, name in enumerate(getattr(self, key))
            if name not in known
        ]


def names_of(offers: Iterable[Offer]) -> Mapping[str, frozenset[str]]:
    """Key of a scope → the names under which offers can be meant there."""
    listed = tuple(offers)
    found: dict[str, list[str | None]] = {
        "offers": [offer.offer_id for offer in listed],
        "categories": [offer.category for offer in listed],
        "need_groups": [offer.need_group for offer in listed],
        "suppliers": [offer.supplier_id for offer in listed],
    }
    return {key: frozenset(name for name in names if name is not None) for key, names in found.items()}
