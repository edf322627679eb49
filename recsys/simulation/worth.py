"""What a connection is worth to the operator."""

from __future__ import annotations

import numpy as np

from recsys.simulation.clients import FloatArray, IntArray
from recsys.simulation.rules import Shelf
from recsys.simulation.world import World

HORIZON_MONTHS = 12


def expected_margins(world: World, shelf: Shelf, horizon_months: int = HORIZON_MONTHS) -> FloatArray:
    """Margin expected of each offer once connected, whole units of the currency, shape (n_offers,).

    ``margin · Σ_{t < horizon} Π_{s < t} (1 - leave) (1 - d_s)`` with d the monthly disconnection of a calm
    client, times ``locked`` while the first term runs. Seats do not count: margins are those of a typical
    client.

    Args:
        world: The parameters.
        shelf: The catalogue.
        horizon_months: Months that count, ≥1.
    """
    appetite = world.appetite
    months = np.arange(horizon_months)
    terms = np.array([world.demand[offer_id].term_months for offer_id in shelf.offer_ids])
    ends = appetite.disconnection * np.where(months < terms[:, None], appetite.locked, 1.0)
    stays = np.cumprod((1 - world.life.leave) * (1 - ends), axis=1)
    n_kept = 1 + stays[:, :-1].sum(axis=1)
    margins: FloatArray = shelf.margins * n_kept
    return margins


def gained(margins: FloatArray, offers: IntArray, replaced: IntArray) -> FloatArray:
    """Margin gained by connections, less that of what they replace (-1 = nothing).

    Example:
        >>> gained(np.array([5.0, 8.0]), np.array([0, 1]), np.array([-1, 0])).tolist()
        [5.0, 3.0]
    """
    return margins[offers] - np.where(replaced >= 0, margins[np.maximum(replaced, 0)], 0.0)
