"""The search over recipes: honest about simple models, blind to what comes later, the same every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.errors import ConfigError, DataError
from recsys.models.base import FloatArray
from training.cli import app
from training.pipelines.evaluation.cuts import CutTruth
from training.pipelines.recipe import Recipe, load_recipe
from training.pipelines.selection import search as searching
from training.pipelines.selection.search import SearchResult, search

START = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = "2024-07-01"
N_CLIENTS, N_OFFERS = 60, 6


def write_data(folder: Path, *, n_days: int = 182) -> Path:
    """Clients that connect an offer every other week, some offers more often than others."""
    instant = pl.Datetime("us", "UTC")
    rows = []
    for client in range(N_CLIENTS):
        rng = np.random.default_rng(client)  # a longer history begins like a shorter one
        for day in range(int(rng.integers(1, 40)), n_days, 14):
            offer = int(N_OFFERS * rng.random() ** 2)
            rows.append((f"{client}-{day}", f"c{client:02}", f"o{offer}", START + timedelta(days=day)))
    columns = {
        "holding_id": pl.String,
        "client_id": pl.String,
        "offer_id": pl.String,
        "connected_at": instant,
    }
    holdings = pl.DataFrame(rows, schema=columns, orient="row").unique(
        ["client_id", "offer_id"], keep="first"
    )
    folder.mkdir()
    holdings.with_columns(
        pl.lit(None, instant).alias("disconnected_at"), pl.col("connected_at").alias("recorded_at")
    ).write_parquet(folder / "holdings.parquet")
    pl.DataFrame({"client_id": [f"c{client:02}" for client in range(N_CLIENTS)]}).with_columns(
        pl.lit(START, instant).alias("valid_from"), pl.lit(START, instant).alias("recorded_at")
    ).write_parquet(folder / "clients.parquet")
    pl.DataFrame({"offer_id": [f"o{offer}" for offer in range(N_OFFERS)], "kind": "own"}).with_columns(
        pl.lit(START, instant).alias("recorded_at")
    ).write_parquet(folder / "offers.parquet")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_data(tmp_path_factory.mktemp("search") / "data"))


def run(data: str, out: Path, *, max_recipes: int | None = 4) -> SearchResult:
    return search(
        data,
        AS_OF,
        1.0,
        out,
        models=["neighbours"],
        horizon_days=30,
        k=3,
        max_recipes=max_recipes,
        clock=never,
    )


def never() -> float:
    return 0.0


def test_what_is_written_is_a_recipe(data: str, tmp_path: Path) -> None:
    result = run(data, tmp_path / "found.toml")
    assert load_recipe(str(tmp_path / "found.toml")) == result.recipe
    assert result.n_recipes == 4
    assert result.recipe.horizon_days == 30
    assert set(result.scores) >= {"found", "popularity", "ease"}
    assert str(result).splitlines()[0] in (tmp_path / "found.toml").read_text(encoding="utf-8")


def test_the_same_seed_finds_the_same(data: str, tmp_path: Path) -> None:
    first, second = (run(data, tmp_path / f"{name}.toml") for name in ("a", "b"))
    assert first.to_json().replace("a.toml", "b.toml") == second.to_json()


def test_nothing_recorded_later_counts(data: str, tmp_path: Path) -> None:
    longer = write_data(tmp_path / "longer", n_days=300)
    first, second = run(data, tmp_path / "a.toml"), run(str(longer), tmp_path / "b.toml")
    assert first.scores == second.scores
    assert first.found == second.found


def rigged(favourite: Callable[[Recipe], float]) -> Callable[[Recipe, CutTruth, int, int], FloatArray]:
    """Recipes reach what is said, give or take."""

    def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
        noise = np.random.default_rng(seed).uniform(-0.01, 0.01, len(truth.adopters))
        return favourite(recipe) + noise

    return values_of


def test_a_clear_winner_is_written(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        searching, "values_of", rigged(lambda recipe: 0.3 + 0.2 * (recipe.model == "neighbours"))
    )
    result = run(data, tmp_path / "found.toml")
    assert result.written == "found"
    assert result.recipe.model == "neighbours"
    assert result.difference.low > 0


def test_where_a_simple_model_is_as_good_it_is_written(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "values_of", rigged(lambda _: 0.3))
    result = run(data, tmp_path / "found.toml")
    assert result.written == result.best_simple == result.recipe.model
    assert "does not clearly beat" in str(result)


def test_a_recipe_that_the_data_do_not_allow_is_counted(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
        if recipe.model == "neighbours":
            raise DataError("too short")
        return np.full(len(truth.adopters), 0.3)

    monkeypatch.setattr(searching, "values_of", values_of)
    assert run(data, tmp_path / "found.toml").n_failed == 3


def test_recipes_are_tried_on_windows_too_short_to_calibrate_on(data: str, tmp_path: Path) -> None:
    # 182 days are known: windows of 45 days, half of what lies before, and the recipe asks for 90
    result = search(
        data, AS_OF, 1.0, tmp_path / "found.toml", models=["ease"], horizon_days=90, k=3, max_recipes=3
    )
    assert (result.n_recipes, result.n_failed) == (3, 0)
    assert result.found.horizon_days == 90


def test_where_no_recipe_can_be_fitted_nothing_is_written(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
        raise DataError("too short")

    monkeypatch.setattr(searching, "values_of", values_of)
    with pytest.raises(DataError, match=r"none of the 4 recipes tried .*too short.*choose a later as_of"):
        run(data, tmp_path / "found.toml")
    assert not (tmp_path / "found.toml").exists()


def test_the_default_wins_only_on_windows_that_its_rivals_saw(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default shines in an earlier window to which no rival got; on the latest one a rival is better."""
    tried: dict[str, list[datetime]] = {}

    def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
        seen = tried.setdefault(recipe.digest(), [])
        seen.append(truth.as_of)
        value = 0.4 if recipe.model == "neighbours" else 0.3 if len(seen) == 1 else 0.9
        return np.full(len(truth.adopters), value)

    monkeypatch.setattr(searching, "values_of", values_of)
    ticks = count(0, 15)  # the time is over when the default was on the second window, which it enters first
    result = search(
        data,
        AS_OF,
        1.0,
        tmp_path / "found.toml",
        models=["neighbours"],
        k=3,
        clock=lambda: float(next(ticks)),
    )
    assert len(tried[load_recipe("default").digest()]) == 2
    assert result.found.model == "neighbours"


