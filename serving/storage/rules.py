"""What every store does alike: which events can be true, how rows become a state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from recsys.data.state import Showing, put_holdings
from recsys.domain import (
    ClientState,
    Event,
    EventType,
    OfferId,
)
from recsys.errors import ConflictError, EventFault, InvalidEventsError
from recsys.history import MonthFigures
from serving.orders import Assignment
from serving.ports import (
    MAX_CLOCK_SKEW,
    HoldingChange,
    LoggedDecision,
    PutClient,
)
from serving.upkeep import month_of

_SEARCHED_NAME_LENGTH = 200
_OF_A_LIST = (EventType.IMPRESSION, EventType.CLICK)
_NOT_OF_CONTENT = ("recorded_at", "log_month")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a decision showed to whom, and when.

    Attributes:
        client_id: The client.
        decided_at: When it was taken.
        offers: Offer by 1-based slot.
        showing: Where and to whom it was shown.
        log_month: The month of the log it lies in; None where nothing is kept by months.
    """

    client_id: str
    decided_at: datetime
    offers: Mapping[int, str]
    showing: Showing
    log_month: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Shown:
        """Read a row of ``decisions``."""
        offers = {slot: offer_id for slot, offer_id, *_ in orjson.loads(row["items"])}
        showing = Showing(row["placement_id"], row["member_id"])
        return cls(row["client_id"], row["occurred_at"], offers, showing, row.get("log_month"))


@dataclass(frozen=True, slots=True)
class Known:
    """What events may refer to, at least what those in question do.

    Attributes:
        shown: Decisions by id.
        offer_ids: Offers.
        client_ids: Clients of whom a profile is stored.
    """

    shown: Mapping[str, Shown]
    offer_ids: Collection[str]
    client_ids: Collection[str]

    @property
    def showings(self) -> dict[str, Showing]:
        """Where and to whom each decision was shown."""
        return {decision_id: shown.showing for decision_id, shown in self.shown.items()}


def check_events(events: Sequence[Event], known: Known) -> list[Event]:
    """The events as they are to be stored: slot and offer complete each other.

    Raises:
        InvalidEventsError: An event cannot be true.
    """
    checked: list[Event] = []
    faults: list[EventFault] = []
    for index, event in enumerate(events):
        found = _complete(event, known)
        if isinstance(found, Event):
            checked.append(found)
        else:
            code, message = found
            faults.append(EventFault(index, event.event_id, code, message))
    if faults:
        raise InvalidEventsError(faults)
    return checked


def check_repeats(rows: Iterable[Mapping[str, Any]], stored: Iterable[Mapping[str, Any]]) -> None:
    """Refuse an event_id that stands for two different events.

    Args:
        rows: Of ``events``, as they are to be stored.
        stored: The rows of these event_ids that are stored already.

    Raises:
        ConflictError: The id was used before with another content.
    """
    seen = {row["event_id"]: row for row in stored}
    for row in rows:
        before = seen.setdefault(row["event_id"], row)
        if any(row[name] != before[name] for name in row if name not in _NOT_OF_CONTENT):
            raise ConflictError(
                f"event_id {row['event_id']!r} was used before with another content, so no event of the batch"
                " was stored; choose a new one"
            )


def _complete(event: Event, known: Known) -> Event | tuple[str, str]:
    if event.decision_id is None:
        return _alone(event, known)
    decision = known.shown.get(event.decision_id)
    if decision is None:
        return "unknown_decision", f"there is no decision {event.decision_id!r}; send the answer's"
    if decision.client_id != event.client_id:
        return "wrong_client", (
            f"decision {event.decision_id!r} was not made for client {event.client_id!r};"
            " send the client_id that its list was asked for"
        )
    if event.occurred_at < decision.decided_at - MAX_CLOCK_SKEW:
        return "before_decision", (
            f"it happened before decision {event.decision_id!r} was taken, at"
            f" {decision.decided_at.isoformat()}; send when it really happened, by a clock that is right"
        )
    return _complete_from(event, decision)


