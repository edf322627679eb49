"""Answers as bytes: written once, and given again to a retry with the same request_id."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from recsys.domain import Target
from recsys.errors import ConflictError
from serving.ports import Answer, LogDecisions
from serving.services.recommend import prepare
from serving.services.recommendation import Item, Query, Recommendation, RecommendedList
from serving.services.services import Services

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
    """

    request_id: str
    digest: bytes


async def answer(services: Services, query: Query, key: RequestKey | None) -> bytes:
    """Recommend, and return the answer's JSON body; with a key, every time the same.

    Raises:
        ConflictError: The request_id was used before with another content.
        RecsysError: As `recommend` does.
    """
    if key is not None:
        earlier = await services.read(services.store.answer, key.request_id)
        if earlier is not None:
            return _same_request(earlier, key).body
    prepared = await prepare(services, query)
    body = write_answer(prepared.recommendation, key)
    kept = None
    if key is not None:
        kept = Answer(key.request_id, key.digest, body, prepared.decisions[0].occurred_at)
    stored = await services.commits.submit(LogDecisions(prepared.decisions, kept, prepared.assignments))
    return stored.body if isinstance(stored, Answer) else body


def _same_request(earlier: Answer, key: RequestKey) -> Answer:
    if earlier.request_digest != key.digest:
        raise ConflictError(
            f"request_id {key.request_id!r} was used before with another content; choose a new one"
        )
    return earlier


def write_answer(recommendation: Recommendation, key: RequestKey | None = None) -> bytes:
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
        "change": item.change.value,
        "rank": item.rank,
        probability_name: item.probability,
        "kind": offer.kind,
        "supplier_id": offer.supplier_id,
        "title": offer.title,
        "category": offer.category,
        "price": None
        if price is None
        else {"amount_minor": price.amount_minor, "currency": currency, "period": price.period.value},
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
