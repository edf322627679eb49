"""The result of an evaluation as plain data: pooled estimates, one row per client, curves for plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
import orjson
import polars as pl
from pydantic import Field
from scipy import sparse

from recsys.config import RunConfig
from recsys.evaluation.intervals import Estimate, bootstrap_means, jackknife_coverage
from recsys.evaluation.ranking import RANKING_METRICS, Hits
from recsys.models.base import FloatArray, IntArray

METRICS = (*RANKING_METRICS, "coverage")


class EvaluationConfig(RunConfig):
    """What was asked.

    Attributes:
        models: Model names or recipe files.
        cuts: Instants at which models are fitted; results are pooled over them.
        horizon_days: Days after a cut that count as truth.
        k: Length of the list.
        seed: Root seed of every random draw.
        n_resamples: Number of bootstrap resamples.
    """

    models: tuple[str, ...] = Field(min_length=1)
    cuts: tuple[datetime, ...] = Field(min_length=1)
    horizon_days: int = Field(ge=1)
    k: int = Field(ge=1)
    seed: int = Field(ge=0)
    n_resamples: int = Field(ge=1)


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated.

    Attributes:
        title: The dataset, for people.
        time_zone: Days of the dataset are days of this zone.
        data_digest: Digest of the data.
        config_digest: Digest of the configuration and of the recipes it names.
    """

    title: str
    time_zone: str
    data_digest: str
    config_digest: str


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What came out.

    Attributes:
        config: What was asked.
        subject: What was evaluated.
        estimates: Estimate by model and metric, pooled over the cuts; every (client, cut) counts once.
        n_clients: Number of distinct clients judged.
        n_rows: Number of (client, cut) pairs judged.
        per_client: One row per model, cut and client: cut, client_id, model, unit, n_relevant, metrics.
        by_cut: One row per model and cut: NDCG with its interval.
        by_length: One row per model and list length up to k: NDCG and recall.
    """

    config: EvaluationConfig
    subject: Subject
    estimates: Mapping[str, Mapping[str, Estimate]]
    n_clients: int
    n_rows: int
    per_client: pl.DataFrame
    by_cut: pl.DataFrame
    by_length: pl.DataFrame

    def to_json(self) -> str:
        """The result as one JSON object, the content of ``metrics.json``."""
        return orjson.dumps(
            {
                "models": {
                    name: {metric: asdict(estimate) for metric, estimate in metrics.items()}
                    for name, metrics in self.estimates.items()
                },
                "n_clients": self.n_clients,
                "digests": {"data": self.subject.data_digest, "config": self.subject.config_digest},
                "n_client_cuts": self.n_rows,
                "cuts": self.config.cuts,
                "horizon_days": self.config.horizon_days,
                "k": self.config.k,
                "seed": self.config.seed,
                "n_resamples": self.config.n_resamples,
            }
        ).decode()


@dataclass(frozen=True, slots=True)
class ModelLists:
    """What one model recommended, pooled over the cuts.

    Attributes:
        hits: The lists against the truth.
        recommended: Rows by (cut, offer): an offer counts anew at every cut.
    """

    hits: Hits
    recommended: sparse.csr_array


def summarise(
    subject: Subject, config: EvaluationConfig, rows: pl.DataFrame, lists: Mapping[str, ModelLists]
) -> EvaluationResult:
    """Measure every model's lists, pooled over the cuts.

    Args:
        subject: What was evaluated.
        config: What was asked.
        rows: The (cut, client) pairs judged, in the order of the lists: cut, client_id, unit, n_relevant.
        lists: What each model recommended, by name.

    Returns:
        The result; models keep their order.
    """
    per_client = pl.concat([_model_rows(rows, name, found.hits) for name, found in lists.items()])
    return EvaluationResult(
        config=config,
        subject=subject,
        estimates=_estimates(lists, _unit_codes(rows), config),
        n_clients=rows["client_id"].n_unique(),
        n_rows=len(rows),
        per_client=per_client,
        by_cut=_by_cut(per_client, config),
        by_length=_by_length(lists),
    )


def _model_rows(rows: pl.DataFrame, name: str, hits: Hits) -> pl.DataFrame:
    metrics = [pl.Series(metric, measure(hits)) for metric, measure in RANKING_METRICS.items()]
    named = rows.with_columns(pl.lit(name).alias("model"), *metrics)
    return named.select("cut", "client_id", "model", "unit", "n_relevant", *RANKING_METRICS)


def _estimates(
    lists: Mapping[str, ModelLists], units: IntArray, config: EvaluationConfig
) -> dict[str, dict[str, Estimate]]:
    """Every metric of every model on the same resamples."""
    values = np.column_stack(
        [measure(found.hits) for found in lists.values() for measure in RANKING_METRICS.values()]
    )
    means = iter(_bootstrap(values, units, config))
    return {
        name: {metric: next(means) for metric in RANKING_METRICS}
        | {"coverage": jackknife_coverage(found.recommended, units)}
        for name, found in lists.items()
    }


def _bootstrap(values: FloatArray, units: IntArray, config: EvaluationConfig) -> list[Estimate]:
    rng = np.random.default_rng(config.seed)
    return bootstrap_means(values, units, rng, n_resamples=config.n_resamples)


def _by_cut(per_client: pl.DataFrame, config: EvaluationConfig) -> pl.DataFrame:
    rows = []
    for (cut, model), group in per_client.group_by(["cut", "model"], maintain_order=True):
        [ndcg] = _bootstrap(group.select("ndcg").to_numpy(), _unit_codes(group), config)
        rows.append((cut, model, ndcg.value, ndcg.low, ndcg.high))
    return pl.DataFrame(rows, schema=["cut", "model", "ndcg", "low", "high"], orient="row")


def _by_length(lists: Mapping[str, ModelLists]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (
                name,
                k,
                float(RANKING_METRICS["ndcg"](found.hits.cut(k)).mean()),
                float(RANKING_METRICS["recall"](found.hits.cut(k)).mean()),
            )
            for name, found in lists.items()
            for k in _lengths(found.hits.k)
        ],
        schema=["model", "k", "ndcg", "recall"],
        orient="row",
    )


def _lengths(k: int) -> list[int]:
    """Lengths up to k for a curve, at most thirty of them: each costs as much as the whole metric."""
    return sorted({round(float(length)) for length in np.geomspace(1, k, num=30)})


def _unit_codes(rows: pl.DataFrame) -> IntArray:
    return rows["unit"].rank("dense").to_numpy().astype(np.int64) - 1
