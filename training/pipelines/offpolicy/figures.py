"""The plots of an off-policy report, each as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import polars as pl

from recsys.domain import Language
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.offpolicy import Limits
from training.pipelines.evaluation.figures import Figure, svg_of
from training.pipelines.look import ACCENT, AXIS, COLOURS
from training.pipelines.offpolicy.result import MARGIN, OffPolicyResult
from training.pipelines.offpolicy.words import WORDS, measure_title

_Chart = alt.Chart | alt.LayerChart
_TICKS = alt.Axis(tickCount=5)


def figures_of(result: OffPolicyResult, language: Language) -> list[Figure]:
    """Every plot of the page."""
    words = WORDS[language]
    drawn = {
        "plot_difference": _difference(result, language),
        "plot_estimators": _estimators(result, language),
        "plot_ess": _effective(result, words),
        "plot_weights": _weights(result, words),
    }
    return [
        Figure(words[name], words[f"{name}_about"], svg_of(chart, name))
        for name, chart in drawn.items()
        if chart is not None
    ]


def _difference(result: OffPolicyResult, language: Language) -> _Chart | None:
    words, main = WORDS[language], result.main
    if main.new is None or main.difference is None:
        return None
    rows = {words["live"]: main.live, words["new"]: main.new, words["against"]: main.difference}
    frame = _frame(rows, result.measure)
    title = measure_title(result, result.measure, language)
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=AXIS).encode(x="zero:Q")
    chart: _Chart = zero + _dots(frame, title)
    return chart.properties(height=150)


def _estimators(result: OffPolicyResult, language: Language) -> _Chart:
    rows, is_backed = {}, []
    for belief, estimates in result.main.estimators.items():
        for name, estimate in estimates.items():
            rows[f"{name} ({WORDS[language][belief].split(':')[0].lower()})"] = estimate
            is_backed.append(result.beliefs[belief].gate.says)
    frame = _frame(rows, result.measure).with_columns(pl.Series("is_backed", is_backed))
    colour = alt.Color(
        "is_backed:N", scale=alt.Scale(domain=[True, False], range=[ACCENT, AXIS]), legend=None
    )
    title = measure_title(result, result.measure, language)
    return _dots(frame, title, colour).properties(height=26 * len(frame))


def _effective(result: OffPolicyResult, words: Mapping[str, str]) -> _Chart:
    frame = _named(result.tables["slots"], words)
    base = alt.Chart(frame).encode(
        x=alt.X("slot:O", title=words["slot"], axis=alt.Axis(labelAngle=0)),
        y=alt.Y("ess:Q", title=words["ess"], scale=alt.Scale(type="symlog"), axis=_TICKS),
        color=_colour(frame),
    )
    least = alt.Chart(pl.DataFrame({"least": [Limits().least_effective]}))
    limit = least.mark_rule(color=AXIS, strokeDash=[4, 3]).encode(y="least:Q")
    chart: _Chart = limit + base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=50, opacity=1)
    return chart


def _weights(result: OffPolicyResult, words: Mapping[str, str]) -> _Chart:
    frame = _named(result.tables["weights"], words).with_columns(
        pl.when(pl.col("to") == float("inf"))
        .then(pl.format("≥{}", pl.col("from")))
        .when(pl.col("from") == 0)
        .then(pl.lit("0"))
        .otherwise(pl.format("<{}", "to"))
        .alias("label")
    )
    order = frame["label"].unique(maintain_order=True).to_list()
    chart: _Chart = (
        alt.Chart(frame.drop("from", "to"))
        .mark_bar()
        .encode(
            x=alt.X("label:N", title=words["weight"], sort=order, axis=alt.Axis(labelAngle=-40)),
            xOffset="name:N",
            y=alt.Y("share_of_weight:Q", title=words["share"], axis=alt.Axis(format="%", tickCount=5)),
            color=_colour(frame),
        )
    )
    return chart


def _named(frame: pl.DataFrame, words: Mapping[str, str]) -> pl.DataFrame:
    """With the belief's short name."""
    names = [words[belief].split(":")[0] for belief in frame["belief"].to_list()]
    return frame.with_columns(pl.Series("name", names, dtype=pl.String))


def _colour(frame: pl.DataFrame) -> alt.Color:
    names = frame["name"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=names, range=list(COLOURS[: len(names)]))
    return alt.Color("name:N", scale=scale, legend=alt.Legend(title=None, orient="bottom"))


def _frame(rows: Mapping[str, Estimate], measure: str) -> pl.DataFrame:
    unit = 100.0 if measure == MARGIN else 1.0
    return pl.DataFrame(
        [(name, one.value / unit, one.low / unit, one.high / unit) for name, one in rows.items()],
        schema={"name": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64},
        orient="row",
    ).with_columns(pl.col("value", "low", "high").fill_nan(None))


def _dots(frame: pl.DataFrame, title: str, colour: alt.Color | None = None) -> alt.LayerChart:
    base = alt.Chart(frame).encode(
        y=alt.Y("name:N", title=None, sort=frame["name"].to_list(), axis=alt.Axis(labelLimit=240)),
        color=alt.value(ACCENT) if colour is None else colour,
    )
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title, axis=_TICKS), x2="high:Q")
    chart: alt.LayerChart = lines + base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q")
    return chart
