"""Datasets on disk: the same content from CSV and Parquet, all of it or nothing, the same bytes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.read import read_dataset
from recsys.data.write import write_dataset
from recsys.domain import HoldingsKind
from recsys.errors import DataError

START = datetime(2024, 1, 1, tzinfo=UTC)
META = DatasetMeta(
    name="tiny",
    title="«Tiny» \\ one",
    currency="RUB",
    time_zone="Europe/Moscow",
    holdings=HoldingsKind.PURCHASES,
)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        META,
        {
            "clients": pl.DataFrame(
                {
                    "client_id": ["c2", "c1"],
                    "valid_from": START,
                    "recorded_at": START,
                    "client_since_on": [date(2020, 5, 1), None],
                    "is_vip": [True, None],
                    "tags": [["crm=none", "fleet=yes"], None],
                    "revenue_minor": [1, None],
                }
            ),
            "offers": pl.DataFrame(
                {"offer_id": ["pbx"], "kind": ["own"], "recorded_at": [START], "title_en": ['Say "hi", pbx']}
            ),
            "holdings": pl.DataFrame(
                {
                    "holding_id": ["h1"],
                    "client_id": ["c1"],
                    "offer_id": ["pbx"],
                    "connected_at": [datetime(2024, 2, 1, 7, 30, 0, 123, tzinfo=UTC)],
                    "recorded_at": [START],
                }
            ),
        },
        {"expert.yaml": "weights: {}\n"},
    )


def test_what_is_written_is_read_back(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "data")
    read = read_dataset(tmp_path / "data")
    assert read.meta == META
    assert read.documents == {"expert.yaml": "weights: {}\n"}
    clients = read.table("clients")
    assert clients["client_id"].to_list() == ["c1", "c2"]
    assert clients["tags"].to_list() == [None, ["crm=none", "fleet=yes"]]
    assert clients["size"].to_list() == [None, "micro"]
    again = tmp_path / "again"
    write_dataset(read, again)
    assert read_dataset(again).digest == read.digest


def test_csv_and_parquet_of_one_content_have_one_digest(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "parquet")
    csv = tmp_path / "csv"
    csv.mkdir()
    for name, frame in dataset.tables.items():
        texts = frame.with_columns(pl.col(pl.List(pl.String)).list.join(";")).reverse()
        texts.write_csv(csv / f"{name}.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.f%:z")
    assert read_dataset(csv).digest == read_dataset(tmp_path / "parquet").digest


def test_another_value_gives_another_digest(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "one")
    offers = dataset.table("offers").with_columns(title_en=pl.lit("PBX"))
    write_dataset(Dataset(META, {**dataset.tables, "offers": offers}), tmp_path / "two")
    assert read_dataset(tmp_path / "one").digest != read_dataset(tmp_path / "two").digest


def test_the_same_dataset_gives_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(dataset, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_earlier_dataset_is_replaced_as_a_whole(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "data")
    (tmp_path / "data" / "events.csv").write_text("event_id\n")
    write_dataset(dataset, tmp_path / "data")
    assert "events.csv" not in {path.name for path in (tmp_path / "data").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_with_other_files_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(DataError, match=r"holds other files \(thesis\.doc"):
        write_dataset(dataset, tmp_path)
    assert (tmp_path / "thesis.doc").read_text() == "years of work"


def test_a_failure_leaves_the_earlier_dataset(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "data")
    before = read_dataset(tmp_path / "data").digest
    broken = Dataset(META, {**dataset.tables, "holdings": dataset.table("holdings").drop("client_id")})
    with pytest.raises(DataError, match="table holdings needs the column client_id: the company"):
        write_dataset(broken, tmp_path / "data")
    assert read_dataset(tmp_path / "data").digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("column", "message"), [("kinds", "has no column 'kinds'"), ("margin_minor", "table offers: ")]
)
def test_a_wrong_column_is_not_written(dataset: Dataset, tmp_path: Path, column: str, message: str) -> None:
    offers = dataset.table("offers").with_columns(pl.lit("much").alias(column))
    with pytest.raises(DataError, match=message):
        write_dataset(Dataset(META, {**dataset.tables, "offers": offers}), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_table_is_named(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="dataset 'tiny' has no table 'events'"):
        dataset.table("events")


def test_a_file_in_the_place_of_the_folder_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    place = tmp_path / "notes.txt"
    place.write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        write_dataset(dataset, place)
    assert place.read_text() == "mine"
