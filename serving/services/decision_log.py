"""The rows of the decision log: enough to audit a decision, replay it and learn from it."""

from __future__ import annotations

import orjson

from recsys.decision.arbitration import Estimate
from recsys.decision.candidates import candidates_json
from recsys.decision.decide import Decision
from recsys.decision.engine import Engine
from recsys.decision.situation import Situation
from serving.ports import LoggedDecision
from serving.services.recommendation import Query, Recommendation, RecommendedList


def log_rows(
    query: Query,
    situation: Situation,
    recommendation: Recommendation,
    decision: Decision,
    estimate: Estimate,
    engine: Engine,
) -> tuple[LoggedDecision, ...]:
    """One row for each list of an answer.

    Args:
        query: The question.
        situation: The moment of the decision.
        recommendation: The answer.
        decision: What the funnel chose.
        estimate: What the model said.
        engine: The policy and the catalogue of the decision.
    """
    versions = recommendation.versions
    told = _told_of_request(query, situation, engine)
    decision_ids = [shown.decision_id for shown in recommendation.lists]
    return tuple(
        [
            LoggedDecision(
                decision_id=shown.decision_id,
                client_id=recommendation.client_id,
                member_id=query.member_id,
                placement_id=slate.placement_id,
                channel=query.channel,
                occurred_at=decision.decided_at,
                seed=slate.seed,
                policy_version=versions.policy,
                catalogue_version=versions.catalogue,
                bundle_version=versions.bundle,
                state_version=versions.state,
                is_personalised=recommendation.is_personalised,
                degraded=recommendation.degraded,
                basis=recommendation.basis.value,
                items=_items(shown),
                candidates=candidates_json(slate, estimate, engine),
                request=_request(told, ask.k, decision_ids[:place]),
            )
            for place, (ask, slate, shown) in enumerate(
                zip(situation.asks, decision.slates, recommendation.lists, strict=True)
            )
        ]
    )


def _told_of_request(query: Query, situation: Situation, engine: Engine) -> dict[str, object]:
    """What a replay needs of a request, as far as it says anything; the same for all its lists."""
    state, restrictions = situation.state, situation.restrictions
    told: dict[str, object] = {"language": situation.language.value, "time_zone": str(engine.zone)}
    if situation.role is not None:
        told["role"] = situation.role
    if restrictions.spending_limit_minor is not None:
        told["spending_limit_minor"] = restrictions.spending_limit_minor
    if situation.excluded:
        told["excluded"] = sorted(situation.excluded)
    if restrictions.used_up_caps:
        told["used_up_caps"] = sorted(restrictions.used_up_caps)
    if query.profile is not None and state.profile is query.profile:
        told["profile"] = query.profile
    return told


def _request(told: dict[str, object], k: int, above: list[str]) -> bytes:
    return orjson.dumps({"k": k, **told, "above": above} if above else {"k": k, **told})


def _items(shown: RecommendedList) -> bytes:
    return orjson.dumps(
        [
            [
                item.rank,
                item.offer.offer_id,
                item.change,
                item.logging_probability,
                [reason.code for reason in item.reasons],
            ]
            for item in shown.items
        ]
    )
