"""What the services need from outside: a store, a clock, a source of bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from recsys.domain import ClientId, ClientState, Event, Holding, Offer, Placement, Profile
from recsys.errors import RecsysError


class Role(StrEnum):
    """What a key may do."""

    PORTAL = "portal"
    MARKETER = "marketer"
    ANALYST = "analyst"
    DUTY = "duty"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """One row of the decision log.

    Attributes:
        items: JSON list of ``[slot, offer_id, change, logging_probability, [reason codes]]``.
        candidates: JSON object of equally long lists ``offer_id, change, priority, probability`` and the
            list ``refused`` of ``[offer_id, stage, rule]``.

    The other attributes are the columns of the table ``decisions``.
    """

    decision_id: str
    client_id: str
    member_id: str | None
    placement_id: str
    channel: str | None
    occurred_at: datetime
    seed: int
    policy_version: str | None
    catalogue_version: str | None
    bundle_version: str | None
    state_version: int
    is_personalised: bool
    degraded: str | None
    basis: str
    items: bytes
    candidates: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer given to a request_id, kept so that a retry gets the same one.

    Attributes:
        request_id: Chosen by the portal.
        request_digest: SHA-256 of the request's body.
        body: The answer's body.
        answered_at: When it was given.
    """

    request_id: str
    request_digest: bytes
    body: bytes
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class LogDecisions:
    """Append the decisions of one request; with an answer, under its request_id.

    Result: the `Answer` stored under that request_id (an earlier one, if a twin was faster), else None.
    ConflictError if the request_id was used with another body.
    """

    decisions: tuple[LoggedDecision, ...]
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class RecordEvents:
    """Append events, all or none, and change the clients' states with them.

    Result: for each event whether it is new (False: the event_id, or an impression of the same decision
    and slot, was stored before). InvalidEventsError if any refers to an unknown decision, to a slot or
    offer that this decision did not show, to another client than the decision's, or to an unknown offer.
    """

    events: tuple[Event, ...]
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class PutClient:
    """Create a client or replace its profile from now on. Result: the new `ClientState`."""

    client_id: ClientId
    profile: Profile
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class HoldingChange:
    """A connection, a change of its quantity, or its end (`disconnected_at` set)."""

    client_id: ClientId
    holding: Holding
    disconnected_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PutHoldings:
    """Upsert holdings, all or none, and change the clients' states with them.

    Result: the new `ClientState` of each client concerned, by id. UnknownClientError or
    UnknownOfferError if a client or offer is not stored; ConflictError if the holding_id belongs to
    another client or offer.
    """

    changes: tuple[HoldingChange, ...]
    recorded_at: datetime


Write = LogDecisions | RecordEvents | PutClient | PutHoldings
WriteResult = Answer | list[bool] | ClientState | dict[str, ClientState] | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The offers in force; the version is a digest of their content."""

    version: str
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Placements:
    """The placements in force; the version is a digest of their content."""

    version: str
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class SourceAge:
    """How fresh a loaded table is: newest ``recorded_at`` in it, and when it was loaded."""

    source: str
    newest_recorded_at: datetime | None
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A stored API key: never the key itself, only its SHA-256."""

    key_id: str
    digest: bytes
    role: Role
    created_at: datetime
    revoked_at: datetime | None = None


Row = Mapping[str, Any]


class Store(Protocol):
    """Where clients, catalogue, decisions and events live.

    Implementations: memory (tests), SQLite (embedded default), PostgreSQL. One contract suite runs on
    all three. Every method may raise StoreUnavailableError.
    """

    @property
    def is_embedded(self) -> bool:
        """True when a read takes microseconds and may run on the event loop."""
        ...

    def client_state(self, client_id: ClientId) -> ClientState | None:
        """The client's state in one read; None for an unknown client."""
        ...

    def answer(self, request_id: str) -> Answer | None:
        """The answer given to this request_id before."""
        ...

    def commit(self, writes: Sequence[Write]) -> list[WriteResult | RecsysError]:
        """Do all writes in one durable transaction.

        A write that is refused stores nothing, and does not harm the others: its place in the result
        holds the error. An event or a holding and the state it changes are written together.
        """
        ...

    def catalogue(self) -> Catalogue:
        """The offers in force, ordered by offer_id."""
        ...

    def placements(self) -> Placements:
        """The placements in force; one called ``home`` when nothing was loaded."""
        ...

    def content_version(self) -> str:
        """A short text that changes whenever catalogue or placements change; cheap enough to poll."""
        ...

    def holder_counts(self) -> dict[str, int]:
        """Number of clients that hold each offer now."""
        ...

    def source_ages(self) -> list[SourceAge]:
        """How fresh each loaded table is."""
        ...

    def find_clients(self, text: str, limit: int) -> list[ClientState]:
        """Clients whose id or name contains the text (any case), ordered by name, then id."""
        ...

    def upsert_rows(self, table: str, rows: Sequence[Row], loaded_at: datetime) -> int:
        """Upsert rows of a table contract (see `recsys.tables`); returns how many were written.

        Rows of one call are one transaction, short enough to run beside a serving server. States are
        not touched: call `rebuild_states` after the last table.
        """
        ...

    def rebuild_states(self, client_ids: Sequence[str] | None = None) -> int:
        """Derive client states anew from clients, holdings and events; returns how many changed."""
        ...

    def put_placements(self, placements: Sequence[Placement], loaded_at: datetime) -> None:
        """Replace the placements."""
        ...

    def read_rows(self, table: str) -> Iterator[Row]:
        """Every row of a table contract, in key order, with the columns of the contract."""
        ...

    def add_key(self, key: KeyRecord) -> None:
        """Store a key."""
        ...

    def keys(self) -> list[KeyRecord]:
        """Every key, revoked ones too."""
        ...

    def revoke_key(self, key_id: str, revoked_at: datetime) -> None:
        """Revoke a key; NotFoundError if there is none of that id."""
        ...

    def is_ready(self) -> bool:
        """Whether the database answers and its schema is the one this program knows."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class Clock(Protocol):
    """The time, so that tests need not sleep."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        ...
