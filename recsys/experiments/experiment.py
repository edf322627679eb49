"""The document of an experiment: what is compared, on whom, and how it will be judged."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator

from recsys.config import RunConfig
from recsys.data.documents import YamlDocument
from recsys.decision.conditions.syntax import Condition
from recsys.decision.policy.engagement import Identifier
from recsys.decision.policy.scope import OfferScope
from recsys.decision.policy.wording import Wording
from recsys.experiments.fields import Id, Instant, Line, Paragraph, Salt, repeated

HOLDOUT_ID = "holdout"
"""Stands for an experiment's id in rows about the hold-out."""

_TOLERANCE = 1e-9
_MAX_ARMS = 20
_MAX_METRICS = 50


class Unit(StrEnum):
    """What is assigned to an arm as a whole."""

    GROUP = "group"  # the account group where there is one, else the client
    CLIENT = "client"


class Method(StrEnum):
    """When an experiment may be judged."""

    FIXED = "fixed"  # once, at its planned end
    SEQUENTIAL = "sequential"  # at any time
    GROUP_SEQUENTIAL = "group_sequential"  # at so many planned looks


class Spending(StrEnum):
    """How the planned looks share the level: see `group_sequential.spent`."""

    OBRIEN_FLEMING = "obrien_fleming"
    POCOCK = "pocock"
    LINEAR = "linear"
    QUADRATIC = "quadratic"
    CUBIC = "cubic"


class MetricKind(StrEnum):
    """What is averaged over clients."""

    PROPORTION = "proportion"  # whether there was any
    MEAN = "mean"
    RATIO = "ratio"  # Σ measure ÷ Σ per


class Measure(StrEnum):
    """What is counted or summed for a client within the window."""

    ACTIVATIONS = "activations"
    MARGIN = "margin"  # minor units, of what was newly connected, over the horizon
    SPEND = "spend"  # minor units a month, over the whole months of the window
    CLICKS = "clicks"
    DISMISSALS = "dismissals"
    COMPLAINTS = "complaints"
    DISCONNECTIONS = "disconnections"
    DECISIONS = "decisions"
    IMPRESSIONS = "impressions"


class Stratum(StrEnum):
    """By what clients are told apart for balance and post-stratification."""

    SIZE = "size"
    STAGE = "stage"
    SPEND = "spend"


class Status(StrEnum):
    """Where an experiment stands; there is no way back."""

    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"
    DECIDED = "decided"


_AMOUNTS = (Measure.MARGIN, Measure.SPEND)
_OF_NO_OFFER = (Measure.SPEND, Measure.DECISIONS)
_HARMS = (Measure.DISMISSALS, Measure.COMPLAINTS, Measure.DISCONNECTIONS)


class Metric(RunConfig):
    """One number by which arms are compared.

    Attributes:
        name: Its name, once in an experiment.
        measure: What is counted or summed for each client.
        kind: What is averaged.
        per: Denominator of a ratio.
        is_attributed: Whether only what names a decision counts; else any channel.
        offers: What it is about.
        winsorised_at: Values above this quantile count as the quantile, 0.5–1; None = as they are.
        covariate: The same clients' value before the trigger that takes variance away (CUPED).
        higher_is_better: Which way is good; left out: down for dismissals, complaints and disconnections, up
            for everything else.
    """

    name: Identifier
    measure: Measure
    kind: MetricKind = Field(default=MetricKind.PROPORTION, validate_default=True)
    per: Measure | None = Field(default=None, validate_default=True)
    is_attributed: bool = Field(default=False, strict=True)
    offers: OfferScope = OfferScope()
    winsorised_at: float | None = Field(default=None, gt=0.5, lt=1)
    covariate: Measure | None = None
    higher_is_better: bool = Field(default=None, validate_default=True, strict=True)

    @field_validator("higher_is_better", mode="before")
    @classmethod
    def _known_by_measure(cls, told: object, info: ValidationInfo) -> object:
        return info.data.get("measure") not in _HARMS if told is None else told

    @field_validator("kind")
    @classmethod
    def _counted(cls, kind: MetricKind, info: ValidationInfo) -> MetricKind:
        if kind is MetricKind.PROPORTION and info.data.get("measure") in _AMOUNTS:
            raise ValueError(f"{info.data['measure'].value} is an amount of money; write kind: mean")
        return kind

    @field_validator("per")
    @classmethod
    def _has_denominator(cls, per: Measure | None, info: ValidationInfo) -> Measure | None:
        if "kind" in info.data and (per is not None) != (info.data["kind"] is MetricKind.RATIO):
            raise ValueError("a ratio, and nothing else, has a denominator; write kind: ratio with its per")
        return per

    @field_validator("is_attributed", "offers")
    @classmethod
    def _of_offers(cls, value: Any, info: ValidationInfo) -> Any:
        if value not in (False, OfferScope()) and info.data.get("measure") in _OF_NO_OFFER:
            measure = info.data["measure"].value
            raise ValueError(f"{measure} is not told apart by offers; remove {info.field_name}")
        return value

    @field_serializer("offers")
    def _written(self, offers: OfferScope) -> dict[str, Any]:
        """Without what is empty: a scope says so by leaving it out."""
        return offers.model_dump(mode="json", exclude_defaults=True)

    @field_validator("winsorised_at")
    @classmethod
    def _has_tail(cls, quantile: float | None, info: ValidationInfo) -> float | None:
        if quantile is not None and info.data.get("kind") not in (MetricKind.MEAN, None):
            raise ValueError("only a mean has a tail to cut; write kind: mean or remove winsorised_at")
        return quantile


