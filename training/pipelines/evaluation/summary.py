"""From judged lists to figures: estimates, tests against the best simple model, what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import polars as pl

from recsys.domain import Target
from recsys.evaluation.beyond_accuracy import exposure_by_offer, gini
from recsys.evaluation.calibration import (
    calibration_error,
    calibration_line,
    log_losses,
    observed_to_expected,
    offer_rates,
)
from recsys.evaluation.comparison import compare_paired
from recsys.evaluation.intervals import (
    Estimate,
    bootstrap_means,
    bootstrap_ratios,
    defined,
    jackknife_coverage,
)
from recsys.evaluation.ranking import RANKING_METRICS, Hits
from recsys.evaluation.report import (
    SIMPLE_MODELS,
    Contrast,
    EvaluationConfig,
    EvaluationResult,
    Subject,
)
from recsys.experiments.multiplicity import Correction, adjust
from recsys.models.base import FloatArray, IntArray
from training.pipelines.evaluation.judge import SHARES, Forecasts, Judged
from training.pipelines.evaluation.pooling import (
    CutFacts,
    Pool,
    list_figures,
    pool_cuts,
    pool_forecasts,
    pool_hits,
    pool_recommended,
    pool_shown,
)
from training.pipelines.evaluation.segments import DIMENSIONS
from training.pipelines.evaluation.tables import NO_SEGMENTS, tables_of
from training.pipelines.evaluation.verdict import SHOWN, verdict

_BOUNDS: Mapping[str, float] = MappingProxyType(
    {f"{what}_{share}": 1.0 for what in ("adoptions", "margin") for share in SHARES}
    | {"ndcg_again": 1.0, "diversity": 1.0, "margin_at_k": math.inf, "novelty": math.inf}
)


@dataclass
class Ratios:
    """Figures that are a sum over rows divided by another, all measured on the same resamples."""

    keys: list[tuple[str, str]] = field(default_factory=list)
    numerators: list[FloatArray] = field(default_factory=list)
    denominators: list[FloatArray] = field(default_factory=list)

    def add(self, model: str, metric: str, numerators: FloatArray, denominators: FloatArray) -> None:
        """One more figure, a value per row; 0 ÷ 0 where a row has no say."""
        self.keys.append((model, metric))
        self.numerators.append(numerators)
        self.denominators.append(denominators)


def summarise(
    subject: Subject,
    config: EvaluationConfig,
    cuts: Sequence[CutFacts],
    judged: Mapping[str, Sequence[Judged]],
) -> EvaluationResult:
    """Measure every contestant, pooled over the cuts.

    Args:
        subject: What was evaluated.
        config: What was asked.
        cuts: The cuts in order.
        judged: Each contestant at each cut, by name.

    Returns:
        The result; models keep their order.
    """
    pool = pool_cuts(cuts)
    hits = {name: pool_hits([one.hits for one in found]) for name, found in judged.items()}
    forecasts = {name: pool_forecasts(pool, found) for name, found in judged.items()}
    per_client = pl.concat([_model_rows(pool, name, found) for name, found in hits.items()])
    estimates = _estimates(pool, config, hits, judged, forecasts)
    targets = _targets(judged)
    ndcg = {name: RANKING_METRICS["ndcg"](found) for name, found in hits.items()}
    shown_units, shown = pool_shown(pool, judged)
    contrasts = _contrasts("ndcg", ndcg, pool.adopter_units, config)
    if len(shown_units):
        for name, values in shown.items():
            [estimates[name][SHOWN]] = bootstrap_means(
                values[:, None],
                shown_units,
                np.random.default_rng(config.seed),
                n_resamples=config.n_resamples,
            )
        contrasts += _contrasts(SHOWN, shown, shown_units, config)
    tables = tables_of(pool, config, judged, per_client, forecasts)
    return EvaluationResult(
        config=config,
        subject=subject,
        estimates=estimates,
        n_clients=pool.rows["client_id"].gather(pool.adopters).n_unique(),
        n_rows=len(pool.adopters),
        n_observed=len(pool.rows),
        per_client=per_client,
        contrasts=contrasts,
        verdict=verdict(estimates, contrasts, targets, config.k),
        missing=_missing(pool, estimates, judged, has_segments="by_segment" in tables),
        targets=targets,
        tables=tables,
    )


def _targets(judged: Mapping[str, Sequence[Judged]]) -> dict[str, tuple[Target, ...]]:
    """What each model gives probabilities of, at any cut; without those that give none."""
    found = {
        name: tuple(sorted({one.target for one in of_cuts if one.target is not None}))
        for name, of_cuts in judged.items()
    }
    return {name: targets for name, targets in found.items() if targets}


def _model_rows(pool: Pool, name: str, hits: Hits) -> pl.DataFrame:
    metrics = [pl.Series(metric, measure(hits)) for metric, measure in RANKING_METRICS.items()]
    rows = pool.rows[pool.adopters].with_columns(pl.lit(name).alias("model"), *metrics)
    return rows.select("cut", "client_id", "model", "unit", "n_relevant", *RANKING_METRICS, *pool.dimensions)


def _estimates(
    pool: Pool,
    config: EvaluationConfig,
    hits: Mapping[str, Hits],
    judged: Mapping[str, Sequence[Judged]],
    forecasts: Mapping[str, Mapping[Target, Forecasts]],
) -> dict[str, dict[str, Estimate]]:
    """Every metric of every model, those of one kind on the same resamples."""
    values = np.column_stack(
        [measure(found) for found in hits.values() for measure in RANKING_METRICS.values()]
    )
    means = iter(
        bootstrap_means(
            values, pool.adopter_units, np.random.default_rng(config.seed), n_resamples=config.n_resamples
        )
    )
    estimates = {name: {metric: _bounded(next(means), 1.0) for metric in RANKING_METRICS} for name in hits}
    for name, found in judged.items():
        estimates[name]["coverage"] = jackknife_coverage(pool_recommended(pool, found), pool.units)
    ratios = _ratios(pool, judged)
    measured = bootstrap_ratios(
        np.column_stack(ratios.numerators),
        np.column_stack(ratios.denominators),
        pool.units,
        np.random.default_rng(config.seed),
        n_resamples=config.n_resamples,
    )
    for (name, metric), estimate in zip(ratios.keys, measured, strict=True):
        if np.isfinite(estimate.value):
            estimates[name][metric] = _bounded(estimate, _BOUNDS[metric]) if metric in _BOUNDS else estimate
    for name, found in judged.items():
        estimates[name] |= _gini(found) | _pr_auc(found)
        for one in forecasts[name].values():
            estimates[name] |= _calibration(one, pool, config)
    return estimates


def _bounded(estimate: Estimate, highest: float) -> Estimate:
    """The interval kept within what the figure can be, 0 to highest; where there is none, none."""
    low, high = np.clip([estimate.low, estimate.high], 0.0, highest).tolist()
    return Estimate(estimate.value, low, high)


def _ratios(pool: Pool, judged: Mapping[str, Sequence[Judged]]) -> Ratios:
    """Figures over everybody observed."""
    ratios = Ratios()
    ones, n_rows = np.ones(len(pool.rows)), len(pool.rows)
    for name, found in judged.items():
        for figure in found[0].caught:
            caught = [one.caught[figure] for one in found]
            ratios.add(
                name,
                figure,
                np.concatenate([one.numerators for one in caught]),
                np.concatenate([one.denominators for one in caught]),
            )
        margins = [one.margin for one in found if one.margin is not None]
        if len(margins) == len(found):
            ratios.add(name, "margin_at_k", np.concatenate(margins), ones)
        again = np.zeros(n_rows), np.zeros(n_rows)
        again[0][pool.returners] = RANKING_METRICS["ndcg"](pool_hits([one.hits_again for one in found]))
        again[1][pool.returners] = 1.0
        ratios.add(name, "ndcg_again", *again)
        for figure, values in list_figures(pool, found).items():
            ratios.add(name, figure, *defined(values))
    return ratios


def _gini(judged: Sequence[Judged]) -> dict[str, Estimate]:
    """Mean over the cuts; it has no interval, for a share of slots has no rows."""
    unequal = [gini(exposure_by_offer(one.lists, len(one.pr_auc)).astype(np.float64)) for one in judged]
    return {"gini": Estimate(float(np.mean(unequal)), float("nan"), float("nan"))}


def _pr_auc(judged: Sequence[Judged]) -> dict[str, Estimate]:
    """Mean over offers and cuts with any adoption; it has no interval, for an offer's area has no rows."""
    areas = np.concatenate([one.pr_auc for one in judged])
    known = areas[~np.isnan(areas)]
    return {"pr_auc": Estimate(float(known.mean()), float("nan"), float("nan"))} if len(known) else {}


