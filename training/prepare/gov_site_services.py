"""The GSA scan of US federal sites as canonical tables: organisations and the services they connect."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import polars as pl

from recsys.data.dataset import DatasetMeta
from recsys.domain import MAX_ID_LENGTH, HoldingsKind, LegalForm, OfferKind
from training.prepare.summary import (
    INSTANT,
    PreparedSummary,
    find_raw,
    read_raw_parquet,
    write_prepared,
)

META = DatasetMeta(
    name="gov-site-services",
    title="US federal sites: which third-party service does a site connect next",
    currency="XXX",
    time_zone="UTC",
    holdings=HoldingsKind.SUBSCRIPTIONS,
)
MIN_SITES = 20
# Hosts that only deliver the files of another vendor or of a free library: nobody connects them.
CONTENT_NETWORKS = (
    "aspnetcdn.com",
    "cdninstagram.com",
    "ctctcdn.com",
    "githubassets.com",
    "githubusercontent.com",
    "googleusercontent.com",
    "licdn.com",
    "lpsnmedia.net",
    "mathjax.org",
    "oktacdn.com",
    "pagescdn.com",
    "pinimg.com",
    "sc-static.net",
    "sitescdn.net",
    "vimeocdn.com",
)

_SCAN_COLUMNS: dict[str, pl.DataType] = {
    "snapshot": pl.String(),
    "target_url": pl.String(),
    "primary_scan_status": pl.String(),
    "target_url_agency_owner": pl.String(),
    "target_url_bureau_owner": pl.String(),
    "target_url_branch": pl.String(),
    "cms": pl.String(),
    "login_provider": pl.String(),
}
_SIGHTING_COLUMNS: dict[str, pl.DataType] = {
    "snapshot": pl.String(),
    "target_url": pl.String(),
    "vendor": pl.String(),
}
_TAGS = {
    "agency": "target_url_agency_owner",
    "bureau": "target_url_bureau_owner",
    "branch": "target_url_branch",
    "cms": "cms",
    "login": "login_provider",
}
_DIGEST_LENGTH = 16


def prepare(source: Path, out: Path) -> PreparedSummary:
    """Write the tables ``clients``, ``offers`` and ``holdings``.

    Args:
        source: The folder of ``snapshots.parquet`` and ``holdings_long.parquet``, one of these files, or
            the folder above.
        out: Folder to write into.

    Raises:
        DataError: A raw file is missing or another one, or the folder cannot be written.
    """
    folder = "gov_site_services"
    scans = read_raw_parquet(find_raw(source, folder, "snapshots.parquet"), _SCAN_COLUMNS)
    sightings = read_raw_parquet(find_raw(source, folder, "holdings_long.parquet"), _SIGHTING_COLUMNS)
    days = sorted(scans["snapshot"].unique())
    observed = _observed(scans, days)
    seen = _seen(sightings, observed)
    clients = _clients(observed, seen, days)
    vendors = sightings.group_by("vendor").agg(pl.col("target_url").n_unique().alias("n_sites"))
    offered = vendors.filter(pl.col("n_sites") >= MIN_SITES, ~pl.col("vendor").is_in(CONTENT_NETWORKS))
    kept = seen.join(offered, on="vendor", how="semi").join(clients, on="client_id", how="semi")
    holdings = _holdings(_stretches(kept), days)
    tables = {"clients": clients, "offers": _offers(holdings), "holdings": holdings}
    return write_prepared(META, tables, out)


def site_id(url: str) -> str:
    """The client_id of a site: its address, or for a long one its beginning and a digest.

    Example:
        >>> site_id("nasa.gov"), len(site_id("a" * 100))
        ('nasa.gov', 64)
    """
    if len(url) <= MAX_ID_LENGTH:
        return url
    return f"{url[: MAX_ID_LENGTH - _DIGEST_LENGTH - 1]}~{sha256(url.encode()).hexdigest()[:_DIGEST_LENGTH]}"


def _observed(scans: pl.DataFrame, days: list[str]) -> pl.DataFrame:
    """Successful scans: client_id, number of the snapshot, number of the site's next scan, tags."""
    urls = scans["target_url"].unique()
    ids = pl.DataFrame({"target_url": urls, "client_id": [site_id(url) for url in urls]})
    tags = [
        pl.when(pl.col(column).is_not_null()).then(
            pl.format(f"{tag}={{}}", pl.col(column).str.replace_all(";", ","))
        )
        for tag, column in _TAGS.items()
    ]
    return (
        scans.filter(pl.col("primary_scan_status") == "completed")
        .join(ids, on="target_url")
        .sort("client_id", "snapshot")
        .select(
            "target_url",
            "snapshot",
            "client_id",
            pl.col("snapshot").replace_strict(days, range(len(days)), return_dtype=pl.Int64).alias("number"),
            pl.concat_list(tags).list.drop_nulls().alias("tags"),
        )
        .with_columns(
            pl.int_range(pl.len()).over("client_id").alias("rank"),
            pl.col("number").shift(-1).over("client_id").alias("next_number"),
        )
    )


