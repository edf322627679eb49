"""The places of a portal that show lists, and what a list there must keep to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from recsys.domain import OfferId, OfferKind


class SlotKind(StrEnum):
    """Whose offers a slot takes: the operator's own, those of others (partner and content), or any."""

    OWN = "own"
    PARTNER = "partner"
    ANY = "any"


class ExplorationKind(StrEnum):
    """How a slot is drawn when it is drawn at random.

    ``epsilon``: every offer still allowed has the same chance. ``softmax``: an offer's chance grows with
    its priority (Plackett–Luce).
    """

    NONE = "none"
    EPSILON = "epsilon"
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True)
class Exploration:
    """How much of a list is left to chance.

    Attributes:
        kind: How a slot is drawn at random.
        share: Probability that a slot is drawn at random instead of by priority, 0–1.
        temperature: Of the softmax, above 0: worths are priority^(1/temperature).
        new_offer_share: Least probability that a slot goes to a new offer while one is allowed, 0–1.
        new_offer_days: An offer counts as new for so many days, ≥0; 0 = only while no model knows it.
    """

    kind: ExplorationKind = ExplorationKind.NONE
    share: float = 0.0
    temperature: float = 1.0
    new_offer_share: float = 0.0
    new_offer_days: int = 0


@dataclass(frozen=True, slots=True)
class Pin:
    """An offer that has a slot to itself, as long as the client may be offered it.

    Attributes:
        offer_id: The offer.
        slot: 1-based slot.
        from_at: Pinned from here on; None means since ever.
        until_at: Pinned until here, this moment excluded; None means without end.
    """

    offer_id: OfferId
    slot: int
    from_at: datetime | None = None
    until_at: datetime | None = None

    def is_on(self, now: datetime) -> bool:
        """Whether the offer is pinned at that moment."""
        return (self.from_at is None or self.from_at <= now) and (
            self.until_at is None or now < self.until_at
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """A place in the portal that shows a list.

    Attributes:
        placement_id: Stable id.
        k: Length of the list unless the request says otherwise.
        max_k: Longest list that may be asked for.
        kinds: Kinds of offers it shows; empty means every kind.
        slots: Whose offers each slot takes, slot 1 first; the slots beyond its end take any.
        max_per_supplier: Most offers of one supplier in a list, ≥1; None means any number.
        max_per_need_group: Most offers of one need group, ≥1 or None.
        max_per_category: Most offers of one category, ≥1 or None.
        pins: Offers that have a slot to themselves.
        least_priority: An offer below it is not shown, ≥0: fewer rather than padding. Pins are exempt.
        exploration: How much is left to chance.
        rotation: Competitors of one need group share a place evenly when their priorities lie within this
            share of the highest of them, 0–1; 0 = the higher one has it.
    """

    placement_id: str
    k: int = 5
    max_k: int = 50
    kinds: tuple[OfferKind, ...] = ()
    slots: tuple[SlotKind, ...] = ()
    max_per_supplier: int | None = None
    max_per_need_group: int | None = None
    max_per_category: int | None = None
    pins: tuple[Pin, ...] = ()
    least_priority: float = 0.0
    exploration: Exploration = Exploration()
    rotation: float = 0.0
