"""Is the service fit to answer, and how old is what it answers from?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recsys.errors import StoreUnavailableError
from serving.ports import SourceAge
from serving.services.services import Services


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
        is_database_ready: Whether the database answers and its schema is the known one.
        bundle_version: Version of the models in use; None when there are none.
        degraded: Why there are none; answers are then labelled fallbacks.
        catalogue_version: Digest of the offers; None when they could not be read yet.
        n_offers: How many there are.
        sources: How old each loaded table is.
    """

    is_ready: bool
    is_database_ready: bool
    bundle_version: str | None
    degraded: str | None
    catalogue_version: str | None
    n_offers: int
    sources: tuple[Freshness, ...]


def check_readiness(services: Services) -> Readiness:
    """Look at every part; blocks while the database is asked, and never raises.

    Missing models do not make the service unready: it answers with a labelled fallback.
    """
    try:
        world = services.scoring.world
        is_database_ready = services.store.is_ready()
        sources = _freshness(services) if is_database_ready else ()
    except StoreUnavailableError:
        return Readiness(False, services.store.is_ready(), None, None, None, 0, ())
    return Readiness(
        is_ready=is_database_ready,
        is_database_ready=is_database_ready,
        bundle_version=world.bundle_version,
        degraded=world.degraded,
        catalogue_version=world.catalogue.version,
        n_offers=len(world.catalogue),
        sources=sources,
    )


def _freshness(services: Services) -> tuple[Freshness, ...]:
    now = services.clock.now()
    return tuple(
        Freshness(age.source, age.newest_recorded_at, age.loaded_at, _seconds(age, now))
        for age in services.store.source_ages()
    )


def _seconds(age: SourceAge, now: datetime) -> float:
    return max(0.0, (now - age.loaded_at).total_seconds())
