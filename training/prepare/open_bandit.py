"""Open Bandit Dataset (small version) as canonical tables: what a fashion shop showed, by two policies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl

from recsys.data.dataset import DatasetMeta
from recsys.errors import DataError
from training.prepare.summary import PreparedSummary, write_prepared

META = DatasetMeta(
    name="open-bandit",
    title="Open Bandit Dataset: items of a fashion shop, shown at random and by a bandit, and clicks",
    time_zone="Asia/Tokyo",
)
POLICIES = ("random", "bts")
_FOLDER = "open_bandit"
_COLUMNS = {"item_id": pl.Int64, "position": pl.Int64, "click": pl.Int64, "propensity_score": pl.Float64}
# The files tell the order of the rows and not their time; rows stand a second apart.
_STARTS_AT = datetime(2019, 11, 24, tzinfo=UTC)


def prepare(source: Path, out: Path) -> PreparedSummary:
    """Write clients, offers, holdings, decisions, their items and events.

    Every row of the log is a decision with one slot. A click is written as an activation too, because that
    is the outcome that off-policy evaluation reads, and as a holding that was seen once and never held.

    Args:
        source: Folder with ``obd_random_*.csv`` and ``obd_bts_*.csv``, or the folder above.
        out: Folder to write into.

    Raises:
        DataError: The raw files are missing or other ones, or the folder cannot be written.
    """
    logs = [_read(path, policy) for policy in POLICIES for path in _files(source, policy)]
    log = (
        pl.concat(logs)
        .with_row_index("number")
        .with_columns(
            pl.format("{}-{}-{}", "campaign", "policy", pl.col("row")).alias("decision_id"),
            pl.format("{}-{}", "campaign", "item_id").alias("offer_id"),
            (pl.lit(_STARTS_AT) + pl.duration(seconds=pl.col("row"))).alias("at"),
        )
    )
    tables = {
        "clients": _clients(log),
        "offers": _offers(log),
        "holdings": _holdings(log),
        "decisions": _decisions(log),
        "decision_items": _items(log),
        "events": _events(log),
    }
    return write_prepared(META, tables, out)


def _files(source: Path, policy: str) -> list[Path]:
    for folder in (source, source / _FOLDER):
        found = sorted(folder.glob(f"obd_{policy}_*.csv"))
        if found:
            return found
    raise DataError(
        f"{source}: there is no obd_{policy}_CAMPAIGN.csv; give the folder of the files with --from"
    )


def _read(path: Path, policy: str) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, columns=list(_COLUMNS), schema_overrides=_COLUMNS)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not the expected file ({reason})") from error
    campaign = path.stem.removeprefix(f"obd_{policy}_")
    return (
        frame.rename({"propensity_score": "logging_probability"})
        .with_row_index("row")
        .with_columns(pl.lit(campaign).alias("campaign"), pl.lit(policy).alias("policy"))
    )


def _clients(log: pl.DataFrame) -> pl.DataFrame:
    """One per row: the files do not tell who looked."""
    return log.select(client_id="decision_id", valid_from="at", recorded_at="at")


def _offers(log: pl.DataFrame) -> pl.DataFrame:
    return (
        log.select("offer_id", "item_id", "campaign")
        .unique()
        .sort("campaign", "item_id")
        .select(
            "offer_id",
            pl.lit("own").alias("kind"),
            pl.lit(_STARTS_AT).alias("recorded_at"),
            pl.format("item {}", "item_id").alias("title_en"),
        )
    )


def _holdings(log: pl.DataFrame) -> pl.DataFrame:
    return log.filter(pl.col("click") == 1).select(
        holding_id="decision_id",
        client_id="decision_id",
        offer_id="offer_id",
        connected_at="at",
        disconnected_at="at",
        recorded_at="at",
    )


def _decisions(log: pl.DataFrame) -> pl.DataFrame:
    shown = log.select("campaign", "offer_id").unique().sort("campaign", "offer_id")
    written = {
        campaign: orjson.dumps(
            {
                "offer_id": part["offer_id"].to_list(),
                "change": ["new"] * len(part),
                "priority": [1.0] * len(part),
                "probability": [None] * len(part),
                "refused": [],
            }
        ).decode()
        for (campaign,), part in shown.group_by(["campaign"])
    }
    return log.select(
        "decision_id",
        client_id="decision_id",
        placement_id=pl.format("{}-{}", "campaign", pl.col("position") + 1),
        channel=pl.lit("web"),
        occurred_at="at",
        recorded_at="at",
        seed=pl.lit(0),
        policy_version="policy",
        is_personalised=pl.lit(value=False),
        candidates=pl.col("campaign").replace_strict(written, return_dtype=pl.String),
    )


def _items(log: pl.DataFrame) -> pl.DataFrame:
    return log.select(
        "decision_id",
        pl.lit(1).alias("slot"),
        "offer_id",
        pl.lit("new").alias("change"),
        "logging_probability",
    )


def _events(log: pl.DataFrame) -> pl.DataFrame:
    clicked = log.filter(pl.col("click") == 1)
    kinds = pl.DataFrame({"event_type": ["click", "activation"]})
    seconds = pl.lit(timedelta(seconds=1))
    return clicked.join(kinds, how="cross").select(
        pl.format("{}-{}", "decision_id", "event_type").alias("event_id"),
        "event_type",
        client_id="decision_id",
        occurred_at=pl.col("at") + seconds,
        recorded_at=pl.col("at") + seconds,
        offer_id="offer_id",
        decision_id="decision_id",
        slot=pl.lit(1),
    )
