"""The report of an evaluation: one self-contained page, plots as inline SVG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import altair as alt
import numpy as np
import polars as pl
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.report import METRICS, EvaluationResult

METRIC_WORDS = {
    "ndcg": (
        "NDCG",
        """How far up the relevant offers stand: one in slot j counts 1 / log2(j + 1); the sum is divided by
        that of the best possible list of k slots.""",
    ),
    "recall": ("Recall", "Share of a client's relevant offers that the k slots show."),
    "precision": ("Precision", "Share of the k slots that hold a relevant offer."),
    "map": (
        "MAP",
        """Precision at each slot that holds a relevant offer, summed and divided by the smaller of k and the
        number of relevant offers.""",
    ),
    "mrr": ("MRR", "One divided by the slot of the first relevant offer; 0 if there is none."),
    "hit_rate": ("Hit rate", "Share of clients whose k slots show at least one relevant offer."),
    "coverage": ("Coverage", "Share of the offers, at each cut anew, that stand in at least one list."),
}
_INK, _GRID, _ACCENT = "#1f2933", "#e4e7eb", "#1f5f8b"
_FONT = "Helvetica, Arial, sans-serif"
# distinguishable with every common colour deficiency (Okabe & Ito), darkest first
_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#555555", "#e69f00"]
_Chart = alt.Chart | alt.LayerChart
_WIDTH, _HEIGHT = 440, 280
_FEW_TICKS = alt.Axis(tickCount=5)


@dataclass(frozen=True, slots=True)
class _Figure:
    """One plot of the page.

    Attributes:
        title: Its heading.
        caption: What to see in it, in words.
        svg: The drawing.
    """

    title: str
    caption: str
    svg: Markup


def render_report(result: EvaluationResult) -> str:
    """The page as HTML without scripts and without anything fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("training.pipelines", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:.3f}"
    environment.filters["local"] = lambda cut: _local(cut, result.subject.time_zone)
    return environment.get_template("report.html.j2").render(
        result=result,
        config=result.config,
        subject=result.subject,
        verdict=verdict(result),
        ranking=_ranking(result),
        metrics=METRICS,
        words=METRIC_WORDS,
        figures=_figures(result),
    )


def verdict(result: EvaluationResult) -> str:
    """The best model by NDCG in one sentence, and whether its interval is clear of the next one's."""
    (best, estimates), *others = _ranking(result)
    top = estimates["ndcg"]
    figure = f"NDCG@{result.config.k} {_with_interval(top)}"
    if not others:
        return f"{best}: {figure}; no other model was evaluated."
    runner_up, following = others[0][0], others[0][1]["ndcg"]
    second = f"{runner_up} ({following.value:.3f}, {following.low:.3f}–{following.high:.3f})"
    if following.value == top.value:
        return f"{best} and {runner_up} rank equally well: {figure}."
    if top.low > following.high:
        return f"{best} ranks best: {figure}, its interval clear of the next model's, {second}."
    return f"{best} ranks best: {figure}, but its interval overlaps the next model's, {second}."


def _local(cut: datetime, time_zone: str) -> str:
    """The cut in the dataset's zone; at midnight the day alone."""
    return f"{cut.astimezone(ZoneInfo(time_zone)):%Y-%m-%d %H:%M}".removesuffix(" 00:00")


def _ranking(result: EvaluationResult) -> list[tuple[str, dict[str, Estimate]]]:
    """Models and their figures, best NDCG first; equal ones by name."""
    return sorted(
        ((name, dict(estimates)) for name, estimates in result.estimates.items()),
        key=lambda item: (-item[1]["ndcg"].value, item[0]),
    )


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} (95 % interval {estimate.low:.3f}–{estimate.high:.3f})"


def _figures(result: EvaluationResult) -> list[_Figure]:
    frame = _by_model(result)
    curve = _over_cuts(result) if len(result.config.cuts) > 1 else _over_lengths(result)
    drawn: list[tuple[str, str, _Chart]] = [
        (
            f"NDCG@{result.config.k} by model",
            "Dot: mean over clients; line: 95 % interval.",
            _ndcg_by_model(frame),
        ),
        curve,
        (
            "Accuracy and breadth",
            "Right: better ranking; up: more of the catalogue reaches somebody.",
            _coverage_and_ndcg(result, frame),
        ),
        (
            "Relevant offers per client",
            "How many offers each judged client first connected within the horizon.",
            _relevant_per_client(result),
        ),
    ]
    return [
        _Figure(title, caption, _svg(chart, prefix=f"f{number}"))
        for number, (title, caption, chart) in enumerate(drawn)
    ]


def _by_model(result: EvaluationResult) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (name, found["ndcg"].value, found["ndcg"].low, found["ndcg"].high, found["coverage"].value)
            for name, found in _ranking(result)
        ],
        schema=["model", "ndcg", "low", "high", "coverage"],
        orient="row",
    )


