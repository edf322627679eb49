"""The statements that retire months of the log, in portions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from serving.storage.dialects import Database
from serving.storage.schema import ANSWERS, DECISIONS, EVENT_IDS, EVENTS, IS_REMEMBERED, SHADOW_DECISIONS
from serving.storage.statements import Statement


class UpkeepQueries:
    """What of a month stays, and what goes."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        decision, event, known = DECISIONS.c, EVENTS.c, EVENT_IDS.c
        n_most = bindparam("n_most", type_=sa.Integer)
        of_month: sa.BindParameter[str] = bindparam("of_month")
        is_event = database.is_among(event.event_id, "event_ids") & (event.log_month == of_month)
        is_decision = database.is_among(decision.decision_id, "decision_ids") & (
            decision.log_month == of_month
        )

        def first(rows: sa.Select[Any]) -> Statement:
            # SQLite would make a parameter of an offset that is left out
            return built(rows.limit(n_most).offset(sa.literal_column("0")))

        happened_at = sa.func.max(event.occurred_at, type_=event.occurred_at.type).label("happened_at")
        self.still_going = first(
            select(event.decision_id, happened_at)
            .where(
                event.log_month == of_month,
                event.occurred_at >= bindparam("kept_from"),
                event.decision_id.is_not(None),
            )
            .group_by(event.decision_id)
        )
        self.events_of = built(
            select(event.event_id, event.decision_id).where(
                database.is_among(event.decision_id, "decision_ids"), event.log_month == of_month
            )
        )
        self.move_decision = built(
            sa.update(DECISIONS)
            .where(decision.decision_id == bindparam("of_decision"), decision.log_month == of_month)
            .values(log_month=bindparam("to_month"))
        )
        self.remembered = first(select(event.event_id).where(event.log_month == of_month, IS_REMEMBERED))
        self.some_events = first(
            select(event.event_id)
            .where(event.log_month == of_month, event.event_id > bindparam("after"))
            .order_by(event.event_id)
        )
        self.some_decisions = first(select(decision.decision_id).where(decision.log_month == of_month))
        self.forget_ids = built(
            sa.delete(EVENT_IDS).where(
                database.is_among(known.event_id, "event_ids"), known.log_month == of_month
            )
        )
        self.forget_events = built(sa.delete(EVENTS).where(is_event))
        self.forget_decisions = built(sa.delete(DECISIONS).where(is_decision))


class AgeQueries:
    """Sizes of months; answers and shadow decisions that are too old, and their end."""

    def __init__(self, database: Database) -> None:
        def built(clause: sa.SelectBase | sa.UpdateBase) -> Statement:
            return Statement(clause, database)

        n_most = bindparam("n_most", type_=sa.Integer)

        def first(rows: sa.Select[Any]) -> Statement:
            # SQLite would make a parameter of an offset that is left out
            return built(rows.limit(n_most).offset(sa.literal_column("0")))

        self.n_decisions = built(_sizes(DECISIONS))
        self.n_events = built(_sizes(EVENTS))
        self.decisions_in = built(_size(DECISIONS))
        self.events_in = built(_size(EVENTS))
        self.old_answers = first(
            select(ANSWERS.c.request_id).where(ANSWERS.c.answered_at < bindparam("before"))
        )
        self.forget_answers = built(
            sa.delete(ANSWERS).where(
                database.is_among(ANSWERS.c.request_id, "request_ids"),
                ANSWERS.c.answered_at < bindparam("before"),
            )
        )
        shadow = SHADOW_DECISIONS.c
        self.old_shadows = first(
            select(shadow.decision_id).where(shadow.occurred_at < bindparam("before")).distinct()
        )
        self.forget_shadows = built(
            sa.delete(SHADOW_DECISIONS).where(database.is_among(shadow.decision_id, "decision_ids"))
        )


def _sizes(table: sa.Table) -> sa.Select[Any]:
    return (
        select(table.c.log_month, sa.func.count().label("n"))
        .where(table.c.log_month < bindparam("before"))
        .group_by(table.c.log_month)
    )


def _size(table: sa.Table) -> sa.Select[Any]:
    return select(sa.func.count().label("n")).where(table.c.log_month == bindparam("of_month"))
