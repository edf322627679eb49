"""What is decided with, as every store keeps it alike: offers, stops, policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson
from pydantic import TypeAdapter

from recsys.data.offers import offers_from_rows
from recsys.domain import Offer
from recsys.errors import ConflictError
from recsys.tables import OFFER_PRICES, OFFER_RELATIONS, OFFERS, Table
from serving.orders import ExperimentOrder, OfferStop, PolicyVersion
from serving.ports import Catalogue, Row


def catalogue_of(
    offers: Iterable[Row], relations: Iterable[Row], prices: Iterable[Row], stopped_ids: frozenset[str]
) -> Catalogue:
    """The catalogue of rows that may hold several versions of a key; the latest counts.

    Args:
        offers: Of ``offers``.
        relations: Of ``offer_relations``.
        prices: Of ``offer_prices``.
        stopped_ids: Offers taken off by hand, whatever their rows say.
    """
    found = offers_from_rows(
        *(
            _latest(table, rows)
            for table, rows in ((OFFERS, offers), (OFFER_RELATIONS, relations), (OFFER_PRICES, prices))
        )
    )
    merged = tuple(
        replace(offer, is_stopped=True) if offer.offer_id in stopped_ids else offer for offer in found
    )
    return Catalogue(sha256(offers_to_json(merged)).hexdigest()[:16], merged)


def offers_to_json(offers: Sequence[Offer]) -> bytes:
    """Offers as one JSON text, by whose digest a catalogue is known."""
    return orjson.dumps(offers, option=orjson.OPT_SORT_KEYS)


def offers_from_json(text: str | bytes) -> tuple[Offer, ...]:
    """The opposite of `offers_to_json`."""
    return TypeAdapter(tuple[Offer, ...]).validate_json(text)


def n_in_effect(said: Iterable[OfferStop | PolicyVersion], now: datetime) -> int:
    """For how many the moment has come by an instant; rows are only added, so the number tells a change."""
    return sum(each.effective_at <= now for each in said)


def policy_row(policy: PolicyVersion) -> dict[str, Any]:
    """The row of ``policies``."""
    return {
        "version": policy.version,
        "documents": orjson.dumps(dict(policy.documents), option=orjson.OPT_SORT_KEYS).decode(),
        "effective_at": policy.effective_at,
        "recorded_at": policy.recorded_at,
        "author": policy.author,
        "note": policy.note,
        "is_withdrawal": policy.is_withdrawal,
    }


def policy_from_row(row: Mapping[str, Any]) -> PolicyVersion:
    """The opposite of `policy_row`."""
    return PolicyVersion(**{**row, "documents": orjson.loads(row["documents"])})


def order_from_row(row: Mapping[str, Any]) -> ExperimentOrder:
    """The order of a row of ``experiments``; one that came without a reason has an empty one."""
    return ExperimentOrder(**{**row, "reason": row["reason"] or ""})


def changed_meanwhile(order: ExperimentOrder) -> ConflictError:
    """The error of an order whose number is taken."""
    return ConflictError(
        f"experiment {order.experiment_id!r} was changed by somebody meanwhile; look at it and say it again"
    )


def bundles_changed_meanwhile() -> ConflictError:
    """The error of an order of a bundle whose number is taken."""
    return ConflictError(
        "somebody gave another order about bundles meanwhile; look at it (`recsys-serve bundle list`) and say"
        " yours again"
    )


def _latest(table: Table, rows: Iterable[Row]) -> list[Row]:
    latest: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in table.key)
        if key not in latest or row["recorded_at"] >= latest[key]["recorded_at"]:
            latest[key] = row
    return list(latest.values())
