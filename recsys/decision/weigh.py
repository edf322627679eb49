"""Before a list is drawn: which offers a client may be proposed, and with which priority.

Everything here is done for many clients at once: what arrays do for one costs hardly less than for ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsys.decision.arbitration import Arbitration, Estimate, Factors
from recsys.decision.availability import Restrictions
from recsys.decision.conditions.facts import Moment
from recsys.decision.constraints import BELOW_LEAST_PRIORITY
from recsys.decision.engagement import Engaged, Verdicts
from recsys.decision.engine import Engine
from recsys.decision.refusals import RefusalStage
from recsys.decision.rulebook import NO_RULE
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
    engaged: Engaged, estimates: Sequence[Estimate], situations: Sequence[Situation], engine: Engine
) -> list[Weighed]:
    """Give every offer its priority in each list, candidate or not.

    Args:
        engaged: The verdicts before the lists are drawn, list by list, ≥1; a weight may refuse more.
        estimates: What a model says of the client of each.
        situations: The client of each.
        engine: The policy, compiled with the catalogue.
    """
    numbers, catalogue = engaged.numbers, engine.catalogue
    factors = engine.arbitration.factors(
        np.array([estimate.probabilities for estimate in estimates]),
        engaged.changes,
        engaged.asked,
        [quantities_of(situation.read_state, catalogue) for situation in situations],
    )
    # A weight of −100 says never, and chance must not say otherwise.
    if not factors.context.all():
        never = np.int16(engine.book.number_of(BELOW_LEAST_PRIORITY))
        np.minimum(numbers, never, out=numbers, where=factors.context == 0.0)
    is_candidate = numbers == NO_RULE
    # What is refused comes last, and is cut off there.
    orders = Arbitration.orders(
        np.where(is_candidate, factors.priority, -np.inf),
        np.array([estimate.order for estimate in estimates], dtype=np.int64),
    )
    rows = zip(
        map(Verdicts, numbers, engaged.changes),
        map(Factors, *factors),
        (engaged.asked @ engine.is_weight_personal).tolist(),
        orders,
        is_candidate.sum(axis=1).tolist(),
        strict=True,
    )
    return [
        Weighed(verdicts, of_list, is_personal, order[:n_candidates])
        for verdicts, of_list, is_personal, order, n_candidates in rows
    ]


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
        numbers, changes, asked = (
            np.concatenate(found)[places]
            for found in zip(*[(part.numbers, part.changes, part.asked) for part in parts], strict=True)
        )
        engaged = Engaged(numbers, changes, asked)
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
    engaged.asked = engaged.asked & ~engine.is_weight_personal
    return engaged