def _ndcg_by_model(frame: pl.DataFrame) -> _Chart:
    models = alt.Y("model:N", title=None, sort=frame["model"].to_list())
    base = alt.Chart(frame).encode(y=models)
    interval = base.mark_rule(strokeWidth=2, color=_ACCENT).encode(
        x=alt.X("low:Q", title="NDCG", scale=alt.Scale(zero=True), axis=_FEW_TICKS), x2="high:Q"
    )
    dot = base.mark_point(filled=True, size=70, opacity=1, color=_ACCENT).encode(x="ndcg:Q")
    text = base.mark_text(dy=-11, color=_INK).encode(x="ndcg:Q", text=alt.Text("ndcg:Q", format=".3f"))
    chart: _Chart = interval + dot + text
    return chart


def _over_cuts(result: EvaluationResult) -> tuple[str, str, _Chart]:
    zone = result.subject.time_zone
    days = result.by_cut.with_columns(pl.Series("cut", [_local(cut, zone) for cut in result.by_cut["cut"]]))
    base = alt.Chart(days).encode(
        x=alt.X("cut:O", title="cut", axis=alt.Axis(labelAngle=0)), color=_colour(result)
    )
    ndcg = alt.Y("ndcg:Q", title="NDCG", scale=alt.Scale(zero=True))
    lines = base.mark_line(strokeWidth=2).encode(y=ndcg)
    dots = base.mark_point(filled=True, size=40, opacity=1).encode(y=ndcg)
    intervals = base.mark_rule(opacity=0.45).encode(y="low:Q", y2="high:Q")
    title = f"NDCG@{result.config.k} over the cuts"
    return title, "Thin lines: 95 % interval of each cut.", intervals + lines + dots


def _over_lengths(result: EvaluationResult) -> tuple[str, str, _Chart]:
    base = alt.Chart(result.by_length).encode(
        x=alt.X("k:Q", title="list length", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("recall:Q", title="recall", scale=alt.Scale(zero=True)),
        color=_colour(result),
    )
    chart = base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=30, opacity=1)
    return (
        "Recall by list length",
        "Share of what clients connected that a list of each length shows.",
        chart,
    )


def _colour(result: EvaluationResult) -> alt.Color:
    names = [name for name, _ in _ranking(result)]
    colours = [_COLOURS[position % len(_COLOURS)] for position in range(len(names))]
    legend = alt.Legend(
        title=None, orient="bottom", columns=3, symbolType="circle", symbolOpacity=1, labelLimit=130
    )
    return alt.Color("model:N", scale=alt.Scale(domain=names, range=colours), legend=legend)


def _coverage_and_ndcg(result: EvaluationResult, frame: pl.DataFrame) -> _Chart:
    chart: _Chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            x=alt.X("ndcg:Q", title="NDCG", scale=alt.Scale(zero=True), axis=_FEW_TICKS),
            y=alt.Y("coverage:Q", title="coverage", scale=alt.Scale(zero=True), axis=alt.Axis(format="%")),
            color=_colour(result),
        )
    )
    return chart


def _relevant_per_client(result: EvaluationResult) -> _Chart:
    first = next(iter(result.estimates))
    counts = result.per_client.filter(pl.col("model") == first)["n_relevant"]
    unit = "clients" if len(result.config.cuts) == 1 else "(client, cut) pairs"
    labels = ["1", "2", "3–4", "5–8", "9–16", "17–32", "over 32"]
    bins = np.searchsorted([1, 2, 4, 8, 16, 32], counts.to_numpy())
    binned = pl.DataFrame({"relevant": labels, "count": np.bincount(bins, minlength=len(labels))})
    chart: _Chart = (
        alt.Chart(binned)
        .mark_bar(color=_ACCENT)
        .encode(
            x=alt.X("relevant:O", sort=labels, title="relevant offers", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("count:Q", title=unit, axis=alt.Axis(tickMinStep=1, format=",d")),
        )
    )
    return chart


def _svg(chart: _Chart, prefix: str) -> Markup:
    """The chart drawn, with ids of its own: inline drawings of one page share one name space."""
    sized = chart.properties(width=_WIDTH, height=_HEIGHT, autosize=alt.AutoSizeParams(type="fit"))
    styled = sized.configure(font=_FONT, background="white", padding=2).configure_view(stroke=None)
    styled = (
        styled.configure_legend(labelColor=_INK, labelFontSize=12)
        .configure_axis(
            gridColor=_GRID,
            domainColor="#9aa5b1",
            tickColor="#9aa5b1",
            labelColor=_INK,
            titleColor=_INK,
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_text(fontSize=12)
    )
    svg = str(vl_convert.vegalite_to_svg(styled.to_dict()))
    svg = re.sub(r'(\bid="|url\(#)', rf"\g<1>{prefix}-", svg)
    return Markup(svg)  # noqa: S704 – drawn here; texts in it were escaped by the renderer
