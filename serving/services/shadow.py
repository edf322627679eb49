"""Models in shadow: they score a share of the decisions beside the live ones, in a thread of their own.

What they would have shown is kept beside the decision, and nobody waits for it: where decisions come faster
than they are scored, the rest is dropped and counted, and what cannot be stored is lost.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import time
from collections.abc import Sequence
from queue import Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from recsys.decision.decide import Decision, decide_all
from recsys.decision.situation import Situation
from recsys.errors import RecsysError
from serving.orders import ShadowDecision
from serving.ports import LoggedDecision, Store
from serving.services.disagreement import disagreement
from serving.services.world import World
from serving.telemetry import log
from serving.telemetry.measures import Measures
from serving.telemetry.names import SHADOW_DROPPED, SHADOW_SCORED

if TYPE_CHECKING:  # decisions are made with the services, of which this is one
    from serving.services.sighting import Decided

_MAX_WAITING = 256
_AT_ONCE = 64
# A scoring takes a millisecond or two; the thread that answers gets its turn after each.
_PAUSE_SECONDS = 0.002
_SECONDS_TO_END = 5.0


class _Sampled(NamedTuple):
    world: World
    situation: Situation
    decision: Decision
    decision_ids: tuple[str, ...]


class Shadow:
    """Scores sampled decisions with the models in shadow, and stores how far they disagree.

    Args:
        store: Where that is kept; None = nowhere, nothing is sampled.
        share: Share of the decisions that is sampled, 0–1.
        measures: Counts what was scored, and what was sampled and lost; None = nobody asks.
    """

    def __init__(
        self, store: Store | None = None, share: float = 0.0, measures: Measures | None = None
    ) -> None:
        self._store = store
        self._share = share
        self._measures = Measures() if measures is None else measures
        self._rng = random.Random()  # noqa: S311 -- a sample, not a secret
        self._waiting: Queue[_Sampled | None] = Queue(_MAX_WAITING)
        self._thread: Thread | None = None
        self._ends_at = math.inf  # by the clock that `time.monotonic` reads
        self._is_failing = False

    def offer(self, decided: Decided, rows: Sequence[LoggedDecision]) -> None:
        """Sample a decision that the live models made; takes microseconds.

        Decisions of experiments' arms, of who is held out, and those that no model made tell nothing of the
        live models, and are not sampled.

        Args:
            decided: The decision.
            rows: Its rows of the decision log, one for each list.
        """
        sighted = decided.sighted
        is_over = self._store is None or self._ends_at < math.inf
        if is_over or self._rng.random() >= self._share:
            return
        is_live = sighted.world.base is None and sighted.degraded is None and not sighted.is_held_out
        if not is_live or sighted.world.bundle_version is None or sighted.world.shadow is None:
            return
        if self._thread is None:
            self._thread = Thread(target=self._work, args=(self._store,), name="shadow", daemon=True)
            self._thread.start()
        ids = tuple([row.decision_id for row in rows])
        try:
            self._waiting.put_nowait(_Sampled(sighted.world, decided.situation, decided.decision, ids))
        except Full:
            self._measures.count(SHADOW_DROPPED, "busy")

    def close(self) -> None:
        """Finish what waits, in bounded time; blocks."""
        self._ends_at = time.monotonic() + _SECONDS_TO_END
        if self._thread is not None:
            with contextlib.suppress(Full):  # then the thread ends when nothing waits any more
                self._waiting.put_nowait(None)
            self._thread.join(_SECONDS_TO_END)
            self._thread = None

    def _work(self, store: Store) -> None:
        is_last = False
        while not is_last and time.monotonic() < self._ends_at:
            batch, is_last = self._next_batch()
            if batch:
                self._keep(store, batch)

    def _next_batch(self) -> tuple[list[_Sampled], bool]:
        """What waits, and whether it is the last; blocks while nothing waits."""
        batch: list[_Sampled] = []
        each = self._waiting.get()
        while each is not None:
            batch.append(each)
            if len(batch) == _AT_ONCE or self._waiting.empty():  # nobody else takes from it
                return batch, self._ends_at < math.inf and self._waiting.empty()
            each = self._waiting.get()
        return batch, True

    def _keep(self, store: Store, batch: Sequence[_Sampled]) -> None:
        found: list[ShadowDecision] = []
        try:
            for each in batch:
                found.extend(compare(each))
                time.sleep(_PAUSE_SECONDS)
            store.put_shadow_decisions(found)
            self._measures.count(SHADOW_SCORED, n=len(batch))
            self._is_failing = False
        except Exception as error:  # noqa: BLE001 -- what is only tried out may fail as it likes
            self._measures.count(SHADOW_DROPPED, "failed", n=len(batch))
            if not self._is_failing:
                known = isinstance(error, RecsysError)
                log("shadow_failed", level=logging.WARNING, cause=repr(error), error=None if known else error)
            self._is_failing = True


def compare(sampled: _Sampled) -> list[ShadowDecision]:
    """What the models in shadow would have shown in each list of a decision."""
    world, situation, decision = sampled.world, sampled.situation, sampled.decision
    shadow, live_version = world.shadow, world.bundle_version
    if shadow is None or live_version is None:
        return []
    profile = situation.state.profile
    if profile is not None and not profile.is_profiling_allowed:
        scored = shadow.population
    else:
        scored = shadow.score(situation.state, decision.decided_at)
    [other] = decide_all([situation], [scored.estimate], world.engine)
    size = None if profile is None or profile.size is None else profile.size.value
    return [
        ShadowDecision(
            decision_id,
            shadow.version,
            live_version,
            mine.placement_id,
            size,
            decision.decided_at,
            decision.decided_at,
            *disagreement(mine, theirs),
        )
        for decision_id, mine, theirs in zip(sampled.decision_ids, decision.slates, other.slates, strict=True)
    ]
