"""What the services need from outside: a store, a clock, a source of bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from recsys.domain import ClientId, ClientState, Event, EventType, Holding, Offer, Profile
from recsys.errors import RecsysError
from recsys.history import MonthFigures
from serving.accounts import AccountStore
from serving.accounts import KeyRecord as KeyRecord  # noqa: PLC0414 -- offered here too
from serving.accounts import Role as Role  # noqa: PLC0414
from serving.orders import (
    Assignment,
    BundleStore,
    ContentVersion,
    ExperimentOrder,
    OfferStop,
    PolicyVersion,
)
from serving.upkeep import UpkeepStore

MAX_CLOCK_SKEW = timedelta(minutes=5)
"""How far a portal's clock may go wrong before what it says cannot be true."""


class LoggedDecision(NamedTuple):
    """One row of the decision log.

    Attributes:
        items: JSON list of ``[slot, offer_id, change, logging_probability, [reason codes]]``.
        candidates: JSON object of the candidates and of what was refused; see `recsys.tables`.
        request: JSON object of what else a replay needs; see `recsys.tables`.
        assignments: JSON list of ``[experiment_id, arm, is_triggered]``; empty = in no experiment.

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
    request: bytes
    assignments: bytes = b""


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
    ConflictError if the request_id was used with another body. An assignment that is stored already
    stays; only its first trigger is added.

    Attributes:
        is_replayed: Whether the answer was given already, so that nothing can be refused any more: a decision
            that is stored stays, and so does an answer, whatever its request; everything else is appended.
    """

    decisions: tuple[LoggedDecision, ...]
    answer: Answer | None = None
    assignments: tuple[Assignment, ...] = ()
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class RecordEvents:
    """Append events, all or none, and change the clients' states with them.

    Result: for each event whether it is new (False: the same event, or an impression of the same decision
    and slot, was stored before). ConflictError if an event_id was used before with another content.

    InvalidEventsError if any event cannot be true; codes ``unknown_decision``; ``wrong_client`` (another
    than the decision's); ``before_decision`` (by more than `MAX_CLOCK_SKEW`); ``wrong_slot`` (a slot or
    offer that the decision did not show); ``needs_decision`` and ``needs_slot`` (an impression or a click
    that says neither slot nor offer of a decision); without a decision ``unknown_client`` and
    ``unknown_offer``. An event that names only the slot or only the offer of its decision is stored with
    both. What an unknown client does with a decision's offers is remembered in a state without profile.
    A dismissal older than the stored one of the same offer is counted and changes nothing else.
    """

    events: tuple[Event, ...]
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class PutClient:
    """Create a client or replace its profile from now on. Result: the new `ClientState`.

    The profile that is stored already changes nothing, not even the version. ConflictError if another
    profile than `replaces` is stored.

    Attributes:
        reason: Why, for those who audit it.
        replaces: The profile that the writer has seen; None replaces whatever is stored.
    """

    client_id: ClientId
    profile: Profile
    recorded_at: datetime
    reason: str | None = None
    replaces: Profile | None = None


@dataclass(frozen=True, slots=True)
class HoldingChange:
    """A connection, a change of its quantity, or its end (`disconnected_at` set)."""

    client_id: ClientId
    holding: Holding
    disconnected_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PutHoldings:
    """Upsert holdings, all or none, and change the clients' states with them.

    A holding whose end lies after `recorded_at` is still held. What is stored already changes nothing.
    Result: the new `ClientState` of each client concerned, by id. UnknownClientError or
    UnknownOfferError if a client or offer is not stored; ConflictError if the holding_id belongs to
    another client or offer.
    """

    changes: tuple[HoldingChange, ...]
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class MonthChange:
    """A client's figures of one month."""

    client_id: ClientId
    figures: MonthFigures


@dataclass(frozen=True, slots=True)
class PutMonths:
    """Upsert monthly figures, all or none, and change the clients' states with them.

    Figures that a state holds already change nothing. Result: the new `ClientState` of each client
    concerned, by id. UnknownClientError if a client is not stored.
    """

    changes: tuple[MonthChange, ...]
    recorded_at: datetime