class Guardrail(RunConfig):
    """A metric that must not get worse by more than a margin.

    Attributes:
        metric: What is watched.
        margin: Relative harm that is tolerated, 0–1.
        stops: Whether a breach stops the experiment by itself.
    """

    metric: Metric
    margin: float = Field(gt=0, le=1)
    stops: bool = Field(default=True, strict=True)


class Expected(RunConfig):
    """The off-policy estimate of an arm, which stands beside its result.

    Attributes:
        value: Margin in minor units per decision.
        low: Lower end of its interval.
        high: Upper end.
        source: Digest of the run that estimated it.
        days: Days after a decision in which an activation counted, 1–365; None = the experiment's window.
        months: Months of margin that it counted for, 1–120; None = 12.
    """

    value: float
    low: float
    high: float
    source: str
    days: int | None = Field(default=None, ge=1, le=365)
    months: int | None = Field(default=None, ge=1, le=120)

    @field_validator("high")
    @classmethod
    def _ordered(cls, high: float, info: ValidationInfo) -> float:
        low, value = info.data.get("low", -float("inf")), info.data.get("value", high)
        if low <= value <= high:
            return high
        raise ValueError(f"{value:g} lies outside of its interval {low:g} … {high:g}; correct them")


class Arm(RunConfig):
    """One of the things that are compared; the first one is the control.

    Attributes:
        name: Its name.
        weight: Its share of the units, above 0.
        policy_version: Policy it decides with, placements included; None = the one in force.
        bundle_version: Model it decides with; None = the one in force.
        texts: Titles shown instead of the catalogue's, by offer_id.
        expected: What the log of the past says of it.
    """

    name: Identifier
    weight: float = Field(gt=0, le=1)
    policy_version: Id | None = None
    bundle_version: Id | None = None
    texts: dict[Id, Wording] = Field(default_factory=dict)
    expected: Expected | None = None


