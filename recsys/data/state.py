"""A client's state: as JSON, and how an event changes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import orjson

from recsys.domain import (
    ClientId,
    ClientState,
    Dismissal,
    DismissalReason,
    Event,
    EventType,
    Holding,
    LegalForm,
    OfferId,
    Profile,
    Size,
    Stage,
)


def state_to_json(state: ClientState) -> bytes:
    """The state without its version, as one JSON object (the version is a column of its own)."""
    profile = state.profile
    return orjson.dumps(
        {
            "profile": profile,
            "holdings": [
                [held.holding_id, held.offer_id, held.connected_at, held.quantity] for held in state.holdings
            ],
            "past_offer_ids": state.past_offer_ids,
            "dismissals": [
                [dismissal.offer_id, dismissal.reason, dismissal.dismissed_at]
                for dismissal in state.dismissals
            ],
        }
    )


def state_from_json(client_id: ClientId, version: int, body: bytes | str) -> ClientState:
    """The opposite of `state_to_json`."""
    values = orjson.loads(body)
    return ClientState(
        client_id=client_id,
        version=version,
        profile=None if values["profile"] is None else _profile(values["profile"]),
        holdings=tuple(
            Holding(holding_id, offer_id, datetime.fromisoformat(connected_at), quantity)
            for holding_id, offer_id, connected_at, quantity in values["holdings"]
        ),
        past_offer_ids=tuple(values["past_offer_ids"]),
        dismissals=tuple(
            Dismissal(offer_id, DismissalReason(reason), datetime.fromisoformat(dismissed_at))
            for offer_id, reason, dismissed_at in values["dismissals"]
        ),
    )


def apply_event(state: ClientState, event: Event) -> ClientState:
    """The state after an event; the same object when the event changes nothing a decision reads.

    A dismissal replaces an earlier one of the same offer. Holdings change by holdings, never by events:
    an activation that the operator's systems did not confirm connects nothing.
    """
    if event.event_type is not EventType.DISMISSAL or event.offer_id is None:
        return state
    reason = event.reason or DismissalReason.NOT_NOW
    earlier = tuple(item for item in state.dismissals if item.offer_id != event.offer_id)
    return replace(
        state,
        version=state.version + 1,
        dismissals=(*earlier, Dismissal(event.offer_id, reason, event.occurred_at)),
    )


def connect(state: ClientState, holding: Holding) -> ClientState:
    """The state after a holding was connected, or its quantity changed."""
    others = tuple(held for held in state.holdings if held.holding_id != holding.holding_id)
    holdings = tuple(sorted((*others, holding), key=lambda held: held.connected_at))
    return replace(state, version=state.version + 1, holdings=holdings)


def disconnect(state: ClientState, holding_id: str, offer_id: OfferId) -> ClientState:
    """The state after a holding ended; the offer counts as held before."""
    past = state.past_offer_ids if offer_id in state.past_offer_ids else (*state.past_offer_ids, offer_id)
    return replace(
        state,
        version=state.version + 1,
        holdings=tuple(held for held in state.holdings if held.holding_id != holding_id),
        past_offer_ids=past,
    )


def _profile(values: dict[str, Any]) -> Profile:
    since = values["client_since_on"]
    return Profile(
        **{
            **values,
            "legal_form": LegalForm(values["legal_form"]),
            "size": Size(values["size"]),
            "stage": None if values["stage"] is None else Stage(values["stage"]),
            "client_since_on": None if since is None else date.fromisoformat(since),
            "tags": tuple(values["tags"]),
        }
    )
