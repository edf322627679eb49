"""Applications that are work in progress."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from recsys.data.dataset import Dataset
from recsys.data.snapshot import holding_rows
from recsys.domain import EventType

OPEN_DAYS = 90
"""An older application that nobody answered is forgotten, as in a client's state."""
_CLOSING = (EventType.ACTIVATION.value, EventType.DISMISSAL.value)
_PAIR = ("client_id", "offer_id")


def open_applications(dataset: Dataset, as_of: datetime) -> dict[str, frozenset[str]]:
    """Offers that clients applied for in the last 90 days and that nothing followed since.

    An application is closed by an activation, by a dismissal and by a connection of the same offer at the
    same moment or later.

    Args:
        dataset: The tables; without events nobody applied for anything.
        as_of: The moment; rows recorded later are not read.

    Returns:
        Client → offers; clients without any are left out.
    """
    events = dataset.tables.get("events")
    if events is None:
        return {}
    known = events.filter(
        pl.col("recorded_at") <= as_of,
        pl.col("occurred_at") > as_of - timedelta(days=OPEN_DAYS),
        pl.col("offer_id").is_not_null(),
    )
    kind, happened = pl.col("event_type"), pl.col("occurred_at")
    applied = known.filter(kind == EventType.APPLICATION.value).group_by(_PAIR).agg(applied_at=happened.max())
    closed = pl.concat(
        [
            known.filter(kind.is_in(_CLOSING)).select(*_PAIR, at=happened),
            holding_rows(dataset, as_of).select(*_PAIR, at="connected_at"),
        ]
    )
    ended = applied.join(closed, on=_PAIR).filter(pl.col("at") >= pl.col("applied_at"))
    waiting = applied.join(ended, on=_PAIR, how="anti").group_by("client_id").agg("offer_id")
    return {client_id: frozenset(offer_ids) for client_id, offer_ids in waiting.iter_rows()}
