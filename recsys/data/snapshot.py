"""The world as it was known at an instant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recsys.domain import ClientState, HoldingsKind, Offer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Clients and offers as they were known at as_of.

    Attributes:
        as_of: The information cut-off; only rows with recorded_at ≤ as_of were read.
        states: One per client with a valid profile version at as_of, ordered by client_id.
        offers: Every offer known, ordered by offer_id.
        demand: (row in states, row in offers) of present demand: for subscriptions what is held now,
            for purchases what was bought in the last 30 days.
        holdings_kind: What a holding means in this dataset.
    """

    as_of: datetime
    states: tuple[ClientState, ...]
    offers: tuple[Offer, ...]
    demand: tuple[tuple[int, int], ...]
    holdings_kind: HoldingsKind
