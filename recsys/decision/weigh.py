"""Before a list is drawn: which offers a client may be proposed, and with which priority."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import and_
from typing import NamedTuple

import numpy as np

from recsys.decision.arbitration import Arbitration, Estimate, Factors
from recsys.decision.availability import Restrictions
from recsys.decision.conditions.facts import Moment
from recsys.decision.constraints import BELOW_LEAST_PRIORITY
from recsys.decision.engagement import Engaged, Verdicts
from recsys.decision.engine import Engine
from recsys.decision.refusals import RefusalStage
from recsys.decision.situation import Situation, quantities_of
from recsys.models.base import IntArray

EXCLUDED_BY_REQUEST = "excluded_by_request"


class Look(NamedTuple):
    """A client, and the moment and place in which it would see a list."""

    situation: Situation
    moment: Moment


class Weighed(NamedTuple):
    """What is known of a look before a list is drawn.

    Attributes:
        verdicts: The verdict on every offer so far.
        factors: What each offer's priority is made of, by position.
        is_personal: Whether a context weight that reads the client's data counts.
        candidates: Positions of what no rule refuses, best first.
    """

    verdicts: Verdicts
    factors: Factors
    is_personal: bool
    candidates: IntArray


def weigh(
    verdicts: Verdicts, asked: bytes, estimate: Estimate, situation: Situation, engine: Engine
) -> Weighed:
    """Give every offer its priority in a list, candidate or not.

    Args:
        verdicts: The verdicts before the list is drawn; a weight may refuse more.
        asked: For each condition of a context weight whether it is true (not: unknown): 1 or 0.
        estimate: What a model says of the client.
        situation: The client.
        engine: The policy, compiled with the catalogue.
    """
    arbitration = engine.arbitration
    context = arbitration.context(asked)
    quantities = None
    if np.count_nonzero(verdicts.changes):
        quantities = quantities_of(situation.read_state, engine.catalogue)
    factors = arbitration.factors(estimate.probabilities, verdicts.changes, context, quantities)
    # A weight of −100 says never, and chance must not say otherwise.
    if len(context.never):
        verdicts.refuse(context.never, engine.book.number_of(BELOW_LEAST_PRIORITY))
    ranked = estimate.order.astype(np.int64)
    ranked = ranked[verdicts.is_candidate.take(ranked)]
    return Weighed(
        verdicts,
        factors,
        any(compress(engine.is_weight_personal, asked)),
        Arbitration.order(factors.priority, ranked),
    )


def engage(looks: Sequence[Look], engine: Engine) -> Engaged:
    """Apply engagement and the requests' own exclusions.

    Args:
        looks: The looks, ≥1; those of one client stand side by side.
        engine: The policy, compiled with the catalogue.
    """
    alike: dict[tuple[Restrictions, bool], list[int]] = {}
    for place, (situation, _) in enumerate(looks):
        kind = (situation.restrictions, situation.is_profiling_allowed)
        alike.setdefault(kind, []).append(place)
    if len(alike) == 1:
        engaged = _engage_alike(looks, engine)
    else:
        parts = [_engage_alike([looks[place] for place in places], engine) for places in alike.values()]
        places = np.argsort(np.concatenate([np.array(places) for places in alike.values()]))
        asked = [told for part in parts for told in part.asked]
        engaged = Engaged(
            np.concatenate([part.numbers for part in parts])[places],
            np.concatenate([part.changes for part in parts])[places],
            [asked[place] for place in places.tolist()],
        )
    for place, (situation, _) in enumerate(looks):
        if situation.excluded:
            positions = engine.catalogue.positions
            found = [positions[offer_id] for offer_id in situation.excluded if offer_id in positions]
            engaged[place].refuse(found, engine.book.number_of(EXCLUDED_BY_REQUEST))
    return engaged


def _engage_alike(looks: Sequence[Look], engine: Engine) -> Engaged:
    """Looks with one set of restrictions, of clients that all allow profiling, or all do not."""
    first = looks[0].situation
    moments = [moment for _, moment in looks]
    states = [situation.read_state for situation, _ in looks]
    engaged = engine.engagement.engage(states, moments, first.restrictions)
    if first.is_profiling_allowed:
        return engaged
    # What cannot be had stays refused, whatever it takes to know it.
    states = [situation.state for situation, _ in looks]
    full = engine.engagement.engage(states, moments, first.restrictions)
    is_hard = full.numbers < engine.book.end_of(RefusalStage.ELIGIBILITY)
    np.minimum(engaged.numbers, full.numbers, out=engaged.numbers, where=is_hard)
    # What is connected says what cannot be had, and must not say what comes first.
    allowed = [not is_personal for is_personal in engine.is_weight_personal]
    engaged.asked = [bytes(map(and_, told, allowed)) for told in engaged.asked]
    return engaged