def _calibration(forecasts: Forecasts, pool: Pool, config: EvaluationConfig) -> dict[str, Estimate]:
    """How far probabilities can be taken at their word; nothing where nothing came true."""
    if not forecasts.outcomes.any():
        return {}
    chances, outcomes = forecasts.probabilities, forecasts.outcomes
    units, rng = pool.units_of(forecasts.client_ids), np.random.default_rng(config.seed)
    line = calibration_line(chances, outcomes, units)
    error = calibration_error(chances, outcomes)
    rates = offer_rates(outcomes, forecasts.columns, int(forecasts.columns.max()) + 1)
    losses, base = log_losses(chances, outcomes), log_losses(rates, outcomes)
    [loss, of_rates] = bootstrap_means(
        np.column_stack([losses, base]), units, rng, n_resamples=config.n_resamples
    )
    against = compare_paired(losses, base, units, rng, n_resamples=config.n_resamples)
    figures = {
        "observed_to_expected": observed_to_expected(
            chances, outcomes, units, rng, n_resamples=config.n_resamples
        ),
        "calibration_slope": line.slope,
        "calibration_intercept": line.intercept,
        "calibration_error": Estimate(error.value, float("nan"), float("nan")),
        "calibration_error_by_chance": Estimate(error.by_chance, float("nan"), float("nan")),
        "base_rate": Estimate(error.base_rate, float("nan"), float("nan")),
        "log_loss": loss,
        "log_loss_of_base_rates": of_rates,
        "log_loss_against_base_rates": against.difference,
    }
    return {f"{forecasts.target}_{name}": figure for name, figure in figures.items()}


