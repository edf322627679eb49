"""The evaluation from tables on disk to its report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from rich.console import Console

from recsys.data.dataset import Dataset
from recsys.data.snapshot import Snapshot, take_snapshot
from recsys.errors import ConfigError, DataError, LeakageError
from recsys.evaluation.ranking import RANKING_METRICS
from training.cli import main
from training.pipelines.evaluation import cuts
from training.pipelines.evaluation.compare import RunComparison, compare
from training.pipelines.evaluation.evaluate import EvaluationResult, evaluate
from training.pipelines.evaluation.tables import TABLES
from training.pipelines.evaluation.terminal import render_comparison, render_table

START = datetime(2024, 1, 1, tzinfo=UTC)
CUTS = ("2024-03-01", "2024-04-01")
LAST = datetime(2024, 5, 31, 12, tzinfo=UTC)
Holding = tuple[str, str, datetime, datetime | None]


def write_tables(
    folder: Path,
    holdings: Sequence[Holding],
    *,
    groups: dict[str, str] | None = None,
    offers_recorded_at: dict[str, datetime] | None = None,
) -> Path:
    """A dataset of those holdings (client, offer, connected_at, disconnected_at), known as they happen."""
    folder.mkdir()
    clients = sorted({row[0] for row in holdings})
    offers = sorted({row[1] for row in holdings})
    instant = pl.Datetime("us", "UTC")
    pl.DataFrame(
        {
            "client_id": clients,
            "valid_from": START,
            "recorded_at": START,
            "account_group_id": [(groups or {}).get(client) for client in clients],
        },
        schema_overrides={"valid_from": instant, "recorded_at": instant, "account_group_id": pl.String},
    ).write_parquet(folder / "clients.parquet")
    pl.DataFrame(
        {
            "offer_id": offers,
            "kind": "own",
            "recorded_at": [(offers_recorded_at or {}).get(offer, START) for offer in offers],
        },
        schema_overrides={"recorded_at": instant},
    ).write_parquet(folder / "offers.parquet")
    pl.DataFrame(
        [
            (f"h{number}", client, offer, connected_at, disconnected_at, disconnected_at or connected_at)
            for number, (client, offer, connected_at, disconnected_at) in enumerate(holdings)
        ],
        schema={
            "holding_id": pl.String,
            "client_id": pl.String,
            "offer_id": pl.String,
            "connected_at": instant,
            "disconnected_at": instant,
            "recorded_at": instant,
        },
        orient="row",
    ).write_parquet(folder / "holdings.parquet")
    return folder


@pytest.fixture(scope="module")
def two_tastes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clients of even number connect offers a…, the others b…, each in an order of its own."""
    rng = np.random.default_rng(41)
    holdings: list[Holding] = [("c000", "a0", LAST, None)]
    for client in range(80):
        for position, number in enumerate(rng.permutation(12)[:8]):
            day = timedelta(days=float(20 * position + rng.uniform(0, 15)))
            holdings.append((f"c{client:03}", f"{'ab'[client % 2]}{number}", START + day, None))
    holdings = [row for row in holdings if row[2] <= LAST]
    groups = {f"c{client:03}": f"g{client // 4}" for client in range(40)}
    return write_tables(tmp_path_factory.mktemp("data") / "two-tastes", holdings, groups=groups)


@pytest.fixture(scope="module")
def evaluated(two_tastes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationResult, Path]:
    out = tmp_path_factory.mktemp("run") / "out"
    models = ["popularity", "ease", "neighbours"]
    return evaluate(str(two_tastes), models, CUTS, 30, 5, out, n_resamples=200), out


