"""What an experiment's clients did: one row for each client whose window is over, ready to be compared.

The window of a client begins with its trigger (the first decision in which the arms' lists differ) and lasts
`window_days`. A client whose window is still open is left out and counted, for it has had less time than the
others; one that was never triggered saw the same in every arm and is counted too. Whoever was put into an arm
by hand, or is held out from everything, is no part of the comparison.

A unit has one arm: the one that was stored first, should its clients have been stored in several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Measure, Metric, MetricKind
from recsys.experiments.holdout import HELD_OUT
from recsys.experiments.life import Standing
from recsys.experiments.measures import FloatArray, Sources, latest, measure, read_sources
from recsys.experiments.segments import Segment, overlaps_of, segments_of, strata_of

IntArray = NDArray[np.int64]

_SALES = frozenset({Measure.ACTIVATIONS, Measure.MARGIN, Measure.DISCONNECTIONS})
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class MetricValues:
    """One metric, one value for each row; NaN = not known yet.

    Attributes:
        values: What is averaged: 0 or 1, a count, an amount in minor units, or a ratio's numerator.
        denominators: Of a ratio; None = it is none.
        before: The covariate, measured as long before the trigger; None = there is none.
        before_denominators: Of the covariate of a ratio.
    """

    values: FloatArray
    denominators: FloatArray | None = None
    before: FloatArray | None = None
    before_denominators: FloatArray | None = None

    def rows(self, kept: NDArray[np.bool_] | IntArray) -> MetricValues:
        """The same of some rows."""
        parts = (self.values, self.denominators, self.before, self.before_denominators)
        values, *others = (None if part is None else part[kept] for part in parts)
        assert values is not None  # noqa: S101 – the values always exist
        return MetricValues(values, *others)


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """How many clients of an arm take part.

    Attributes:
        n_units: Units assigned.
        n_clients: Clients assigned.
        n_triggered: Of them: the arms' lists differed at least once.
        n_open: Of the triggered: the window is not over, so they are left out.
        n_analysed: Of the triggered: the rest.
        n_triggered_units: Units with a triggered client.
    """

    n_units: int
    n_clients: int
    n_triggered: int
    n_open: int
    n_analysed: int
    n_triggered_units: int


@dataclass(frozen=True, slots=True)
class DecisionValues:
    """What decisions were worth, by unit: of everybody assigned, triggered or not.

    Attributes:
        units: Code of the unit, shape (n_rows,).
        arms: Place of its arm.
        margins: Margin over the horizon of what its decisions led to, by decision_id, minor units.
        n_decisions: Decisions whose window is over.
        is_comparable: Whether fallbacks and empty lists are left out, as an off-policy estimate does; False =
            the tables do not tell them.
    """

    units: IntArray
    arms: IntArray
    margins: FloatArray
    n_decisions: FloatArray
    is_comparable: bool = True


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that the analysis of an experiment rests on; rows are clients whose window is over.

    Attributes:
        now: When it was observed.
        unit_ids: Ids of the units, by code.
        units: Code of the unit of each row.
        arms: Place of the arm of each row; 0 = the control.
        days: Whole days from the start until each window was over.
        metrics: Values by the metric's name.
        segments: How the rows fall into segments, by dimension.
        strata: Stratum of each row, a code; of one value where there are none.
        overlaps: Arm of each row in other experiments, by experiment_id.
        counts: By place of the arm.
        arrivals: Units that were first assigned on each day since the start, days_by_arms.
        decisions: What decisions were worth; None = none is known.
        n_forced: Clients put into an arm by hand.
        n_held_out: Clients that the hold-out keeps out.
        triggered_arrivals: Units that were first triggered on each day since the start, days_by_arms; None =
            only their counts are known.
        n_earlier: Of the hold-out: clients of units that were drawn before its present share stood.
    """

    now: datetime
    unit_ids: tuple[str, ...]
    units: IntArray
    arms: IntArray
    days: IntArray
    metrics: Mapping[str, MetricValues]
    segments: Mapping[str, Segment]
    strata: IntArray
    overlaps: Mapping[str, Segment]
    counts: tuple[ArmCounts, ...]
    arrivals: IntArray
    decisions: DecisionValues | None = None
    n_forced: int = 0
    n_held_out: int = 0
    n_earlier: int = 0
    triggered_arrivals: IntArray | None = None


