"""The plots of an experiment's report, each drawn as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator

import altair as alt
import polars as pl

from recsys.experiments.results import Interval, Results, SegmentEffect
from training.pipelines.evaluation.figures import Figure, svg_of
from training.pipelines.experiments.words import count, segment_name, word
from training.pipelines.look import ACCENT, AXIS, COLOURS

_LABELS = alt.Axis(labelLimit=190)
_DAYS = alt.Axis(tickCount=6, tickMinStep=1, format="d")
_N_SEGMENTS = 12


def time_figures(results: Results, language: str) -> list[Figure]:
    """The effect and the sample ratio over time, and what decisions were worth; those that can be drawn."""
    drawn = (_effect(results, language), _ratio(results, language), _decisions(results, language))
    return [figure for figure in drawn if figure is not None]


def _colour(names: list[str]) -> alt.Color:
    legend = alt.Legend(title=None, orient="bottom", symbolType="circle", symbolOpacity=1)
    return alt.Color("arm:N", scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])), legend=legend)


def _scale_of(results: Results) -> float:
    """Money is drawn in whole units of the currency."""
    return 0.01 if any(line.is_money for line in results.comparisons[: len(results.arms) - 1]) else 1.0


def _effect(results: Results, language: str) -> Figure | None:
    scale = _scale_of(results)
    rows = [
        (point.day, point.arm, *(scale * end for end in _ends(point.absolute)))
        for point in results.timeline
        if point.absolute.cause is None
    ]
    if not rows:
        return None
    frame = pl.DataFrame(rows, schema=["day", "arm", "value", "low", "high"], orient="row")
    x = alt.X("day:Q", title=word("day", language), axis=_DAYS)
    base = alt.Chart(frame).encode(x=x, color=_colour([arm.name for arm in results.arms[1:]]))
    y = alt.Y("value:Q", title=f"{results.primary}: {word('difference', language)}", axis=_axis(results))
    # a band between single days has no width
    is_path = frame["day"].n_unique() > 1
    band = (base.mark_area(opacity=0.2) if is_path else base.mark_rule(strokeWidth=2)).encode(
        y=alt.Y("low:Q", axis=_axis(results)), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=2).encode(y=y)
    dots = base.mark_point(filled=True, size=24, opacity=1).encode(y=y)
    zero = (
        alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=AXIS, strokeDash=[4, 4]).encode(y="zero:Q")
    )
    chart = (zero + band + line + dots).properties(height=270)
    return Figure(
        word("effect_over_time", language),
        word("effect_caption", language),
        svg_of(chart, "effect", language),
    )


def _axis(results: Results) -> alt.Axis:
    """Per cent where the primary metric is a proportion."""
    first = results.comparisons[0]
    is_share = not first.is_money and max(abs(first.control), abs(first.treatment)) <= 1
    return alt.Axis(tickCount=6, format=".1%") if is_share else alt.Axis(tickCount=6)


def _ratio(results: Results, language: str) -> Figure | None:
    path = [(day, counts) for day, counts, _ in results.sample_ratio.path if sum(counts)]
    if not path:
        return None
    names = [arm.name for arm in results.arms]
    rows = [
        (day, name, n / sum(counts)) for day, counts in path for name, n in zip(names, counts, strict=True)
    ]
    frame = pl.DataFrame(rows, schema=["day", "arm", "share"], orient="row")
    planned = pl.DataFrame({"arm": names, "share": [arm.weight for arm in results.arms]})
    most = min(1.0, 1.15 * max(row[2] for row in rows))
    y = alt.Y(
        "share:Q",
        title=word("share", language),
        scale=alt.Scale(domain=[0, most], nice=False),
        axis=alt.Axis(format="%", tickCount=5),
    )
    x = alt.X("day:Q", title=word("day", language), axis=_DAYS)
    lines = alt.Chart(frame).mark_line(strokeWidth=2).encode(x=x, y=y, color=_colour(names))
    rules = alt.Chart(planned).mark_rule(strokeDash=[4, 4], color=AXIS).encode(y=y)
    p_value = results.sample_ratio.always_valid_p_value
    caption = word("ratio_caption", language).format(p=told_p(p_value, language))
    return Figure(word("ratio_over_time", language), caption, svg_of(rules + lines, "ratio", language))


def _decisions(results: Results, language: str) -> Figure | None:
    """The off-policy estimate beside what was measured; only where there is one."""
    rows = []
    for one in results.decisions:
        if one.measured.cause is None:
            rows.append((one.arm, word("measured", language), *_ends(one.measured)))
        if one.expected is not None:
            expected = one.expected
            rows.append((one.arm, word("expected", language), expected.value, expected.low, expected.high))
    if not any(one.expected is not None for one in results.decisions):
        return None
    frame = pl.DataFrame(rows, schema=["arm", "what", "value", "low", "high"], orient="row").with_columns(
        pl.col("value", "low", "high") / 100
    )
    kinds = [word("expected", language), word("measured", language)]
    legend = alt.Legend(title=None, orient="bottom", symbolType="circle", symbolOpacity=1)
    base = alt.Chart(frame).encode(
        y=alt.Y("arm:N", title=None, sort=[arm.name for arm in results.arms], axis=_LABELS),
        yOffset=alt.YOffset("what:N", scale=alt.Scale(domain=kinds)),
        color=alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[COLOURS[1], ACCENT]), legend=legend),
    )
    x = alt.X("value:Q", title=word("per_decision", language), axis=alt.Axis(tickCount=5))
    chart = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q") + base.mark_point(
        filled=True, size=60, opacity=1
    ).encode(x=x)
    title, caption = word("decisions", language), word("decisions_caption", language)
    return Figure(
        title, caption, svg_of(chart.properties(height=60 * len(results.arms) + 60), "decisions", language)
    )


def segment_figures(results: Results, language: str) -> list[Figure]:
    """One plot for each arm and way to tell clients apart, of the segments that tell something."""
    return [
        _segments(results, name, part, f"segment{number}", language)
        for number, (name, part) in enumerate(_dimensions(results, language))
    ]


def _dimensions(results: Results, language: str) -> Iterator[tuple[str, list[SegmentEffect]]]:
    told = [one for one in results.segments if one.shrunk.cause is None]
    for arm, dimension in dict.fromkeys((one.arm, one.dimension) for one in told):
        part = [one for one in told if (one.arm, one.dimension) == (arm, dimension)]
        largest = sorted(part, key=lambda one: -sum(one.n_clients))[:_N_SEGMENTS]
        suffix = f": {arm}" if len(results.arms) > 2 else ""
        yield word(dimension, language) + suffix, [one for one in part if one in largest]


def _segments(results: Results, title: str, part: list[SegmentEffect], prefix: str, language: str) -> Figure:
    scale = _scale_of(results)
    rows = [
        (
            f"{segment_name(one.dimension, one.segment, language)} ({count(sum(one.n_clients), language)})",
            *(scale * end for end in _ends(one.shrunk)),
            scale * one.absolute.value,
        )
        for one in part
    ]
    frame = pl.DataFrame(rows, schema=["segment", "value", "low", "high", "own"], orient="row")
    base = alt.Chart(frame).encode(
        y=alt.Y("segment:N", title=None, sort=frame["segment"].to_list(), axis=_LABELS)
    )
    x = alt.X("value:Q", title=word("difference", language), axis=_axis(results))
    zero = (
        alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=AXIS, strokeDash=[4, 4]).encode(x="zero:Q")
    )
    ends = base.mark_rule(strokeWidth=2, color=ACCENT).encode(
        x=alt.X("low:Q", axis=_axis(results)), x2="high:Q"
    )
    dots = base.mark_point(filled=True, size=60, opacity=1, color=ACCENT).encode(x=x)
    rings = base.mark_point(filled=False, size=45, opacity=0.8, color=COLOURS[1]).encode(x="own:Q")
    chart = (zero + ends + dots + rings).properties(height=24 * len(rows) + 60)
    return Figure(title, "", svg_of(chart, prefix, language))


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def told_p(p_value: float, language: str) -> str:
    """A p-value in words.

    Example:
        >>> told_p(0.0004, "en"), told_p(0.25, "ru"), told_p(float("nan"), "en")
        ('< 0.001', '0,250', '–')
    """
    if not math.isfinite(p_value):
        return "–"
    text = "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
    return text.replace(".", ",") if language == "ru" else text
