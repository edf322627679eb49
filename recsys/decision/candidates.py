"""The candidates of a list as the decision log keeps them, in the column ``candidates``."""

from __future__ import annotations

import numpy as np
import orjson
from numpy.typing import NDArray

from recsys.decision.arbitration import Estimate
from recsys.decision.decide import Slate
from recsys.decision.engagement import NumberArray
from recsys.decision.engine import Engine
from recsys.decision.proposals import CHANGES
from recsys.decision.rulebook import NO_RULE

_ONE = np.float32(1.0).tobytes()

Refused = tuple[str, str, list[str]]
"""A stage, a rule and the offers that it refused."""


def candidates_json(slate: Slate, estimate: Estimate, engine: Engine) -> bytes:
    """What could have been drawn, by descending priority, with its factors; and what was refused."""
    offer_ids, changes, at = engine.catalogue.offer_ids, slate.verdicts.changes, slate.candidates
    factors = np.array(slate.factors, dtype=np.float32).take(at, axis=1)
    probability, context, value, levers, priority = factors
    return orjson.dumps(
        {
            "offer_id": [offer_ids[position] for position in at.tolist()],
            "change": [CHANGES[change] for change in changes.take(at).tolist()],
            "priority": priority,
            "probability": [None] * len(at) if estimate.target is None else probability,
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


def _refused(numbers: NumberArray, engine: Engine) -> list[Refused]:
    """What each rule refused, in the order of the funnel; offers by position."""
    offer_ids, labels = engine.catalogue.offer_ids, engine.book.labels
    by_rule = numbers.argsort(kind="stable")
    refused: list[Refused] = []
    offers: list[str] = []
    last = -1
    for number, position in zip(numbers.take(by_rule).tolist(), by_rule.tolist(), strict=True):
        if number != last:
            if number == NO_RULE:  # the largest: the rest are candidates
                break
            last, offers = number, []
            stage, rule_id = labels[number]
            refused.append((stage, rule_id, offers))
        offers.append(offer_ids[position])
    return refused
