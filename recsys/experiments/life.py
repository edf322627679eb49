"""The life of an experiment: draft → running → stopped → decided, and what may be done when.

A draft may be changed in everything. From its start on an experiment is what it was: it can be ramped up
and stopped, and once it is stopped it can be decided. Nothing leads back: what shall run again is a new
experiment with an id of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from pydantic import Field

from recsys.config import RunConfig
from recsys.errors import ConflictError, InvalidRequestError
from recsys.experiments.experiment import Experiment, Holdout, Method, Status
from recsys.experiments.fields import Instant


class Standing(RunConfig):
    """An experiment and where it stands; every change makes another one.

    Attributes:
        experiment: The document.
        status: Where it stands.
        coverage: Share of each arm's units that enter now; only grows while running.
        started_at: When it was started.
        stopped_at: When it was stopped.
        decided_at: When it was decided.
        winner: Name of the arm that was chosen; None = none was.
        reason: Why it was stopped or decided, in the words of who did it.
        salt: Seed of the assignment, fixed at the start; None = the document's.
        admissible_salts: The seeds that are as good as this one, itself among them; empty = it was not
            chosen by balance.
    """

    experiment: Experiment
    status: Status = Status.DRAFT
    coverage: float = Field(default=1.0, gt=0, le=1)
    started_at: Instant | None = None
    stopped_at: Instant | None = None
    decided_at: Instant | None = None
    winner: str | None = None
    reason: str = ""
    salt: str | None = None
    admissible_salts: tuple[str, ...] = ()

    @property
    def experiment_id(self) -> str:
        """Id of the experiment."""
        return self.experiment.experiment_id

    @property
    def seed(self) -> str:
        """Seed of the assignment."""
        return self.experiment.seed if self.salt is None else self.salt


def draft(experiment: Experiment) -> Standing:
    """An experiment that has not begun."""
    return Standing(experiment=experiment, coverage=experiment.coverage)


def edit(standing: Standing, experiment: Experiment) -> Standing:
    """Replace the document of a draft.

    Raises:
        ConflictError: It has begun, or the document is another experiment's.
    """
    _expect(standing, Status.DRAFT, "be changed")
    if experiment.experiment_id != standing.experiment_id:
        raise ConflictError(
            f"the document is of {experiment.experiment_id!r}, not {standing.experiment_id!r};"
            " create it as an experiment of its own"
        )
    return draft(experiment)


def start(
    standing: Standing,
    now: datetime,
    *,
    running: Iterable[Standing] = (),
    holdout: Holdout | None = None,
    salt: str | None = None,
    admissible_salts: Sequence[str] = (),
) -> Standing:
    """Begin; from here on the document stands.

    Args:
        standing: A draft.
        now: The instant.
        running: The other experiments that run.
        holdout: The global hold-out, where there is one.
        salt: Seed that was chosen by balance (see `balance.choose_salt`); None = the document's.
        admissible_salts: The seeds from which it was drawn, itself among them.

    Raises:
        ConflictError: It has begun, its plan cannot hold, or it does not get on with what runs.
    """
    _expect(standing, Status.DRAFT, "be started")
    _check_plan(standing.experiment, now)
    _check_salts(standing.experiment, salt, admissible_salts)
    seed = standing.experiment.seed if salt is None else salt
    others = [other for other in running if other.status is Status.RUNNING]
    _check_seed(standing.experiment, seed, others, holdout)
    _check_layer(standing.experiment, others)
    return _changed(
        standing,
        status=Status.RUNNING,
        coverage=standing.experiment.coverage,
        started_at=_utc(now),
        salt=seed,
        admissible_salts=tuple(admissible_salts),
    )


def ramp(standing: Standing, coverage: float) -> Standing:
    """Let more units in; whoever is in keeps the arm.

    Raises:
        InvalidRequestError: The share is not above 0 to 1.
        ConflictError: The experiment does not run, or the share would not grow.
    """
    _expect(standing, Status.RUNNING, "be ramped up")
    if not (isfinite(coverage) and 0 < coverage <= 1):
        raise InvalidRequestError("coverage", f"a share above 0 to 1 is needed, not {coverage:g}; correct it")
    if coverage <= standing.coverage:
        raise ConflictError(
            f"the coverage of {standing.experiment_id!r} is {standing.coverage:g} and can only grow, else"
            " clients would fall out of what is measured; give a larger share, or stop the experiment"
        )
    return _changed(standing, coverage=coverage)


def stop(standing: Standing, now: datetime, reason: str) -> Standing:
    """End it: nobody is assigned any more, outcomes are still waited for.

    Raises:
        InvalidRequestError: No reason is given.
        ConflictError: The experiment does not run.
    """
    _expect(standing, Status.RUNNING, "be stopped")
    told = _reason(reason)
    return _changed(standing, status=Status.STOPPED, stopped_at=_utc(now), reason=told)


def decide(standing: Standing, now: datetime, winner: str | None, reason: str) -> Standing:
    """Write down what follows from it.

    Args:
        standing: A stopped experiment.
        now: The instant.
        winner: Name of the arm that is chosen; None = none is.
        reason: Why.

    Raises:
        InvalidRequestError: There is no such arm, or no reason is given.
        ConflictError: The experiment was not stopped, or is decided already.
    """
    _expect(standing, Status.STOPPED, "be decided")
    names = [arm.name for arm in standing.experiment.arms]
    if winner is not None and winner not in names:
        raise InvalidRequestError("winner", f"there is no arm {winner!r}; name one of {', '.join(names)}")
    told = _reason(reason)
    return _changed(standing, status=Status.DECIDED, decided_at=_utc(now), winner=winner, reason=told)


def _changed(standing: Standing, **values: Any) -> Standing:
    return Standing.model_validate({**dict(standing), **values})


def _utc(now: datetime) -> datetime:
    return now.astimezone(UTC)


def _reason(reason: str) -> str:
    if not reason.strip():
        raise InvalidRequestError("reason", "is empty; say in a few words why")
    return reason.strip()


_CURES = {
    Status.DRAFT: "start it first",
    Status.RUNNING: "it can be ramped up and stopped; for anything else stop it and create another one",
    Status.STOPPED: "it can only be decided; create another one under a new id to run it again",
    Status.DECIDED: "nothing more can be done with it; create another one under a new id to run it again",
}


def _expect(standing: Standing, status: Status, deed: str) -> None:
    if standing.status is not status:
        raise ConflictError(
            f"experiment {standing.experiment_id!r} is {standing.status.value} and cannot {deed};"
            f" {_CURES[standing.status]}"
        )


def _check_plan(experiment: Experiment, now: datetime) -> None:
    """Refuse a plan that cannot come out."""
    name, end_at = experiment.experiment_id, experiment.planned_end_at
    if experiment.method is Method.FIXED and end_at is None and experiment.planned_units is None:
        raise ConflictError(
            f"experiment {name!r} is judged once, and no end is planned; write planned_end_at or"
            " planned_units, or method: sequential"
        )
    first_closed_at = now + timedelta(days=experiment.window_days)
    if end_at is not None and end_at <= first_closed_at:
        raise ConflictError(
            f"experiment {name!r} is planned to end on {end_at:%Y-%m-%d}, before the first window of"
            f" {experiment.window_days} days is closed; write a planned_end_at after"
            f" {first_closed_at:%Y-%m-%d} or a shorter window_days"
        )


def _check_salts(experiment: Experiment, salt: str | None, admissible_salts: Sequence[str]) -> None:
    name = experiment.experiment_id
    if experiment.is_balanced and (salt is None or not admissible_salts):
        raise ConflictError(f"experiment {name!r} is balanced, and no salt was chosen; choose it by balance")
    if admissible_salts and salt not in admissible_salts:
        raise ConflictError(f"experiment {name!r}: the salt {salt!r} is none of the admissible ones")


def _check_seed(
    experiment: Experiment, seed: str, others: Sequence[Standing], holdout: Holdout | None
) -> None:
    """Refuse a seed by which another draw was made: the two would go hand in hand."""
    taken = {other.seed: f"experiment {other.experiment_id!r}" for other in others}
    if holdout is not None and holdout.share > 0:
        taken[holdout.salt] = "the hold-out"
    if seed in taken:
        raise ConflictError(
            f"experiment {experiment.experiment_id!r} has the salt {seed!r} of {taken[seed]}: both would"
            " divide the units alike; write another salt"
        )


def _check_layer(experiment: Experiment, others: Sequence[Standing]) -> None:
    """Refuse ranges of one layer that overlap, and layers that are divided in two ways."""
    for other in others:
        theirs = other.experiment
        if experiment.layer is None or theirs.layer != experiment.layer:
            continue
        names = f"experiments {experiment.experiment_id!r} and {theirs.experiment_id!r}"
        if theirs.unit is not experiment.unit:
            raise ConflictError(
                f"{names} share layer {experiment.layer!r} and divide it by {experiment.unit.value} and by"
                f" {theirs.unit.value}: one client could be in both; write unit: {theirs.unit.value}, or"
                " another layer"
            )
        low = max(experiment.layer_range[0], theirs.layer_range[0])
        high = min(experiment.layer_range[1], theirs.layer_range[1])
        if low < high:
            raise ConflictError(
                f"{names} overlap in layer {experiment.layer!r} from {low:g} to {high:g}; write another"
                f" layer_range, or stop {theirs.experiment_id!r}"
            )
