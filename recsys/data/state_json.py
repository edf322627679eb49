"""A client's state as JSON, and back; every decision reads one, so its history is left unread."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import orjson

from recsys.domain import (
    ClientId,
    ClientState,
    Dismissal,
    DismissalReason,
    Holding,
    LegalForm,
    OfferId,
    Profile,
    Size,
    Stage,
)
from recsys.history import NO_HISTORY, History

_HISTORY_KEY = ',"history":'
# A lookup in a dict is several times faster than the call of an enum.
_LEGAL_FORMS = {form.value: form for form in LegalForm}
_SIZES = {size.value: size for size in Size}
_REASONS = {reason.value: reason for reason in DismissalReason}
_STAGES: dict[str | None, Stage | None] = {None: None, **{stage.value: stage for stage in Stage}}


def state_to_json(state: ClientState) -> bytes:
    """The state without its version, as one JSON object (the version is a column of its own)."""
    return orjson.dumps(
        {
            "profile": state.profile,
            "holdings": [_holding_values(held) for held in state.holdings],
            "past_offer_ids": state.past_offer_ids,
            "dismissals": [
                [dismissal.offer_id, dismissal.reason, dismissal.dismissed_at]
                for dismissal in state.dismissals
            ],
            "history": orjson.Fragment(state.history.to_json()),
        }
    )


def state_from_json(client_id: ClientId, version: int, body: bytes | str) -> ClientState:
    """The opposite of `state_to_json`; a state of an older form has no history."""
    text = body if isinstance(body, str) else body.decode()
    # Inside a text of JSON a quote is escaped, so the key can only be the key; it is the last one.
    head, key, history = text.partition(_HISTORY_KEY)
    values = orjson.loads(head + "}" if key else head)
    return ClientState(
        client_id=client_id,
        version=version,
        profile=None if values["profile"] is None else _profile(values["profile"]),
        holdings=tuple([_holding(*held) for held in values["holdings"]]),
        past_offer_ids=tuple(values["past_offer_ids"]),
        dismissals=tuple(
            [
                Dismissal(offer_id, _REASONS[reason], datetime.fromisoformat(dismissed_at))
                for offer_id, reason, dismissed_at in values["dismissals"]
            ]
        ),
        history=History.from_json(history[:-1]) if key else NO_HISTORY,
    )


def _holding_values(held: Holding) -> list[object]:
    values = [held.holding_id, held.offer_id, held.connected_at, held.quantity]
    if held.ends_at is None and held.term_ends_on is None:
        return values
    return [*values, held.ends_at, held.term_ends_on]


def _holding(
    holding_id: str,
    offer_id: OfferId,
    connected_at: str,
    quantity: int,
    ends_at: str | None = None,
    term_ends_on: str | None = None,
) -> Holding:
    return Holding(
        holding_id,
        offer_id,
        datetime.fromisoformat(connected_at),
        quantity,
        None if ends_at is None else datetime.fromisoformat(ends_at),
        None if term_ends_on is None else date.fromisoformat(term_ends_on),
    )


def _profile(values: dict[str, Any]) -> Profile:
    since = values["client_since_on"]
    reviewed = values.get("vip_reviewed_on")  # states written earlier say nothing of it
    return Profile(
        name=values["name"],
        legal_form=_LEGAL_FORMS[values["legal_form"]],
        size=_SIZES[values["size"]],
        industry=values["industry"],
        region=values["region"],
        stage=_STAGES[values["stage"]],
        n_employees=values["n_employees"],
        revenue_minor=values["revenue_minor"],
        client_since_on=None if since is None else date.fromisoformat(since),
        is_vip=values["is_vip"],
        vip_reviewed_on=None if reviewed is None else date.fromisoformat(reviewed),
        loyalty_points=values["loyalty_points"],
        account_group_id=values["account_group_id"],
        tags=tuple(values["tags"]),
        is_profiling_allowed=values["is_profiling_allowed"],
    )
