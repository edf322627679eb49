"""Public data, from raw files to figures, against published counts and figures of the same protocols."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.data.snapshot import take_snapshot
from recsys.data.splits import first_adoptions
from training.pipelines.evaluation.evaluate import EvaluationResult, evaluate
from training.prepare import gov_site_services, online_retail

pytestmark = pytest.mark.reference

HORIZON_DAYS = 92


@pytest.fixture(scope="module")
def retail_folder(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("online-retail") / "data"
    online_retail.prepare(reference_dir / "data" / "online_retail", folder)
    return folder


@pytest.fixture(scope="module")
def sites_folder(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gov-site-services") / "data"
    gov_site_services.prepare(reference_dir / "data", folder)
    return folder


@pytest.fixture(scope="module")
def retail(retail_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    models, out = ["popularity", "ease", "als"], tmp_path_factory.mktemp("retail") / "out"
    return evaluate(str(retail_folder), models, ["2011-06-10"], HORIZON_DAYS, 10, out, n_resamples=200)


@pytest.fixture(scope="module")
def site_services(sites_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    models, out = ["popularity", "ease"], tmp_path_factory.mktemp("sites") / "out"
    return evaluate(str(sites_folder), models, ["2024-07-01"], HORIZON_DAYS, 10, out, n_resamples=200)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def adopters(dataset: Dataset, cut: str) -> tuple[int, int]:
    """Number of clients with at least one relevant offer that was known at the cut, and of such pairs."""
    known = {offer.offer_id for offer in take_snapshot(dataset, day(cut)).offers}
    found = [
        adopted & known
        for adopted in first_adoptions(dataset, day(cut), HORIZON_DAYS).values()
        if adopted & known
    ]
    return len(found), sum(len(adopted) for adopted in found)


def first_purchases(lines: pl.DataFrame, cut: str) -> tuple[int, int]:
    """The protocol straight from invoice lines: number of clients, and of (client, product) pairs."""
    before = lines.filter(pl.col("at") < day(cut)).select("CustomerID", "StockCode").unique()
    first = (
        lines.filter(pl.col("at") >= day(cut), pl.col("at") < day(cut) + timedelta(days=HORIZON_DAYS))
        .select("CustomerID", "StockCode")
        .unique()
        .join(before, on=["CustomerID", "StockCode"], how="anti")
        .join(before, on="CustomerID", how="semi")
        .join(before, on="StockCode", how="semi")
    )
    return first["CustomerID"].n_unique(), len(first)


def test_retail_counts_are_the_published_ones_without_postage(
    retail_folder: Path, reference_dir: Path
) -> None:
    raw = pl.read_parquet(reference_dir / "data" / "online_retail" / "online_retail.parquet")
    lines = raw.filter(
        pl.col("CustomerID").is_not_null(), pl.col("Quantity") > 0, ~pl.col("InvoiceNo").str.starts_with("C")
    ).with_columns(pl.col("InvoiceDate").dt.replace_time_zone("UTC").alias("at"))
    assert first_purchases(lines, "2011-06-10") == (1_288, 28_871)  # published: postage counts as a product
    products = lines.filter(~pl.col("StockCode").is_in(online_retail.NOT_PRODUCTS))
    assert first_purchases(products, "2011-06-10") == (1_283, 28_822)
    assert adopters(read_dataset(retail_folder), "2011-06-10") == (1_283, 28_822)


@pytest.fixture(scope="module")
def sites(sites_folder: Path) -> Dataset:
    return read_dataset(sites_folder)


@pytest.mark.parametrize(
    ("cut", "published", "found"),
    [
        ("2024-04-01", 435, 435),
        ("2024-05-06", 352, 352),
        ("2024-06-03", 582, 585),  # see the card
        ("2024-07-01", 670, 670),
    ],
)
def test_site_adopters_are_the_published_ones(sites: Dataset, cut: str, published: int, found: int) -> None:
    n_adopters, _ = adopters(sites, cut)
    assert n_adopters == found
    assert abs(n_adopters - published) <= 3


def ndcg(result: EvaluationResult, model: str) -> float:
    return result.estimates[model]["ndcg"].value


def test_online_retail(retail: EvaluationResult) -> None:
    assert ndcg(retail, "popularity") == pytest.approx(0.098, abs=0.002)
    assert ndcg(retail, "ease") >= 0.146
    assert ndcg(retail, "als") >= 0.11


def test_site_services(site_services: EvaluationResult) -> None:
    assert ndcg(site_services, "popularity") == pytest.approx(0.29, abs=0.006)
    assert ndcg(site_services, "ease") >= 0.32


def test_the_same_clients_are_judged(retail: EvaluationResult, site_services: EvaluationResult) -> None:
    assert retail.n_clients == pytest.approx(1288, abs=10)
    assert site_services.n_clients == pytest.approx(670, abs=10)
