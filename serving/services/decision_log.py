"""The rows of the decision log: enough to audit a decision, replay it and learn from it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import orjson
from numpy.typing import NDArray

from recsys.decision.arbitration import Estimate
from recsys.decision.decide import Decision, Slate
from recsys.decision.engagement import NumberArray
from recsys.decision.engine import Engine
from recsys.decision.proposals import CHANGES
from recsys.decision.rulebook import NO_RULE
from recsys.decision.situation import Situation
from serving.ports import LoggedDecision
from serving.services.recommendation import Query, Recommendation, RecommendedList

# Plain texts: an enum's value is looked up anew each time it is written.
_CHANGES = tuple(change.value for change in CHANGES)
_ONE = np.float32(1.0).tobytes()
# The two halves of ``[offer_id, stage, rule]`` as JSON: of each offer and of each rule.
_WRITTEN: WeakKeyDictionary[Engine, tuple[list[str], list[str]]] = WeakKeyDictionary()


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
                item.change.value,
                item.logging_probability,
                [reason.code for reason in item.reasons],
            ]
            for item in shown.items
        ]
    )


def _candidates(slate: Slate, estimate: Estimate, engine: Engine) -> bytes:
    """What could have been drawn, by descending priority, with its factors; and what was refused."""
    offer_ids, changes = engine.catalogue.offer_ids, slate.verdicts.changes
    at, positions = slate.candidates, slate.candidates.tolist()
    probability, context, value, levers, priority = [
        factor.take(at).astype(np.float32) for factor in slate.factors
    ]
    return orjson.dumps(
        {
            "offer_id": [offer_ids[position] for position in positions],
            "change": [_CHANGES[change] for change in changes.take(at).tolist()],
            "priority": priority,
            "probability": [None] * len(positions) if estimate.target is None else probability,
            **_told("context", context),
            **_told("value", value),
            **_told("levers", levers),
            "refused": _refused(slate.verdicts.numbers, engine),
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _told(name: str, factor: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """A factor under its name, unless it is 1 for every candidate."""
    # Bytes are compared several times faster than so few numbers.
    return {name: factor} if factor.tobytes() != _ONE * len(factor) else {}


def _refused(numbers: NumberArray, engine: Engine) -> orjson.Fragment:
    """What was refused, by position, as JSON."""
    written = _WRITTEN.get(engine)
    if written is None:
        written = _WRITTEN[engine] = _halves(engine)
    offers, rules = written
    found = [
        offer + rules[number]
        for offer, number in zip(offers, numbers.tolist(), strict=True)
        if number != NO_RULE
    ]
    return orjson.Fragment(f"[{','.join(found)}]")


def _halves(engine: Engine) -> tuple[list[str], list[str]]:
    return (
        [orjson.dumps([offer_id])[:-1].decode() for offer_id in engine.catalogue.offer_ids],
        [f",{orjson.dumps(label)[1:].decode()}" for label in engine.book.labels],
    )
