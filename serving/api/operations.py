"""What people do with the service while it runs: publish policies, stop and resume offers."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field, field_validator

from recsys.decision.policy.policy import version_of
from recsys.errors import ConfigError, InvalidRequestError
from serving.api.failure_answers import failure_answers
from serving.api.questions import Id, Instant, Question
from serving.orders import PolicyVersion
from serving.services.policies import Publication, find_policy, publish_policy, withdraw_policy
from serving.services.promotion import Evidence, InForce, Judged, judge_evidence
from serving.services.services import Services
from serving.services.stops import StopOrder, order_stop
from serving.web.authentication import Right, key_id_of, needs
from serving.web.direct import GuardedRoute

_MAX_SENTENCE = 500
_MAX_DOCUMENTS = 10
_PLAIN = r"^[^\x00-\x1f\x7f]*$"

Author = Annotated[str, Depends(key_id_of)]
Sentence = Annotated[str, Field(max_length=_MAX_SENTENCE, pattern=_PLAIN)]
Document = Annotated[str, Field(max_length=1_000_000, pattern=r"^[^\x00]*$")]
OfferPath = Annotated[Id, Path(description="the offer")]
Moment = Annotated[Instant | None, Field(description="in force from here on; left out = at once")]


class StopQuestion(Question):
    """Why an offer is stopped or resumed, and from when on."""

    reason: Annotated[str, Field(min_length=1, max_length=_MAX_SENTENCE, pattern=_PLAIN)]
    effective_at: Moment = None


class StopAnswer(BaseModel):
    """What was said of an offer."""

    offer_id: str
    is_stopped: bool
    reason: str
    author: str = Field(description="key_id, or `command line`")
    effective_at: datetime
    recorded_at: datetime
    warnings: list[str] = Field(description="what the order does not bring about, one sentence for each")


class OffPolicyQuestion(Question):
    """What an off-policy evaluation says of a policy."""

    figures: dict[str, Any] = Field(description="`metrics.json` of a run of `recsys-train offpolicy` on it")
    max_loss: float = Field(
        0.0,
        strict=True,
        ge=0,
        allow_inf_nan=False,
        description="what may be lost per decision, in the run's unit",
    )
    override: Sentence = Field("", description="why it is published although the run speaks against it")

    @field_validator("figures")
    @classmethod
    def _is_writable(cls, figures: dict[str, Any]) -> dict[str, Any]:
        try:
            orjson.dumps(figures)
        except TypeError as error:
            raise ValueError("holds what no run writes; send metrics.json as it is") from error
        return figures


class PolicyQuestion(Question):
    """A policy to publish."""

    documents: dict[Id, Document] = Field(
        min_length=1,
        max_length=_MAX_DOCUMENTS,
        description="texts by file name: engagement.yaml, contact.yaml, arbitration.yaml, placements.yaml,"
        " vip.yaml, examples.yaml; what is left out has its defaults",
        examples=[{"placements.yaml": "placements: [{id: home, k: 5}]\n"}],
        json_schema_extra={"additionalProperties": False},
    )
    effective_at: Moment = None
    note: Sentence = Field("", description="what is new, for people")
    off_policy: OffPolicyQuestion | None = Field(
        None, description="left out = the note says that the policy was not evaluated"
    )


class WithdrawalQuestion(Question):
    """Why a policy is called off."""

    note: Sentence = Field("", description="why, for people")


class PolicyAnswer(BaseModel):
    """A published policy, or a withdrawal of one."""

    version: str
    effective_at: datetime
    recorded_at: datetime
    author: str = Field(description="key_id, or `command line`")
    note: str
    documents: list[str] = Field(description="file names")
    is_withdrawal: bool = Field(description="true = what was announced of this version is called off")


class PublishedAnswer(PolicyAnswer):
    """A policy that was published now."""

    warnings: list[str] = Field(description="what should be looked at: file, line, what, one line for each")


class WithdrawnAnswer(BaseModel):
    """What was called off, by moment."""

    withdrawn: list[PolicyAnswer]


class PolicyTextsAnswer(BaseModel):
    """A published policy with its texts."""

    version: str
    effective_at: datetime
    recorded_at: datetime
    author: str
    note: str
    documents: dict[str, str] = Field(description="texts by file name")


class PoliciesAnswer(BaseModel):
    """Everything that was published or withdrawn, in the order of taking effect."""

    in_force: str | None = Field(description="version; null = nothing was published yet")
    policies: list[PolicyAnswer]


def operations_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1", tags=["operations"], route_class=GuardedRoute)
    _add_stops(router, services)
    _add_policies(router, services)
    return router


def _add_stops(router: APIRouter, services: Services) -> None:
    may_stop = [Depends(needs(Right.STOP_OFFERS))]
    failures = failure_answers(400, 403, 404, 409, 413, 422, 503)

    def order(offer_id: str, body: StopQuestion, author: str, *, is_stopped: bool) -> StopAnswer:
        wanted = StopOrder(offer_id, is_stopped, body.reason, author, _utc(body.effective_at))
        said, warnings = order_stop(services.store, wanted, services.clock.now())
        return StopAnswer(**asdict(said), warnings=list(warnings))

    @router.post("/offers/{offer_id}/stop", dependencies=may_stop, responses=failures)
    def stop_offer(offer_id: OfferPath, body: StopQuestion, author: Author) -> StopAnswer:
        """Take an offer off; in force in every worker within a second."""
        return order(offer_id, body, author, is_stopped=True)

    @router.post("/offers/{offer_id}/resume", dependencies=may_stop, responses=failures)
    def resume_offer(offer_id: OfferPath, body: StopQuestion, author: Author) -> StopAnswer:
        """Put a stopped offer back; stops of it that are announced for later are called off."""
        return order(offer_id, body, author, is_stopped=False)


def _add_policies(router: APIRouter, services: Services) -> None:
    reads, writes = [Depends(needs(Right.READ_POLICIES))], [Depends(needs(Right.PUBLISH_POLICIES))]

    @router.get("/policies", dependencies=reads, responses=failure_answers(403, 503))
    def list_policies() -> PoliciesAnswer:
        """Everything that was published, and which of it is in force."""
        in_force = services.store.policy_in_force(services.clock.now())
        return PoliciesAnswer(
            in_force=None if in_force is None else in_force.version,
            policies=[_policy_answer(each) for each in services.store.policies()],
        )

    @router.get("/policies/{version}", dependencies=reads, responses=failure_answers(403, 404, 503))
    def show_policy(version: Annotated[Id, Path(description="or its first digits")]) -> PolicyTextsAnswer:
        """A published policy with its texts."""
        found = find_policy(services.store, version, services.clock.now())
        return PolicyTextsAnswer.model_validate(found, from_attributes=True)

    @router.post("/policies", dependencies=writes, responses=failure_answers(400, 403, 409, 413, 422, 503))
    def store_policy(body: PolicyQuestion, author: Author) -> PublishedAnswer:
        """Publish a policy; one with faults is 422, names each in `details.faults`, and changes nothing.

        One that earns less than the live one by `off_policy` is 409 unless `off_policy.override` says why.
        """
        now = services.clock.now()
        judged, doubts = _judged(services, body, author, now)
        note = " · ".join(text for text in (body.note, judged) if text)
        publication = Publication(author, note, _utc(body.effective_at))
        published, warnings = publish_policy(services.store, body.documents, publication, now)
        return PublishedAnswer(**_policy_answer(published).model_dump(), warnings=[*doubts, *warnings])

    @router.post(
        "/policies/{version}/withdraw",
        dependencies=writes,
        responses=failure_answers(400, 403, 404, 409, 413, 422, 503),
    )
    def withdraw(
        version: Annotated[Id, Path(description="or its first digits")],
        body: WithdrawalQuestion,
        author: Author,
    ) -> WithdrawnAnswer:
        """Call off a policy that is announced for later; what would be in force without it stays so."""
        found = withdraw_policy(services.store, version, author, services.clock.now(), body.note)
        return WithdrawnAnswer(withdrawn=[_policy_answer(each) for each in found])


def _judged(services: Services, body: PolicyQuestion, author: str, now: datetime) -> Judged:
    """What an off-policy run says of documents, for the note and as warnings."""
    told = body.off_policy
    if told is None:
        return judge_evidence(None, version_of(body.documents), author)
    figures = orjson.dumps(told.figures)
    evidence = Evidence(figures, "off_policy.figures", told.max_loss, told.override)
    in_force = InForce(services.store.policy_in_force(now), services.scoring.world.bundle_version)
    try:
        return judge_evidence(evidence, version_of(body.documents), author, in_force)
    except ConfigError as error:
        raise InvalidRequestError("off_policy", str(error)) from error


def _policy_answer(policy: PolicyVersion) -> PolicyAnswer:
    return PolicyAnswer(
        version=policy.version,
        effective_at=policy.effective_at,
        recorded_at=policy.recorded_at,
        author=policy.author,
        note=policy.note,
        documents=list(policy.documents),
        is_withdrawal=policy.is_withdrawal,
    )


def _utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)
