"""Bodies of requests and answers about experiments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import orjson
from pydantic import BaseModel, Field

from recsys.experiments.experiment import Status, Unit
from serving.api.questions import Id, Question
from serving.services.experiments import Found, HoldoutOrdered, Ordered, Unreadable

_MAX_SENTENCE = 500
_PLAIN = r"^[^\x00-\x1f\x7f]*$"

Sentence = Annotated[str, Field(max_length=_MAX_SENTENCE, pattern=_PLAIN)]
Reason = Annotated[str, Field(min_length=1, max_length=_MAX_SENTENCE, pattern=_PLAIN)]


class StartQuestion(Question):
    """Why an experiment starts now."""

    reason: Sentence = Field("", description="for people")


class RampQuestion(Question):
    """How many units an experiment takes from now on."""

    coverage: float = Field(
        strict=True,
        gt=0,
        le=1,
        description="share of each arm's units that enter; larger than the present one",
    )
    reason: Sentence = Field("", description="for people")


class EndQuestion(Question):
    """Why an experiment is stopped."""

    reason: Reason


class VerdictQuestion(Question):
    """What came of an experiment."""

    winner: Id | None = Field(None, description="name of the arm that is chosen; null = none is")
    reason: Reason


class HoldoutQuestion(Question):
    """Who is to see business as usual."""

    share: float = Field(
        strict=True, ge=0, le=0.5, description="share of the units not seen before; 0 = nobody is held out"
    )
    salt: Id = Field(
        "holdout", description="seed of the draw; who was seen under a hold-out before keeps its side"
    )
    unit: Unit = Field(Unit.GROUP, description="what is held out as a whole")
    reason: Sentence = Field("", description="for people")


class OrderAnswer(BaseModel):
    """One thing that was said of an experiment."""

    number: int
    status: Status
    author: str = Field(description="key_id, `command line`, or `guardrail` where nobody had to")
    reason: str
    recorded_at: datetime


class StandingAnswer(BaseModel):
    """An experiment in a list."""

    experiment_id: str
    title: str
    owner: str
    status: Status
    arms: list[str] = Field(description="names, the control first")
    coverage: float
    started_at: datetime | None
    stopped_at: datetime | None
    decided_at: datetime | None
    winner: str | None
    reason: str = Field(description="why it was stopped or decided")
    author: str = Field(description="who said the last thing of it; `guardrail` = it was stopped by itself")


class ExperimentAnswer(StandingAnswer):
    """An experiment in full."""

    salt: str = Field(description="seed of the assignment")
    n_admissible_salts: int = Field(description="seeds as balanced as this one; 0 = not chosen by balance")
    experiment: dict[str, object] = Field(description="the document")
    orders: list[OrderAnswer] = Field(description="everything that was said, the last being in force")


class OrderedAnswer(ExperimentAnswer):
    """An experiment after an order."""

    warnings: list[str] = Field(description="what should be looked at, one sentence for each")


class UnreadableAnswer(BaseModel):
    """An experiment that this program cannot read."""

    experiment_id: str
    status: str
    author: str = Field(description="who said the last thing of it")
    reason: str
    recorded_at: datetime
    cause: str = Field(description="why it cannot be read, and what to do; it can be stopped")


class ExperimentsAnswer(BaseModel):
    """Every experiment, in the order in which they were created."""

    experiments: list[StandingAnswer]
    unreadable: list[UnreadableAnswer] = Field(description="those that this program cannot read")


class HoldoutAnswer(BaseModel):
    """The hold-out in force."""

    share: float
    salt: str
    unit: Unit
    author: str | None = Field(description="null = nobody ordered one")
    reason: str | None
    recorded_at: datetime | None
    warnings: list[str]


def experiments_answer(found: Sequence[Found | Unreadable]) -> ExperimentsAnswer:
    """Every experiment."""
    return ExperimentsAnswer(
        experiments=[standing_answer(each) for each in found if isinstance(each, Found)],
        unreadable=[unreadable_answer(each) for each in found if isinstance(each, Unreadable)],
    )


def unreadable_answer(found: Unreadable) -> UnreadableAnswer:
    """An experiment that this program cannot read."""
    last = found.last
    return UnreadableAnswer(
        experiment_id=found.experiment_id,
        status=last.status,
        author=last.author,
        reason=last.reason,
        recorded_at=last.recorded_at,
        cause=found.cause,
    )


def standing_answer(found: Found) -> StandingAnswer:
    """An experiment in a list."""
    standing = found.standing
    return StandingAnswer(
        experiment_id=standing.experiment_id,
        title=standing.experiment.title,
        owner=standing.experiment.owner,
        status=standing.status,
        arms=[arm.name for arm in standing.experiment.arms],
        coverage=standing.coverage,
        started_at=standing.started_at,
        stopped_at=standing.stopped_at,
        decided_at=standing.decided_at,
        winner=standing.winner,
        reason=standing.reason,
        author=found.last.author,
    )


def experiment_answer(found: Found | Unreadable) -> ExperimentAnswer | UnreadableAnswer:
    """An experiment in full, as far as it can be read."""
    return unreadable_answer(found) if isinstance(found, Unreadable) else _in_full(found)


def _in_full(found: Found) -> ExperimentAnswer:
    standing = found.standing
    return ExperimentAnswer(
        **standing_answer(found).model_dump(),
        salt=standing.seed,
        n_admissible_salts=len(standing.admissible_salts),
        experiment=orjson.loads(standing.experiment.model_dump_json()),
        orders=[
            OrderAnswer(
                number=order.number,
                status=Status(order.status),
                author=order.author,
                reason=order.reason,
                recorded_at=order.recorded_at,
            )
            for order in found.orders
        ],
    )


def ordered_answer(ordered: Ordered) -> OrderedAnswer | UnreadableAnswer:
    """An experiment after an order."""
    if isinstance(ordered.found, Unreadable):
        return unreadable_answer(ordered.found)
    return OrderedAnswer(**_in_full(ordered.found).model_dump(), warnings=list(ordered.warnings))


def holdout_answer(ordered: HoldoutOrdered) -> HoldoutAnswer:
    """The hold-out in force."""
    order = ordered.order
    return HoldoutAnswer(
        **ordered.holdout.model_dump(),
        author=None if order is None else order.author,
        reason=None if order is None else order.reason,
        recorded_at=None if order is None else order.recorded_at,
        warnings=list(ordered.warnings),
    )