def test_json_keeps_the_contract(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    answer = orjson.loads(result.to_json())
    assert list(answer["models"]) == ["popularity", "ease", "neighbours"]
    for metrics in answer["models"].values():
        assert tuple(metrics)[: len(RANKING_METRICS)] == tuple(RANKING_METRICS)
        assert all(set(estimate) == {"value", "low", "high"} for estimate in metrics.values())
        for metric in (*RANKING_METRICS, "coverage"):
            estimate = metrics[metric]
            assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    assert 0 < answer["n_clients"] <= 80
    assert all(re.fullmatch("[0-9a-f]{64}", answer["digests"][name]) for name in ("data", "config"))
    assert orjson.loads((out / "metrics.json").read_bytes()) == answer


def test_run_folder_says_what_was_done(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    run = orjson.loads((out / "run.json").read_bytes())
    assert run["seed"] == result.config.seed
    assert run["data_digest"] == result.subject.data_digest
    assert run["config_digest"] == result.subject.config_digest
    command = run["command"]
    assert command.startswith("evaluate --data ")
    assert "--models popularity,ease,neighbours --as-of 2024-03-01,2024-04-01 " in command
    assert command.endswith(f"--seed 1 --out {out}")
    assert "NaN" not in (out / "metrics.csv").read_text()


def test_tables_of_the_run_agree_with_its_figures(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    per_client = pl.read_parquet(out / "per_client.parquet")
    assert per_client.group_by("model").len()["len"].unique().to_list() == [result.n_rows]
    assert per_client["client_id"].n_unique() == result.n_clients
    assert per_client["cut"].n_unique() == len(CUTS)
    metrics = pl.read_csv(out / "metrics.csv")
    for model, found in result.estimates.items():
        rows = per_client.filter(pl.col("model") == model)
        for metric in RANKING_METRICS:
            assert rows[metric].mean() == pytest.approx(found[metric].value)
        written = metrics.filter((pl.col("model") == model) & (pl.col("metric") == "ndcg"))
        assert written.row(0)[2:] == pytest.approx(
            (found["ndcg"].value, found["ndcg"].low, found["ndcg"].high)
        )


def test_figures_over_everybody_stand_beside_those_over_adopters(
    evaluated: tuple[EvaluationResult, Path],
) -> None:
    result, _ = evaluated
    assert result.n_observed >= result.n_rows
    for estimates in result.estimates.values():
        at_1, at_5 = (estimates[f"adoptions_top_{percent}_percent"].value for percent in (1, 5))
        assert 0 <= at_1 <= at_5 <= 1
    assert result.estimates["ease"]["adoptions_top_5_percent"].value > 0.05  # what chance would catch


def test_what_the_data_do_not_tell_is_absent_and_the_report_says_why(
    evaluated: tuple[EvaluationResult, Path],
) -> None:
    result, out = evaluated
    for estimates in result.estimates.values():
        assert not {"margin_at_k", "margin_top_1_percent", "diversity", "ndcg_again"} & set(estimates)
    assert "by_supplier" not in result.tables
    page = (out / "report.html").read_text(encoding="utf-8")
    for what in ("margin", "diversity", "suppliers", "calibration", "importance", "repeat", "by size"):
        assert f"<li>{what}: {result.missing[what]}".replace("'", "&#39;") in page


def test_every_other_model_is_held_against_the_best_simple_one(
    evaluated: tuple[EvaluationResult, Path],
) -> None:
    result, _ = evaluated
    assert {one.model for one in result.contrasts} == {"popularity", "neighbours"}
    for one in result.contrasts:
        assert one.baseline == "ease"
        difference = result.estimates[one.model]["ndcg"].value - result.estimates["ease"]["ndcg"].value
        assert one.difference.value == pytest.approx(difference)
        assert one.p <= one.adjusted_p <= 1
    assert "ease" in result.verdict


def test_everything_plotted_is_a_table_in_the_folder(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    written = {path.stem: pl.read_csv(path) for path in (out / "tables").iterdir()}
    assert set(written) == set(result.tables) >= {"by_cut", "by_length", "gains", "by_offer", "examples"}
    assert all(len(table) == len(result.tables[name]) for name, table in written.items())
    gains = written["gains"].filter(pl.col("model") == "ease")["share_of_adoptions"].to_list()
    assert gains == sorted(gains)
    assert (gains[0], gains[-1]) == (0.0, 1.0)


def test_a_table_of_an_earlier_run_does_not_stay(two_tastes: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("reliability", "mine"):
        (tables / f"{name}.csv").write_text("a\n1\n", encoding="utf-8")
    result = evaluate(str(two_tastes), ["popularity"], CUTS[:1], 30, 3, tmp_path, n_resamples=10)
    assert set(result.tables) <= set(TABLES)
    assert {path.stem for path in tables.iterdir()} == {*result.tables, "mine"}


def test_a_single_client_gives_figures_without_intervals(tmp_path: Path) -> None:
    rows: list[Holding] = [("last", "x", LAST, None), ("c0", "x", datetime(2024, 3, 10, tzinfo=UTC), None)]
    rows += [(f"c{number}", "y", START, None) for number in range(5)]
    data = write_tables(tmp_path / "data", rows)
    result = evaluate(str(data), ["popularity"], CUTS[:1], 30, 2, tmp_path / "out", n_resamples=10)
    told = orjson.loads(result.to_json())["models"]["popularity"]
    assert told["ndcg"] == {"value": 1.0, "low": None, "high": None}
    assert (tmp_path / "out" / "report.html").exists()


def test_a_model_that_reads_holdings_learns_the_tastes(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, _ = evaluated
    assert result.estimates["ease"]["ndcg"].low > result.estimates["popularity"]["ndcg"].high


def test_companies_of_a_group_are_one_unit(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, _ = evaluated
    units = dict(result.per_client.select("client_id", "unit").iter_rows())
    assert units["c000"] == units["c003"] != units["c004"]
    assert units["c050"] != units["c051"]


def test_a_models_figures_do_not_depend_on_its_company(
    two_tastes: Path, evaluated: tuple[EvaluationResult, Path], tmp_path: Path
) -> None:
    alone = evaluate(str(two_tastes), ["ease"], CUTS, 30, 5, tmp_path / "out", n_resamples=200)
    together = evaluated[0].estimates["ease"]
    assert alone.estimates["ease"].keys() == together.keys()
    for metric, figure in alone.estimates["ease"].items():
        assert astuple(figure) == pytest.approx(astuple(together[metric]), rel=1e-12, nan_ok=True), metric


def test_terminal_table_puts_the_best_first_and_fits_80_columns(
    evaluated: tuple[EvaluationResult, Path],
) -> None:
    result, _ = evaluated
    console = Console(width=80, record=True, file=StringIO())
    console.print(render_table(result))
    text = console.export_text()
    assert text.index("ease") < text.index("popularity")
    for figure in (result.estimates["ease"][metric] for metric in (*RANKING_METRICS, "coverage")):
        low, value = f"{figure.low:.3f}", f"{figure.value:.3f}"
        assert value.removeprefix("0")[:4] in text
        assert f"{low.removeprefix('0')[:4]}–" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_report_needs_nothing_from_elsewhere(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe|object|embed|base)\b|@import|\bon\w+=", page)
    assert not re.search(r"\b(?:src|href|srcset)\s*=\s*[\"'](?!#)", page)
    assert not re.search(r"url\((?!#)", page)
    without_names = re.sub(r'\bxmlns(:\w+)?="[^"]*"', "", page)
    assert "://" not in without_names
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)
    assert page.count("<svg") == 5
    assert result.subject.data_digest in page


ORDER = ("x", "y", "z")


def _held_all_but_one(kind: str) -> list[Holding]:
    """Clients who had two of three offers and then connect the third; a fourth holds on to the data's end."""
    rows: list[Holding] = [("last", "x", START, None), ("last", "y", LAST, None)]
    for number in range(6):
        missing = ORDER[number % 3]
        for offer in ORDER:
            day = START + timedelta(days=number)
            if offer == missing:
                rows.append((f"c{number}", offer, datetime(2024, 3, 10, tzinfo=UTC), None))
            elif kind == "held":
                rows.append((f"c{number}", offer, day, None))
            elif kind == "ended":
                rows.append((f"c{number}", offer, day, day + timedelta(days=5)))
            else:
                rows.append((f"c{number}", offer, day, day))
    return rows


@pytest.mark.parametrize("kind", ["held", "ended", "seen once"])
def test_nothing_a_client_ever_had_is_recommended(kind: str, tmp_path: Path) -> None:
    data = write_tables(tmp_path / "data", _held_all_but_one(kind))
    result = evaluate(str(data), ["popularity", "ease"], CUTS[:1], 30, 1, tmp_path / "out", n_resamples=10)
    for estimates in result.estimates.values():
        assert estimates["ndcg"].value == 1.0  # one offer is left for each, and it is the right one


def test_an_offer_unknown_at_the_cut_is_not_relevant(tmp_path: Path) -> None:
    launched_at = datetime(2024, 3, 5, tzinfo=UTC)
    rows = [*_held_all_but_one("held"), ("c0", "new", launched_at, None)]
    data = write_tables(tmp_path / "data", rows, offers_recorded_at={"new": launched_at})
    result = evaluate(str(data), ["popularity"], CUTS[:1], 30, 3, tmp_path / "out", n_resamples=10)
    assert result.per_client.filter(pl.col("client_id") == "c0")["n_relevant"].to_list() == [1]
    assert result.estimates["popularity"]["recall"].value == 1.0


def _peeking(days: int, *, offers: bool) -> Callable[[Dataset, datetime], Snapshot]:
    """A snapshot that knows the future and says it does not."""

    def peek(dataset: Dataset, as_of: datetime) -> Snapshot:
        later = take_snapshot(dataset, as_of + timedelta(days=days))
        now = take_snapshot(dataset, as_of)
        return Snapshot(
            as_of=as_of,
            states=now.states if offers else later.states,
            offers=later.offers if offers else now.offers,
            demand=() if offers else later.demand,
            holdings_kind=now.holdings_kind,
        )

    return peek


def test_a_holding_from_the_future_is_a_leak(
    two_tastes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "take_snapshot", _peeking(10, offers=False))
    with pytest.raises(LeakageError, match=r"the holding of offer '.+' by client '.+' was recorded after"):
        evaluate(str(two_tastes), ["popularity"], CUTS[:1], 30, 5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_offer_from_the_future_is_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched_at = datetime(2024, 3, 5, tzinfo=UTC)
    rows = [*_held_all_but_one("held"), ("c0", "new", launched_at, None)]
    data = write_tables(tmp_path / "data", rows, offers_recorded_at={"new": launched_at})
    monkeypatch.setattr(cuts, "take_snapshot", _peeking(10, offers=True))
    with pytest.raises(LeakageError, match="offer 'new' was recorded after the cut"):
        evaluate(str(data), ["popularity"], CUTS[:1], 30, 5, tmp_path / "out")


def test_a_horizon_beyond_the_data_names_their_last_day(two_tastes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"62 days from the cut 2024-04-01 .* last day is 2024-05-31"):
        evaluate(str(two_tastes), ["popularity"], CUTS, 62, 5, tmp_path / "out")


def test_a_horizon_may_end_with_the_datas_last_day(two_tastes: Path, tmp_path: Path) -> None:
    evaluate(str(two_tastes), ["popularity"], CUTS, 61, 5, tmp_path / "out", n_resamples=10)
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("models", "cut", "k", "message"),
    [
        pytest.param(["oracle"], "2024-03-01", 5, "oracle", id="no such model"),
        pytest.param(["expert"], "2024-03-01", 5, "expert.yaml", id="expert without its weights"),
        pytest.param(["missing.toml"], "2024-03-01", 5, "missing.toml", id="no such recipe"),
        pytest.param(["ease"], "spring", 5, "as_of 'spring'", id="no date"),
        pytest.param(["ease"], "2024-03-01", 0, "k must be at least 1, not '0'", id="k = 0"),
        pytest.param([], "2024-03-01", 5, "models must have 1 or more values", id="no models"),
    ],
)
def test_wrong_requests_are_named_and_write_nothing(
    two_tastes: Path, tmp_path: Path, models: list[str], cut: str, k: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(str(two_tastes), models, [cut], 30, k, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_horizon_without_news_is_named(tmp_path: Path) -> None:
    data = write_tables(tmp_path / "data", [("c0", "x", START, None), ("c0", "y", LAST, None)])
    with pytest.raises(DataError, match="no client connected anything new in the 30 days"):
        evaluate(str(data), ["popularity"], CUTS[:1], 30, 5, tmp_path / "out")


def test_a_list_longer_than_the_catalogue_is_refused(two_tastes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="k is 10000, but only"):
        evaluate(str(two_tastes), ["popularity"], CUTS, 30, 10_000, tmp_path / "out")


def test_a_file_in_the_place_of_the_results_is_refused_first(two_tastes: Path, tmp_path: Path) -> None:
    place = tmp_path / "results"
    place.write_text("mine")
    with pytest.raises(DataError, match="is a file; give a folder"):
        evaluate(str(two_tastes), ["popularity"], CUTS, 30, 5, place)
    assert place.read_text() == "mine"


@pytest.fixture(scope="module")
def compared(
    two_tastes: Path, evaluated: tuple[EvaluationResult, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunComparison, Path, Path]:
    changed = tmp_path_factory.mktemp("changed") / "out"
    recipe = changed.parent / "weak.toml"
    recipe.write_text('model = "ease"\n[params]\nl2 = 1e9\n')
    evaluate(str(two_tastes), ["popularity", str(recipe)], CUTS, 30, 5, changed, n_resamples=200)
    return compare(evaluated[1], changed), evaluated[1], changed


def test_a_model_that_did_not_change_does_not_differ(compared: tuple[RunComparison, Path, Path]) -> None:
    result, _, _ = compared
    assert {(one.baseline, one.model) for one in result.overall} == {("popularity", "popularity")}
    assert [one.metric for one in result.overall] == list(RANKING_METRICS)
    for one in (*result.overall, *result.segments):
        assert one.difference.value == one.difference.low == one.difference.high == 0
        assert one.adjusted_p == 1
    assert result.verdict == "popularity ranks every client alike in both runs."


def test_two_models_of_one_run_can_be_compared(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    found = compare(out, out, model_a="popularity", model_b="ease")
    [ndcg] = [one for one in found.overall if one.metric == "ndcg"]
    [contrast] = [one for one in result.contrasts if one.model == "popularity"]
    assert ndcg.difference.value == pytest.approx(-contrast.difference.value)
    assert ndcg.p == contrast.p
    assert ndcg.difference.low > 0
    assert "ease of B ranks better" in found.verdict
    answer = orjson.loads(found.to_json())
    assert answer["overall"][0]["difference"].keys() == {"value", "low", "high"}
    console = Console(width=100, record=True, file=StringIO())
    console.print(render_comparison(found))
    assert "hit_rate" in console.export_text()


def test_a_model_that_the_run_does_not_have_is_named(evaluated: tuple[EvaluationResult, Path]) -> None:
    with pytest.raises(ConfigError, match=r"has no model 'als'; it has neighbours, ease, "):
        compare(evaluated[1], evaluated[1], model_b="als")


@pytest.mark.parametrize(
    ("cuts", "horizon", "k", "message"),
    [
        pytest.param(CUTS[:1], 30, 5, r"differ in cuts: 2024-03-01, 2024-04-01 and 2024-03-01$", id="cuts"),
        pytest.param(CUTS, 20, 5, r"differ in horizon_days: 30 and 20$", id="horizon"),
        pytest.param(CUTS, 30, 4, r"differ in k: 5 and 4$", id="k"),
    ],
)
def test_runs_that_were_asked_different_things_are_refused(  # noqa: PLR0917
    two_tastes: Path,
    evaluated: tuple[EvaluationResult, Path],
    tmp_path: Path,
    cuts: Sequence[str],
    horizon: int,
    k: int,
    message: str,
) -> None:
    evaluate(str(two_tastes), ["popularity"], cuts, horizon, k, tmp_path / "out", n_resamples=10)
    with pytest.raises(DataError, match=message):
        compare(evaluated[1], tmp_path / "out")


def test_runs_on_different_data_are_refused(evaluated: tuple[EvaluationResult, Path], tmp_path: Path) -> None:
    rows = [
        *_held_all_but_one("held"),
        ("last", "z", LAST, None),
        ("c1", "x", datetime(2024, 4, 9, tzinfo=UTC), None),
    ]
    data = write_tables(tmp_path / "data", [*rows, ("c2", "w", datetime(2024, 4, 9, tzinfo=UTC), None)])
    evaluate(str(data), ["popularity"], CUTS[:1], 30, 3, tmp_path / "out", n_resamples=10)
    with pytest.raises(DataError, match=r"differ in data: [0-9a-f]{12}… and [0-9a-f]{12}…; cuts"):
        compare(evaluated[1], tmp_path / "out")


def test_a_folder_without_an_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no evaluation that can be read: give the --out folder"):
        compare(tmp_path, tmp_path)


def test_an_embargo_hides_the_days_before_the_cut(tmp_path: Path) -> None:
    # everybody's taste shows in the last ten days before the cut and nowhere else
    rows: list[Holding] = [("last", "x", LAST, None)]
    for number in range(30):
        rows += [
            (f"c{number}", f"o{number % 3}", START, None),
            (f"f{number}", "x", datetime(2024, 2, 25, tzinfo=UTC), None),
        ]
        rows.append((f"c{number}", "x", datetime(2024, 3, 10, tzinfo=UTC), None))
    data = write_tables(tmp_path / "data", rows)
    fresh = evaluate(str(data), ["popularity"], CUTS[:1], 30, 1, tmp_path / "fresh", n_resamples=10)
    stale = evaluate(
        str(data), ["popularity"], CUTS[:1], 30, 1, tmp_path / "stale", n_resamples=10, embargo_days=10
    )
    assert fresh.estimates["popularity"]["ndcg"].value == 1.0
    assert stale.estimates["popularity"]["ndcg"].value < 0.5


def test_the_commands_take_a_range_of_cuts_and_answer_with_one_object(
    two_tastes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    asked = (
        f"evaluate --data {two_tastes} --models popularity,ease --as-of 2024-04-01 --cuts 2 --every-days 31"
    )
    monkeypatch.setattr(
        "sys.argv",
        ["recsys-train", *asked.split(), "--horizon-days", "30", "--k", "5", "--out", out, "--json"],
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    answer = orjson.loads(capsys.readouterr().out)
    assert [cut[:10] for cut in answer["cuts"]] == ["2024-03-01", "2024-04-01"]
    monkeypatch.setattr(
        "sys.argv", ["recsys-train", "compare", out, out, "--a", "popularity", "--b", "ease", "--json"]
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    assert orjson.loads(capsys.readouterr().out)["overall"][0]["model"] == "ease"
    monkeypatch.setattr("sys.argv", ["recsys-train", "compare", out, str(tmp_path)])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
