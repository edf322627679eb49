"""`recsys-train experiment`: from exported tables to a page, figures and a table."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.write import write_dataset
from recsys.errors import ConfigError, DataError
from recsys.experiments.experiment import Holdout, Status, read_experiment
from recsys.experiments.life import Standing
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.record import record_world
from recsys.simulation.world import World
from training.cli import app
from training.pipelines.experiments.experiment import run_experiment

DEMO = Path(__file__).parents[2] / "datasets" / "demo"
START = datetime(2025, 7, 1, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")
DOCUMENT = """{experiment_id: short, title: A shorter <list>, hypothesis: less is more, owner: anna,
  minimum_effect: 0.1,
  arms: [{name: control, weight: 0.5, expected: {value: 900, low: 100, high: 2000, source: run}},
         {name: new, weight: 0.5}],
  primary: {name: taken, measure: activations},
  secondary: [{name: margin, measure: margin, kind: mean, winsorised_at: 0.99, covariate: margin}],
  guardrails: [{metric: {name: complaints, measure: complaints, higher_is_better: false}, margin: 0.2}]}"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world in which every other client with a decision was assigned to the new arm."""
    world = World.load(DEMO / "worlds" / "typical.toml")
    world = world.model_copy(update={"n_clients": 1_500, "n_months": 6, "seed": 5})
    tables = dict(record_world(world, read_catalogue(DEMO), lambda _: None))
    first = (
        tables["decisions"]
        .filter(pl.col("occurred_at") >= START)
        .sort("occurred_at", "decision_id")
        .unique("client_id", keep="first", maintain_order=True)
    )
    arms = ["control", "new"] * len(first)
    own = first.select(
        pl.lit("short").alias("experiment_id"),
        "client_id",
        pl.col("client_id").alias("unit_id"),
        pl.Series("arm", arms[: len(first)]),
        pl.lit(value=False).alias("is_forced"),
        pl.col("occurred_at").alias("assigned_at"),
        pl.col("occurred_at").alias("triggered_at"),
        pl.col("decision_id").alias("trigger_decision_id"),
        pl.col("occurred_at").alias("recorded_at"),
    )
    held_out = own.with_columns(
        pl.lit("holdout").alias("experiment_id"),
        pl.when(pl.int_range(pl.len()) % 10 == 0)
        .then(pl.lit("held_out"))
        .otherwise(pl.lit("treated"))
        .alias("arm"),
    )
    standing = Standing(
        experiment=read_experiment(DOCUMENT, "short.yaml"), status=Status.RUNNING, started_at=START
    )
    tables["assignments"] = pl.concat([own, held_out])
    tables["experiments"] = pl.DataFrame(
        [
            ("short", 1, "running", standing.model_dump_json(), "anna", None, START),
            ("holdout", 1, "running", Holdout(share=0.1).model_dump_json(), "anna", None, START),
            ("broken", 1, "running", "{}", "anna", None, START),
        ],
        schema={
            "experiment_id": pl.String,
            "number": pl.Int64,
            "status": pl.String,
            "document": pl.String,
            "author": pl.String,
            "reason": pl.String,
            "recorded_at": INSTANT,
        },
        orient="row",
    )
    folder = tmp_path_factory.mktemp("experiment") / "data"
    meta = DatasetMeta(name="demo", title="Demo", currency="RUB", time_zone="Europe/Moscow")
    write_dataset(Dataset(meta=meta, tables=tables), folder)
    return folder


