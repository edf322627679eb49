"""Is the service fit to answer, and how old is what it answers from?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from recsys.errors import StoreUnavailableError
from serving.services.services import Services

# A look takes less than a second, and one that fails is made again twice a second.
_STALE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old a loaded table is.

    Attributes:
        source: The table.
        newest_recorded_at: Newest row in it.
        loaded_at: When it was loaded.
        age_seconds: Time since then, ≥0.
    """

    source: str
    newest_recorded_at: datetime | None
    loaded_at: datetime
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """The parts that an answer needs.

    Attributes:
        is_ready: Whether requests can be answered.
        faults: What is wrong apart from models and database, one sentence for each.
        looked_seconds_ago: How long ago this process last saw everything that was ordered, ≥0; None = never.
        is_database_ready: Whether the database answers and its schema is the known one.
        bundle_version: Version of the models in use; None when there are none.
        degraded: Why there are none; answers are then labelled fallbacks.
        policy_version: The policy in use; None when it could not be read yet.
        catalogue_version: Digest of the offers; None when they could not be read yet.
        n_offers: How many there are.
        sources: How old each loaded table is.
    """

    is_ready: bool
    faults: tuple[str, ...]
    looked_seconds_ago: float | None
    is_database_ready: bool
    bundle_version: str | None
    degraded: str | None
    policy_version: str | None
    catalogue_version: str | None
    n_offers: int
    sources: tuple[Freshness, ...]


def check_readiness(services: Services) -> Readiness:
    """Look at every part; blocks while the database is asked, and never raises.

    Missing models do not make the service unready: it answers with a labelled fallback.
    """
    scoring = services.scoring
    looked_at = scoring.looked_at
    looked_seconds_ago = None if looked_at is None else _seconds(looked_at, services.clock.now())
    faults = tuple(_faults(scoring.policy_fault, looked_seconds_ago))
    try:
        world = scoring.world
        faults = (*faults, *(() if world.trials is None else world.trials.faults))
        is_database_ready = services.store.is_ready()
        sources = _freshness(services) if is_database_ready else ()
    except StoreUnavailableError:
        is_database_ready = services.store.is_ready()
        return Readiness(False, faults, looked_seconds_ago, is_database_ready, None, None, None, None, 0, ())
    return Readiness(
        is_ready=is_database_ready,
        faults=faults,
        looked_seconds_ago=looked_seconds_ago,
        is_database_ready=is_database_ready,
        bundle_version=world.bundle_version,
        degraded=world.ranking.degraded,
        policy_version=world.policy_version,
        catalogue_version=world.catalogue.version,
        n_offers=len(world.catalogue),
        sources=sources,
    )


def _faults(policy_fault: str | None, looked_seconds_ago: float | None) -> Iterator[str]:
    if policy_fault is not None:
        yield policy_fault
    if looked_seconds_ago is not None and looked_seconds_ago > _STALE_SECONDS:
        yield (
            f"catalogue, policy and stops were last seen {looked_seconds_ago:.0f} s ago: what was ordered"
            " since is not in force here (the log says why)"
        )


def _freshness(services: Services) -> tuple[Freshness, ...]:
    now = services.clock.now()
    return tuple(
        Freshness(age.source, age.newest_recorded_at, age.loaded_at, _seconds(age.loaded_at, now))
        for age in services.store.source_ages()
    )


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
