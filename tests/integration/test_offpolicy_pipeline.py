"""``recsys-train offpolicy``: from a made-up operator's log to figures, a report and a judgement."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from rich.console import Console
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from recsys.domain import Language
from recsys.errors import ConfigError, DataError, LeakageError
from recsys.experiments.experiment import Expected
from recsys.simulation.catalogue import read_catalogue
from recsys.simulation.world import World
from training.cli import app
from training.pipelines.fit import fit
from training.pipelines.offpolicy.evaluate import Options, evaluate_off_policy
from training.pipelines.offpolicy.expected import expected_block
from training.pipelines.offpolicy.report import render_report
from training.pipelines.offpolicy.result import ACTIVATIONS, MARGIN, OffPolicyResult
from training.pipelines.offpolicy.terminal import render_result
from training.pipelines.offpolicy.words import WORDS, ends, measure_title
from training.pipelines.policies.sources import open_policy
from training.pipelines.scoring.estimates import open_bundle
from training.pipelines.worlds.offpolicy import LoggedWorld
from training.prepare.open_bandit import prepare

AT_RANDOM, ALMOST_SURE = "{kind: epsilon, share: 1.0}", "{kind: epsilon, share: 0.001}"
OPTIONS = Options(placements=("home",), n_resamples=200, n_lists=2, language=Language.EN)


@dataclass(frozen=True)
class Operator:
    """A made-up operator with a log of random lists.

    Attributes:
        logged: Its world.
        folder: Its data and bundles.
    """

    logged: LoggedWorld
    folder: Path

    def ask(self, exploration: str, out: Path, options: Options = OPTIONS) -> OffPolicyResult:
        policy = self.logged.policy(exploration)
        return evaluate_off_policy(str(self.folder / "data"), self.folder / "bundles", policy, out, options)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, root_dir: Path) -> Operator:
    folder, demo = tmp_path_factory.mktemp("offpolicy"), root_dir / "datasets" / "demo"
    world = World.load(demo / "worlds" / "typical.toml")
    share = world.aftersales.model_copy(update={"share": 0.0})
    world = world.model_copy(update={"n_clients": 220, "aftersales": share})
    return Operator(LoggedWorld(world, read_catalogue(demo), demo, folder, 10), folder)


@pytest.fixture(scope="module")
def at_random(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> tuple[OffPolicyResult, Path]:
    out = tmp_path_factory.mktemp("run")
    return operator.ask(AT_RANDOM, out), out


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_a_policy_like_the_log_gets_an_estimate_that_holds_the_truth(
    operator: Operator, tmp_path: Path
) -> None:
    held = operator.logged.hold(AT_RANDOM, options=OPTIONS)
    assert held.result.says
    found = held.result.measures[ACTIVATIONS]
    assert found.new is not None
    assert found.new.low <= held.truth <= found.new.high
    assert found.live.low <= held.live_truth <= found.live.high
    for estimates in found.estimators.values():
        # The direct method's interval knows nothing of its model's error.
        assert [
            name
            for name, one in estimates.items()
            if not one.low <= held.truth <= one.high and name != "direct"
        ] == []


def test_of_a_policy_without_support_the_log_says_nothing(operator: Operator, tmp_path: Path) -> None:
    result = operator.ask(ALMOST_SURE, tmp_path)
    assert not result.says
    assert result.main.new is None
    told = orjson.loads((tmp_path / "metrics.json").read_bytes())
    assert told["gate"]["says"] is False
    assert told["policies"]["new"] == {"value": None, "low": None, "high": None}
    assert told["verdict"]["promotion"] == "unknown"
    assert "This log says nothing about this policy" in (tmp_path / "report.html").read_text()


def test_the_run_folder_holds_what_is_promised(at_random: tuple[OffPolicyResult, Path]) -> None:
    result, out = at_random
    told = orjson.loads((out / "metrics.json").read_bytes())
    assert result.measure == told["measure"] == MARGIN
    assert set(told["policies"]) == {"live", "new"}
    for figures in (told["policies"]["new"], told["difference"], told["policies"]["live"]):
        assert figures["low"] <= figures["value"] <= figures["high"]
    assert told["gate"]["says"] is True
    assert told["gate"]["ess"] >= 100
    assert told["left_out"]["before_bundle"] > 0
    assert told["left_out"]["open_window"] > 0
    assert {path.stem for path in (out / "tables").iterdir()} == set(result.tables)
    assert orjson.loads((out / "run.json").read_bytes())["command"].startswith("recsys-train offpolicy --log")


def test_a_run_says_what_it_compared(operator: Operator, at_random: tuple[OffPolicyResult, Path]) -> None:
    """What decides on a promotion must be able to refuse a run about something else."""
    _, out = at_random
    told = orjson.loads((out / "metrics.json").read_bytes())
    subject = told["subject"]
    assert subject["policy"] == open_policy(operator.logged.policy(AT_RANDOM)).policy.version
    bundle = open_bundle(operator.folder / "bundles")
    assert subject["bundle"] == bundle.version
    assert datetime.fromisoformat(subject["bundle_as_of"]) == bundle.manifest.as_of
    assert sum(subject["live_policies"].values()) == told["n_decisions"]
    assert subject["live_bundles"] == {}
    assert (subject["days"], subject["months"]) == (OPTIONS.days, OPTIONS.months)
    assert subject["first_at"] <= subject["last_at"] < subject["as_of"]


def test_diagnostics_are_those_of_the_worst_slot(at_random: tuple[OffPolicyResult, Path]) -> None:
    told = orjson.loads((at_random[1] / "metrics.json").read_bytes())
    for found in told["diagnostics"].values():
        by_slot = {each.pop("slot"): each for each in found["by_slot"]}
        assert found["diagnostics"] == by_slot[found["worst_slot"]]
        assert found["gate"]["ess"] == min(each["ess"] for each in by_slot.values())


def test_the_report_stands_by_itself_in_both_languages(at_random: tuple[OffPolicyResult, Path]) -> None:
    result, _ = at_random
    for language, title in (
        (Language.EN, "What would the new policy"),
        (Language.RU, "Сколько заработала бы"),
    ):
        page = render_report(result, language)
        assert title in page
        assert page.count("<svg") == 4
        assert "<script" not in page
        assert "src=" not in page


def test_the_same_question_gets_the_same_answer(
    operator: Operator, at_random: tuple[OffPolicyResult, Path], tmp_path: Path
) -> None:
    assert operator.ask(AT_RANDOM, tmp_path).to_json() == at_random[0].to_json()


def test_the_terminal_and_json_tell_the_same(
    operator: Operator, at_random: tuple[OffPolicyResult, Path], tmp_path: Path
) -> None:
    policy = operator.logged.policy(AT_RANDOM)
    words = ["offpolicy", "--log", operator.folder / "data", "--bundle", operator.folder / "bundles"]
    words += ["--policy", policy, "--placement", "home", "--slots", 1, "--out", tmp_path]
    told = run(*words, "--json")
    assert told.exit_code == 0
    assert orjson.loads(told.stdout)["n_slots"] == at_random[0].n_decisions
    for language in Language:
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(render_result(at_random[0], language))
        shown = console.export_text()
        wanted = [WORDS[language][word].split(":")[0] for word in ("cascade", "independent", "worst_slot")]
        for measure, found in at_random[0].measures.items():
            assert found.new is not None
            wanted += [measure_title(at_random[0], measure, language), ends(found.new, measure, language)]
        assert [word for word in wanted if word not in shown] == [], "not whole at 80 columns"


def test_numbers_are_written_as_the_language_writes_them(at_random: tuple[OffPolicyResult, Path]) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_result(at_random[0], Language.RU))
    figures = console.export_text().partition(WORDS[Language.RU]["expected"][:20])[0]
    assert re.search(r"\d,\d", figures)
    assert re.findall(r"\d[.]\d|\d,\d{3}\D", re.sub(r",\d\d\d\d", "", figures)) == []


def test_what_an_experiment_expects_is_ready_to_be_copied(at_random: tuple[OffPolicyResult, Path]) -> None:
    result, out = at_random
    written = YAML(typ="safe").load((out / "expected.yaml").read_text(encoding="utf-8"))
    expected = Expected.model_validate(written["expected"])
    assert result.main.new is not None
    assert (expected.value, expected.low, expected.high) == pytest.approx(
        (result.main.new.value, result.main.new.low, result.main.new.high), abs=0.01
    )
    assert (expected.days, expected.months) == (OPTIONS.days, OPTIONS.months)
    assert sha256((out / "metrics.json").read_bytes()).hexdigest().startswith(expected.source)
    narrow = replace(result, subject=replace(result.subject, n_slots=1))
    assert expected_block(narrow) == "", "an experiment counts every slot"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", -1),
        ("--seed", 10**23),
        ("--days", 10**20),
        ("--days", 0),
        ("--months", 10**20),
        ("--slots", 101),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(tmp_path: Path, option: str, value: int) -> None:
    words = ["--log", tmp_path, "--bundle", tmp_path, "--policy", tmp_path, "--out", tmp_path / "out"]
    refused = run("offpolicy", *words, option, value)
    assert refused.exit_code == 2
    assert f"Invalid value for '{option}'" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("chance", [0.0, None, float("nan")])
def test_what_was_shown_without_a_probability_is_named(
    operator: Operator, tmp_path: Path, chance: float | None
) -> None:
    data = shutil.copytree(operator.folder / "data", tmp_path / "data")
    items = pl.read_parquet(data / "decision_items.parquet")
    last = items["decision_id"].unique().sort()[-300]
    wrong = pl.when(pl.col("decision_id") == last, pl.col("slot") == 2).then(pl.lit(chance, pl.Float64))
    items = items.with_columns(wrong.otherwise("logging_probability").alias("logging_probability"))
    items.write_parquet(data / "decision_items.parquet")
    policy = operator.logged.policy(AT_RANDOM)
    with pytest.raises(DataError, match=r"logging_probability"):
        evaluate_off_policy(str(data), operator.folder / "bundles", policy, tmp_path / "out", OPTIONS)


def test_models_that_know_what_followed_are_refused(operator: Operator, tmp_path: Path) -> None:
    fit(str(operator.folder / "data"), "popularity", "2026-10-25", tmp_path / "bundles")
    policy = operator.logged.policy(AT_RANDOM)
    with pytest.raises(LeakageError, match=r"fit an earlier bundle .*--as-of"):
        evaluate_off_policy(
            str(operator.folder / "data"), tmp_path / "bundles", policy, tmp_path / "out", OPTIONS
        )


def test_a_placement_that_the_policy_lacks_is_named(operator: Operator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no placement 'attic'"):
        operator.ask(AT_RANDOM, tmp_path, Options(placements=("attic",)))


def test_a_dataset_without_a_log_is_refused(operator: Operator, tmp_path: Path) -> None:
    data = shutil.copytree(operator.folder / "data", tmp_path / "data")
    (data / "events.parquet").unlink()
    policy = operator.logged.policy(AT_RANDOM)
    with pytest.raises(DataError, match="has no events"):
        evaluate_off_policy(str(data), operator.folder / "bundles", policy, tmp_path / "out", OPTIONS)


def test_open_bandit_becomes_a_log(tmp_path: Path) -> None:
    raw = tmp_path / "open_bandit"
    raw.mkdir()
    rng = np.random.default_rng(1)
    for policy in ("random", "bts"):
        with (raw / f"obd_{policy}_women.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["item_id", "position", "click", "propensity_score"])
            writer.writerows(
                [int(item), row % 3, int(row % 10 == 0), 0.25]
                for row, item in enumerate(rng.integers(0, 4, 40))
            )
    summary = prepare(tmp_path, tmp_path / "out")
    assert summary.n_rows["decisions"] == 80
    assert summary.n_rows["holdings"] == 8
    shown = run("validate", tmp_path / "out")
    assert shown.exit_code == 0
    with pytest.raises(DataError, match="there is no obd_random_CAMPAIGN"):
        prepare(tmp_path / "out", tmp_path / "again")
