"""What clients of an experiment are told apart by: as they were known at their trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.experiments.experiment import HOLDOUT_ID, Stratum

IntArray = NDArray[np.int64]

_UNKNOWN = "unknown"
_PROFILE = ("size", "stage", "industry")
_SPEND = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows told apart in one way.

    Attributes:
        labels: Names, by code.
        codes: Code of each row, −1 = none.
    """

    labels: tuple[str, ...]
    codes: IntArray


def segments_of(tables: Mapping[str, pl.DataFrame], rows: pl.DataFrame, now: datetime) -> dict[str, Segment]:
    """Size, stage, industry and spend of clients at their trigger.

    Args:
        tables: Validated tables by name.
        rows: `client_id` and `triggered_at`.
        now: Nothing recorded later is used.

    Returns:
        By dimension; spend in thirds of those who spend, as billed for the last month known at the trigger.
    """
    profile = _profiles(tables["clients"], rows, now) if "clients" in tables else {}
    return {name: _coded(values) for name, values in {**profile, "spend": _spend(tables, rows, now)}.items()}


def strata_of(by: Sequence[Stratum], segments: Mapping[str, Segment], n_rows: int) -> IntArray:
    """Stratum of each row: one code for each combination of segments that occurs."""
    codes = [segments[name.value].codes for name in by if name.value in segments]
    if not codes or not n_rows:
        return np.zeros(n_rows, dtype=np.int64)
    combined = np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1]
    return combined.reshape(-1).astype(np.int64)


def overlaps_of(experiment_id: str, everybody: pl.DataFrame, rows: pl.DataFrame) -> dict[str, Segment]:
    """Arms of the rows' clients in other experiments; the hold-out is none."""
    others = everybody.filter(~pl.col("experiment_id").is_in([experiment_id, HOLDOUT_ID]))
    joined = rows.select("client_id").with_row_index("row").join(others, on="client_id")
    found = {}
    for (name,), part in joined.group_by("experiment_id", maintain_order=True):
        labels = part["arm"].unique().sort().to_list()
        codes = np.full(len(rows), -1, dtype=np.int64)
        codes[part["row"].to_numpy()] = np.searchsorted(labels, part["arm"].to_numpy())
        found[str(name)] = Segment(tuple(labels), codes)
    return dict(sorted(found.items()))


def _coded(values: pl.Series) -> Segment:
    filled = values.fill_null(_UNKNOWN)
    labels = [label for label in _SPEND if label in set(filled)] if values.name == "spend" else []
    labels += [label for label in filled.unique().sort().to_list() if label not in labels]
    numbers = {label: number for number, label in enumerate(labels)}
    codes = filled.replace_strict(numbers, return_dtype=pl.Int64) if labels else filled.cast(pl.Int64)
    return Segment(tuple(labels), codes.to_numpy().astype(np.int64))


def _at_trigger(rows: pl.DataFrame, facts: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """The last fact of each client among those known at its trigger, in the order of the rows.

    Args:
        rows: `client_id` and `triggered_at`.
        facts: With `client_id`; what was recorded after the trigger is not looked at.
        order: Columns by which a fact is the last: what it is of, then when it was recorded.
    """
    numbered = rows.select("client_id", "triggered_at").with_row_index("row")
    known = (
        numbered.join(facts, on="client_id")
        .filter(pl.all_horizontal(pl.col(name) <= pl.col("triggered_at") for name in order))
        .sort(order, maintain_order=True)
        .unique("row", keep="last")
        .drop("client_id", "triggered_at")
    )
    return numbered.join(known, on="row", how="left").sort("row")


def _profiles(clients: pl.DataFrame, rows: pl.DataFrame, now: datetime) -> dict[str, pl.Series]:
    versions = clients.filter(pl.col("recorded_at") <= now)
    versions = versions.select("client_id", "valid_from", "recorded_at", *_PROFILE)
    found = _at_trigger(rows, versions, ["valid_from", "recorded_at"])
    return {name: found[name] for name in _PROFILE}


def _spend(tables: Mapping[str, pl.DataFrame], rows: pl.DataFrame, now: datetime) -> pl.Series:
    if "client_months" not in tables:
        return pl.Series("spend", [None] * len(rows), dtype=pl.String)
    months = tables["client_months"].filter(pl.col("known_at") <= now)
    month_on = pl.col("month_on").cast(months.schema["known_at"])
    months = months.select("client_id", month_on, "known_at", "spend_minor")
    found = _at_trigger(rows, months, ["month_on", "known_at"])
    spend = found["spend_minor"]
    spending = spend.filter(spend > 0)
    if spending.is_empty():
        return pl.Series("spend", [None] * len(rows), dtype=pl.String)
    low, high = (float(spending.quantile(share) or 0) for share in (1 / 3, 2 / 3))
    named = (
        pl.when(pl.col("spend_minor").is_null())
        .then(None)
        .when(pl.col("spend_minor") <= low)
        .then(pl.lit(_SPEND[0]))
        .when(pl.col("spend_minor") <= high)
        .then(pl.lit(_SPEND[1]))
        .otherwise(pl.lit(_SPEND[2]))
        .alias("spend")
    )
    return found.select(named).to_series()
