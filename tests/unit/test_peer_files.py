"""Splits as files: what peers may read, and lists that are refused."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.errors import DataError
from recsys.evaluation.ranking import EMPTY_SLOT, find_hits, ndcg, rank_top_k
from training.pipelines.evaluation.cuts import CutTruth, take_cut
from training.pipelines.selection.contest import Scored, name_of, score_lists
from training.pipelines.selection.peer_files import read_lists, write_split

START = datetime(2024, 1, 1, tzinfo=UTC)
CUT = datetime(2024, 4, 1, tzinfo=UTC)
K = 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("peers")
    rng = np.random.default_rng(3)
    instant = pl.Datetime("us", "UTC")
    rows = [
        (
            f"h{number}",
            f"c{number % 20:02}",
            f"o{rng.integers(8)}",
            START + timedelta(days=int(rng.integers(180))),
        )
        for number in range(120)
    ]
    columns = {
        "holding_id": pl.String,
        "client_id": pl.String,
        "offer_id": pl.String,
        "connected_at": instant,
    }
    pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        pl.lit(None, instant).alias("disconnected_at"), pl.col("connected_at").alias("recorded_at")
    ).write_parquet(folder / "holdings.parquet")
    pl.DataFrame(
        {"client_id": [f"c{client:02}" for client in range(20)], "region": ["77", "78"] * 10}
    ).with_columns(
        pl.lit(START, instant).alias("valid_from"), pl.lit(START, instant).alias("recorded_at")
    ).write_parquet(folder / "clients.parquet")
    pl.DataFrame({"offer_id": [f"o{offer}" for offer in range(8)], "kind": "own"}).with_columns(
        pl.lit(START, instant).alias("recorded_at")
    ).write_parquet(folder / "offers.parquet")
    return read_dataset(folder)


@pytest.fixture(scope="module")
def truth(dataset: Dataset) -> CutTruth:
    return take_cut(dataset, CUT, 60)


@pytest.fixture(scope="module")
def splits(root_dir: Path) -> ModuleType:
    """The peers' own reader, which shares no code with ours."""
    path = root_dir / "benchmarks" / "peers" / "splits.py"
    spec = importlib.util.spec_from_file_location("peer_splits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_files_say_what_was_known_and_no_more(truth: CutTruth, splits: ModuleType, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=False)
    assert not (tmp_path / "relevant.parquet").exists()
    split = splits.Split.read(tmp_path)
    held = truth.known.training.clients.clients_by_offers()
    assert (split.matrix("held", "one").toarray() == held.toarray()).all()
    assert (split.seen.toarray() == truth.seen[truth.adopters].toarray()).all()
    assert set(split.traits["trait"]) == {"region=77", "region=78"}
    assert split.train["age_days"].min() >= 0
    assert split.relevant is None


def test_both_sides_measure_alike(truth: CutTruth, splits: ModuleType, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=True)
    split = splits.Split.read(tmp_path)
    scores = np.random.default_rng(0).integers(0, 4, (len(truth.adopters), 8)).astype(np.float64)
    theirs = split.rank(scores)
    scores[truth.seen[truth.adopters].nonzero()] = -np.inf
    ours = rank_top_k(scores, K)
    assert (theirs == ours).all()
    expected = ndcg(find_hits(ours, truth.relevant[truth.adopters])).mean()
    assert split.ndcg(theirs) == pytest.approx(expected, abs=1e-12)


def write_lists(folder: Path, truth: CutTruth, lists: np.ndarray) -> None:
    judged = pl.read_parquet(folder / "judged.parquet")["client"]
    shuffled = np.random.default_rng(1).permutation(len(judged) * K)
    pl.DataFrame(
        {
            "peer": ["one"] * (len(judged) * K),
            "client": np.repeat(judged.to_numpy(), K),
            "rank": np.tile(np.arange(1, K + 1), len(judged)),
            "offer": lists.ravel(),
        }
    )[shuffled.tolist()].write_parquet(folder / "lists.parquet")


def open_lists(truth: CutTruth) -> np.ndarray:
    scores = np.where(truth.seen[truth.adopters].toarray() > 0, -np.inf, 0.0)
    return rank_top_k(scores, K)


def test_lists_come_back_in_order(truth: CutTruth, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=False)
    lists = open_lists(truth)
    write_lists(tmp_path, truth, lists)
    assert (read_lists(truth, K, tmp_path)["one"] == lists).all()


def test_what_a_client_has_is_refused(truth: CutTruth, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=False)
    lists = open_lists(truth)
    lists[0, 0] = truth.seen[truth.adopters].indices[0]
    write_lists(tmp_path, truth, lists)
    with pytest.raises(DataError, match="already has"):
        read_lists(truth, K, tmp_path)


def test_an_offer_that_does_not_exist_is_refused(truth: CutTruth, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=False)
    lists = open_lists(truth)
    lists[0, 0] = 8
    write_lists(tmp_path, truth, lists)
    with pytest.raises(DataError, match="does not exist"):
        read_lists(truth, K, tmp_path)


def test_empty_slots_are_taken_on_both_sides(truth: CutTruth, splits: ModuleType, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=True)
    lists = open_lists(truth)
    lists[:, K - 1] = EMPTY_SLOT
    write_lists(tmp_path, truth, lists)
    assert (read_lists(truth, K, tmp_path)["one"] == lists).all()
    expected = ndcg(find_hits(lists, truth.relevant[truth.adopters])).mean()
    assert splits.Split.read(tmp_path).ndcg(lists) == pytest.approx(expected, abs=1e-12)


def test_a_list_longer_than_what_is_left_ends_in_empty_slots(
    truth: CutTruth, splits: ModuleType, tmp_path: Path
) -> None:
    write_split(truth, 10, tmp_path, tells_truth=True)
    split = splits.Split.read(tmp_path)
    scores = np.random.default_rng(0).random((len(truth.adopters), 8))
    theirs = split.rank(scores)
    scores[truth.seen[truth.adopters].nonzero()] = -np.inf
    assert (theirs == rank_top_k(scores, 10)).all()
    assert (theirs[:, 8:] == EMPTY_SLOT).all()


def test_a_cut_is_called_by_its_instant_in_the_zone_of_the_data(dataset: Dataset) -> None:
    moscow = replace(dataset, meta=dataset.meta.model_copy(update={"time_zone": "Europe/Moscow"}))
    midnight = take_cut(moscow, datetime(2024, 3, 31, 21, tzinfo=UTC), 60)
    later = take_cut(moscow, datetime(2024, 3, 31, 22, tzinfo=UTC), 60)
    assert name_of(midnight) == "2024-04-01T000000+0300"
    assert name_of(later) == "2024-04-01T010000+0300"
    assert midnight.told() == "2024-04-01"
    assert later.told() == "2024-04-01T01:00:00+03:00"


def test_a_missing_list_is_refused(truth: CutTruth, tmp_path: Path) -> None:
    write_split(truth, K, tmp_path, tells_truth=False)
    write_lists(tmp_path, truth, open_lists(truth))
    path = tmp_path / "lists.parquet"
    pl.read_parquet(path)[1:].write_parquet(path)
    with pytest.raises(DataError, match="expected"):
        read_lists(truth, K, tmp_path)


def test_values_are_pooled_over_the_cuts(truth: CutTruth) -> None:
    lists = open_lists(truth)
    scored = score_lists([truth, truth], {"a": [lists, lists], "b": [lists, lists]})
    assert scored.mean("a") == pytest.approx(ndcg(find_hits(lists, truth.relevant[truth.adopters])).mean())
    assert scored.difference("a", "b")["difference"] == 0


def test_differences_are_paired_and_stand_cut_by_cut() -> None:
    scored = Scored(
        cuts=("x",) * 10 + ("y",) * 10,
        units=tuple(str(number) for number in range(20)),
        values={"a": np.repeat([0.5, 0.4], 10), "b": np.repeat([0.3, 0.4], 10)},
    )
    assert scored.best(["a", "b"], "x") == "a"
    assert scored.difference("a", "b")["difference"] == pytest.approx(0.1)
    assert scored.difference("a", "b", "x")["ratio"] == pytest.approx(5 / 3)
    assert scored.difference("a", "b", "y")["difference"] == 0
