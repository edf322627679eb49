"""Use case: keep house. The log gets room for the months ahead, and what is too old goes.

Retiring never changes a client's state, an assignment, or what an experiment says that somebody still reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from recsys.errors import ConfigError, StoreUnavailableError
from recsys.experiments.experiment import Status
from recsys.experiments.holdout import standing_of_holdout
from recsys.experiments.life import Standing
from serving.ports import Clock, Store
from serving.services.experiments import Unreadable, all_experiments, holdout_began_at, holdout_in_force
from serving.telemetry import log
from serving.upkeep import LEAST_LOG_MONTHS, LogMonth, begin_of

_MAKE_EVERY = timedelta(hours=1)
_FORGET_EVERY = timedelta(days=1)
# Until its work is done a turn lasts so long: what failed, or ended in the middle, comes again then.
_TRY_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Retirement:
    """What goes, or went, of the log.

    Attributes:
        kept_from: Begin of the first month that is kept whole.
        readers: Why that is earlier than what was asked for: who still reads older months, one sentence each.
        months: The months that go, ascending, with what they hold or held.
    """

    kept_from: datetime
    readers: tuple[str, ...]
    months: tuple[LogMonth, ...]


def plan_retirement(store: Store, n_months: int, now: datetime) -> Retirement:
    """What would go of the log, and why not more.

    Args:
        store: The log.
        n_months: Whole months before the present one that are kept, at least `LEAST_LOG_MONTHS`.
        now: The present instant.

    Raises:
        ConfigError: Too few months.
    """
    if n_months < LEAST_LOG_MONTHS:
        raise ConfigError(
            f"a log of {n_months} months is too short: states count events for 90 days; keep at least"
            f" {LEAST_LOG_MONTHS} months"
        )
    wanted = begin_of(now, -n_months)
    readers = [(since, who) for since, who in _readers(store) if since < wanted]
    kept_from = begin_of(min([wanted, *(since for since, _ in readers)]), 0)
    sentences = tuple(f"{who} reads the log from {since:%Y-%m-%d} on" for since, who in sorted(readers))
    return Retirement(kept_from, sentences, tuple(store.month_sizes(kept_from)))


def retire(
    store: Store,
    n_months: int,
    now: datetime,
    progress: Callable[[str, int, int], None] = lambda _what, _n_done, _n_all: None,
) -> Retirement:
    """Forget what `plan_retirement` names, month by month; returns what went.

    Raises:
        ConfigError: Too few months.
        StoreUnavailableError: The store is busy or away; what was done is done, and the rest can go later.
    """
    plan = plan_retirement(store, n_months, now)
    gone: list[LogMonth] = []
    for number, each in enumerate(plan.months, 1):
        gone.append(store.retire_month(each.month, plan.kept_from))
        progress("months", number, len(plan.months))
    store.forget_shadows(plan.kept_from)
    return replace(plan, months=tuple(gone))


def forget_answers(store: Store, n_days: int, now: datetime) -> int:
    """Forget answers that no retry is expected for any more; returns how many."""
    return store.forget_answers(now - timedelta(days=n_days))


def _readers(store: Store) -> list[tuple[datetime, str]]:
    """Since when experiments that are not decided, and the hold-out, read the log."""
    found: list[tuple[datetime, str]] = []
    for each in all_experiments(store):
        status = each.last.status
        if status not in (Status.RUNNING, Status.STOPPED):
            continue
        if isinstance(each, Unreadable):
            found.append(
                (each.orders[0].recorded_at, f"experiment {each.experiment_id!r}, which is unreadable,")
            )
        else:
            name = f"experiment {each.standing.experiment_id!r} ({status}, not decided)"
            found.append((_read_since(each.standing), name))
    holdout = holdout_in_force(store)
    if holdout.order is not None and holdout.holdout.share > 0:
        standing = standing_of_holdout(holdout.holdout, holdout_began_at(store))
        found.append((_read_since(standing), "the hold-out"))
    return found


def _read_since(standing: Standing) -> datetime:
    """Covariates are measured before the trigger, as long as outcomes are after it."""
    began_at = standing.started_at or datetime.max.replace(tzinfo=UTC)
    return began_at - 2 * timedelta(days=standing.experiment.window_days)


class Upkeep:
    """Keeps house from time to time, in one of all the workers.

    Args:
        store: What is kept.
        clock: The time.
        log_months: Whole months of the log that are kept; None = all.
        answer_days: Days for which a retry with the same request_id gets the same answer, ≥1.
    """

    def __init__(self, store: Store, clock: Clock, log_months: int | None, answer_days: int) -> None:
        self._store = store
        self._clock = clock
        self._log_months = log_months
        self._answer_days = answer_days

    def look(self) -> None:
        """Do what it is time for, if it is this worker's turn; may take minutes, in short transactions.

        What fails keeps nothing else from being done, and is tried again after some minutes.
        """
        self._in_turn("months", _MAKE_EVERY, self._store.make_months)
        self._in_turn(
            "forget answers", _FORGET_EVERY, lambda now: forget_answers(self._store, self._answer_days, now)
        )
        n_months = self._log_months
        if n_months is not None:
            self._in_turn("retire", _FORGET_EVERY, lambda now: self._retire(n_months, now))

    def _in_turn(self, name: str, every: timedelta, work: Callable[[datetime], object]) -> None:
        now = self._clock.now()
        try:
            if not self._store.take_turn(name, now, every):
                return
            # Taken back but for some minutes: of no length, a turn taken later than the present one is free.
            self._store.take_turn(name, now - every + _TRY_EVERY, timedelta(0))
            work(now)
            self._store.take_turn(name, now, every - _TRY_EVERY)
        except StoreUnavailableError as error:
            log("upkeep_failed", level=logging.WARNING, work=name, cause=str(error))

    def _retire(self, n_months: int, now: datetime) -> None:
        gone = retire(self._store, n_months, now)
        if gone.months:
            log("log_retired", months=[each.month for each in gone.months])
        for reader in gone.readers:
            log("log_kept", cause=reader)
