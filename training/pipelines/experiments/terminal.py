"""The results of an experiment on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text as Line

from recsys.experiments.results import Interval, Results
from recsys.experiments.wording import cause_text, value_text
from training.pipelines.experiments.figures import told_p
from training.pipelines.experiments.report import absolute_cell, relative_cell
from training.pipelines.experiments.words import SAYS, count, word


def render_results(results: Results, language: str) -> Group:
    """Verdicts, who takes part, every metric."""
    parts: list[RenderableType] = [Line(f"{results.title} ({results.experiment_id})", style="bold")]
    parts += [Line(f"! {alarm.why.told(language)}", style="bold red") for alarm in results.alarms]
    for verdict in results.verdicts:
        why = f"{verdict.why.told(language)} {verdict.needed.told(language)}".strip()
        parts.append(Line(f"{verdict.arm}: {SAYS[verdict.says].told(language)}. {why}"))
    untold = [
        Line(f"{line.metric}, {line.arm}: {cause_text(line.cause).told(language)}", style="dim")
        for line in results.comparisons
        if line.cause is not None
    ]
    if results.n_earlier:
        earlier = word("earlier", language).format(n=count(results.n_earlier, language))
        untold.append(Line(earlier, style="dim"))
    tables = (_people(results, language), Line(""), _metrics(results, language), Line(""))
    return Group(*parts, Line(""), *tables, *untold)


def _cell(found: Interval, told: tuple[str, str]) -> str:
    return f"{told[0]}\n[dim]{told[1] if found.cause is None else '–'}[/dim]"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _people(results: Results, language: str) -> Table:
    keys = ("arm", "units", "clients", "triggered", "open_windows", "analysed")
    table = _table(*(word(key, language) for key in keys))
    for arm in results.arms:
        counts = arm.counts
        figures = (counts.n_units, counts.n_clients, counts.n_triggered, counts.n_open, counts.n_analysed)
        table.add_row(arm.name, *(count(n, language) for n in figures))
    return table


def _metrics(results: Results, language: str) -> Table:
    names = (results.arms[0].name, word("treatment", language))
    table = _table(
        word("metric", language),
        *names,
        word("absolute", language),
        word("relative", language),
        word("adjusted_p", language),
    )
    for line in results.comparisons:
        suffix = f" · {line.arm}" if len(results.arms) > 2 else ""
        table.add_row(
            line.metric + suffix,
            value_text(line, line.control, language),
            value_text(line, line.treatment, language),
            _cell(line.absolute, absolute_cell(line, language)),
            _cell(line.relative, relative_cell(line.relative, language)),
            told_p(line.adjusted_p_value, language),
        )
    return table
