"""Evaluations and comparisons on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.ranking import RANKING_METRICS
from recsys.evaluation.report import Contrast, EvaluationResult
from training.pipelines.evaluation.compare import RunComparison
from training.pipelines.evaluation.verdict import ends, is_shown, signed

_COLUMNS = (*RANKING_METRICS, "coverage")


def render_table(result: EvaluationResult) -> Table:
    """The pooled figures for a terminal, best NDCG first."""
    asked = f"{result.config.horizon_days} days, k = {result.config.k}"
    table = Table(
        title=f"{result.subject.title}\n{result.n_clients:,} clients, {asked}",
        caption="below each figure its 95 % interval over clients",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),  # eight columns must fit into a terminal of 80
    )
    table.add_column("model", overflow="fold")
    for metric in _COLUMNS:
        table.add_column(metric, justify="right", overflow="fold")
    for name in result.ranking():
        table.add_row(name, *(_cell(result.estimates[name][metric]) for metric in _COLUMNS))
    return table


def _cell(estimate: Estimate) -> str:
    return f"{_short(estimate.value)}\n[dim]{_short(estimate.low)}–{_short(estimate.high)}[/dim]"


def _short(value: float) -> str:
    """The figure in four characters."""
    return f"{value:.3f}".removeprefix("0")[:4]


def render_comparison(result: RunComparison) -> Group:
    """Differences for a terminal: overall by metric, then NDCG by segment."""
    parts: list[RenderableType] = [_differences("overall", "metric", result.overall)]
    if result.segments:
        parts.append(_differences(f"ndcg at {result.k} by segment", "segment", result.segments))
    parts += [f"{what}: {why}" for what, why in result.missing.items()]
    return Group(*parts)


def _differences(title: str, what: str, contrasts: Sequence[Contrast]) -> Table:
    table = Table(
        title=f"B − A, {title}", box=None, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left"
    )
    has_names = len({(one.baseline, one.model) for one in contrasts}) > 1
    if has_names:
        table.add_column("model", overflow="fold")
    table.add_column(what, overflow="fold")
    for column in ("n", "A", "B", "difference", "95 % interval", "adjusted p"):
        table.add_column(column, justify="right", overflow="fold")
    for one in contrasts:
        name = one.model if one.model == one.baseline else f"{one.baseline} → {one.model}"
        found = one.difference
        table.add_row(
            *([name] if has_names else []),
            one.metric if not one.dimension else f"{one.dimension}: {one.segment}",
            f"{one.n_clients:,}",
            _short(one.baseline_value),
            _short(one.value),
            signed(found.value),
            ends(found),
            f"[bold]{one.adjusted_p:.3f}[/bold]" if is_shown(one) else f"{one.adjusted_p:.3f}",
        )
    return table