def observe(standing: Standing, tables: Mapping[str, pl.DataFrame], now: datetime) -> Observed:
    """Measure what the clients of an experiment did, as known at an instant.

    Args:
        standing: The experiment, started.
        tables: Validated tables by name; `assignments`, `holdings` and `offers` are needed.
        now: Nothing recorded later is used, aware.

    Raises:
        DataError: The experiment was never started, a table is missing, or an arm is unknown.
    """
    experiment, now = standing.experiment, now.astimezone(UTC)
    if standing.started_at is None:
        raise DataError(f"experiment {experiment.experiment_id!r} was never started; start it first")
    if "assignments" not in tables:
        raise DataError("results of an experiment need the table 'assignments'; add it to the data")
    everybody = latest(tables["assignments"], ["experiment_id", "client_id"], now)
    stored, n_forced, n_held_out = _assigned(experiment, everybody)
    assigned = _drawn_since(standing, stored)
    ends_at = pl.col("triggered_at") + timedelta(days=experiment.window_days)
    closed = assigned.filter(pl.col("triggered_at") <= now, ends_at <= now).sort("client_id")
    sources = read_sources(tables, now)
    segments = segments_of(tables, closed, now)
    days = closed.select(((ends_at - standing.started_at).dt.total_seconds() / 86_400).ceil())
    return Observed(
        now=now,
        unit_ids=tuple(assigned["unit_id"].unique().sort().to_list()),
        units=closed["unit"].to_numpy().astype(np.int64),
        arms=closed["arm_number"].to_numpy().astype(np.int64),
        days=days.to_series().to_numpy().astype(np.int64),
        metrics=_metrics(experiment, sources, closed),
        segments=segments,
        strata=strata_of(experiment.stratify_by, segments, len(closed)),
        overlaps=overlaps_of(experiment.experiment_id, everybody, closed),
        counts=_counts(experiment, assigned, now),
        arrivals=_arrivals(standing, assigned, "assigned_at", now),
        triggered_arrivals=_arrivals(
            standing, assigned.filter(pl.col("triggered_at") <= now), "triggered_at", now
        ),
        decisions=_decision_values(standing, sources, assigned, now),
        n_forced=n_forced,
        n_held_out=n_held_out,
        n_earlier=len(stored) - len(assigned),
    )


