"""The main use case: which offers a client should see now, in which order, and why."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from recsys.data.state import present
from recsys.decision.decide import Ask, Decision, Situation, Slate, Slot, decide, list_refusals
from recsys.decision.explain import Explainer
from recsys.domain import ClientState, LegalForm, Profile, Size
from recsys.errors import InvalidRequestError, UnknownPlacementError
from recsys.models.base import Evidence
from serving.ports import LogDecisions, LoggedDecision
from serving.services.decision_log import log_rows
from serving.services.recommendation import Item, Query, Recommendation, RecommendedList, Versions
from serving.services.services import Services
from serving.services.world import Scored, World

_DIGITS = 8
_NO_PROFILE = Profile(legal_form=LegalForm.UNKNOWN, size=Size.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer that is not logged yet.

    Attributes:
        recommendation: The answer.
        decisions: The rows of the decision log, one for each list.
    """

    recommendation: Recommendation
    decisions: tuple[LoggedDecision, ...]


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


async def prepare(services: Services, query: Query) -> Prepared:
    """Decide without logging; raises as `recommend` does."""
    world = services.scoring.world
    asks = _asks(world, query)
    stored = await services.read(services.store.client_state, query.client_id)
    now = services.clock.now()
    state = ClientState(query.client_id) if stored is None else present(stored, now)
    is_stored = stored is not None
    if state.profile is None and query.profile is not None:
        state, is_stored = replace(state, profile=query.profile), False
    scored, degraded = services.scoring.score(world, state, is_stored=is_stored)
    situation = Situation(state, now, asks, query.excluded)
    decision = decide(situation, scored.estimate, world.catalogue, world.policy)
    evidence = services.scoring.evidence(
        world, scored, state, [slot.position for slate in decision.slates for slot in slate.slots]
    )
    writer = _Writer(world, query, state, scored, evidence)
    estimate = scored.estimate
    recommendation = Recommendation(
        client_id=query.client_id,
        is_client_known=stored is not None and (stored.profile is not None or bool(stored.holdings)),
        basis=estimate.basis,
        is_personalised=estimate.is_personalised,
        degraded=degraded,
        target=estimate.target,
        currency=world.currency,
        versions=Versions(
            world.policy_version,
            world.catalogue.version,
            None if degraded else world.bundle_version,
            state.version,
        ),
        valid_until=decision.valid_until,
        lists=tuple([writer.write(decision, slate, now) for slate in decision.slates]),
    )
    return Prepared(recommendation, log_rows(query, recommendation, decision, estimate, world.catalogue, now))


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
            world.policy,
            is_personalised=scored.estimate.is_personalised,
            holdings=world.holdings,
        )

    def write(self, decision: Decision, slate: Slate, now: datetime) -> RecommendedList:
        """One list."""
        catalogue = self._world.catalogue
        return RecommendedList(
            placement_id=slate.placement_id,
            decision_id=new_decision_id(now),
            items=tuple([self._item(slot) for slot in slate.slots]),
            refusals=list_refusals(decision, slate, catalogue) if self._is_explained else (),
        )

    def _item(self, slot: Slot) -> Item:
        position = slot.position
        price = self._prices[position]
        return Item(
            offer=self._texts[position],
            change=slot.change,
            rank=slot.rank,
            probability=round(float(self._probabilities[position]), _DIGITS) if self._has_target else None,
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
    asks = []
    for index, wanted in enumerate(query.lists):
        placement = world.placements.get(wanted.placement_id)
        if placement is None:
            raise UnknownPlacementError(wanted.placement_id, f"known: {', '.join(world.placements)}")
        k = placement.k if wanted.k is None else wanted.k
        if not 1 <= k <= placement.max_k:
            raise InvalidRequestError(
                f"placements.{index}.k",
                f"{k} is out of bounds; placement {placement.placement_id!r} shows 1 to {placement.max_k}",
            )
        asks.append(Ask(placement, k))
    if len({ask.placement.placement_id for ask in asks}) < len(asks):
        raise InvalidRequestError("placements", "a placement stands twice; ask for each once")
    return tuple(asks)