def _contrasts(
    metric: str,
    values: Mapping[str, FloatArray],
    units: IntArray,
    config: EvaluationConfig,
) -> tuple[Contrast, ...]:
    """Every other model against the baseline, the best first: the best simple model, else the best."""
    ranking = sorted(values, key=lambda name: (-float(values[name].mean()), name))
    baseline = next((name for name in ranking if name in SIMPLE_MODELS), ranking[0])
    others = [name for name in ranking if name != baseline]
    found = [
        compare_paired(
            values[name],
            values[baseline],
            units,
            np.random.default_rng(config.seed),
            n_resamples=config.n_resamples,
        )
        for name in others
    ]
    adjusted = adjust(np.array([one.p_value for one in found]), Correction.HOLM)
    return tuple(
        Contrast(
            model=name,
            baseline=baseline,
            metric=metric,
            value=one.candidate,
            baseline_value=one.baseline,
            difference=one.difference,
            bootstrap=one.bootstrap,
            p=one.p_value,
            adjusted_p=float(p),
            detectable=one.detectable,
            n_clients=len(units),
        )
        for name, one, p in zip(others, found, adjusted, strict=True)
    )


def _missing(
    pool: Pool,
    estimates: Mapping[str, Mapping[str, Estimate]],
    judged: Mapping[str, Sequence[Judged]],
    *,
    has_segments: bool,
) -> dict[str, str]:
    """Why a figure is absent, by figure; absent means that no model has it."""
    has = {metric for metrics in estimates.values() for metric in metrics}
    reasons: dict[str, tuple[bool, str]] = {
        "margin": ("margin_at_k" not in has, "the offers carry no margin_minor"),
        "repeat": ("ndcg_again" not in has, "no client connected again what it had before"),
        "diversity": ("diversity" not in has, "the offers have neither a need_group nor a category"),
        "suppliers": (
            not any(name for cut in pool.cuts for name in cut.shelf.suppliers),
            "the offers name no supplier_id",
        ),
        "calibration": (
            not any(name.endswith("calibration_slope") for name in has),
            "no model gives probabilities, or nothing that they are about came true within the data",
        ),
        "acceptance": (
            SHOWN not in has,
            "no list shown after the cuts has offers activated and not activated",
        ),
        "segments": (not has_segments, NO_SEGMENTS),
        "importance": (
            not any(one.importance for found in judged.values() for one in found),
            "no model here has trees, which are what reads features",
        ),
    }
    found = {name: reason for name, (is_missing, reason) in reasons.items() if is_missing}
    for dimension in DIMENSIONS:
        if dimension not in pool.dimensions:
            found[f"by {dimension}"] = f"no client's {dimension} is known"
    return found
