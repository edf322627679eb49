"""Time splits: what a client connected after a cut and had never been seen with before."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from recsys.data.dataset import Dataset
from recsys.data.snapshot import holding_rows, valid_clients


def first_adoptions(dataset: Dataset, cut: datetime, horizon_days: int) -> dict[str, frozenset[str]]:
    """What each client adopted for the first time within a horizon.

    An offer is adopted when the client held it for the first time in (cut, cut + horizon], still holds it
    at the end of the horizon, and was never seen with it up to the cut, not even once and briefly.
    What counts is known at the end of the horizon, so that a row that came late makes an old holding no
    new one; and what was known at the cut counts as seen, even if a correction moved it later.

    Args:
        dataset: Validated tables.
        cut: End of what a model may know, aware.
        horizon_days: Length of the horizon in days, ≥1.

    Returns:
        Offer ids by client id, in the order of client ids, for every client with a valid profile at both
        ends; an empty set for one that adopted nothing.

    Raises:
        ValueError: The horizon is shorter than a day.
    """
    if horizon_days < 1:
        raise ValueError(f"horizon_days is {horizon_days}, must be at least 1")
    end = cut + timedelta(days=horizon_days)
    clients = valid_clients(dataset, end).join(valid_clients(dataset, cut), on="client_id", how="semi")
    pair = ["client_id", "offer_id"]
    adopted = (
        holding_rows(dataset, end)
        .group_by(pair)
        .agg(pl.col("connected_at").min().alias("first_seen_at"), pl.col("is_held").any())
        .filter(pl.col("first_seen_at") > cut, pl.col("is_held"))
        .join(clients, on="client_id", how="semi")
        .join(holding_rows(dataset, cut), on=pair, how="anti")
    )
    offers_of = dict(adopted.group_by("client_id").agg("offer_id").iter_rows())
    return {
        client_id: frozenset(offers_of.get(client_id, ()))
        for client_id in clients["client_id"].sort().to_list()
    }
