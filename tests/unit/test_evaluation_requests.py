"""Cuts, horizons and the verdict of an evaluation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.errors import ConfigError, DataError
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import EvaluationConfig, EvaluationResult, Subject
from training.pipelines.cuts import check_horizon, parse_cut
from training.pipelines.report import verdict


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


@pytest.mark.parametrize("cut", ["July", "2024-07-01T10:00", datetime(2024, 7, 1)])  # noqa: DTZ001
def test_a_cut_that_is_no_certain_time_is_named(cut: datetime | str) -> None:
    with pytest.raises(ConfigError, match=r"as_of 'July'|as_of '2024-07-01T.*the offset is missing"):
        parse_cut(cut, "UTC")


def dataset_recorded_until(last: datetime | None, time_zone: str) -> Dataset:
    recorded_at = pl.Series("recorded_at", [] if last is None else [last], dtype=pl.Datetime("us", "UTC"))
    meta = DatasetMeta(name="tiny", time_zone=time_zone)
    return Dataset(meta, {"holdings": recorded_at.to_frame()})


def test_the_last_day_ends_at_midnight_of_the_datas_zone() -> None:
    # 20:30 UTC is 23:30 in Moscow, so the data end half an hour later
    dataset = dataset_recorded_until(datetime(2024, 6, 30, 20, 30, tzinfo=UTC), "Europe/Moscow")
    cut = parse_cut("2024-06-01", "Europe/Moscow")
    check_horizon(dataset, [cut], 30)
    with pytest.raises(DataError, match=r"31 days from the cut 2024-06-01 .* last day is 2024-06-30"):
        check_horizon(dataset, [cut], 31)


def test_data_without_holdings_cannot_be_evaluated_on() -> None:
    with pytest.raises(DataError, match="'tiny' has no holdings"):
        check_horizon(dataset_recorded_until(None, "UTC"), [datetime(2024, 1, 1, tzinfo=UTC)], 1)


def result_of(**ndcg: tuple[float, float, float]) -> EvaluationResult:
    cut = datetime(2024, 1, 1, tzinfo=UTC)
    nothing = pl.DataFrame()
    return EvaluationResult(
        config=EvaluationConfig(
            models=tuple(ndcg), cuts=(cut,), horizon_days=30, k=10, seed=1, n_resamples=1
        ),
        subject=Subject(title="tiny", time_zone="UTC", data_digest="", config_digest=""),
        estimates={name: {"ndcg": Estimate(*figures)} for name, figures in ndcg.items()},
        n_clients=1,
        n_rows=1,
        per_client=nothing,
        by_cut=nothing,
        by_length=nothing,
    )


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(
            result_of(als=(0.1, 0.05, 0.15), ease=(0.3, 0.25, 0.35)),
            "ease ranks best: NDCG@10 0.300 (95 % interval 0.250–0.350), its interval clear of the next"
            " model's, als (0.100, 0.050–0.150).",
            id="clear",
        ),
        pytest.param(
            result_of(als=(0.2, 0.15, 0.26), ease=(0.3, 0.25, 0.35)),
            "ease ranks best: NDCG@10 0.300 (95 % interval 0.250–0.350), but its interval overlaps the next"
            " model's, als (0.200, 0.150–0.260).",
            id="overlapping",
        ),
        pytest.param(
            result_of(ease=(0.3, 0.25, 0.35), default=(0.3, 0.25, 0.35)),
            "default and ease rank equally well: NDCG@10 0.300 (95 % interval 0.250–0.350).",
            id="equal",
        ),
        pytest.param(
            result_of(ease=(0.3, 0.25, 0.35)),
            "ease: NDCG@10 0.300 (95 % interval 0.250–0.350); no other model was evaluated.",
            id="alone",
        ),
    ],
)
def test_verdict(result: EvaluationResult, expected: str) -> None:
    assert verdict(result) == expected
