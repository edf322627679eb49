"""Is the service fit to answer, and how old is what it answers from?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from recsys.errors import StoreUnavailableError
from serving.services.services import Services

# A look takes less than a second, and one that fails is made again twice a second.
_STALE_SECONDS = 10.0
_NEVER_READ = (
    "the database has not answered since this worker started, so it knows neither offers nor rules"
    " (the log says why)"
)
_NO_OFFERS = "no offers are loaded: every list is empty (recsys-serve load DIR)"


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
        is_ready: Whether requests for recommendations can be answered; without the database too.
        faults: What is wrong apart from models, one sentence for each.
        looked_seconds_ago: How long ago this process last saw everything that was ordered, ≥0; None = never.
        is_database_ready: Whether the database answers and takes writes.
        bundle_version: Version of the models in use; None when there are none.
        degraded: Why there are none; answers are then labelled fallbacks.
        policy_version: The policy in use; None when it could not be read yet.
        catalogue_version: Digest of the offers; None when they could not be read yet.
        n_offers: How many there are.
        sources: How old each loaded table is.
        bundle_by: By whose word the models are in use, in a few words.
        shadow_version: Version of the models in shadow; None when there are none.
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
    bundle_by: str = ""
    shadow_version: str | None = None


def check_readiness(services: Services) -> Readiness:
    """Look at every part; blocks while the database is asked, and never raises.

    Missing models do not make the service unready: it answers with a labelled fallback.
    """
    scoring = services.scoring
    looked_at = scoring.looked_at
    looked_seconds_ago = None if looked_at is None else _seconds(looked_at, services.clock.now())
    is_up = is_database_ready(services)
    found = (scoring.policy_fault, services.schema.fault)
    faults = (*_faults(found, looked_seconds_ago), *scoring.source.faults)
    try:
        world = scoring.world
    except StoreUnavailableError:
        faults = faults or (_NEVER_READ,)
        return Readiness(False, faults, looked_seconds_ago, is_up, None, None, None, None, 0, ())
    if not len(world.catalogue):
        faults = (*faults, _NO_OFFERS)
    if world.trials is not None:
        faults = (*faults, *world.trials.faults)
    return Readiness(
        is_ready=True,
        faults=(*faults, *_faults_of_writing(services, is_up)),
        looked_seconds_ago=looked_seconds_ago,
        is_database_ready=is_up,
        bundle_version=world.bundle_version,
        degraded=world.ranking.degraded,
        policy_version=world.policy_version,
        catalogue_version=world.catalogue.version,
        n_offers=len(world.catalogue),
        sources=_freshness(services) if is_up else (),
        bundle_by=scoring.source.note,
        shadow_version=None if world.shadow is None else world.shadow.version,
    )


def _faults(found: tuple[str | None, ...], looked_seconds_ago: float | None) -> Iterator[str]:
    yield from filter(None, found)
    if looked_seconds_ago is not None and looked_seconds_ago > _STALE_SECONDS:
        yield (
            f"catalogue, policy and stops were last seen {looked_seconds_ago:.0f} s ago: what was ordered"
            " since is not in force here (the log says why)"
        )


def is_database_ready(services: Services) -> bool:
    """Whether it answers and takes writes; one that is known to be away is not asked, for it might hang."""
    return services.commits.outage is None and services.schema.look(services.store)


def _faults_of_writing(services: Services, is_database_ready: bool) -> Iterator[str]:
    outage, journal = services.commits.outage, services.commits.journal
    if outage is not None or not is_database_ready:
        since = "" if outage is None else f" for {time.monotonic() - outage.began_at:.0f} s"
        n_waiting = 0 if journal is None else journal.n_waiting
        yield (
            f"the database is away{since}: {n_waiting} decisions wait in the journal of this worker, clients"
            " are taken as it last knew them, and events are refused (the log says why)"
        )
    if journal is not None and journal.fault is not None:
        yield "the journal cannot be written: decisions are not logged while the database is away"
    if journal is not None and journal.n_strange:
        yield (
            f"{journal.n_strange} files in the journal's folder cannot be replayed: the log says why"
            " (journal_strange)"
        )


def _freshness(services: Services) -> tuple[Freshness, ...]:
    """Nothing where it cannot be read: of another schema that table may not fit."""
    now = services.clock.now()
    try:
        ages = services.store.source_ages()
    except StoreUnavailableError:
        return ()
    return tuple(
        Freshness(age.source, age.newest_recorded_at, age.loaded_at, _seconds(age.loaded_at, now))
        for age in ages
    )


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
