"""Why these offers and not those; may this client have that offer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from recsys.decision.account import Account, Suppressed
from recsys.decision.cures import Cure
from recsys.decision.refusals import RefusalStage
from recsys.domain import Change, ClientId, Language
from serving.api.answers import PriceAnswer, ReasonAnswer, VersionsAnswer
from serving.api.failure_answers import failure_answers
from serving.api.questions import ContextQuestion, Id, Instant, Question, RecommendationsQuestion
from serving.services.explanation import (
    Eligibility,
    EligibilityQuery,
    ExplainedArm,
    Explanation,
    check_eligibility,
    explain,
)
from serving.services.recommendation import Item, Query, RecommendedList
from serving.services.services import Services
from serving.web.authentication import Right, needs
from serving.web.direct import GuardedRoute

_MAX_OFFERS = 100


class EligibilityQuestion(Question):
    """May this client have these offers?"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"client_id": "c-000123", "offer_ids": ["call-recording"], "language": "en"}]
        }
    )

    client_id: Id
    member_id: Id | None = None
    offer_ids: tuple[Id, ...] = Field(min_length=1, max_length=_MAX_OFFERS)
    at: Annotated[Instant | None, Field(description="when it is to be connected; left out = now")] = None
    language: Language = Language.RU
    context: ContextQuestion = ContextQuestion()

    def to_query(self) -> EligibilityQuery:
        """The use case's query."""
        query = Query(
            client_id=ClientId(self.client_id),
            lists=(),
            member_id=self.member_id,
            role=self.context.role,
            spending_limit_minor=self.context.spending_limit_minor,
            language=self.language,
        )
        return EligibilityQuery(query, self.offer_ids, None if self.at is None else self.at.astimezone(UTC))


class CureAnswer(BaseModel):
    """The one step that would help."""

    code: str = Field(
        description="connect_first, wait_until, offered_again, raise_limit, tell_fact, or rule: own words"
    )
    text: str
    offer_ids: list[str] = Field(description="what to connect first; the first is the cheapest")
    from_at: datetime | None = Field(description="from when on the offer can be had, or is offered again")


class SuppressedAnswer(BaseModel):
    """An offer that is not shown, or may not be had, and the first rule that says so."""

    offer_id: str
    title: str
    change: Change
    stage: RefusalStage
    rule: str = Field(description="id of the rule: the policy's, or a built-in one")
    code: str = Field(description="kind of rule")
    text: str
    cure: CureAnswer | None


ProbabilityOf = Literal["adoption", "acceptance", "stated_prior", "order_only", "not_counted"]


class ShownAnswer(BaseModel):
    """An offer that is shown, with all that its place is made of: priority = P × C × V × L."""

    offer_id: str
    title: str
    change: Change
    rank: int
    probability: float = Field(description="P, 0–1; see probability_of")
    probability_of: ProbabilityOf = Field(
        description="of what P is the models' probability; stated_prior: the policy's own number for this"
        " change; order_only: a share of holders, which orders and is no probability; not_counted: P is 1"
    )
    context: float = Field(description="C, ≥0")
    value: float = Field(description="V: expected margin ÷ the catalogue's median, capped")
    levers: float = Field(description="L, 0.5–2")
    priority: float
    context_weights: list[str] = Field(description="ids of the context weights that count now")
    logging_probability: float = Field(description="P(this offer at this rank | the ranks above), 0–1")
    is_pinned: bool = Field(description="the placement keeps this place for the offer")
    reasons: list[ReasonAnswer]


class StageAnswer(BaseModel):
    """How many offers a stage of the funnel leaves."""

    stage: RefusalStage
    n_left: int


class ListExplanation(BaseModel):
    """The account of one list."""

    placement_id: str
    n_offers: int = Field(description="in the catalogue")
    funnel: list[StageAnswer]
    shown: list[ShownAnswer]
    suppressed: list[SuppressedAnswer]


class ArmAnswer(BaseModel):
    """An experiment that the client is in, and the arm that decided."""

    experiment_id: str = Field(description="holdout: the hold-out, whose arms are held_out and treated")
    arm: str
    unit_id: str = Field(description="what was assigned: the account group, or the client")
    is_forced: bool = Field(description="put there by hand, for a test")
    is_different: bool = Field(description="another arm would show another list now")
    triggered_at: datetime | None = Field(description="when the lists first differed in a logged decision")
    lacking: str | None = Field(
        description="what the arm asks for and cannot be had: what is in force decided"
    )


class ExplanationsAnswer(BaseModel):
    """What the client would be shown now, and why; nothing of it is logged."""

    client_id: str
    client_known: bool
    personalised: bool
    held_out: bool
    degraded: str | None
    versions: VersionsAnswer
    assignments: list[ArmAnswer] = Field(description="the hold-out first, then in the order of their start")
    placements: list[ListExplanation]


class EligibilityAnswer(BaseModel):
    """Whether the client may have the offer."""

    offer_id: str
    title: str
    is_eligible: bool
    change: Change
    price: PriceAnswer | None = Field(description="for this client; null where no price is known")
    refused_by: SuppressedAnswer | None = Field(description="why not, and what would help")
    is_proposed: bool = Field(description="whether the policy would propose it by itself")


