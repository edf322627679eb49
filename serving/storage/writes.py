"""The writes of `serving.ports`, inside one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zlib import crc32

from recsys.data.state import apply_events, put_months
from recsys.data.state_json import state_from_json, state_to_json
from recsys.domain import ClientId, ClientState, Event
from recsys.errors import ConflictError, RecsysError, UnknownClientError, UnknownOfferError
from recsys.history import MonthFigures
from serving.ports import (
    Answer,
    HoldingChange,
    LogDecisions,
    PutClient,
    PutHoldings,
    PutMonths,
    RecordEvents,
    Write,
    WriteResult,
)
from serving.storage import rules
from serving.storage.dialects import REFUSALS, Cursor, TransientError, refusal
from serving.storage.queries import Queries
from serving.storage.recall import Recall, know_events, read_events
from serving.upkeep import month_of

Result = WriteResult | RecsysError
_N_HOLDING_LOCKS = 512
"""Few, for the database keeps its locks in little memory; ids that share one wait for each other in vain."""


def do_all(cursor: Cursor, queries: Queries, writes: Sequence[Write]) -> list[Result]:
    """Do every write; one that breaks a rule of the product stores nothing and its error stands for it.

    What only the database can refuse (a decision_id used twice in one month) is raised: `do_one_by_one` then
    tells the culprit from the others. A decision_id used in two months is not noticed: see decision 0020.
    """
    with locked_states(cursor, queries, _clients_of(writes)):
        _hold_others_off(cursor, queries, writes)
        transaction = _Transaction(cursor, queries, writes)
        results = [transaction.attempt(write) for write in writes]
        transaction.flush()
    return results


def do_one_by_one(cursor: Cursor, queries: Queries, writes: Sequence[Write]) -> list[Result]:
    """Do every write under a savepoint of its own, so that whatever is refused harms no other."""
    with locked_states(cursor, queries, _clients_of(writes)):
        _hold_others_off(cursor, queries, writes)
        return [_do_alone(cursor, queries, write) for write in writes]


def _do_alone(cursor: Cursor, queries: Queries, write: Write) -> Result:
    cursor.execute("SAVEPOINT one_write")
    try:
        transaction = _Transaction(cursor, queries, [write])
        result = transaction.attempt(write)
        transaction.flush()
    except REFUSALS as error:
        cursor.execute("ROLLBACK TO SAVEPOINT one_write")
        result = refusal(error)
    cursor.execute("RELEASE SAVEPOINT one_write")
    return result


@contextmanager
def locked_states(cursor: Cursor, queries: Queries, client_ids: Sequence[str]) -> Iterator[None]:
    """Keep other transactions from changing these states until this one ends.

    A state that does not exist cannot be locked, so an empty one of version 0 stands in for it. Locks are
    taken in one order everywhere, so that no two transactions wait for each other.
    """
    if not queries.has_row_locks or not client_ids:
        yield
        return
    listed = sorted(client_ids)
    queries.states.create_state.run_many(cursor, [_state_row(_empty(each)) for each in listed])
    queries.states.locked_states.rows(cursor, {"client_ids": listed})
    yield
    queries.states.forget_uncreated.run(cursor, {"client_ids": listed})


def _hold_others_off(cursor: Cursor, queries: Queries, writes: Sequence[Write]) -> None:
    """Keep what the writes rest on, and no state guards, from changing until this transaction ends."""
    if not queries.has_row_locks:
        return
    if any(isinstance(write, RecordEvents) for write in writes):
        # An event lies in its decision's month: nobody may move the decision elsewhere meanwhile.
        queries.locks.record_events.rows(cursor, {})
    # A new id has no row to lock: of two clients who send the same one, the second has to see the first.
    keys = {
        crc32(change.holding.holding_id.encode()) % _N_HOLDING_LOCKS
        for write in writes
        if isinstance(write, PutHoldings)
        for change in write.changes
    }
    if keys:
        queries.locks.put_holdings.rows(cursor, {"keys": sorted(keys)})


def read_states(cursor: Cursor, queries: Queries, client_ids: Sequence[str]) -> dict[str, ClientState]:
    """The stored states of these clients, by id."""
    rows = queries.states.locked_states.rows(cursor, {"client_ids": sorted(client_ids)})
    return {
        row["client_id"]: state_from_json(row["client_id"], row["version"], row["state"])
        for row in rows
        if row["version"] > 0
    }


def put_states(cursor: Cursor, queries: Queries, states: Sequence[ClientState]) -> None:
    """Store states as they are."""
    queries.states.put_state.run_many(cursor, [_state_row(state) for state in states])


def _empty(client_id: str) -> ClientState:
    return ClientState(ClientId(client_id))


def _state_row(state: ClientState) -> dict[str, Any]:
    return {
        "client_id": state.client_id,
        "version": state.version,
        "search_text": rules.search_text(state),
        "state": state_to_json(state).decode(),
    }


def _clients_of(writes: Sequence[Write]) -> list[str]:
    """Clients whose states the writes may change."""
    found: set[str] = set()
    for write in writes:
        match write:
            case RecordEvents(events=events):
                found.update(event.client_id for event in events)
            case PutClient(client_id=client_id):
                found.add(client_id)
            case PutHoldings(changes=holdings):
                found.update(change.client_id for change in holdings)
            case PutMonths(changes=months):
                found.update(change.client_id for change in months)
            case LogDecisions():
                pass
    return list(found)


class _Transaction:
    """Writes in their order; decisions are gathered and stored together."""

    def __init__(self, cursor: Cursor, queries: Queries, writes: Sequence[Write]) -> None:
        self._cursor = cursor
        self._queries = queries
        events = [event for write in writes if isinstance(write, RecordEvents) for event in write.events]
        self._recall = Recall(cursor, queries, events)
        self._decisions: list[dict[str, Any]] = []
        self._replayed: list[dict[str, Any]] = []
        self._assignments: list[dict[str, Any]] = []

    def attempt(self, write: Write) -> Result:
        """The write's result, or the error that refuses it; every check comes before the first change."""
        try:
            match write:
                case LogDecisions():
                    return self._log(write)
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

    def flush(self) -> None:
        """Store the gathered decisions, and the arms they were made in."""
        self._queries.log.add_decision.run_many(self._cursor, self._decisions)
        self._queries.log.keep_decision.run_many(self._cursor, self._replayed)
        self._recall.add_decisions(self._decisions)
        self._recall.add_decisions(self._replayed)
        # In one order everywhere, so that no two transactions wait for each other.
        self._assignments.sort(key=lambda row: (row["experiment_id"], row["client_id"]))
        self._queries.experiments.put_assignment.run_many(self._cursor, self._assignments)
        self._decisions, self._replayed, self._assignments = [], [], []

    def _log(self, write: LogDecisions) -> Answer | None:
        answer, decisions = write.answer, self._decisions
        if write.is_replayed:
            decisions = self._replayed
            if answer is not None:
                self._queries.log.add_answer.run(self._cursor, _answer_row(answer))
        elif answer is not None:
            earlier = self._claim(answer)
            if earlier is not None:
                return earlier
        decisions.extend(rules.decision_row(decision) for decision in write.decisions)
        self._assignments.extend(rules.assignment_row(assignment) for assignment in write.assignments)
        return answer

    def _claim(self, answer: Answer) -> Answer | None:
        """Store the answer; an answer stored earlier under its request_id stays and is returned."""
        if self._queries.log.add_answer.run(self._cursor, _answer_row(answer)) == 1:
            return None
        stored = self._queries.log.answer.row(self._cursor, {"request_id": answer.request_id})
        earlier = None if stored is None else answer_of(answer.request_id, stored)
        if earlier is None or earlier.request_digest != answer.request_digest:
            raise ConflictError(
                f"request_id {answer.request_id!r} was used with another body; choose a new one"
            )
        return earlier

    def _record(self, write: RecordEvents) -> list[bool]:
        self.flush()
        known = self._known(write)
        events = rules.check_events(write.events, known)
        rows = [_event_row(event, write.recorded_at, known) for event in events]
        stored = self._recall.stored(rows)
        rules.check_repeats(rows, stored)
        seen = {row["event_id"] for row in stored}
        is_new = [
            row["event_id"] not in seen and self._queries.events.add.run(self._cursor, row) == 1
            for row in rows
        ]
        self._take_note([row for row, is_first in zip(rows, is_new, strict=True) if is_first])
        if not all(is_new):
            self._check_meanwhile(rows)
        by_client: dict[str, list[Event]] = {}
        for event, is_first in zip(events, is_new, strict=True):
            if is_first:
                by_client.setdefault(event.client_id, []).append(event)
        if by_client:
            states = self._states(list(by_client))
            self._put_changed(
                (state, apply_events(state, by_client[client_id], write.recorded_at, known.showings))
                for client_id, state in states.items()
            )
        return is_new

    def _take_note(self, new_rows: Sequence[dict[str, Any]]) -> None:
        know_events(self._cursor, self._queries, new_rows)
        self._recall.add_events(new_rows)

    def _known(self, write: RecordEvents) -> rules.Known:
        """What the events refer to, as far as it is stored."""
        alone = [event for event in write.events if event.decision_id is None]
        return rules.Known(
            shown=self._recall.shown(write.events),
            offer_ids=self._known_offers({event.offer_id for event in alone if event.offer_id}),
            client_ids=self._known_clients({event.client_id for event in alone}),
        )

    def _check_meanwhile(self, rows: Sequence[dict[str, Any]]) -> None:
        """Look once more at what stood there already when the events were stored.

        Raises:
            TransientError: Another writer took an id meanwhile; the next attempt sees that first.
        """
        event_ids = sorted({row["event_id"] for row in rows})
        try:
            rules.check_repeats(rows, read_events(self._cursor, self._queries, event_ids))
        except ConflictError as error:
            raise TransientError(str(error)) from error

    def _known_clients(self, client_ids: set[Any]) -> set[str]:
        if not client_ids:
            return set()
        rows = self._queries.clients.stored_ids.rows(self._cursor, {"client_ids": sorted(client_ids)})
        return {row["client_id"] for row in rows}

    def _known_offers(self, offer_ids: set[Any]) -> set[str]:
        if not offer_ids:
            return set()
        rows = self._queries.log.stored_offer_ids.rows(self._cursor, {"offer_ids": sorted(offer_ids)})
        return {row["offer_id"] for row in rows}

    def _put_client(self, write: PutClient) -> ClientState:
        state = self._states([write.client_id])[write.client_id]
        changed = rules.changed_profile(state, write)
        if changed is state:
            return state
        self._queries.clients.close_versions.run(
            self._cursor, {"of_client": write.client_id, "until": write.recorded_at}
        )
        self._queries.tables.upsert["clients"].run(self._cursor, rules.client_row(write))
        put_states(self._cursor, self._queries, [changed])
        return changed

    def _put_holdings(self, write: PutHoldings) -> dict[str, ClientState]:
        self._check_known(write.changes)
        rows = self._holding_rows(write.changes, write.recorded_at)
        self._queries.tables.upsert["holdings"].run_many(self._cursor, rows)
        states = self._states([change.client_id for change in write.changes])
        return self._put_changed(
            (
                state,
                rules.change_holdings(
                    state,
                    [change for change in write.changes if change.client_id == client_id],
                    write.recorded_at,
                ),
            )
            for client_id, state in states.items()
        )

    def _put_months(self, write: PutMonths) -> dict[str, ClientState]:
        by_client: dict[str, list[MonthFigures]] = {}
        for change in write.changes:
            by_client.setdefault(change.client_id, []).append(change.figures)
        self._check_clients(set(by_client))
        states = self._states(list(by_client))
        rows = [
            row
            for client_id, state in states.items()
            for row in rules.month_rows(state, by_client[client_id], write.recorded_at)
        ]
        self._queries.tables.upsert["client_months"].run_many(self._cursor, rows)
        return self._put_changed(
            (state, put_months(state, by_client[client_id])) for client_id, state in states.items()
        )

    def _check_clients(self, client_ids: set[str]) -> None:
        for unknown_id in sorted(client_ids - self._known_clients(client_ids)):
            raise UnknownClientError(unknown_id, "create it first")

    def _check_known(self, changes: Sequence[HoldingChange]) -> None:
        self._check_clients({str(change.client_id) for change in changes})
        offer_ids = {str(change.holding.offer_id) for change in changes}
        for unknown_id in sorted(offer_ids - self._known_offers(offer_ids)):
            raise UnknownOfferError(unknown_id, "send an id of the catalogue")

    def _holding_rows(self, changes: Sequence[HoldingChange], recorded_at: datetime) -> list[dict[str, Any]]:
        """New versions of the rows that change."""
        holding_ids = sorted({change.holding.holding_id for change in changes})
        stored = self._queries.clients.latest_holdings.rows(self._cursor, {"holding_ids": holding_ids})
        latest = {row["holding_id"]: row for row in stored}
        return rules.holding_rows(changes, latest, recorded_at)

    def _states(self, client_ids: Sequence[str]) -> dict[str, ClientState]:
        stored = read_states(self._cursor, self._queries, list(set(client_ids)))
        return {client_id: stored.get(client_id) or _empty(client_id) for client_id in client_ids}

    def _put_changed(self, changes: Iterator[tuple[ClientState, ClientState]]) -> dict[str, ClientState]:
        """Store the states that differ, each one version on; every state by client."""
        final: dict[str, ClientState] = {}
        changed: list[ClientState] = []
        for before, after in changes:
            state = rules.with_next_version(before, after)
            final[state.client_id] = state
            if state is not before:
                changed.append(state)
        put_states(self._cursor, self._queries, changed)
        return final


def _event_row(event: Event, recorded_at: datetime, known: rules.Known) -> dict[str, Any]:
    shown = None if event.decision_id is None else known.shown.get(event.decision_id)
    month = None if shown is None else shown.log_month
    return {**rules.event_row(event, recorded_at), "log_month": month or month_of(event.occurred_at)}


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {
        "request_id": answer.request_id,
        "request_digest": answer.request_digest,
        "body": answer.body,
        "answered_at": answer.answered_at,
    }


def answer_of(request_id: str, row: Sequence[Any]) -> Answer:
    """The answer of a row that `LogQueries.answer` gave."""
    request_digest, body, answered_at = row
    if isinstance(answered_at, str):
        answered_at = datetime.fromisoformat(answered_at)
    return Answer(request_id, bytes(request_digest), bytes(body), answered_at)
