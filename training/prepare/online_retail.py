"""UCI Online Retail as canonical tables: business customers and what they bought first when."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys.data.dataset import DatasetMeta
from recsys.domain import HoldingsKind
from training.prepare.summary import (
    INSTANT,
    PreparedSummary,
    find_raw,
    read_raw_parquet,
    write_prepared,
)

META = DatasetMeta(
    name="online-retail",
    title="UCI Online Retail: which product does a business customer buy for the first time",
    currency="GBP",
    time_zone="UTC",
    holdings=HoldingsKind.PURCHASES,
)
# Postage, carriage, corrections, fees and samples: lines of an invoice that nobody could be offered.
NOT_PRODUCTS = ("AMAZONFEE", "B", "BANK CHARGES", "C2", "CRUK", "D", "DOT", "M", "POST", "S")

_COLUMNS: dict[str, pl.DataType] = {
    "InvoiceNo": pl.String(),
    "StockCode": pl.String(),
    "Description": pl.String(),
    "Quantity": pl.Int64(),
    "InvoiceDate": pl.Datetime("us"),
    "UnitPrice": pl.Float64(),
    "CustomerID": pl.Int64(),
    "Country": pl.String(),
}


def prepare(source: Path, out: Path) -> PreparedSummary:
    """Write the tables ``clients``, ``offers`` and ``holdings``.

    Args:
        source: ``online_retail.parquet``, its folder, or the folder above.
        out: Folder to write into.

    Raises:
        DataError: The raw file is missing or another one, or the folder cannot be written.
    """
    path = find_raw(source, "online_retail", "online_retail.parquet")
    lines = valid_lines(read_raw_parquet(path, _COLUMNS))
    tables = {"clients": _clients(lines), "offers": _offers(lines), "holdings": _holdings(lines)}
    return write_prepared(META, tables, out)


def valid_lines(raw: pl.DataFrame) -> pl.DataFrame:
    """Lines that are purchases: customer known, quantity above 0, not cancelled, a product.

    Returns:
        Columns client_id, offer_id, bought_at, invoice, quantity, price_minor (pence), title, country,
        in the order of the raw file.
    """
    code = pl.col("StockCode").str.strip_chars().str.to_uppercase()
    return raw.filter(
        pl.col("CustomerID").is_not_null(),
        pl.col("Quantity") > 0,
        ~pl.col("InvoiceNo").str.to_uppercase().str.starts_with("C"),
        ~code.is_in(NOT_PRODUCTS),
    ).select(
        pl.col("CustomerID").cast(pl.String).alias("client_id"),
        code.alias("offer_id"),
        pl.col("InvoiceDate").dt.replace_time_zone("UTC").cast(INSTANT).alias("bought_at"),
        pl.col("InvoiceNo").alias("invoice"),
        pl.col("Quantity").alias("quantity"),
        (pl.col("UnitPrice") * 100).round().cast(pl.Int64).alias("price_minor"),
        pl.col("Description").str.strip_chars().alias("title"),
        pl.col("Country").alias("country"),
    )


def _clients(lines: pl.DataFrame) -> pl.DataFrame:
    first = lines.sort("bought_at", maintain_order=True).unique("client_id", keep="first")
    return first.select(
        "client_id",
        pl.col("bought_at").alias("valid_from"),
        pl.col("bought_at").alias("recorded_at"),
        pl.col("country").alias("region"),
    ).sort("client_id")


def _offers(lines: pl.DataFrame) -> pl.DataFrame:
    return (
        lines.sort("bought_at", maintain_order=True)
        .group_by("offer_id")
        .agg(
            pl.col("bought_at").first().alias("recorded_at"),
            pl.col("title").drop_nulls().first().alias("title_en"),
        )
        .with_columns(pl.lit("own").alias("kind"))
        .sort("offer_id")
    )


def _holdings(lines: pl.DataFrame) -> pl.DataFrame:
    number = pl.int_range(1, pl.len() + 1).over("invoice", "offer_id")
    return lines.select(
        pl.format("{}-{}-{}", "invoice", "offer_id", number).alias("holding_id"),
        "client_id",
        "offer_id",
        pl.col("bought_at").alias("connected_at"),
        pl.col("bought_at").alias("recorded_at"),
        "quantity",
        pl.lit("piece").alias("unit"),
        "price_minor",
    ).sort("holding_id")
