"""A client's state out of its stored rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from recsys.data.state import (
    ACTIVITY_HOURS,
    Showing,
    apply_events,
    forget,
    put_holdings,
    put_months,
    settle,
)
from recsys.domain import (
    ClientId,
    ClientState,
    DecisionId,
    DismissalReason,
    Event,
    EventId,
    EventType,
    Holding,
    LegalForm,
    MemberId,
    OfferId,
    Profile,
    Size,
    Stage,
    size_of,
)
from recsys.history import MonthFigures
from serving.storage.rules import with_next_version


@dataclass(frozen=True, slots=True)
class ClientRows:
    """The stored rows of one client.

    Attributes:
        profiles: Of ``clients``, ascending by valid_from and recorded_at.
        holdings: The latest row of each holding.
        months: Of ``client_months``, ascending by known_at within a month.
        events: Of ``events``, each once, in any order, with placement_id and shown_to (placement and
            member of the decision, where it is stored); at least those that `events_since` asks for.
    """

    profiles: Iterable[Mapping[str, Any]] = ()
    holdings: Iterable[Mapping[str, Any]] = ()
    months: Iterable[Mapping[str, Any]] = ()
    events: Iterable[Mapping[str, Any]] = ()


def events_since(as_of: datetime) -> datetime:
    """From when on a state needs every event; of earlier ones it needs dismissals and complaints."""
    return as_of - timedelta(hours=ACTIVITY_HOURS + 1)


def rebuild_state(stored: ClientState, rows: ClientRows, as_of: datetime) -> ClientState:
    """The state that follows from the rows, one version on; the stored one if only time lies between them."""
    folded = fold_state(stored.client_id, rows, as_of)
    if replace(forget(settle(stored, as_of), as_of), version=0) == folded:
        return stored
    return with_next_version(stored, folded)


def fold_state(client_id: str, rows: ClientRows, as_of: datetime) -> ClientState:
    """A client's state out of its rows, as it stands at as_of, under version 0."""
    state = ClientState(ClientId(client_id), profile=_profile_at(rows.profiles, as_of))
    state = put_months(state, map(_month, rows.months))
    events = list(rows.events)
    state = apply_events(state, [_event(row) for row in events], as_of, _showings(events))
    return put_holdings(state, map(_holding, rows.holdings), as_of)


def profile_from_row(row: Mapping[str, Any]) -> Profile:
    """A row of ``clients`` as a profile; a missing size follows from staff and revenue."""
    stage = row.get("stage")
    size = row.get("size")
    is_profiling_allowed = row.get("is_profiling_allowed")
    return Profile(
        name=row.get("name"),
        legal_form=LegalForm(row.get("legal_form") or LegalForm.UNKNOWN),
        size=Size(size) if size else size_of(row.get("n_employees"), row.get("revenue_minor")),
        industry=row.get("industry"),
        region=row.get("region"),
        stage=None if stage is None else Stage(stage),
        n_employees=row.get("n_employees"),
        revenue_minor=row.get("revenue_minor"),
        client_since_on=row.get("client_since_on"),
        is_vip=bool(row.get("is_vip")),
        vip_reviewed_on=row.get("vip_reviewed_on"),
        loyalty_points=row.get("loyalty_points") or 0,
        account_group_id=row.get("account_group_id"),
        tags=tuple(row.get("tags") or ()),
        is_profiling_allowed=is_profiling_allowed is not False,
    )


def _profile_at(rows: Iterable[Mapping[str, Any]], as_of: datetime) -> Profile | None:
    latest = {row["valid_from"]: row for row in rows}
    valid = [
        row
        for valid_from, row in latest.items()
        if valid_from <= as_of and (row["valid_to"] is None or row["valid_to"] > as_of)
    ]
    return profile_from_row(valid[-1]) if valid else None


def _holding(row: Mapping[str, Any]) -> Holding:
    return Holding(
        row["holding_id"],
        OfferId(row["offer_id"]),
        row["connected_at"],
        row["quantity"] or 1,
        row["disconnected_at"],
        row["term_ends_on"],
    )


def _month(row: Mapping[str, Any]) -> MonthFigures:
    return MonthFigures(*[row[name] for name in MonthFigures._fields])


def _event(row: Mapping[str, Any]) -> Event:
    return Event(
        event_id=EventId(row["event_id"]),
        event_type=EventType(row["event_type"]),
        client_id=ClientId(row["client_id"]),
        occurred_at=row["occurred_at"],
        offer_id=row["offer_id"],
        reason=None if row["reason"] is None else DismissalReason(row["reason"]),
        topic=row["topic"],
        decision_id=None if row["decision_id"] is None else DecisionId(row["decision_id"]),
        member_id=None if row["member_id"] is None else MemberId(row["member_id"]),
    )


def _showings(rows: Iterable[Mapping[str, Any]]) -> dict[str, Showing]:
    return {
        row["decision_id"]: Showing(row["placement_id"], row["shown_to"])
        for row in rows
        if row["placement_id"] is not None
    }
