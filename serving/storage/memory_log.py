"""The decision log of the store in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recsys.errors import ConflictError
from serving.ports import Answer, LogDecisions
from serving.storage import rules

Rows = dict[tuple[Any, ...], dict[str, Any]]


def log_decisions(
    write: LogDecisions,
    decisions: Rows,
    answers: dict[str, Answer],
    keep_assignment: Callable[[dict[str, Any]], None],
) -> Answer | None:
    """Do a `LogDecisions`.

    Args:
        write: What to store.
        decisions: The rows stored so far, by key.
        answers: The answers stored so far, by request_id.
        keep_assignment: Stores an assignment.
    """
    answer = write.answer
    if not write.is_replayed:
        earlier = None if answer is None else answers.get(answer.request_id)
        if answer is not None and earlier is not None:
            if earlier.request_digest != answer.request_digest:
                raise ConflictError(
                    f"request_id {answer.request_id!r} was used with another body; choose a new one"
                )
            return earlier
        ids = [(decision.decision_id,) for decision in write.decisions]
        if len(set(ids)) < len(ids) or not decisions.keys().isdisjoint(ids):
            raise ConflictError("the id was used before with another content: decision_id")
    for decision in write.decisions:
        decisions.setdefault((decision.decision_id,), rules.decision_row(decision))
    for assignment in write.assignments:
        keep_assignment(rules.assignment_row(assignment))
    return None if answer is None else answers.setdefault(answer.request_id, answer)