def test_everything_is_written_in_both_languages(data: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for language, words in (("en", "No difference found"), ("ru", "Разница не найдена")):
        out = tmp_path / language
        asked = ["experiment", "--data", str(data), "--experiment", "short", "--out", str(out)]
        ran = runner.invoke(app, [*asked, "--language", language])
        assert ran.exit_code == 0, ran.output
        assert words in ran.output
        page = (out / "report.html").read_text(encoding="utf-8")
        assert words in page
        assert "A shorter &lt;list&gt;" in page
        assert page.count("<svg") >= 3
        assert "<script" not in page
        assert {path.name for path in (out / "tables").iterdir()} == {"over_time.csv", "by_segment.csv"}
        assert json.loads((out / "run.json").read_text())["command"].startswith("experiment --data")


def test_json_is_the_content_of_the_file(data: Path, tmp_path: Path) -> None:
    asked = ["experiment", "--data", str(data), "--experiment", "short", "--out", str(tmp_path), "--json"]
    found = json.loads(CliRunner().invoke(app, asked).stdout)
    assert found == json.loads((tmp_path / "metrics.json").read_text())
    control, new = found["decisions"]
    assert control["expected"]["value"] == 900
    assert (control["expected_days"], control["expected_months"]) == (30, 12)
    assert control["measured"]["cause"] in ("few_events", "lopsided")  # so nothing is said of agreeing
    assert control["agrees"] is None
    assert new["expected"] is None
    assert found["verdicts"][0]["says"] in ("no_difference", "cannot_tell")


def test_an_earlier_moment_knows_less(data: Path, tmp_path: Path) -> None:
    now = run_experiment(str(data), "short", tmp_path / "now")
    early = run_experiment(str(data), "short", tmp_path / "early", as_of="2025-08-15")
    assert early.now.astimezone(UTC) == datetime(2025, 8, 14, 21, tzinfo=UTC)
    assert 0 < early.n_units < now.n_units
    assert sum(arm.counts.n_open for arm in early.arms) > 0
    before = run_experiment(str(data), "short", tmp_path / "before", as_of="2025-07-02")
    assert before.verdicts[0].why.en.startswith("Cannot tell")


def test_the_hold_out_is_an_experiment_too(data: Path, tmp_path: Path) -> None:
    results = run_experiment(str(data), "holdout", tmp_path)
    held_out, treated = results.arms
    assert (held_out.name, treated.name) == ("held_out", "treated")
    assert held_out.counts.n_clients * 5 < treated.counts.n_clients
    assert results.n_earlier == 0
    own = run_experiment(str(data), "short", tmp_path)
    assert own.n_held_out == held_out.counts.n_clients


def test_a_hold_out_whose_share_grew_is_compared_from_then_on(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    grown_at = START + timedelta(days=60)
    orders = pl.read_parquet(data / "experiments.parquet")
    grown = orders.filter(pl.col("experiment_id") == "holdout").with_columns(
        pl.lit(Holdout(share=0.2).model_dump_json()).alias("document"),
        pl.lit(grown_at).cast(orders.schema["recorded_at"]).alias("recorded_at"),
        pl.lit(2).cast(orders.schema["number"]).alias("number"),
    )
    again = grown.with_columns(
        pl.lit(grown_at + timedelta(days=9)).cast(orders.schema["recorded_at"]).alias("recorded_at"),
        pl.lit(3).cast(orders.schema["number"]).alias("number"),
    )
    pl.concat([orders, grown, again]).write_parquet(folder / "experiments.parquet")
    path = folder / "assignments.parquet"
    rows = pl.read_parquet(path)
    is_new = (pl.col("experiment_id") == "holdout") & (pl.col("assigned_at") >= grown_at)
    fifth = pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit("held_out")).otherwise(pl.lit("treated"))
    rows = rows.with_columns(pl.when(is_new).then(fifth).otherwise("arm").alias("arm"))
    rows.write_parquet(path)
    results = run_experiment(str(folder), "holdout", tmp_path / "out")
    n_new = len(rows.filter(is_new))
    assert [arm.weight for arm in results.arms] == [0.2, 0.8]
    assert sum(arm.counts.n_clients for arm in results.arms) == n_new > 20
    assert results.n_earlier == len(rows.filter(pl.col("experiment_id") == "holdout")) - n_new > n_new
    assert not results.sample_ratio.is_mismatch
    assert f"present share {results.n_earlier:,}" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_an_unknown_experiment_names_the_known(data: Path, tmp_path: Path) -> None:
    asked = ["experiment", "--data", str(data), "--experiment", "long", "--out", str(tmp_path / "o")]
    with pytest.raises(DataError, match=r"no experiment 'long' by .*; known are: broken, holdout, short"):
        CliRunner().invoke(app, asked, catch_exceptions=False)
    assert not (tmp_path / "o").exists()


def test_a_broken_document_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="document of experiment 'broken': experiment is missing"):
        run_experiment(str(data), "broken", tmp_path / "o")


def test_data_without_experiments_say_so(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("clients", "offers", "holdings"):
        (folder / f"{name}.parquet").write_bytes((data / f"{name}.parquet").read_bytes())
    with pytest.raises(DataError, match="has no table 'experiments'"):
        run_experiment(str(folder), "short", tmp_path / "o", as_of=(START + timedelta(days=60)).isoformat())


@pytest.mark.parametrize("as_of", ["2030-01-01", "0001-01-01"])
def test_time_that_nobody_watched_is_no_result(data: Path, tmp_path: Path, as_of: str) -> None:
    with pytest.raises(ConfigError, match="--as-of"):
        run_experiment(str(data), "short", tmp_path / "out", as_of=as_of)
    assert not (tmp_path / "out").exists()