def _assigned(experiment: Experiment, everybody: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """The clients that are compared, with the codes of unit and arm; how many were forced and held out."""
    own = everybody.filter(pl.col("experiment_id") == experiment.experiment_id)
    plain_id = pl.col("unit_id").str.replace(r"^(group|client):", "")
    forced = plain_id.is_in(list(experiment.forced)) | pl.col("client_id").is_in(list(experiment.forced))
    if "is_forced" in own.columns:
        forced |= pl.col("is_forced").fill_null(value=False)
    free = own.filter(~forced)
    held_out = everybody.filter(pl.col("experiment_id") == HOLDOUT_ID, pl.col("arm") == HELD_OUT)
    is_holdout = experiment.experiment_id == HOLDOUT_ID
    compared = free if is_holdout else free.join(held_out.select("client_id"), on="client_id", how="anti")
    _check_arms(experiment, compared)
    numbers = {arm.name: number for number, arm in enumerate(experiment.arms)}
    coded = _with_one_arm(compared).with_columns(
        pl.col("arm").replace_strict(numbers, return_dtype=pl.Int64).alias("arm_number"),
        (pl.col("unit_id").rank("dense") - 1).cast(pl.Int64).alias("unit"),
    )
    return coded, len(own) - len(free), len(free) - len(compared)


def _check_arms(experiment: Experiment, assigned: pl.DataFrame) -> None:
    place = f"assignments of {experiment.experiment_id!r}"
    names = [arm.name for arm in experiment.arms]
    strange = assigned.filter(~pl.col("arm").is_in(names))
    if not strange.is_empty():
        client, arm = strange.select("client_id", "arm").row(0)
        raise DataError(f"{place}: client {client!r} is in arm {arm!r}; the arms are {', '.join(names)}")


def _with_one_arm(assigned: pl.DataFrame) -> pl.DataFrame:
    """The same with the arm of each unit that was stored first, and when that was (`drawn_at`)."""
    first = (
        assigned.sort("assigned_at", "recorded_at", "client_id")
        .group_by("unit_id", maintain_order=True)
        .agg(pl.col("arm").first(), pl.col("assigned_at").first().alias("drawn_at"))
    )
    return assigned.drop("arm").join(first, on="unit_id", how="left")


def _drawn_since(standing: Standing, assigned: pl.DataFrame) -> pl.DataFrame:
    """Who is compared under one set of weights.

    The hold-out keeps those who were drawn under an earlier share where they are, so only units that came
    since its present share stood divide by it.
    """
    if standing.experiment.experiment_id != HOLDOUT_ID:
        return assigned
    return assigned.filter(pl.col("drawn_at") >= standing.started_at)


def _counts(experiment: Experiment, assigned: pl.DataFrame, now: datetime) -> tuple[ArmCounts, ...]:
    is_triggered = (pl.col("triggered_at") <= now).fill_null(value=False)
    is_open = is_triggered & (pl.col("triggered_at") + timedelta(days=experiment.window_days) > now)
    rows = assigned.group_by("arm").agg(
        pl.col("unit_id").n_unique().alias("n_units"),
        pl.len().alias("n_clients"),
        is_triggered.sum().alias("n_triggered"),
        is_open.sum().alias("n_open"),
        (is_triggered & ~is_open).sum().alias("n_analysed"),
        pl.col("unit_id").filter(is_triggered).n_unique().alias("n_triggered_units"),
    )
    by_arm = {row.pop("arm"): ArmCounts(**row) for row in rows.iter_rows(named=True)}
    return tuple(by_arm.get(arm.name, ArmCounts(0, 0, 0, 0, 0, 0)) for arm in experiment.arms)


def _arrivals(standing: Standing, assigned: pl.DataFrame, at: str, now: datetime) -> IntArray:
    """Units by the day on which their first client was assigned, or triggered."""
    assert standing.started_at is not None  # noqa: S101 – checked by observe
    n_days = max(1, -((standing.started_at - min(now, standing.stopped_at or now)) // _DAY))
    first = assigned.group_by("unit_id").agg(pl.col(at).min(), pl.col("arm_number").first())
    day = ((first[at] - standing.started_at).dt.total_seconds() // 86_400).clip(0, n_days - 1)
    counts = np.zeros((n_days, len(standing.experiment.arms)), dtype=np.int64)
    np.add.at(counts, (day.to_numpy().astype(np.int64), first["arm_number"].to_numpy()), 1)
    return counts


def _metrics(experiment: Experiment, sources: Sources, closed: pl.DataFrame) -> dict[str, MetricValues]:
    width = timedelta(days=experiment.window_days)
    trigger = pl.col("triggered_at")
    windows = closed.select("client_id", trigger.alias("begins_at"), (trigger + width).alias("ends_at"))
    before = closed.select("client_id", (trigger - width).alias("begins_at"), trigger.alias("ends_at"))
    found = {metric.name: metric_values(metric, sources, windows, before) for metric in experiment.metrics}
    known_until = sources.holdings_known_until
    is_loaded = (windows["ends_at"] <= known_until).to_numpy() if known_until else np.zeros(len(closed), bool)
    for metric in experiment.metrics:
        if not metric.is_attributed and not _SALES.isdisjoint((metric.measure, metric.per)):
            found[metric.name].values[~is_loaded] = np.nan
    return found


def metric_values(
    metric: Metric, sources: Sources, windows: pl.DataFrame, before: pl.DataFrame
) -> MetricValues:
    """The values of one metric.

    Args:
        metric: What is measured.
        sources: Facts.
        windows: `client_id`, `begins_at`, `ends_at` of each row.
        before: The same of as much time before the trigger, for the covariate.
    """
    values = _values(metric, metric.measure, sources, windows)
    per = None if metric.per is None else _values(metric, metric.per, sources, windows)
    if metric.covariate is None:
        return MetricValues(values, per)
    if metric.covariate is Measure.SPEND:
        before = before.with_columns(_months_before(pl.col("begins_at"), pl.col("ends_at")))
    per_before = None if metric.per is None else _values(metric, metric.per, sources, before)
    return MetricValues(values, per, _values(metric, metric.covariate, sources, before), per_before)


def _months_before(begins_at: pl.Expr, ends_at: pl.Expr) -> pl.Expr:
    """The beginning moved back, so that at least one whole month ends by the end."""
    return (ends_at.dt.truncate("1mo") - (ends_at - begins_at)).dt.truncate("1mo").alias("begins_at")


def _values(metric: Metric, what: Measure, sources: Sources, windows: pl.DataFrame) -> FloatArray:
    is_attributed = metric.is_attributed and what not in (Measure.DECISIONS, Measure.SPEND)
    values = measure(what, sources, windows, metric.offers, is_attributed=is_attributed)
    if metric.kind is not MetricKind.PROPORTION:
        return values
    return np.where(np.isnan(values), np.nan, values > 0)


def _decision_values(
    standing: Standing, sources: Sources, assigned: pl.DataFrame, now: datetime
) -> DecisionValues | None:
    """Margin by decision_id within the window of each decision, as the off-policy estimate has it."""
    experiment = standing.experiment
    width = timedelta(days=experiment.window_days)
    decisions = _whole_lists(sources.decisions.filter(pl.col("at") + width <= now))
    if experiment.placements:
        decisions = decisions.filter(pl.col("placement_id").is_in(list(experiment.placements)))
    arms = assigned.select("client_id", "unit", "arm", "arm_number", "assigned_at")
    taken = decisions.join(arms, on="client_id").filter(
        pl.col("at") >= pl.col("assigned_at"), _is_by_the_arm(standing, decisions)
    )
    if taken.is_empty():
        return None
    gains = (
        sources.activations.join(
            taken.select("decision_id", pl.col("at").alias("decided_at")), on="decision_id"
        )
        .filter(pl.col("at") < pl.col("decided_at") + width)
        .group_by("decision_id")
        .agg(pl.col("amount").sum().alias("gained"))
    )
    by_unit = (
        taken.join(gains, on="decision_id", how="left")
        .group_by("unit", "arm_number")
        .agg(pl.col("gained").fill_null(0).sum(), pl.len().cast(pl.Float64).alias("n"))
        .sort("unit")
    )
    return DecisionValues(
        units=by_unit["unit"].to_numpy().astype(np.int64),
        arms=by_unit["arm_number"].to_numpy().astype(np.int64),
        margins=by_unit["gained"].to_numpy(),
        n_decisions=by_unit["n"].to_numpy(),
        is_comparable={"degraded", "is_empty"} <= set(decisions.columns),
    )


def _whole_lists(decisions: pl.DataFrame) -> pl.DataFrame:
    """Without fallbacks and empty lists, as far as the tables tell them."""
    if "degraded" in decisions.columns:
        decisions = decisions.filter(pl.col("degraded").is_null())
    return decisions.filter(~pl.col("is_empty")) if "is_empty" in decisions.columns else decisions


def _is_by_the_arm(standing: Standing, decisions: pl.DataFrame) -> pl.Expr:
    """Whether a decision was taken in the arm of its unit.

    A log that names no arms tells only that the arms ended with the stop.
    """
    is_named = "assignments" in decisions.columns and decisions["assignments"].is_not_null().any()
    if is_named:
        named = rf'\["{standing.experiment.experiment_id}",\s*"([^"]+)"'
        return (pl.col("assignments").str.extract(named) == pl.col("arm")).fill_null(value=False)
    return pl.lit(value=True) if standing.stopped_at is None else pl.col("at") < standing.stopped_at
