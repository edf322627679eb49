"""Public data as canonical tables, from small made-up raw files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.data.dataset import Dataset
from recsys.data.read import read_dataset
from recsys.data.snapshot import take_snapshot
from recsys.domain import HoldingsKind
from recsys.errors import DataError
from training.prepare import gov_site_services, online_retail

SNAPSHOTS = ("2024-01-01", "2024-02-05", "2024-03-04", "2024-04-01", "2024-05-06", "2024-06-03")
HORIZON_DAYS = 92


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def retail_file(tmp_path: Path) -> Path:
    lines = [
        ("100", "85123A", "LANTERN ", 6, datetime(2011, 1, 1, 9), 2.55, 7, "France"),  # noqa: DTZ001
        ("100", "85123a", None, 2, datetime(2011, 1, 1, 9), 2.55, 7, "France"),  # noqa: DTZ001
        ("100", "POST", "POSTAGE", 1, datetime(2011, 1, 1, 9), 18.0, 7, "France"),  # noqa: DTZ001
        ("C101", "85123A", "LANTERN", 1, datetime(2011, 1, 2, 9), 2.55, 7, "France"),  # noqa: DTZ001
        ("102", "22423", "CAKESTAND", -1, datetime(2011, 1, 2, 9), 12.75, 7, "France"),  # noqa: DTZ001
        ("103", "22423", "CAKESTAND", 1, datetime(2011, 1, 3, 9), 12.75, None, "France"),  # noqa: DTZ001
        ("104", "22423", "CAKESTAND", 1, datetime(2011, 1, 4, 9), 12.75, 7, "Spain"),  # noqa: DTZ001
    ]
    path = tmp_path / "raw" / "online_retail.parquet"
    path.parent.mkdir()
    pl.DataFrame(lines, schema=online_retail._COLUMNS, orient="row").write_parquet(path)
    return path


def test_retail_lines_become_purchases(retail_file: Path, tmp_path: Path) -> None:
    summary = online_retail.prepare(retail_file, tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert summary.n_rows == {"clients": 1, "offers": 2, "holdings": 3}
    assert summary.digest == dataset.digest
    assert (dataset.meta.holdings, dataset.meta.currency) == (HoldingsKind.PURCHASES, "GBP")
    (client,) = dataset.table("clients").rows(named=True)
    assert (client["client_id"], client["region"]) == ("7", "France")
    assert client["valid_from"] == datetime(2011, 1, 1, 9, tzinfo=UTC)
    offers = dataset.table("offers").select("offer_id", "title_en", "recorded_at").rows()
    assert offers == [
        ("22423", "CAKESTAND", datetime(2011, 1, 4, 9, tzinfo=UTC)),
        ("85123A", "LANTERN", datetime(2011, 1, 1, 9, tzinfo=UTC)),
    ]
    holdings = dataset.table("holdings").select("holding_id", "offer_id", "quantity", "price_minor").rows()
    assert holdings == [
        ("100-85123A-1", "85123A", 6, 255),
        ("100-85123A-2", "85123A", 2, 255),
        ("104-22423-1", "22423", 1, 1275),
    ]


def test_the_raw_file_is_found_by_its_folders(retail_file: Path, tmp_path: Path) -> None:
    digests = set()
    for number, source in enumerate((retail_file, retail_file.parent)):
        digests.add(online_retail.prepare(source, tmp_path / str(number)).digest)
    retail_file.parent.rename(tmp_path / "online_retail")
    digests.add(online_retail.prepare(tmp_path, tmp_path / "above").digest)
    assert len(digests) == 1


def test_a_missing_raw_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no online_retail\.parquet; give its folder"):
        online_retail.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match=r"there is no snapshots\.parquet"):
        gov_site_services.prepare(tmp_path, tmp_path / "out")


def test_another_file_under_that_name_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"InvoiceNo": ["1"]}).write_parquet(tmp_path / "online_retail.parquet")
    with pytest.raises(DataError, match="not the expected Parquet file"):
        online_retail.prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_scans(folder: Path, seen: dict[str, str], *, failed: dict[str, str] | None = None) -> None:
    """Scans of the six snapshots.

    Args:
        folder: Where to write.
        seen: For "site vendor" one character a snapshot: x = seen, . = not seen.
        failed: For a site one character a snapshot: - = the scan failed, anything else = it succeeded.
    """
    sites = sorted({pair.split()[0] for pair in seen})
    statuses = {site: (failed or {}).get(site, " " * len(SNAPSHOTS)) for site in sites}
    scans = [
        {
            "snapshot": snapshot,
            "target_url": site,
            "primary_scan_status": "timeout" if statuses[site][number] == "-" else "completed",
            "target_url_agency_owner": "Agency; of tests",
            "cms": "Drupal" if number >= 3 else None,
        }
        for number, snapshot in enumerate(SNAPSHOTS)
        for site in sites
    ]
    sightings = [
        {"snapshot": SNAPSHOTS[number], "target_url": pair.split()[0], "vendor": pair.split()[1]}
        for pair, marks in seen.items()
        for number, mark in enumerate(marks)
        if mark == "x"
    ]
    schema = gov_site_services._SCAN_COLUMNS
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in scans[0]]
    pl.DataFrame(scans).with_columns(missing).write_parquet(folder / "snapshots.parquet")
    pl.DataFrame(sightings).write_parquet(folder / "holdings_long.parquet")


def prepare_sites(tmp_path: Path, seen: dict[str, str], *, failed: dict[str, str] | None = None) -> Dataset:
    """Those sites among twenty others that always have the vendors, so that the vendors count."""
    vendors = {pair.split()[1] for pair in seen}
    crowd = {f"z{number}.gov {vendor}": "xxxxxx" for number in range(20) for vendor in vendors}
    write_scans(tmp_path, {**seen, **crowd}, failed=failed)
    gov_site_services.prepare(tmp_path, tmp_path / "out")
    return read_dataset(tmp_path / "out")


def spans(dataset: Dataset, site: str, vendor: str) -> list[tuple[str, str | None]]:
    """Months of beginning and end of each holding row, by time of recording."""
    rows = (
        dataset.table("holdings")
        .filter(pl.col("client_id") == site, pl.col("offer_id") == vendor)
        .sort("recorded_at", "connected_at")
    )
    return [
        (f"{row['connected_at']:%m}", row["disconnected_at"] and f"{row['disconnected_at']:%m}")
        for row in rows.rows(named=True)
    ]


@pytest.mark.parametrize(
    ("marks", "failed", "expected"),
    [
        ("xxxxxx", "      ", [("01", "01"), ("02", None)]),
        ("x.....", "      ", [("01", "01")]),
        (".xxx..", "      ", [("02", "02"), ("03", None), ("03", "05")]),
        ("x.x.xx", "      ", [("01", "01"), ("03", "03"), ("05", "05"), ("06", None)]),
        ("xx.xxx", "  -   ", [("01", "01"), ("02", None)]),  # not scanned is not lost
        ("x.xx..", " -    ", [("01", "01"), ("04", None), ("04", "05")]),  # in a row means in a row
    ],
)
def test_a_service_is_held_from_the_second_sighting_in_a_row(
    tmp_path: Path, marks: str, failed: str, expected: list[tuple[str, str | None]]
) -> None:
    dataset = prepare_sites(
        tmp_path, {"a.gov chat.com": marks, "a.gov base.com": "xxxxxx"}, failed={"a.gov": failed}
    )
    assert spans(dataset, "a.gov", "chat.com") == expected


def test_a_site_is_a_client_while_it_is_scanned_and_holds_something(tmp_path: Path) -> None:
    dataset = prepare_sites(tmp_path, {"a.gov chat.com": "xx.xxx"}, failed={"a.gov": "  -   "})
    rows = dataset.table("clients").filter(pl.col("client_id") == "a.gov").sort("recorded_at", "valid_from")
    found = [
        (f"{row['valid_from']:%m}", row["valid_to"] and f"{row['valid_to']:%m}", row["tags"])
        for row in rows.rows(named=True)
    ]
    assert found == [
        ("02", None, ["agency=Agency, of tests"]),
        ("02", "03", ["agency=Agency, of tests"]),
        ("05", None, ["agency=Agency, of tests", "cms=Drupal"]),
    ]


def test_a_new_profile_closes_the_one_before(tmp_path: Path) -> None:
    dataset = prepare_sites(tmp_path, {"a.gov chat.com": "xxxxxx"})
    tags = [
        next(state.profile.tags for state in states if state.client_id == "a.gov" and state.profile)
        for states in (take_snapshot(dataset, day(cut)).states for cut in ("2024-03-31", "2024-04-01"))
    ]
    assert tags == [("agency=Agency, of tests",), ("agency=Agency, of tests", "cms=Drupal")]


def test_rare_vendors_and_content_networks_are_no_offers(tmp_path: Path) -> None:
    network = gov_site_services.CONTENT_NETWORKS[0]
    crowd = {f"z{number}.gov {vendor}": "xxxxxx" for number in range(20) for vendor in ("base.com", network)}
    write_scans(tmp_path, {**crowd, "z1.gov rare.com": "xxxxxx"})
    gov_site_services.prepare(tmp_path, tmp_path / "out")
    assert read_dataset(tmp_path / "out").table("offers")["offer_id"].to_list() == ["base.com"]


def test_a_long_address_becomes_a_stable_id(tmp_path: Path) -> None:
    address = f"{'very-' * 20}long.gov"
    dataset = prepare_sites(tmp_path, {f"{address} chat.com": "xxxxxx"})
    (client,) = dataset.table("clients").filter(pl.col("name") == address)["client_id"].unique()
    assert client == gov_site_services.site_id(address)
    assert len(client) == 64
