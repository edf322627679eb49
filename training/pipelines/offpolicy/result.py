"""What an off-policy evaluation found, and how it is written down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson
import polars as pl

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.offpolicy import Diagnostics, Gate, Judgement

ACTIVATIONS, MARGIN = "activations", "margin"
LIVE, NEW = "live", "new"


@dataclass(frozen=True, slots=True)
class BeliefResult:
    """What one belief about lists comes to.

    Attributes:
        gate: Whether the log says anything of the policy.
        by_slot: What the weights of each slot (1-based) are like.
        worst_slot: The slot with most that speaks against it.
    """

    gate: Gate
    by_slot: Mapping[int, Diagnostics]
    worst_slot: int

    @property
    def worst(self) -> Diagnostics:
        """What the weights of the worst slot are like."""
        return self.by_slot[self.worst_slot]

    def as_dict(self) -> dict[str, object]:
        """What metrics.json holds of it."""
        return {
            "gate": asdict(self.gate),
            "worst_slot": self.worst_slot,
            "diagnostics": asdict(self.worst),
            "by_slot": [{"slot": slot, **asdict(each)} for slot, each in self.by_slot.items()],
        }


@dataclass(frozen=True, slots=True)
class MeasureResult:
    """One measure, per decision.

    Attributes:
        live: What the policies that made the log earned.
        new: What the new policy would have; None = the log says nothing of it.
        difference: New − live on the same decisions; None likewise.
        estimators: Every estimate by belief and name, those that no gate stands behind included.
    """

    live: Estimate
    new: Estimate | None
    difference: Estimate | None
    estimators: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated.

    Attributes:
        title: Of the dataset.
        currency: Of amounts; XXX = there are none.
        time_zone: Of moments.
        policy: Version of the new policy.
        bundle: Version of its models.
        bundle_as_of: They know what was recorded until this moment.
        live_policies: Version of each policy that made a part of the log → its decisions that counted.
        live_bundles: The same of the models; decisions without a version are in neither.
        placements: Whose decisions counted.
        days: An activation counts within so many days.
        months: Of margin that an activation brings.
        n_slots: Slots of a list that counted; None = all.
        first_at: First decision that counted.
        last_at: Last one.
        as_of: The end of the log: when its last row was recorded.
        data_digest: Digest of the data.
    """

    title: str
    currency: str
    time_zone: str
    policy: str
    bundle: str
    bundle_as_of: str
    live_policies: Mapping[str, int]
    live_bundles: Mapping[str, int]
    placements: tuple[str, ...]
    days: int
    months: int
    n_slots: int | None
    first_at: str
    last_at: str
    as_of: str
    data_digest: str


@dataclass(frozen=True, slots=True)
class OffPolicyResult:
    """What an off-policy evaluation found.

    Attributes:
        subject: What was evaluated.
        n_decisions: Decisions that counted.
        n_slots: Their slots.
        n_clients: Their clients.
        left_out: Cause → decisions that did not count.
        belief: Whose estimate is the answer: the weakest belief that the log carries; None = it says nothing.
        estimator: Its name; "" likewise.
        beliefs: By belief.
        missing: Belief → why there is nothing of it (a code).
        measure: What `judgement` is about: margin where offers have any, else activations.
        measures: By name.
        judgement: Of the promotion.
        tables: For plots and further questions: weights, slots, policies, offers.
    """

    subject: Subject
    n_decisions: int
    n_slots: int
    n_clients: int
    left_out: Mapping[str, int]
    belief: str | None
    estimator: str
    beliefs: Mapping[str, BeliefResult]
    missing: Mapping[str, str]
    measure: str
    measures: Mapping[str, MeasureResult]
    judgement: Judgement
    tables: Mapping[str, pl.DataFrame]

    @property
    def says(self) -> bool:
        """Whether the log says something of the policy."""
        return self.belief is not None

    @property
    def main(self) -> MeasureResult:
        """The measure that the judgement is about."""
        return self.measures[self.measure]

    @property
    def shown(self) -> BeliefResult:
        """The belief of the answer; where there is none, that with more effective decisions."""
        if self.belief is not None:
            return self.beliefs[self.belief]
        return max(self.beliefs.values(), key=lambda each: each.gate.ess)

    def as_dict(self) -> dict[str, object]:
        """What metrics.json holds; a figure that cannot be told is null."""
        gate, main = self.shown.gate, self.main
        found: dict[str, object] = {
            "estimand": "value per decision over the logged contexts, not in the long run",
            "measure": self.measure,
            "unit": f"minor units of {self.subject.currency}" if self.measure == MARGIN else self.measure,
            "policies": {LIVE: _figures(main.live), NEW: _figures(main.new)},
            "difference": _figures(main.difference),
            "belief": self.belief,
            "estimator": self.estimator or None,
            "gate": {
                "ess": gate.ess,
                "support": gate.support,
                "says": self.says,
                "why": list(gate.causes),
                "slots": gate.slots,
            },
            "verdict": asdict(self.judgement),
            "measures": {
                name: {
                    "policies": {LIVE: _figures(each.live), NEW: _figures(each.new)},
                    "difference": _figures(each.difference),
                    "estimators": {
                        belief: {one: _figures(estimate) for one, estimate in estimates.items()}
                        for belief, estimates in each.estimators.items()
                    },
                }
                for name, each in self.measures.items()
            },
            "diagnostics": {name: each.as_dict() for name, each in self.beliefs.items()},
            "missing": dict(self.missing),
            "subject": asdict(self.subject),
            "n_decisions": self.n_decisions,
            "n_slots": self.n_slots,
            "n_clients": self.n_clients,
            "left_out": dict(self.left_out),
        }
        found["estimators"] = found["measures"][self.measure]["estimators"]  # type: ignore[index]
        return found

    def figures(self) -> bytes:
        """The text of metrics.json."""
        return orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2) + b"\n"

    def to_json(self) -> str:
        """The same as one JSON object."""
        return orjson.dumps(self.as_dict()).decode()


def _figures(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {"value": None, "low": None, "high": None}
    return {name: value if math.isfinite(value) else None for name, value in asdict(estimate).items()}
