"""Shape of ``arbitration.yaml``: which candidate comes first, and how much of it is said."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from recsys.config import RunConfig
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.engagement import Identifier
from recsys.decision.policy.scope import OfferScope
from recsys.models.chance import MIN_COHORT

LeverWeight = Annotated[float, Field(ge=-100, le=100)]


class FactorSwitches(RunConfig):
    """Which factors count; a factor that is switched off is 1 for every candidate."""

    probability: bool = True
    context: bool = True
    value: bool = True
    levers: bool = True


class ValueSpec(RunConfig):
    """V = expected margin a month ÷ the catalogue's median, capped.

    Attributes:
        cap: Largest V, ≥1.
        share_in_need_groups: Whether offers of one need group all have the mean margin that the catalogue
            states for the group, so that commission never orders competitors.
    """

    cap: float = Field(default=5.0, ge=1)
    share_in_need_groups: bool = True

    @model_validator(mode="before")
    @classmethod
    def _refuse_the_horizon(cls, value: Any) -> Any:
        if isinstance(value, dict) and "horizon_months" in value:
            raise ValueError("margins are a month's and V is a ratio of two: remove horizon_months")
        return value


class ContextWeight(RunConfig):
    """Offers of a scope weigh more, or less, when a condition holds: C = max(0, 1 + Σ weights/100).

    Attributes:
        id: Stable id.
        when: The condition; unknown = the weight does not count.
        offers: Which offers.
        weight: In percent, −100…+300.
    """

    id: Identifier
    when: Condition
    offers: OfferScope = OfferScope()
    weight: float = Field(ge=-100, le=300)


class LeverWeights(RunConfig):
    """What the operator boosts or damps: L = clip(1 + (category + group + offer)/100, 0.5, 2).

    Attributes:
        categories: Category → weight in percent.
        need_groups: Need group → weight in percent.
        offers: Offer id → weight in percent.
    """

    categories: dict[str, LeverWeight] = Field(default_factory=dict)
    need_groups: dict[str, LeverWeight] = Field(default_factory=dict)
    offers: dict[str, LeverWeight] = Field(default_factory=dict)


class ChangeProbabilities(RunConfig):
    """Probability of a change for which the model has no estimate: a stated prior."""

    renew: float = Field(default=0.3, ge=0, le=1)
    expand: float = Field(default=0.05, ge=0, le=1)
    retain: float = Field(default=0.1, ge=0, le=1)


class ReasonsSpec(RunConfig):
    """How much is said of why an offer is shown.

    Attributes:
        at_most: Most reasons shown with one offer, 0–5.
        min_cohort: Smallest number of companies that a reason may speak of.
    """

    at_most: int = Field(default=3, ge=0, le=5)
    min_cohort: int = Field(default=MIN_COHORT, ge=MIN_COHORT)


class ArbitrationSpec(RunConfig):
    """The whole document.

    Attributes:
        factors: Which factors count.
        value: How the value of an offer is reckoned.
        context_weights: What weighs more or less when.
        levers: What the operator boosts or damps.
        change_probabilities: Priors of changes without an estimate.
        window_hours: Within a window of so many hours a list is not drawn anew, 1–168.
        reasons: How much is said of why.
    """

    factors: FactorSwitches = FactorSwitches()
    value: ValueSpec = ValueSpec()
    context_weights: tuple[ContextWeight, ...] = ()
    levers: LeverWeights = LeverWeights()
    change_probabilities: ChangeProbabilities = ChangeProbabilities()
    window_hours: int = Field(default=24, ge=1, le=168)
    reasons: ReasonsSpec = ReasonsSpec()
