"""The rows of the decision log: enough to audit a decision, replay it and learn from it."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import orjson

from recsys.decision.arbitration import Estimate
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.decide import Decision, Slate
from recsys.decision.refusals import Rule
from recsys.domain import Change
from serving.ports import LoggedDecision
from serving.services.recommendation import Query, Recommendation, RecommendedList

# Plain texts: an enum's value is looked up anew each time it is written.
_NEW, _UPGRADE = Change.NEW.value, Change.UPGRADE.value
_STAGES = {rule: rule.stage.value for rule in Rule}
_RULES = {rule: rule.value for rule in Rule}


def log_rows(
    query: Query,
    recommendation: Recommendation,
    decision: Decision,
    estimate: Estimate,
    catalogue: CompiledCatalogue,
    occurred_at: datetime,
) -> tuple[LoggedDecision, ...]:
    """One row for each list of an answer.

    Args:
        query: The question.
        recommendation: The answer.
        decision: What the funnel chose.
        estimate: What it ordered by; priorities are logged in single precision.
        catalogue: The catalogue of the decision.
        occurred_at: The moment of the decision.
    """
    versions = recommendation.versions
    return tuple(
        [
            LoggedDecision(
                decision_id=shown.decision_id,
                client_id=recommendation.client_id,
                member_id=query.member_id,
                placement_id=slate.placement_id,
                channel=query.channel,
                occurred_at=occurred_at,
                seed=slate.seed,
                policy_version=versions.policy,
                catalogue_version=versions.catalogue,
                bundle_version=versions.bundle,
                state_version=versions.state,
                is_personalised=recommendation.is_personalised,
                degraded=recommendation.degraded,
                basis=recommendation.basis.value,
                items=_items(shown),
                candidates=_candidates(decision, slate, estimate, catalogue),
            )
            for slate, shown in zip(decision.slates, recommendation.lists, strict=True)
        ]
    )


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


def _candidates(decision: Decision, slate: Slate, estimate: Estimate, catalogue: CompiledCatalogue) -> bytes:
    offer_ids, upgrades = catalogue.offer_ids, decision.verdicts.upgrades
    positions = slate.candidates
    priorities = estimate.probabilities[np.array(positions, dtype=np.intp)].astype(np.float32)
    return orjson.dumps(
        {
            "offer_id": [offer_ids[position] for position in positions],
            "change": [_UPGRADE if position in upgrades else _NEW for position in positions],
            "priority": priorities,
            "probability": [None] * len(positions) if estimate.target is None else priorities,
            "refused": [
                (offer_ids[position], _STAGES[rule], _RULES[rule])
                for position, rule in (*decision.refused, *slate.refused)
            ],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
