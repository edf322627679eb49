"""``recsys-train offpolicy``: from a log, a bundle and a policy to figures and a report.

``--out`` holds ``report.html``, ``metrics.json``, ``tables/*.csv``, ``run.json`` and, where there is one to
copy, the ``expected.yaml`` of an experiment's arm.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np
import polars as pl

from recsys.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.data.snapshot import offers_at
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.engine import ONLY_PLACEMENT
from recsys.decision.policy.policy import Policy
from recsys.domain import Language
from recsys.errors import ConfigError
from recsys.evaluation.intervals import unit_codes
from recsys.evaluation.offpolicy import (
    Parts,
    Slates,
    bootstrap,
    cross_fitted,
    folds_of,
    judge_promotion,
    plain,
)
from recsys.evaluation.offpolicy.estimators import usual_hit
from recsys.models.base import FloatArray
from training.pipelines.offpolicy.expected import expected_block
from training.pipelines.offpolicy.families import HEADLINES, Belief, Family, Rows, cascade, independent
from training.pipelines.offpolicy.log import DecisionLog, Question, read_log
from training.pipelines.offpolicy.odds import N_LISTS, Means, Odds, Rebuilt
from training.pipelines.offpolicy.report import render_report
from training.pipelines.offpolicy.result import (
    ACTIVATIONS,
    LIVE,
    MARGIN,
    BeliefResult,
    MeasureResult,
    OffPolicyResult,
    Subject,
)
from training.pipelines.offpolicy.tables import tables_of
from training.pipelines.policies.sources import moment_asked, open_policy, refuse_unsound
from training.pipelines.scoring.estimates import open_bundle
from training.prepare.sources import open_dataset
from training.runs import Run, check_folder

_MEASURES = (ACTIVATIONS, MARGIN)
_N_FOLDS = 5
_FOLDS, _LISTS, _RESAMPLES = range(3)


@dataclass(frozen=True, slots=True)
class Options:
    """How to evaluate.

    Attributes:
        placements: Whose decisions count; none = those of the policy.
        days: An activation counts within so many days of its decision, ≥1.
        months: Of margin that an activation brings, ≥1.
        n_slots: Slots of each list that count, from the top; None = all.
        tolerated: What may be lost per decision, in units of the measure that is judged, ≥0.
        n_resamples: Of the bootstrap.
        n_lists: Lists that the policy draws of its own for every decision, ≥1.
        seed: Root seed.
        language: Of the report.
    """

    placements: Sequence[str] = ()
    days: int = 30
    months: int = 12
    n_slots: int | None = None
    tolerated: float = 0.0
    n_resamples: int = 1000
    n_lists: int = N_LISTS
    seed: int = 1
    language: Language = Language.EN


def evaluate_off_policy(
    log: str, bundle: Path, policy: Path, out: Path, options: Options = Options()
) -> OffPolicyResult:
    """What a policy with its models would have earned per decision of a log.

    Args:
        log: A folder or a database with decisions, items, events and all that was known of clients.
        bundle: A bundle, or a folder of bundles, whose newest counts.
        policy: Folder of the new policy.
        out: Folder to write into.
        options: How.

    Raises:
        ConfigError: The policy is wrong, or has no such placement.
        DataError: The log cannot be read, is broken, or no decision of it counts.
        LeakageError: The bundle knows what followed every decision.
        BundleError: The bundle cannot be read.
    """
    check_folder(out)
    files, models = open_policy(policy), open_bundle(bundle)
    placements = _placements(files.policy, options.placements, policy)
    dataset = open_dataset(log)
    catalogue = CompiledCatalogue(offers_at(dataset, moment_asked(dataset, None)))
    refuse_unsound(files, catalogue)
    question = Question(placements, models.manifest.as_of, options.days, options.months, options.n_slots)
    found = read_log(dataset, question)
    seeds = np.random.SeedSequence(options.seed).spawn(3)
    rows, means = _rows_of(found, dataset, np.random.default_rng(seeds[_FOLDS]))
    rebuilt = Rebuilt(dataset, files.policy, models, found, means)
    odds = rebuilt.odds(np.random.default_rng(seeds[_LISTS]), options.n_lists)
    subject = _subject(dataset, found, files.policy, models, options, placements)
    result = _judge(found, rows, odds, subject, options, np.random.default_rng(seeds[_RESAMPLES]))
    _write(result, out, options.language)
    command = _command(log, bundle, policy, out, options)
    Run(command, options.seed, files.policy.version, dataset.digest).write(out)
    return result


def _subject(
    dataset: Dataset,
    found: DecisionLog,
    policy: Policy,
    models: Bundle,
    options: Options,
    placements: tuple[str, ...],
) -> Subject:
    decisions = found.decisions
    return Subject(
        title=dataset.meta.title or dataset.meta.name,
        currency=dataset.meta.currency,
        time_zone=dataset.meta.time_zone,
        policy=policy.version,
        bundle=models.version,
        bundle_as_of=models.manifest.as_of.astimezone(UTC).isoformat(),
        live_policies=_counts(decisions["policy_version"]),
        live_bundles=_counts(decisions["bundle_version"]),
        placements=placements,
        days=options.days,
        months=options.months,
        n_slots=options.n_slots,
        first_at=decisions["occurred_at"][0].isoformat(),
        last_at=decisions["occurred_at"][-1].isoformat(),
        as_of=found.until.isoformat(),
        data_digest=dataset.digest,
    )


def _counts(versions: pl.Series) -> dict[str, int]:
    """How often each version occurs, by version."""
    return dict(sorted(Counter(versions.drop_nulls().to_list()).items()))


def _placements(policy: Policy, asked: Sequence[str], folder: Path) -> tuple[str, ...]:
    known = [placement.placement_id for placement in policy.placements or ONLY_PLACEMENT]
    for name in asked:
        if name not in known:
            raise ConfigError(f"{folder}: has no placement {name!r}; choose one of {', '.join(known)}")
    return tuple(asked) or tuple(known)


def _rows_of(found: DecisionLog, dataset: Dataset, rng: np.random.Generator) -> tuple[Rows, Means]:
    """The slots as arrays, and a model of rewards that no client's own outcomes reach."""
    slots, decisions = found.slots, found.decisions
    rewards = slots.select("activations", "margin_minor").to_numpy()
    slates = Slates(
        slots["decision"].to_numpy().astype(np.int64),
        slots["slot"].to_numpy().astype(np.int64) - 1,
        len(decisions),
    )
    clients = unit_codes(decisions["client_id"].to_list())
    folds = folds_of(clients, _N_FOLDS, rng)
    offer_ids = tuple(sorted(dataset.table("offers")["offer_id"].unique().to_list()))
    offers = np.searchsorted(np.array(offer_ids), slots["offer_id"].to_numpy().astype(str))
    shape, of_rows = (len(offer_ids), int(slates.slots.max()) + 1), folds[slates.lists]
    values = np.stack(
        [cross_fitted(offers, slates.slots, column, of_rows, shape) for column in rewards.T], axis=3
    )
    shown = values[of_rows, offers, slates.slots]
    rows = Rows(slates, clients, rewards, slots["logging_probability"].to_numpy(), shown)
    return rows, Means(values, folds, offer_ids)


