"""Compare models on time splits: learn from what was known at a cut, be judged on what followed.

The run's folder holds ``metrics.json`` and ``metrics.csv`` (pooled figures), ``per_client.parquet`` (one row
per model, cut and client, for paired comparisons), ``tables/`` (everything plotted, as CSV), ``report.html``
and ``run.json``.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
from sqlalchemy import make_url

from recsys.data.dataset import Dataset
from recsys.errors import ConfigError
from recsys.evaluation.report import EvaluationConfig, EvaluationResult, Subject
from training.pipelines.evaluation.contestants import Contestant, contestant
from training.pipelines.evaluation.cuts import (
    CutTruth,
    check_adopters,
    check_horizon,
    check_start,
    parse_cut,
    take_cut,
    told,
)
from training.pipelines.evaluation.judge import Judged, judge
from training.pipelines.evaluation.pooling import CutFacts, facts_of
from training.pipelines.evaluation.report import render_report
from training.pipelines.evaluation.stakes import Stakes
from training.pipelines.evaluation.summary import summarise
from training.pipelines.evaluation.tables import TABLES
from training.prepare.sources import open_dataset
from training.runs import Run, check_folder, progress


def evaluate(  # noqa: PLR0913 – the parameters of the command
    data: str,
    models: Sequence[str],
    cuts: Sequence[datetime | str],
    horizon_days: int,
    k: int,
    out: Path,
    *,
    embargo_days: int = 0,
    seed: int = 1,
    n_resamples: int = 1000,
    skip_bad_rows: bool = False,
) -> EvaluationResult:
    """Fit every model at every cut, rank all offers for all clients, and measure.

    Whatever a client ever held or was seen with up to the cut is left out of its list.

    Args:
        data: Folder of tables, or a database URL.
        models: Names of models or recipes, or recipe files (``.toml``).
        cuts: Days or instants; results are pooled over them.
        horizon_days: Days after a cut that count as truth, ≥1.
        k: Length of the list, ≥1.
        out: Folder to write into; made if missing, written only when everything has succeeded.
        embargo_days: Days before each cut of which models know nothing, ≥0.
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
            "embargo_days": embargo_days,
            "k": k,
            "seed": seed,
            "n_resamples": n_resamples,
        },
        "evaluate",
    )
    check_start(dataset, config.cuts, embargo_days)
    check_horizon(dataset, config.cuts, horizon_days)
    contestants = [contestant(name) for name in config.models]
    cuts_judged, judged = _run_cuts(dataset, config, contestants)
    subject = Subject(
        title=dataset.meta.title or dataset.meta.name,
        time_zone=dataset.meta.time_zone,
        currency=dataset.meta.currency,
        data_digest=dataset.digest,
        config_digest=_digest([config.digest(), *(item.digest for item in contestants)]),
    )
    result = summarise(subject, config, cuts_judged, judged)
    _write(result, out, _command(data, result, out, skip_bad_rows=skip_bad_rows))
    return result


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _run_cuts(
    dataset: Dataset, config: EvaluationConfig, contestants: Sequence[Contestant]
) -> tuple[list[CutFacts], dict[str, list[Judged]]]:
    cuts: list[CutFacts] = []
    judged: dict[str, list[Judged]] = {item.name: [] for item in contestants}
    with progress("evaluate", len(config.cuts) * len(contestants)) as advance:
        for cut in config.cuts:
            facts, found = _run_cut(dataset, config, contestants, cut, lambda: advance(1))
            cuts.append(facts)
            for name, one in found.items():
                judged[name].append(one)
    return cuts, judged


def _run_cut(
    dataset: Dataset,
    config: EvaluationConfig,
    contestants: Sequence[Contestant],
    cut: datetime,
    advance: Callable[[], None],
) -> tuple[CutFacts, dict[str, Judged]]:
    """Judge everybody at one cut; its world and the fitted models are gone afterwards."""
    truth = take_cut(dataset, cut, config.horizon_days, config.embargo_days)
    check_adopters(truth, config.horizon_days)
    _check_length(config.k, truth)
    stakes = Stakes(dataset, truth, config.horizon_days)
    judged = {}
    for item in contestants:
        judged[item.name] = judge(item.fit(truth.known, config.seed), stakes, config.k)
        advance()
    return facts_of(truth), judged


def _check_length(k: int, truth: CutTruth) -> None:
    n_offers = len(truth.offers)
    if k > n_offers:
        raise ConfigError(
            f"k is {k}, but only {n_offers} offers are known at {truth.told()}; choose a shorter list"
        )


def _metrics_rows(result: EvaluationResult) -> Iterator[tuple[str, str, float, float, float]]:
    for name, estimates in result.estimates.items():
        for metric, estimate in estimates.items():
            yield name, metric, estimate.value, estimate.low, estimate.high


def _command(data: str, result: EvaluationResult, out: Path, *, skip_bad_rows: bool) -> str:
    """The command that does this again; a database's password and options stay out of it."""
    config, zone = result.config, result.subject.time_zone
    source = make_url(data).set(query={}).render_as_string() if "://" in data else data
    asked = {
        "--data": source,
        "--models": ",".join(config.models),
        "--as-of": ",".join(told(cut, zone) for cut in config.cuts),
        "--horizon-days": config.horizon_days,
        "--embargo-days": config.embargo_days,
        "--k": config.k,
        "--seed": config.seed,
        "--out": out,
    }
    words = ["evaluate", *(str(word) for option in asked.items() for word in option)]
    return shlex.join([*words, "--skip-bad-rows"] if skip_bad_rows else words)


def _write(result: EvaluationResult, out: Path, command: str) -> None:
    report = render_report(result)  # first: what can fail fails before anything is written
    config = result.config
    tables = out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(result.to_json() + "\n", encoding="utf-8")
    pl.DataFrame(
        list(_metrics_rows(result)), schema=["model", "metric", "value", "low", "high"], orient="row"
    ).fill_nan(None).write_csv(out / "metrics.csv")
    result.per_client.write_parquet(out / "per_client.parquet")
    for name in TABLES:  # one that this run does not have may be there from an earlier run
        (tables / f"{name}.csv").unlink(missing_ok=True)
    for name, table in result.tables.items():
        table.write_csv(tables / f"{name}.csv")
    (out / "report.html").write_text(report, encoding="utf-8")
    Run(
        command=command,
        seed=config.seed,
        config_digest=result.subject.config_digest,
        data_digest=result.subject.data_digest,
    ).write(out)
