"""Events reported by the portal: all of a batch or none, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.domain import Event
from recsys.errors import EventFault, InvalidEventsError
from serving.ports import MAX_CLOCK_SKEW, RecordEvents, WriteResult
from serving.services.services import Services


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch.

    Attributes:
        n_accepted: Events that are new.
        n_duplicates: Events that were stored before, or stand twice in the batch.
    """

    n_accepted: int
    n_duplicates: int


async def record_events(services: Services, events: Sequence[Event]) -> Recorded:
    """Store events and what they change of their clients' states; the next decision knows.

    Raises:
        InvalidEventsError: Some cannot be true; none was stored.
        ConflictError: An event_id was used before with another content; none was stored.
        StoreUnavailableError: None was stored; sending them again is safe.
    """
    now = services.clock.now()
    latest = now + MAX_CLOCK_SKEW
    faults = [
        EventFault(
            index,
            event.event_id,
            "future",
            f"occurred_at {event.occurred_at.isoformat()} is in the future; the service's time is"
            f" {now.isoformat()}; send when it really happened, by a clock that is right",
        )
        for index, event in enumerate(events)
        if event.occurred_at > latest
    ]
    if faults:
        raise InvalidEventsError(faults)
    is_new = await _store(services, RecordEvents(tuple(events), recorded_at=now))
    if not isinstance(is_new, list):
        raise TypeError(f"the store answered RecordEvents with {type(is_new).__name__}")
    services.outcomes.take(events, is_new)
    n_accepted = sum(is_new)
    return Recorded(n_accepted, len(is_new) - n_accepted)


async def _store(services: Services, write: RecordEvents) -> WriteResult:
    """Store events; a decision is unknown only where it waits in no journal either."""
    try:
        return await services.commits.submit(write)
    except InvalidEventsError as error:
        if all(fault.code != "unknown_decision" for fault in error.faults):
            raise
    services.commits.check_order()
    # What waited when the events came is stored by now.
    return await services.commits.submit(write)
