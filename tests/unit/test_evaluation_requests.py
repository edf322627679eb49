"""Cuts, horizons and the verdict of an evaluation."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.domain import Target
from recsys.errors import ConfigError, DataError
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import Contrast
from training.pipelines.evaluation.cuts import check_horizon, check_start, parse_cut, spread_cuts
from training.pipelines.evaluation.verdict import subjects, verdict
from training.pipelines.recipe import load_recipe
from training.runs import check_folder


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        pytest.param("2024-07-01", datetime(2024, 6, 30, 21, tzinfo=UTC), id="a day of the data's zone"),
        pytest.param("2024-07-01T10:00Z", datetime(2024, 7, 1, 10, tzinfo=UTC), id="an instant"),
        pytest.param(
            datetime(2024, 7, 1, tzinfo=timezone(timedelta(hours=5))),
            datetime(2024, 6, 30, 19, tzinfo=UTC),
            id="an aware datetime",
        ),
    ],
)
def test_cut(cut: datetime | str, expected: datetime) -> None:
    assert parse_cut(cut, "Europe/Moscow") == expected


@pytest.mark.parametrize("cut", ["July", "2024-07-01T10:00", datetime(2024, 7, 1), "0001-01-01"])  # noqa: DTZ001
def test_a_cut_that_is_no_certain_time_is_named(cut: datetime | str) -> None:
    expected = r"as_of 'July'|as_of '2024-07-01T.*the offset is missing|as_of '0001-01-01' is no day"
    with pytest.raises(ConfigError, match=expected):
        parse_cut(cut, "Europe/Moscow")


def dataset_recorded_until(last: datetime | None, time_zone: str) -> Dataset:
    recorded_at = pl.Series("recorded_at", [] if last is None else [last], dtype=pl.Datetime("us", "UTC"))
    meta = DatasetMeta(name="tiny", time_zone=time_zone)
    return Dataset(meta, {"clients": recorded_at.to_frame(), "holdings": recorded_at.to_frame()})


def test_the_last_day_ends_at_midnight_of_the_datas_zone() -> None:
    # 20:30 UTC is 23:30 in Moscow, so the data end half an hour later
    dataset = dataset_recorded_until(datetime(2024, 6, 30, 20, 30, tzinfo=UTC), "Europe/Moscow")
    cut = parse_cut("2024-06-01", "Europe/Moscow")
    check_horizon(dataset, [cut], 30)
    with pytest.raises(DataError, match=r"31 days from the cut 2024-06-01 .* last day is 2024-06-30"):
        check_horizon(dataset, [cut], 31)
    with pytest.raises(DataError, match="reach beyond the data"):
        check_horizon(dataset, [parse_cut("9999-12-31", "Europe/Moscow")], 30)


def test_data_without_holdings_cannot_be_evaluated_on() -> None:
    with pytest.raises(DataError, match="'tiny' has no holdings"):
        check_horizon(dataset_recorded_until(None, "UTC"), [datetime(2024, 1, 1, tzinfo=UTC)], 1)


@pytest.mark.parametrize(
    ("cuts", "n_cuts", "every_days", "expected"),
    [
        pytest.param(["2024-03-31"], 3, 31, ["2024-01-29", "2024-02-29", "2024-03-31"], id="spread"),
        pytest.param(["2024-03-31"], 1, 30, ["2024-03-31"], id="one"),
        pytest.param(["2024-03-01", "2024-04-01"], None, None, ["2024-03-01", "2024-04-01"], id="as given"),
    ],
)
def test_a_range_of_cuts_ends_at_the_day_given(
    cuts: list[str], n_cuts: int | None, every_days: int | None, expected: list[str]
) -> None:
    assert spread_cuts(cuts, n_cuts, every_days) == expected


@pytest.mark.parametrize(
    ("cuts", "n_cuts", "every_days", "message"),
    [
        pytest.param(["2024-03-31"], 3, None, "go together", id="no step"),
        pytest.param(["2024-03-31"], None, 30, "go together", id="no number"),
        pytest.param(["2024-03-01", "2024-04-01"], 3, 30, "one day", id="several cuts"),
        pytest.param(["2024-03-01T10:00Z"], 3, 30, "is no day", id="an instant"),
        pytest.param(["2024-03-31"], 3, 10**9, "before any calendar", id="too far back"),
    ],
)
def test_half_a_range_is_refused(
    cuts: list[str], n_cuts: int | None, every_days: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        spread_cuts(cuts, n_cuts, every_days)


def contrast(model: str, baseline: str, value: float, baseline_value: float, p: float) -> Contrast:
    difference = Estimate(
        value - baseline_value, value - baseline_value - 0.05, value - baseline_value + 0.05
    )
    return Contrast(
        model=model,
        baseline=baseline,
        metric="ndcg",
        value=value,
        baseline_value=baseline_value,
        difference=difference,
        bootstrap=difference,
        p=p,
        adjusted_p=p,
        detectable=0.07,
        n_clients=100,
    )


NDCG = {"ndcg": Estimate(0.3, 0.25, 0.35)}


@pytest.mark.parametrize(
    ("contrasts", "expected"),
    [
        pytest.param(
            [contrast("default", "ease", 0.4, 0.3, 0.01), contrast("als", "ease", 0.2, 0.3, 0.01)],
            "default ranks better than ease, the best simple model: NDCG@10 0.400 against 0.300, +0.100 (95 %"
            " interval +0.050 to +0.150, adjusted p = 0.010).",
            id="better",
        ),
        pytest.param(
            [contrast("default", "ease", 0.32, 0.3, 0.4)],
            "No difference is shown between default and ease, the best simple model: NDCG@10 0.320 against"
            " 0.300, +0.020 (95 % interval −0.030 to +0.070, adjusted p = 0.400); a test of these two alone"
            " finds a true one of 0.070 in four cases of five; until one is shown, the simple model should"
            " ship.",
            id="ahead by chance",
        ),
        pytest.param(
            [contrast("default", "ease", 0.4, 0.3, 0.09), contrast("als", "ease", 0.2, 0.3, 0.01)],
            "No difference is shown between default and ease, the best simple model: NDCG@10 0.400 against"
            " 0.300, +0.100 (95 % interval +0.050 to +0.150, adjusted p = 0.090); a test of these two alone"
            " finds a true one of 0.070 in four cases of five; until one is shown, the simple model should"
            " ship.",
            id="zero left out, but of many intervals",
        ),
        pytest.param(
            [
                replace(
                    contrast("default", "ease", 0.4, 0.3, 1.0),
                    difference=Estimate(0.1, -math.inf, math.inf),
                    detectable=math.nan,
                )
            ],
            "No difference is shown between default and ease, the best simple model: NDCG@10 0.400 against"
            " 0.300, +0.100 (too few clients for an interval, adjusted p = 1.000); a single client cannot"
            " show one; until one is shown, the simple model should ship.",
            id="one client",
        ),
        pytest.param(
            [
                replace(
                    contrast("trend", "ease", 0.3, 0.3, 1.0),
                    difference=Estimate(0.0, 0.0, 0.0),
                    detectable=0.0,
                )
            ],
            "No difference is shown between ease and trend, the next best: NDCG@10 0.300 against 0.300,"
            " +0.000 (95 % interval +0.000 to +0.000, adjusted p = 1.000); they rank every client alike; only"
            " simple models were evaluated.",
            id="alike",
        ),
        pytest.param(
            [contrast("default", "ease", 0.2, 0.3, 0.0004)],
            "default ranks worse than ease, the best simple model: NDCG@10 0.200 against 0.300, −0.100 (95 %"
            " interval −0.150 to −0.050, adjusted p < 0.001).",
            id="worse",
        ),
        pytest.param(
            [contrast("popularity", "ease", 0.2, 0.3, 0.01), contrast("als", "ease", 0.1, 0.3, 0.01)],
            "als ranks worse than ease, the best simple model: NDCG@10 0.100 against 0.300, −0.200 (95 %"
            " interval −0.250 to −0.150, adjusted p = 0.010).",
            id="simple models in front of the one in question",
        ),
        pytest.param(
            [contrast("popularity", "ease", 0.2, 0.3, 0.01)],
            "ease ranks better than popularity, the next best: NDCG@10 0.300 against 0.200, +0.100 (95 %"
            " interval +0.050 to +0.150, adjusted p = 0.010); only simple models were evaluated.",
            id="nothing but simple models",
        ),
        pytest.param(
            [contrast("als", "default", 0.2, 0.3, 0.01)],
            "default ranks better than als, the next best: NDCG@10 0.300 against 0.200, +0.100 (95 % interval"
            " +0.050 to +0.150, adjusted p = 0.010).",
            id="no simple model",
        ),
        pytest.param(
            [],
            "ease: NDCG@10 0.300 (95 % interval 0.250 to 0.350); no other model was evaluated.",
            id="alone",
        ),
    ],
)
def test_verdict(contrasts: list[Contrast], expected: str) -> None:
    assert verdict({"ease": NDCG}, contrasts, {}, 10) == expected


def test_a_verdict_on_acceptance_is_a_line_of_its_own() -> None:
    shown = replace(contrast("default", "ease", 0.911, 0.917, 0.4), metric="shown_order")
    both = [contrast("default", "ease", 0.2, 0.3, 0.01), shown]
    on_shown, on_connected = verdict({"ease": NDCG}, both, {"default": [Target.ACCEPTANCE]}, 10).splitlines()
    assert on_shown.startswith(
        "Of what clients were shown: no difference is shown between default and ease, the best simple model:"
        " share of pairs in right order 0.911 against 0.917, −0.006 ("
    )
    assert on_connected.startswith("Of all that they connected: default ranks worse than ease")


def test_the_models_of_both_lines_are_worth_a_look() -> None:
    shown = replace(contrast("default", "popularity", 0.9, 0.8, 0.4), metric="shown_order")
    both = [contrast("als", "ease", 0.4, 0.3, 0.01), contrast("default", "ease", 0.2, 0.3, 0.01), shown]
    assert subjects(both, {}) == ["als", "ease"]
    assert subjects(both, {"default": [Target.ACCEPTANCE]}) == ["als", "ease", "default", "popularity"]


def test_a_cut_before_the_data_names_their_first_day() -> None:
    # 21:30 UTC is the next day in Moscow
    dataset = dataset_recorded_until(datetime(2024, 5, 31, 21, 30, tzinfo=UTC), "Europe/Moscow")
    check_start(dataset, [parse_cut("2024-06-02", "Europe/Moscow")])
    with pytest.raises(DataError, match=r"cut 2020-01-01 lies before the first data \(2024-06-01\)"):
        check_start(dataset, [parse_cut("2020-01-01", "Europe/Moscow")])


def test_models_must_know_something_when_the_embargo_begins() -> None:
    dataset = dataset_recorded_until(datetime(2024, 6, 1, tzinfo=UTC), "UTC")
    cut = parse_cut("2024-06-08", "UTC")
    check_start(dataset, [cut], embargo_days=7)
    with pytest.raises(DataError, match=r"less 8 days of embargo, .* \(2024-06-01\): .*shorter embargo"):
        check_start(dataset, [cut], embargo_days=8)


def test_a_cut_before_the_first_client_is_before_the_data() -> None:
    dataset = dataset_recorded_until(datetime(2024, 6, 1, tzinfo=UTC), "UTC")
    older = dataset.tables["holdings"].with_columns(pl.col("recorded_at") - pl.duration(days=900))
    dataset = replace(dataset, tables={**dataset.tables, "holdings": older})
    with pytest.raises(DataError, match=r"lies before the first data \(2024-06-01\)"):
        check_start(dataset, [parse_cut("2023-01-01", "UTC")])


@pytest.mark.parametrize(
    ("models", "message"),
    [
        pytest.param(
            ["trend"], r"model or recipe 'trends' \(did you mean trend\?\): .*default.*trend", id="both"
        ),
        pytest.param([], r"no recipe 'trends': name a TOML file or one of .*default", id="recipes alone"),
    ],
)
def test_a_mistyped_model_is_told_from_all_that_would_do(models: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("trends", models)


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(DataError, match=r"^/proc/results/one: cannot be written \("):
        check_folder(Path("/proc/results/one"))


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_folder(tmp_path / "results" / "one")
    assert list(tmp_path.iterdir()) == []
