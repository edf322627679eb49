"""The tables of a world at the grain of client-months and impressions, from which its card is counted."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.domain import EventType

Tables = Mapping[str, pl.DataFrame]

ACCEPTANCE_DAYS = 30
_MOMENT = ["event_type", "client_id", "offer_id", "decision_id", "slot", "occurred_at"]


def local_month(instant: str, time_zone: str) -> pl.Expr:
    """First day of the month of an instant, in that zone."""
    return pl.col(instant).dt.convert_time_zone(time_zone).dt.truncate("1mo").dt.date()


def distinct_events(tables: Tables) -> pl.DataFrame:
    """Events without those that repeat another one."""
    return tables["events"].unique(_MOMENT, keep="first", maintain_order=True)


def first_rows(tables: Tables) -> pl.DataFrame:
    """Every connection as it was first recorded."""
    return tables["holdings"].sort("recorded_at").unique("holding_id", keep="first", maintain_order=True)


def latest_rows(tables: Tables) -> pl.DataFrame:
    """Every connection as it was last recorded."""
    return tables["holdings"].sort("recorded_at").unique("holding_id", keep="last", maintain_order=True)


def profiles(tables: Tables) -> pl.DataFrame:
    """Versions of clients as last recorded, in the order of their beginning."""
    latest = tables["clients"].sort("recorded_at").unique(["client_id", "valid_from"], keep="last")
    return latest.sort("valid_from", "client_id")


def latest_profiles(tables: Tables) -> pl.DataFrame:
    """The last version of every client."""
    return profiles(tables).unique("client_id", keep="last", maintain_order=True)


def monthly_figures(tables: Tables) -> pl.DataFrame:
    """Months of clients as last known."""
    return tables["client_months"].sort("known_at").unique(["client_id", "month_on"], keep="last")


def impressions(tables: Tables, time_zone: str) -> pl.DataFrame:
    """Impressions and what became of them.

    Returns:
        One row per slot seen: client_id, offer_id, decision_id, policy_version, month_on, is_accepted
        (an activation within 30 days), is_closed (the 30 days were over when the log ended).
    """
    events = distinct_events(tables)
    shown = ["decision_id", "offer_id"]
    seen = (
        events.filter(pl.col("event_type") == EventType.IMPRESSION)
        .sort("occurred_at")
        .unique(shown, keep="first", maintain_order=True)
    )
    activated = (
        events.filter(pl.col("event_type") == EventType.ACTIVATION)
        .group_by(shown)
        .agg(pl.col("occurred_at").min().alias("activated_at"))
    )
    window = pl.duration(days=ACCEPTANCE_DAYS)
    log_ends_at = pl.lit(events["recorded_at"].max(), pl.Datetime("us", "UTC"))
    return (
        seen.join(activated, on=shown, how="left")
        .join(tables["decisions"].select("decision_id", "policy_version"), on="decision_id", how="left")
        .select(
            "client_id",
            *shown,
            "policy_version",
            local_month("occurred_at", time_zone).alias("month_on"),
            (pl.col("activated_at") <= pl.col("occurred_at") + window)
            .fill_null(value=False)
            .alias("is_accepted"),
            (pl.col("occurred_at") + window <= log_ends_at).alias("is_closed"),
        )
    )


def client_months(tables: Tables, seen: pl.DataFrame, time_zone: str) -> pl.DataFrame:
    """Every month of every client that has figures.

    Args:
        tables: The tables.
        seen: See `impressions`.
        time_zone: Months are those of this zone.

    Returns:
        client_id, month_on, stage, size, industry at its first midnight, n_seen, n_added.
    """
    month = ["client_id", "month_on"]
    begins_at = pl.col("month_on").cast(pl.Datetime("us")).dt.replace_time_zone(time_zone)
    versions = profiles(tables).select("client_id", "valid_from", "stage", "size", "industry")
    added = first_rows(tables).select("client_id", local_month("connected_at", time_zone).alias("month_on"))
    return (
        monthly_figures(tables)
        .select(*month, begins_at.dt.convert_time_zone("UTC").alias("begins_at"))
        .sort("begins_at", "client_id")
        .join_asof(
            versions, left_on="begins_at", right_on="valid_from", by="client_id", check_sortedness=False
        )
        .join(seen.group_by(month).agg(pl.len().alias("n_seen")), on=month, how="left")
        .join(added.group_by(month).agg(pl.len().alias("n_added")), on=month, how="left")
        .with_columns(
            pl.col("n_seen", "n_added").fill_null(0), pl.col("stage", "size", "industry").fill_null("unknown")
        )
    )
