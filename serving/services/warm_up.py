"""New models score clients before they decide for any: what is slow the first time is over by then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from recsys.data.state import present
from recsys.domain import ClientId, ClientState
from serving.ports import Store
from serving.services.world import Ranking

MAX_CLIENTS = 200
MAX_SECONDS = 0.3
# Longer than a request works at once: the thread that answers never waits for more than one scoring.
_PAUSE_SECONDS = 0.001


def clients_to_warm_up(before: Ranking | None, store: Store) -> list[ClientState]:
    """The clients asked for last, or the first of the store, in one read.

    Args:
        before: The ranking that will be replaced; None = there is none.
        store: Where the clients are.
    """
    latest = [] if before is None else before.cache.latest(MAX_CLIENTS)
    found = store.client_states_of([ClientId(client_id) for client_id in latest]) if latest else []
    return [state for state in found if state is not None] or store.client_states("", MAX_CLIENTS)


def warm_up(ranking: Ranking, clients: Sequence[ClientState], now: datetime) -> int:
    """Score clients, and keep their scores.

    It ends after `MAX_SECONDS`, yet never before one was scored, and gives way to the event loop after each
    client.

    Args:
        ranking: Of the new models, which nobody uses yet.
        clients: Those to score.
        now: The present instant.

    Returns:
        How many were scored.

    Raises:
        Exception: What the models do to every one of them.
    """
    scorer = ranking.scorer
    if scorer is None:
        return 0
    n_scored, failure, give_up_at = 0, None, time.monotonic() + MAX_SECONDS
    for stored in clients:
        if n_scored and time.monotonic() > give_up_at:
            break
        state = present(stored, now)
        if state.profile is None or state.profile.is_profiling_allowed:
            try:
                ranking.cache.put(state.client_id, scorer.mark(state, now), scorer.score(state, now))
                n_scored += 1
            except Exception as error:  # noqa: BLE001 -- one odd client does not make models unusable
                failure = error
            time.sleep(_PAUSE_SECONDS)
    if failure is not None and not n_scored:
        raise failure
    return n_scored
