"""Use cases: the life of experiments and of the hold-out; what was said before stays readable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import ValidationError

from recsys.config import nearest_name
from recsys.errors import ConflictError, InvalidRequestError, UnknownExperimentError
from recsys.experiments import life
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Holdout, Status
from recsys.experiments.life import Standing
from serving.orders import ExperimentOrder
from serving.ports import Store
from serving.services.experiment_checks import (
    Surroundings,
    checked_experiment,
    entry_of,
    hindrances,
    open_windows,
    pinned_experiment,
    ramp_doubts,
)
from serving.telemetry import log

_KEPT = (
    "whoever was seen under a hold-out before keeps the side it was on; the new share, salt and unit count"
    " for units none of whose clients was seen"
)
NO_HOLDOUT = Holdout(share=0)
"""What holds while nobody has ordered a hold-out."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Who says something of an experiment, when and why.

    Attributes:
        author: A key_id, ``command line``, or ``guardrail``.
        at: The present instant.
        reason: Why, for people.
    """

    author: str
    at: datetime
    reason: str = ""


class Found(NamedTuple):
    """An experiment as it stands.

    Attributes:
        standing: How it stands.
        orders: Everything that was said of it, the last one being in force.
    """

    standing: Standing
    orders: tuple[ExperimentOrder, ...]

    @property
    def last(self) -> ExperimentOrder:
        """The order in force."""
        return self.orders[-1]


class Unreadable(NamedTuple):
    """An experiment that this program cannot read, as after a step back to an older release.

    Attributes:
        experiment_id: Its id.
        orders: Everything that was said of it, the last one being in force.
        cause: Why it cannot be read, with the cure.
    """

    experiment_id: str
    orders: tuple[ExperimentOrder, ...]
    cause: str

    @property
    def last(self) -> ExperimentOrder:
        """The order in force."""
        return self.orders[-1]


class Ordered(NamedTuple):
    """What came of an order.

    Attributes:
        found: The experiment after it; unreadable only after a stop.
        warnings: What should be looked at, one sentence for each.
    """

    found: Found | Unreadable
    warnings: tuple[str, ...] = ()


class HoldoutOrdered(NamedTuple):
    """The hold-out in force.

    Attributes:
        holdout: Who is held out.
        order: How it was ordered; None = nobody did, there is none.
        warnings: What should be looked at, one sentence for each.
    """

    holdout: Holdout
    order: ExperimentOrder | None
    warnings: tuple[str, ...] = ()


def all_experiments(store: Store) -> list[Found | Unreadable]:
    """Every experiment, in the order in which they were created; what cannot be read stands among them."""
    said: dict[str, list[ExperimentOrder]] = {}
    for order in store.experiment_orders():
        if order.experiment_id != HOLDOUT_ID:
            said.setdefault(order.experiment_id, []).append(order)
    in_order = sorted(said.values(), key=lambda orders: (orders[0].recorded_at, orders[0].experiment_id))
    return [_found(orders) for orders in in_order]


def list_experiments(store: Store) -> list[Found]:
    """Every experiment that can be read, in the order in which they were created."""
    return [found for found in all_experiments(store) if isinstance(found, Found)]


def running_experiments(store: Store) -> list[Found]:
    """Those that run, in the order in which they were created."""
    return [found for found in list_experiments(store) if found.standing.status is Status.RUNNING]


def look_up(store: Store, experiment_id: str) -> Found | Unreadable:
    """An experiment, or what is known of one that cannot be read.

    Raises:
        UnknownExperimentError: There is none; the text names the one most like it.
    """
    known = {found.last.experiment_id: found for found in all_experiments(store)}
    if experiment_id not in known:
        nearest = nearest_name(experiment_id, known)
        hint = f"did you mean {nearest!r}?" if nearest else "`recsys-serve experiment list` names them"
        raise UnknownExperimentError(experiment_id, hint)
    return known[experiment_id]


def find_experiment(store: Store, experiment_id: str) -> Found:
    """An experiment that can be read.

    Raises:
        UnknownExperimentError: There is none; the text names the one most like it.
        ConflictError: This program cannot read it.
    """
    found = look_up(store, experiment_id)
    if isinstance(found, Unreadable):
        raise ConflictError(f"experiment {experiment_id!r}: {found.cause}")
    return found


def create_experiment(
    store: Store, experiment: Experiment, voice: Voice, bundles_dir: Path | None
) -> Ordered:
    """Store a draft; what would keep it from starting is said as warnings.

    Raises:
        ConflictError: There is an experiment of this id.
        InvalidRequestError: The id is reserved.
    """
    experiment_id = experiment.experiment_id
    if experiment_id == HOLDOUT_ID:
        raise InvalidRequestError("experiment_id", f"{HOLDOUT_ID!r} is the hold-out's; choose another id")
    if any(order.experiment_id == experiment_id for order in store.experiment_orders()):
        raise ConflictError(
            f"there is an experiment {experiment_id!r} already; edit the draft, or choose another id"
        )
    return Ordered(
        _say(store, life.draft(experiment), (), voice),
        hindrances(_surroundings(store, voice.at, bundles_dir), experiment),
    )


def edit_experiment(store: Store, experiment: Experiment, voice: Voice, bundles_dir: Path | None) -> Ordered:
    """Replace a draft.

    Raises:
        UnknownExperimentError: There is no experiment of this id.
        ConflictError: It is no draft any more.
    """
    before = find_experiment(store, experiment.experiment_id)
    edited = life.edit(before.standing, experiment)
    return Ordered(
        _say(store, edited, before.orders, voice),
        hindrances(_surroundings(store, voice.at, bundles_dir), experiment),
    )


def start_experiment(store: Store, experiment_id: str, voice: Voice, bundles_dir: Path | None) -> Ordered:
    """Start a draft: what it names exists, its layer is free, its salt is chosen where it is to be balanced.

    What is in force now is written into the arms that name no version, so that what they are compared with
    is known and stays, whatever is published meanwhile.

    Raises:
        UnknownExperimentError: There is no such experiment.
        ConflictError: It is no draft, its plan cannot hold, or it does not get on with what runs.
        InvalidRequestError: It names a policy, a bundle, an offer or a placement that does not exist.
    """
    before = find_experiment(store, experiment_id)
    around = _surroundings(store, voice.at, bundles_dir)
    begin = partial(life.start, now=voice.at, running=around.running, holdout=around.holdout)
    # What costs little comes first: nobody waits for a salt to be told that the layer is taken.
    seed = before.standing.seed
    begin(before.standing, salt=seed, admissible_salts=(seed,))
    experiment, warnings = checked_experiment(around, before.standing.experiment)
    experiment, doubts = pinned_experiment(around, experiment)
    entry = entry_of(around, experiment)
    started = begin(
        life.edit(before.standing, experiment), salt=entry.salt, admissible_salts=entry.admissible_salts
    )
    return Ordered(_say(store, started, before.orders, voice), (*warnings, *doubts, *entry.warnings))


def ramp_experiment(store: Store, experiment_id: str, coverage: float, voice: Voice) -> Ordered:
    """Let a larger share of the units in; nobody who is in changes the arm.

    Raises:
        UnknownExperimentError: There is no such experiment.
        ConflictError: It does not run, or the share is not larger than the present one.
    """
    ordered = _changed(store, experiment_id, voice, lambda standing: life.ramp(standing, coverage))
    document = find_experiment(store, experiment_id).standing.experiment
    widened = document.model_copy(update={"coverage": coverage})
    return ordered._replace(warnings=ramp_doubts(_surroundings(store, voice.at, None), widened))


def stop_experiment(store: Store, experiment_id: str, voice: Voice) -> Ordered:
    """End an experiment: everybody sees what is in force again, results go on to arrive.

    Raises:
        UnknownExperimentError: There is no such experiment.
        ConflictError: It does not run.
    """
    found = look_up(store, experiment_id)
    if isinstance(found, Unreadable):
        return Ordered(_stop_unread(store, found, voice))
    return _changed(store, experiment_id, voice, lambda standing: life.stop(standing, voice.at, voice.reason))


def decide_experiment(
    store: Store, experiment_id: str, winner: str | None, voice: Voice, n_open: Callable[[], int]
) -> Ordered:
    """Write down what came of a stopped experiment; nothing is published by that.

    Where windows may be open they are counted; that they were is a warning, and stands behind the reason.

    Args:
        store: Where experiments live.
        experiment_id: The experiment.
        winner: Name of the arm that is chosen; None = none is.
        voice: Who says so, when and why.
        n_open: Counts the clients whose windows are open; asked only where there may be any.

    Raises:
        UnknownExperimentError: There is no such experiment.
        ConflictError: It is not stopped.
        InvalidRequestError: It has no such arm, or no reason is given.
    """
    before = find_experiment(store, experiment_id)
    decided = life.decide(before.standing, voice.at, winner, voice.reason)
    warnings = open_windows(before.standing, voice.at, n_open)
    if warnings:
        voice = replace(voice, reason=f"{decided.reason} ({warnings[0]})")
        decided = life.decide(before.standing, voice.at, winner, voice.reason)
    return Ordered(_say(store, decided, before.orders, voice), warnings)


def holdout_in_force(store: Store) -> HoldoutOrdered:
    """The hold-out as it stands; a share of 0 where nobody ordered one."""
    orders = [order for order in store.experiment_orders() if order.experiment_id == HOLDOUT_ID]
    if not orders:
        return HoldoutOrdered(NO_HOLDOUT, None)
    try:
        return HoldoutOrdered(Holdout.model_validate_json(orders[-1].document), orders[-1])
    except ValidationError as error:
        unread = f"{_cause(error)} or order the hold-out anew; nobody is held out"
        return HoldoutOrdered(NO_HOLDOUT, orders[-1], (unread,))


def holdout_began_at(store: Store) -> datetime:
    """Since when the hold-out has been as it is; who came under another one divides by another share."""
    orders = [order for order in store.experiment_orders() if order.experiment_id == HOLDOUT_ID]
    began = orders[-1]
    for order in reversed(orders):
        if order.document != began.document:
            break
        began = order
    return began.recorded_at


def order_holdout(store: Store, holdout: Holdout, voice: Voice) -> HoldoutOrdered:
    """Set the hold-out; the one before stays readable.

    Raises:
        InvalidRequestError: A running experiment was drawn by the same salt.
    """
    before = holdout_in_force(store)
    for found in running_experiments(store):
        if holdout.share > 0 and found.standing.seed == holdout.salt:
            twin = found.standing.experiment_id
            raise InvalidRequestError(
                "salt",
                f"{holdout.salt!r} is that of experiment {twin!r} too, so both would divide the units alike",
            )
    order = ExperimentOrder(
        experiment_id=HOLDOUT_ID,
        number=1 if before.order is None else before.order.number + 1,
        status=Status.RUNNING.value,
        document=holdout.model_dump_json(),
        author=voice.author,
        reason=voice.reason,
        recorded_at=voice.at,
    )
    store.put_experiment(order)
    is_other = before.order is not None and holdout.share > 0 and before.holdout != holdout
    return HoldoutOrdered(holdout, order, (_KEPT,) if is_other else ())


def _changed(
    store: Store, experiment_id: str, voice: Voice, change: Callable[[Standing], Standing]
) -> Ordered:
    before = find_experiment(store, experiment_id)
    return Ordered(_say(store, change(before.standing), before.orders, voice))


def _say(store: Store, standing: Standing, before: Sequence[ExperimentOrder], voice: Voice) -> Found:
    order = ExperimentOrder(
        experiment_id=standing.experiment_id,
        number=before[-1].number + 1 if before else 1,
        status=standing.status.value,
        document=standing.model_dump_json(),
        author=voice.author,
        reason=voice.reason,
        recorded_at=voice.at,
    )
    store.put_experiment(order)
    return Found(standing, (*before, order))


def _surroundings(store: Store, now: datetime, bundles_dir: Path | None) -> Surroundings:
    running = tuple(found.standing for found in running_experiments(store))
    return Surroundings(store, now, bundles_dir, holdout_in_force(store).holdout, running)


def _stop_unread(store: Store, found: Unreadable, voice: Voice) -> Unreadable:
    """Stop what cannot be read; as far as its document can be, it says so itself for who can read it."""
    last = found.last
    if last.status != Status.RUNNING.value:
        raise ConflictError(f"experiment {found.experiment_id!r} is {last.status} and cannot be stopped")
    stopped = {"status": Status.STOPPED.value, "stopped_at": voice.at, "reason": voice.reason}
    try:
        document = orjson.loads(last.document)
        text = orjson.dumps({**document, **stopped}).decode()
    except (orjson.JSONDecodeError, TypeError):
        text = last.document
    order = replace(
        last,
        number=last.number + 1,
        status=Status.STOPPED.value,
        document=text,
        author=voice.author,
        reason=voice.reason,
        recorded_at=voice.at,
    )
    store.put_experiment(order)
    return found._replace(orders=(*found.orders, order))


def _cause(error: ValidationError) -> str:
    fault = error.errors()[0]
    place = ".".join(map(str, fault["loc"])) or "the document"
    return f"cannot be read by this program ({place}: {fault['msg']}); use the release that wrote it,"


def _found(orders: Sequence[ExperimentOrder]) -> Found | Unreadable:
    """What was said of one experiment."""
    last = orders[-1]
    try:
        return Found(Standing.model_validate_json(last.document), tuple(orders))
    except ValidationError as error:
        cause = f"{_cause(error)} or stop it"
        log("experiment_unreadable", level=logging.WARNING, experiment=last.experiment_id, cause=cause)
        return Unreadable(last.experiment_id, tuple(orders), cause)