def _judge(
    found: DecisionLog, rows: Rows, odds: Odds, subject: Subject, options: Options, rng: np.random.Generator
) -> OffPolicyResult:
    families = {Belief.CASCADE: cascade(rows, odds), Belief.INDEPENDENT: independent(rows, odds)}
    present = {belief: family for belief, family in families.items() if family is not None}
    belief = next((belief for belief, family in present.items() if family.gate.says), None)
    measures = {
        name: _measure(number, rows, present, belief, options.n_resamples, rng)
        for number, name in enumerate(_MEASURES)
        if name != MARGIN or found.has_margins
    }
    measure = MARGIN if found.has_margins else ACTIVATIONS
    return OffPolicyResult(
        subject=subject,
        n_decisions=len(found.decisions),
        n_slots=len(found.slots),
        n_clients=int(rows.clients.max()) + 1,
        left_out=found.left_out,
        belief=belief,
        estimator="" if belief is None else HEADLINES[belief],
        beliefs={
            name.value: BeliefResult(family.gate, family.by_slot, family.worst_slot)
            for name, family in present.items()
        },
        missing={name.value: "unknown_law" for name in families if name not in present},
        measure=measure,
        measures=measures,
        judgement=judge_promotion(measures[measure].difference, options.tolerated),
        tables=tables_of(found, rows, odds, present),
    )


def _measure(
    number: int,
    rows: Rows,
    families: dict[Belief, Family],
    belief: Belief | None,
    n_resamples: int,
    rng: np.random.Generator,
) -> MeasureResult:
    """Every estimate of one measure on the same resamples of clients."""
    estimates: dict[str, Parts] = {LIVE: _live(rows, rows.rewards[:, number])}
    for family in families.values():
        estimates |= {f"{family.belief.value}.{name}": parts for name, parts in family.parts[number].items()}
    resampled = bootstrap(estimates, rows.clients, rng, n_resamples=n_resamples)
    headline = None if belief is None else f"{belief.value}.{HEADLINES[belief]}"
    return MeasureResult(
        live=resampled.interval(LIVE),
        new=None if headline is None else resampled.interval(headline),
        difference=None if headline is None else resampled.difference(headline, LIVE),
        estimators={
            family.belief.value: {
                name: resampled.interval(f"{family.belief.value}.{name}") for name in family.parts[number]
            }
            for family in families.values()
        },
    )


def _live(rows: Rows, rewards: FloatArray) -> Parts:
    """What the log's own policies earned per decision."""
    by_row = plain(rewards, usual_hit(rewards, np.ones(len(rewards))))
    return by_row.by_decision(rows.slates.lists, rows.slates.n_lists)


def _write(result: OffPolicyResult, out: Path, language: Language) -> None:
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for name, frame in result.tables.items():
        frame.write_csv(out / "tables" / f"{name}.csv")
    (out / "metrics.json").write_bytes(result.figures())
    if block := expected_block(result):
        (out / "expected.yaml").write_text(block, encoding="utf-8")
    (out / "report.html").write_text(render_report(result, language), encoding="utf-8")


def _command(log: str, bundle: Path, policy: Path, out: Path, options: Options) -> str:
    words = ["recsys-train", "offpolicy", "--log", log, "--bundle", str(bundle), "--policy", str(policy)]
    words += ["--out", str(out), "--days", str(options.days), "--months", str(options.months)]
    if options.placements:
        words += ["--placement", ",".join(options.placements)]
    if options.n_slots is not None:
        words += ["--slots", str(options.n_slots)]
    words += ["--tolerated", str(options.tolerated), "--seed", str(options.seed)]
    return shlex.join([*words, "--language", options.language.value])