Write = LogDecisions | RecordEvents | PutClient | PutHoldings | PutMonths
WriteResult = Answer | list[bool] | ClientState | dict[str, ClientState] | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The offers in force; the version is a digest of their content."""

    version: str
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class SourceAge:
    """How fresh a loaded table is: newest ``recorded_at`` in it, and when it was loaded."""

    source: str
    newest_recorded_at: datetime | None
    loaded_at: datetime


Row = Mapping[str, Any]


class Store(AccountStore, BundleStore, UpkeepStore, Protocol):
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

    def client_states_of(self, client_ids: Sequence[ClientId]) -> list[ClientState | None]:
        """The states of these clients in one read, in their order; None for an unknown one."""
        ...

    def remembered(self, client_id: ClientId) -> tuple[ClientState | None, tuple[Assignment, ...]]:
        """A client and its arms as this process last read them, out of its memory; None = not lately."""
        ...

    def answer(self, request_id: str) -> Answer | None:
        """The answer given to this request_id before, whatever the body of the request was."""
        ...

    def commit(self, writes: Sequence[Write]) -> list[WriteResult | RecsysError]:
        """Do all writes in one durable transaction.

        A write that is refused stores nothing, and does not harm the others: its place in the result
        holds the error. An event or a holding and the state it changes are written together.
        """
        ...

    def client_states(self, after: str, limit: int) -> list[ClientState]:
        """The next states whose client_id is greater than `after`, at most `limit`, ordered by client_id."""
        ...

    def catalogue(self, now: datetime) -> Catalogue:
        """The offers as they stand at an instant, ordered by offer_id; stops in force are merged in."""
        ...

    def keep_catalogue(self, catalogue: Catalogue, used_at: datetime) -> None:
        """Keep the offers of a version for replays; nothing is done where they are kept already."""
        ...

    def kept_catalogue(self, version: str) -> Catalogue | None:
        """The offers of a version that decisions were made with; None if it was never used."""
        ...

    def content_version(self, now: datetime) -> ContentVersion:
        """Changes with catalogue, documents and all that is ordered; cheap enough to poll."""
        ...

    def put_policy(self, policy: PolicyVersion) -> None:
        """Publish a policy, or withdraw one."""
        ...

    def policies(self) -> list[PolicyVersion]:
        """Everything that was said, withdrawals too, ordered by effective_at, then as it was said."""
        ...

    def policy_in_force(self, now: datetime) -> PolicyVersion | None:
        """The last standing policy that has taken effect; of one moment the one published last."""
        ...

    def put_offer_stop(self, stop: OfferStop) -> None:
        """Take an offer off, or put it back. Whether there is such an offer is not looked at."""
        ...

    def offer_stops(self) -> list[OfferStop]:
        """Everything that was said, in the order in which it was said."""
        ...

    def put_experiment(self, order: ExperimentOrder) -> None:
        """Append an order; ConflictError if another one took its number: somebody was faster."""
        ...

    def experiment_orders(self) -> list[ExperimentOrder]:
        """Everything that was said of experiments and of the hold-out, by experiment_id, then number."""
        ...

    def take_turn(self, name: str, now: datetime, every: timedelta) -> bool:
        """Whether the caller is the one who does some work now: True for one caller in each period.

        A turn that was taken further in the future than a period is free: a clock was wrong.
        """
        ...

    def client_assignments(self, client_id: ClientId) -> tuple[Assignment, ...]:
        """The arms of a client, in one read, ordered by experiment_id."""
        ...

    def unit_assignments(self, unit_id: str) -> tuple[Assignment, ...]:
        """The arms of a unit's clients, in one read, ordered by experiment_id, the earliest first."""
        ...

    def event_counts(self, event_type: EventType, since: datetime) -> dict[str, int]:
        """Number of applications or activations of each offer that happened from `since` on."""
        ...

    def holder_counts(self) -> dict[str, int]:
        """Number of clients that hold each offer now."""
        ...

    def decision_origins(self, decision_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Placement and bundle (None = no models) of the stored ones of these decisions, by id."""
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
        not touched: call `rebuild_states` after the last table. A row with a key and a ``recorded_at``
        that are stored already replaces that row; other versions of the key stay. Decisions, their
        items and events are facts: the row stored first stays.
        """
        ...

    def delete_rows(self, table: str, rows: Sequence[Row]) -> int:
        """Forget every version of the rows with these keys, for the relations and prices of offers."""
        ...

    def count_keys(self, table: str) -> int:
        """Number of clients, offers or holdings stored (distinct values of the first key column)."""
        ...

    def rebuild_states(self, client_ids: Sequence[str] | None = None, as_of: datetime | None = None) -> int:
        """Derive client states anew from clients, months, holdings and events; returns how many changed.

        They stand as of as_of (default: the present). Each changed state's
        version grows by one. Works in short transactions, beside a serving server.
        """
        ...

    def put_documents(self, documents: Mapping[str, str]) -> None:
        """Store texts that belong to the data by file name (``dataset.toml``, ``expert.yaml`` …)."""
        ...

    def documents(self) -> dict[str, str]:
        """The stored texts by file name; ``dataset.toml`` says the currency."""
        ...

    def read_rows(
        self, table: str, columns: Sequence[str] | None = None, since: datetime | None = None
    ) -> Iterator[Row]:
        """Rows of a contract in key order: with these columns, recorded from `since` on; None = all."""
        ...

    def is_ready(self) -> bool:
        """Whether the database answers and its schema is the one this program knows; never raises."""
        ...

    def schema_fault(self) -> str | None:
        """One sentence with its cure where the schema is not the one this program knows; None = it is.

        Raises:
            StoreUnavailableError: The database did not answer, or has no schema at all.
        """
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class Clock(Protocol):
    """The time, so that tests need not sleep."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        ...