class Experiment(RunConfig):
    """The whole document.

    Attributes:
        experiment_id: Stable id.
        title: Its name for people.
        hypothesis: What is believed, and why.
        owner: Who answers for it.
        unit: What is assigned as a whole.
        salt: Seed of the assignment; None = experiment_id.
        hash_version: Of GrowthBook's hash: 2, or 1 for what began under it.
        layer: Experiments of one layer share its units between them; None = overlaps any other.
        layer_range: Share of the layer's units that may enter, as low ≤ x < high.
        coverage: Share of each arm's units that enter at the start, above 0 to 1.
        arms: What is compared, 2–20.
        targeting: Only clients for whom this holds; unknown = not.
        placements: Where it applies; empty = everywhere.
        primary: The metric that decides.
        secondary: What is looked at besides.
        guardrails: What must not get worse.
        window_days: Days after the trigger during which outcomes count, 1–365.
        minimum_effect: Least relative effect worth finding.
        planned_units: Units with a closed window at the planned end.
        planned_end_at: The planned end.
        method: When it may be judged.
        n_looks: Number of planned looks of a group-sequential experiment, 1–20.
        spending: How they share the level.
        alpha: Two-sided level, 0.000001–0.5.
        stratify_by: By what clients are told apart.
        is_balanced: Whether the salt is chosen by balance of the strata before the start.
        n_salts: From how many it is chosen, 1–10,000.
        admissible_share: Share of them that counts as balanced, above 0 to 1.
        forced: Units that see a given arm for testing: unit id → arm; left out of the analysis.
    """

    experiment_id: Identifier
    title: Line
    hypothesis: Paragraph
    owner: Line
    unit: Unit = Unit.GROUP
    salt: Salt | None = None
    hash_version: Literal[1, 2] = 2
    layer: Identifier | None = None
    layer_range: tuple[float, float] = (0.0, 1.0)
    coverage: float = Field(default=1.0, gt=0, le=1)
    arms: tuple[Arm, ...] = Field(json_schema_extra={"minItems": 2, "maxItems": _MAX_ARMS})
    targeting: Condition | None = None
    placements: tuple[Id, ...] = ()
    primary: Metric
    secondary: tuple[Metric, ...] = Field(default=(), max_length=_MAX_METRICS)
    guardrails: tuple[Guardrail, ...] = Field(default=(), max_length=_MAX_METRICS, validate_default=True)
    window_days: int = Field(default=30, ge=1, le=365)
    minimum_effect: float = Field(gt=0, le=10)
    planned_units: int | None = Field(default=None, ge=2, le=10**9)
    planned_end_at: Instant | None = None
    method: Method = Method.SEQUENTIAL
    n_looks: int = Field(default=1, ge=1, le=20, validate_default=True)
    spending: Spending = Spending.OBRIEN_FLEMING
    alpha: float = Field(default=0.05, ge=1e-6, lt=0.5)
    stratify_by: tuple[Stratum, ...] = tuple(Stratum)
    is_balanced: bool = Field(default=False, strict=True)
    n_salts: int = Field(default=1_000, ge=1, le=10_000)
    admissible_share: float = Field(default=0.1, gt=0, le=1)
    forced: dict[Id, str] = Field(default_factory=dict)

    @property
    def seed(self) -> str:
        """The salt, or the id that stands for it."""
        return self.experiment_id if self.salt is None else self.salt

    @property
    def weights(self) -> tuple[float, ...]:
        """Share of each arm, in their order."""
        return tuple(arm.weight for arm in self.arms)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every metric, the primary one first, the guardrails' last."""
        return (self.primary, *self.secondary, *(guardrail.metric for guardrail in self.guardrails))

    @field_serializer("targeting")
    def _written(self, targeting: Condition | None) -> dict[str, Any] | None:
        """Without what is not said."""
        return None if targeting is None else targeting.model_dump(mode="json", exclude_defaults=True)

    @field_validator("layer_range")
    @classmethod
    def _ordered(cls, ends: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        low, high = ends
        if ends != (0.0, 1.0) and info.data.get("layer", "") is None:
            raise ValueError("it is a part of no layer; name the layer too, or write coverage")
        if not 0 <= low < high <= 1:
            raise ValueError(f"[{low:g}, {high:g}] is no part of a layer; write 0 ≤ low < high ≤ 1")
        return ends

    @field_validator("arms")
    @classmethod
    def _comparable(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if not 2 <= len(arms) <= _MAX_ARMS:
            raise ValueError(f"2–{_MAX_ARMS} arms can be compared, not {len(arms)}; the first is the control")
        if twice := repeated([arm.name for arm in arms]):
            raise ValueError(f"arm {twice!r} stands twice; rename or remove one")
        total = sum(arm.weight for arm in arms)
        if abs(total - 1) > _TOLERANCE:
            weights = " + ".join(f"{arm.weight:g}" for arm in arms)
            raise ValueError(f"the weights of the arms are {weights} = {total:g}, not 1; correct them")
        return arms

    @field_validator("placements", "stratify_by")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := repeated([str(name) for name in names]):
            raise ValueError(f"{twice!r} stands twice; remove one")
        return names

    @field_validator("guardrails")
    @classmethod
    def _named_once(cls, guardrails: tuple[Guardrail, ...], info: ValidationInfo) -> tuple[Guardrail, ...]:
        metrics = [info.data.get("primary"), *info.data.get("secondary", ())]
        metrics += [guardrail.metric for guardrail in guardrails]
        if twice := repeated([metric.name for metric in metrics if metric is not None]):
            raise ValueError(f"metric {twice!r} stands twice in the experiment; rename one")
        return guardrails

    @field_validator("n_looks")
    @classmethod
    def _planned(cls, n_looks: int, info: ValidationInfo) -> int:
        is_planned = info.data.get("method") is Method.GROUP_SEQUENTIAL
        if is_planned and n_looks < 2:
            raise ValueError("a group-sequential experiment has 2–20 looks; write n_looks or another method")
        if is_planned and info.data.get("planned_units") is None:
            raise ValueError("looks are planned by numbers of units; add planned_units")
        if not is_planned and n_looks != 1 and "method" in info.data:
            raise ValueError("only method: group_sequential has several looks; remove n_looks")
        return n_looks

    @field_validator("forced")
    @classmethod
    def _to_arms(cls, forced: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        names = [arm.name for arm in info.data.get("arms", ())]
        for unit_id, name in forced.items() if names else ():
            if name not in names:
                raise ValueError(f"{unit_id!r} is forced into {name!r}; only {', '.join(names)} are there")
        return forced


class Holdout(RunConfig):
    """A share of the units that sees business as usual: nothing personal, no exploration, no experiment.

    Attributes:
        share: Share of the units, 0–0.5; 0 = there is no hold-out.
        salt: Seed of the draw.
        unit: What is held out as a whole.
    """

    share: float = Field(ge=0, le=0.5)
    salt: Salt = HOLDOUT_ID
    unit: Unit = Unit.GROUP


def read_experiment(text: str, place: str) -> Experiment:
    """Read an experiment from YAML or JSON.

    Args:
        text: The document.
        place: Where it comes from, for errors.

    Raises:
        ConfigError: Something is wrong; one line per fault, each with file, line and cure.

    Example:
        >>> text = '''{experiment_id: faq, title: Shorter list, hypothesis: less is more, owner: anna,
        ...   arms: [{name: control, weight: 0.5}, {name: short, weight: 0.5, policy_version: ab12}],
        ...   primary: {name: taken, measure: activations}, minimum_effect: 0.1}'''
        >>> read_experiment(text, "faq.yaml").seed
        'faq'
    """
    return YamlDocument(text, place).read(Experiment)
