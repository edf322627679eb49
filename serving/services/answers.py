"""Answers as bytes: written once, and given again to a retry with the same request_id."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import orjson

from recsys.domain import Target
from recsys.errors import StoreUnavailableError
from serving.ports import Answer, LogDecisions
from serving.services.journal import same_request
from serving.services.recommend import prepare
from serving.services.recommendation import Item, Query, Recommendation, RecommendedList
from serving.services.services import Services
from serving.telemetry.names import STAGE_SECONDS
from serving.telemetry.requests import note_decisions

_PROBABILITY_NAMES = {
    Target.ACCEPTANCE: "acceptance_probability",
    Target.ADOPTION: "adoption_probability",
    None: "adoption_probability",
}


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request the same request.

    Attributes:
        request_id: Chosen by the caller.
        digest: SHA-256 of the request's content.
        stored_id: Under which the answer is kept: the request_id, in a space of the caller's own perhaps.
    """

    request_id: str
    digest: bytes
    stored_id: str


async def answer(services: Services, query: Query, key: RequestKey | None) -> bytes:
    """Recommend, and return the answer's JSON body; with a key, every time the same.

    Raises:
        ConflictError: The request_id was used before with another content.
        RecsysError: As `recommend` does.
    """
    if key is not None:
        earlier = await _earlier(services, key.stored_id)
        if earlier is not None:
            return same_request(earlier, key.digest).body
    prepared = await prepare(services, query)
    note_decisions(prepared.decisions)
    body = write_answer(prepared.recommendation, key)
    kept = None
    if key is not None:
        kept = Answer(key.stored_id, key.digest, body, prepared.decisions[0].occurred_at)
    begun = time.perf_counter()
    stored, is_logged = await services.commits.log(
        LogDecisions(prepared.decisions, kept, prepared.assignments)
    )
    services.measures.time(STAGE_SECONDS, "commit", seconds=time.perf_counter() - begun)
    if not is_logged:
        return write_answer(prepared.recommendation, key, is_logged=False)
    return body if stored is None else stored.body


async def _earlier(services: Services, request_id: str) -> Answer | None:
    """The answer given under a request_id before, as far as that can be told while the store is away."""
    journal = services.commits.journal
    kept = None if journal is None else journal.answer(request_id)
    if kept is not None:
        return kept
    with contextlib.suppress(StoreUnavailableError):
        stored = await services.ask(services.store.answer, request_id)
        if stored is not None:
            services.commits.remember(stored)
        return stored
    return None


def write_answer(
    recommendation: Recommendation, key: RequestKey | None = None, *, is_logged: bool = True
) -> bytes:
    """The answer's JSON body."""
    name = _PROBABILITY_NAMES[recommendation.target]
    currency, valid_until = recommendation.currency, recommendation.valid_until
    return orjson.dumps(
        {
            "request_id": None if key is None else key.request_id,
            "client_id": recommendation.client_id,
            "client_known": recommendation.is_client_known,
            "basis": recommendation.basis,
            "personalised": recommendation.is_personalised,
            "held_out": recommendation.is_held_out,
            "degraded": recommendation.degraded,
            "logged": is_logged,
            "versions": recommendation.versions,
            "placements": [
                {
                    "placement_id": shown.placement_id,
                    "decision_id": shown.decision_id,
                    "valid_until": valid_until,
                    "items": [_item(item, name, currency) for item in shown.items],
                    **_refused(shown),
                }
                for shown in recommendation.lists
            ],
        }
    )


def _item(item: Item, probability_name: str, currency: str | None) -> dict[str, object]:
    offer, price = item.offer, item.price
    return {
        "offer_id": offer.offer_id,
        "change": item.change,
        "rank": item.rank,
        probability_name: item.probability,
        "kind": offer.kind,
        "supplier_id": offer.supplier_id,
        "title": offer.title,
        "category": offer.category,
        "price": None
        if price is None
        else {"amount_minor": price.amount_minor, "currency": currency, "period": price.period},
        "reasons": [{"code": code, "text": text} for code, text in item.reasons],
        "logging_probability": item.logging_probability,
    }


def _refused(shown: RecommendedList) -> dict[str, object]:
    if not shown.refusals:
        return {}
    return {
        "refused": [
            {"offer_id": refusal.offer_id, "stage": refusal.stage, "rule": refusal.rule.rule_id}
            for refusal in shown.refusals
        ]
    }
