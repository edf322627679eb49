"""Stops experiments by itself: those that do harm, and those whose arms lack the units they should have."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from recsys.errors import ConflictError
from serving.ports import Clock, Store
from serving.services.analysis import Analysis, Figures
from serving.services.experiments import Voice, running_experiments, stop_experiment
from serving.telemetry import log

AUTHOR = "guardrail"
"""Who stops an experiment when nobody had to."""
EVERY = timedelta(minutes=10)
_TURN = "experiment guard"


class Guard:
    """Judges the running experiments from time to time, in one of all the workers.

    Its figures may be looked at as often as one likes: see `recsys.experiments.results.Alarm`.

    Args:
        store: Where experiments and outcomes live.
        clock: The time.
        analysis: Computes the figures.
    """

    def __init__(self, store: Store, clock: Clock, analysis: Analysis) -> None:
        self._store = store
        self._analysis = analysis
        self._clock = clock
        self._looked_at: datetime | None = None

    def look(self) -> None:
        """Judge every running experiment if it is time, and it is this worker's turn; takes seconds.

        Raises:
            StoreUnavailableError: The store does not answer, or the figures could not be computed.
        """
        now = self._clock.now()
        if self._looked_at is not None and now - self._looked_at < EVERY:
            return
        self._looked_at = now
        running = running_experiments(self._store)
        if running and self._store.take_turn(_TURN, now, EVERY):
            standings = [found.standing for found in running]
            judged = self._analysis.judge_each(self._store, standings, now)
            for standing, results in zip(standings, judged, strict=True):
                self._heed(standing.experiment_id, results, now)

    def _heed(self, experiment_id: str, results: Figures | str, now: datetime) -> None:
        if isinstance(results, str):
            log("guard_failed", level=logging.ERROR, experiment=experiment_id, cause=results)
            return
        if not results["alarms"]:
            return
        reason = " ".join(alarm["why"]["en"] for alarm in results["alarms"])
        try:
            stop_experiment(self._store, experiment_id, Voice(AUTHOR, now, reason))
        except ConflictError:
            return  # a person was faster
        except Exception as error:  # noqa: BLE001 -- one experiment keeps no other from being judged
            log("guard_failed", level=logging.ERROR, error=error, experiment=experiment_id, cause=repr(error))
            return
        log("experiment_stopped", level=logging.WARNING, experiment=experiment_id, reason=reason)
