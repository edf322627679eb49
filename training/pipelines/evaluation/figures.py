"""The plots of an evaluation's report, each drawn as inline SVG from a table of the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

import altair as alt
import polars as pl
import vl_convert
from markupsafe import Markup

from recsys.evaluation.report import EvaluationResult
from training.pipelines.evaluation.verdict import subjects
from training.pipelines.evaluation.words import local

_INK, _SOFT, _GRID, _AXIS, _ACCENT = "#1f2933", "#52606d", "#e9ecef", "#9aa5b1", "#1f5f8b"
_FONT = "Helvetica, Arial, sans-serif"
# distinguishable with every common colour deficiency (Okabe & Ito), darkest first
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#555555", "#e69f00")
_Chart = alt.Chart | alt.LayerChart
_WIDTH, _HEIGHT = 440, 270
_FEW_TICKS = alt.Axis(tickCount=5)
_N_SEGMENT_MODELS = 3
_N_FEATURES = 15
N_SEGMENTS = 10
_GAINS_SHOWN = 0.25
_N_SUPPLIERS = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """One plot of the page.

    Attributes:
        title: Its heading.
        caption: What to see in it, in words.
        svg: The drawing.
    """

    title: str
    caption: str
    svg: Markup


def figures_of(result: EvaluationResult) -> list[Figure]:
    """Every plot that the result has a table for."""
    drawers: tuple[Callable[[EvaluationResult], tuple[str, str, _Chart] | None], ...] = (
        _ndcg_by_model,
        _over_cuts,
        _over_lengths,
        _gains,
        _reliability,
        _coverage_and_ndcg,
        _suppliers,
        _importance,
    )
    figures = []
    for number, draw in enumerate(drawers):
        drawn = draw(result)
        if drawn is not None:
            title, caption, chart = drawn
            figures.append(Figure(title, caption, svg_of(chart, f"f{number}")))
    return figures


def _ndcg_by_model(result: EvaluationResult) -> tuple[str, str, _Chart]:
    rows = [(name, result.estimates[name]["ndcg"]) for name in result.ranking()]
    frame = pl.DataFrame(
        [(name, one.value, one.low, one.high) for name, one in rows],
        schema=["model", "ndcg", "low", "high"],
        orient="row",
    )
    base = alt.Chart(frame).encode(y=alt.Y("model:N", title=None, sort=frame["model"].to_list()))
    ends = base.mark_rule(strokeWidth=2, color=_ACCENT).encode(
        x=alt.X("low:Q", title="NDCG", scale=alt.Scale(zero=True), axis=_FEW_TICKS), x2="high:Q"
    )
    dot = base.mark_point(filled=True, size=70, opacity=1, color=_ACCENT).encode(x="ndcg:Q")
    text = base.mark_text(dy=-11, color=_INK).encode(x="ndcg:Q", text=alt.Text("ndcg:Q", format=".3f"))
    title = f"NDCG@{result.config.k} by model"
    return title, "Dot: mean over clients; line: 95 % interval.", ends + dot + text


def _over_cuts(result: EvaluationResult) -> tuple[str, str, _Chart] | None:
    if len(result.config.cuts) == 1:
        return None
    days = [local(cut, result.subject.time_zone) for cut in result.config.cuts]
    frame, models = result.tables["by_cut"], result.ranking()
    # a little apart, or the intervals of all models would lie on one line
    places = {name: 0.05 * (place - (len(models) - 1) / 2) for place, name in enumerate(models)}
    numbers = {cut: number for number, cut in enumerate(result.config.cuts)}
    at = [numbers[cut] + places[model] for cut, model in frame.select("cut", "model").iter_rows()]
    axis = alt.Axis(values=list(numbers.values()), labelExpr=f"{days}[datum.value]", labelOverlap=True)
    scale = alt.Scale(domain=[-0.4, len(days) - 0.6], nice=False)
    base = alt.Chart(frame.select("model", "ndcg", "low", "high", pl.Series("at", at))).encode(
        x=alt.X("at:Q", title="cut", axis=axis, scale=scale), color=_colour(result, frame)
    )
    limits = alt.Scale(domain=[0, 1.05 * float(frame.select(pl.col("high").max()).item())], nice=False)
    ndcg = alt.Y("ndcg:Q", title="NDCG", scale=limits, axis=_FEW_TICKS)
    lines = base.mark_line(strokeWidth=2).encode(y=ndcg)
    dots = base.mark_point(filled=True, size=40, opacity=1).encode(y=ndcg)
    ends = base.mark_rule(opacity=0.5).encode(y="low:Q", y2="high:Q")
    title = f"NDCG@{result.config.k} over the cuts"
    return title, "Vertical lines: 95 % interval of each cut.", ends + lines + dots


def _over_lengths(result: EvaluationResult) -> tuple[str, str, _Chart]:
    frame = result.tables["by_length"]
    base = alt.Chart(frame).encode(
        x=alt.X("k:Q", title="list length", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("recall:Q", title="recall", scale=alt.Scale(zero=True), axis=_FEW_TICKS),
        color=_colour(result, frame),
    )
    chart = base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=30, opacity=1)
    caption = "Share of what clients connected that a list of each length shows."
    return "Recall by list length", caption, chart


def _gains(result: EvaluationResult) -> tuple[str, str, _Chart] | None:
    if "gains" not in result.tables:
        return None
    percent = alt.Axis(format="%", tickCount=5)
    x = alt.X("share_of_pairs:Q", title="share of all (client, offer) pairs, best first", axis=percent)
    y = alt.Y("share_of_adoptions:Q", title="share of all adoptions", axis=percent)
    shown = result.tables["gains"].filter(pl.col("share_of_pairs") <= _GAINS_SHOWN)
    base = alt.Chart(shown).encode(x=x, y=y, color=_colour(result, shown))
    curve = base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=14, opacity=1)
    ends = [0.0, _GAINS_SHOWN]
    chance = pl.DataFrame({"share_of_pairs": ends, "share_of_adoptions": ends})
    diagonal = alt.Chart(chance).mark_line(color=_AXIS, strokeDash=[4, 4], strokeWidth=1).encode(x=x, y=y)
    caption = "How many of all first connections the best quarter of the pairs holds; dashed: at random."
    return "Gain curve", caption, diagonal + curve


def _reliability(result: EvaluationResult) -> tuple[str, str, _Chart] | None:
    if "reliability" not in result.tables:
        return None
    frame = result.tables["reliability"]
    highest = 1.08 * float(frame.select(pl.max_horizontal(pl.col("expected", "observed").max())).item())
    scale = alt.Scale(domain=[0, highest], nice=False, clamp=True)
    percent = alt.Axis(format=".1%" if highest < 0.1 else "%", tickCount=5)
    base = alt.Chart(frame).encode(
        x=alt.X("expected:Q", title="probability given", scale=scale, axis=percent),
        color=_colour(result, frame),
        detail="target:N",
    )
    y = alt.Y("observed:Q", title="share that came true", scale=scale, axis=percent)
    ends = base.mark_rule(opacity=0.5, clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    right = pl.DataFrame({"expected": [0.0, highest], "observed": [0.0, highest]})
    diagonal = (
        alt.Chart(right).mark_line(color=_AXIS, strokeDash=[4, 4], strokeWidth=1).encode(x="expected:Q", y=y)
    )
    lines = base.mark_line(strokeWidth=2).encode(y=y)
    dots = base.mark_point(filled=True, size=40, opacity=1).encode(y=y)
    targets = "; ".join(f"{model}: {' and '.join(found)}" for model, found in result.targets.items())
    caption = (
        "On the dashed line probabilities can be taken at their word. Ten equally full bins, 95 % intervals."
        f" {targets}."
    )
    return "Reliability", caption, diagonal + ends + lines + dots


def _coverage_and_ndcg(result: EvaluationResult) -> tuple[str, str, _Chart] | None:
    if len(result.estimates) < 2:
        return None
    frame = pl.DataFrame(
        [(name, one["ndcg"].value, one["coverage"].value) for name, one in result.estimates.items()],
        schema=["model", "ndcg", "coverage"],
        orient="row",
    )
    limits = alt.Scale(domain=[0, 1.1 * float(frame.select(pl.col("ndcg").max()).item())], nice=False)
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            x=alt.X("ndcg:Q", title="NDCG", scale=limits, axis=_FEW_TICKS),
            y=alt.Y(
                "coverage:Q",
                title="coverage",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=5),
            ),
            color=_colour(result, frame),
        )
    )
    return "Accuracy and breadth", "Right: better ranking; up: more of the catalogue reaches somebody.", chart


def _suppliers(result: EvaluationResult) -> tuple[str, str, _Chart] | None:
    if "by_supplier" not in result.tables:
        return None
    best = segment_models(result)[0]
    frame = result.tables["by_supplier"].filter(pl.col("model") == best)
    frame = frame.sort("share_of_slots", "supplier_id", descending=[True, False]).head(_N_SUPPLIERS)
    long = frame.unpivot(
        ["share_of_slots", "share_of_adoptions"],
        index="supplier_id",
        variable_name="what",
        value_name="share",
    ).with_columns(pl.col("what").replace({"share_of_slots": "slots", "share_of_adoptions": "adoptions"}))
    chart = (
        alt.Chart(long)
        .mark_point(filled=True, size=60, opacity=1)
        .encode(
            y=alt.Y("supplier_id:N", title=None, sort=frame["supplier_id"].to_list()),
            x=alt.X("share:Q", title="share", axis=alt.Axis(format="%", tickCount=5)),
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=["slots", "adoptions"], range=[_ACCENT, _COLOURS[1]]),
                legend=_legend(),
            ),
        )
    )
    caption = f"Of {best}: who gets the slots of the lists, and whose offers clients really connected."
    return "Exposure by supplier", caption, chart


def _importance(result: EvaluationResult) -> tuple[str, str, _Chart] | None:
    if "importance" not in result.tables:
        return None
    frame = result.tables["importance"]
    model = next(name for name in result.ranking() if name in frame["model"].to_list())
    top = frame.filter(pl.col("model") == model).sort("share", descending=True).head(_N_FEATURES)
    top = top.with_columns(pl.col("feature").str.replace_all("_", " "))
    chart = (
        alt.Chart(top)
        .mark_bar(color=_ACCENT, height={"band": 0.6})
        .encode(
            y=alt.Y("feature:N", title=None, sort=top["feature"].to_list(), axis=alt.Axis(labelLimit=200)),
            x=alt.X("share:Q", title="share of the gain", axis=alt.Axis(format="%", tickCount=5)),
        )
    )
    return "What the model looks at", f"Features of {model} by their share in what its trees gained.", chart


def segment_figures(result: EvaluationResult) -> list[Figure]:
    """NDCG of the models worth a look by segment, one plot for each way to tell clients apart."""
    if "by_segment" not in result.tables:
        return []
    models = segment_models(result)
    frame = result.tables["by_segment"].filter(pl.col("model").is_in(models))
    highest = 1.05 * float(frame.select(pl.col("high").fill_nan(None).max().fill_null(1.0)).item())
    return [
        Figure(
            str(dimension), "", svg_of(_segments(part, models, highest, _colour(result, frame)), f"s{number}")
        )
        for number, ((dimension,), part) in enumerate(frame.group_by("dimension", maintain_order=True))
    ]


def segment_models(result: EvaluationResult) -> list[str]:
    """The models worth a look segment by segment: those of the verdict."""
    return subjects(result.contrasts, result.targets)[:_N_SEGMENT_MODELS] or result.ranking()


def _segments(part: pl.DataFrame, models: Sequence[str], highest: float, colour: alt.Color) -> _Chart:
    labelled = part.with_columns(pl.format("{} ({})", "segment", "n_clients").alias("label"))
    order = labelled["label"].unique(maintain_order=True).to_list()[:N_SEGMENTS]
    base = alt.Chart(labelled.filter(pl.col("label").is_in(order))).encode(
        y=alt.Y("label:N", title=None, sort=order, axis=alt.Axis(labelLimit=190)),
        yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=list(models))),
        color=colour,
    )
    scale = alt.Scale(domain=[0, highest], nice=False)
    x = alt.X("ndcg:Q", title="NDCG", scale=scale, axis=_FEW_TICKS)
    ends = base.mark_rule(opacity=0.5, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    dots = base.mark_point(filled=True, size=45, opacity=1).encode(x=x)
    layered: alt.LayerChart = (ends + dots).properties(height=12 * len(models) * len(order) + 70)
    return layered


def _colour(result: EvaluationResult, drawn: pl.DataFrame) -> alt.Color:
    """A colour of its own for each model drawn, the same on every plot."""
    colours = dict(zip(result.ranking(), cycle(_COLOURS), strict=False))
    names = [name for name in colours if name in set(drawn["model"])]
    scale = alt.Scale(domain=names, range=[colours[name] for name in names])
    return alt.Color("model:N", scale=scale, legend=_legend())


def _legend() -> alt.Legend:
    return alt.Legend(
        title=None, orient="bottom", columns=4, symbolType="circle", symbolOpacity=1, labelLimit=92
    )


def svg_of(chart: _Chart, prefix: str, language: str = "en") -> Markup:
    """The chart drawn, with ids of its own: inline drawings of one page share one name space."""
    height = _HEIGHT if chart.height is alt.Undefined else chart.height
    sized = chart.properties(width=_WIDTH, height=height, autosize=alt.AutoSizeParams(type="fit"))
    styled = sized.configure(font=_FONT, background="white", padding=2).configure_view(stroke=None)
    styled = (
        styled.configure_legend(labelColor=_INK, labelFontSize=12)
        .configure_axis(
            gridColor=_GRID,
            domainColor=_AXIS,
            tickColor=_AXIS,
            labelColor=_INK,
            titleColor=_INK,
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_text(fontSize=12)
    )
    spec = styled.to_dict()
    svg = str(vl_convert.vegalite_to_svg(spec, format_locale="ru-RU" if language == "ru" else "en-US"))
    svg = re.sub(r'(\bid="|url\(#)', rf"\g<1>{prefix}-", svg)
    return Markup(svg)  # noqa: S704 – drawn here; texts in it were escaped by the renderer
