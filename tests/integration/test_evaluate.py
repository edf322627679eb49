"""The evaluation from tables on disk to its report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
from recsys.evaluation.report import METRICS
from training.pipelines import cuts
from training.pipelines.evaluate import EvaluationResult, evaluate, render_table

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
        assert tuple(metrics) == METRICS
        for estimate in metrics.values():
            assert set(estimate) == {"value", "low", "high"}
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


def test_tables_of_the_run_agree_with_its_figures(evaluated: tuple[EvaluationResult, Path]) -> None:
    result, out = evaluated
    per_client = pl.read_parquet(out / "per_client.parquet")
    assert per_client.group_by("model").len()["len"].unique().to_list() == [result.n_rows]
    assert per_client["client_id"].n_unique() == result.n_clients
    assert per_client["cut"].n_unique() == len(CUTS)
    metrics = pl.read_csv(out / "metrics.csv")
    for model, found in result.estimates.items():
        rows = per_client.filter(pl.col("model") == model)
        for metric in METRICS[:-1]:
            assert rows[metric].mean() == pytest.approx(found[metric].value)
        written = metrics.filter((pl.col("model") == model) & (pl.col("metric") == "ndcg"))
        assert written.row(0)[2:] == pytest.approx(
            (found["ndcg"].value, found["ndcg"].low, found["ndcg"].high)
        )


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
    assert alone.estimates["ease"] == evaluated[0].estimates["ease"]


def test_terminal_table_puts_the_best_first_and_fits_80_columns(
    evaluated: tuple[EvaluationResult, Path],
) -> None:
    result, _ = evaluated
    console = Console(width=80, record=True, file=StringIO())
    console.print(render_table(result))
    text = console.export_text()
    assert text.index("ease") < text.index("popularity")
    for figure in result.estimates["ease"].values():
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
    assert page.count("<svg") == 4
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
        pytest.param(["ease"], "2024-03-01", 0, "k: Input should be greater", id="k = 0"),
        pytest.param([], "2024-03-01", 5, "models: ", id="no models"),
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
