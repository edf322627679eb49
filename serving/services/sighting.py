"""A client as a request finds it: read, scored, and before the funnel of the world that decides for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from recsys.data.state import present
from recsys.decision.availability import NO_RESTRICTIONS, Restrictions
from recsys.decision.conditions.facts import Moment
from recsys.decision.decide import Decision, decide_all
from recsys.decision.situation import Ask, Situation
from recsys.domain import ClientState, Profile
from recsys.errors import InvalidRequestError, RecsysError, StoreUnavailableError, UnknownPlacementError
from serving.orders import Assignment
from serving.ports import Store
from serving.services.recommendation import Query
from serving.services.services import Services
from serving.services.trials import Enrolment, Trials
from serving.services.world import Scored, World
from serving.telemetry.names import STAGE_SECONDS

ARM_UNAVAILABLE = "arm_unavailable"
STORE_UNAVAILABLE = "store_unavailable"


class Sighted(NamedTuple):
    """A client as a request finds it.

    Attributes:
        query: The request, as this client's arms can answer it.
        world: What decides for it, in the version of this request.
        now: The moment of the request.
        state: The client's state at that moment; of an unknown client an empty one, with the profile that
            the request tells.
        is_known: Whether anything of the client is stored.
        is_stored: Whether the state is the stored one, so that its version identifies it.
        scored: What the models say.
        degraded: Why a fallback says it, or another world than its arm's decides; None when neither.
        enrolments: The experiments that it is in, the hold-out first.
    """

    query: Query
    world: World
    now: datetime
    state: ClientState
    is_known: bool
    is_stored: bool
    scored: Scored
    degraded: str | None
    enrolments: tuple[Enrolment, ...] = ()

    @property
    def is_held_out(self) -> bool:
        """Whether the client sees business as usual."""
        return bool(self.enrolments) and self.enrolments[0].is_held_out


class Decided(NamedTuple):
    """A decision and what it was made of."""

    sighted: Sighted
    situation: Situation
    decision: Decision


class _Read(NamedTuple):
    """A client as it is stored, its arms, and those of its account group."""

    state: ClientState | None
    kept: tuple[Assignment, ...]
    of_unit: tuple[Assignment, ...]


async def sight(services: Services, query: Query) -> Sighted:
    """Read a client and score it."""
    [sighted] = await sight_all(services, services.scoring.world, [query])
    return sighted


async def sight_all(
    services: Services, world: World, queries: Sequence[Query], *, is_memory_enough: bool = False
) -> list[Sighted]:
    """Read clients and score them at one moment, each in the world that decides for it.

    Args:
        services: The store, the models and the clock.
        world: What is in force for all of these requests.
        queries: The requests.
        is_memory_enough: Whether clients may be sighted as this process remembers them, and those that it
            does not remember as unknown ones, where the store is away; `STORE_UNAVAILABLE` says so then.

    Raises:
        StoreUnavailableError: The store is away, and memory is not enough.
    """
    if world.trials is None:
        sighted = await _sight(services, world, queries, is_memory_enough)
    else:
        sighted = await _sight_in_arms(services, world, world.trials, queries, is_memory_enough)
    if is_memory_enough and services.commits.outage is not None:
        return [one._replace(degraded=STORE_UNAVAILABLE) for one in sighted]
    return sighted


async def _sight(
    services: Services, world: World, queries: Sequence[Query], is_memory_enough: bool
) -> list[Sighted]:
    client_ids = [query.client_id for query in queries]
    begun = time.perf_counter()
    try:
        found = await services.ask(services.store.client_states_of, client_ids)
    except StoreUnavailableError:
        if not is_memory_enough:
            raise
        found = [services.store.remembered(client_id)[0] for client_id in client_ids]
    now = services.clock.now()
    states = [_state_of(query, stored, now) for query, stored in zip(queries, found, strict=True)]
    are_stored = [_is_stored(query, stored) for query, stored in zip(queries, found, strict=True)]
    read_at = time.perf_counter()
    scored = services.scoring.score_all(world, states, now, are_stored)
    services.measures.time(STAGE_SECONDS, "read", seconds=read_at - begun, n=len(queries))
    services.measures.time(STAGE_SECONDS, "score", seconds=time.perf_counter() - read_at, n=len(queries))
    return [
        Sighted(query, world, now, state, _is_known(stored), is_stored, one, degraded)
        for query, state, stored, is_stored, (one, degraded) in zip(
            queries, states, found, are_stored, scored, strict=True
        )
    ]


def _state_of(query: Query, stored: ClientState | None, now: datetime) -> ClientState:
    state = ClientState(query.client_id) if stored is None else present(stored, now)
    if state.profile is None and query.profile is not None:
        return replace(state, profile=query.profile)
    return state


def _is_stored(query: Query, stored: ClientState | None) -> bool:
    """Whether the state is a stored one: a profile that came with the request makes one stored nowhere."""
    return stored is not None and (stored.profile is not None or query.profile is None)


def _is_known(stored: ClientState | None) -> bool:
    return stored is not None and (stored.profile is not None or bool(stored.holdings))


async def _sight_in_arms(
    services: Services, world: World, trials: Trials, queries: Sequence[Query], is_memory_enough: bool
) -> list[Sighted]:
    store = services.store
    begun = time.perf_counter()
    is_read = True
    try:
        found = await services.ask(
            lambda asked: [_read_with_arms(store, trials, query) for query in asked], queries
        )
    except StoreUnavailableError:
        if not is_memory_enough:
            raise
        found = [_Read(*store.remembered(query.client_id), ()) for query in queries]
        is_read = False
    now = services.clock.now()
    sighted = []
    for query, (stored, kept, of_unit) in zip(queries, found, strict=True):
        state, nothing = _state_of(query, stored, now), world.ranking.fallback
        is_stored = _is_stored(query, stored)
        met = Sighted(query, world, now, state, _is_known(stored), is_stored, nothing, None)
        # The unit of a client of whom nothing is known is not known either: its arm could be another one's.
        is_unit_known = is_read or stored is not None
        sighted.append(_in_its_arms(met, trials, kept, of_unit) if is_unit_known else met)
    read_at = time.perf_counter()
    scored = score_each(services, sighted)
    services.measures.time(STAGE_SECONDS, "read", seconds=read_at - begun, n=len(queries))
    services.measures.time(STAGE_SECONDS, "score", seconds=time.perf_counter() - read_at, n=len(queries))
    return scored


def _read_with_arms(store: Store, trials: Trials, query: Query) -> _Read:
    """A client; its account group is asked for only where the client itself has no arm yet."""
    stored, kept = store.client_state(query.client_id), store.client_assignments(query.client_id)
    profile = query.profile if stored is None or stored.profile is None else stored.profile
    unit_id = trials.unit_to_ask(profile, kept)
    return _Read(stored, kept, () if unit_id is None else store.unit_assignments(unit_id))


def _in_its_arms(
    sighted: Sighted, trials: Trials, kept: Iterable[Assignment], of_unit: Sequence[Assignment]
) -> Sighted:
    """The client in the world of its arms; one whose request nobody can answer is in no arm."""
    query, base = sighted.query, sighted.world
    try:
        asks = _asks(base, query)
    except RecsysError:
        return sighted
    moment = Moment(sighted.now, None, query.channel, query.language, query.role, base.engine.zone)
    enrolments = trials.enrol(sighted.state, [ask.placement_id for ask in asks], kept, moment, of_unit)
    enrolled = sighted._replace(enrolments=enrolments)
    if enrolled.is_held_out:
        return _as_usual(enrolled)
    return in_world(enrolled, query, trials.world_of(enrolments))


def _as_usual(sighted: Sighted) -> Sighted:
    """What a held-out client gets: what those get who switched profiling off, without any model."""
    profile = replace(sighted.state.profile or Profile(), is_profiling_allowed=False)
    state, query = replace(sighted.state, profile=profile), sighted.query
    if not sighted.is_stored and query.profile is not None:
        query = replace(query, profile=profile)
    return sighted._replace(query=query, state=state)


def in_world(sighted: Sighted, query: Query, world: World) -> Sighted:
    """The same client before another world, not scored anew.

    Args:
        sighted: The client.
        query: Its request; lists longer than that world shows are cut.
        world: What would decide.
    """
    placements = world.engine.placements
    lists = tuple(
        [
            wanted
            if wanted.k is None
            else replace(wanted, k=min(wanted.k, placements[wanted.placement_id].max_k))
            for wanted in query.lists
        ]
    )
    return sighted._replace(query=replace(query, lists=lists), world=world)


def score_each(services: Services, sighted: Sequence[Sighted]) -> list[Sighted]:
    """Score clients, each in its world; of who is held out no model says anything."""
    found = list(sighted)
    alike: dict[int, list[int]] = {}
    for place, one in enumerate(sighted):
        if not one.is_held_out:
            alike.setdefault(id(one.world.ranking), []).append(place)
    for places in alike.values():
        these = [sighted[place] for place in places]
        scored = services.scoring.score_all(
            these[0].world,
            [one.state for one in these],
            these[0].now,
            [one.is_stored for one in these],
        )
        for place, one, (estimate, cause) in zip(places, these, scored, strict=True):
            is_lacking = any(enrolment.fault for enrolment in one.enrolments)
            degraded = ARM_UNAVAILABLE if cause is None and is_lacking else cause
            found[place] = one._replace(scored=estimate, degraded=degraded)
    return found


def situation_of(services: Services, sighted: Sighted) -> Situation:
    """The moment of a decision, as the funnel reads it.

    Raises:
        UnknownPlacementError: A placement does not exist; the text names those that do.
        InvalidRequestError: A list is longer than its placement allows, or asked for twice.
    """
    query, restrictions = sighted.query, NO_RESTRICTIONS
    used_up_caps = services.scoring.used_up_caps(sighted.world)
    if used_up_caps or query.spending_limit_minor is not None:
        restrictions = Restrictions(
            used_up_caps=used_up_caps, spending_limit_minor=query.spending_limit_minor
        )
    return Situation(
        sighted.state,
        sighted.now,
        _asks(sighted.world, query),
        query.excluded,
        query.channel,
        query.language,
        query.member_id,
        query.role,
        restrictions,
    )


def decide_together(services: Services, sighted: Sequence[Sighted]) -> list[Decided | RecsysError]:
    """Decide for clients before one engine; who asks for what there is not gets its own error."""
    situations = [_situation_or_fault(services, one) for one in sighted]
    sound = [situation for situation in situations if isinstance(situation, Situation)]
    estimates = [
        one.scored.estimate
        for one, situation in zip(sighted, situations, strict=True)
        if isinstance(situation, Situation)
    ]
    decisions = iter(decide_all(sound, estimates, sighted[0].world.engine))
    return [
        Decided(one, situation, next(decisions)) if isinstance(situation, Situation) else situation
        for one, situation in zip(sighted, situations, strict=True)
    ]


def _situation_or_fault(services: Services, sighted: Sighted) -> Situation | RecsysError:
    try:
        return situation_of(services, sighted)
    except RecsysError as error:
        return error


def _asks(world: World, query: Query) -> tuple[Ask, ...]:
    asks, placements = [], world.engine.placements
    for index, wanted in enumerate(query.lists):
        placement = placements.get(wanted.placement_id)
        if placement is None:
            raise UnknownPlacementError(wanted.placement_id, f"known: {', '.join(placements)}")
        k = placement.k if wanted.k is None else wanted.k
        if not 1 <= k <= placement.max_k:
            raise InvalidRequestError(
                f"placements.{index}.k",
                f"{k} is out of bounds; placement {placement.placement_id!r} shows 1 to {placement.max_k}",
            )
        asks.append(Ask(placement.placement_id, k))
    if len({ask.placement_id for ask in asks}) < len(asks):
        raise InvalidRequestError("placements", "a placement stands twice; ask for each once")
    return tuple(asks)
