"""The store in the process's memory: for tests, and for looking at the service without a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from recsys.data.state import apply_events, put_months
from recsys.domain import ClientId, ClientState, EventType
from recsys.errors import (
    DataError,
    RecsysError,
    UnknownClientError,
    UnknownOfferError,
)
from recsys.tables import DECISION_ITEMS, TABLES, Table, table_named
from serving.orders import Assignment, ContentVersion, stops_in_force
from serving.ports import (
    Answer,
    Catalogue,
    HoldingChange,
    LogDecisions,
    MonthChange,
    PutClient,
    PutHoldings,
    PutMonths,
    RecordEvents,
    Row,
    SourceAge,
    Write,
    WriteResult,
)
from serving.storage import content, folding, rules
from serving.storage.memory_accounts import MemoryAccounts
from serving.storage.memory_bundles import MemoryBundles
from serving.storage.memory_content import MemoryContent
from serving.storage.memory_experiments import MemoryExperiments
from serving.storage.memory_log import log_decisions
from serving.storage.memory_upkeep import MemoryUpkeep
from serving.storage.schema import stored_key, version_column

_CATALOGUE_TABLES = ("offers", "offer_relations", "offer_prices")


class MemoryStore(MemoryContent, MemoryExperiments, MemoryBundles, MemoryAccounts, MemoryUpkeep):
    """A `serving.ports.Store` of dicts; nothing outlives the process."""

    def __init__(self) -> None:
        MemoryContent.__init__(self)
        MemoryExperiments.__init__(self)
        MemoryBundles.__init__(self)
        MemoryAccounts.__init__(self)
        MemoryUpkeep.__init__(self)
        self._states: dict[str, ClientState] = {}
        self._answers: dict[str, Answer] = {}
        # Rows by stored key (missing parts of a key as ""), for each table of the contract.
        self._tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {table.name: {} for table in TABLES}
        self._tables |= {"experiments": self._orders, "assignments": self._assignments}
        self._tables["shadow_decisions"] = self._shadow_decisions
        self._impressions: set[tuple[str, int]] = set()
        self._loads: dict[str, SourceAge] = {}

    @property
    def is_embedded(self) -> bool:
        """True."""
        return True

    # Clients

    def client_state(self, client_id: ClientId) -> ClientState | None:
        """See `serving.ports.Store`."""
        return self._states.get(client_id)

    def client_states_of(self, client_ids: Sequence[ClientId]) -> list[ClientState | None]:
        """See `serving.ports.Store`."""
        return [self.client_state(client_id) for client_id in client_ids]

    def remembered(self, client_id: ClientId) -> tuple[ClientState | None, tuple[Assignment, ...]]:
        """See `serving.ports.Store`."""
        return self._states.get(client_id), self.client_assignments(client_id)

    def find_clients(self, text: str, limit: int) -> list[ClientState]:
        """See `serving.ports.Store`."""
        wanted = text.casefold()
        found = sorted((rules.search_text(state), state.client_id) for state in self._states.values())
        return [self._states[client_id] for searched, client_id in found if wanted in searched][:limit]

    def client_states(self, after: str, limit: int) -> list[ClientState]:
        """See `serving.ports.Store`."""
        return [self._states[client_id] for client_id in sorted(self._states) if client_id > after][:limit]

    def holder_counts(self) -> dict[str, int]:
        """See `serving.ports.Store`."""
        now = datetime.now(UTC)
        holders: dict[str, set[str]] = {}
        for row in self._latest_holdings().values():
            is_begun = row["connected_at"] <= now
            if is_begun and (row["disconnected_at"] is None or row["disconnected_at"] > now):
                holders.setdefault(row["offer_id"], set()).add(row["client_id"])
        return {offer_id: len(client_ids) for offer_id, client_ids in holders.items()}

    # The log

    def answer(self, request_id: str) -> Answer | None:
        """See `serving.ports.Store`."""
        return self._answers.get(request_id)

    def commit(self, writes: Sequence[Write]) -> list[WriteResult | RecsysError]:
        """See `serving.ports.Store`."""
        with self._lock:
            return [self._attempt(write) for write in writes]

    def _attempt(self, write: Write) -> WriteResult | RecsysError:
        try:
            match write:
                case LogDecisions():
                    return log_decisions(
                        write, self._tables["decisions"], self._answers, self.keep_assignment
                    )
                case RecordEvents():
                    return self._record(write)
                case PutClient():
                    return self._put_client(write)
                case PutHoldings():
                    return self._put_holdings(write)
                case PutMonths():
                    return self._put_months(write)
        except RecsysError as error:
            return error

    def _record(self, write: RecordEvents) -> list[bool]:
        decisions = self._tables["decisions"]
        shown = {
            row["decision_id"]: rules.Shown.from_row(row)
            for row in (decisions.get((event.decision_id,)) for event in write.events)
            if row is not None
        }
        known = rules.Known(shown, self._ids("offers"), self._ids("clients"))
        events = rules.check_events(write.events, known)
        rows = [rules.event_row(event, write.recorded_at) for event in events]
        stored = self._tables["events"]
        rules.check_repeats(rows, [stored[key] for row in rows if (key := (row["event_id"],)) in stored])
        is_new = [self._add_event(row) for row in rows]
        new = [event for event, is_first in zip(events, is_new, strict=True) if is_first]
        for client_id in dict.fromkeys(event.client_id for event in new):
            before = self._state_or_empty(client_id)
            happened = [event for event in new if event.client_id == client_id]
            self._put_state(before, apply_events(before, happened, write.recorded_at, known.showings))
        return is_new

    def _add_event(self, row: Mapping[str, Any]) -> bool:
        decision_id, slot = row.get("decision_id"), row.get("slot")
        if (row["event_id"],) in self._tables["events"]:
            return False
        if row["event_type"] == "impression" and decision_id is not None and slot is not None:
            if (decision_id, slot) in self._impressions:
                return False
            self._impressions.add((decision_id, slot))
        self._tables["events"][row["event_id"],] = _complete_row(table_named("events"), row)
        return True

    def _put_client(self, write: PutClient) -> ClientState:
        before = self._state_or_empty(write.client_id)
        state = self._keep(before, rules.changed_profile(before, write))
        if state is not before:
            for row in self._rows_of("clients", write.client_id):
                if row["valid_to"] is None and row["valid_from"] < write.recorded_at:
                    row["valid_to"] = write.recorded_at
            self._put_row(table_named("clients"), rules.client_row(write))
        return state

    def _put_holdings(self, write: PutHoldings) -> dict[str, ClientState]:
        self._check_clients(write.changes)
        for change in write.changes:
            if change.holding.offer_id not in self._ids("offers"):
                raise UnknownOfferError(change.holding.offer_id, "send an id of the catalogue")
        rows = rules.holding_rows(write.changes, self._latest_holdings(), write.recorded_at)
        for row in rows:
            self._put_row(table_named("holdings"), row)
        states: dict[str, ClientState] = {}
        for client_id in dict.fromkeys(change.client_id for change in write.changes):
            before = self._state_or_empty(client_id)
            changes = [change for change in write.changes if change.client_id == client_id]
            states[client_id] = self._put_state(
                before, rules.change_holdings(before, changes, write.recorded_at)
            )
        return states

    def _put_months(self, write: PutMonths) -> dict[str, ClientState]:
        self._check_clients(write.changes)
        states: dict[str, ClientState] = {}
        for client_id in dict.fromkeys(change.client_id for change in write.changes):
            before = self._state_or_empty(client_id)
            months = [change.figures for change in write.changes if change.client_id == client_id]
            for row in rules.month_rows(before, months, write.recorded_at):
                self._put_row(table_named("client_months"), row)
            states[client_id] = self._put_state(before, put_months(before, months))
        return states

    def _check_clients(self, changes: Sequence[HoldingChange | MonthChange]) -> None:
        for change in changes:
            if change.client_id not in self._ids("clients"):
                raise UnknownClientError(change.client_id, "create it first")

    def event_counts(self, event_type: EventType, since: datetime) -> dict[str, int]:
        """See `serving.ports.Store`."""
        return dict(
            Counter(
                row["offer_id"]
                for row in self._tables["events"].values()
                if row["event_type"] == event_type and row["occurred_at"] >= since and row["offer_id"]
            )
        )

    # Content

    def catalogue(self, now: datetime) -> Catalogue:
        """See `serving.ports.Store`."""
        with self._lock:
            offers, relations, prices = (list(self.read_rows(table)) for table in _CATALOGUE_TABLES)
        stopped = stops_in_force(self.offer_stops(), now)
        return content.catalogue_of(offers, relations, prices, frozenset(stopped))

    def content_version(self, now: datetime) -> ContentVersion:
        """See `serving.ports.Store`."""
        n_policies, n_stops = (content.n_in_effect(said, now) for said in (self._policies, self._stops))
        return ContentVersion(
            self._n_changes, n_policies, n_stops, len(self._orders), len(self._bundle_orders)
        )

    def source_ages(self) -> list[SourceAge]:
        """See `serving.ports.Store`."""
        return [self._loads[source] for source in sorted(self._loads)]

    # Whole tables

    def upsert_rows(self, table: str, rows: Sequence[Row], loaded_at: datetime) -> int:
        """See `serving.ports.Store`."""
        contract = table_named(table)
        with self._lock:
            if contract is DECISION_ITEMS:
                self._upsert_items(rows)
            else:
                for row in rows:
                    self._load_row(contract, row)
            if table in _CATALOGUE_TABLES:
                self._n_changes += 1
            version = version_column(contract) or "recorded_at"
            times = [row[version] for row in rows if version in contract.column_names]
            stored = self._loads.get(table)
            if stored is not None and stored.newest_recorded_at is not None:
                times.append(stored.newest_recorded_at)
            self._loads[table] = SourceAge(table, max(times, default=None), loaded_at)
        return len(rows)

    def delete_rows(self, table: str, rows: Sequence[Row]) -> int:
        """See `serving.ports.Store`."""
        key = table_named(table).key
        gone = {tuple(row.get(name) for name in key) for row in rows}
        with self._lock:
            stored = self._tables[table]
            doomed = [place for place, row in stored.items() if tuple(row.get(name) for name in key) in gone]
            for place in doomed:
                del stored[place]
            if table in _CATALOGUE_TABLES:
                self._n_changes += 1
        return len(doomed)

    def count_keys(self, table: str) -> int:
        """See `serving.ports.Store`."""
        return len(self._ids(table))

    def rebuild_states(self, client_ids: Sequence[str] | None = None, as_of: datetime | None = None) -> int:
        """See `serving.ports.Store`."""
        instant = as_of or datetime.now(UTC)
        with self._lock:
            profiles = _by_client(
                sorted(
                    self._tables["clients"].values(), key=lambda row: (row["valid_from"], row["recorded_at"])
                )
            )
            holdings = _by_client(self._latest_holdings().values())
            months = _by_client(
                sorted(self._tables["client_months"].values(), key=lambda row: row["known_at"])
            )
            events = _by_client(map(self._with_showing, self._tables["events"].values()))
            known = profiles.keys() | self._states.keys() | events.keys()
            n_changed = 0
            for client_id in known if client_ids is None else client_ids:
                before = self._state_or_empty(client_id)
                rows = folding.ClientRows(
                    *[each.get(client_id, ()) for each in (profiles, holdings, months, events)]
                )
                n_changed += self._keep(before, folding.rebuild_state(before, rows, instant)) is not before
        return n_changed

    def read_rows(
        self, table: str, columns: Sequence[str] | None = None, since: datetime | None = None
    ) -> Iterator[Row]:
        """See `serving.ports.Store`."""
        contract = table_named(table)
        wanted = columns or contract.column_names
        stored = self._tables["decisions" if contract is DECISION_ITEMS else table]
        for place in sorted(stored):
            row = stored[place]
            if since is not None and row["recorded_at"] < since:
                continue
            is_list = contract is DECISION_ITEMS
            for each in rules.items_of(row["decision_id"], row["items"]) if is_list else (row,):
                yield {name: each[name] for name in wanted}

    def _with_showing(self, event: Row) -> dict[str, Any]:
        """A row of ``events`` with placement and member of its decision."""
        decision = self._tables["decisions"].get((event["decision_id"],), {})
        return {
            **event,
            "placement_id": decision.get("placement_id"),
            "shown_to": decision.get("member_id"),
        }

    def _load_row(self, contract: Table, row: Row) -> None:
        if contract.name == "events":
            self._add_event(row)
        elif contract.name == "decisions":
            place = (row["decision_id"],)
            full = {**_complete_row(contract, row), "items": "[]"}
            self._tables["decisions"].setdefault(place, full)
        elif contract.name in ("experiments", "shadow_decisions"):
            place = tuple(row[name] for name in contract.key)
            self._tables[contract.name].setdefault(place, _complete_row(contract, row))
        elif contract.name == "assignments":
            self.keep_assignment(_complete_row(contract, row))
        else:
            self._put_row(contract, row)

    def _put_row(self, contract: Table, row: Row) -> None:
        place = tuple("" if row.get(name) is None else row[name] for name in stored_key(contract))
        self._tables[contract.name][place] = _complete_row(contract, row)

    def _upsert_items(self, rows: Sequence[Row]) -> None:
        decisions = self._tables["decisions"]
        for row in rows:
            if (row["decision_id"],) not in decisions:
                raise DataError(
                    f"items of unknown decisions, such as {row['decision_id']!r}; load the decisions first"
                )
        for row in rows:
            stored = decisions[row["decision_id"],]
            stored["items"] = rules.merge_items(stored["items"], [row])

    def is_ready(self) -> bool:
        """True."""
        return True

    def schema_fault(self) -> str | None:
        """None: there is no schema."""
        return None

    def close(self) -> None:
        """Nothing to give back."""

    def _state_or_empty(self, client_id: str) -> ClientState:
        return self._states.get(client_id) or ClientState(ClientId(client_id))

    def _put_state(self, before: ClientState, after: ClientState) -> ClientState:
        return self._keep(before, rules.with_next_version(before, after))

    def _keep(self, before: ClientState, state: ClientState) -> ClientState:
        if state is not before:
            self._states[state.client_id] = state
        return state

    def _rows_of(self, table: str, client_id: str) -> list[dict[str, Any]]:
        return [row for row in self._tables[table].values() if row["client_id"] == client_id]

    def _latest_holdings(self) -> dict[str, dict[str, Any]]:
        latest: dict[str, dict[str, Any]] = {}
        for row in self._tables["holdings"].values():
            held = latest.get(row["holding_id"])
            if held is None or row["recorded_at"] > held["recorded_at"]:
                latest[row["holding_id"]] = row
        return latest

    def _ids(self, table: str) -> set[str]:
        column = table_named(table).key[0]
        return {row[column] for row in self._tables[table].values()}


def _by_client(rows: Iterable[dict[str, Any]]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["client_id"], []).append(row)
    return found


def _complete_row(table: Table, row: Row) -> dict[str, Any]:
    return {name: row.get(name) for name in table.column_names}
