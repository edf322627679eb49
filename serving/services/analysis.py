"""Figures of experiments, computed where they keep no request waiting: in a process beside this one.

To read a log row by row holds the interpreter for seconds. The process ends with its figures, and so does
the memory that they took.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from threading import Lock
from typing import Any

import orjson

from recsys.errors import ConflictError, DataError, StoreUnavailableError
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Status
from recsys.experiments.holdout import standing_of_holdout
from recsys.experiments.life import Standing
from serving.ports import Store
from serving.services.experiment_checks import compiled_targeting
from serving.services.experiments import find_experiment, holdout_began_at, holdout_in_force
from serving.telemetry import log

_PROGRAM = "serving.commands.analyst"
_MOST_SECONDS = 600

Figures = dict[str, Any]
"""Plain values for JSON."""


class Analysis:
    """Computes figures, one request at a time.

    Args:
        database_url: Where a process finds the store; None = the store lives in this process alone, which
            computes by itself.
    """

    def __init__(self, database_url: str | None = None) -> None:
        self._database_url = database_url
        self._turn = Lock()

    def results(self, store: Store, experiment_id: str, now: datetime) -> Figures:
        """What is known of an experiment that was started, or of the hold-out; takes seconds.

        Raises:
            UnknownExperimentError: There is no such experiment.
            ConflictError: It was not started yet.
            DataError: The assignments contradict the experiment.
            StoreUnavailableError: The figures could not be computed.
        """
        [found] = self.judge_each(store, [standing_to_judge(store, experiment_id)], now)
        if isinstance(found, str):
            raise DataError(found)
        return found

    def judge_each(self, store: Store, standings: Sequence[Standing], now: datetime) -> list[Figures | str]:
        """The results of some experiments, the tables read once; in words why there are none.

        Raises:
            StoreUnavailableError: The figures could not be computed.
        """
        if self._database_url is None:
            from serving.services.experiment_results import judge_each  # noqa: PLC0415 -- as they load Polars

            with self._turn:
                return judge_each(store, standings, now)
        documents = [standing.model_dump_json() for standing in standings]
        found: list[Figures | str] = self._ask({"standings": documents, "now": now})
        return found

    def plan(self, store: Store, experiment: Experiment, share_triggered: float, now: datetime) -> Figures:
        """What an experiment would find among the clients there are; takes seconds.

        Raises:
            InvalidRequestError: Its targeting cannot be read.
            StoreUnavailableError: The figures could not be computed.
        """
        compiled_targeting(store, experiment, now)
        if self._database_url is None:
            from serving.services.experiment_results import plan  # noqa: PLC0415

            with self._turn:
                return plan(store, experiment, now, share_triggered).as_json()
        document = experiment.model_dump_json()
        found: Figures = self._ask({"plan": document, "share_triggered": share_triggered, "now": now})
        return found

    def _ask(self, question: Figures) -> Any:
        """Start the process, tell it what to compute, wait."""
        body = orjson.dumps({**question, "database_url": self._database_url})
        command = [sys.executable, "-m", _PROGRAM]
        try:
            with self._turn:
                done = subprocess.run(  # noqa: S603 -- this program itself
                    command, input=body, capture_output=True, timeout=_MOST_SECONDS, check=False
                )
        except subprocess.TimeoutExpired as error:
            raise StoreUnavailableError(f"figures took more than {_MOST_SECONDS} s; try it later") from error
        if done.returncode:
            cause = done.stderr.decode(errors="replace")[-2_000:]
            log("analysis_failed", level=logging.ERROR, cause=cause)
            raise StoreUnavailableError("figures could not be computed; the log says why")
        return orjson.loads(done.stdout)


def standing_to_judge(store: Store, experiment_id: str) -> Standing:
    """An experiment that has results, or the hold-out as one.

    Raises:
        UnknownExperimentError: There is no such experiment.
        ConflictError: It was not started yet, or nobody is held out.
    """
    if experiment_id == HOLDOUT_ID:
        found = holdout_in_force(store)
        if found.order is None or found.holdout.share == 0:
            raise ConflictError("there is no hold-out: its share is 0; order one first")
        return standing_of_holdout(found.holdout, holdout_began_at(store))
    standing = find_experiment(store, experiment_id).standing
    if standing.status is Status.DRAFT:
        raise ConflictError(f"experiment {experiment_id!r} is a draft and has no results; start it first")
    return standing
