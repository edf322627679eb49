"""The rows of the decision log: enough to audit a decision, replay it and learn from it."""

from __future__ import annotations

import numpy as np
import orjson
from numpy.typing import NDArray

from recsys.decision.arbitration import Estimate
from recsys.decision.decide import Decision, Slate
from recsys.decision.engine import Engine
from recsys.decision.proposals import CHANGES
from recsys.decision.rulebook import NO_RULE
from recsys.decision.situation import Situation
from recsys.models.base import FloatArray
from serving.ports import LoggedDecision
from serving.services.recommendation import Query, Recommendation, RecommendedList

# Plain texts: an enum's value is looked up anew each time it is written.
_CHANGES = tuple(change.value for change in CHANGES)


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
                candidates=_candidates(slate, estimate, engine),
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
    told: dict[str, object] = {
        "role": situation.role,
        "spending_limit_minor": restrictions.spending_limit_minor,
        "excluded": sorted(situation.excluded),
        "used_up_caps": sorted(restrictions.used_up_caps),
        "profile": state.profile if state.profile is query.profile else None,
    }
    spoken = {name: value for name, value in told.items() if value is not None and value != []}
    return {"language": situation.language.value, "time_zone": str(engine.zone), **spoken}


def _request(told: dict[str, object], k: int, above: list[str]) -> bytes:
    return orjson.dumps({"k": k, **told, "above": above} if above else {"k": k, **told})


def _items(shown: RecommendedList) -> bytes:
    return orjson.dumps(
        [
            [
                item.rank,
                item.offer.offer_id,
                item.change.value,
                item.logging_probability,
                [reason.code for reason in item.reasons],
            ]
            for item in shown.items
        ]
    )


def _candidates(slate: Slate, estimate: Estimate, engine: Engine) -> bytes:
    """What could have been drawn, by descending priority, with its factors; and what was refused."""
    offer_ids, labels = engine.catalogue.offer_ids, engine.book.labels
    numbers, changes = slate.verdicts.numbers, slate.verdicts.changes
    at, positions = slate.candidates, slate.candidates.tolist()
    refused = np.flatnonzero(numbers != NO_RULE)
    factors = slate.factors
    probability = factors.probability[at].astype(np.float32)
    return orjson.dumps(
        {
            "offer_id": [offer_ids[position] for position in positions],
            "change": [_CHANGES[change] for change in changes[at].tolist()],
            "priority": factors.priority[at].astype(np.float32),
            "probability": [None] * len(positions) if estimate.target is None else probability,
            **_told("context", factors.context[at]),
            **_told("value", factors.value[at]),
            **_told("levers", factors.levers[at]),
            "refused": [
                (offer_ids[position], stage, rule_id)
                for position, (stage, rule_id) in zip(
                    refused.tolist(), map(labels.__getitem__, numbers[refused].tolist()), strict=True
                )
            ],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _told(name: str, factor: FloatArray) -> dict[str, NDArray[np.float32]]:
    """A factor under its name, unless it is 1 for every candidate."""
    return {name: factor.astype(np.float32)} if np.count_nonzero(factor != 1.0) else {}
