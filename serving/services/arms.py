"""Decisions of clients who are in experiments: under their own arms and, to compare, under the others.

An experiment is *triggered* by the first list that would have been another one in another arm: (offer,
change, title shown), in their order. What cannot have made a difference is left out of the comparison that
way, for every arm alike.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import orjson

from recsys.decision.decide import Slate
from recsys.domain import Change
from recsys.errors import RecsysError
from serving.orders import Assignment
from serving.ports import LoggedDecision
from serving.services.recommendation import Query
from serving.services.services import Services
from serving.services.sighting import (
    ARM_UNAVAILABLE,
    Decided,
    Sighted,
    decide_together,
    in_world,
    score_each,
)
from serving.services.trials import Enrolment, Trials
from serving.services.world import World
from serving.telemetry import log


class InArms(NamedTuple):
    """A decision under the arms of its client.

    Attributes:
        decided: The decision.
        differs: For each of the client's enrolments, whether each list would have been another one in
            another arm.
    """

    decided: Decided
    differs: tuple[tuple[bool, ...], ...]

    @property
    def enrolments(self) -> tuple[Enrolment, ...]:
        """The client's arms."""
        return self.decided.sighted.enrolments


class _Beside(NamedTuple):
    """A world that would decide if a client were in another arm."""

    place: int
    enrolment: int
    world: World


def decide_in_arms(
    services: Services, trials: Trials, queries: Sequence[Query], sighted: Sequence[Sighted]
) -> list[InArms | RecsysError]:
    """Decide for clients under their own arms, and find out where another arm would show another list.

    Args:
        services: The models and caps.
        trials: The experiments that run.
        queries: The requests as they came.
        sighted: Their clients, each in the world of its arms.
    """
    own = _decide_each(services, sighted)
    beside = [
        _Beside(place, number, world)
        for place, (one, decided) in enumerate(zip(sighted, own, strict=True))
        if isinstance(decided, Decided)
        for number in range(len(one.enrolments))
        for world in trials.worlds_beside(one.enrolments, number)
        if world is not one.world
    ]
    others = _decide_beside(services, queries, own, beside)
    differs = [
        [[_is_always_compared(enrolment)] * len(one.query.lists) for enrolment in one.enrolments]
        for one in sighted
    ]
    for (place, number, _), other in zip(beside, others, strict=True):
        mine = own[place]
        if isinstance(mine, Decided) and isinstance(other, Decided):
            before = differs[place][number]
            differs[place][number] = [
                was or now for was, now in zip(before, _differences(mine, other), strict=True)
            ]
    return [
        InArms(decided, tuple(map(tuple, each))) if isinstance(decided, Decided) else decided
        for decided, each in zip(own, differs, strict=True)
    ]


def _is_always_compared(enrolment: Enrolment) -> bool:
    """The hold-out, of which one list alone is made, and arms that are the same on purpose."""
    return enrolment.trial is None or enrolment.trial.is_same


def _decide_beside(
    services: Services,
    queries: Sequence[Query],
    own: Sequence[Decided | RecsysError],
    beside: Sequence[_Beside],
) -> list[Decided | RecsysError]:
    """What other arms would decide; nothing is computed twice where only titles differ."""
    found: dict[int, Decided | RecsysError] = {}
    kept: list[tuple[int, Sighted]] = []
    anew: list[tuple[int, Sighted]] = []
    for number, (place, _, world) in enumerate(beside):
        mine = own[place]
        if not isinstance(mine, Decided):
            found[number] = mine
            continue
        present, other = mine.sighted.world, in_world(mine.sighted, queries[place], world)
        if world.ranking is not present.ranking:
            anew.append((number, other))
        elif world.engine is not present.engine:
            kept.append((number, other))
        else:
            found[number] = mine._replace(sighted=other)
    scored = score_each(services, [other for _, other in anew])
    wanted = [*kept, *zip([number for number, _ in anew], scored, strict=True)]
    decided = _decide_each(services, [other for _, other in wanted])
    found.update(zip([number for number, _ in wanted], decided, strict=True))
    return [found[number] for number in range(len(beside))]


def _decide_each(services: Services, sighted: Sequence[Sighted]) -> list[Decided | RecsysError]:
    """Decide for each client before the engine of its world."""
    found: list[Decided | RecsysError | None] = [None] * len(sighted)
    alike: dict[int, list[int]] = {}
    for place, one in enumerate(sighted):
        alike.setdefault(id(one.world.engine), []).append(place)
    for places in alike.values():
        decided = _decide_soundly(services, [sighted[place] for place in places])
        for place, each in zip(places, decided, strict=True):
            found[place] = each
    return [each for each in found if each is not None]


def _decide_soundly(services: Services, sighted: Sequence[Sighted]) -> list[Decided | RecsysError]:
    """Decide; where the policy of an arm fails, what is in force decides for its clients."""
    world = sighted[0].world
    try:
        return decide_together(services, sighted)
    except Exception as error:
        if world.base is None or world.engine is world.base.engine:
            raise
        if len(sighted) > 1:
            return [_decide_soundly(services, [one])[0] for one in sighted]
        log("arm_failed", level=logging.ERROR, error=error, policy=world.policy_version)
        [present] = score_each(services, [sighted[0]._replace(world=world.base)])
        return decide_together(services, [present._replace(degraded=ARM_UNAVAILABLE)])


def _differences(mine: Decided, other: Decided) -> list[bool]:
    """For each list, whether the client would have seen another one."""
    slates = zip(mine.decision.slates, other.decision.slates, strict=True)
    return [_seen(a, mine.sighted) != _seen(b, other.sighted) for a, b in slates]


def _seen(slate: Slate, sighted: Sighted) -> list[tuple[int, Change, str]]:
    texts = sighted.world.texts[sighted.query.language]
    return [(slot.position, slot.change, texts[slot.position].title) for slot in slate.slots]


def with_assignments(rows: Sequence[LoggedDecision], found: InArms) -> tuple[LoggedDecision, ...]:
    """The rows of the decision log with the arms that decided them, one for each list."""
    return tuple(
        row._replace(
            assignments=orjson.dumps(
                [
                    (enrolment.experiment_id, enrolment.arm, differs[number])
                    for enrolment, differs in zip(found.enrolments, found.differs, strict=True)
                ]
            ),
        )
        for number, row in enumerate(rows)
    )


def new_assignments(rows: Sequence[LoggedDecision], found: InArms) -> tuple[Assignment, ...]:
    """What is not stored yet of a client's arms: that it is in one, and its first trigger.

    Args:
        rows: The rows of the decision log, one for each list.
        found: The decision.
    """
    now, client_id = found.decided.sighted.now, found.decided.sighted.state.client_id
    written = []
    for enrolment, differs in zip(found.enrolments, found.differs, strict=True):
        kept = enrolment.kept
        assignment = kept or Assignment(
            enrolment.experiment_id,
            client_id,
            enrolment.unit_id,
            enrolment.arm,
            now,
            is_forced=enrolment.is_forced,
        )
        if assignment.triggered_at is None and True in differs:
            trigger = rows[differs.index(True)].decision_id
            assignment = replace(assignment, triggered_at=now, trigger_decision_id=trigger)
        if assignment is not kept:
            written.append(assignment)
    return tuple(written)
