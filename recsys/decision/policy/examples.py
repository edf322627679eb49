"""Shape of ``examples.yaml``: clients, moments, and what the rules must decide for them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from recsys.config import RunConfig
from recsys.decision.conditions.vocabulary import FIELDS
from recsys.decision.policy.engagement import Identifier
from recsys.domain import Change, DismissalReason, Language, LegalForm, Size, Stage

_Days = Annotated[int, Field(ge=0, le=36_500)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]
_Probability = Annotated[float, Field(ge=0, le=1)]


class HeldExample(RunConfig):
    """A service the client has; a plain text is its id.

    Attributes:
        offer: The offer.
        days: Days since it was connected.
        quantity: Seats, SIMs, pieces.
        term_ends_in_days: Days until the term ends, where there is a term.
    """

    offer: str
    days: _Days = 200
    quantity: int = Field(default=1, ge=1)
    term_ends_in_days: _Days | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_id(cls, value: Any) -> Any:
        return {"offer": value} if isinstance(value, str) else value


class DismissedExample(RunConfig):
    """An offer that was put aside.

    Attributes:
        offer: The offer.
        reason: Why.
        days: Days since.
    """

    offer: str
    reason: DismissalReason = DismissalReason.NOT_NOW
    days: _Days = 1


class SeenExample(RunConfig):
    """An offer that was shown.

    Attributes:
        offer: The offer.
        times: How often.
        days: Days since.
        placement: Where; None = nowhere in particular.
        member: To whom; None = nobody in particular.
    """

    offer: str
    times: int = Field(default=1, ge=1, le=1000)
    days: _Days = 1
    placement: str | None = None
    member: str | None = None


class LeftExample(RunConfig):
    """An offer that was disconnected.

    Attributes:
        offer: The offer.
        days: Days since.
    """

    offer: str
    days: _Days = 200


class ClientExample(RunConfig):
    """A client; what is left out is unknown.

    Figures hold for each of the latest four months; ``complaints`` are days since each complaint.
    """

    legal_form: LegalForm = LegalForm.UNKNOWN
    size: Size = Size.UNKNOWN
    industry: str | None = None
    region: str | None = None
    stage: Stage | None = None
    n_employees: _Count | None = None
    revenue_minor: _Count | None = None
    tenure_days: _Days | None = None
    is_vip: bool = False
    loyalty_points: _Count = 0
    account_group: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    holds: tuple[HeldExample, ...] = ()
    left: tuple[LeftExample, ...] = ()
    dismissed: tuple[DismissedExample, ...] = ()
    seen: tuple[SeenExample, ...] = ()
    complaints: tuple[_Days, ...] = ()
    spend_minor: _Count | None = None
    n_sims_employees: _Count | None = None
    n_sims_field: _Count | None = None
    n_sims_devices: _Count | None = None
    voice_minutes: _Count | None = None
    data_megabytes: _Count | None = None
    n_sms: _Count | None = None
    overage_share: _Share | None = None
    roaming_share: _Share | None = None
    m2m_share: _Share | None = None
    overdue_days: _Count | None = None

    @field_validator("industry")
    @classmethod
    def _known_industry(cls, value: str | None) -> str | None:
        return None if value is None else str(FIELDS["industry"].read(value, "industry"))

    def but(self, other: ClientExample | None) -> ClientExample:
        """The same client, except for what the other one says.

        Example:
            >>> cafe = ClientExample(industry="I", region="MOW")
            >>> cafe.but(ClientExample(region="TA")).region
            'TA'
        """
        if other is None:
            return self
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class MomentExample(RunConfig):
    """When, where and to whom a list is shown; what is left out is that of the document.

    Attributes:
        at: The moment, with its offset.
        placement: Id of the placement.
        channel: Such as web or app.
        language: Language of the member who looks.
        role: Role of the member who looks: administrator, finance or employee.
        member: That member.
        spending_limit_minor: The most that the member may spend; None = no limit.
        used_up_caps: Ids of the volume caps that are used up.
    """

    at: AwareDatetime | None = None
    placement: str | None = None
    channel: str | None = None
    language: Language = Language.RU
    role: Literal["administrator", "finance", "employee"] | None = None
    member: str | None = None
    spending_limit_minor: _Count | None = None
    used_up_caps: tuple[str, ...] = ()


class Expectation(RunConfig):
    """What must be decided: an offer is a candidate, or is refused, or comes before another.

    Attributes:
        allowed: This offer must be a candidate.
        change: As this change; None = whichever.
        refused: This offer must be refused.
        by: By this rule; None = whichever.
        first: This offer must be a candidate and come before `before`.
        before: The other offer, a candidate too.
    """

    allowed: str | None = None
    change: Change | None = None
    refused: str | None = None
    by: str | None = None
    first: str | None = None
    before: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(name is not None for name in (self.allowed, self.refused, self.first)) != 1:
            raise ValueError("write exactly one of allowed, refused, first")
        if (self.first is None) != (self.before is None):
            raise ValueError("first and before go together; write both")
        if self.by is not None and self.refused is None:
            raise ValueError("by names the rule of refused; write refused too")
        if self.change is not None and self.allowed is None:
            raise ValueError("change belongs to allowed; write allowed too")
        return self

    @property
    def offer_ids(self) -> tuple[str, ...]:
        """The offers it speaks of."""
        return tuple(
            name for name in (self.allowed, self.refused, self.first, self.before) if name is not None
        )


class ExampleSpec(RunConfig):
    """One example.

    Attributes:
        id: Stable id.
        says: What it shows, in a sentence.
        client: Name of a client of the document.
        but: What is different about it here.
        moment: When, where, to whom.
        probabilities: Offer id → what the model is taken to say; every other offer has the same 0.05.
        expect: What must be decided.
    """

    id: Identifier
    says: str = ""
    client: str
    but: ClientExample | None = None
    moment: MomentExample = MomentExample()
    probabilities: dict[str, _Probability] = Field(default_factory=dict)
    expect: tuple[Expectation, ...] = Field(min_length=1)


class ExamplesFile(RunConfig):
    """The whole document.

    Attributes:
        at: Moment of the examples that name none, with its offset.
        placement: Placement of the examples that name none.
        clients: Clients by name.
        examples: The examples.
    """

    at: AwareDatetime
    placement: str = "home"
    clients: dict[Identifier, ClientExample] = Field(min_length=1)
    examples: tuple[ExampleSpec, ...] = Field(min_length=1)

    def client_of(self, example: ExampleSpec) -> ClientExample:
        """The client of an example, with what is different about it."""
        return self.clients[example.client].but(example.but)

    def moment_of(self, example: ExampleSpec) -> datetime:
        """When the example's list is shown."""
        return self.at if example.moment.at is None else example.moment.at
