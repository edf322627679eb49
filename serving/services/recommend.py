"""The main use case: which offers a client should see now, in which order, and why."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from recsys.data.state import present
from recsys.decision.availability import Restrictions
from recsys.decision.decide import Decision, Slate, Slot, decide_all, list_refusals
from recsys.decision.explain import Explainer
from recsys.decision.situation import Ask, Situation
from recsys.domain import Change, ClientState, LegalForm, Profile, Size
from recsys.errors import InvalidRequestError, RecsysError, UnknownPlacementError
from recsys.models.base import Evidence
from serving.ports import LogDecisions
from serving.services.decision_log import log_rows
from serving.services.recommendation import (
    Item,
    Prepared,
    Query,
    Recommendation,
    RecommendedList,
    Versions,
)
from serving.services.services import Services
from serving.services.world import Scored, World

_DIGITS = 8
_ESTIMATED = (Change.NEW, Change.UPGRADE)
_NO_PROFILE = Profile(legal_form=LegalForm.UNKNOWN, size=Size.UNKNOWN)


async def recommend(services: Services, query: Query) -> Recommendation:
    """Decide, log, answer; the answer is given once its log is durable.

    Raises:
        UnknownPlacementError: A placement does not exist; the text names those that do.
        InvalidRequestError: A list is longer than its placement allows.
        StoreUnavailableError: The decision could not be logged, so it is not given.
    """
    prepared = await prepare(services, query)
    await services.commits.submit(LogDecisions(prepared.decisions))
    return prepared.recommendation


@dataclass(frozen=True, slots=True)
class Sighted:
    """A client as a request finds it.

    Attributes:
        world: What all requests share, in the version of this one.
        now: The moment of the request.
        state: The client's state at that moment; of an unknown client an empty one, with the profile that
            the request tells.
        is_known: Whether anything of the client is stored.
        scored: What the models say.
        degraded: Why a fallback says it; None when none does.
    """

    world: World
    now: datetime
    state: ClientState
    is_known: bool
    scored: Scored
    degraded: str | None


async def sight(services: Services, query: Query) -> Sighted:
    """Read a client and score it."""
    [sighted] = await _sight_all(services, [query])
    return sighted


async def _sight_all(services: Services, queries: Sequence[Query]) -> list[Sighted]:
    """Read clients and score them, in one world at one moment."""
    world, read = services.scoring.world, services.store.client_state
    found = await services.read(lambda asked: [read(query.client_id) for query in asked], queries)
    now = services.clock.now()
    states = [_state_of(query, stored, now) for query, stored in zip(queries, found, strict=True)]
    # a profile that came with the request makes a state that is stored nowhere
    are_stored = [
        stored is not None and (stored.profile is not None or query.profile is None)
        for query, stored in zip(queries, found, strict=True)
    ]
    scored = services.scoring.score_all(world, states, now, are_stored)
    return [
        Sighted(
            world,
            now,
            state,
            is_known=stored is not None and (stored.profile is not None or bool(stored.holdings)),
            scored=one,
            degraded=degraded,
        )
        for state, stored, (one, degraded) in zip(states, found, scored, strict=True)
    ]


def _state_of(query: Query, stored: ClientState | None, now: datetime) -> ClientState:
    state = ClientState(query.client_id) if stored is None else present(stored, now)
    if state.profile is None and query.profile is not None:
        return replace(state, profile=query.profile)
    return state


def situation_of(services: Services, query: Query, sighted: Sighted) -> Situation:
    """The moment of a decision, as the funnel reads it.

    Raises:
        UnknownPlacementError: A placement does not exist; the text names those that do.
        InvalidRequestError: A list is longer than its placement allows, or asked for twice.
    """
    return Situation(
        sighted.state,
        sighted.now,
        _asks(sighted.world, query),
        query.excluded,
        query.channel,
        query.language,
        query.member_id,
        query.role,
        Restrictions(
            used_up_caps=frozenset(services.scoring.used_up_caps),
            spending_limit_minor=query.spending_limit_minor,
        ),
    )


async def prepare(services: Services, query: Query) -> Prepared:
    """Decide without logging, together with what else is asked now; raises as `recommend` does."""
    return await services.rounds.ask(query, partial(_prepare_all, services))


async def _prepare_all(services: Services, queries: Sequence[Query]) -> list[Prepared | Exception]:
    """Decide for each query; one that asks for what there is not gets its own error."""
    asked: list[tuple[Query, Sighted, Situation | RecsysError]] = []
    for query, sighted in zip(queries, await _sight_all(services, queries), strict=True):
        asked.append((query, sighted, _situation_or_fault(services, query, sighted)))
    situations = [situation for _, _, situation in asked if isinstance(situation, Situation)]
    estimates = [
        sighted.scored.estimate for _, sighted, situation in asked if isinstance(situation, Situation)
    ]
    decisions = iter(decide_all(situations, estimates, asked[0][1].world.engine))
    return [
        _written(services, query, sighted, situation, next(decisions))
        if isinstance(situation, Situation)
        else situation
        for query, sighted, situation in asked
    ]


def _situation_or_fault(services: Services, query: Query, sighted: Sighted) -> Situation | RecsysError:
    try:
        return situation_of(services, query, sighted)
    except RecsysError as error:
        return error


def _written(
    services: Services, query: Query, sighted: Sighted, situation: Situation, decision: Decision
) -> Prepared:
    recommendation = write_down(services, query, sighted, decision)
    estimate, engine = sighted.scored.estimate, sighted.world.engine
    return Prepared(recommendation, log_rows(query, situation, recommendation, decision, estimate, engine))


def write_down(services: Services, query: Query, sighted: Sighted, decision: Decision) -> Recommendation:
    """A decision with titles, prices, probabilities and reasons."""
    world, state, estimate = sighted.world, sighted.state, sighted.scored.estimate
    evidence = services.scoring.evidence(
        world, sighted.scored, state, [slot.position for slate in decision.slates for slot in slate.slots]
    )
    writer = _Writer(world, query, state, sighted.scored, evidence)
    return Recommendation(
        client_id=query.client_id,
        is_client_known=sighted.is_known,
        basis=estimate.basis,
        is_personalised=estimate.is_personalised
        or any(slate.is_weighed_personally for slate in decision.slates),
        degraded=sighted.degraded,
        target=estimate.target,
        currency=world.currency,
        versions=Versions(
            world.policy_version,
            world.catalogue.version,
            None if sighted.degraded else world.bundle_version,
            state.version,
        ),
        valid_until=decision.valid_until,
        lists=tuple([writer.write(slate, sighted.now) for slate in decision.slates]),
    )


class _Writer:
    """Writes slates out for one client: titles, prices, probabilities, reasons."""

    def __init__(
        self,
        world: World,
        query: Query,
        state: ClientState,
        scored: Scored,
        evidence: Mapping[int, tuple[Evidence, ...]],
    ) -> None:
        profile = state.profile or _NO_PROFILE
        self._world = world
        self._probabilities = scored.estimate.probabilities
        self._has_target = scored.estimate.target is not None
        self._evidence = evidence
        self._is_explained = query.is_explained
        self._texts = world.catalogue.texts[query.language]
        self._prices = world.catalogue.prices(profile.region, profile.size)
        self._explainer = Explainer(
            world.catalogue,
            state,
            query.language,
            world.engine.policy,
            is_personalised=scored.estimate.is_personalised,
            holdings=world.holdings,
        )

    def write(self, slate: Slate, now: datetime) -> RecommendedList:
        """One list."""
        return RecommendedList(
            placement_id=slate.placement_id,
            decision_id=new_decision_id(now),
            items=tuple([self._item(slot) for slot in slate.slots]),
            refusals=list_refusals(slate, self._world.engine) if self._is_explained else (),
        )

    def _probability(self, slot: Slot) -> float | None:
        """What the model says; of a change that it knows nothing of it says nothing."""
        if not self._has_target or slot.change not in _ESTIMATED:
            return None
        return round(float(self._probabilities[slot.position]), _DIGITS)

    def _item(self, slot: Slot) -> Item:
        position = slot.position
        price = self._prices[position]
        return Item(
            offer=self._texts[position],
            change=slot.change,
            rank=slot.rank,
            probability=self._probability(slot),
            price=price,
            reasons=self._explainer.reasons(slot, self._evidence.get(position, ()), price),
            logging_probability=slot.logging_probability,
        )


def new_decision_id(now: datetime) -> str:
    """A fresh id that grows with time, so that the log's index grows at its end.

    Returns:
        12 hexadecimal digits of milliseconds since 1970, then 80 random bits.
    """
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"


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