def test_the_default_takes_no_place_of_the_better_third(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: dict[str, int] = {}

    def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
        tried[recipe.digest()] = tried.get(recipe.digest(), 0) + 1
        return np.full(len(truth.adopters), 0.3 + 0.1 * (recipe.model != "neighbours"))

    monkeypatch.setattr(searching, "values_of", values_of)
    result = run(data, tmp_path / "found.toml")
    assert result.found.model == load_recipe("default").model
    rivals = [n for digest, n in tried.items() if digest != result.found.digest()]
    assert max(rivals) > 1


def test_a_slow_default_leaves_time_for_others(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 20 s a window: on all three at once it would spend the 60 s alone."""
    now = [0.0]

    def values_of(recipe: Recipe, truth: CutTruth, k: int, seed: int) -> FloatArray:
        now[0] += 5.0 if recipe.model == "neighbours" else 20.0
        return np.full(len(truth.adopters), 0.3)

    monkeypatch.setattr(searching, "values_of", values_of)
    result = search(
        data, AS_OF, 1.0, tmp_path / "found.toml", models=["neighbours"], k=3, clock=lambda: now[0]
    )
    assert result.n_recipes == 3


def test_the_last_window_is_told_in_the_zone_of_the_data(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "dataset.toml").write_text('name = "mine"\ntime_zone = "Europe/Moscow"\n', encoding="utf-8")
    result = run(str(data), tmp_path / "found.toml", max_recipes=1)
    assert result.last_window[0] == "2024-06-01"


def test_time_ends_a_search(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "values_of", rigged(lambda _: 0.3))
    ticks = count(0, 10)
    result = search(data, AS_OF, 1.0, tmp_path / "found.toml", k=3, clock=lambda: float(next(ticks)))
    # read once at the start and once before each recipe; half of the 60 seconds go to the first window
    assert result.n_recipes == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["expert"]}, "nothing to search over for 'expert'"),
        ({"minutes": 0.0}, "minutes is 0.0"),
        ({"minutes": math.nan}, "minutes is nan, must be above 0 and finite"),
        ({"minutes": math.inf}, "minutes is inf, must be above 0 and finite"),
        ({"seed": -1}, "seed is -1"),
        ({"horizon_days": 10**11}, "horizon_days is 100000000000, must be at most"),
        ({"horizon_days": 0}, "horizon_days is 0"),
        ({"k": 99}, "only 6 offers are known"),
        ({"name": "Found.toml"}, "lower-case"),
        ({"name": "nowhere/found.toml"}, "no such folder"),
        ({"as_of": "2024-02-01"}, "days are known"),
        ({"as_of": "2004-02-01"}, "0 days are known"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    data: str, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    asked = {"minutes": 1.0, "as_of": AS_OF, "name": "found.toml", "k": 3, "models": (), "horizon_days": 30}
    asked |= {"seed": 1} | change
    with pytest.raises((ConfigError, DataError), match=message):
        search(
            data,
            str(asked["as_of"]),
            float(str(asked["minutes"])),
            tmp_path / str(asked["name"]),
            models=asked["models"],
            horizon_days=asked["horizon_days"],
            k=asked["k"],
            seed=asked["seed"],
        )


def test_the_command_prints_one_object(data: str, tmp_path: Path) -> None:
    out = tmp_path / "found.toml"
    options = ["--data", data, "--as-of", AS_OF, "--minutes", "1", "--recipes", "1", "--k", "3", "--json"]
    answer = CliRunner().invoke(app, ["search", *options, "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    told = orjson.loads(answer.stdout)
    assert told["written"] in {"found", *told["ndcg"]}
    assert told["n_recipes"] == 1
