"""The main use case: which offers a client should see now, in which order, and why."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from recsys.decision.decide import Decision, Slate, Slot, list_refusals
from recsys.decision.explain import Explainer
from recsys.domain import Change, LegalForm, Profile, Size
from serving.ports import LogDecisions
from serving.services.arms import InArms, decide_in_arms, new_assignments, with_assignments
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
from serving.services.sighting import STORE_UNAVAILABLE, Decided, Sighted, decide_together, sight_all
from serving.telemetry.names import FALLBACKS, STAGE_SECONDS

_DIGITS = 8
_ESTIMATED = (Change.NEW, Change.UPGRADE)
_NO_PROFILE = Profile(legal_form=LegalForm.UNKNOWN, size=Size.UNKNOWN)


async def recommend(services: Services, query: Query) -> Recommendation:
    """Decide, log, answer; see `serving.services.commit_queue.CommitQueue.log`.

    Raises:
        UnknownPlacementError: A placement does not exist; the text names those that do.
        InvalidRequestError: A list is longer than its placement allows.
        StoreUnavailableError: There is nothing to decide with, or it is not known whether it was logged.
    """
    prepared = await prepare(services, query)
    await services.commits.log(LogDecisions(prepared.decisions, assignments=prepared.assignments))
    return prepared.recommendation


async def prepare(services: Services, query: Query) -> Prepared:
    """Decide without logging, together with what else is asked now; raises as `recommend` does."""
    return await services.rounds.ask(query, partial(_prepare_all, services))


async def _prepare_all(services: Services, queries: Sequence[Query]) -> list[Prepared | Exception]:
    """Decide for each query; one that asks for what there is not gets its own error."""
    world = services.scoring.world
    sighted = await sight_all(services, world, queries, is_memory_enough=True)
    begun = time.perf_counter()
    found: Sequence[InArms | Decided | Exception]
    if world.trials is not None:
        found = decide_in_arms(services, world.trials, queries, sighted)
    else:
        found = decide_together(services, sighted)
    decided = time.perf_counter()
    written = [_write(services, one) for one in found]
    services.measures.time(STAGE_SECONDS, "decide", seconds=decided - begun, n=len(queries))
    services.measures.time(STAGE_SECONDS, "write", seconds=time.perf_counter() - decided, n=len(queries))
    _keep_figures(services, sighted)
    return written


def _keep_figures(services: Services, sighted: Sequence[Sighted]) -> None:
    for one in sighted:
        if one.degraded is not None:
            services.measures.count(FALLBACKS, one.degraded)
    first = sighted[0]
    services.drift.take(first.world, first.state, first.now, first.scored)


def _write(services: Services, found: InArms | Decided | Exception) -> Prepared | Exception:
    if isinstance(found, InArms):
        return _written_in_arms(services, found)
    return _written(services, found) if isinstance(found, Decided) else found


def _written(services: Services, decided: Decided) -> Prepared:
    sighted, situation, decision = decided
    recommendation = write_down(sighted, decision)
    estimate, engine = sighted.scored.estimate, sighted.world.engine
    rows = log_rows(sighted.query, situation, recommendation, decision, estimate, engine)
    if sighted.world.shadow is not None:
        services.shadow.offer(decided, rows)
    return Prepared(recommendation, rows)


def _written_in_arms(services: Services, found: InArms) -> Prepared:
    written = _written(services, found.decided)
    return written._replace(
        decisions=with_assignments(written.decisions, found),
        # The arms of a client that was not read may be stored already, and be others.
        assignments=()
        if written.recommendation.degraded == STORE_UNAVAILABLE
        else new_assignments(written.decisions, found),
    )


def write_down(sighted: Sighted, decision: Decision) -> Recommendation:
    """A decision with titles, prices, probabilities and reasons."""
    world, state, estimate = sighted.world, sighted.state, sighted.scored.estimate
    query = sighted.query
    writer = _Writer(sighted)
    # a weight can ask of a client that it is new, and nobody's data answers that for a stranger
    is_anything_known = sighted.is_known or state.profile is not None
    return Recommendation(
        client_id=query.client_id,
        is_client_known=sighted.is_known,
        basis=estimate.basis,
        is_personalised=estimate.is_personalised
        or (is_anything_known and any(slate.is_weighed_personally for slate in decision.slates)),
        degraded=sighted.degraded,
        target=estimate.target,
        currency=world.currency,
        versions=Versions(
            world.policy_version,
            world.catalogue.version,
            None if estimate.target is None else world.bundle_version,
            state.version,
        ),
        valid_until=decision.valid_until,
        lists=tuple([writer.write(slate, sighted.now) for slate in decision.slates]),
        is_held_out=sighted.is_held_out,
    )


class _Writer:
    """Writes slates out for one client: titles, prices, probabilities, reasons."""

    def __init__(self, sighted: Sighted) -> None:
        world, query, state, scored = sighted.world, sighted.query, sighted.state, sighted.scored
        profile = state.profile or _NO_PROFILE
        self._world = world
        self._probabilities = scored.estimate.probabilities
        self._has_target = scored.estimate.target is not None
        self._evidence = world.ranking.evidence_of(scored)
        self._is_explained = query.is_explained
        self._texts = world.texts[query.language]
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
        return round(self._probabilities.item(slot.position), _DIGITS)

    def _item(self, slot: Slot) -> Item:
        position = slot.position
        price = self._prices[position]
        return Item(
            offer=self._texts[position],
            change=slot.change,
            rank=slot.rank,
            probability=self._probability(slot),
            price=price,
            reasons=self._explainer.reasons(slot, self._evidence(position), price),
            logging_probability=slot.logging_probability,
        )


def new_decision_id(now: datetime) -> str:
    """A fresh id that grows with time, so that the log's index grows at its end.

    Returns:
        12 hexadecimal digits of milliseconds since 1970, then 80 random bits.
    """
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"