def _alone(event: Event, known: Known) -> Event | tuple[str, str]:
    """The event, which refers to no decision, or its fault."""
    if event.event_type in _OF_A_LIST:
        return (
            "needs_decision",
            f"{_with_article(event)} needs the decision_id of the list, and slot or offer_id",
        )
    if event.client_id not in known.client_ids:
        return (
            "unknown_client",
            f"there is no client {event.client_id!r}; create it first, or send the decision_id",
        )
    if event.offer_id is not None and event.offer_id not in known.offer_ids:
        return "unknown_offer", f"there is no offer {event.offer_id!r}; send an id of the catalogue"
    return event


def _with_article(event: Event) -> str:
    return f"{'an' if event.event_type is EventType.IMPRESSION else 'a'} {event.event_type.value}"


def _complete_from(event: Event, decision: Shown) -> Event | tuple[str, str]:
    if event.slot is None and event.offer_id is None:
        if event.event_type in _OF_A_LIST:
            return "needs_slot", f"{_with_article(event)} needs the slot or the offer_id of what was shown"
        return event
    for slot, offer_id in decision.offers.items():
        if event.slot in (None, slot) and event.offer_id in (None, offer_id):
            return replace(event, slot=slot, offer_id=OfferId(offer_id))
    what = "anything" if event.offer_id is None else f"offer {event.offer_id!r}"
    where = "" if event.slot is None else f" at slot {event.slot}"
    return (
        "wrong_slot",
        f"decision {event.decision_id!r} did not show {what}{where}; send the slot or offer_id of its answer",
    )


def change_holdings(
    state: ClientState, changes: Sequence[HoldingChange], recorded_at: datetime
) -> ClientState:
    """The state after changes of one client's holdings."""
    holdings = [change.holding._replace(ends_at=change.disconnected_at) for change in changes]
    return put_holdings(state, holdings, recorded_at)


def with_next_version(stored: ClientState, changed: ClientState) -> ClientState:
    """The changed state under the version after the stored one; the stored one if they are equal."""
    changed = replace(changed, version=stored.version)
    return stored if changed == stored else replace(changed, version=stored.version + 1)


def holding_rows(
    changes: Sequence[HoldingChange], stored: Mapping[str, Mapping[str, Any]], recorded_at: datetime
) -> list[dict[str, Any]]:
    """New versions of rows of ``holdings``; what a change does not speak of stays as stored.

    Args:
        changes: In their order.
        stored: The latest row of each holding concerned, by id.
        recorded_at: When the changes became known.

    Raises:
        ConflictError: An id belongs to another client or offer.
    """
    latest: dict[str, Mapping[str, Any]] = dict(stored)
    rows: list[dict[str, Any]] = []
    for change in changes:
        holding = change.holding
        before = latest.get(holding.holding_id)
        row = {
            **(before or {}),
            "holding_id": holding.holding_id,
            "client_id": change.client_id,
            "offer_id": holding.offer_id,
            "connected_at": holding.connected_at,
            "disconnected_at": change.disconnected_at,
            "quantity": holding.quantity,
            "term_ends_on": holding.term_ends_on,
        }
        if before is not None and any(row[name] != before[name] for name in ("client_id", "offer_id")):
            raise ConflictError(
                f"holding {holding.holding_id!r} belongs to another client or offer; choose another id"
            )
        if row != before:
            row["recorded_at"] = recorded_at
            latest[holding.holding_id] = row
            rows.append(row)
    return rows


def month_rows(
    state: ClientState, months: Sequence[MonthFigures], recorded_at: datetime
) -> list[dict[str, Any]]:
    """Rows of ``client_months`` for the figures that one client's state does not hold yet."""
    known = set(state.history.months)
    return [
        {**month._asdict(), "client_id": state.client_id, "known_at": recorded_at}
        for month in months
        if month not in known
    ]


