"""Use case: whether a policy or a bundle may go live, by an off-policy evaluation of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from recsys.errors import ConfigError, ConflictError
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.offpolicy import Judgement, Promotion, judge_promotion, overridden
from serving.orders import PolicyVersion

_METRICS = "metrics.json"
NOT_EVALUATED = "not evaluated off-policy"
_ANEW = "run `recsys-train offpolicy` anew"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What somebody publishes a policy on.

    Attributes:
        figures: The text of a run's ``metrics.json``.
        place: Where they come from, for errors.
        max_loss: What may be lost per decision, ≥0, in the unit of the run.
        override: Why it is to be published although the log speaks against it; "" = it is not.
    """

    figures: bytes
    place: str
    max_loss: float = 0.0
    override: str = ""


@dataclass(frozen=True, slots=True)
class InForce:
    """What the policy would replace, and what decides with it.

    Attributes:
        policy: The policy in force; None = none was published.
        bundle: Version of the models that are served; None = none are, or it is not known.
    """

    policy: PolicyVersion | None = None
    bundle: str | None = None


class Judged(NamedTuple):
    """A policy that may be published.

    Attributes:
        note: What is kept with it of the judgement.
        warnings: What should be looked at, one sentence for each.
    """

    note: str
    warnings: tuple[str, ...]


class _Act(NamedTuple):
    """What is judged, in the words of a refusal."""

    what: str
    verb: str
    done: str


_PUBLISH = _Act("policy", "publish", "published")
_PROMOTE = _Act("bundle", "promote", "promoted")


class _Figures(BaseModel):
    value: float | None
    low: float | None
    high: float | None


class _Gate(BaseModel):
    says: bool
    why: list[str] = Field(default_factory=list)


class _Subject(BaseModel):
    policy: str
    bundle: str | None = None
    last_at: AwareDatetime | None = None
    live_bundles: dict[str, float] | None = None


class _Metrics(BaseModel):
    """What is read of a run."""

    subject: _Subject
    unit: str
    difference: _Figures
    gate: _Gate


def read_run(folder: Path) -> bytes:
    """The figures of a run.

    Raises:
        ConfigError: There are none.
    """
    path = folder / _METRICS
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; name the folder that `recsys-train offpolicy` wrote"
        ) from error


def judge_evidence(
    evidence: Evidence | None, version: str, author: str, in_force: InForce = InForce()
) -> Judged:
    """Judge a policy by a run on it: blocked, overridden, warned of, or let through.

    Args:
        evidence: The run, and what its user wants; None = there is no run, and the note says so.
        version: Version of the policy that is to be published.
        author: Who publishes it.
        in_force: What the run should be about.

    Raises:
        ConfigError: The run cannot be read, or is about another policy.
        ConflictError: The policy earns less than the live one, and nobody overrides that.
    """
    if evidence is None:
        return Judged(NOT_EVALUATED, ())
    metrics = _metrics_of(evidence)
    if metrics.subject.policy != version:
        raise ConfigError(
            f"{evidence.place} evaluated policy {metrics.subject.policy}, these documents are {version}: run"
            " `recsys-train offpolicy` on them"
        )
    stale = list(_stale(metrics.subject, in_force))
    bundle = metrics.subject.bundle
    if bundle and in_force.bundle and bundle != in_force.bundle:
        stale.append(f"the run decided by bundle {bundle}, {in_force.bundle} is served now: {_ANEW}")
    return _judged(evidence, metrics, author, stale, _PUBLISH)


def judge_bundle_evidence(evidence: Evidence, version: str, author: str, in_force: InForce) -> Judged:
    """Judge a bundle by an off-policy run on it, under the policy in force and against the live bundle.

    Args:
        evidence: The run, and what its user wants.
        version: Version of the bundle that is to be promoted.
        author: Who promotes it.
        in_force: What the run should have decided by, and what it would replace.

    Raises:
        ConfigError: The run cannot be read, or is about another bundle.
        ConflictError: The bundle earns less than what is live, and nobody overrides that.
    """
    metrics = _metrics_of(evidence)
    if metrics.subject.bundle != version:
        raise ConfigError(
            f"{evidence.place} evaluated bundle {metrics.subject.bundle}, {version} is to be promoted: run"
            " `recsys-train offpolicy` on it"
        )
    stale, policy = list(_stale(metrics.subject, in_force)), in_force.policy
    if policy is not None and metrics.subject.policy != policy.version:
        stale.append(
            f"the run decided by policy {metrics.subject.policy}, {policy.version} is in force now: {_ANEW}"
        )
    return _judged(evidence, metrics, author, stale, _PROMOTE)


def _metrics_of(evidence: Evidence) -> _Metrics:
    if not (math.isfinite(evidence.max_loss) and evidence.max_loss >= 0):
        raise ConfigError(f"max loss {evidence.max_loss:g}: a sum of 0 or more is needed; correct it")
    return _read(evidence)


def _judged(evidence: Evidence, metrics: _Metrics, author: str, stale: list[str], act: _Act) -> Judged:
    judgement = judge_promotion(_difference(metrics), evidence.max_loss)
    if evidence.override.strip():
        judgement = overridden(judgement, author, evidence.override)
    told = _told(judgement, metrics, act)
    if not judgement.may_promote:
        raise ConflictError(
            f"not {act.done}: {told}; name a reason with --override to {act.verb} it all the same"
        )
    is_plain = judgement.promotion is Promotion.ALLOWED
    kept = f"off-policy: {told}"
    if judgement.overridden_by:
        kept += f"; overridden by {judgement.overridden_by}: {judgement.reason}"
    return Judged("; ".join((kept, *stale)), (*(() if is_plain else (kept,)), *stale))


def _stale(subject: _Subject, in_force: InForce) -> Iterator[str]:
    """What has changed since the run."""
    if in_force.bundle and subject.live_bundles is not None and in_force.bundle not in subject.live_bundles:
        yield (
            f"bundle {in_force.bundle} is live now and made no part of the run's log: what it calls live is"
            f" another one; {_ANEW}"
        )
    live = in_force.policy
    if live is not None and subject.last_at is not None and live.effective_at > subject.last_at:
        yield (
            f"the log of the run ends on {subject.last_at:%Y-%m-%d %H:%M} UTC, before policy {live.version}"
            f" came into force: what it calls live is another one; {_ANEW}"
        )


def _read(evidence: Evidence) -> _Metrics:
    try:
        return _Metrics.model_validate(orjson.loads(evidence.figures))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise ConfigError(
            f"{evidence.place}: is no result of `recsys-train offpolicy`; run it again"
        ) from error


def _difference(metrics: _Metrics) -> Estimate | None:
    """New − live per decision; None where the log says nothing."""
    found = metrics.difference
    if not metrics.gate.says or found.value is None or found.low is None or found.high is None:
        return None
    return Estimate(found.value, found.low, found.high)


def _told(judgement: Judgement, metrics: _Metrics, act: _Act) -> str:
    found = judgement.difference
    if found is None:
        why = f" ({', '.join(metrics.gate.why)})" if metrics.gate.why else ""
        return f"the log says nothing about this {act.what}{why}"
    figures = f"{found.value:+,.4g} ({found.low:+,.4g} … {found.high:+,.4g}) {metrics.unit} per decision"
    said = {
        Promotion.BLOCKED: "it earns less than what made the log",
        Promotion.WARNED: f"it may lose more than the {judgement.tolerated:g} that are tolerated",
    }.get(judgement.promotion, "nothing speaks against it")
    return f"{said}: {figures}"
