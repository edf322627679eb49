"""The decision log as off-policy evaluation reads it: which decisions count, and what came of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from recsys.data.dataset import Dataset
from recsys.domain import EventType
from recsys.errors import DataError, LeakageError
from training.pipelines.policies.sources import moment_asked

_TABLES = ("decisions", "decision_items", "events")
_HELD_OUT = '"held_out"'
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a log.

    Attributes:
        placements: Whose decisions count.
        since: Decisions taken earlier do not count: the models know what followed.
        days: An activation within so many days of the decision is its outcome.
        months: Months of margin that an activation brings.
        n_slots: Slots of each list that count, from the top; None = all.
    """

    placements: Collection[str]
    since: datetime
    days: int
    months: int
    n_slots: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionLog:
    """Decisions that count.

    Attributes:
        decisions: One row each, by time: the columns of the table, and n_slots.
        slots: One row per slot that counts, sorted by decision as in `decisions` and slot: decision (its row
            there), slot (1-based), offer_id, change, logging_probability, activations (0 or 1) and
            margin_minor.
        left_out: Cause → how many decisions do not count for it.
        has_margins: Whether any offer has a margin.
        until: The end of the log: when its last row became known.
    """

    decisions: pl.DataFrame
    slots: pl.DataFrame
    left_out: Mapping[str, int]
    has_margins: bool
    until: datetime


def read_log(dataset: Dataset, question: Question) -> DecisionLog:
    """The decisions of a dataset that count, with their outcomes.

    Activations are attributed by ``decision_id``: the offer of a slot, activated within the days of the
    question after its own decision. A decision whose days are not over when the log ends does not count,
    rather than counting as one without outcome.

    Raises:
        DataError: The dataset has no log, a logging probability is none, or no decision counts.
        LeakageError: The models know what followed every decision.
    """
    decisions, items, events = _tables(dataset)
    until = moment_asked(dataset, None)
    sizes = items.group_by("decision_id").len("n_slots")
    decisions = decisions.join(sizes, on="decision_id", how="left").sort("occurred_at", "decision_id")
    counted, left_out = _leave_out(decisions, question, until)
    if left_out.get("before_bundle") and counted.is_empty():
        latest = (until - timedelta(days=question.days)).date().isoformat()
        raise LeakageError(
            f"no decision counts: the bundle knows what was recorded until {question.since.isoformat()}, and"
            f" decisions after {latest} have no outcome over {question.days} days yet; fit an earlier bundle"
            f" (`recsys-train fit --as-of` a day well before {latest}), or give a log that goes on longer"
        )
    if counted.is_empty():
        causes = ", ".join(f"{cause}: {n:,}" for cause, n in left_out.items() if n)
        raise DataError(f"no decision of the log counts ({causes}); choose other placements or fewer days")
    slots = _slots_of(counted, items)
    _refuse_improbable(slots)
    if question.n_slots is not None:
        slots = slots.filter(pl.col("slot") <= question.n_slots)
    offers = dataset.table("offers")
    slots = _with_outcomes(slots, events, offers, question)
    return DecisionLog(counted, slots, left_out, offers["margin_minor"].is_not_null().any(), until)


def _tables(dataset: Dataset) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    missing = [name for name in _TABLES if name not in dataset.tables]
    if missing:
        raise DataError(
            f"dataset {dataset.meta.name!r} has no {', '.join(missing)}; off-policy evaluation reads the"
            " decision log, such as `recsys-serve export` or `recsys-train simulate` write it"
        )
    latest = dataset.tables["decisions"].sort("recorded_at", maintain_order=True)
    return (
        latest.unique("decision_id", keep="last"),
        dataset.tables["decision_items"].unique(["decision_id", "slot"], keep="last"),
        dataset.tables["events"],
    )


def _leave_out(
    decisions: pl.DataFrame, question: Question, until: datetime
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The first cause that holds of a decision counts."""
    at = pl.col("occurred_at")
    causes = {
        "other_placement": ~pl.col("placement_id").is_in(list(question.placements)),
        "degraded": pl.col("degraded").is_not_null(),
        "held_out": pl.col("assignments").fill_null("").str.contains(_HELD_OUT, literal=True),
        "empty": pl.col("n_slots").is_null(),
        "before_bundle": at < question.since,
        "open_window": at + timedelta(days=question.days) > until,
    }
    left_out = {}
    for cause, is_out in causes.items():
        kept = decisions.filter(~is_out)
        left_out[cause] = len(decisions) - len(kept)
        decisions = kept
    return decisions, left_out


def _slots_of(decisions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    numbered = decisions.select(
        "decision_id", pl.int_range(pl.len()).alias("decision"), decided_at="occurred_at"
    )
    return items.join(numbered, on="decision_id").sort("decision", "slot")


def _refuse_improbable(slots: pl.DataFrame) -> None:
    """Refuse what was shown with probability 0, or none: no weight can be made of it."""
    chance = pl.col("logging_probability")
    wrong = slots.filter(chance.is_null() | chance.is_nan() | (chance <= 0) | (chance > 1 + _ROUNDING))
    if not wrong.is_empty():
        first = wrong.row(0, named=True)
        raise DataError(
            f"decision_items: decision {first['decision_id']}, slot {first['slot']}: logging_probability is"
            f" {first['logging_probability']}, must be above 0 and at most 1, for the offer was shown;"
            f" {len(wrong):,} slots are like that, correct them or leave their decisions out"
        )


def _with_outcomes(
    slots: pl.DataFrame, events: pl.DataFrame, offers: pl.DataFrame, question: Question
) -> pl.DataFrame:
    activated = events.filter(
        pl.col("event_type") == EventType.ACTIVATION.value,
        pl.col("decision_id").is_not_null(),
        pl.col("offer_id").is_not_null(),
    ).select("decision_id", "offer_id", activated_at="occurred_at")
    within = pl.col("activated_at") - pl.col("decided_at")
    taken = (
        slots.select("decision_id", "offer_id", "decided_at")
        .join(activated, on=["decision_id", "offer_id"])
        .filter(within >= timedelta(0), within <= timedelta(days=question.days))
        .select("decision_id", "offer_id")
        .unique()
        .with_columns(activations=pl.lit(1.0))
    )
    margins = offers.sort("recorded_at").unique("offer_id", keep="last").select("offer_id", "margin_minor")
    brought = pl.col("activations") * pl.col("margin").fill_null(0) * question.months
    return (
        slots.join(taken, on=["decision_id", "offer_id"], how="left", maintain_order="left")
        .join(margins.rename({"margin_minor": "margin"}), on="offer_id", how="left", maintain_order="left")
        .with_columns(pl.col("activations").fill_null(0.0))
        .with_columns(brought.cast(pl.Float64).alias("margin_minor"))
        .drop("margin", "decided_at")
    )
