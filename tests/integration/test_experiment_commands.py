"""Experiments from the command line: their life, what is refused, what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from recsys.errors import StoreUnavailableError
from recsys.experiments.experiment import read_experiment
from serving.cli import main
from serving.orders import ExperimentOrder
from serving.services.analysis import Analysis
from serving.storage.sql import SqlStore

FILES = {
    "clients.csv": "client_id,valid_from,recorded_at\na,2025-01-01,2025-01-01\nb,2025-01-01,2025-01-01\n",
    "offers.csv": "offer_id,kind,recorded_at\nmail,own,2025-01-01\n",
    "holdings.csv": "holding_id,client_id,offer_id,connected_at,recorded_at\n",
}
DOCUMENT = """\
experiment_id: hints
title: Короткие подсказки
hypothesis: чем короче, тем чаще
owner: anna
arms:
  - {name: control, weight: 0.5}
  - {name: short, weight: 0.5, texts: {mail: {ru: Почта, en: Mail}}}
primary: {name: taken, measure: activations}
minimum_effect: 0.1
"""


class Run(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Serve = Callable[..., Run]


@pytest.fixture
def serve(
    tmp_path: Path,
    new_sqlite: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Serve:
    monkeypatch.setenv("RECSYS_DATABASE_URL", new_sqlite(tmp_path / "store.db"))
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / "hints.yaml").write_text(DOCUMENT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["recsys-serve", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Run(int(ended.value.code or 0), *capsys.readouterr())

    assert run("load", folder).returncode == 0
    return run


def done(run: Run) -> Run:
    assert run.returncode == 0, run.stderr
    return run


def test_the_life_of_an_experiment(serve: Serve, tmp_path: Path) -> None:
    assert "hints is draft" in done(serve("experiment", "create", "hints.yaml")).stderr
    edited = DOCUMENT.replace("owner: anna", "owner: boris\ncoverage: 0.1")
    (tmp_path / "hints.yaml").write_text(edited, encoding="utf-8")
    done(serve("experiment", "edit", "hints.yaml"))
    assert "running, for 10% of its units" in done(serve("experiment", "start", "hints")).stderr
    done(serve("experiment", "ramp", "hints", "--coverage", "0.5"))
    shown = json.loads(done(serve("experiment", "show", "hints", "--json")).stdout)
    assert (shown["status"], shown["coverage"], shown["author"]) == ("running", 0.5, "command line")
    assert shown["experiment"]["owner"] == "boris"
    stopped = done(serve("experiment", "stop", "hints", "--reason", "хватит")).stderr
    assert stopped == "experiment hints is stopped\n"
    assert "хватит" in done(serve("experiment", "list")).stdout
    decided = json.loads(
        done(
            serve("experiment", "decide", "hints", "--winner", "short", "--reason", "лучше", "--json")
        ).stdout
    )
    assert (decided["status"], decided["winner"], decided["warnings"]) == ("decided", "short", [])
    (listed,) = json.loads(done(serve("experiment", "list", "--json")).stdout)["experiments"]
    assert (listed["experiment_id"], listed["status"], listed["reason"]) == ("hints", "decided", "лучше")
    told = done(serve("experiment", "show", "hints"))
    assert "хватит" in told.stderr
    assert json.loads(told.stdout)["title"] == "Короткие подсказки"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "hins"), "unknown experiment 'hins'; did you mean 'hints'?"),
        (("stop", "hints", "--reason", "x"), "start it first"),
        (("results", "hints"), "start it first"),
        (("create", "hints.yaml"), "choose another id"),
        (("create", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("create", "broken.yaml"), "broken.yaml:6: arms.0.weight"),
        (("ramp", "hints", "--coverage", "0.5"), "start it first"),
        (("holdout", "--share", "0.9"), "holdout: share"),
    ],
)
def test_a_wrong_request_is_one_clear_line(
    serve: Serve, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    broken = DOCUMENT.replace("- {name: control, weight: 0.5}", "- {name: control, weight: heavy}")
    (tmp_path / "broken.yaml").write_text(broken, encoding="utf-8")
    done(serve("experiment", "create", "hints.yaml"))
    run = serve("experiment", *words)
    assert run.returncode == 1
    assert said in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_results_and_plans_are_told_in_both_languages(serve: Serve) -> None:
    plan = done(serve("experiment", "plan", "hints.yaml", "--language", "ru"))
    assert "Сказать нельзя" in plan.stdout
    assert json.loads(done(serve("experiment", "plan", "hints.yaml", "--json")).stdout)["n_clients"] == 2
    done(serve("experiment", "create", "hints.yaml"))
    done(serve("experiment", "start", "hints"))
    found = json.loads(done(serve("experiment", "results", "hints", "--json")).stdout)
    assert [verdict["says"] for verdict in found["verdicts"]] == ["cannot_tell"]
    for language in ("ru", "en"):
        told = done(serve("experiment", "results", "hints", "--language", language)).stdout
        assert found["verdicts"][0]["why"][language].split()[0] in told
        roles, ratio = {"ru": ("главный", "Соотношение"), "en": ("primary", "Sample ratio")}[language]
        assert roles in told
        assert ratio in told
    assert "absolute" in told
    assert "window open" in told
    assert "nan" not in told


def test_the_holdout_is_ordered_and_said(serve: Serve) -> None:
    assert "0.0%" in done(serve("experiment", "holdout")).stdout
    done(serve("experiment", "holdout", "--share", "0.05", "--reason", "to measure"))
    entry = json.loads(done(serve("experiment", "holdout", "--json")).stdout)
    assert (entry["share"], entry["salt"], entry["author"]) == (0.05, "holdout", "command line")
    again = done(serve("experiment", "holdout", "--share", "0.05", "--salt", "x"))
    assert "keeps the side it was on" in again.stderr
    told = done(serve("experiment", "results", "holdout")).stdout
    assert "treated" in told
    assert "nan" not in told
    assert "no_units" not in told


def test_what_cannot_be_read_is_listed_shown_and_stopped(serve: Serve, tmp_path: Path) -> None:
    done(serve("experiment", "list"))
    store = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    store.put_experiment(ExperimentOrder("newer", 1, "running", '{"shape": 9}', "x", "", at))
    store.close()
    assert "cannot be read by this program" in done(serve("experiment", "list")).stdout
    assert "cannot be read by this program" in done(serve("experiment", "show", "newer")).stderr
    assert "newer is stopped" in done(serve("experiment", "stop", "newer", "--reason", "enough")).stderr
    assert json.loads(done(serve("experiment", "show", "newer", "--json")).stdout)["status"] == "stopped"


def test_a_server_computes_in_a_process_beside_it(serve: Serve, tmp_path: Path) -> None:
    done(serve("load", "data"))
    done(serve("experiment", "create", "hints.yaml"))
    done(serve("experiment", "start", "hints"))
    place = f"sqlite:///{tmp_path / 'store.db'}"
    store, now = SqlStore(place), datetime.now(UTC)
    apart, here = Analysis(place), Analysis()
    try:
        assert apart.results(store, "hints", now) == here.results(store, "hints", now)
        document = read_experiment(DOCUMENT, "hints.yaml")
        planned = apart.plan(store, document, 0.5, now)
        assert planned["share_triggered"] == 0.5
        with pytest.raises(StoreUnavailableError, match="the log says why"):
            Analysis("sqlite:///nowhere/at/all.db").results(store, "hints", now)
    finally:
        store.close()


def test_experiments_leave_and_enter_with_the_tables(serve: Serve, tmp_path: Path) -> None:
    done(serve("experiment", "create", "hints.yaml"))
    done(serve("experiment", "start", "hints"))
    n_rows = json.loads(done(serve("export", "--out", "out", "--json")).stdout)["n_rows"]
    assert n_rows["experiments"] == 2
    (tmp_path / "store.db").unlink()
    done(serve("load", "out"))
    assert json.loads(done(serve("experiment", "show", "hints", "--json")).stdout)["status"] == "running"
