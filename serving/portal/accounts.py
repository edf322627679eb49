"""Why a list is what it is: the funnel, what every place is made of, and what is not shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from recsys.decision.account import Account, Suppressed, Weights
from recsys.decision.conditions.facts import Moment
from recsys.decision.contact import COMPLAINT_OPEN
from recsys.decision.refusals import Refusal, RefusalStage
from recsys.decision.whynot import WhyNot
from recsys.domain import ClientState, Language, OfferKind
from serving.services.explanation import Explanation
from serving.services.recommendation import RecommendedList
from serving.services.world import World

_STAGES = tuple(RefusalStage)
_MOST_SILENCES = 3


class StageLeft(BaseModel):
    """How many offers a stage of the funnel leaves."""

    stage: RefusalStage
    n_left: int


class PlaceMade(BaseModel):
    """What the place of a shown offer is made of: priority = P × C × V × L."""

    probability: float
    context: float
    value: float
    levers: float
    priority: float


class NotShown(BaseModel):
    """An offer that a rule keeps from the list, in words, and the one step that would help."""

    offer_id: str
    title: str
    stage: RefusalStage
    text: str
    cure: str | None


class ListAccount(BaseModel):
    """The account of one list; `made_of` is by offer id."""

    n_offers: int
    funnel: list[StageLeft]
    n_shown: int
    made_of: dict[str, PlaceMade]
    not_shown: list[NotShown]


class Silence(BaseModel):
    """Why an empty list is empty: a reason, and how many of the offers that came furthest it refuses."""

    text: str
    n_offers: int


def list_account(explanation: Explanation, placement_id: str) -> ListAccount:
    """The account of one list of an explanation."""
    positions = explanation.world.catalogue.positions
    lists = zip(explanation.recommendation.lists, explanation.accounts, strict=True)
    shown, account = next(pair for pair in lists if pair[0].placement_id == placement_id)
    return ListAccount(
        n_offers=account.n_offers,
        funnel=[StageLeft(stage=stage, n_left=n_left) for stage, n_left in account.funnel.items()],
        n_shown=len(shown.items),
        made_of={
            item.offer.offer_id: _place_made(account, positions[item.offer.offer_id]) for item in shown.items
        },
        not_shown=[_not_shown(one) for one in account.suppressed],
    )


def _place_made(account: Account, position: int) -> PlaceMade:
    weights: Weights = account.weights[position]
    return PlaceMade(
        probability=weights.probability,
        context=weights.context,
        value=weights.value,
        levers=weights.levers,
        priority=weights.priority,
    )


def _not_shown(one: Suppressed) -> NotShown:
    return NotShown(
        offer_id=one.offer_id,
        title=one.title,
        stage=one.rule.stage,
        text=one.text,
        cure=None if one.cure is None else one.cure.text,
    )


def silences(
    shown: RecommendedList, world: World, state: ClientState, moment: Moment, language: Language
) -> list[Silence]:
    """Why a list is empty, the strongest reason first; nothing for a list that is not.

    Only offers of the kinds that the list shows count, and of these only the ones that came furthest through
    the funnel: what refuses them is what emptied the list.
    """
    if shown.items:
        return []
    kinds = world.engine.placements[shown.placement_id].kinds
    positions, offers = world.catalogue.positions, world.catalogue.offers
    furthest = _furthest(
        [one for one in shown.refusals if _is_of(offers[positions[one.offer_id]].kind, kinds)]
    )
    why_not = WhyNot(world.catalogue, world.engine.policy.engagement.segments, language, world.currency)
    n_by_text = Counter(why_not.text(one.rule, positions[one.offer_id], state, moment) for one in furthest)
    return [Silence(text=text, n_offers=n) for text, n in n_by_text.most_common(_MOST_SILENCES)]


def complaint_until(world: World, state: ClientState, now: datetime) -> datetime | None:
    """Until when an open complaint keeps the lists silent; None where none does."""
    refusals = world.engine.contact.refusals(state, now).everywhere
    return next((one.until for one in refusals if one.rule_id == COMPLAINT_OPEN), None)


def _is_of(kind: OfferKind, kinds: Sequence[OfferKind]) -> bool:
    return not kinds or kind in kinds


def _furthest(refusals: Sequence[Refusal]) -> list[Refusal]:
    reached = max((_STAGES.index(one.stage) for one in refusals), default=0)
    return [one for one in refusals if _STAGES.index(one.stage) == reached]