class EligibilitiesAnswer(BaseModel):
    """One answer for each offer, in the order of the question."""

    client_id: str
    offers: list[EligibilityAnswer]


def explanations_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1", tags=["decisions"], route_class=GuardedRoute)
    failures = failure_answers(400, 403, 404, 413, 422, 503)

    @router.post("/explanations", dependencies=[Depends(needs(Right.READ_POLICIES))], responses=failures)
    async def explain_offers(body: RecommendationsQuestion) -> ExplanationsAnswer:
        """Decide as `/v1/recommendations` would, log nothing, and account for every offer.

        How many offers each stage left, what every place is made of, which rule keeps every other offer
        out, and the one step that would help where there is one. For staff: it tells what the policy says.
        """
        return explanations_answer(await explain(services, body.to_query()))

    @router.post("/eligibility", dependencies=[Depends(needs(Right.READ))], responses=failures)
    async def check_offers(body: EligibilityQuestion) -> EligibilitiesAnswer:
        """Whether a client may connect offers, now or at a chosen time, and why not.

        Availability and eligibility decide, and every text may be shown to the client. `is_proposed` says
        whether the policy would propose it by itself; caps on contacts have no say, for the client asks.
        """
        found = await check_eligibility(services, body.to_query())
        currency = services.scoring.world.currency
        return EligibilitiesAnswer(
            client_id=body.client_id, offers=[_eligibility_answer(one, currency) for one in found]
        )

    return router


def explanations_answer(explanation: Explanation) -> ExplanationsAnswer:
    """An explanation as an answer."""
    given = explanation.recommendation
    lists = zip(given.lists, explanation.accounts, strict=True)
    return ExplanationsAnswer(
        client_id=given.client_id,
        client_known=given.is_client_known,
        personalised=given.is_personalised,
        held_out=given.is_held_out,
        degraded=given.degraded,
        versions=VersionsAnswer.model_validate(given.versions, from_attributes=True),
        assignments=[_arm_answer(arm) for arm in explanation.arms],
        placements=[_list_answer(shown, account, explanation) for shown, account in lists],
    )


def _arm_answer(explained: ExplainedArm) -> ArmAnswer:
    enrolment = explained.enrolment
    return ArmAnswer(
        experiment_id=enrolment.experiment_id,
        arm=enrolment.arm,
        unit_id=enrolment.unit_id,
        is_forced=enrolment.is_forced,
        is_different=explained.is_different,
        triggered_at=None if enrolment.kept is None else enrolment.kept.triggered_at,
        lacking=enrolment.fault,
    )


def _list_answer(shown: RecommendedList, account: Account, explanation: Explanation) -> ListExplanation:
    positions = explanation.world.catalogue.positions
    return ListExplanation(
        placement_id=shown.placement_id,
        n_offers=account.n_offers,
        funnel=[StageAnswer(stage=stage, n_left=n_left) for stage, n_left in account.funnel.items()],
        shown=[
            _shown_answer(
                item, account, positions[item.offer.offer_id], _probability_of(item.change, explanation)
            )
            for item in shown.items
        ],
        suppressed=[_suppressed_answer(one) for one in account.suppressed],
    )


def _probability_of(change: Change, explanation: Explanation) -> ProbabilityOf:
    if not explanation.world.engine.policy.arbitration.factors.probability:
        return "not_counted"
    if change in (Change.RENEW, Change.EXPAND, Change.RETAIN):
        return "stated_prior"
    target = explanation.recommendation.target
    return "order_only" if target is None else target.value


def _shown_answer(item: Item, account: Account, position: int, probability_of: ProbabilityOf) -> ShownAnswer:
    weights = account.weights[position]
    return ShownAnswer(
        offer_id=item.offer.offer_id,
        title=item.offer.title,
        change=item.change,
        rank=item.rank,
        probability=weights.probability,
        probability_of=probability_of,
        context=weights.context,
        value=weights.value,
        levers=weights.levers,
        priority=weights.priority,
        context_weights=list(weights.context_weights),
        logging_probability=item.logging_probability,
        is_pinned=position in account.pinned,
        reasons=[ReasonAnswer(code=reason.code, text=reason.text) for reason in item.reasons],
    )


def _suppressed_answer(one: Suppressed) -> SuppressedAnswer:
    return SuppressedAnswer(
        offer_id=one.offer_id,
        title=one.title,
        change=one.change,
        stage=one.rule.stage,
        rule=one.rule.rule_id,
        code=one.rule.code,
        text=one.text,
        cure=None if one.cure is None else _cure_answer(one.cure),
    )


def _cure_answer(cure: Cure) -> CureAnswer:
    return CureAnswer(code=cure.code, text=cure.text, offer_ids=list(cure.offer_ids), from_at=cure.from_at)


def _eligibility_answer(found: Eligibility, currency: str | None) -> EligibilityAnswer:
    price = found.price
    return EligibilityAnswer(
        offer_id=found.offer_id,
        title=found.title,
        is_eligible=found.refusal is None,
        change=found.change,
        price=None
        if price is None
        else PriceAnswer(amount_minor=price.amount_minor, currency=currency, period=price.period),
        refused_by=None if found.refusal is None else _suppressed_answer(found.refusal),
        is_proposed=found.is_proposed,
    )