def changed_profile(state: ClientState, put: PutClient) -> ClientState:
    """The state with a new profile, one version on; the same one if it has that profile already.

    Raises:
        ConflictError: The writer has seen another profile than the stored one.
    """
    if put.replaces is not None and put.replaces != state.profile:
        raise ConflictError(f"the profile of client {put.client_id!r} was changed meanwhile; read it again")
    return with_next_version(state, replace(state, profile=put.profile))


def client_row(put: PutClient) -> dict[str, Any]:
    """The row of ``clients`` of a new profile version."""
    return {
        **asdict(put.profile),
        "client_id": put.client_id,
        "valid_from": put.recorded_at,
        "valid_to": None,
        "recorded_at": put.recorded_at,
        "change_reason": put.reason,
    }


def event_row(event: Event, recorded_at: datetime) -> dict[str, Any]:
    """The row of ``events``."""
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "client_id": event.client_id,
        "occurred_at": event.occurred_at,
        "recorded_at": recorded_at,
        "offer_id": event.offer_id,
        "decision_id": event.decision_id,
        "member_id": event.member_id,
        "slot": event.slot,
        "reason": event.reason,
        "topic": event.topic,
    }


def decision_row(decision: LoggedDecision) -> dict[str, Any]:
    """The row of ``decisions``, its items beside the columns of the contract."""
    return {
        "decision_id": decision.decision_id,
        "client_id": decision.client_id,
        "member_id": decision.member_id,
        "placement_id": decision.placement_id,
        "channel": decision.channel,
        "occurred_at": decision.occurred_at,
        "recorded_at": decision.occurred_at,
        "seed": decision.seed,
        "policy_version": decision.policy_version,
        "catalogue_version": decision.catalogue_version,
        "bundle_version": decision.bundle_version,
        "state_version": decision.state_version,
        "is_personalised": decision.is_personalised,
        "degraded": decision.degraded,
        "basis": decision.basis,
        "items": decision.items.decode(),
        "candidates": decision.candidates.decode(),
        "request": decision.request.decode(),
        "assignments": None if decision.assignments in (b"", b"[]") else decision.assignments.decode(),
        "log_month": month_of(decision.occurred_at),
    }


def assignment_row(assignment: Assignment) -> dict[str, Any]:
    """The row of ``assignments``."""
    return {**asdict(assignment), "recorded_at": assignment.triggered_at or assignment.assigned_at}


def assignment_from_row(row: Mapping[str, Any]) -> Assignment:
    """The opposite of `assignment_row`; one that came without saying so is not forced."""
    told = {name: value for name, value in row.items() if name != "recorded_at"}
    return Assignment(**{**told, "is_forced": bool(row["is_forced"])})


def merge_items(items: str | bytes, rows: Iterable[Mapping[str, Any]]) -> str:
    """A decision's JSON with further rows of ``decision_items``; a slot that is there stays."""
    merged = {
        row["slot"]: [
            row["slot"],
            row["offer_id"],
            row["change"],
            row["logging_probability"],
            row["reasons"] or [],
        ]
        for row in rows
    } | {item[0]: item for item in orjson.loads(items)}
    return orjson.dumps([merged[slot] for slot in sorted(merged)]).decode()


def items_of(decision_id: str, items: str) -> list[dict[str, Any]]:
    """The rows of ``decision_items`` that one decision's JSON stands for, by slot."""
    return [
        {
            "decision_id": decision_id,
            "slot": slot,
            "offer_id": offer_id,
            "change": change,
            "logging_probability": logging_probability,
            "reasons": reasons,
        }
        for slot, offer_id, change, logging_probability, reasons in sorted(orjson.loads(items))
    ]


def search_text(state: ClientState) -> str:
    r"""What a client is found and ordered by: name, or the id of a nameless client, then the id.

    Example:
        >>> from recsys.domain import ClientId, Profile
        >>> search_text(ClientState(ClientId("C-7"), profile=Profile(name="Ромашка")))
        'ромашка\nc-7'
    """
    name = state.profile.name if state.profile is not None else None
    return f"{(name or state.client_id)[:_SEARCHED_NAME_LENGTH].casefold()}\n{state.client_id.casefold()}"
