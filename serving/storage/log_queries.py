"""The statements about decisions, events and answers.

On PostgreSQL a statement that names months looks into their partitions alone; one that does not, into all.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from recsys.tables import DECISIONS as DECISIONS_TABLE
from serving.storage.dialects import Database
from serving.storage.schema import (
    ANSWERS,
    DECISIONS,
    EVENT_IDS,
    EVENTS,
    IS_CAPPED,
    IS_IMPRESSION,
    OFFERS,
)
from serving.storage.statements import Statement

# Numbers of PostgreSQL's advisory locks that are this program's.
_LOCKS = 7_151
_OF_MONTHS, _OF_MAKING, _OF_LOADS = 1, 2, 3
_OF_HOLDINGS = 7_152


class LogQueries:
    """What is logged, and what was said of it."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        decision, answer = DECISIONS.c, ANSWERS.c
        is_asked = database.is_among(decision.decision_id, "decision_ids")
        self.answer = built(
            select(answer.request_digest, answer.body, answer.answered_at).where(
                answer.request_id == bindparam("request_id")
            )
        )
        self.add_answer = built(_adding(database, ANSWERS).on_conflict_do_nothing())
        self.add_decision = built(_adding(database, DECISIONS))
        self.keep_decision = built(_adding(database, DECISIONS).on_conflict_do_nothing())
        shown = select(
            decision.decision_id,
            decision.client_id,
            decision.member_id,
            decision.placement_id,
            decision.occurred_at,
            decision["items"],
            decision.log_month,
        ).where(is_asked)
        self.shown = built(shown)
        self.shown_in_months = built(shown.where(database.is_among(decision.log_month, "months")))
        self.origins = built(
            select(decision.decision_id, decision.placement_id, decision.bundle_version).where(is_asked)
        )
        self.stored_ids = built(select(decision.decision_id).where(is_asked))
        self.put_items = built(
            sa.update(DECISIONS)
            .where(
                decision.decision_id == bindparam("of_decision"), decision.log_month == bindparam("of_month")
            )
            .values({"items": bindparam("merged")})
        )
        self.event_counts = built(
            select(EVENTS.c.offer_id, sa.func.count().label("n_events"))
            .where(
                IS_CAPPED,
                EVENTS.c.event_type == bindparam("event_type"),
                EVENTS.c.occurred_at >= bindparam("since"),
                EVENTS.c.offer_id.is_not(None),
            )
            .group_by(EVENTS.c.offer_id)
        )
        self.stored_offer_ids = built(
            select(OFFERS.c.offer_id).where(database.is_among(OFFERS.c.offer_id, "offer_ids")).distinct()
        )


class EventQueries:
    """What makes an event the only one of its id, and an impression the only one of its slot."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        event, known = EVENTS.c, EVENT_IDS.c
        is_stored = database.is_among(event.event_id, "event_ids") & database.is_among(
            event.log_month, "months"
        )
        self.add = built(_adding(database, EVENTS).on_conflict_do_nothing())
        self.known = built(
            select(known.event_id, known.log_month).where(database.is_among(known.event_id, "event_ids"))
        )
        self.stored = built(select(EVENTS).where(is_stored))
        self.stored_ids = built(select(event.event_id).where(is_stored))
        self.know = built(
            database.insert(EVENT_IDS)
            .from_select(["event_id", "log_month"], select(event.event_id, event.log_month).where(is_stored))
            .on_conflict_do_nothing()
        )
        self.impressions = built(
            select(event.decision_id, event.slot).where(
                IS_IMPRESSION, database.is_among(event.decision_id, "decision_ids")
            )
        )
        names = (*DECISIONS_TABLE.column_names, "log_month")
        loaded = database.insert(DECISIONS).values({name: bindparam(name) for name in names})
        self.load_decision = built(loaded.on_conflict_do_nothing())
        self.strays = built(
            select(event.event_id, event.decision_id, event.log_month).where(
                database.is_among(event.decision_id, "decision_ids")
            )
        )
        self.move = built(
            sa.update(EVENTS)
            .where(event.event_id == bindparam("of_event"), event.log_month == bindparam("of_month"))
            .values(log_month=bindparam("to_month"))
        )
        self.move_id = built(
            sa.update(EVENT_IDS)
            .where(known.event_id == bindparam("of_event"))
            .values(log_month=bindparam("to_month"))
        )


class OrphanQueries:
    """Ids of events that outlived their events, which were dropped with their month."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        event, known = EVENTS.c, EVENT_IDS.c
        is_of_an_event = sa.exists().where(
            event.event_id == known.event_id, event.log_month == known.log_month
        )
        # A statement of its own, since it has to see what others stored while `know` waited for them.
        self.take = built(
            sa.update(EVENT_IDS)
            .where(
                known.event_id == bindparam("of_event"),
                known.log_month == bindparam("of_month"),  # as it was read: of two who take it one does
                ~is_of_an_event,
            )
            .values(log_month=bindparam("to_month"))
        )
        self.some = built(
            select(known.event_id)
            .where(known.log_month == bindparam("of_month"), ~is_of_an_event)
            .limit(bindparam("n_most", type_=sa.Integer))
            .offset(sa.literal_column("0"))
        )
        self.forget = built(
            sa.delete(EVENT_IDS).where(
                database.is_among(known.event_id, "event_ids"),
                known.log_month == bindparam("of_month"),
                ~is_of_an_event,
            )
        )


class LockQueries:
    """Locks of PostgreSQL that keep months still, each held until its transaction ends."""

    def __init__(self, database: Database) -> None:
        def held(function: Any, number: int) -> Statement:
            lock = function(sa.literal_column(str(_LOCKS)), sa.literal_column(str(number)))
            return Statement(select(lock.label("is_held")), database)

        key = sa.func.unnest(bindparam("keys", type_=sa.ARRAY(sa.Integer))).column_valued("key")
        holdings = sa.func.pg_advisory_xact_lock(sa.literal_column(str(_OF_HOLDINGS)), key)
        if database.is_embedded:
            return  # one writer at a time
        self.record_events = held(sa.func.pg_advisory_xact_lock_shared, _OF_MONTHS)
        self.move_events = held(sa.func.pg_advisory_xact_lock, _OF_MONTHS)
        self.make_months = held(sa.func.pg_advisory_xact_lock, _OF_MAKING)
        self.load_log = held(sa.func.pg_advisory_xact_lock, _OF_LOADS)
        self.put_holdings = Statement(select(holdings.label("is_held")), database)


def _adding(database: Database, table: sa.Table) -> Any:
    return database.insert(table).values({column.name: bindparam(column.name) for column in table.columns})