def _seen(sightings: pl.DataFrame, observed: pl.DataFrame) -> pl.DataFrame:
    """Sightings with is_second: the site was seen with the vendor at the snapshot before, too."""
    pair = ["client_id", "vendor"]
    scans = observed.select("target_url", "snapshot", "client_id", "number", "rank", "next_number")
    return (
        sightings.unique()
        .join(scans, on=["target_url", "snapshot"])
        .sort(*pair, "number")
        .with_columns(
            (pl.col("number").diff().over(pair) == 1).fill_null(value=False).alias("is_second"),
            (pl.col("rank").diff().over(pair) != 1).fill_null(value=True).alias("is_start"),
        )
        .select(*pair, "number", "next_number", "is_second", "is_start")
    )


def _clients(observed: pl.DataFrame, seen: pl.DataFrame, days: list[str]) -> pl.DataFrame:
    """Versions of sites, valid while a service is held: seen at a snapshot and at the one before."""
    holders = seen.filter("is_second").select("client_id", "number").unique()
    versions = (
        observed.join(holders, on=["client_id", "number"], how="semi")
        .sort("client_id", "number")
        .with_columns(
            (
                (pl.col("number").diff() != 1).fill_null(value=True)
                | pl.col("tags").ne_missing(pl.col("tags").shift())
            )
            .cum_sum()
            .over("client_id")
            .alias("version")
        )
        .group_by("client_id", "version", maintain_order=True)
        .agg(
            pl.col("target_url").first().alias("name"),
            pl.col("tags").first(),
            pl.col("number").first().alias("first"),
            pl.col("number").last().alias("last"),
        )
    )
    opened = versions.with_columns(_at("first", days).alias("recorded_at"))
    closed = versions.filter(pl.col("last") < len(days) - 1).with_columns(
        _at(pl.col("last") + 1, days).alias("valid_to"), _at(pl.col("last") + 1, days).alias("recorded_at")
    )
    return (
        pl.concat([opened.with_columns(pl.lit(None, INSTANT).alias("valid_to")), closed], how="diagonal")
        .with_columns(
            _at("first", days).alias("valid_from"),
            pl.lit(str(LegalForm.PUBLIC_BODY)).alias("legal_form"),
        )
        .drop("version", "first", "last")
        .sort("client_id", "valid_from", "recorded_at")
    )


def _stretches(seen: pl.DataFrame) -> pl.DataFrame:
    """Sightings no scan interrupts: where one begins, where it is held from, the scan that misses it."""
    pair = ["client_id", "vendor"]
    return (
        seen.with_columns(pl.col("is_start").cum_sum().over(pair).alias("stretch"))
        .group_by(*pair, "stretch", maintain_order=True)
        .agg(
            pl.col("number").first().alias("first"),
            pl.col("number").filter("is_second").first().alias("held_from"),
            pl.col("next_number").last().alias("missed"),
        )
        .drop("stretch")
    )


def _holdings(stretches: pl.DataFrame, days: list[str]) -> pl.DataFrame:
    """A stretch is one sighting without length, and from the second snapshot in a row on a holding."""
    held = stretches.filter(pl.col("held_from").is_not_null())
    ended = held.filter(pl.col("missed").is_not_null())
    never = pl.lit(None, INSTANT)
    rows = [
        _rows(stretches, "seen", _at("first", days), _at("first", days), _at("first", days)),
        _rows(held, "held", _at("held_from", days), never, _at("held_from", days)),
        _rows(ended, "held", _at("held_from", days), _at("missed", days), _at("missed", days)),
    ]
    made = pl.concat(rows)
    names = [
        sha256("|".join(parts).encode()).hexdigest()[: 2 * _DIGEST_LENGTH]
        for parts in made.select(
            "client_id", "offer_id", "kind", pl.col("connected_at").cast(pl.String)
        ).iter_rows()
    ]
    return (
        made.with_columns(pl.Series("holding_id", names, dtype=pl.String))
        .drop("kind")
        .sort("holding_id", "recorded_at")
    )


def _rows(
    stretches: pl.DataFrame, kind: str, connected_at: pl.Expr, disconnected_at: pl.Expr, recorded_at: pl.Expr
) -> pl.DataFrame:
    return stretches.select(
        "client_id",
        pl.col("vendor").alias("offer_id"),
        pl.lit(kind).alias("kind"),
        connected_at.alias("connected_at"),
        disconnected_at.alias("disconnected_at"),
        recorded_at.alias("recorded_at"),
    )


def _offers(holdings: pl.DataFrame) -> pl.DataFrame:
    """Vendors, known from the first time one was held, or seen where none ever was."""
    is_held = pl.col("disconnected_at").is_null()
    return (
        holdings.group_by("offer_id")
        .agg(
            pl.coalesce(pl.col("connected_at").filter(is_held).min(), pl.col("connected_at").min()).alias(
                "recorded_at"
            )
        )
        .with_columns(
            pl.lit(str(OfferKind.PARTNER)).alias("kind"),
            pl.col("offer_id").alias("title_en"),
            pl.col("offer_id").alias("supplier_id"),
        )
        .sort("offer_id")
    )


def _at(number: str | pl.Expr, days: list[str]) -> pl.Expr:
    """The midnight of a snapshot, given the expression of its number."""
    expression = pl.col(number) if isinstance(number, str) else number
    instants = pl.Series(days).str.to_datetime("%Y-%m-%d", time_zone="UTC").cast(INSTANT)
    return expression.replace_strict(range(len(days)), instants, return_dtype=INSTANT)
