"""Analyse an experiment on exported tables, and write what it shows.

The folder holds ``report.html``, ``metrics.json`` (the results), ``tables/*.csv`` (what is plotted) and
``run.json``.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
from pydantic import ValidationError
from sqlalchemy import make_url

from recsys.config import describe
from recsys.data.dataset import Dataset
from recsys.data.snapshot import parse_as_of
from recsys.domain import Language
from recsys.errors import ConfigError, DataError
from recsys.experiments.analysis import analyse
from recsys.experiments.experiment import HOLDOUT_ID, Holdout
from recsys.experiments.holdout import standing_of_holdout
from recsys.experiments.life import Standing
from recsys.experiments.outcomes import observe
from recsys.experiments.results import Interval, Results
from training.pipelines.evaluation.cuts import end_of_data
from training.pipelines.experiments.report import Subject, render_report
from training.prepare.sources import open_dataset
from training.runs import Run, check_folder


def run_experiment(
    data: str,
    experiment_id: str,
    out: Path,
    *,
    as_of: str | None = None,
    language: Language = Language.EN,
) -> Results:
    """Analyse an experiment as known at an instant.

    Args:
        data: Folder of tables, or a database URL, with `experiments` and `assignments`.
        experiment_id: Which one; ``holdout`` = the global hold-out against everybody else.
        out: Folder to write into; made if missing, written only when everything has succeeded.
        as_of: Day or instant; None = the end of the data.
        language: Language of the report.

    Raises:
        ConfigError: The moment is none.
        DataError: The experiment or a table is not there, or assignments are broken.
    """
    check_folder(out)
    dataset = open_dataset(data)
    now = _moment(dataset, as_of)
    standing = standing_of(dataset, experiment_id, now)
    results = analyse(standing, observe(standing, dataset.tables, now))
    subject = Subject(
        title=dataset.meta.title or dataset.meta.name,
        time_zone=dataset.meta.time_zone,
        currency=dataset.meta.currency,
        digest=dataset.digest,
    )
    page = render_report(results, subject, language.value)
    digest = hashlib.sha256(standing.model_dump_json().encode()).hexdigest()
    run = Run(_command(data, experiment_id, now, language, out), 0, digest, dataset.digest)
    _write(results, page, run, out)
    return results


def _moment(dataset: Dataset, as_of: str | None) -> datetime:
    end_at = end_of_data(dataset).astimezone(UTC)
    if as_of is None:
        return end_at
    try:
        moment = parse_as_of(as_of, dataset.meta.time_zone)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--as-of: {error}") from None
    if moment > end_at + timedelta(days=1):
        raise ConfigError(
            f"--as-of: the data end on {end_at:%Y-%m-%d}, and what clients did until {as_of} is not known;"
            " name an earlier day"
        )
    return moment


def standing_of(dataset: Dataset, experiment_id: str, now: datetime) -> Standing:
    """An experiment as it stood at an instant, by the last order that was recorded by then.

    Raises:
        DataError: There is no such experiment, or its document cannot be read.
    """
    orders = dataset.table("experiments").filter(pl.col("recorded_at") <= now).sort("number")
    own = orders.filter(pl.col("experiment_id") == experiment_id)
    if own.is_empty():
        known = ", ".join(orders["experiment_id"].unique().sort().to_list()) or "none"
        raise DataError(f"there is no experiment {experiment_id!r} by {now:%Y-%m-%d}; known are: {known}")
    try:
        if experiment_id == HOLDOUT_ID:
            return _standing_of_holdout(own)
        return Standing.model_validate_json(own["document"][-1])
    except ValidationError as error:
        raise DataError(f"the document of experiment {experiment_id!r}: {describe(error)}") from error


def _standing_of_holdout(orders: pl.DataFrame) -> Standing:
    """The hold-out as an experiment, since it is as it is."""
    said = [Holdout.model_validate_json(document) for document in orders["document"]]
    # Who came under an earlier share stays where it is, so only those since then divide by this one.
    before = [number for number, each in enumerate(said) if each != said[-1]]
    return standing_of_holdout(said[-1], orders["recorded_at"][before[-1] + 1 if before else 0])


def _command(data: str, experiment_id: str, now: datetime, language: Language, out: Path) -> str:
    """The command that does this again; a database's password and options stay out of it."""
    source = make_url(data).set(query={}).render_as_string() if "://" in data else data
    asked = {
        "--data": source,
        "--experiment": experiment_id,
        "--as-of": now.isoformat(),
        "--language": language.value,
        "--out": out,
    }
    return shlex.join(["experiment", *(str(word) for option in asked.items() for word in option)])


def _write(results: Results, page: str, run: Run, out: Path) -> None:
    tables = out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    figures = orjson.dumps(results.as_json(), option=orjson.OPT_INDENT_2)
    (out / "metrics.json").write_bytes(figures + b"\n")
    _timeline(results).write_csv(tables / "over_time.csv")
    _segments(results).write_csv(tables / "by_segment.csv")
    (out / "report.html").write_text(page, encoding="utf-8")
    run.write(out)


def _timeline(results: Results) -> pl.DataFrame:
    rows = [(one.day, one.arm, *one.n_clients, *_ends(one.absolute)) for one in results.timeline]
    return _frame(rows, ["day", "arm", "n_control", "n_arm", "value", "low", "high"])


def _segments(results: Results) -> pl.DataFrame:
    rows = [
        (one.dimension, one.segment, one.arm, *one.n_clients, *_ends(one.absolute), *_ends(one.shrunk))
        for one in results.segments
    ]
    names = ["dimension", "segment", "arm", "n_control", "n_arm", "value", "low", "high"]
    return _frame(rows, [*names, "shrunk", "shrunk_low", "shrunk_high"])


def _frame(rows: Sequence[tuple[object, ...]], names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=names, orient="row").fill_nan(None)


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high
