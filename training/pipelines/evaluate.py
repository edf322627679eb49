"""Compare models on time splits: learn from what was known at a cut, be judged on what followed.

The run's folder holds ``metrics.json`` and ``metrics.csv`` (pooled figures), ``per_client.parquet`` (one row
per model, cut and client, for paired comparisons), ``report.html`` and ``run.json``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table
from scipy import sparse

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError
from recsys.evaluation.beyond_accuracy import recommended_pattern
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.ranking import Hits, find_hits, rank_top_k
from recsys.evaluation.report import (
    METRICS,
    EvaluationConfig,
    EvaluationResult,
    ModelLists,
    Subject,
    summarise,
)
from recsys.models.base import IntArray
from training.pipelines.contestants import Contestant, contestant
from training.pipelines.cuts import CutTruth, check_horizon, parse_cut, take_cut
from training.pipelines.report import render_report
from training.prepare.sources import open_dataset
from training.runs import Run, check_folder, progress

_SCORES_PER_CHUNK = 2_000_000


def evaluate(  # noqa: PLR0913 – the parameters of the command
    data: str,
    models: Sequence[str],
    cuts: Sequence[datetime | str],
    horizon_days: int,
    k: int,
    out: Path,
    *,
    seed: int = 1,
    n_resamples: int = 1000,
    skip_bad_rows: bool = False,
) -> EvaluationResult:
    """Fit every model at every cut, rank for the clients that connected something new, and measure.

    Whatever a client ever held or was seen with up to the cut is left out of its list.

    Args:
        data: Folder of tables, or a database URL.
        models: Names of models or recipes, or recipe files (``.toml``).
        cuts: Days or instants; results are pooled over them.
        horizon_days: Days after a cut that count as truth, ≥1.
        k: Length of the list, ≥1.
        out: Folder to write into; made if missing, written only when everything has succeeded.
        seed: Root seed, ≥0; every fit starts from it, so a model's figures do not depend on its company.
        n_resamples: Number of bootstrap resamples, ≥1.
        skip_bad_rows: Leave broken rows of the data out instead of refusing them.

    Raises:
        ConfigError: A model, a cut or a number is wrong.
        DataError: The data are broken or end before the horizon, or nobody connected anything new.
        LeakageError: A training set holds something recorded after its cut.
    """
    check_folder(out)
    dataset = open_dataset(data, skip_bad_rows=skip_bad_rows)
    config = EvaluationConfig.parse(
        {
            "models": tuple(dict.fromkeys(models)),
            "cuts": tuple(sorted({parse_cut(cut, dataset.meta.time_zone) for cut in cuts})),
            "horizon_days": horizon_days,
            "k": k,
            "seed": seed,
            "n_resamples": n_resamples,
        },
        "evaluate",
    )
    check_horizon(dataset, config.cuts, horizon_days)
    contestants = [contestant(name) for name in config.models]
    truths, lists = _run_cuts(dataset, config, contestants)
    subject = Subject(
        title=dataset.meta.title or dataset.meta.name,
        time_zone=dataset.meta.time_zone,
        data_digest=dataset.digest,
        config_digest=_digest([config.digest(), *(item.digest for item in contestants)]),
    )
    result = summarise(subject, config, _rows(truths), lists)
    _write(result, out)
    return result


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _run_cuts(
    dataset: Dataset, config: EvaluationConfig, contestants: Sequence[Contestant]
) -> tuple[list[CutTruth], dict[str, ModelLists]]:
    truths: list[CutTruth] = []
    ranked: dict[str, list[IntArray]] = {item.name: [] for item in contestants}
    with progress("evaluate", len(config.cuts) * len(contestants)) as advance:
        for cut in config.cuts:
            truth = take_cut(dataset, cut, config.horizon_days)
            _check_length(config.k, truth)
            truths.append(truth)
            for item, lists in zip(contestants, ranked.values(), strict=True):
                lists.append(_rank(item, truth, config))
                advance(1)
    return truths, {name: _pool(truths, lists) for name, lists in ranked.items()}


def _check_length(k: int, truth: CutTruth) -> None:
    n_offers = len(truth.training.offers)
    if k > n_offers:
        raise ConfigError(
            f"k is {k}, but only {n_offers} offers are known at {truth.as_of.date()}; choose a shorter list"
        )


def _rank(item: Contestant, truth: CutTruth, config: EvaluationConfig) -> IntArray:
    """Lists for the clients of one cut, a bounded number of scores at a time."""
    score = item.fit(truth.training, np.random.default_rng(config.seed))
    chunk = max(1, _SCORES_PER_CHUNK // max(len(truth.training.offers), 1))
    n_clients = len(truth.clients)
    lists = []
    for start in range(0, n_clients, chunk):
        rows = np.arange(start, min(start + chunk, n_clients))
        scores = np.array(score(truth.clients.take(rows)))
        scores[truth.seen[rows].nonzero()] = -np.inf
        lists.append(rank_top_k(scores, config.k))
    return np.concatenate(lists)


def _pool(truths: Sequence[CutTruth], ranked: Sequence[IntArray]) -> ModelLists:
    hits = [find_hits(lists, truth.relevant) for lists, truth in zip(ranked, truths, strict=True)]
    recommended = [
        recommended_pattern(lists, len(truth.training.offers))
        for lists, truth in zip(ranked, truths, strict=True)
    ]
    return ModelLists(
        hits=Hits(
            np.concatenate([found.is_relevant for found in hits]),
            np.concatenate([found.n_relevant for found in hits]),
        ),
        recommended=sparse.csr_array(sparse.block_diag(recommended, format="csr")),
    )


def _rows(truths: Sequence[CutTruth]) -> pl.DataFrame:
    """The (cut, client) pairs in the order of the pooled lists.

    A client that changed its account group between the cuts stays one unit, the one of the last cut.
    """
    unit_of = {
        client_id: unit
        for truth in truths
        for client_id, unit in zip(truth.client_ids, truth.units, strict=True)
    }
    return pl.DataFrame(
        [
            (truth.as_of, client_id, unit_of[client_id], n_relevant)
            for truth in truths
            for client_id, n_relevant in zip(
                truth.client_ids, np.diff(truth.relevant.indptr).tolist(), strict=True
            )
        ],
        schema={
            "cut": pl.Datetime("us", "UTC"),
            "client_id": pl.String,
            "unit": pl.String,
            "n_relevant": pl.Int64,
        },
        orient="row",
    )


def render_table(result: EvaluationResult) -> Table:
    """The pooled figures for a terminal, best NDCG first."""
    asked = f"{result.config.horizon_days} days, k = {result.config.k}"
    table = Table(
        title=f"{result.subject.title}\n{result.n_clients:,} clients, {asked}",
        caption="below each figure its 95 % interval over clients",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),  # eight columns must fit into a terminal of 80
    )
    table.add_column("model", overflow="fold")
    for metric in METRICS:
        table.add_column(metric, justify="right", overflow="fold")
    for name, estimates in sorted(result.estimates.items(), key=lambda item: -item[1]["ndcg"].value):
        table.add_row(name, *(_cell(estimates[metric]) for metric in METRICS))
    return table


def _cell(estimate: Estimate) -> str:
    return f"{_short(estimate.value)}\n[dim]{_short(estimate.low)}–{_short(estimate.high)}[/dim]"


def _short(value: float) -> str:
    """The figure in four characters."""
    return f"{value:.3f}".removeprefix("0")[:4]


def _metrics_rows(result: EvaluationResult) -> Iterator[tuple[str, str, float, float, float]]:
    for name, estimates in result.estimates.items():
        for metric, estimate in estimates.items():
            yield name, metric, estimate.value, estimate.low, estimate.high


def _write(result: EvaluationResult, out: Path) -> None:
    report = render_report(result)  # first: what can fail fails before anything is written
    config = result.config
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(result.to_json() + "\n", encoding="utf-8")
    pl.DataFrame(
        list(_metrics_rows(result)), schema=["model", "metric", "value", "low", "high"], orient="row"
    ).write_csv(out / "metrics.csv")
    result.per_client.write_parquet(out / "per_client.parquet")
    (out / "report.html").write_text(report, encoding="utf-8")
    cuts = ",".join(cut.isoformat() for cut in config.cuts)
    command = f"evaluate --models {','.join(config.models)} --as-of {cuts}"
    Run(
        command=f"{command} --horizon-days {config.horizon_days} --k {config.k}",
        seed=config.seed,
        config_digest=result.subject.config_digest,
        data_digest=result.subject.data_digest,
    ).write(out)
